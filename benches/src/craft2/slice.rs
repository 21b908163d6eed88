//! A slice: one subject under one load, measured once, in a process of its own that says what it saw.
//!
//! `phase-log` is that process: it is freshly started, so that its memory, its descriptors and its share of the disk are its
//! own, and it is pinned to one core where the load says so. It prints one JSON object: figures by name.

use super::{loads, work};
use crate::{phase_server::profiler::Profiler, process::Watch, server::Hot};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

/// Figures by name, as `throughput` or `p99_us`: the name ends with the unit where it is not told otherwise.
pub type Figures = BTreeMap<String, f64>;

/// What a slice is told.
#[derive(Args, Clone, Debug)]
pub struct Task {
    /// Under which load
    #[arg(long)]
    pub load: String,
    /// Who
    #[arg(long)]
    pub subject: String,
    /// How long the measured part of it takes, where that can be chosen
    #[arg(long, default_value_t = 1.0)]
    pub seconds: f64,
    /// What the messages are derived from
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// An empty directory, for the log
    #[arg(long)]
    pub dir: PathBuf,
    /// The core of who reads a socket, where the log has one of its own
    #[arg(long)]
    pub other_core: Option<usize>,
    /// Count allocations, which makes all of it slower
    #[arg(long)]
    pub allocations: bool,
    /// Sample the running functions, and write them as a flame graph
    #[arg(long, value_name = "FILE")]
    pub profile: Option<PathBuf>,
    /// A part of the work that needs a process which can be killed
    #[arg(long)]
    pub role: Option<String>,
}

impl Task {
    /// Does it, and prints what was seen.
    ///
    /// # Errors
    /// When there is no such load, or the subject does not stand it.
    pub fn run(&self) -> Result<()> {
        ensure!(self.dir.is_dir(), "{} is no directory", self.dir.display());
        if self.allocations {
            crate::phase_server::allocator::start_counting();
        }
        if let Some(role) = &self.role {
            return work::play(role, self);
        }
        let Some(load) = loads::craft2().into_iter().find(|load| load.name == self.load && !load.network)
        else {
            bail!("there is no load {:?} within a process", self.load)
        };
        ensure!(load.subjects.contains(&self.subject), "{} is not put under {}", self.subject, self.load);
        println_json(&work::measure(self)?)
    }

    /// Does a part of the work that is worth to be looked at: where that is asked, the running functions are sampled, drawn,
    /// and told on stderr, one JSON object a line.
    ///
    /// # Errors
    /// Those of the work, and when the graph cannot be written.
    pub fn sampled(&self, work: impl FnOnce() -> Result<Figures>) -> Result<Figures> {
        let title = format!("{} under {}", self.subject, self.load);
        let profiler = self.profile.as_ref().map(|path| Profiler::start(&title, path)).transpose()?;
        let (watch, begun) = (Watch::begin(std::process::id()), Instant::now());
        let mut figures = work()?;
        let (used, elapsed) = (watch.end(), begun.elapsed().as_secs_f64());
        if let Some(profiler) = profiler {
            for hot in profiler.finish()? {
                eprintln!("{}", serde_json::to_string(&hot)?);
            }
            let cores = used.map(|used| (used.cpu_user_us + used.cpu_system_us) as f64 / 1e6 / elapsed);
            figures.extend(cores.map(|cores| ("cores".to_owned(), cores)));
        }
        Ok(figures)
    }

    /// This program again, for a part of the same work.
    ///
    /// # Errors
    /// When the system does not say where this program is.
    pub fn part(&self, role: &str) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe().context("cannot find this program")?);
        self.words(&mut command);
        command.args(["--role", role]).stdin(Stdio::null()).stdout(Stdio::piped());
        Ok(command)
    }

    /// Appends the words that say all of this but what is asked of one run alone.
    pub fn words(&self, command: &mut Command) {
        command.args(["--load", &self.load, "--subject", &self.subject]);
        command.args(["--seconds", &self.seconds.to_string(), "--seed", &self.seed.to_string()]);
        command.arg("--dir").arg(&self.dir);
        if let Some(core) = self.other_core {
            command.args(["--other-core", &core.to_string()]);
        }
        if let Some(path) = &self.profile {
            command.arg("--profile").arg(path);
        }
    }
}

/// Figures as one line on stdout.
///
/// # Errors
/// When nobody listens.
#[allow(clippy::print_stdout)] // what the program is for
pub fn println_json(figures: &Figures) -> Result<()> {
    println!("{}", serde_json::to_string(figures)?);
    Ok(())
}

/// Runs a slice's process to its end, and reads what it saw.
///
/// # Errors
/// When it fails; the error has its last words.
pub fn seen(mut command: Command) -> Result<Figures> {
    let output = command.stdin(Stdio::null()).output().context("cannot start what measures")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{}", said.lines().last().map_or_else(|| output.status.to_string(), str::to_owned));
    }
    serde_json::from_slice(&output.stdout).context("what measures said something else than figures")
}

/// The same of a slice that is sampled: with the functions in which most samples fell.
///
/// # Errors
/// As above.
pub fn profiled(mut command: Command) -> Result<(Figures, Vec<Hot>)> {
    let output = command.stdin(Stdio::null()).output().context("cannot start what measures")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}", said.lines().last().unwrap_or("it failed without a word"));
    let figures = serde_json::from_slice(&output.stdout)?;
    Ok((figures, said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()))
}

/// Where the program is that measures: beside this one.
///
/// # Errors
/// When it has not been built.
pub fn program() -> Result<PathBuf> {
    crate::server::beside_this("phase-log")
}

/// A directory for logs: in `LOG_BENCH_DIR` if that is set, for who wants to measure another disk.
///
/// # Errors
/// When it cannot be made.
pub fn directory() -> Result<tempfile::TempDir> {
    let parent = std::env::var_os("LOG_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    tempfile::tempdir_in::<&Path>(&parent).with_context(|| format!("no directory in {}", parent.display()))
}
