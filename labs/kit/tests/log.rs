//! The tests of a log hold of every phase from the one that they are about on, and break in the form before it.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

use lab_kit::{Slot, check::Verdict, log};
use queue_phases::{Phase0, Phase1, Phase2, Phase3, Phase4, Phase5, Phase6};
use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// What is counted is the whole process's: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn phase(number: u32) -> Slot {
    match number {
        0 => log::<Phase0>(),
        1 => log::<Phase1>(),
        2 => log::<Phase2>(),
        3 => log::<Phase3>(),
        4 => log::<Phase4>(),
        5 => log::<Phase5>(),
        _ => log::<Phase6>(),
    }
}

/// The names of the tests of a phase that a log breaks, with what they say.
fn broken(slot: &Slot, phase: u32) -> Vec<(String, Verdict)> {
    let run = slot.tests_of(phase).map(|test| (test.name.clone(), test.run()));
    run.filter(|(_, verdict)| matches!(verdict, Verdict::Broken(_))).collect()
}

#[test]
fn every_phase_passes_its_tests() {
    let _alone = alone();
    for number in 0..=6 {
        let broken = broken(&phase(number), number);
        assert!(broken.is_empty(), "phase {number}: {broken:#?}");
    }
}

/// The form before has not learnt what the step is about.
#[test]
fn the_form_before_a_step_breaks_what_the_step_is_about() {
    let _alone = alone();
    let steps: [(u32, &[&str]); 6] = [
        (1, &["what-was-acknowledged-survives-a-kill", "what-was-acknowledged-at-disk-survives-a-power-cut"]),
        (2, &["an-answer-at-os-costs-no-sync", "a-flipped-bit-is-never-handed-out"]),
        (3, &["a-log-is-opened-by-its-last-segment"]),
        (4, &["who-waits-while-a-sync-is-under-way-shares-the-next"]),
        (5, &["members-share-the-partitions-and-leave-none-out", "who-is-silent-for-too-long-is-expelled"]),
        (6, &["a-batch-that-comes-again-is-taken-once"]),
    ];
    for (number, expected) in steps {
        let found: BTreeSet<String> =
            broken(&phase(number - 1), number).into_iter().map(|(name, _)| name).collect();
        for name in expected {
            assert!(found.contains(*name), "phase {} does not break {name}: {found:?}", number - 1);
        }
    }
}

#[test]
fn what_is_counted_shows_the_step() {
    let _alone = alone();
    for (number, name, at_most) in [
        (2, "syncs_per_thousand_messages", 0.6),
        (3, "bytes_read_to_open_a_log", 0.2),
        (4, "syncs_per_thousand_messages", 0.05),
        (5, "messages_read_twice", 0.1),
        (6, "bytes_written_per_record", 0.6),
    ] {
        let slot = phase(number);
        let counter = slot.counters_of(number).find(|counter| counter.name == name).unwrap();
        let (before, after) = ((counter.of_phase)(number - 1).unwrap(), (counter.of_phase)(number).unwrap());
        assert!(after <= before * at_most, "{name}: {before} before phase {number}, {after} in it");
        assert_eq!((counter.mine)().unwrap(), after, "{name} of the type itself");
    }
}

#[test]
fn a_batch_in_files_costs_a_sync_a_message_and_one_more() {
    let _alone = alone();
    let slot = phase(1);
    let counter = slot.counters_of(1).find(|counter| counter.name == "syncs_per_message_of_a_batch").unwrap();
    let (before, after) = ((counter.of_phase)(0).unwrap(), (counter.of_phase)(1).unwrap());
    assert!(before <= 0.0, "a list in memory syncs nothing");
    assert!(after > 1.0 && after < 1.1, "{after}");
}
