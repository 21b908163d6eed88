//! A measured server as a child process: what it says, and how it is asked and ended.
//!
//! `phase-server` serves one phase and answers signals in JSON, one object a line. What every process can be asked,
//! the kernel tells (see [`crate::process`]); what only the server itself knows — its log, its allocations, the switches
//! of threads that have ended — it says here.

use crate::{loads::LogSetting, tool::Pinning};
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use serde::{Deserialize, Serialize};
use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

/// How long it may take to listen, or to count.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take to drain.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);

/// What a phase server says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "said", rename_all = "kebab-case")]
pub enum Said {
    /// It takes requests.
    Listening {
        /// On 127.0.0.1.
        port: u16,
    },
    /// What it has used so far; on SIGUSR1.
    Used {
        /// The counters.
        snapshot: Snapshot,
    },
    /// Where the processor time went.
    Profiled {
        /// The functions in which most samples fell.
        top: Vec<Hot>,
    },
    /// It has finished what it had begun; on SIGTERM.
    Drained {
        /// How long that took.
        drain_ms: f64,
        /// What it has used in all.
        snapshot: Snapshot,
        /// What its log has.
        found: Found,
    },
    /// The phases there are; with `--list`.
    Phases {
        /// In their order.
        phases: Vec<PhaseName>,
    },
    /// What a log holds; with `--count`.
    Counted {
        /// That.
        found: Found,
    },
}

/// A phase that can be served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseName {
    /// `phase3`.
    pub name: String,
    /// In a few words.
    pub title: String,
}

/// What a process has used since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Processor time outside the kernel.
    pub cpu_user_us: u64,
    /// Processor time inside it.
    pub cpu_system_us: u64,
    /// Times that a thread went to sleep.
    pub switches_voluntary: u64,
    /// Times that a thread had to make room for another.
    pub switches_involuntary: u64,
    /// Heap allocations, where they are counted.
    pub allocations: Option<u64>,
}

/// What a log holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Records.
    pub records: u64,
    /// Samples in them.
    pub samples: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A function in a profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hot {
    /// Its name.
    pub function: String,
    /// Share of the samples in which it ran itself, 0 to 1.
    pub own: f64,
    /// Share of the samples in which it or something that it called ran.
    pub total: f64,
}

/// How a phase is to be served.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// The words that make the program a phase server, if it is more than that.
    pub words: Vec<String>,
    /// `phase3`.
    pub phase: String,
    /// The log behind it.
    pub log: LogSetting,
    /// Whether allocations are counted.
    pub allocations: bool,
}

/// A running phase server; dropping it kills it.
#[derive(Debug)]
pub struct PhaseServer {
    child: Child,
    said: Receiver<Result<Said, String>>,
    /// On 127.0.0.1.
    pub port: u16,
}

/// Its last words.
#[derive(Clone, Debug)]
pub struct LastWords {
    /// How long it took to drain.
    pub drain_ms: f64,
    /// What it used in all.
    pub snapshot: Snapshot,
    /// What its log has.
    pub found: Found,
    /// Where the processor time went, if that was asked.
    pub top: Vec<Hot>,
}

impl PhaseServer {
    /// Starts one and waits until it listens; its log is kept in `directory` if it is to be kept, and `more` are further
    /// words for its command line.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(
        program: &Path,
        pinning: &Pinning,
        setting: &Setting,
        directory: Option<&Path>,
        more: &[&str],
    ) -> Result<Self> {
        let mut command = pinning.server(program);
        let log = &setting.log;
        command.args(&setting.words).args(["--phase", &setting.phase, "--ack", &log.ack]);
        command.args(["--flush-us", &log.flush_us.to_string(), "--per-kib-us", &log.per_kib_us.to_string()]);
        if let Some(most) = log.waiting_batches_max {
            command.args(["--waiting-batches-max", &most.to_string()]);
        }
        if let Some(directory) = directory {
            command.arg("--log").arg(directory);
        }
        if setting.allocations {
            command.arg("--allocations");
        }
        let mut child = command
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let stdout = child.stdout.take().context("the server has no stdout")?;
        let (sender, said) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let line = line.map_err(|error| error.to_string());
                let said =
                    line.and_then(|line| serde_json::from_str(&line).map_err(|e| format!("{e}: {line}")));
                if sender.send(said).is_err() {
                    return;
                }
            }
        });
        let mut server = Self { child, said, port: 0 };
        match server.next(ANSWER_TIMEOUT)? {
            Said::Listening { port } => server.port = port,
            other => bail!("the server was to listen, and said {other:?}"),
        }
        Ok(server)
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has used so far.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn snapshot(&self) -> Result<Snapshot> {
        self.signal(Signal::USR1)?;
        match self.next(ANSWER_TIMEOUT)? {
            Said::Used { snapshot } => Ok(snapshot),
            other => bail!("the server was to say what it has used, and said {other:?}"),
        }
    }

    /// Asks it to finish, and waits until it has.
    ///
    /// # Errors
    /// When it does not finish in time, or not well.
    pub fn drain(mut self) -> Result<LastWords> {
        self.signal(Signal::TERM)?;
        let mut top = Vec::new();
        loop {
            match self.next(DRAIN_TIMEOUT)? {
                Said::Profiled { top: hot } => top = hot,
                Said::Drained { drain_ms, snapshot, found } => {
                    let status = self.child.wait()?;
                    anyhow::ensure!(status.success(), "the server ended with {status}");
                    return Ok(LastWords { drain_ms, snapshot, found, top });
                }
                other => bail!("the server was to drain, and said {other:?}"),
            }
        }
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When it has ended before.
    pub fn kill(mut self) -> Result<()> {
        anyhow::ensure!(self.child.try_wait()?.is_none(), "the server had ended before it was killed");
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn next(&self, timeout: Duration) -> Result<Said> {
        let said = match self.said.recv_timeout(timeout) {
            Ok(said) => said,
            Err(RecvTimeoutError::Timeout) => bail!("the server says nothing"),
            Err(RecvTimeoutError::Disconnected) => bail!("the server has ended: {}", self.how_it_ended()),
        };
        said.map_err(|error| anyhow::anyhow!("the server does not speak the runner's language: {error}"))
    }

    /// Without reaping it, which is left to whoever drops it.
    fn how_it_ended(&self) -> String {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let status = id.and_then(|id| waitid(WaitId::Pid(id), options).ok().flatten());
        match status.map(|status| (status.terminating_signal(), status.exit_status())) {
            Some((Some(signal), _)) => format!("signal {signal}"),
            Some((_, Some(code))) => format!("exit code {code}"),
            _ => "nobody knows how".to_owned(),
        }
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("no process id")?;
        kill_process(id, signal).context("the server has ended")
    }
}

impl Drop for PhaseServer {
    fn drop(&mut self) {
        // Both only fail when it has ended by itself, which is just as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks the program itself for something that needs no server.
///
/// # Errors
/// When it does not answer.
pub fn ask(program: &Path, words: &[&str]) -> Result<Said> {
    let output = std::process::Command::new(program)
        .args(words)
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    serde_json::from_slice(&output.stdout).context("the server does not speak the runner's language")
}

/// The program that stands beside this one, as cargo puts all binaries of a package into one directory.
///
/// # Errors
/// When it is not there.
pub fn beside_this(program: &str) -> Result<PathBuf> {
    let this = std::env::current_exe().context("cannot find this program")?;
    let path = this.with_file_name(program);
    if !path.is_file() {
        bail!("{} is missing; cargo build --release -p benches --bins", path.display());
    }
    Ok(path)
}
