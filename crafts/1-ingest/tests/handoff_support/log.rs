//! A log in memory that fails, fills up, settles late or panics when it is told to, and remembers everything.

use contracts::{
    BatchView,
    queue::{
        Ack, Bounds, FetchLimit, GroupStatus, Log, LogError, Membership, NewRecord, Offset, Partition,
        Placed, Producer, Records, Ticket,
    },
};
use parking_lot::Mutex;
use std::{collections::VecDeque, sync::Arc, task::Waker, time::Duration};

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
    /// Each record with the number of its submission.
    partitions: Vec<Vec<(usize, Vec<u8>)>>,
    taken: usize,
    /// Records that are taken until the log is full; no bound without.
    room: Option<usize>,
    /// How many of them each call may take before the log says that it is full, once.
    hiccup_every: Option<usize>,
    hiccuped: bool,
    /// Tickets settle only when told to.
    holds: bool,
    fault: Option<Fault>,
    /// It gives no producer.
    away: bool,
    /// Producers given.
    producers: usize,
    /// Fails now and then, by chance.
    chance: Option<fastrand::Rng>,
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

    /// It works again, or fails by another fault.
    pub fn set_fault(&self, fault: Option<Fault>) {
        let mut state = self.state.lock();
        (state.fault, state.away) = (fault, false);
    }

    /// From now on about one call in twenty fails. Without a seed, none does.
    pub fn set_chance(&self, seed: Option<u64>) {
        self.state.lock().chance = seed.map(fastrand::Rng::with_seed);
    }

    /// Whether its fault has struck, and no producer is to be had.
    pub fn has_failed(&self) -> bool {
        self.state.lock().away
    }

    /// Producers given so far.
    pub fn producers(&self) -> usize {
        self.state.lock().producers
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
        let views = records.iter().map(|(_, bytes)| BatchView::parse(bytes).unwrap());
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
        let mut state = self.state.lock();
        if state.away || state.fails_by_chance() {
            return Err(dead());
        }
        state.producers += 1;
        drop(state);
        Ok(Box::new(TestProducer {
            state: self.state.clone(),
            failed: Mutex::new(false),
            unsettled: VecDeque::new(),
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

    fn heartbeat(&self, _: &Membership) -> Result<u64, LogError> {
        unreachable!("a hand-over only produces")
    }

    fn groups(&self) -> Result<Vec<GroupStatus>, LogError> {
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
    /// It never works again.
    failed: Mutex<bool>,
    /// Numbers of the submissions, from the first that has not been flushed.
    unsettled: VecDeque<usize>,
    submitted: u64,
    flushed: u64,
    settled: Mutex<u64>,
}

fn dead() -> LogError {
    LogError::Failed("the disk is gone".into())
}

impl State {
    fn fails_by_chance(&mut self) -> bool {
        self.chance.as_mut().is_some_and(|chance| chance.u8(..20) == 0)
    }

    /// A producer has failed. Of what it took and has not settled, some is in the log and some is not.
    fn fail(&mut self, unsettled: &VecDeque<usize>) -> LogError {
        if let Some(chance) = &mut self.chance {
            let gone: Vec<usize> = unsettled.iter().copied().filter(|_| chance.bool()).collect();
            for records in &mut self.partitions {
                records.retain(|(number, _)| !gone.contains(number));
            }
        }
        // A fault is for good: there are no more producers either.
        self.away |= self.fault.is_some();
        dead()
    }
}

impl TestProducer {
    fn check(&self) -> Result<(), LogError> {
        if *self.failed.lock() { Err(dead()) } else { Ok(()) }
    }

    fn fail(&self, state: &mut State) -> LogError {
        *self.failed.lock() = true;
        state.fail(&self.unsettled)
    }
}

impl Producer for TestProducer {
    fn submit(&mut self, record: NewRecord<'_>) -> Result<Ticket, LogError> {
        self.check()?;
        let log = self.state.clone();
        let mut state = log.lock();
        if state.fails_by_chance() {
            return Err(self.fail(&mut state));
        }
        match state.fault {
            Some(Fault::SubmitFails { after }) if state.taken >= after => return Err(self.fail(&mut state)),
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
        let number = state.taken;
        state.partitions[record.partition.0 as usize].push((number, record.payload.to_vec()));
        self.unsettled.push_back(number);
        state.taken += 1;
        self.submitted += 1;
        Ok(Ticket(self.submitted))
    }

    fn flush(&mut self) -> Result<(), LogError> {
        self.check()?;
        let log = self.state.clone();
        let mut state = log.lock();
        state.flushes += usize::from(self.submitted > self.flushed);
        if state.fails_by_chance() {
            return Err(self.fail(&mut state));
        }
        match state.fault {
            Some(Fault::FlushFails { after }) if state.taken >= after => return Err(self.fail(&mut state)),
            _ => self.flushed = self.submitted,
        }
        if !state.holds {
            self.unsettled.clear();
        }
        Ok(())
    }

    fn settled(&self) -> Result<Ticket, LogError> {
        self.check()?;
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
