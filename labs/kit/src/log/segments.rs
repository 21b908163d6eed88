//! Files that are filled, closed, read from the middle, dropped and used again.

use super::{
    LogTest,
    rig::{
        FIRST, GROUP, Rig, SEGMENT_BYTES, all, append, bounds, commit_all, expect_all, fetch, producer,
        settle, submit, total,
    },
};
use crate::check::{Check, Must, Unmet, doing, ensure, expect};
use contracts::queue::{Ack, Log, LogError, Offset};
use queue_phases::OpenPhaseOn as OpenOn;
use std::sync::Arc;

pub(super) const TESTS: &[LogTest] = &[
    LogTest::since(3, "records-of-many-segments-are-all-there", many_segments),
    LogTest::since(3, "a-log-is-opened-by-its-last-segment", opened_by_its_last),
    LogTest::since(3, "a-record-in-the-middle-is-found-without-reading-all", found_in_the_middle),
    LogTest::since(3, "what-every-group-has-read-makes-room", makes_room),
    LogTest::since(3, "what-is-not-read-yet-stays", unread_stays),
    LogTest::since(3, "a-power-cut-leaves-what-was-acknowledged-in-every-segment", every_segment_is_synced),
    LogTest::since(3, "a-log-over-its-size-drops-the-oldest", drops_the_oldest),
    LogTest::since(3, "a-log-that-may-drop-nothing-is-full", full_of_unread),
    LogTest::since(3, "what-lies-around-damage-can-be-read", around_damage),
    LogTest::since(3, "old-bytes-of-a-file-that-is-used-again-are-no-records", old_bytes),
];

/// Of each record here.
const RECORD_BYTES: usize = 1_000;
/// Enough for ten segments and more.
const RECORDS: usize = 700;

/// Of its number, in an order that nothing else has.
fn record(number: usize) -> Vec<u8> {
    let mut payload = format!("{number:08}").into_bytes();
    let noise =
        (0..).map(|at: usize| u8::try_from((number * 31 + at * 7 + at * at) % 251).unwrap_or_default());
    payload.extend(noise.take(RECORD_BYTES - payload.len()));
    payload
}

fn records(from: usize, to: usize) -> Vec<Vec<u8>> {
    (from..to).map(record).collect()
}

/// A log with so many records, ten a flush.
fn filled(rig: &Rig, count: usize) -> Result<Arc<dyn Log>, Unmet> {
    let log = rig.log()?;
    let mut producer = producer(&log, Ack::Os)?;
    for batch in records(0, count).chunks(10) {
        let mut last = None;
        for payload in batch {
            last = Some(submit(&mut *producer, FIRST, payload)?);
        }
        if let Some(last) = last {
            settle(&mut *producer, last, "ten records of 1000 bytes")?;
        }
    }
    Ok(log)
}

fn many_segments(open: OpenOn) -> Check {
    let rig = Rig::new(open);
    let log = filled(&rig, RECORDS)?;
    let sent = "700 records of 1000 bytes, with segments of 64 KiB";
    expect_all(sent, &log, FIRST, &records(0, RECORDS))?;
    let files = rig.disk.seen();
    let large = files.values().filter(|bytes| bytes.len() as u64 > 2 * SEGMENT_BYTES).count();
    ensure(large == 0, sent, "no file is much larger than a segment", format!("{large} files are"))?;
    let after = rig.after(&files).log()?;
    expect_all(&format!("{sent}, and a kill"), &after, FIRST, &records(0, RECORDS))
}

/// What opening reads does not grow with the log.
fn opened_by_its_last(open: OpenOn) -> Check {
    let rig = Rig::new(open);
    let log = filled(&rig, RECORDS)?;
    let again = rig.after(&rig.disk.seen());
    drop(log);
    let sent = "a log of 700 records of 1000 bytes is opened, with segments of 64 KiB";
    doing(sent);
    let log = again.log()?;
    let read = again.disk.counts().read_bytes;
    let allowed = 3 * SEGMENT_BYTES;
    ensure(read <= allowed, sent, &format!("{allowed} bytes are read at most"), format!("{read} are"))?;
    expect_all(sent, &log, FIRST, &records(0, RECORDS))
}

fn found_in_the_middle(open: OpenOn) -> Check {
    let rig = Rig::new(open);
    let log = filled(&rig, RECORDS)?;
    for at in [3, RECORDS / 2, RECORDS - 40] {
        let sent = format!("record {at} of 700 is fetched, and no other");
        doing(&sent);
        let before = rig.disk.counts().read_bytes;
        let found = fetch(&log, FIRST, at as u64, 1).must(&sent)?;
        let read = rig.disk.counts().read_bytes - before;
        ensure(found == [(at as u64, record(at))], &sent, "this record", "another")?;
        // A fetch reads more at once than the frame that it looks for, but it begins near it.
        let most = SEGMENT_BYTES * 3 / 4;
        let expected = format!("{most} bytes are read at most, of a segment of {SEGMENT_BYTES}");
        ensure(read <= most, &sent, &expected, format!("{read} bytes are"))?;
    }
    Ok(())
}

fn makes_room(open: OpenOn) -> Check {
    let rig = Rig::new(open);
    let log = rig.log()?;
    let mut producer = producer(&log, Ack::Os)?;
    let sent = "1400 records of 1000 bytes, of which the group has read each hundred before the next is sent";
    doing(sent);
    for (number, payload) in records(0, 2 * RECORDS).iter().enumerate() {
        append(&mut *producer, FIRST, payload)?;
        if number % 100 == 99 {
            commit_all(&log)?;
        }
    }
    let bytes = total(&rig.disk.seen());
    let allowed = 8 * SEGMENT_BYTES;
    ensure(
        bytes <= allowed,
        sent,
        &format!("its files have {allowed} bytes at most"),
        format!("they have {bytes}"),
    )?;
    let start = bounds(&log, FIRST)?.start.0;
    ensure(start > 0, sent, "the partition begins later than at 0", format!("it begins at {start}"))
}

fn unread_stays(open: OpenOn) -> Check {
    let rig = Rig::new(open);
    let log = filled(&rig, RECORDS)?;
    let sent = "700 records of 1000 bytes, of which the group has read 345";
    let membership = log.subscribe(GROUP, "m").must(sent)?;
    log.commit(&membership, FIRST, Offset(345)).must(sent)?;
    let start = bounds(&log, FIRST)?.start.0;
    let right = start > 0 && start <= 345;
    ensure(right, sent, "the partition begins after 0, and not after 345", format!("it begins at {start}"))?;
    let found = fetch(&log, FIRST, 345, 1).must(sent)?;
    ensure(found == [(345, record(345))], sent, "record 345 is there", "it is not")
}

fn every_segment_is_synced(open: OpenOn) -> Check {
    const COUNT: usize = 150;
    let rig = Rig::new(open);
    let log = rig.log()?;
    let mut producer = producer(&log, Ack::Os)?;
    let sent = "150 records of 1000 bytes at ack os and one more at ack disk, with segments of 64 KiB; the power is cut";
    for payload in records(0, COUNT) {
        append(&mut *producer, FIRST, &payload)?;
    }
    let mut last = super::rig::producer(&log, Ack::Disk)?;
    append(&mut *last, FIRST, &record(COUNT))?;
    let after = rig.after(&rig.disk.durable()).log()?;
    expect_all(sent, &after, FIRST, &records(0, COUNT + 1))
}

fn drops_the_oldest(open: OpenOn) -> Check {
    let mut rig = Rig::new(open);
    rig.config.retention_bytes_max = Some(4 * SEGMENT_BYTES);
    let log = filled(&rig, RECORDS)?;
    let sent = "700 records of 1000 bytes that nobody reads, to a log that may have four segments of 64 KiB";
    let start = usize::try_from(bounds(&log, FIRST)?.start.0).unwrap_or(usize::MAX);
    let expected = "the oldest are gone: there is too much whenever one more segment is begun";
    ensure(start > 0 && start < RECORDS, sent, expected, format!("it begins at {start}"))?;
    let expected: Vec<_> = (start as u64..).zip(records(start, RECORDS)).collect();
    ensure(all(&log, FIRST)? == expected, sent, "all others are there as they were", "they are not")?;
    let below = fetch(&log, FIRST, start as u64 - 1, 1);
    let told = matches!(below, Err(LogError::OffsetOutOfRange { .. }));
    ensure(told, sent, "who asks for one that is gone is told what there is", "something else")
}

fn full_of_unread(open: OpenOn) -> Check {
    let mut rig = Rig::new(open);
    rig.config.retained_bytes_max = 4 * SEGMENT_BYTES;
    let log = rig.log()?;
    let mut producer = producer(&log, Ack::Os)?;
    let sent = "records that nobody has read yet, to a log that holds four segments of 64 KiB";
    doing(sent);
    let mut taken = 0;
    let refused = loop {
        match producer.submit(contracts::queue::NewRecord { partition: FIRST, payload: &record(taken) }) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
        match producer.flush() {
            Ok(()) | Err(LogError::Full) => {}
            Err(error) => return Err(error).must(sent),
        }
        ensure(taken < 10 * RECORDS, sent, "it says that it is full", "it takes more and more")?;
    };
    expect(sent, LogError::Full, refused)?;
    let bytes = total(&rig.disk.seen());
    let allowed = 5 * SEGMENT_BYTES;
    ensure(
        bytes <= allowed,
        sent,
        &format!("its files, indexes and all, have {allowed} bytes at most"),
        format!("{bytes}"),
    )?;
    let log_start = bounds(&log, FIRST)?.start.0;
    ensure(log_start == 0, sent, "nothing is dropped", format!("it begins at {log_start}"))?;
    let first = fetch(&log, FIRST, 0, 1).must(sent)?;
    ensure(first == [(0, record(0))], sent, "the first record is there", "it is not")
}

/// In a segment that was closed long ago.
fn around_damage(open: OpenOn) -> Check {
    let rig = Rig::new(open);
    let log = filled(&rig, RECORDS)?;
    let mut files = rig.disk.seen();
    drop(log);
    let bytes = record(RECORDS / 2);
    let place = files.iter().find_map(|(name, content)| {
        let at = content.windows(bytes.len()).position(|window| window == bytes)?;
        Some((name.clone(), at))
    });
    let Some((name, at)) = place else {
        return Err(Unmet::Skipped("records are not stored as they are".to_owned()));
    };
    if let Some(byte) = files.get_mut(&name).and_then(|content| content.get_mut(at + 500)) {
        *byte ^= 1;
    }
    let sent = "700 records of 1000 bytes, ten a flush; a bit flips in record 350, in the middle of the log";
    doing(sent);
    let log = rig.after(&files).log()?;
    let found = all(&log, FIRST)?;
    let wrong =
        found.iter().any(|(offset, payload)| usize::try_from(*offset).map(record).as_ref() != Ok(payload));
    ensure(!wrong, sent, "nothing but what was submitted", "something else")?;
    let missing: Vec<u64> =
        (0..RECORDS as u64).filter(|offset| !found.iter().any(|(there, _)| there == offset)).collect();
    let right = missing.contains(&350) && missing.iter().all(|offset| (350..360).contains(offset));
    ensure(right, sent, "all but the ten records of that flush", format!("missing are {missing:?}"))?;
    let answer = fetch(&log, FIRST, 350, 1);
    let told = matches!(&answer, Err(LogError::Damaged { from, next, .. }) if from.0 == 350 && next.0 == 360);
    ensure(told, sent, "who asks for record 350 is told that 350 to 360 are damaged", format!("{answer:?}"))
}

/// Segments that everybody has read are filled anew, and each write into them is torn somewhere.
fn old_bytes(open: OpenOn) -> Check {
    let rig = Rig::new(open);
    let log = rig.log()?;
    let mut producer = producer(&log, Ack::Os)?;
    let sent = "the process is killed in a write to a file that has been used before";
    let mut number = 0;
    // Several times around, so that every file has held other records.
    while number < 2 * RECORDS {
        append(&mut *producer, FIRST, &record(number))?;
        number += 1;
        if number % 50 == 0 {
            commit_all(&log)?;
        }
    }
    for round in 0..60_usize {
        rig.disk.record();
        append(&mut *producer, FIRST, &record(number))?;
        number += 1;
        // Some moments of each write, other ones in each; and its end.
        for killed in rig.disk.recorded().killed_at(|moment| (moment + round * 37).is_multiple_of(251)) {
            doing(sent);
            let log = rig.after(&killed.files).log()?;
            let found = all(&log, FIRST)?;
            let wrong = found
                .iter()
                .find(|(offset, payload)| usize::try_from(*offset).map(record).as_ref() != Ok(payload));
            ensure(
                wrong.is_none(),
                sent,
                "no record but those that were submitted, each at its offset",
                wrong.map_or_else(String::new, |(offset, _)| format!("another one at offset {offset}")),
            )?;
            let end = bounds(&log, FIRST)?.end.0;
            let whole = number as u64;
            let right = end == whole || (end + 1 == whole && !killed.is_done());
            ensure(
                right,
                sent,
                &format!("the partition ends at {} or {whole}", whole - 1),
                format!("at {end}"),
            )?;
        }
        if round % 20 == 19 {
            commit_all(&log)?;
        }
    }
    let members = log.groups().must("the groups are asked for")?;
    ensure(members.iter().any(|group| group.group == GROUP), sent, "the group is known", "it is not")
}
