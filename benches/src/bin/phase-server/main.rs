//! The phases of the course, each as a server to be measured; see [`benches::phase_server`].

use benches::phase_server::{self, Arguments, CountingAllocator};
use clap::Parser;
use ingest_phases::PHASES;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Serves one phase of ingestion, to be measured.
#[derive(Parser, Debug)]
#[command(name = "phase-server")]
struct Command {
    #[command(flatten)]
    arguments: Arguments,
}

fn main() -> ExitCode {
    match phase_server::run(&PHASES, &Command::parse().arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("phase-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}
