//! The proof of an exercise: its starter breaks all of its checks and its solution none, nor anything else.

use super::{files_below, harness::REST};
use crate::{
    LabError,
    catalogue::Lab,
    program::{self, End, Profile, Tested, Verdict},
    prove,
    workshop::Workshop,
};
use std::{
    process::{Command, Stdio},
    slice,
};

/// Proves one, in a workshop that belongs to proofs, and returns what is wrong with it.
///
/// # Errors
/// When something of the machine fails, and not of the exercise.
pub(crate) fn prove(
    workshop: &Workshop,
    lab: &Lab,
    watch: &mut dyn FnMut(&str),
) -> Result<Vec<String>, LabError> {
    watch("the solution passes, and all else holds");
    workshop.throw_away(lab)?;
    workshop.reveal(lab)?;
    let Some(program) = program::build(workshop, lab, Profile::Debug)? else {
        return Ok(vec!["the solution does not compile".to_owned()]);
    };
    let (tested, end) = program.test(&[], &mut |_| {})?;
    let broken = tested.iter().filter(|one| one.verdict != Verdict::Holds);
    let mut wrong: Vec<String> =
        broken.map(|one| format!("the solution breaks {}", prove::feedback(slice::from_ref(one)))).collect();
    wrong.extend((end != End::Whole).then(|| format!("the solution ends: {end:?}")));
    let checks = names(&tested);
    if checks.is_empty() {
        return Ok(vec!["it has no checks".to_owned()]);
    }

    watch("the solution is well kept");
    wrong.extend((!is_formatted(workshop, lab)?).then(|| "rustfmt would change the solution".to_owned()));
    let mut clippy = program::cargo_on_exercise(workshop, lab, "clippy");
    clippy.args(["--all-targets", "--", "-D", "warnings"]).env("CLIPPY_CONF_DIR", workshop.root());
    wrong.extend((!succeeds(&mut clippy)?).then(|| "clippy complains about the solution".to_owned()));

    watch("the starter fails what it should");
    workshop.throw_away(lab)?;
    workshop.start(lab)?;
    // The checks are programs of their own: it is enough to put the starter's in the place of the solution's.
    if !succeeds(&mut program::cargo_on_exercise(workshop, lab, "build"))? {
        wrong.push("the starter does not compile".to_owned());
        return Ok(wrong);
    }
    let (tested, end) = program.test(&checks, &mut |_| {})?;
    let holding = tested.iter().filter(|one| one.verdict == Verdict::Holds);
    wrong.extend(holding.map(|one| format!("the starter does not break {}", one.name)));
    wrong.extend((end != End::Whole).then(|| format!("the starter ends: {end:?}")));
    Ok(wrong)
}

/// The exercise's own tests of those that were run.
fn names(tested: &[Tested]) -> Vec<String> {
    tested.iter().map(|one| one.name.clone()).filter(|name| name != REST).collect()
}

fn is_formatted(workshop: &Workshop, lab: &Lab) -> Result<bool, LabError> {
    let place = workshop.place(lab);
    let mut rustfmt = Command::new("rustfmt");
    rustfmt.args(["--check", "--edition", "2024", "--config-path"]).arg(workshop.root());
    rustfmt.current_dir(&place).args(files_below(&place, &super::FOLDERS)?);
    Ok(rustfmt.stdin(Stdio::null()).status().map_err(LabError::NoCargo)?.success())
}

fn succeeds(cargo: &mut Command) -> Result<bool, LabError> {
    Ok(cargo.status().map_err(LabError::NoCargo)?.success())
}
