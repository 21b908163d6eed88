//! `craft bench` and `craft profile`: builds what measures, and passes the words on to it.
//!
//! Measuring needs a profiler, a counting allocator and every phase there ever was; the tool one works with every day
//! needs none of them. So they are programs of the package `benches`, built when they are asked for.

use anyhow::{Context, Result, bail};
use clap::Args;
use std::{
    ffi::OsString,
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
};

/// Arguments of `craft bench` and `craft profile`.
#[derive(Args)]
#[command(disable_help_flag = true)]
pub(crate) struct BenchArgs {
    /// What to measure and how; --help says what there is.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "WORDS")]
    pub(crate) words: Vec<OsString>,
}

/// `craft bench …`.
pub(crate) fn run(args: &BenchArgs) -> Result<ExitCode> {
    pass_on(args.words.clone())
}

/// Builds the programs, and runs the one that measures with these words.
pub(crate) fn pass_on(words: Vec<OsString>) -> Result<ExitCode> {
    let program = build()?;
    let status = Command::new(&program)
        .args(words)
        .status()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Builds the programs that measure, as they stand in the tree now; returns the one to start.
fn build() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "build",
            "--release",
            "--package",
            "benches",
            "--bins",
            "--message-format",
            "json-render-diagnostics",
        ])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo, which builds what measures")?;
    if !output.status.success() {
        bail!("cargo could not build the programs that measure");
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    program_in(&messages).context("cargo built no program called bench")
}

/// Where cargo says that it put `bench`.
fn program_in(messages: &str) -> Option<PathBuf> {
    messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_it = message["reason"] == "compiler-artifact" && message["target"]["name"] == "bench";
        if is_it { message["executable"].as_str().map(PathBuf::from) } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_where_cargo_says() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"benches"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"bench"},"executable":"/t/release/bench"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(program_in(messages), Some(PathBuf::from("/t/release/bench")));
        assert_eq!(program_in(""), None);
    }
}
