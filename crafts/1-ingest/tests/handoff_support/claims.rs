//! What every hand-over must do, as sentences that can be run against any of them.
//!
//! A sample's value is its name here: each is sent once, and so must be found once.

use super::log::{Fault, TestLog};
use contracts::{
    TimestampMs,
    ingest::{IngestConfig, partition_of},
    queue::{Ack, LogError, Ticket},
};
use ingest::slots::{Handoff, Incoming, Lost, Sink, Submit};
use std::{
    collections::HashSet,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// Long enough for anything that happens at all; nothing waits for it to pass.
pub const LONG: Duration = Duration::from_secs(30);

pub fn config() -> IngestConfig {
    IngestConfig { ack: Ack::Os, settle_timeout: LONG, ..IngestConfig::default() }
}

/// A client of each partition.
pub fn client_of(partition: u32, partitions: u32) -> String {
    let names = (0..).map(|n| format!("client-{n}"));
    names.into_iter().find(|name| partition_of(name, partitions).0 == partition).unwrap()
}

pub fn push(submit: &mut impl Submit, client: &str, value: f64) {
    let sample = Incoming { client, name: "cpu", labels: &[], timestamp: TimestampMs(1), value };
    submit.frame().push(&sample).unwrap();
}

/// A request of one sample.
pub fn send(submit: &mut impl Submit, client: &str, value: f64) -> Result<Ticket, LogError> {
    submit.frame().begin();
    push(submit, client, value);
    submit.submit()
}

/// A request of one sample that is answered before the next one is sent.
pub fn send_and_wait(submit: &mut impl Submit, client: &str, value: f64) -> Result<(), Outcome> {
    let ticket = send(submit, client, value).map_err(Outcome::Refused)?;
    submit.flush();
    settle(submit, ticket).map_err(Outcome::Lost)
}

pub fn settle(submit: &mut impl Submit, ticket: Ticket) -> Result<(), Lost> {
    let settled = submit.wait(ticket, LONG)?;
    assert!(settled >= ticket, "{ticket:?} has not settled, only {settled:?}");
    Ok(())
}

#[derive(Debug)]
pub enum Outcome {
    Refused(LogError),
    Lost(Lost),
}

pub fn a_settled_ticket_is_in_the_log<H: Handoff>() {
    let log = TestLog::new(1);
    let handoff = H::open(&config(), Arc::new(log.clone())).unwrap();
    let mut submit = handoff.submitter().unwrap();
    for value in 0..100 {
        send_and_wait(&mut submit, "", f64::from(value)).unwrap();
        if H::promise(Ack::Os) == Ack::Os {
            assert_eq!(log.values(0).last(), Some(&f64::from(value)));
        }
    }
    drop(submit);
    handoff.close().unwrap();
    assert_eq!(log.values(0), (0..100).map(f64::from).collect::<Vec<_>>());
}

pub fn a_stronger_ack_than_the_log_has_is_refused_at_once<H: Handoff>() {
    let log = Arc::new(TestLog::new(1));
    let refused = H::open(&IngestConfig { ack: Ack::Disk, ..config() }, log).err().unwrap();
    assert_eq!(refused, LogError::AckTooStrong { asked: Ack::Disk, best: Ack::Os });
}

pub fn a_request_that_was_rolled_back_leaves_nothing<H: Handoff>() {
    let log = TestLog::new(1);
    let handoff = H::open(&config(), Arc::new(log.clone())).unwrap();
    let mut submit = handoff.submitter().unwrap();
    for value in 0..10 {
        submit.frame().begin();
        push(&mut submit, "", 1000.0);
        submit.frame().rollback();
        send(&mut submit, "", f64::from(value)).unwrap();
    }
    submit.frame().begin();
    assert_eq!(submit.submit().map(|_| ()), Ok(()), "no samples are fine too");
    submit.flush();
    drop(submit);
    handoff.close().unwrap();
    assert_eq!(log.values(0), (0..10).map(f64::from).collect::<Vec<_>>());
}

/// Threads, partitions, rolled-back requests, requests of one sample and of many, waits and none: from a seed.
pub fn everything_acknowledged_is_in_the_log_once_and_in_order<H: Handoff>(seed: u64) {
    const PARTITIONS: u32 = 3;
    let log = TestLog::new(PARTITIONS);
    log.set_hiccups(7);
    let small = IngestConfig { waiting_batches_max: 8, ..config() };
    let handoff = H::open(&small, Arc::new(log.clone())).unwrap();
    let acknowledged: Vec<Vec<f64>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..3)
            .map(|thread| {
                let mut submit = handoff.submitter().unwrap();
                let mut rng = fastrand::Rng::with_seed(seed.wrapping_add(thread));
                scope.spawn(move || one_threads_requests(&mut submit, thread, &mut rng))
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    handoff.close().unwrap();
    let found = log.all_values();
    let distinct: HashSet<u64> = found.iter().map(|v| v.to_bits()).collect();
    assert_eq!(distinct.len(), found.len(), "seed {seed}: something is there twice");
    let sent: usize = acknowledged.iter().map(Vec::len).sum();
    assert_eq!(found.len(), sent, "seed {seed}: what was acknowledged, and nothing else");
    for value in acknowledged.iter().flatten() {
        assert!(distinct.contains(&value.to_bits()), "seed {seed}: {value} was acknowledged and is gone");
    }
    for partition in 0..PARTITIONS {
        let values = log.values(partition);
        for thread in 0..3 {
            let own: Vec<f64> = values.iter().copied().filter(|v| thread_of(*v) == thread).collect();
            assert!(own.is_sorted(), "seed {seed}: partition {partition}, thread {thread}: {own:?}");
        }
    }
}

fn value_of(thread: u64, n: u32) -> f64 {
    f64::from(n) * 4.0 + thread as f64
}

fn thread_of(value: f64) -> u64 {
    (value % 4.0) as u64
}

fn one_threads_requests(submit: &mut impl Submit, thread: u64, rng: &mut fastrand::Rng) -> Vec<f64> {
    let clients = [0, 1, 2].map(|partition| client_of(partition, 3));
    let (mut acknowledged, mut last, mut n) = (Vec::new(), Ticket(0), 0);
    for _ in 0..400 {
        submit.frame().begin();
        let count = if rng.u8(..) == 0 { rng.u32(1..3000) } else { rng.u32(1..4) };
        let samples: Vec<(f64, &str)> =
            (n..n + count).map(|n| (value_of(thread, n), clients[rng.usize(..3)].as_str())).collect();
        n += count;
        for (value, client) in &samples {
            push(submit, client, *value);
        }
        if rng.u8(..8) == 0 {
            submit.frame().rollback();
            continue;
        }
        match submit.submit() {
            Ok(ticket) => {
                assert!(ticket >= last, "{ticket:?} after {last:?}");
                last = ticket;
                acknowledged.extend(samples.iter().map(|(value, _)| *value));
            }
            Err(LogError::Full) => {
                submit.flush();
                settle(submit, last).unwrap();
            }
            Err(other) => panic!("{other}"),
        }
        if rng.u8(..4) == 0 {
            submit.flush();
        }
        if rng.u8(..16) == 0 {
            submit.flush();
            settle(submit, last).unwrap();
        }
    }
    submit.flush();
    settle(submit, last).unwrap();
    acknowledged
}

pub fn what_was_submitted_but_not_flushed_survives_its_submitter<H: Handoff>() {
    let log = TestLog::new(1);
    let handoff = H::open(&config(), Arc::new(log.clone())).unwrap();
    let mut submit = handoff.submitter().unwrap();
    send(&mut submit, "", 1.0).unwrap();
    send(&mut submit, "", 2.0).unwrap();
    drop(submit);
    handoff.close().unwrap();
    assert_eq!(log.values(0), [1.0, 2.0]);
}

pub fn a_full_log_becomes_back_pressure_and_loses_nothing<H: Handoff>() {
    let log = TestLog::new(1);
    log.set_room(Some(3));
    let small =
        IngestConfig { waiting_batches_max: 2, settle_timeout: Duration::from_millis(50), ..config() };
    let handoff = H::open(&small, Arc::new(log.clone())).unwrap();
    let mut submit = handoff.submitter().unwrap();
    let (mut taken, mut last) = (Vec::new(), Ticket(0));
    for value in [0.0, 1.0, 2.0] {
        send_and_wait(&mut submit, "", value).unwrap();
        taken.push(value);
        while log.records() < taken.len() {
            thread::yield_now();
        }
    }
    let refused = loop {
        let value = taken.len() as f64;
        match send(&mut submit, "", value) {
            Ok(ticket) => (last, _) = (ticket, taken.push(value)),
            Err(error) => break error,
        }
        submit.flush();
        assert!(taken.len() < 10, "it would take anything");
    };
    assert_eq!(refused, LogError::Full);
    log.set_room(None);
    settle(&mut submit, last).unwrap();
    let begun = Instant::now();
    while send_and_wait(&mut submit, "", 100.0).is_err() {
        assert!(begun.elapsed() < LONG, "it has room, and is still refused");
        thread::sleep(Duration::from_millis(1));
    }
    taken.push(100.0);
    drop(submit);
    handoff.close().unwrap();
    assert_eq!(log.values(0), taken, "what was refused was not taken, the rest once and in order");
}

/// The log dies on the way. What was acknowledged before is there; what was not is refused or lost; and it is said why.
pub fn a_dead_log_is_told_to_everybody<H: Handoff>(fault: Fault) {
    let log = TestLog::with_fault(1, fault);
    let handoff = H::open(&config(), Arc::new(log.clone())).unwrap();
    let mut submit = handoff.submitter().unwrap();
    let mut other = handoff.submitter().unwrap();
    let mut acknowledged = Vec::new();
    let ended = loop {
        let value = acknowledged.len() as f64;
        match send_and_wait(&mut submit, "", value) {
            Ok(()) => acknowledged.push(value),
            Err(Outcome::Refused(LogError::Full)) => thread::yield_now(),
            Err(outcome) => break outcome,
        }
        assert!(acknowledged.len() < 1_000_000, "it never notices");
    };
    let reason = match &ended {
        Outcome::Refused(refusal) => refusal.to_string(),
        Outcome::Lost(lost) => lost.to_string(),
    };
    let expected = if matches!(fault, Fault::Panics { .. }) { "panicked" } else { "the disk is gone" };
    assert!(reason.contains(expected), "{reason}");
    assert_eq!(reason.matches("the log failed").count(), usize::from(matches!(ended, Outcome::Refused(_))));
    for submit in [&mut submit, &mut other] {
        let later = send_and_wait(submit, "", -1.0).unwrap_err();
        if let Outcome::Refused(refusal) = &later {
            assert!(matches!(refusal, LogError::Failed(_)), "{refusal:?}");
        }
    }
    if H::promise(Ack::Os) == Ack::Os {
        let found = log.values(0);
        assert_eq!(found[..acknowledged.len()], acknowledged, "what was acknowledged is there");
    }
}

pub fn what_a_log_takes_late_is_acknowledged_late<H: Handoff>() {
    let log = TestLog::new(1);
    log.hold();
    let handoff = H::open(&config(), Arc::new(log.clone())).unwrap();
    let mut submit = handoff.submitter().unwrap();
    let ticket = send(&mut submit, "", 1.0).unwrap();
    submit.flush();
    assert!(submit.wait(ticket, Duration::from_millis(30)).unwrap() < ticket);
    // More is taken while the first has not settled.
    let later = send(&mut submit, "", 2.0).unwrap();
    submit.flush();
    while log.records() < 2 {
        thread::yield_now();
    }
    assert!(submit.settled().unwrap() < ticket);
    log.release();
    settle(&mut submit, later).unwrap();
    drop(submit);
    handoff.close().unwrap();
    assert_eq!(log.values(0), [1.0, 2.0]);
}

/// A log that never has room again must not keep the process from ending.
pub fn closing_does_not_wait_for_ever<H: Handoff>() {
    let log = TestLog::new(1);
    log.set_room(Some(0));
    let impatient = IngestConfig { settle_timeout: Duration::from_millis(20), ..config() };
    let handoff = H::open(&impatient, Arc::new(log.clone())).unwrap();
    let mut submit = handoff.submitter().unwrap();
    send(&mut submit, "", 1.0).unwrap();
    drop(submit);
    assert_eq!(handoff.close(), Err(LogError::Full));
    assert_eq!(log.records(), 0);
}

/// The same for a log that takes everything and settles nothing.
pub fn closing_does_not_wait_for_a_silent_log<H: Handoff>() {
    let log = TestLog::new(1);
    log.hold();
    let impatient = IngestConfig { settle_timeout: Duration::from_millis(20), ..config() };
    let handoff = H::open(&impatient, Arc::new(log)).unwrap();
    let mut submit = handoff.submitter().unwrap();
    send(&mut submit, "", 1.0).unwrap();
    drop(submit);
    let error = handoff.close().unwrap_err();
    assert!(error.to_string().contains("not settled after 20ms"), "{error}");
}

/// One request for several partitions of a log that fills up in the middle of it.
pub fn a_request_that_a_full_log_took_in_part_is_taken_whole_and_once<H: Handoff>() {
    let log = TestLog::new(3);
    log.set_room(Some(2));
    let handoff = H::open(&config(), Arc::new(log.clone())).unwrap();
    let mut submit = handoff.submitter().unwrap();
    let frees = log.clone();
    let freeing = thread::spawn(move || {
        while frees.records() < 2 {
            thread::yield_now();
        }
        frees.set_room(None);
    });
    submit.frame().begin();
    for partition in 0..3 {
        push(&mut submit, &client_of(partition, 3), f64::from(partition));
    }
    let ticket = submit.submit().unwrap();
    submit.flush();
    settle(&mut submit, ticket).unwrap();
    freeing.join().unwrap();
    drop(submit);
    handoff.close().unwrap();
    assert_eq!([log.values(0), log.values(1), log.values(2)], [[0.0], [1.0], [2.0]]);
}

/// The log dies, gives no producer for a while, and is well again. Whoever waited is told once; then all goes on.
pub fn a_log_that_failed_is_used_again<H: Handoff>(fault: Fault) {
    let log = TestLog::with_fault(1, fault);
    let handoff = H::open(&config(), Arc::new(log.clone())).unwrap();
    let mut submit = handoff.submitter().unwrap();
    let mut other = handoff.submitter().unwrap();
    let (mut sent, mut acknowledged) = (0.0, Vec::new());
    while !log.has_failed() {
        sent += 1.0;
        if send_and_wait(&mut submit, "", sent).is_ok() {
            acknowledged.push(sent);
        }
    }
    until_refused(&mut submit);
    let mut late = handoff.submitter().unwrap();
    for submit in [&mut submit, &mut other, &mut late] {
        let refused = send(submit, "", -1.0);
        assert_eq!(refused, Err(LogError::Failed("the disk is gone".into())));
        assert_eq!(submit.settled().map(|_| ()), Ok(()), "nothing of it was taken, and nothing is lost");
    }
    assert_eq!(log.producers(), 1);
    log.set_fault(None);
    let begun = Instant::now();
    while matches!(send_and_wait(&mut submit, "", 1e6), Err(Outcome::Refused(_))) {
        assert!(begun.elapsed() < LONG, "the log is well, and is not used");
        thread::sleep(Duration::from_millis(1));
    }
    send_and_wait(&mut other, "", 2e6).unwrap();
    send_and_wait(&mut late, "", 3e6).unwrap();
    drop((submit, other, late));
    handoff.close().unwrap();
    let found = log.values(0);
    let distinct: HashSet<u64> = found.iter().map(|v| v.to_bits()).collect();
    assert_eq!(distinct.len(), found.len(), "{found:?}");
    assert!([1e6, 2e6, 3e6].iter().all(|value| found.contains(value)), "{found:?}");
    assert!(!found.contains(&-1.0), "it was refused");
    if H::promise(Ack::Os) == Ack::Os {
        assert!(
            acknowledged.iter().all(|value| found.contains(value)),
            "{found:?} has not all of {acknowledged:?}"
        );
    }
}

/// Sends until the hand-over knows that there is no log.
pub fn until_refused(submit: &mut impl Submit) {
    let begun = Instant::now();
    while !matches!(send_and_wait(submit, "", -2.0), Err(Outcome::Refused(LogError::Failed(_)))) {
        assert!(begun.elapsed() < LONG, "it never notices");
        thread::yield_now();
    }
}

/// One request for three partitions, of which the log takes the first record and fails. It is not repeated.
pub fn half_a_request_of_a_log_that_failed_is_not_sent_again<H: Handoff>() {
    let log = TestLog::with_fault(3, Fault::SubmitFails { after: 1 });
    let handoff = H::open(&config(), Arc::new(log.clone())).unwrap();
    let mut submit = handoff.submitter().unwrap();
    submit.frame().begin();
    for partition in 0..3 {
        push(&mut submit, &client_of(partition, 3), f64::from(partition));
    }
    let ticket = submit.submit().unwrap();
    submit.flush();
    if H::promise(Ack::Os) == Ack::Os {
        let lost = submit.wait(ticket, LONG).unwrap_err();
        assert!(lost.to_string().contains("the disk is gone"), "{lost}");
    }
    while !log.has_failed() {
        thread::yield_now();
    }
    log.set_fault(None);
    let begun = Instant::now();
    for partition in 0..3 {
        while send_and_wait(&mut submit, &client_of(partition, 3), f64::from(10 + partition)).is_err() {
            assert!(begun.elapsed() < LONG, "the log is well, and is not used");
            thread::sleep(Duration::from_millis(1));
        }
    }
    drop(submit);
    handoff.close().unwrap();
    let begun_with: Vec<f64> = [0, 1, 2].iter().flat_map(|p| log.values(*p)).filter(|v| *v < 10.0).collect();
    assert_eq!(begun_with.len(), 1, "what the log took before it failed: {begun_with:?}");
    assert!((0..3).all(|p| log.values(p).contains(&f64::from(10 + p))));
}

/// Every call may fail, and what had not settled is then in the log or not, by chance. From a seed.
pub fn chance_loses_nothing_that_was_acknowledged<H: Handoff>(seed: u64) {
    const PARTITIONS: u32 = 3;
    let log = TestLog::new(PARTITIONS);
    log.set_hiccups(7);
    log.set_chance(Some(seed));
    let small = IngestConfig { waiting_batches_max: 8, ..config() };
    // The first producer may fail as well.
    let handoff = loop {
        match H::open(&small, Arc::new(log.clone())) {
            Ok(handoff) => break handoff,
            Err(error) => assert_eq!(error, LogError::Failed("the disk is gone".into()), "seed {seed}"),
        }
    };
    let acknowledged: Vec<Vec<f64>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..3)
            .map(|thread| {
                let mut submit = handoff.submitter().unwrap();
                let mut rng = fastrand::Rng::with_seed(seed.wrapping_add(thread));
                let log = &log;
                scope.spawn(move || until_it_failed_often(&mut submit, log, thread, &mut rng))
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    log.set_chance(None);
    let _ = handoff.close(); // the last that it did may have failed
    let found = log.all_values();
    let distinct: HashSet<u64> = found.iter().map(|v| v.to_bits()).collect();
    assert_eq!(distinct.len(), found.len(), "seed {seed}: something is there twice");
    if H::promise(Ack::Os) == Ack::Os {
        for value in acknowledged.iter().flatten() {
            assert!(distinct.contains(&value.to_bits()), "seed {seed}: {value} was acknowledged and is gone");
        }
    }
    for partition in 0..PARTITIONS {
        let values = log.values(partition);
        for thread in 0..3 {
            let own: Vec<f64> = values.iter().copied().filter(|v| thread_of(*v) == thread).collect();
            assert!(own.is_sorted(), "seed {seed}: partition {partition}, thread {thread}: {own:?}");
        }
    }
}

/// Holds answers as an engine does: what has settled is acknowledged, and a loss is the loss of all that is held.
fn until_it_failed_often(
    submit: &mut impl Submit,
    log: &TestLog,
    thread: u64,
    rng: &mut fastrand::Rng,
) -> Vec<f64> {
    let clients = [0, 1, 2].map(|partition| client_of(partition, 3));
    let (mut held, mut acknowledged) = (Vec::<(Ticket, f64)>::new(), Vec::new());
    let begun = Instant::now();
    let mut n = 0;
    loop {
        let is_over = acknowledged.len() >= 200 && log.producers() > 5;
        for _ in 0..rng.u32(1..5) {
            n += 1;
            match send(submit, &clients[rng.usize(..3)], value_of(thread, n)) {
                Ok(ticket) => held.push((ticket, value_of(thread, n))),
                Err(LogError::Full | LogError::Failed(_)) => thread::sleep(Duration::from_millis(1)),
                Err(other) => panic!("{other}"),
            }
        }
        submit.flush();
        let last = held.last().map(|(ticket, _)| *ticket);
        let told = match last {
            Some(last) if is_over || rng.bool() => submit.wait(last, LONG),
            _ => submit.settled(),
        };
        match told {
            Ok(settled) => held.retain(|(ticket, value)| {
                if *ticket <= settled {
                    acknowledged.push(*value);
                }
                *ticket > settled
            }),
            Err(_) => held.clear(),
        }
        if is_over && held.is_empty() {
            return acknowledged;
        }
        assert!(begun.elapsed() < LONG, "{} are acknowledged", acknowledged.len());
    }
}
