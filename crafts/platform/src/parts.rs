//! What the slots of a node were filled with: an implementation by name, or a client of a service by URL, each with
//! counters around it.

use crate::{
    meter::{Metered, Meters},
    node::{NodeConfig, Role, STORAGE_GROUP, StartError},
    remote::{Client, RemoteAlerter, RemoteLog, RemoteQuery, RemoteStorage},
    slots::{Choice, QueueSetup, choose},
};
use contracts::{
    alert::Alerter,
    ingest::Shutdown,
    query::QueryEngine,
    queue::{Ack, Log, LogError, Partition},
    storage::{SeriesReader, Storage},
};
use std::sync::Arc;

/// The name of what sits in a slot that is filled from elsewhere.
const REMOTE: &str = "remote";

/// What the slots were filled with, as far as the roles need it.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) meters: Arc<Meters>,
    pub(crate) log: Option<Arc<dyn Log>>,
    /// Whether the log is in this process, and not a client of another.
    pub(crate) owns_log: bool,
    /// When a 202 may be sent.
    pub(crate) ack: Ack,
    /// Set while a log that stops waits for its consumers.
    pub(crate) draining: Shutdown,
    /// Set when the node stops: nobody is to be kept waiting any more.
    pub(crate) stopping: Shutdown,
    pub(crate) storage: Option<Arc<dyn Storage>>,
    pub(crate) engine: Option<Arc<dyn QueryEngine>>,
    pub(crate) alerter: Option<Arc<dyn Alerter>>,
    /// For the page: what sits in each slot.
    pub(crate) filled: Vec<(Role, String, String)>,
    /// Services that this node cannot do without.
    upstreams: Vec<Client>,
}

impl Parts {
    /// Nothing yet.
    fn new() -> Self {
        Self {
            meters: Arc::default(),
            log: None,
            owns_log: false,
            ack: Ack::Memory,
            draining: Shutdown::new(),
            stopping: Shutdown::new(),
            storage: None,
            engine: None,
            alerter: None,
            filled: Vec::new(),
            upstreams: Vec::new(),
        }
    }

    /// Fills every slot that the roles of this node need.
    pub(crate) fn open(config: &NodeConfig) -> Result<Self, StartError> {
        let mut parts = Self::new();
        let has = |roles: &[Role]| roles.iter().any(|r| config.roles.contains(r));
        if has(&[Role::Ingest]) {
            let choice =
                choose("ingest", &config.slots.ingest, config.chosen.get(&Role::Ingest).map(String::as_str));
            parts.note(Role::Ingest, choice.map_err(StartError::Config)?);
        }
        if has(&[Role::Ingest, Role::Queue, Role::Storage]) {
            let log = parts.fill(
                config,
                Role::Queue,
                &config.slots.queue,
                |c| Arc::new(remote_log(config, c)) as Arc<dyn Log>,
                |open| open(&QueueSetup { dir: &config.data_dir, options: config.log }),
            )?;
            parts.owns_log = parts.filled.last().is_some_and(|(_, name, _)| name != REMOTE);
            if has(&[Role::Ingest]) {
                parts.ack = ack_of(config, log.as_ref(), parts.owns_log)?;
            }
            parts.log = Some(Arc::new(Metered { meters: parts.meters.clone(), inner: log }));
        }
        if has(&[Role::Storage, Role::Query]) {
            let storage = parts.fill(
                config,
                Role::Storage,
                &config.slots.storage,
                |c| Arc::new(RemoteStorage::new(c)) as Arc<dyn Storage>,
                |open| open(&config.data_dir),
            )?;
            parts.storage = Some(Arc::new(Metered { meters: parts.meters.clone(), inner: storage }));
        }
        if has(&[Role::Query, Role::Alert]) {
            let storage = parts.storage.clone();
            let engine = parts.fill(
                config,
                Role::Query,
                &config.slots.query,
                |c| Arc::new(RemoteQuery::new(c)) as Arc<dyn QueryEngine>,
                |open| Ok(open(storage.ok_or("a query engine needs a storage")? as Arc<dyn SeriesReader>)),
            )?;
            parts.engine = Some(Arc::new(Metered { meters: parts.meters.clone(), inner: engine }));
        }
        if has(&[Role::Alert]) {
            let engine = parts.engine.clone();
            let notifier = Arc::new(Metered { meters: parts.meters.clone(), inner: config.notifier.clone() });
            let alerter = parts.fill(
                config,
                Role::Alert,
                &config.slots.alert,
                |c| Arc::new(RemoteAlerter::new(c)) as Arc<dyn Alerter>,
                |open| Ok(open(engine.ok_or("an alerter needs a query engine")?, notifier)),
            )?;
            parts.alerter = Some(Arc::new(Metered { meters: parts.meters.clone(), inner: alerter }));
        }
        Ok(parts)
    }

    /// Fills one slot: with a client if it was chosen by URL, else with the implementation of that name.
    fn fill<T: ?Sized, F: ?Sized>(
        &mut self,
        config: &NodeConfig,
        slot: Role,
        choices: &[Choice<F>],
        remote: impl FnOnce(Client) -> Arc<T>,
        local: impl FnOnce(&F) -> Result<Arc<T>, String>,
    ) -> Result<Arc<T>, StartError> {
        let chosen = config.chosen.get(&slot).map(String::as_str);
        if let Some(url) = chosen.filter(|c| c.contains("://")) {
            let client = Client::new(url, config.token.as_deref()).map_err(StartError::Config)?;
            self.filled.push((slot, REMOTE.to_owned(), url.to_owned()));
            self.upstreams.push(client.clone());
            return Ok(remote(client));
        }
        let choice = choose(slot.as_str(), choices, chosen).map_err(StartError::Config)?;
        self.note(slot, choice);
        local(&choice.open).map_err(StartError::Config)
    }

    fn note<F: ?Sized>(&mut self, slot: Role, choice: &Choice<F>) {
        self.filled.push((slot, choice.name.clone(), choice.title.clone()));
    }

    /// Ready is who can reach everything that it needs.
    pub(crate) fn ready(&self) -> Result<(), String> {
        self.upstreams.iter().try_for_each(Client::ready)?;
        self.log
            .as_ref()
            .map_or(Ok(()), |log| log.bounds(Partition(0)).map(|_| ()).map_err(|e| e.to_string()))
    }
}

/// Who has not said how safe a sample must be gets what the service can, although it may not be there yet to be asked.
fn remote_log(config: &NodeConfig, client: Client) -> RemoteLog {
    let log = RemoteLog::new(client);
    if config.ack.is_none() { log.at_most() } else { log }
}

/// When a 202 may be sent: as was asked for, else once it is on disk, or what the log can where that is less.
fn ack_of(config: &NodeConfig, log: &dyn Log, owned: bool) -> Result<Ack, StartError> {
    // A queue service that cannot be asked yet may be able to do all: better its own refusal than a promise that was
    // weakened because it was late.
    let best = if owned || log.bounds(Partition(0)).is_ok() { log.ack_max() } else { Ack::Disk };
    let asked = config.ack.unwrap_or(best);
    if owned && asked > best {
        let e = LogError::AckTooStrong { asked, best };
        return Err(StartError::Config(format!("{e}; choose another with --ack or --queue")));
    }
    Ok(asked)
}

/// Records in the log that storage has not committed yet.
pub(crate) fn depth(log: &dyn Log) -> Result<u64, LogError> {
    (0..log.partitions()).try_fold(0, |sum, partition| {
        let bounds = log.bounds(Partition(partition))?;
        let done = log.committed(STORAGE_GROUP, Partition(partition))?.unwrap_or(bounds.start);
        Ok(sum + bounds.end.0.saturating_sub(done.0.max(bounds.start.0)))
    })
}
