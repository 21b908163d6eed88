//! `craft lab`: the learner's way through the labs. The work is done by the library `labs`; here it is told.

mod status;

use crate::style::{Tone, out, paint, say};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use course::{TABLE_FILE, Table};
use labs::{
    LabError,
    catalogue::{Catalogue, Lab, Starter},
    check::{self, Event},
    exercise,
    gate::measure,
    program::{self, End, Profile, Program, Tested, Verdict},
    progress::{self, Map, Progress},
    prove::{self, Golden},
    workshop::{self, Workshop},
};
use platform::routes::page::Teller;
use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

/// How often `watch` looks for files that were saved.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// What a bench run wrote of the phases, for the page.
const JOURNEYS_DIR: &str = "benches/results";

/// Where `craft book` builds the book.
const BOOK_DIR: &str = "target/book";

#[derive(Args)]
pub(crate) struct LabArgs {
    #[command(subcommand)]
    command: LabCommand,
}

#[derive(Subcommand)]
enum LabCommand {
    /// List the labs, and how far you are.
    List,
    /// Make a lab's crate with its starter, in labs/work.
    Start {
        /// Which lab, as `craft lab list` names it.
        lab: String,
    },
    /// Build what you wrote, hold the contract against it, and measure it.
    Check {
        /// Which lab.
        lab: String,
        /// Only these tests, and no measuring.
        tests: Vec<String>,
    },
    /// Test at each save, without measuring, until Ctrl-C.
    Watch {
        /// Which lab.
        lab: String,
    },
    /// Run the whole pipeline, page and all, with what you wrote in it.
    Run {
        /// Which lab.
        lab: String,
        /// What the pipeline is told, as in --listen 127.0.0.1:9000 or --data DIR; of a lab of the queue also --partitions 8,
        /// and --alone for nothing but the queue; of an exercise, what phase 0 is told.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<OsString>,
    },
    /// Give the next hint; there are three, each tells more.
    Hint {
        /// Which lab.
        lab: String,
        /// This one, instead of the next.
        #[arg(long, value_name = "1-3")]
        number: Option<u32>,
    },
    /// Show what you have changed.
    Diff {
        /// Which lab.
        lab: String,
        /// Against the reference: this gives the solution away.
        #[arg(long)]
        reference: bool,
    },
    /// Begin anew. A copy of what you have is kept, and named.
    Reset {
        /// Which lab.
        lab: String,
    },
    /// Put the reference in place of what you have, of which a copy is kept, and named.
    Reveal {
        /// Which lab.
        lab: String,
    },
    /// Show the course as a map, and where you are in it.
    Status {
        /// As JSON, for machines.
        #[arg(long)]
        json: bool,
    },
    /// Prove that labs are what they say: starters, references, wrong turns. For those who write labs.
    Prove {
        /// Only these labs.
        labs: Vec<String>,
        /// Write the feedback on wrong turns anew, instead of comparing it.
        #[arg(long)]
        bless: bool,
    },
    /// What `check` starts this program as, to load a server.
    #[command(hide = true)]
    Generate {
        /// Of the load.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<OsString>,
    },
}

pub(crate) fn run(args: &LabArgs) -> Result<ExitCode> {
    if let LabCommand::Generate { words } = &args.command {
        return measure::generate(words).context("these words generate no load");
    }
    let desk = Desk::open()?;
    match &args.command {
        LabCommand::List => desk.map(),
        LabCommand::Status { json } => desk.status(*json),
        LabCommand::Start { lab } => desk.start(lab),
        LabCommand::Check { lab, tests } => desk.check(lab, tests),
        LabCommand::Watch { lab } => desk.watch(lab),
        LabCommand::Run { lab, words } => desk.run(lab, words),
        LabCommand::Hint { lab, number } => desk.hint(lab, *number),
        LabCommand::Diff { lab, reference } => desk.diff(lab, *reference),
        LabCommand::Reset { lab } => desk.replace(lab, "the starter is back", Workshop::reset),
        LabCommand::Reveal { lab } => desk.replace(lab, "the reference stands there now", Workshop::reveal),
        LabCommand::Prove { labs, bless } => {
            desk.prove(labs, if *bless { Golden::Bless } else { Golden::Hold })
        }
        LabCommand::Generate { .. } => Ok(ExitCode::SUCCESS),
    }
}

/// What the page of `craft up` shows of the course: of the learner whose labs are in `work`, or in the repository that this
/// is. Outside of one there is nothing to show. It reads, and writes nothing.
pub(crate) fn progress(work: Option<PathBuf>) -> Option<Teller> {
    let desk = Desk::open().ok()?;
    let work = work.unwrap_or_else(|| desk.workshop.dir().to_owned());
    let labs = progress::names(&desk.catalogue);
    Some(Arc::new(move || serde_json::json!(Map::read(&labs, &work).ok())))
}

/// The labs, and the learner's place to work.
struct Desk {
    catalogue: Catalogue,
    workshop: Workshop,
}

impl Desk {
    fn open() -> Result<Self> {
        let catalogue = Catalogue::open(&env::current_dir()?)?;
        let workshop = Workshop::of_learner(&catalogue);
        Ok(Self { catalogue, workshop })
    }

    fn started(&self, slug: &str) -> Result<&Lab> {
        let lab = self.catalogue.find(slug)?;
        if !self.workshop.has(lab) {
            return Err(LabError::NotStarted { slug: slug.to_owned() }.into());
        }
        Ok(lab)
    }

    fn map(&self) -> Result<ExitCode> {
        let progress = Progress::read(self.workshop.dir())?;
        let width = self.catalogue.labs.iter().map(|lab| lab.slug.len()).max().unwrap_or_default();
        for lab in &self.catalogue.labs {
            let (mark, tone) = match (progress.best(&lab.slug), self.workshop.has(lab)) {
                (Some(best), _) if best.is_passed() => ("done", Tone::Good),
                (_, true) => ("begun", Tone::Warn),
                (Some(_), false) => ("left", Tone::Warn),
                (None, false) => ("", Tone::Faint),
            };
            let hours = format!("{} h {:02}", lab.minutes / 60, lab.minutes % 60);
            let line = format!("{:>4}  {:<width$} {:<28} {hours:>7}", lab.number(), lab.slug, lab.title);
            let mark = if mark.is_empty() { String::new() } else { format!("  {}", paint(tone, mark)) };
            out!("{line}{mark}");
        }
        Ok(ExitCode::SUCCESS)
    }

    fn status(&self, json: bool) -> Result<ExitCode> {
        let map = Map::read(&progress::names(&self.catalogue), self.workshop.dir())?;
        if json {
            out!("{}", serde_json::to_string_pretty(&map)?);
            return Ok(ExitCode::SUCCESS);
        }
        let path = self.catalogue.root.join(TABLE_FILE);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        for line in status::lines(&map, &Table::parse(&text)?, &paint) {
            out!("{line}");
        }
        Ok(ExitCode::SUCCESS)
    }

    fn start(&self, slug: &str) -> Result<ExitCode> {
        let lab = self.catalogue.find(slug)?;
        let place = self.workshop.start(lab)?;
        let place = self.as_typed(&place);
        // Of an exercise all of it is theirs; a lab's crate has more in it than their own.
        let theirs = if lab.exercise.is_some() { place } else { place.join(lab.main_file()) };
        out!("{} is yours: {}", theirs.display(), lab.title);
        if let Starter::Holes(_) = lab.starter {
            for (name, text) in workshop::starter_files(&self.catalogue.root, lab)? {
                match text.matches("todo!(").count() {
                    0 => {}
                    1 => out!("One body is missing in {name}."),
                    holes => out!("{holes} bodies are missing in {name}."),
                }
            }
        }
        out!("Read {} first.", self.as_typed(&lab.dir.join("brief.md")).display());
        out!("Then: cargo craft lab check {slug}, cargo craft lab hint {slug}, cargo craft lab run {slug}");
        Ok(ExitCode::SUCCESS)
    }

    fn check(&self, slug: &str, tests: &[String]) -> Result<ExitCode> {
        let lab = self.started(slug)?;
        let minutes =
            if program::was_built(&self.workshop, lab) { "" } else { "; the first time takes some minutes" };
        say(&format!("building {slug}{minutes}"));
        let passed = check::check(&self.workshop, lab, tests, &mut tell)?;
        if passed && tests.is_empty() {
            self.next()?;
        }
        Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// What comes next, if anything does.
    fn next(&self) -> Result<()> {
        let map = Map::read(&progress::names(&self.catalogue), self.workshop.dir())?;
        if let Some(next) = &map.next {
            out!("Next: {}", next.command);
        }
        Ok(())
    }

    fn watch(&self, slug: &str) -> Result<ExitCode> {
        let lab = self.started(slug)?;
        let mut seen = None;
        loop {
            let now = stamps(&self.workshop.place(lab))?;
            if seen.as_ref() != Some(&now) {
                seen = Some(now);
                say(&format!("— building {slug}"));
                if let Some(program) = program::build(&self.workshop, lab, Profile::Release)? {
                    let (tested, end) = program.test(&[], &mut |one| tell(&Event::Tested(one)))?;
                    tell(&Event::Ended(&end));
                    let broken =
                        tested.iter().filter(|one| matches!(one.verdict, Verdict::Broken(_))).count();
                    if broken == 0 && end == End::Whole {
                        out!(
                            "all {} tests hold; cargo craft lab check {slug} has the last word",
                            tested.len()
                        );
                    }
                }
                say("— waiting for a save; Ctrl-C ends");
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    fn run(&self, slug: &str, words: &[OsString]) -> Result<ExitCode> {
        let lab = self.started(slug)?;
        say(&format!("building {slug}"));
        let Some(program) = program::build(&self.workshop, lab, Profile::Release)? else {
            bail!("{slug} does not compile; what the compiler says stands above");
        };
        let data = self.workshop.dir().join(".data").join(slug);
        become_it(self.serving(lab, &program, &data, words)?)
            .with_context(|| program.path.display().to_string())
    }

    /// A lab's program, told to serve.
    fn serving(&self, lab: &Lab, program: &Program, data: &Path, words: &[OsString]) -> Result<Command> {
        let mut command = Command::new(&program.path);
        if lab.exercise.is_some() {
            fs::create_dir_all(data).with_context(|| data.display().to_string())?;
            command.args(exercise::words(data, words));
            return Ok(command);
        }
        let labs = serde_json::to_string(&progress::names(&self.catalogue))?;
        command.arg("up").arg("--data").arg(data).arg("--work").arg(self.workshop.dir());
        command.args(["--labs", &labs]).arg("--journeys").arg(self.catalogue.root.join(JOURNEYS_DIR));
        command.arg("--book").arg(self.catalogue.root.join(BOOK_DIR));
        command.args(words);
        Ok(command)
    }

    fn hint(&self, slug: &str, number: Option<u32>) -> Result<ExitCode> {
        let lab = self.catalogue.find(slug)?;
        let note = self.workshop.dir().join(format!(".hints-{slug}"));
        let given: u32 =
            fs::read_to_string(&note).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        let path = |number: u32| lab.dir.join("hints").join(format!("{number}.md"));
        // After the last one, the last one again.
        let next = if path(given + 1).exists() { given + 1 } else { given };
        let number = number.unwrap_or(next);
        let text =
            fs::read_to_string(path(number)).with_context(|| format!("{slug} has no hint {number}"))?;
        out!("{}", text.trim_end());
        if number > given && self.workshop.dir().exists() {
            fs::write(&note, number.to_string()).with_context(|| note.display().to_string())?;
        }
        say(&if path(number + 1).exists() {
            format!("(hint {number}; cargo craft lab hint {slug} gives the next)")
        } else {
            format!(
                "(the last hint; cargo craft lab reveal {slug} shows the reference, and keeps what you have)"
            )
        });
        Ok(ExitCode::SUCCESS)
    }

    fn diff(&self, slug: &str, reference: bool) -> Result<ExitCode> {
        let lab = self.started(slug)?;
        let files = if reference {
            workshop::reference_files(&self.catalogue.root, lab)?
        } else {
            workshop::starter_files(&self.catalogue.root, lab)?
        };
        // Beside each other, under names that tell what they are.
        let beside = tempfile::tempdir()?;
        let (theirs, yours) = (if reference { "reference" } else { "starter" }, "yours");
        let put = |side: &str, name: &str, text: &[u8]| -> Result<()> {
            let path = beside.path().join(side).join(name);
            fs::create_dir_all(path.parent().unwrap_or(beside.path()))?;
            Ok(fs::write(path, text)?)
        };
        for (name, text) in &files {
            put(theirs, name, text.as_bytes())?;
        }
        let place = self.workshop.place(lab);
        let names: BTreeSet<String> =
            self.workshop.files(lab)?.into_iter().chain(files.into_keys()).collect();
        for name in names.iter().filter(|name| place.join(name).is_file()) {
            put(yours, name, &fs::read(place.join(name))?)?;
        }
        let mut git = Command::new("git");
        // A folder for temporary files may lie in somebody's repository.
        git.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE").current_dir(beside.path());
        git.args(["--no-pager", "diff", "--no-index", "--no-prefix", theirs, yours]);
        // git's exit code says whether they differ, which is no failure here.
        git.status().context("git cannot be run")?;
        Ok(ExitCode::SUCCESS)
    }

    fn replace(
        &self,
        slug: &str,
        done: &str,
        change: fn(&Workshop, &Lab) -> Result<Option<PathBuf>, LabError>,
    ) -> Result<ExitCode> {
        let lab = self.catalogue.find(slug)?;
        let backup = change(&self.workshop, lab)?;
        out!("{slug}: {done}, in {}", self.as_typed(&self.workshop.place(lab)).display());
        if let Some(backup) = backup {
            out!("what you had is in {}", self.as_typed(&backup).display());
        }
        Ok(ExitCode::SUCCESS)
    }

    fn prove(&self, slugs: &[String], golden: Golden) -> Result<ExitCode> {
        let target =
            env::var_os("CARGO_TARGET_DIR").map_or_else(|| self.catalogue.root.join("target"), PathBuf::from);
        let mut wrong = 0;
        for lab in &self.catalogue.labs {
            if !slugs.is_empty() && !slugs.contains(&lab.slug) {
                continue;
            }
            out!("{}", paint(Tone::Strong, &lab.slug));
            // A workspace each: several labs may be proved at the same time, and a proof removes what it has seen.
            let workshop = Workshop::new(&self.catalogue.root, &target.join("lab-proofs").join(&lab.slug));
            let found =
                prove::prove(&self.catalogue, &workshop, lab, golden, &mut |what| say(&format!("  {what}")))?;
            for problem in &found {
                out!("  {} {problem}", paint(Tone::Bad, "WRONG"));
            }
            wrong += found.len();
        }
        out!("{wrong} things are not as the labs say");
        Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// A path as one would type it.
    fn as_typed(&self, path: &Path) -> PathBuf {
        let here = env::current_dir().unwrap_or_default();
        path.strip_prefix(&here).unwrap_or(path).to_owned()
    }
}

fn tell(event: &Event<'_>) {
    match event {
        Event::Tested(one) => tell_test(one),
        Event::Ended(end) => tell_end(end),
        Event::Says(words) => say(words),
        Event::Finds(words) => out!("{words}"),
    }
}

fn tell_test(one: &Tested) {
    match &one.verdict {
        Verdict::Holds => out!("  {} {}", paint(Tone::Good, "holds  "), one.name),
        Verdict::Skipped(why) => out!("  {} {} ({why})", paint(Tone::Faint, "skipped"), one.name),
        Verdict::Broken(_) if one.unwritten().is_some() => {
            out!("  {} {}", paint(Tone::Faint, "waits  "), one.name);
        }
        Verdict::Broken(_) => {
            let text = prove::feedback(std::slice::from_ref(one));
            let mut lines = text.lines();
            out!("  {} {}", paint(Tone::Bad, "BROKEN "), lines.next().unwrap_or_default());
            for line in lines {
                out!("      {line}");
            }
        }
    }
}

fn tell_end(end: &End) {
    match end {
        End::Whole => {}
        End::Died { test, how } => {
            out!("  {} in {test}: the program ended ({how})", paint(Tone::Bad, "DIED   "));
        }
        End::Hung { test, waited, threads } => {
            let seconds = waited.as_secs();
            out!("  {} in {test}: nothing happened for {seconds} s", paint(Tone::Bad, "HANGS  "));
            for thread in threads {
                out!("          {thread}");
            }
        }
    }
}

/// Goes on as this program: whoever stops or kills this process means that one.
#[cfg(unix)]
fn become_it(mut command: Command) -> io::Result<ExitCode> {
    use std::os::unix::process::CommandExt;
    Err(command.exec())
}

#[cfg(not(unix))]
fn become_it(mut command: Command) -> io::Result<ExitCode> {
    let code = command.status()?.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// When each file of a crate was last saved, and how long it is.
fn stamps(place: &Path) -> Result<BTreeMap<PathBuf, (SystemTime, u64)>> {
    let mut found = BTreeMap::new();
    let mut left = vec![place.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
            let entry = entry?;
            let (path, data) = (entry.path(), entry.metadata()?);
            if data.is_dir() {
                left.push(path);
            } else {
                found.insert(path, (data.modified()?, data.len()));
            }
        }
    }
    Ok(found)
}
