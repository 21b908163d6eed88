//! A check: build → tests → gate, and what came of it is kept.
//!
//! It stops at the first stage that does not hold: what does not compile is not tested, and what is wrong is not measured.

use crate::{
    LabError,
    catalogue::{Gate, Lab},
    gate::{self, Judgement, ROUNDS_MAX, ROUNDS_MIN, measure::Contest},
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
    /// Something that was found, and what to do next.
    Finds(&'a str),
}

/// Checks what the learner wrote, and says whether there is nothing to mend. With names, only these tests are run: nothing
/// is measured, and nothing kept.
///
/// # Errors
/// When something of the machine fails, and not of the learner's.
pub fn check(
    workshop: &Workshop,
    lab: &Lab,
    names: &[String],
    tell: &mut dyn FnMut(&Event<'_>),
) -> Result<bool, LabError> {
    if workshop.is_behind(lab)? {
        tell(&Event::Says(&behind(lab)));
    }
    let Some(program) = program::build(workshop, lab, Profile::Release)? else {
        tell(&Event::Finds(
            "It does not compile yet: what the compiler says stands above, with the lines of your files.",
        ));
        return keep(workshop, lab, names, Outcome::DoesNotCompile);
    };
    if lab.exercise.is_some() {
        tell(&Event::Says("testing; what should come and does not is waited for, some 20 seconds"));
    }
    let (tested, end) = program.test(names, &mut |one| tell(&Event::Tested(one)))?;
    tell(&Event::Ended(&end));
    let broken = tested.iter().filter(|one| matches!(one.verdict, Verdict::Broken(_))).count();
    if broken > 0 || end != End::Whole {
        for (hole, waiting) in unwritten(&tested) {
            let tests = if waiting == 1 { "test waits" } else { "tests wait" };
            tell(&Event::Finds(&format!("{waiting} {tests}: {hole}.")));
        }
        tell(&Event::Finds(&not_right(lab, broken, tested.len(), &end)));
        return keep(workshop, lab, names, Outcome::Broken);
    }
    tell(&Event::Finds(&match &tested[..] {
        [_] => "The test holds.".to_owned(),
        all => format!("All {} tests hold.", all.len()),
    }));
    if !names.is_empty() {
        return Ok(true);
    }
    let judged = judge(&program, lab, tell)?;
    let outcome = progress::outcome(&judged);
    if outcome == Outcome::Passed {
        tell(&Event::Finds(&done(lab)));
    }
    progress::append(workshop.dir(), &progress::entry(lab, workshop, outcome, &judged)?)?;
    Ok(!outcome.fails())
}

/// What the learner may do with it now.
fn done(lab: &Lab) -> String {
    let slug = &lab.slug;
    if lab.exercise.is_some() {
        return format!(
            "Done. It runs with: cargo craft lab run {slug}. Another way to do it: cargo craft lab diff {slug} --reference"
        );
    }
    let beyond = lab.beyond.as_ref().map(|beyond| format!("\n{beyond}")).unwrap_or_default();
    format!(
        "Done. It serves in the real pipeline: cargo craft lab run {slug}\nThe reference beside yours: cargo craft \
         lab diff {slug} --reference{beyond}"
    )
}

fn keep(workshop: &Workshop, lab: &Lab, names: &[String], outcome: Outcome) -> Result<bool, LabError> {
    if names.is_empty() {
        progress::append(workshop.dir(), &progress::entry(lab, workshop, outcome, &[])?)?;
    }
    Ok(false)
}

fn behind(lab: &Lab) -> String {
    let slug = &lab.slug;
    format!(
        "The course has changed since you began this lab; yours is as you left it. If something is new to you: \
         `cargo craft lab diff {slug}` shows yours against the starter of today, and `cargo craft lab reset {slug}` begins anew with \
         it and keeps a copy of yours."
    )
}

/// What is not written yet, and how many tests came to it, in the order in which they did.
fn unwritten(tested: &[Tested]) -> Vec<(&str, usize)> {
    let mut holes: Vec<(&str, usize)> = Vec::new();
    for hole in tested.iter().filter_map(Tested::unwritten) {
        match holes.iter_mut().find(|(known, _)| *known == hole) {
            Some((_, waiting)) => *waiting += 1,
            None => holes.push((hole, 1)),
        }
    }
    holes
}

fn not_right(lab: &Lab, broken: usize, all: usize, end: &End) -> String {
    let slug = &lab.slug;
    let what = match end {
        End::Whole => format!("{broken} of {all} tests {} broken.", if broken == 1 { "is" } else { "are" }),
        End::Hung { test, threads, .. } => {
            let why = if threads.iter().any(|thread| thread.ends_with(": running")) {
                "One of its threads is running, not waiting: look for a loop."
            } else {
                "Its threads are told above: which waits for whom?"
            };
            format!("It hangs in {test}. {why} The tests after it were not run.")
        }
        End::Died { test, how } => format!("The program ended in {test} ({how})."),
    };
    format!("{what} One at a time: cargo craft lab check {slug} TEST. A hint: cargo craft lab hint {slug}")
}

/// Counts what is counted, then measures what is measured, if the counts are enough.
fn judge(program: &Program, lab: &Lab, tell: &mut dyn FnMut(&Event<'_>)) -> Result<Vec<Judgement>, LabError> {
    let mut judged = Vec::new();
    let counted = if lab.gates.iter().any(is_counter) { program.count()? } else { Vec::new() };
    for gate in &lab.gates {
        if judged.iter().any(|judgement: &Judgement| judgement.verdict.fails()) {
            break;
        }
        let judgement = match gate {
            Gate::Counter { counter, at_most, of } => gate::count(find(&counted, counter)?, *at_most, *of),
            Gate::Load { load, share } => contest(program, lab, load, *share, tell)?,
        };
        tell(&Event::Finds(&judgement.words));
        judged.push(judgement);
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
    let contest = lab.step.and_then(|step| Contest::new(&program.path, step, load, share));
    let contest = contest.ok_or_else(|| {
        LabError::file(&lab.dir.join("lab.toml"), format!("there is no load {load} to measure"))
    })?;
    tell(&Event::Says(&format!(
        "measuring under the load {load}: the form before, yours, the reference, in turns. Two minutes where it is quiet, \
         up to six where it is not; leave the machine alone meanwhile"
    )));
    Ok(contest.run(&mut |round| {
        let enough = if round <= ROUNDS_MIN { ROUNDS_MIN } else { ROUNDS_MAX };
        tell(&Event::Says(&format!(
            "  round {round} of {enough}{}",
            if enough == ROUNDS_MAX { " at most" } else { "" }
        )));
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::Feedback;

    #[test]
    fn a_hole_is_told_once_with_the_tests_that_come_to_it() {
        let one = |name: &str, observed: &str| Tested {
            name: name.to_owned(),
            verdict: Verdict::Broken(Feedback {
                sent: String::new(),
                expected: String::new(),
                observed: observed.to_owned(),
            }),
        };
        let (push, pop) =
            ("`push` is not written yet, at src/ring.rs:1:1", "`pop` is not written yet, at src/ring.rs:9:1");
        let tested = [one("a", push), one("b", pop), one("c", "nothing"), one("d", push)];
        assert_eq!(unwritten(&tested), [(push, 2), (pop, 1)]);
    }
}
