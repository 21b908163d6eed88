//! The log on a disk that is full, or fails.

use crate::{FileLog, LogConfig, disk::Disk, record, segment};
use contracts::queue::{
    Ack, FetchLimit, Log, LogError, NewRecord, Offset, Partition, Placed, Producer, Records, Ticket,
};
use std::{fs, sync::mpsc, thread, time::Duration};
use tempfile::TempDir;

const FIRST: Partition = Partition(0);

/// A log, its directory, and the disk that can be told to fail.
fn log(config: LogConfig) -> (FileLog, TempDir, Disk) {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::new(dir.path());
    let (log, _) = FileLog::open_on(disk.clone(), dir.path(), config).unwrap();
    (log, dir, disk)
}

fn any_size() -> LogConfig {
    LogConfig::for_groups(&["storage"])
}

fn submit(producer: &mut dyn Producer, payload: &[u8]) -> Result<Ticket, LogError> {
    producer.submit(NewRecord { partition: FIRST, payload })
}

fn payloads(log: &dyn Log) -> Vec<Vec<u8>> {
    let (mut all, mut out) = (Vec::new(), Records::new());
    let bounds = log.bounds(FIRST).unwrap();
    let mut next = bounds.start;
    while next < bounds.end {
        log.fetch(FIRST, next, FetchLimit::default(), &mut out).unwrap();
        all.extend(out.iter().map(|(_, payload)| payload.to_vec()));
        next.0 += out.len() as u64;
    }
    all
}

fn file_bytes(disk: &Disk, first: u64) -> usize {
    fs::read(disk.path(&segment::name(first))).unwrap().len()
}

#[test]
fn on_a_full_disk_what_was_taken_waits_and_nothing_more_is_taken() {
    for ack in [Ack::Memory, Ack::Os, Ack::Disk] {
        let (log, dir, disk) = log(any_size());
        let mut producer = log.producer(ack).unwrap();
        submit(&mut *producer, b"before").unwrap();
        producer.flush().unwrap();
        let before = file_bytes(&disk, 0);

        // Room for half a record: the write that fails leaves a part, which is cut back.
        disk.faults.set_room(Some(10));
        assert_eq!(submit(&mut *producer, b"waits"), Ok(Ticket(2)));
        producer.flush().unwrap();
        assert_eq!(producer.settled(), Ok(Ticket(1)));
        assert_eq!(producer.wait(Ticket(2), Duration::from_millis(1)), Ok(Ticket(1)));
        assert_eq!(file_bytes(&disk, 0), before);
        assert_eq!(submit(&mut *producer, b"refused"), Err(LogError::Full));
        // Another producer has nothing waiting, and is refused as well.
        let mut other = log.producer(ack).unwrap();
        assert_eq!(submit(&mut *other, b"refused"), Err(LogError::Full));

        // Room comes back.
        disk.faults.set_room(None);
        assert_eq!(submit(&mut *other, b"other"), Ok(Ticket(1)));
        assert_eq!(producer.wait(Ticket(2), Duration::from_secs(10)), Ok(Ticket(2)));
        assert_eq!(submit(&mut *producer, b"after"), Ok(Ticket(3)));
        producer.flush().unwrap();
        assert_eq!(other.wait(Ticket(1), Duration::from_secs(10)), Ok(Ticket(1)));
        let expected: [&[u8]; 4] = [b"before", b"other", b"waits", b"after"];
        assert_eq!(payloads(&log), expected);
        let mut placed = Vec::new();
        producer.placed(&mut placed);
        let at = |ticket, offset| Placed { ticket: Ticket(ticket), partition: FIRST, offset: Offset(offset) };
        assert_eq!(placed, [at(1, 0), at(2, 2), at(3, 3)]);

        drop((log, producer, other));
        let (log, recovery) = FileLog::open(dir.path(), any_size()).unwrap();
        assert_eq!((recovery.records, recovery.cut), (4, None));
        assert_eq!(payloads(&log), expected);
    }
}

#[test]
fn a_disk_without_room_for_another_segment_is_full_as_well() {
    let (log, _dir, disk) = log(LogConfig { segment_bytes_max: 64, ..any_size() });
    let mut producer = log.producer(Ack::Os).unwrap();
    submit(&mut *producer, &[1; 32]).unwrap();
    producer.flush().unwrap();
    disk.faults.set_room(Some(0));
    submit(&mut *producer, &[2; 32]).unwrap();
    producer.flush().unwrap();
    assert_eq!(submit(&mut *producer, &[3; 32]), Err(LogError::Full));
    disk.faults.set_room(None);
    submit(&mut *producer, &[3; 32]).unwrap();
    producer.flush().unwrap();
    assert_eq!(producer.settled(), Ok(Ticket(3)));
    assert_eq!(payloads(&log), [[1; 32], [2; 32], [3; 32]]);
}

/// Of several records that wait, those that fit into this segment are written although the next cannot be begun.
#[test]
fn what_fits_is_written_and_settles_though_the_rest_must_wait() {
    let record_bytes = record::HEAD_BYTES + 10;
    let segment_bytes_max = (segment::HEAD_BYTES + 2 * record_bytes) as u64;
    let (log, _dir, disk) = log(LogConfig { segment_bytes_max, ..any_size() });
    let mut producer = log.producer(Ack::Disk).unwrap();
    for i in 0..5 {
        submit(&mut *producer, &[i; 10]).unwrap();
    }
    disk.faults.set_room(Some(2 * record_bytes));
    producer.flush().unwrap();
    assert_eq!(producer.settled(), Ok(Ticket(2)));
    disk.faults.set_room(None);
    producer.flush().unwrap();
    assert_eq!(producer.settled(), Ok(Ticket(5)));
    assert_eq!(payloads(&log), (0..5).map(|i| vec![i; 10]).collect::<Vec<_>>());
}

#[test]
fn a_failed_fsync_breaks_the_log_until_it_is_opened_again() {
    let (log, dir, disk) = log(any_size());
    let membership = log.subscribe("storage", "m").unwrap();
    let mut at_os = log.producer(Ack::Os).unwrap();
    submit(&mut *at_os, b"one").unwrap();
    at_os.flush().unwrap();
    let mut producer = log.producer(Ack::Disk).unwrap();
    submit(&mut *producer, b"two").unwrap();
    disk.faults.fail_syncs();
    let why = LogError::Failed(format!("{}: the disk is gone", disk.path(&segment::name(0)).display()));
    assert_eq!(producer.flush(), Err(why.clone()));
    // A second fsync that succeeds would say nothing about the pages that the first one lost.
    disk.faults.mend_syncs();
    assert_eq!(producer.flush(), Err(why.clone()));
    assert_eq!(producer.settled(), Err(why.clone()));
    assert_eq!(producer.wait(Ticket(1), Duration::from_secs(60)), Err(why.clone()));
    assert_eq!(submit(&mut *at_os, b"three"), Err(why.clone()));
    assert_eq!(at_os.flush(), Err(why.clone()));
    assert_eq!(log.producer(Ack::Memory).map(|_| ()), Err(why.clone()));
    assert_eq!(log.bounds(FIRST), Err(why.clone()));
    assert_eq!(log.fetch(FIRST, Offset(0), FetchLimit::default(), &mut Records::new()), Err(why.clone()));
    assert_eq!(log.subscribe("storage", "m").map(|_| ()), Err(why.clone()));
    assert_eq!(log.heartbeat(&membership), Err(why.clone()));
    assert_eq!(log.commit(&membership, FIRST, Offset(1)), Err(why.clone()));
    assert_eq!(log.committed("storage", FIRST), Err(why));

    drop((log, at_os, producer));
    let (log, _) = FileLog::open(dir.path(), any_size()).unwrap();
    let expected: [&[u8]; 2] = [b"one", b"two"];
    assert_eq!(payloads(&log), expected, "what was acknowledged, and what had an unknown fate");
}

#[test]
fn a_segment_that_cannot_be_synced_is_not_left_behind_another() {
    let (log, dir, disk) = log(LogConfig { segment_bytes_max: 64, ..any_size() });
    let mut producer = log.producer(Ack::Os).unwrap();
    submit(&mut *producer, &[1; 32]).unwrap();
    producer.flush().unwrap();
    disk.faults.fail_syncs();
    submit(&mut *producer, &[2; 32]).unwrap();
    assert!(matches!(producer.flush(), Err(LogError::Failed(_))));
    assert!(!dir.path().join(segment::name(1)).exists());
}

#[test]
fn a_write_that_cannot_be_cut_back_breaks_the_log() {
    let (log, dir, disk) = log(any_size());
    let mut producer = log.producer(Ack::Os).unwrap();
    submit(&mut *producer, b"one").unwrap();
    producer.flush().unwrap();
    disk.faults.set_room(Some(7));
    disk.faults.fail_cuts();
    submit(&mut *producer, b"two").unwrap();
    assert!(matches!(producer.flush(), Err(LogError::Failed(_))));
    assert!(matches!(producer.settled(), Err(LogError::Failed(_))));

    drop((log, producer));
    let (log, recovery) = FileLog::open(dir.path(), any_size()).unwrap();
    assert_eq!(recovery.cut.unwrap().bytes, 7);
    assert_eq!(payloads(&log), [b"one"]);
}

#[test]
fn a_fetch_that_waits_hears_that_the_log_broke() {
    let (log, _dir, disk) = log(any_size());
    let reader = log.clone();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let limit = FetchLimit { wait: Duration::from_secs(3000), ..FetchLimit::default() };
        let _ = sender.send(reader.fetch(FIRST, Offset(0), limit, &mut Records::new()));
    });
    let mut producer = log.producer(Ack::Os).unwrap();
    disk.faults.set_room(Some(0));
    disk.faults.fail_cuts();
    submit(&mut *producer, b"x").unwrap();
    assert!(producer.flush().is_err());
    let heard = receiver.recv_timeout(Duration::from_secs(60)).expect("the fetch goes on waiting");
    assert!(matches!(heard, Err(LogError::Failed(_))), "{heard:?}");
}

#[test]
fn a_log_at_its_bound_is_full_until_its_groups_have_committed() {
    let segment_bytes_max = 1000;
    let (log, _dir, disk) = log(LogConfig { segment_bytes_max, retained_bytes_max: 3000, ..any_size() });
    let mut producer = log.producer(Ack::Os).unwrap();
    let mut taken = 0;
    while taken < 1000 {
        let submitted = submit(&mut *producer, &[0; 100]);
        producer.flush().unwrap();
        match submitted {
            Ok(_) => taken += 1,
            Err(e) => {
                assert_eq!(e, LogError::Full);
                break;
            }
        }
    }
    let written = producer.settled().unwrap().0;
    assert!((20..30).contains(&written), "{written} records of 116 bytes within 3,000");
    assert_eq!(taken, written + 1, "the one that found no room was taken, and waits");

    let membership = log.subscribe("storage", "m").unwrap();
    let stranger = log.subscribe("stranger", "m").unwrap();
    log.commit(&membership, FIRST, Offset(written)).unwrap();
    assert_eq!(log.bounds(FIRST).unwrap().start, Offset(0), "another group has not read it yet");
    assert_eq!(submit(&mut *producer, b"x"), Err(LogError::Full));
    log.commit(&stranger, FIRST, Offset(written)).unwrap();
    let start = log.bounds(FIRST).unwrap().start;
    assert!(start.0 > 0 && start.0 <= written);
    assert!(!disk.path(&segment::name(0)).exists() && disk.path(&segment::name(start.0)).exists());
    submit(&mut *producer, b"x").unwrap();
    producer.flush().unwrap();
    assert_eq!(producer.settled(), Ok(Ticket(taken + 1)));
}

#[test]
fn producers_that_wait_for_the_disk_share_its_syncs() {
    const FOLLOWERS: u64 = 8;
    let (log, _dir, disk) = log(any_size());
    disk.faults.hold_syncs();
    let _released = Released(&disk);
    let append = || {
        let mut producer = log.producer(Ack::Disk).unwrap();
        submit(&mut *producer, b"x").unwrap();
        producer.flush().unwrap();
        assert_eq!(producer.settled(), Ok(Ticket(1)));
    };
    thread::scope(|scope| {
        scope.spawn(append);
        eventually("the first producer syncs", || disk.faults.syncs() == 1);
        (0..FOLLOWERS).for_each(|_| drop(scope.spawn(append)));
        eventually("the others have written", || log.bounds(FIRST).unwrap().end.0 == 1 + FOLLOWERS);
        disk.faults.release_syncs();
    });
    // The first sync had begun before the others wrote, so it was no good to them; one more was enough for all.
    assert_eq!(disk.faults.syncs(), 2);
}

/// A test that fails must not hang, either.
struct Released<'d>(&'d Disk);

impl Drop for Released<'_> {
    fn drop(&mut self) {
        self.0.faults.release_syncs();
    }
}

/// Nobody asked for it, but the end of a segment must not find 64 MiB to sync.
#[test]
fn the_log_syncs_every_few_mib_by_itself_and_is_broken_if_that_fails() {
    let (log, _dir, disk) = log(any_size());
    let mut producer = log.producer(Ack::Os).unwrap();
    let mut append = || submit(&mut *producer, &vec![1; 5 << 20]).and_then(|_| producer.flush());
    append().unwrap();
    eventually("it was synced", || disk.faults.syncs() == 1);
    append().unwrap();
    eventually("it was synced again", || disk.faults.syncs() == 2);
    disk.faults.fail_syncs();
    append().unwrap();
    eventually("the log is broken", || log.bounds(FIRST).is_err());
    assert!(matches!(append(), Err(LogError::Failed(_))));
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if is_so() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("waited in vain until {what}");
}
