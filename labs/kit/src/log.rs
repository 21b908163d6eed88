//! The log of craft 2, with one of its slots filled by a learner. It is tried as a whole: what a store, a commit, a group or
//! a transfer is good for shows in what becomes of records.
//!
//! It lies on a disk in memory ([`disk`]), so that a crash can be tried at each byte, a sync be held and counted, and
//! every test find the same each time. Each test has a log of its own.

mod counters;

mod crash;

mod disk;

mod duplicates;

mod groups;

mod readers;

mod rig;

mod segments;

mod share;

use crate::{
    MINE, Slot,
    check::{Check, Test},
    queue::claims,
};
use platform::slots::{QueueSetup, open_queue};
use queue_phases::{Open, OpenPhaseOn as OpenOn};
use rig::Rig;
use std::sync::Arc;

/// The log, with the learner's slot in it.
pub fn log<L: Open>() -> Slot {
    let open: OpenOn = L::open_on;
    let own = [crash::TESTS, segments::TESTS, share::TESTS, groups::TESTS, duplicates::TESTS].concat();
    let own = own.into_iter().map(|test| test.of(open));
    Slot {
        tests: own.chain(claims(move || Rig::new(open).claimed())).collect(),
        counters: counters::counters::<L>(),
        queue: Some(Arc::new(|setup: &QueueSetup<'_>| {
            open_queue(setup, MINE, |dir, config| L::open(dir, config).map(|o| (o.log as _, o.recovery)))
        })),
    }
}

/// A test of any log, from the phase on that it is about.
#[derive(Clone, Copy)]
struct LogTest {
    since: u32,
    name: &'static str,
    run: fn(OpenOn) -> Check,
}

impl LogTest {
    const fn since(since: u32, name: &'static str, run: fn(OpenOn) -> Check) -> Self {
        Self { since, name, run }
    }

    fn of(self, open: OpenOn) -> Test {
        Test::new(self.name.to_owned(), self.since..=u32::MAX, move || (self.run)(open))
    }
}
