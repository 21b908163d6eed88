//! The log on a disk in memory: full, failing, and after a power cut.

mod crash;
mod damage;
mod errors;
mod faults;
mod golden;

use super::{Guards, Segments, segment};
use crate::{Codec, FileLog, LogConfig, OpenError, Recovery, sim::SimDisk};
use contracts::queue::{FetchLimit, Log, LogError, NewRecord, Offset, Partition, Producer, Records, Ticket};
use std::{thread, time::Duration};

const FIRST: Partition = Partition(0);
/// Longer than anything takes here.
const PATIENCE: Duration = Duration::from_secs(60);

/// The log in the world of a seed, kept by some of its guards.
fn open_guarded(
    disk: &SimDisk,
    seed: u64,
    guards: Guards,
    config: LogConfig,
) -> Result<(FileLog, Recovery), OpenError> {
    FileLog::open_with(disk.outside(seed), None, config, |outside, config| {
        Segments::open_guarded(outside, config, guards)
    })
}

fn try_open(disk: &SimDisk, config: LogConfig) -> Result<(FileLog, Recovery), OpenError> {
    // Another salt each time, as in life.
    open_guarded(disk, fastrand::u64(..), Guards::ALL, config)
}

fn open(disk: &SimDisk, config: LogConfig) -> (FileLog, Recovery) {
    try_open(disk, config).unwrap()
}

fn config() -> LogConfig {
    LogConfig::for_groups(&["storage"])
}

fn submit(producer: &mut dyn Producer, payload: &[u8]) -> Result<Ticket, LogError> {
    producer.submit(NewRecord { partition: FIRST, payload })
}

/// Every record of a partition that can be had, in fetches of at most a few.
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

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if is_so() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("waited in vain until {what}");
}
