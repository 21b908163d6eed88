//! The books of a load: they hold against a log that kept everything, and against one that did not they say so.

use crate::models::log::{self, Fault, Kind};
use conformance::crash::{GROUP, Ledger, Plan, Seen, work};
use contracts::queue::{
    Ack, Bounds, FetchLimit, GroupStatus, Log, LogError, Membership, Offset, Partition, Producer, Records,
};
use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::Duration,
};

/// Of a record that is not where it was.
const OUT_OF_PLACE: [&str; 2] = ["what should be before it", "was acknowledged at"];

#[test]
fn a_log_that_kept_everything_holds() {
    let (mut ledger, log) = a_life(2);
    ledger.check(&log).unwrap();
    let Seen { acknowledged, records, handed, .. } = ledger.seen();
    assert!(acknowledged > 0 && records > acknowledged && handed > 0, "{:?}", ledger.seen());
    // And again: what was found is found again.
    ledger.check(&log).unwrap();
    assert_eq!(ledger.seen().records, records);
}

#[test]
fn a_log_that_lost_its_end_is_found_out() {
    told_unread("is missing", |log| drop(log.records[0].pop()));
}

#[test]
fn a_log_that_lost_its_end_after_it_was_checked_is_found_out() {
    let (mut ledger, mut log) = a_life(2);
    ledger.check(&log).unwrap();
    log.records[2].pop();
    assert!(ledger.check(&log).unwrap_err().contains("partition 2: it held records up to"));
}

#[test]
fn a_log_that_lost_a_record_in_the_middle_is_found_out() {
    told_unread("what should be before it", |log| drop(log.remove_in_the_middle(1)));
}

#[test]
fn a_log_that_lost_a_whole_batch_in_the_middle_is_found_out() {
    // One of a single record, so that no other of its batch is left. What is told depends on whose record is the next one,
    // and on whether its producer was told a place before it was stopped.
    told_with(0, &OUT_OF_PLACE, |log| {
        let alone = (0..log.records[0].len()).find(|at| log.is_alone(*at)).expect("a batch of one record");
        log.records[0].remove(alone);
    });
}

#[test]
fn a_log_that_holds_a_record_twice_is_found_out() {
    told_unread("comes again", |log| {
        let again = log.records[0][0].clone();
        log.records[0].push(again);
    });
}

#[test]
fn a_log_that_swapped_two_records_is_found_out() {
    told_with(0, &OUT_OF_PLACE, |log| log.records[0].swap(0, 1));
}

#[test]
fn a_log_that_lost_what_a_member_has_read_is_found_out() {
    told("a member was handed", |log| drop(log.records[0].remove(0)));
}

#[test]
fn a_log_that_altered_a_byte_is_found_out() {
    told("is nothing that anybody has sent", |log| *log.records[0][3].last_mut().unwrap() ^= 1);
}

#[test]
fn a_log_that_altered_what_was_checked_is_found_out() {
    let (mut ledger, mut log) = a_life(2);
    ledger.check(&log).unwrap();
    log.records[0][0] = log.records[0][1].clone();
    assert!(ledger.check(&log).unwrap_err().contains("was another one"));
}

#[test]
fn a_log_that_has_a_record_in_another_partition_is_found_out() {
    told_unread("record 0 is record", |log| log.records.swap(0, 1));
}

#[test]
fn a_log_that_committed_by_itself_is_found_out() {
    told("the group has committed", |log| log.committed[1] = Some(1 << 40));
}

#[test]
fn a_log_that_dropped_what_nobody_has_committed_is_found_out() {
    told("are gone", |log| {
        log.start[0] = log.records[0].len() as u64 + 1;
        log.records[0].clear();
    });
}

/// A log that is changed like this does not hold, and these words are said of it.
#[track_caller]
fn told(words: &str, change: impl FnOnce(&mut Kept)) {
    told_with(2, &[words], change);
}

/// The same where nobody has read it, so that nobody can bear witness.
#[track_caller]
fn told_unread(words: &str, change: impl FnOnce(&mut Kept)) {
    told_with(0, &[words], change);
}

#[track_caller]
fn told_with(members: u32, any_of: &[&str], change: impl FnOnce(&mut Kept)) {
    let (mut ledger, mut log) = a_life(members);
    change(&mut log);
    let why = ledger.check(&log).expect_err("nothing was noticed");
    assert!(any_of.iter().any(|words| why.contains(words)), "{why}");
}

/// The books of one life, and what its log holds in the end.
fn a_life(members: u32) -> (Ledger, Kept) {
    let plan = Plan { seed: 7, plain: vec![Ack::Os, Ack::Os], identified: 0, members, fault: None };
    let mut ledger = Ledger::new(plan);
    let log = log::open(Kind::Full, Fault::None)();
    let dir = directory();
    let stop = AtomicBool::new(false);
    let errors = thread::scope(|scope| {
        let load = scope.spawn(|| work(&*log, &ledger.orders(), &dir, &stop));
        while !enough(&*log, members) {
            thread::sleep(Duration::from_millis(1));
        }
        stop.store(true, Ordering::Relaxed);
        load.join().unwrap().unwrap()
    });
    assert_eq!(errors, []);
    ledger.hear(&dir).unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    (ledger, Kept::of(&*log))
}

/// Until each partition has some records, and the group has come some way.
fn enough(log: &dyn Log, members: u32) -> bool {
    (0..log.partitions()).map(Partition).all(|partition| {
        let end = log.bounds(partition).unwrap().end.0;
        end > 200 && (members == 0 || log.committed(GROUP, partition).unwrap().is_some())
    })
}

fn directory() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let unique = format!("crash-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(unique);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// A log that is only read.
struct Kept {
    start: Vec<u64>,
    records: Vec<Vec<Vec<u8>>>,
    committed: Vec<Option<u64>>,
}

impl Kept {
    fn of(log: &dyn Log) -> Self {
        let partitions = || (0..log.partitions()).map(Partition);
        let all = |partition| {
            let (mut all, mut out) = (Vec::new(), Records::new());
            while log.bounds(partition).unwrap().end.0 > all.len() as u64 {
                log.fetch(partition, Offset(all.len() as u64), FetchLimit::default(), &mut out).unwrap();
                all.extend(out.iter().map(|(_, payload)| payload.to_vec()));
            }
            all
        };
        Self {
            start: partitions().map(|_| 0).collect(),
            records: partitions().map(all).collect(),
            committed: partitions().map(|p| log.committed(GROUP, p).unwrap().map(|next| next.0)).collect(),
        }
    }

    /// Takes a record out of a partition that has one of the same batch before it and behind it.
    fn remove_in_the_middle(&mut self, partition: usize) -> Vec<u8> {
        let records = &mut self.records[partition];
        let middle = (1..records.len() - 1).find(|at| {
            batch_of(&records[at - 1]) == batch_of(&records[*at])
                && batch_of(&records[*at]) == batch_of(&records[at + 1])
        });
        records.remove(middle.expect("a batch of three records"))
    }

    /// Whether a record of the first partition is the only one of its batch, and its producer's next batch is there.
    fn is_alone(&self, at: usize) -> bool {
        let records = &self.records[0];
        let batch = batch_of(&records[at]);
        let next = records.iter().any(|other| {
            let other = batch_of(other);
            other[..12] == batch[..12] && other[12..] > batch[12..]
        });
        records.iter().filter(|other| batch_of(other) == batch).count() == 1 && next
    }
}

/// The part of a record that all records of its batch have in common: producer, partition, life, number.
fn batch_of(record: &[u8]) -> &[u8] {
    &record[4..20]
}

impl Log for Kept {
    fn partitions(&self) -> u32 {
        self.records.len() as u32
    }

    fn ack_max(&self) -> Ack {
        Ack::Os
    }

    fn producer(&self, _: Ack) -> Result<Box<dyn Producer>, LogError> {
        Err(only_read())
    }

    fn bounds(&self, partition: Partition) -> Result<Bounds, LogError> {
        let at = partition.0 as usize;
        let start = self.start[at];
        Ok(Bounds { start: Offset(start), end: Offset(start + self.records[at].len() as u64) })
    }

    fn fetch(
        &self,
        p: Partition,
        from: Offset,
        limit: FetchLimit,
        out: &mut Records,
    ) -> Result<(), LogError> {
        out.clear();
        let first = (from.0 - self.start[p.0 as usize]) as usize;
        let records = (from.0..).zip(&self.records[p.0 as usize][first..]);
        records.take(limit.records_max).for_each(|(offset, payload)| out.push(Offset(offset), payload));
        Ok(())
    }

    fn subscribe(&self, _: &str, _: &str) -> Result<Membership, LogError> {
        Err(only_read())
    }

    fn heartbeat(&self, _: &Membership) -> Result<u64, LogError> {
        Err(only_read())
    }

    fn groups(&self) -> Result<Vec<GroupStatus>, LogError> {
        Err(only_read())
    }

    fn commit(&self, _: &Membership, _: Partition, _: Offset) -> Result<(), LogError> {
        Err(only_read())
    }

    fn committed(&self, _: &str, partition: Partition) -> Result<Option<Offset>, LogError> {
        Ok(self.committed[partition.0 as usize].map(Offset))
    }
}

fn only_read() -> LogError {
    LogError::NotOffered("take anything".to_owned())
}
