//! `craft`: run the pipeline, feed it, ask it, examine the machine. A thin face over the libraries.
//!
//! Data goes to stdout, progress and logs to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage; `doctor` and
//! `conform` exit with 1 when what they examined does not pass.

mod agent;
mod ask;
mod bench;
mod book;
mod class;
mod conform;
mod course;
mod doctor;
mod lab;
mod phases;
mod profile;
mod queue;
mod run;
mod style;

use clap::{Parser, Subcommand};
use std::{io::IsTerminal, process::ExitCode};
use tracing_subscriber::EnvFilter;

/// A real-time monitoring pipeline: ingest → queue → storage → query → alert.
#[derive(Parser)]
#[command(name = "craft", version, propagate_version = true, max_term_width = 100)]
struct Args {
    /// Log as JSON lines, for machines to read.
    #[arg(long, global = true)]
    log_json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the whole pipeline in one process, with this machine's metrics and the live page.
    Up(run::UpArgs),
    /// Run one of the five services alone.
    Serve(run::ServeArgs),
    /// Collect metrics each second and post them to a pipeline.
    Agent(agent::AgentArgs),
    /// Evaluate a query: now, or over a range.
    Query(ask::QueryArgs),
    /// List rules and alerts; add or delete a rule.
    Alerts(ask::AlertsArgs),
    /// Look into a queue: topics, groups and their lag; append records, read along.
    Queue(queue::QueueArgs),
    /// Examine this machine: is it fit to measure on?
    Doctor(doctor::DoctorArgs),
    /// Hold the contracts against services at some URL, in whatever language they are written.
    Conform(conform::ConformArgs),
    /// The phases of the course: list them, write them as git branches.
    Phases(course::PhasesArgs),
    /// Show what one phase changes against another: `craft diff 1.2 1.3`.
    Diff(course::DiffArgs),
    /// Build the course's book, which `craft up` serves at /book/.
    Book(book::BookArgs),
    /// Rebuild a part of the system yourself: start a lab, check it, run the pipeline with it.
    Lab(lab::LabArgs),
    /// For instructors: check and measure a whole class's work on one lab.
    Class(class::ClassArgs),
    /// Measure the phases and peers, compare results, write reports. `craft bench --help` says more.
    Bench(bench::BenchArgs),
    /// Show where a phase spends its processor time, as a flame graph.
    Profile(bench::BenchArgs),
}

fn main() -> ExitCode {
    let args = Args::parse();
    start_logging(args.log_json);
    let result = match args.command {
        Command::Up(args) => run::up(&args),
        Command::Serve(args) => run::serve(&args),
        Command::Agent(args) => agent::run(&args),
        Command::Query(args) => ask::query(&args),
        Command::Alerts(args) => ask::alerts(&args),
        Command::Queue(args) => queue::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Conform(args) => conform::run(&args),
        Command::Phases(args) => course::phases(&args),
        Command::Diff(args) => course::diff(&args),
        Command::Book(args) => book::run(&args),
        Command::Lab(args) => lab::run(&args),
        Command::Class(args) => class::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Profile(args) => profile::run(&args),
    };
    result.unwrap_or_else(|e| {
        style::say(&format!("craft: {e:#}"));
        ExitCode::FAILURE
    })
}

/// To stderr; `RUST_LOG` chooses what (`RUST_LOG=http=debug` shows every request).
fn start_logging(json: bool) {
    // What the book's library tells is of files that are about to be moved: `craft book` says where they are.
    let usual = || EnvFilter::new("info,mdbook_driver=warn,mdbook_html=warn");
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| usual());
    // A log that nobody reads any more is no reason to stop: hence no complaint about it, which would panic.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    if json {
        builder.json().flatten_event(true).init();
    } else {
        builder.with_ansi(std::io::stderr().is_terminal() && !style::no_color()).init();
    }
}
