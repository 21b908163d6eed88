//! How the claims talk to a log.

use super::told::Owned;
use crate::claim::{Check, Explain, PATIENCE, equal, refused};
use contracts::queue::{
    Ack, Bounds, FetchLimit, Log, LogError, Membership, NewRecord, Offset, Partition, Producer, Records,
    Ticket,
};
use std::{
    thread,
    time::{Duration, Instant},
};

/// The partition that every log has.
pub(super) const FIRST: Partition = Partition(0);

/// As much as a claim ever needs, without waiting.
pub(super) fn all() -> FetchLimit {
    FetchLimit { records_max: 10_000, bytes_max: 32 << 20, wait: Duration::ZERO }
}

pub(super) fn partitions(log: &dyn Log) -> impl Iterator<Item = Partition> + use<> {
    (0..log.partitions()).map(Partition)
}

/// Every acknowledgement that this log can give.
pub(super) fn levels(log: &dyn Log) -> Vec<Ack> {
    [Ack::Memory, Ack::Os, Ack::Disk].into_iter().filter(|ack| *ack <= log.ack_max()).collect()
}

/// `stem 0000`, `stem 0001`, …
pub(super) fn numbered(stem: &str, count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|i| format!("{stem} {i:04}").into_bytes()).collect()
}

/// Appends all payloads with a producer of their own and returns their offsets.
pub(super) fn append(
    log: &dyn Log,
    ack: Ack,
    to: Partition,
    payloads: &[Vec<u8>],
) -> Result<Vec<u64>, String> {
    let mut producer = log.producer(ack).explain("producer")?;
    let mut last = Ticket(0);
    for payload in payloads {
        last = submit(&mut *producer, to, payload)?;
    }
    settle(&mut *producer, last)?;
    let mut placed = Vec::new();
    producer.placed(&mut placed);
    equal("placed after a flush and a wait, how many", &placed.len(), &payloads.len())?;
    Ok(placed.iter().map(|p| p.offset.0).collect())
}

/// Submits one record; back-pressure is legal, and passes once what is under way has been flushed.
pub(super) fn submit(
    producer: &mut dyn Producer,
    partition: Partition,
    payload: &[u8],
) -> Result<Ticket, String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match producer.submit(NewRecord { partition, payload }) {
            Err(LogError::Full) if Instant::now() < deadline => {
                producer.flush().explain("flush under back-pressure")?;
                thread::sleep(Duration::from_millis(1));
            }
            result => return result.explain("submit"),
        }
    }
}

/// Flushes and waits until everything up to `last` has settled.
pub(super) fn settle(producer: &mut dyn Producer, last: Ticket) -> Check {
    producer.flush().explain("flush")?;
    equal("a flush, and a wait for the last ticket", &producer.wait(last, PATIENCE).explain("wait")?, &last)
}

pub(super) fn fetch(
    log: &dyn Log,
    partition: Partition,
    from: u64,
    limit: FetchLimit,
) -> Result<Vec<Owned>, String> {
    let mut records = Records::new();
    log.fetch(partition, Offset(from), limit, &mut records).explain(&format!("fetch from {from}"))?;
    Ok(owned(&records))
}

/// Everything that a partition holds, in as many fetches as that takes.
pub(super) fn read_all(log: &dyn Log, partition: Partition) -> Result<Vec<Owned>, String> {
    let Bounds { start, end } = bounds(log, partition)?;
    let mut all_records = Vec::new();
    let mut next = start.0;
    while next < end.0 {
        let mut records = fetch(log, partition, next, all())?;
        let last = records.last().map(|(offset, _)| *offset);
        next = last.ok_or_else(|| {
            format!(
                "a fetch from {next} where the log holds {}..{}: expected records; got none",
                start.0, end.0
            )
        })? + 1;
        all_records.append(&mut records);
    }
    Ok(all_records)
}

pub(super) fn bounds(log: &dyn Log, partition: Partition) -> Result<Bounds, String> {
    log.bounds(partition).explain("bounds")
}

pub(super) fn committed(log: &dyn Log, group: &str, partition: Partition) -> Result<Option<u64>, String> {
    Ok(log.committed(group, partition).explain("committed")?.map(|o| o.0))
}

pub(super) fn owned(records: &Records) -> Vec<Owned> {
    records.iter().map(|(offset, payload)| (offset.0, payload.to_vec())).collect()
}

pub(super) fn offsets_of(records: &[Owned]) -> Vec<u64> {
    records.iter().map(|(offset, _)| *offset).collect()
}

pub(super) fn out_of_range(asked: u64, start: u64, end: u64) -> LogError {
    LogError::OffsetOutOfRange {
        asked: Offset(asked),
        bounds: Bounds { start: Offset(start), end: Offset(end) },
    }
}

pub(super) fn is_fenced(what: &str, result: &Result<(), LogError>, who: &Membership, current: u64) -> Check {
    let expected = LogError::Fenced { group: who.group.clone(), asked: who.generation, current };
    refused(what, result, &format!("{expected:?}"), |e| *e == expected)
}
