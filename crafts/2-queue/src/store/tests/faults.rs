//! A disk that is full, or fails.

use super::*;
use contracts::queue::{Ack, Placed};
use std::sync::mpsc;

fn log(config: LogConfig) -> (FileLog, SimDisk) {
    let disk = SimDisk::new(1);
    (open(&disk, config).0, disk)
}

fn waited(producer: &mut dyn Producer, upto: u64) {
    assert_eq!(producer.wait(Ticket(upto), PATIENCE), Ok(Ticket(upto)));
}

#[test]
fn on_a_full_disk_what_was_taken_waits_and_nothing_more_is_taken() {
    for ack in [Ack::Memory, Ack::Os, Ack::Disk] {
        let (log, disk) = log(config());
        let mut producer = log.producer(ack).unwrap();
        submit(&mut *producer, b"before").unwrap();
        waited(&mut *producer, 1);

        // Room for half a frame beyond what the file has already: the write that fails leaves a part.
        let large = vec![7; disk.content(&segment::name(0)).len()];
        disk.set_room(Some(10));
        assert_eq!(submit(&mut *producer, &large), Ok(Ticket(2)));
        producer.flush().unwrap();
        assert_eq!(producer.wait(Ticket(2), Duration::from_millis(1)), Ok(Ticket(1)));
        assert_eq!(producer.settled(), Ok(Ticket(1)));
        eventually("it is known that there is no room", || {
            submit(&mut *producer, b"x") == Err(LogError::Full)
        });
        // Another producer has nothing waiting, and is refused as well.
        let mut other = log.producer(ack).unwrap();
        assert_eq!(submit(&mut *other, b"refused"), Err(LogError::Full));

        // Room comes back.
        disk.set_room(None);
        assert_eq!(submit(&mut *other, b"other"), Ok(Ticket(1)));
        waited(&mut *producer, 2);
        assert_eq!(submit(&mut *producer, b"after"), Ok(Ticket(3)));
        waited(&mut *producer, 3);
        waited(&mut *other, 1);
        let expected = [b"before".to_vec(), large.clone(), b"after".to_vec(), b"other".to_vec()];
        assert_eq!(payloads(&log), expected);
        let mut placed = Vec::new();
        producer.placed(&mut placed);
        let at = |ticket, offset| Placed { ticket: Ticket(ticket), partition: FIRST, offset: Offset(offset) };
        assert_eq!(placed, [at(1, 0), at(2, 1), at(3, 2)]);

        drop((log, producer, other));
        let (log, recovery) = open(&disk, config());
        assert_eq!((recovery.records, recovery.cut), (4, None));
        assert_eq!(payloads(&log), expected);
    }
}

#[test]
fn a_disk_without_room_for_another_segment_is_full_as_well() {
    let (log, disk) = log(LogConfig { segment_bytes_max: 2000, ..config() });
    let mut producer = log.producer(Ack::Os).unwrap();
    submit(&mut *producer, &[1; 500]).unwrap();
    producer.flush().unwrap();
    disk.set_room(Some(0));
    submit(&mut *producer, &[2; 500]).unwrap();
    producer.flush().unwrap();
    assert_eq!(submit(&mut *producer, &[3; 500]), Err(LogError::Full));
    disk.set_room(None);
    submit(&mut *producer, &[3; 500]).unwrap();
    producer.flush().unwrap();
    assert_eq!(producer.settled(), Ok(Ticket(3)));
    assert_eq!(payloads(&log), [[1; 500], [2; 500], [3; 500]]);
}

#[test]
fn a_failed_fsync_breaks_the_log_until_it_is_opened_again() {
    let (log, disk) = log(config());
    let membership = log.subscribe("storage", "m").unwrap();
    let mut at_os = log.producer(Ack::Os).unwrap();
    submit(&mut *at_os, b"one").unwrap();
    at_os.flush().unwrap();
    let mut producer = log.producer(Ack::Disk).unwrap();
    submit(&mut *producer, b"two").unwrap();
    disk.fail_syncs(true);
    let why = LogError::Failed(format!("/sim/{}: the disk is gone", segment::name(0)));
    // Whether a flush syncs, or only who waits, is the commit slot's matter.
    let flushed = producer.flush().and_then(|()| producer.wait(Ticket(1), PATIENCE));
    assert_eq!(flushed, Err(why.clone()));
    // A second fsync that succeeds would say nothing about the pages that the first one lost.
    disk.fail_syncs(false);
    assert_eq!(producer.flush(), Err(why.clone()));
    assert_eq!(producer.settled(), Err(why.clone()));
    assert_eq!(producer.wait(Ticket(1), PATIENCE), Err(why.clone()));
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
    let (log, _) = open(&disk, config());
    let expected: [&[u8]; 2] = [b"one", b"two"];
    assert_eq!(payloads(&log), expected, "what was acknowledged, and what had an unknown fate");
}

#[test]
fn a_segment_that_cannot_be_synced_is_not_left_behind_another() {
    let (log, disk) = log(LogConfig { segment_bytes_max: 2000, ..config() });
    let mut producer = log.producer(Ack::Os).unwrap();
    submit(&mut *producer, &[1; 500]).unwrap();
    producer.flush().unwrap();
    disk.fail_syncs(true);
    submit(&mut *producer, &[2; 500]).unwrap();
    assert!(matches!(producer.flush(), Err(LogError::Failed(_))));
    assert_eq!(crate::disk::Disk::list(&disk).unwrap(), [segment::name(0)]);
}

#[test]
fn a_fetch_that_waits_hears_that_the_log_broke() {
    let (log, disk) = log(config());
    let reader = log.clone();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let limit = FetchLimit { wait: Duration::from_secs(3000), ..FetchLimit::default() };
        let _ = sender.send(reader.fetch(FIRST, Offset(0), limit, &mut Records::new()));
    });
    let mut producer = log.producer(Ack::Os).unwrap();
    disk.lose_power_after(0);
    submit(&mut *producer, b"x").unwrap();
    assert!(producer.flush().is_err());
    let heard = receiver.recv_timeout(PATIENCE).expect("the fetch goes on waiting");
    assert!(matches!(heard, Err(LogError::Failed(_))), "{heard:?}");
}

#[test]
fn a_log_at_its_bound_is_full_until_its_groups_have_committed() {
    let (log, _disk) = log(LogConfig { segment_bytes_max: 4000, retained_bytes_max: 12_000, ..config() });
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
    assert!((40..60).contains(&written), "{written} frames of 176 bytes within 12,000");
    assert_eq!(taken, written + 1, "the one that found no room was taken, and waits");

    let membership = log.subscribe("storage", "m").unwrap();
    let stranger = log.subscribe("stranger", "m").unwrap();
    log.commit(&membership, FIRST, Offset(written)).unwrap();
    assert_eq!(log.bounds(FIRST).unwrap().start, Offset(0), "another group has not read it yet");
    assert_eq!(submit(&mut *producer, b"x"), Err(LogError::Full));
    log.commit(&stranger, FIRST, Offset(written)).unwrap();
    let start = log.bounds(FIRST).unwrap().start;
    assert!(start.0 > 0 && start.0 <= written);
    submit(&mut *producer, b"x").unwrap();
    producer.flush().unwrap();
    assert_eq!(producer.settled(), Ok(Ticket(taken + 1)));
}

#[test]
fn a_log_that_was_told_to_drops_what_is_too_much_and_uses_the_files_again() {
    let segment_bytes_max = 4000;
    let (log, disk) = log(LogConfig { segment_bytes_max, retention_bytes_max: Some(12_000), ..config() });
    let mut producer = log.producer(Ack::Os).unwrap();
    for i in 0..1000_u64 {
        submit(&mut *producer, &i.to_le_bytes()).unwrap();
        producer.flush().unwrap();
    }
    let bounds = log.bounds(FIRST).unwrap();
    assert!(bounds.start.0 > 800 && bounds.end.0 == 1000, "{bounds:?}");
    let left: Vec<_> = records_of(&log, FIRST).unwrap();
    assert_eq!(left, (bounds.start.0..1000).map(|i| (i, i.to_le_bytes().to_vec())).collect::<Vec<_>>());
    let below = log.fetch(FIRST, Offset(0), FetchLimit::default(), &mut Records::new());
    assert_eq!(below, Err(LogError::OffsetOutOfRange { asked: Offset(0), bounds }));
    assert!(disk.files() < 10, "{} files were made for dozens of segments", disk.files());
    // What lies behind the tail of a file that is used again is no record.
    drop((log, producer));
    let (log, recovery) = open(&disk, config());
    assert_eq!((recovery.cut, log.bounds(FIRST)), (None, Ok(bounds)));
}

#[test]
fn a_log_that_was_told_to_drops_what_is_too_old() {
    // The clock ticks a millisecond each time the log looks.
    let age = Some(Duration::from_millis(300));
    let (log, _disk) = log(LogConfig { segment_bytes_max: 4000, retention_age_max: age, ..config() });
    let mut producer = log.producer(Ack::Os).unwrap();
    for i in 0..1000_u64 {
        submit(&mut *producer, &i.to_le_bytes()).unwrap();
        producer.flush().unwrap();
    }
    let bounds = log.bounds(FIRST).unwrap();
    assert!(bounds.start.0 > 500 && bounds.end.0 == 1000, "{bounds:?}");
}

#[test]
fn who_only_polls_is_served_by_the_logs_own_thread() {
    let (log, disk) = log(config());
    let mut producer = log.producer(Ack::Disk).unwrap();
    submit(&mut *producer, b"x").unwrap();
    producer.flush().unwrap();
    eventually("it has settled", || producer.settled() == Ok(Ticket(1)));
    // And what a producer has published before it went.
    submit(&mut *producer, b"y").unwrap();
    producer.flush().unwrap();
    drop(producer);
    eventually("it is written", || log.bounds(FIRST).unwrap().end == Offset(2));
    let crashed = disk.crash();
    drop(log);
    assert_eq!(payloads(&open(&crashed, config()).0)[0], b"x");
}

#[test]
fn there_may_be_more_partitions_later_and_never_fewer() {
    let disk = SimDisk::new(1);
    let of = |partitions| LogConfig { partitions, ..config() };
    let append = |log: &FileLog, partition| {
        let mut producer = log.producer(Ack::Os).unwrap();
        producer.submit(NewRecord { partition: Partition(partition), payload: b"x" }).unwrap();
        producer.flush().unwrap();
    };
    let (log, _) = open(&disk, of(2));
    append(&log, 1);
    assert!(matches!(log.bounds(Partition(2)), Err(LogError::NoSuchPartition { partitions: 2, .. })));
    drop(log);
    let (log, _) = open(&disk, of(5));
    append(&log, 4);
    drop(log);
    let (log, recovery) = open(&disk, of(5));
    assert_eq!(recovery.ends, [0, 1, 0, 0, 1]);
    drop(log);
    let error = try_open(&disk, of(4)).map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::FewerPartitions { found: 5, asked: 4, .. }), "{error}");
    for asked in [0, crate::open::PARTITIONS_MAX + 1] {
        assert!(matches!(try_open(&disk, of(asked)), Err(OpenError::BadPartitions { .. })));
    }
}

#[test]
fn a_time_leads_to_an_offset_at_or_before_it() {
    let (log, _disk) = log(LogConfig { segment_bytes_max: 100_000, ..config() });
    let mut producer = log.producer(Ack::Os).unwrap();
    let mut times = Vec::new();
    for _ in 0..300 {
        submit(&mut *producer, &[0; 1000]).unwrap();
        producer.flush().unwrap();
        times.push(log.store().view.lock().last().index.newest_ms());
    }
    for (offset, time_ms) in times.iter().enumerate() {
        let found = log.offset_at(FIRST, *time_ms).unwrap().0;
        assert!(found <= offset as u64 && found + 40 > offset as u64, "{found} for {offset}");
    }
    assert_eq!(log.offset_at(FIRST, u64::MAX), Ok(Offset(300)));
    assert_eq!(log.offset_at(FIRST, 0), Ok(Offset(0)));
}
