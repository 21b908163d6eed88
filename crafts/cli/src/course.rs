//! `craft phases`, `craft diff`: the course's phases as a table, as git branches, and as the difference between two.

use crate::style::{self, out};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use course::{
    PhaseId, TABLE_FILE, Table,
    branches::{self, Branch, Outcome},
    git::Git,
    table::{Craft, Phase, Promise},
};
use std::{env, ffi::OsString, fs, process::ExitCode};

#[derive(Args)]
pub(crate) struct PhasesArgs {
    #[command(subcommand)]
    command: PhasesCommand,
}

#[derive(Subcommand)]
enum PhasesCommand {
    /// List the phases: what fills their slots, what each removes and promises.
    List {
        /// The whole table as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write a git branch for each phase, from HEAD: craft1/phase-0, craft1/phase-1, …
    ///
    /// Offline; the work tree and the index stay as they are. A branch that has commits of your own, or is checked out,
    /// is left alone and named, and the exit code is 1.
    Branches,
}

#[derive(Args)]
pub(crate) struct DiffArgs {
    /// A phase as CRAFT.PHASE, for example 1.2.
    from: PhaseId,
    /// Another one, for example 1.3.
    to: PhaseId,
    /// How many lines changed in which files, instead of the lines.
    #[arg(long)]
    stat: bool,
    /// Only these files.
    #[arg(last = true, value_name = "PATHS")]
    paths: Vec<OsString>,
}

pub(crate) fn phases(args: &PhasesArgs) -> Result<ExitCode> {
    match args.command {
        PhasesCommand::List { json } => list(json),
        PhasesCommand::Branches => write_branches(),
    }
}

/// The difference between two phases of HEAD, as `git diff` would show it between their branches.
pub(crate) fn diff(args: &DiffArgs) -> Result<ExitCode> {
    let options: Vec<OsString> = args.stat.then(|| "--stat".into()).into_iter().collect();
    let status = branches::diff(&env::current_dir()?, (args.from, args.to), &options, &args.paths)?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// From the work tree, so that a table can be looked at before it is committed.
fn list(json: bool) -> Result<ExitCode> {
    let here = env::current_dir()?;
    let path = here.ancestors().map(|dir| dir.join(TABLE_FILE)).find(|path| path.exists());
    let Some(path) = path else { bail!("{TABLE_FILE} is not here nor above; run this in the repository") };
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let table = Table::parse(&text)?;
    if json {
        out!("{}", serde_json::to_string_pretty(&table)?);
        return Ok(ExitCode::SUCCESS);
    }
    for craft in &table.crafts {
        print_craft(craft);
    }
    Ok(ExitCode::SUCCESS)
}

fn print_craft(craft: &Craft) {
    out!("craft {}: {}", craft.number, craft.title);
    let width = |least: usize, of: fn(&Phase) -> &str| {
        let longest = craft.phases.iter().map(|phase| of(phase).chars().count()).max().unwrap_or_default();
        least.max(longest + 2)
    };
    let (slugs, titles) = (width(23, |phase| &phase.slug), width(27, |phase| &phase.title));
    let loads = width(11, |phase| &phase.load);
    out!("{:<6}{:<slugs$}{:<titles$}{:<8}{:<loads$}changed slot", "phase", "slug", "title", "202", "load");
    for (at, phase) in craft.phases.iter().enumerate() {
        let promise = match phase.promise {
            Promise::Memory => "memory",
            Promise::Ack => "ack",
        };
        let before = at.checked_sub(1).map(|before| &craft.phases[before]);
        let id = format!("{}.{}", craft.number, phase.number);
        let (slug, title, load) = (&phase.slug, &phase.title, &phase.load);
        out!(
            "{id:<6}{slug:<slugs$}{title:<titles$}{promise:<8}{load:<loads$}{}",
            changed(craft, phase, before)
        );
    }
}

/// `engine: KeepAlive` where it differs from the phase before; all slots of the first.
fn changed(craft: &Craft, phase: &Phase, before: Option<&Phase>) -> String {
    let new = |name: &&str| before.is_none_or(|before| before.slots.get(*name) != phase.slots.get(*name));
    let names = craft.slots.iter().map(|slot| slot.name.as_str()).filter(new);
    let told: Vec<_> = names.map(|name| format!("{name}: {}", phase.slots[name])).collect();
    told.join(", ")
}

fn write_branches() -> Result<ExitCode> {
    let git = Git::open(&env::current_dir()?)?;
    let written = branches::write(&git)?;
    let from = &written.from[..written.from.len().min(10)];
    style::say(&format!("the phases of {from}:"));
    if written.dirty {
        style::say("  the work tree has changes that are not committed; they are not in the branches");
    }
    let mut all = true;
    for Branch { name, commit, outcome } in &written.branches {
        let short = &commit[..commit.len().min(10)];
        match outcome {
            Outcome::Created => out!("{name} {short} created"),
            Outcome::Updated => out!("{name} {short} updated"),
            Outcome::Unchanged => out!("{name} {short} unchanged"),
            Outcome::Refused(why) => {
                all = false;
                style::say(&format!("craft: {name} is left alone: {why}"));
            }
        }
    }
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
