//! The bytes of `FORMAT.md`, held by files that were written when the format was fixed.

use super::*;
use crate::disk::Disk;
use contracts::queue::Ack;
use std::{fs, path::PathBuf};

const FILES: [&str; 3] = ["00000000000000000000.log", "00000000000000000001.log", "groups"];
const SEED: u64 = 4711;

fn golden(version: u8, name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata")).join(format!("log-v{version}")).join(name)
}

fn read_golden(version: u8) -> SimDisk {
    let disk = SimDisk::new(1);
    for name in FILES {
        let file = disk.create(name).unwrap();
        file.write_at(0, &fs::read(golden(version, name)).unwrap()).unwrap();
        file.sync().unwrap();
    }
    disk.sync_names().unwrap();
    disk
}

fn small() -> LogConfig {
    LogConfig { segment_bytes_max: 1700, partitions: 2, ..config() }
}

/// A flush of three records for two partitions, one of a record, one of a long record.
fn flushes() -> Vec<Vec<(u32, Vec<u8>)>> {
    vec![
        vec![(0, b"one".to_vec()), (1, b"other".to_vec()), (0, Vec::new())],
        vec![(0, (0..=255).collect())],
        vec![(0, b"four".to_vec())],
    ]
}

fn written() -> SimDisk {
    let disk = SimDisk::new(1);
    let (log, _) = open_guarded(&disk, SEED, Guards::ALL, small()).unwrap();
    let mut producer = log.producer(Ack::Os).unwrap();
    for flush in flushes() {
        for (partition, payload) in flush {
            producer.submit(NewRecord { partition: Partition(partition), payload: &payload }).unwrap();
        }
        producer.flush().unwrap();
    }
    let membership = log.subscribe("storage", "member").unwrap();
    log.commit(&membership, FIRST, Offset(2)).unwrap();
    log.subscribe("other", "member").unwrap();
    disk
}

#[test]
fn what_is_written_is_the_golden_log() {
    let disk = written();
    for name in FILES {
        let (content, golden) = (disk.content(name), golden(segment::VERSION, name));
        if std::env::var_os("QUEUE_WRITE_GOLDEN").is_some() {
            fs::create_dir_all(golden.parent().unwrap()).unwrap();
            fs::write(&golden, &content).unwrap();
        }
        assert!(content == fs::read(&golden).unwrap(), "{name} has changed");
    }
}

#[test]
fn the_golden_log_is_read_as_it_was_written() {
    let (log, recovery) = open(&read_golden(segment::VERSION), small());
    assert_eq!((recovery.records, &recovery.cut, &recovery.groups_lost), (5, &None, &None), "{recovery}");
    holds(&log, &flushes());
    assert_eq!(log.committed("storage", FIRST), Ok(Some(Offset(2))));
    assert_eq!(log.committed("other", FIRST), Ok(None));
}

fn holds(log: &FileLog, flushes: &[Vec<(u32, Vec<u8>)>]) {
    for partition in [0, 1] {
        let mine = flushes.iter().flatten().filter(|(p, _)| *p == partition);
        let expected: Vec<_> = (0..).zip(mine.map(|(_, payload)| payload.clone())).collect();
        assert_eq!(records_of(log, Partition(partition)), Ok(expected));
    }
}

/// What is written from now on stands in a segment of the new version: a program that knows the old one alone says so,
/// rather than cutting it off as torn. Wherever the power goes, the upgrade is made or it is not.
#[test]
fn a_log_of_version_2_is_read_and_goes_on_in_a_segment_of_its_own() {
    for changes in 0..30 {
        let disk = read_golden(2);
        disk.lose_power_after(changes);
        let cut_short = try_open(&disk, small()).is_err();
        let disk = disk.crash();
        let (log, recovery) = open(&disk, small());
        assert_eq!((recovery.records, &recovery.cut, &recovery.gaps[..]), (5, &None, &[][..]), "{recovery}");
        holds(&log, &flushes());
        let mut producer = log.producer(Ack::Disk).unwrap();
        submit(&mut *producer, b"more").unwrap();
        producer.wait(Ticket(1), PATIENCE).unwrap();
        drop((log, producer));
        for name in &FILES[..2] {
            assert_eq!(disk.content(name)[3], 2, "an old segment stays what it is");
        }
        assert_eq!(disk.content(&segment::name(2))[3], segment::VERSION);
        let mut with_more = flushes();
        with_more.push(vec![(0, b"more".to_vec())]);
        holds(&open(&disk, small()).0, &with_more);
        if !cut_short {
            return;
        }
    }
    panic!("opening never ended");
}

/// A log of the first version: its segments began with other bytes, and with the number of a record.
#[test]
fn another_version_is_refused_by_its_number_and_told_what_to_do() {
    for (version, name) in [(1, "00000000000000000000.log"), (1, "00000000000000004712.log"), (4, FILES[0])] {
        let disk = SimDisk::new(1);
        disk.create(name).unwrap().write_at(0, &[b'S', b'C', b'L', version, 0, 0, 0, 0]).unwrap();
        let error = try_open(&disk, small()).map(|_| ()).unwrap_err();
        assert!(matches!(&error, OpenError::Version { found, .. } if *found == version), "{error}");
        assert!(error.to_string().contains("move the directory away"), "{error}");
    }
}
