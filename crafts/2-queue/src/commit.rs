//! Slot: when a batch is written and synced. Group commit: one fsync is good for everything that was written before it
//! began.
//!
//! A flush at `os` writes everything that stands in the line, at `disk` it only joins the line as long as that is short. Who
//! then waits either leads, that is writes the whole line and syncs it for everybody, or waits for the one who does. The
//! longer a sync takes, the more producers the next one serves; nobody waits for company. For who cannot block, and polls or
//! has set a waker, the log's own thread leads. At `memory` a flush does no less than at `os`: a write only copies into the
//! page cache, and a producer that is dropped would take with it what it had promised.
//!
//! The idea is as old as databases (Gawlick and Kinkade 1985); the form, in which those who wait do the work, is
//! PostgreSQL's.
//!
//! The log's own thread also syncs every few MiB, for nobody: a segment must be on disk before the next is begun, and
//! all of it at once would let everybody wait.

#[cfg(test)]
mod tests;

use contracts::queue::{Ack, LogError};
use parking_lot::{Condvar, Mutex, MutexGuard};
use queue::{
    line::Pending,
    slots::{Commit, Journal, Store},
    wakers::Wakers,
};
use std::{
    task::Waker,
    time::{Duration, Instant},
};

/// So much only joins the line before it is written. Less than a processor's cache holds: what is written while it is there
/// is not fetched from memory again, and it is written while a sync is under way, not after it.
const UNWRITTEN_BYTES: usize = 256 << 10;
/// So much is written at most before the log syncs it by itself.
const UNSYNCED_BYTES: u64 = 4 << 20;
/// How often who waits tries again when there is no room.
const RETRY: Duration = Duration::from_millis(20);

/// One write and one fsync for everybody who waits.
#[derive(Debug, Default)]
pub struct GroupCommit {
    state: Mutex<State>,
    /// Notified, with the state, when somebody has ceased to lead.
    moved: Condvar,
    /// For the log's own thread: there is something to do.
    called: Condvar,
    wakers: Wakers,
}

#[derive(Debug, Default)]
struct State {
    /// Whether somebody writes and syncs for all right now.
    led: bool,
    /// Whether the log's own thread shall do so.
    due: bool,
    /// Whether it shall end.
    closing: bool,
}

impl Commit for GroupCommit {
    fn flush<S: Store>(
        &self,
        journal: &Journal<S>,
        ack: Ack,
        publish: impl FnOnce(&Mutex<Pending>) -> usize,
    ) -> Result<(), LogError> {
        let line_bytes = publish(&journal.line);
        if ack == Ack::Disk && line_bytes <= UNWRITTEN_BYTES {
            return Ok(());
        }
        match self.write(journal) {
            // Nothing is lost: it waits, and is not settled.
            Err(LogError::Full) => Ok(()),
            result => result,
        }
    }

    fn write<S: Store>(&self, journal: &Journal<S>) -> Result<(), LogError> {
        let result = self.append(journal);
        if journal.marks().wants_sync(UNSYNCED_BYTES) {
            self.call();
        }
        result
    }

    fn reached<S: Store>(&self, journal: &Journal<S>, ack: Ack) -> u64 {
        journal.marks().reached(ack)
    }

    fn wait<S: Store>(
        &self,
        journal: &Journal<S>,
        ack: Ack,
        batch: u64,
        deadline: Instant,
    ) -> Result<bool, LogError> {
        let mut state = self.state.lock();
        loop {
            journal.marks().healthy()?;
            if self.reached(journal, ack) >= batch {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                // Who does not wait does not lead either.
                state.due = true;
                self.called.notify_one();
                return Ok(false);
            }
            if state.led {
                self.moved.wait_until(&mut state, deadline);
                continue;
            }
            match self.lead(&mut state, || {
                if ack == Ack::Disk { self.commit(journal) } else { self.write(journal) }
            }) {
                Err(LogError::Full) => {
                    let again = deadline.min(Instant::now() + RETRY);
                    self.moved.wait_until(&mut state, again);
                }
                result => result?,
            }
        }
    }

    fn call(&self) {
        let mut state = self.state.lock();
        if !state.due {
            state.due = true;
            self.called.notify_one();
        }
    }

    fn set_waker(&self, producer: u64, waker: Option<Waker>) {
        self.wakers.set(producer, waker);
    }

    fn run<S: Store>(&self, journal: &Journal<S>) {
        let mut state = self.state.lock();
        while !state.closing {
            if state.led || !state.due {
                let asked = if state.led { &self.moved } else { &self.called };
                asked.wait(&mut state);
                continue;
            }
            state.due = false;
            match self.lead(&mut state, || self.commit(journal)) {
                Ok(()) => {}
                Err(LogError::Full) => {
                    self.called.wait_for(&mut state, RETRY);
                    state.due = true;
                }
                // The log is broken, and whoever uses it is told.
                Err(_) => return,
            }
        }
    }

    fn close(&self) {
        self.state.lock().closing = true;
        self.called.notify_one();
    }
}

impl GroupCommit {
    /// Works for everybody, without the lock, and tells those who wait.
    fn lead(
        &self,
        state: &mut MutexGuard<'_, State>,
        work: impl FnOnce() -> Result<(), LogError>,
    ) -> Result<(), LogError> {
        state.led = true;
        let result = MutexGuard::unlocked(state, work);
        state.led = false;
        self.moved.notify_all();
        result
    }

    fn append<S: Store>(&self, journal: &Journal<S>) -> Result<(), LogError> {
        let was_full = journal.marks().is_full();
        let result = journal.append();
        if matches!(result, Err(LogError::Failed(_))) || was_full && !journal.marks().is_full() {
            self.wakers.wake();
        }
        result
    }

    /// Writes the line and syncs what is written, for everybody.
    fn commit<S: Store>(&self, journal: &Journal<S>) -> Result<(), LogError> {
        let before = self.reached(journal, Ack::Disk);
        let written = match self.append(journal) {
            Err(LogError::Failed(why)) => return Err(LogError::Failed(why)),
            written => written,
        };
        let synced = journal.store.sync();
        if synced.is_err() || self.reached(journal, Ack::Disk) > before {
            self.wakers.wake();
        }
        synced.and(written)
    }
}
