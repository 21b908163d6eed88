//! `craft up` and `craft serve`: a node in the foreground until Ctrl-C.

use crate::style::{Tone, out, paint, say};
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use contracts::{
    alert::{Rule, RuleStatus},
    queue::Ack,
};
use platform::{Node, NodeConfig, Role, slots::LogOptions};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// How often the foreground looks for a signal.
const GLANCE: Duration = Duration::from_millis(50);

/// What every node may be told.
#[derive(Args)]
struct Common {
    /// Keep everything that stays in this directory; it is made if it is not there.
    #[arg(long, value_name = "DIR", default_value = "data")]
    data: PathBuf,
    /// Implementation of ingestion: a name. A wrong one lists those there are.
    #[arg(long, value_name = "NAME")]
    ingest: Option<String>,
    /// Implementation of the queue: a name, or the URL of a queue service.
    #[arg(long, value_name = "NAME|URL")]
    queue: Option<String>,
    /// Implementation of storage: a name, or the URL of a storage service.
    #[arg(long, value_name = "NAME|URL")]
    storage: Option<String>,
    /// Implementation of the query engine: a name, or the URL of a query service.
    #[arg(long, value_name = "NAME|URL")]
    query: Option<String>,
    /// Implementation of alerting: a name.
    #[arg(long, value_name = "NAME")]
    alert: Option<String>,
    /// Ask clients for this token. Needed to listen beyond this machine.
    #[arg(long, value_name = "TOKEN", env = "CRAFT_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Cut the log into at least so many partitions, which the members of a consumer group share. Without it: as many as it
    /// has, and one if it is new.
    #[arg(long, value_name = "COUNT")]
    partitions: Option<u32>,
    /// Expel a member of a consumer group that was silent for so long, and give its partitions to the others. Without it:
    /// ten seconds.
    #[arg(long, value_name = "SECONDS")]
    heartbeat_timeout: Option<f64>,
    /// Drop the oldest records of a log that is larger, whoever has not read them; a whole segment of it stays. Without it a
    /// log keeps what a consumer group has yet to read, and refuses more when it is full.
    #[arg(long, value_name = "BYTES")]
    retain_bytes: Option<u64>,
    /// Drop records that are older, whoever has not read them. Without it: however old.
    #[arg(long, value_name = "SECONDS")]
    retain_seconds: Option<f64>,
    /// Pack batches with lz4 before they are written: less on the disk, for time of who writes.
    #[arg(long)]
    compress: bool,
    /// When to answer 202: once the batch is in memory (lost with the process), at the operating system (survives
    /// kill -9) or on disk (survives a power cut). Without it: disk, or the most that the queue can.
    #[arg(long, value_enum)]
    ack: Option<AckArg>,
    /// Evaluate the rules every so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    evaluate_every: f64,
    /// Rules as JSON, `[{"name","expr",…}]`, instead of the ones built in.
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// Print what was started as one line of JSON, for machines.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum AckArg {
    Memory,
    Os,
    Disk,
}

/// Arguments of `craft up`.
#[derive(Args)]
pub(crate) struct UpArgs {
    /// Listen here; port 0 takes any free one.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Do not collect this machine's metrics.
    #[arg(long)]
    no_agent: bool,
    /// Show the journeys through the phases that bench runs wrote to this directory: craft1-journey.json and its like.
    #[arg(long, value_name = "DIR", default_value = "benches/results")]
    journeys: PathBuf,
    /// Serve the book from this directory, where `craft book` builds it.
    #[arg(long, value_name = "DIR", default_value = "target/book")]
    book: PathBuf,
    /// Show on the page how far the learner is whose labs are in this directory; without it, labs/work of the course's
    /// repository, if this is one.
    #[arg(long, value_name = "WORK")]
    labs: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// Arguments of `craft serve`.
#[derive(Args)]
pub(crate) struct ServeArgs {
    /// Which service.
    role: RoleArg,
    /// Listen here; without it each service has a port of its own, 8081 to 8085.
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    #[command(flatten)]
    common: Common,
}

#[derive(Clone, Copy, ValueEnum)]
enum RoleArg {
    Ingest,
    Queue,
    Storage,
    Query,
    Alert,
}

impl From<RoleArg> for Role {
    fn from(role: RoleArg) -> Self {
        match role {
            RoleArg::Ingest => Self::Ingest,
            RoleArg::Queue => Self::Queue,
            RoleArg::Storage => Self::Storage,
            RoleArg::Query => Self::Query,
            RoleArg::Alert => Self::Alert,
        }
    }
}

/// The whole pipeline.
pub(crate) fn up(args: &UpArgs) -> Result<ExitCode> {
    let mut config = NodeConfig::up(args.listen, args.common.data.clone());
    config.agent = !args.no_agent;
    config.journeys = Some(args.journeys.clone());
    config.book = Some(args.book.clone());
    config.progress = crate::lab::progress(args.labs.clone());
    args.common.apply(&mut config)?;
    foreground(&config, args.common.json)
}

/// One service, whose neighbours are where [`default_port`] says unless a URL says otherwise.
pub(crate) fn serve(args: &ServeArgs) -> Result<ExitCode> {
    let role = Role::from(args.role);
    let listen = args.listen.unwrap_or_else(|| ([127, 0, 0, 1], default_port(role)).into());
    let mut config = NodeConfig::serve(role, listen, args.common.data.clone());
    for upstream in upstreams(role) {
        config.chosen.insert(*upstream, format!("http://127.0.0.1:{}", default_port(*upstream)));
    }
    args.common.apply(&mut config)?;
    foreground(&config, args.common.json)
}

fn default_port(role: Role) -> u16 {
    match role {
        Role::Ingest => 8081,
        Role::Queue => 8082,
        Role::Storage => 8083,
        Role::Query => 8084,
        Role::Alert => 8085,
    }
}

/// Whom a service alone calls.
fn upstreams(role: Role) -> &'static [Role] {
    match role {
        Role::Queue => &[],
        Role::Ingest | Role::Storage => &[Role::Queue],
        Role::Query => &[Role::Storage],
        Role::Alert => &[Role::Query],
    }
}

impl Common {
    fn apply(&self, config: &mut NodeConfig) -> Result<()> {
        crate::phases::add(&mut config.slots);
        let chosen = [
            (Role::Ingest, &self.ingest),
            (Role::Queue, &self.queue),
            (Role::Storage, &self.storage),
            (Role::Query, &self.query),
            (Role::Alert, &self.alert),
        ];
        config.chosen.extend(chosen.into_iter().filter_map(|(role, name)| Some((role, name.clone()?))));
        config.token.clone_from(&self.token);
        config.log = self.log_options()?;
        config.ack = self.ack.map(|ack| match ack {
            AckArg::Memory => Ack::Memory,
            AckArg::Os => Ack::Os,
            AckArg::Disk => Ack::Disk,
        });
        config.evaluate_every = seconds_of(self.evaluate_every, "--evaluate-every")?;
        if let Some(path) = &self.rules {
            let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            config.rules = read_rules(&text).with_context(|| format!("{} holds no rules", path.display()))?;
        }
        Ok(())
    }

    fn log_options(&self) -> Result<LogOptions> {
        let some =
            |seconds: Option<f64>, option| seconds.map(|seconds| seconds_of(seconds, option)).transpose();
        Ok(LogOptions {
            partitions: self.partitions,
            heartbeat_timeout: some(self.heartbeat_timeout, "--heartbeat-timeout")?,
            retention_bytes_max: self.retain_bytes,
            retention_age_max: some(self.retain_seconds, "--retain-seconds")?,
            compress: self.compress,
        })
    }
}

fn seconds_of(seconds: f64, option: &str) -> Result<Duration> {
    let some = Duration::try_from_secs_f64(seconds).ok().filter(|duration| !duration.is_zero());
    some.with_context(|| format!("{option} must be a number of seconds above zero"))
}

/// A list of rules, or what `GET /rules` answers, which says more of each than is needed here.
fn read_rules(text: &[u8]) -> Result<Vec<Rule>> {
    #[derive(Deserialize)]
    struct Answer {
        rules: Vec<RuleStatus>,
    }
    if text.trim_ascii_start().starts_with(b"{") {
        let answer: Answer = serde_json::from_slice(text)?;
        return Ok(answer.rules.into_iter().map(|status| status.rule).collect());
    }
    Ok(serde_json::from_slice(text)?)
}

fn foreground(config: &NodeConfig, json: bool) -> Result<ExitCode> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // A second Ctrl-C ends the process at once, drained or not.
        signal_hook::flag::register_conditional_shutdown(signal, 130, stop.clone())?;
        signal_hook::flag::register(signal, stop.clone())?;
    }
    let node = Node::start(config)?;
    announce(config, &node, json);
    while !stop.load(Ordering::Relaxed) && node.is_serving() {
        thread::sleep(GLANCE);
    }
    let failed = !node.is_serving();
    // Whoever read our words may be gone, and its going must not keep what was taken from being stored.
    say("stopping; Ctrl-C again ends at once");
    let drained = node.stop();
    say(&drained.to_string());
    Ok(if failed || !drained.is_complete() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What was started, and where to look.
fn announce(config: &NodeConfig, node: &Node, json: bool) {
    let url = format!("http://{}", node.addr());
    let slots: BTreeMap<_, _> =
        node.filled().iter().map(|(role, name, _)| (role.as_str(), name.as_str())).collect();
    if json {
        out!("{}", serde_json::json!({"url": url, "data_dir": config.data_dir, "slots": slots}));
        return;
    }
    let whole = config.roles.len() == Role::ALL.len();
    let what = if whole { "the pipeline" } else { config.roles[0].as_str() };
    out!("{} serves on {}", paint(Tone::Strong, what), paint(Tone::Good, &url));
    for (role, name, title) in node.filled() {
        out!("  {:<8} {name:<8} {}", role.as_str(), paint(Tone::Faint, title));
    }
    out!("  {:<8} {}", "data", config.data_dir.display());
    if whole {
        out!("Open {url}/ for the live page. Send samples with POST {url}/metrics. Ctrl-C stops.");
    }
    if config.book.as_ref().is_some_and(|dir| dir.is_dir()) {
        out!("Read the book at {url}/book/.");
    }
}
