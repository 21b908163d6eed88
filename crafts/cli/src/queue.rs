//! `craft queue`: look into a log, put records into it, read along.
//!
//! It speaks to a running service through the contract, so that it works against any queue. Only `verify` reads files.
//! What each command does stands in a file of its own.

mod groups;
mod produce;
mod tail;
mod topics;
mod verify;

use anyhow::{Result, anyhow};
use clap::{Args, Subcommand};
use contracts::queue::{LogError, Partition};
use platform::remote::{Client, RemoteLog};
use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Arguments of `craft queue`.
#[derive(Args)]
pub(crate) struct QueueArgs {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    server: Server,
}

#[derive(Subcommand)]
enum Action {
    /// List the topics: partitions, and what each holds.
    Topics,
    /// Append records: the arguments, or else each line of stdin.
    Produce(produce::ProduceArgs),
    /// Print records, and follow what comes; alone, or as a member of a consumer group.
    Tail(tail::TailArgs),
    /// List the consumer groups: members, what each reads, and the lag.
    Groups(groups::GroupsArgs),
    /// Read a log's files and hold everything against its checksums. Nothing is changed.
    Verify(verify::VerifyArgs),
}

/// Where to ask.
#[derive(Args)]
struct Server {
    /// Base URL of the queue service (`craft serve queue`); topics, groups and tail without --group also work on a
    /// pipeline (`craft up`).
    #[arg(long, global = true, value_name = "URL", default_value = "http://127.0.0.1:8082")]
    url: String,
    /// The server's token.
    #[arg(long, global = true, value_name = "TOKEN", env = "CRAFT_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Print JSON, one value a line.
    #[arg(long, global = true)]
    json: bool,
}

impl Server {
    fn log(&self) -> Result<RemoteLog> {
        Ok(RemoteLog::new(Client::new(&self.url, self.token.as_deref()).map_err(anyhow::Error::msg)?))
    }

    /// An error of the log, with what to do about it where that can be known.
    fn explain(&self, error: &LogError) -> anyhow::Error {
        let url = &self.url;
        match error {
            LogError::Failed(why) if why.starts_with(url.as_str()) => anyhow!(
                "{why}\nnobody serves a queue there: start one with `craft serve queue`, or say where it is with --url"
            ),
            LogError::Failed(why) if why.starts_with("status 404") || why.starts_with("status 405") => {
                anyhow!(
                    "{url} does not do this: {why}\na pipeline in one process takes samples through ingestion; records are for `craft serve queue`"
                )
            }
            LogError::Failed(why) if why.starts_with("status 401") => {
                anyhow!("{why}\ngive the server's token with --token or CRAFT_TOKEN")
            }
            LogError::OffsetOutOfRange { bounds, .. } => {
                anyhow!("{error}\nbegin at --from {} or later, or at --from start", bounds.start.0)
            }
            e => anyhow!("{e}"),
        }
    }
}

/// Runs one of them.
pub(crate) fn run(args: &QueueArgs) -> Result<ExitCode> {
    match &args.action {
        Action::Topics => topics::run(&args.server),
        Action::Produce(produce) => produce::run(&args.server, produce),
        Action::Tail(tail) => tail::run(&args.server, tail),
        Action::Groups(groups) => groups::run(&args.server, groups),
        Action::Verify(verify) => verify::run(args.server.json, verify),
    }
}

/// All partitions of a log.
fn partitions(count: u32) -> impl Iterator<Item = Partition> {
    (0..count).map(Partition)
}

/// Set by Ctrl-C; a second one ends the process at once.
fn stop_on_signal() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, stop.clone())?;
        signal_hook::flag::register(signal, stop.clone())?;
    }
    Ok(stop)
}

fn is_set(stop: &AtomicBool) -> bool {
    stop.load(Ordering::Relaxed)
}
