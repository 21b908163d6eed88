//! The hand-overs of the earlier phases, against a log that misbehaves.
#![allow(clippy::unwrap_used, reason = "in a test that is the assertion")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small numbers of the tests' own making"
)]
#![allow(missing_docs, unreachable_pub, dead_code, reason = "test support, some of it for others")]

#[path = "../../tests/handoff_support/mod.rs"]
mod handoff_support;

use contracts::{
    ingest::IngestConfig,
    queue::{Ack, LogError, Ticket},
};
use handoff_support::{
    claims::{self, Outcome, client_of, config, push, send, send_and_wait},
    log::{Fault, TestLog},
};
use ingest::{
    handoff::RingHandoff,
    slots::{Handoff, Submit},
};
use ingest_phases::handoff::{in_request::InRequest, queue_writer::QueueWriter};
use proptest::prelude::*;
use std::{sync::Arc, thread, time::Duration};

#[test]
fn each_says_what_its_tickets_promise() {
    let promises = [InRequest::promise, QueueWriter::promise, RingHandoff::promise].map(|of| of(Ack::Disk));
    assert_eq!(promises, [Ack::Disk, Ack::Memory, Ack::Disk]);
}

#[test]
fn a_settled_ticket_is_in_the_log_where_that_is_promised() {
    claims::a_settled_ticket_is_in_the_log::<InRequest>();
    claims::a_settled_ticket_is_in_the_log::<QueueWriter>();
}

#[test]
fn a_stronger_ack_than_the_log_has_is_refused_at_once() {
    claims::a_stronger_ack_than_the_log_has_is_refused_at_once::<InRequest>();
    claims::a_stronger_ack_than_the_log_has_is_refused_at_once::<QueueWriter>();
}

#[test]
fn a_request_that_was_rolled_back_leaves_nothing() {
    claims::a_request_that_was_rolled_back_leaves_nothing::<InRequest>();
    claims::a_request_that_was_rolled_back_leaves_nothing::<QueueWriter>();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]
    #[test]
    fn everything_acknowledged_is_in_the_log_once_and_in_order(seed: u64) {
        claims::everything_acknowledged_is_in_the_log_once_and_in_order::<InRequest>(seed);
        claims::everything_acknowledged_is_in_the_log_once_and_in_order::<QueueWriter>(seed);
    }
}

#[test]
fn what_was_submitted_but_not_flushed_survives_its_submitter() {
    claims::what_was_submitted_but_not_flushed_survives_its_submitter::<InRequest>();
    claims::what_was_submitted_but_not_flushed_survives_its_submitter::<QueueWriter>();
}

#[test]
fn a_full_log_becomes_back_pressure_and_loses_nothing() {
    claims::a_full_log_becomes_back_pressure_and_loses_nothing::<InRequest>();
    claims::a_full_log_becomes_back_pressure_and_loses_nothing::<QueueWriter>();
}

#[test]
fn a_dead_log_is_told_to_everybody() {
    for after in [0, 1, 10] {
        for fault in [Fault::SubmitFails { after }, Fault::FlushFails { after }] {
            claims::a_dead_log_is_told_to_everybody::<InRequest>(fault);
            claims::a_dead_log_is_told_to_everybody::<QueueWriter>(fault);
        }
        claims::a_dead_log_is_told_to_everybody::<QueueWriter>(Fault::Panics { after });
    }
}

#[test]
fn a_log_that_failed_is_used_again() {
    for after in [0, 1, 10] {
        for fault in [Fault::SubmitFails { after }, Fault::FlushFails { after: after + 1 }] {
            claims::a_log_that_failed_is_used_again::<InRequest>(fault);
            claims::a_log_that_failed_is_used_again::<QueueWriter>(fault);
        }
    }
}

#[test]
fn half_a_request_of_a_log_that_failed_is_not_sent_again() {
    claims::half_a_request_of_a_log_that_failed_is_not_sent_again::<InRequest>();
    claims::half_a_request_of_a_log_that_failed_is_not_sent_again::<QueueWriter>();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]
    #[test]
    fn chance_loses_nothing_that_was_acknowledged(seed: u64) {
        claims::chance_loses_nothing_that_was_acknowledged::<InRequest>(seed);
        claims::chance_loses_nothing_that_was_acknowledged::<QueueWriter>(seed);
    }
}

/// Two requests of one turn: the second settles, and says nothing of the first.
#[test]
fn a_request_that_was_lost_is_not_acknowledged_with_the_next() {
    let log = TestLog::with_fault(1, Fault::FlushFails { after: 1 });
    let handoff = InRequest::open(&config(), Arc::new(log.clone())).unwrap();
    let mut submit = handoff.submitter().unwrap();
    let lost = send(&mut submit, "", 1.0).unwrap();
    log.set_fault(None);
    let later = send(&mut submit, "", 2.0).unwrap();
    submit.settled().unwrap_err();
    assert_eq!(submit.settled(), Ok(later));
    assert!(later > lost);
}

#[test]
fn closing_does_not_wait_for_ever() {
    claims::closing_does_not_wait_for_ever::<QueueWriter>();
    claims::closing_does_not_wait_for_a_silent_log::<QueueWriter>();
}

#[test]
fn a_request_that_a_full_log_took_in_part_is_taken_whole_and_once() {
    claims::a_request_that_a_full_log_took_in_part_is_taken_whole_and_once::<InRequest>();
    claims::a_request_that_a_full_log_took_in_part_is_taken_whole_and_once::<QueueWriter>();
}

/// What the queue cannot do, and why its promise is memory: the log has nothing yet, and the ticket has settled.
#[test]
fn the_queue_acknowledges_before_the_log_has_anything() {
    let log = TestLog::new(1);
    log.set_room(Some(0));
    let handoff = QueueWriter::open(&config(), Arc::new(log.clone())).unwrap();
    let mut submit = handoff.submitter().unwrap();
    send_and_wait(&mut submit, "", 1.0).unwrap();
    assert_eq!(log.records(), 0);
    log.set_room(None);
    drop(submit);
    handoff.close().unwrap();
    assert_eq!(log.values(0), [1.0]);
}

#[test]
fn what_waits_in_the_queue_is_written_with_one_flush() {
    let log = TestLog::new(1);
    log.set_room(Some(0));
    let handoff = QueueWriter::open(&config(), Arc::new(log.clone())).unwrap();
    let mut submit = handoff.submitter().unwrap();
    for n in 0..100 {
        send_and_wait(&mut submit, "", f64::from(n)).unwrap();
    }
    log.set_room(None);
    drop(submit);
    handoff.close().unwrap();
    assert_eq!(log.values(0).len(), 100);
    // The writer may have begun with some of them when the rest came.
    assert!((1..=2).contains(&log.flushes()), "{} flushes", log.flushes());
}

#[test]
fn a_request_that_writes_itself_waits_for_the_log_and_gives_up_in_time() {
    let log = TestLog::new(1);
    log.hold();
    let impatient = IngestConfig { settle_timeout: Duration::from_millis(20), ..config() };
    let handoff = InRequest::open(&impatient, Arc::new(log.clone())).unwrap();
    let mut submit = handoff.submitter().unwrap();
    let Err(Outcome::Lost(lost)) = send_and_wait(&mut submit, "", 1.0) else {
        panic!("nobody can know that it settled")
    };
    assert!(lost.to_string().contains("not settled after 20ms"), "{lost}");
    log.release();
    send_and_wait(&mut submit, "", 2.0).unwrap();
    assert_eq!(log.values(0), [1.0, 2.0]);
}

/// A part has been taken, and the rest never is: nobody may say that nothing was taken.
#[test]
fn half_a_request_is_neither_acknowledged_nor_refused() {
    let log = TestLog::new(2);
    log.set_room(Some(1));
    let impatient = IngestConfig { settle_timeout: Duration::from_millis(20), ..config() };
    let handoff = InRequest::open(&impatient, Arc::new(log)).unwrap();
    let mut submit = handoff.submitter().unwrap();
    submit.frame().begin();
    push(&mut submit, &client_of(0, 2), 1.0);
    push(&mut submit, &client_of(1, 2), 2.0);
    let ticket = submit.submit().unwrap();
    submit.wait(ticket, Duration::ZERO).unwrap_err();
    assert_eq!(send(&mut submit, "", 3.0), Err(LogError::Full), "and this one was not taken at all");
    assert_eq!(submit.settled(), Ok(Ticket(1)));
}

#[test]
fn threads_take_turns_at_the_one_producer() {
    let log = TestLog::new(1);
    let handoff = InRequest::open(&config(), Arc::new(log.clone())).unwrap();
    thread::scope(|scope| {
        for thread in 0..4 {
            let mut submit = handoff.submitter().unwrap();
            scope.spawn(move || {
                for n in 0..50 {
                    send_and_wait(&mut submit, "", f64::from(thread * 100 + n)).unwrap();
                }
            });
        }
    });
    assert_eq!((log.records(), log.flushes()), (200, 200), "a flush a request is what it costs");
}
