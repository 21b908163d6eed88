//! The agent: collects samples each second and posts them, through the front door like everybody else.
//!
//! What it collects from is a [`Collector`]: this machine, or any endpoint in Prometheus's format. While the
//! server is away it buffers, up to a bound, and then tries again less and less often.

pub mod exposition;
mod host;
mod scrape;
mod sender;

pub use host::HostCollector;
pub use scrape::ScrapeCollector;
pub use sender::{Sender, SenderStats};

use contracts::{TimestampMs, ingest::Shutdown};
use std::{
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How often a sleeping agent looks whether it should end.
const GLANCE: Duration = Duration::from_millis(20);

/// One collected sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Collected {
    /// Metric name.
    pub name: String,
    /// Labels.
    pub labels: Vec<(String, String)>,
    /// Value.
    pub value: f64,
    /// Its own time; the time of the collection if it has none.
    pub timestamp: Option<TimestampMs>,
}

/// Where samples come from.
pub trait Collector: Send {
    /// Everything there is to say now.
    ///
    /// # Errors
    /// Why nothing could be collected; the agent says so and goes on.
    fn collect(&mut self) -> Result<Vec<Collected>, String>;
}

/// How an agent behaves.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// From one collection to the next.
    pub interval: Duration,
    /// Stop after so many collections.
    pub rounds_max: Option<u64>,
    /// How long, after the stop, to go on trying to deliver what is buffered.
    pub drain_max: Duration,
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self { interval: Duration::from_secs(1), rounds_max: None, drain_max: Duration::from_secs(2) }
    }
}

/// An agent in a thread of its own.
pub struct Agent {
    shutdown: Shutdown,
    thread: JoinHandle<SenderStats>,
}

impl Agent {
    /// Starts collecting.
    ///
    /// # Errors
    /// If the operating system gives no thread.
    pub fn start(
        collector: Box<dyn Collector>,
        sender: Sender,
        config: AgentConfig,
    ) -> std::io::Result<Self> {
        let shutdown = Shutdown::new();
        let seen = shutdown.clone();
        let spawn = thread::Builder::new().name("agent".to_owned());
        let thread = spawn.spawn(move || run(collector, sender, &config, &seen))?;
        Ok(Self { shutdown, thread })
    }

    /// Whether it has done all its rounds.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Ends it, after it has tried to deliver what it holds.
    pub fn stop(self) -> SenderStats {
        self.shutdown.set();
        // A panic there is a bug here: it must not look like an agent that had nothing to say.
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn run(
    mut collector: Box<dyn Collector>,
    mut sender: Sender,
    config: &AgentConfig,
    shutdown: &Shutdown,
) -> SenderStats {
    let begun = Instant::now();
    let (mut ticks, mut rounds) = (0, 0);
    while !shutdown.is_set() && config.rounds_max.is_none_or(|max| rounds < max) {
        // Against the start, not the last round, so that the rounds do not drift.
        let due = config.interval.saturating_mul(ticks).saturating_sub(begun.elapsed());
        if !due.is_zero() {
            sender.deliver_due();
            thread::sleep(GLANCE.min(due));
            continue;
        }
        // A collection that took too long makes the next ones late: those are left out rather than crowded in.
        let elapsed = begun.elapsed().as_micros() / config.interval.as_micros().max(1);
        ticks = ticks.max(u32::try_from(elapsed).unwrap_or(u32::MAX)).saturating_add(1);
        rounds += 1;
        match collector.collect() {
            Ok(samples) => sender.push(&samples, phase0::now()),
            Err(e) => tracing::warn!(target: "agent", "nothing collected: {e}"),
        }
        sender.deliver_due();
    }
    sender.drain(config.drain_max);
    sender.stats()
}
