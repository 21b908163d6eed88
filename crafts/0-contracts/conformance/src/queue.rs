//! The suite of the log: [`contracts::queue::Log`].
//!
//! Retention is the implementation's business: a log may drop records that every group has committed, so claims
//! that read back hold on to their records by not committing them.

mod told;

use self::told::{Owned, records, same_offsets, same_records};
use crate::claim::{
    Check, Claim, Explain, PATIENCE, Report, ensure, equal, eventually, refused, run, seed, with_seed,
};
use contracts::{
    limits::{FETCH_RECORDS_MAX, GROUPS_MAX, RECORD_BYTES_MAX},
    queue::{
        Ack, Bounds, FetchLimit, Log, LogError, Membership, NewRecord, Offset, Partition, Placed, Producer,
        Records, Ticket,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::{Wake, Waker},
    thread,
    time::{Duration, Instant},
};

/// Opens a fresh, empty log with at least one partition.
pub type Open = dyn Fn() -> Arc<dyn Log> + Send + Sync;

/// Holds the whole suite against an implementation.
pub fn check(open: impl Fn() -> Arc<dyn Log> + Send + Sync + 'static) -> Report {
    let open: Arc<Open> = Arc::new(open);
    run("queue", &open, CLAIMS)
}

/// What a log must do.
pub const CLAIMS: &[Claim<Open>] = &[
    Claim { says: "a fresh log has a partition or more, each empty from offset 0", check: fresh_is_empty },
    Claim { says: "what was appended is fetched in order, at consecutive offsets from 0", check: in_order },
    Claim { says: "a partition holds its own records and no other's", check: partitions_are_apart },
    Claim { says: "a record may be empty, and may hold any bytes", check: any_bytes },
    Claim { says: "a record up to the limit is never too large", check: largest_record },
    Claim { says: "a record over the limit is refused, and nothing of it is taken", check: record_too_large },
    Claim { says: "tickets count submissions from 1 and settle after a flush", check: tickets_settle },
    Claim {
        says: "settled never falls back and never passes what was submitted",
        check: settled_is_monotonic,
    },
    Claim {
        says: "placed tells where each submission lies, once, in the order of tickets",
        check: placed_once,
    },
    Claim { says: "a flush without submissions changes nothing", check: empty_flush },
    Claim { says: "waiting for what was never submitted ends after its time", check: wait_gives_up },
    Claim { says: "the waker is called, or the submission had settled before", check: waker_is_called },
    Claim { says: "every level up to ack_max is given, and a stronger one refused", check: ack_levels },
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
    Claim { says: "a partition that does not exist is refused everywhere", check: no_such_partition },
    Claim {
        says: "several producers lose and duplicate nothing and keep their order",
        check: many_producers,
    },
    Claim { says: "a reader beside a writer sees no gap and no change", check: reader_beside_writer },
    Claim { says: "a lone member reads every partition", check: lone_member },
    Claim {
        says: "a second member begins a new generation and fences the first",
        check: second_member_fences,
    },
    Claim { says: "a member that subscribes again fences its former self", check: same_member_again },
    Claim { says: "who never joined is fenced", check: stranger_is_fenced },
    Claim { says: "a fenced commit changes nothing", check: fenced_commit },
    Claim {
        says: "what a group committed is told, per partition, and nothing before",
        check: committed_is_told,
    },
    Claim { says: "a group may rewind", check: rewind },
    Claim { says: "a commit beyond the end is refused with the true bounds", check: commit_beyond_end },
    Claim { says: "a new member resumes where the group stands", check: commits_outlive_members },
    Claim { says: "groups do not disturb each other", check: groups_are_apart },
    Claim { says: "what one group has not committed stays, though another has", check: uncommitted_stays },
    Claim {
        says: "below the start a fetch is refused with the true bounds, never answered wrongly",
        check: below_start,
    },
    Claim { says: "bad names of groups and members are refused, the longest good one is not", check: names },
    Claim { says: "there is a bound on the number of groups", check: too_many_groups },
];

const FIRST: Partition = Partition(0);

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

fn tickets_settle(open: &Open) -> Check {
    for ack in levels(&*open()) {
        let log = open();
        let mut producer = log.producer(ack).explain("producer")?;
        equal("settled of a new producer", &producer.settled().explain("settled")?, &Ticket(0))?;
        for round in 0..5 {
            let tickets =
                (0..10).map(|_| submit(&mut *producer, FIRST, b"x")).collect::<Result<Vec<_>, _>>()?;
            let expected: Vec<_> = (1..=10).map(|i| Ticket(round * 10 + i)).collect();
            equal("ten submissions, one after the other", &tickets, &expected)?;
            let last = Ticket(round * 10 + 10);
            settle(&mut *producer, last).map_err(|why| format!("at ack {}, {why}", ack.as_str()))?;
            equal("settled after a flush and a wait", &producer.settled().explain("settled")?, &last)?;
        }
    }
    Ok(())
}

fn settled_is_monotonic(open: &Open) -> Check {
    let log = open();
    let mut producer = log.producer(log.ack_max()).explain("producer")?;
    let (mut before, mut submitted) = (Ticket(0), Ticket(0));
    for i in 0..200 {
        submitted = submit(&mut *producer, FIRST, b"x")?;
        if i % 7 == 0 {
            producer.flush().explain("flush")?;
        }
        let now = producer.settled().explain("settled")?;
        ensure(before <= now && now <= submitted, || {
            format!(
                "settled after each submit: expected a ticket from {before:?} to {submitted:?}, got {now:?}"
            )
        })?;
        before = now;
    }
    settle(&mut *producer, submitted)?;
    equal(
        "settled after 200 submissions, a flush and a wait",
        &producer.settled().explain("settled")?,
        &Ticket(200),
    )
}

fn placed_once(open: &Open) -> Check {
    let log = open();
    let mut producer = log.producer(Ack::Memory).explain("producer")?;
    let all: Vec<_> = partitions(&*log).collect();
    let mut expected = Vec::new();
    let mut next = vec![0; all.len()];
    let mut placed = Vec::new();
    for i in 0..100 {
        let at = i * i % all.len();
        let ticket = submit(&mut *producer, all[at], b"x")?;
        expected.push(Placed { ticket, partition: all[at], offset: Offset(next[at]) });
        next[at] += 1;
        if i % 10 == 0 {
            producer.flush().explain("flush")?;
            // Only ever adds: what was moved out before stays in front.
            producer.placed(&mut placed);
        }
    }
    settle(&mut *producer, Ticket(100))?;
    producer.placed(&mut placed);
    equal("placed of 100 submissions, asked every ten", &placed, &expected)?;
    placed.clear();
    producer.placed(&mut placed);
    equal("placed, asked again after all was told", &placed, &Vec::new())
}

fn empty_flush(open: &Open) -> Check {
    let log = open();
    let mut producer = log.producer(log.ack_max()).explain("producer")?;
    producer.flush().explain("a flush without submissions")?;
    producer.flush().explain("another one")?;
    equal("settled after two flushes of nothing", &producer.settled().explain("settled")?, &Ticket(0))?;
    equal("wait for ticket 0", &producer.wait(Ticket(0), PATIENCE).explain("wait")?, &Ticket(0))?;
    equal("bounds after two flushes of nothing", &bounds(&*log, FIRST)?, &Bounds::default())
}

fn wait_gives_up(open: &Open) -> Check {
    let log = open();
    let mut producer = log.producer(Ack::Memory).explain("producer")?;
    let last = submit(&mut *producer, FIRST, b"x")?;
    settle(&mut *producer, last)?;
    let began = Instant::now();
    let settled = producer.wait(Ticket(2), Duration::from_millis(100)).explain("wait")?;
    ensure(began.elapsed() < PATIENCE, || {
        format!("a wait of 100 ms for a ticket never given: expected about 100 ms; got {:?}", began.elapsed())
    })?;
    equal("a wait of 100 ms for ticket 2, when 1 is the last", &settled, &Ticket(1))
}

fn waker_is_called(open: &Open) -> Check {
    let log = open();
    let mut producer = log.producer(log.ack_max()).explain("producer")?;
    let calls = Arc::new(Calls::default());
    producer.set_waker(Waker::from(calls.clone()));
    for _ in 0..20 {
        let seen = calls.0.load(Ordering::Acquire);
        let ticket = submit(&mut *producer, FIRST, b"x")?;
        producer.flush().explain("flush")?;
        // As an event loop does it: look once, and look again only if woken.
        if producer.settled().explain("settled")? < ticket {
            eventually("the waker is called once a submission may have settled", || {
                Ok((calls.0.load(Ordering::Acquire) > seen).then_some(()))
            })?;
            eventually("settled has moved after the waker was called", || {
                Ok((producer.settled().explain("settled")? >= ticket).then_some(()))
            })?;
        }
    }
    Ok(())
}

/// Counts how often it was woken. Release pairs with the Acquire of who looks: settled moved before the call.
#[derive(Default)]
struct Calls(AtomicUsize);

impl Wake for Calls {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

fn ack_levels(open: &Open) -> Check {
    let log = open();
    let best = log.ack_max();
    for ack in [Ack::Memory, Ack::Os, Ack::Disk] {
        let result = log.producer(ack).map(|_| "a producer");
        if ack <= best {
            result.explain(&format!(
                "a producer at ack {}, when ack_max is {}",
                ack.as_str(),
                best.as_str()
            ))?;
        } else {
            let expected = LogError::AckTooStrong { asked: ack, best };
            refused("a producer above ack_max", &result, &format!("{expected:?}"), |e| *e == expected)?;
        }
    }
    Ok(())
}

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

fn lone_member(open: &Open) -> Check {
    let log = open();
    let membership = log.subscribe("group", "member").explain("subscribe")?;
    equal(
        "subscribe as \"member\" of \"group\", the names in the membership",
        &(&*membership.group, &*membership.member),
        &("group", "member"),
    )?;
    let mut given = membership.partitions.clone();
    given.sort_unstable();
    equal("subscribe as the only member, its partitions", &given, &partitions(&*log).collect())?;
    log.heartbeat(&membership).map(|_| ()).explain("heartbeat of a lone member")
}

fn second_member_fences(open: &Open) -> Check {
    let log = open();
    let first = log.subscribe("group", "first").explain("subscribe")?;
    let second = log.subscribe("group", "second").explain("subscribe")?;
    ensure(second.generation > first.generation, || {
        format!(
            "a second member subscribes, its generation: expected more than {}; got {}",
            first.generation, second.generation
        )
    })?;
    let given: BTreeSet<_> = second.partitions.iter().copied().collect();
    ensure(given.len() == second.partitions.len() && given.iter().all(|p| p.0 < log.partitions()), || {
        format!("a second member subscribes, its partitions: expected each once; got {:?}", second.partitions)
    })?;
    is_fenced(
        "a heartbeat of the first member after a second subscribed",
        &log.heartbeat(&first).map(|_| ()),
        &first,
        second.generation,
    )?;
    is_fenced(
        "a commit of the first member after a second subscribed",
        &log.commit(&first, FIRST, Offset(0)),
        &first,
        second.generation,
    )?;
    log.heartbeat(&second).explain("heartbeat of the second member")?;
    let again = log.subscribe("group", "first").explain("subscribing again")?;
    log.heartbeat(&again).map(|_| ()).explain("heartbeat after subscribing again")
}

fn same_member_again(open: &Open) -> Check {
    let log = open();
    let before = log.subscribe("group", "member").explain("subscribe")?;
    let after = log.subscribe("group", "member").explain("subscribing again")?;
    ensure(after.generation > before.generation, || {
        format!(
            "the same member subscribes again, its generation: expected more than {}; got {}",
            before.generation, after.generation
        )
    })?;
    let what = "a heartbeat with its old membership, after the same member subscribed again";
    is_fenced(what, &log.heartbeat(&before).map(|_| ()), &before, after.generation)?;
    log.heartbeat(&after).map(|_| ()).explain("heartbeat after subscribing again")
}

fn stranger_is_fenced(open: &Open) -> Check {
    let log = open();
    let stranger = |group: &str, generation| Membership {
        group: group.to_owned(),
        member: "stranger".to_owned(),
        generation,
        partitions: vec![FIRST],
    };
    for generation in [0, 1, u64::MAX] {
        let who = stranger("nobody", generation);
        let expected = |e: &LogError| matches!(e, LogError::Fenced { asked, .. } if *asked == generation);
        refused("a heartbeat in a group that nobody joined", &log.heartbeat(&who), "Fenced", expected)?;
        refused(
            "a commit in a group that nobody joined",
            &log.commit(&who, FIRST, Offset(0)),
            "Fenced",
            expected,
        )?;
    }
    let member = log.subscribe("group", "member").explain("subscribe")?;
    let who = stranger("group", member.generation);
    let fenced = |e: &LogError| matches!(e, LogError::Fenced { .. });
    refused("a heartbeat of a stranger who guessed the generation", &log.heartbeat(&who), "Fenced", fenced)?;
    refused(
        "a commit of a stranger who guessed the generation",
        &log.commit(&who, FIRST, Offset(0)),
        "Fenced",
        fenced,
    )?;
    log.heartbeat(&member).map(|_| ()).explain("heartbeat of the true member")
}

fn fenced_commit(open: &Open) -> Check {
    let log = open();
    append(&*log, Ack::Memory, FIRST, &numbered("record", 5))?;
    let first = log.subscribe("group", "first").explain("subscribe")?;
    log.commit(&first, FIRST, Offset(1)).explain("commit")?;
    let second = log.subscribe("group", "second").explain("subscribe")?;
    is_fenced(
        "a commit at 4 of the first member after a second subscribed",
        &log.commit(&first, FIRST, Offset(4)),
        &first,
        second.generation,
    )?;
    let what = "a commit at 1, then one at 4 that was fenced; committed";
    equal(what, &committed(&*log, "group", FIRST)?, &Some(1))
}

fn committed_is_told(open: &Open) -> Check {
    let log = open();
    for partition in partitions(&*log) {
        append(&*log, Ack::Memory, partition, &numbered("record", 5))?;
        equal("committed of a group that nobody joined", &committed(&*log, "group", partition)?, &None)?;
    }
    let membership = log.subscribe("group", "member").explain("subscribe")?;
    equal("committed of a group that has not committed yet", &committed(&*log, "group", FIRST)?, &None)?;
    for (next, partition) in (1..=5).cycle().zip(partitions(&*log)) {
        log.commit(&membership, partition, Offset(next)).explain("commit")?;
    }
    for (next, partition) in (1..=5).cycle().zip(partitions(&*log)) {
        let what = format!("a commit at {next} in partition {}, then committed", partition.0);
        equal(&what, &committed(&*log, "group", partition)?, &Some(next))?;
    }
    log.commit(&membership, FIRST, Offset(5)).explain("commit at the end")?;
    equal("a commit at 5, the end of the log, then committed", &committed(&*log, "group", FIRST)?, &Some(5))
}

fn rewind(open: &Open) -> Check {
    let log = open();
    append(&*log, Ack::Memory, FIRST, &numbered("record", 5))?;
    let membership = log.subscribe("group", "member").explain("subscribe")?;
    for next in [3, 1, 0, 2] {
        log.commit(&membership, FIRST, Offset(next)).explain(&format!("commit at {next}"))?;
        let what = format!("commits at 3, 1, 0 and 2 in turn; committed after that at {next}");
        equal(&what, &committed(&*log, "group", FIRST)?, &Some(next))?;
    }
    Ok(())
}

fn commit_beyond_end(open: &Open) -> Check {
    let log = open();
    append(&*log, Ack::Memory, FIRST, &numbered("record", 5))?;
    let membership = log.subscribe("group", "member").explain("subscribe")?;
    for asked in [6, u64::MAX] {
        let expected = out_of_range(asked, 0, 5);
        let result = log.commit(&membership, FIRST, Offset(asked));
        refused(
            &format!("a commit at {asked} where the log holds 0..5"),
            &result,
            &format!("{expected:?}"),
            |e| *e == expected,
        )?;
    }
    equal("committed after commits that were refused", &committed(&*log, "group", FIRST)?, &None)
}

fn commits_outlive_members(open: &Open) -> Check {
    let log = open();
    append(&*log, Ack::Memory, FIRST, &numbered("record", 5))?;
    let first = log.subscribe("group", "first").explain("subscribe")?;
    log.commit(&first, FIRST, Offset(2)).explain("commit")?;
    let second = log.subscribe("group", "second").explain("subscribe")?;
    let at = committed(&*log, "group", FIRST)?;
    equal("a commit at 2, a second member subscribes, then committed", &at, &Some(2))?;
    let what = "a fetch from 2, where the group stands, of a log that ends at 5";
    same_offsets(what, &offsets_of(&fetch(&*log, FIRST, 2, all())?), &[2, 3, 4])?;
    if second.partitions.contains(&FIRST) {
        log.commit(&second, FIRST, Offset(5)).explain("commit of the second member")?;
        equal(
            "a commit at 5 of the second member, then committed",
            &committed(&*log, "group", FIRST)?,
            &Some(5),
        )?;
    }
    Ok(())
}

fn groups_are_apart(open: &Open) -> Check {
    let log = open();
    append(&*log, Ack::Memory, FIRST, &numbered("record", 5))?;
    let one = log.subscribe("one", "member").explain("subscribe")?;
    let two = log.subscribe("two", "member").explain("subscribe")?;
    log.heartbeat(&one).explain("heartbeat after another group was joined")?;
    log.commit(&one, FIRST, Offset(4)).explain("commit")?;
    equal(
        "a commit at 4 of group \"one\", then committed of \"two\"",
        &committed(&*log, "two", FIRST)?,
        &None,
    )?;
    log.commit(&two, FIRST, Offset(1)).explain("commit")?;
    equal(
        "commits at 4 of \"one\" and at 1 of \"two\", then committed of \"one\"",
        &committed(&*log, "one", FIRST)?,
        &Some(4),
    )?;
    equal(
        "commits at 4 of \"one\" and at 1 of \"two\", then committed of \"two\"",
        &committed(&*log, "two", FIRST)?,
        &Some(1),
    )
}

fn uncommitted_stays(open: &Open) -> Check {
    let log = open();
    let slow = log.subscribe("slow", "member").explain("subscribe")?;
    let quick = log.subscribe("quick", "member").explain("subscribe")?;
    let payloads = numbered("record", 100);
    append(&*log, Ack::Memory, FIRST, &payloads)?;
    log.commit(&quick, FIRST, Offset(100)).explain("commit")?;
    let mut expected: Vec<_> = (0..).zip(payloads).collect();
    let what = "the quick group commits at 100, the slow one nothing; a fetch from 0";
    same_records(what, &fetch(&*log, FIRST, 0, all())?, &expected)?;
    log.commit(&slow, FIRST, Offset(40)).explain("commit of the slow group at 40")?;
    append(&*log, Ack::Memory, FIRST, &[b"more".to_vec()])?;
    expected.push((100, b"more".to_vec()));
    let what = "the quick group commits at 100, the slow one at 40; a fetch from 40";
    same_records(what, &fetch(&*log, FIRST, 40, all())?, &expected[40..])
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

fn names(open: &Open) -> Check {
    let log = open();
    let (longest, too_long) = ("n".repeat(128), "n".repeat(129));
    for bad in ["", too_long.as_str(), "é", "a\nb", "a\0", "\x7f", "a\u{200b}"] {
        // A name that is far too long may be cut before it is told back.
        let expected = |e: &LogError| matches!(e, LogError::BadName(name) if bad.starts_with(name.as_str()));
        let what = |of: &str| {
            format!("subscribe with {:?} as the name of a {of}", bad.chars().take(20).collect::<String>())
        };
        refused(&what("group"), &log.subscribe(bad, "member"), "BadName with the name", expected)?;
        refused(&what("member"), &log.subscribe("group", bad), "BadName with the name", expected)?;
    }
    for good in [longest.as_str(), "!", "a-b.c_d/e:f", "~"] {
        log.subscribe(good, good).explain(&format!("subscribe as {good:?}"))?;
    }
    Ok(())
}

fn too_many_groups(open: &Open) -> Check {
    let log = open();
    for i in 0..GROUPS_MAX {
        log.subscribe(&format!("group-{i}"), "member").explain(&format!("subscribe of group {}", i + 1))?;
    }
    let result = log.subscribe("one-too-many", "member");
    refused("subscribe in one group more than GROUPS_MAX", &result, "TooManyGroups", |e| {
        *e == LogError::TooManyGroups(GROUPS_MAX)
    })?;
    log.subscribe("group-0", "other").map(|_| ()).explain("another member of a group that is there")
}

// ── How the claims talk to a log ─────────────────────────────────────────────────────────────────────────────

/// As much as a claim ever needs, without waiting.
fn all() -> FetchLimit {
    FetchLimit { records_max: 10_000, bytes_max: 32 << 20, wait: Duration::ZERO }
}

fn partitions(log: &dyn Log) -> impl Iterator<Item = Partition> + use<> {
    (0..log.partitions()).map(Partition)
}

/// Every acknowledgement that this log can give.
fn levels(log: &dyn Log) -> Vec<Ack> {
    [Ack::Memory, Ack::Os, Ack::Disk].into_iter().filter(|ack| *ack <= log.ack_max()).collect()
}

/// `stem 0000`, `stem 0001`, …
fn numbered(stem: &str, count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|i| format!("{stem} {i:04}").into_bytes()).collect()
}

/// Appends all payloads with a producer of their own and returns their offsets.
fn append(log: &dyn Log, ack: Ack, to: Partition, payloads: &[Vec<u8>]) -> Result<Vec<u64>, String> {
    let mut producer = log.producer(ack).explain("producer")?;
    let mut last = Ticket(0);
    for payload in payloads {
        last = submit(&mut *producer, to, payload)?;
    }
    settle(&mut *producer, last)?;
    let mut placed = Vec::new();
    producer.placed(&mut placed);
    equal("placed after a flush and a wait, how many", &placed.len(), &payloads.len())?;
    Ok(placed.iter().map(|p| p.offset.0).collect())
}

/// Submits one record; back-pressure is legal, and passes once what is under way has been flushed.
fn submit(producer: &mut dyn Producer, partition: Partition, payload: &[u8]) -> Result<Ticket, String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match producer.submit(NewRecord { partition, payload }) {
            Err(LogError::Full) if Instant::now() < deadline => {
                producer.flush().explain("flush under back-pressure")?;
                thread::sleep(Duration::from_millis(1));
            }
            result => return result.explain("submit"),
        }
    }
}

/// Flushes and waits until everything up to `last` has settled.
fn settle(producer: &mut dyn Producer, last: Ticket) -> Check {
    producer.flush().explain("flush")?;
    equal("a flush, and a wait for the last ticket", &producer.wait(last, PATIENCE).explain("wait")?, &last)
}

fn fetch(log: &dyn Log, partition: Partition, from: u64, limit: FetchLimit) -> Result<Vec<Owned>, String> {
    let mut records = Records::new();
    log.fetch(partition, Offset(from), limit, &mut records).explain(&format!("fetch from {from}"))?;
    Ok(owned(&records))
}

/// Everything that a partition holds, in as many fetches as that takes.
fn read_all(log: &dyn Log, partition: Partition) -> Result<Vec<Owned>, String> {
    let Bounds { start, end } = bounds(log, partition)?;
    let mut all_records = Vec::new();
    let mut next = start.0;
    while next < end.0 {
        let mut records = fetch(log, partition, next, all())?;
        let last = records.last().map(|(offset, _)| *offset);
        next = last.ok_or_else(|| {
            format!(
                "a fetch from {next} where the log holds {}..{}: expected records; got none",
                start.0, end.0
            )
        })? + 1;
        all_records.append(&mut records);
    }
    Ok(all_records)
}

fn bounds(log: &dyn Log, partition: Partition) -> Result<Bounds, String> {
    log.bounds(partition).explain("bounds")
}

fn committed(log: &dyn Log, group: &str, partition: Partition) -> Result<Option<u64>, String> {
    Ok(log.committed(group, partition).explain("committed")?.map(|o| o.0))
}

fn owned(records: &Records) -> Vec<Owned> {
    records.iter().map(|(offset, payload)| (offset.0, payload.to_vec())).collect()
}

fn offsets_of(records: &[Owned]) -> Vec<u64> {
    records.iter().map(|(offset, _)| *offset).collect()
}

fn out_of_range(asked: u64, start: u64, end: u64) -> LogError {
    LogError::OffsetOutOfRange {
        asked: Offset(asked),
        bounds: Bounds { start: Offset(start), end: Offset(end) },
    }
}

fn is_fenced(what: &str, result: &Result<(), LogError>, who: &Membership, current: u64) -> Check {
    let expected = LogError::Fenced { group: who.group.clone(), asked: who.generation, current };
    refused(what, result, &format!("{expected:?}"), |e| *e == expected)
}
