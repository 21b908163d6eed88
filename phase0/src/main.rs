//! Phase 0 alone: `phase0 [PORT] [FILE] [SECONDS]` — where to listen, where to store, how often to evaluate.
//!
//! What is wrong with it: there is no way to stop it but to kill it, and what is in the queue is lost then.

use contracts::{
    TimeRange,
    alert::{Alerter, Rule},
    http::{ApiError, Bare, Request, Response},
    ingest::{Ingest, IngestConfig, Shutdown, Site},
    query::{QueryEngine, QueryError, format_value},
    queue::Log,
};
use phase0::{
    alert::{PolledAlerter, Print},
    consumer::Consumer,
    ingest::SequentialIngest,
    query::SelectorEngine,
    queue::MemoryLog,
    storage::JsonLines,
};
use std::{
    collections::BTreeMap, net::TcpListener, path::Path, process::ExitCode, sync::Arc, thread, time::Duration,
};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("phase0: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<(), String> {
    let arg = |at: usize, default: &str| args.get(at).cloned().unwrap_or_else(|| default.to_owned());
    let (port, file, seconds) = (arg(0, "8080"), arg(1, "phase0.jsonl"), arg(2, "10"));
    let port: u16 =
        port.parse().map_err(|_| format!("{port:?} is no port\nusage: phase0 [PORT] [FILE] [SECONDS]"))?;
    let seconds: u64 = seconds.parse().map_err(|_| format!("{seconds:?} is no number of seconds"))?;

    let listener = TcpListener::bind(("127.0.0.1", port)).map_err(|e| format!("port {port}: {e}"))?;
    let storage = Arc::new(JsonLines::open(Path::new(&file)).map_err(|e| format!("{file}: {e}"))?);
    let log: Arc<dyn Log> = Arc::new(MemoryLog::for_groups(&["storage"]));
    let engine = Arc::new(SelectorEngine::new(storage.clone()));
    let alerter = Arc::new(PolledAlerter::new(engine.clone(), Arc::new(Print)));
    alerter.put_rule(default_rule()).map_err(|e| e.to_string())?;

    let (source, target) = (log.clone(), storage);
    thread::spawn(move || {
        let (group, complain) = ("storage", &|message: &str| eprintln!("consumer: {message}"));
        let consumer = Consumer { log: &*source, storage: &*target, group, member: "phase0", complain };
        consumer.run(&Shutdown::new(), Duration::ZERO)
    });
    let polled = alerter.clone();
    thread::spawn(move || {
        loop {
            let _ = polled.evaluate(phase0::now());
            thread::sleep(Duration::from_secs(seconds.max(1)));
        }
    });

    println!("phase 0 listens on http://127.0.0.1:{port} and stores to {file}");
    let rest = |request: &Request<'_>| Response::from(answer(request, &*engine, &*alerter));
    let server = SequentialIngest::new(IngestConfig::default(), Some(log));
    let site = Site { listener, rest: &rest, middleware: &Bare, shutdown: Shutdown::new() };
    server.serve(&site).map_err(|e| e.to_string())
}

fn default_rule() -> Rule {
    Rule {
        name: "HighCpu".to_owned(),
        expr: "cpu_usage > 90".to_owned(),
        for_ms: 0,
        labels: BTreeMap::new(),
        annotations: BTreeMap::from([("summary".to_owned(), "the CPU is busy".to_owned())]),
    }
}

/// Everything but `POST /metrics`.
fn answer(
    request: &Request<'_>,
    engine: &dyn QueryEngine,
    alerter: &dyn Alerter,
) -> Result<Response, ApiError> {
    let failed = |e: contracts::alert::AlertError| ApiError::new(500, "alerting_failed", e.to_string());
    match (request.method, request.path) {
        ("GET", "/health") => Ok(Response::text(200, "ok\n")),
        ("GET", "/query") => query(request, engine),
        ("GET", "/rules") => {
            Ok(Response::json(200, &BTreeMap::from([("rules", alerter.rules().map_err(failed)?)])))
        }
        ("GET", "/alerts") => {
            Ok(Response::json(200, &BTreeMap::from([("alerts", alerter.alerts().map_err(failed)?)])))
        }
        (method, "/health" | "/query" | "/rules" | "/alerts") => {
            Err(ApiError::method_not_allowed(method, request.path, "GET"))
        }
        (method, "/metrics") => Err(ApiError::method_not_allowed(method, request.path, "POST")),
        _ => {
            Err(ApiError::new(404, "no_such_path", "there is /metrics, /query, /rules, /alerts and /health"))
        }
    }
}

/// `GET /query?name=SELECTOR&start=MS&end=MS`: raw points, the last five minutes if no times are given.
fn query(request: &Request<'_>, engine: &dyn QueryEngine) -> Result<Response, ApiError> {
    let time = |name: &str, default: i64| match request.param(name) {
        None => Ok(default),
        Some(text) => text
            .parse()
            .map_err(|_| ApiError::new(400, "bad_parameter", format!("{name} must be milliseconds"))),
    };
    let name = request.param("name").ok_or_else(|| ApiError::new(400, "bad_parameter", "name is missing"))?;
    let now = phase0::now();
    let range = TimeRange::new(time("start", now.0 - 300_000)?, time("end", now.0)?);
    let found = engine.points(&name, range).map_err(|e| match e {
        QueryError::Bad { at, why } => ApiError::bad_input("bad_query", at, why),
        e => ApiError::new(422, "query_failed", e.to_string()),
    })?;
    let series: Vec<String> = found
        .iter()
        .map(|s| {
            let label =
                |(n, v): (&str, &str)| format!("{}:{}", phase0::json::quote(n), phase0::json::quote(v));
            let labels: Vec<_> = s.labels.view().iter().map(label).collect();
            let points: Vec<_> = s
                .timestamps
                .iter()
                .zip(&s.values)
                .map(|(t, v)| format!("[{t},\"{}\"]", format_value(*v)))
                .collect();
            format!("{{\"labels\":{{{}}},\"points\":[{}]}}", labels.join(","), points.join(","))
        })
        .collect();
    let body = format!("{{\"name\":{},\"series\":[{}]}}", phase0::json::quote(&name), series.join(","));
    Ok(Response::body(200, "application/json", body.into_bytes()))
}
