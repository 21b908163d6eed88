//! A class: everybody's work on one lab, checked and measured on one machine.
//!
//! ```text
//! class.toml ─▶ collect (a folder or a git revision of each) ─▶ build all ─▶ test each ─▶ rounds of all who are right
//!                                                                                                │
//!                              results.json, results.csv, results.html, gradescope/ ◀── report ◀─┘
//! ```
//!
//! Everybody is built before anybody is measured, and everybody is measured in each round, beside one form before and one
//! reference: nobody is compared with another hour of the machine. What is written names nobody. Who is who stands in
//! `names.json` alone, which is the instructor's.
//!
//! It runs what students wrote. It bounds the time of each test and of each server, and it takes their own files only, no
//! manifest and no main program; it is no jail, for which there are containers.

pub mod collect;

pub mod rounds;

pub mod report;

use crate::{
    LabError,
    catalogue::{Catalogue, Form, Gate, Lab},
    gate::{self, Judgement, ROUNDS_MIN, ROUNDS_MORE, Stop, measure::is_measured, power::Power},
    program::{self, Counted, End, Profile, Program, Tested},
    progress::{self, Outcome, source_hash},
    read,
    workshop::{Workshop, starter_files},
};
use collect::{Source, Work};
use rounds::{Contestant, Measured};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// `class.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// Which lab.
    pub lab: String,
    /// Rounds in which everybody is measured.
    #[serde(default = "rounds_default")]
    pub rounds: usize,
    /// What all tests together are worth.
    #[serde(default = "points_tests_default")]
    pub points_tests: f64,
    /// What the gate is worth.
    #[serde(default = "points_gate_default")]
    pub points_gate: f64,
    /// Everybody.
    #[serde(rename = "student")]
    pub students: Vec<Student>,
}

/// Whose work, and where it is.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Told")]
pub struct Student {
    /// As the instructor knows them; this is written to `names.json` and nowhere else.
    pub name: String,
    /// Where the work is.
    pub source: Source,
}

/// A student, as `class.toml` has them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    name: String,
    folder: Option<PathBuf>,
    repository: Option<PathBuf>,
    revision: Option<String>,
    path: Option<String>,
}

impl TryFrom<Told> for Student {
    type Error = String;

    fn try_from(told: Told) -> Result<Self, String> {
        let Told { name, folder, repository, revision, path } = told;
        let source = match (folder, repository, revision, path) {
            (Some(folder), None, None, None) => Source::Folder(folder),
            (None, Some(repository), Some(revision), path) => {
                Source::Git { repository, revision, path: path.unwrap_or_default() }
            }
            _ => {
                return Err(format!(
                    "{name} needs either a folder, or a repository and a revision (and a path)"
                ));
            }
        };
        Ok(Self { name, source })
    }
}

/// Two looks: with fewer rounds nobody could be told that it is not enough.
fn rounds_default() -> usize {
    ROUNDS_MIN + ROUNDS_MORE
}

fn points_tests_default() -> f64 {
    60.0
}

fn points_gate_default() -> f64 {
    40.0
}

/// What came of a class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// The form of this file.
    pub schema: String,
    /// Which lab.
    pub lab: String,
    /// RFC 3339, UTC.
    pub at: String,
    /// On which machine.
    pub machine: String,
    /// Under which load, if anything was measured.
    pub load: Option<String>,
    /// Rounds in which everybody was measured.
    pub rounds: usize,
    /// From the best to the worst.
    pub rows: Vec<Row>,
}

/// The form of [`Results`].
pub const SCHEMA: &str = "systems-craft/class/1";

/// One of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// A pseudonym.
    pub alias: String,
    /// How it ended.
    pub verdict: Outcome,
    /// Times the form before, if that was measured.
    pub ratio: Option<f64>,
    /// The 95 % interval of that.
    pub interval: Option<(f64, f64)>,
    /// The place among those who were measured; whose intervals overlap with the first of a place share it.
    pub place: Option<usize>,
    /// The ratio of the same student in the results before these.
    pub before: Option<f64>,
    /// Whether that has changed beyond doubt.
    pub change: Option<Change>,
    /// What happened, and what to do next.
    pub words: Vec<String>,
    /// All tests that were run, and whether they hold.
    pub tests: BTreeMap<String, bool>,
    /// What was checked.
    pub source_hash: Option<String>,
}

/// Against one's previous self.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// The intervals do not overlap, and this one is higher.
    Better,
    /// They do not overlap, and this one is lower.
    Worse,
    /// They overlap.
    Same,
}

impl Class {
    /// Reads `class.toml`. Folders in it are relative to where it stands.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, LabError> {
        let wrong = |problem: String| LabError::file(path, problem);
        let mut class: Self = toml::from_str(&read(path)?).map_err(|e| wrong(e.to_string()))?;
        let possible = (rounds_default()..=gate::ROUNDS_MAX).step_by(ROUNDS_MORE);
        if !possible.clone().any(|rounds| rounds == class.rounds) {
            let possible: Vec<String> = possible.map(|rounds| rounds.to_string()).collect();
            return Err(wrong(format!("rounds is one of {}", possible.join(", "))));
        }
        let names: BTreeSet<&str> = class.students.iter().map(|student| student.name.as_str()).collect();
        if names.len() != class.students.len() {
            return Err(wrong("two students have the same name".to_owned()));
        }
        if names.is_empty() {
            return Err(wrong("there are no students".to_owned()));
        }
        let beside = path.parent().unwrap_or(Path::new("."));
        for student in &mut class.students {
            student.source.stand_in(beside);
        }
        Ok(class)
    }
}

/// Checks and measures everybody, and returns what came of it; nothing is written but below `out`. `watch` is told what
/// is being done.
///
/// # Errors
/// When something of the machine fails, or of the lab itself. What a student's work fails at is in the results.
pub fn run(
    catalogue: &Catalogue,
    class: &Class,
    out: &Path,
    watch: &mut dyn FnMut(&str),
) -> Result<Results, LabError> {
    let lab = catalogue.find(&class.lab)?;
    if lab.exercise.is_some() {
        return Err(LabError::Exercise { slug: lab.slug.clone() });
    }
    fs::create_dir_all(out).map_err(|e| LabError::io(out, e))?;
    let aliases = report::aliases(out, class)?;
    let before = report::read_before(out, &class.lab)?;
    let build = tempfile::tempdir().map_err(|e| LabError::io(out, e))?;

    watch("building the form before and the reference");
    let baseline = baseline(catalogue, lab, build.path())?;
    let expected = names(&baseline.tests);
    let mut desks = Vec::new();
    for student in &class.students {
        let alias = &aliases[&student.name];
        watch(&format!("building {alias}"));
        desks.push(Desk::open(catalogue, lab, alias, &student.source, &build.path().join(alias))?);
    }
    for desk in &mut desks {
        watch(&format!("testing {}", desk.alias));
        desk.test(&expected)?;
        desk.count(lab)?;
    }
    let load = lab.gates.iter().find_map(|gate| match gate {
        Gate::Load { load, share } => Some((load.as_str(), *share)),
        Gate::Counter { .. } => None,
    });
    measure(lab, &baseline.program, class, load, &mut desks, watch)?;
    let rows = report::placed(desks.into_iter().map(Desk::row).collect(), before.as_ref());
    let results = Results {
        schema: SCHEMA.to_owned(),
        lab: class.lab.clone(),
        at: jiff::Timestamp::now().to_string(),
        machine: crate::progress::machine(),
        load: load.map(|(load, _)| load.to_owned()),
        rounds: class.rounds,
        rows,
    };
    report::write(out, class, &results)?;
    Ok(results)
}

/// The program that has the form before and the reference in it, and what its tests are called.
struct Baseline {
    program: PathBuf,
    tests: Vec<Tested>,
}

fn baseline(catalogue: &Catalogue, lab: &Lab, dir: &Path) -> Result<Baseline, LabError> {
    let workshop = Workshop::new(&catalogue.root, &dir.join("reference"));
    workshop.reveal(lab)?;
    let built = build(&workshop, lab, &dir.join("reference-program"))?;
    let broken = || {
        LabError::Program(
            "of the reference does not do what the lab asks; nothing can be compared".to_owned(),
        )
    };
    let program = built.ok_or_else(broken)?;
    let (tests, end) = program.test(&[], &mut |_| {})?;
    if end != End::Whole || tests.iter().any(is_broken) {
        return Err(broken());
    }
    Ok(Baseline { program: program.path, tests })
}

/// Builds, and takes the program away from where the next one will be put.
fn build(workshop: &Workshop, lab: &Lab, to: &Path) -> Result<Option<Program>, LabError> {
    let Some(program) = program::build(workshop, lab, Profile::Release)? else { return Ok(None) };
    fs::copy(&program.path, to).map_err(|e| LabError::io(to, e))?;
    Ok(Some(Program { path: to.to_owned(), ..program }))
}

/// A student's work under examination.
struct Desk {
    alias: String,
    program: Option<Program>,
    tests: Vec<Tested>,
    /// The worst so far.
    outcome: Outcome,
    ratio: Option<benches::stats::Estimate>,
    words: Vec<String>,
    source_hash: Option<String>,
}

impl Desk {
    /// Collects and builds.
    fn open(
        catalogue: &Catalogue,
        lab: &Lab,
        alias: &str,
        source: &Source,
        dir: &Path,
    ) -> Result<Self, LabError> {
        let mut desk = Self {
            alias: alias.to_owned(),
            program: None,
            tests: Vec::new(),
            outcome: Outcome::DoesNotCompile,
            ratio: None,
            words: Vec::new(),
            source_hash: None,
        };
        let given = starter_files(&catalogue.root, lab)?;
        let Work { files, type_name } = match collect::collect(lab, &given, source) {
            Ok(work) => work,
            Err(why) => {
                desk.words.push(format!("There is nothing to build: {why}."));
                return Ok(desk);
            }
        };
        let form = Form { type_name, files: files.keys().map(|name| (name.clone(), name.clone())).collect() };
        let workshop = Workshop::new(&catalogue.root, &dir.join("work"));
        workshop.put(lab, &form, &files)?;
        desk.source_hash = Some(source_hash(&workshop.place(lab))?);
        desk.program = build(&workshop, lab, &dir.join("program"))?;
        match desk.program {
            Some(_) => desk.outcome = Outcome::Passed,
            None => desk.words.push("It does not compile.".to_owned()),
        }
        Ok(desk)
    }

    /// Runs the tests. A program that runs others than the reference does has something to hide.
    fn test(&mut self, expected: &BTreeSet<String>) -> Result<(), LabError> {
        let Some(program) = &self.program else { return Ok(()) };
        let (tests, end) = program.test(&[], &mut |_| {})?;
        let broken: Vec<&str> =
            tests.iter().filter(|one| is_broken(one)).map(|one| one.name.as_str()).collect();
        let why = match &end {
            End::Hung { test, .. } => Some(format!("It hangs in {test}.")),
            End::Died { test, how } => Some(format!("The program ended in {test} ({how}).")),
            End::Whole if !broken.is_empty() => {
                Some(format!("{} of {} tests are broken: {}.", broken.len(), tests.len(), broken.join(", ")))
            }
            End::Whole if names(&tests) != *expected => Some("It did not run the lab's tests.".to_owned()),
            End::Whole => None,
        };
        self.tests = tests;
        match why {
            Some(why) => self.fail(Outcome::Broken, why),
            None => self.words.push(format!("All {} tests hold.", expected.len())),
        }
        Ok(())
    }

    fn count(&mut self, lab: &Lab) -> Result<(), LabError> {
        for gate in &lab.gates {
            let (Gate::Counter { counter, at_most, of }, Outcome::Passed) = (gate, self.outcome) else {
                continue;
            };
            let Some(program) = &self.program else { continue };
            let counted = match program.count() {
                Ok(counted) => counted,
                Err(error) => {
                    self.fail(Outcome::Broken, format!("It cannot be counted: {error}."));
                    continue;
                }
            };
            let Some(one) = counted.iter().find(|one: &&Counted| one.counter == *counter) else {
                return Err(LabError::Program(format!("does not count {counter}")));
            };
            self.judge(&gate::count(one, *at_most, *of));
        }
        Ok(())
    }

    fn judge(&mut self, judgement: &Judgement) {
        self.outcome = self.outcome.min(progress::outcome(std::slice::from_ref(judgement)));
        self.ratio = judgement.ratio.or(self.ratio);
        self.words.push(judgement.words.clone());
    }

    fn fail(&mut self, outcome: Outcome, why: String) {
        self.outcome = self.outcome.min(outcome);
        self.words.push(why);
    }

    fn row(self) -> Row {
        Row {
            alias: self.alias,
            verdict: self.outcome,
            ratio: self.ratio.map(|ratio| ratio.median),
            interval: self.ratio.map(|ratio| (ratio.low, ratio.high)),
            place: None,
            before: None,
            change: None,
            words: self.words,
            tests: self.tests.iter().map(|one| (one.name.clone(), !is_broken(one))).collect(),
            source_hash: self.source_hash,
        }
    }
}

/// Everybody whose tests hold, in each round. A lab that measures nothing still has one round: only work that is in the
/// log counts, whatever the tests say.
fn measure(
    lab: &Lab,
    baseline: &Path,
    class: &Class,
    load: Option<(&str, f64)>,
    desks: &mut [Desk],
    watch: &mut dyn FnMut(&str),
) -> Result<(), LabError> {
    // What is no server cannot be loaded: its tests and counters have the last word.
    let Some(step) = lab.step.filter(|step| load.is_some() || is_measured(*step)) else { return Ok(()) };
    let mut right: Vec<&mut Desk> =
        desks.iter_mut().filter(|desk| desk.outcome == Outcome::Passed && desk.program.is_some()).collect();
    let (name, rounds) = load.map_or(("plain", 1), |(load, _)| (load, class.rounds));
    let contestants: Vec<Contestant<'_>> = right
        .iter()
        .filter_map(|desk| Some(Contestant { alias: &desk.alias, program: &desk.program.as_ref()?.path }))
        .collect();
    let measured = rounds::measure(baseline, step, name, rounds, &contestants, watch)
        .ok_or_else(|| LabError::file(&lab.dir, format!("there is no load {name} to measure")))?;
    for (desk, Measured { rounds, stop }) in right.iter_mut().zip(&measured) {
        let decided = match (load, stop) {
            // Whose work was not done once, did not do it, however fast it was before.
            (_, Some(stop @ Stop::Unverified(_))) | (None, Some(stop)) => Err(stop.clone()),
            (None, None) => continue,
            (Some((_, share)), stop) => {
                let missing =
                    || stop.clone().unwrap_or_else(|| Stop::NotMeasurable("rounds are missing".to_owned()));
                let mut rounds = rounds.iter().copied();
                gate::decide_within(share, class.rounds, |_| rounds.next().ok_or_else(missing))
            }
        };
        desk.judge(&Judgement::of(&decided, Power::now()));
    }
    Ok(())
}

fn is_broken(one: &Tested) -> bool {
    matches!(one.verdict, program::Verdict::Broken(_))
}

fn names(tests: &[Tested]) -> BTreeSet<String> {
    tests.iter().map(|one| one.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_class(text: &str) -> Result<Class, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("class.toml");
        fs::write(&path, text).unwrap();
        let class = Class::read(&path);
        class.map_err(|error| error.to_string()).inspect(|class| {
            for student in &class.students {
                let (Source::Folder(path) | Source::Git { repository: path, .. }) = &student.source;
                assert!(
                    path.starts_with(dir.path()),
                    "relative to where class.toml stands: {}",
                    path.display()
                );
            }
        })
    }

    #[test]
    fn a_class_is_read_with_folders_and_revisions() {
        let class = read_class(
            "lab = 'single-pass-json'\n[[student]]\nname = 'Ada'\nfolder = 'ada'\n\
             [[student]]\nname = 'Grace'\nrepository = 'grace'\nrevision = 'v1'\npath = 'lab'\n",
        )
        .unwrap();
        assert_eq!((class.rounds, class.students.len()), (11, 2));
        let Source::Git { revision, path, .. } = &class.students[1].source else { panic!() };
        assert_eq!((revision.as_str(), path.as_str()), ("v1", "lab"));
    }

    #[test]
    fn what_is_wrong_with_a_class_is_said() {
        let ada = "[[student]]\nname = 'Ada'\nfolder = 'ada'\n";
        let said = |text: &str| read_class(text).unwrap_err();
        assert!(said(&format!("lab = 'a'\nrounds = 7\n{ada}")).contains("rounds is one of 11, 15, 19"));
        assert!(said(&format!("lab = 'a'\n{ada}{ada}")).contains("two students have the same name"));
        assert!(said("lab = 'a'\nstudent = []\n").contains("there are no students"));
        assert!(said("lab = 'a'\n[[student]]\nname = 'Ada'\n").contains("Ada needs either a folder, or"));
        assert!(
            said(&format!("lab = 'a'\n{ada}revision = 'v1'\n")).contains("Ada needs either a folder, or")
        );
        assert!(said(&format!("lab = 'a'\n{ada}foldr = 'x'\n")).contains("foldr"));
    }
}
