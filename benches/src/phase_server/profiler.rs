//! Samples what the process is doing, as often as the kernel's tick allows, and draws it.
//!
//! A flame graph: each box is a function, its width the share of the samples in which it was on the stack, and what it
//! called stands on it (Gregg, 2016). Only what runs is sampled: a thread that waits for a lock or a disk is not seen.

use crate::server::Hot;
use anyhow::{Context, Result};
use pprof::{Frames, ProfilerGuard, ProfilerGuardBuilder, Report, Symbol, flamegraph::Options};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::{Path, PathBuf},
};

/// Samples a second of processor time that are asked for. The timer advances with the kernel's tick, which is 100 to
/// 1,000 a second; so a profile of ten seconds holds a thousand samples at least.
const SAMPLES_PER_S: i32 = 997;

/// Our own thread that waits for signals. It never works; what is sampled there was another thread's, see [`placed`].
pub(crate) const SIGNALS: &str = "signals";

/// Functions that are named in words.
const TOP: usize = 15;

/// A profile under way.
pub struct Profiler {
    guard: ProfilerGuard<'static>,
    title: String,
    path: PathBuf,
}

impl Profiler {
    /// Begins to sample; the title stands over the graph, which goes to `path`.
    ///
    /// # Errors
    /// When the process cannot be sampled.
    pub fn start(title: &str, path: &Path) -> Result<Self> {
        let guard = ProfilerGuardBuilder::default()
            .frequency(SAMPLES_PER_S)
            // The unwinder must not interrupt itself, nor walk through what has no frames to walk. What the C library
            // does is not left out: the time in system calls would be missing, which is most of it.
            .blocklist(&["libgcc", "vdso"])
            .build()
            .context("cannot sample this process")?;
        Ok(Self { guard, title: title.to_owned(), path: path.to_owned() })
    }

    /// Writes the flame graph, and returns the functions in which most samples fell.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(self) -> Result<Vec<Hot>> {
        let report = self.guard.report().frames_post_processor(placed).build()?;
        let file =
            File::create(&self.path).with_context(|| format!("cannot write {}", self.path.display()))?;
        let mut options = Options::default();
        options.title.clone_from(&self.title);
        report.flamegraph_with_options(file, &mut options).context("cannot draw the flame graph")?;
        Ok(hottest(&report))
    }
}

/// Threads of one kind are drawn as one. The kernel delivers a sample's signal to the thread that runs, unless that one
/// cannot take it, because it is just beginning or ending: then another one has it, and its stack says nothing.
fn placed(frames: &mut Frames) {
    if frames.thread_name == SIGNALS {
        let name = Some(b"(a thread begins or ends: not to be sampled)".to_vec());
        frames.frames = vec![vec![Symbol { name, addr: None, lineno: None, filename: None }]];
    }
    "threads".clone_into(&mut frames.thread_name);
    frames.thread_id = 0;
}

/// By the samples in which a function itself ran, with those in which it or what it called did.
fn hottest(report: &Report) -> Vec<Hot> {
    let (mut own, mut with_callees) = (BTreeMap::<String, isize>::new(), BTreeMap::<String, isize>::new());
    let mut all = 0;
    for (frames, count) in &report.data {
        all += count;
        let names = frames.frames.iter().flatten().map(|symbol| symbol.name());
        let names: Vec<String> = names.collect();
        if let Some(innermost) = names.first() {
            *own.entry(innermost.clone()).or_default() += count;
        }
        for name in names.into_iter().collect::<BTreeSet<_>>() {
            *with_callees.entry(name).or_default() += count;
        }
    }
    let share = |count: isize| count as f64 / all.max(1) as f64;
    let mut hot: Vec<Hot> = own
        .into_iter()
        .map(|(function, count)| Hot {
            total: share(with_callees.get(&function).copied().unwrap_or_default()),
            own: share(count),
            function,
        })
        .collect();
    hot.sort_by(|a, b| b.own.total_cmp(&a.own));
    hot.truncate(TOP);
    hot
}
