//! What goes in comes out.

use super::{
    Open,
    talk::{
        FIRST, all, append, bounds, fetch, levels, numbered, offsets_of, partitions, read_all, settle, submit,
    },
    told::{same_offsets, same_records},
};
use crate::claim::{Check, Claim, Explain, PATIENCE, ensure, equal, refused, seed, with_seed};
use contracts::{
    limits::RECORD_BYTES_MAX,
    queue::{Ack, Bounds, FetchLimit, Log, LogError, NewRecord, Offset, Partition, Records, Ticket},
};
use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

pub(super) const CLAIMS: &[Claim<Open>] = &[
    Claim { says: "a fresh log has a partition or more, each empty from offset 0", check: fresh_is_empty },
    Claim { says: "what was appended is fetched in order, at consecutive offsets from 0", check: in_order },
    Claim { says: "a partition holds its own records and no other's", check: partitions_are_apart },
    Claim { says: "a record may be empty, and may hold any bytes", check: any_bytes },
    Claim { says: "a record up to the limit is never too large", check: largest_record },
    Claim { says: "a record over the limit is refused, and nothing of it is taken", check: record_too_large },
    Claim {
        says: "several producers lose and duplicate nothing and keep their order",
        check: many_producers,
    },
    Claim { says: "a reader beside a writer sees no gap and no change", check: reader_beside_writer },
    Claim { says: "a partition that does not exist is refused everywhere", check: no_such_partition },
];

fn fresh_is_empty(open: &Open) -> Check {
    let log = open();
    ensure(log.partitions() > 0, || "expected a partition or more, got none".to_owned())?;
    for partition in partitions(&*log) {
        equal("bounds of a partition of a fresh log", &bounds(&*log, partition)?, &Bounds::default())?;
        same_records("a fetch from 0 of a fresh log", &fetch(&*log, partition, 0, all())?, &[])?;
    }
    Ok(())
}

fn in_order(open: &Open) -> Check {
    for ack in levels(&*open()) {
        let log = open();
        let payloads = numbered("record", 300);
        let offsets = append(&*log, ack, FIRST, &payloads)?;
        let what = |then: &str| format!("300 records appended at ack {}, then {then}", ack.as_str());
        same_offsets(&what("the producer's placed"), &offsets, &(0..300).collect::<Vec<_>>())?;
        let expected: Vec<_> = (0..).zip(payloads).collect();
        same_records(&what("fetched from 0"), &read_all(&*log, FIRST)?, &expected)?;
        equal(&what("bounds"), &bounds(&*log, FIRST)?, &Bounds { start: Offset(0), end: Offset(300) })?;
    }
    Ok(())
}

fn partitions_are_apart(open: &Open) -> Check {
    let log = open();
    let mut producer = log.producer(Ack::Memory).explain("producer")?;
    let mut last = Ticket(0);
    for round in 0..10 {
        for partition in partitions(&*log) {
            last = submit(&mut *producer, partition, format!("{}/{round}", partition.0).as_bytes())?;
        }
    }
    settle(&mut *producer, last)?;
    for partition in partitions(&*log) {
        let expected: Vec<_> = (0..10).map(|r| (r, format!("{}/{r}", partition.0).into_bytes())).collect();
        let what =
            format!("10 records appended to each partition in turns, then partition {} fetched", partition.0);
        same_records(&what, &read_all(&*log, partition)?, &expected)?;
    }
    Ok(())
}

fn any_bytes(open: &Open) -> Check {
    let log = open();
    let payloads = vec![Vec::new(), (0..=255).collect(), vec![0; 10_000], Vec::new(), b"\r\n\r\n".to_vec()];
    append(&*log, Ack::Memory, FIRST, &payloads)?;
    let expected: Vec<_> = (0..).zip(payloads).collect();
    same_records(
        "empty and binary records appended, then fetched from 0",
        &read_all(&*log, FIRST)?,
        &expected,
    )
}

fn largest_record(open: &Open) -> Check {
    let log = open();
    let mut producer = log.producer(Ack::Memory).explain("producer")?;
    let payload = vec![7; RECORD_BYTES_MAX];
    let last = match producer.submit(NewRecord { partition: FIRST, payload: &payload }) {
        // A log that holds less than this in all may say so by back-pressure.
        Err(LogError::Full) => return Ok(()),
        result => result.explain("submitting a record of RECORD_BYTES_MAX")?,
    };
    settle(&mut *producer, last)?;
    let records = fetch(&*log, FIRST, 0, FetchLimit { bytes_max: 1, ..all() })?;
    same_records("a record of RECORD_BYTES_MAX appended, then a fetch from 0", &records, &[(0, payload)])
}

fn record_too_large(open: &Open) -> Check {
    let log = open();
    let mut producer = log.producer(Ack::Memory).explain("producer")?;
    let payload = vec![0; RECORD_BYTES_MAX + 1];
    let result = producer.submit(NewRecord { partition: FIRST, payload: &payload });
    refused("submit of a record of RECORD_BYTES_MAX + 1", &result, "RecordTooLarge with its size", |e| {
        matches!(e, LogError::RecordTooLarge { bytes, bytes_max }
            if *bytes == payload.len() && *bytes_max <= RECORD_BYTES_MAX)
    })?;
    let last = submit(&mut *producer, FIRST, b"after")?;
    settle(&mut *producer, last)?;
    let expected = [(0, b"after".to_vec())];
    same_records(
        "a record after one that was too large, then a fetch from 0",
        &read_all(&*log, FIRST)?,
        &expected,
    )
}

fn many_producers(open: &Open) -> Check {
    const PRODUCERS: usize = 4;
    const RECORDS_EACH: usize = 500;
    with_seed(seed(), |rng| {
        let log = open();
        let threads: Vec<_> = (0..PRODUCERS)
            .map(|who| {
                let (log, mut rng) = (log.clone(), rng.fork());
                thread::spawn(move || produce_at_random(&*log, &mut rng, who, RECORDS_EACH))
            })
            .collect();
        let mut claimed = BTreeMap::new();
        for thread in threads {
            claimed.append(&mut thread.join().map_err(|_| "a producer panicked".to_owned())??);
        }
        equal(
            "4 producers, 500 records each, at once: how many different places were told",
            &claimed.len(),
            &(PRODUCERS * RECORDS_EACH),
        )?;
        let mut found = BTreeMap::new();
        for partition in partitions(&*log) {
            let records = read_all(&*log, partition)?;
            let expected: Vec<_> = (0..records.len() as u64).collect();
            same_offsets("4 producers at once, then a fetch from 0", &offsets_of(&records), &expected)?;
            for who in 0..PRODUCERS {
                let mark = format!("{who}:");
                let mine: Vec<_> = records.iter().filter(|(_, p)| p.starts_with(mark.as_bytes())).collect();
                ensure(mine.is_sorted_by_key(|(_, payload)| payload), || {
                    format!(
                        "4 producers at once, then a fetch from 0: expected the records of each in the order of its \
                         submissions; got those of producer {who} in another one in partition {}",
                        partition.0
                    )
                })?;
            }
            found.extend(records.into_iter().map(|(offset, payload)| ((partition, offset), payload)));
        }
        ensure(found == claimed, || {
            format!(
                "4 producers at once, then a fetch from 0: expected each record where it was placed; got {} records, \
                 and not those that {} acknowledgements name",
                found.len(),
                claimed.len()
            )
        })
    })
}

fn reader_beside_writer(open: &Open) -> Check {
    const RECORDS: usize = 2000;
    let log = open();
    let writer = {
        let log = log.clone();
        thread::spawn(move || {
            let payloads = numbered("record", RECORDS);
            payloads.chunks(37).try_for_each(|some| append(&*log, Ack::Memory, FIRST, some).map(|_| ()))
        })
    };
    let mut seen = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while seen.len() < RECORDS && Instant::now() < deadline {
        let limit = FetchLimit { wait: Duration::from_millis(20), ..all() };
        seen.append(&mut fetch(&*log, FIRST, seen.len() as u64, limit)?);
    }
    writer.join().map_err(|_| "the writer panicked".to_owned())??;
    let expected: Vec<_> = (0..).zip(numbered("record", RECORDS)).collect();
    same_records("fetches from one record to the next, while a writer appends", &seen, &expected)
}

fn no_such_partition(open: &Open) -> Check {
    let log = open();
    let membership = log.subscribe("group", "member").explain("subscribe")?;
    for asked in [log.partitions(), u32::MAX].map(Partition) {
        let expected = LogError::NoSuchPartition { asked, partitions: log.partitions() };
        let check = |what: &str, result: Result<(), LogError>| {
            refused(&format!("{what} partition {}", asked.0), &result, &format!("{expected:?}"), |e| {
                *e == expected
            })
        };
        check("bounds of", log.bounds(asked).map(|_| ()))?;
        check("fetch from", log.fetch(asked, Offset(0), all(), &mut Records::new()))?;
        check("commit in", log.commit(&membership, asked, Offset(0)))?;
        check("committed in", log.committed("group", asked).map(|_| ()))?;
        let mut producer = log.producer(Ack::Memory).explain("producer")?;
        check("submit to", producer.submit(NewRecord { partition: asked, payload: b"x" }).map(|_| ()))?;
    }
    Ok(())
}

/// Appends numbered records to partitions at random; returns which record lies at which place.
fn produce_at_random(
    log: &dyn Log,
    rng: &mut fastrand::Rng,
    who: usize,
    records: usize,
) -> Result<BTreeMap<(Partition, u64), Vec<u8>>, String> {
    let mut producer = log.producer(Ack::Memory).explain("producer")?;
    let (mut payloads, mut last) = (Vec::new(), Ticket(0));
    for i in 0..records {
        let payload = format!("{who}:{i:06}").into_bytes();
        last = submit(&mut *producer, Partition(rng.u32(..log.partitions())), &payload)?;
        payloads.push(payload);
        if rng.u8(..) < 30 {
            producer.flush().explain("flush")?;
        }
    }
    settle(&mut *producer, last)?;
    let mut placed = Vec::new();
    producer.placed(&mut placed);
    equal("placed after a flush and a wait, how many", &placed.len(), &records)?;
    Ok(placed.iter().zip(payloads).map(|(p, payload)| ((p.partition, p.offset.0), payload)).collect())
}
