//! The proof of an exercise: its starter breaks all of its checks and its solution none, nor anything else.

use super::{files_below, harness::REST};
use crate::{
    LabError,
    catalogue::Lab,
    program::{self, End, Profile, Tested, Verdict},
    workshop::Workshop,
};
use std::process::{Command, Stdio};

/// Proves one, in a workshop that belongs to proofs, and returns what is wrong with it.
///
/// # Errors
/// When something of the machine fails, and not of the exercise.
pub(crate) fn prove(
    workshop: &Workshop,
    lab: &Lab,
    watch: &mut dyn FnMut(&str),
) -> Result<Vec<String>, LabError> {
    let mut wrong = Vec::new();
    watch("the starter fails what it should");
    workshop.throw_away(lab)?;
    workshop.start(lab)?;
    match test(workshop, lab)? {
        None => wrong.push("the starter does not compile".to_owned()),
        Some((tested, end)) => {
            let holding = tested.iter().filter(|one| one.verdict == Verdict::Holds);
            wrong.extend(holding.map(|one| format!("the starter does not break {}", one.name)));
            wrong.extend(tested.is_empty().then(|| "it has no checks".to_owned()));
            wrong.extend((end != End::Whole).then(|| format!("the starter ends {end:?}")));
        }
    }

    watch("the solution passes, and all else holds");
    workshop.throw_away(lab)?;
    workshop.reveal(lab)?;
    match test(workshop, lab)? {
        None => wrong.push("the solution does not compile".to_owned()),
        Some((tested, end)) => {
            let broken = tested.iter().filter(|one| one.verdict != Verdict::Holds);
            wrong.extend(broken.map(|one| format!("the solution breaks {}", told(one))));
            wrong.extend((end != End::Whole).then(|| format!("the solution ends {end:?}")));
            let all_run = tested.iter().any(|one| one.name == REST);
            wrong.extend((wrong.is_empty() && !all_run).then(|| "the other tests were not run".to_owned()));
        }
    }

    watch("the solution is well kept");
    wrong.extend((!is_formatted(workshop, lab)?).then(|| "rustfmt would change the solution".to_owned()));
    wrong.extend((!is_clean(workshop, lab)?).then(|| "clippy complains about the solution".to_owned()));
    Ok(wrong)
}

fn test(workshop: &Workshop, lab: &Lab) -> Result<Option<(Vec<Tested>, End)>, LabError> {
    let Some(program) = program::build(workshop, lab, Profile::Release)? else { return Ok(None) };
    program.test(&[], &mut |_| {}).map(Some)
}

fn told(one: &Tested) -> String {
    crate::prove::feedback(std::slice::from_ref(one))
}

fn is_formatted(workshop: &Workshop, lab: &Lab) -> Result<bool, LabError> {
    let place = workshop.place(lab);
    let mut rustfmt = Command::new("rustfmt");
    rustfmt.args(["--check", "--edition", "2024", "--config-path"]).arg(workshop.root());
    rustfmt.current_dir(&place).args(files_below(&place, &super::FOLDERS)?);
    Ok(rustfmt.stdin(Stdio::null()).status().map_err(LabError::NoCargo)?.success())
}

fn is_clean(workshop: &Workshop, lab: &Lab) -> Result<bool, LabError> {
    let mut cargo = program::cargo(workshop, lab, "clippy", &program::target_dir(workshop));
    cargo.args(["--all-targets", "--", "-D", "warnings"]).env("CLIPPY_CONF_DIR", workshop.root());
    Ok(cargo.stdin(Stdio::null()).status().map_err(LabError::NoCargo)?.success())
}
