//! Phases as git branches, and what lies between two of them.
//!
//! `git log craft1/phase-9` reads as the course: a first commit, then one for each phase. The commits say from which
//! commit they were made, in a trailer; that and their committer tell a branch that was written here from one that
//! somebody works on.

use crate::{
    CourseError,
    git::{Git, IDENTITY, NewCommit},
    phase,
    table::{Craft, Phase, PhaseId, Promise, Table},
    tree::Tree,
};
use std::{collections::BTreeMap, ffi::OsString, path::Path, process::ExitStatus};

/// In the last paragraph of each commit's message.
const TRAILER: &str = "Generated-From: ";

/// What became of one branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch {
    /// `craft1/phase-3`
    pub name: String,
    /// The commit of the phase, whether or not the branch could be moved to it.
    pub commit: String,
    /// What was done.
    pub outcome: Outcome,
}

/// What was done with a branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There was none.
    Created,
    /// It stood at an earlier state of the phase.
    Updated,
    /// It stood there already.
    Unchanged,
    /// It was left alone, and why.
    Refused(String),
}

/// What [`write()`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The commit that the phases were made from.
    pub from: String,
    /// Whether the work tree differs from it.
    pub dirty: bool,
    /// One for each phase.
    pub branches: Vec<Branch>,
}

/// Writes a branch for each phase of each craft, from HEAD.
///
/// # Errors
/// Where nothing could be written at all. A single branch that must not be touched is told in its [`Outcome`].
pub fn write(git: &Git) -> Result<Written, CourseError> {
    let (from, seconds) = git.head()?;
    let head = Tree::of(git, &from)?;
    let table = phase::table_of(&head, &from)?;
    // All of them are made before any is moved: a table that is wrong in its last line moves nothing.
    let mut made = Vec::new();
    for craft in &table.crafts {
        let guard = Guard::new(git, craft)?;
        let commits = commits(git, &head, &table, craft, (&from, &seconds))?;
        made.push((craft, guard, commits));
    }
    let mut branches = Vec::new();
    for (craft, guard, commits) in made {
        for (phase, commit) in craft.phases.iter().zip(commits) {
            let name = craft.branch(phase);
            let outcome = guard.move_to(git, &name, &commit)?;
            branches.push(Branch { name, commit, outcome });
        }
    }
    Ok(Written { dirty: git.is_dirty()?, from, branches })
}

/// The commits of a craft's phases, each the parent of the next.
fn commits(
    git: &Git,
    head: &Tree<'_>,
    table: &Table,
    craft: &Craft,
    (from, seconds): (&str, &str),
) -> Result<Vec<String>, CourseError> {
    let mut commits: Vec<String> = Vec::new();
    for phase in &craft.phases {
        let tree = phase::make(head, table, craft, phase)?.write()?;
        commits.push(git.write_commit(&NewCommit {
            tree: &tree,
            parent: commits.last().map(String::as_str),
            seconds,
            message: &message(craft, phase, from),
        })?);
    }
    Ok(commits)
}

/// Shows the difference between two phases of HEAD on stdout, as `git diff` does, and leaves nothing behind.
/// `options` come before the trees, `paths` after them, relative to `from`.
///
/// # Errors
/// When one of them is not there or cannot be made.
pub fn diff(
    from: &Path,
    (left, right): (PhaseId, PhaseId),
    options: &[OsString],
    paths: &[OsString],
) -> Result<ExitStatus, CourseError> {
    let git = Git::open(from)?.aside()?;
    let (commit, _) = git.head()?;
    let head = Tree::of(&git, &commit)?;
    let table = phase::table_of(&head, &commit)?;
    let mut args = options.to_vec();
    for id in [left, right] {
        let (craft, phase) = table.find(id)?;
        args.push(phase::make(&head, &table, craft, phase)?.write()?.into());
    }
    args.push("--".into());
    args.extend_from_slice(paths);
    git.diff(from, &args)
}

/// What must not be overwritten.
struct Guard {
    tips: BTreeMap<String, String>,
    checked_out: BTreeMap<String, String>,
}

impl Guard {
    fn new(git: &Git, craft: &Craft) -> Result<Self, CourseError> {
        let prefix = craft.branches();
        let tips = git.branches(&prefix)?;
        if tips.contains_key(&prefix) {
            return Err(CourseError::NameTaken(prefix));
        }
        Ok(Self { tips, checked_out: git.checked_out()? })
    }

    fn move_to(&self, git: &Git, name: &str, commit: &str) -> Result<Outcome, CourseError> {
        let tip = self.tips.get(name).map(String::as_str);
        if tip == Some(commit) {
            return Ok(Outcome::Unchanged);
        }
        if let Some(tip) = tip
            && let Some(why) = somebodys_own(git, tip)?
        {
            return Ok(Outcome::Refused(why));
        }
        if let Some(place) = self.checked_out.get(name) {
            return Ok(Outcome::Refused(format!(
                "it is checked out in {place}; switch to another branch there"
            )));
        }
        Ok(match (git.move_branch(name, commit, tip), tip) {
            (Err(error), _) => Outcome::Refused(error.to_string()),
            (Ok(()), None) => Outcome::Created,
            (Ok(()), Some(_)) => Outcome::Updated,
        })
    }
}

/// Why a tip is not one of those that are written here.
fn somebodys_own(git: &Git, tip: &str) -> Result<Option<String>, CourseError> {
    let (name, address, message) = git.committer_and_message(tip)?;
    let short = &tip[..tip.len().min(10)];
    let advice = "rename the branch to keep it, or delete it to have it written anew";
    if (name.as_str(), address.as_str()) != IDENTITY {
        return Ok(Some(format!("its last commit {short} is of {name}; {advice}")));
    }
    if !message.lines().any(|line| line.starts_with(TRAILER)) {
        return Ok(Some(format!(
            "its last commit {short} does not say what it was generated from; {advice}"
        )));
    }
    Ok(None)
}

fn message(craft: &Craft, phase: &Phase, from: &str) -> String {
    let mut text = format!("Craft {}, phase {}: {}\n\n", craft.number, phase.number, phase.title);
    text += &format!("Removes: {}\n", phase.removes);
    if let Some(costs) = &phase.costs {
        text += &format!("Costs: {costs}\n");
    }
    if let Some(predict) = &phase.predict {
        let (from, to, unit) = (predict.from, predict.to, &predict.unit);
        let load = predict.load.as_ref().unwrap_or(&phase.load);
        text += &format!("Predicted, under the load {load:?}: from {from} to {to} {unit}\n");
    }
    let promise = match phase.promise {
        Promise::Memory => "the samples are in memory, whatever --ack asks for",
        Promise::Ack => "the samples are as safe as --ack asks for",
    };
    text + &format!("A 202 says: {promise}.\n\n{TRAILER}{from}\n")
}
