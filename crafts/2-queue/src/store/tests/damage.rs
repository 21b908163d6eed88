//! Damage in the middle of a log: the rest stays readable, the gap is reported, and a reader is told.

use super::*;
use crate::store::verify::verify;
use crate::{disk::Disk, frame::HEAD_BYTES};
use contracts::queue::{Ack, Bounds};

/// Twenty records, a frame each, in a segment that is not full or in several that are.
fn written(segment_bytes_max: u64) -> SimDisk {
    let disk = SimDisk::new(1);
    let (log, _) = open(&disk, LogConfig { segment_bytes_max, ..config() });
    let mut producer = log.producer(Ack::Disk).unwrap();
    for i in 0..20_u8 {
        submit(&mut *producer, &[i; 100]).unwrap();
        producer.wait(Ticket(u64::MAX), PATIENCE).unwrap();
    }
    drop((log, producer));
    disk
}

const FRAME_BYTES: usize = (HEAD_BYTES + 101).next_multiple_of(8);

/// The n-th frame with records behind the segment's own frame.
fn frame(n: usize) -> usize {
    1024 + HEAD_BYTES + 24 + n * FRAME_BYTES
}

/// What can be had from an offset on: offsets, or the next that can be had and what is said of those before.
fn from(log: &FileLog, offset: u64) -> Result<Vec<u64>, (u64, String)> {
    let mut out = Records::new();
    match log.fetch(FIRST, Offset(offset), FetchLimit::default(), &mut out) {
        Ok(()) => Ok(out.iter().map(|(offset, _)| offset.0).collect()),
        Err(LogError::Damaged { partition: FIRST, from, next, why }) if from.0 == offset => {
            Err((next.0, why))
        }
        Err(e) => panic!("{e}"),
    }
}

#[test]
fn a_frame_damaged_in_the_last_segment_is_a_gap_and_not_the_end() {
    for (at, why) in
        [(frame(5) + 9, "no frame begins here"), (frame(5) + HEAD_BYTES + 9, "a frame's body is damaged")]
    {
        let disk = written(1 << 20);
        let name = segment::name(0);
        disk.flip(&name, at, 3);
        let (log, recovery) = open(&disk, config());
        let [gap] = &recovery.gaps[..] else { panic!("{recovery}") };
        let expected = (disk.path(&name), frame(5) as u64, FRAME_BYTES as u64, 1);
        assert_eq!((gap.file.clone(), gap.at, gap.bytes, gap.frames), expected);
        assert_eq!((recovery.records, &recovery.cut), (20, &None));
        assert!(recovery.to_string().contains("DAMAGED"), "{recovery}");
        assert_eq!(from(&log, 0), Ok((0..5).collect()), "what is whole before it is given first");
        assert_eq!(from(&log, 5), Err((6, format!("/sim/{name}, byte {}: {why}", frame(5)))));
        assert_eq!(from(&log, 6), Ok((6..20).collect()));
        // And the log goes on.
        let mut producer = log.producer(Ack::Disk).unwrap();
        submit(&mut *producer, b"more").unwrap();
        producer.wait(Ticket(1), PATIENCE).unwrap();
        assert_eq!(from(&log, 19), Ok(vec![19, 20]));
    }
}

#[test]
fn damage_in_an_older_segment_is_told_to_who_reads_it() {
    let disk = written(2000);
    disk.flip(&segment::name(0), frame(2) + HEAD_BYTES + 50, 0);
    let (log, recovery) = open(&disk, LogConfig { segment_bytes_max: 2000, ..config() });
    assert_eq!((recovery.records, &recovery.gaps[..]), (20, &[][..]), "only ends are read of older segments");
    assert_eq!(from(&log, 0), Ok(vec![0, 1]));
    assert_eq!(from(&log, 2).unwrap_err().0, 3);
    assert_eq!(from(&log, 3), Ok((3..20).collect()));
}

#[test]
fn a_segment_without_its_index_is_walked_through() {
    let disk = written(2000);
    let name = segment::name(0);
    let last = disk.content(&name).len() - 1;
    disk.flip(&name, last, 0);
    disk.flip(&name, frame(3), 0);
    let (log, recovery) = open(&disk, LogConfig { segment_bytes_max: 2000, ..config() });
    assert_eq!((recovery.records, recovery.gaps.len(), recovery.gaps[0].at), (20, 1, frame(3) as u64));
    assert_eq!(from(&log, 0), Ok((0..3).collect()));
    assert_eq!(from(&log, 4), Ok((4..20).collect()));
}

#[test]
fn a_segment_that_is_gone_is_a_gap() {
    let disk = written(2000);
    let segments = || Disk::list(&disk).unwrap().into_iter().filter(|n| n.ends_with(".log")).count();
    let before = segments();
    assert!(before > 2);
    Disk::remove(&disk, &segment::name(0)).unwrap();
    let small = || LogConfig { segment_bytes_max: 2000, ..config() };
    let (log, recovery) = open(&disk, small());
    assert_eq!(recovery.gaps, [], "the oldest is as if it had been dropped");
    let start = log.bounds(FIRST).unwrap().start.0;
    assert_eq!(from(&log, start), Ok((start..20).collect()));
    drop(log);

    let disk = written(2000);
    Disk::remove(&disk, &segment::name(1)).unwrap();
    let (log, recovery) = open(&disk, small());
    let [gap] = &recovery.gaps[..] else { panic!("{recovery}") };
    assert_eq!(gap.file, disk.path(&segment::name(1)));
    let whole = from(&log, 0).unwrap();
    let (next, told) = from(&log, whole.len() as u64).unwrap_err();
    assert_eq!(from(&log, next), Ok((next..20).collect()), "{told}");
}

#[test]
fn a_damaged_head_is_a_gap_in_the_middle_and_keeps_the_log_closed_at_the_end() {
    let small = || LogConfig { segment_bytes_max: 2000, ..config() };
    let disk = written(2000);
    for at in [20, 532] {
        disk.flip(&segment::name(1), at, 0);
    }
    let (log, recovery) = open(&disk, small());
    assert!(!recovery.gaps.is_empty());
    assert_eq!(from(&log, 19), Ok(vec![19]));
    drop(log);

    let disk = written(1 << 20);
    disk.flip(&segment::name(0), 20, 0);
    assert_eq!(open(&disk, config()).1.records, 20, "one copy is enough");
    disk.flip(&segment::name(0), 532, 0);
    let error = try_open(&disk, config()).map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { at: 0, .. }), "{error}");
}

#[test]
fn verify_finds_nothing_in_a_whole_log_and_every_changed_byte_of_its_frames() {
    let disk = written(2000);
    let verified = verify(&disk).unwrap();
    assert_eq!((verified.damage, verified.torn), (Vec::new(), None));
    assert_eq!(verified.partitions[0], Bounds { start: Offset(0), end: Offset(20) });
    let segments = verified.segments;
    assert!(segments > 2, "{segments} segments");
    let name = segment::name(1);
    let content = disk.content(&name);
    // Behind the two copies of the head, and before what was never written.
    let used = content.iter().rposition(|byte| *byte != 0).unwrap();
    for (at, byte) in content.iter().enumerate().take(used + 1).skip(1024) {
        disk.flip(&name, at, 5);
        let damage = verify(&disk).unwrap().damage;
        disk.flip(&name, at, 5);
        let padding = *byte == 0 && damage.is_empty();
        assert!(padding || damage[0].file == disk.path(&name), "byte {at}: {damage:?}");
    }
    assert_eq!(verify(&disk).unwrap().damage, [], "each byte was put back");
}

#[test]
fn verify_tells_damage_from_a_torn_tail_and_changes_nothing() {
    let disk = written(1 << 20);
    let name = segment::name(0);
    disk.flip(&name, frame(5) + 9, 3);
    disk.flip(&name, frame(19) + 9, 3);
    let before = disk.content(&name);
    let verified = verify(&disk).unwrap();
    let [damage] = &verified.damage[..] else { panic!("{verified:?}") };
    assert_eq!((damage.at, damage.bytes, damage.frames), (frame(5) as u64, FRAME_BYTES as u64, 1));
    assert_eq!(verified.torn.unwrap().at, frame(19) as u64);
    assert_eq!(disk.content(&name), before);
}
