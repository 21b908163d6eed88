//! The contract's `Producer`: one thread's way into the log.
//!
//! A flush at `os` writes everything that stands in the line, at `disk` it only joins the line: who waits, or the log's
//! own thread, writes and syncs for all. At `memory` a flush does no less than at `os`: a write only copies into the page
//! cache, and a producer that is dropped would take with it what it had promised.
//!
//! **When there is no room** (the disk, a quota, the log's own bound) what was published goes on waiting and does not
//! settle; whoever waits, submits or flushes tries again. Until that succeeds nothing more is taken.

use crate::{
    log::Handle,
    pending::{Batch, Places, publish},
};
use contracts::{
    limits::RECORD_BYTES_MAX,
    queue::{Ack, LogError, NewRecord, Placed, Producer, Ticket},
};
use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    task::Waker,
    time::{Duration, Instant},
};

/// What waits beyond this is written without being asked: a caller that never flushes must not fill the memory.
const PENDING_BYTES_MAX: usize = 16 << 20;
/// The longest that one wait lasts, whatever was asked for.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// One thread's way into the log.
pub(crate) struct FileProducer {
    log: Arc<Handle>,
    ack: Ack,
    /// Which of the log's producers this is.
    number: u64,
    batch: Batch,
    submitted: Ticket,
    /// Everything up to here was safe when somebody last looked.
    settled: Ticket,
    /// Batches that were published and were not safe then: their numbers, and the last ticket of each.
    unsettled: VecDeque<(u64, Ticket)>,
    places: Places,
    has_waker: bool,
}

impl FileProducer {
    pub(crate) fn new(log: Arc<Handle>, ack: Ack) -> Self {
        Self {
            number: log.shared.producers.fetch_add(1, Ordering::Relaxed),
            log,
            ack,
            batch: Batch::default(),
            submitted: Ticket(0),
            settled: Ticket(0),
            unsettled: VecDeque::new(),
            places: Places::default(),
            has_waker: false,
        }
    }

    /// Puts what was submitted into the line; returns how many bytes stand there.
    fn publish(&mut self) -> usize {
        if self.batch.is_empty() {
            return 0;
        }
        let (batch, bytes) = publish(&self.log.shared.pending, &mut self.batch, &mut self.places);
        self.unsettled.push_back((batch, self.submitted));
        bytes
    }

    /// Up to where everything is safe now.
    fn look(&self) -> Ticket {
        let reached = self.log.shared.progress.reached(self.ack);
        let safe = self.unsettled.partition_point(|(batch, _)| *batch <= reached);
        safe.checked_sub(1).map_or(self.settled, |last| self.unsettled[last].1)
    }

    /// Forgets what has settled.
    fn settle(&mut self) {
        self.settled = self.look();
        while self.unsettled.front().is_some_and(|(_, ticket)| *ticket <= self.settled) {
            self.unsettled.pop_front();
        }
    }

    /// Makes room for a record, or refuses it.
    fn make_room(&mut self, bytes: usize) -> Result<(), LogError> {
        if self.batch.bytes() + bytes > PENDING_BYTES_MAX {
            self.publish();
            self.log.shared.write()?;
        }
        if self.log.shared.may_be_full() { self.log.shared.write() } else { Ok(()) }
    }
}

impl Producer for FileProducer {
    fn submit(&mut self, record: NewRecord<'_>) -> Result<Ticket, LogError> {
        let NewRecord { partition, payload } = record;
        self.log.shared.healthy()?;
        self.log.shared.check_partition(partition)?;
        if payload.len() > RECORD_BYTES_MAX {
            return Err(LogError::RecordTooLarge { bytes: payload.len(), bytes_max: RECORD_BYTES_MAX });
        }
        self.make_room(payload.len())?;
        self.batch.push(partition, payload);
        self.submitted.0 += 1;
        self.places.submitted(self.submitted, partition);
        Ok(self.submitted)
    }

    fn flush(&mut self) -> Result<(), LogError> {
        self.log.shared.healthy()?;
        let bytes = self.publish();
        if self.ack != Ack::Disk || bytes > PENDING_BYTES_MAX {
            match self.log.shared.write() {
                // Nothing is lost: it waits, and is not settled.
                Ok(()) | Err(LogError::Full) => {}
                Err(e) => return Err(e),
            }
        }
        self.settle();
        if self.has_waker && !self.unsettled.is_empty() {
            self.log.shared.progress.call();
        }
        Ok(())
    }

    fn settled(&self) -> Result<Ticket, LogError> {
        self.log.shared.healthy()?;
        let settled = self.look();
        if self.unsettled.back().is_some_and(|(_, last)| settled < *last) {
            // Who polls waits for nobody, so that nobody would lead.
            self.log.shared.progress.call();
        }
        Ok(settled)
    }

    fn wait(&mut self, upto: Ticket, at_most: Duration) -> Result<Ticket, LogError> {
        let deadline = Instant::now() + at_most.min(WAIT_MAX);
        self.flush()?;
        // What was never submitted will not settle, however long one waits.
        let batch = self.unsettled.iter().find(|(_, ticket)| *ticket >= upto.min(self.submitted));
        if let Some((batch, _)) = batch {
            self.log.shared.wait_until(self.ack, *batch, deadline)?;
        }
        self.settle();
        Ok(self.settled)
    }

    fn placed(&mut self, out: &mut Vec<Placed>) {
        self.settle();
        self.places.take(self.settled, out);
    }

    fn set_waker(&mut self, waker: Waker) {
        self.has_waker = true;
        self.log.shared.progress.set_waker(self.number, Some(waker));
    }
}

/// What was published does not go with its producer.
impl Drop for FileProducer {
    fn drop(&mut self) {
        self.log.shared.progress.set_waker(self.number, None);
        if self.unsettled.back().is_some_and(|(_, last)| self.look() < *last) {
            self.log.shared.progress.call();
        }
    }
}
