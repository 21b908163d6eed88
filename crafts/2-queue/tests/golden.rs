//! The bytes of `FORMAT.md`, held by files that another program wrote.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

mod common;

use common::{FIRST, append, commit, numbered, open, read_all};
use contracts::queue::{Ack, Log, Offset};
use queue::LogConfig;
use std::{fs, path::Path};

const FILES: [&str; 3] = ["00000000000000000000.log", "00000000000000000003.log", "groups"];

fn golden() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/log-v1"))
}

fn payloads() -> Vec<Vec<u8>> {
    vec![b"one".to_vec(), Vec::new(), (0..=255).collect(), b"four".to_vec()]
}

/// The first three records fit a segment, the fourth does not.
fn config() -> LogConfig {
    LogConfig { segment_bytes_max: 330, ..LogConfig::for_groups(&["storage"]) }
}

#[test]
fn what_is_written_is_the_golden_log() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path(), config());
    append(&log, Ack::Os, &payloads());
    commit(&log, "storage", 2);
    log.subscribe("other", "member").unwrap();
    drop(log);
    for name in FILES {
        let written = fs::read(dir.path().join(name)).unwrap();
        assert_eq!(written, fs::read(golden().join(name)).unwrap(), "{name}");
    }
}

#[test]
fn the_golden_log_is_read_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    for name in FILES {
        fs::copy(golden().join(name), dir.path().join(name)).unwrap();
    }
    let (log, recovery) = open(dir.path(), config());
    assert_eq!((recovery.records, recovery.cut, recovery.groups_lost), (4, None, None));
    assert_eq!(read_all(&log), numbered(&payloads()));
    assert_eq!(log.committed("storage", FIRST), Ok(Some(Offset(2))));
    assert_eq!(log.committed("other", FIRST), Ok(None));
}
