//! When a submission is safe, and who is told.

use super::{
    Open,
    talk::{FIRST, bounds, levels, partitions, settle, submit},
};
use crate::claim::{Check, Claim, Explain, PATIENCE, ensure, equal, eventually, refused};
use contracts::queue::{Ack, Bounds, Identity, LogError, Offset, Placed, Ticket};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Wake, Waker},
    time::{Duration, Instant},
};

pub(super) const CLAIMS: &[Claim<Open>] = &[
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
    Claim {
        says: "a log that does not know batches again says so, and takes records all the same",
        check: unknown_batches,
    },
];

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

/// Counts how often it was woken. Release pairs with the Acquire of who looks: settled moved before the call.
#[derive(Default)]
struct Calls(AtomicUsize);

impl Wake for Calls {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

fn unknown_batches(open: &Open) -> Check {
    let log = open();
    let mut producer = log.producer(Ack::Memory).explain("producer")?;
    let identity = Identity { producer: 7, sequence: 0 };
    match producer.identify(identity) {
        Ok(()) => ensure(log.knows_batches(), || {
            "identify is taken by a producer of a log that says it does not know batches again".to_owned()
        })?,
        Err(LogError::NotOffered(_)) => ensure(!log.knows_batches(), || {
            "identify is not offered by a log that says it knows batches again".to_owned()
        })?,
        Err(e) => {
            return Err(format!("identify: expected it to be taken, or NotOffered; got the error {e:?}"));
        }
    }
    let last = submit(&mut *producer, FIRST, b"record")?;
    settle(&mut *producer, last)?;
    let end = bounds(&*log, FIRST)?.end;
    equal("the end after one record, behind a call of identify", &end, &Offset(1))
}
