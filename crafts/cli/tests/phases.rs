//! Every phase of a craft in the live pipeline, against the black-box suites.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

use conformance::Verdict;
use contracts::queue::Ack;
use ingest_phases::{PHASES, Phase};
use platform::{Node, NodeConfig, slots::Choice};
use std::{path::PathBuf, sync::Arc, thread, time::Duration};

/// The whole pipeline with this phase in front.
fn start(phase: &Phase) -> Node {
    let name = format!("phases-{}-{}", phase.name, std::process::id());
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&dir);
    let mut config = NodeConfig::up(([127, 0, 0, 1], 0).into(), dir);
    config.slots.ingest = vec![Choice::new(phase.name, phase.title, Arc::new(phase.open))];
    config.agent = false;
    config.ack = Some(Ack::Memory);
    // The suites say when to evaluate.
    config.evaluate_every = Duration::from_secs(3600);
    Node::start(&config).unwrap()
}

#[test]
fn every_phase_passes_the_black_box_suites() {
    // Together: a suite mostly waits for what must not happen.
    let runs: Vec<_> = PHASES
        .iter()
        .map(|phase| {
            thread::spawn(move || {
                let node = start(phase);
                let report = conformance::http::check(&format!("http://{}", node.addr())).unwrap();
                let formats = report.reports.iter().find(|r| r.suite == "http formats").unwrap();
                let skipped = formats.outcomes.iter().filter(|o| matches!(o.verdict, Verdict::Skipped(_)));
                assert_eq!(skipped.count(), 0, "{} takes every format:\n{formats}", phase.name);
                assert!(node.stop().is_complete(), "{}: something was left in the queue", phase.name);
                (phase.name, report)
            })
        })
        .collect();
    let broken: Vec<String> = runs
        .into_iter()
        .map(|run| run.join().unwrap())
        .filter(|(_, report)| !report.holds())
        .map(|(name, report)| format!("{name}:\n{report}"))
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
