//! Samples over HTTP, as agents send them: our ingestion before a log that acknowledges at `disk`, and VictoriaMetrics, which
//! acknowledges from memory.
//!
//! Two connections, on each of which the next request is sent when the last was answered. Bodies are made beforehand, and
//! sent again when all have been: the text of another time each, of the same ten thousand series.

use super::{
    super::{loads::LAST, slice::Figures},
    Stand, WARM_UP_S,
    client::{self, Pace},
    http::Requests,
    server::Server,
};
use crate::{
    loads::LogSetting,
    server::{PhaseServer, Setting},
    tool::Pinning,
};
use anyhow::{Result, bail, ensure};
use std::{
    fmt::Write,
    net::{Ipv4Addr, TcpStream},
    thread,
};

const SAMPLES: usize = 5_000;
const CONNECTIONS: usize = 2;
/// Each connection has its own.
const BODIES: usize = 16;
const METRICS: [&str; 10] = [
    "cpu_user",
    "cpu_system",
    "memory_used",
    "disk_used",
    "load_average",
    "queue_depth",
    "requests_total",
    "errors_total",
    "bytes_in_total",
    "bytes_out_total",
];

/// In which a sample is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Prometheus,
    Influx,
}

impl Format {
    fn path(self) -> &'static str {
        match self {
            Self::Prometheus => "/api/v1/import/prometheus",
            Self::Influx => "/write",
        }
    }

    fn sample(self, out: &mut String, metric: &str, host: usize, value: u32, at_ms: i64) {
        let value = f64::from(value) / 100.0;
        // Writing to a String cannot fail.
        let _ = match self {
            Self::Prometheus => {
                writeln!(out, "{metric}{{host=\"web-{host:04}\",dc=\"fra1\",env=\"prod\"}} {value} {at_ms}")
            }
            Self::Influx => {
                writeln!(out, "{metric},host=web-{host:04},dc=fra1,env=prod value={value} {at_ms}000000")
            }
        };
    }
}

pub(super) fn send(stand: &Stand<'_>, format: Format, who: &str) -> Result<Figures> {
    match who {
        LAST => ours(stand, format),
        "victoria-metrics" => {
            let server = Server::peer("victoria-metrics", |command, port| {
                command.arg(format!("-httpListenAddr=127.0.0.1:{port}"));
                command.arg(format!("-storageDataPath={}", stand.dir.display()));
            })?;
            both(stand, format, server.port, WARM_UP_S)?;
            server.watched(|| both(stand, format, server.port, stand.seconds))
        }
        other => bail!("{other} takes no samples"),
    }
}

/// What was accepted is counted in the log afterwards.
fn ours(stand: &Stand<'_>, format: Format) -> Result<Figures> {
    let log = LogSetting {
        file: true,
        ack: "disk".to_owned(),
        flush_us: 0,
        per_kib_us: 0,
        waiting_batches_max: None,
    };
    let setting = Setting { words: Vec::new(), phase: last_phase(), log, allocations: false };
    let programs = stand.programs;
    let server =
        PhaseServer::start(&programs.phase_server, &Pinning::none(), &setting, Some(stand.dir), &[])?;
    let (_, before) = both(stand, format, server.port, WARM_UP_S)?;
    let (mut figures, samples) = both(stand, format, server.port, stand.seconds)?;
    let found = server.drain()?.found.samples as f64;
    let accepted = before + samples;
    ensure!(found >= accepted, "{accepted} samples were accepted, the log has {found}");
    figures.insert("accepted".to_owned(), accepted);
    figures.insert("found".to_owned(), found);
    Ok(figures)
}

/// Of ingestion.
fn last_phase() -> String {
    ingest_phases::PHASES.last().map_or_else(String::new, |phase| phase.name.to_owned())
}

/// Both connections at once; returns their figures added up, and the samples.
fn both(stand: &Stand<'_>, format: Format, port: u16, seconds: f64) -> Result<(Figures, f64)> {
    let pace = Pace { in_flight: 1, seconds, units: SAMPLES as f64 };
    let clients: Vec<Requests> = (0..CONNECTIONS)
        .map(|n| Requests::bodies(format.path(), "text/plain", bodies(format, stand.seed + n as u64)))
        .collect();
    let seen = thread::scope(|scope| {
        let mut all = Vec::new();
        for requests in &clients {
            all.push(scope.spawn(move || {
                let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
                socket.set_nodelay(true)?;
                client::run(&socket, requests, pace)
            }));
        }
        all.into_iter()
            .map(|one| one.join().map_err(|_| anyhow::anyhow!("a client panicked"))?)
            .collect::<Result<Vec<_>>>()
    })?;
    let mut figures = Figures::new();
    let (mut throughput, mut samples, mut p99_us) = (0.0, 0.0, 0.0_f64);
    for (one, units) in &seen {
        throughput += one.get("throughput").copied().unwrap_or_default();
        p99_us = p99_us.max(one.get("p99_us").copied().unwrap_or_default());
        samples += units;
    }
    figures.insert("throughput".to_owned(), throughput);
    figures.insert("p99_us".to_owned(), p99_us);
    Ok((figures, samples))
}

fn bodies(format: Format, seed: u64) -> Vec<Vec<u8>> {
    let mut random = fastrand::Rng::with_seed(seed);
    let begin_ms = jiff::Timestamp::now().as_millisecond() - 3_600_000;
    let hosts = SAMPLES / METRICS.len();
    let mut body = |number: usize| {
        let mut text = String::new();
        let at_ms = begin_ms + 15_000 * i64::try_from(number).unwrap_or_default();
        for host in 0..hosts {
            for metric in METRICS {
                let host = host + hosts * (usize::try_from(seed % 2).unwrap_or_default());
                format.sample(&mut text, metric, host, random.u32(0..10_000_000), at_ms);
            }
        }
        text.into_bytes()
    };
    (0..BODIES).map(&mut body).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_all_its_samples() {
        for format in [Format::Prometheus, Format::Influx] {
            let bodies = bodies(format, 7);
            assert_eq!(bodies.len(), BODIES);
            for body in bodies {
                assert_eq!(body.iter().filter(|byte| **byte == b'\n').count(), SAMPLES);
            }
        }
    }
}
