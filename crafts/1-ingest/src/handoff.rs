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
//! requests are refused. Once the log fails, or the writer does, nothing settles any more, and everybody is told.
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
    ring::{Bell, Popper, Pusher, ring},
    slots::{Handoff, Lost, Submit},
};
use parking_lot::Mutex;
use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
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
/// A frame that has grown beyond this is freed instead of being filled again.
pub const FRAME_KEPT_BYTES_MAX: usize = 256 << 10;
/// Empty frames that one ring keeps.
pub const FRAMES_KEPT_MAX: usize = 64;

/// A ring for each submitter, and the thread that empties them.
pub struct RingHandoff {
    shared: Arc<Shared>,
    writer: JoinHandle<Result<(), LogError>>,
    partitions: u32,
    waiting_max: usize,
}

impl Handoff for RingHandoff {
    type Submit = RingSubmit;

    fn open(config: &IngestConfig, log: Arc<dyn Log>) -> Result<Self, LogError> {
        let producer = log.producer(config.ack)?;
        let shared = Arc::new(Shared::default());
        let mut writer = Writer::new(shared.clone(), producer, config.settle_timeout);
        let spawned = thread::Builder::new().name("handoff".into()).spawn(move || writer.run_to_the_end());
        let writer = spawned.map_err(|e| LogError::Failed(format!("no thread for the writer: {e}")))?;
        Ok(Self { shared, writer, partitions: log.partitions(), waiting_max: config.waiting_batches_max })
    }

    fn submitter(&self) -> Result<RingSubmit, LogError> {
        let (frames, filled) = ring(self.waiting_max);
        let (emptied, spare) = ring(FRAMES_KEPT_MAX.min(self.waiting_max));
        let lane = Arc::new(Lane::default());
        self.shared.add(Inlet::new(filled, emptied, lane.clone()))?;
        Ok(RingSubmit {
            shared: self.shared.clone(),
            lane,
            frames,
            spare,
            open: Box::new(Frame::new(self.partitions)),
            partitions: self.partitions,
            owed: false,
            issued: 0,
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
    /// Why nothing will settle any more. Set once, when the writer ends before its time.
    failure: OnceLock<Arc<str>>,
    /// Wakes the writer.
    bell: Bell,
}

impl Shared {
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
    /// Bytes of all frames that have left the ring since it was made.
    taken_bytes: AtomicU64,
}

impl Lane {
    fn settled(&self) -> Ticket {
        // Acquire: pairs with the Release in `settle`, so that an acknowledged record is seen by whoever reads next.
        Ticket(self.progress.settled.load(Ordering::Acquire))
    }

    fn settle(&self, frame: u64) {
        self.progress.settled.store(frame, Ordering::Release);
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
    /// Bytes of all frames that were published since the ring was made.
    published_bytes: u64,
    /// Wakes this thread when it waits.
    parker: Option<Arc<Parker>>,
}

impl Submit for RingSubmit {
    fn frame(&mut self) -> &mut Frame {
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
        let settled = self.lane.settled();
        if settled.0 == self.issued {
            return Ok(settled);
        }
        // Not all, so ask to be woken, and look once more in case it happened in between.
        self.lane.bell.arm();
        let settled = self.lane.settled();
        match self.shared.failure.get() {
            Some(reason) if settled.0 < self.issued => Err(Lost(reason.clone())),
            _ => Ok(settled),
        }
    }

    fn wait(&mut self, upto: Ticket, at_most: Duration) -> Result<Ticket, Lost> {
        let begun = Instant::now();
        let parker = Waker::from(Parker::of_this_thread(&mut self.parker));
        let before = self.lane.bell.set_waker(Some(parker));
        let waited = loop {
            let left = at_most.saturating_sub(begun.elapsed());
            match self.settled() {
                Ok(settled) if settled < upto && !left.is_zero() => thread::park_timeout(left),
                Err(_) if self.lane.settled() >= upto => break Ok(self.lane.settled()),
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
    /// Whether the open frame may be published as it is now. Room once seen stays: only this thread pushes.
    fn check_room(&mut self) -> Result<(), LogError> {
        if let Some(reason) = self.shared.failure.get() {
            return Err(LogError::Failed(reason.to_string()));
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
        let next = self.spare.pop().unwrap_or_else(|| Box::new(Frame::new(self.partitions)));
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
