//! `craft conform`: the black-box suites against services at some URL, in whatever language they are written.

use crate::style::{Tone, out, paint};
use anyhow::{Result, anyhow};
use clap::Args;
use conformance::{
    Verdict,
    client::Url,
    http::{HttpReport, Part, Target, check_target},
};
use std::{process::ExitCode, sync::Arc};

/// Arguments of `craft conform`.
#[derive(Args)]
pub(crate) struct ConformArgs {
    /// Base URL; it is asked which services it is.
    url: Option<String>,
    /// Base URL of one service of a pipeline, as in --service queue=http://127.0.0.1:8082. May be given for each.
    #[arg(long, value_name = "SERVICE=URL", value_parser = parse_service)]
    service: Vec<(Part, Url)>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn parse_service(text: &str) -> Result<(Part, Url), String> {
    let (name, url) = text.split_once('=').ok_or("expected SERVICE=URL")?;
    let part = Part::ALL.into_iter().find(|p| p.as_str() == name);
    let part = part.ok_or_else(|| {
        format!("there is no service {name:?}; there is ingest, queue, storage, query, alert")
    })?;
    Ok((part, Url::parse(url)?))
}

/// Exit code 1 if any claim is broken.
pub(crate) fn run(args: &ConformArgs) -> Result<ExitCode> {
    let start = match &args.url {
        Some(url) => Url::parse(url).and_then(|url| Target::at(&url)).map_err(anyhow::Error::msg)?,
        None if args.service.is_empty() => return Err(anyhow!("give a base URL, or --service SERVICE=URL")),
        None => Target::new(),
    };
    let target = args.service.iter().fold(start, |target, (part, url)| target.with(*part, url.clone()));
    eprintln!("holding the contracts against it; claims about slow clients take a while");
    let report = check_target(&Arc::new(target));
    if args.json {
        out!("{}", serde_json::to_string(&report)?);
    } else {
        print(&report);
    }
    Ok(if report.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(report: &HttpReport) {
    let (mut holds, mut broken, mut skipped) = (0, 0, 0);
    for suite in &report.reports {
        out!("{}", paint(Tone::Strong, suite.suite));
        for outcome in &suite.outcomes {
            match &outcome.verdict {
                Verdict::Holds => {
                    holds += 1;
                    out!("  {} {}", paint(Tone::Good, "holds  "), outcome.says);
                }
                Verdict::Broken(why) => {
                    broken += 1;
                    out!("  {} {}\n            {why}", paint(Tone::Bad, "BROKEN "), outcome.says);
                }
                Verdict::Skipped(why) => {
                    skipped += 1;
                    out!("  {} {} ({why})", paint(Tone::Faint, "skipped"), outcome.says);
                }
            }
        }
    }
    out!("{holds} claims hold, {broken} are broken, {skipped} were left out");
}
