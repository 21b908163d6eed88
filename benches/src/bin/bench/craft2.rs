//! `craft bench craft2`: the phases of the log, its goals and its peers; and what of the other commands is about them.

use super::{print_line, root, write};
use anyhow::{Result, bail, ensure};
use benches::{
    course,
    craft2::{
        journey,
        loads::{self, Load},
        network::Programs,
        profiles::{self, Profile},
        results::{Results, SCHEMA, Slice, Workload},
        runner::{Runner, Wanted},
        slice, subject, tables,
    },
    process::allow_many_files,
    profile,
    progress::Progress,
    results::{Before, Subject, lock_hash},
    tool::{self, Pinning},
    traffic,
};
use clap::Args;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

#[derive(Args, Debug)]
pub(super) struct Craft2 {
    /// Phases, as in 3, 0-6 or 0,5-6
    #[arg(long, default_value = "0-6", value_parser = super::parse_phases)]
    phases: super::Phases,
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
    #[arg(long, default_value_t = 1.0, value_parser = super::parse_seconds)]
    seconds: f64,
    /// One round of a fifth of a second: is everything in its place?
    #[arg(long, conflicts_with_all = ["rounds", "seconds"])]
    quick: bool,
    /// What messages are derived from
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Seconds to wait, all in all, for other processes to leave the machine alone
    #[arg(long, default_value_t = 60)]
    patience: u64,
    /// Leave out other people's servers: those that are not installed are named otherwise
    #[arg(long)]
    no_peers: bool,
    /// Install what is missing of them through apt (Debian)
    #[arg(long, conflicts_with = "no_peers")]
    install: bool,
    /// Put what is measured in place of what these results have of the same loads, and say so there
    #[arg(long, value_name = "FILE", requires = "loads", conflicts_with = "out")]
    into: Option<PathBuf>,
    /// Where the results go
    #[arg(long, default_value = "benches/results/craft2.json")]
    out: PathBuf,
    /// The results on stdout too
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(super) struct Profiles2 {
    /// How long each
    #[arg(long, default_value_t = 5.0, value_parser = super::parse_seconds)]
    seconds: f64,
    /// What messages are derived from
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Where the results go
    #[arg(long, default_value = "benches/results/craft2-profiles.json")]
    out: PathBuf,
}

pub(super) fn run(arguments: &Craft2) -> Result<()> {
    let loads = chosen(arguments)?;
    if arguments.list_loads {
        return loads.iter().try_for_each(|load| print_line(&format!("{:<18} {}", load.name, load.shows)));
    }
    // Read first: a quarter of an hour later is too late to find that it cannot be read.
    let earlier = arguments.into.as_ref().map(|path| Results::read(path)).transpose()?;
    let run = Run::begin()?;
    if arguments.install {
        tool::install(&Programs::missing())?;
    }
    let missing = Programs::missing();
    ensure!(
        missing.is_empty() || arguments.no_peers || !loads.iter().any(|load| load.network),
        "not installed: {}; craft bench craft2 --install (Debian), or --no-peers",
        missing.join(", ")
    );
    let (rounds, seconds) = if arguments.quick { (1, 0.2) } else { (arguments.rounds, arguments.seconds) };
    let chosen = Chosen { phases: &arguments.phases.0, peers: !arguments.no_peers };
    let runner = Runner {
        program: slice::program()?,
        programs: Programs::find()?,
        pinning: Pinning::detect(),
        loads: &loads,
        wanted: &chosen,
        rounds,
        seconds,
        seed: arguments.seed,
        patience: Duration::from_secs(arguments.patience),
    };
    let progress = Progress::new(runner.slices());
    let slices = runner.run(&progress);
    progress.finish();
    let workload =
        Workload { seed: arguments.seed, rounds, seconds, pinned_to_cores: runner.pinning.cores, loads };
    let results = run.results("craft2", reproduce(arguments, &workload), workload, slices);
    let told = tables::terminal(&results);
    let (results, path) = match (earlier, &arguments.into) {
        (Some(mut earlier), Some(path)) => {
            earlier.take_over(results)?;
            (earlier, path.clone())
        }
        _ => (results, run.root.join(&arguments.out)),
    };
    results.write(&path)?;
    if arguments.json {
        eprint!("{told}");
        print_line(&serde_json::to_string(&results)?)?;
    } else {
        print_line(told.trim_end())?;
    }
    eprintln!("written to {}", path.display());
    Ok(())
}

pub(super) fn profiles(arguments: &Profiles2) -> Result<()> {
    let run = Run::begin()?;
    let (seconds, seed) = (arguments.seconds, arguments.seed);
    let watch = &mut |what: &str| eprintln!("sampling {what}");
    let found: Vec<Before> = profiles::before_steps(&slice::program()?, &run.course, (seconds, seed), watch)?;
    let workload =
        Workload { seed, rounds: 1, seconds, pinned_to_cores: Pinning::detect().cores, loads: Vec::new() };
    let reproduce = format!("cargo craft bench profiles2 --seconds {seconds} --seed {seed}");
    let results = run.results("craft2-profiles", reproduce, workload, Vec::new());
    let path = run.root.join(&arguments.out);
    Results { profiles: found, ..results }.write(&path)?;
    eprintln!("written to {}", path.display());
    Ok(())
}

/// `craft profile queue …`.
pub(super) fn profile_queue(phase: u32, load: &str, seconds: f64, out: &Path) -> Result<()> {
    eprintln!("profiling queue phase {phase} under {load} for {seconds} s");
    let program = slice::program()?;
    let seen = Profile { program: &program, phase, load, seconds, seed: 42, out }.run()?;
    print_line(profile::text(&seen.top).trim_end())?;
    eprintln!(
        "{:.0} {} while it was sampled; the flame graph is in {}",
        seen.figure,
        seen.unit,
        out.display()
    );
    Ok(())
}

/// What `craft bench report` is asked for, of results of this form.
pub(super) fn report(arguments: &super::Report) -> Result<()> {
    let super::Report { results, html, book, journey: page, .. } = arguments;
    let results = Results::read(results)?;
    if let Some(path) = html {
        write(path, &tables::html(&results))?;
    }
    if let Some(path) = page {
        write(path, &(serde_json::to_string_pretty(&journey::journey(&results))? + "\n"))?;
    }
    if let Some(directory) = book {
        for path in tables::book(&results, directory)? {
            print_line(&path.display().to_string())?;
        }
    }
    if html.is_none() && book.is_none() && page.is_none() {
        ensure!(!results.slices.is_empty(), "{} has nothing that was measured; try --book", results.bench);
        print_line(tables::terminal(&results).trim_end())?;
    }
    Ok(())
}

/// Everybody who is no phase, and these phases.
#[derive(Debug)]
struct Chosen<'a> {
    phases: &'a [u32],
    peers: bool,
}

impl Wanted for Chosen<'_> {
    fn is_wanted(&self, subject: &str) -> bool {
        match subject.strip_prefix("phase").and_then(|number| number.parse().ok()) {
            Some(number) => self.phases.contains(&number) && subject::is_there(subject),
            None => self.peers || !loads::is_peer(subject),
        }
    }
}

/// What every measurement begins with.
struct Run {
    begun: Instant,
    started_at: String,
    root: PathBuf,
    course: Vec<course::CoursePhase>,
}

impl Run {
    fn begin() -> Result<Self> {
        let (begun, started_at) = (Instant::now(), jiff::Timestamp::now().to_string());
        let root = root()?;
        let course = course::phases_of(&root.join("crafts/phases.toml"), 2)?;
        allow_many_files()?;
        Ok(Self { begun, started_at, root, course })
    }

    fn results(&self, bench: &str, reproduce: String, workload: Workload, slices: Vec<Slice>) -> Results {
        Results {
            schema: SCHEMA.to_owned(),
            bench: bench.to_owned(),
            reproduce,
            started_at: self.started_at.clone(),
            seconds_taken: self.begun.elapsed().as_secs_f64(),
            provenance: traffic::provenance(),
            lock_hash: lock_hash(&self.root),
            subjects: self.subjects(&slices),
            workload,
            slices,
            profiles: Vec::new(),
            again: Vec::new(),
        }
    }

    /// Those that were measured: phases with what the course says of them, others with what they say of themselves.
    fn subjects(&self, slices: &[Slice]) -> Vec<Subject> {
        let versions = Programs::versions();
        let names: BTreeSet<&str> = slices.iter().map(|slice| slice.subject.as_str()).collect();
        let subject = |name: &&str| {
            let phase = self.course.iter().find(|phase| format!("phase{}", phase.number) == *name).cloned();
            let version = versions.iter().find(|(program, _)| loads::program_of(name) == Some(*program));
            let title = match (&phase, version) {
                (Some(phase), _) => phase.title.clone(),
                (None, Some((_, version))) => version.clone(),
                (None, None) => loads::title_of(name).to_owned(),
            };
            Subject { name: (*name).to_owned(), title, phase }
        };
        names.iter().map(subject).collect()
    }
}

fn chosen(arguments: &Craft2) -> Result<Vec<Load>> {
    let all = loads::craft2();
    if arguments.loads.is_empty() {
        return Ok(all);
    }
    let find = |name: &String| match all.iter().find(|load| load.name == *name) {
        Some(load) => Ok(load.clone()),
        None => {
            let there_are: Vec<_> = all.iter().map(|load| load.name.as_str()).collect();
            bail!("there is no load {name:?}; there are {}", there_are.join(", "))
        }
    };
    arguments.loads.iter().map(find).collect()
}

fn reproduce(arguments: &Craft2, workload: &Workload) -> String {
    let phases: Vec<String> = arguments.phases.0.iter().map(u32::to_string).collect();
    let Workload { rounds, seconds, seed, .. } = workload;
    let mut words = format!(
        "cargo craft bench craft2 --phases {} --rounds {rounds} --seconds {seconds} --seed {seed}",
        phases.join(",")
    );
    if !arguments.loads.is_empty() {
        words.push_str(&format!(" --loads {}", arguments.loads.join(",")));
    }
    if arguments.no_peers {
        words.push_str(" --no-peers");
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_can_be_left_out_and_phases_chosen() {
        let chosen = Chosen { phases: &[2, 6], peers: false };
        assert!(chosen.is_wanted("phase6") && !chosen.is_wanted("phase5"));
        assert!(chosen.is_wanted("raw") && !chosen.is_wanted("redis-100"));
        assert!(Chosen { phases: &[], peers: true }.is_wanted("victoria-metrics"));
    }
}
