//! What a lab's own program links: its named tests, its counters, and its way into the pipeline.
//!
//! A learner's crate has one slot of its own. The kit takes the type that fills it, or the log that it is a part of, and
//! makes of it a program with four words:
//!
//! ```text
//! lab check [NAME]…     the slot's tests, and the claims on the whole server or log           (JSON, a line each)
//! lab count             what can be counted, of the form before, the learner's, the reference (JSON, a line each)
//! lab serve --phase …   a phase server, to be measured: `mine`, or any phase of the course
//! lab up                the whole pipeline with the page, and `mine` in its slot
//! ```
//!
//! Invariants: feedback holds no port, address or time, so that the same fault gives the same text; what the learner's code
//! does to its thread ends a test and no other; every phase's own variant passes the tests of its slot, which the kit's
//! tests prove.
//!
//! What it does not do: bound the time of a test. Whoever reads along does that: a program that says nothing hangs in the
//! test that it has begun.

pub mod check;

mod parse;

mod limit;

mod handoff;

mod ring;

mod engine;

mod queue;

mod log;

mod black_box;

pub mod count;

mod program;

mod up;

pub use benches::phase_server::CountingAllocator;
pub use engine::engine;
pub use handoff::handoff;
pub use limit::limit;
pub use log::log;
pub use parse::parse;
pub use program::main;
pub use queue::queue;
pub use ring::{Item, Ring};

use check::Test;
use count::Counter;
use ingest_phases::{Open, Phase, phase};
use platform::slots::OpenQueue;
use std::sync::Arc;

/// The name of the learner's own form, beside `phase0` to `phase9`.
pub const MINE: &str = "mine";
/// What it is, in a few words.
pub(crate) const TITLE: &str = "what you wrote";

/// A lab, as its program knows it.
pub struct Lab {
    /// Its stable name.
    pub slug: &'static str,
    /// The step of the craft; the warm-up is none.
    pub phase: Option<u32>,
    /// The slot that the learner fills.
    pub slot: Slot,
    /// The server with the learner's slot in it, where there is a server.
    pub server: Option<Phase>,
}

/// What is known of a slot that is filled by some type.
pub struct Slot {
    /// Its tests, of all phases.
    tests: Vec<Test>,
    /// What can be counted of it, in all phases.
    counters: Vec<Counter>,
    /// How to put it into the pipeline, where it is the queue.
    queue: Option<Arc<OpenQueue>>,
}

impl Slot {
    /// Its tests in a lab on this phase.
    pub fn tests_of(&self, phase: u32) -> impl Iterator<Item = &Test> {
        self.tests.iter().filter(move |test| test.phases.contains(&phase))
    }

    /// Its counters in a lab on this phase.
    pub fn counters_of(&self, phase: u32) -> impl Iterator<Item = &Counter> {
        self.counters.iter().filter(move |counter| counter.phases.contains(&phase))
    }
}

impl Lab {
    /// The tests of the lab, in the order in which they are run: those of the slot, then the claims on the server.
    pub fn tests(&self) -> Vec<Test> {
        let phase = self.phase.unwrap_or_default();
        let claims = self.server.as_ref().map(black_box::claims).unwrap_or_default();
        self.slot.tests_of(phase).cloned().chain(claims).collect()
    }
}

/// The server of a phase with the learner's slot in it.
pub fn server<S: Open>() -> Phase {
    phase::<S>(MINE, TITLE)
}
