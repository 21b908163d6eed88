//! Group commit: one fsync is good for everything that was written before it began.
//!
//! A flush at `disk` only puts its batch into the line. Who then waits either leads, that is writes the whole line and
//! syncs for everybody, or waits for the one who does. The longer a sync takes, the more producers the next one serves;
//! nobody waits for company. For who cannot block, and polls or has set a waker, the log's own thread leads.
//!
//! The idea is as old as databases (Gawlick and Kinkade 1985); the form, in which those who wait do the work, is
//! PostgreSQL's.
//!
//! The log's own thread also syncs every few MiB, for nobody: a segment must be on disk before the next is begun, and
//! all of it at once would let everybody wait.

use crate::{disk::DataFile, log::Shared};
use contracts::queue::{Ack, LogError};
use parking_lot::{Condvar, Mutex};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    task::Waker,
    time::{Duration, Instant},
};

/// So much is written at most before the log syncs it by itself.
pub(crate) const UNSYNCED_BYTES: u64 = 4 << 20;
/// How often who waits tries again when there is no room.
const RETRY: Duration = Duration::from_millis(20);

/// How far the log is written, and how far it is on disk.
#[derive(Default)]
pub(crate) struct Progress {
    /// The number of the last batch that is written, and of the last that is on disk. Stored with Release after the
    /// write or the sync, loaded with Acquire before a ticket settles.
    written: AtomicU64,
    durable: AtomicU64,
    /// All frames before this sequence are on disk. Stored after the sync, and loaded by who holds the tail.
    synced_sequence: AtomicU64,
    /// How often a file was synced.
    syncs: AtomicU64,
    state: Mutex<State>,
    /// Notified, with the state, when somebody has ceased to lead.
    moved: Condvar,
    /// For the log's own thread: there is something to do.
    called: Condvar,
    /// Of producers that cannot block, by their number.
    wakers: Mutex<BTreeMap<u64, Waker>>,
}

#[derive(Default)]
struct State {
    /// Whether somebody writes and syncs for all right now.
    led: bool,
    /// Whether the log's own thread shall do so.
    due: bool,
    /// Whether it shall end.
    closing: bool,
}

impl Progress {
    /// The number of the last batch that is safe at this level.
    pub(crate) fn reached(&self, ack: Ack) -> u64 {
        let of = if ack == Ack::Disk { &self.durable } else { &self.written };
        of.load(Ordering::Acquire)
    }

    pub(crate) fn synced_sequence(&self) -> u64 {
        self.synced_sequence.load(Ordering::Acquire)
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    pub(crate) fn has_written(&self, batch: u64) {
        self.written.fetch_max(batch, Ordering::Release);
    }

    pub(crate) fn has_synced(&self, sequence: u64, batch: u64) {
        self.synced_sequence.fetch_max(sequence, Ordering::Release);
        self.durable.fetch_max(batch, Ordering::Release);
    }

    /// Has what stands in the line written and synced soon, without waiting for it.
    pub(crate) fn call(&self) {
        let mut state = self.state.lock();
        if !state.due {
            state.due = true;
            self.called.notify_one();
        }
    }

    /// Ends the log's own thread.
    pub(crate) fn close(&self) {
        self.state.lock().closing = true;
        self.called.notify_one();
    }

    /// Tells everybody that something has settled, or that nothing will.
    pub(crate) fn wake(&self) {
        self.wakers.lock().values().for_each(Waker::wake_by_ref);
    }

    /// Has the producer of this number woken from now on; or no more.
    pub(crate) fn set_waker(&self, producer: u64, waker: Option<Waker>) {
        let mut wakers = self.wakers.lock();
        match waker {
            Some(waker) => drop(wakers.insert(producer, waker)),
            None => drop(wakers.remove(&producer)),
        }
    }
}

impl Shared {
    /// Waits until a batch is safe at a level; leads if nobody does. Says whether it is.
    ///
    /// # Errors
    /// [`LogError::Failed`].
    pub(crate) fn wait_until(&self, ack: Ack, batch: u64, deadline: Instant) -> Result<bool, LogError> {
        let mut state = self.progress.state.lock();
        loop {
            self.healthy()?;
            if self.progress.reached(ack) >= batch {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                // Who does not wait does not lead either.
                state.due = true;
                self.progress.called.notify_one();
                return Ok(false);
            }
            if state.led {
                self.progress.moved.wait_until(&mut state, deadline);
                continue;
            }
            state.led = true;
            drop(state);
            let result = if ack == Ack::Disk { self.commit() } else { self.write() };
            state = self.progress.state.lock();
            state.led = false;
            self.progress.moved.notify_all();
            match result {
                Err(LogError::Full) => {
                    let again = deadline.min(Instant::now() + RETRY);
                    self.progress.moved.wait_until(&mut state, again);
                }
                result => result?,
            }
        }
    }

    /// The log's own thread.
    pub(crate) fn commit_when_called(&self) {
        let mut state = self.progress.state.lock();
        while !state.closing {
            if state.led || !state.due {
                let asked = if state.led { &self.progress.moved } else { &self.progress.called };
                match self.config.retention_age_max {
                    Some(age) if !state.led => {
                        if asked.wait_for(&mut state, age / 4).timed_out() {
                            drop(state);
                            self.retire_by_policy();
                            state = self.progress.state.lock();
                        }
                    }
                    _ => asked.wait(&mut state),
                }
                continue;
            }
            (state.due, state.led) = (false, true);
            drop(state);
            let result = self.commit();
            state = self.progress.state.lock();
            state.led = false;
            self.progress.moved.notify_all();
            match result {
                Ok(()) => {}
                Err(LogError::Full) => {
                    self.progress.called.wait_for(&mut state, RETRY);
                    state.due = true;
                }
                // The log is broken, and whoever uses it is told.
                Err(_) => return,
            }
        }
    }

    /// Writes the line and syncs what is written, for everybody.
    pub(crate) fn commit(&self) -> Result<(), LogError> {
        let (file, sequence, written, full) = {
            let mut tail = self.tail.lock();
            let full = match self.write_with(&mut tail) {
                Err(LogError::Failed(why)) => return Err(LogError::Failed(why)),
                result => result,
            };
            tail.unsynced = 0;
            (tail.file.clone(), tail.sequence, tail.written, full)
        };
        if sequence > self.progress.synced_sequence() {
            // All segments before the last have been synced.
            self.sync_file(&*file)?;
            self.progress.has_synced(sequence, written);
            self.progress.wake();
        }
        full
    }

    /// Syncs a file, or breaks the log.
    pub(crate) fn sync_file(&self, file: &dyn DataFile) -> Result<(), LogError> {
        self.progress.syncs.fetch_add(1, Ordering::Relaxed);
        file.sync().map_err(|e| self.breaks(file.path(), &e))
    }
}
