//! A lab's program: built by cargo, and asked to test and to count. Its words are JSON, one object a line.

use crate::{
    LabError,
    catalogue::Lab,
    exercise::harness::Harness,
    workshop::{Workshop, program_of},
};
use serde::{Deserialize, Serialize};
use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

/// A program that says nothing for so long hangs in what it has begun.
pub const SILENCE_MAX: Duration = Duration::from_secs(30);

/// How a lab's program is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// As it is measured.
    Release,
    /// Quickly: for proofs of what tests say.
    Debug,
}

/// A program that can be run.
#[derive(Clone, Debug)]
pub struct Program {
    /// Where it is.
    pub path: PathBuf,
    /// What tests it, where it does not test itself: the checks of an exercise.
    pub harness: Option<Harness>,
}

/// What a named test found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Holds,
    /// Not as it should be.
    Broken(Feedback),
    /// It could not be tried here, and why.
    Skipped(String),
}

/// What is wrong, for whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feedback {
    /// What was done.
    pub sent: String,
    /// What should have come of it.
    pub expected: String,
    /// What did.
    pub observed: String,
}

/// A test and its verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tested {
    /// Its name.
    pub name: String,
    /// What it found.
    pub verdict: Verdict,
}

impl Tested {
    /// What is not written yet, if that is all that is wrong with it: the same words for every test that comes to one hole.
    pub fn unwritten(&self) -> Option<&str> {
        let Verdict::Broken(feedback) = &self.verdict else { return None };
        Some(feedback.observed.as_str()).filter(|observed| observed.contains("is not written yet"))
    }
}

/// A counter of the previous form, of the learner's, and of the reference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Counted {
    /// Its name.
    pub counter: String,
    /// What stood there before.
    pub previous: f64,
    /// The learner's.
    pub mine: f64,
    /// What the course ends with.
    pub reference: f64,
}

/// How a run of tests ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// All tests were run.
    Whole,
    /// Nothing was heard any more within a test.
    Hung {
        /// Which.
        test: String,
        /// For how long it was waited.
        waited: Duration,
        /// What its threads were doing, a line each.
        threads: Vec<String>,
    },
    /// The program ended within a test.
    Died {
        /// Which.
        test: String,
        /// How: `signal 11`.
        how: String,
    },
}

/// What a lab's program says.
#[derive(Deserialize)]
#[serde(tag = "said", rename_all = "lowercase")]
enum Said {
    Begun { test: String },
    Ended { test: String, verdict: Verdict },
    Checked,
    NoTest { asked: String, there: Vec<String> },
    Counted(Counted),
}

/// Compiles a lab's program. The compiler speaks to the learner itself, on stderr. `None`: it found errors.
///
/// # Errors
/// When cargo cannot be run.
pub fn build(workshop: &Workshop, lab: &Lab, profile: Profile) -> Result<Option<Program>, LabError> {
    workshop.refresh()?;
    if lab.exercise.is_some() {
        return build_exercise(workshop, lab);
    }
    let path = program_path(workshop, lab, profile);
    let mut cargo = cargo(workshop, lab, "build");
    if path.exists() {
        // Else there are minutes to wait, and cargo tells how far it is.
        cargo.arg("--quiet");
    }
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    let status = cargo.status().map_err(LabError::NoCargo)?;
    if !status.success() {
        try_compiler(workshop.root())?;
        return Ok(None);
    }
    Ok(Some(Program { path, harness: None }))
}

/// Whether a lab's program was built before, so that little is left to compile.
pub fn was_built(workshop: &Workshop, lab: &Lab) -> bool {
    program_path(workshop, lab, Profile::Release).exists()
}

fn program_path(workshop: &Workshop, lab: &Lab, profile: Profile) -> PathBuf {
    let folder = match profile {
        Profile::Release => "release",
        Profile::Debug => "debug",
    };
    target_dir(workshop).join(folder).join(program_of(lab))
}

/// With its tests and examples.
fn build_exercise(workshop: &Workshop, lab: &Lab) -> Result<Option<Program>, LabError> {
    workshop.renew_manifest(lab)?;
    let mut cargo = cargo_on_exercise(workshop, lab, "test");
    cargo.args(["--no-run", "--message-format=json-render-diagnostics"]).stderr(Stdio::inherit());
    let output = cargo.output().map_err(LabError::NoCargo)?;
    if !output.status.success() {
        try_compiler(workshop.root())?;
        return Ok(None);
    }
    let harness = Harness::of_build(lab, &String::from_utf8_lossy(&output.stdout))?;
    Ok(Some(Program { path: harness.program().to_owned(), harness: Some(harness) }))
}

/// As `cargo test` builds phase 0 in the repository: its own code optimised, since it would be tested for minutes
/// otherwise, and all else as it is.
pub(crate) fn cargo_on_exercise(workshop: &Workshop, lab: &Lab, word: &str) -> Command {
    let mut cargo = cargo(workshop, lab, word);
    cargo.arg("--quiet").arg("--config").arg(format!("profile.dev.package.{}.opt-level=2", program_of(lab)));
    cargo
}

/// Cargo, asked to do something with a lab's crate.
fn cargo(workshop: &Workshop, lab: &Lab, word: &str) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args([word, "--package", &program_of(lab)]);
    cargo.arg("--manifest-path").arg(workshop.dir().join("Cargo.toml"));
    cargo.arg("--target-dir").arg(target_dir(workshop));
    // Else programs would stand in a folder of that target's name.
    cargo.env_remove("CARGO_BUILD_TARGET").stdin(Stdio::null());
    cargo
}

/// Compiles a program of one line, as the repository's toolchain does it: if even that fails, the fault is not the
/// learner's.
fn try_compiler(root: &Path) -> Result<(), LabError> {
    let dir = tempfile::tempdir().map_err(|e| LabError::io(&env::temp_dir(), e))?;
    let source = dir.path().join("nothing.rs");
    fs::write(&source, "fn main() {}\n").map_err(|e| LabError::io(&source, e))?;
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.arg(&source).arg("-o").arg(dir.path().join("nothing")).current_dir(root).stdin(Stdio::null());
    let output = rustc.output().map_err(|e| LabError::NoCompiler(e.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(LabError::NoCompiler(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// The repository's own build folder, so that libraries are compiled once.
fn target_dir(workshop: &Workshop) -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| workshop.root().join("target"), PathBuf::from)
}

impl Program {
    /// Runs the named tests, or all of them; `watch` is told of each as it ends.
    ///
    /// # Errors
    /// When the program cannot be started, or says what cannot be understood.
    pub fn test(
        &self,
        names: &[String],
        watch: &mut dyn FnMut(&Tested),
    ) -> Result<(Vec<Tested>, End), LabError> {
        if let Some(harness) = &self.harness {
            return harness.test(names, watch);
        }
        let mut running = self.start("check", names)?;
        let (mut tested, mut begun) = (Vec::new(), "what comes before the first test".to_owned());
        loop {
            match running.next()? {
                Heard::Said(Said::Begun { test }) => begun = test,
                Heard::Said(Said::Ended { test, verdict }) => {
                    let one = Tested { name: test, verdict };
                    watch(&one);
                    tested.push(one);
                }
                Heard::Said(Said::Checked) => return Ok((tested, End::Whole)),
                Heard::Said(Said::NoTest { asked, there }) => return Err(LabError::NoTest { asked, there }),
                Heard::Said(Said::Counted(_)) => {}
                Heard::Nothing => {
                    let threads = threads_of(running.child.id());
                    return Ok((tested, End::Hung { test: begun, waited: SILENCE_MAX, threads }));
                }
                Heard::End(status) => return Ok((tested, End::Died { test: begun, how: how(status) })),
            }
        }
    }

    /// Counts what the slot's counters count.
    ///
    /// # Errors
    /// When the program cannot be started, hangs, or ends before it has counted all.
    pub fn count(&self) -> Result<Vec<Counted>, LabError> {
        let mut running = self.start("count", &[])?;
        let mut counted = Vec::new();
        loop {
            match running.next()? {
                Heard::Said(Said::Counted(one)) => counted.push(one),
                Heard::Said(_) => {}
                Heard::End(status) if status.success() => return Ok(counted),
                Heard::End(status) => {
                    return Err(LabError::Program(format!("ended while it counted: {}", how(status))));
                }
                Heard::Nothing => {
                    let seconds = SILENCE_MAX.as_secs();
                    return Err(LabError::Program(format!("said nothing for {seconds} s while it counted")));
                }
            }
        }
    }

    fn start(&self, word: &str, names: &[String]) -> Result<Running, LabError> {
        let mut command = Command::new(&self.path);
        // What a suite draws at random it draws alike each time, so that the same fault gives the same feedback.
        command.env("CONFORMANCE_SEED", "1");
        command.arg(word).args(names).stdin(Stdio::null()).stdout(Stdio::piped());
        // What a test prints, a panic above all, would come twice: it is in the feedback.
        let mut child = command.stderr(Stdio::null()).spawn().map_err(|e| LabError::io(&self.path, e))?;
        let (sender, lines) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Running { child, lines })
    }
}

/// A program under way. It is killed when it is dropped.
struct Running {
    child: Child,
    lines: Receiver<String>,
}

enum Heard {
    Said(Said),
    Nothing,
    End(ExitStatus),
}

impl Running {
    fn next(&mut self) -> Result<Heard, LabError> {
        match self.lines.recv_timeout(SILENCE_MAX) {
            Ok(line) => serde_json::from_str(&line)
                .map(Heard::Said)
                .map_err(|e| LabError::Program(format!("said {line:?}, which is not understood: {e}"))),
            Err(RecvTimeoutError::Timeout) => Ok(Heard::Nothing),
            Err(RecvTimeoutError::Disconnected) => {
                self.child.wait().map(Heard::End).map_err(|e| LabError::Program(format!("was lost: {e}")))
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a program ended, in words: `signal 11`.
pub(crate) fn how(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return format!("signal {signal}");
    }
    status.code().map_or_else(|| "unknown".to_owned(), |code| format!("exit code {code}"))
}

/// What the threads of a process are doing, as Linux tells it; nothing elsewhere.
pub(crate) fn threads_of(pid: u32) -> Vec<String> {
    let tasks = PathBuf::from(format!("/proc/{pid}/task"));
    let Ok(entries) = fs::read_dir(tasks) else { return Vec::new() };
    let mut lines: Vec<String> = entries.filter_map(|entry| thread_line(&entry.ok()?.path())).collect();
    lines.sort();
    lines
}

/// `handoff: asleep in futex_do_wait`.
fn thread_line(task: &Path) -> Option<String> {
    let text = |name: &str| fs::read_to_string(task.join(name)).ok();
    let name = text("comm")?.trim().to_owned();
    let stat = text("stat")?;
    let state = match stat.rsplit(") ").next()?.chars().next()? {
        'R' => "running".to_owned(),
        'S' | 'D' => match text("wchan") {
            Some(place) if !place.is_empty() && place != "0" => format!("asleep in {place}"),
            _ => "asleep".to_owned(),
        },
        other => format!("in state {other}"),
    };
    Some(format!("{name}: {state}"))
}
