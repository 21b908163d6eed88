//! Between 2 and 3: takes records out of the log and writes them to storage.
//!
//! Write, then sync, then commit: a crash between any two of them replays the batch, which changes nothing. It
//! knows only the contracts, so that it serves every log and every storage, here or behind HTTP.
//!
//! What is wrong with it: one thread for all partitions, and one batch after the other.

use contracts::{
    BatchView,
    ingest::Shutdown,
    queue::{FetchLimit, Log, LogError, Membership, Offset, Partition, Records},
    storage::{SeriesWriter, StorageError},
};
use std::{
    thread,
    time::{Duration, Instant},
};

/// How long an idle consumer waits for a record before it looks around.
const IDLE: Duration = Duration::from_millis(100);
/// The pause after a failure doubles from the first to the second of these.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_secs(2);

/// A member of a consumer group that fills a storage.
pub struct Consumer<'a> {
    /// Where from.
    pub log: &'a dyn Log,
    /// Where to.
    pub storage: &'a dyn SeriesWriter,
    /// The group whose offsets are committed.
    pub group: &'a str,
    /// This member's name.
    pub member: &'a str,
    /// Told, in a sentence, of everything that goes wrong.
    pub complain: &'a (dyn Fn(&str) + Sync),
}

/// What a consumer did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Consumed {
    /// Records taken and committed, damaged ones included.
    pub records: u64,
    /// Records that were no batch: nothing can be made of them, so they are passed over.
    pub damaged: u64,
    /// Of the records, those committed after the shutdown was set.
    pub drained: u64,
    /// Whether the log was empty at the end.
    pub complete: bool,
}

enum Failure {
    Log(LogError),
    Storage(StorageError),
}

impl Consumer<'_> {
    /// Consumes until the shutdown is set and the log is empty, or `drain_max` has passed since.
    pub fn run(&self, shutdown: &Shutdown, drain_max: Duration) -> Consumed {
        let mut total = Consumed::default();
        let (mut pause, mut deadline, mut before_stop) = (RETRY_FIRST, None, None);
        let mut membership = None;
        loop {
            let stopping = shutdown.is_set();
            let give_up = stopping && *deadline.get_or_insert(Instant::now() + drain_max) <= Instant::now();
            let before = total;
            if stopping {
                total.drained = total.records - *before_stop.get_or_insert(total.records);
            }
            match self.round(&mut membership, stopping, &mut total) {
                Ok(()) => pause = RETRY_FIRST,
                Err(failure) => {
                    self.explain(&failure, &mut membership);
                    thread::sleep(pause);
                    pause = (pause * 2).min(RETRY_LAST);
                    if !give_up {
                        continue;
                    }
                }
            }
            let idle = total.records == before.records;
            if stopping && (idle || give_up) {
                return Consumed { complete: idle && !give_up, ..total };
            }
        }
    }

    /// One fetch of each of the member's partitions.
    fn round(
        &self,
        held: &mut Option<Membership>,
        stopping: bool,
        total: &mut Consumed,
    ) -> Result<(), Failure> {
        if held.is_none() {
            *held = Some(self.log.subscribe(self.group, self.member).map_err(Failure::Log)?);
        }
        let Some(membership) = held else { return Ok(()) };
        let wait = if stopping { Duration::ZERO } else { IDLE };
        for partition in membership.partitions.clone() {
            self.copy(membership, partition, FetchLimit { wait, ..FetchLimit::default() }, total)?;
        }
        let generation = self.log.heartbeat(membership).map_err(Failure::Log)?;
        if generation != membership.generation {
            *membership = self.log.rejoin(membership).map_err(Failure::Log)?;
        }
        Ok(())
    }

    /// From the committed offset on: fetch, write, sync, commit.
    fn copy(
        &self,
        membership: &Membership,
        partition: Partition,
        limit: FetchLimit,
        total: &mut Consumed,
    ) -> Result<(), Failure> {
        let mut records = Records::new();
        let from = self.first_offset(partition).map_err(Failure::Log)?;
        self.log.fetch(partition, from, limit, &mut records).map_err(Failure::Log)?;
        let (mut next, mut damaged) = (from, 0);
        for (offset, payload) in records.iter() {
            match BatchView::parse(payload) {
                Ok(batch) => self.storage.write(&batch).map_err(Failure::Storage)?,
                Err(e) => {
                    (self.complain)(&format!(
                        "record {} of partition {}: {e}; passed over",
                        offset.0, partition.0
                    ));
                    damaged += 1;
                }
            }
            next = Offset(offset.0 + 1);
        }
        if next > from {
            self.storage.sync().map_err(Failure::Storage)?;
            self.log.commit(membership, partition, next).map_err(Failure::Log)?;
            total.records += records.len() as u64;
            total.damaged += damaged;
        }
        Ok(())
    }

    /// What was committed, unless the log has dropped it since.
    fn first_offset(&self, partition: Partition) -> Result<Offset, LogError> {
        let start = self.log.bounds(partition)?.start;
        Ok(self.log.committed(self.group, partition)?.unwrap_or(start).max(start))
    }

    fn explain(&self, failure: &Failure, membership: &mut Option<Membership>) {
        match failure {
            Failure::Storage(e) => (self.complain)(&format!("storage refused a batch, trying again: {e}")),
            Failure::Log(e) => {
                // Whatever it was, a fresh subscription is the way back: cheap, and right for a restarted log.
                *membership = None;
                (self.complain)(&format!("the log refused, subscribing again: {e}"));
            }
        }
    }
}
