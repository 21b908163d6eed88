//! A disk that cannot read, that changes no names, or that runs full where nobody expects it: each is told as what it is,
//! and what was acknowledged is there when it is over.

use super::*;
use crate::disk::Disk;
use contracts::queue::Ack;
use std::io::ErrorKind;

const SMALL: u64 = 2000;

fn small() -> LogConfig {
    LogConfig { segment_bytes_max: SMALL, ..config() }
}

/// Appends numbered records until one of them is refused or fails; returns how many were acknowledged, and why no more.
fn append_until_refused(log: &FileLog, from: u64) -> (u64, LogError) {
    let mut producer = log.producer(Ack::Disk).unwrap();
    let mut at = from;
    loop {
        let appended = submit(&mut *producer, &at.to_le_bytes().repeat(20))
            .and_then(|last| producer.wait(last, Duration::from_millis(1)).map(|settled| settled == last));
        match appended {
            Ok(true) => at += 1,
            // It waits for room, and what comes after it is refused.
            Ok(false) => {}
            Err(e) => return (at, e),
        }
        assert!(at < from + 1000, "nothing has failed");
    }
}

fn path(disk: &SimDisk, segment: u64) -> String {
    disk.path(&segment::name(segment)).display().to_string()
}

fn holds(log: &FileLog, acknowledged: u64) {
    let found = payloads(log);
    let count = u64::try_from(found.len()).unwrap();
    // One more may be there: it was written, and nobody was told.
    assert!((acknowledged..=acknowledged + 1).contains(&count), "{count} of {acknowledged}");
    assert!((0..).zip(found).all(|(at, payload): (u64, _)| payload == at.to_le_bytes().repeat(20)));
}

#[test]
fn a_directory_that_is_made_read_only_is_named_and_nothing_is_lost() {
    for kind in [ErrorKind::PermissionDenied, ErrorKind::ReadOnlyFilesystem] {
        let disk = SimDisk::new(1);
        let (log, _) = open(&disk, small());
        disk.fail_names(Some(kind));
        let (acknowledged, why) = append_until_refused(&log, 0);
        assert!(acknowledged > 0, "the first segment is open, and can be written");
        let LogError::Failed(why) = why else { panic!("{why:?}") };
        assert!(why.contains(&path(&disk, 1)) && why.contains(&kind.to_string()), "{why}");
        drop(log);
        disk.fail_names(None);
        let (log, recovery) = open(&disk, small());
        assert_eq!(recovery.cut, None);
        holds(&log, acknowledged);
        let mut producer = log.producer(Ack::Disk).unwrap();
        let last = submit(&mut *producer, b"more").unwrap();
        assert_eq!(producer.wait(last, PATIENCE), Ok(last));
    }
}

#[test]
fn a_directory_without_room_for_a_name_is_a_full_disk() {
    let disk = SimDisk::new(1);
    let (log, _) = open(&disk, small());
    disk.fail_names(Some(ErrorKind::StorageFull));
    let (acknowledged, why) = append_until_refused(&log, 0);
    assert_eq!((acknowledged > 0, why), (true, LogError::Full));
    disk.fail_names(None);
    let mut producer = log.producer(Ack::Disk).unwrap();
    let last = submit(&mut *producer, &(acknowledged + 1).to_le_bytes().repeat(20)).unwrap();
    assert_eq!(producer.wait(last, PATIENCE), Ok(last));
    holds(&log, acknowledged + 1);
}

/// The kernel may have dropped the pages, whatever the reason.
#[test]
fn a_sync_that_finds_no_room_breaks_the_log_as_any_other() {
    let disk = SimDisk::new(1);
    let (log, _) = open(&disk, config());
    disk.fail_syncs_with(Some(ErrorKind::StorageFull));
    let (acknowledged, why) = append_until_refused(&log, 0);
    assert_eq!(acknowledged, 0);
    assert!(matches!(why, LogError::Failed(_)), "{why:?}");
    disk.fail_syncs(false);
    assert!(matches!(log.producer(Ack::Disk).map(drop), Err(LogError::Failed(_))), "it stays broken");
}

#[test]
fn what_cannot_be_read_is_not_taken_for_torn() {
    for segment_bytes_max in [SMALL, 1 << 20] {
        let config = || LogConfig { segment_bytes_max, ..config() };
        let disk = SimDisk::new(1);
        let (log, _) = open(&disk, config());
        let mut producer = log.producer(Ack::Disk).unwrap();
        for at in 0..40_u64 {
            let last = submit(&mut *producer, &at.to_le_bytes().repeat(20)).unwrap();
            assert_eq!(producer.wait(last, PATIENCE), Ok(last));
        }
        drop((log, producer));
        let mut refused = 0;
        for reads in 0..1000 {
            disk.fail_reads_after(Some(reads));
            let opened = try_open(&disk, config());
            disk.fail_reads_after(None);
            match opened {
                Ok((log, recovery)) => {
                    assert_eq!((recovery.cut, &recovery.gaps[..]), (None, &[][..]), "after {reads} reads");
                    holds(&log, 40);
                    break;
                }
                Err(OpenError::Io { path, source }) => {
                    assert!(
                        path.starts_with("/sim") && source.to_string().contains("cannot read"),
                        "{path:?}: {source}"
                    );
                    refused += 1;
                }
                Err(e) => panic!("after {reads} reads: {e}"),
            }
        }
        assert!((2..1000).contains(&refused), "{refused} openings were refused");
    }
}

#[test]
fn a_read_that_fails_is_told_and_the_next_one_may_succeed() {
    let disk = SimDisk::new(1);
    let (log, _) = open(&disk, config());
    let mut producer = log.producer(Ack::Os).unwrap();
    submit(&mut *producer, b"x").unwrap();
    producer.flush().unwrap();
    disk.fail_reads_after(Some(0));
    let why = records_of(&log, FIRST).unwrap_err();
    let LogError::Failed(why) = why else { panic!("{why:?}") };
    assert!(why.contains(&path(&disk, 0)) && why.contains("cannot read"), "{why}");
    // Who only writes is not stopped by it.
    submit(&mut *producer, b"y").unwrap();
    producer.flush().unwrap();
    disk.fail_reads_after(None);
    assert_eq!(payloads(&log), [b"x", b"y"]);
}
