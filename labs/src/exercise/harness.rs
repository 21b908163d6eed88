//! Tests of cargo's harness as named tests: the checks of an exercise, and all others of the package.
//!
//! Each check has a process of its own, whose exit code says whether it holds and whose panic says what was sent, expected
//! and observed. So nothing hangs on how the harness words its summary, and a check that hangs or dies takes no other
//! along. The others are run together first, as cargo does, and one by one only if that fails.

use super::{CHECKS, PACKAGE, module};
use crate::{
    LabError,
    catalogue::Lab,
    program::{End, Feedback, Tested, Verdict, how, threads_of},
};
use serde_json::Value;
use std::{
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

/// The one name that all tests have in common which are not the exercise's.
pub const REST: &str = "the-rest-is-as-good-as-before";
/// A test that takes so long hangs. A check waits for several things, and gives up on each much earlier by itself.
pub const HANG_MAX: Duration = Duration::from_secs(120);
/// As many processes at a time: checks wait more than they work.
const CHECKS_AT_ONCE: usize = 4;
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// What the learner is shown of a test's words.
const SHOWN_CHARS_MAX: usize = 2_000;

/// The test programs of a learner's package.
#[derive(Clone, Debug)]
pub struct Harness {
    /// What the checks start.
    program: PathBuf,
    /// The module with this exercise's checks.
    module: String,
    /// The program with the checks in it.
    checks: PathBuf,
    /// All of them, that one too.
    suites: Vec<PathBuf>,
    /// [`HANG_MAX`]
    hang_max: Duration,
}

impl Harness {
    /// Of what cargo says, a JSON object a line, while it builds a package's tests.
    ///
    /// # Errors
    /// When it has not built what an exercise needs.
    pub(crate) fn of_build(lab: &Lab, said: &str) -> Result<Self, LabError> {
        let (mut program, mut checks, mut suites) = (None, None, Vec::new());
        for message in said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let Some(executable) = message["executable"].as_str().map(PathBuf::from) else { continue };
            let target = &message["target"];
            if message["profile"]["test"] == true {
                if target["name"] == CHECKS && target["kind"][0] == "test" {
                    checks = Some(executable.clone());
                }
                suites.push(executable);
            } else if target["kind"][0] == "bin" && target["name"] == crate::workshop::program_of(lab) {
                program = Some(executable);
            }
        }
        let missing = |what: &str| LabError::Program(format!("was built without {what}"));
        Ok(Self {
            program: program.ok_or_else(|| missing("src/main.rs"))?,
            module: module(lab),
            checks: checks.ok_or_else(|| missing("its checks"))?,
            suites,
            hang_max: HANG_MAX,
        })
    }

    /// What the learner wrote, as a program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Runs the tests of these names; without any, the checks, and then the rest if all of them hold.
    ///
    /// # Errors
    /// A name that is none, or a program that cannot be started.
    pub(crate) fn test(
        &self,
        names: &[String],
        watch: &mut dyn FnMut(&Tested),
    ) -> Result<(Vec<Tested>, End), LabError> {
        let mut tested = Vec::new();
        let mut tell = |one: Tested| {
            watch(&one);
            tested.push(one);
        };
        let end =
            if names.is_empty() { self.test_all(&mut tell)? } else { self.test_some(names, &mut tell)? };
        Ok((tested, end.unwrap_or(End::Whole)))
    }

    fn test_all(&self, tell: &mut dyn FnMut(Tested)) -> Result<Option<End>, LabError> {
        let mut all_hold = true;
        let end = self.run_checks(&self.checks()?, &mut |one| {
            all_hold &= one.verdict == Verdict::Holds;
            tell(one);
        })?;
        if all_hold && end.is_none() { self.run_rest(tell) } else { Ok(end) }
    }

    fn test_some(&self, names: &[String], tell: &mut dyn FnMut(Tested)) -> Result<Option<End>, LabError> {
        let checks = self.checks()?;
        let (ours, others): (Vec<&String>, Vec<&String>) =
            names.iter().partition(|name| checks.iter().any(|check| shown(check) == **name));
        let chosen: Vec<String> =
            checks.iter().filter(|check| ours.contains(&&shown(check))).cloned().collect();
        let mut end = self.run_checks(&chosen, tell)?;
        for name in others {
            if end.is_none() {
                end = if name == REST { self.run_rest(tell)? } else { self.run_other(name, &checks, tell)? };
            }
        }
        Ok(end)
    }

    /// One of the rest, as it was called when it broke.
    fn run_other(
        &self,
        name: &str,
        checks: &[String],
        tell: &mut dyn FnMut(Tested),
    ) -> Result<Option<End>, LabError> {
        for suite in &self.suites {
            if self.list(suite, &[])?.iter().any(|test| test == name) {
                return match self.judged(name, self.run(suite, &[name, "--exact", "--nocapture"])?) {
                    Ok(one) => {
                        tell(one);
                        Ok(None)
                    }
                    Err(end) => Ok(Some(end)),
                };
            }
        }
        let there: Vec<String> = checks.iter().map(|check| shown(check)).collect();
        Err(LabError::Program(format!("has no test {name:?}; there are {}, {REST}", there.join(", "))))
    }

    /// The paths of the exercise's checks.
    fn checks(&self) -> Result<Vec<String>, LabError> {
        let ours = format!("{}::", self.module);
        let all = self.list(&self.checks, &["--ignored"])?;
        Ok(all.into_iter().filter(|path| path.starts_with(&ours)).collect())
    }

    /// Some at a time, and told in their order.
    fn run_checks(&self, checks: &[String], tell: &mut dyn FnMut(Tested)) -> Result<Option<End>, LabError> {
        for some in checks.chunks(CHECKS_AT_ONCE) {
            let runs: Vec<_> = thread::scope(|scope| {
                let start = |check| {
                    scope.spawn(move || {
                        self.run(&self.checks, &[check, "--exact", "--ignored", "--nocapture"])
                    })
                };
                let threads: Vec<_> = some.iter().map(|check| start(check.as_str())).collect();
                threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(lost()))).collect()
            });
            for (check, run) in some.iter().zip(runs) {
                match self.judged(&shown(check), run?) {
                    Ok(one) => tell(one),
                    Err(end) => return Ok(Some(end)),
                }
            }
        }
        Ok(None)
    }

    /// All together. What then breaks is run again by itself, to be told which it is.
    fn run_rest(&self, tell: &mut dyn FnMut(Tested)) -> Result<Option<End>, LabError> {
        let mut all_hold = true;
        for suite in &self.suites {
            if let Ran::Ended(status, _) = self.run(suite, &[])?
                && status.success()
            {
                continue;
            }
            all_hold = false;
            if let Some(end) = self.run_singly(suite, tell)? {
                return Ok(Some(end));
            }
        }
        if all_hold {
            tell(Tested { name: REST.to_owned(), verdict: Verdict::Holds });
        }
        Ok(None)
    }

    fn run_singly(&self, suite: &Path, tell: &mut dyn FnMut(Tested)) -> Result<Option<End>, LabError> {
        let mut any_broken = false;
        for test in self.list(suite, &[])? {
            match self.judged(&test, self.run(suite, &[&test, "--exact", "--nocapture"])?) {
                Ok(one) if one.verdict == Verdict::Holds => {}
                Ok(one) => {
                    any_broken = true;
                    tell(one);
                }
                Err(end) => return Ok(Some(end)),
            }
        }
        if !any_broken {
            tell(Tested { name: REST.to_owned(), verdict: Verdict::Broken(only_together(suite)) });
        }
        Ok(None)
    }

    /// The paths of a program's tests, as `module::test`.
    fn list(&self, suite: &Path, words: &[&str]) -> Result<Vec<String>, LabError> {
        let output = self.command(suite).args(["--list", "--format=terse"]).args(words).output();
        let output = output.map_err(|e| LabError::io(suite, e))?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
    }

    /// Runs a test program to its end, or until it has taken too long.
    fn run(&self, suite: &Path, words: &[&str]) -> Result<Ran, LabError> {
        let mut command = self.command(suite);
        command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|e| LabError::io(suite, e))?;
        let words = child.stderr.take().map(|stderr| thread::spawn(move || text_of(stderr)));
        let deadline = Instant::now() + self.hang_max;
        let status = loop {
            match child.try_wait().map_err(|e| LabError::io(suite, e))? {
                Some(status) => break status,
                None if Instant::now() >= deadline => {
                    let threads = threads_of(child.id());
                    end(&mut child);
                    return Ok(Ran::Hung(threads));
                }
                None => thread::sleep(LOOK_EVERY),
            }
        };
        let words = words.and_then(|words| words.join().ok()).unwrap_or_default();
        Ok(Ran::Ended(status, words))
    }

    /// What a run of one test says of it; or how it ended, if that leaves nothing to go on with.
    fn judged(&self, name: &str, ran: Ran) -> Result<Tested, End> {
        let test = name.to_owned();
        match ran {
            Ran::Hung(threads) => Err(End::Hung { test, waited: self.hang_max, threads }),
            Ran::Ended(status, _) if status.success() => Ok(Tested { name: test, verdict: Verdict::Holds }),
            Ran::Ended(status, words) if status.code().is_some() => {
                Ok(Tested { verdict: Verdict::Broken(feedback(name, &words)), name: test })
            }
            Ran::Ended(status, _) => Err(End::Died { test, how: how(status) }),
        }
    }

    fn command(&self, suite: &Path) -> Command {
        let mut command = Command::new(suite);
        command.env("PHASE0_PROGRAM", &self.program);
        // What is drawn at random is drawn alike each time, so that the same fault gives the same feedback.
        command.env("CONFORMANCE_SEED", "1").env_remove("RUST_BACKTRACE");
        command
    }
}

/// What became of a test program.
enum Ran {
    /// It ended so, with these words on stderr.
    Ended(ExitStatus, String),
    /// It had to be stopped, while its threads did this.
    Hung(Vec<String>),
}

/// A check's three lines out of what it said as it panicked; of another test, the panic.
fn feedback(name: &str, words: &str) -> Feedback {
    let words = words.split("\nnote: run with `RUST_BACKTRACE").next().unwrap_or(words);
    let three = words.split_once("\n  sent:     ").and_then(|(_, rest)| {
        let (sent, rest) = rest.split_once("\n  expected: ")?;
        let (expected, observed) = rest.split_once("\n  observed: ")?;
        Some((sent, expected, observed))
    });
    let (sent, expected, observed) = match three {
        Some(three) => three,
        None => {
            let from = words.find("panicked at ").unwrap_or(0);
            (name, "the test holds, as it did before", &words[from..])
        }
    };
    let excerpt = |text: &str| text.trim().chars().take(SHOWN_CHARS_MAX).collect();
    Feedback { sent: excerpt(sent), expected: excerpt(expected), observed: excerpt(observed) }
}

fn only_together(suite: &Path) -> Feedback {
    Feedback {
        sent: format!("all tests of {} at the same time", suite.display()),
        expected: "they hold, as each of them does by itself".to_owned(),
        observed: "one breaks or hangs: do two of them share something, a file or a port?".to_owned(),
    }
}

/// `request_log::each_request_leaves_one_line` as a sentence: `each-request-leaves-one-line`.
fn shown(path: &str) -> String {
    path.rsplit("::").next().unwrap_or(path).replace('_', "-")
}

fn text_of(mut stream: impl Read) -> String {
    let mut bytes = Vec::new();
    // What was read until it failed is worth more than nothing.
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Ends a check and what it has started, which would go on without it.
fn end(child: &mut Child) {
    let mut ids = children_of(child.id());
    ids.push(child.id());
    for id in
        ids.into_iter().filter_map(|id| i32::try_from(id).ok()).filter_map(rustix::process::Pid::from_raw)
    {
        // It may have ended meanwhile, which is as good.
        let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
    }
    let _ = child.wait();
}

/// The children of a process, as Linux tells them; none elsewhere.
fn children_of(id: u32) -> Vec<u32> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{id}/task")) else { return Vec::new() };
    let texts = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
    let texts: Vec<String> = texts.collect();
    texts.iter().flat_map(|text| text.split_whitespace()).filter_map(|id| id.parse().ok()).collect()
}

fn lost() -> LabError {
    LabError::Program(format!("of {PACKAGE}'s checks was lost"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    /// Tests as a learner's package has them, of which some break, each in its own way.
    const SUITE: &str = r#"
        mod mine {
            #[test] #[ignore]
            fn this_one_holds() {}
            #[test] #[ignore]
            fn this_one_breaks() { panic!("\n  sent:     a\n  expected: b\n  observed: c\nd\n") }
        }
        mod dies {
            #[test] #[ignore]
            fn by_a_signal() { std::process::abort() }
        }
        mod hangs {
            #[test] #[ignore]
            fn for_ever() { loop { std::thread::sleep(std::time::Duration::from_secs(1)) } }
        }
        mod other {
            #[test] #[ignore]
            fn of_another_exercise() { panic!("not asked for") }
        }
        #[test]
        fn the_rest() { if std::env::var_os("PHASE0_PROGRAM").unwrap() == "wrong" { assert_eq!(1, 2, "worse") } }
    "#;

    /// Compiled for the exercise `module` with this as the learner's program.
    fn harness(module: &str, program: &str) -> (Harness, TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let (source, suite) = (dir.path().join("suite.rs"), dir.path().join("suite"));
        std::fs::write(&source, SUITE).unwrap();
        let mut rustc = Command::new("rustc");
        rustc.args(["--test", "--edition", "2024", "-o"]).arg(&suite).arg(&source);
        assert!(rustc.status().unwrap().success());
        let (program, module) = (PathBuf::from(program), module.to_owned());
        let suites = vec![suite.clone()];
        (Harness { program, module, checks: suite, suites, hang_max: Duration::from_secs(30) }, dir)
    }

    fn run(harness: &Harness, names: &[&str]) -> (Vec<Tested>, End) {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut watched = Vec::new();
        let (tested, end) = harness.test(&names, &mut |one| watched.push(one.clone())).unwrap();
        assert_eq!(watched, tested, "what is told is what comes back");
        (tested, end)
    }

    fn holds(name: &str) -> Tested {
        Tested { name: name.to_owned(), verdict: Verdict::Holds }
    }

    #[test]
    fn a_check_that_breaks_says_its_three_lines_and_the_rest_is_left() {
        let (harness, _dir) = harness("mine", "right");
        let (sent, expected, observed) = ("a".to_owned(), "b".to_owned(), "c\nd".to_owned());
        let broken = Verdict::Broken(Feedback { sent, expected, observed });
        let broken = Tested { name: "this-one-breaks".to_owned(), verdict: broken };
        assert_eq!(run(&harness, &[]), (vec![broken, holds("this-one-holds")], End::Whole));
        assert_eq!(run(&harness, &["this-one-holds"]), (vec![holds("this-one-holds")], End::Whole));
        assert_eq!(run(&harness, &[REST]), (vec![holds(REST)], End::Whole));
        assert_eq!(run(&harness, &["the_rest"]), (vec![holds("the_rest")], End::Whole));
        let unknown = harness.test(&["else".to_owned()], &mut |_| {}).unwrap_err().to_string();
        assert!(unknown.contains("this-one-holds") && unknown.contains(REST), "{unknown}");
    }

    #[test]
    fn what_was_good_before_is_told_by_name_when_it_breaks() {
        let (harness, _dir) = harness("nothing", "wrong");
        let (tested, end) = run(&harness, &[]);
        let [Tested { name, verdict: Verdict::Broken(feedback) }] = &tested[..] else { panic!("{tested:?}") };
        assert_eq!((name.as_str(), end), ("the_rest", End::Whole));
        assert!(
            feedback.observed.starts_with("panicked at ") && feedback.observed.contains("worse"),
            "{feedback:?}"
        );
    }

    #[test]
    #[cfg(unix)]
    fn what_dies_is_told_as_that() {
        let (harness, _dir) = harness("dies", "right");
        let (tested, end) = run(&harness, &[]);
        assert!(matches!(end, End::Died { test, .. } if test == "by-a-signal"), "{tested:?}");
    }

    #[test]
    fn what_hangs_is_stopped() {
        let (harness, _dir) = harness("hangs", "right");
        let hang_max = Duration::from_millis(200);
        let (tested, end) = run(&Harness { hang_max, ..harness }, &[]);
        assert!(
            matches!(end, End::Hung { test, waited, .. } if test == "for-ever" && waited == hang_max),
            "{tested:?}"
        );
    }
}
