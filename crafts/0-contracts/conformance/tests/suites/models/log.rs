//! A log in memory.

mod batches;
mod groups;

use self::{batches::Batches, groups::Groups};

use contracts::{
    limits::{FETCH_BYTES_MAX, FETCH_RECORDS_MAX, GROUP_MEMBERS_MAX, RECORD_BYTES_MAX},
    queue::{
        Ack, Assignment, Bounds, FetchLimit, GroupStatus, Identity, Log, LogError, Membership, NewRecord,
        Offset, Partition, Placed, Producer, Records, Ticket,
    },
};
use std::{
    sync::{Arc, Condvar, Mutex},
    task::Waker,
    time::{Duration, Instant},
};

/// What a log can get wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    // What goes in, and comes out.
    LosesEveryHundredth,
    SwapsNeighbours,
    OffsetsFromOne,
    MixesPartitions,
    AppendsAtSubmit,
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
    PanicsOnEmpty,
    // Batches that are sent again.
    OffersWhatItSaysItDoesNot,
    AppendsAgain,
    AppendsWhatIsOld,
    TellsNewPlaces,
    NeverSettlesAgain,
    TakesGaps,
    TakesWhatItRefuses,
    ForgetsSoon,
    OneCountForAllProducers,
    OneCountForAllPartitions,
    MustBeginAtZero,
    NeverWraps,
    LooksAndThenAppends,
    NumbersEveryFlush,
    // Groups.
    ForgetsFencing,
    FormerSelfStays,
    TrustsStrangers,
    SharesCommits,
    CommitsNeverFall,
    CommitsBeyondEnd,
    DropsWhatOneGroupCommitted,
    TakesAnyName,
    NoGroupBound,
    TellsNoGeneration,
    MovesOnWithoutNeed,
    LagFromTheStart,
    // Members that share.
    HandsOverAtOnce,
    TellsNobody,
    LeavesHoles,
    DealsAllToTheFirst,
    FencesHolders,
    TakesAnyCommit,
    LeaversStay,
    LeaversKeepTheirs,
    FencesTheOthersToo,
    DealsAnew,
    KnowsOneAssignment,
    CountsNoRebalances,
    NoMemberBound,
    OneGenerationForAllGroups,
    TakesWhatIsDue,
}

/// What a log offers that it need not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A group's only member reads everything, and no batch is known again.
    Plain,
    /// Members share, and batches are known again.
    Full,
}

/// So many partitions.
const PARTITIONS: u32 = 3;

pub(crate) struct MemoryLog {
    shared: Arc<Shared>,
}

struct Shared {
    kind: Kind,
    fault: Fault,
    state: Mutex<State>,
    grown: Condvar,
}

struct State {
    partitions: Vec<Vec<Arc<[u8]>>>,
    dropped_before: u64,
    batches: Batches,
    groups: Groups,
}

pub(crate) fn open(kind: Kind, fault: Fault) -> impl Fn() -> Arc<dyn Log> + Send + Sync + 'static {
    move || {
        let state = State {
            partitions: vec![Vec::new(); PARTITIONS as usize],
            dropped_before: 0,
            batches: Batches::new(fault),
            groups: Groups::new(kind, fault),
        };
        let shared = Shared { kind, fault, state: Mutex::new(state), grown: Condvar::new() };
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
}

impl State {
    fn bounds(&self, partition: usize) -> Bounds {
        Bounds { start: Offset(self.dropped_before), end: Offset(self.partitions[partition].len() as u64) }
    }
}

impl Log for MemoryLog {
    fn partitions(&self) -> u32 {
        PARTITIONS
    }

    fn knows_batches(&self) -> bool {
        self.shared.kind == Kind::Full && !self.is(Fault::OffersWhatItSaysItDoesNot)
    }

    fn group_members_max(&self) -> usize {
        if self.shared.kind == Kind::Full { GROUP_MEMBERS_MAX } else { 1 }
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
            identity: None,
            placed: Vec::new(),
            submitted: 0,
            settled: 0,
            waker: None,
        }))
    }

    fn bounds(&self, partition: Partition) -> Result<Bounds, LogError> {
        let at = self.check(partition)?;
        Ok(self.shared.state.lock().unwrap().bounds(at))
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
        self.shared.state.lock().unwrap().groups.subscribe(group, member)
    }

    fn rejoin(&self, membership: &Membership) -> Result<Membership, LogError> {
        self.shared.state.lock().unwrap().groups.rejoin(membership)
    }

    fn heartbeat(&self, membership: &Membership) -> Result<u64, LogError> {
        self.shared.state.lock().unwrap().groups.heartbeat(membership)
    }

    fn leave(&self, membership: &Membership) -> Result<(), LogError> {
        self.shared.state.lock().unwrap().groups.leave(membership)
    }

    fn assign(&self, group: &str, assignment: Assignment) -> Result<(), LogError> {
        self.shared.state.lock().unwrap().groups.assign(group, assignment)
    }

    fn groups(&self) -> Result<Vec<GroupStatus>, LogError> {
        let state = self.shared.state.lock().unwrap();
        Ok(state.groups.status(|partition| state.bounds(partition.0 as usize)))
    }

    fn commit(&self, membership: &Membership, partition: Partition, next: Offset) -> Result<(), LogError> {
        let at = self.check(partition)?;
        let mut state = self.shared.state.lock().unwrap();
        state.groups.may_commit(membership, partition)?;
        let bounds = state.bounds(at);
        if next > bounds.end && !self.is(Fault::CommitsBeyondEnd) {
            return Err(LogError::OffsetOutOfRange { asked: next, bounds });
        }
        if self.is(Fault::DropsWhatOneGroupCommitted) {
            state.dropped_before = state.dropped_before.max(next.0);
        }
        state.groups.commit(&membership.group, partition, next);
        Ok(())
    }

    fn committed(&self, group: &str, partition: Partition) -> Result<Option<Offset>, LogError> {
        self.check(partition)?;
        Ok(self.shared.state.lock().unwrap().groups.committed(group, partition))
    }
}

struct MemoryProducer {
    shared: Arc<Shared>,
    pending: Vec<Pending>,
    identity: Option<Identity>,
    placed: Vec<Placed>,
    submitted: u64,
    settled: u64,
    waker: Option<Waker>,
}

type Pending = (u64, Partition, Arc<[u8]>);

impl MemoryProducer {
    /// Appends records at the ends of their partitions.
    fn append(&mut self, state: &mut State, records: Vec<Pending>) {
        let fault = self.shared.fault;
        for (ticket, partition, payload) in records {
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
    }

    /// Appends a batch, if it is the producer's next; tells the places that it has, if it is there already.
    fn append_once(
        &mut self,
        state: &mut State,
        identity: Identity,
        batch: Vec<Pending>,
    ) -> Result<(), LogError> {
        let Some(partition) = batch.first().map(|(_, partition, _)| *partition) else { return Ok(()) };
        let end = state.bounds(partition.0 as usize).end;
        let fault = self.shared.fault;
        match state.batches.find(identity, partition) {
            Ok(Some(first)) if fault != Fault::AppendsAgain => {
                let first = if fault == Fault::TellsNewPlaces { end } else { first };
                let place = |(offset, (ticket, ..)): (u64, &Pending)| Placed {
                    ticket: Ticket(*ticket),
                    partition,
                    offset: Offset(offset),
                };
                self.placed.extend((first.0..).zip(&batch).map(place));
            }
            Ok(_) => {
                state.batches.note(identity, partition, end);
                self.append(state, batch);
            }
            Err(refusal) => {
                if fault == Fault::TakesWhatItRefuses {
                    self.append(state, batch);
                }
                return Err(refusal);
            }
        }
        Ok(())
    }
}

impl Producer for MemoryProducer {
    fn identify(&mut self, identity: Identity) -> Result<(), LogError> {
        if self.shared.kind == Kind::Plain {
            return Err(LogError::NotOffered("know batches again".to_owned()));
        }
        self.identity = Some(identity);
        Ok(())
    }

    fn submit(&mut self, record: NewRecord<'_>) -> Result<Ticket, LogError> {
        let fault = self.shared.fault;
        if record.partition.0 >= PARTITIONS {
            return Err(LogError::NoSuchPartition { asked: record.partition, partitions: PARTITIONS });
        }
        let bytes = record.payload.len();
        if bytes > RECORD_BYTES_MAX && fault != Fault::TakesAnySize {
            return Err(LogError::RecordTooLarge { bytes, bytes_max: RECORD_BYTES_MAX });
        }
        assert!(fault != Fault::PanicsOnEmpty || bytes > 0, "an empty record");
        self.submitted += 1;
        let partition = if fault == Fault::MixesPartitions { Partition(0) } else { record.partition };
        self.pending.push((self.submitted, partition, record.payload.into()));
        if fault == Fault::AppendsAtSubmit {
            self.flush()?;
        }
        Ok(Ticket(self.submitted))
    }

    fn flush(&mut self) -> Result<(), LogError> {
        let fault = self.shared.fault;
        let shared = self.shared.clone();
        let pending = std::mem::take(&mut self.pending);
        let identity = if fault == Fault::NumbersEveryFlush { self.identity } else { self.identity.take() };
        let mut state = shared.state.lock().unwrap();
        let before = self.placed.len();
        match identity {
            None => self.append(&mut state, pending),
            Some(identity) if fault == Fault::LooksAndThenAppends => {
                let partition = pending.first().map_or(Partition(0), |(_, partition, _)| *partition);
                let is_there = state.batches.find(identity, partition)?.is_some();
                drop(state);
                // Long enough for everybody to have looked.
                std::thread::sleep(Duration::from_millis(20));
                state = shared.state.lock().unwrap();
                if is_there {
                    self.append_once(&mut state, identity, pending)?;
                } else {
                    let end = state.bounds(partition.0 as usize).end;
                    state.batches.note(identity, partition, end);
                    self.append(&mut state, pending);
                }
            }
            Some(identity) => {
                let end = state.partitions.iter().map(Vec::len).sum::<usize>();
                self.append_once(&mut state, identity, pending)?;
                let appended = state.partitions.iter().map(Vec::len).sum::<usize>() > end;
                if fault == Fault::NeverSettlesAgain && !appended {
                    self.placed.truncate(before);
                    return Ok(());
                }
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
