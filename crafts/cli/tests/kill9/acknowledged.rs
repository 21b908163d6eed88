//! Every way to fill the slot of ingestion: what it has answered 202 is in the log, and in storage after a restart.

use super::{BATCH, check, common, workload};
use common::{Running, output, text, within};
use contracts::{
    BatchView,
    queue::{FetchLimit, Log, Offset, Partition, Records},
};
use load_tester::{
    fates::{Fate, Fates},
    sample::Identity,
    verify::Verified,
};
use queue::{FileLog, LogConfig};
use rustix::process::Signal;
use std::{
    collections::BTreeSet,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// Implementations whose 202 promises memory only, whatever `--ack` asked for.
const MEMORY_ONLY: [&str; 4] = ["phase2", "phase3", "phase4", "phase5"];

#[test]
fn what_was_acknowledged_at_os_survives_kill_9() {
    for ingest in implementations() {
        survives(&ingest, "os");
    }
}

#[test]
fn what_was_acknowledged_at_disk_survives_kill_9() {
    for ingest in implementations().iter().filter(|name| !MEMORY_ONLY.contains(&name.as_str())) {
        survives(ingest, "disk");
    }
}

/// Every name that `--ingest` takes, as `craft` lists them for who gives a wrong one.
fn implementations() -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let said = text(&output(&["up", "--listen", "127.0.0.1:0", "--data", data, "--ingest", "none"]).stderr);
    let (_, names) = said.trim_end().split_once("choose from ").unwrap_or_else(|| panic!("{said}"));
    names.split(", ").map(str::to_owned).collect()
}

fn survives(ingest: &str, ack: &str) {
    let dir = tempfile::tempdir().unwrap();
    let identity = Identity {
        name: format!("load_{ingest}_{ack}").replace('-', "_"),
        seed: 9,
        base_ms: 1_763_689_000_000,
    };
    let node = Running::node(
        &["serve", "ingest", "--ingest", ingest, "--queue", queue::NAME, "--ack", ack],
        dir.path(),
    );
    let outcome = load_until_killed(&node, &identity);
    drop(node);

    let (log, recovery) =
        FileLog::open(&dir.path().join("queue"), LogConfig::for_groups(&["storage"])).unwrap();
    let found = compare(&log, &identity, &outcome.fates);
    drop(log);
    println!("{ingest}, ack {ack}: {found:?}; {recovery}");
    assert!(found.accepted > 0, "the load was killed before it began");
    assert_eq!(found.wrong, Vec::<String>::new(), "in the log, and should not be");
    let lost = found.accepted - found.found;
    if MEMORY_ONLY.contains(&ingest) {
        println!("{ingest} promises memory: of {} acknowledged samples, {lost} were lost", found.accepted);
    } else {
        assert_eq!(lost, 0, "of {} acknowledged samples", found.accepted);
    }

    let verified = stored_after_a_restart(dir.path(), &identity, &outcome.fates, lost);
    assert_eq!((verified.found, verified.unknown_found), (found.found, found.unknown_found), "{verified:?}");
}

/// What the log holds of the load.
#[derive(Debug, Default)]
struct Found {
    /// Samples of requests that were answered 202.
    accepted: u64,
    /// Of these: in the log.
    found: u64,
    /// In the log, of requests that nobody answered.
    unknown_found: u64,
    /// In the log, and not as it should be: the first few, in words.
    wrong: Vec<String>,
}

/// Holds every sample in the log against the one that was sent.
fn compare(log: &dyn Log, identity: &Identity, fates: &[Fates]) -> Found {
    let accepted = fates.iter().map(|fates| fates.count(Fate::Accepted) * BATCH as u64).sum();
    let mut found = Found { accepted, ..Found::default() };
    let (mut seen, mut records) = (BTreeSet::new(), Records::new());
    let bounds = log.bounds(Partition(0)).unwrap();
    let mut next = bounds.start;
    while next < bounds.end {
        log.fetch(Partition(0), next, FetchLimit::default(), &mut records).unwrap();
        for (offset, payload) in records.iter() {
            let batch = BatchView::parse(payload).unwrap();
            for sample in batch.samples() {
                let labels = batch.labels(sample.series);
                let client: u32 = labels.get("client").parse().unwrap();
                let sequence = u64::try_from(sample.timestamp.0).unwrap() - identity.base_ms;
                let fate = fates[client as usize].get(sequence / BATCH as u64);
                let right = labels.metric_name() == identity.name
                    && sample.value.to_bits() == identity.value(client, sequence).as_f64().to_bits()
                    && seen.insert((client, sequence));
                match fate {
                    Fate::Accepted if right => found.found += 1,
                    Fate::Unknown if right => found.unknown_found += 1,
                    _ if found.wrong.len() < 10 => {
                        found.wrong.push(format!("{fate:?}, right: {right}: {labels:?} {sample:?}"));
                    }
                    _ => {}
                }
            }
            next = Offset(offset.0 + 1);
        }
    }
    found
}

/// Runs a load, kills the server after a second with answers, and returns what became of each request.
fn load_until_killed(node: &Running, identity: &Identity) -> load_tester::Outcome {
    let stop = AtomicBool::new(false);
    load_tester::run(&workload(&node.url, identity), &stop, &mut |second| {
        if second.ok > 0 && !stop.swap(true, Ordering::Relaxed) {
            node.signal(Signal::KILL);
        }
    })
    .unwrap()
}

/// Starts the whole pipeline on the same directory, and asks it for everything.
fn stored_after_a_restart(data: &Path, identity: &Identity, fates: &[Fates], lost: u64) -> Verified {
    let up = Running::node(&["up", "--no-agent"], data);
    within("storage has caught up with the log", || {
        let (_, gauges) = up.get("/metrics");
        gauges.as_str().unwrap().contains("\ncraft_queue_depth_records 0\n").then_some(())
    });
    let verified = check(&up.url, identity, fates, Duration::ZERO);
    assert_eq!(verified.missing, lost, "{verified:?}");
    let wrong = verified.duplicated + verified.altered + verified.refused_found + verified.never_sent_found;
    assert_eq!((wrong, &verified.error), (0, &None), "{verified:?}");
    let (code, said) = up.interrupt();
    assert_eq!(code, Some(0), "{said}");
    verified
}
