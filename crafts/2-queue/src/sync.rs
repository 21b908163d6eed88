//! Group commit: one fsync is good for everything that was written before it began.
//!
//! A producer that needs its records on disk either leads, and syncs for everybody, or waits for the one who does. The
//! longer a sync takes, the more producers the next one serves. The idea is as old as databases (Gawlick and Kinkade
//! 1985); this form, in which those who wait do the work and no thread is kept for it, is PostgreSQL's.

use crate::log::Shared;
use contracts::queue::LogError;
use parking_lot::{Condvar, Mutex};

/// How far the log is on disk.
#[derive(Default)]
pub(crate) struct Synced {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Default)]
struct State {
    /// Records before this one are on disk.
    upto: u64,
    /// Whether somebody syncs right now.
    led: bool,
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

    /// Syncs the last segment, all others have been; returns the end of what is on disk then.
    fn sync_written(&self) -> Result<u64, LogError> {
        let (file, end) = self.view.lock().last();
        file.sync().map_err(|e| self.breaks(file.path(), &e))?;
        Ok(end)
    }
}
