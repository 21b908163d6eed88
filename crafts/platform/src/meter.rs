//! Counters around the contracts: any implementation in a slot is measured the same way, and knows nothing of it.

use contracts::{
    BatchView, Labels, TimeRange, TimestampMs,
    alert::{Alert, AlertError, AlertState, Alerter, Channel, Notification, Notifier, Rule, RuleStatus},
    packed::PackedRecords,
    query::{QueryEngine, QueryError, QueryValue, SeriesPoints, Steps},
    queue::{
        Ack, Assignment, Bounds, FetchLimit, GroupStatus, Identity, Log, LogError, Membership, NewRecord,
        Offset, Partition, Placed, Producer, Records, Stored, Ticket,
    },
    storage::{Select, SelectStats, SeriesReader, SeriesWriter, Storage, StorageError, Visit},
};
use serde::Serialize;
use std::{
    mem::take,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::Waker,
    time::{Duration, Instant},
};

/// How many threads may count at once without taking a cache line from one another.
const COUNTER_SHARDS: usize = 4;

/// A number that only rises, counted in shards: reactors count every request, and would else pass one cache line to and
/// fro. Relaxed: nobody infers anything from one counter about another.
#[derive(Debug, Default)]
pub(crate) struct Counter([Shard; COUNTER_SHARDS]);

#[derive(Debug, Default)]
#[repr(align(64))]
struct Shard(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        if n > 0 {
            SHARD.with(|shard| self.0[*shard].0.fetch_add(n, Relaxed));
        }
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.iter().map(|shard| shard.0.load(Relaxed)).sum()
    }
}

thread_local! {
    /// Threads are given shards in turn.
    static SHARD: usize = {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        usize::try_from(NEXT.fetch_add(1, Relaxed)).unwrap_or_default() % COUNTER_SHARDS
    };
}

impl Serialize for Counter {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.get())
    }
}

/// What each stage did since the start.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    pub(crate) ingest_requests: Counter,
    pub(crate) ingest_refused: Counter,
    pub(crate) ingest_bytes: Counter,
    pub(crate) queue_records: Counter,
    pub(crate) queue_samples: Counter,
    pub(crate) storage_batches: Counter,
    pub(crate) storage_samples: Counter,
    pub(crate) storage_commits: Counter,
    pub(crate) storage_lost_records: Counter,
    pub(crate) query_queries: Counter,
    pub(crate) query_errors: Counter,
    pub(crate) query_samples_read: Counter,
    /// The last one only: no counter.
    pub(crate) query_last_us: AtomicU64,
    pub(crate) alert_evaluations: Counter,
    pub(crate) alert_notifications: Counter,
}

/// Anything with counters around it.
pub(crate) struct Metered<T: ?Sized> {
    pub(crate) meters: Arc<Meters>,
    pub(crate) inner: Arc<T>,
}

impl Log for Metered<dyn Log> {
    fn partitions(&self) -> u32 {
        self.inner.partitions()
    }

    fn ack_max(&self) -> Ack {
        self.inner.ack_max()
    }

    fn producer(&self, ack: Ack) -> Result<Box<dyn Producer>, LogError> {
        let inner = self.inner.producer(ack)?;
        Ok(Box::new(MeteredProducer { meters: self.meters.clone(), inner, records: 0, samples: 0 }))
    }

    fn bounds(&self, partition: Partition) -> Result<Bounds, LogError> {
        self.inner.bounds(partition)
    }

    fn fetch(
        &self,
        partition: Partition,
        from: Offset,
        limit: FetchLimit,
        out: &mut Records,
    ) -> Result<(), LogError> {
        self.inner.fetch(partition, from, limit, out)
    }

    fn subscribe(&self, group: &str, member: &str) -> Result<Membership, LogError> {
        self.inner.subscribe(group, member)
    }

    fn rejoin(&self, membership: &Membership) -> Result<Membership, LogError> {
        self.inner.rejoin(membership)
    }

    fn heartbeat(&self, membership: &Membership) -> Result<u64, LogError> {
        self.inner.heartbeat(membership)
    }

    fn leave(&self, membership: &Membership) -> Result<(), LogError> {
        self.inner.leave(membership)
    }

    fn assign(&self, group: &str, assignment: Assignment) -> Result<(), LogError> {
        self.inner.assign(group, assignment)
    }

    fn groups(&self) -> Result<Vec<GroupStatus>, LogError> {
        self.inner.groups()
    }

    fn group_members_max(&self) -> usize {
        self.inner.group_members_max()
    }

    fn fetch_stored(
        &self,
        partition: Partition,
        from: Offset,
        limit: FetchLimit,
    ) -> Result<Option<Stored>, LogError> {
        self.inner.fetch_stored(partition, from, limit)
    }

    fn commit(&self, membership: &Membership, partition: Partition, next: Offset) -> Result<(), LogError> {
        self.inner.commit(membership, partition, next)
    }

    fn committed(&self, group: &str, partition: Partition) -> Result<Option<Offset>, LogError> {
        self.inner.committed(group, partition)
    }
}

/// Counts for itself, and adds to the meters at a flush: two of their counters a record were a twentieth of all work.
struct MeteredProducer {
    meters: Arc<Meters>,
    inner: Box<dyn Producer>,
    records: u64,
    samples: u64,
}

impl Producer for MeteredProducer {
    fn identify(&mut self, identity: Identity) -> Result<(), LogError> {
        self.inner.identify(identity)
    }

    fn submit(&mut self, record: NewRecord<'_>) -> Result<Ticket, LogError> {
        let ticket = self.inner.submit(record)?;
        self.records += 1;
        self.samples += BatchView::peek_len(record.payload) as u64;
        Ok(ticket)
    }

    fn submit_all(&mut self, partition: Partition, payloads: &[&[u8]]) -> Result<Ticket, LogError> {
        let ticket = self.inner.submit_all(partition, payloads)?;
        self.records += payloads.len() as u64;
        self.samples += payloads.iter().map(|payload| BatchView::peek_len(payload) as u64).sum::<u64>();
        Ok(ticket)
    }

    fn submit_packed(&mut self, partition: Partition, batch: &PackedRecords<'_>) -> Result<Ticket, LogError> {
        let ticket = self.inner.submit_packed(partition, batch)?;
        self.records += u64::from(batch.len());
        self.samples += batch.iter().map(|payload| BatchView::peek_len(payload) as u64).sum::<u64>();
        Ok(ticket)
    }

    fn flush(&mut self) -> Result<(), LogError> {
        self.meters.queue_records.add(take(&mut self.records));
        self.meters.queue_samples.add(take(&mut self.samples));
        self.inner.flush()
    }

    fn settled(&self) -> Result<Ticket, LogError> {
        self.inner.settled()
    }

    fn wait(&mut self, upto: Ticket, at_most: Duration) -> Result<Ticket, LogError> {
        self.inner.wait(upto, at_most)
    }

    fn placed(&mut self, out: &mut Vec<Placed>) {
        self.inner.placed(out);
    }

    fn set_waker(&mut self, waker: Waker) {
        self.inner.set_waker(waker);
    }
}

impl SeriesWriter for Metered<dyn Storage> {
    fn write(&self, batch: &BatchView<'_>) -> Result<(), StorageError> {
        self.inner.write(batch)?;
        self.meters.storage_batches.add(1);
        self.meters.storage_samples.add(batch.len() as u64);
        Ok(())
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.inner.sync()?;
        self.meters.storage_commits.add(1);
        Ok(())
    }
}

impl SeriesReader for Metered<dyn Storage> {
    fn select(&self, select: &Select, visit: &mut Visit<'_>) -> Result<SelectStats, StorageError> {
        let stats = self.inner.select(select, visit)?;
        self.meters.query_samples_read.add(stats.samples);
        Ok(stats)
    }

    fn series(&self, select: &Select) -> Result<Vec<Labels>, StorageError> {
        self.inner.series(select)
    }

    fn label_names(&self, select: &Select) -> Result<Vec<String>, StorageError> {
        self.inner.label_names(select)
    }

    fn label_values(&self, name: &str, select: &Select) -> Result<Vec<String>, StorageError> {
        self.inner.label_values(name, select)
    }
}

impl Metered<dyn QueryEngine> {
    fn count<T>(&self, ask: impl FnOnce(&dyn QueryEngine) -> Result<T, QueryError>) -> Result<T, QueryError> {
        let begun = Instant::now();
        let result = ask(self.inner.as_ref());
        self.meters.query_queries.add(1);
        self.meters.query_errors.add(u64::from(result.is_err()));
        let took_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.meters.query_last_us.store(took_us, Relaxed);
        result
    }
}

impl QueryEngine for Metered<dyn QueryEngine> {
    fn check(&self, query: &str) -> Result<(), QueryError> {
        self.inner.check(query)
    }

    fn instant(&self, query: &str, at: TimestampMs) -> Result<QueryValue, QueryError> {
        self.count(|engine| engine.instant(query, at))
    }

    fn range(&self, query: &str, steps: Steps) -> Result<Vec<SeriesPoints>, QueryError> {
        self.count(|engine| engine.range(query, steps))
    }

    fn points(&self, selector: &str, range: TimeRange) -> Result<Vec<SeriesPoints>, QueryError> {
        self.count(|engine| engine.points(selector, range))
    }

    fn series(&self, selectors: &[&str], range: TimeRange) -> Result<Vec<Labels>, QueryError> {
        self.count(|engine| engine.series(selectors, range))
    }

    fn label_names(&self, selectors: &[&str], range: TimeRange) -> Result<Vec<String>, QueryError> {
        self.count(|engine| engine.label_names(selectors, range))
    }

    fn label_values(
        &self,
        name: &str,
        selectors: &[&str],
        range: TimeRange,
    ) -> Result<Vec<String>, QueryError> {
        self.count(|engine| engine.label_values(name, selectors, range))
    }
}

impl Alerter for Metered<dyn Alerter> {
    fn put_rule(&self, rule: Rule) -> Result<(), AlertError> {
        self.inner.put_rule(rule)
    }

    fn delete_rule(&self, name: &str) -> Result<(), AlertError> {
        self.inner.delete_rule(name)
    }

    fn rules(&self) -> Result<Vec<RuleStatus>, AlertError> {
        self.inner.rules()
    }

    fn alerts(&self) -> Result<Vec<Alert>, AlertError> {
        self.inner.alerts()
    }

    fn channels(&self) -> Result<Vec<Channel>, AlertError> {
        self.inner.channels()
    }

    fn evaluate(&self, now: TimestampMs) -> Result<(), AlertError> {
        self.inner.evaluate(now)?;
        self.meters.alert_evaluations.add(1);
        Ok(())
    }
}

impl Notifier for Metered<dyn Notifier> {
    fn channel(&self) -> Channel {
        self.inner.channel()
    }

    fn notify(&self, notification: &Notification) -> Result<(), String> {
        self.inner.notify(notification)?;
        self.meters.alert_notifications.add(1);
        Ok(())
    }
}

/// How many alerts fire, for the page.
pub(crate) fn firing(alerter: &dyn Alerter) -> usize {
    alerter.alerts().unwrap_or_default().iter().filter(|a| a.state == AlertState::Firing).count()
}
