//! The log on a disk in memory: full, failing, and after a power cut.

mod crash;
mod damage;
mod faults;
mod golden;

use crate::{
    FileLog, LogConfig, OpenError, Recovery,
    log::{Guards, Outside},
    sim::SimDisk,
};
use contracts::queue::{FetchLimit, Log, LogError, NewRecord, Offset, Partition, Producer, Records, Ticket};
use parking_lot::Mutex;
use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

const FIRST: Partition = Partition(0);
/// Longer than anything takes here.
const PATIENCE: Duration = Duration::from_secs(60);

/// A world in which everything follows from the seed. A clock that ticks each time it is looked at.
fn outside(disk: &SimDisk, seed: u64, guards: Guards) -> Outside {
    let (ticks, salts) = (AtomicU64::new(1_763_689_000_000), Mutex::new(fastrand::Rng::with_seed(seed)));
    Outside {
        disk: std::sync::Arc::new(disk.clone()),
        now_ms: Box::new(move || ticks.fetch_add(1, Ordering::Relaxed)),
        salt: Box::new(move || salts.lock().u64(..)),
        guards,
    }
}

fn try_open(disk: &SimDisk, config: LogConfig) -> Result<(FileLog, Recovery), OpenError> {
    // Another salt each time, as in life.
    FileLog::open_on(outside(disk, fastrand::u64(..), Guards::ALL), None, config)
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
