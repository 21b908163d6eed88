//! The report: one structure, four ways to show it.
//!
//! The JSON form is versioned ([`SCHEMA`]) and complete: the other forms show what it holds, and the histograms
//! in it let anybody compute other percentiles later.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::provenance::Provenance;
use crate::run::{Outcome, Second, microseconds};
use crate::tally::{FAILURES, HISTOGRAM_DIGITS, Tally};
use crate::verdict::Verdict;
use crate::verify::Verified;
use crate::workload::Workload;

mod chart;
mod csv;
mod html;
mod text;

pub use csv::csv;
pub use html::html;
pub use text::text;

/// The JSON form's name and version. Fields may be added under it; a change of meaning gets a new number.
pub const SCHEMA: &str = "systems-craft/load/1";

/// A run, told in full.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// This program's version.
    pub version: &'static str,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// The words of the command, without the token.
    pub command_line: Vec<String>,
    /// Machine, commit, compiler.
    #[serde(flatten)]
    pub provenance: Provenance,
    /// What was asked for.
    pub workload: Workload,
    /// Whether it was cut short by a signal.
    pub interrupted: bool,
    /// What came of it.
    pub result: Summary,
    /// Whether to believe it.
    pub verdict: Verdict,
    /// Whether what was accepted arrived, where that was asked.
    pub verified: Option<Verified>,
    /// Second by second.
    pub seconds: Vec<Second>,
    /// Latency over percentile, for charts: `[percentile, µs]`.
    pub spectrum: Vec<(f64, f64)>,
    /// The same from when requests were really begun; open loop only. What lies between the two curves is what
    /// a closed loop would have left out.
    pub service_spectrum: Option<Vec<(f64, f64)>>,
    /// Every latency that was recorded.
    pub latency_histogram: Counts,
    /// The same from when requests were really begun; open loop only.
    pub service_histogram: Option<Counts>,
}

/// The figures.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// From the first request to the last answer.
    pub elapsed_ms: f64,
    /// Requests that the workload asks for, where that is known beforehand.
    pub requests_asked: Option<u64>,
    /// Requests that were begun.
    pub requests_started: u64,
    /// Requests that were answered.
    pub answered: u64,
    /// Requests that were answered 2xx.
    pub ok: u64,
    /// Requests that were given up without an answer.
    pub unanswered: u64,
    /// `ok` in percent of the requests asked for, or begun where that is not known.
    pub success_percent: f64,
    /// Open loop: the rate asked for, averaged over the run.
    pub rate_asked: Option<f64>,
    /// Answers a second.
    pub rate_achieved: f64,
    /// Samples accepted a second.
    pub samples_per_second: f64,
    /// Answers by status code.
    pub by_status: BTreeMap<String, u64>,
    /// Requests without an answer, by reason.
    pub failures: BTreeMap<&'static str, u64>,
    /// What the operating system said of one of them.
    pub last_failure: Option<String>,
    /// Connections opened.
    pub connections: u64,
    /// Connections opened in place of one that was meant to be kept.
    pub reconnects: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// From when a request was meant to be sent to its answer.
    pub latency_us: Latency,
    /// From when a request was really begun to its answer; open loop only.
    pub service_us: Option<Latency>,
    /// Each event loop's share of a processor, 0 to 1.
    pub thread_cpu: Vec<Option<f64>>,
}

/// A distribution in eight numbers, in µs.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latency {
    /// The shortest.
    pub min: f64,
    /// The average.
    pub mean: f64,
    /// Half were at most this.
    pub p50: f64,
    /// 90 % were at most this.
    pub p90: f64,
    /// 99 % were at most this.
    pub p99: f64,
    /// 99.9 % were at most this.
    #[serde(rename = "p99.9")]
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

/// A histogram in compact form: only what was hit.
#[derive(Clone, Debug, Serialize)]
pub struct Counts {
    /// `ns`.
    pub unit: &'static str,
    /// How many digits of a value hold.
    pub significant_digits: u8,
    /// `[value, count]`, ascending; a value is the highest that falls into the same bucket.
    pub counts: Vec<(u64, u64)>,
}

impl Report {
    /// Puts together all that there is to tell.
    pub fn new(
        workload: &Workload,
        outcome: &Outcome,
        verdict: Verdict,
        verified: Option<Verified>,
        command_line: Vec<String>,
        provenance: Provenance,
        interrupted: bool,
    ) -> Self {
        Self {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            started_at: started_at(outcome),
            command_line,
            provenance,
            workload: workload.clone(),
            interrupted,
            result: Summary::new(workload, outcome, interrupted),
            verdict,
            verified,
            seconds: outcome.seconds.clone(),
            spectrum: spectrum(&outcome.latency),
            service_spectrum: outcome.service.as_ref().map(spectrum),
            latency_histogram: Counts::new(&outcome.latency),
            service_histogram: outcome.service.as_ref().map(Counts::new),
        }
    }
}

impl Summary {
    fn new(workload: &Workload, outcome: &Outcome, interrupted: bool) -> Self {
        let tally = &outcome.tally;
        let elapsed_s = outcome.elapsed_ns as f64 / 1e9;
        let asked = workload.requests_asked();
        let base = asked.filter(|_| !interrupted).unwrap_or(tally.started);
        Self {
            elapsed_ms: outcome.elapsed_ns as f64 / 1e6,
            requests_asked: asked,
            requests_started: tally.started,
            answered: tally.answered(),
            ok: tally.ok(),
            unanswered: tally.unanswered(),
            success_percent: 100.0 * tally.ok() as f64 / base.max(1) as f64,
            rate_asked: asked
                .zip(workload.duration())
                .map(|(asked, duration)| asked as f64 / duration.as_secs_f64()),
            rate_achieved: tally.answered() as f64 / elapsed_s,
            samples_per_second: (tally.ok() * workload.batch as u64) as f64 / elapsed_s,
            by_status: by_status(tally),
            failures: FAILURES.map(|failure| (failure.key(), tally.failures[failure as usize])).into(),
            last_failure: tally.last_failure.clone(),
            connections: tally.connections,
            reconnects: tally.reconnects,
            bytes_out: tally.bytes_out,
            bytes_in: tally.bytes_in,
            latency_us: Latency::new(&outcome.latency),
            service_us: outcome.service.as_ref().map(Latency::new),
            thread_cpu: outcome.thread_cpu.clone(),
        }
    }
}

impl Latency {
    fn new(histogram: &Histogram<u64>) -> Self {
        let quantile = |quantile| microseconds(histogram.value_at_quantile(quantile));
        Self {
            min: microseconds(histogram.min()),
            mean: histogram.mean() / 1000.0,
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            p999: quantile(0.999),
            max: microseconds(histogram.max()),
        }
    }

    /// With the names that a reader knows.
    fn named(&self) -> [(&'static str, f64); 7] {
        [
            ("min", self.min),
            ("mean", self.mean),
            ("p50", self.p50),
            ("p90", self.p90),
            ("p99", self.p99),
            ("p99.9", self.p999),
            ("max", self.max),
        ]
    }
}

impl Counts {
    fn new(histogram: &Histogram<u64>) -> Self {
        let counts = histogram.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value()));
        Self { unit: "ns", significant_digits: HISTOGRAM_DIGITS, counts: counts.collect() }
    }
}

/// What became of the connections, in words.
fn connections(report: &Report) -> &'static str {
    match (report.workload.keep_alive, &report.result) {
        (false, _) => "a connection each",
        (true, result) if closes(result.connections, result.reconnects, result.answered) => {
            "asked for keep-alive; the server closes"
        }
        (true, _) => "keep-alive",
    }
}

/// Whether the server most often closed after one answer. A connection that is closed now and then, after many requests
/// or in an outage, is kept.
fn closes(connections: u64, reconnects: u64, answered: u64) -> bool {
    reconnects > 0 && answered < connections.saturating_mul(2)
}

/// Complete, one line's width left to the reader's tools.
pub fn json(report: &Report) -> String {
    let mut json = serde_json::to_string_pretty(report).unwrap_or_else(|error| {
        // Only a map with keys that are not strings, or a failing Serialize, gets here: a bug.
        unreachable!("the report is plain data: {error}")
    });
    json.push('\n');
    json
}

fn started_at(outcome: &Outcome) -> String {
    let time =
        jiff::Timestamp::try_from(outcome.started_at).and_then(|time| time.round(jiff::Unit::Millisecond));
    time.map_or_else(|_| "unknown".to_owned(), |time| time.to_string())
}

fn by_status(tally: &Tally) -> BTreeMap<String, u64> {
    let seen = tally.by_status.iter().enumerate().filter(|(_, count)| **count > 0);
    seen.map(|(status, count)| (status.to_string(), *count)).collect()
}

/// Ten steps to each halving of what remains, so that the tail has as many points as the body.
const STEPS_PER_HALF_DISTANCE: u32 = 10;

fn spectrum(latency: &Histogram<u64>) -> Vec<(f64, f64)> {
    if latency.is_empty() {
        return Vec::new();
    }
    let steps = latency.iter_quantiles(STEPS_PER_HALF_DISTANCE);
    steps.map(|step| (step.quantile_iterated_to() * 100.0, microseconds(step.value_iterated_to()))).collect()
}

#[cfg(test)]
mod tests {
    use super::closes;

    #[test]
    fn a_server_that_closes_after_each_answer_is_told_from_one_that_does_so_now_and_then() {
        assert!(closes(500, 499, 500), "one client");
        assert!(closes(2000, 1950, 2000), "fifty clients");
        assert!(!closes(50, 0, 50), "one request each, and nobody came again");
        assert!(!closes(60, 10, 2000), "ten of fifty connections were closed");
        assert!(!closes(1, 0, 1));
    }
}
