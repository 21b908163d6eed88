//! wrk, the generator that everybody knows: a second opinion on what our own says.

use crate::{
    tool::Pinning,
    traffic::{Requests, Traffic},
};
use anyhow::{Context, Result, bail, ensure};
use load_tester::{format::FormatName, sample::Identity};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

/// A name of the length that the tester's runs have.
const SAMPLE_NAME: &str = "load_0123456789ab";

/// wrk with a request of its own.
#[derive(Debug)]
pub struct Wrk {
    program: PathBuf,
    script: PathBuf,
    _directory: TempDir,
}

impl Wrk {
    /// wrk sending this; it has one body and sends it again and again.
    ///
    /// # Errors
    /// When its script cannot be written.
    pub fn new(program: &Path, traffic: &Traffic) -> Result<Self> {
        let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
        let script = directory.path().join("post.lua");
        fs::write(&script, lua(traffic.pipeline)?).context("cannot write wrk's script")?;
        Ok(Self { program: program.to_owned(), script, _directory: directory })
    }

    /// Loads a server, for whole seconds, on the generator's core.
    ///
    /// # Errors
    /// When wrk fails, or saw failures.
    pub fn run(&self, pinning: &Pinning, port: u16, traffic: &Traffic, seconds: f64) -> Result<Requests> {
        let mut command: Command = pinning.generator(&self.program);
        command.args(["-t1", &format!("-c{}", traffic.connections), &format!("-d{:.0}s", seconds.ceil())]);
        command.args(["--latency", "-s"]).arg(&self.script).arg(format!("http://127.0.0.1:{port}/metrics"));
        let output = command.output().with_context(|| format!("cannot run {}", self.program.display()))?;
        ensure!(output.status.success(), "wrk: {}", String::from_utf8_lossy(&output.stderr).trim());
        parse(&String::from_utf8_lossy(&output.stdout), traffic.pipeline)
    }
}

/// The request is built once: without a `request` function it costs wrk nothing, and with one that returns the same text
/// next to nothing.
fn lua(pipeline: u32) -> Result<String> {
    let sample = Identity { name: SAMPLE_NAME.to_owned(), seed: 1, base_ms: 1_700_000_000_000 };
    let mut body = FormatName::Json.format().body(&sample.name, 37, 1);
    body.set(0, sample.timestamp_ms(0), sample.value(37, 0));
    let body = std::str::from_utf8(body.bytes())?;
    let mut script = format!(
        "wrk.method = \"POST\"\nwrk.body = [[{body}]]\nwrk.headers[\"Content-Type\"] = \"application/json\"\n"
    );
    if pipeline > 1 {
        script.push_str(&format!(
            "local all\nfunction init(args)\n  all = string.rep(wrk.format(), {pipeline})\nend\n\
             function request()\n  return all\nend\n"
        ));
    }
    Ok(script)
}

/// `12 requests in 3.00s`, `Requests/sec: 4.0`, and the percentiles — which, with several requests in one write, are
/// those of the first answer of each bundle, and left out.
fn parse(text: &str, pipeline: u32) -> Result<Requests> {
    if let Some(complaint) = text.lines().find(|l| l.contains("Non-2xx") || l.contains("Socket errors")) {
        bail!("wrk had failures: {}", complaint.trim());
    }
    let summary =
        text.lines().find(|line| line.contains(" requests in ")).context("wrk's answer has no count")?;
    let count: u64 = summary.split_whitespace().next().unwrap_or_default().parse().context("wrk's count")?;
    let rate = text.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
    let rate: f64 =
        rate.context("wrk's answer has no rate")?.trim().parse().context("wrk's rate is not a number")?;
    let latency_us = if pipeline > 1 { BTreeMap::new() } else { percentiles(text) };
    Ok(Requests {
        seconds: count as f64 / rate.max(1e-9),
        started: count,
        answered: count,
        ok: count,
        success_percent: 100.0,
        ok_per_s: rate,
        by_status: BTreeMap::from([("2xx".to_owned(), count)]),
        latency_us,
        ..Requests::default()
    })
}

fn percentiles(text: &str) -> BTreeMap<String, f64> {
    let line = |line: &str| {
        let (percent, value) = line.trim().split_once("% ")?;
        let percent: u32 = percent.parse().ok()?;
        Some((format!("p{percent}"), microseconds(value.trim())?))
    };
    text.lines().filter_map(line).collect()
}

/// `412.00us`, `1.02ms`, `1.10s`.
fn microseconds(text: &str) -> Option<f64> {
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6)];
    units.into_iter().find_map(|(unit, us)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * us))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Running 3s test @ http://127.0.0.1:1/metrics
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   412.61us   80.44us   3.04ms   84.70%
    Req/Sec   150.10k     2.50k  155.00k    70.00%
  Latency Distribution
     50%  412.00us
     75%  448.00us
     90%    1.02ms
     99%    1.10s
  450300 requests in 3.00s, 50.00MB read
Requests/sec: 150100.25
Transfer/sec:     16.60MB
";

    #[test]
    fn wrks_answer_is_read() {
        let requests = parse(TEXT, 1).unwrap();
        assert_eq!(requests.ok, 450_300);
        assert!((requests.ok_per_s - 150_100.25).abs() < 1e-9);
        assert_eq!(requests.latency("p50"), Some(412.0));
        assert_eq!(requests.latency("p90"), Some(1020.0));
        assert_eq!(requests.latency("p99"), Some(1_100_000.0));
        assert!(parse(TEXT, 16).unwrap().latency_us.is_empty());
    }

    #[test]
    fn a_rate_of_failures_is_refused() {
        assert!(parse(&format!("  Non-2xx or 3xx responses: 5\n{TEXT}"), 1).is_err());
        assert!(parse(&format!("  Socket errors: connect 1, read 0\n{TEXT}"), 1).is_err());
        assert!(parse("nothing", 1).is_err());
    }

    #[test]
    fn wrks_body_is_a_sample_that_a_server_takes() {
        let script = lua(1).unwrap();
        let (_, rest) = script.split_once("[[").unwrap();
        let body = rest.split_once("]]").unwrap().0;
        assert_eq!(body.len(), 113);
        let sample: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(sample["timestamp"], 1_700_000_000_000_i64);
        assert!(sample["value"].as_f64().unwrap() >= 100.0);
    }

    #[test]
    fn a_pipelined_request_is_written_as_often_as_was_asked() {
        assert!(!lua(1).unwrap().contains("function"));
        assert!(lua(16).unwrap().contains("string.rep(wrk.format(), 16)"));
    }
}
