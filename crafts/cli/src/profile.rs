//! `craft profile`: where a phase spends its processor time, as a flame graph.

use crate::bench::{BenchArgs, pass_on};
use anyhow::Result;
use std::process::ExitCode;

/// `craft profile …` is the bench's `profile …`.
pub(crate) fn run(args: &BenchArgs) -> Result<ExitCode> {
    pass_on(std::iter::once("profile".into()).chain(args.words.iter().cloned()).collect())
}
