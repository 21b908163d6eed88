//! The proof that the named tests are right: every phase's own variant passes those of its slot and phase, and the variant
//! before a step breaks those that the step is about.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

use contracts::queue::Log;
use ingest::{engine::ReactorPerCore, handoff::RingHandoff, limit::ShardedLimiter, parse::SinglePass, ring};
use ingest_phases::{
    PHASES,
    engine::{
        event_loop::EventLoop, keep_alive::KeepAlive, sequential::Sequential,
        thread_per_connection::ThreadPerConnection, thread_pool::ThreadPool,
    },
    handoff::{in_request::InRequest, queue_writer::QueueWriter},
    limit::global::GlobalLimiter,
    parse::find::FindParser,
};
use lab_kit::{CountingAllocator, Lab, Ring, Slot, check::Verdict, engine, handoff, limit, parse, queue};
use phase0::queue::MemoryLog;
use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// As a lab's own program has it.
#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Threads and allocations are counted for the whole process: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The slots as they are filled in a phase.
fn slots_of(phase: u32) -> [(&'static str, Slot); 4] {
    let engine = match phase {
        0 => engine::<Sequential>(),
        1..5 => engine::<ThreadPerConnection>(),
        5..7 => engine::<KeepAlive>(),
        7 => engine::<ThreadPool>(),
        8 => engine::<EventLoop>(),
        _ => engine::<ReactorPerCore>(),
    };
    let parse = if phase < 3 { parse::<FindParser>() } else { parse::<SinglePass>() };
    let limit = if phase < 4 { limit::<GlobalLimiter>() } else { limit::<ShardedLimiter>() };
    let handoff = match phase {
        0..2 => handoff::<InRequest>(),
        2..6 => handoff::<QueueWriter>(),
        _ => handoff::<RingHandoff>().on(Ring {
            ring: ring::ring,
            has_room: ring::Pusher::has_room,
            push: ring::Pusher::push,
            is_empty: ring::Popper::is_empty,
            pop: ring::Popper::pop,
        }),
    };
    [("engine", engine), ("parse", parse), ("limit", limit), ("handoff", handoff)]
}

/// The slot that a phase changes.
fn changed(phase: u32) -> &'static str {
    match phase {
        2 | 6 => "handoff",
        3 => "parse",
        4 => "limit",
        _ => "engine",
    }
}

fn slot(phase: u32, name: &str) -> Slot {
    slots_of(phase).into_iter().find(|(slot, _)| *slot == name).unwrap().1
}

/// The names of the tests of a phase that a slot breaks, with what they say.
fn broken(slot: &Slot, phase: u32) -> Vec<(String, Verdict)> {
    let run = slot.tests_of(phase).map(|test| (test.name.clone(), test.run()));
    run.filter(|(_, verdict)| matches!(verdict, Verdict::Broken(_))).collect()
}

#[test]
fn every_phase_passes_the_tests_of_the_slot_that_it_changes() {
    let _alone = alone();
    for phase in 0..=9 {
        let broken = broken(&slot(phase, changed(phase)), phase);
        assert!(broken.is_empty(), "phase {phase}, {}: {broken:#?}", changed(phase));
    }
}

#[test]
fn every_phase_passes_the_tests_of_its_other_slots() {
    let _alone = alone();
    // Neighbours share most of their slots: these are all there are.
    for (phase, name) in [(0, "parse"), (0, "limit"), (1, "handoff"), (5, "handoff"), (6, "engine")] {
        let broken = broken(&slot(phase, name), phase);
        assert!(broken.is_empty(), "phase {phase}, {name}: {broken:#?}");
    }
}

/// What each step is about, in those that are no matter of speed: what stood there before does not do it.
#[test]
fn the_form_before_a_step_breaks_what_the_step_is_about_and_nothing_else() {
    let _alone = alone();
    let steps: [(u32, &[&str]); 8] = [
        (
            1,
            &[
                "a-slow-client-stops-nobody",
                "who-waits-for-the-log-stops-nobody",
                "a-loss-is-told-to-everybody-who-waits",
                "connections-beyond-the-limit-are-told-so",
            ],
        ),
        (2, &["a-busy-log-holds-up-no-request", "what-waits-for-a-busy-log-costs-one-flush"]),
        (3, &[]),
        (4, &["a-window-slides-over-the-border-of-a-second"]),
        (
            5,
            &[
                "a-connection-serves-many-requests",
                "answers-come-in-the-order-of-requests",
                "requests-that-come-together-are-handed-over-together",
                "large-answers-to-requests-in-one-write-all-arrive",
                "a-connection-may-rest-between-requests",
                "a-connection-that-has-waited-can-wait-again",
            ],
        ),
        (7, &["threads-are-bounded", "who-finds-the-queue-full-is-told-so"]),
        (
            8,
            &[
                "a-connection-may-rest-between-requests",
                "a-client-that-stays-keeps-nobody-waiting",
                "a-thousand-silent-connections-stop-nobody",
                "an-answer-from-another-thread-arrives",
            ],
        ),
        (9, &["connections-are-spread-over-the-reactors"]),
    ];
    for (phase, expected) in steps {
        let found: BTreeSet<String> =
            broken(&slot(phase - 1, changed(phase)), phase).into_iter().map(|(name, _)| name).collect();
        let expected: BTreeSet<String> = expected.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(found, expected, "phase {phase}");
    }
}

#[test]
fn a_ticket_of_the_queue_is_worth_less_than_the_ring_gives() {
    let _alone = alone();
    let found: Vec<String> = broken(&slot(5, "handoff"), 6).into_iter().map(|(name, _)| name).collect();
    assert!(found.contains(&"a-202-is-worth-what-was-configured".to_owned()), "{found:?}");
    assert!(found.contains(&"a-ticket-settles-when-the-log-has".to_owned()), "{found:?}");
}

#[test]
fn what_is_counted_shows_the_step() {
    let _alone = alone();
    for (phase, name) in [
        (2, "flushes_per_thousand_requests"),
        (3, "allocations_per_body"),
        (5, "accepts_per_thousand_requests"),
        (6, "allocations_per_request"),
        (7, "threads_per_thousand_connections"),
        (8, "threads_per_thousand_connections"),
    ] {
        let slot = slot(phase, changed(phase));
        let counter = slot.counters_of(phase).find(|counter| counter.name == name).unwrap();
        let (before, after) = ((counter.of_phase)(phase - 1).unwrap(), (counter.of_phase)(phase).unwrap());
        assert!(after <= before * 0.2, "{name}: {before} before phase {phase}, {after} in it");
        let mine = (counter.mine)().unwrap();
        assert!(mine <= before * 0.2, "{name}: {mine} of the type itself, {before} before it");
    }
}

#[test]
fn the_warm_up_has_every_claim_on_a_log_as_a_test() {
    let _alone = alone();
    let slot = queue::<MemoryLog>();
    let tests: Vec<_> = slot.tests_of(0).collect();
    assert!(tests.len() >= 30, "{} tests", tests.len());
    let broken = broken(&slot, 0);
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(MemoryLog::default().partitions() > 0);
}

#[test]
fn every_server_passes_the_claims_of_ingestion() {
    let _alone = alone();
    for phase in PHASES {
        let lab = Lab { slug: "any", phase: Some(0), slot: limit::<GlobalLimiter>(), server: Some(phase) };
        let all = lab.tests();
        let own = lab.slot.tests_of(0).count();
        assert!(all.len() >= own + 18, "{} claims", all.len() - own);
        for test in &all[own..] {
            assert_eq!(test.run(), Verdict::Holds(()), "{}: {}", phase.name, test.name);
        }
    }
}

#[test]
fn names_are_words_with_hyphens_and_no_lab_has_one_twice() {
    for phase in 0..=9 {
        for (_, slot) in slots_of(phase) {
            let server = PHASES.iter().find(|p| p.name == format!("phase{phase}")).copied();
            let names: Vec<String> = Lab { slug: "any", phase: Some(phase), slot, server }
                .tests()
                .into_iter()
                .map(|t| t.name)
                .collect();
            let is_word = |name: &String| {
                name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            };
            assert!(names.iter().all(is_word), "{names:?}");
            assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
        }
    }
}
