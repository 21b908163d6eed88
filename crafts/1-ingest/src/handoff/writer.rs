//! The thread between the rings and the log.
//!
//! It takes a frame from each ring in turn, makes records of its batches, flushes the log once for all of them, and tells
//! each ring how far it has settled. It sleeps only when every ring is empty, or while there is no log.

use super::{FRAME_KEPT_BYTES_MAX, Lane, Parker, Shared, bytes_of};
use contracts::queue::{LogError, NewRecord, Placed, Producer, Ticket};
use ingest::{
    frame::Frame,
    outlet::{Outlet, reason_of},
    ring::{Popper, Pusher},
};
use std::{
    any::Any,
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
    task::Waker,
    thread,
    time::{Duration, Instant},
};

/// The log is flushed after so many bytes, although more is waiting: the first of them should not wait for the last.
const ROUND_BYTES: usize = 1 << 20;
/// The buffer in which a batch is encoded is cut back to this when there is time.
const ENCODED_KEPT_BYTES_MAX: usize = 1 << 20;
/// A log that is full is asked again after this, and then after twice as long each time …
const FULL_RETRY_MIN: Duration = Duration::from_millis(1);
/// … but no longer than this.
const FULL_RETRY_MAX: Duration = Duration::from_millis(32);
/// A log that settles late rings when it has; in case it forgets, it is also asked this often.
const LATE_LOOK: Duration = Duration::from_millis(20);

/// What the thread owns.
pub(super) struct Writer {
    shared: Arc<Shared>,
    outlet: Outlet,
    inlets: Vec<Inlet>,
    /// The inlet whose turn it is.
    next: usize,
    /// A batch in its binary form.
    encoded: Vec<u8>,
    /// Where records came to lie; nobody here wants to know, and the log must not have to remember.
    placed: Vec<Placed>,
    /// How long to leave a full log alone.
    full_retry: Duration,
    /// How long a log may stay full or silent once we are closing.
    settle_timeout: Duration,
}

/// What came of asking every ring for frames.
enum Round {
    /// There were none.
    Idle,
    /// Some were handed to the log.
    Busy,
    /// The log takes no more.
    LogFull,
    /// There is no log, and what was there is lost.
    LogAway,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, outlet: Outlet, settle_timeout: Duration) -> Self {
        Self {
            shared,
            outlet,
            inlets: Vec::new(),
            next: 0,
            encoded: Vec::new(),
            placed: Vec::new(),
            full_retry: FULL_RETRY_MIN,
            settle_timeout,
        }
    }

    /// Runs; whatever ends it too early is told to everybody who waits.
    pub(super) fn run_to_the_end(&mut self) -> Result<(), LogError> {
        // The state is looked at no more after a panic, but for the lanes, which have a bell and two counters.
        let ended = catch_unwind(AssertUnwindSafe(|| self.run()));
        let ended = ended.unwrap_or_else(|panic| Err(LogError::Failed(panic_text(&*panic))));
        if let Err(error) = &ended {
            self.fail(error);
        }
        ended
    }

    fn run(&mut self) -> Result<(), LogError> {
        let this_thread = Waker::from(Arc::new(Parker(thread::current())));
        self.outlet.set_waker(this_thread.clone());
        self.shared.bell.set_waker(Some(this_thread));
        let mut give_up_at = None;
        loop {
            // Before looking at the rings: what was pushed before the closing is found after it.
            if give_up_at.is_none() && self.shared.closing.load(Ordering::Acquire) {
                give_up_at = Some(Instant::now() + self.settle_timeout);
            }
            self.adopt();
            let round = self.round();
            match (round, give_up_at) {
                (Round::Busy, _) => {}
                (Round::Idle, Some(_)) if self.is_settled() => return self.outcome(),
                (Round::Idle, Some(at)) if at <= Instant::now() => {
                    return Err(LogError::Failed(format!("not settled after {:?}", self.settle_timeout)));
                }
                (Round::LogFull, Some(at)) if at <= Instant::now() => return Err(LogError::Full),
                // Nothing waits any more that could be handed over to a log that comes back.
                (Round::LogAway, Some(_)) => return self.outcome(),
                (Round::LogAway, None) => self.sleep_without_log(),
                (Round::Idle, _) => self.sleep(),
                (Round::LogFull, _) => self.back_off(),
            }
        }
    }

    /// Takes over rings that were added, and forgets those that are done with.
    fn adopt(&mut self) {
        if self.shared.has_added.swap(false, Ordering::Acquire) {
            self.inlets.retain_mut(|inlet| !inlet.is_done());
            self.inlets.append(&mut self.shared.added.lock());
        }
    }

    /// One way from the rings to the log and back. Whatever the log cannot do makes an end of its producer.
    fn round(&mut self) -> Round {
        if let Err(error) = self.outlet.producer() {
            self.lose(&error);
            return Round::LogAway;
        }
        if self.shared.is_away.load(Ordering::Relaxed) {
            self.shared.partitions.store(self.outlet.partitions(), Ordering::Release);
            self.shared.is_away.store(false, Ordering::Release); // only written here, and in `lose`
        }
        self.hand_over_and_settle().unwrap_or_else(|error| {
            self.outlet.give_up(error.clone());
            self.lose(&error);
            Round::LogAway
        })
    }

    fn hand_over_and_settle(&mut self) -> Result<Round, LogError> {
        let round = self.hand_over()?;
        if !matches!(round, Round::Idle) {
            self.outlet.producer()?.flush()?;
        }
        self.settle()?;
        Ok(round)
    }

    /// Takes frames from all rings in turn and submits them, until none are left or it is time to flush.
    fn hand_over(&mut self) -> Result<Round, LogError> {
        let producer = self.outlet.producer()?;
        let (mut bytes, mut empty_in_a_row) = (0, 0);
        while bytes < ROUND_BYTES && empty_in_a_row < self.inlets.len() {
            self.next = if self.next + 1 < self.inlets.len() { self.next + 1 } else { 0 };
            match self.inlets[self.next].submit_one(producer, &mut self.encoded) {
                Ok(0) => empty_in_a_row += 1,
                Ok(submitted) => (bytes, empty_in_a_row) = (bytes + submitted, 0),
                Err(LogError::Full) if bytes == 0 => return Ok(Round::LogFull),
                Err(LogError::Full) => break, // the next round will find it full, if it still is
                Err(error) => return Err(error),
            }
        }
        if bytes == 0 {
            return Ok(Round::Idle);
        }
        self.full_retry = FULL_RETRY_MIN;
        Ok(Round::Busy)
    }

    /// Tells each lane how far the log has settled.
    fn settle(&mut self) -> Result<(), LogError> {
        let producer = self.outlet.producer()?;
        let settled = producer.settled()?;
        producer.placed(&mut self.placed);
        self.placed.clear();
        let mut has_moved = false;
        for inlet in &mut self.inlets {
            has_moved |= inlet.settle(settled);
        }
        if has_moved {
            self.outlet.works();
        }
        Ok(())
    }

    /// Tells each lane that what the log has not settled is lost, and with it all that waits.
    fn lose(&mut self, error: &LogError) {
        *self.shared.away_reason.lock() = reason_of(error);
        // Before the rings are emptied: what is submitted after this is refused, so that they stay empty but for frames
        // that have had their tickets. Those ring, and come here too.
        self.shared.is_away.store(true, Ordering::Release);
        for inlet in &mut self.inlets {
            inlet.lose();
        }
    }

    /// How it ends once nothing is left: well, unless the last that was handed over was lost.
    fn outcome(&self) -> Result<(), LogError> {
        self.outlet.failure().map_or(Ok(()), |error| Err(error.clone()))
    }

    fn is_settled(&self) -> bool {
        self.inlets.iter().all(|inlet| inlet.unsettled.is_empty())
    }

    /// Sleeps until a frame is pushed, the log settles something, or we are to close.
    fn sleep(&mut self) {
        // Where others want this core, let them have it before lying down: mostly they fill a ring, and need not wake us
        // then. The example `handoff_cost` shows it, on a busy machine.
        thread::yield_now();
        if self.has_frames() {
            return;
        }
        self.encoded.shrink_to(ENCODED_KEPT_BYTES_MAX);
        self.shared.bell.arm();
        let closing = self.shared.closing.load(Ordering::Acquire);
        let added = self.shared.has_added.load(Ordering::Acquire);
        if added || self.has_frames() {
            return;
        }
        match (self.is_settled(), closing) {
            (true, true) => {}
            (true, false) => thread::park(),
            (false, _) => thread::park_timeout(LATE_LOOK),
        }
    }

    /// Sleeps until it is time to ask for the log again, or a frame comes that must be lost, or we are to close.
    fn sleep_without_log(&mut self) {
        self.shared.bell.arm();
        let closing = self.shared.closing.load(Ordering::Acquire);
        let added = self.shared.has_added.load(Ordering::Acquire);
        if !closing && !added && !self.has_frames() {
            thread::park_timeout(self.outlet.pause_left());
        }
    }

    fn has_frames(&mut self) -> bool {
        self.inlets.iter_mut().any(|inlet| !inlet.filled.is_empty())
    }

    /// Leaves a full log alone for a while. Its records stay where they are, the rings fill up, and requests are refused.
    fn back_off(&mut self) {
        // A sleep, since frames that are pushed meanwhile are no reason to ask the log again.
        thread::sleep(self.full_retry);
        self.full_retry = (self.full_retry * 2).min(FULL_RETRY_MAX);
    }

    /// Tells everybody that nothing will settle any more.
    fn fail(&mut self, error: &LogError) {
        let mut added = self.shared.added.lock();
        // Before the bells: whoever they wake must find it. The only writer, and it ends here: it was not set before.
        let _ = self.shared.failure.set(reason_of(error));
        self.inlets.append(&mut added);
        for inlet in &self.inlets {
            inlet.lane.bell.ring();
        }
    }
}

/// The writer's end of one ring.
pub(super) struct Inlet {
    filled: Popper<Box<Frame>>,
    /// Frames on their way back.
    emptied: Pusher<Box<Frame>>,
    lane: Arc<Lane>,
    /// Frames taken from the ring so far.
    taken: u64,
    /// The frame that a full log has taken a part of, and how many of its batches.
    begun: Option<(Box<Frame>, usize)>,
    /// The ticket of the last record of the frame being submitted.
    last: Ticket,
    /// For frames that the log has yet to settle: the ticket of its last record, and the frame.
    unsettled: VecDeque<(Ticket, u64)>,
}

impl Inlet {
    pub(super) fn new(filled: Popper<Box<Frame>>, emptied: Pusher<Box<Frame>>, lane: Arc<Lane>) -> Self {
        let unsettled = VecDeque::new();
        Self { filled, emptied, lane, taken: 0, begun: None, last: Ticket(0), unsettled }
    }

    /// Submits the next frame, a record for each of its batches; returns the bytes, 0 if there was none. If the log is
    /// full, the next call goes on where this one stopped.
    fn submit_one(&mut self, producer: &mut dyn Producer, encoded: &mut Vec<u8>) -> Result<usize, LogError> {
        let next = self.begun.take().or_else(|| self.filled.pop().map(|frame| (frame, 0)));
        let Some((frame, mut done)) = next else { return Ok(0) };
        match self.submit_batches(&frame, &mut done, producer, encoded) {
            Ok(bytes) => {
                self.taken += 1;
                self.unsettled.push_back((self.last, self.taken));
                self.give_back(frame);
                Ok(bytes)
            }
            Err(error) => {
                self.begun = Some((frame, done));
                Err(error)
            }
        }
    }

    fn submit_batches(
        &mut self,
        frame: &Frame,
        done: &mut usize,
        producer: &mut dyn Producer,
        encoded: &mut Vec<u8>,
    ) -> Result<usize, LogError> {
        let mut bytes = 0;
        for (partition, batch) in frame.batches().skip(*done) {
            encoded.clear();
            batch.encode_into(encoded);
            self.last = producer.submit(NewRecord { partition, payload: encoded })?;
            *done += 1;
            bytes += encoded.len();
        }
        Ok(bytes)
    }

    /// Returns the emptied frame to its submitter, unless it has grown too large or there are enough.
    fn give_back(&mut self, mut frame: Box<Frame>) {
        let bytes = bytes_of(&frame);
        if bytes <= FRAME_KEPT_BYTES_MAX as u64 {
            frame.clear();
            let _ = self.emptied.push(frame);
        } else {
            drop(frame);
        }
        // Only now is the memory free, or ready to be filled again.
        self.lane.progress.taken_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Tells the lane which of its frames have settled, now that the log has settled up to this ticket; says whether any
    /// have.
    fn settle(&mut self, settled: Ticket) -> bool {
        let count = self.unsettled.iter().take_while(|(last, _)| *last <= settled).count();
        let Some((_, frame)) = self.unsettled.drain(..count).next_back() else { return false };
        self.lane.settle(frame);
        true
    }

    /// Tells the lane that all its frames are lost which the log has not settled, and those in the ring.
    fn lose(&mut self) {
        let mut has_lost = !self.unsettled.is_empty();
        // They were a producer's that is gone, and the next one counts its tickets from the beginning.
        self.unsettled.clear();
        self.last = Ticket(0);
        let mut begun = self.begun.take().map(|(frame, _)| frame);
        while let Some(frame) = begun.take().or_else(|| self.filled.pop()) {
            has_lost = true;
            self.taken += 1;
            self.give_back(frame);
        }
        if has_lost {
            self.lane.lose(self.taken);
        }
    }

    /// Whether the submitter is gone and all it ever pushed has settled.
    fn is_done(&mut self) -> bool {
        // In this order: what was pushed before the end is found after it.
        self.filled.is_closed() && self.filled.is_empty() && self.begun.is_none() && self.unsettled.is_empty()
    }
}

pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    format!("its writer panicked: {text}")
}
