//! Delivers what was collected, in order, at least once; buffers while the server is away.
//!
//! A body that was answered by 202 is done. One that the server refuses for what it holds (400, 413, 422…) will
//! never be taken: it is dropped and said so. Everything else — no answer, 429, 5xx — is tried again later. The
//! server keeps one sample a series and millisecond, so a body that was taken twice does no harm.

use super::Collected;
use crate::remote::Client;
use contracts::{TimestampMs, query::format_value};
use serde::Serialize;
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Samples in one request.
const BODY_SAMPLES: usize = 2000;
/// The most that is held while the server is away; then the oldest goes.
const BUFFER_BYTES_MAX: usize = 64 << 20;
/// The longest that one delivery may take, so that an agent that is asked to stop soon does.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause after a failure doubles from the first to the second of these.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_LAST: Duration = Duration::from_secs(10);

/// What became of the samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SenderStats {
    /// Answered by 202.
    pub delivered_samples: u64,
    /// Refused for what they are, and dropped.
    pub refused_samples: u64,
    /// Dropped since the buffer was full.
    pub overflowed_samples: u64,
    /// Still held.
    pub buffered_samples: u64,
    /// Attempts that will be repeated.
    pub retries: u64,
}

/// Holds bodies until they are delivered.
pub struct Sender {
    client: Client,
    held: VecDeque<Body>,
    held_bytes: usize,
    stats: SenderStats,
    pause: Duration,
    next_try: Instant,
}

struct Body {
    json: Vec<u8>,
    samples: u64,
}

impl Sender {
    /// Delivers to the `POST /metrics` of this server.
    pub fn new(client: &Client) -> Self {
        let stats = SenderStats::default();
        Self {
            client: client.within(DELIVERY_TIMEOUT),
            held: VecDeque::new(),
            held_bytes: 0,
            stats,
            pause: RETRY_FIRST,
            next_try: Instant::now(),
        }
    }

    /// Takes samples; those without a time of their own get `collected_at`.
    pub fn push(&mut self, samples: &[Collected], collected_at: TimestampMs) {
        for chunk in samples.chunks(BODY_SAMPLES) {
            let metrics: Vec<_> = chunk.iter().map(|s| metric(s, collected_at)).collect();
            let json = json!({ "metrics": metrics }).to_string().into_bytes();
            self.held_bytes += json.len();
            self.held.push_back(Body { json, samples: chunk.len() as u64 });
        }
        while self.held_bytes > BUFFER_BYTES_MAX && self.held.len() > 1 {
            self.stats.overflowed_samples += self.pop();
        }
    }

    /// Delivers everything that can be delivered now.
    pub fn deliver_due(&mut self) {
        while !self.held.is_empty() && Instant::now() >= self.next_try {
            self.try_first();
        }
    }

    /// Goes on trying for about this long: no attempt begins later, and none takes longer.
    pub fn drain(&mut self, at_most: Duration) {
        let deadline = Instant::now() + at_most;
        self.client = self.client.within(at_most.max(Duration::from_millis(1)));
        while !self.held.is_empty() && Instant::now() < deadline {
            if Instant::now() >= self.next_try {
                self.try_first();
                continue;
            }
            let pause = self.next_try.min(deadline).saturating_duration_since(Instant::now());
            std::thread::sleep(pause.min(Duration::from_millis(20)));
        }
    }

    /// What became of the samples so far.
    pub fn stats(&self) -> SenderStats {
        let buffered_samples = self.held.iter().map(|b| b.samples).sum();
        SenderStats { buffered_samples, ..self.stats }
    }

    fn try_first(&mut self) {
        let Some(body) = self.held.front() else { return };
        match self.client.post("/metrics", "application/json", &body.json) {
            Ok(answer) if answer.is_success() => {
                if self.pause > RETRY_FIRST {
                    tracing::info!(target: "agent", "{} takes samples again", self.client.base());
                }
                self.stats.delivered_samples += self.pop();
                self.pause = RETRY_FIRST;
            }
            // The server took the time to say why: these samples will never be taken.
            Ok(answer)
                if (400..500).contains(&answer.status) && !matches!(answer.status, 401 | 403 | 408 | 429) =>
            {
                tracing::warn!(target: "agent", "{} samples were refused: {}", body.samples, answer.message());
                self.stats.refused_samples += self.pop();
            }
            Ok(answer) => {
                let wait = answer
                    .retry_after_s
                    .map_or(self.pause, |s| Duration::from_secs(s.into()).min(RETRY_LAST));
                self.back_off(wait, &answer.message());
            }
            Err(e) => self.back_off(self.pause, &e),
        }
    }

    fn back_off(&mut self, wait: Duration, why: &str) {
        if self.pause == RETRY_FIRST {
            tracing::warn!(target: "agent", "cannot deliver, holding samples and trying again: {why}");
        }
        self.stats.retries += 1;
        // Up to a quarter more, so that many agents do not come back at once.
        let jitter = wait.mul_f64(fastrand::f64() / 4.0);
        self.next_try = Instant::now() + wait + jitter;
        self.pause = (self.pause * 2).min(RETRY_LAST);
    }

    fn pop(&mut self) -> u64 {
        let body = self.held.pop_front();
        self.held_bytes -= body.as_ref().map_or(0, |b| b.json.len());
        body.map_or(0, |b| b.samples)
    }
}

fn metric(sample: &Collected, collected_at: TimestampMs) -> Value {
    let labels: serde_json::Map<_, _> = sample.labels.iter().map(|(n, v)| (n.clone(), json!(v))).collect();
    // JSON has no NaN and no infinity: the contract takes them as text.
    let value =
        if sample.value.is_finite() { json!(sample.value) } else { json!(format_value(sample.value)) };
    let timestamp = sample.timestamp.unwrap_or(collected_at);
    json!({"name": sample.name, "labels": labels, "value": value, "timestamp": timestamp})
}
