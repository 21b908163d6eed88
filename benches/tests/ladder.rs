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
fn every_phase_has_its_turn_in_every_round_and_what_it_accepted_is_in_its_log() {
    let results = bench("0,9", "plain,fifty");
    let turns: Vec<_> =
        results.slices.iter().map(|s| (s.round, s.load.as_str(), s.subject.as_str())).collect();
    assert_eq!(
        turns,
        [
            (0, "plain", "phase0"),
            (0, "plain", "phase9"),
            (0, "fifty", "phase0"),
            (0, "fifty", "phase9"),
            (1, "plain", "phase9"),
            (1, "plain", "phase0"),
            (1, "fifty", "phase9"),
            (1, "fifty", "phase0"),
        ]
    );
    for slice in &results.slices {
        assert_eq!(slice.failure, None, "{slice:?}");
        let (verified, requests) = (slice.verified.unwrap(), slice.requests.as_ref().unwrap());
        assert!(verified.holds(), "{slice:?}");
        assert!(requests.ok > 0 && requests.ok == requests.answered, "{slice:?}");
        let samples = if slice.load == "fifty" { 50 } else { 1 };
        // What the warm-up sent is in the log as well.
        assert!(verified.found >= requests.ok * samples, "{slice:?}");
        assert!(
            verified.found.is_multiple_of(samples),
            "a request is in the log whole or not at all: {slice:?}"
        );
    }
    // Phase 0 copies each sample out of its text; the last phase has its memory before the load begins.
    let allocations = |phase: &str, load: &str| {
        let counts = results.counts.iter().find(|c| c.subject == phase && c.load == load).unwrap();
        counts.allocations.unwrap()
    };
    assert!(allocations("phase0", "fifty") > 50.0);
    assert!(allocations("phase9", "plain") < allocations("phase0", "plain") / 4.0);
}

#[test]
fn what_was_acknowledged_before_a_kill_is_in_the_file_of_a_phase_that_promises_so() {
    let results = bench("0,9", "kill-9");
    for slice in &results.slices {
        assert_eq!(slice.failure, None, "{slice:?}");
        let verified = slice.verified.unwrap();
        assert!(verified.accepted > 0 && verified.unknown > 0, "it was to be killed under load: {slice:?}");
        assert!(verified.holds(), "{slice:?}");
    }
}

#[test]
fn a_client_that_drips_stops_the_sequential_server_and_no_other() {
    let results = bench("0,1", "dripper");
    for slice in &results.slices {
        let before = slice.before.as_ref().unwrap().ok;
        let beside = slice.requests.as_ref().unwrap().ok;
        assert!(before > 0);
        assert_eq!(beside > 0, slice.subject == "phase1", "{slice:?}");
    }
}
