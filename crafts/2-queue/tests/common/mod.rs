//! What the tests of the log have in common.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub)] // shared by several test programs, each using its part

use contracts::queue::{Ack, FetchLimit, Log, NewRecord, Offset, Partition, Records, Ticket};
use queue::{FileLog, LogConfig, Recovery};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

pub const FIRST: Partition = Partition(0);
/// Of a segment, and of a frame: `FORMAT.md`.
pub const SEGMENT_HEAD_BYTES: usize = 1024;
pub const HEAD_BYTES: usize = 72;

pub fn small_segments() -> LogConfig {
    LogConfig { segment_bytes_max: 3000, ..LogConfig::for_groups(&["storage"]) }
}

pub fn one_segment() -> LogConfig {
    LogConfig::for_groups(&["storage"])
}

pub fn open(dir: &Path, config: LogConfig) -> (FileLog, Recovery) {
    FileLog::open(dir, config).unwrap()
}

/// Appends records by one producer, a frame each, and returns when they have settled.
pub fn append(log: &dyn Log, ack: Ack, payloads: &[Vec<u8>]) {
    let mut producer = log.producer(ack).unwrap();
    for payload in payloads {
        producer.submit(NewRecord { partition: FIRST, payload }).unwrap();
        producer.flush().unwrap();
    }
    let all = Ticket(payloads.len() as u64);
    assert_eq!(producer.wait(all, Duration::from_secs(60)), Ok(all));
}

/// Everything that the log holds, in fetches of at most a few records.
pub fn read_all(log: &dyn Log) -> Vec<(u64, Vec<u8>)> {
    let (mut all, mut records) = (Vec::new(), Records::new());
    let bounds = log.bounds(FIRST).unwrap();
    let mut next = bounds.start;
    while next < bounds.end {
        log.fetch(FIRST, next, FetchLimit { records_max: 7, ..FetchLimit::default() }, &mut records).unwrap();
        assert!(!records.is_empty(), "nothing at {next:?} of {bounds:?}");
        all.extend(records.iter().map(|(offset, payload)| (offset.0, payload.to_vec())));
        next = Offset(all.last().unwrap().0 + 1);
    }
    all
}

pub fn commit(log: &dyn Log, group: &str, next: u64) {
    let membership = log.subscribe(group, "member").unwrap();
    log.commit(&membership, FIRST, Offset(next)).unwrap();
}

/// Payloads of many lengths, none like another.
pub fn different(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|i| format!("record {i} ").repeat(i % 5).into_bytes()).collect()
}

pub fn numbered(payloads: &[Vec<u8>]) -> Vec<(u64, Vec<u8>)> {
    (0..).zip(payloads.iter().cloned()).collect()
}

/// The segment files, in order.
pub fn segments(dir: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = files.filter(|path| path.extension().is_some_and(|e| e == "log")).collect();
    found.sort();
    found
}

/// Where frames begin, and their kinds: 0 for records.
pub fn frames(segment: &[u8]) -> Vec<(usize, u8)> {
    let (mut found, mut at) = (Vec::new(), SEGMENT_HEAD_BYTES);
    while segment.get(at + 4..at + 6) == Some(&[0xF5, 2]) {
        found.push((at, segment[at + 7]));
        let body_bytes = u32::from_le_bytes(segment[at + 64..at + 68].try_into().unwrap()) as usize;
        at += (HEAD_BYTES + body_bytes).next_multiple_of(8);
    }
    found.push((at, u8::MAX));
    found
}
