//! `craft bench` and `craft profile`, as a program of their own: `craft` builds it and passes its words on, so that the
//! tool one works with every day needs nothing of what is needed to measure.
//!
//! Data goes to stdout, progress to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage.

mod craft2;

use anyhow::{Context, Result, bail, ensure};
use benches::{
    compare, course, journey,
    ladder::{self, Ladder},
    loads::{self, Load},
    parts,
    peers::{Contest, Programs},
    process::allow_many_files,
    profile::{self, Profile},
    progress::Progress,
    report,
    results::{self, Results, SCHEMA, Slice, Subject, Workload},
    tool::Pinning,
    traffic,
};
use clap::{Args, Parser, Subcommand};
use std::{
    ffi::OsString,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

/// Measure the phases, compare them, and tell.
#[derive(Parser, Debug)]
#[command(name = "craft bench", bin_name = "craft bench", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Put the phases of ingestion under every load that shows something
    Craft1(Craft1),
    /// Put the phases of the queue under every load that shows something, and what one would use instead
    Craft2(craft2::Craft2),
    /// Measure nginx, axum and chosen phases side by side
    Peers(Peers),
    /// Show where a phase spends its processor time, as a flame graph
    Profile(ProfileArguments),
    /// Sample what each step of the course sets out to remove, for the book
    Profiles(Profiles),
    /// The same of the queue
    Profiles2(craft2::Profiles2),
    /// Hold two results files against each other, as ratios
    Compare(Compare),
    /// Show what a results file holds, or write a report or the book's tables from it
    Report(Report),
}

#[derive(Args, Debug)]
struct Craft1 {
    /// Phases, as in 3, 0-9 or 0,5-7
    #[arg(long, default_value = "0-9", value_parser = parse_phases)]
    phases: Phases,
    /// Loads by name, with commas; all by default, and --list-loads says which there are
    #[arg(long, value_delimiter = ',')]
    loads: Vec<String>,
    /// Print the loads and what they show
    #[arg(long)]
    list_loads: bool,
    /// Rounds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds of a measurement
    #[arg(long, default_value_t = 3.0, value_parser = parse_seconds)]
    seconds: f64,
    /// Two rounds of one second under two loads: is everything in its place?
    #[arg(long, conflicts_with_all = ["rounds", "seconds"])]
    quick: bool,
    /// What samples' values are derived from
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Seconds to wait, all in all, for other processes to leave the machine alone
    #[arg(long, default_value_t = 60)]
    patience: u64,
    /// Leave out the parts that are measured alone
    #[arg(long)]
    no_parts: bool,
    /// Put what is measured in place of what these results have of the same loads, and say so there
    #[arg(long, value_name = "FILE", requires = "loads", conflicts_with = "out")]
    into: Option<PathBuf>,
    /// Where the results go
    #[arg(long, default_value = "benches/results/craft1.json")]
    out: PathBuf,
    /// The results on stdout too
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct Peers {
    /// Phases, as in 3, 0-9 or 0,5-7
    #[arg(long, default_value = "0,5,8,9", value_parser = parse_phases)]
    phases: Phases,
    /// Install what is missing through apt (Debian)
    #[arg(long)]
    install: bool,
    /// Rounds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds of a measurement
    #[arg(long, default_value_t = 3.0, value_parser = parse_seconds)]
    seconds: f64,
    /// What samples' values are derived from
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Seconds to wait, all in all, for other processes to leave the machine alone
    #[arg(long, default_value_t = 60)]
    patience: u64,
    /// Where the results go
    #[arg(long, default_value = "benches/results/peers-craft1.json")]
    out: PathBuf,
    /// The results on stdout too
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct ProfileArguments {
    /// Which craft
    #[arg(value_parser = ["ingest", "queue"])]
    craft: String,
    /// Which phase of it [default: the last]
    #[arg(long)]
    phase: Option<u32>,
    /// Under which load; craft bench craft1 --list-loads, or craft2, says which there are [default: plain, or single]
    #[arg(long)]
    load: Option<String>,
    /// How long
    #[arg(long, default_value_t = 10.0, value_parser = parse_seconds)]
    seconds: f64,
    /// Where the flame graph goes
    #[arg(long, default_value = "flame.svg")]
    out: PathBuf,
}

#[derive(Args, Debug)]
struct Profiles {
    /// How long each
    #[arg(long, default_value_t = 5.0, value_parser = parse_seconds)]
    seconds: f64,
    /// What samples' values are derived from
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Where the results go
    #[arg(long, default_value = "benches/results/craft1-profiles.json")]
    out: PathBuf,
    /// The results on stdout too
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct Compare {
    /// The one
    a: PathBuf,
    /// The other
    b: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct Report {
    /// Results of the phases
    #[arg(default_value = "benches/results/craft1.json")]
    results: PathBuf,
    /// Results of the peers [default: peers-… beside the others, if it is there]
    #[arg(long, value_name = "FILE")]
    peers: Option<PathBuf>,
    /// One page with charts, into this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// The tables that the book includes, into this directory
    #[arg(long, value_name = "DIR")]
    book: Option<PathBuf>,
    /// The figures that the live page draws, into this file
    #[arg(long, value_name = "FILE")]
    journey: Option<PathBuf>,
}

#[derive(Clone, Debug)]
struct Phases(Vec<u32>);

fn parse_phases(text: &str) -> Result<Phases, String> {
    let number = |text: &str| text.trim().parse::<u32>().map_err(|_| format!("{text:?} is not a phase"));
    let mut phases = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last || last > 99 {
            return Err(format!("{part:?} is not a range of phases"));
        }
        phases.extend(first..=last);
    }
    phases.sort_unstable();
    phases.dedup();
    Ok(Phases(phases))
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    if (0.1..=20.0).contains(&seconds) { Ok(seconds) } else { Err("it is from 0.1 to 20".to_owned()) }
}

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some(code) = traffic::generate(&words) {
        return code;
    }
    exit(match Arguments::parse().command {
        Command::Craft1(arguments) => craft1(&arguments),
        Command::Craft2(arguments) => craft2::run(&arguments),
        Command::Peers(arguments) => peers(&arguments),
        Command::Profile(arguments) => profile(&arguments),
        Command::Profiles(arguments) => profiles(&arguments),
        Command::Profiles2(arguments) => craft2::profiles(&arguments),
        Command::Compare(arguments) => compare(&arguments),
        Command::Report(arguments) => report(&arguments),
    })
}

fn exit(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("craft bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn craft1(arguments: &Craft1) -> Result<()> {
    let loads = chosen_loads(arguments)?;
    if arguments.list_loads {
        return list(&loads);
    }
    // Read first: half an hour later is too late to find that it cannot be read.
    let earlier = arguments.into.as_ref().map(|path| Results::read(path)).transpose()?;
    let run = Run::begin(&arguments.phases)?;
    let (rounds, seconds) = if arguments.quick { (2, 1.0) } else { (arguments.rounds, arguments.seconds) };
    let ladder = Ladder {
        program: run.phase_server.clone(),
        pinning: run.pinning.clone(),
        loads: &loads,
        phases: &run.phases,
        rounds,
        seconds,
        patience: Duration::from_secs(arguments.patience),
    };
    let progress = Progress::new(ladder.slices() + ladder.counts());
    let slices = ladder.run(&progress)?;
    let counts = ladder.count(&progress);
    progress.finish();
    let parts = if arguments.no_parts { Vec::new() } else { parts::measure(&run.root)? };
    let workload =
        Workload { seed: arguments.seed, rounds, seconds, pinned_to_cores: run.pinning.cores, loads };
    let mut reproduce = reproduce("craft1", &arguments.phases, &workload);
    if !arguments.loads.is_empty() {
        reproduce.push_str(&format!(" --loads {}", arguments.loads.join(",")));
    }
    let subjects = run.subjects.clone();
    let results = Results { counts, parts, ..run.results("craft1", reproduce, workload, subjects, slices) };
    match (earlier, &arguments.into) {
        (Some(mut earlier), Some(path)) => {
            let found = Found::of(&results);
            earlier.take_over(results)?;
            deliver(&earlier, path, &found, arguments.json)
        }
        _ => deliver(&results, &run.root.join(&arguments.out), &Found::of(&results), arguments.json),
    }
}

fn peers(arguments: &Peers) -> Result<()> {
    let run = Run::begin(&arguments.phases)?;
    let loads = loads::peers(arguments.seed);
    let contest = Contest {
        programs: Programs::find(&run.root, arguments.install)?,
        phase_server: run.phase_server.clone(),
        pinning: run.pinning.clone(),
        loads: &loads,
        phases: &run.phases,
        rounds: arguments.rounds,
        seconds: arguments.seconds,
        patience: Duration::from_secs(arguments.patience),
    };
    let progress = Progress::new(contest.slices());
    let slices = contest.run(&progress)?;
    progress.finish();
    let subjects = contest.subjects(&run.subjects);
    let workload = Workload {
        seed: arguments.seed,
        rounds: arguments.rounds,
        seconds: arguments.seconds,
        pinned_to_cores: run.pinning.cores,
        loads: loads.clone(),
    };
    let reproduce = reproduce("peers", &arguments.phases, &workload);
    let results = run.results("peers-craft1", reproduce, workload, subjects, slices);
    deliver(&results, &run.root.join(&arguments.out), &Found::of(&results), arguments.json)
}

/// The last phases of the crafts.
const INGEST_LAST: u32 = 9;
/// See above.
const QUEUE_LAST: u32 = 6;

fn profile(arguments: &ProfileArguments) -> Result<()> {
    let load = arguments.load.as_deref();
    if arguments.craft == "queue" {
        let (phase, load) = (arguments.phase.unwrap_or(QUEUE_LAST), load.unwrap_or("single"));
        return craft2::profile_queue(phase, load, arguments.seconds, &arguments.out);
    }
    let load = find_load(&loads::craft1(42), load.unwrap_or("plain"))?;
    let phase = arguments.phase.unwrap_or(INGEST_LAST);
    eprintln!("profiling {} phase {phase} under {} for {} s", arguments.craft, load.name, arguments.seconds);
    let profiled = Profile {
        program: &ladder::phase_server()?,
        phase,
        load: &load,
        seconds: arguments.seconds,
        out: &arguments.out,
    }
    .run()?;
    print_line(profile::text(&profiled.top).trim_end())?;
    eprintln!(
        "{:.0} requests/s while it was sampled; the flame graph is in {}",
        profiled.requests.ok_per_s,
        arguments.out.display()
    );
    Ok(())
}

fn profiles(arguments: &Profiles) -> Result<()> {
    let run = Run::begin(&Phases((0..=99).collect()))?;
    let loads = loads::craft1(arguments.seed);
    let steps: Vec<_> = run.subjects.iter().filter_map(|subject| subject.phase.clone()).collect();
    let watch = &mut |what: &str| eprintln!("sampling {what}");
    let profiles = profile::before_steps(&run.phase_server, &steps, &loads, arguments.seconds, watch)?;
    let (seed, seconds) = (arguments.seed, arguments.seconds);
    let workload =
        Workload { seed, rounds: 1, seconds, pinned_to_cores: run.pinning.cores, loads: Vec::new() };
    let reproduce = format!("cargo craft bench profiles --seconds {seconds} --seed {seed}");
    let results = run.results("craft1-profiles", reproduce, workload, run.subjects.clone(), Vec::new());
    let results = Results { profiles, ..results };
    deliver(&results, &run.root.join(&arguments.out), &Found::of(&results), arguments.json)
}

/// What every measurement begins with.
struct Run {
    begun: Instant,
    started_at: String,
    root: PathBuf,
    phase_server: PathBuf,
    pinning: Pinning,
    /// Those that were asked for and can be served.
    phases: Vec<u32>,
    subjects: Vec<Subject>,
}

impl Run {
    fn begin(asked: &Phases) -> Result<Self> {
        let (begun, started_at) = (Instant::now(), jiff::Timestamp::now().to_string());
        let root = root()?;
        let phase_server = ladder::phase_server()?;
        let course = course::phases_of(&root.join("crafts/phases.toml"), 1)?;
        let served = ladder::served(&phase_server)?;
        let phases: Vec<u32> = asked.0.iter().copied().filter(|phase| served.contains(phase)).collect();
        ensure!(!phases.is_empty(), "none of these phases can be served; there are {served:?}");
        allow_many_files()?;
        let subject = |phase: &u32| {
            let row = course.iter().find(|row| row.number == *phase).cloned();
            let title = row.as_ref().map_or_else(String::new, |row| row.title.clone());
            Subject { name: format!("phase{phase}"), title, phase: row }
        };
        let subjects = phases.iter().map(subject).collect();
        Ok(Self { begun, started_at, root, phase_server, pinning: Pinning::detect(), phases, subjects })
    }

    /// Of what was seen, with everything that it depends on.
    fn results(
        &self,
        bench: &str,
        reproduce: String,
        workload: Workload,
        subjects: Vec<Subject>,
        slices: Vec<Slice>,
    ) -> Results {
        Results {
            schema: SCHEMA.to_owned(),
            bench: bench.to_owned(),
            reproduce,
            started_at: self.started_at.clone(),
            seconds_taken: self.begun.elapsed().as_secs_f64(),
            provenance: traffic::provenance(),
            lock_hash: results::lock_hash(&self.root),
            workload,
            subjects,
            slices,
            counts: Vec::new(),
            parts: Vec::new(),
            profiles: Vec::new(),
            again: Vec::new(),
        }
    }
}

/// The tables of what was measured just now: results that take it over hold more.
struct Found(String);

impl Found {
    fn of(results: &Results) -> Self {
        Self(report::terminal(results, &results.workload.loads))
    }
}

/// Stdout has the tables, or the JSON if that was asked for: then the tables are for who watches.
fn deliver(results: &Results, path: &Path, Found(tables): &Found, json: bool) -> Result<()> {
    results.write(path)?;
    if json {
        eprint!("{tables}");
        print_line(&serde_json::to_string(results)?)?;
    } else if !tables.is_empty() {
        print_line(tables.trim_end())?;
    }
    eprintln!("written to {}", path.display());
    Ok(())
}

fn compare(arguments: &Compare) -> Result<()> {
    let (a, b) = (Results::read(&arguments.a)?, Results::read(&arguments.b)?);
    let lines = compare::compare(&a, &b).context("these files cannot be compared")?;
    if arguments.json {
        return print_line(&serde_json::to_string(&lines)?);
    }
    print_line(compare::text(&a, &b, &lines).trim_end())
}

fn report(arguments: &Report) -> Result<()> {
    if benches::craft2::results::Results::is_in(&arguments.results) {
        ensure!(arguments.peers.is_none(), "the peers of {} are in it", arguments.results.display());
        return craft2::report(arguments);
    }
    let results = Results::read(&arguments.results)?;
    let beside = arguments.results.with_file_name(format!("peers-{}.json", results.bench));
    let peers = match &arguments.peers {
        Some(path) => Some(Results::read(path)?),
        None if beside.is_file() => Some(Results::read(&beside)?),
        None => None,
    };
    if let Some(path) = &arguments.html {
        write(path, &report::html(&results, peers.as_ref()))?;
    }
    if let Some(path) = &arguments.journey {
        write(path, &(serde_json::to_string_pretty(&journey::journey(&results))? + "\n"))?;
    }
    if let Some(directory) = &arguments.book {
        for path in report::book(&results, peers.as_ref(), directory)? {
            print_line(&path.display().to_string())?;
        }
    }
    if arguments.html.is_none() && arguments.journey.is_none() && arguments.book.is_none() {
        return show(&results, arguments.peers.as_ref().and(peers.as_ref()));
    }
    Ok(())
}

/// The tables of a run, and of peers that were named. Of samples there are none that fit a terminal.
fn show(results: &Results, peers: Option<&Results>) -> Result<()> {
    for results in [Some(results), peers].into_iter().flatten() {
        let Found(tables) = Found::of(results);
        ensure!(
            !tables.is_empty(),
            "{} has nothing that was measured under a load; try --book",
            results.bench
        );
        print_line(tables.trim_end())?;
    }
    Ok(())
}

/// Writes a file, and says so.
fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    print_line(&path.display().to_string())
}

fn chosen_loads(arguments: &Craft1) -> Result<Vec<Load>> {
    let all = loads::craft1(arguments.seed);
    match (&arguments.loads[..], arguments.quick) {
        ([], false) => Ok(all),
        ([], true) => {
            Ok(all.into_iter().filter(|load| ["plain", "fifty"].contains(&load.name.as_str())).collect())
        }
        (names, _) => names.iter().map(|name| find_load(&all, name)).collect(),
    }
}

fn find_load(all: &[Load], name: &str) -> Result<Load> {
    let found = all.iter().find(|load| load.name == name).cloned();
    found.with_context(|| {
        let there_are: Vec<_> = all.iter().map(|load| load.name.as_str()).collect();
        format!("there is no load {name:?}; there are {}", there_are.join(", "))
    })
}

fn list(loads: &[Load]) -> Result<()> {
    loads.iter().try_for_each(|load| print_line(&format!("{:<11} {}", load.name, load.shows)))
}

fn reproduce(bench: &str, phases: &Phases, workload: &Workload) -> String {
    let phases: Vec<String> = phases.0.iter().map(u32::to_string).collect();
    let Workload { rounds, seconds, seed, .. } = workload;
    format!(
        "cargo craft bench {bench} --phases {} --rounds {rounds} --seconds {seconds} --seed {seed}",
        phases.join(",")
    )
}

/// The directory of the project, from wherever in it the command was given.
fn root() -> Result<PathBuf> {
    let here = std::env::current_dir().context("there is no current directory")?;
    let root = here.ancestors().find(|directory| directory.join("crafts/phases.toml").is_file());
    match root {
        Some(root) => Ok(root.to_owned()),
        None => bail!("{} lies outside the project: no crafts/phases.toml above it", here.display()),
    }
}

fn print_line(line: &str) -> Result<()> {
    match writeln!(std::io::stdout(), "{line}") {
        // Whoever read our output has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        written => written.context("cannot write to stdout"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_given_as_numbers_and_ranges() {
        assert_eq!(parse_phases("0-2,7,5-6").unwrap().0, [0, 1, 2, 5, 6, 7]);
        assert_eq!(parse_phases("3").unwrap().0, [3]);
        for wrong in ["", "a", "5-3", "0-1000", "1,,2"] {
            assert!(parse_phases(wrong).is_err(), "{wrong:?}");
        }
    }

    /// `craft` passes these words on without a look at them, so that its own tests cannot tell.
    #[test]
    fn the_commands_that_the_book_and_the_labs_tell_are_understood() {
        let mut open = vec![root().unwrap().join("docs"), root().unwrap().join("labs")];
        let mut understood = 0;
        while let Some(path) = open.pop() {
            if path.ends_with("labs/work") {
                continue; // a learner's own
            }
            if path.is_dir() {
                open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            } else if path.extension().is_some_and(|extension| extension == "md") {
                for line in std::fs::read_to_string(&path).unwrap().lines() {
                    let Some(words) = told(line) else { continue };
                    let parsed = Arguments::try_parse_from(words);
                    assert!(parsed.is_ok(), "{}: {line}\n{}", path.display(), parsed.unwrap_err());
                    understood += 1;
                }
            }
        }
        assert!(understood > 35, "only {understood} commands: is this test still looking right?");
    }

    /// The words of a line that begins with `cargo craft bench` or `cargo craft profile`, up to a comment.
    fn told(line: &str) -> Option<Vec<&str>> {
        let words: Vec<&str> =
            line.trim_start().split("  #").next()?.strip_prefix("cargo craft ")?.split_whitespace().collect();
        match *words.first()? {
            "bench" => Some(words),
            // It is a command of the same program.
            "profile" => Some(std::iter::once("bench").chain(words).collect()),
            _ => None,
        }
    }
}
