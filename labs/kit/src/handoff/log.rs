//! A log in memory that fails, fills up or settles late when it is told to, and remembers everything.

use contracts::{
    BatchView,
    queue::{
        Ack, Bounds, FetchLimit, GroupStatus, Log, LogError, Membership, NewRecord, Offset, Partition,
        Placed, Producer, Records, Ticket,
    },
};
use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::Waker,
    thread,
    time::Duration,
};

/// Why a log that was told to fail fails.
pub(super) const GONE: &str = "the disk is gone";

/// The log. Clones share it.
#[derive(Clone)]
pub(super) struct TestLog {
    shared: Arc<Shared>,
    partitions: u32,
}

/// What goes wrong, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Submitting fails once so many records were taken, and so does asking for another producer.
    SubmitFails { after: usize },
    /// The same of flushing.
    FlushFails { after: usize },
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Notified when tickets may settle again.
    released: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // What it protects is whole at any time, so that a test that panicked does no harm.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct State {
    /// Records by partition.
    partitions: Vec<Vec<Vec<u8>>>,
    taken: usize,
    /// Records that are taken until the log is full; no bound without.
    room: Option<usize>,
    /// How many each call may take before the log says once that it is full.
    hiccup_every: Option<usize>,
    hiccuped: bool,
    /// Tickets settle only when told to.
    holds: bool,
    fault: Option<Fault>,
    /// Its fault has struck: it gives no producer.
    away: bool,
    flushes: usize,
    /// How long each of them takes.
    flush_time: Duration,
    wakers: Vec<Waker>,
}

impl TestLog {
    pub(super) fn new(partitions: u32) -> Self {
        let state = State { partitions: (0..partitions).map(|_| Vec::new()).collect(), ..State::default() };
        Self { shared: Arc::new(Shared { state: Mutex::new(state), ..Shared::default() }), partitions }
    }

    pub(super) fn with_fault(partitions: u32, fault: Fault) -> Self {
        let log = Self::new(partitions);
        log.set_fault(Some(fault));
        log
    }

    /// From now on so many more records, then it is full; `None` is without bound.
    pub(super) fn set_room(&self, records: Option<usize>) {
        self.shared.lock().room = records;
    }

    /// Every so many records it says once that it is full.
    pub(super) fn set_hiccups(&self, every: usize) {
        self.shared.lock().hiccup_every = Some(every);
    }

    /// Tickets settle no more until released.
    pub(super) fn hold(&self) {
        self.shared.lock().holds = true;
    }

    pub(super) fn release(&self) {
        let mut state = self.shared.lock();
        state.holds = false;
        let wakers = state.wakers.clone();
        drop(state);
        self.shared.released.notify_all();
        wakers.iter().for_each(Waker::wake_by_ref);
    }

    /// It works again, or fails by another fault.
    pub(super) fn set_fault(&self, fault: Option<Fault>) {
        let mut state = self.shared.lock();
        (state.fault, state.away) = (fault, false);
    }

    /// Whether its fault has struck.
    pub(super) fn has_failed(&self) -> bool {
        self.shared.lock().away
    }

    /// From now on each flush of something takes so long.
    pub(super) fn set_flush_time(&self, time: Duration) {
        self.shared.lock().flush_time = time;
    }

    /// Flushes that had something to flush.
    pub(super) fn flushes(&self) -> usize {
        self.shared.lock().flushes
    }

    /// Records of all partitions.
    pub(super) fn records(&self) -> usize {
        self.shared.lock().taken
    }

    /// The values of a partition, in order; a record that is no batch is a value that nobody sends.
    pub(super) fn values(&self, partition: u32) -> Vec<f64> {
        let state = self.shared.lock();
        let records = usize::try_from(partition).ok().and_then(|at| state.partitions.get(at));
        let values = |bytes: &Vec<u8>| match BatchView::parse(bytes) {
            Ok(view) => view.samples().map(|sample| sample.value).collect::<Vec<_>>(),
            Err(_) => vec![f64::NAN],
        };
        records.into_iter().flatten().flat_map(values).collect()
    }

    /// The values of all partitions.
    pub(super) fn all_values(&self) -> Vec<f64> {
        (0..self.partitions).flat_map(|partition| self.values(partition)).collect()
    }
}

fn not_read<T>() -> Result<T, LogError> {
    Err(LogError::Failed("a hand-over only produces".to_owned()))
}

impl Log for TestLog {
    fn partitions(&self) -> u32 {
        self.partitions
    }

    fn ack_max(&self) -> Ack {
        Ack::Os
    }

    fn producer(&self, ack: Ack) -> Result<Box<dyn Producer>, LogError> {
        if ack > self.ack_max() {
            return Err(LogError::AckTooStrong { asked: ack, best: self.ack_max() });
        }
        if self.shared.lock().away {
            return Err(gone());
        }
        let shared = self.shared.clone();
        Ok(Box::new(TestProducer { shared, failed: false, submitted: 0, flushed: 0, settled: Mutex::new(0) }))
    }

    fn bounds(&self, _: Partition) -> Result<Bounds, LogError> {
        not_read()
    }

    fn fetch(&self, _: Partition, _: Offset, _: FetchLimit, _: &mut Records) -> Result<(), LogError> {
        not_read()
    }

    fn subscribe(&self, _: &str, _: &str) -> Result<Membership, LogError> {
        not_read()
    }

    fn heartbeat(&self, _: &Membership) -> Result<u64, LogError> {
        not_read()
    }

    fn groups(&self) -> Result<Vec<GroupStatus>, LogError> {
        not_read()
    }

    fn commit(&self, _: &Membership, _: Partition, _: Offset) -> Result<(), LogError> {
        not_read()
    }

    fn committed(&self, _: &str, _: Partition) -> Result<Option<Offset>, LogError> {
        not_read()
    }
}

struct TestProducer {
    shared: Arc<Shared>,
    /// It never works again.
    failed: bool,
    submitted: u64,
    flushed: u64,
    settled: Mutex<u64>,
}

fn gone() -> LogError {
    LogError::Failed(GONE.into())
}

impl TestProducer {
    fn check(&self) -> Result<(), LogError> {
        if self.failed { Err(gone()) } else { Ok(()) }
    }
}

impl Producer for TestProducer {
    fn submit(&mut self, record: NewRecord<'_>) -> Result<Ticket, LogError> {
        self.check()?;
        let mut state = self.shared.lock();
        if matches!(state.fault, Some(Fault::SubmitFails { after }) if state.taken >= after) {
            state.away = true;
            self.failed = true;
            return Err(gone());
        }
        if state.hiccup_every.is_some_and(|every| state.taken % every == every - 1) && !state.hiccuped {
            state.hiccuped = true;
            return Err(LogError::Full);
        }
        state.hiccuped = false;
        match &mut state.room {
            Some(0) => return Err(LogError::Full),
            Some(room) => *room -= 1,
            None => {}
        }
        let (asked, partitions) = (record.partition, state.partitions.len());
        let at = usize::try_from(asked.0).ok().filter(|at| *at < partitions);
        let at = at.ok_or(LogError::NoSuchPartition {
            asked,
            partitions: u32::try_from(partitions).unwrap_or(u32::MAX),
        })?;
        state.partitions[at].push(record.payload.to_vec());
        state.taken += 1;
        self.submitted += 1;
        Ok(Ticket(self.submitted))
    }

    fn flush(&mut self) -> Result<(), LogError> {
        self.check()?;
        let mut state = self.shared.lock();
        state.flushes += usize::from(self.submitted > self.flushed);
        if matches!(state.fault, Some(Fault::FlushFails { after }) if state.taken >= after) {
            state.away = true;
            self.failed = true;
            return Err(gone());
        }
        let time = if self.submitted > self.flushed { state.flush_time } else { Duration::ZERO };
        drop(state);
        thread::sleep(time);
        self.flushed = self.submitted;
        Ok(())
    }

    fn settled(&self) -> Result<Ticket, LogError> {
        self.check()?;
        let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.shared.lock().holds {
            *settled = self.flushed;
        }
        Ok(Ticket(*settled))
    }

    fn wait(&mut self, upto: Ticket, at_most: Duration) -> Result<Ticket, LogError> {
        // What has not been flushed never settles while this thread waits.
        let late = |state: &mut State| state.holds && upto.0 <= self.flushed;
        let state = self.shared.lock();
        drop(self.shared.released.wait_timeout_while(state, at_most, late));
        self.settled()
    }

    fn placed(&mut self, _: &mut Vec<Placed>) {}

    fn set_waker(&mut self, waker: Waker) {
        self.shared.lock().wakers.push(waker);
    }
}
