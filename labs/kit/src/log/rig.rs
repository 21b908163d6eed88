//! A log on a test's disk, and the few things that tests do with one.

use super::disk::{Files, TestDisk};
use crate::check::{Check, Must, PATIENCE, Unmet, broken, doing, ensure, expect, keep_if_panicked};
use contracts::queue::{
    Ack, Bounds, FetchLimit, Log, LogError, NewRecord, Offset, Partition, Placed, Producer, Records, Ticket,
};
use queue::{LogConfig, OpenError, Recovery, codec::Codec, outside::Outside};
use queue_phases::{OpenPhaseOn as OpenOn, Opened};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Where most tests write to.
pub(super) const FIRST: Partition = Partition(0);
/// The group that holds the log.
pub(super) const GROUP: &str = "reader";
/// A segment of these tests, so that few records fill it.
pub(super) const SEGMENT_BYTES: u64 = 64 << 10;
/// After so much silence a member is expelled.
pub(super) const HEARTBEAT_MS: u64 = 10_000;

/// What a log is opened with.
#[derive(Clone)]
pub(super) struct Rig {
    open: OpenOn,
    pub(super) disk: TestDisk,
    pub(super) config: LogConfig,
    /// Milliseconds; tests move it on.
    uptime_ms: Arc<AtomicU64>,
}

impl Rig {
    /// With an empty disk, one partition, and small segments.
    pub(super) fn new(open: OpenOn) -> Self {
        let config = LogConfig {
            segment_bytes_max: SEGMENT_BYTES,
            heartbeat_timeout: std::time::Duration::from_millis(HEARTBEAT_MS),
            ..LogConfig::for_groups(&[GROUP])
        };
        Self { open, disk: TestDisk::default(), config, uptime_ms: Arc::new(AtomicU64::new(1)) }
    }

    pub(super) fn with_partitions(open: OpenOn, partitions: u32) -> Self {
        let mut rig = Self::new(open);
        rig.config.partitions = partitions;
        rig
    }

    /// Whose log packs what it is given, if it can.
    pub(super) fn packing(open: OpenOn) -> Self {
        let mut rig = Self::new(open);
        rig.config.codec = Codec::Lz4;
        rig
    }

    /// The same with these files on its disk.
    pub(super) fn after(&self, files: &Files) -> Self {
        Self { disk: TestDisk::with(files), ..self.clone() }
    }

    /// Opens the log, or begins one.
    pub(super) fn open(&self) -> Result<(Arc<dyn Log>, Recovery), Unmet> {
        let Opened { log, recovery } = self.try_open().must("the log is opened")?;
        Ok((log, recovery))
    }

    /// The same, where it may refuse.
    pub(super) fn try_open(&self) -> Result<Opened, OpenError> {
        let opened = (self.open)(self.outside(), self.config.clone())?;
        keep_if_panicked(&opened.log);
        Ok(opened)
    }

    pub(super) fn log(&self) -> Result<Arc<dyn Log>, Unmet> {
        self.open().map(|(log, _)| log)
    }

    /// For claims that any log must keep: nothing of it is small.
    pub(super) fn claimed(&self) -> Arc<dyn Log> {
        let config = LogConfig { partitions: 3, ..LogConfig::for_groups(&[GROUP]) };
        match (self.open)(self.outside(), config) {
            Ok(opened) => {
                keep_if_panicked(&opened.log);
                opened.log
            }
            // A claim opens what it likes, and a panic is told with what the log said.
            Err(error) => panic!("a new log cannot be opened: {error}"),
        }
    }

    /// Time passes.
    pub(super) fn pass(&self, ms: u64) {
        self.uptime_ms.fetch_add(ms, Ordering::Relaxed);
    }

    fn outside(&self) -> Outside {
        // Wall time goes with the clock, from some day in 2024 on; salts count, so that no two openings have the same.
        const BEGIN_MS: u64 = 1_720_000_000_000;
        let (uptime, now, salts) = (self.uptime_ms.clone(), self.uptime_ms.clone(), AtomicU64::new(0));
        let seed = self.disk.counts().syncs;
        Outside {
            disk: Arc::new(self.disk.clone()),
            now_ms: Box::new(move || BEGIN_MS + now.load(Ordering::Relaxed)),
            uptime_ms: Box::new(move || uptime.load(Ordering::Relaxed)),
            salt: Box::new(move || {
                // From a counter to something that looks like chance.
                let count = seed.wrapping_mul(1_000).wrapping_add(salts.fetch_add(1, Ordering::Relaxed));
                count.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
            }),
        }
    }
}

pub(super) fn producer(log: &Arc<dyn Log>, ack: Ack) -> Result<Box<dyn Producer>, Unmet> {
    log.producer(ack).must("a producer is asked for")
}

pub(super) fn submit(
    producer: &mut dyn Producer,
    partition: Partition,
    payload: &[u8],
) -> Result<Ticket, Unmet> {
    producer.submit(NewRecord { partition, payload }).must("a record is submitted")
}

/// Submits, flushes, and waits until it has settled.
pub(super) fn append(producer: &mut dyn Producer, partition: Partition, payload: &[u8]) -> Check {
    let ticket = submit(producer, partition, payload)?;
    settle(producer, ticket, "a record, and a flush")
}

/// Flushes, and waits until a ticket has settled.
pub(super) fn settle(producer: &mut dyn Producer, ticket: Ticket, sent: &str) -> Check {
    doing(sent);
    producer.flush().must(sent)?;
    let settled = producer.wait(ticket, PATIENCE).must(sent)?;
    ensure(settled >= ticket, sent, "its ticket settles", format!("only {settled:?} has settled"))
}

/// Where what has settled came to lie.
pub(super) fn places(producer: &mut dyn Producer) -> Vec<u64> {
    let mut placed: Vec<Placed> = Vec::new();
    producer.placed(&mut placed);
    placed.into_iter().map(|placed| placed.offset.0).collect()
}

pub(super) fn bounds(log: &Arc<dyn Log>, partition: Partition) -> Result<Bounds, Unmet> {
    log.bounds(partition).must("the bounds of a partition are asked for")
}

/// One fetch.
pub(super) fn fetch(
    log: &Arc<dyn Log>,
    partition: Partition,
    from: u64,
    records_max: usize,
) -> Result<Vec<(u64, Vec<u8>)>, LogError> {
    let mut records = Records::new();
    log.fetch(partition, Offset(from), FetchLimit { records_max, ..FetchLimit::default() }, &mut records)?;
    Ok(records.iter().map(|(offset, payload)| (offset.0, payload.to_vec())).collect())
}

/// All records of a partition, from its start to its end; damage is passed over if the log says where to go on.
pub(super) fn all(log: &Arc<dyn Log>, partition: Partition) -> Result<Vec<(u64, Vec<u8>)>, Unmet> {
    let sent = "all records of a partition are fetched";
    let Bounds { start, end } = bounds(log, partition)?;
    let (mut next, mut found) = (start.0, Vec::new());
    while next < end.0 {
        match fetch(log, partition, next, 1_000) {
            Ok(records) => match records.last() {
                Some((last, _)) if *last >= next => {
                    next = last + 1;
                    found.extend(records);
                }
                _ => {
                    let expected = format!("a record at {next}, since the partition ends at {}", end.0);
                    return broken(sent, &expected, "none");
                }
            },
            Err(LogError::Damaged { next: after, .. }) if after.0 > next => next = after.0,
            Err(error) => return broken(sent, "records", &format!("the error: {error}")),
        }
    }
    Ok(found)
}

/// A partition must hold these payloads, from offset 0 on.
pub(super) fn expect_all(
    sent: &str,
    log: &Arc<dyn Log>,
    partition: Partition,
    payloads: &[Vec<u8>],
) -> Check {
    let found = all(log, partition)?;
    let count = |records: usize| format!("{records} in all, each at its offset and as it was submitted");
    let right = found.iter().zip(payloads).enumerate();
    let right =
        right.take_while(|(at, (found, payload))| found.0 == *at as u64 && found.1 == **payload).count();
    if right == payloads.len() && found.len() == payloads.len() {
        return Ok(());
    }
    let observed = match found.get(right) {
        None => format!("{right} of them, and then none"),
        Some((offset, payload)) => {
            format!("after {right} of them one at offset {offset}: {}", told(payload))
        }
    };
    broken(sent, &count(payloads.len()), &observed)
}

/// A record, for people.
pub(super) fn told(payload: &[u8]) -> String {
    const SHOWN_BYTES_MAX: usize = 40;
    let plain = payload.iter().take(SHOWN_BYTES_MAX).take_while(|b| b.is_ascii_graphic() || **b == b' ');
    let shown: String = plain.copied().map(char::from).collect();
    if shown.len() == payload.len() {
        format!("{shown:?}")
    } else {
        format!("{shown:?}… ({} bytes)", payload.len())
    }
}

/// `record 7`, a little longer than that.
pub(super) fn payload(number: usize) -> Vec<u8> {
    format!("record {number}, {}", "abcdefghij".repeat(number % 4)).into_bytes()
}

pub(super) fn payloads(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(payload).collect()
}

/// Everything up to here is done, says the group that holds the log.
pub(super) fn commit_all(log: &Arc<dyn Log>) -> Check {
    let sent = "the group commits everything that is there";
    let membership = log.subscribe(GROUP, "m").must(sent)?;
    for partition in (0..log.partitions()).map(Partition) {
        let end = bounds(log, partition)?.end;
        log.commit(&membership, partition, end).must(sent)?;
    }
    Ok(())
}

/// The number of bytes in all files.
pub(super) fn total(files: &Files) -> u64 {
    files.values().map(|bytes| bytes.len() as u64).sum()
}

/// The next offset.
pub(super) fn expect_end(sent: &str, log: &Arc<dyn Log>, end: u64) -> Check {
    let next = |end: u64| format!("the next record gets offset {end}");
    expect(sent, next(end), next(bounds(log, FIRST)?.end.0))
}
