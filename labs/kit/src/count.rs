//! Counters: what a form costs, counted and not timed.
//!
//! A count hardly depends on the machine and not at all on what else runs there. So it is preferred to a clock wherever a
//! step of the course shows in one. Three forms are counted in one process: the one before the step, the learner's, and
//! the reference.

use anyhow::{Result, ensure};
use benches::phase_server::allocator;
use std::{collections::BTreeSet, ffi::OsString, fs, ops::RangeInclusive};

/// Something that can be counted of a slot.
pub struct Counter {
    /// Its name, with its unit: `allocations_per_body`.
    pub name: &'static str,
    /// The phases whose step shows in it.
    pub phases: RangeInclusive<u32>,
    /// Counts what the learner wrote.
    pub mine: Count,
    /// Counts what fills the slot in a phase of the course.
    pub of_phase: fn(u32) -> Result<f64>,
}

/// Counts one form.
pub type Count = fn() -> Result<f64>;

/// How many allocations all threads of this process make meanwhile.
///
/// # Errors
/// When this program has no allocator that counts, or what is done fails.
pub fn allocations(during: impl FnOnce() -> Result<()>) -> Result<u64> {
    allocator::start_counting();
    ensure!(
        allocator::is_installed(),
        "this program does not count its allocations: its main.rs needs a #[global_allocator]"
    );
    let before = allocator::count().unwrap_or_default();
    during()?;
    Ok(allocator::count().unwrap_or_default() - before)
}

/// The threads of a process at some moment, by their ids.
///
/// They are told apart and not only counted, because a thread that has nothing left to do still takes its time to end:
/// those of a server that was counted before may be there when the next one begins, and gone when it is counted.
pub struct Threads(BTreeSet<OsString>);

impl Threads {
    /// Those of this process, now. `None` where the system does not tell.
    pub fn now() -> Option<Self> {
        let tasks = fs::read_dir("/proc/self/task").ok()?;
        Some(Self(tasks.filter_map(|task| Some(task.ok()?.file_name())).collect()))
    }

    /// How many have been started since, and have not ended.
    pub fn started_since(&self) -> usize {
        Self::now().map_or(0, |now| now.0.difference(&self.0).count())
    }
}
