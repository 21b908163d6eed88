//! Slot: a request's samples → the log. Against a log that fills up, settles late and fails when a test says so.
//!
//! A sample's value is its name here: each is sent once, and so must be found once.

mod log;

use self::log::{Fault, GONE, TestLog};
use crate::{
    Slot,
    check::{Check, MOMENT, Must, PATIENCE, Test, Unmet, broken, doing, ensure, eventually, expect},
    count::{Counter, allocations},
};
use anyhow::{Context, Result, ensure as require};
use benches::logs::TallyLog;
use contracts::{
    TimestampMs,
    ingest::{IngestConfig, partition_of},
    queue::{Ack, LogError, Ticket},
};
use ingest::{
    handoff::RingHandoff,
    slots::{Handoff, Incoming, Lost, Sink, Submit},
};
use ingest_phases::handoff::{in_request::InRequest, queue_writer::QueueWriter};
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Wake, Waker},
    thread,
    time::{Duration, Instant},
};

/// Requests whose cost is counted.
const REQUESTS: u32 = 1000;
/// Threads that hand them over.
const THREADS: u32 = 8;

/// The hand-over, filled by this type.
pub fn handoff<H: Handoff>() -> Slot {
    Slot {
        tests: vec![
            Test::since(0, "what-was-handed-over-is-in-the-log", in_the_log::<H>),
            Test::since(0, "a-stronger-ack-than-the-log-has-is-refused", too_strong::<H>),
            Test::since(0, "a-request-that-was-rolled-back-leaves-nothing", rolled_back::<H>),
            Test::since(0, "what-was-not-flushed-survives-its-thread", not_flushed::<H>),
            Test::since(0, "threads-lose-nothing-and-keep-their-order", many_threads::<H>),
            Test::since(0, "a-full-log-becomes-back-pressure", back_pressure::<H>),
            Test::since(0, "what-was-refused-is-not-taken-later", refused_is_gone::<H>),
            Test::since(0, "a-request-that-a-full-log-took-in-part-is-taken-whole", in_part::<H>),
            Test::since(0, "a-log-that-fails-is-told-to-everybody", told::<H>),
            Test::since(0, "a-log-that-failed-is-used-again", used_again::<H>),
            Test::since(0, "half-a-request-is-not-sent-again", not_repeated::<H>),
            Test::since(0, "closing-does-not-wait-for-ever", closing::<H>),
            Test::since(2, "a-busy-log-holds-up-no-request", busy_log::<H>),
            Test::since(2, "what-waits-for-a-busy-log-costs-one-flush", one_flush::<H>),
            Test::new("what-the-log-has-not-settled-still-waits".to_owned(), 0..=5, unsettled::<H>),
            Test::since(6, "a-ticket-settles-when-the-log-has", late_log::<H>),
            Test::since(6, "a-202-is-worth-what-was-configured", promise::<H>),
            Test::since(6, "requests-of-one-turn-share-a-record", one_record::<H>),
            Test::since(6, "who-waits-is-woken", woken::<H>),
        ],
        counters: vec![
            Counter {
                name: "flushes_per_thousand_requests",
                phases: 2..=2,
                mine: flushes_per_thousand_requests::<H>,
                of_phase: |phase| match phase {
                    0..2 => flushes_per_thousand_requests::<InRequest>(),
                    2..6 => flushes_per_thousand_requests::<QueueWriter>(),
                    _ => flushes_per_thousand_requests::<RingHandoff>(),
                },
            },
            Counter {
                name: "allocations_per_request",
                phases: 6..=6,
                mine: allocations_per_request::<H>,
                of_phase: |phase| match phase {
                    0..2 => allocations_per_request::<InRequest>(),
                    2..6 => allocations_per_request::<QueueWriter>(),
                    _ => allocations_per_request::<RingHandoff>(),
                },
            },
        ],
        queue: None,
    }
}

fn config() -> IngestConfig {
    IngestConfig { ack: Ack::Os, settle_timeout: PATIENCE, ..IngestConfig::default() }
}

fn open<H: Handoff>(config: &IngestConfig, log: &TestLog) -> Result<H, Unmet> {
    H::open(config, Arc::new(log.clone())).must("the hand-over is opened")
}

fn submitter<H: Handoff>(handoff: &H) -> Result<H::Submit, Unmet> {
    handoff.submitter().must("a thread asks for its part")
}

/// A client of each partition.
fn client_of(partition: u32, partitions: u32) -> String {
    let names = (0..10_000).map(|n| format!("client-{n}"));
    names.into_iter().find(|name| partition_of(name, partitions).0 == partition).unwrap_or_default()
}

fn push(submit: &mut impl Submit, client: &str, value: f64) -> Check {
    let sample = Incoming { client, name: "cpu", labels: &[], timestamp: TimestampMs(1), value };
    submit.frame().push(&sample).must("a sample is put into the frame")
}

/// A request of one sample.
fn send(submit: &mut impl Submit, client: &str, value: f64) -> Result<Result<Ticket, LogError>, Unmet> {
    submit.frame().begin();
    push(submit, client, value)?;
    Ok(submit.submit())
}

/// What became of a request whose answer was waited for.
#[derive(Debug)]
enum Outcome {
    Settled,
    Refused(LogError),
    Lost(Lost),
    Late,
}

fn send_and_wait(submit: &mut impl Submit, client: &str, value: f64) -> Result<Outcome, Unmet> {
    let ticket = match send(submit, client, value)? {
        Ok(ticket) => ticket,
        Err(error) => return Ok(Outcome::Refused(error)),
    };
    submit.flush();
    Ok(match submit.wait(ticket, PATIENCE) {
        Ok(settled) if settled >= ticket => Outcome::Settled,
        Ok(_) => Outcome::Late,
        Err(lost) => Outcome::Lost(lost),
    })
}

/// A request that must be taken and settle.
fn must_settle(submit: &mut impl Submit, client: &str, value: f64, sent: &str) -> Check {
    match send_and_wait(submit, client, value)? {
        Outcome::Settled => Ok(()),
        Outcome::Refused(error) => broken(sent, "it is taken and settles", &format!("refused: {error}")),
        Outcome::Lost(lost) => broken(sent, "it is taken and settles", &format!("lost: {lost}")),
        Outcome::Late => broken(sent, "it is taken and settles", "its ticket does not settle"),
    }
}

fn settle(submit: &mut impl Submit, ticket: Ticket, sent: &str) -> Check {
    match submit.wait(ticket, PATIENCE) {
        Ok(settled) if settled >= ticket => Ok(()),
        Ok(settled) => broken(sent, &format!("{ticket:?} settles"), &format!("only {settled:?} has settled")),
        Err(lost) => broken(sent, &format!("{ticket:?} settles"), &format!("lost: {lost}")),
    }
}

/// Every part of a thread must have been dropped by now.
fn close<H: Handoff>(handoff: H) -> Check {
    doing("the hand-over is closed");
    handoff.close().must("the hand-over is closed")
}

fn values(values: &[f64]) -> String {
    format!("{values:?} in the log")
}

fn in_the_log<H: Handoff>() -> Check {
    let log = TestLog::new(1);
    let handoff: H = open(&config(), &log)?;
    let mut submit = submitter(&handoff)?;
    for value in 0..20 {
        let sent = format!("request {value}, waited for");
        doing(&sent);
        must_settle(&mut submit, "", f64::from(value), &sent)?;
        if H::promise(Ack::Os) == Ack::Os {
            let last = log.values(0).last().copied();
            expect(
                &sent,
                format!("{:?} is in the log when its ticket has settled", Some(f64::from(value))),
                format!("{last:?} is in the log when its ticket has settled"),
            )?;
        }
    }
    drop(submit);
    close(handoff)?;
    let all: Vec<f64> = (0..20).map(f64::from).collect();
    expect("20 requests, and then the hand-over is closed", values(&all), values(&log.values(0)))
}

fn too_strong<H: Handoff>() -> Check {
    let sent = "the hand-over is opened at ack disk, on a log that can only os";
    doing(sent);
    let opened = H::open(&IngestConfig { ack: Ack::Disk, ..config() }, Arc::new(TestLog::new(1)));
    let expected = LogError::AckTooStrong { asked: Ack::Disk, best: Ack::Os };
    expect(sent, expected, opened.err().map_or_else(|| "it opens".to_owned(), |error| error.to_string()))
}

fn rolled_back<H: Handoff>() -> Check {
    let log = TestLog::new(1);
    let handoff: H = open(&config(), &log)?;
    let mut submit = submitter(&handoff)?;
    let sent = "request 1000 that is rolled back, and request 0; and so on with 1 to 9";
    doing(sent);
    for value in 0..10 {
        submit.frame().begin();
        push(&mut submit, "", 1000.0)?;
        submit.frame().rollback();
        send(&mut submit, "", f64::from(value))?.must(sent)?;
    }
    submit.frame().begin();
    submit.submit().must("a request without samples")?;
    submit.flush();
    drop(submit);
    close(handoff)?;
    let all: Vec<f64> = (0..10).map(f64::from).collect();
    expect(sent, values(&all), values(&log.values(0)))
}

fn not_flushed<H: Handoff>() -> Check {
    let log = TestLog::new(1);
    let handoff: H = open(&config(), &log)?;
    let mut submit = submitter(&handoff)?;
    let sent = "requests 1 and 2, no flush, and the thread's part is dropped";
    doing(sent);
    send(&mut submit, "", 1.0)?.must(sent)?;
    send(&mut submit, "", 2.0)?.must(sent)?;
    drop(submit);
    close(handoff)?;
    expect(sent, values(&[1.0, 2.0]), values(&log.values(0)))
}

/// Three threads, three partitions, a log that hiccups, requests of one sample and of many, some rolled back.
fn many_threads<H: Handoff>() -> Check {
    const PARTITIONS: u32 = 3;
    let sent =
        "three threads with 300 requests each for three partitions, on a log that is full now and then";
    doing(sent);
    let log = TestLog::new(PARTITIONS);
    log.set_hiccups(7);
    let handoff: H = open(&IngestConfig { waiting_batches_max: 8, ..config() }, &log)?;
    let mut parts = Vec::new();
    for _ in 0..3 {
        parts.push(submitter(&handoff)?);
    }
    let acknowledged = thread::scope(|scope| {
        let threads: Vec<_> = (0..3_u32)
            .zip(parts)
            .map(|(number, mut submit)| scope.spawn(move || one_thread(&mut submit, number)))
            .collect();
        let ends = threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Ok(Vec::new())));
        ends.collect::<Result<Vec<_>, Unmet>>()
    })?;
    close(handoff)?;
    let found = log.all_values();
    let distinct: HashSet<u64> = found.iter().map(|value| value.to_bits()).collect();
    ensure(distinct.len() == found.len(), sent, "each sample is in the log once", "some are there twice")?;
    let all_there = acknowledged.iter().flatten().all(|value| distinct.contains(&value.to_bits()));
    ensure(all_there, sent, "every sample that was acknowledged is in the log", "some are gone")?;
    let count = acknowledged.iter().map(Vec::len).sum::<usize>();
    ensure(found.len() == count, sent, "only what was acknowledged is in the log", "there is more")?;
    let in_order = (0..PARTITIONS).all(|partition| {
        let values = log.values(partition);
        (0..3_u32).all(|thread| values.iter().filter(|v| **v % 4.0 == f64::from(thread)).is_sorted())
    });
    ensure(in_order, sent, "each thread's samples are in their order in each partition", "some are not")
}

/// Requests of a thread, the same ones each time; returns what was acknowledged.
fn one_thread(submit: &mut impl Submit, number: u32) -> Result<Vec<f64>, Unmet> {
    let sent = "one of many requests of three threads";
    let clients = [0, 1, 2].map(|partition| client_of(partition, 3));
    let (mut acknowledged, mut last, mut n) = (Vec::new(), Ticket(0), 0_u32);
    let mut clients = clients.iter().cycle();
    for request in 0..300_u32 {
        submit.frame().begin();
        let mut samples = Vec::new();
        for _ in 0..if request % 50 == 7 { 2000 } else { 1 + request % 3 } {
            let value = f64::from(n) * 4.0 + f64::from(number);
            let Some(client) = clients.next() else { break };
            push(submit, client, value)?;
            samples.push(value);
            n += 1;
        }
        if request % 8 == 5 {
            submit.frame().rollback();
            continue;
        }
        match submit.submit() {
            Ok(ticket) if ticket < last => {
                return broken(sent, &format!("a ticket from {last:?} on"), &format!("{ticket:?}"));
            }
            Ok(ticket) => {
                last = ticket;
                acknowledged.append(&mut samples);
            }
            Err(LogError::Full) => {
                submit.flush();
                settle(submit, last, sent)?;
            }
            Err(error) => return broken(sent, "it is taken, or the log is full", &error.to_string()),
        }
        if request % 4 == 0 {
            submit.flush();
        }
        if request % 16 == 0 {
            submit.flush();
            settle(submit, last, sent)?;
        }
    }
    submit.flush();
    settle(submit, last, sent)?;
    Ok(acknowledged)
}

/// A hand-over may take some more than the log does, but not without end.
fn back_pressure<H: Handoff>() -> Check {
    let log = TestLog::new(1);
    log.set_room(Some(3));
    let config = IngestConfig { waiting_batches_max: 2, settle_timeout: MOMENT, ..config() };
    let handoff: H = open(&config, &log)?;
    let mut submit = submitter(&handoff)?;
    let sent = "requests to a log that has room for three records, where two batches may wait";
    doing(sent);
    let mut taken = Vec::new();
    for value in [0.0, 1.0, 2.0] {
        must_settle(&mut submit, "", value, sent)?;
        taken.push(value);
        let arrived = eventually(|| log.records() == taken.len());
        ensure(arrived, sent, "the log gets what there is room for", format!("{} records", log.records()))?;
    }
    let mut last = Ticket(0);
    let refused = loop {
        let value = f64::from(u32::try_from(taken.len()).unwrap_or(u32::MAX));
        match send(&mut submit, "", value)? {
            Ok(ticket) => last = ticket,
            Err(error) => break error,
        }
        taken.push(value);
        submit.flush();
        ensure(taken.len() < 10, sent, "it says that it is full after a few", "it takes more and more")?;
    };
    expect(sent, LogError::Full, refused)?;
    log.set_room(None);
    settle(&mut submit, last, "and then the log has room")?;
    let sent = "another request, when the log has room again";
    let taken_again = eventually(|| matches!(send_and_wait(&mut submit, "", 100.0), Ok(Outcome::Settled)));
    ensure(taken_again, sent, "it is taken", "it is refused")?;
    taken.push(100.0);
    drop(submit);
    close(handoff)?;
    expect("what was taken while the log was full, and after", values(&taken), values(&log.values(0)))
}

/// A frame outlives a request, and what was refused must not wait in it for the next.
fn refused_is_gone<H: Handoff>() -> Check {
    let log = TestLog::new(1);
    log.set_room(Some(0));
    let config = IngestConfig { waiting_batches_max: 1, settle_timeout: MOMENT, ..config() };
    let handoff: H = open(&config, &log)?;
    let mut submit = submitter(&handoff)?;
    let sent =
        "requests to a full log until one is refused, that one again four times, and then there is room";
    doing(sent);
    let mut taken = Vec::new();
    let mut refusals = 0;
    for value in 0..100 {
        match send(&mut submit, "", f64::from(value))? {
            Ok(_) => taken.push(f64::from(value)),
            Err(_) => refusals += 1,
        }
        submit.flush();
        if refusals == 5 {
            break;
        }
    }
    ensure(refusals == 5, sent, "it says that it is full after a few", "it takes more and more")?;
    log.set_room(None);
    let more = eventually(|| matches!(send_and_wait(&mut submit, "", 1000.0), Ok(Outcome::Settled)));
    ensure(more, sent, "the next request is taken", "it is refused")?;
    taken.push(1000.0);
    drop(submit);
    close(handoff)?;
    // How many are taken before the first refusal may differ by one from run to run: only what is too much is told.
    let found = log.values(0);
    ensure(
        found == taken,
        sent,
        "the log has what was taken, and nothing that was refused",
        "it has something else",
    )
}

fn in_part<H: Handoff>() -> Check {
    let log = TestLog::new(3);
    log.set_room(Some(2));
    let handoff: H = open(&config(), &log)?;
    let mut submit = submitter(&handoff)?;
    let sent = "a request for three partitions; the log is full after two records, and then has room again";
    doing(sent);
    let frees = log.clone();
    let freeing = thread::spawn(move || {
        eventually(|| frees.records() >= 2);
        frees.set_room(None);
    });
    submit.frame().begin();
    for partition in 0..3 {
        push(&mut submit, &client_of(partition, 3), f64::from(partition))?;
    }
    let submitted = submit.submit();
    submit.flush();
    let ticket = submitted.must(sent)?;
    settle(&mut submit, ticket, sent)?;
    drop(submit);
    close(handoff)?;
    let _ = freeing.join();
    let found = [0, 1, 2].map(|partition| log.values(partition));
    expect(sent, "[[0.0], [1.0], [2.0]] in the partitions", format!("{found:?} in the partitions"))
}

fn told<H: Handoff>() -> Check {
    for after in [0, 1, 10] {
        told_after::<H>(Fault::SubmitFails { after })?;
        told_after::<H>(Fault::FlushFails { after })?;
    }
    Ok(())
}

fn told_after<H: Handoff>(fault: Fault) -> Check {
    let sent = format!("requests of two threads to a log of which it is true that {fault:?}");
    doing(&sent);
    let log = TestLog::with_fault(1, fault);
    let handoff: H = open(&config(), &log)?;
    let (mut submit, mut other) = (submitter(&handoff)?, submitter(&handoff)?);
    let mut acknowledged = Vec::new();
    let mut last = None;
    let noticed = eventually(|| {
        let value = f64::from(u32::try_from(acknowledged.len()).unwrap_or(u32::MAX));
        match send_and_wait(&mut submit, "", value) {
            Ok(Outcome::Settled) => acknowledged.push(value),
            Ok(Outcome::Refused(LogError::Full)) => thread::yield_now(),
            ended => last = Some(ended),
        }
        last.is_some()
    });
    ensure(noticed, &sent, "it notices that the log has failed", "it goes on as if nothing had happened")?;
    let reason = match last {
        Some(Ok(Outcome::Refused(refusal))) => refusal.to_string(),
        Some(Ok(Outcome::Lost(lost))) => lost.to_string(),
        other => format!("{other:?}"),
    };
    ensure(reason.contains(GONE), &sent, &format!("it says why: {GONE}"), &reason)?;
    for submit in [&mut submit, &mut other] {
        let later = send_and_wait(submit, "", -1.0)?;
        let is_told = matches!(later, Outcome::Refused(LogError::Failed(_)) | Outcome::Lost(_));
        ensure(is_told, &sent, "later requests of both threads are refused or lost", format!("{later:?}"))?;
    }
    if H::promise(Ack::Os) == Ack::Os {
        let found = log.values(0);
        let kept = found.get(..acknowledged.len()) == Some(acknowledged.as_slice());
        ensure(kept, &sent, "what was acknowledged before is in the log", "some of it is not")?;
    }
    Ok(())
}

fn used_again<H: Handoff>() -> Check {
    for fault in
        [Fault::SubmitFails { after: 0 }, Fault::SubmitFails { after: 5 }, Fault::FlushFails { after: 5 }]
    {
        used_again_after::<H>(fault)?;
    }
    Ok(())
}

fn used_again_after<H: Handoff>(fault: Fault) -> Check {
    let sent = format!("requests to a log of which it is true that {fault:?}, and which then works again");
    doing(&sent);
    let log = TestLog::with_fault(1, fault);
    let handoff: H = open(&config(), &log)?;
    let (mut submit, mut other) = (submitter(&handoff)?, submitter(&handoff)?);
    let (mut sent_value, mut acknowledged) = (0.0, Vec::new());
    let failed = eventually(|| {
        sent_value += 1.0;
        if matches!(send_and_wait(&mut submit, "", sent_value), Ok(Outcome::Settled)) {
            acknowledged.push(sent_value);
        }
        log.has_failed()
    });
    ensure(failed, &sent, "it uses the log", "it does not")?;
    log.set_fault(None);
    for (submit, value) in [(&mut submit, 1e6), (&mut other, 2e6)] {
        let mut again = value;
        let works = eventually(|| {
            again += 1.0;
            matches!(send_and_wait(submit, "", again), Ok(Outcome::Settled))
        });
        ensure(works, &sent, "once the log works, requests are taken again", "they are refused or lost")?;
        acknowledged.push(again);
    }
    drop((submit, other));
    close(handoff)?;
    let found = log.values(0);
    let distinct: HashSet<u64> = found.iter().map(|value| value.to_bits()).collect();
    ensure(distinct.len() == found.len(), &sent, "nothing is in the log twice", "something is")?;
    // Where a ticket is worth memory only, what was on its way when the log failed may be gone.
    if H::promise(Ack::Os) == Ack::Os {
        let kept = acknowledged.iter().all(|value| distinct.contains(&value.to_bits()));
        ensure(kept, &sent, "what was acknowledged is in the log", "some of it is not")?;
    }
    Ok(())
}

fn not_repeated<H: Handoff>() -> Check {
    let sent = "a request for three partitions; the log takes one record and fails, and then works again";
    doing(sent);
    let log = TestLog::with_fault(3, Fault::SubmitFails { after: 1 });
    let handoff: H = open(&config(), &log)?;
    let mut submit = submitter(&handoff)?;
    submit.frame().begin();
    for partition in 0..3 {
        push(&mut submit, &client_of(partition, 3), f64::from(partition))?;
    }
    let submitted = submit.submit();
    submit.flush();
    if H::promise(Ack::Os) == Ack::Os {
        let told = submitted.map(|ticket| submit.wait(ticket, PATIENCE));
        let is_lost = matches!(&told, Ok(Err(_)));
        ensure(is_lost, sent, "it is lost: nobody knows what became of it", format!("{told:?}"))?;
    }
    let failed = eventually(|| log.has_failed());
    ensure(failed, sent, "it uses the log", "it does not")?;
    log.set_fault(None);
    for partition in 0..3 {
        let client = client_of(partition, 3);
        let mut value = f64::from(10 * (partition + 1));
        let works = eventually(|| {
            value += 0.001;
            matches!(send_and_wait(&mut submit, &client, value), Ok(Outcome::Settled))
        });
        ensure(works, sent, "later requests are taken", "they are refused or lost")?;
    }
    drop(submit);
    close(handoff)?;
    let of_the_first = log.all_values().into_iter().filter(|value| *value < 10.0).count();
    let count = |records: usize| format!("{records} of its three samples are in the log");
    expect(sent, count(1), count(of_the_first))
}

fn closing<H: Handoff>() -> Check {
    let sent = "a request to a log that is full, and the hand-over is closed";
    doing(sent);
    let config = IngestConfig { settle_timeout: Duration::from_millis(20), ..config() };
    let log = TestLog::new(1);
    log.set_room(Some(0));
    let handoff: H = open(&config, &log)?;
    let mut submit = submitter(&handoff)?;
    let taken = send(&mut submit, "", 1.0)?.is_ok();
    drop(submit);
    let closed = handoff.close();
    // Who refused the request has nothing to say at the end.
    ensure(!taken || closed.is_err(), sent, "it gives up, and says that something is left", "all is well")?;
    let sent = "a request to a log that takes it and never settles, and the hand-over is closed";
    doing(sent);
    let log = TestLog::new(1);
    log.hold();
    let handoff: H = open(&config, &log)?;
    let mut submit = submitter(&handoff)?;
    let told = send_and_wait_briefly(&mut submit, 1.0)?;
    drop(submit);
    let closed = handoff.close();
    ensure(told || closed.is_err(), sent, "somebody is told that it did not settle", "nobody is")
}

/// Whether a request was refused or lost, so that its sender knows.
fn send_and_wait_briefly(submit: &mut impl Submit, value: f64) -> Result<bool, Unmet> {
    Ok(match send(submit, "", value)? {
        Ok(ticket) => {
            submit.flush();
            submit.wait(ticket, Duration::ZERO).is_err()
        }
        Err(_) => true,
    })
}

/// What phase 2 is about: the disk's time is no request's.
fn busy_log<H: Handoff>() -> Check {
    let sent = "ten requests while the log takes nothing";
    doing(sent);
    let log = TestLog::new(1);
    log.set_room(Some(0));
    let handoff: H = open(&config(), &log)?;
    let mut submit = submitter(&handoff)?;
    let mut taken = 0;
    for value in 0..10 {
        taken += usize::from(send(&mut submit, "", f64::from(value))?.is_ok());
        submit.flush();
    }
    log.set_room(None);
    drop(submit);
    close(handoff)?;
    expect(sent, "10 are taken, to be written later", format!("{taken} are taken, to be written later"))?;
    let all: Vec<f64> = (0..10).map(f64::from).collect();
    expect("and then the log has room", values(&all), values(&log.values(0)))
}

fn one_flush<H: Handoff>() -> Check {
    let sent = "100 requests of eight threads while the log takes nothing, and then it has room";
    doing(sent);
    let log = TestLog::new(1);
    log.set_room(Some(0));
    let handoff: H = open(&config(), &log)?;
    let mut submits = Vec::new();
    for _ in 0..8 {
        submits.push(submitter(&handoff)?);
    }
    let mut taken = 0;
    for value in 0..100_usize {
        let at = value % submits.len();
        let value = f64::from(u32::try_from(value).unwrap_or(u32::MAX));
        taken += usize::from(send(&mut submits[at], "", value)?.is_ok());
        submits[at].flush();
    }
    log.set_room(None);
    drop(submits);
    close(handoff)?;
    ensure(taken == 100, sent, "all are taken", format!("{taken} are taken"))?;
    expect(sent, "100 samples in the log", format!("{} samples in the log", log.values(0).len()))?;
    // A writer may have begun with some when the rest came.
    let few = (1..=4).contains(&log.flushes());
    ensure(few, sent, "4 flushes at most", "more than 4")
}

/// Who asks the log for room and for nothing else hears of no disk that hangs; and all that it took meanwhile may be gone. From
/// phase 6 on it is the tickets that wait.
fn unsettled<H: Handoff>() -> Check {
    let log = TestLog::new(1);
    log.hold();
    let config = IngestConfig { waiting_batches_max: 2, settle_timeout: MOMENT, ..config() };
    let handoff: H = open(&config, &log)?;
    let mut submit = submitter(&handoff)?;
    let sent = "requests to a log that takes everything and settles nothing, where two batches may wait";
    doing(sent);
    let mut taken = Vec::new();
    let refused = loop {
        let value = f64::from(u32::try_from(taken.len()).unwrap_or(u32::MAX));
        let ticket = match send(&mut submit, "", value)? {
            Ok(ticket) => ticket,
            Err(error) => break error,
        };
        taken.push(value);
        submit.flush();
        if submit.wait(ticket, Duration::ZERO).is_err() {
            // It waits for the log within the request, and tells that it waited in vain: nothing gathers.
            return Ok(());
        }
        ensure(taken.len() < 10, sent, "it says that it is full after a few", "it takes more and more")?;
        // What still goes to the log has time to: else it would only be the queue that is full.
        let begun = Instant::now();
        while log.records() < taken.len() && begun.elapsed() < MOMENT {
            thread::sleep(Duration::from_millis(2));
        }
    };
    expect(sent, LogError::Full, refused)?;
    log.release();
    let sent = "another request, when the log has settled";
    let taken_again = eventually(|| matches!(send_and_wait(&mut submit, "", 100.0), Ok(Outcome::Settled)));
    ensure(taken_again, sent, "it is taken", "it is refused")?;
    taken.push(100.0);
    drop(submit);
    close(handoff)?;
    expect("what was taken while nothing settled, and after", values(&taken), values(&log.values(0)))
}

/// What phase 6 brings back: a 202 waits until its batch is safe.
fn late_log<H: Handoff>() -> Check {
    let sent = "a request to a log that takes it and has not settled it";
    doing(sent);
    let log = TestLog::new(1);
    log.hold();
    let handoff: H = open(&config(), &log)?;
    let mut submit = submitter(&handoff)?;
    let ticket = send(&mut submit, "", 1.0)?.must(sent)?;
    submit.flush();
    let settled = submit.wait(ticket, MOMENT).must(sent)?;
    ensure(settled < ticket, sent, "its ticket does not settle", "its ticket settles")?;
    let sent = "another request meanwhile";
    let later = send(&mut submit, "", 2.0)?.must(sent)?;
    submit.flush();
    let arrived = eventually(|| log.records() == 2);
    ensure(arrived, sent, "the log gets it without waiting for the first", "the log does not get it")?;
    log.release();
    settle(&mut submit, later, "and then the log settles both")?;
    drop(submit);
    close(handoff)?;
    expect("both", values(&[1.0, 2.0]), values(&log.values(0)))
}

fn promise<H: Handoff>() -> Check {
    for ack in [Ack::Memory, Ack::Os, Ack::Disk] {
        let sent = format!("a server at ack {}", ack.as_str());
        expect(
            &sent,
            format!("a promise of {}", ack.as_str()),
            format!("a promise of {}", H::promise(ack).as_str()),
        )?;
    }
    Ok(())
}

fn one_record<H: Handoff>() -> Check {
    let sent = "16 requests, and one flush after them";
    doing(sent);
    let log = TestLog::new(1);
    let handoff: H = open(&config(), &log)?;
    let mut submit = submitter(&handoff)?;
    let mut last = Ticket(0);
    for value in 0..16 {
        last = send(&mut submit, "", f64::from(value))?.must(sent)?;
    }
    submit.flush();
    settle(&mut submit, last, sent)?;
    let cost = |records: usize, flushes: usize| format!("{records} records and {flushes} flushes of the log");
    let observed = cost(log.records(), log.flushes());
    drop(submit);
    close(handoff)?;
    expect(sent, cost(1, 1), observed)
}

fn woken<H: Handoff>() -> Check {
    let log = TestLog::new(1);
    log.hold();
    let handoff: H = open(&config(), &log)?;
    let mut submit = submitter(&handoff)?;
    let rings = Arc::new(Rings(AtomicUsize::new(0)));
    submit.set_waker(Waker::from(rings.clone()));
    for value in 0..100 {
        let sent = format!("request {value} of a thread that sleeps until its waker is called");
        doing(&sent);
        let before = rings.0.load(Ordering::SeqCst);
        let ticket = send(&mut submit, "", f64::from(value))?.must(&sent)?;
        submit.flush();
        log.release();
        // As an event loop does it: look once, and look again only if woken.
        if submit.settled().must(&sent)? < ticket {
            let settled = eventually(|| {
                rings.0.load(Ordering::SeqCst) > before
                    && submit.settled().is_ok_and(|settled| settled >= ticket)
            });
            ensure(settled, &sent, "it is woken once the ticket has settled", "it sleeps")?;
        }
        log.hold();
    }
    log.release();
    drop(submit);
    close(handoff)
}

struct Rings(AtomicUsize);

impl Wake for Rings {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Threads that each wait for their answer, as those of an engine do, on a disk whose flush takes a millisecond: how often
/// the log is flushed for a thousand requests.
fn flushes_per_thousand_requests<H: Handoff>() -> Result<f64> {
    let log = TestLog::new(1);
    log.set_flush_time(Duration::from_millis(1));
    let handoff = H::open(&config(), Arc::new(log.clone()))?;
    let parts = (0..THREADS).map(|_| handoff.submitter()).collect::<Result<Vec<_>, _>>()?;
    thread::scope(|scope| {
        let threads: Vec<_> = parts
            .into_iter()
            .map(|mut submit| {
                scope.spawn(move || (0..REQUESTS / THREADS).try_for_each(|_| one_request(&mut submit)))
            })
            .collect();
        let joined = threads.into_iter().map(|t| t.join().unwrap_or_else(|_| anyhow::bail!("it panicked")));
        joined.collect::<Result<Vec<()>>>()
    })?;
    handoff.close()?;
    require!(log.values(0).len() == REQUESTS as usize, "samples are missing in the log");
    Ok(log.flushes() as f64 * 1000.0 / f64::from(REQUESTS))
}

/// Requests of one thread, each waited for, once everything is warm.
fn allocations_per_request<H: Handoff>() -> Result<f64> {
    let config = IngestConfig { ack: Ack::Memory, ..config() };
    let handoff = H::open(&config, Arc::new(TallyLog::default()))?;
    let mut submit = handoff.submitter()?;
    (0..REQUESTS).try_for_each(|_| one_request(&mut submit))?;
    let count = allocations(|| (0..REQUESTS).try_for_each(|_| one_request(&mut submit)))?;
    drop(submit);
    handoff.close()?;
    Ok(count as f64 / f64::from(REQUESTS))
}

fn one_request(submit: &mut impl Submit) -> Result<()> {
    submit.frame().begin();
    let labels = &[("host", "web-1"), ("core", "0")];
    let sample = Incoming { client: "web-1", name: "cpu", labels, timestamp: TimestampMs(1), value: 0.5 };
    submit.frame().push(&sample)?;
    let ticket = submit.submit().context("a request was refused")?;
    submit.flush();
    let settled = submit.wait(ticket, PATIENCE)?;
    require!(settled >= ticket, "a ticket does not settle");
    Ok(())
}
