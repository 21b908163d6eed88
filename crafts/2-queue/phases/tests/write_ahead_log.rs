//! The file of phase 2: torn at any byte, changed in any bit, copied when half of it has gone.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

use contracts::queue::{Ack, FetchLimit, Log, LogError, NewRecord, Offset, Partition, Records, Ticket};
use queue::{LogConfig, OpenError, disk::Disk, frame::HEAD_BYTES, sim::SimDisk};
use queue_phases::{Opened, PHASES};
use std::{ops::Range, path::Path, sync::Arc, thread, time::Duration};

const FIRST: Partition = Partition(0);
/// Its head, for one partition.
const FRAMES_AT: usize = 40;

fn open(disk: &SimDisk) -> Result<Opened, OpenError> {
    let config = LogConfig { segment_bytes_max: 64 << 10, ..LogConfig::for_groups(&["storage"]) };
    (PHASES[2].open_on)(disk.outside(7), config)
}

fn append(log: &dyn Log, numbers: Range<u8>) {
    append_at(log, Ack::Disk, numbers);
}

fn append_at(log: &dyn Log, ack: Ack, numbers: Range<u8>) {
    let mut producer = log.producer(ack).unwrap();
    for number in numbers {
        producer.submit(NewRecord { partition: FIRST, payload: &[number; 100] }).unwrap();
        producer.flush().unwrap();
    }
    producer.wait(Ticket(u64::MAX), Duration::from_secs(60)).unwrap();
}

/// The first byte of every record that can be had from an offset on.
fn numbers(log: &dyn Log, from: u64) -> Result<Vec<u8>, LogError> {
    let mut out = Records::new();
    log.fetch(FIRST, Offset(from), FetchLimit::default(), &mut out)?;
    Ok(out.iter().map(|(_, payload)| payload[0]).collect())
}

/// A disk that holds nothing but this file.
fn disk_with(wal: &[u8]) -> SimDisk {
    let disk = SimDisk::new(1);
    disk.create("wal").unwrap().write_at(0, wal).unwrap();
    disk
}

/// The bytes of a log of so many records, each of them synced, and where each of its frames begins.
fn written(records: u8) -> (Vec<u8>, Vec<usize>) {
    written_at(Ack::Disk, records)
}

fn written_at(ack: Ack, records: u8) -> (Vec<u8>, Vec<usize>) {
    let disk = SimDisk::new(1);
    let Opened { log, .. } = open(&disk).unwrap();
    append_at(&*log, ack, 0..records);
    drop(log);
    let wal = disk.content("wal");
    let frame_bytes = (HEAD_BYTES + 101).next_multiple_of(8);
    let frames: Vec<_> = (0..usize::from(records)).map(|n| FRAMES_AT + n * frame_bytes).collect();
    assert_eq!(wal.len(), FRAMES_AT + usize::from(records) * frame_bytes);
    (wal, frames)
}

#[test]
fn a_file_that_is_cut_short_at_any_byte_ends_with_its_last_whole_frame_and_says_what_was_cut() {
    let (wal, frames) = written(4);
    for end in frames[2]..wal.len() {
        let whole = frames.iter().skip(1).filter(|at| **at <= end).count();
        let at = frames[whole];
        // The zeros behind a body, up to the next frame, are no part of it.
        let whole = whole + usize::from(end >= at + HEAD_BYTES + 101);
        let Opened { log, recovery } = open(&disk_with(&wal[..end])).unwrap();
        assert_eq!(recovery.ends, [whole as u64], "{end} bytes");
        match recovery.cut {
            None => assert!(end == at || whole == 4 || end >= at + HEAD_BYTES + 101, "{end} bytes"),
            Some(cut) => {
                assert_eq!((&*cut.file, cut.at), (Path::new("/sim/wal"), at as u64));
                assert!(cut.bytes > 0 && cut.bytes <= (end - at) as u64, "{cut:?}");
                let heads = u64::from(end >= at + HEAD_BYTES);
                assert_eq!((cut.frames, cut.records), (heads, heads));
            }
        }
        append(&*log, 9..10);
        let mut expected: Vec<u8> = (0..4).take(whole).collect();
        expected.push(9);
        assert_eq!(numbers(&*log, 0), Ok(expected));
    }
}

/// The disk writes in any order: of frames that were not synced the first may be missing, and the others there.
#[test]
fn nothing_of_what_was_cut_comes_back_behind_a_new_frame_of_the_same_length() {
    let (mut wal, frames) = written_at(Ack::Os, 4);
    wal[frames[1]..frames[2]].fill(0);
    let disk = disk_with(&wal);
    let Opened { log, recovery } = open(&disk).unwrap();
    let cut = recovery.cut.unwrap();
    assert_eq!((cut.at, cut.frames, cut.records), (frames[1] as u64, 2, 2));
    append(&*log, 9..10);
    drop(log);
    assert_eq!(numbers(&*open(&disk).unwrap().log, 0), Ok(vec![0, 9]));
}

#[test]
fn what_was_on_disk_before_a_later_frame_was_written_is_never_cut() {
    let (mut wal, frames) = written(4);
    wal[frames[1]..frames[2]].fill(0);
    let disk = disk_with(&wal);
    let error = open(&disk).map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { at, .. } if at == frames[1] as u64), "{error}");
    assert_eq!(disk.content("wal"), wal, "nothing was changed");
}

#[test]
fn a_flipped_bit_is_never_a_record() {
    let (wal, frames) = written(4);
    for at in 0..wal.len() {
        let mut wrong = wal.clone();
        wrong[at] ^= 1 << (at % 8);
        let frame = frames.iter().rposition(|begin| *begin <= at);
        match (open(&disk_with(&wrong)), frame) {
            (Err(OpenError::Damaged { at: told, .. }), None) => assert_eq!(told, 0),
            (Err(OpenError::Damaged { at: told, .. }), Some(frame)) if frame < 3 => {
                assert_eq!(told, frames[frame] as u64);
            }
            // The last one may have been torn as well: nothing says that it was on disk.
            (Ok(opened), Some(3)) => {
                let found = numbers(&*opened.log, 0).unwrap();
                let is_padding = at >= frames[3] + HEAD_BYTES + 101;
                assert_eq!(
                    (found.len(), opened.recovery.cut.is_some()),
                    if is_padding { (4, false) } else { (3, true) }
                );
            }
            (Ok(opened), Some(frame)) => {
                assert!(at >= frames[frame] + HEAD_BYTES + 101, "byte {at}: {}", opened.recovery);
                assert_eq!(numbers(&*opened.log, 0).unwrap(), [0, 1, 2, 3]);
            }
            (Err(e), _) => panic!("byte {at}: {e}"),
            (Ok(_), None) => panic!("byte {at}"),
        }
    }
}

#[test]
fn damage_while_it_is_open_is_told_with_the_next_record_that_can_be_read() {
    let disk = SimDisk::new(1);
    let Opened { log, .. } = open(&disk).unwrap();
    append(&*log, 0..5);
    let (_, frames) = written(5);
    disk.flip("wal", frames[2] + HEAD_BYTES + 7, 3);
    assert_eq!(numbers(&*log, 0), Ok(vec![0, 1]), "what is whole before it is given first");
    let why = format!("/sim/wal, byte {}: the frame is not what was written", frames[2]);
    let damaged = LogError::Damaged { partition: FIRST, from: Offset(2), next: Offset(3), why };
    assert_eq!(numbers(&*log, 2), Err(damaged));
    assert_eq!(numbers(&*log, 3), Ok(vec![3, 4]));
}

#[test]
fn when_half_of_the_file_has_gone_the_rest_is_copied_and_offsets_stay() {
    let disk = SimDisk::new(1);
    let Opened { log, .. } = open(&disk).unwrap();
    append(&*log, 0..100);
    let before = disk.content("wal").len();
    let membership = log.subscribe("storage", "member").unwrap();
    log.commit(&membership, FIRST, Offset(40)).unwrap();
    assert_eq!(disk.content("wal").len(), before, "less than a half is not worth a copy");
    log.commit(&membership, FIRST, Offset(60)).unwrap();
    assert!(disk.content("wal").len() < before / 2);
    assert_eq!(numbers(&*log, 60), Ok((60..100).collect()));
    assert!(matches!(numbers(&*log, 59), Err(LogError::OffsetOutOfRange { .. })));
    append(&*log, 100..102);
    // Everything at once: what is left is a head, and it knows which offset comes next.
    drop(log);
    let Opened { log, recovery } = open(&disk).unwrap();
    assert_eq!((recovery.records, recovery.ends, recovery.cut), (42, vec![102], None));
    assert_eq!(numbers(&*log, 60), Ok((60..102).collect()));
    let membership = log.subscribe("storage", "member").unwrap();
    log.commit(&membership, FIRST, Offset(102)).unwrap();
    drop(log);
    let Opened { log, recovery } = open(&disk).unwrap();
    assert_eq!((recovery.records, recovery.ends), (0, vec![102]));
    append(&*log, 102..103);
    assert_eq!(numbers(&*log, 102), Ok(vec![102]));
}

#[test]
fn who_reads_goes_on_reading_the_file_that_was_replaced() {
    let disk = SimDisk::new(1);
    let Opened { log, .. } = open(&disk).unwrap();
    append(&*log, 0..100);
    let log: Arc<dyn Log> = log;
    let membership = log.subscribe("storage", "member").unwrap();
    let reads = log.clone();
    let reader = thread::spawn(move || (0..200).all(|_| numbers(&*reads, 90) == Ok((90..100).collect())));
    for next in [60, 80, 90] {
        log.commit(&membership, FIRST, Offset(next)).unwrap();
    }
    assert!(reader.join().unwrap());
}
