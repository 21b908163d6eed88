//! What this process has used so far, by its own account.

use super::allocator;
use crate::server::Snapshot;
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike,
};

/// The counters now.
///
/// # Errors
/// When the kernel does not tell.
pub fn snapshot() -> anyhow::Result<Snapshot> {
    // Of the whole process: threads that have ended are in it, which /proc/…/task forgets.
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    Ok(Snapshot {
        cpu_user_us: u64::try_from(usage.user_time().num_microseconds())?,
        cpu_system_us: u64::try_from(usage.system_time().num_microseconds())?,
        switches_voluntary: u64::try_from(usage.voluntary_context_switches())?,
        switches_involuntary: u64::try_from(usage.involuntary_context_switches())?,
        allocations: allocator::count(),
    })
}
