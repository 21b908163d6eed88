//! One phase of ingestion by itself, as the thing that is measured: no pipeline, no telemetry, a chosen log.
//!
//! Any program can be a phase server, of whatever phases it has: the binary of this package has those of the course, and a
//! lab's program has the learner's besides. A server says on stdout, one JSON object a line, where it listens; on SIGUSR1 what it has used so far; and on SIGTERM,
//! once it has drained, what its log holds. The words are those of [`crate::server`].

pub mod allocator;
pub mod counters;
pub mod profiler;

pub use allocator::CountingAllocator;

use crate::{
    logs::{Disk, SlowLog, Taken, TallyLog},
    server::{Found, PhaseName, Said},
};
use anyhow::{Context, Result, anyhow};
use clap::Args;
use contracts::{
    BatchView,
    http::{ApiError, Bare, Request, Response},
    ingest::{Ingest, IngestConfig, Shutdown, Site},
    queue::{Ack, FetchLimit, Log, Partition, Records},
};
use ingest_phases::Phase;
use profiler::Profiler;
use queue::{FileLog, LogConfig};
use signal_hook::{
    consts::{SIGINT, SIGTERM, SIGUSR1},
    iterator::Signals,
};
use std::{
    io::Write,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

/// A consumer group that never comes, so that the log keeps everything.
const KEEPER: &str = "bench";

/// What a phase server is told.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// Which phase, as in phase3
    #[arg(long, required_unless_present_any = ["list", "count"])]
    phase: Option<String>,
    /// Print the phases there are
    #[arg(long)]
    list: bool,
    /// Print what the log in this directory holds
    #[arg(long, value_name = "DIR")]
    count: Option<PathBuf>,
    /// Keep the log in this directory; without it records are counted and forgotten
    #[arg(long, value_name = "DIR")]
    log: Option<PathBuf>,
    /// Each flush of the log takes so many µs longer
    #[arg(long, default_value_t = 0)]
    flush_us: u64,
    /// Each KiB of a flush takes so many µs longer
    #[arg(long, default_value_t = 0)]
    per_kib_us: u64,
    /// When a 202 may be sent: memory, os, disk
    #[arg(long, default_value = "memory", value_parser = parse_ack)]
    ack: Ack,
    /// Threads that take requests, where their number is fixed; 0 is one for each core
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Batches that wait for the log at most, for each thread
    #[arg(long, default_value_t = IngestConfig::default().waiting_batches_max)]
    waiting_batches_max: usize,
    /// Count allocations
    #[arg(long)]
    allocations: bool,
    /// Sample the running functions, and write them as a flame graph
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
}

fn parse_ack(text: &str) -> Result<Ack, String> {
    let all = [Ack::Memory, Ack::Os, Ack::Disk];
    all.into_iter().find(|ack| ack.as_str() == text).ok_or_else(|| "it is memory, os or disk".to_owned())
}

/// Does what it is told: serves one of these phases until it is ended, lists them, or counts what a log holds.
///
/// # Errors
/// When there is no such phase, or the server does not start or ends badly.
pub fn run(phases: &[Phase], arguments: &Arguments) -> Result<()> {
    if arguments.list {
        let phases = phases
            .iter()
            .map(|phase| PhaseName { name: phase.name.to_owned(), title: phase.title.to_owned() });
        return say(&Said::Phases { phases: phases.collect() });
    }
    if let Some(directory) = &arguments.count {
        return say(&Said::Counted { found: found_in(open_log(directory)?.as_ref())? });
    }
    let name = arguments.phase.as_deref().unwrap_or_default();
    let (log, taken) = log(arguments)?;
    let phase = phases.iter().find(|phase| phase.name == name).with_context(|| {
        let names = phases.iter().map(|phase| phase.name).collect::<Vec<_>>().join(", ");
        format!("there is no phase {name:?}; choose from {names}")
    })?;
    let title = format!("{}: {}", phase.name, phase.title);
    serve(arguments, &title, (phase.open)(config(arguments), Some(log.clone())).as_ref(), || match &taken {
        Some(taken) => Ok(Found {
            records: taken.records.load(Ordering::Relaxed),
            samples: taken.samples.load(Ordering::Relaxed),
            bytes: taken.bytes.load(Ordering::Relaxed),
        }),
        None => found_in(log.as_ref()),
    })
}

fn config(arguments: &Arguments) -> IngestConfig {
    IngestConfig {
        ack: arguments.ack,
        threads: arguments.threads,
        waiting_batches_max: arguments.waiting_batches_max,
        // All load comes from one address: it is measured what counting costs, not who is refused.
        client_requests_max_per_s: u32::MAX,
        ..IngestConfig::default()
    }
}

/// The log, and its counts where it keeps nothing else.
type Logged = (Arc<dyn Log>, Option<Arc<Taken>>);

fn log(arguments: &Arguments) -> Result<Logged> {
    let (log, taken): Logged = match &arguments.log {
        Some(directory) => (open_log(directory)?, None),
        None => {
            let taken = Arc::new(Taken::default());
            (Arc::new(TallyLog::new(taken.clone())), Some(taken))
        }
    };
    let disk = Disk {
        flush: Duration::from_micros(arguments.flush_us),
        per_kib: Duration::from_micros(arguments.per_kib_us),
    };
    Ok((if disk.is_slow() { Arc::new(SlowLog::new(log, disk)) } else { log }, taken))
}

/// Counts what can be read back, checking every batch.
fn found_in(log: &dyn Log) -> Result<Found> {
    let mut found = Found::default();
    let mut records = Records::new();
    for partition in (0..log.partitions()).map(Partition) {
        let bounds = log.bounds(partition)?;
        let mut next = bounds.start;
        while next < bounds.end {
            log.fetch(partition, next, FetchLimit::default(), &mut records)?;
            for (offset, payload) in records.iter() {
                found.records += 1;
                found.bytes += payload.len() as u64;
                found.samples += BatchView::parse(payload)?.len() as u64;
                next.0 = offset.0 + 1;
            }
        }
    }
    Ok(found)
}

fn serve(
    arguments: &Arguments,
    title: &str,
    server: &dyn Ingest,
    found: impl Fn() -> Result<Found>,
) -> Result<()> {
    die_with_parent();
    let listener = TcpListener::bind("127.0.0.1:0").context("no port on 127.0.0.1")?;
    let address = listener.local_addr()?;
    let shutdown = Shutdown::new();
    let stop = stop_on_signal(shutdown.clone(), address)?;
    let profiler = arguments.profile.as_deref().map(|path| Profiler::start(title, path)).transpose()?;
    if arguments.allocations {
        allocator::start_counting();
    }
    say(&Said::Listening { port: address.port() })?;
    let site = Site { listener, rest: &no_such_path, middleware: &Bare, shutdown };
    server.serve(&site).context("the server ended with an error")?;
    let told = stop.join().map_err(|_| anyhow!("the thread that waits for signals panicked"))?;
    let drain_ms = told.elapsed().as_secs_f64() * 1000.0;
    let snapshot = counters::snapshot()?;
    if let Some(profiler) = profiler {
        say(&Said::Profiled { top: profiler.finish()? })?;
    }
    say(&Said::Drained { drain_ms, snapshot, found: found()? })
}

fn no_such_path(request: &Request<'_>) -> Response {
    ApiError::no_such_path(request.path).into()
}

/// Answers SIGUSR1, and ends with SIGTERM or Ctrl-C, of which it returns the time.
fn stop_on_signal(shutdown: Shutdown, address: SocketAddr) -> Result<thread::JoinHandle<Instant>> {
    let mut signals = Signals::new([SIGUSR1, SIGTERM, SIGINT])?;
    Ok(thread::Builder::new().name(profiler::SIGNALS.to_owned()).spawn(move || {
        for signal in signals.forever() {
            if signal != SIGUSR1 {
                break;
            }
            let said = counters::snapshot().and_then(|snapshot| say(&Said::Used { snapshot }));
            if let Err(error) = said {
                eprintln!("phase-server: no counters: {error:#}");
            }
        }
        let told = Instant::now();
        shutdown.set();
        // A blocking accept sees the flag when somebody comes; if nobody can any more, it has ended already.
        let _ = TcpStream::connect(address);
        told
    })?)
}

/// A runner that is killed must not leave a server behind that disturbs the next measurement.
fn die_with_parent() {
    #[cfg(target_os = "linux")]
    // It can only fail for a signal that does not exist.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
}

fn say(said: &Said) -> Result<()> {
    let mut line = serde_json::to_string(said)?;
    line.push('\n');
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes())?;
    Ok(out.flush()?)
}

/// The file of a log, kept to its end: nobody commits here what was read.
fn open_log(directory: &Path) -> Result<Arc<dyn Log>> {
    let config = LogConfig::for_groups(&[KEEPER]);
    let (log, _) = FileLog::open(directory, config).context("cannot open the log")?;
    Ok(Arc::new(log))
}
