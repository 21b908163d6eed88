//! How much of the machine somebody else used meanwhile.
//!
//! A comparison on a busy machine measures the others. So each measurement is accompanied by the processor time
//! that neither this process, nor its children, nor the server had. The rule by which a round counts is fixed
//! beforehand and looks at that time only, never at the round's outcome.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::Duration;

/// Others may use this share of a core; more, and a measurement was disturbed.
pub const OTHERS_CORES_MAX: f64 = 0.05;

/// How long to look at the machine before calling it quiet.
const LISTEN: Duration = Duration::from_millis(700);

/// A measurement of the others, begun.
#[derive(Debug)]
pub struct Noise {
    /// What the kernel's own threads had, by number: they carry a log's bytes to the disk, and are not somebody else.
    kernel: BTreeMap<u32, u64>,
    /// None where what is measured is a child that will have ended, and is counted with the others of this process.
    server: Option<u32>,
    before: Option<Ticks>,
}

/// Clock ticks since boot, all in the kernel's one unit.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ticks {
    /// All cores together, whatever they did.
    all: u64,
    /// Of these, not idle (stolen by the hypervisor included).
    busy: u64,
    /// Of these, this process, its ended children, and the server.
    ours: u64,
    /// Of these, the server.
    server: u64,
    cores: u64,
}

impl Noise {
    /// Begins; `server` is the process that is being loaded.
    pub fn begin(server: u32) -> Self {
        Self::of(Some(server))
    }

    /// Begins, where only this process and its children, which will have ended, do what is measured, and the kernel's own
    /// threads what they ask for.
    pub fn alone() -> Self {
        Self { kernel: kernel_ticks(), ..Self::of(None) }
    }

    fn of(server: Option<u32>) -> Self {
        Self { kernel: BTreeMap::new(), server, before: Ticks::now(server) }
    }

    /// Waits until the others leave the machine alone, or `patience` is over; returns what is left of it.
    pub fn wait_for_quiet(server: u32, mut patience: Duration) -> Duration {
        loop {
            let noise = Self::begin(server);
            thread::sleep(LISTEN.min(patience));
            let is_quiet = noise.others_cores().is_none_or(|cores| cores <= OTHERS_CORES_MAX);
            patience = patience.saturating_sub(LISTEN);
            if is_quiet || patience.is_zero() {
                return patience;
            }
        }
    }

    /// The processor time that the server has had since the beginning, in the kernel's ticks.
    pub fn server_ticks(&self) -> Option<u64> {
        Some(Ticks::now(self.server)?.server.saturating_sub(self.before?.server))
    }

    /// How many cores the others used on average since the beginning; `None` where the kernel does not tell.
    pub fn others_cores(&self) -> Option<f64> {
        let mut after = Ticks::now(self.server)?;
        if self.server.is_none() {
            // A thread that is new has worked since; one that has ended is not known any more, and counts for others.
            let since =
                |(id, ticks): (&u32, &u64)| ticks.saturating_sub(self.kernel.get(id).copied().unwrap_or(0));
            after.ours += kernel_ticks().iter().map(since).sum::<u64>();
        }
        Some(self.before?.others_until(after))
    }
}

impl Ticks {
    fn now(server: Option<u32>) -> Option<Self> {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        let (all, busy) = machine_ticks(&stat)?;
        let this = process_ticks(&fs::read_to_string("/proc/self/stat").ok()?)?;
        let server = match server {
            Some(server) => process_ticks(&fs::read_to_string(format!("/proc/{server}/stat")).ok()?)?,
            None => 0,
        };
        let cores = stat.lines().skip(1).take_while(|line| line.starts_with("cpu")).count() as u64;
        Some(Self { all, busy, ours: this + server, server, cores })
    }

    fn others_until(self, after: Self) -> f64 {
        let busy = after.busy.saturating_sub(self.busy);
        let others = busy.saturating_sub(after.ours.saturating_sub(self.ours));
        let per_core = after.all.saturating_sub(self.all) as f64 / self.cores.max(1) as f64;
        others as f64 / per_core.max(1.0)
    }
}

/// The first line of `/proc/stat`: user nice system idle iowait irq softirq steal. Ticks at all, and busy ones.
fn machine_ticks(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let fields: Vec<u64> = line.split_whitespace().take(8).map_while(|field| field.parse().ok()).collect();
    let all: u64 = fields.iter().sum();
    Some((all, all - fields.get(3)? - fields.get(4)?))
}

/// What each of the kernel's own threads has had. Their parent is the thread that starts them, which has number 2.
fn kernel_ticks() -> BTreeMap<u32, u64> {
    const PARENT: &str = "2";
    let Ok(all) = fs::read_dir("/proc") else { return BTreeMap::new() };
    let ids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    ids.filter_map(|id| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        let parent = stat[stat.rfind(')')? + 1..].split_whitespace().nth(1)?;
        (parent == PARENT).then_some((id, process_ticks(&stat)?))
    })
    .collect()
}

/// utime, stime, cutime and cstime of `/proc/<pid>/stat`; the name before them may hold spaces and brackets.
fn process_ticks(stat: &str) -> Option<u64> {
    let after_name = &stat[stat.rfind(')')? + 1..];
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    fields.get(11..15)?.iter().map(|field| field.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_lines_are_read() {
        assert_eq!(machine_ticks("cpu  10 1 20 100 5 2 3 4 0 0\ncpu0 1\n"), Some((145, 40)));
        let stat = "77 (a) b) S 1 2 3 4 5 6 7 8 9 10 100 20 3 4 20 0 1 0";
        assert_eq!(process_ticks(stat), Some(127));
        assert_eq!(process_ticks("77 (x) S 1"), None);
    }

    #[test]
    fn what_is_ours_is_not_noise() {
        let before = Ticks { all: 0, busy: 0, ours: 0, server: 0, cores: 2 };
        let after = Ticks { all: 800, busy: 700, ours: 600, server: 300, cores: 2 };
        assert!((before.others_until(after) - 0.25).abs() < 1e-9);
    }
}
