//! The contract's `Producer`: one thread's way into the log.
//!
//! Records gather in the producer's own batch. What a flush does with it is the commit slot's matter; what has settled is
//! looked up in how far that slot says the log has come.
//!
//! **When there is no room** (the disk, a quota, the log's own bound) what was published goes on waiting and does not
//! settle; whoever waits, submits or flushes tries again. Until that succeeds nothing more is taken.

use crate::{
    frame::ANY_BODY_BYTES_MAX,
    line::{Batch, LINE_BYTES_MAX, Pending, Places, publish},
    log::Handle,
    slots::{Commit, Groups, Store, Transfer},
};
use contracts::{
    limits::RECORD_BYTES_MAX,
    packed::PackedRecords,
    queue::{Ack, Identity, LogError, NewRecord, Partition, Placed, Producer, Ticket},
};
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    marker::PhantomData,
    sync::{Arc, atomic::Ordering},
    task::Waker,
    time::{Duration, Instant},
};

/// The longest that one wait lasts, whatever was asked for.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// One thread's way into the log.
pub(crate) struct QueueProducer<S: Store, C: Commit, G: Groups, T> {
    log: Arc<Handle<S, C, G>>,
    ack: Ack,
    /// Which of the log's producers this is.
    number: u64,
    own: Own<T>,
    submitted: Ticket,
    /// Everything up to here was safe when somebody last looked.
    settled: Ticket,
    has_waker: bool,
}

/// What was submitted and is not settled.
struct Own<T> {
    batch: Batch,
    places: Places,
    /// Batches that were published and were not safe when somebody last looked: their numbers, and the last ticket of each.
    unsettled: VecDeque<(u64, Ticket)>,
    transfer: PhantomData<fn() -> T>,
}

impl<T: Transfer> Own<T> {
    /// Puts what was submitted into the line; returns how many bytes stand there, if it was anything.
    ///
    /// # Errors
    /// [`LogError::OutOfSequence`]: it was not taken.
    fn publish(&mut self, pending: &Mutex<Pending>, submitted: Ticket) -> Result<usize, LogError> {
        if self.batch.is_empty() {
            return Ok(0);
        }
        let (batch, bytes) = publish::<T>(pending, &mut self.batch, &mut self.places)?;
        // One that came before is as safe as it was then. But tickets settle in their order.
        let before = self.unsettled.back().map_or(0, |(batch, _)| *batch);
        self.unsettled.push_back((batch.max(before), submitted));
        Ok(bytes)
    }
}

impl<S: Store, C: Commit, G: Groups, T: Transfer> QueueProducer<S, C, G, T> {
    pub(crate) fn new(log: Arc<Handle<S, C, G>>, ack: Ack) -> Self {
        let own = Own {
            batch: Batch::new(log.shared.codec()),
            places: Places::default(),
            unsettled: VecDeque::new(),
            transfer: PhantomData,
        };
        let number = log.shared.producers.fetch_add(1, Ordering::Relaxed);
        Self { log, ack, number, own, submitted: Ticket(0), settled: Ticket(0), has_waker: false }
    }

    fn take(&mut self, NewRecord { partition, payload }: NewRecord<'_>) -> Result<Ticket, LogError> {
        let bytes = payload.len();
        if bytes > RECORD_BYTES_MAX {
            return Err(LogError::RecordTooLarge { bytes, bytes_max: RECORD_BYTES_MAX });
        }
        self.admit(partition, bytes, false)?;
        self.own.batch.push(partition, payload);
        self.submitted.0 += 1;
        self.own.places.submitted(self.submitted, partition, 1);
        Ok(self.submitted)
    }

    fn take_all(&mut self, partition: Partition, payloads: &[&[u8]]) -> Result<Ticket, LogError> {
        let largest = payloads.iter().map(|payload| payload.len()).max().unwrap_or_default();
        if largest > RECORD_BYTES_MAX {
            return Err(LogError::RecordTooLarge { bytes: largest, bytes_max: RECORD_BYTES_MAX });
        }
        self.admit(partition, payloads.iter().map(|payload| payload.len()).sum(), false)?;
        self.own.batch.push_all(partition, payloads);
        let count = payloads.len() as u64;
        self.own.places.submitted(Ticket(self.submitted.0 + 1), partition, count);
        self.submitted.0 += count;
        Ok(self.submitted)
    }

    fn take_packed(&mut self, partition: Partition, batch: &PackedRecords<'_>) -> Result<Ticket, LogError> {
        self.admit(partition, batch.bytes().len(), true)?;
        self.own.batch.push_packed(partition, batch);
        self.own.places.submitted(Ticket(self.submitted.0 + 1), partition, batch.len().into());
        self.submitted.0 += u64::from(batch.len());
        Ok(self.submitted)
    }

    /// Makes room for so many bytes, or refuses them.
    fn admit(&mut self, partition: Partition, bytes: usize, is_packed: bool) -> Result<(), LogError> {
        self.log.shared.healthy()?;
        self.log.shared.check_partition(partition)?;
        self.own.batch.admits(partition, bytes, is_packed)?;
        self.make_room(bytes)
    }

    /// Publishes what was submitted, as the commit slot likes it.
    fn hand_over(&mut self) -> Result<(), LogError> {
        let Self { log, own, submitted, .. } = self;
        let shared = &log.shared;
        shared.healthy()?;
        let mut refused = None;
        shared.commit.flush(&shared.journal, self.ack, |line| {
            own.publish(line, *submitted).unwrap_or_else(|e| {
                refused = Some(e);
                0
            })
        })?;
        self.settle();
        if self.has_waker && !self.own.unsettled.is_empty() {
            self.log.shared.commit.call();
        }
        refused.map_or(Ok(()), Err)
    }

    /// Up to where everything is safe now.
    fn look(&self) -> Ticket {
        let reached = self.log.shared.commit.reached(&self.log.shared.journal, self.ack);
        let safe = self.own.unsettled.partition_point(|(batch, _)| *batch <= reached);
        safe.checked_sub(1).map_or(self.settled, |last| self.own.unsettled[last].1)
    }

    /// Forgets what has settled.
    fn settle(&mut self) {
        self.settled = self.look();
        while self.own.unsettled.front().is_some_and(|(_, ticket)| *ticket <= self.settled) {
            self.own.unsettled.pop_front();
        }
    }

    /// Publishes what there is if it has become too much, and tries again where there was no room.
    fn make_room(&mut self, bytes: usize) -> Result<(), LogError> {
        let shared = &self.log.shared;
        // An identified batch goes as a whole, and has a bound of its own.
        if self.own.batch.bytes() + bytes > LINE_BYTES_MAX && !self.own.batch.is_identified() {
            self.own.publish(&shared.journal.line, self.submitted)?;
            shared.commit.write(&shared.journal)?;
        }
        if shared.journal.marks().is_full() { shared.commit.write(&shared.journal) } else { Ok(()) }
    }
}

impl<S: Store, C: Commit, G: Groups, T: Transfer> Producer for QueueProducer<S, C, G, T> {
    fn identify(&mut self, identity: Identity) -> Result<(), LogError> {
        if !T::KNOWS_BATCHES {
            return Err(LogError::NotOffered("know batches again that it has already".to_owned()));
        }
        if identity.producer == 0 {
            return Err(LogError::NotOffered("take 0 for the number of a producer".to_owned()));
        }
        // What was submitted before is not part of it.
        self.flush()?;
        self.own.batch.identify(identity);
        Ok(())
    }

    fn submit(&mut self, record: NewRecord<'_>) -> Result<Ticket, LogError> {
        self.take(record).inspect_err(|_| self.own.batch.refuse(&mut self.own.places))
    }

    fn submit_all(&mut self, partition: Partition, payloads: &[&[u8]]) -> Result<Ticket, LogError> {
        // An identified batch is one frame: whether it takes a record shows only when the one before it is in.
        if payloads.is_empty() || self.own.batch.is_identified() {
            let mut payloads = payloads.iter();
            return payloads.try_fold(Ticket(0), |_, payload| self.submit(NewRecord { partition, payload }));
        }
        self.take_all(partition, payloads)
    }

    fn submit_packed(&mut self, partition: Partition, batch: &PackedRecords<'_>) -> Result<Ticket, LogError> {
        if batch.is_empty() || batch.bytes().len() > ANY_BODY_BYTES_MAX || !T::KEEPS_PACKED {
            let mut payloads = batch.iter();
            return payloads.try_fold(Ticket(0), |_, payload| self.submit(NewRecord { partition, payload }));
        }
        self.take_packed(partition, batch).inspect_err(|_| self.own.batch.refuse(&mut self.own.places))
    }

    fn flush(&mut self) -> Result<(), LogError> {
        if self.own.batch.is_empty() {
            self.own.batch.clear();
        }
        self.hand_over()
    }

    fn settled(&self) -> Result<Ticket, LogError> {
        self.log.shared.healthy()?;
        let settled = self.look();
        if self.own.unsettled.back().is_some_and(|(_, last)| settled < *last) {
            // Who polls waits for nobody, so that nobody would do the work.
            self.log.shared.commit.call();
        }
        Ok(settled)
    }

    fn wait(&mut self, upto: Ticket, at_most: Duration) -> Result<Ticket, LogError> {
        let deadline = Instant::now() + at_most.min(WAIT_MAX);
        self.hand_over()?;
        // What was never submitted will not settle, however long one waits.
        let batch = self.own.unsettled.iter().find(|(_, ticket)| *ticket >= upto.min(self.submitted));
        if let Some((batch, _)) = batch {
            let shared = &self.log.shared;
            shared.commit.wait(&shared.journal, self.ack, *batch, deadline)?;
        }
        self.settle();
        Ok(self.settled)
    }

    fn placed(&mut self, out: &mut Vec<Placed>) {
        self.settle();
        self.own.places.take(self.settled, out);
    }

    fn set_waker(&mut self, waker: Waker) {
        self.has_waker = true;
        self.log.shared.commit.set_waker(self.number, Some(waker));
    }
}

/// What was published does not go with its producer.
impl<S: Store, C: Commit, G: Groups, T> Drop for QueueProducer<S, C, G, T> {
    fn drop(&mut self) {
        let commit = &self.log.shared.commit;
        commit.set_waker(self.number, None);
        let reached = commit.reached(&self.log.shared.journal, self.ack);
        if self.own.unsettled.back().is_some_and(|(batch, _)| reached < *batch) {
            commit.call();
        }
    }
}
