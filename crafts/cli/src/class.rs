//! `craft class`: a whole class's work on one lab, for instructors. The work is done by the library `labs`.

use crate::style::{Tone, out, paint, say};
use anyhow::Result;
use clap::{Args, Subcommand};
use labs::{
    catalogue::Catalogue,
    class::{self, Class},
};
use std::{env, path::PathBuf, process::ExitCode};

#[derive(Args)]
pub(crate) struct ClassArgs {
    #[command(subcommand)]
    command: ClassCommand,
}

#[derive(Subcommand)]
enum ClassCommand {
    /// Check and measure everybody in one run; labs/CLASS.md says how.
    Run {
        /// Which lab, and whose work.
        class: PathBuf,
        /// The folder of the results; run into it again, and each is held against their previous self.
        #[arg(long, value_name = "DIR", default_value = "class-results")]
        out: PathBuf,
    },
}

pub(crate) fn run(args: &ClassArgs) -> Result<ExitCode> {
    let ClassCommand::Run { class, out } = &args.command;
    let catalogue = Catalogue::open(&env::current_dir()?)?;
    let class = Class::read(class)?;
    let results = class::run(&catalogue, &class, out, &mut say)?;
    for row in &results.rows {
        let tone = if row.verdict.fails() { Tone::Bad } else { Tone::Good };
        let ratio = row.interval.zip(row.ratio);
        let ratio =
            ratio.map_or(String::new(), |((low, high), ratio)| format!("{ratio:.2} [{low:.2}, {high:.2}]"));
        let place = row.place.map_or(String::new(), |place| place.to_string());
        out!("{place:>3}  {:<14} {:<24} {}", row.alias, ratio, paint(tone, &format!("{:?}", row.verdict)));
    }
    say(&format!("written to {}; names.json there says who is who, and is for you alone", out.display()));
    Ok(ExitCode::SUCCESS)
}
