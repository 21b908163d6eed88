//! Batches that are sent again: known again, and not appended twice.

use super::{
    Open,
    talk::{FIRST, all, bounds, fetch, partitions, settle, submit},
    told::same_records,
};
use crate::claim::{Check, Claim, Explain, ensure, equal, refused};
use contracts::{
    limits::IDENTIFIED_BATCHES_KEPT,
    queue::{Ack, Identity, Log, LogError, Offset, Partition, Placed, Ticket},
};
use std::thread;

pub(super) const CLAIMS: &[Claim<Open>] = &[
    Claim {
        says: "a batch that is sent again is not appended again, and lies where it lay",
        check: sent_again,
    },
    Claim { says: "a batch that is sent again by the same producer settles", check: settles_again },
    Claim {
        says: "the last batches of a producer are known again, and no older one is ever appended again",
        check: last_are_known,
    },
    Claim {
        says: "a batch behind one that is missing is refused, and nothing of it is taken",
        check: gap_is_refused,
    },
    Claim { says: "each producer counts by itself", check: producers_apart },
    Claim { says: "a producer counts in each partition by itself", check: partitions_apart },
    Claim { says: "a producer that the log does not know may begin anywhere", check: begins_anywhere },
    Claim { says: "after the largest number comes 0", check: wraps },
    Claim { says: "a batch that is sent twice at once is appended once", check: twice_at_once },
    Claim { says: "a batch lies together, whoever else appends", check: lies_together },
    Claim { says: "only what is flushed next bears the number", check: next_flush_only },
];

/// A producer of its own for each batch, as after a connection that broke.
fn send(
    log: &dyn Log,
    to: Partition,
    producer: u64,
    sequence: u32,
    payloads: &[Vec<u8>],
) -> Result<Vec<u64>, LogError> {
    let mut own = log.producer(Ack::Memory)?;
    own.identify(Identity { producer, sequence })?;
    let mut last = Ticket(0);
    for payload in payloads {
        last = own.submit(contracts::queue::NewRecord { partition: to, payload })?;
    }
    own.flush()?;
    own.wait(last, crate::claim::PATIENCE)?;
    let mut placed = Vec::new();
    own.placed(&mut placed);
    Ok(placed.iter().map(|place: &Placed| place.offset.0).collect())
}

/// Two records that no other batch has.
fn records_of(producer: u64, sequence: u32) -> Vec<Vec<u8>> {
    (0..2).map(|part| format!("{producer}/{sequence}/{part}").into_bytes()).collect()
}

/// The same, which must lie at these offsets.
fn lies_at(log: &dyn Log, to: Partition, producer: u64, sequence: u32, expected: &[u64]) -> Check {
    let what = format!("batch {sequence} of producer {producer} in partition {}", to.0);
    let got = send(log, to, producer, sequence, &records_of(producer, sequence)).explain(&what)?;
    equal(&format!("{what}, its offsets"), &*got, expected)
}

/// The partition must hold these batches, in this order.
fn holds(log: &dyn Log, what: &str, partition: Partition, batches: &[(u64, u32)]) -> Check {
    let records = batches.iter().flat_map(|(producer, sequence)| records_of(*producer, *sequence));
    let expected: Vec<_> = (0..).zip(records).collect();
    same_records(&format!("{what}; a fetch from 0"), &fetch(log, partition, 0, all())?, &expected)
}

fn out_of_sequence(
    what: &str,
    result: &Result<Vec<u64>, LogError>,
    producer: u64,
    expected: u32,
    asked: u32,
) -> Check {
    let error = LogError::OutOfSequence { producer, partition: FIRST, expected, asked };
    refused(what, result, &format!("{error:?}"), |e| *e == error)
}

fn sent_again(open: &Open) -> Check {
    let log = open();
    lies_at(&*log, FIRST, 9, 0, &[0, 1])?;
    lies_at(&*log, FIRST, 9, 0, &[0, 1])?;
    lies_at(&*log, FIRST, 9, 1, &[2, 3])?;
    lies_at(&*log, FIRST, 9, 0, &[0, 1])?;
    holds(&*log, "batch 0 sent three times, batch 1 once", FIRST, &[(9, 0), (9, 1)])
}

fn settles_again(open: &Open) -> Check {
    let log = open();
    let mut producer = log.producer(log.ack_max()).explain("producer")?;
    let mut placed = Vec::new();
    for round in 1..=2 {
        producer.identify(Identity { producer: 5, sequence: 3 }).explain("identify")?;
        let mut last = Ticket(0);
        for payload in records_of(5, 3) {
            last = submit(&mut *producer, FIRST, &payload)?;
        }
        equal("a batch of two sent twice, the ticket of its last record", &last, &Ticket(2 * round))?;
        settle(&mut *producer, last)?;
        producer.placed(&mut placed);
    }
    let places: Vec<_> = placed.iter().map(|place| (place.ticket.0, place.offset.0)).collect();
    let expected = vec![(1, 0), (2, 1), (3, 0), (4, 1)];
    equal("a batch of two sent twice by the same producer, tickets and offsets", &places, &expected)?;
    holds(&*log, "a batch sent twice by the same producer", FIRST, &[(5, 3)])
}

fn last_are_known(open: &Open) -> Check {
    let log = open();
    let kept = u32::try_from(IDENTIFIED_BATCHES_KEPT).explain("a count")?;
    let sent = 3 * kept;
    let offsets = |sequence: u32| [u64::from(2 * sequence), u64::from(2 * sequence + 1)];
    for sequence in 0..sent {
        lies_at(&*log, FIRST, 9, sequence, &offsets(sequence))?;
    }
    for sequence in sent - kept..sent {
        lies_at(&*log, FIRST, 9, sequence, &offsets(sequence))?;
    }
    // What is older may be known as well, or not.
    let what = format!("batch 0 sent again after batch {}", sent - 1);
    match send(&*log, FIRST, 9, 0, &records_of(9, 0)) {
        Ok(got) => equal(&what, &*got, &offsets(0)[..])?,
        result @ Err(_) => out_of_sequence(&what, &result, 9, sent, 0)?,
    }
    let expected: Vec<_> = (0..sent).map(|sequence| (9, sequence)).collect();
    holds(&*log, "batches in order, the last and the first of them sent again", FIRST, &expected)
}

fn gap_is_refused(open: &Open) -> Check {
    let log = open();
    lies_at(&*log, FIRST, 9, 0, &[0, 1])?;
    for asked in [2, 3, 1000] {
        let result = send(&*log, FIRST, 9, asked, &records_of(9, asked));
        out_of_sequence(&format!("batch {asked} behind batch 0"), &result, 9, 1, asked)?;
    }
    equal("bounds after batches that were refused", &bounds(&*log, FIRST)?.end, &Offset(2))?;
    lies_at(&*log, FIRST, 9, 1, &[2, 3])?;
    lies_at(&*log, FIRST, 9, 2, &[4, 5])?;
    holds(
        &*log,
        "batches 0, 1 and 2, of which the last came too early once",
        FIRST,
        &[(9, 0), (9, 1), (9, 2)],
    )
}

fn producers_apart(open: &Open) -> Check {
    let log = open();
    lies_at(&*log, FIRST, 1, 0, &[0, 1])?;
    lies_at(&*log, FIRST, 2, 0, &[2, 3])?;
    lies_at(&*log, FIRST, u64::MAX, 0, &[4, 5])?;
    lies_at(&*log, FIRST, 1, 1, &[6, 7])?;
    lies_at(&*log, FIRST, 2, 0, &[2, 3])?;
    holds(&*log, "three producers' batches", FIRST, &[(1, 0), (2, 0), (u64::MAX, 0), (1, 1)])
}

fn partitions_apart(open: &Open) -> Check {
    let log = open();
    for partition in partitions(&*log) {
        lies_at(&*log, partition, 9, 0, &[0, 1])?;
    }
    for partition in partitions(&*log) {
        lies_at(&*log, partition, 9, 0, &[0, 1])?;
        lies_at(&*log, partition, 9, 1, &[2, 3])?;
        holds(&*log, "batches 0 and 1 in every partition", partition, &[(9, 0), (9, 1)])?;
    }
    Ok(())
}

fn begins_anywhere(open: &Open) -> Check {
    let log = open();
    lies_at(&*log, FIRST, 9, 4_000_000, &[0, 1])?;
    lies_at(&*log, FIRST, 9, 4_000_001, &[2, 3])?;
    lies_at(&*log, FIRST, 9, 4_000_000, &[0, 1])?;
    let result = send(&*log, FIRST, 9, 3_999_999, &records_of(9, 3_999_999));
    out_of_sequence("a batch before the first that the log has seen", &result, 9, 4_000_002, 3_999_999)
}

fn wraps(open: &Open) -> Check {
    let log = open();
    lies_at(&*log, FIRST, 9, u32::MAX - 1, &[0, 1])?;
    lies_at(&*log, FIRST, 9, u32::MAX, &[2, 3])?;
    lies_at(&*log, FIRST, 9, 0, &[4, 5])?;
    lies_at(&*log, FIRST, 9, 1, &[6, 7])?;
    lies_at(&*log, FIRST, 9, u32::MAX, &[2, 3])?;
    let result = send(&*log, FIRST, 9, 3, &records_of(9, 3));
    out_of_sequence("batch 3 behind batch 1, which is behind the largest number", &result, 9, 2, 3)
}

fn twice_at_once(open: &Open) -> Check {
    const SENDERS: usize = 4;
    const ROUNDS: u32 = 20;
    let log = open();
    for sequence in 0..ROUNDS {
        let senders: Vec<_> = (0..SENDERS)
            .map(|_| {
                let log = log.clone();
                thread::spawn(move || send(&*log, FIRST, 9, sequence, &records_of(9, sequence)))
            })
            .collect();
        for sender in senders {
            let sent = sender.join().map_err(|_| "a producer panicked".to_owned())?;
            let what = format!("batch {sequence}, sent {SENDERS} times at once");
            let expected = [2 * u64::from(sequence), 2 * u64::from(sequence) + 1];
            equal(&format!("{what}, its offsets"), &*sent.explain(&what)?, &expected[..])?;
        }
    }
    let expected: Vec<_> = (0..ROUNDS).map(|sequence| (9, sequence)).collect();
    holds(&*log, "each batch sent several times at once", FIRST, &expected)
}

fn lies_together(open: &Open) -> Check {
    let log = open();
    let mut one = log.producer(Ack::Memory).explain("producer")?;
    let mut other = log.producer(Ack::Memory).explain("another producer")?;
    for sequence in 0..5 {
        one.identify(Identity { producer: 1, sequence }).explain("identify")?;
        other.identify(Identity { producer: 2, sequence }).explain("identify")?;
        let mut last = [Ticket(0); 2];
        for (of_one, of_other) in records_of(1, sequence).iter().zip(&records_of(2, sequence)) {
            last = [submit(&mut *one, FIRST, of_one)?, submit(&mut *other, FIRST, of_other)?];
        }
        settle(&mut *other, last[1])?;
        settle(&mut *one, last[0])?;
    }
    let expected: Vec<_> = (0..5).flat_map(|sequence| [(2, sequence), (1, sequence)]).collect();
    holds(&*log, "two producers submit in turn and flush one after the other", FIRST, &expected)
}

fn next_flush_only(open: &Open) -> Check {
    let log = open();
    let mut producer = log.producer(Ack::Memory).explain("producer")?;
    producer.identify(Identity { producer: 9, sequence: 0 }).explain("identify")?;
    for round in 0..3 {
        let last = submit(&mut *producer, FIRST, b"the same")?;
        settle(&mut *producer, last)?;
        let end = bounds(&*log, FIRST)?.end;
        equal("a number, and the same record flushed several times; the end", &end, &Offset(round + 1))?;
    }
    lies_at(&*log, FIRST, 9, 1, &[3, 4])?;
    let found = fetch(&*log, FIRST, 0, all())?.len();
    ensure(found == 5, || format!("three plain records and a batch of two: expected 5; got {found}"))
}
