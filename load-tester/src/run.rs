//! Starts the event loops, collects what they see, and adds it up.
//!
//! In: a [`Workload`]. Out: an [`Outcome`] of plain numbers; judging and printing them is done elsewhere. The
//! calling thread is the collector, asleep but for a moment each second, so that it takes nothing from the load.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Instant, SystemTime};

use hdrhistogram::Histogram;

use crate::Error;
use crate::client::Client;
use crate::event_loop::{EventLoop, LoopConfig, LoopReport, Work};
use crate::fates::Fates;
use crate::recorder::{LoopSecond, Recorder};
use crate::tally::{Tally, histogram};
use crate::workload::{Load, Until, Workload, nanoseconds};

/// Everything a run has measured.
#[derive(Debug)]
pub struct Outcome {
    /// When it began.
    pub started_at: SystemTime,
    /// From the beginning to the last answer.
    pub elapsed_ns: u64,
    /// The counts.
    pub tally: Tally,
    /// ns from when a request was meant to be sent to its answer.
    pub latency: Histogram<u64>,
    /// ns from when a request was really begun to its answer; open loop only.
    pub service: Option<Histogram<u64>>,
    /// ns by which the tester itself was late; open loop only.
    pub lag: Option<Histogram<u64>>,
    /// Second by second.
    pub seconds: Vec<Second>,
    /// Each event loop's share of a processor, 0 to 1, where the platform tells.
    pub thread_cpu: Vec<Option<f64>>,
    /// Open loop: whether requests were due while every client was waiting for an answer.
    pub clients_exhausted: bool,
    /// Each client's requests' fates, by client number; empty without verify.
    pub fates: Vec<Fates>,
}

/// One second of a run, over all event loops.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Second {
    /// From 0.
    pub index: u64,
    /// How much of it belongs to the run; the last one is seldom whole.
    pub span_ms: u64,
    /// Requests answered, with whatever status.
    pub answered: u64,
    /// Requests answered 2xx.
    pub ok: u64,
    /// Requests given up without an answer.
    pub unanswered: u64,
    /// Median latency in µs.
    pub p50_us: f64,
    /// 99th percentile of latency in µs.
    pub p99_us: f64,
}

/// Runs a workload to its end, or until `stop` is set; `watch` is called with each finished second.
///
/// # Errors
/// When the server cannot be reached at all, or the operating system refuses what the loops need. A server that
/// answers badly, or stops answering, is a result and not an error.
pub fn run(workload: &Workload, stop: &AtomicBool, watch: &mut dyn FnMut(&Second)) -> Result<Outcome, Error> {
    let address = workload.target.address()?;
    knock(workload, address)?;
    let (sender, receiver) = mpsc::channel();
    let mut loops = Vec::with_capacity(workload.threads);
    for thread in 0..workload.threads {
        loops.push(event_loop(workload, address, thread, sender.clone(), stop).map_err(Error::Loop)?);
    }
    drop(sender);
    let (started_at, start) = (SystemTime::now(), Instant::now());
    let (reports, seconds) = thread::scope(|scope| {
        let threads: Vec<_> = loops.into_iter().map(|one| scope.spawn(move || one.run(start))).collect();
        let seconds = collect(&receiver, workload.threads, watch);
        let reports: io::Result<Vec<_>> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect();
        (reports, seconds)
    });
    Ok(add_up(workload, started_at, reports.map_err(Error::Loop)?, seconds))
}

/// One connection before the load, so that a mistyped port gives one clear line and not a report full of failures.
fn knock(workload: &Workload, address: SocketAddr) -> Result<(), Error> {
    match TcpStream::connect_timeout(&address, workload.connect_timeout) {
        Ok(_) => Ok(()),
        Err(source) => Err(Error::Unreachable { target: workload.target.authority(), source }),
    }
}

fn event_loop<'a>(
    workload: &Workload,
    address: SocketAddr,
    thread: usize,
    seconds: Sender<LoopSecond>,
    stop: &'a AtomicBool,
) -> io::Result<EventLoop<'a>> {
    let head = request_head(workload);
    let format = workload.format.format();
    let ids = (0..workload.clients).skip(thread).step_by(workload.threads);
    let clients = ids
        .map(|id| {
            let body = format.body(&workload.identity.name, id, workload.batch);
            let head = format!("{head}Content-Length: {}\r\n\r\n", body.bytes().len()).into_bytes();
            Client::new(id, head, body, workload.batch, workload.pipeline)
        })
        .collect();
    let work = work(workload, thread);
    let recorder = Recorder::new(matches!(work, Work::Open { .. }), seconds);
    EventLoop::new(loop_config(workload, address), work, clients, recorder, stop)
}

/// Everything of a request's head that all requests share.
fn request_head(workload: &Workload) -> String {
    let mut head = format!("POST {} HTTP/1.1\r\n", workload.target.path);
    let mut field = |name: &str, value: &str| {
        head.push_str(name);
        head.push_str(": ");
        head.push_str(value);
        head.push_str("\r\n");
    };
    field("Host", &workload.target.authority());
    for (name, value) in workload.format.format().headers() {
        field(name, value);
    }
    if let Some(token) = &workload.token {
        field("Authorization", &format!("Bearer {}", token.reveal()));
    }
    if !workload.keep_alive {
        field("Connection", "close");
    }
    head
}

fn loop_config(workload: &Workload, address: SocketAddr) -> LoopConfig {
    let each = match workload.load {
        Load::Closed { until: Until::RequestsEach(each) } => each,
        Load::Closed { .. } => 0,
        Load::Open { .. } => workload.requests_asked().unwrap_or(0) / u64::from(workload.clients),
    };
    LoopConfig {
        address,
        identity: workload.identity.clone(),
        pipeline: workload.pipeline,
        keep_alive: workload.keep_alive,
        connect_first: workload.connect_first,
        request_timeout_ns: nanoseconds(workload.request_timeout),
        connect_timeout_ns: nanoseconds(workload.connect_timeout),
        ends_at_ns: workload.duration().map_or(u64::MAX, nanoseconds),
        verify: workload.verify,
        fates_expected: usize::try_from(each).unwrap_or(0).min(FATES_EXPECTED_MAX),
    }
}

/// Fates a client for which room is made beforehand (a quarter of a MiB); beyond, it grows as it goes.
const FATES_EXPECTED_MAX: usize = 1 << 20;

fn work(workload: &Workload, thread: usize) -> Work {
    match workload.load {
        Load::Closed { until: Until::RequestsEach(requests_each) } => Work::Closed { requests_each },
        Load::Closed { until: Until::Elapsed(_) } => Work::Closed { requests_each: u64::MAX },
        Load::Open { shape, duration } => Work::Open {
            schedule: shape.schedule(nanoseconds(duration)),
            index: thread as u64,
            step: workload.threads as u64,
        },
    }
}

/// Merges the loops' seconds; a second is finished when every loop has sent its part of it or has ended.
fn collect(receiver: &Receiver<LoopSecond>, loops: usize, watch: &mut dyn FnMut(&Second)) -> Vec<Second> {
    let mut open: BTreeMap<u64, (usize, LoopSecond)> = BTreeMap::new();
    let mut finished = Vec::new();
    for part in receiver {
        let index = part.index;
        let parts = match open.remove(&index) {
            Some((parts, mut merged)) => {
                merge(&mut merged, &part);
                open.insert(index, (parts + 1, merged));
                parts + 1
            }
            None => {
                open.insert(index, (1, part));
                1
            }
        };
        if parts == loops
            && let Some((_, merged)) = open.remove(&index)
        {
            let second = summary(&merged);
            watch(&second);
            finished.push(second);
        }
    }
    finished.extend(open.values().map(|(_, merged)| summary(merged)));
    finished.sort_by_key(|second| second.index);
    finished
}

fn merge(merged: &mut LoopSecond, part: &LoopSecond) {
    merged.answered += part.answered;
    merged.ok += part.ok;
    merged.unanswered += part.unanswered;
    // Only fails when the bounds differ, and all histograms are made by one function.
    let _ = merged.latency.add(&part.latency);
}

fn summary(second: &LoopSecond) -> Second {
    Second {
        index: second.index,
        span_ms: 1000,
        answered: second.answered,
        ok: second.ok,
        unanswered: second.unanswered,
        p50_us: microseconds(second.latency.value_at_quantile(0.5)),
        p99_us: microseconds(second.latency.value_at_quantile(0.99)),
    }
}

fn add_up(
    workload: &Workload,
    started_at: SystemTime,
    reports: Vec<LoopReport>,
    mut seconds: Vec<Second>,
) -> Outcome {
    let open_loop = matches!(workload.load, Load::Open { .. });
    let mut outcome = Outcome {
        started_at,
        elapsed_ns: 0,
        tally: Tally::default(),
        latency: histogram(),
        service: open_loop.then(histogram),
        lag: open_loop.then(histogram),
        seconds: Vec::new(),
        thread_cpu: Vec::new(),
        clients_exhausted: false,
        fates: if workload.verify { vec![Fates::default(); workload.clients as usize] } else { Vec::new() },
    };
    for report in reports {
        outcome.elapsed_ns = outcome.elapsed_ns.max(report.ended_at_ns);
        outcome.tally.add(&report.tally);
        let _ = outcome.latency.add(&report.latency);
        add_optional(&mut outcome.service, &report.service);
        add_optional(&mut outcome.lag, &report.lag);
        outcome.thread_cpu.push(report.cpu_ns.map(|cpu| cpu as f64 / report.wall_ns.max(1) as f64));
        outcome.clients_exhausted |= report.clients_exhausted;
        for (client, fates) in report.fates {
            if let Some(place) = outcome.fates.get_mut(client as usize) {
                *place = fates;
            }
        }
    }
    if let Some(last) = seconds.last_mut() {
        last.span_ms = (outcome.elapsed_ns / 1_000_000).saturating_sub(last.index * 1000).clamp(1, 1000);
    }
    outcome.seconds = seconds;
    outcome
}

fn add_optional(sum: &mut Option<Histogram<u64>>, part: &Option<Histogram<u64>>) {
    if let (Some(sum), Some(part)) = (sum, part) {
        let _ = sum.add(part);
    }
}

/// ns as µs, to the nanosecond.
pub(crate) fn microseconds(ns: u64) -> f64 {
    ns as f64 / 1000.0
}
