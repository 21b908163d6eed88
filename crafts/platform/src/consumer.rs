//! Between the log and storage: a member of a group that takes records out of the one and writes them to the other.
//!
//! Each round fetches from every partition that it holds, writes all that it got, syncs storage once, and only then commits:
//! a crash anywhere between replays what was not committed, which changes nothing in storage. It knows only the contracts,
//! so that it serves every log and every storage, here or behind HTTP.
//!
//! What it owns: where it stands in each partition. That moves with a commit and at no other time, so that whatever goes
//! wrong before it is done again. What is lost, to damage or to retention, is told, counted and passed.
//!
//! A thread of its own says that it is alive, so that a storage that takes long gets nobody expelled. A storage that never
//! returns keeps its partitions, then: whoever watches the lag sees it.
//!
//! What it deliberately does not do: write from several threads. Who wants more starts a second storage service.

#[cfg(test)]
mod tests;

use contracts::{
    BatchView,
    ingest::Shutdown,
    queue::{FetchLimit, Log, LogError, Membership, Offset, Partition, Records},
    storage::{SeriesWriter, StorageError},
};
use std::{
    collections::BTreeMap,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// How long an idle round waits for a record, all its partitions together.
const IDLE: Duration = Duration::from_millis(100);
/// How often it says that it is alive. It hears in this time that it should rejoin, so that a rebalance does not take much
/// longer than the log needs to notice who is gone.
const HEARTBEAT_EVERY: Duration = Duration::from_millis(50);
/// The pause after a failure doubles from the first to the second of these.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_secs(2);

/// A member of a consumer group that fills a storage.
pub(crate) struct Consumer<'a> {
    /// Where from.
    pub(crate) log: &'a dyn Log,
    /// Where to.
    pub(crate) storage: &'a dyn SeriesWriter,
    /// The group whose offsets are committed.
    pub(crate) group: &'a str,
    /// This member's name. The same after a restart, so that the former self's partitions are free at once.
    pub(crate) member: &'a str,
    /// Told, in a sentence, of everything that goes wrong.
    pub(crate) complain: &'a (dyn Fn(&str) + Sync),
    /// Told how many records are lost.
    pub(crate) lost: &'a (dyn Fn(u64) + Sync),
}

/// What a consumer did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Consumed {
    /// Records taken and committed, damaged ones included.
    pub records: u64,
    /// Records that were no batch: nothing can be made of them, so they are passed over.
    pub damaged: u64,
    /// Records that the log could not give any more.
    pub lost: u64,
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
    /// Consumes until the shutdown is set and the log is empty, or `drain_max` has passed since; then leaves the group.
    pub(crate) fn run(&self, shutdown: &Shutdown, drain_max: Duration) -> Consumed {
        let seat = Seat::default();
        thread::scope(|scope| {
            // Ends the other thread however this one ends.
            let _vacated = Vacated(&seat);
            scope.spawn(|| self.keep_alive(&seat));
            let consumed = self.consume(&seat, shutdown, drain_max);
            let membership = seat.lock().membership.clone();
            // Who cannot say so is expelled after a while.
            let _ = membership.map(|membership| self.log.leave(&membership));
            consumed
        })
    }

    fn consume(&self, seat: &Seat, shutdown: &Shutdown, drain_max: Duration) -> Consumed {
        let mut stand = Stand::default();
        let (mut pause, mut deadline, mut before_stop) = (RETRY_FIRST, None, None);
        loop {
            let stopping = shutdown.is_set();
            let give_up = stopping && *deadline.get_or_insert(Instant::now() + drain_max) <= Instant::now();
            let before = stand.total;
            if stopping {
                before_stop.get_or_insert(before.records);
            }
            let wait = if stopping { Duration::ZERO } else { IDLE };
            match self.round(seat, wait, &mut stand) {
                Ok(()) => pause = RETRY_FIRST,
                Err(failure) => {
                    self.explain(&failure, seat);
                    if !give_up {
                        thread::sleep(pause);
                        pause = (pause * 2).min(RETRY_LAST);
                        continue;
                    }
                }
            }
            let idle = stand.total == before;
            if stopping && (idle || give_up) {
                let drained = stand.total.records - before_stop.unwrap_or_default();
                return Consumed { complete: idle && !give_up, drained, ..stand.total };
            }
        }
    }

    /// One fetch of each partition, one sync, one commit of each that has moved.
    fn round(&self, seat: &Seat, wait: Duration, stand: &mut Stand) -> Result<(), Failure> {
        let membership = self.take_seat(seat, stand).map_err(Failure::Log)?;
        if membership.partitions.is_empty() {
            // Others hold them all, until they have heard of this one.
            thread::sleep(wait.min(HEARTBEAT_EVERY));
            return Ok(());
        }
        let mut moved = Vec::new();
        let mut share = wait / u32::try_from(membership.partitions.len()).unwrap_or(u32::MAX);
        for partition in membership.partitions.iter().copied() {
            if let Some(step) = self.write(partition, share, stand)? {
                moved.push(step);
                share = Duration::ZERO; // there is something to do
            }
        }
        if moved.iter().any(|step| step.records > 0) {
            self.storage.sync().map_err(Failure::Storage)?;
        }
        for step in moved {
            self.log.commit(&membership, step.partition, step.next).map_err(Failure::Log)?;
            stand.advance(&step);
            (self.lost)(step.lost);
        }
        Ok(())
    }

    /// Fetches from where it stands and writes what it got. Nothing of it is committed, or even synced.
    fn write(
        &self,
        partition: Partition,
        wait: Duration,
        stand: &mut Stand,
    ) -> Result<Option<Step>, Failure> {
        let from = match stand.next.get(&partition) {
            Some(next) => *next,
            None => {
                *stand.next.entry(partition).or_insert(self.first_offset(partition).map_err(Failure::Log)?)
            }
        };
        let mut step = Step { partition, next: from, records: 0, damaged: 0, lost: 0 };
        match self.log.fetch(
            partition,
            from,
            FetchLimit { wait, ..FetchLimit::default() },
            &mut stand.records,
        ) {
            Ok(()) => {}
            Err(LogError::Damaged { next, .. }) if next > from => {
                return Ok(Some(self.pass(step, next, "damaged")));
            }
            Err(LogError::OffsetOutOfRange { bounds, .. }) if bounds.start > from => {
                return Ok(Some(self.pass(step, bounds.start, "dropped before they were stored")));
            }
            Err(e) => return Err(Failure::Log(e)),
        }
        for (offset, payload) in stand.records.iter() {
            match BatchView::parse(payload) {
                Ok(batch) => self.storage.write(&batch).map_err(Failure::Storage)?,
                Err(e) => {
                    let why = format!("record {} of partition {}: {e}; passed over", offset.0, partition.0);
                    (self.complain)(&why);
                    step.damaged += 1;
                }
            }
            step.records += 1;
            step.next = Offset(offset.0 + 1);
        }
        Ok((step.next > from).then_some(step))
    }

    /// Goes on behind what is lost.
    fn pass(&self, step: Step, next: Offset, why: &str) -> Step {
        let lost = next.0 - step.next.0;
        (self.complain)(&format!(
            "LOST: {lost} records of partition {}, {} to {}, are {why}; going on at {}",
            step.partition.0,
            step.next.0,
            next.0 - 1,
            next.0
        ));
        Step { next, lost, ..step }
    }

    /// What was committed, as far as the log still has it.
    fn first_offset(&self, partition: Partition) -> Result<Offset, LogError> {
        let bounds = self.log.bounds(partition)?;
        Ok(self.log.committed(self.group, partition)?.unwrap_or(bounds.start).min(bounds.end))
    }

    /// Its place in the group: a new one, or the one that it has, moved on to the group's current generation.
    fn take_seat(&self, seat: &Seat, stand: &mut Stand) -> Result<Membership, LogError> {
        let (held, current) = {
            let state = seat.lock();
            (state.membership.clone(), state.current)
        };
        let membership = match held {
            Some(held) if current <= held.generation => return Ok(held),
            Some(held) => self.log.rejoin(&held)?,
            None => {
                // Somebody else may have gone on from where this one stood.
                stand.next.clear();
                self.log.subscribe(self.group, self.member)?
            }
        };
        stand.next.retain(|partition, _| membership.partitions.contains(partition));
        seat.lock().sit(membership.clone());
        Ok(membership)
    }

    fn explain(&self, failure: &Failure, seat: &Seat) {
        match failure {
            Failure::Storage(e) => (self.complain)(&format!("storage refused a batch, trying again: {e}")),
            Failure::Log(e @ (LogError::Fenced { .. } | LogError::OffsetOutOfRange { .. })) => {
                seat.lock().membership = None;
                (self.complain)(&format!("subscribing again: {e}"));
            }
            Failure::Log(e) => (self.complain)(&format!("the log refused, trying again: {e}")),
        }
    }

    /// Says that the member is alive, until its seat is vacated.
    fn keep_alive(&self, seat: &Seat) {
        let mut state = seat.lock();
        while !state.vacated {
            let waited = seat.vacated.wait_timeout(state, HEARTBEAT_EVERY);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            let Some(membership) = state.membership.clone().filter(|_| !state.vacated) else { continue };
            drop(state);
            let alive = self.log.heartbeat(&membership);
            state = seat.lock();
            // Of a membership that is over by now it says nothing.
            if state.membership.as_ref().is_none_or(|now| now.generation != membership.generation) {
                continue;
            }
            match alive {
                Ok(generation) => state.current = generation,
                Err(LogError::Fenced { .. }) => state.membership = None,
                // The other thread has the same trouble, and says so.
                Err(_) => {}
            }
        }
    }
}

/// What the two threads share.
#[derive(Default)]
struct Seat {
    state: Mutex<Seated>,
    /// Notified when the consumer ends.
    vacated: Condvar,
}

#[derive(Default)]
struct Seated {
    /// None before the first subscription, and once it is fenced.
    membership: Option<Membership>,
    /// The group's generation, as a heartbeat has told it.
    current: u64,
    vacated: bool,
}

impl Seat {
    fn lock(&self) -> MutexGuard<'_, Seated> {
        // Nobody panics while it is held, and what it holds is whole at any time.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seated {
    fn sit(&mut self, membership: Membership) {
        self.current = membership.generation;
        self.membership = Some(membership);
    }
}

struct Vacated<'s>(&'s Seat);

impl Drop for Vacated<'_> {
    fn drop(&mut self) {
        self.0.lock().vacated = true;
        self.0.vacated.notify_all();
    }
}

/// Where the consumer stands.
#[derive(Default)]
struct Stand {
    /// By partition: what is fetched next. Everything before is committed.
    next: BTreeMap<Partition, Offset>,
    total: Consumed,
    /// Only to be filled again.
    records: Records,
}

/// What a round got out of one partition.
#[derive(Clone, Copy)]
struct Step {
    partition: Partition,
    next: Offset,
    records: u64,
    damaged: u64,
    lost: u64,
}

impl Stand {
    fn advance(&mut self, step: &Step) {
        self.next.insert(step.partition, step.next);
        self.total.records += step.records;
        self.total.damaged += step.damaged;
        self.total.lost += step.lost;
    }
}
