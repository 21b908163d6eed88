//! The work of each load within a process.

mod counters;
mod crash;
mod limits;
mod mapped;
mod partitions;
mod producing;
mod rebalance;
mod restart;
mod sending;

pub(super) use producing::{FILL_BYTES, RETENTION_BYTES, rates, raw};

use super::slice::{Figures, Task};
use anyhow::{Result, bail};

/// Measures the task's subject under its load.
///
/// # Errors
/// When the subject does not stand it.
pub fn measure(task: &Task) -> Result<Figures> {
    match task.load.as_str() {
        "kill-9" => crash::measure(task),
        "restart" => restart::measure(task),
        "rebalance" => rebalance::measure(task),
        "fetch" => sending::fetch(task),
        "readers" => sending::readers(task),
        "one-of-64" => partitions::one_of_64(task),
        "own-files" => partitions::own_files(task),
        "mapped" => mapped::measure(task),
        "limits" => limits::measure(task),
        _ => producing::measure(task),
    }
}

/// Plays a part of a load's work, in a process of its own that may be killed.
///
/// # Errors
/// When there is no such part, or it fails.
pub fn play(role: &str, task: &Task) -> Result<()> {
    match role {
        crash::VICTIM => crash::victim(task),
        restart::BUILDER => restart::build(task),
        restart::OPENER => restart::open(task),
        other => bail!("there is no part {other:?}"),
    }
}
