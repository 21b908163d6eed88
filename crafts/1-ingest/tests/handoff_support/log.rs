//! A log in memory that fails, fills up, settles late or panics when it is told to, and remembers everything.

use contracts::{
    BatchView,
    queue::{
        Ack, Bounds, FetchLimit, Log, LogError, Membership, NewRecord, Offset, Partition, Placed, Producer,
        Records, Ticket,
    },
};
use parking_lot::Mutex;
use std::{sync::Arc, task::Waker, time::Duration};

/// The log. Clones share it.
#[derive(Clone)]
pub struct TestLog {
    state: Arc<Mutex<State>>,
    partitions: u32,
}

/// What goes wrong, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Submitting fails for good once so many records were taken.
    SubmitFails { after: usize },
    /// Flushing fails for good once so many records were taken.
    FlushFails { after: usize },
    /// Submitting panics once so many records were taken.
    Panics { after: usize },
}

#[derive(Default)]
struct State {
    partitions: Vec<Vec<Vec<u8>>>,
    taken: usize,
    /// Records that are taken until the log is full; no bound without.
    room: Option<usize>,
    /// How many of them each call may take before the log says that it is full, once.
    hiccup_every: Option<usize>,
    hiccuped: bool,
    /// Tickets settle only when told to.
    holds: bool,
    fault: Option<Fault>,
    flushes: usize,
    wakers: Vec<Waker>,
}

impl TestLog {
    pub fn new(partitions: u32) -> Self {
        let state = State { partitions: (0..partitions).map(|_| Vec::new()).collect(), ..State::default() };
        Self { state: Arc::new(Mutex::new(state)), partitions }
    }

    pub fn with_fault(partitions: u32, fault: Fault) -> Self {
        let log = Self::new(partitions);
        log.state.lock().fault = Some(fault);
        log
    }

    /// From now on so many more records, then it is full; `None` is without bound.
    pub fn set_room(&self, records: Option<usize>) {
        self.state.lock().room = records;
    }

    /// Every so many records it says once that it is full.
    pub fn set_hiccups(&self, every: usize) {
        self.state.lock().hiccup_every = Some(every);
    }

    /// Tickets settle no more until released.
    pub fn hold(&self) {
        self.state.lock().holds = true;
    }

    pub fn release(&self) {
        let mut state = self.state.lock();
        state.holds = false;
        let wakers = state.wakers.clone();
        drop(state);
        wakers.iter().for_each(Waker::wake_by_ref);
    }

    pub fn flushes(&self) -> usize {
        self.state.lock().flushes
    }

    /// Records of all partitions.
    pub fn records(&self) -> usize {
        self.state.lock().taken
    }

    /// The values of a partition, in order.
    pub fn values(&self, partition: u32) -> Vec<f64> {
        let state = self.state.lock();
        let records = &state.partitions[partition as usize];
        let views = records.iter().map(|bytes| BatchView::parse(bytes).unwrap());
        views.flat_map(|view| view.samples().map(|s| s.value).collect::<Vec<_>>()).collect()
    }

    /// The values of all partitions.
    pub fn all_values(&self) -> Vec<f64> {
        (0..self.partitions).flat_map(|partition| self.values(partition)).collect()
    }
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
        Ok(Box::new(TestProducer {
            state: self.state.clone(),
            submitted: 0,
            flushed: 0,
            settled: Mutex::new(0),
        }))
    }

    fn bounds(&self, _: Partition) -> Result<Bounds, LogError> {
        unreachable!("a hand-over only produces")
    }

    fn fetch(&self, _: Partition, _: Offset, _: FetchLimit, _: &mut Records) -> Result<(), LogError> {
        unreachable!("a hand-over only produces")
    }

    fn subscribe(&self, _: &str, _: &str) -> Result<Membership, LogError> {
        unreachable!("a hand-over only produces")
    }

    fn heartbeat(&self, _: &Membership) -> Result<(), LogError> {
        unreachable!("a hand-over only produces")
    }

    fn commit(&self, _: &Membership, _: Partition, _: Offset) -> Result<(), LogError> {
        unreachable!("a hand-over only produces")
    }

    fn committed(&self, _: &str, _: Partition) -> Result<Option<Offset>, LogError> {
        unreachable!("a hand-over only produces")
    }
}

struct TestProducer {
    state: Arc<Mutex<State>>,
    submitted: u64,
    flushed: u64,
    settled: Mutex<u64>,
}

fn dead() -> LogError {
    LogError::Failed("the disk is gone".into())
}

impl Producer for TestProducer {
    fn submit(&mut self, record: NewRecord<'_>) -> Result<Ticket, LogError> {
        let mut state = self.state.lock();
        match state.fault {
            Some(Fault::SubmitFails { after }) if state.taken >= after => return Err(dead()),
            Some(Fault::Panics { after }) if state.taken >= after => panic!("the log has a bug"),
            _ => {}
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
        state.partitions[record.partition.0 as usize].push(record.payload.to_vec());
        state.taken += 1;
        self.submitted += 1;
        Ok(Ticket(self.submitted))
    }

    fn flush(&mut self) -> Result<(), LogError> {
        let mut state = self.state.lock();
        state.flushes += usize::from(self.submitted > self.flushed);
        match state.fault {
            Some(Fault::FlushFails { after }) if state.taken >= after => return Err(dead()),
            _ => self.flushed = self.submitted,
        }
        Ok(())
    }

    fn settled(&self) -> Result<Ticket, LogError> {
        let mut settled = self.settled.lock();
        if !self.state.lock().holds {
            *settled = self.flushed;
        }
        Ok(Ticket(*settled))
    }

    fn wait(&mut self, upto: Ticket, at_most: Duration) -> Result<Ticket, LogError> {
        let begun = std::time::Instant::now();
        loop {
            let settled = self.settled()?;
            if settled >= upto || begun.elapsed() >= at_most {
                return Ok(settled);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn placed(&mut self, _: &mut Vec<Placed>) {}

    fn set_waker(&mut self, waker: Waker) {
        self.state.lock().wakers.push(waker);
    }
}
