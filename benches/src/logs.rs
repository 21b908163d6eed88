//! The logs behind a measured server: one that only counts, and one that is as slow as it is told to be.

use contracts::{
    BatchView,
    queue::{
        Ack, Assignment, Bounds, FetchLimit, GroupStatus, Identity, Log, LogError, Membership, NewRecord,
        Offset, Partition, Placed, Producer, Records, Stored, Ticket,
    },
};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::Waker,
    thread,
    time::Duration,
};

/// What went into a log.
#[derive(Debug, Default)]
pub struct Taken {
    /// Records.
    pub records: AtomicU64,
    /// Samples in them.
    pub samples: AtomicU64,
    /// Their bytes.
    pub bytes: AtomicU64,
}

/// A log that counts what it is given and forgets it: the queue at no cost, so that ingestion alone is measured and
/// its memory is its own.
#[derive(Default)]
pub struct TallyLog {
    taken: Arc<Taken>,
}

impl TallyLog {
    /// A log that counts there.
    pub fn new(taken: Arc<Taken>) -> Self {
        Self { taken }
    }
}

/// Reading back what was forgotten is nobody's business here.
fn forgotten<T>() -> Result<T, LogError> {
    Err(LogError::Failed("this log counts records and keeps none".to_owned()))
}

impl Log for TallyLog {
    fn partitions(&self) -> u32 {
        1
    }

    fn ack_max(&self) -> Ack {
        Ack::Memory
    }

    fn producer(&self, ack: Ack) -> Result<Box<dyn Producer>, LogError> {
        if ack > self.ack_max() {
            return Err(LogError::AckTooStrong { asked: ack, best: self.ack_max() });
        }
        Ok(Box::new(TallyProducer {
            taken: self.taken.clone(),
            last: Ticket(0),
            flushed: Ticket(0),
            waker: None,
        }))
    }

    fn bounds(&self, _: Partition) -> Result<Bounds, LogError> {
        let end = Offset(self.taken.records.load(Ordering::Relaxed));
        Ok(Bounds { start: end, end })
    }

    fn fetch(&self, _: Partition, _: Offset, _: FetchLimit, _: &mut Records) -> Result<(), LogError> {
        forgotten()
    }

    fn subscribe(&self, _: &str, _: &str) -> Result<Membership, LogError> {
        forgotten()
    }

    fn heartbeat(&self, _: &Membership) -> Result<u64, LogError> {
        forgotten()
    }

    fn groups(&self) -> Result<Vec<GroupStatus>, LogError> {
        forgotten()
    }

    fn commit(&self, _: &Membership, _: Partition, _: Offset) -> Result<(), LogError> {
        forgotten()
    }

    fn committed(&self, _: &str, _: Partition) -> Result<Option<Offset>, LogError> {
        Ok(None)
    }
}

struct TallyProducer {
    taken: Arc<Taken>,
    last: Ticket,
    flushed: Ticket,
    waker: Option<Waker>,
}

impl Producer for TallyProducer {
    fn submit(&mut self, record: NewRecord<'_>) -> Result<Ticket, LogError> {
        // Relaxed throughout: these are sums that are read once the threads that add to them have been joined.
        self.taken.records.fetch_add(1, Ordering::Relaxed);
        self.taken.samples.fetch_add(BatchView::peek_len(record.payload) as u64, Ordering::Relaxed);
        self.taken.bytes.fetch_add(record.payload.len() as u64, Ordering::Relaxed);
        self.last.0 += 1;
        Ok(self.last)
    }

    fn submit_all(&mut self, _: Partition, payloads: &[&[u8]]) -> Result<Ticket, LogError> {
        let count = payloads.len() as u64;
        let samples = payloads.iter().map(|payload| BatchView::peek_len(payload) as u64).sum();
        self.taken.records.fetch_add(count, Ordering::Relaxed);
        self.taken.samples.fetch_add(samples, Ordering::Relaxed);
        self.taken
            .bytes
            .fetch_add(payloads.iter().map(|payload| payload.len() as u64).sum(), Ordering::Relaxed);
        self.last.0 += count;
        Ok(if payloads.is_empty() { Ticket(0) } else { self.last })
    }

    /// Once for all that was submitted, as of a log that keeps it.
    fn flush(&mut self) -> Result<(), LogError> {
        if self.flushed < self.last {
            self.flushed = self.last;
            self.waker.iter().for_each(Waker::wake_by_ref);
        }
        Ok(())
    }

    fn settled(&self) -> Result<Ticket, LogError> {
        Ok(self.flushed)
    }

    fn wait(&mut self, _: Ticket, _: Duration) -> Result<Ticket, LogError> {
        Ok(self.flushed)
    }

    fn placed(&mut self, _: &mut Vec<Placed>) {}

    fn set_waker(&mut self, waker: Waker) {
        self.waker = Some(waker);
    }
}

/// How slow a disk is pretended to be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk {
    /// Each flush takes this long.
    pub flush: Duration,
    /// And each KiB of it this much longer.
    pub per_kib: Duration,
}

impl Disk {
    /// Whether it is slow at all.
    pub fn is_slow(self) -> bool {
        !self.flush.is_zero() || !self.per_kib.is_zero()
    }
}

/// Any log behind a slow disk. There is one disk, so that flushes of several producers wait for each other.
pub struct SlowLog {
    log: Arc<dyn Log>,
    disk: Disk,
    arm: Arc<Mutex<()>>,
}

impl SlowLog {
    /// This log on that disk.
    pub fn new(log: Arc<dyn Log>, disk: Disk) -> Self {
        Self { log, disk, arm: Arc::default() }
    }
}

impl Log for SlowLog {
    fn partitions(&self) -> u32 {
        self.log.partitions()
    }

    fn ack_max(&self) -> Ack {
        self.log.ack_max()
    }

    fn producer(&self, ack: Ack) -> Result<Box<dyn Producer>, LogError> {
        Ok(Box::new(SlowProducer {
            producer: self.log.producer(ack)?,
            disk: self.disk,
            arm: self.arm.clone(),
            waiting_bytes: 0,
            submitted: Ticket(0),
            flushed: Ticket(0),
            waker: None,
        }))
    }

    fn bounds(&self, partition: Partition) -> Result<Bounds, LogError> {
        self.log.bounds(partition)
    }

    fn fetch(
        &self,
        p: Partition,
        from: Offset,
        limit: FetchLimit,
        out: &mut Records,
    ) -> Result<(), LogError> {
        self.log.fetch(p, from, limit, out)
    }

    fn subscribe(&self, group: &str, member: &str) -> Result<Membership, LogError> {
        self.log.subscribe(group, member)
    }

    fn rejoin(&self, membership: &Membership) -> Result<Membership, LogError> {
        self.log.rejoin(membership)
    }

    fn heartbeat(&self, membership: &Membership) -> Result<u64, LogError> {
        self.log.heartbeat(membership)
    }

    fn leave(&self, membership: &Membership) -> Result<(), LogError> {
        self.log.leave(membership)
    }

    fn assign(&self, group: &str, assignment: Assignment) -> Result<(), LogError> {
        self.log.assign(group, assignment)
    }

    fn groups(&self) -> Result<Vec<GroupStatus>, LogError> {
        self.log.groups()
    }

    fn group_members_max(&self) -> usize {
        self.log.group_members_max()
    }

    fn fetch_stored(
        &self,
        partition: Partition,
        from: Offset,
        limit: FetchLimit,
    ) -> Result<Option<Stored>, LogError> {
        self.log.fetch_stored(partition, from, limit)
    }

    fn commit(&self, membership: &Membership, partition: Partition, next: Offset) -> Result<(), LogError> {
        self.log.commit(membership, partition, next)
    }

    fn committed(&self, group: &str, partition: Partition) -> Result<Option<Offset>, LogError> {
        self.log.committed(group, partition)
    }
}

struct SlowProducer {
    producer: Box<dyn Producer>,
    disk: Disk,
    arm: Arc<Mutex<()>>,
    /// Submitted since the last flush.
    waiting_bytes: usize,
    submitted: Ticket,
    /// Nothing is settled here before it has been flushed, whatever the log says.
    flushed: Ticket,
    waker: Option<Waker>,
}

impl Producer for SlowProducer {
    fn identify(&mut self, identity: Identity) -> Result<(), LogError> {
        self.producer.identify(identity)
    }

    fn submit(&mut self, record: NewRecord<'_>) -> Result<Ticket, LogError> {
        self.submitted = self.producer.submit(record)?;
        self.waiting_bytes += record.payload.len();
        Ok(self.submitted)
    }

    fn flush(&mut self) -> Result<(), LogError> {
        if self.flushed == self.submitted {
            return Ok(());
        }
        let bytes = u32::try_from(std::mem::take(&mut self.waiting_bytes)).unwrap_or(u32::MAX);
        // A panic while the disk is busy leaves nothing half done: there is nothing behind this lock.
        let arm = self.arm.lock().unwrap_or_else(PoisonError::into_inner);
        thread::sleep(self.disk.flush + self.disk.per_kib.mul_f64(f64::from(bytes) / 1024.0));
        self.producer.flush()?;
        drop(arm);
        self.flushed = self.submitted;
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
        Ok(())
    }

    fn settled(&self) -> Result<Ticket, LogError> {
        Ok(self.producer.settled()?.min(self.flushed))
    }

    fn wait(&mut self, upto: Ticket, at_most: Duration) -> Result<Ticket, LogError> {
        Ok(self.producer.wait(upto.min(self.flushed), at_most)?.min(self.flushed))
    }

    fn placed(&mut self, out: &mut Vec<Placed>) {
        self.producer.placed(out);
    }

    fn set_waker(&mut self, waker: Waker) {
        self.waker = Some(waker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contracts::{Batch, TimestampMs};
    use std::time::Instant;

    fn batch(samples: u32) -> Vec<u8> {
        let mut batch = Batch::new();
        let series = batch.series([("__name__", "cpu")]).unwrap();
        for n in 0..samples {
            batch.push(series, TimestampMs(n.into()), 1.0).unwrap();
        }
        batch.encode()
    }

    #[test]
    fn a_tally_counts_samples_and_not_records() {
        let taken = Arc::new(Taken::default());
        let log = TallyLog::new(taken.clone());
        let mut producer = log.producer(Ack::Memory).unwrap();
        for samples in [3, 4] {
            producer.submit(NewRecord { partition: Partition(0), payload: &batch(samples) }).unwrap();
        }
        assert_eq!(taken.samples.load(Ordering::Relaxed), 7);
        assert_eq!(taken.records.load(Ordering::Relaxed), 2);
        assert!(matches!(log.producer(Ack::Os), Err(LogError::AckTooStrong { .. })));
    }

    #[test]
    fn nothing_behind_a_slow_disk_is_settled_before_its_flush() {
        let tally: Arc<dyn Log> = Arc::new(TallyLog::default());
        let disk = Disk { flush: Duration::from_millis(20), per_kib: Duration::ZERO };
        let mut producer = SlowLog::new(tally, disk).producer(Ack::Memory).unwrap();
        let ticket = producer.submit(NewRecord { partition: Partition(0), payload: &batch(1) }).unwrap();
        assert_eq!(producer.settled(), Ok(Ticket(0)));
        assert_eq!(producer.wait(ticket, Duration::ZERO), Ok(Ticket(0)));
        let begun = Instant::now();
        producer.flush().unwrap();
        assert!(begun.elapsed() >= disk.flush, "sleeping is never shorter than asked");
        assert_eq!(producer.settled(), Ok(ticket));
        producer.flush().unwrap();
        assert_eq!(producer.settled(), Ok(ticket), "a flush of nothing costs nothing and loses nothing");
    }
}
