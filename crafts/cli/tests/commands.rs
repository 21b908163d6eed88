//! Every command that the book, the briefs and the guides tell is typed here, in a learner's clone and against a running
//! pipeline. What is not typed is declared, with the reason ([`how`]); a command that nobody has thought of fails.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

mod common;
mod scratch;
mod shell;

use common::{Running, craft, program, text};
use scratch::Scratch;
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    path::Path,
    process::{Command, ExitCode, Output},
};

/// Where the texts expect the pipeline.
const TOLD_ADDRESS: &str = "127.0.0.1:8080";
const TOLD_PORT: &str = "8080";
/// Longer than anybody wants to wait: measurements are cut to this.
const SECONDS_MAX: &str = "1s";

/// How a command is tried.
enum How {
    /// It comes to its end, and ends well.
    Ends,
    /// It says what it found, and whether that is good is no matter of ours.
    Finds(&'static str),
    /// It asks the pipeline, and ends well.
    Asks,
    /// It asks the queue, and ends well.
    AsksQueue,
    /// It follows what the queue does until it is told to stop, and then ends well.
    Follows,
    /// It serves until it is told to stop, and then ends well.
    Serves,
    /// It puts load on the pipeline, and ends well.
    Loads,
    /// Not at all, and why.
    Left(&'static str),
}

fn how(file: &str, words: &[&str]) -> How {
    match words {
        ["cargo", "craft", "bench" | "profile", ..] => How::Left(
            "it builds programs of its own and measures for minutes; their tests read its words in the book",
        ),
        ["cargo", "craft", "lab", "check" | "watch" | "run" | "prove", ..]
        | ["cargo", "craft", "class", "run", ..] => {
            How::Left("it compiles for minutes; `craft lab prove` and the example class-of-five do that")
        }
        ["cargo", "craft", "agent", ..] => How::Left("it needs an exporter; tests/agent.rs brings one"),
        ["cargo", "craft", "doctor"] => How::Finds("fit"),
        ["cargo", "craft", "up" | "serve", ..] => How::Serves,
        ["cargo", "craft", "query" | "alerts", ..] => How::Asks,
        ["cargo", "craft", "queue", "verify", ..] => {
            How::Left("its log is damaged by hand; tests/queue.rs does it")
        }
        ["cargo", "craft", "queue", .., last] if last.starts_with('$') => {
            How::Left("its loop counts the partitions")
        }
        ["cargo", "craft", "queue", .., "--follow" | "--watch"]
        | ["cargo", "craft", "queue", "tail", "--follow", ..] => How::Follows,
        ["cargo", "craft", "queue", ..] => How::AsksQueue,
        ["cargo", "craft", ..] => How::Ends,
        ["cargo", "run", "--release", "-p", "load-tester", "--", ..] => How::Loads,
        _ if file.starts_with("labs/phase0/") => How::Left(
            "it talks to the learner's own phase 0, once that can do what is asked; the lab's check tries that",
        ),
        ["curl", .., body] if body.contains('$') => How::Left("its loop fills in what it asks"),
        ["curl", ..] => How::Ends,
        [setting, "cargo", "test", ..] if setting.starts_with("QUEUE_") => {
            How::Left("it kills for minutes; .ci/run does so for one")
        }
        ["cargo" | "RUSTFLAGS=--cfg loom", ..] => How::Left(
            "it compiles; that package and target are there, a test of the book says, and .ci/run does the same",
        ),
        ["phase0/demo.sh", ..] => How::Left(".ci/run does it"),
        ["git" | "cp" | "cd", ..] => How::Left("it prepares the model checker's run, which .ci/run does"),
        ["a=$(head" | "tr" | "printf", ..] => How::Left("the shell makes the bodies of that loop"),
        ["dd" | "truncate", ..] => How::Left("it damages a log by hand; the queue's tests of recovery do it"),
        ["bash" | "for" | "do" | "done" | "kill" | "sleep" | "ls" | "wc" | "grep", ..] => {
            How::Left("it makes slow clients and looks at threads while the learner's own server runs")
        }
        _ => panic!("{file}: nobody has said how to try {words:?}"),
    }
}

#[test]
fn every_command_that_is_told_works() {
    let learner = Learner::new();
    let (mut tried, mut left, mut wrong) = (BTreeSet::new(), BTreeMap::new(), Vec::new());
    for (file, words) in shell::told(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match how(&file, &words) {
            How::Left(why) => *left.entry(why).or_insert(0) += 1,
            // Once, however often it is told.
            how if tried.insert(words.join(" ")) => {
                if let Err(why) = learner.try_one(&words, &how) {
                    wrong.push(format!("{file}: {}\n  {why}", words.join(" ")));
                }
            }
            _ => {}
        }
    }
    for (why, times) in &left {
        eprintln!("left out, {times} times: {why}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(tried.len() > 50, "only {} commands: is this test still looking right?", tried.len());
}

/// Somebody with a clone, and a pipeline that runs in another terminal.
struct Learner {
    clone: Scratch,
    pipeline: Running,
    services: BTreeMap<&'static str, Running>,
}

impl Learner {
    fn new() -> Self {
        let clone = Scratch::new();
        let identity = ["-c", "user.name=A Learner", "-c", "user.email=learner@localhost"];
        clone.git(&[&identity[..], &["commit", "--quiet", "--message", "The course"]].concat());
        let data = |name: &str| clone.root.join("target").join(name);
        let pipeline = Running::node(&["up", "--no-agent"], &data("up"));
        let queue = Running::node(&["serve", "queue"], &data("queue"));
        let storage = Running::node(&["serve", "storage", "--queue", &queue.url], &data("storage"));
        let query = Running::node(&["serve", "query", "--storage", &storage.url], &data("query"));
        let services = BTreeMap::from([("--queue", queue), ("--storage", storage), ("--query", query)]);
        Self { clone, pipeline, services }
    }

    fn try_one(&self, words: &[&str], how: &How) -> Result<(), String> {
        match how {
            How::Ends => ended_well(&self.output(words, &[])?),
            How::Asks => ended_well(&self.output(words, &["--url", &self.pipeline.url])?),
            How::AsksQueue => ended_well(&self.output(&self.at_queue(words), &[])?),
            How::Follows => self.follow(&self.at_queue(words)[2..]),
            How::Finds(word) => {
                let output = self.output(words, &[])?;
                let found = text(&output.stdout).contains(word);
                if found { Ok(()) } else { Err(text(&output.stderr)) }
            }
            How::Serves => self.serve(&words[2..]),
            How::Loads => self.load(&words[6..]),
            How::Left(_) => Ok(()),
        }
    }

    /// The same, told where the queue is.
    fn at_queue<'w>(&'w self, words: &[&'w str]) -> Vec<&'w str> {
        let told = words.iter().any(|word| word.contains("://"));
        let more = ["--url", &self.services["--queue"].url];
        words.iter().copied().chain(more.into_iter().filter(|_| !told)).collect()
    }

    fn follow(&self, words: &[&str]) -> Result<(), String> {
        let address = self.pipeline.url.trim_start_matches("http://");
        let words: Vec<String> = words.iter().map(|word| word.replace(TOLD_ADDRESS, address)).collect();
        let mut command = craft(&words.iter().map(String::as_str).collect::<Vec<_>>());
        let mut child = command.stdout(std::process::Stdio::null()).spawn().map_err(|e| e.to_string())?;
        // It has begun once it catches the signal, and nobody outside sees when: one that comes before ends it, too.
        std::thread::sleep(std::time::Duration::from_millis(500));
        let early = child.try_wait().map_err(|e| e.to_string())?;
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).map_err(|e| e.to_string())?;
        let output = child.wait_with_output().map_err(|e| e.to_string())?;
        match early {
            Some(status) => Err(format!("it ended by itself, {status}: {}", text(&output.stderr))),
            None => Ok(()),
        }
    }

    /// In the clone, against the pipeline wherever it listens.
    fn output(&self, words: &[&str], more: &[&str]) -> Result<Output, String> {
        let address = self.pipeline.url.trim_start_matches("http://");
        let words: Vec<String> = words.iter().map(|word| word.replace(TOLD_ADDRESS, address)).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).chain(more.iter().copied()).collect();
        let mut command = match &words[..] {
            ["cargo", "craft", rest @ ..] => craft(rest),
            [name, rest @ ..] => {
                // Where it is not installed, it says so.
                let Some(path) = program(&[*name], name) else { return Ok(nothing()) };
                let mut command = Command::new(path);
                // Curl is content with whatever is answered.
                command.args((*name == "curl").then_some("--fail")).args(rest);
                command
            }
            [] => return Ok(nothing()),
        };
        command.current_dir(&self.clone.root).output().map_err(|error| error.to_string())
    }

    /// On a free port, with data of its own, behind services that are there.
    fn serve(&self, words: &[&str]) -> Result<(), String> {
        let own = self.clone.root.join("target/served").join(words.join("-").replace('/', "-"));
        let mut told: Vec<&str> = Vec::new();
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            match (*word, self.services.get(word)) {
                ("--listen" | "--data", _) => drop(rest.next()),
                (flag, Some(service)) => {
                    rest.next();
                    told.extend([flag, &service.url]);
                }
                (word, None) => told.push(word),
            }
        }
        let needs = match words {
            ["serve", "ingest" | "storage", ..] => Some("--queue"),
            ["serve", "query", ..] => Some("--storage"),
            ["serve", "alert", ..] => Some("--query"),
            _ => None,
        };
        if let Some(flag) = needs.filter(|flag| !told.contains(flag)) {
            told.extend([flag, &self.services[flag].url]);
        }
        let node = Running::node(&told, &own);
        let (status, body) = node.get("/health");
        let (code, said) = node.interrupt();
        if status == 200 && code == Some(0) {
            Ok(())
        } else {
            Err(format!("{status} {body}, {code:?}: {said}"))
        }
    }

    fn load(&self, words: &[&str]) -> Result<(), String> {
        let (_, port) = self.pipeline.url.rsplit_once(':').unwrap();
        let told = words.iter().map(|word| match *word {
            // Servers of a lab's own, beside the pipeline.
            TOLD_PORT | "8091" | "8092" => port,
            word if word.len() < 4 && word.ends_with('s') && !word.starts_with('-') => SECONDS_MAX,
            word => word,
        });
        let told: Vec<OsString> =
            ["load-tester", "--quiet"].into_iter().chain(told).map(Into::into).collect();
        let code = load_tester::cli::main(told);
        if code == ExitCode::SUCCESS { Ok(()) } else { Err(format!("{code:?}")) }
    }
}

fn ended_well(output: &Output) -> Result<(), String> {
    if output.status.success() { Ok(()) } else { Err(text(&output.stderr) + &text(&output.stdout)) }
}

/// What a program says that is not there.
fn nothing() -> Output {
    Output { status: std::process::ExitStatus::default(), stdout: Vec::new(), stderr: Vec::new() }
}
