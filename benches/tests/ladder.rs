//! The ladder itself, run for a second: that it measures what happens, not how fast it is.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

use benches::results::Results;
use std::{path::Path, process::Command};

/// Runs the bench on these phases under these loads.
fn bench(phases: &str, loads: &str) -> Results {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("results.json");
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .args(["craft1", "--phases", phases, "--loads", loads, "--rounds", "2", "--seconds", "0.3"])
        .args(["--patience", "0", "--no-parts", "--out"])
        .arg(&out)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Results::read(&out).unwrap()
}

#[test]
fn what_a_phase_accepted_is_in_its_log() {
    let results = bench("0", "plain,fifty");
    let turns: Vec<_> = results.slices.iter().map(|s| (s.round, s.load.as_str())).collect();
    assert_eq!(turns, [(0, "plain"), (0, "fifty"), (1, "plain"), (1, "fifty")]);
    for slice in &results.slices {
        assert_eq!(slice.failure, None, "{slice:?}");
        let (verified, requests) = (slice.verified.unwrap(), slice.requests.as_ref().unwrap());
        assert!(verified.holds() && verified.unknown == 0, "{slice:?}");
        assert!(requests.ok > 0 && requests.ok == requests.answered, "{slice:?}");
        let samples = if slice.load == "fifty" { 50 } else { 1 };
        // The warm-up is in the log as well.
        assert!(
            verified.found > requests.ok * samples && verified.found.is_multiple_of(samples),
            "{slice:?}"
        );
    }
    let fifty = results.counts.iter().find(|c| c.load == "fifty").unwrap();
    assert!(fifty.allocations.unwrap() > 50.0, "phase 0 copies each sample out of its text: {fifty:?}");
}

#[test]
fn what_was_acknowledged_before_a_kill_is_in_the_file() {
    for slice in &bench("0", "kill-9").slices {
        assert_eq!(slice.failure, None, "{slice:?}");
        let verified = slice.verified.unwrap();
        assert!(verified.accepted > 0 && verified.unknown > 0, "it was to be killed under load: {slice:?}");
        assert!(verified.holds(), "{slice:?}");
    }
}

#[test]
fn a_client_that_drips_stops_the_sequential_server() {
    for slice in &bench("0", "dripper").slices {
        assert!(slice.before.as_ref().unwrap().ok > 0, "{slice:?}");
        assert_eq!(slice.requests.as_ref().unwrap().ok, 0, "{slice:?}");
    }
}
