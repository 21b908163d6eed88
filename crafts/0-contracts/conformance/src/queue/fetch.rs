//! What a fetch gives, how much of it, and when.

use super::{
    Open,
    talk::{FIRST, all, append, bounds, fetch, numbered, offsets_of, out_of_range, owned},
    told::{records, same_offsets, same_records},
};
use crate::claim::{Check, Claim, Explain, PATIENCE, ensure, equal, refused};
use contracts::{
    limits::FETCH_RECORDS_MAX,
    queue::{Ack, Bounds, FetchLimit, LogError, Offset, Records},
};
use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

pub(super) const CLAIMS: &[Claim<Open>] = &[
    Claim { says: "a fetch may begin anywhere in the log", check: fetch_from_anywhere },
    Claim { says: "a fetch returns no more records than asked for", check: fetch_records_max },
    Claim {
        says: "a fetch returns no more bytes than asked for, but a first record always",
        check: fetch_bytes_max,
    },
    Claim { says: "a fetch is bounded, whatever is asked for", check: fetch_is_bounded },
    Claim { says: "a fetch replaces what its buffer held", check: fetch_replaces },
    Claim { says: "a fetch at the end gives nothing", check: fetch_at_end },
    Claim { says: "a fetch beyond the end is refused with the true bounds", check: fetch_beyond_end },
    Claim { says: "a waiting fetch returns when a record comes", check: fetch_wakes },
    Claim { says: "all who wait for a record return when it comes", check: fetch_wakes_all },
    Claim { says: "a waiting fetch gives up after its time", check: fetch_gives_up },
    Claim {
        says: "below the start a fetch is refused with the true bounds, never answered wrongly",
        check: below_start,
    },
];

fn fetch_from_anywhere(open: &Open) -> Check {
    let log = open();
    let payloads = numbered("record", 50);
    append(&*log, Ack::Memory, FIRST, &payloads)?;
    for from in [0, 1, 25, 49] {
        let at = usize::try_from(from).explain("an offset")?;
        let expected: Vec<_> = (from..).zip(payloads[at..].iter().cloned()).collect();
        let what = format!("a fetch from {from} where the log holds 0..50");
        same_records(&what, &fetch(&*log, FIRST, from, all())?, &expected)?;
    }
    Ok(())
}

fn fetch_records_max(open: &Open) -> Check {
    let log = open();
    append(&*log, Ack::Memory, FIRST, &numbered("record", 20))?;
    for records_max in [1, 7, 20] {
        let records = fetch(&*log, FIRST, 0, FetchLimit { records_max, ..all() })?;
        equal(
            &format!("a fetch of at most {records_max} of 20 records, how many"),
            &records.len(),
            &records_max,
        )?;
    }
    let records = fetch(&*log, FIRST, 15, FetchLimit { records_max: 7, ..all() })?;
    let expected: Vec<_> = (15..20).collect();
    same_offsets("a fetch from 15 of at most 7, where the log holds 0..20", &offsets_of(&records), &expected)
}

fn fetch_bytes_max(open: &Open) -> Check {
    let log = open();
    append(&*log, Ack::Memory, FIRST, &vec![vec![1; 100]; 10])?;
    for (bytes_max, expected) in [(100, 1), (199, 1), (200, 2), (1000, 10), (99, 1), (1, 1), (0, 1)] {
        let records = fetch(&*log, FIRST, 0, FetchLimit { bytes_max, ..all() })?;
        equal(
            &format!("a fetch of records of 100 bytes with bytes_max {bytes_max}, how many"),
            &records.len(),
            &expected,
        )?;
    }
    Ok(())
}

fn fetch_is_bounded(open: &Open) -> Check {
    let log = open();
    append(&*log, Ack::Memory, FIRST, &numbered("", FETCH_RECORDS_MAX + 1))?;
    let limit = FetchLimit { records_max: usize::MAX, bytes_max: usize::MAX, wait: Duration::ZERO };
    let got = fetch(&*log, FIRST, 0, limit)?.len();
    ensure((1..=FETCH_RECORDS_MAX).contains(&got), || {
        format!("a fetch without limits: expected 1 to {FETCH_RECORDS_MAX} records; got {got}")
    })
}

fn fetch_replaces(open: &Open) -> Check {
    let log = open();
    append(&*log, Ack::Memory, FIRST, &[b"one".to_vec()])?;
    let mut records = Records::new();
    records.push(Offset(77), b"stale");
    log.fetch(FIRST, Offset(0), all(), &mut records).explain("fetch")?;
    let expected = [(0, b"one".to_vec())];
    same_records("a fetch from 0 into a buffer that holds another record", &owned(&records), &expected)?;
    log.fetch(FIRST, Offset(1), all(), &mut records).explain("fetch at the end")?;
    same_records("a fetch at the end into a buffer that holds a record", &owned(&records), &[])
}

fn fetch_at_end(open: &Open) -> Check {
    let log = open();
    append(&*log, Ack::Memory, FIRST, &numbered("record", 3))?;
    same_records("a fetch from 3 where the log holds 0..3", &fetch(&*log, FIRST, 3, all())?, &[])
}

fn fetch_beyond_end(open: &Open) -> Check {
    let log = open();
    append(&*log, Ack::Memory, FIRST, &numbered("record", 3))?;
    for asked in [4, 5, u64::MAX] {
        let expected = out_of_range(asked, 0, 3);
        // With time to wait: it must not wait for what lies beyond the next record.
        let limit = FetchLimit { wait: Duration::from_millis(50), ..all() };
        let result = log.fetch(FIRST, Offset(asked), limit, &mut Records::new());
        refused(
            &format!("a fetch from {asked} where the log holds 0..3"),
            &result,
            &format!("{expected:?}"),
            |e| *e == expected,
        )?;
    }
    Ok(())
}

fn fetch_wakes(open: &Open) -> Check {
    let log = open();
    let reader = {
        let log = log.clone();
        thread::spawn(move || {
            let began = Instant::now();
            let records = fetch(&*log, FIRST, 0, FetchLimit { wait: PATIENCE * 2, ..all() })?;
            Ok::<_, String>((records, began.elapsed()))
        })
    };
    // So that the reader most likely waits already. If not, the claim holds all the same.
    thread::sleep(Duration::from_millis(50));
    append(&*log, Ack::Memory, FIRST, &[b"news".to_vec()])?;
    let (records, took) = reader.join().map_err(|_| "the waiting fetch panicked".to_owned())??;
    const WHAT: &str = "a fetch that waits at the end, and a record that comes";
    same_records(WHAT, &records, &[(0, b"news".to_vec())])?;
    ensure(took < PATIENCE, || format!("{WHAT}: expected the record at once; got it after {took:.0?}"))
}

fn fetch_wakes_all(open: &Open) -> Check {
    const READERS: usize = 3;
    const ROUNDS: u64 = 3;
    let log = open();
    for round in 0..ROUNDS {
        let what =
            format!("{READERS} readers, each in a fetch that waits at the end, and one record that comes");
        let (tell, told) = mpsc::channel();
        for _ in 0..READERS {
            let (log, tell) = (log.clone(), tell.clone());
            let limit = FetchLimit { wait: PATIENCE * 2, ..all() };
            // Who comes too late for this claim has nobody to tell.
            thread::spawn(move || tell.send(fetch(&*log, FIRST, round, limit)));
        }
        drop(tell);
        // So that all of them most likely wait. Who does not yet gets the record all the same; hence the rounds.
        thread::sleep(Duration::from_millis(100));
        append(&*log, Ack::Memory, FIRST, &[b"news".to_vec()])?;
        let deadline = Instant::now() + PATIENCE;
        for _ in 0..READERS {
            let left = deadline.saturating_duration_since(Instant::now());
            let records = told.recv_timeout(left).map_err(|_| {
                let seconds = PATIENCE.as_secs();
                format!(
                    "{what}: expected that all of them return; got one that still waits {seconds} s later"
                )
            })?;
            same_records(&what, &records?, &[(round, b"news".to_vec())])?;
        }
    }
    Ok(())
}

fn fetch_gives_up(open: &Open) -> Check {
    let log = open();
    let wait = Duration::from_millis(200);
    let began = Instant::now();
    let records = fetch(&*log, FIRST, 0, FetchLimit { wait, ..all() })?;
    let took = began.elapsed();
    let what = format!("a fetch from an empty log, with {wait:?} to wait");
    same_records(&what, &records, &[])?;
    ensure(took >= wait / 2, || {
        format!("{what}: expected an answer after that time; got it after {took:?}")
    })?;
    ensure(took < PATIENCE, || format!("{what}: expected an answer after that time; got it after {took:?}"))
}

fn below_start(open: &Open) -> Check {
    let log = open();
    let membership = log.subscribe("group", "member").explain("subscribe")?;
    let mut payloads = numbered("record", 1000);
    append(&*log, Ack::Memory, FIRST, &payloads)?;
    log.commit(&membership, FIRST, Offset(900)).explain("commit")?;
    payloads.push(b"more".to_vec());
    append(&*log, Ack::Memory, FIRST, &payloads[1000..])?;
    let are_true = |b: Bounds| {
        ensure(b.start.0 <= 900 && b.end.0 == 1001, || {
            format!(
                "bounds after a commit at 900 of 1001: expected a start up to 900, and 1001 as the end; got {b:?}"
            )
        })
    };
    let holds = bounds(&*log, FIRST)?;
    are_true(holds)?;
    let what = format!("a fetch from 0 where the log holds {}..{}", holds.start.0, holds.end.0);
    let wanted = "OffsetOutOfRange with these bounds, or record 0";
    let mut found = Records::new();
    match log.fetch(FIRST, Offset(0), all(), &mut found) {
        Ok(()) => {
            let found = owned(&found);
            let is_first =
                found.first().is_some_and(|(offset, payload)| (*offset, payload) == (0, &payloads[0]));
            ensure(is_first, || format!("{what}: expected {wanted}; got {}", records(&found)))
        }
        Err(LogError::OffsetOutOfRange { asked: Offset(0), bounds }) if bounds.start.0 > 0 => {
            are_true(bounds)
        }
        Err(e) => Err(format!("{what}: expected {wanted}; got the error {e:?}")),
    }?;
    let expected: Vec<_> = (900..).zip(payloads[900..].iter().cloned()).collect();
    let what = "a fetch from 900, which nobody has committed";
    same_records(what, &fetch(&*log, FIRST, 900, all())?, &expected)
}
