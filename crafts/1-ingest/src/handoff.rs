//! Slot: a request's samples → the log. A lock-free ring for each thread, and one writer that empties them all.
//!
//! ```text
//! thread 1: open frame ─▶ ring ─┐             encode, submit             ┌▶ settled 1, bell
//!                  ▲─── emptied ┼◀── writer ─────────────────▶ log ──────┤
//! thread 2: open frame ─▶ ring ─┘             one flush a round          └▶ settled 2, bell
//! ```
//!
//! The requests of one turn of an engine share an open frame; a flush publishes it whole, by pointer, and emptied frames
//! come back through a second ring: nothing is copied and, once warm, nothing allocated. The writer takes a frame from
//! each ring in turn until none is left, and then flushes the log once. While one flush is under way the frames of the next
//! round gather: group commit that needs no timer.
//!
//! Invariants: a ticket settles once the log's producer has settled every record of its frame; frames of one thread
//! reach the log in their order; a full log is asked again, with everything kept as it was, while the rings fill up and
//! requests are refused.
//!
//! A log that fails is given up and asked for again. Everything that it had taken and not settled is lost, and so is what
//! waits in the rings: everybody who waits is told once, and until the log works again requests are refused, so that
//! nothing gathers. Only a writer that panics is the end: nothing settles any more.
//!
//! A log's partitions do not change, but a log that is elsewhere may not be there yet to be asked. So they are counted
//! whenever a producer has been given, before anything is handed over to it.
//!
//! Memory: a ring holds `waiting_batches_max` frames or [`WAITING_BYTES_MAX`], whichever is less, or one frame of any
//! size. Beside it stand the frame that is open, the one that is being written, and [`FRAMES_KEPT_MAX`] empty ones of at
//! most [`FRAME_KEPT_BYTES_MAX`]. That is 80 MiB a thread, and the
//! two frames, each of which is 64 KiB and what the last body in it has become.

mod writer;

use contracts::{
    ingest::IngestConfig,
    queue::{Log, LogError, Ticket},
};
use crossbeam::utils::CachePadded;
use ingest::{
    frame::Frame,
    outlet::{Outlet, reason_of},
    ring::{Bell, Popper, Pusher, ring},
    slots::{Handoff, Lost, Submit},
};
use parking_lot::Mutex;
use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    task::{Wake, Waker},
    thread::{self, JoinHandle, Thread},
    time::{Duration, Instant},
};
use writer::{Inlet, Writer, panic_text};

/// A frame of so many bytes is published without waiting for the end of the turn: the writer can begin meanwhile.
const FRAME_BYTES: usize = 64 << 10;
/// Bytes of frames that wait in one ring. Beyond: 503 `queue_full`.
pub const WAITING_BYTES_MAX: usize = 64 << 20;
/// A frame that has grown beyond this is freed instead of being filled again. One that a request of 5,000 samples has filled
/// stays: to let it grow anew each time would copy it as often as it doubles, into pages that the system must clear.
pub const FRAME_KEPT_BYTES_MAX: usize = 1 << 20;
/// Empty frames that one ring keeps.
pub const FRAMES_KEPT_MAX: usize = 16;

/// A ring for each submitter, and the thread that empties them.
pub struct RingHandoff {
    shared: Arc<Shared>,
    writer: JoinHandle<Result<(), LogError>>,
    waiting_max: usize,
}

impl Handoff for RingHandoff {
    type Submit = RingSubmit;

    fn open(config: &IngestConfig, log: Arc<dyn Log>) -> Result<Self, LogError> {
        let outlet = Outlet::open(log, config.ack)?;
        let shared = Arc::new(Shared::default());
        shared.partitions.store(outlet.partitions(), Ordering::Release);
        if let Some(error) = outlet.failure() {
            // So that the partitions are counted again, once there is a log.
            *shared.away_reason.lock() = reason_of(error);
            shared.is_away.store(true, Ordering::Release);
        }
        let mut writer = Writer::new(shared.clone(), outlet, config.settle_timeout);
        let spawned = thread::Builder::new().name("handoff".into()).spawn(move || writer.run_to_the_end());
        let writer = spawned.map_err(|e| LogError::Failed(format!("no thread for the writer: {e}")))?;
        Ok(Self { shared, writer, waiting_max: config.waiting_batches_max })
    }

    fn submitter(&self) -> Result<RingSubmit, LogError> {
        let (frames, filled) = ring(self.waiting_max);
        let (emptied, spare) = ring(FRAMES_KEPT_MAX.min(self.waiting_max));
        let lane = Arc::new(Lane::default());
        self.shared.add(Inlet::new(filled, emptied, lane.clone()))?;
        let partitions = self.shared.partitions();
        Ok(RingSubmit {
            shared: self.shared.clone(),
            lane,
            frames,
            spare,
            open: Box::new(Frame::new(partitions)),
            partitions,
            owed: false,
            issued: 0,
            lost_seen: 0,
            published_bytes: 0,
            parker: None,
        })
    }

    fn close(self) -> Result<(), LogError> {
        // Release: pairs with the Acquire in `Writer::run`. Who sees the closing sees every frame that was pushed before.
        self.shared.closing.store(true, Ordering::Release);
        self.shared.bell.ring();
        self.writer.join().unwrap_or_else(|panic| Err(LogError::Failed(panic_text(&*panic))))
    }
}

/// What the writer shares with all submitters.
#[derive(Default)]
struct Shared {
    /// Rings that the writer has not seen yet. A lock, but one that is taken once a thread, not once a request.
    added: Mutex<Vec<Inlet>>,
    /// Whether there are such.
    has_added: AtomicBool,
    /// The writer is to end once all rings are empty.
    closing: AtomicBool,
    /// How many partitions the log has, as far as is known. Written by the writer, before it says that the log is there.
    partitions: AtomicU32,
    /// Whether the log has failed and has not come back: nothing is to be submitted.
    is_away: AtomicBool,
    /// Why it was so last. Written before `is_away` and before any lane's `lost`.
    away_reason: Mutex<Arc<str>>,
    /// Why nothing will settle any more. Set once, when the writer ends before its time.
    failure: OnceLock<Arc<str>>,
    /// Wakes the writer.
    bell: Bell,
}

impl Shared {
    fn partitions(&self) -> u32 {
        // Acquire: pairs with the Release in `Writer::round`; the number is all that is read.
        self.partitions.load(Ordering::Acquire)
    }

    fn add(&self, inlet: Inlet) -> Result<(), LogError> {
        let mut added = self.added.lock();
        // Under the lock: the writer fails under it too, so that no ring is added which nobody will ever empty.
        if let Some(reason) = self.failure.get() {
            return Err(LogError::Failed(reason.to_string()));
        }
        added.push(inlet);
        // Release: pairs with the Acquire in `Writer::adopt`; the lock alone would do, were it always taken.
        self.has_added.store(true, Ordering::Release);
        Ok(())
    }
}

/// What the writer tells one submitter. Written by the writer, read by the submitter, on a cache line of its own.
#[derive(Default)]
struct Lane {
    progress: CachePadded<Progress>,
    /// Wakes the submitter.
    bell: Bell,
}

#[derive(Default)]
struct Progress {
    /// The highest frame that the log has settled; frames count from 1, and are the tickets.
    settled: AtomicU64,
    /// The highest frame that was lost. What had not settled up to it never will.
    lost: AtomicU64,
    /// Bytes of all frames that have left the ring since it was made.
    taken_bytes: AtomicU64,
}

impl Lane {
    fn settled(&self) -> Ticket {
        // Acquire: pairs with the Release in `settle`, so that an acknowledged record is seen by whoever reads next.
        Ticket(self.progress.settled.load(Ordering::Acquire))
    }

    /// To be asked after [`Lane::settled`]. A frame that settles after a loss has a higher number than all that were lost,
    /// and hides them. But the writer stores the loss before it settles anything above it, and that store is a Release:
    /// who has acquired such a ticket finds the loss here.
    fn lost(&self) -> u64 {
        // Acquire: pairs with the Release in `lose`, for the reason, which is written before. That the loss itself is seen
        // follows from the Acquire in `settled`.
        self.progress.lost.load(Ordering::Acquire)
    }

    fn settle(&self, frame: u64) {
        self.progress.settled.store(frame, Ordering::Release);
        self.bell.ring();
    }

    fn lose(&self, frame: u64) {
        self.progress.lost.store(frame, Ordering::Release);
        self.bell.ring();
    }
}

/// One thread's ring.
pub struct RingSubmit {
    shared: Arc<Shared>,
    lane: Arc<Lane>,
    frames: Pusher<Box<Frame>>,
    /// Frames that the writer has emptied.
    spare: Popper<Box<Frame>>,
    /// Being filled.
    open: Box<Frame>,
    partitions: u32,
    /// Whether a ticket was given for something in the open frame, which therefore must be published.
    owed: bool,
    /// The highest ticket given.
    issued: u64,
    /// The lane's `lost`, up to which the engine has been told.
    lost_seen: u64,
    /// Bytes of all frames that were published since the ring was made.
    published_bytes: u64,
    /// Wakes this thread when it waits.
    parker: Option<Arc<Parker>>,
}

impl Submit for RingSubmit {
    fn frame(&mut self) -> &mut Frame {
        let partitions = self.shared.partitions();
        if partitions != self.partitions && self.open.is_empty() {
            self.partitions = partitions;
            self.open.set_partitions(partitions);
        }
        &mut self.open
    }

    fn submit(&mut self) -> Result<Ticket, LogError> {
        if self.open.is_empty() {
            return Ok(Ticket(0)); // nothing to wait for
        }
        if let Err(refusal) = self.check_room() {
            self.open.rollback();
            return Err(refusal);
        }
        if !self.owed {
            self.owed = true;
            self.issued += 1;
        }
        if self.open.encoded_bytes_max() >= FRAME_BYTES {
            self.publish();
        }
        Ok(Ticket(self.issued))
    }

    fn flush(&mut self) {
        if self.owed {
            self.publish();
        }
    }

    fn settled(&mut self) -> Result<Ticket, Lost> {
        self.look(Ticket(self.issued))
    }

    fn wait(&mut self, upto: Ticket, at_most: Duration) -> Result<Ticket, Lost> {
        let begun = Instant::now();
        let parker = Waker::from(Parker::of_this_thread(&mut self.parker));
        let before = self.lane.bell.set_waker(Some(parker));
        let waited = loop {
            let left = at_most.saturating_sub(begun.elapsed());
            match self.look(upto) {
                Ok(settled) if settled < upto && !left.is_zero() => thread::park_timeout(left),
                waited => break waited,
            }
        };
        self.lane.bell.set_waker(before);
        waited
    }

    fn set_waker(&mut self, waker: Waker) {
        self.lane.bell.set_waker(Some(waker));
    }
}

impl RingSubmit {
    /// What has settled; asks to be woken if `upto` has not.
    fn look(&mut self, upto: Ticket) -> Result<Ticket, Lost> {
        let settled = self.progress()?;
        if settled.max(Ticket(self.lost_seen)) >= upto {
            return Ok(settled); // whatever is missing was lost, and it was said so
        }
        self.lane.bell.arm();
        // Once more, in case it happened in between.
        let settled = self.progress()?;
        match self.shared.failure.get() {
            Some(reason) if settled < upto => Err(Lost(reason.clone())),
            _ => Ok(settled),
        }
    }

    /// How far the writer has come. A loss is told once, and before anything settles that could hide it: whoever is told
    /// loses all that waits. Some of it may be younger than the loss and reach the log; its answer is careful, not wrong.
    fn progress(&mut self) -> Result<Ticket, Lost> {
        let settled = self.lane.settled();
        let lost = self.lane.lost();
        if lost > self.lost_seen {
            self.lost_seen = lost;
            return Err(Lost(self.shared.away_reason.lock().clone()));
        }
        Ok(settled)
    }

    /// Whether the open frame may be published as it is now. Room once seen stays: only this thread pushes.
    fn check_room(&mut self) -> Result<(), LogError> {
        if let Some(reason) = self.shared.failure.get() {
            return Err(LogError::Failed(reason.to_string()));
        }
        // Acquire: pairs with the Release in `Writer::lose`, for the reason. Who sees it late has a frame lost, and is told.
        if self.shared.is_away.load(Ordering::Acquire) {
            return Err(LogError::Failed(self.shared.away_reason.lock().to_string()));
        }
        // Relaxed: bytes are only counted. What the ring holds is handed over by the ring.
        let taken = self.lane.progress.taken_bytes.load(Ordering::Relaxed);
        let waiting = self.published_bytes - taken;
        // A ring that is empty takes a frame of any size: a large body must be able to pass.
        let has_bytes = waiting == 0 || waiting + bytes_of(&self.open) <= WAITING_BYTES_MAX as u64;
        if has_bytes && self.frames.has_room() { Ok(()) } else { Err(LogError::Full) }
    }

    /// Gives the open frame to the writer, and opens another.
    fn publish(&mut self) {
        let mut next = self.spare.pop().unwrap_or_else(|| Box::new(Frame::new(self.partitions)));
        next.set_partitions(self.partitions);
        let frame = std::mem::replace(&mut self.open, next);
        self.published_bytes += bytes_of(&frame);
        self.owed = false;
        // From here on somebody waits for a ticket: the writer's ring may not miss them, however they ask for it.
        self.lane.bell.arm();
        let pushed = self.frames.push(frame);
        assert!(pushed.is_ok(), "room was seen before the ticket was given, and only this thread pushes");
        self.shared.bell.ring();
    }
}

impl Drop for RingSubmit {
    fn drop(&mut self) {
        self.flush();
    }
}

/// The bytes of memory that a frame takes away from others.
fn bytes_of(frame: &Frame) -> u64 {
    frame.capacity_bytes() as u64
}

/// Wakes a thread.
struct Parker(Thread);

impl Parker {
    /// The parker of the calling thread, made once and kept.
    fn of_this_thread(kept: &mut Option<Arc<Self>>) -> Arc<Self> {
        let this = thread::current();
        match kept {
            Some(parker) if parker.0.id() == this.id() => parker.clone(),
            _ => kept.insert(Arc::new(Self(this))).clone(),
        }
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
