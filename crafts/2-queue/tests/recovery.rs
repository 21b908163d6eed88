//! What a crash can leave behind, and what damage looks like, on real files.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

mod common;

use common::{
    FIRST, HEAD_BYTES, append, commit, different, numbered, one_segment, open, read_all, segments,
    small_segments,
};
use contracts::queue::{Ack, FetchLimit, Log, LogError, NewRecord, Offset, Records};
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
    assert!(segments(dir.path()).len() > 5);

    let (log, recovery) = open(dir.path(), small_segments());
    assert_eq!((recovery.records, recovery.cut, recovery.groups_lost), (100, None, None));
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
fn a_last_record_that_is_torn_at_any_byte_is_cut_off_and_nothing_else_is() {
    let (dir, torn) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let payloads = different(20);
    let (log, _) = open(dir.path(), one_segment());
    append(&log, Ack::Os, &payloads);
    drop(log);
    let file = &segments(dir.path())[0];
    let bytes = fs::read(file).unwrap();
    let last = bytes.len() - HEAD_BYTES - payloads[19].len();
    let torn_file = torn.path().join(file.file_name().unwrap());
    for end in last..bytes.len() {
        fs::write(&torn_file, &bytes[..end]).unwrap();
        let (log, recovery) = open(torn.path(), one_segment());
        assert_eq!(recovery.records, 19);
        match recovery.cut {
            None => assert_eq!(end, last, "a log that ends behind a whole record needs no cut"),
            Some(cut) => {
                assert_eq!((cut.file.as_path(), cut.at), (torn_file.as_path(), last as u64));
                assert_eq!(cut.bytes, (end - last) as u64);
                assert!(cut.why.contains("cut short"), "{}", cut.why);
            }
        }
        assert_eq!(fs::metadata(&torn_file).unwrap().len(), last as u64);
        // The next record comes to lie where the torn one was.
        append(&log, Ack::Disk, &[b"after".to_vec()]);
        drop(log);
        let (log, recovery) = open(torn.path(), one_segment());
        assert_eq!(recovery.cut, None);
        let found = read_all(&log);
        assert_eq!(found[..19], numbered(&payloads[..19]));
        assert_eq!(found[19..], [(19, b"after".to_vec())]);
    }
}

#[test]
fn a_flipped_bit_anywhere_in_a_record_ends_the_log_before_it() {
    let (dir, flipped) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let payloads = different(8);
    let (log, _) = open(dir.path(), one_segment());
    append(&log, Ack::Os, &payloads);
    drop(log);
    let file = &segments(dir.path())[0];
    let bytes = fs::read(file).unwrap();
    let flipped_file = flipped.path().join(file.file_name().unwrap());
    let mut begin = HEAD_BYTES;
    for (index, payload) in payloads.iter().enumerate() {
        let end = begin + HEAD_BYTES + payload.len();
        for at in begin..end {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1 << (at % 8);
            fs::write(&flipped_file, &wrong).unwrap();
            let (log, recovery) = open(flipped.path(), one_segment());
            assert_eq!(recovery.records, index as u64, "byte {at}");
            assert_eq!(recovery.cut.unwrap().at, begin as u64, "byte {at}");
            assert_eq!(read_all(&log), numbered(&payloads[..index]), "byte {at}");
        }
        begin = end;
    }
    assert_eq!(begin, bytes.len());
}

/// A file system may have made the file longer, and not have written its blocks.
#[test]
fn zeros_behind_the_last_record_are_no_records() {
    for zeros in [1, HEAD_BYTES - 1, HEAD_BYTES, 4096, 300_000] {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = open(dir.path(), one_segment());
        append(&log, Ack::Os, &different(3));
        drop(log);
        let file = &segments(dir.path())[0];
        let bytes = [fs::read(file).unwrap(), vec![0; zeros]].concat();
        fs::write(file, bytes).unwrap();
        let (log, recovery) = open(dir.path(), one_segment());
        assert_eq!(recovery.cut.unwrap().bytes, zeros as u64);
        assert_eq!(read_all(&log), numbered(&different(3)));
    }
}

#[test]
fn a_record_that_was_copied_to_another_place_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path(), one_segment());
    append(&log, Ack::Os, &vec![b"same".to_vec(); 2]);
    drop(log);
    let file = &segments(dir.path())[0];
    let bytes = fs::read(file).unwrap();
    let record = &bytes[HEAD_BYTES..2 * HEAD_BYTES + 4];
    fs::write(file, [&bytes, record].concat()).unwrap();
    let (_log, recovery) = open(dir.path(), one_segment());
    assert_eq!(recovery.records, 2);
    let why = recovery.cut.unwrap().why;
    assert!(why.contains("expected record 2, found record 0"), "{why}");
}

#[test]
fn damage_in_an_older_segment_is_told_with_its_file_and_byte_and_never_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let payloads = different(100);
    let (log, _) = open(dir.path(), small_segments());
    append(&log, Ack::Os, &payloads);
    drop(log);
    let file = &segments(dir.path())[1];
    let before: u64 = file.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let mut bytes = fs::read(file).unwrap();
    let first = usize::try_from(before).unwrap();
    let second = HEAD_BYTES + HEAD_BYTES + payloads[first].len();
    bytes[second + HEAD_BYTES / 2] ^= 1;
    fs::write(file, &bytes).unwrap();

    let (log, recovery) = open(dir.path(), small_segments());
    assert_eq!((recovery.records, recovery.cut), (100, None), "only the last segment is read");
    let fetch = |from: u64| {
        let mut records = Records::new();
        let result = log.fetch(FIRST, Offset(from), FetchLimit::default(), &mut records);
        result.map(|()| records.iter().map(|(offset, _)| offset.0).collect::<Vec<_>>())
    };
    assert_eq!(fetch(0), Ok((0..=before).collect()), "what is whole before it is given first");
    for from in [before + 1, before + 2] {
        let expected = format!("{}, byte {second}: the checksum is wrong", file.display());
        assert_eq!(fetch(from), Err(LogError::Failed(expected)), "from {from}");
    }
    assert_eq!(fetch(99), Ok(vec![99]), "what is whole can still be read");
    append(&log, Ack::Os, &[b"more".to_vec()]);

    // And one that has lost its end.
    bytes[second + HEAD_BYTES / 2] ^= 1;
    bytes.truncate(second);
    fs::write(file, &bytes).unwrap();
    drop(log);
    let (log, _) = open(dir.path(), small_segments());
    let mut records = Records::new();
    let result = log.fetch(FIRST, Offset(before + 1), FetchLimit::default(), &mut records);
    let expected = format!("{}, byte {second}: records are missing behind it", file.display());
    assert_eq!(result, Err(LogError::Failed(expected)));
}

#[test]
fn a_wrong_head_of_any_segment_keeps_the_log_closed() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path(), small_segments());
    append(&log, Ack::Os, &different(100));
    drop(log);
    for file in segments(dir.path()) {
        let right = fs::read(&file).unwrap();
        let mut wrongs: Vec<_> = (0..HEAD_BYTES).map(|end| right[..end].to_vec()).collect();
        wrongs.extend((0..HEAD_BYTES).map(|at| {
            let mut wrong = right.clone();
            wrong[at] ^= 0x10;
            wrong
        }));
        for wrong in wrongs {
            fs::write(&file, wrong).unwrap();
            match FileLog::open(dir.path(), small_segments()) {
                Err(OpenError::Damaged { path, .. }) => assert_eq!(path, file),
                other => panic!("{:?}", other.map(|(_, recovery)| recovery)),
            }
        }
        fs::write(&file, right).unwrap();
    }
    assert_eq!(open(dir.path(), small_segments()).1.records, 100);
}

#[test]
fn a_version_of_the_future_is_refused_by_its_number() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), one_segment()));
    let file = &segments(dir.path())[0];
    let mut bytes = fs::read(file).unwrap();
    bytes[3] = 2;
    fs::write(file, bytes).unwrap();
    let error = FileLog::open(dir.path(), one_segment()).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("byte 3") && error.contains("version 1, found 2"), "{error}");
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
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path(), one_segment());
    append(&log, Ack::Os, &different(10));
    commit(&log, "storage", 10);
    drop(log);
    let file = &segments(dir.path())[0];
    let bytes = fs::read(file).unwrap();
    let six: usize = HEAD_BYTES + different(6).iter().map(|p| HEAD_BYTES + p.len()).sum::<usize>();
    fs::write(file, &bytes[..six]).unwrap();
    let (log, recovery) = open(dir.path(), one_segment());
    assert_eq!(recovery.records, 6);
    assert_eq!(log.committed("storage", FIRST), Ok(Some(Offset(6))));
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
    fs::write(&groups, text.replace("20", "50")).unwrap();
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
