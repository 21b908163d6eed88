use super::*;
use contracts::{
    Batch, TimestampMs,
    queue::{Ack, Bounds, GroupStatus, Producer},
};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

const PARTITIONS: u32 = 4;

/// A log of four partitions that notes what it was asked, and can be told what to answer.
#[derive(Default)]
struct Fake {
    state: Mutex<State>,
    heartbeats: AtomicUsize,
}

#[derive(Default)]
struct State {
    records: BTreeMap<Partition, Vec<Vec<u8>>>,
    committed: BTreeMap<Partition, Offset>,
    /// In the order in which they came.
    calls: Vec<String>,
    generation: u64,
    held: Vec<Partition>,
    /// Records of partition 0 that cannot be read.
    damaged: Option<(u64, u64)>,
    /// Of every partition, records before this are gone.
    start: u64,
    /// What the fetches since the last record were to wait, in all.
    waits: Vec<Duration>,
    fenced: bool,
}

impl Fake {
    fn of(records: &[(u32, usize)]) -> Self {
        let log = Self::default();
        let mut state = log.lock();
        for (partition, count) in records {
            state.records.insert(Partition(*partition), (0..*count).map(batch).collect());
        }
        state.held = (0..PARTITIONS).map(Partition).collect();
        drop(state);
        log
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn membership(state: &State) -> Membership {
        Membership {
            group: "storage".to_owned(),
            member: "m".to_owned(),
            generation: state.generation,
            partitions: state.held.clone(),
        }
    }

    fn calls(&self) -> Vec<String> {
        self.lock().calls.clone()
    }
}

fn batch(value: usize) -> Vec<u8> {
    let mut batch = Batch::new();
    let series = batch.series([("__name__", "x")]).unwrap();
    batch.push(series, TimestampMs(value as i64), 1.0).unwrap();
    batch.encode()
}

impl Log for Fake {
    fn partitions(&self) -> u32 {
        PARTITIONS
    }

    fn ack_max(&self) -> Ack {
        Ack::Memory
    }

    fn producer(&self, _: Ack) -> Result<Box<dyn Producer>, LogError> {
        Err(LogError::Full)
    }

    fn bounds(&self, partition: Partition) -> Result<Bounds, LogError> {
        let state = self.lock();
        let end = state.records.get(&partition).map_or(0, Vec::len) as u64;
        Ok(Bounds { start: Offset(state.start.min(end)), end: Offset(end) })
    }

    fn fetch(
        &self,
        partition: Partition,
        from: Offset,
        limit: FetchLimit,
        out: &mut Records,
    ) -> Result<(), LogError> {
        out.clear();
        let bounds = self.bounds(partition)?;
        if from < bounds.start || from > bounds.end {
            return Err(LogError::OffsetOutOfRange { asked: from, bounds });
        }
        let mut state = self.lock();
        state.waits.push(limit.wait);
        let damaged = state.damaged.filter(|_| partition == Partition(0));
        if let Some((first, next)) = damaged.filter(|(first, next)| (*first..*next).contains(&from.0)) {
            let why = "a bit is wrong".to_owned();
            return Err(LogError::Damaged { partition, from: Offset(first), next: Offset(next), why });
        }
        let upto = damaged.map_or(u64::MAX, |(first, _)| if from.0 < first { first } else { u64::MAX });
        for offset in from.0..bounds.end.0.min(upto) {
            out.push(Offset(offset), &state.records[&partition][usize::try_from(offset).unwrap()]);
        }
        Ok(())
    }

    fn subscribe(&self, _: &str, member: &str) -> Result<Membership, LogError> {
        let mut state = self.lock();
        state.generation += 1;
        state.fenced = false;
        state.calls.push(format!("subscribe {member}"));
        Ok(Self::membership(&state))
    }

    fn rejoin(&self, _: &Membership) -> Result<Membership, LogError> {
        let mut state = self.lock();
        state.calls.push("rejoin".to_owned());
        Ok(Self::membership(&state))
    }

    fn heartbeat(&self, membership: &Membership) -> Result<u64, LogError> {
        self.heartbeats.fetch_add(1, Ordering::SeqCst);
        let state = self.lock();
        let current = state.generation;
        if state.fenced {
            let (group, asked) = (membership.group.clone(), membership.generation);
            return Err(LogError::Fenced { group, asked, current });
        }
        Ok(current)
    }

    fn leave(&self, membership: &Membership) -> Result<(), LogError> {
        self.lock().calls.push(format!("leave {}", membership.generation));
        Ok(())
    }

    fn groups(&self) -> Result<Vec<GroupStatus>, LogError> {
        Ok(Vec::new())
    }

    fn commit(&self, membership: &Membership, partition: Partition, next: Offset) -> Result<(), LogError> {
        let mut state = self.lock();
        if state.fenced {
            let (group, asked) = (membership.group.clone(), membership.generation);
            return Err(LogError::Fenced { group, asked, current: state.generation });
        }
        state.calls.push(format!("commit {}={}", partition.0, next.0));
        state.committed.insert(partition, next);
        Ok(())
    }

    fn committed(&self, _: &str, partition: Partition) -> Result<Option<Offset>, LogError> {
        Ok(self.lock().committed.get(&partition).copied())
    }
}

/// A storage that notes its calls with those of the log.
struct Store<'l> {
    log: &'l Fake,
    /// Runs before each write.
    before: &'l (dyn Fn() -> Result<(), StorageError> + Sync),
    written: AtomicU64,
}

impl SeriesWriter for Store<'_> {
    fn write(&self, batch: &BatchView<'_>) -> Result<(), StorageError> {
        (self.before)()?;
        self.written.fetch_add(batch.len() as u64, Ordering::SeqCst);
        self.log.lock().calls.push("write".to_owned());
        Ok(())
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.log.lock().calls.push("sync".to_owned());
        Ok(())
    }
}

/// Runs a consumer until `until` holds, and stops it. Returns what it did, and what it complained of.
fn consume(
    log: &Fake,
    before: &(dyn Fn() -> Result<(), StorageError> + Sync),
    mut until: impl FnMut(&mut State) -> bool,
) -> (Consumed, Vec<String>) {
    let storage = Store { log, before, written: AtomicU64::new(0) };
    let (complaints, lost) = (Mutex::new(Vec::new()), AtomicU64::new(0));
    let shutdown = Shutdown::new();
    let consumed = thread::scope(|scope| {
        let run = scope.spawn(|| {
            let complain = &|why: &str| complaints.lock().unwrap().push(why.to_owned());
            let lost = &|count| {
                lost.fetch_add(count, Ordering::SeqCst);
            };
            let consumer = Consumer { log, storage: &storage, group: "storage", member: "m", complain, lost };
            consumer.run(&shutdown, Duration::from_secs(30))
        });
        let deadline = Instant::now() + Duration::from_secs(30);
        while !until(&mut log.lock()) {
            assert!(Instant::now() < deadline, "in vain: {:?}", log.lock().calls);
            thread::sleep(Duration::from_millis(1));
        }
        shutdown.set();
        run.join().unwrap()
    });
    assert_eq!(lost.into_inner(), consumed.lost);
    (consumed, complaints.into_inner().unwrap())
}

fn fine() -> Result<(), StorageError> {
    Ok(())
}

fn stands_at(partition: u32, next: u64) -> impl Fn(&mut State) -> bool {
    move |state| state.committed.get(&Partition(partition)) == Some(&Offset(next))
}

#[test]
fn a_round_writes_everything_syncs_once_and_commits_only_then() {
    let log = Fake::of(&[(0, 2), (3, 1)]);
    let (consumed, complaints) = consume(&log, &fine, stands_at(3, 1));
    let expected = ["subscribe m", "write", "write", "write", "sync", "commit 0=2", "commit 3=1", "leave 1"];
    assert_eq!(log.calls(), expected);
    assert_eq!((consumed.records, consumed.complete), (3, true));
    assert!(complaints.is_empty(), "{complaints:?}");
}

#[test]
fn an_idle_round_waits_once_however_many_partitions_there_are() {
    let log = Fake::of(&[]);
    let rounds = 3 * PARTITIONS as usize;
    consume(&log, &fine, |state| state.waits.len() >= rounds);
    let waits = log.lock().waits.clone();
    for round in waits[..rounds].chunks(PARTITIONS as usize) {
        assert_eq!(round.iter().sum::<Duration>(), IDLE, "{round:?}");
    }
}

#[test]
fn who_has_found_something_waits_for_nothing_more() {
    let log = Fake::of(&[(1, 1)]);
    consume(&log, &fine, stands_at(1, 1));
    let share = IDLE / PARTITIONS;
    assert_eq!(log.lock().waits[..4], [share, share, Duration::ZERO, Duration::ZERO]);
}

#[test]
fn damage_is_told_counted_and_passed() {
    let log = Fake::of(&[(0, 9)]);
    log.lock().damaged = Some((3, 7));
    let (consumed, complaints) = consume(&log, &fine, stands_at(0, 9));
    assert_eq!((consumed.records, consumed.lost, consumed.complete), (5, 4, true));
    assert_eq!(complaints, ["LOST: 4 records of partition 0, 3 to 6, are damaged; going on at 7"]);
    let commits: Vec<_> = log.calls().into_iter().filter(|call| call.starts_with("commit")).collect();
    assert_eq!(commits, ["commit 0=3", "commit 0=7", "commit 0=9"]);
}

#[test]
fn what_retention_has_dropped_is_told_counted_and_passed() {
    let log = Fake::of(&[(2, 9)]);
    let mut state = log.lock();
    state.committed.insert(Partition(2), Offset(1));
    state.start = 5;
    drop(state);
    let (consumed, complaints) = consume(&log, &fine, stands_at(2, 9));
    assert_eq!((consumed.records, consumed.lost), (4, 4));
    assert!(complaints[0].contains("4 records of partition 2, 1 to 4, are dropped"), "{complaints:?}");
}

#[test]
fn a_record_that_is_no_batch_is_told_and_passed_over() {
    let log = Fake::of(&[(0, 3)]);
    log.lock().records.get_mut(&Partition(0)).unwrap()[1] = b"no batch".to_vec();
    let (consumed, complaints) = consume(&log, &fine, stands_at(0, 3));
    assert_eq!((consumed.records, consumed.damaged, consumed.lost), (3, 1, 0));
    assert!(complaints[0].contains("record 1 of partition 0"), "{complaints:?}");
}

#[test]
fn a_member_is_alive_however_long_storage_takes() {
    let log = Fake::of(&[(0, 1)]);
    let slow = || {
        // As long as it takes to be heard three times more.
        let heard = log.heartbeats.load(Ordering::SeqCst);
        let deadline = Instant::now() + Duration::from_secs(30);
        while log.heartbeats.load(Ordering::SeqCst) < heard + 3 {
            assert!(Instant::now() < deadline, "nothing was heard of the member while storage wrote");
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    };
    let (consumed, complaints) = consume(&log, &slow, stands_at(0, 1));
    assert_eq!((consumed.records, complaints.len()), (1, 0));
}

#[test]
fn a_new_generation_is_joined_and_what_was_let_go_is_read_no_more() {
    let log = Fake::of(&[(0, 1)]);
    consume(&log, &fine, |state| {
        if stands_at(0, 1)(state) && state.generation == 1 {
            (state.generation, state.held) = (2, vec![Partition(1)]);
        }
        if state.calls.iter().any(|call| call == "rejoin") && !state.records.contains_key(&Partition(1)) {
            state.records.entry(Partition(0)).or_default().push(batch(1));
            state.records.insert(Partition(1), vec![batch(2)]);
        }
        stands_at(1, 1)(state)
    });
    assert_eq!(log.lock().committed.get(&Partition(0)), Some(&Offset(1)), "partition 0 is somebody else's");
}

#[test]
fn who_is_fenced_subscribes_again_and_goes_on_where_the_group_stands() {
    let log = Fake::of(&[(0, 2)]);
    let fence = || {
        let mut state = log.lock();
        if state.calls.iter().filter(|call| *call == "write").count() == 1 {
            state.fenced = true;
            // Another member has meanwhile stored the first record.
            state.committed.insert(Partition(0), Offset(1));
        }
        Ok(())
    };
    let (consumed, _) = consume(&log, &fence, stands_at(0, 2));
    assert_eq!(consumed.records, 1, "the first is the other member's");
    let subscriptions = log.calls().iter().filter(|call| *call == "subscribe m").count();
    assert_eq!(subscriptions, 2);
}

#[test]
fn what_storage_refused_is_written_again_and_not_committed_before() {
    let log = Fake::of(&[(0, 3)]);
    let refusals = AtomicUsize::new(0);
    let twice = || {
        if refusals.fetch_add(1, Ordering::SeqCst) == 1 {
            return Err(StorageError::Failed("the disk is full".to_owned()));
        }
        Ok(())
    };
    let (consumed, complaints) = consume(&log, &twice, stands_at(0, 3));
    assert_eq!(consumed.records, 3);
    assert!(complaints[0].contains("the disk is full"), "{complaints:?}");
    let expected = ["subscribe m", "write", "write", "write", "write", "sync", "commit 0=3", "leave 1"];
    assert_eq!(log.calls(), expected);
}
