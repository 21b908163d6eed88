//! The five slots of the pipeline, and by which names they can be filled.
//!
//! Each list goes from the naive to the best; the last is the default. A learner's own component is one more
//! [`Choice`].

use crate::node::STORAGE_GROUP;
use contracts::{
    alert::{Alerter, Notifier},
    ingest::{Ingest, IngestConfig},
    query::QueryEngine,
    queue::Log,
    storage::{SeriesReader, Storage},
};
use phase0::{
    alert::PolledAlerter, ingest::SequentialIngest, query::SelectorEngine, queue::MemoryLog,
    storage::JsonLines,
};
use queue::{Codec, FileLog, LogConfig, OpenError, Recovery};
use std::{path::Path, sync::Arc, time::Duration};

/// One way to fill a slot.
pub struct Choice<F: ?Sized> {
    /// As it is asked for: `phase0`.
    pub name: String,
    /// What it is, in a few words, for the page.
    pub title: String,
    /// Makes it.
    pub open: Arc<F>,
}

// By hand, since a derived one would ask for `F: Clone`, which the `Arc` around it does not need.
impl<F: ?Sized> Clone for Choice<F> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), title: self.title.clone(), open: self.open.clone() }
    }
}

impl<F: ?Sized> Choice<F> {
    /// A named way to fill a slot.
    pub fn new(name: &str, title: &str, open: Arc<F>) -> Self {
        Self { name: name.to_owned(), title: title.to_owned(), open }
    }
}

/// What a log is told.
#[derive(Clone, Copy, Debug)]
pub struct QueueSetup<'a> {
    /// It keeps what it has to keep below this.
    pub dir: &'a Path,
    /// How it is to be.
    pub options: LogOptions,
}

/// How a log is to be, where it has the choice: the forms before craft 2's last have not all of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogOptions {
    /// How many partitions at least. `None`: as many as it has, and one if it is new.
    pub partitions: Option<u32>,
    /// A member of a consumer group that was silent for so long is expelled, where a group can have several. `None`: what
    /// the log takes for right.
    pub heartbeat_timeout: Option<Duration>,
    /// A log that is larger drops its oldest records, whoever has not read them. `None`: it keeps what a group has yet to
    /// read, and takes nothing more when it is full.
    pub retention_bytes_max: Option<u64>,
    /// Records that are older are dropped, whoever has not read them. `None`: however old.
    pub retention_age_max: Option<Duration>,
    /// Whether records that come one by one are packed.
    pub compress: bool,
}

impl LogOptions {
    fn config(self) -> LogConfig {
        let config = LogConfig::for_groups(&[STORAGE_GROUP]);
        LogConfig {
            partitions: self.partitions.unwrap_or(config.partitions),
            heartbeat_timeout: self.heartbeat_timeout.unwrap_or(config.heartbeat_timeout),
            retention_bytes_max: self.retention_bytes_max,
            retention_age_max: self.retention_age_max,
            codec: if self.compress { Codec::Lz4 } else { Codec::Raw },
            ..config
        }
    }
}

/// Makes a server; without a log it is an HTTP engine only.
pub type OpenIngest = dyn Fn(IngestConfig, Option<Arc<dyn Log>>) -> Arc<dyn Ingest> + Send + Sync;
/// Makes a log.
pub type OpenQueue = dyn Fn(&QueueSetup<'_>) -> Result<Arc<dyn Log>, String> + Send + Sync;
/// Makes a storage below a directory.
pub type OpenStorage = dyn Fn(&Path) -> Result<Arc<dyn Storage>, String> + Send + Sync;
/// Makes an engine over a storage.
pub type OpenQuery = dyn Fn(Arc<dyn SeriesReader>) -> Arc<dyn QueryEngine> + Send + Sync;
/// Makes an alerter over an engine.
pub type OpenAlert = dyn Fn(Arc<dyn QueryEngine>, Arc<dyn Notifier>) -> Arc<dyn Alerter> + Send + Sync;

/// Every choice for every slot.
#[derive(Clone)]
pub struct Slots {
    /// Craft 1.
    pub ingest: Vec<Choice<OpenIngest>>,
    /// Craft 2.
    pub queue: Vec<Choice<OpenQueue>>,
    /// Craft 3.
    pub storage: Vec<Choice<OpenStorage>>,
    /// Craft 4.
    pub query: Vec<Choice<OpenQuery>>,
    /// Craft 5.
    pub alert: Vec<Choice<OpenAlert>>,
}

impl Default for Slots {
    fn default() -> Self {
        Self {
            ingest: vec![
                // The tutorial's own server. `phase0` is the name of the same design in slots, where there are phases.
                Choice::new(
                    "phase0-std",
                    "one request at a time, standard library alone",
                    Arc::new(|config, log| Arc::new(SequentialIngest::new(config, log)) as _),
                ),
                Choice::new(
                    ingest::NAME,
                    ingest::TITLE,
                    Arc::new(|config, log| Arc::new(ingest::Final::new(config, log)) as _),
                ),
            ],
            queue: vec![
                // The tutorial's own log. `phase0` is the name of the same design in slots, where there are phases.
                Choice::new(
                    "phase0-std",
                    "a list behind a mutex, standard library alone",
                    Arc::new(|setup: &QueueSetup<'_>| {
                        one_partition(setup)?;
                        Ok(Arc::new(MemoryLog::for_groups(&[STORAGE_GROUP])) as _)
                    }),
                ),
                Choice::new(
                    queue::NAME,
                    queue::TITLE,
                    Arc::new(|setup: &QueueSetup<'_>| {
                        open_queue(setup, "queue", |dir, config| {
                            FileLog::open(dir, config).map(|(log, found)| (Arc::new(log) as _, found))
                        })
                    }),
                ),
            ],
            storage: vec![Choice::new("phase0", "JSON lines, scanned", Arc::new(open_json_lines))],
            query: vec![Choice::new(
                "phase0",
                "selectors and comparisons",
                Arc::new(|storage| Arc::new(SelectorEngine::new(storage)) as _),
            )],
            alert: vec![Choice::new(
                "phase0",
                "polled, told again each time",
                Arc::new(|engine, notifier| Arc::new(PolledAlerter::new(engine, notifier)) as _),
            )],
        }
    }
}

/// For logs that cannot have more.
///
/// # Errors
/// What to do instead.
pub fn one_partition(setup: &QueueSetup<'_>) -> Result<(), String> {
    match setup.options.partitions {
        None | Some(1) => Ok(()),
        Some(asked) => Err(format!("this queue has one partition, not {asked}; choose another with --queue")),
    }
}

/// Opens a log in its own directory below that of the node, with as many partitions as it has, or as are asked for.
/// What was found there is told where it matters.
///
/// # Errors
/// A sentence for who starts it.
pub fn open_queue(
    setup: &QueueSetup<'_>,
    name: &str,
    open: impl Fn(&Path, LogConfig) -> Result<(Arc<dyn Log>, Recovery), OpenError>,
) -> Result<Arc<dyn Log>, String> {
    let dir = setup.dir.join(name);
    let config = setup.options.config();
    let opened = match open(&dir, config.clone()) {
        Err(OpenError::FewerPartitions { found, .. }) if setup.options.partitions.is_none() => {
            open(&dir, LogConfig { partitions: found, ..config })
        }
        opened => opened,
    };
    let (log, found) = opened.map_err(|e| format!("cannot open the queue: {e}"))?;
    if found.cut.is_some() || !found.gaps.is_empty() || found.groups_lost.is_some() {
        tracing::warn!("{found}");
    } else {
        tracing::debug!("{found}");
    }
    Ok(log)
}

fn open_json_lines(dir: &Path) -> Result<Arc<dyn Storage>, String> {
    let path = dir.join("phase0.jsonl");
    JsonLines::open(&path).map(|s| Arc::new(s) as _).map_err(|e| format!("{}: {e}", path.display()))
}

/// The choice of this name; the best one if no name is given.
///
/// # Errors
/// A sentence that lists the names there are.
pub fn choose<'c, F: ?Sized>(
    slot: &str,
    choices: &'c [Choice<F>],
    name: Option<&str>,
) -> Result<&'c Choice<F>, String> {
    let found = match name {
        None => choices.last(),
        Some(name) => choices.iter().find(|c| c.name == name),
    };
    found.ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|c| c.name.as_str()).collect();
        let url = if slot == "ingest" { "" } else { " or give a URL" };
        format!("there is no {slot} {:?}; choose from {}{url}", name.unwrap_or(""), names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_is_the_default_and_a_wrong_name_lists_the_right_ones() {
        let slots = Slots::default();
        assert_eq!(choose("queue", &slots.queue, None).map(|c| c.name.clone()), Ok(queue::NAME.to_owned()));
        let error = choose("queue", &slots.queue, Some("phase99")).map(|_| ()).unwrap_err();
        assert!(error.contains("phase99") && error.contains("phase0"), "{error}");
    }
}
