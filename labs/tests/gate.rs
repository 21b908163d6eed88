//! The gate with real servers, real load and real liars. This program is everything: the test, the lab's program with all
//! phases and a learner's in it, and the load, each as a process of its own.
//!
//! Nothing here depends on how fast anything is.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

use benches::{
    logs::{Taken, TallyLog},
    phase_server::{self, Arguments},
};
use clap::Parser;
use course::PhaseId;
use ingest_phases::{OpenPhase, PHASES, Phase};
use labs::gate::{
    Stop, Verdict,
    measure::{Contest, GENERATE, generate},
};
use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

fn main() -> ExitCode {
    let mut words = env::args_os();
    let name = words.next().map(PathBuf::from).unwrap_or_default();
    let words: Vec<OsString> = words.collect();
    if let [first, second, rest @ ..] = &words[..]
        && *first == GENERATE[0]
        && *second == GENERATE[1]
    {
        return generate(rest).unwrap_or(ExitCode::FAILURE);
    }
    if words.first().is_some_and(|word| word == "serve") {
        return serve(&name, words);
    }
    for (name, test) in TESTS {
        println!("test {name}");
        test();
    }
    ExitCode::SUCCESS
}

type Test = (&'static str, fn());

const TESTS: [Test; 3] = [
    ("a round measures everybody and finds all of their work", a_round_measures_everybody),
    ("who answers at once and stores nothing never passes", who_stores_nothing_never_passes),
    ("who does not even start is not verified", who_does_not_start_is_not_verified),
];

fn a_round_measures_everybody() {
    with_learner("honest", |contest| {
        let round = contest.round(0, &mut Duration::default()).unwrap();
        // More than the one request that nobody's silence is taken for.
        let least = 1.0 / contest.seconds;
        for rate in [round.previous, round.mine, round.reference, round.again] {
            assert!(rate > least, "{round:?}");
        }
    });
}

fn who_stores_nothing_never_passes() {
    with_learner("liar", |contest| {
        let judgement = contest.run(&mut |_| {});
        assert_eq!(judgement.verdict, Verdict::Unverified, "{}", judgement.words);
        assert!(judgement.words.ends_with("Mend this before you look at the speed."), "{}", judgement.words);
        let Err(Stop::Unverified(why)) = contest.round(0, &mut Duration::default()) else { panic!() };
        assert!(why.contains("and its log has 0 of them"), "{why}");
    });
}

fn who_does_not_start_is_not_verified() {
    with_learner("quitter", |contest| {
        let Err(Stop::Unverified(why)) = contest.round(0, &mut Duration::default()) else { panic!() };
        assert!(why.starts_with("in round 1 your server could not be measured"), "{why}");
    });
}

/// A contest on the step to keep-alive, short, in which the learner's form is the one of this name.
fn with_learner(name: &str, test: impl FnOnce(&Contest<'_>)) {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join(name);
    std::os::unix::fs::symlink(env::current_exe().unwrap(), &program).unwrap();
    let contest = Contest::new(&program, PhaseId { craft: 1, phase: 5 }, "plain", 0.5).unwrap();
    test(&Contest { seconds: 0.3, patience: Duration::ZERO, ..contest });
}

#[derive(Parser)]
struct Serve {
    #[command(flatten)]
    arguments: Arguments,
}

fn serve(program: &Path, words: Vec<OsString>) -> ExitCode {
    let reference = PHASES.iter().find(|phase| phase.name == "phase5").unwrap();
    let open: OpenPhase = match program.file_name().and_then(|name| name.to_str()) {
        Some("honest") => reference.open,
        // It is served at once, since its log is one that nobody looks into.
        Some("liar") => |config, _| {
            let reference = PHASES.iter().find(|phase| phase.name == "phase5").unwrap();
            (reference.open)(config, Some(Arc::new(TallyLog::new(Arc::new(Taken::default())))))
        },
        _ => |_, _| std::process::exit(3),
    };
    let mine = Phase { name: "mine", title: "the learner's", open, ..*reference };
    let phases: Vec<Phase> = PHASES.iter().copied().chain([mine]).collect();
    match phase_server::run(&phases, &Serve::parse_from(words).arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
