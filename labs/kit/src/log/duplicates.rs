//! Batches with a number, which are taken once however often they come; and records that are stored in another form than
//! they came in.

use super::{
    LogTest,
    rig::{
        FIRST, Rig, SEGMENT_BYTES, all, append, bounds, commit_all, expect_all, fetch, payloads, places,
        producer, submit,
    },
};
use crate::check::{Check, Must, PATIENCE, Unmet, doing, ensure, expect};
use contracts::{
    packed::{self, PackedRecords},
    queue::{Ack, Identity, Log, LogError, Partition, Producer},
};
use queue_phases::OpenPhaseOn as OpenOn;
use std::sync::Arc;

pub(super) const TESTS: &[LogTest] = &[
    LogTest::since(6, "records-come-back-as-they-were-sent", as_they_were),
    LogTest::since(6, "what-comes-packed-is-stored-as-it-came", stored_as_it_came),
    LogTest::since(6, "what-does-not-shrink-is-stored-as-it-is", stored_as_it_is),
    LogTest::since(6, "a-batch-that-comes-again-is-taken-once", taken_once),
    LogTest::since(6, "a-batch-that-comes-after-a-gap-is-refused", gap_is_refused),
    LogTest::since(6, "a-batch-is-known-again-after-a-kill", known_after_a_kill),
    LogTest::since(6, "a-batch-is-known-again-in-a-later-segment", known_in_a_later_segment),
    LogTest::since(6, "a-torn-batch-is-there-whole-or-not-at-all", torn_batch),
];

/// Who sends.
const PRODUCER: u64 = 7;

fn batch(sequence: u32) -> Vec<Vec<u8>> {
    payloads(5).into_iter().map(|payload| [&sequence.to_le_bytes()[..], &payload].concat()).collect()
}

/// Sends a batch under its number; returns where its records lie.
fn send(
    producer: &mut dyn Producer,
    sequence: u32,
    records: &[Vec<u8>],
) -> Result<Result<Vec<u64>, LogError>, Unmet> {
    let sent = format!("batch {sequence}");
    doing(&sent);
    producer.identify(Identity { producer: PRODUCER, sequence }).must(&sent)?;
    let mut last = None;
    for record in records {
        last = Some(submit(producer, FIRST, record)?);
    }
    let Some(last) = last else { return Ok(Ok(Vec::new())) };
    if let Err(error) = producer.flush() {
        return Ok(Err(error));
    }
    match producer.wait(last, PATIENCE) {
        Ok(settled) if settled >= last => Ok(Ok(places(producer))),
        Ok(_) => crate::check::broken(&sent, "its tickets settle", "they do not"),
        Err(error) => Ok(Err(error)),
    }
}

fn must_lie(producer: &mut dyn Producer, sequence: u32, at: std::ops::Range<u64>, sent: &str) -> Check {
    let found = send(producer, sequence, &batch(sequence))?.must(sent)?;
    let expected: Vec<u64> = at.collect();
    expect(sent, format!("its records lie at {expected:?}"), format!("its records lie at {found:?}"))
}

fn sent_once(log: &Arc<dyn Log>, batches: u32, sent: &str) -> Check {
    let all: Vec<_> = (0..batches).flat_map(batch).collect();
    expect_all(sent, log, FIRST, &all)
}

fn taken_once(open: OpenOn) -> Check {
    let rig = Rig::packing(open);
    let log = rig.log()?;
    let mut first = producer(&log, Ack::Disk)?;
    for sequence in 0..3 {
        let from = u64::from(sequence) * 5;
        must_lie(&mut *first, sequence, from..from + 5, "batches 0, 1 and 2 of five records")?;
    }
    let sent = "batches 0, 1 and 2 of five records; then batches 1 and 2 again, over another connection";
    let mut again = producer(&log, Ack::Disk)?;
    must_lie(&mut *again, 1, 5..10, sent)?;
    must_lie(&mut *again, 2, 10..15, sent)?;
    sent_once(&log, 3, sent)?;
    must_lie(&mut *again, 3, 15..20, "and batch 3 after them")?;
    sent_once(&log, 4, "and batch 3 after them")
}

fn gap_is_refused(open: OpenOn) -> Check {
    let rig = Rig::with_partitions(open, 2);
    let log = rig.log()?;
    let mut producer = producer(&log, Ack::Os)?;
    must_lie(&mut *producer, 0, 0..5, "batch 0")?;
    let sent = "batch 2 after batch 0";
    let refused = LogError::OutOfSequence { producer: PRODUCER, partition: FIRST, expected: 1, asked: 2 };
    let answer = send(&mut *producer, 2, &batch(2))?;
    let told = |answer: Result<Vec<u64>, LogError>| match answer {
        Ok(places) => format!("taken, at {places:?}"),
        Err(error) => error.to_string(),
    };
    expect(sent, refused.to_string(), told(answer))?;
    must_lie(&mut *producer, 1, 5..10, "batch 1 after batch 2 was refused")?;
    sent_once(&log, 2, "batch 1 after batch 2 was refused")?;
    let other = bounds(&log, Partition(1))?.end.0;
    expect("nothing to partition 1", "it is empty", if other == 0 { "it is empty" } else { "it is not" })
}

fn known_after_a_kill(open: OpenOn) -> Check {
    let rig = Rig::packing(open);
    let log = rig.log()?;
    let mut first = producer(&log, Ack::Os)?;
    for sequence in 0..2 {
        let from = u64::from(sequence) * 5;
        must_lie(&mut *first, sequence, from..from + 5, "batches 0 and 1")?;
    }
    let sent = "batches 0 and 1, a kill, and batch 1 again";
    let rig = rig.after(&rig.disk.seen());
    let log = rig.log()?;
    let mut again = producer(&log, Ack::Os)?;
    must_lie(&mut *again, 1, 5..10, sent)?;
    must_lie(&mut *again, 2, 10..15, "and then batch 2")?;
    sent_once(&log, 3, "and then batch 2")
}

/// The batch is in a segment that nobody reads again.
fn known_in_a_later_segment(open: OpenOn) -> Check {
    let rig = Rig::new(open);
    let log = rig.log()?;
    let mut first = producer(&log, Ack::Os)?;
    must_lie(&mut *first, 0, 0..5, "batch 0")?;
    let sent =
        "batch 0, several segments of other records that are read and dropped, a kill, and batch 0 again";
    doing(sent);
    // Random enough that nothing makes them smaller.
    let mut state = 1_u32;
    let mut noise = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    let mut other = producer(&log, Ack::Os)?;
    for _ in 0..5 * SEGMENT_BYTES / 1_000 {
        let record: Vec<u8> = (0..1_000).map(|_| noise()).collect();
        append(&mut *other, FIRST, &record)?;
    }
    commit_all(&log)?;
    let end = bounds(&log, FIRST)?.end.0;
    let rig = rig.after(&rig.disk.seen());
    let log = rig.log()?;
    let mut again = producer(&log, Ack::Os)?;
    must_lie(&mut *again, 0, 0..5, sent)?;
    expect(
        sent,
        format!("the partition ends at {end}"),
        format!("the partition ends at {}", bounds(&log, FIRST)?.end.0),
    )
}

fn torn_batch(open: OpenOn) -> Check {
    let rig = Rig::packing(open);
    let log = rig.log()?;
    let mut producer = producer(&log, Ack::Os)?;
    must_lie(&mut *producer, 0, 0..5, "batch 0")?;
    rig.disk.record();
    must_lie(&mut *producer, 1, 5..10, "batch 1")?;
    for killed in rig.disk.recorded().killed() {
        let sent = format!("batch 0, then batch 1, in which {}; and batch 1 again", killed.told());
        doing(&sent);
        let log = rig.after(&killed.files).log()?;
        let end = bounds(&log, FIRST)?.end.0;
        let whole = end == 10 || (end == 5 && !killed.is_done());
        ensure(whole, &sent, "the partition holds 5 records or 10", format!("it holds {end}"))?;
        let mut again = super::rig::producer(&log, Ack::Os)?;
        must_lie(&mut *again, 1, 5..10, &sent)?;
        sent_once(&log, 2, &sent)?;
    }
    Ok(())
}

/// As many bytes as a log writes that does not pack.
fn stored_as_it_is(open: OpenOn) -> Check {
    let mut noise = noise();
    for (what, record) in [("a short record", b"alone".to_vec()), ("a record of noise", noise(20_000))] {
        let written = |rig: &Rig| -> Result<u64, Unmet> {
            let log = rig.log()?;
            let mut producer = producer(&log, Ack::Os)?;
            append(&mut *producer, FIRST, b"the first")?;
            let before = rig.disk.counts().written_bytes;
            append(&mut *producer, FIRST, &record)?;
            Ok(rig.disk.counts().written_bytes - before)
        };
        let (packing, plain) = (written(&Rig::packing(open))?, written(&Rig::new(open))?);
        let sent = format!("{what} to a log that packs, and to one that does not");
        let expected = format!("the one that packs writes no more than the other, which is {plain} bytes");
        ensure(packing <= plain, &sent, &expected, format!("it writes {packing}"))?;
    }
    Ok(())
}

/// By a log that packs nothing itself: what it writes then is what came.
fn stored_as_it_came(open: OpenOn) -> Check {
    let rig = Rig::new(open);
    let log = rig.log()?;
    let mut producer = producer(&log, Ack::Os)?;
    // What a log writes before its first record is no matter of this batch.
    append(&mut *producer, FIRST, b"the first")?;
    let records = payloads(200);
    let packed = packed::pack(records.iter().map(|record| &record[..]));
    let mut room = Vec::new();
    let batch = PackedRecords::open(&packed, &mut room).must("a packed batch is opened")?;
    let of_records: usize = records.iter().map(Vec::len).sum();
    let sent =
        "a batch of records that are alike, packed by who sends it, to a log that packs nothing itself";
    doing(sent);
    let before = rig.disk.counts().written_bytes;
    let last = producer.submit_packed(FIRST, &batch).must(sent)?;
    super::rig::settle(&mut *producer, last, sent)?;
    let written = rig.disk.counts().written_bytes - before;
    let expected = format!("fewer bytes are written than its records have, which is {of_records}");
    ensure(written < of_records as u64, sent, &expected, format!("{written} bytes are written"))?;
    let mut all = vec![b"the first".to_vec()];
    all.extend(records);
    expect_all(sent, &log, FIRST, &all)
}

/// What shrinks, what does not, what is empty, large, alone or among many; from every place.
fn as_they_were(open: OpenOn) -> Check {
    let rig = Rig::packing(open);
    let log = rig.log()?;
    let mut producer = producer(&log, Ack::Os)?;
    let mut noise = noise();
    let batches: Vec<Vec<Vec<u8>>> = vec![
        vec![Vec::new()],
        vec![b"alone".to_vec()],
        (0..200).map(|number| format!("cpu_usage value {number}").into_bytes()).collect(),
        vec![vec![0; 30_000], Vec::new(), b"after zeros".to_vec()],
        (0..20).map(|_| noise(500)).collect(),
        vec![noise(20_000), vec![1; 20_000]],
        vec![Vec::new(); 100],
    ];
    let sent = "batches of records that are alike, of records like noise, empty and large ones";
    for records in &batches {
        let mut last = None;
        for record in records {
            last = Some(submit(&mut *producer, FIRST, record)?);
        }
        if let Some(last) = last {
            super::rig::settle(&mut *producer, last, sent)?;
        }
    }
    let flat = batches.concat();
    expect_all(sent, &log, FIRST, &flat)?;
    for (at, record) in flat.iter().enumerate() {
        let found = fetch(&log, FIRST, at as u64, 1).must(sent)?;
        let one = format!("record {at} of these, fetched by itself");
        ensure(found == [(at as u64, record.clone())], &one, "as it was sent", "something else")?;
    }
    let after = rig.after(&rig.disk.seen()).log()?;
    let found: Vec<Vec<u8>> = all(&after, FIRST)?.into_iter().map(|(_, payload)| payload).collect();
    ensure(found == flat, sent, "after a kill they are as they were sent", "they are not")
}

/// Bytes in which nothing comes again, the same each time.
fn noise() -> impl FnMut(usize) -> Vec<u8> {
    let mut state = 9_u32;
    move |length| {
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        (0..length).map(next).collect()
    }
}
