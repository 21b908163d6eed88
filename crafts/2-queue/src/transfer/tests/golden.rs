//! The bytes of `FORMAT.md` for packed bodies and identified batches, held by files that were written when it was fixed.

use super::*;
use crate::disk::Disk;
use contracts::queue::{Ack, Identity};
use std::{fs, path::PathBuf};

const FILES: [&str; 2] = [SEGMENT, "00000000000000000001.log"];
const SEED: u64 = 4711;
/// Who sends the second flush.
const KNOWN: Identity = Identity { producer: 0xC0FFEE, sequence: 9 };

fn golden(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src/transfer/testdata/log-v3")).join(name)
}

fn small() -> LogConfig {
    LogConfig { segment_bytes_max: 1700, partitions: 2, codec: Codec::Lz4, ..LogConfig::for_groups(&[]) }
}

/// Three records for two partitions, a batch of an identified producer that packs well, a record that does not fit the
/// first segment, one more.
fn flushes() -> Vec<Vec<(u32, Vec<u8>)>> {
    vec![
        vec![(0, b"one".to_vec()), (1, b"other".to_vec()), (0, Vec::new())],
        vec![(1, b"the same again".to_vec()); 40],
        vec![(0, (0..=255).collect())],
        vec![(0, b"four".to_vec())],
    ]
}

fn flush(log: &FileLog, identity: Option<Identity>, records: &[(u32, Vec<u8>)]) {
    let mut producer = log.producer(Ack::Os).unwrap();
    identity.into_iter().for_each(|identity| producer.identify(identity).unwrap());
    for (partition, payload) in records {
        producer.submit(NewRecord { partition: Partition(*partition), payload }).unwrap();
    }
    producer.flush().unwrap();
}

/// A new version of the LZ4 library may pack otherwise: then what is written here changes, and the golden log must still be
/// read. It is written anew with `QUEUE_WRITE_GOLDEN` set.
#[test]
fn what_is_written_is_the_golden_log() {
    let disk = SimDisk::new(1);
    let (log, _) = try_open(&disk, SEED, small()).unwrap();
    for (number, records) in flushes().iter().enumerate() {
        flush(&log, (number == 1).then_some(KNOWN), records);
    }
    for name in FILES {
        let (content, golden) = (disk.content(name), golden(name));
        if std::env::var_os("QUEUE_WRITE_GOLDEN").is_some() {
            fs::create_dir_all(golden.parent().unwrap()).unwrap();
            fs::write(&golden, &content).unwrap();
        }
        assert!(content == fs::read(&golden).unwrap(), "{name} has changed");
    }
}

#[test]
fn the_golden_log_is_read_as_it_was_written_and_its_batch_is_known() {
    let disk = SimDisk::new(1);
    for name in FILES {
        disk.create(name).unwrap().write_at(0, &fs::read(golden(name)).unwrap()).unwrap();
    }
    let (log, recovery) = open(&disk, small());
    assert_eq!((recovery.records, &recovery.cut), (45, &None), "{recovery}");
    flush(&log, Some(KNOWN), &flushes()[1]);
    for partition in [0, 1] {
        let mine = flushes().into_iter().flatten().filter(|(p, _)| *p == partition);
        let expected: Vec<_> = (0..).zip(mine.map(|(_, payload)| payload)).collect();
        assert_eq!(records_of(&log, Partition(partition)), Ok(expected));
    }
}
