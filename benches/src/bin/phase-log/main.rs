//! One log under one load, measured once; see [`benches::craft2::slice`].

use benches::{craft2::slice::Task, phase_server::CountingAllocator};
use clap::Parser;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Measures one log under one load.
#[derive(Parser, Debug)]
#[command(name = "phase-log")]
struct Command {
    #[command(flatten)]
    task: Task,
}

fn main() -> ExitCode {
    match Command::parse().task.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("phase-log: {error:#}");
            ExitCode::FAILURE
        }
    }
}
