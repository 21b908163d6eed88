//! The words of a lab's program.

use crate::{
    Lab,
    check::{Test, Verdict},
    up::{self, UpArguments},
};
use anyhow::{Context, Result, bail};
use benches::phase_server;
use clap::{Parser, Subcommand};
use ingest_phases::PHASES;
use serde::Serialize;
use std::{io::Write, process::ExitCode};

/// Tests, counts, serves and runs what you wrote.
#[derive(Parser)]
#[command(name = "lab")]
struct Words {
    #[command(subcommand)]
    word: Word,
}

#[derive(Subcommand)]
enum Word {
    /// Run the named tests, or all of them
    Check {
        /// Names of tests
        tests: Vec<String>,
    },
    /// Count what can be counted, of the form before, yours, and the reference
    Count,
    /// Serve one phase, or `mine`, to be measured
    Serve(Box<phase_server::Arguments>),
    /// Run the whole pipeline with what you wrote in it
    // Who says something twice means the second: what `craft lab run` tells may be told otherwise.
    #[command(args_override_self = true)]
    Up(UpArguments),
}

/// What is said on stdout, one JSON object a line.
#[derive(Serialize)]
#[serde(tag = "said", rename_all = "lowercase")]
enum Said<'a> {
    Begun { test: &'a str },
    Ended { test: &'a str, verdict: &'a Verdict },
    Checked,
    NoTest { asked: &'a str, there: Vec<&'a str> },
    Counted { counter: &'a str, previous: f64, mine: f64, reference: f64 },
}

/// Runs a lab's program, as its command line tells it.
#[expect(clippy::needless_pass_by_value, reason = "a program has one lab, and nothing else to do with it")]
pub fn main(lab: Lab) -> ExitCode {
    let done = match Words::parse().word {
        Word::Check { tests } => check(&lab, &tests),
        Word::Count => count(&lab).map(|()| ExitCode::SUCCESS),
        Word::Serve(arguments) => serve(&lab, &arguments).map(|()| ExitCode::SUCCESS),
        Word::Up(arguments) => up::run(&lab, &arguments),
    };
    done.unwrap_or_else(|error| {
        eprintln!("lab: {error:#}");
        ExitCode::FAILURE
    })
}

/// The exit code is for people: who reads the lines knows more.
fn check(lab: &Lab, names: &[String]) -> Result<ExitCode> {
    let mut tests = lab.tests();
    // The beginning of a name is enough: they are sentences.
    let asked_for = |test: &Test, name: &String| test.name.starts_with(name.as_str());
    if let Some(asked) = names.iter().find(|name| !tests.iter().any(|test| asked_for(test, name))) {
        let there = tests.iter().map(|test| test.name.as_str()).collect();
        say(&Said::NoTest { asked, there })?;
        bail!("{} has no test {asked:?}", lab.slug);
    }
    tests.retain(|test| names.is_empty() || names.iter().any(|name| asked_for(test, name)));
    let mut all_hold = true;
    for test in &tests {
        all_hold &= !matches!(check_one(test)?, Verdict::Broken(_));
    }
    say(&Said::Checked)?;
    Ok(if all_hold { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn check_one(test: &Test) -> Result<Verdict> {
    say(&Said::Begun { test: &test.name })?;
    let verdict = test.run();
    say(&Said::Ended { test: &test.name, verdict: &verdict })?;
    Ok(verdict)
}

fn count(lab: &Lab) -> Result<()> {
    // The warm-up has nothing before it that could be counted.
    let Some(phase) = lab.phase else { return Ok(()) };
    for counter in lab.slot.counters_of(phase) {
        let what = || format!("cannot count {}", counter.name);
        let previous = (counter.of_phase)(phase.saturating_sub(1)).with_context(what)?;
        let reference = (counter.of_phase)(phase).with_context(what)?;
        let mine = (counter.mine)().with_context(what)?;
        say(&Said::Counted { counter: counter.name, previous, mine, reference })?;
    }
    Ok(())
}

fn serve(lab: &Lab, arguments: &phase_server::Arguments) -> Result<()> {
    let phases: Vec<_> = lab.server.iter().chain(&PHASES).copied().collect();
    phase_server::run(&phases, arguments)
}

fn say(said: &Said<'_>) -> Result<()> {
    let mut line = serde_json::to_string(said)?;
    line.push('\n');
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes()).context("nobody reads along")?;
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_runs_a_lab_may_tell_anew_what_craft_told_already() {
        let told = ["lab", "up", "--data", "a", "--work", "w", "--labs", "[]", "--journeys", "j"];
        let Word::Up(up) = Words::parse_from(told.iter().chain(&["--data", "b", "--journeys", "k"])).word
        else {
            panic!("up is up");
        };
        assert_eq!(
            (up.data.to_str(), up.journeys.as_deref().and_then(|path| path.to_str())),
            (Some("b"), Some("k"))
        );
    }
}
