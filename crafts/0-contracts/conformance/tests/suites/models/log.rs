//! A log in memory.

use contracts::{
    limits::{FETCH_BYTES_MAX, FETCH_RECORDS_MAX, GROUP_NAME_BYTES_MAX, GROUPS_MAX, RECORD_BYTES_MAX},
    queue::{
        Ack, Bounds, FetchLimit, GroupStatus, Log, LogError, Membership, NewRecord, Offset, Partition,
        Placed, Producer, Records, Ticket,
    },
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Condvar, Mutex},
    task::Waker,
    time::{Duration, Instant},
};

/// What a log can get wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    LosesEveryHundredth,
    SwapsNeighbours,
    OffsetsFromOne,
    MixesPartitions,
    IgnoresRecordsMax,
    IgnoresBytesMax,
    FirstRecordMustFit,
    KeepsOldBuffer,
    EmptyBeyondEnd,
    WrongBounds,
    NeverWakesFetch,
    WakesOneFetch,
    SettlesBeforeSubmit,
    ForgetsPlaces,
    NeverSettles,
    ForgetsWaker,
    TakesAnyAck,
    TakesAnySize,
    ForgetsFencing,
    TrustsStrangers,
    SharesCommits,
    CommitsNeverFall,
    CommitsBeyondEnd,
    DropsWhatOneGroupCommitted,
    TakesAnyName,
    NoGroupBound,
    PanicsOnEmpty,
}

pub(crate) struct MemoryLog {
    shared: Arc<Shared>,
}

struct Shared {
    fault: Fault,
    state: Mutex<State>,
    grown: Condvar,
}

#[derive(Default)]
struct State {
    partitions: Vec<Vec<Arc<[u8]>>>,
    dropped_before: u64,
    groups: BTreeMap<String, Group>,
}

#[derive(Default)]
struct Group {
    generation: u64,
    member: String,
    committed: HashMap<Partition, Offset>,
}

pub(crate) fn open(fault: Fault) -> impl Fn() -> Arc<dyn Log> + Send + Sync + 'static {
    move || {
        let state = State { partitions: vec![Vec::new(); 3], ..State::default() };
        let shared = Shared { fault, state: Mutex::new(state), grown: Condvar::new() };
        Arc::new(MemoryLog { shared: Arc::new(shared) })
    }
}

impl MemoryLog {
    fn check(&self, asked: Partition) -> Result<usize, LogError> {
        let partitions = self.partitions();
        if asked.0 < partitions {
            Ok(asked.0 as usize)
        } else {
            Err(LogError::NoSuchPartition { asked, partitions })
        }
    }

    fn is(&self, fault: Fault) -> bool {
        self.shared.fault == fault
    }

    fn check_member(&self, state: &State, who: &Membership) -> Result<(), LogError> {
        let group = state.groups.get(&who.group);
        let current = group.map_or(0, |g| g.generation);
        let known = group.is_some_and(|g| g.member == who.member || self.is(Fault::TrustsStrangers));
        if (current == who.generation && known) || (self.is(Fault::ForgetsFencing) && group.is_some()) {
            return Ok(());
        }
        Err(LogError::Fenced { group: who.group.clone(), asked: who.generation, current })
    }
}

impl Log for MemoryLog {
    fn partitions(&self) -> u32 {
        3
    }

    fn ack_max(&self) -> Ack {
        Ack::Os
    }

    fn producer(&self, ack: Ack) -> Result<Box<dyn Producer>, LogError> {
        if ack > self.ack_max() && !self.is(Fault::TakesAnyAck) {
            return Err(LogError::AckTooStrong { asked: ack, best: self.ack_max() });
        }
        Ok(Box::new(MemoryProducer {
            shared: self.shared.clone(),
            pending: Vec::new(),
            placed: Vec::new(),
            submitted: 0,
            settled: 0,
            waker: None,
        }))
    }

    fn bounds(&self, partition: Partition) -> Result<Bounds, LogError> {
        let at = self.check(partition)?;
        let state = self.shared.state.lock().unwrap();
        Ok(Bounds { start: Offset(state.dropped_before), end: Offset(state.partitions[at].len() as u64) })
    }

    fn fetch(
        &self,
        partition: Partition,
        from: Offset,
        limit: FetchLimit,
        out: &mut Records,
    ) -> Result<(), LogError> {
        let at = self.check(partition)?;
        if !self.is(Fault::KeepsOldBuffer) {
            out.clear();
        }
        let deadline = Instant::now() + limit.wait;
        let mut state = self.shared.state.lock().unwrap();
        while from.0 == state.partitions[at].len() as u64 && Instant::now() < deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            state = self.shared.grown.wait_timeout(state, left).unwrap().0;
        }
        let records = &state.partitions[at];
        let end = Offset(records.len() as u64);
        if from > end && self.is(Fault::EmptyBeyondEnd) {
            return Ok(());
        }
        if from > end || from.0 < state.dropped_before {
            let start = Offset(if self.is(Fault::WrongBounds) { 1 } else { state.dropped_before });
            return Err(LogError::OffsetOutOfRange { asked: from, bounds: Bounds { start, end } });
        }
        let limit = FetchLimit {
            records_max: limit.records_max.min(FETCH_RECORDS_MAX),
            bytes_max: limit.bytes_max.min(FETCH_BYTES_MAX),
            ..limit
        };
        let base = u64::from(self.is(Fault::OffsetsFromOne));
        for (i, payload) in records.iter().enumerate().skip(from.0 as usize) {
            let fits = match self.shared.fault {
                Fault::IgnoresRecordsMax => out.is_empty() || out.bytes() + payload.len() <= limit.bytes_max,
                Fault::IgnoresBytesMax => out.len() < limit.records_max,
                Fault::FirstRecordMustFit => {
                    out.len() < limit.records_max && out.bytes() + payload.len() <= limit.bytes_max
                }
                _ => out.has_room(payload.len(), limit),
            };
            if !fits {
                break;
            }
            out.push(Offset(i as u64 + base), payload);
        }
        Ok(())
    }

    fn subscribe(&self, group: &str, member: &str) -> Result<Membership, LogError> {
        for name in [group, member] {
            let good = (1..=GROUP_NAME_BYTES_MAX).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
            if !good && !self.is(Fault::TakesAnyName) {
                return Err(LogError::BadName(name.to_owned()));
            }
        }
        let mut state = self.shared.state.lock().unwrap();
        let known = state.groups.contains_key(group);
        if !known && state.groups.len() == GROUPS_MAX && !self.is(Fault::NoGroupBound) {
            return Err(LogError::TooManyGroups(GROUPS_MAX));
        }
        let entry = state.groups.entry(group.to_owned()).or_default();
        entry.generation += 1;
        entry.member = member.to_owned();
        Ok(Membership {
            group: group.to_owned(),
            member: member.to_owned(),
            generation: entry.generation,
            partitions: (0..3).map(Partition).collect(),
        })
    }

    fn heartbeat(&self, membership: &Membership) -> Result<u64, LogError> {
        let state = self.shared.state.lock().unwrap();
        self.check_member(&state, membership).map(|()| state.groups[&membership.group].generation)
    }

    fn groups(&self) -> Result<Vec<GroupStatus>, LogError> {
        let state = self.shared.state.lock().unwrap();
        let status = |(name, group): (&String, &Group)| GroupStatus {
            group: name.clone(),
            generation: group.generation,
            ..GroupStatus::default()
        };
        Ok(state.groups.iter().map(status).collect())
    }

    fn commit(&self, membership: &Membership, partition: Partition, next: Offset) -> Result<(), LogError> {
        let at = self.check(partition)?;
        let mut state = self.shared.state.lock().unwrap();
        self.check_member(&state, membership)?;
        let bounds =
            Bounds { start: Offset(state.dropped_before), end: Offset(state.partitions[at].len() as u64) };
        if next > bounds.end && !self.is(Fault::CommitsBeyondEnd) {
            return Err(LogError::OffsetOutOfRange { asked: next, bounds });
        }
        if self.is(Fault::DropsWhatOneGroupCommitted) {
            state.dropped_before = state.dropped_before.max(next.0);
        }
        let all = self.is(Fault::SharesCommits);
        for (name, group) in &mut state.groups {
            let known = group.committed.entry(partition).or_insert(next);
            if all || *name == membership.group {
                *known = if self.is(Fault::CommitsNeverFall) { next.max(*known) } else { next };
            } else if *known == next {
                // Only what this call has put there.
                group.committed.remove(&partition);
            }
        }
        Ok(())
    }

    fn committed(&self, group: &str, partition: Partition) -> Result<Option<Offset>, LogError> {
        self.check(partition)?;
        let state = self.shared.state.lock().unwrap();
        Ok(state.groups.get(group).and_then(|g| g.committed.get(&partition).copied()))
    }
}

struct MemoryProducer {
    shared: Arc<Shared>,
    pending: Vec<(u64, Partition, Arc<[u8]>)>,
    placed: Vec<Placed>,
    submitted: u64,
    settled: u64,
    waker: Option<Waker>,
}

impl Producer for MemoryProducer {
    fn submit(&mut self, record: NewRecord<'_>) -> Result<Ticket, LogError> {
        let fault = self.shared.fault;
        if record.partition.0 >= 3 {
            return Err(LogError::NoSuchPartition { asked: record.partition, partitions: 3 });
        }
        let bytes = record.payload.len();
        if bytes > RECORD_BYTES_MAX && fault != Fault::TakesAnySize {
            return Err(LogError::RecordTooLarge { bytes, bytes_max: RECORD_BYTES_MAX });
        }
        assert!(fault != Fault::PanicsOnEmpty || bytes > 0, "an empty record");
        self.submitted += 1;
        let partition = if fault == Fault::MixesPartitions { Partition(0) } else { record.partition };
        self.pending.push((self.submitted, partition, record.payload.into()));
        Ok(Ticket(self.submitted))
    }

    fn flush(&mut self) -> Result<(), LogError> {
        let fault = self.shared.fault;
        let mut state = self.shared.state.lock().unwrap();
        for (ticket, partition, payload) in self.pending.drain(..) {
            let records = &mut state.partitions[partition.0 as usize];
            let offset = Offset(records.len() as u64);
            if !(fault == Fault::LosesEveryHundredth && offset.0 % 100 == 99) {
                records.push(payload);
            }
            if fault == Fault::SwapsNeighbours && offset.0 % 10 == 9 {
                records.swap(offset.0 as usize, offset.0 as usize - 1);
            }
            if fault != Fault::ForgetsPlaces || offset.0 != 5 {
                self.placed.push(Placed { ticket: Ticket(ticket), partition, offset });
            }
        }
        if fault != Fault::NeverSettles {
            self.settled = self.submitted;
        }
        drop(state);
        match fault {
            Fault::NeverWakesFetch => {}
            Fault::WakesOneFetch => self.shared.grown.notify_one(),
            _ => self.shared.grown.notify_all(),
        }
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
        Ok(())
    }

    fn settled(&self) -> Result<Ticket, LogError> {
        Ok(Ticket(match self.shared.fault {
            Fault::SettlesBeforeSubmit => self.settled + 1,
            Fault::ForgetsWaker if self.settled > 0 => self.settled - 1,
            _ => self.settled,
        }))
    }

    fn wait(&mut self, upto: Ticket, at_most: Duration) -> Result<Ticket, LogError> {
        if upto.0 > self.settled {
            std::thread::sleep(at_most.min(Duration::from_millis(10)));
        }
        Ok(Ticket(self.settled))
    }

    fn placed(&mut self, out: &mut Vec<Placed>) {
        out.append(&mut self.placed);
    }

    fn set_waker(&mut self, waker: Waker) {
        self.waker = (self.shared.fault != Fault::ForgetsWaker).then_some(waker);
    }
}
