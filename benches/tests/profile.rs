//! A profile shows the functions that were running, under the names they have in the source.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

use std::{fs, path::Path, process::Command};

#[test]
fn the_parser_of_phase_0_is_found_in_its_flame_graph() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("flame.svg");
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .args(["profile", "ingest", "--phase", "0", "--load", "fifty", "--seconds", "2", "--out"])
        .arg(&out)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let svg = fs::read_to_string(&out).unwrap();
    assert!(svg.contains("</svg>") && svg.contains("phase0: "), "a flame graph with a title");
    assert!(svg.contains("FindParser"), "its parser is most of what it does");
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(table.contains("own") && table.lines().count() > 1, "{table}");
}
