//! Slot: a request's samples → the log, by way of a queue in memory and a thread that empties it.
//!
//! A request puts its frame into the queue and is answered. The writer takes all that waits at once, submits it, and
//! flushes once: the disk's time is shared by all of it, and no request spends any.
//!
//! What is wrong with it. The promise: a ticket settles when the queue has the frame, so it is worth
//! [`Ack::Memory`], whatever was configured. What is queued when the process is killed was acknowledged and is lost; so
//! is what the log takes and then loses when it fails: nobody is told, although the log is asked for a new producer and later
//! requests are fine. And the cost: every request takes the one lock, moves its buffers away and makes
//! new ones, and wakes the writer.

use contracts::{
    ingest::IngestConfig,
    queue::{Ack, Log, LogError, NewRecord, Placed, Ticket},
};
use ingest::{
    frame::Frame,
    outlet::Outlet,
    slots::{Handoff, Lost, Submit},
};
use parking_lot::{Condvar, Mutex};
use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::Waker,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Bytes of frames that wait in the queue. Beyond: 503 `queue_full`. One frame may be larger if it is alone, and as much
/// again may be on its way to the log.
const WAITING_BYTES_MAX: usize = 64 << 20;
/// How long a request waits for room in the queue. Without that, whoever is scheduled more often than the writer would have
/// most of its requests refused, although the log could take them.
const ROOM_WAIT: Duration = Duration::from_millis(100);
/// How soon a full log is asked again.
const FULL_RETRY: Duration = Duration::from_millis(10);
/// How often a log that settles late is looked after.
const LATE_LOOK: Duration = Duration::from_millis(100);

/// A queue of frames, and the thread that writes them.
pub struct QueueWriter {
    shared: Arc<Shared>,
    writer: JoinHandle<Result<(), LogError>>,
    partitions: u32,
}

impl Handoff for QueueWriter {
    type Submit = QueueSubmit;

    fn open(config: &IngestConfig, log: Arc<dyn Log>) -> Result<Self, LogError> {
        let partitions = log.partitions();
        let outlet = Outlet::open(log, config.ack)?;
        let state = Mutex::new(State { frames: VecDeque::new(), bytes: 0, closing: false, failure: None });
        let shared = Arc::new(Shared {
            state,
            changed: Condvar::new(),
            room: Condvar::new(),
            waiting_max: config.waiting_batches_max,
        });
        let settle_timeout = config.settle_timeout;
        let frames = VecDeque::new();
        let mut writer = Writer { shared: shared.clone(), outlet, frames, settle_timeout, give_up_at: None };
        let spawned = thread::Builder::new().name("handoff".into()).spawn(move || writer.run_to_the_end());
        let writer = spawned.map_err(|e| LogError::Failed(format!("no thread for the writer: {e}")))?;
        Ok(Self { shared, writer, partitions })
    }

    fn promise(_asked: Ack) -> Ack {
        Ack::Memory
    }

    fn submitter(&self) -> Result<QueueSubmit, LogError> {
        let frame = Frame::new(self.partitions);
        Ok(QueueSubmit { shared: self.shared.clone(), frame, partitions: self.partitions, queued: 0 })
    }

    fn close(self) -> Result<(), LogError> {
        self.shared.state.lock().closing = true;
        self.shared.changed.notify_one();
        self.writer.join().unwrap_or_else(|_| Err(panicked()))
    }
}

struct Shared {
    state: Mutex<State>,
    /// Notified when a frame is queued, and when we are to close.
    changed: Condvar,
    /// Notified when the queue was emptied.
    room: Condvar,
    /// Frames that wait at most.
    waiting_max: usize,
}

/// What the lock protects.
struct State {
    frames: VecDeque<Frame>,
    /// Memory that they hold.
    bytes: usize,
    closing: bool,
    /// Why nothing can be written: the log is away, or the writer has ended.
    failure: Option<LogError>,
}

impl Shared {
    /// Puts a frame into the queue, once there is room.
    fn push(&self, frame: &mut Frame, partitions: u32) -> Result<(), LogError> {
        let bytes = frame.capacity_bytes();
        let give_up_at = Instant::now() + ROOM_WAIT;
        let mut state = self.state.lock();
        loop {
            if let Some(failure) = &state.failure {
                return Err(failure.clone());
            }
            let has_bytes = state.frames.is_empty() || state.bytes + bytes <= WAITING_BYTES_MAX;
            if has_bytes && state.frames.len() < self.waiting_max.max(1) {
                break;
            }
            if self.room.wait_until(&mut state, give_up_at).timed_out() {
                return Err(LogError::Full);
            }
        }
        state.bytes += bytes;
        state.frames.push_back(std::mem::replace(frame, Frame::new(partitions)));
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Waits for frames and takes all that are there; none once we are to close.
    fn take_all(&self) -> VecDeque<Frame> {
        let mut state = self.state.lock();
        while state.frames.is_empty() && !state.closing {
            self.changed.wait(&mut state);
        }
        state.bytes = 0;
        self.room.notify_all();
        std::mem::take(&mut state.frames)
    }
}

/// One thread's way into the queue.
pub struct QueueSubmit {
    shared: Arc<Shared>,
    frame: Frame,
    partitions: u32,
    /// Frames queued so far: the tickets, which settle at once.
    queued: u64,
}

impl Submit for QueueSubmit {
    fn frame(&mut self) -> &mut Frame {
        &mut self.frame
    }

    fn submit(&mut self) -> Result<Ticket, LogError> {
        if self.frame.is_empty() {
            return Ok(Ticket(0)); // nothing to queue
        }
        self.shared.push(&mut self.frame, self.partitions).inspect_err(|_| self.frame.clear())?;
        self.queued += 1;
        Ok(Ticket(self.queued))
    }

    fn flush(&mut self) {}

    fn settled(&mut self) -> Result<Ticket, Lost> {
        Ok(Ticket(self.queued))
    }

    fn wait(&mut self, _upto: Ticket, _at_most: Duration) -> Result<Ticket, Lost> {
        self.settled()
    }

    fn set_waker(&mut self, _waker: Waker) {} // nobody ever waits
}

/// What the writer's thread owns.
struct Writer {
    shared: Arc<Shared>,
    outlet: Outlet,
    /// Taken from the queue and not begun.
    frames: VecDeque<Frame>,
    /// How long the log may stay full or silent once we are closing.
    settle_timeout: Duration,
    /// When that is over.
    give_up_at: Option<Instant>,
}

impl Writer {
    /// Runs; whatever ends it too early is told to every later request.
    fn run_to_the_end(&mut self) -> Result<(), LogError> {
        // After a panic nothing of this is looked at again.
        let ended = catch_unwind(AssertUnwindSafe(|| self.run())).unwrap_or_else(|_| Err(panicked()));
        self.shared.state.lock().failure = ended.clone().err();
        ended
    }

    fn run(&mut self) -> Result<(), LogError> {
        let (mut encoded, mut placed): (Vec<u8>, Vec<Placed>) = (Vec::new(), Vec::new());
        loop {
            if self.frames.is_empty() {
                self.frames = self.shared.take_all();
            }
            if self.frames.is_empty() {
                // All is well, unless the last that was handed over was lost.
                return self.outlet.failure().map_or(Ok(()), |error| Err(error.clone()));
            }
            match self.write(&mut encoded, &mut placed) {
                Ok(()) => self.outlet.works(),
                Err(error) => {
                    self.check_patience(|_| error.clone())?;
                    self.await_log(error)?;
                }
            }
        }
    }

    /// Submits all frames and waits until the log has settled them.
    fn write(&mut self, encoded: &mut Vec<u8>, placed: &mut Vec<Placed>) -> Result<(), LogError> {
        let mut last = Ticket(0);
        // A frame is gone once it is begun: if the log fails now, it is lost. Written again, it might be there twice.
        while let Some(frame) = self.frames.pop_front() {
            for (partition, batch) in frame.batches() {
                encoded.clear();
                batch.encode_into(encoded);
                last = self.submit(NewRecord { partition, payload: encoded })?;
            }
        }
        self.outlet.producer()?.flush()?;
        // Not to acknowledge anything, only so that the queue fills up while the log is slow.
        while self.outlet.producer()?.wait(last, LATE_LOOK)? < last {
            self.check_patience(|timeout| LogError::Failed(format!("not settled after {timeout:?}")))?;
        }
        self.outlet.producer()?.placed(placed); // or the log would have to remember
        placed.clear();
        Ok(())
    }

    /// The producer has failed: refuses requests until there is another. What is queued was acknowledged, and waits.
    fn await_log(&mut self, error: LogError) -> Result<(), LogError> {
        self.shared.state.lock().failure = Some(error.clone());
        self.outlet.give_up(error);
        while let Err(error) = self.outlet.producer().map(|_| ()) {
            let state = self.shared.state.lock();
            if state.closing && state.frames.is_empty() && self.frames.is_empty() {
                return Err(error);
            }
            drop(state);
            self.check_patience(|_| error)?;
            thread::sleep(self.outlet.pause_left().min(LATE_LOOK));
        }
        self.shared.state.lock().failure = None;
        Ok(())
    }

    /// Submits a record, as often as it takes. It was acknowledged: there is no way back.
    fn submit(&mut self, record: NewRecord<'_>) -> Result<Ticket, LogError> {
        loop {
            let producer = self.outlet.producer()?;
            match producer.submit(record) {
                Err(LogError::Full) => producer.flush()?,
                done => return done,
            }
            self.check_patience(|_| LogError::Full)?;
            thread::sleep(FULL_RETRY);
        }
    }

    /// The error, once we have been closing for longer than the log may take.
    fn check_patience(&mut self, error: impl FnOnce(Duration) -> LogError) -> Result<(), LogError> {
        if !self.shared.state.lock().closing {
            return Ok(());
        }
        let at = *self.give_up_at.get_or_insert_with(|| Instant::now() + self.settle_timeout);
        if at <= Instant::now() { Err(error(self.settle_timeout)) } else { Ok(()) }
    }
}

fn panicked() -> LogError {
    LogError::Failed("its writer panicked".into())
}
