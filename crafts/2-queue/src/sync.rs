//! Group commit: one fsync is good for everything that was written before it began.
//!
//! A producer that needs its records on disk either leads, and syncs for everybody, or waits for the one who does. The
//! longer a sync takes, the more producers the next one serves. The idea is as old as databases (Gawlick and Kinkade
//! 1985); this form, in which those who wait do the work, is PostgreSQL's.
//!
//! A thread of the log syncs as well, every few MiB, for nobody: a segment must be on disk before the next is begun, and
//! all of its 64 MiB at once would let everybody wait for a good part of a second.

use crate::log::Shared;
use contracts::queue::LogError;
use parking_lot::{Condvar, Mutex};

/// So much is written at most before the log syncs it by itself.
pub(crate) const UNSYNCED_BYTES: u64 = 4 << 20;

/// How far the log is on disk.
#[derive(Default)]
pub(crate) struct Synced {
    state: Mutex<State>,
    moved: Condvar,
    /// For the log's own thread: there is something to do.
    called: Condvar,
}

#[derive(Default)]
struct State {
    /// Records before this one are on disk.
    upto: u64,
    /// Whether somebody syncs right now.
    led: bool,
    /// Whether the log's own thread shall sync.
    due: bool,
    /// Whether it shall end.
    closing: bool,
}

impl Synced {
    /// Has what was written synced soon, without waiting for it.
    pub(crate) fn call(&self) {
        self.state.lock().due = true;
        self.called.notify_one();
    }

    /// Ends the log's own thread.
    pub(crate) fn close(&self) {
        self.state.lock().closing = true;
        self.called.notify_one();
    }
}

impl Shared {
    /// Returns when every record before `end`, all of them written, is on disk.
    ///
    /// # Errors
    /// [`LogError::Failed`].
    pub(crate) fn sync_before(&self, end: u64) -> Result<(), LogError> {
        let mut state = self.synced.state.lock();
        loop {
            self.healthy()?;
            if state.upto >= end {
                return Ok(());
            }
            if state.led {
                self.synced.moved.wait(&mut state);
                continue;
            }
            state.led = true;
            drop(state);
            let result = self.sync_written();
            state = self.synced.state.lock();
            state.led = false;
            state.upto = state.upto.max(*result.as_ref().unwrap_or(&0));
            self.synced.moved.notify_all();
            result?;
        }
    }

    /// The log's own thread.
    pub(crate) fn sync_when_called(&self) {
        let mut state = self.synced.state.lock();
        while !state.closing {
            if !std::mem::take(&mut state.due) {
                self.synced.called.wait(&mut state);
                continue;
            }
            drop(state);
            let (_, end) = self.view.lock().last();
            if self.sync_before(end).is_err() {
                // The log is broken, and whoever uses it is told.
                return;
            }
            state = self.synced.state.lock();
        }
    }

    /// Syncs the last segment, all others have been; returns the end of what is on disk then.
    fn sync_written(&self) -> Result<u64, LogError> {
        let (file, end) = self.view.lock().last();
        file.sync().map_err(|e| self.breaks(file.path(), &e))?;
        Ok(end)
    }
}
