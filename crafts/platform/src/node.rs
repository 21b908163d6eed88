//! A node: some of the five services in this process, wired together, served on one address.
//!
//! `craft up` is a node of all five; `craft serve queue` is a node of one. What a role needs and the node does
//! not run itself, it reaches by URL. Starting binds, opens and wires; [`Node::stop`] drains in the order of
//! the data's way: no more requests, then what is in the log goes to storage, then the rest may end.

use crate::{
    agent::{Agent, AgentConfig, HostCollector, Sender},
    consumer::{Consumed, Consumer},
    defaults::{LogNotifier, default_rules},
    parts::{Parts, depth},
    remote::Client,
    routes::{
        self, Route, Router,
        page::Teller,
        queue::{CONSUMES_WAITING_MAX, Patience},
    },
    slots::{LogOptions, Slots, choose},
    status::{gauges, status},
    telemetry::Telemetry,
};
use contracts::{
    alert::{Notifier, Rule},
    ingest::{IngestConfig, Shutdown, Site},
    queue::{Ack, Log},
    storage::SeriesWriter,
};
use std::{
    collections::BTreeMap,
    fmt, fs,
    hash::{DefaultHasher, Hash, Hasher},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock, Weak},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// The consumer group that fills storage.
pub const STORAGE_GROUP: &str = "storage";
/// How long a stop waits for the log to run empty.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// Shorter secrets are none.
const TOKEN_BYTES_MIN: usize = 8;
/// How often a sleeping thread looks whether it should end.
const GLANCE: Duration = Duration::from_millis(50);

/// One of the five services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Takes samples and appends them to a log.
    Ingest,
    /// Keeps the log.
    Queue,
    /// Consumes the log and keeps series.
    Storage,
    /// Answers queries from a storage.
    Query,
    /// Evaluates rules by queries, and tells people.
    Alert,
}

impl Role {
    /// All five, in the order of the data's way.
    pub const ALL: [Self; 5] = [Self::Ingest, Self::Queue, Self::Storage, Self::Query, Self::Alert];

    /// As it is written on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Queue => "queue",
            Self::Storage => "storage",
            Self::Query => "query",
            Self::Alert => "alert",
        }
    }
}

/// What to run, where, and with which implementations.
#[derive(Clone)]
pub struct NodeConfig {
    /// Which services.
    pub roles: Vec<Role>,
    /// Where to listen. Port 0 takes any free one.
    pub listen: SocketAddr,
    /// Where everything that stays is kept; made if it is not there.
    pub data_dir: PathBuf,
    /// For each slot the name of an implementation, or the URL of a service. What is absent is the best there is.
    pub chosen: BTreeMap<Role, String>,
    /// The names to choose from.
    pub slots: Slots,
    /// Asked of clients, and shown to other services. Needed where `listen` is not a loopback address.
    pub token: Option<String>,
    /// How the log is to be.
    pub log: LogOptions,
    /// When a 202 may be sent. `None`: at the best that the log can give.
    pub ack: Option<Ack>,
    /// How often the rules are evaluated.
    pub evaluate_every: Duration,
    /// The rules there are from the start.
    pub rules: Vec<Rule>,
    /// Who is told of alerts.
    pub notifier: Arc<dyn Notifier>,
    /// Whether this machine's own metrics are collected.
    pub agent: bool,
    /// Where bench runs wrote the journeys through the phases, for the page.
    pub journeys: Option<PathBuf>,
    /// Says how far a learner is in the course, for the page. Whoever starts the node knows of courses; it does not.
    pub progress: Option<Teller>,
    /// Where a book was built, or will be, to be served beside the page.
    pub book: Option<PathBuf>,
}

impl NodeConfig {
    /// All five on `listen`, with the page, the agent and the default rules: what `craft up` runs.
    pub fn up(listen: SocketAddr, data_dir: PathBuf) -> Self {
        Self {
            roles: Role::ALL.to_vec(),
            listen,
            data_dir,
            chosen: BTreeMap::new(),
            slots: Slots::default(),
            token: None,
            log: LogOptions::default(),
            ack: None,
            evaluate_every: Duration::from_secs(10),
            rules: default_rules(),
            notifier: Arc::new(LogNotifier),
            agent: true,
            journeys: None,
            progress: None,
            book: None,
        }
    }

    /// One service alone.
    pub fn serve(role: Role, listen: SocketAddr, data_dir: PathBuf) -> Self {
        Self { roles: vec![role], agent: false, ..Self::up(listen, data_dir) }
    }
}

/// Why a node did not start, in one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken, or not ours.
    #[error("cannot listen on {listen}: {why}")]
    Listen {
        /// What was asked for.
        listen: SocketAddr,
        /// What the operating system said, and what to do.
        why: String,
    },
    /// The data directory cannot be used.
    #[error("cannot keep data in {}: {why}", dir.display())]
    DataDir {
        /// The directory.
        dir: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A slot was not filled, or a rule was refused.
    #[error("{0}")]
    Config(String),
}

/// What a stop did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Drained {
    /// What the consumer did in its whole life, if this node had one.
    pub consumed: Option<Consumed>,
    /// Records that were still in the log at the end, if this node had one of its own.
    pub left: Option<u64>,
    /// Whether they are in files, where the next start finds them.
    pub kept: bool,
    /// Whether the consumer had ended before it was told to.
    pub broken: bool,
}

impl Drained {
    /// Whether nothing of what was taken is lost.
    pub fn is_complete(&self) -> bool {
        !self.broken && (self.kept || self.left.is_none_or(|left| left == 0))
    }
}

/// A running node.
pub struct Node {
    addr: SocketAddr,
    parts: Parts,
    router: Arc<Router>,
    /// Whether others may come and consume.
    serves_queue: bool,
    agent: Option<Agent>,
    server: Running<()>,
    consumer: Option<Running<Consumed>>,
    evaluator: Option<Running<()>>,
}

/// A thread that ends when it is told to, and is told to when nobody holds it any more.
struct Running<T> {
    shutdown: Shutdown,
    thread: Option<JoinHandle<T>>,
}

impl Node {
    /// Opens, wires and serves.
    ///
    /// # Errors
    /// See [`StartError`]. Nothing is left running then.
    pub fn start(config: &NodeConfig) -> Result<Self, StartError> {
        check_exposure(config)?;
        let listener = bind(config.listen)?;
        let addr = listener.local_addr().map_err(|e| StartError::Config(e.to_string()))?;
        prepare_dir(config)?;
        let parts = Parts::open(config)?;
        for rule in config.rules.iter().filter(|_| config.roles.contains(&Role::Alert)) {
            let put = parts.alerter.as_ref().map_or(Ok(()), |a| a.put_rule(rule.clone()));
            put.map_err(|e| StartError::Config(e.to_string()))?;
        }
        // A machine that tells nothing of itself can still carry other machines' samples.
        let collector = if config.agent { HostCollector::new() } else { Err(String::new()) };
        let consumer = if config.roles.contains(&Role::Storage) {
            start_consumer(&parts, &config.data_dir)?
        } else {
            None
        };
        let every = config.evaluate_every;
        let evaluator =
            if config.roles.contains(&Role::Alert) { start_evaluator(&parts, every)? } else { None };
        let (server, router) = start_server(config, &parts, listener)?;
        let serves_queue = config.roles == [Role::Queue];
        let mut node = Self { addr, parts, router, serves_queue, agent: None, server, consumer, evaluator };
        match collector {
            Ok(collector) => node.agent = Some(start_agent(addr, config.token.as_deref(), collector)?),
            Err(why) if config.agent => tracing::warn!("no metrics of this machine: {why}"),
            Err(_) => {}
        }
        Ok(node)
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What sits in each slot: slot, name, title.
    pub fn filled(&self) -> &[(Role, String, String)] {
        &self.parts.filled
    }

    /// What it answers.
    pub fn routes(&self) -> &[Route] {
        self.router.routes()
    }

    /// Whether all that must run does. The server ends by itself only if its listener fails, the consumer never.
    pub fn is_serving(&self) -> bool {
        self.server.is_running() && self.consumer.as_ref().is_none_or(Running::is_running)
    }

    /// Stops in the order of the data's way and returns when everything has.
    pub fn stop(mut self) -> Drained {
        if let Some(agent) = self.agent.take() {
            agent.stop();
        }
        let owned_log = self.parts.log.clone().filter(|_| self.parts.owns_log);
        if let Some(log) = owned_log.as_ref().filter(|_| self.serves_queue) {
            self.wait_for_consumers(log.as_ref());
        }
        self.stop_server();
        let had_consumer = self.consumer.is_some();
        let consumed = self.consumer.take().and_then(Running::stop);
        if let Some(evaluator) = self.evaluator.take() {
            evaluator.stop();
        }
        let kept = owned_log.as_ref().is_some_and(|log| log.ack_max() >= Ack::Os);
        let left = owned_log.and_then(|log| depth(log.as_ref()).ok());
        Drained { consumed, left, kept, broken: had_consumer && consumed.is_none() }
    }

    /// A log without its consumer in this process: it takes nothing more, and gives what it has for a while.
    fn wait_for_consumers(&self, log: &dyn Log) {
        self.parts.draining.set();
        let deadline = Instant::now() + DRAIN_MAX;
        while depth(log).is_ok_and(|left| left > 0) && Instant::now() < deadline {
            thread::sleep(GLANCE);
        }
    }

    fn stop_server(&mut self) {
        self.parts.stopping.set();
        self.server.shutdown.set();
        // A blocking accept sees the flag only when somebody comes in.
        drop(TcpStream::connect_timeout(&reachable(self.addr), Duration::from_secs(1)));
        let _ = self.server.thread.take().map(JoinHandle::join);
    }
}

/// Whoever only drops a node wants it gone as well, without being told what was drained.
impl Drop for Node {
    fn drop(&mut self) {
        if self.server.thread.is_some() {
            self.stop_server();
        }
    }
}

impl<T> Running<T> {
    fn spawn(name: &str, run: impl FnOnce(&Shutdown) -> T + Send + 'static) -> Result<Self, StartError>
    where
        T: Send + 'static,
    {
        let shutdown = Shutdown::new();
        let seen = shutdown.clone();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || run(&seen));
        let thread =
            thread.map_err(|e| StartError::Config(format!("cannot start the thread {name}: {e}")))?;
        Ok(Self { shutdown, thread: Some(thread) })
    }

    fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// `None` if the thread panicked.
    fn stop(mut self) -> Option<T> {
        self.shutdown.set();
        self.thread.take()?.join().ok()
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        self.shutdown.set();
    }
}

/// Beyond this machine, only with a token: what listens there can be written to by everybody.
fn check_exposure(config: &NodeConfig) -> Result<(), StartError> {
    if config.token.as_ref().is_some_and(|token| token.len() < TOKEN_BYTES_MIN) {
        let why = format!("a token needs at least {TOKEN_BYTES_MIN} bytes: anybody guesses a shorter one");
        return Err(StartError::Config(why));
    }
    if config.listen.ip().is_loopback() || config.token.is_some() {
        return Ok(());
    }
    let why = "others could reach it without a token; give --token or CRAFT_TOKEN, or listen on 127.0.0.1"
        .to_owned();
    Err(StartError::Listen { listen: config.listen, why })
}

fn bind(listen: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(listen).map_err(|e| {
        let advice = match e.kind() {
            std::io::ErrorKind::AddrInUse => {
                "; another program has this port: stop it, or choose one with --listen"
            }
            std::io::ErrorKind::PermissionDenied => {
                "; ports below 1024 need rights that this program should not have"
            }
            _ => "",
        };
        StartError::Listen { listen, why: format!("{e}{advice}") }
    })
}

/// Makes the directory and tries whether it can be written to, now rather than at the first sample.
fn prepare_dir(config: &NodeConfig) -> Result<(), StartError> {
    let dir = config.data_dir.clone();
    let probe = dir.join(".writable");
    let tried =
        fs::create_dir_all(&dir).and_then(|()| fs::write(&probe, b"")).and_then(|()| fs::remove_file(&probe));
    tried.map_err(|e| StartError::DataDir { dir, why: format!("{e}; choose another with --data") })
}

type Server = (Running<()>, Arc<Router>);

fn start_server(config: &NodeConfig, parts: &Parts, listener: TcpListener) -> Result<Server, StartError> {
    let late: Arc<OnceLock<Weak<Telemetry>>> = Arc::default();
    let router = Router::new(all_routes(config, parts, &late)).with_deferred(deferred(config, parts));
    let router = Arc::new(router);
    let telemetry = Arc::new(Telemetry::new(router.clone(), parts.meters.clone(), config.token.clone()));
    // Weak, since the telemetry holds the routes: what the node owned must be closed once it has stopped.
    let _ = late.set(Arc::downgrade(&telemetry));

    // The engine of a service without ingestion is the same server without a log.
    let name = config.chosen.get(&Role::Ingest).map(String::as_str).filter(|c| !c.contains("://"));
    let choice = choose("ingest", &config.slots.ingest, name).map_err(StartError::Config)?;
    let log = parts.log.clone().filter(|_| config.roles.contains(&Role::Ingest));
    let server = (choice.open)(IngestConfig { ack: parts.ack, ..IngestConfig::default() }, log);
    let shared = router.clone();
    let running = Running::spawn("http", move |shutdown| {
        let site = Site { listener, rest: &*router, middleware: &*telemetry, shutdown: shutdown.clone() };
        if let Err(e) = server.serve(&site) {
            tracing::error!("the server stopped: {e}");
        }
    })?;
    Ok((running, shared))
}

fn all_routes(config: &NodeConfig, parts: &Parts, telemetry: &Arc<OnceLock<Weak<Telemetry>>>) -> Vec<Route> {
    let mut all = routes::service::routes(
        Arc::new({
            let parts = parts.clone();
            move || parts.ready()
        }),
        gauges(parts),
        telemetry.clone(),
    );
    let has = |role: Role| config.roles.contains(&role);
    // Alone, the queue and the storage are services to others; in one process the storage is nobody's business, and the
    // queue is there to be looked at.
    let alone = config.roles.len() == 1;
    if has(Role::Ingest) {
        all.extend(routes::ingest::routes());
    }
    if let Some(log) = parts.log.as_ref().filter(|_| has(Role::Queue)) {
        let patience = patience(config, parts);
        let of_the_queue = if alone {
            routes::queue::routes(log, &patience)
        } else {
            routes::queue::reading(log, &patience)
        };
        all.extend(of_the_queue);
    }
    if let Some(storage) = parts.storage.as_ref().filter(|_| has(Role::Storage) && alone) {
        all.extend(routes::storage::routes(storage));
    }
    if let Some(engine) = parts.engine.as_ref().filter(|_| has(Role::Query)) {
        all.extend(routes::query::routes(engine));
    }
    if let Some(alerter) = parts.alerter.as_ref().filter(|_| has(Role::Alert)) {
        all.extend(routes::alert::routes(alerter));
    }
    if config.roles.len() == Role::ALL.len() {
        all.extend(routes::page::routes(
            status(config, parts),
            config.journeys.clone(),
            config.progress.clone(),
        ));
        all.extend(config.book.iter().flat_map(|dir| routes::book::routes(dir.clone())));
    }
    all
}

/// Long polls hold a thread each. The final engine has threads for that; of others it is not known.
fn patience(config: &NodeConfig, parts: &Parts) -> Patience {
    let is_final = config.chosen.get(&Role::Ingest).is_none_or(|name| name == ingest::NAME);
    Patience {
        draining: parts.draining.clone(),
        stopping: parts.stopping.clone(),
        consumes_waiting_max: if is_final { CONSUMES_WAITING_MAX } else { 0 },
    }
}

/// A queue in this process takes records in the server's own threads. A remote one would make them wait for its answers.
fn deferred(config: &NodeConfig, parts: &Parts) -> Option<routes::OpenDeferred> {
    let log = parts.log.clone().filter(|_| config.roles == [Role::Queue] && parts.owns_log)?;
    let draining = parts.draining.clone();
    Some(Box::new(move || routes::queue::deferred(log.clone(), draining.clone())))
}

fn start_consumer(parts: &Parts, data_dir: &Path) -> Result<Option<Running<Consumed>>, StartError> {
    let Some((log, storage)) = parts.log.clone().zip(parts.storage.clone()) else { return Ok(None) };
    let (member, meters) = (member_name(data_dir), parts.meters.clone());
    Running::spawn("consumer", move |shutdown| {
        let complain = &|message: &str| tracing::warn!("{message}");
        let lost = &|records| meters.storage_lost_records.add(records);
        let target: &dyn SeriesWriter = &*storage;
        let consumer =
            Consumer { log: &*log, storage: target, group: STORAGE_GROUP, member: &member, complain, lost };
        consumer.run(shutdown, DRAIN_MAX)
    })
    .map(Some)
}

/// The same whenever a storage starts on this directory of this machine: what its former self held is free at once, and
/// need not wait until the log has noticed that it is gone.
fn member_name(data_dir: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    sysinfo::System::host_name().unwrap_or_default().hash(&mut hasher);
    fs::canonicalize(data_dir).unwrap_or_else(|_| data_dir.to_owned()).hash(&mut hasher);
    format!("storage-{:016x}", hasher.finish())
}

fn start_evaluator(parts: &Parts, every: Duration) -> Result<Option<Running<()>>, StartError> {
    let Some(alerter) = parts.alerter.clone() else { return Ok(None) };
    Running::spawn("evaluator", move |shutdown| {
        while !shutdown.is_set() {
            let begun = Instant::now();
            if let Err(e) = alerter.evaluate(phase0::now()) {
                tracing::warn!("the rules were not evaluated: {e}");
            }
            while !shutdown.is_set() && begun.elapsed() < every {
                thread::sleep(GLANCE.min(every));
            }
        }
    })
    .map(Some)
}

/// Through the front door: what the agent sends takes the same way as everybody's samples.
fn start_agent(addr: SocketAddr, token: Option<&str>, collector: HostCollector) -> Result<Agent, StartError> {
    let client = Client::new(&format!("http://{}", reachable(addr)), token).map_err(StartError::Config)?;
    let started = Agent::start(Box::new(collector), Sender::new(&client), AgentConfig::default());
    started.map_err(|e| StartError::Config(format!("cannot start the agent: {e}")))
}

/// Where this machine reaches an address that may stand for all addresses.
fn reachable(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => ([127, 0, 0, 1], v4.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => ([0, 0, 0, 0, 0, 0, 0, 1], v6.port()).into(),
        other => other,
    }
}

/// As `craft up` says it after Ctrl-C.
impl fmt::Display for Drained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.consumed {
            None if self.broken => {
                f.write_str("the consumer had FAILED; what it had not committed is in the log")?
            }
            None => f.write_str("stopped")?,
            Some(Consumed { records, drained, damaged, lost, .. }) => {
                write!(f, "drained: {records} records stored, {drained} of them after the stop")?;
                if damaged > 0 {
                    write!(f, ", {damaged} of them were no batches and were passed over")?;
                }
                if lost > 0 {
                    write!(f, "; {lost} records were LOST in the queue")?;
                }
            }
        }
        match self.left {
            Some(0) | None => Ok(()),
            Some(left) if self.kept => write!(f, "; {left} records wait in the queue for the next start"),
            Some(left) => write!(f, "; {left} records are LEFT in the queue"),
        }
    }
}
