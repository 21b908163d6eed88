//! Our queue as a service of its own, as the thing that is measured over a socket: on the log as it is in the end, on one that
//! counts and forgets, or the engine alone, which answers as soon as it has the body.
//!
//! It says on stdout where it listens, and runs until it is killed: who measures it wants nothing of it at its end.

use anyhow::{Context, Result, anyhow, bail};
use benches::{
    craft2::loads::LAST,
    logs::{Taken, TallyLog},
};
use clap::Parser;
use contracts::{
    http::{Bare, Deferred, Handler, Request, Response},
    ingest::{IngestConfig, Shutdown, Site},
};
use ingest_phases::PHASES;
use platform::{
    node::{Node, NodeConfig, Role},
    slots::{Choice, QueueSetup},
};
use std::{
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    task::Waker,
    thread,
};

/// A log that keeps nothing.
const TALLY: &str = "tally";
/// No log at all.
const ENGINE: &str = "engine";

/// Serves the queue, to be measured.
#[derive(Parser, Debug)]
#[command(name = "queue-server")]
struct Arguments {
    /// phase6, tally or engine
    #[arg(long)]
    what: String,
    /// Where the log is kept
    #[arg(long)]
    dir: PathBuf,
    /// The log drops its oldest segment once it is larger
    #[arg(long)]
    retention_bytes: Option<u64>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("queue-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    // A runner that is killed must not leave a server behind that disturbs the next measurement.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    match arguments.what.as_str() {
        ENGINE => engine(),
        LAST | TALLY => queue(arguments),
        other => bail!("there is no {other:?}: it is {LAST}, {TALLY} or {ENGINE}"),
    }
}

fn queue(arguments: &Arguments) -> Result<()> {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut config = NodeConfig::serve(Role::Queue, listen, arguments.dir.clone());
    if arguments.what == TALLY {
        let tally = |_: &QueueSetup<'_>| Ok(Arc::new(TallyLog::new(Arc::new(Taken::default()))) as _);
        config.slots.queue.push(Choice::new(TALLY, "counts and forgets", Arc::new(tally)));
    }
    config.log.retention_bytes_max = arguments.retention_bytes;
    let node = Node::start(&config).map_err(|why| anyhow!("{why}"))?;
    listening(node.addr().port())?;
    // Until it is killed.
    while node.is_serving() {
        thread::park();
    }
    bail!("the server ended by itself")
}

/// The least that an answer to a produce can be.
const ANSWER: &[u8] = br#"{"partition":0,"offset":0,"count":0}"#;

fn engine() -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let phase = PHASES.last().context("there is no engine")?;
    let server =
        (phase.open)(IngestConfig { client_requests_max_per_s: u32::MAX, ..IngestConfig::default() }, None);
    listening(port)?;
    let site = Site { listener, rest: &AtOnce, middleware: &Bare, shutdown: Shutdown::new() };
    Ok(server.serve(&site)?)
}

/// Answers in the thread that has read the request, as the queue's produce is answered.
struct AtOnce;

impl Handler for AtOnce {
    fn handle(&self, _: &Request<'_>) -> Response {
        Response::body(200, "application/json", ANSWER.to_vec())
    }

    fn deferred(&self) -> Option<Box<dyn Deferred>> {
        Some(Box::new(Self))
    }
}

impl Deferred for AtOnce {
    fn route(&self) -> (&'static str, &'static str) {
        ("POST", "/produce")
    }

    /// There is nothing to wait for.
    fn take(&mut self, _: u64, request: &Request<'_>) -> Result<(), Response> {
        Err(self.handle(request))
    }

    fn flush(&mut self) {}

    fn finished(&mut self, _: &mut Vec<(u64, Response)>) {}

    fn set_waker(&mut self, _: Waker) {}
}

fn listening(port: u16) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{port}")?;
    Ok(out.flush()?)
}
