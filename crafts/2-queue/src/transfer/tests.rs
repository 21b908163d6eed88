//! What is packed, known again and given as it lies, on a disk in memory.

mod golden;
mod identified;
mod stored;

use crate::{Codec, FileLog, LogConfig, OpenError, Recovery, sim::SimDisk};
use contracts::queue::{FetchLimit, Log, LogError, NewRecord, Offset, Partition, Producer, Records, Ticket};
use std::{thread, time::Duration};

const FIRST: Partition = Partition(0);
/// The first segment.
const SEGMENT: &str = "00000000000000000000.log";
/// Longer than anything takes here.
const PATIENCE: Duration = Duration::from_secs(60);

/// The log in the world of a seed.
fn try_open(disk: &SimDisk, seed: u64, config: LogConfig) -> Result<(FileLog, Recovery), OpenError> {
    FileLog::open_on(disk.outside(seed), None, config)
}

fn open(disk: &SimDisk, config: LogConfig) -> (FileLog, Recovery) {
    // Another salt each time, as in life.
    try_open(disk, fastrand::u64(..), config).unwrap()
}

fn config() -> LogConfig {
    LogConfig::for_groups(&["storage"])
}

fn submit(producer: &mut dyn Producer, payload: &[u8]) -> Result<Ticket, LogError> {
    producer.submit(NewRecord { partition: FIRST, payload })
}

/// Every record of a partition, in fetches of at most a few.
fn records_of(log: &dyn Log, partition: Partition) -> Result<Vec<(u64, Vec<u8>)>, LogError> {
    let (mut all, mut out) = (Vec::new(), Records::new());
    let bounds = log.bounds(partition)?;
    let mut next = bounds.start;
    while next < bounds.end {
        log.fetch(partition, next, FetchLimit { records_max: 7, ..FetchLimit::default() }, &mut out)?;
        assert!(!out.is_empty(), "nothing at {next:?} of {bounds:?}");
        all.extend(out.iter().map(|(offset, payload)| (offset.0, payload.to_vec())));
        next = Offset(all.last().unwrap().0 + 1);
    }
    Ok(all)
}

fn payloads(log: &dyn Log) -> Vec<Vec<u8>> {
    records_of(log, FIRST).unwrap().into_iter().map(|(_, payload)| payload).collect()
}
