//! What a crash leaves: the process is killed, at any moment and within any write; the power is cut; bits flip; the disk is
//! full, or gone.

use super::{
    LogTest,
    disk::Killed,
    rig::{
        FIRST, Rig, all, append, bounds, expect_all, expect_end, payload, payloads, producer, settle, submit,
        told,
    },
};
use crate::check::{Check, PATIENCE, Unmet, broken, doing, ensure, expect};
use contracts::queue::{Ack, Log, LogError, NewRecord, Partition, Ticket};
use queue::{OpenError, Recovery};
use queue_phases::OpenPhaseOn as OpenOn;
use std::sync::Arc;

pub(super) const TESTS: &[LogTest] = &[
    LogTest::since(1, "what-was-acknowledged-survives-a-kill", survives_kill),
    LogTest::since(1, "what-was-acknowledged-at-disk-survives-a-power-cut", survives_power_cut),
    LogTest::since(1, "a-log-that-is-closed-is-on-disk", closed_is_on_disk),
    LogTest::since(1, "offsets-go-on-after-a-restart", offsets_go_on),
    LogTest::since(1, "killed-at-any-moment-it-keeps-what-was-whole", killed_anywhere),
    LogTest::since(1, "a-sync-that-fails-acknowledges-nothing-and-ends-the-log", failed_sync),
    LogTest::since(1, "a-disk-without-room-is-back-pressure-and-loses-nothing", no_room),
    LogTest::since(2, "an-answer-at-os-costs-no-sync", os_costs_no_sync),
    LogTest::since(2, "what-was-cut-off-is-told", cut_is_told),
    LogTest::since(2, "a-flipped-bit-is-never-handed-out", flipped_bits),
];

fn survives_kill(open: OpenOn) -> Check {
    const PARTITIONS: [Partition; 2] = [Partition(0), Partition(1)];
    let rig = Rig::with_partitions(open, 2);
    let log = rig.log()?;
    let mut producer = producer(&log, Ack::Os)?;
    let sent = "20 records at ack os to two partitions in turns, and the process is killed";
    for number in 0..20 {
        append(&mut *producer, PARTITIONS[number % 2], &payload(number))?;
    }
    let after = rig.after(&rig.disk.seen()).log()?;
    for (first, partition) in PARTITIONS.into_iter().enumerate() {
        let mine: Vec<_> = (first..20).step_by(2).map(payload).collect();
        expect_all(sent, &after, partition, &mine)?;
    }
    Ok(())
}

fn survives_power_cut(open: OpenOn) -> Check {
    let rig = Rig::new(open);
    let log = rig.log()?;
    let mut producer = producer(&log, Ack::Disk)?;
    let numbers = payloads(12);
    for (number, payload) in numbers.iter().enumerate() {
        append(&mut *producer, FIRST, payload)?;
        let sent = format!("records at ack disk, one by one; after number {} the power is cut", number + 1);
        let after = rig.after(&rig.disk.durable()).log()?;
        expect_all(&sent, &after, FIRST, &numbers[..=number])?;
    }
    Ok(())
}

fn os_costs_no_sync(open: OpenOn) -> Check {
    let rig = Rig::new(open);
    let log = rig.log()?;
    let mut producer = producer(&log, Ack::Os)?;
    append(&mut *producer, FIRST, &payload(0))?;
    let before = rig.disk.counts().syncs;
    for number in 1..11 {
        append(&mut *producer, FIRST, &payload(number))?;
    }
    let syncs = |count: u64| format!("{count} syncs");
    expect("10 records at ack os, each waited for", syncs(0), syncs(rig.disk.counts().syncs - before))
}

fn closed_is_on_disk(open: OpenOn) -> Check {
    let rig = Rig::new(open);
    let log = rig.log()?;
    let mut producer = producer(&log, Ack::Os)?;
    let numbers = payloads(5);
    for payload in &numbers {
        append(&mut *producer, FIRST, payload)?;
    }
    doing("the log is closed");
    drop(producer);
    drop(log);
    let after = rig.after(&rig.disk.durable()).log()?;
    expect_all("5 records at ack os, the log is closed, and then the power is cut", &after, FIRST, &numbers)
}

fn offsets_go_on(open: OpenOn) -> Check {
    let mut rig = Rig::new(open);
    let numbers = payloads(12);
    for round in 0..4_usize {
        let log = rig.log()?;
        let sent = format!("3 records and a restart, {round} times, and then 3 records");
        expect_end(&sent, &log, round as u64 * 3)?;
        let mut producer = producer(&log, Ack::Disk)?;
        for number in 0..3 {
            append(&mut *producer, FIRST, &payload(round * 3 + number))?;
        }
        expect_all(&sent, &log, FIRST, &numbers[..(round + 1) * 3])?;
        drop(producer);
        drop(log);
        rig = rig.after(&rig.disk.seen());
    }
    Ok(())
}

/// A log with these records; what the next one did to its disk.
fn one_more(open: OpenOn, first: &[Vec<u8>], last: &[u8]) -> Result<(Rig, Vec<Killed>), Unmet> {
    let rig = Rig::new(open);
    let log = rig.log()?;
    let mut producer = producer(&log, Ack::Os)?;
    for payload in first {
        append(&mut *producer, FIRST, payload)?;
    }
    rig.disk.record();
    append(&mut *producer, FIRST, last)?;
    let killed = rig.disk.recorded().killed();
    ensure(killed.len() > 1, "a record at ack os", "something is written", "nothing is")?;
    Ok((rig, killed))
}

/// Opens what is left: all records before are there, and the one that was under way is there whole or not at all; says
/// which.
fn open_killed(
    rig: &Rig,
    killed: &Killed,
    first: &[Vec<u8>],
    last: &[u8],
) -> Result<(bool, Recovery), Unmet> {
    let sent = format!("{} records and then one more, in which {}", first.len(), killed.told());
    doing(&sent);
    let rig = rig.after(&killed.files);
    let (log, found) = rig.open()?;
    let mut expected = first.to_vec();
    let has_last = bounds(&log, FIRST)?.end.0 > first.len() as u64;
    if has_last {
        expected.push(last.to_vec());
    }
    expect_all(&sent, &log, FIRST, &expected)?;
    ensure(has_last || !killed.is_done(), &sent, "a record that was written whole is there", "it is gone")?;
    // And it goes on from there, for good.
    let next = b"the next record".to_vec();
    let mut producer = producer(&log, Ack::Disk)?;
    append(&mut *producer, FIRST, &next)?;
    expected.push(next);
    drop(producer);
    drop(log);
    let (again, told) = rig.after(&rig.disk.seen()).open()?;
    let sent = format!("{sent}; then a record, and a restart");
    expect_all(&sent, &again, FIRST, &expected)?;
    ensure(told.cut.is_none(), &sent, "nothing more is cut off", "the report tells a cut again")?;
    Ok((has_last, found))
}

fn killed_anywhere(open: OpenOn) -> Check {
    let (first, last) = (payloads(4), payload(7));
    let (rig, killed) = one_more(open, &first, &last)?;
    killed.iter().try_for_each(|killed| open_killed(&rig, killed, &first, &last).map(drop))
}

fn cut_is_told(open: OpenOn) -> Check {
    let (first, last) = (payloads(4), payload(7));
    let (rig, killed) = one_more(open, &first, &last)?;
    for killed in &killed {
        let (has_last, found) = open_killed(&rig, killed, &first, &last)?;
        let sent = format!("4 records and then one more, in which {}", killed.told());
        let ends = |ends: &[u64]| format!("the report says that the partitions end at {ends:?}");
        expect(&sent, ends(&[4 + u64::from(has_last)]), ends(&found.ends))?;
        let is_torn = killed.calls + 1 == killed.of_calls && killed.arrived > 0 && !has_last;
        match &found.cut {
            None => ensure(!is_torn, &sent, "the report says what was cut off", "it says nothing of it")?,
            Some(cut) => {
                ensure(!has_last, &sent, "nothing is cut off, since all is there", "the report tells a cut")?;
                let name = cut.file.file_name().map(|name| name.to_string_lossy().into_owned());
                let right = name == killed.file && cut.at == killed.at as u64 && cut.bytes > 0;
                let expected = format!("a cut in the file that was written, from byte {} on", killed.at);
                ensure(
                    right,
                    &sent,
                    &expected,
                    format!("a cut of {} bytes, from byte {} on", cut.bytes, cut.at),
                )?;
            }
        }
    }
    Ok(())
}

/// In each byte that records were written to, one of its bits, another one in each.
fn flipped_bits(open: OpenOn) -> Check {
    let numbers = payloads(6);
    let rig = Rig::new(open);
    let log = rig.log()?;
    let mut producer = producer(&log, Ack::Disk)?;
    // Which records were there before a byte was written.
    let mut bytes: Vec<(String, usize, usize)> = Vec::new();
    let mut before = rig.disk.seen();
    for (number, payload) in numbers.iter().enumerate() {
        append(&mut *producer, FIRST, payload)?;
        let after = rig.disk.seen();
        for (name, content) in &after {
            let old = before.get(name).map_or(&[][..], Vec::as_slice);
            // Zeros that a file was filled with are no record's.
            let changed = (0..content.len()).filter(|at| old.get(*at).unwrap_or(&0) != &content[*at]);
            bytes.extend(changed.map(|at| (name.clone(), at, number)));
        }
        before = after;
    }
    ensure(!bytes.is_empty(), "6 records", "something is written", "nothing is")?;
    for (count, (name, at, number)) in bytes.iter().enumerate() {
        let mut files = before.clone();
        if let Some(byte) = files.get_mut(name).and_then(|bytes| bytes.get_mut(*at)) {
            *byte ^= 1 << (count % 8);
        }
        flipped(&rig.after(&files), *number, &numbers)?;
    }
    Ok(())
}

/// Whatever is handed out is as it was, and what was written before the flipped byte is there.
fn flipped(rig: &Rig, number: usize, numbers: &[Vec<u8>]) -> Check {
    let sent = format!("6 records at ack disk, and a bit flips in what was written for record {number}");
    doing(&sent);
    let log = match rig.try_open() {
        Ok(opened) => opened.log,
        // A log of one file cannot leave out what is damaged and go on behind it; it may say so.
        Err(OpenError::Damaged { .. }) => return Ok(()),
        Err(error) => return broken(&sent, "it opens, or says what is damaged", &error.to_string()),
    };
    let found = all(&(log as Arc<dyn Log>), FIRST)?;
    for (offset, payload) in &found {
        let right = usize::try_from(*offset).ok().and_then(|at| numbers.get(at));
        ensure(
            right == Some(payload),
            &sent,
            "no record that is not as it was submitted",
            format!("at offset {offset} {}", told(payload)),
        )?;
    }
    let before = found.iter().filter(|(offset, _)| *offset < number as u64).count();
    ensure(before == number, &sent, &format!("the {number} records before it"), format!("{before} of them"))
}

fn failed_sync(open: OpenOn) -> Check {
    let rig = Rig::new(open);
    let log = rig.log()?;
    let mut producer = producer(&log, Ack::Disk)?;
    append(&mut *producer, FIRST, &payload(0))?;
    let sent = "a record at ack disk, and the sync fails";
    doing(sent);
    rig.disk.fail_syncs(true);
    let ticket = submit(&mut *producer, FIRST, &payload(1))?;
    let answer = producer.flush().and_then(|()| producer.wait(ticket, PATIENCE));
    match answer {
        Err(LogError::Failed(_)) => {}
        Err(error) => return broken(sent, "the log failed", &error.to_string()),
        Ok(settled) if settled >= ticket => return broken(sent, "the log failed", "its ticket settles"),
        Ok(_) => return broken(sent, "the log failed", "no answer"),
    }
    rig.disk.fail_syncs(false);
    let sent = "another record, after a sync has failed once: nobody knows what the disk has kept";
    doing(sent);
    let again = another(&log);
    ensure(matches!(again, Err(LogError::Failed(_))), sent, "it is refused: the log failed", "it settles")?;
    let after = rig.after(&rig.disk.durable()).log()?;
    let first = all(&after, FIRST)?.into_iter().next();
    let is_there = first.is_some_and(|first| first == (0, payload(0)));
    ensure(is_there, "the log is opened anew", "what was acknowledged before is there", "it is gone")
}

fn another(log: &Arc<dyn Log>) -> Result<Ticket, LogError> {
    let mut producer = log.producer(Ack::Disk)?;
    let ticket = producer.submit(NewRecord { partition: FIRST, payload: b"another" })?;
    producer.flush()?;
    producer.wait(ticket, PATIENCE)
}

/// Goes on until it is refused, and then has room again.
fn no_room(open: OpenOn) -> Check {
    const RECORD_BYTES: usize = 2_000;
    let rig = Rig::new(open);
    let log = rig.log()?;
    let mut producer = producer(&log, Ack::Os)?;
    append(&mut *producer, FIRST, &payload(0))?;
    let sent = "records of 2000 bytes to a disk that has room for some tens of them";
    doing(sent);
    rig.disk.set_room(Some(40 * RECORD_BYTES));
    let mut taken = vec![payload(0)];
    let mut last = Ticket(0);
    let refused = loop {
        let payload = vec![u8::try_from(taken.len() % 251).unwrap_or_default(); RECORD_BYTES];
        match producer.submit(NewRecord { partition: FIRST, payload: &payload }) {
            Ok(ticket) => last = ticket,
            Err(error) => break error,
        }
        taken.push(payload);
        match producer.flush() {
            Ok(()) | Err(LogError::Full) => {}
            Err(error) => return broken(sent, "the log is full", &error.to_string()),
        }
        ensure(taken.len() < 100_000, sent, "it says that it is full", "it takes more and more")?;
    };
    expect(sent, LogError::Full, refused)?;
    rig.disk.set_room(None);
    settle(&mut *producer, last, "and then there is room")?;
    expect_all(sent, &log, FIRST, &taken)?;
    let after = rig.after(&rig.disk.seen()).log()?;
    expect_all("records to a disk that was full for a while, and a kill", &after, FIRST, &taken)
}
