//! Whether to believe the figures: was it the server that was measured, or the tester?

use serde::Serialize;

use crate::run::Outcome;
use crate::schedule::Shape;
use crate::tally::Failure;
use crate::workload::{Load, Workload};

/// An event loop that has used this share of a processor had no time to wait for the server.
pub const THREAD_CPU_MAX: f64 = 0.90;

/// A tester that sends so late, in the 99th percentile and by its own fault, no longer keeps its schedule.
pub const LAG_MS_MAX: f64 = 5.0;

/// A soak whose last fifth is slower than its first by this factor has drifted.
pub const DRIFT_FACTOR_MAX: f64 = 1.5;

/// What the tester has to say about its own figures.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verdict {
    /// The tester itself was the bottleneck: the figures are its own and not the server's.
    pub tester_saturated: bool,
    /// The schedule asked for more than the clients could carry: the server was too slow, or they are too few.
    pub clients_exhausted: bool,
    /// Requests that were due and never begun.
    pub not_begun: u64,
    /// The largest share of a processor that an event loop used.
    pub thread_cpu_max: Option<f64>,
    /// How late the tester was by its own fault, 99th percentile.
    pub lag_p99_ms: Option<f64>,
    /// Soak: p99 of the last fifth of the seconds over that of the first.
    pub drift: Option<f64>,
    /// The same, in words.
    pub notes: Vec<String>,
}

impl Verdict {
    /// Judges an outcome.
    pub fn of(workload: &Workload, outcome: &Outcome) -> Self {
        let mut verdict = Self {
            thread_cpu_max: outcome.thread_cpu.iter().flatten().copied().reduce(f64::max),
            lag_p99_ms: outcome.lag.as_ref().map(|lag| lag.value_at_quantile(0.99) as f64 / 1e6),
            not_begun: not_begun(workload, outcome),
            ..Self::default()
        };
        verdict.judge_cpu(outcome);
        verdict.judge_lag();
        verdict.judge_backlog(workload, outcome);
        verdict.judge_pipeline(workload, outcome);
        verdict.judge_drift(workload, outcome);
        verdict
    }

    fn judge_cpu(&mut self, outcome: &Outcome) {
        let busy = outcome.thread_cpu.iter().flatten().filter(|cpu| **cpu >= THREAD_CPU_MAX).count();
        if busy > 0 {
            self.tester_saturated = true;
            let of = outcome.thread_cpu.len();
            self.notes.push(format!(
                "The tester was the bottleneck: {busy} of its {of} event loops used {:.0} % or more of a processor. \
                 Give it more --threads or another machine; the server may be faster than this.",
                THREAD_CPU_MAX * 100.0
            ));
        }
    }

    fn judge_lag(&mut self) {
        if let Some(lag) = self.lag_p99_ms.filter(|lag| *lag > LAG_MS_MAX) {
            self.tester_saturated = true;
            self.notes.push(format!(
                "The tester could not keep its schedule: by its own fault 1 % of the requests left {lag:.1} ms late \
                 or more (bound {LAG_MS_MAX} ms). Lower --rate, give it more --threads or an idle machine."
            ));
        }
    }

    fn judge_backlog(&mut self, workload: &Workload, outcome: &Outcome) {
        self.clients_exhausted = outcome.clients_exhausted && self.not_begun > 0;
        if self.not_begun > 0 {
            let asked = workload.requests_asked().unwrap_or(0);
            self.notes.push(format!(
                "{} of {asked} requests were due and never begun{}. The latencies below do not contain them.",
                self.not_begun,
                if self.clients_exhausted {
                    ": every client was waiting for an answer, so the server was too slow or --clients too few"
                } else {
                    ""
                }
            ));
        }
    }

    fn judge_pipeline(&mut self, workload: &Workload, outcome: &Outcome) {
        let cut_off = outcome.tally.failures[Failure::Closed as usize];
        if workload.pipeline > 1 && cut_off > 0 && outcome.tally.reconnects > 0 {
            self.notes.push(format!(
                "The server closed connections on which more requests were on their way: {cut_off} went without an \
                 answer. It may not keep connections alive; try without --pipeline."
            ));
        }
    }

    fn judge_drift(&mut self, workload: &Workload, outcome: &Outcome) {
        let Load::Open { shape: Shape::Soak { .. }, .. } = workload.load else { return };
        let p99: Vec<f64> = outcome.seconds.iter().map(|second| second.p99_us).collect();
        let fifth = p99.len() / 5;
        if fifth == 0 {
            return;
        }
        let first = median(&p99[..fifth]);
        let last = median(&p99[p99.len() - fifth..]);
        let drift = last / first.max(1.0);
        self.drift = Some(drift);
        if drift > DRIFT_FACTOR_MAX {
            self.notes.push(format!(
                "Latency drifted: p99 of the last fifth is {drift:.1} times that of the first."
            ));
        }
    }
}

fn not_begun(workload: &Workload, outcome: &Outcome) -> u64 {
    workload.requests_asked().map_or(0, |asked| asked.saturating_sub(outcome.tally.started))
}

/// The middle value; the upper one of two.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}
