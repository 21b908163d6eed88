//! A check: build → tests → gate, and what came of it is kept.
//!
//! It stops at the first stage that does not hold: what does not compile is not tested, and what is wrong is not measured.

use crate::{
    LabError,
    catalogue::{Gate, Lab},
    gate::{self, Judgement, measure::Contest},
    program::{self, Counted, End, Profile, Program, Tested, Verdict},
    progress::{self, Outcome},
    workshop::Workshop,
};

/// What happens during a check, as it happens.
pub enum Event<'a> {
    /// A test ended.
    Tested(&'a Tested),
    /// The tests ended.
    Ended(&'a End),
    /// Something to say meanwhile.
    Says(&'a str),
}

/// How a check ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// Whether the learner has nothing to mend.
    pub passed: bool,
    /// What was found, and what to do next; a line each.
    pub words: Vec<String>,
}

/// Checks what the learner wrote. With names, only these tests are run: nothing is measured, and nothing kept.
///
/// # Errors
/// When something of the machine fails, and not of the learner's.
pub fn check(
    workshop: &Workshop,
    lab: &Lab,
    names: &[String],
    tell: &mut dyn FnMut(&Event<'_>),
) -> Result<Checked, LabError> {
    if workshop.is_behind(lab)? {
        tell(&Event::Says(&behind(lab)));
    }
    let Some(program) = program::build(workshop, lab, Profile::Release)? else {
        let words =
            "It does not compile yet: what the compiler says stands above, with the lines of your files.";
        return keep(workshop, lab, names, Outcome::DoesNotCompile, vec![words.to_owned()]);
    };
    if lab.exercise.is_some() {
        tell(&Event::Says("testing; what should come and does not is waited for, some 20 seconds"));
    }
    let (tested, end) = program.test(names, &mut |one| tell(&Event::Tested(one)))?;
    tell(&Event::Ended(&end));
    let broken = tested.iter().filter(|one| matches!(one.verdict, Verdict::Broken(_))).count();
    if broken > 0 || end != End::Whole {
        let words = not_right(lab, broken, tested.len(), &end);
        return keep(workshop, lab, names, Outcome::Broken, vec![words]);
    }
    let mut words = vec![format!("All {} tests hold.", tested.len())];
    if !names.is_empty() {
        return Ok(Checked { passed: true, words });
    }
    let judged = judge(&program, lab, tell)?;
    words.extend(judged.iter().map(|judgement| judgement.words.clone()));
    let outcome = progress::outcome(&judged);
    if outcome == Outcome::Passed {
        words.push(done(lab));
    }
    progress::append(workshop.dir(), &progress::entry(lab, workshop, outcome, &judged)?)?;
    Ok(Checked { passed: !outcome.fails(), words })
}

/// What the learner may do with it now.
fn done(lab: &Lab) -> String {
    let slug = &lab.slug;
    if lab.exercise.is_some() {
        return format!(
            "Done. It runs with: craft lab run {slug}. Another way to do it: craft lab diff {slug} --reference"
        );
    }
    format!("Done. It serves in the real pipeline: craft lab run {slug}")
}

fn keep(
    workshop: &Workshop,
    lab: &Lab,
    names: &[String],
    outcome: Outcome,
    words: Vec<String>,
) -> Result<Checked, LabError> {
    if names.is_empty() {
        progress::append(workshop.dir(), &progress::entry(lab, workshop, outcome, &[])?)?;
    }
    Ok(Checked { passed: false, words })
}

fn behind(lab: &Lab) -> String {
    let slug = &lab.slug;
    format!(
        "The course has changed since you began this lab; yours is as you left it. If something is new to you: \
         `craft lab diff {slug}` shows yours against the starter of today, and `craft lab reset {slug}` begins anew with \
         it and keeps a copy of yours."
    )
}

fn not_right(lab: &Lab, broken: usize, all: usize, end: &End) -> String {
    let slug = &lab.slug;
    let what = match end {
        End::Whole => format!("{broken} of {all} tests are broken."),
        End::Hung { test, .. } => {
            format!("It hangs in {test}. Its threads are told above: which waits for whom?")
        }
        End::Died { test, how } => format!("The program ended in {test} ({how})."),
    };
    format!("{what} One at a time: craft lab check {slug} TEST. A hint: craft lab hint {slug}")
}

/// Counts what is counted, then measures what is measured, if the counts are enough.
fn judge(program: &Program, lab: &Lab, tell: &mut dyn FnMut(&Event<'_>)) -> Result<Vec<Judgement>, LabError> {
    let mut judged = Vec::new();
    let counted = if lab.gates.iter().any(is_counter) { program.count()? } else { Vec::new() };
    for gate in &lab.gates {
        if judged.iter().any(|judgement: &Judgement| judgement.verdict.fails()) {
            break;
        }
        judged.push(match gate {
            Gate::Counter { counter, at_most } => gate::count(find(&counted, counter)?, *at_most),
            Gate::Load { load, share } => contest(program, lab, load, *share, tell)?,
        });
    }
    Ok(judged)
}

fn is_counter(gate: &Gate) -> bool {
    matches!(gate, Gate::Counter { .. })
}

fn find<'c>(counted: &'c [Counted], counter: &str) -> Result<&'c Counted, LabError> {
    let missing = || LabError::Program(format!("does not count {counter}, which its lab's gate asks for"));
    counted.iter().find(|one| one.counter == counter).ok_or_else(missing)
}

fn contest(
    program: &Program,
    lab: &Lab,
    load: &str,
    share: f64,
    tell: &mut dyn FnMut(&Event<'_>),
) -> Result<Judgement, LabError> {
    let number = lab.step.map_or(0, |step| step.phase);
    let contest = Contest::new(&program.path, number, load, share).ok_or_else(|| {
        LabError::file(&lab.dir.join("lab.toml"), format!("there is no load {load} to measure"))
    })?;
    tell(&Event::Says(&format!(
        "measuring under the load {load}: the form before, yours, the reference; two minutes or so, best left alone"
    )));
    Ok(contest.run(&mut |round| tell(&Event::Says(&format!("  round {round}")))))
}
