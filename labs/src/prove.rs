//! Proofs that the labs are what they say: nothing of this is for the learner.
//!
//! The starter compiles and fails exactly the tests that it should. The reference passes all of them, and the counters'
//! gates. Each wrong turn is caught by exactly the tests that it names, with the very feedback that stands beside it.
//! They are built in a folder of their own, so that nobody's work is touched.

use crate::{
    LabError,
    catalogue::{Catalogue, Gate, Lab, Starter},
    exercise, gate,
    program::{self, Counted, End, Profile, Program, Tested, Verdict},
    read,
    workshop::{Workshop, reference_files, starter_files},
};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

/// A wrong turn that learners take: the reference with a few edits.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Faulty {
    /// What is wrong with it, in a sentence.
    pub says: String,
    /// The tests that find it, exactly.
    #[serde(default)]
    pub caught_by: Vec<String>,
    /// The counter whose gate finds it, where the tests do not.
    #[serde(default)]
    pub gate: Option<String>,
    /// What is changed.
    #[serde(rename = "edit")]
    pub edits: Vec<Edit>,
}

/// One change of a file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// In the learner's crate.
    pub file: String,
    /// What is there, exactly once.
    pub from: String,
    /// What takes its place.
    pub to: String,
}

/// Whether golden feedback is compared, or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Golden {
    /// It must be as it stands there.
    Hold,
    /// It is written anew.
    Bless,
}

/// Proves a lab; returns what does not hold, a sentence each. `watch` is told what is being proved.
///
/// # Errors
/// When it cannot be tried: files that cannot be read, a program that cannot be started.
pub fn prove(
    catalogue: &Catalogue,
    workshop: &Workshop,
    lab: &Lab,
    golden: Golden,
    watch: &mut dyn FnMut(&str),
) -> Result<Vec<String>, LabError> {
    if lab.exercise.is_some() {
        return exercise::prove::prove(workshop, lab, watch);
    }
    let mut wrong = Vec::new();
    let names = faulty_names(lab)?;
    if names.len() < 2 {
        wrong.push(format!("it has {} wrong turns; two at least are needed", names.len()));
    }
    let bench = Bench { workshop, lab };
    let reference = reference_files(&catalogue.root, lab)?;

    watch("the reference passes");
    match bench.run(&lab.reference.type_name, &reference)? {
        None => wrong.push("the reference does not compile".to_owned()),
        Some(run) => {
            wrong.extend(broken(&run.tested).iter().map(|name| format!("the reference breaks {name}")));
            wrong.extend(ended(&run.end).map(|how| format!("the reference {how}")));
            wrong.extend(
                missed_gates(lab, &run.counted).map(|gate| format!("the reference misses the gate {gate}")),
            );
        }
    }

    watch("the starter fails what it should");
    let starter = starter_files(&catalogue.root, lab)?;
    match bench.run(&lab.start().type_name, &starter)? {
        None => wrong.push("the starter does not compile".to_owned()),
        Some(run) => {
            let should: BTreeSet<&str> = lab.fails.iter().map(String::as_str).collect();
            wrong.extend(difference("the starter", &broken(&run.tested), &should));
            wrong.extend(ended(&run.end).map(|how| format!("the starter {how}")));
            let has_counter = lab.gates.iter().any(|gate| matches!(gate, Gate::Counter { .. }));
            if lab.starter == Starter::Optimise
                && has_counter
                && missed_gates(lab, &run.counted).next().is_none()
            {
                wrong.push("the starter passes the counters' gates already".to_owned());
            }
        }
    }

    for name in names {
        watch(&format!("{name} is caught"));
        let faulty = read_faulty(lab, &name)?;
        let files = edited(&reference, &faulty).map_err(|e| LabError::file(&faulty_path(lab, &name), e))?;
        let Some(run) = bench.run(&lab.reference.type_name, &files)? else {
            wrong.push(format!("{name} does not compile"));
            continue;
        };
        let should: BTreeSet<&str> = faulty.caught_by.iter().map(String::as_str).collect();
        wrong.extend(difference(&name, &broken_or_hung(&run), &should));
        if let Some(counter) = &faulty.gate
            && !missed_gates(lab, &run.counted).any(|missed| missed == counter)
        {
            wrong.push(format!("{name} passes the gate {counter}, which should catch it"));
        }
        wrong.extend(hold_golden(lab, &name, &feedback(&run.tested), golden)?);
    }
    Ok(wrong)
}

/// The names of a lab's wrong turns, sorted.
///
/// # Errors
/// When the folder cannot be read.
pub fn faulty_names(lab: &Lab) -> Result<Vec<String>, LabError> {
    let dir = lab.dir.join("faulty");
    let Ok(entries) = fs::read_dir(&dir) else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| LabError::io(&dir, e))?.path();
        if path.extension().is_some_and(|e| e == "toml") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

/// What a check tells of tests that break.
pub fn feedback(tested: &[Tested]) -> String {
    let mut text = String::new();
    for one in tested {
        let Verdict::Broken(feedback) = &one.verdict else { continue };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", one.name);
        for (word, what) in
            [("sent", &feedback.sent), ("expected", &feedback.expected), ("observed", &feedback.observed)]
        {
            let mut lines = what.lines();
            let _ = writeln!(text, "    {word:<9} {}", lines.next().unwrap_or_default());
            for line in lines {
                let _ = writeln!(text, "              {line}");
            }
        }
    }
    text
}

/// The reference with its edits.
///
/// # Errors
/// An edit of something that is not there exactly once.
pub fn edited(
    reference: &BTreeMap<String, String>,
    faulty: &Faulty,
) -> Result<BTreeMap<String, String>, String> {
    let mut files = reference.clone();
    for edit in &faulty.edits {
        let text = files.get_mut(&edit.file).ok_or_else(|| format!("the lab has no file {}", edit.file))?;
        let times = text.matches(&edit.from).count();
        if times != 1 {
            return Err(format!("{} has {times} times what is to be edited: {:?}", edit.file, edit.from));
        }
        *text = text.replacen(&edit.from, &edit.to, 1);
    }
    Ok(files)
}

fn faulty_path(lab: &Lab, name: &str) -> PathBuf {
    lab.dir.join("faulty").join(format!("{name}.toml"))
}

/// Reads a wrong turn.
///
/// # Errors
/// When it cannot be read, or says something wrong.
pub fn read_faulty(lab: &Lab, name: &str) -> Result<Faulty, LabError> {
    let path = faulty_path(lab, name);
    let faulty: Faulty = toml::from_str(&read(&path)?).map_err(|e| LabError::file(&path, e.to_string()))?;
    if faulty.caught_by.is_empty() && faulty.gate.is_none() {
        return Err(LabError::file(&path, "nothing is to catch it"));
    }
    Ok(faulty)
}

/// Where proofs are made.
struct Bench<'a> {
    workshop: &'a Workshop,
    lab: &'a Lab,
}

struct Run {
    tested: Vec<Tested>,
    end: End,
    counted: Vec<Counted>,
}

impl Bench<'_> {
    /// Builds these files, tests and counts them; `None` if they do not compile.
    fn run(&self, type_name: &str, files: &BTreeMap<String, String>) -> Result<Option<Run>, LabError> {
        self.workshop.throw_away(self.lab)?;
        let form = crate::catalogue::Form {
            type_name: type_name.to_owned(),
            files: files.keys().map(|name| (name.clone(), name.clone())).collect(),
        };
        self.workshop.put(self.lab, &form, files)?;
        let Some(program) = program::build(self.workshop, self.lab, Profile::Debug)? else { return Ok(None) };
        let (tested, end) = program.test(&[], &mut |_| {})?;
        let counted = self.count(&program)?;
        Ok(Some(Run { tested, end, counted }))
    }

    /// Only where a gate needs it: a form that is wrong may not stand being counted.
    fn count(&self, program: &Program) -> Result<Vec<Counted>, LabError> {
        let needed = self.lab.gates.iter().any(|gate| matches!(gate, Gate::Counter { .. }));
        if needed { program.count().or_else(|_| Ok(Vec::new())) } else { Ok(Vec::new()) }
    }
}

fn broken(tested: &[Tested]) -> BTreeSet<&str> {
    let broken = tested.iter().filter(|one| matches!(one.verdict, Verdict::Broken(_)));
    broken.map(|one| one.name.as_str()).collect()
}

/// A test in which a form hangs or dies has caught it as well.
fn broken_or_hung(run: &Run) -> BTreeSet<&str> {
    let mut found = broken(&run.tested);
    if let End::Hung { test, .. } | End::Died { test, .. } = &run.end {
        found.insert(test);
    }
    found
}

fn ended(end: &End) -> Option<String> {
    match end {
        End::Whole => None,
        End::Hung { test, .. } => Some(format!("hangs in {test}")),
        End::Died { test, how } => Some(format!("dies in {test}: {how}")),
    }
}

/// The counters that are above what their gates allow, or were not counted.
fn missed_gates<'a>(lab: &'a Lab, counted: &'a [Counted]) -> impl Iterator<Item = &'a String> {
    lab.gates.iter().filter_map(move |gate| {
        let Gate::Counter { counter, at_most, of } = gate else { return None };
        let one = counted.iter().find(|one| one.counter == *counter);
        let passes = one.is_some_and(|one| gate::count(one, *at_most, *of).verdict == gate::Verdict::Passed);
        (!passes).then_some(counter)
    })
}

fn difference(who: &str, found: &BTreeSet<&str>, should: &BTreeSet<&str>) -> Vec<String> {
    let more = found.difference(should).map(|name| format!("{who} breaks {name}, which is not said"));
    let less = should.difference(found).map(|name| format!("{who} does not break {name}, as it is said"));
    more.chain(less).collect()
}

fn hold_golden(lab: &Lab, name: &str, found: &str, golden: Golden) -> Result<Option<String>, LabError> {
    let path = lab.dir.join("golden").join(format!("{name}.txt"));
    if golden == Golden::Bless {
        let dir = lab.dir.join("golden");
        fs::create_dir_all(&dir).map_err(|e| LabError::io(&dir, e))?;
        fs::write(&path, found).map_err(|e| LabError::io(&path, e))?;
        return Ok(None);
    }
    let kept = if Path::new(&path).exists() { read(&path)? } else { String::new() };
    Ok((kept != found)
        .then(|| format!("the feedback on {name} is not what golden/{name}.txt has; it is now\n{found}")))
}
