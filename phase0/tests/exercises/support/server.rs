//! A `phase0` that belongs to one check: a port, a directory and a process of its own.

use super::{
    client::{self, Answer},
    ensure, wait_for,
};
use serde_json::Value;
use std::{
    env,
    ffi::OsString,
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};
use tempfile::TempDir;

/// Another program may take a free port between its discovery and its use.
const PORT_TRIES: usize = 5;

/// Evaluations this far apart never happen within a check.
const NEVER_S: u32 = 86_400;

/// How to start.
pub(crate) struct Setup {
    evaluate_every_s: u32,
    flags: Vec<String>,
    stored: String,
    shared: Option<PathBuf>,
    disk_full: bool,
    traced: bool,
}

impl Setup {
    /// An empty file, and no alerts.
    pub(crate) fn new() -> Self {
        let (flags, stored) = (Vec::new(), String::new());
        Self { evaluate_every_s: NEVER_S, flags, stored, shared: None, disk_full: false, traced: false }
    }

    /// Evaluates alerts every second.
    pub(crate) fn alerting(self) -> Self {
        Self { evaluate_every_s: 1, ..self }
    }

    /// Adds flags behind `PORT FILE SECONDS`.
    pub(crate) fn flags(self, flags: &[&str]) -> Self {
        Self { flags: flags.iter().map(ToString::to_string).collect(), ..self }
    }

    /// Lines that an earlier run left in the file.
    pub(crate) fn stored(self, lines: &str) -> Self {
        Self { stored: lines.to_owned(), ..self }
    }

    /// On the file of another one, as it is.
    pub(crate) fn on_file_of(self, other: &Server) -> Self {
        Self { shared: Some(other.file.clone()), ..self }
    }

    /// No file may grow: every write fails, so what is in the queue stays there.
    pub(crate) fn disk_full(self) -> Self {
        Self { disk_full: true, ..self }
    }

    /// Records what is done to the file, if this machine has an strace that may trace.
    pub(crate) fn traced(self) -> Self {
        let probe = Command::new("strace").args(["-D", "-o", "/dev/null", "true"]).output();
        Self { traced: probe.is_ok_and(|out| out.status.success()), ..self }
    }

    /// Starts and waits until it listens.
    pub(crate) fn start(self) -> Server {
        let mut last = String::new();
        for _ in 0..PORT_TRIES {
            let mut server = self.spawn();
            let up = wait_for(|| {
                let listens = server.stdout().iter().any(|line| line.contains("listens on"));
                (listens || server.exited().is_some()).then_some(listens)
            });
            if up == Some(true) {
                return server;
            }
            last = server.stderr().join("; ");
        }
        panic!(
            "\n  sent:     phase0 PORT FILE SECONDS {:?}\n  expected: it listens\n  observed: {last}\n",
            self.flags
        )
    }

    /// Starts what should refuse to start, and gives its end and its complaint.
    pub(crate) fn start_in_vain(self) -> (Option<ExitStatus>, String) {
        let mut server = self.spawn();
        let status = wait_for(|| {
            let listens = server.stdout().iter().any(|line| line.contains("listens on"));
            let exited = server.exited().filter(|_| server.stderr.ended());
            (listens || exited.is_some()).then_some(exited)
        });
        (status.flatten(), server.stderr().join("\n"))
    }

    fn spawn(&self) -> Server {
        let dir = tempfile::tempdir().expect("a directory for temporary files");
        // The real path, since strace knows files by theirs.
        let home = dir.path().canonicalize().expect("the directory was just made");
        let (own, trace) = (home.join("samples.jsonl"), self.traced.then(|| home.join("trace.txt")));
        std::fs::write(&own, &self.stored).expect("the directory is ours");
        let file = self.shared.clone().unwrap_or(own);
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("there is a free port");
        let port = listener.local_addr().expect("it is bound").port();
        drop(listener);

        let mut command = self.command(&file, trace.as_ref());
        command.arg(port.to_string()).arg(&file).arg(self.evaluate_every_s.to_string()).args(&self.flags);
        let streams = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = streams.spawn().expect("phase0 was built by cargo");
        let (stdout, stderr) = (Lines::of(child.stdout.take()), Lines::of(child.stderr.take()));
        Server { child, port, file, trace, stdout, stderr, _dir: dir }
    }

    fn command(&self, file: &PathBuf, trace: Option<&PathBuf>) -> Command {
        let phase0 = program();
        if let Some(trace) = trace {
            // -D: the process started here is phase0, and strace its child: whoever kills the one ends both.
            let mut command = Command::new("strace");
            command.args(["-D", "-f", "-qq", "-e", "signal=none", "-e"]);
            command.arg("trace=write,writev,pwrite64,pwritev,fsync,fdatasync");
            command.arg("-P").arg(file).arg("-o").arg(trace).arg(phase0);
            command
        } else if self.disk_full {
            // With the signal ignored, a write beyond the limit is an error like that of a full disk.
            let mut command = Command::new("sh");
            command.args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\""]).arg(phase0);
            command
        } else {
            Command::new(phase0)
        }
    }
}

/// The learner's, as the lab engine names it; or the one that cargo has built beside these checks.
fn program() -> OsString {
    let named = env::var_os("PHASE0_PROGRAM");
    named
        .or_else(|| option_env!("CARGO_BIN_EXE_phase0").map(Into::into))
        .expect("somebody says what is checked")
}

/// A running `phase0`. Dropping it kills it.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    file: PathBuf,
    trace: Option<PathBuf>,
    stdout: Lines,
    stderr: Lines,
    _dir: TempDir,
}

impl Server {
    pub(crate) fn get(&self, target: &str) -> Answer {
        client::get(self.port, target)
    }

    /// `POST /metrics`.
    pub(crate) fn post(&self, body: &str) -> Answer {
        client::post(self.port, "/metrics", body)
    }

    /// `POST /metrics` of what must be accepted.
    pub(crate) fn send(&self, body: &Value) {
        let (body, answer) = (body.to_string(), self.post(&body.to_string()));
        ensure(answer.status == 202, format!("POST /metrics {body}"), "202", &answer);
    }

    /// Waits until a query finds this many points.
    pub(crate) fn wait_for_points(&self, name: &str, count: usize) {
        let target = format!("/query?name={name}&start=0&end=253402300799999");
        let mut seen = 0;
        let all = wait_for(|| {
            seen = points(&self.get(&target).json()).len();
            (seen == count).then_some(())
        });
        ensure(
            all.is_some(),
            format!("{count} samples of {name}, each answered 202, then GET {target} again and again"),
            format!("{count} points"),
            format!("{seen} points; the file holds {} lines", self.file_lines().len()),
        );
    }

    /// Lines written to the terminal so far.
    pub(crate) fn stdout(&self) -> Vec<String> {
        self.stdout.all()
    }

    /// Lines complained so far.
    pub(crate) fn stderr(&self) -> Vec<String> {
        self.stderr.all()
    }

    /// The whole lines of its file.
    pub(crate) fn file_lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned).collect()
    }

    /// What was done to the file: `write` and `sync`, in order. `None` where nothing could be traced.
    pub(crate) fn traced(&self) -> Option<Vec<&'static str>> {
        let text = std::fs::read_to_string(self.trace.as_ref()?).ok()?;
        // A call that another thread interrupts takes two lines; its name with the bracket stands in the first.
        let deed = |line: &str| match line {
            _ if line.contains("sync(") => Some("sync"),
            _ if line.contains("write(") || line.contains("writev(") || line.contains("pwrite") => {
                Some("write")
            }
            _ => None,
        };
        Some(text.lines().filter(|line| !line.contains("resumed>")).filter_map(deed).collect())
    }

    fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The values of an answer to `/query`, series after series.
pub(crate) fn points(answer: &Value) -> Vec<String> {
    let series = answer["series"].as_array().into_iter().flatten();
    let points = series.flat_map(|s| s["points"].as_array().into_iter().flatten());
    points.map(|point| point[1].as_str().unwrap_or("no text").to_owned()).collect()
}

/// What a process writes, collected line by line while it runs.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Written>>);

#[derive(Default)]
struct Written {
    lines: Vec<String>,
    /// Nothing more can come.
    ended: bool,
}

impl Lines {
    fn of(stream: Option<impl Read + Send + 'static>) -> Self {
        let lines = Self::default();
        let (kept, stream) = (lines.clone(), stream.expect("the stream is a pipe"));
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                kept.lock().lines.push(line);
            }
            kept.lock().ended = true;
        });
        lines
    }

    fn all(&self) -> Vec<String> {
        self.lock().lines.clone()
    }

    fn ended(&self) -> bool {
        self.lock().ended
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
