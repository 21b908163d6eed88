//! A queue whose disk is full: nothing that was refused is kept, nothing that was acknowledged is lost, and when there
//! is room again it goes on by itself.
//!
//! The disk is a limit on the size of files, which the system enforces in the middle of a write as a full disk does.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop
#![cfg(target_os = "linux")] // for prlimit

mod common;

use common::{post, within};
use contracts::{
    BatchView,
    queue::{FetchLimit, Log, Partition, Records},
};
use queue::{FileLog, LogConfig};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

#[test]
fn a_full_disk_is_back_pressure_and_nothing_worse() {
    let dir = tempfile::tempdir().unwrap();
    let (mut child, url) = start(dir.path());
    let segment = dir.path().join("queue/00000000000000000000.log");
    let mut samples = (0..).map(|i: u32| i.to_string());
    let (mut accepted, mut refused) = (BTreeSet::new(), BTreeSet::new());
    // Returns whether it was taken for sure, and otherwise the code of the refusal.
    let mut send = || {
        let sample: String = samples.next().unwrap();
        let (status, body) = post(&url, "/metrics", &format!(r#"{{"name":"full","value":{sample}}}"#));
        match (status, body["error"]["code"].as_str()) {
            (202, _) => accepted.insert(sample),
            (503, Some("queue_full")) => refused.insert(sample),
            (503, Some("not_settled")) => true,
            other => panic!("{other:?}"),
        };
        (status, body["error"]["code"].as_str().unwrap_or_default().to_owned())
    };
    for _ in 0..20 {
        assert_eq!(send().0, 202);
    }
    limit_files(&child, Some(fs::metadata(&segment).unwrap().len() + 300));
    within("there is no room", || (send().1 == "queue_full").then_some(()));
    for _ in 0..20 {
        assert_eq!(send().1, "queue_full");
    }
    limit_files(&child, None);
    within("it takes samples again", || (send().0 == 202).then_some(()));
    for _ in 0..20 {
        assert_eq!(send().0, 202);
    }
    child.kill().unwrap();
    child.wait().unwrap();

    let (log, recovery) =
        FileLog::open(&dir.path().join("queue"), LogConfig::for_groups(&["storage"])).unwrap();
    assert_eq!(recovery.cut, None, "what the full disk had taken of a frame was written over");
    let mut records = Records::new();
    let start = log.bounds(Partition(0)).unwrap().start;
    log.fetch(Partition(0), start, FetchLimit::default(), &mut records).unwrap();
    let mut found = BTreeSet::new();
    for (_, payload) in records.iter() {
        for sample in BatchView::parse(payload).unwrap().samples() {
            assert!(found.insert(sample.value.to_string()), "{sample:?} is there twice");
        }
    }
    assert!(accepted.is_subset(&found), "lost: {:?}", accepted.difference(&found));
    assert!(refused.is_disjoint(&found), "kept: {:?}", refused.intersection(&found));
}

/// Ingestion with a log of its own, and nothing between the two that could hold batches back. A write beyond the limit must
/// be an error and no signal, as on a full disk; what the shell ignores is ignored by what it becomes.
fn start(data: &Path) -> (Child, String) {
    let mut child = Command::new("sh")
        .args(["-c", r#"trap "" XFSZ; exec "$0" "$@""#, env!("CARGO_BIN_EXE_craft")])
        .args(["serve", "ingest", "--ingest", "phase0-std", "--queue", queue::NAME])
        .args(["--listen", "127.0.0.1:0", "--json", "--data"])
        .arg(data)
        .env_remove("CRAFT_TOKEN")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let started: serde_json::Value = serde_json::from_str(&line).unwrap();
    (child, started["url"].as_str().unwrap().to_owned())
}

/// The most bytes that a file of this process may have.
fn limit_files(child: &Child, bytes: Option<u64>) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    prlimit(pid, Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
}
