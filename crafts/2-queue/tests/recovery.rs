//! What a crash can leave behind on real files, and how the log is opened again.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

mod common;

use common::{
    FIRST, append, commit, different, frames, numbered, one_segment, open, read_all, segments, small_segments,
};
use contracts::queue::{Ack, Log, NewRecord, Offset};
use queue::{FileLog, OpenError};
use std::{fs, path::Path};

#[test]
fn a_log_that_was_closed_is_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let payloads = different(100);
    let (log, _) = open(dir.path(), small_segments());
    append(&log, Ack::Os, &payloads);
    commit(&log, "other", 42);
    drop(log);
    assert!(segments(dir.path()).len() > 4);

    let (log, recovery) = open(dir.path(), small_segments());
    assert_eq!((recovery.records, recovery.cut, recovery.groups_lost), (100, None, None));
    assert_eq!((recovery.ends, recovery.gaps), (vec![100], vec![]));
    assert_eq!(read_all(&log), numbered(&payloads));
    assert_eq!(log.committed("other", FIRST), Ok(Some(Offset(42))));
    append(&log, Ack::Disk, &payloads);
    assert_eq!(read_all(&log).len(), 200);
}

/// As `kill -9` leaves it: nobody closed it, and what was not flushed is gone.
#[test]
fn a_log_that_was_never_closed_has_all_that_was_flushed() {
    for ack in [Ack::Memory, Ack::Os, Ack::Disk] {
        let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (log, _) = open(dir.path(), small_segments());
        append(&log, ack, &different(100));
        let mut producer = log.producer(ack).unwrap();
        producer.submit(NewRecord { partition: FIRST, payload: b"not flushed" }).unwrap();
        copy_files(dir.path(), copy.path());
        let (copied, recovery) = open(copy.path(), small_segments());
        assert_eq!((recovery.records, recovery.cut), (100, None));
        assert_eq!(read_all(&copied), numbered(&different(100)));
    }
}

#[test]
fn a_last_frame_that_is_torn_at_any_byte_is_cut_off_and_nothing_else_is() {
    let (dir, torn) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let payloads = different(20);
    let (log, _) = open(dir.path(), one_segment());
    append(&log, Ack::Os, &payloads);
    drop(log);
    let file = &segments(dir.path())[0];
    let bytes = fs::read(file).unwrap();
    let all = frames(&bytes);
    let (last, end) = (all[all.len() - 2].0, all[all.len() - 1].0);
    let torn_file = torn.path().join(file.file_name().unwrap());
    for left in last..end {
        let mut left_over = bytes.clone();
        left_over[left..].fill(0);
        // The record before the padding may be whole although the power went: the file was zero there anyway.
        if left_over == bytes {
            continue;
        }
        fs::write(&torn_file, &left_over).unwrap();
        let (log, recovery) = open(torn.path(), one_segment());
        assert_eq!((recovery.records, &recovery.ends), (19, &vec![19]), "{left} bytes");
        match recovery.cut {
            None => assert_eq!(left, last, "a log that ends behind a whole frame needs no cut"),
            Some(cut) => {
                assert_eq!((cut.file.as_path(), cut.at), (torn_file.as_path(), last as u64));
                assert!(cut.bytes <= (end - last) as u64, "{cut:?}");
                assert_eq!(cut.frames, u64::from(left >= last + common::HEAD_BYTES), "{cut:?}");
                assert_eq!(cut.records, cut.frames);
            }
        }
        // The next frame comes to lie where the torn one was.
        append(&log, Ack::Disk, &[b"after".to_vec()]);
        drop(log);
        let (log, recovery) = open(torn.path(), one_segment());
        assert_eq!(recovery.cut, None, "what was cut off is no news");
        let found = read_all(&log);
        assert_eq!(found[..19], numbered(&payloads[..19]));
        assert_eq!(found[19..], [(19, b"after".to_vec())]);
    }
}

/// A process that is killed has not synced: from the bytes alone the end of what it wrote cannot be told from a tear.
#[test]
fn a_flipped_bit_anywhere_in_an_unsynced_frame_ends_the_log_before_it() {
    let (dir, copy, flipped) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let payloads = different(8);
    let (log, _) = open(dir.path(), one_segment());
    append(&log, Ack::Os, &payloads);
    copy_files(dir.path(), copy.path());
    let file = &segments(copy.path())[0];
    let bytes = fs::read(file).unwrap();
    let flipped_file = flipped.path().join(file.file_name().unwrap());
    let with_records: Vec<_> = frames(&bytes).into_iter().filter(|(_, kind)| *kind != 1).collect();
    for (index, frame) in with_records.windows(2).enumerate() {
        let (begin, padded) = (frame[0].0, frame[1].0);
        let body_bytes = u32::from_le_bytes(bytes[begin + 64..begin + 68].try_into().unwrap()) as usize;
        for at in begin..begin + common::HEAD_BYTES + body_bytes {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1 << (at % 8);
            fs::write(&flipped_file, &wrong).unwrap();
            let (log, recovery) = open(flipped.path(), one_segment());
            assert_eq!(recovery.records, index as u64, "byte {at}");
            let cut = recovery.cut.unwrap();
            assert_eq!((cut.at, recovery.gaps), (begin as u64, vec![]), "byte {at}");
            assert!(cut.bytes > 0 && padded > begin);
            assert_eq!(read_all(&log), numbered(&payloads[..index]), "byte {at}");
        }
    }
}

/// A file system may have made the file longer, and not have written its blocks.
#[test]
fn zeros_behind_the_last_frame_are_no_frames() {
    for zeros in [1, 71, 72, 4096, 300_000] {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = open(dir.path(), one_segment());
        append(&log, Ack::Os, &different(3));
        drop(log);
        let file = &segments(dir.path())[0];
        let bytes = [fs::read(file).unwrap(), vec![0; zeros]].concat();
        fs::write(file, bytes).unwrap();
        let (log, recovery) = open(dir.path(), one_segment());
        assert_eq!(recovery.cut, None);
        assert_eq!(read_all(&log), numbered(&different(3)));
    }
}

#[test]
fn a_frame_that_was_copied_to_another_place_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path(), one_segment());
    append(&log, Ack::Os, &vec![b"same".to_vec(); 2]);
    drop(log);
    let file = &segments(dir.path())[0];
    let mut bytes = fs::read(file).unwrap();
    let all = frames(&bytes);
    let (first, second, end) = (all[1].0, all[2].0, all[3].0);
    bytes.copy_within(first..second, end);
    fs::write(file, bytes).unwrap();
    let (log, recovery) = open(dir.path(), one_segment());
    assert_eq!((recovery.records, recovery.cut.map(|cut| (cut.at, cut.frames))), (2, Some((end as u64, 0))));
    assert_eq!(read_all(&log).len(), 2);
}

#[test]
fn what_was_not_finished_is_removed_and_strange_files_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let unfinished = dir.path().join("00000000000000000000.log.tmp");
    let strange = dir.path().join("notes.log");
    fs::write(&unfinished, b"SC").unwrap();
    fs::write(&strange, b"mine").unwrap();
    let (log, recovery) = open(dir.path(), one_segment());
    assert_eq!((recovery.records, log.bounds(FIRST).unwrap().end), (0, Offset(0)));
    assert!(!unfinished.exists() && strange.exists());
}

#[test]
fn two_cannot_have_the_same_log_open() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path(), one_segment());
    let producer = log.producer(Ack::Os).unwrap();
    let second = || FileLog::open(dir.path(), one_segment()).map(|_| ());
    assert!(matches!(second(), Err(OpenError::Locked { .. })));
    drop(log);
    assert!(matches!(second(), Err(OpenError::Locked { .. })), "a producer has it open as well");
    drop(producer);
    assert!(second().is_ok());
}

#[test]
fn segments_that_every_group_has_committed_are_gone_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let payloads = different(100);
    let (log, _) = open(dir.path(), small_segments());
    append(&log, Ack::Os, &payloads);
    commit(&log, "storage", 60);
    let start = log.bounds(FIRST).unwrap().start.0;
    assert!((1..=60).contains(&start), "{start}");
    drop(log);
    let (log, recovery) = open(dir.path(), small_segments());
    assert_eq!((log.bounds(FIRST).unwrap().start.0, recovery.records), (start, 100 - start));
    assert_eq!(log.committed("storage", FIRST), Ok(Some(Offset(60))));
    let all = numbered(&payloads);
    assert_eq!(read_all(&log), all[usize::try_from(start).unwrap()..]);
    // The last segment stays: it says which offset comes next.
    commit(&log, "storage", 100);
    assert_eq!(segments(dir.path()).len(), 1);
    drop(log);
    assert_eq!(open(dir.path(), small_segments()).0.bounds(FIRST).unwrap().end, Offset(100));
}

/// After a power cut commits may have reached the disk that the records before them have not.
#[test]
fn a_commit_beyond_the_end_does_not_pass_over_records_that_come_later() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (log, _) = open(dir.path(), one_segment());
    append(&log, Ack::Os, &different(10));
    commit(&log, "storage", 10);
    copy_files(dir.path(), copy.path());
    let file = &segments(copy.path())[0];
    let mut bytes = fs::read(file).unwrap();
    let seventh = frames(&bytes)[7].0;
    bytes[seventh..].fill(0);
    fs::write(file, &bytes).unwrap();
    let (log, recovery) = open(copy.path(), one_segment());
    assert_eq!(recovery.records, 6);
    let committed = log.committed("storage", FIRST).unwrap();
    assert!(committed.is_none_or(|next| next <= Offset(6)), "{committed:?}");
}

#[test]
fn groups_that_cannot_be_read_begin_again_and_hold_everything() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path(), small_segments());
    append(&log, Ack::Os, &different(50));
    commit(&log, "storage", 20);
    drop(log);
    let groups = dir.path().join("groups");
    let text = fs::read_to_string(&groups).unwrap();
    assert!(text.contains("0=20"));
    fs::write(&groups, text.replace("0=20", "0=50")).unwrap();
    let (log, recovery) = open(dir.path(), small_segments());
    assert!(recovery.groups_lost.unwrap().contains("checksum"));
    assert_eq!(log.committed("storage", FIRST), Ok(None));
    append(&log, Ack::Os, &different(50));
    assert_eq!(log.bounds(FIRST).unwrap().end, Offset(100));
    assert!(log.bounds(FIRST).unwrap().start.0 <= 20);
}

fn copy_files(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
