//! Slot: when a batch is written and synced. Each flush does it for itself, one after the other.
//!
//! A flush takes its turn, puts its batch into the line, writes it, and at `disk` syncs it; then its batch is settled, and
//! nobody has to wait for anything. What found no room stays in the line, and the next turn tries again.
//!
//! What is wrong with it: a disk syncs as often as it can, whatever was written, and here each sync is good for one
//! batch. So many producers are no faster together than one alone, and each waits until all before it had their turn.

use contracts::queue::{Ack, LogError};
use parking_lot::{Condvar, Mutex};
use queue::{
    line::Pending,
    slots::{Commit, Journal, Store},
    wakers::Wakers,
};
use std::{
    task::Waker,
    thread,
    time::{Duration, Instant},
};

/// How often who waits tries again when there is no room.
const RETRY: Duration = Duration::from_millis(20);

/// A write and a sync for each flush.
#[derive(Debug, Default)]
pub struct SyncEach {
    /// Held by the flush whose turn it is, from its publishing to its sync: nobody else's batch shares it.
    turn: Mutex<()>,
    own: Mutex<Own>,
    /// For the log's own thread: somebody waits for room, or it shall end.
    called: Condvar,
    wakers: Wakers,
}

#[derive(Debug, Default)]
struct Own {
    due: bool,
    closing: bool,
}

impl Commit for SyncEach {
    fn flush<S: Store>(
        &self,
        journal: &Journal<S>,
        ack: Ack,
        publish: impl FnOnce(&Mutex<Pending>) -> usize,
    ) -> Result<(), LogError> {
        let _turn = self.turn.lock();
        publish(&journal.line);
        match self.settle(journal, ack) {
            // Nothing is lost: it waits, and is not settled.
            Err(LogError::Full) => Ok(()),
            result => result,
        }
    }

    fn write<S: Store>(&self, journal: &Journal<S>) -> Result<(), LogError> {
        let _turn = self.turn.lock();
        self.settle(journal, Ack::Os)
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
        // Its flush has settled it, unless there was no room.
        loop {
            journal.marks().healthy()?;
            if self.reached(journal, ack) >= batch {
                return Ok(true);
            }
            let now = Instant::now();
            if now >= deadline {
                self.call();
                return Ok(false);
            }
            match self.flush(journal, ack, |_| 0) {
                Ok(()) if journal.marks().is_full() => thread::sleep(RETRY.min(deadline - now)),
                result => result?,
            }
        }
    }

    fn call(&self) {
        self.own.lock().due = true;
        self.called.notify_one();
    }

    fn set_waker(&self, producer: u64, waker: Option<Waker>) {
        self.wakers.set(producer, waker);
    }

    /// Only for who cannot wait, and what found no room.
    fn run<S: Store>(&self, journal: &Journal<S>) {
        let mut own = self.own.lock();
        while !own.closing {
            if !own.due {
                self.called.wait(&mut own);
                continue;
            }
            own.due = false;
            drop(own);
            let result = self.flush(journal, S::ACK_MAX, |_| 0);
            own = self.own.lock();
            if result.is_err() {
                return;
            }
            if journal.marks().is_full() {
                own.due = true;
                self.called.wait_for(&mut own, RETRY);
            }
        }
    }

    fn close(&self) {
        self.own.lock().closing = true;
        self.called.notify_one();
    }
}

impl SyncEach {
    /// Writes what stands in the line, and syncs it where that is asked for. Whose turn it is calls it.
    fn settle<S: Store>(&self, journal: &Journal<S>, ack: Ack) -> Result<(), LogError> {
        let was_full = journal.marks().is_full();
        let written = journal.append();
        let synced = match written {
            Err(LogError::Failed(_)) => Ok(()),
            _ if ack == Ack::Disk => journal.store.sync(),
            _ => Ok(()),
        };
        let result = synced.and(written);
        let has_room = was_full && !journal.marks().is_full();
        if has_room || matches!(result, Err(LogError::Failed(_))) {
            self.wakers.wake();
        }
        result
    }
}
