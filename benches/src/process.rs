//! What the kernel knows of a process: processor time, memory, threads. Any process, so that peers are measured as
//! phases are.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// How often memory and threads are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Microseconds in one of the kernel's ticks: `USER_HZ` is 100 on every Linux that this runs on.
const TICK_US: u64 = 10_000;

/// What a process used over some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// Processor time outside the kernel.
    pub cpu_user_us: u64,
    /// Processor time inside it.
    pub cpu_system_us: u64,
    /// The most memory that was resident.
    pub resident_bytes_max: u64,
    /// The most threads that were seen.
    pub threads_max: u64,
}

/// A process that is being watched.
#[derive(Debug)]
pub struct Watch {
    id: u32,
    before: Option<(u64, u64)>,
    stop: Arc<AtomicBool>,
    looking: JoinHandle<(u64, u64)>,
}

impl Watch {
    /// Begins.
    pub fn begin(id: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let looking = thread::spawn(move || {
            let (mut resident, mut threads) = (0, 0);
            loop {
                // Relaxed: the thread is joined, which orders everything that matters.
                let last = seen.load(Ordering::Relaxed);
                if let Some(status) = read(id, "status") {
                    resident = resident.max(field(&status, "VmRSS:").unwrap_or(0) * 1024);
                    threads = threads.max(field(&status, "Threads:").unwrap_or(0));
                }
                if last {
                    return (resident, threads);
                }
                thread::sleep(LOOK_INTERVAL);
            }
        });
        Self { id, before: cpu_ticks(id), stop, looking }
    }

    /// What it has used since; `None` where the kernel does not tell, or the process has ended.
    pub fn end(self) -> Option<Used> {
        let after = cpu_ticks(self.id);
        self.stop.store(true, Ordering::Relaxed);
        let (resident_bytes_max, threads_max) = self.looking.join().ok()?;
        let ((user_before, system_before), (user, system)) = (self.before?, after?);
        Some(Used {
            cpu_user_us: user.saturating_sub(user_before) * TICK_US,
            cpu_system_us: system.saturating_sub(system_before) * TICK_US,
            resident_bytes_max,
            threads_max,
        })
    }
}

/// Ten thousand connections need as many descriptors, here and in every child: allows as many as the system does.
///
/// # Errors
/// When the limit cannot be raised.
pub fn allow_many_files() -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
        .context("cannot raise the limit of open files")
}

/// Ticks outside and inside the kernel. The name before them may hold spaces and brackets.
fn cpu_ticks(id: u32) -> Option<(u64, u64)> {
    let stat = read(id, "stat")?;
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn read(id: u32, file: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/{id}/{file}")).ok()
}

fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_works_is_seen() {
        let watch = Watch::begin(std::process::id());
        let workers: Vec<_> = (0..3).map(|_| thread::spawn(|| thread::sleep(LOOK_INTERVAL * 3))).collect();
        let mut sum = 0_u64;
        let begun = std::time::Instant::now();
        while begun.elapsed() < Duration::from_millis(120) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        let used = watch.end().unwrap();
        assert!(used.cpu_user_us + used.cpu_system_us > 0, "{used:?}");
        assert!(used.threads_max >= 4 && used.resident_bytes_max > 100_000, "{used:?}");
    }

    #[test]
    fn a_process_that_is_gone_has_used_nothing_that_is_known() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let watch = Watch::begin(child.id());
        child.wait().unwrap();
        assert_eq!(watch.end(), None);
    }
}
