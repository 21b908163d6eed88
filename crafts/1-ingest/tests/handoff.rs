//! The lock-free hand-over, against a log that misbehaves.
#![allow(clippy::unwrap_used, reason = "in a test that is the assertion")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small numbers of the tests' own making"
)]
#![allow(missing_docs, unreachable_pub, reason = "test support")]

mod handoff_support;

use contracts::{
    TimestampMs,
    ingest::IngestConfig,
    queue::{LogError, Ticket},
};
use handoff_support::{
    claims::{self, LONG, config, send, send_and_wait, settle},
    log::{Fault, TestLog},
};
use ingest::{
    handoff::{RingHandoff, WAITING_BYTES_MAX},
    slots::{Handoff, Incoming, Sink, Submit},
};
use proptest::prelude::*;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Wake, Waker},
    thread,
    time::{Duration, Instant},
};

#[test]
fn a_settled_ticket_is_in_the_log() {
    claims::a_settled_ticket_is_in_the_log::<RingHandoff>();
}

#[test]
fn a_stronger_ack_than_the_log_has_is_refused_at_once() {
    claims::a_stronger_ack_than_the_log_has_is_refused_at_once::<RingHandoff>();
}

#[test]
fn a_request_that_was_rolled_back_leaves_nothing() {
    claims::a_request_that_was_rolled_back_leaves_nothing::<RingHandoff>();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn everything_acknowledged_is_in_the_log_once_and_in_order(seed: u64) {
        claims::everything_acknowledged_is_in_the_log_once_and_in_order::<RingHandoff>(seed);
    }
}

#[test]
fn what_was_submitted_but_not_flushed_survives_its_submitter() {
    claims::what_was_submitted_but_not_flushed_survives_its_submitter::<RingHandoff>();
}

#[test]
fn a_full_log_becomes_back_pressure_and_loses_nothing() {
    claims::a_full_log_becomes_back_pressure_and_loses_nothing::<RingHandoff>();
}

#[test]
fn a_dead_log_is_told_to_everybody() {
    for after in [0, 1, 10] {
        claims::a_dead_log_is_told_to_everybody::<RingHandoff>(Fault::SubmitFails { after });
        claims::a_dead_log_is_told_to_everybody::<RingHandoff>(Fault::FlushFails { after });
        claims::a_dead_log_is_told_to_everybody::<RingHandoff>(Fault::Panics { after });
    }
}

#[test]
fn what_a_log_takes_late_is_acknowledged_late() {
    claims::what_a_log_takes_late_is_acknowledged_late::<RingHandoff>();
}

#[test]
fn closing_does_not_wait_for_ever() {
    claims::closing_does_not_wait_for_ever::<RingHandoff>();
    claims::closing_does_not_wait_for_a_silent_log::<RingHandoff>();
}

#[test]
fn a_request_that_a_full_log_took_in_part_is_taken_whole_and_once() {
    claims::a_request_that_a_full_log_took_in_part_is_taken_whole_and_once::<RingHandoff>();
}

#[test]
fn requests_of_one_turn_share_a_frame_and_a_record() {
    let log = TestLog::new(1);
    let handoff = RingHandoff::open(&config(), Arc::new(log.clone())).unwrap();
    let mut submit = handoff.submitter().unwrap();
    let tickets: Vec<Ticket> = (0..16).map(|n| send(&mut submit, "", f64::from(n)).unwrap()).collect();
    assert_eq!(tickets, [Ticket(1); 16]);
    submit.flush();
    settle(&mut submit, Ticket(1)).unwrap();
    assert_eq!((log.records(), log.flushes()), (1, 1));
    drop(submit);
    handoff.close().unwrap();
}

/// While the log is busy with one flush, the frames of all threads gather for the next.
#[test]
fn what_gathers_while_the_log_is_full_costs_one_flush() {
    let log = TestLog::new(1);
    log.set_room(Some(0));
    let handoff = RingHandoff::open(&config(), Arc::new(log.clone())).unwrap();
    let mut submits: Vec<_> = (0..8).map(|_| handoff.submitter().unwrap()).collect();
    for (n, submit) in submits.iter_mut().enumerate() {
        send(submit, "", n as f64).unwrap();
        submit.flush();
    }
    log.set_room(None);
    for submit in &mut submits {
        settle(submit, Ticket(1)).unwrap();
    }
    assert_eq!((log.records(), log.flushes()), (8, 1));
    drop(submits);
    handoff.close().unwrap();
}

/// A frame that is large enough does not wait for the end of the turn.
#[test]
fn a_large_frame_is_published_before_the_flush() {
    let log = TestLog::new(1);
    let handoff = RingHandoff::open(&config(), Arc::new(log.clone())).unwrap();
    let mut submit = handoff.submitter().unwrap();
    push_bytes(&mut submit, 70 << 10);
    let large = submit.submit().unwrap();
    settle(&mut submit, large).unwrap();
    let next = send(&mut submit, "", 1.0).unwrap();
    assert!(next > large, "what comes after it is in another frame");
    drop(submit);
    handoff.close().unwrap();
    assert_eq!(log.records(), 2);
}

fn push_bytes(submit: &mut impl Submit, bytes: usize) {
    submit.frame().begin();
    let long = "x".repeat(4000);
    for n in 0..bytes.div_ceil(long.len()) {
        let n = n.to_string();
        let labels = &[("long", long.as_str()), ("n", n.as_str())];
        let sample = Incoming { client: "", name: "a", labels, timestamp: TimestampMs(1), value: 1.0 };
        submit.frame().push(&sample).unwrap();
    }
}

#[test]
fn what_waits_is_bounded_by_bytes_and_one_frame_of_any_size_passes() {
    let log = TestLog::new(1);
    log.set_room(Some(0));
    let handoff = RingHandoff::open(&config(), Arc::new(log.clone())).unwrap();
    let mut submit = handoff.submitter().unwrap();
    let (mut frames, mut last) = (0, Ticket(0));
    while frames < 50 {
        push_bytes(&mut submit, 8 << 20);
        match submit.submit() {
            Ok(ticket) => (frames, last) = (frames + 1, ticket),
            Err(error) => {
                assert_eq!(error, LogError::Full);
                break;
            }
        }
    }
    // A buffer may be twice its content.
    assert!((WAITING_BYTES_MAX / (16 << 20)..=WAITING_BYTES_MAX / (8 << 20)).contains(&frames), "{frames}");
    log.set_room(None);
    settle(&mut submit, last).unwrap();
    push_bytes(&mut submit, WAITING_BYTES_MAX + 1);
    let large = submit.submit().unwrap();
    settle(&mut submit, large).unwrap();
    drop(submit);
    handoff.close().unwrap();
}

struct Rings(AtomicUsize);

impl Wake for Rings {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn rings_within(rings: &Rings, at_least: usize) {
    let begun = Instant::now();
    while rings.0.load(Ordering::SeqCst) < at_least {
        assert!(begun.elapsed() < LONG, "nobody rings");
        thread::yield_now();
    }
}

#[test]
fn the_waker_rings_when_something_settles_and_when_nothing_ever_will() {
    let log = TestLog::with_fault(1, Fault::SubmitFails { after: 1 });
    let handoff = RingHandoff::open(&config(), Arc::new(log)).unwrap();
    let mut submit = handoff.submitter().unwrap();
    let rings = Arc::new(Rings(AtomicUsize::new(0)));
    submit.set_waker(Waker::from(rings.clone()));
    let first = send(&mut submit, "", 1.0).unwrap();
    submit.flush();
    rings_within(&rings, 1);
    assert_eq!(submit.settled().unwrap(), first);
    send(&mut submit, "", 2.0).unwrap();
    submit.flush();
    rings_within(&rings, 2);
    assert!(submit.settled().unwrap_err().to_string().contains("the disk is gone"));
    assert_eq!(rings.0.load(Ordering::SeqCst), 2, "once for each");
}

#[test]
fn who_has_a_waker_may_still_wait() {
    let log = TestLog::new(1);
    log.hold();
    let handoff = RingHandoff::open(&config(), Arc::new(log.clone())).unwrap();
    let mut submit = handoff.submitter().unwrap();
    let rings = Arc::new(Rings(AtomicUsize::new(0)));
    submit.set_waker(Waker::from(rings.clone()));
    let ticket = send(&mut submit, "", 1.0).unwrap();
    submit.flush();
    assert!(submit.wait(ticket, Duration::from_millis(5)).unwrap() < ticket);
    assert_eq!(rings.0.load(Ordering::SeqCst), 0);
    assert!(submit.settled().unwrap() < ticket);
    log.release();
    rings_within(&rings, 1);
    settle(&mut submit, ticket).unwrap();
}

#[test]
fn a_ring_can_be_opened_and_left_at_any_time() {
    let log = TestLog::new(1);
    let handoff = RingHandoff::open(&config(), Arc::new(log.clone())).unwrap();
    thread::scope(|scope| {
        for thread in 0..4 {
            let handoff = &handoff;
            scope.spawn(move || {
                for n in 0..50 {
                    let mut submit = handoff.submitter().unwrap();
                    let value = f64::from(thread * 100 + n);
                    if n % 2 == 0 {
                        send_and_wait(&mut submit, "", value).unwrap();
                    } else {
                        send(&mut submit, "", value).unwrap(); // and gone
                    }
                }
            });
        }
    });
    handoff.close().unwrap();
    let mut found = log.values(0);
    found.sort_by(f64::total_cmp);
    let sent: Vec<f64> = (0..4).flat_map(|t| (0..50).map(move |n| f64::from(t * 100 + n))).collect();
    assert_eq!(found, sent);
}

/// A ring whose thread is gone is forgotten, but not before the log has settled what came through it.
#[test]
fn a_ring_that_was_left_still_counts_until_it_has_settled() {
    let log = TestLog::new(1);
    log.hold();
    let impatient = IngestConfig { settle_timeout: Duration::from_millis(20), ..config() };
    let handoff = RingHandoff::open(&impatient, Arc::new(log.clone())).unwrap();
    let mut submit = handoff.submitter().unwrap();
    send(&mut submit, "", 1.0).unwrap();
    drop(submit);
    while log.records() < 1 {
        thread::yield_now();
    }
    drop(handoff.submitter().unwrap()); // a new ring is when old ones are looked through
    let error = handoff.close().unwrap_err();
    assert!(error.to_string().contains("not settled"), "{error}");
}

#[test]
fn no_ring_is_opened_to_a_writer_that_panicked() {
    let log = TestLog::with_fault(1, Fault::Panics { after: 0 });
    let handoff = RingHandoff::open(&config(), Arc::new(log)).unwrap();
    let mut submit = handoff.submitter().unwrap();
    send_and_wait(&mut submit, "", 1.0).unwrap_err();
    let panicked = LogError::Failed("its writer panicked: the log has a bug".into());
    assert_eq!(handoff.submitter().err(), Some(panicked.clone()));
    drop(submit);
    assert_eq!(handoff.close(), Err(panicked));
}

#[test]
fn a_log_that_failed_is_used_again() {
    for after in [0, 1, 10] {
        claims::a_log_that_failed_is_used_again::<RingHandoff>(Fault::SubmitFails { after });
        claims::a_log_that_failed_is_used_again::<RingHandoff>(Fault::FlushFails { after: after + 1 });
    }
}

#[test]
fn half_a_request_of_a_log_that_failed_is_not_sent_again() {
    claims::half_a_request_of_a_log_that_failed_is_not_sent_again::<RingHandoff>();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    #[test]
    fn chance_loses_nothing_that_was_acknowledged(seed: u64) {
        claims::chance_loses_nothing_that_was_acknowledged::<RingHandoff>(seed);
    }
}

#[test]
fn a_loss_is_told_once_and_hides_behind_no_later_ticket() {
    let log = TestLog::with_fault(1, Fault::FlushFails { after: 1 });
    let handoff = RingHandoff::open(&config(), Arc::new(log.clone())).unwrap();
    let (mut submit, mut other) = (handoff.submitter().unwrap(), handoff.submitter().unwrap());
    let rings = Arc::new(Rings(AtomicUsize::new(0)));
    submit.set_waker(Waker::from(rings.clone()));
    let lost = send(&mut submit, "", 1.0).unwrap();
    submit.flush();
    rings_within(&rings, 1);
    claims::until_refused(&mut other);
    log.set_fault(None);
    // The submitter has not asked yet what became of the first, and sends another.
    let begun = Instant::now();
    let later = loop {
        match send(&mut submit, "", 2.0) {
            Ok(ticket) => break ticket,
            Err(error) => assert!(begun.elapsed() < LONG, "{error}"),
        }
        thread::sleep(Duration::from_millis(1));
    };
    submit.flush();
    rings_within(&rings, 2); // it has settled, not only arrived
    submit.settled().unwrap_err();
    settle(&mut submit, later).unwrap();
    assert!(later > lost);
    drop((submit, other));
    handoff.close().unwrap();
}

/// Frames and bytes: else a log that fails often would leave a ring that takes nothing.
#[test]
fn what_was_lost_leaves_its_room() {
    let log = TestLog::new(1);
    let handoff = RingHandoff::open(&config(), Arc::new(log.clone())).unwrap();
    let mut submit = handoff.submitter().unwrap();
    let mut took = Vec::<u32>::new();
    for _ in 0..3 {
        log.set_room(Some(0));
        let mut frames = 0;
        let begun = Instant::now();
        loop {
            push_bytes(&mut submit, 8 << 20);
            match submit.submit() {
                Ok(_) => frames += 1,
                Err(LogError::Full) => break,
                // From the round before; it has not been asked for a producer yet.
                Err(error) => assert!(begun.elapsed() < LONG, "{error}"),
            }
        }
        took.push(frames);
        log.set_fault(Some(Fault::SubmitFails { after: 0 }));
        let lost = submit.wait(Ticket(u64::MAX), LONG).unwrap_err();
        assert!(lost.to_string().contains("the disk is gone"), "{lost}");
        log.set_fault(None);
    }
    // The writer holds one frame more once it has begun with it.
    assert!(took.iter().all(|frames| frames.abs_diff(took[0]) <= 1), "{took:?}");
    assert_eq!(log.records(), 0);
}

#[test]
fn closing_without_a_log_says_why_and_waits_for_nothing() {
    let log = TestLog::with_fault(1, Fault::SubmitFails { after: 0 });
    let handoff = RingHandoff::open(&config(), Arc::new(log)).unwrap();
    let mut submit = handoff.submitter().unwrap();
    send(&mut submit, "", 1.0).unwrap();
    drop(submit);
    let begun = Instant::now();
    assert_eq!(handoff.close(), Err(LogError::Failed("the disk is gone".into())));
    assert!(begun.elapsed() < LONG);
}

#[test]
fn a_ring_of_one_frame_works() {
    let log = TestLog::new(1);
    let tiny = IngestConfig { waiting_batches_max: 0, ..config() };
    let handoff = RingHandoff::open(&tiny, Arc::new(log.clone())).unwrap();
    let mut submit = handoff.submitter().unwrap();
    for n in 0..100 {
        send_and_wait(&mut submit, "", f64::from(n)).unwrap();
    }
    drop(submit);
    handoff.close().unwrap();
    assert_eq!(log.values(0).len(), 100);
}
