//! Stage 2: the log, as a list behind a mutex.
//!
//! One partition. A record is gone once every group has committed past it.
//!
//! What is wrong with it: it lives in memory, so a crash loses it; it has no bound, so a consumer that stops
//! takes the whole process with it in the end; and everybody waits for the one lock.

use contracts::{
    limits::{FETCH_BYTES_MAX, FETCH_RECORDS_MAX, GROUP_NAME_BYTES_MAX, GROUPS_MAX, RECORD_BYTES_MAX},
    queue::{
        Ack, Bounds, FetchLimit, GroupStatus, Log, LogError, MemberStatus, Membership, NewRecord, Offset,
        Partition, PartitionLag, Placed, Producer, Records, Ticket,
    },
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::Waker,
    time::{Duration, Instant},
};

/// The only partition.
const PARTITION: Partition = Partition(0);

/// A log in memory. Clones share it.
#[derive(Clone, Default)]
pub struct MemoryLog {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Notified when a record is appended.
    appended: Condvar,
}

#[derive(Default)]
struct State {
    records: VecDeque<Vec<u8>>,
    /// Offset of the first of `records`.
    start: u64,
    groups: BTreeMap<String, Group>,
    /// How many of the groups were there from the start: strangers cannot use up their places.
    declared: usize,
}

#[derive(Default)]
struct Group {
    generation: u64,
    member: String,
    committed: Option<u64>,
}

impl Group {
    /// Its one member, if somebody has subscribed. When it was last heard of is not kept.
    fn status(&self) -> Vec<MemberStatus> {
        let Self { generation, member, .. } = self;
        let status = || MemberStatus {
            member: member.clone(),
            generation: *generation,
            partitions: vec![PARTITION],
            silent_ms: 0,
        };
        if member.is_empty() { Vec::new() } else { vec![status()] }
    }
}

impl MemoryLog {
    /// A log that keeps every record until these groups have committed it, even before they first subscribe.
    pub fn for_groups(groups: &[&str]) -> Self {
        let log = Self::default();
        let mut state = log.lock();
        state.groups = groups.iter().map(|name| ((*name).to_owned(), Group::default())).collect();
        state.declared = groups.len();
        drop(state);
        log
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock can leave it half changed, so a panicked thread does no harm here.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn bounds(&self) -> Bounds {
        Bounds { start: Offset(self.start), end: Offset(self.start + self.records.len() as u64) }
    }

    fn check(&self, partition: Partition, asked: Offset) -> Result<(), LogError> {
        check_partition(partition)?;
        let bounds = self.bounds();
        if asked > bounds.end { Err(LogError::OffsetOutOfRange { asked, bounds }) } else { Ok(()) }
    }

    /// The group, if the member is still its current one.
    fn group_of(&mut self, membership: &Membership) -> Result<&mut Group, LogError> {
        let Membership { group, member, generation, .. } = membership;
        let current = self.groups.get(group).map_or(0, |g| g.generation);
        match self.groups.get_mut(group) {
            Some(g) if g.generation == *generation && g.member == *member => Ok(g),
            _ => Err(LogError::Fenced { group: group.clone(), asked: *generation, current }),
        }
    }

    /// Drops what every group has done with.
    fn drop_done(&mut self) {
        let done = self.groups.values().map(|g| g.committed.unwrap_or(self.start)).min();
        while done.is_some_and(|done| self.start < done) && self.records.pop_front().is_some() {
            self.start += 1;
        }
    }
}

impl Log for MemoryLog {
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
        Ok(Box::new(MemoryProducer { log: self.clone(), last: Ticket(0), placed: Vec::new(), waker: None }))
    }

    fn bounds(&self, partition: Partition) -> Result<Bounds, LogError> {
        check_partition(partition)?;
        Ok(self.lock().bounds())
    }

    fn fetch(
        &self,
        partition: Partition,
        from: Offset,
        limit: FetchLimit,
        out: &mut Records,
    ) -> Result<(), LogError> {
        out.clear();
        let limit = FetchLimit {
            records_max: limit.records_max.clamp(1, FETCH_RECORDS_MAX),
            bytes_max: limit.bytes_max.min(FETCH_BYTES_MAX),
            ..limit
        };
        let deadline = Instant::now() + limit.wait;
        let mut state = self.lock();
        state.check(partition, from)?;
        while state.bounds().end == from {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let waited = self.shared.appended.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let Some(skip) = from.0.checked_sub(state.start) else {
            return Err(LogError::OffsetOutOfRange { asked: from, bounds: state.bounds() });
        };
        let wanted = state.records.iter().skip(usize::try_from(skip).unwrap_or(usize::MAX));
        for (offset, record) in (from.0..).zip(wanted) {
            if !out.has_room(record.len(), limit) {
                break;
            }
            out.push(Offset(offset), record);
        }
        Ok(())
    }

    fn subscribe(&self, group: &str, member: &str) -> Result<Membership, LogError> {
        check_name(group)?;
        check_name(member)?;
        let mut state = self.lock();
        if state.groups.len() - state.declared >= GROUPS_MAX && !state.groups.contains_key(group) {
            return Err(LogError::TooManyGroups(GROUPS_MAX));
        }
        let entry = state.groups.entry(group.to_owned()).or_default();
        entry.generation += 1;
        entry.member = member.to_owned();
        Ok(Membership {
            group: group.to_owned(),
            member: member.to_owned(),
            generation: entry.generation,
            partitions: vec![PARTITION],
        })
    }

    fn heartbeat(&self, membership: &Membership) -> Result<u64, LogError> {
        self.lock().group_of(membership).map(|group| group.generation)
    }

    fn groups(&self) -> Result<Vec<GroupStatus>, LogError> {
        let state = self.lock();
        let status = |(name, group): (&String, &Group)| GroupStatus {
            group: name.clone(),
            generation: group.generation,
            members: group.status(),
            partitions: vec![PartitionLag::of(PARTITION, group.committed.map(Offset), state.bounds())],
            ..GroupStatus::default()
        };
        Ok(state.groups.iter().map(status).collect())
    }

    fn commit(&self, membership: &Membership, partition: Partition, next: Offset) -> Result<(), LogError> {
        let mut state = self.lock();
        state.group_of(membership)?;
        state.check(partition, next)?;
        state.group_of(membership)?.committed = Some(next.0);
        state.drop_done();
        Ok(())
    }

    fn committed(&self, group: &str, partition: Partition) -> Result<Option<Offset>, LogError> {
        check_partition(partition)?;
        Ok(self.lock().groups.get(group).and_then(|g| g.committed).map(Offset))
    }
}

/// Everything settles at once, since memory is all that is promised.
struct MemoryProducer {
    log: MemoryLog,
    last: Ticket,
    placed: Vec<Placed>,
    waker: Option<Waker>,
}

impl Producer for MemoryProducer {
    fn submit(&mut self, record: NewRecord<'_>) -> Result<Ticket, LogError> {
        check_partition(record.partition)?;
        if record.payload.len() > RECORD_BYTES_MAX {
            return Err(LogError::RecordTooLarge {
                bytes: record.payload.len(),
                bytes_max: RECORD_BYTES_MAX,
            });
        }
        let mut state = self.log.lock();
        let offset = state.bounds().end;
        state.records.push_back(record.payload.to_vec());
        drop(state);
        self.log.shared.appended.notify_all();
        self.last.0 += 1;
        self.placed.push(Placed { ticket: self.last, partition: record.partition, offset });
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
        Ok(self.last)
    }

    fn flush(&mut self) -> Result<(), LogError> {
        Ok(())
    }

    fn settled(&self) -> Result<Ticket, LogError> {
        Ok(self.last)
    }

    fn wait(&mut self, _: Ticket, _: Duration) -> Result<Ticket, LogError> {
        Ok(self.last)
    }

    fn placed(&mut self, out: &mut Vec<Placed>) {
        out.append(&mut self.placed);
    }

    fn set_waker(&mut self, waker: Waker) {
        self.waker = Some(waker);
    }
}

fn check_partition(asked: Partition) -> Result<(), LogError> {
    if asked == PARTITION { Ok(()) } else { Err(LogError::NoSuchPartition { asked, partitions: 1 }) }
}

fn check_name(name: &str) -> Result<(), LogError> {
    let fits = (1..=GROUP_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic());
    if fits { Ok(()) } else { Err(LogError::BadName(name.chars().take(GROUP_NAME_BYTES_MAX).collect())) }
}
