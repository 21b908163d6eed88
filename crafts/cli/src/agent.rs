//! `craft agent`: collect here, deliver there.

use crate::style::out;
use anyhow::{Context, Result, ensure};
use clap::Args;
use platform::{
    agent::{Agent, AgentConfig, Collector, HostCollector, ScrapeCollector, Sender},
    remote::Client,
};
use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// Arguments of `craft agent`.
#[derive(Args)]
pub(crate) struct AgentArgs {
    /// Post to the ingestion at this base URL.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// Instead of this machine, collect from an endpoint in Prometheus's text format.
    #[arg(long, value_name = "URL")]
    scrape: Option<String>,
    /// The label `job` of scraped samples.
    #[arg(long, default_value = "scrape")]
    job: String,
    /// Seconds from one collection to the next.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    interval: f64,
    /// Stop after this many collections.
    #[arg(long, value_name = "N")]
    rounds: Option<u64>,
    /// The server's token.
    #[arg(long, value_name = "TOKEN", env = "CRAFT_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// At the end, print what became of the samples as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs until Ctrl-C, or until its rounds are done. Fails if samples were lost.
pub(crate) fn run(args: &AgentArgs) -> Result<ExitCode> {
    let client = Client::new(&args.url, args.token.as_deref()).map_err(anyhow::Error::msg)?;
    let collector: Box<dyn Collector> = match &args.scrape {
        Some(url) => Box::new(ScrapeCollector::new(url, &args.job).map_err(anyhow::Error::msg)?),
        None => Box::new(HostCollector::new().map_err(anyhow::Error::msg)?),
    };
    let interval =
        Duration::try_from_secs_f64(args.interval).context("--interval must be a number of seconds")?;
    let allowed = Duration::from_millis(10)..=Duration::from_secs(86_400);
    ensure!(allowed.contains(&interval), "--interval must be between 0.01 seconds and a day");
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // A second Ctrl-C ends at once, delivered or not.
        signal_hook::flag::register_conditional_shutdown(signal, 130, stop.clone())?;
        signal_hook::flag::register(signal, stop.clone())?;
    }
    eprintln!("collecting from {} for {}", args.scrape.as_deref().unwrap_or("this machine"), args.url);
    let config = AgentConfig { interval, rounds_max: args.rounds, ..AgentConfig::default() };
    let agent = Agent::start(collector, Sender::new(&client), config)?;
    while !stop.load(Ordering::Relaxed) && !agent.is_finished() {
        thread::sleep(Duration::from_millis(20));
    }
    let stats = agent.stop();
    if args.json {
        out!("{}", serde_json::to_string(&stats)?);
    } else {
        out!("{} samples delivered, {} refused", stats.delivered_samples, stats.refused_samples);
    }
    let lost = stats.overflowed_samples + stats.buffered_samples;
    if lost > 0 {
        eprintln!("{lost} samples could not be delivered: the server was away");
    }
    Ok(if lost + stats.refused_samples > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
