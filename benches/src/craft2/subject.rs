//! The measured logs by name, and the messages that they are given.

use anyhow::{Context, Result};
use contracts::queue::{Ack, FetchLimit, Log, NewRecord, Offset, Partition, Producer, Records, Ticket};
use queue::{Codec, LogConfig};
use queue_phases::{CountedLog, Opened, PHASES};
use std::{path::Path, sync::Arc, time::Duration};

use super::loads::MESSAGE_BYTES;

/// Nothing here is waited for longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Messages that differ: more of them would measure the cache that they are copied from.
const MESSAGES: usize = 1000;

/// An open log, and what only it knows.
pub struct Subject {
    /// The log.
    pub log: Arc<dyn CountedLog>,
}

/// Whether there is a log of this name.
pub fn is_there(name: &str) -> bool {
    PHASES.iter().any(|phase| phase.name == name)
}

/// How a log is to be.
#[derive(Clone, Debug)]
pub struct Setting {
    /// How many partitions.
    pub partitions: u32,
    /// Groups that hold it.
    pub groups: Vec<String>,
    /// It drops what is older: so it writes into files that it uses again, as one that has run for a while does.
    pub retention_bytes_max: Option<u64>,
    /// What it does to the records that it is given.
    pub codec: Codec,
    /// Who is silent for longer is expelled, if not after the log's own time.
    pub heartbeat_timeout: Option<Duration>,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            partitions: 1,
            groups: Vec::new(),
            retention_bytes_max: None,
            codec: Codec::Raw,
            heartbeat_timeout: None,
        }
    }
}

impl Subject {
    /// Opens one in a directory.
    ///
    /// # Errors
    /// When there is none of this name, or it cannot be opened.
    pub fn open(name: &str, dir: &Path, setting: &Setting) -> Result<Self> {
        let default = LogConfig::for_groups(&[]);
        let config = LogConfig {
            partitions: setting.partitions,
            groups: setting.groups.clone(),
            retention_bytes_max: setting.retention_bytes_max,
            codec: setting.codec,
            heartbeat_timeout: setting.heartbeat_timeout.unwrap_or(default.heartbeat_timeout),
            ..default
        };
        let phase = PHASES.iter().find(|phase| phase.name == name);
        let phase = phase.with_context(|| format!("there is no log {name:?}"))?;
        let Opened { log, .. } = (phase.open)(dir, config)?;
        Ok(Self { log })
    }

    /// How often a file of it was synced since it was opened.
    pub fn syncs(&self) -> u64 {
        self.log.syncs()
    }

    /// The strongest promise that it can make.
    ///
    /// # Errors
    /// When it makes no producer.
    pub fn producer(&self) -> Result<Box<dyn Producer>> {
        Ok(self.log.producer(self.log.ack_max())?)
    }

    /// Puts so many bytes of messages into it, so many a commit, dealt out to its partitions; the last of them is on disk
    /// before this returns.
    ///
    /// # Errors
    /// When the log refuses them.
    pub fn fill(&self, messages: &Messages, bytes: u64, a_commit: usize) -> Result<()> {
        let mut producer = self.log.producer(self.log.ack_max().min(Ack::Os))?;
        let commits = bytes / (a_commit * MESSAGE_BYTES) as u64;
        for commit in 0..commits {
            let partition = Partition(u32::try_from(commit % u64::from(self.log.partitions()))?);
            let last = submit(&mut *producer, partition, messages, a_commit)?;
            // Each by itself: what waits together may become one frame.
            settle(&mut *producer, last)?;
        }
        let mut last = self.producer()?;
        let ticket = submit(&mut *last, Partition(0), messages, 1)?;
        settle(&mut *last, ticket)
    }
}

/// Lines as agents send them, each as long as a message is: alike as such lines are, and no two the same.
#[derive(Clone, Debug)]
pub struct Messages {
    all: Vec<[u8; MESSAGE_BYTES]>,
}

impl Messages {
    /// Of this seed.
    pub fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        Self { all: (0..MESSAGES).map(|number| message(&mut random, number)).collect() }
    }

    /// One of them.
    pub fn get(&self, number: usize) -> &[u8] {
        &self.all[number % self.all.len()]
    }
}

fn message(random: &mut fastrand::Rng, number: usize) -> [u8; MESSAGE_BYTES] {
    let mut value = || random.u32(0..100_000);
    let text = format!(
        "cpu,host=web-{:03},dc=fra1 user={},system={},idle={},wait={},steal={} {}",
        number % 100,
        f64::from(value()) / 1000.0,
        f64::from(value()) / 1000.0,
        f64::from(value()) / 1000.0,
        f64::from(value()) / 1000.0,
        value(),
        1_763_700_000_000_000_000_u64 + number as u64 * 1_000_000,
    );
    let mut bytes = [b' '; MESSAGE_BYTES];
    let text = &text.as_bytes()[..text.len().min(MESSAGE_BYTES)];
    bytes[..text.len()].copy_from_slice(text);
    bytes
}

/// Submits so many messages and flushes; returns the last ticket.
///
/// # Errors
/// When the log refuses one.
pub fn submit(
    producer: &mut dyn Producer,
    partition: Partition,
    messages: &Messages,
    count: usize,
) -> Result<Ticket> {
    let last = match count {
        1 => producer.submit(NewRecord { partition, payload: messages.get(0) })?,
        _ => producer.submit_all(partition, &(0..count).map(|n| messages.get(n)).collect::<Vec<_>>())?,
    };
    producer.flush()?;
    Ok(last)
}

/// Waits until all up to this ticket is acknowledged.
///
/// # Errors
/// When the log fails, or takes for ever.
pub fn settle(producer: &mut dyn Producer, upto: Ticket) -> Result<()> {
    let settled = producer.wait(upto, PATIENCE)?;
    anyhow::ensure!(settled >= upto, "nothing was acknowledged for {} s", PATIENCE.as_secs());
    // Nobody here wants to know, and the log must not have to remember.
    producer.placed(&mut Vec::new());
    Ok(())
}

/// Reads a partition from its begin to its end; returns records and their bytes.
///
/// # Errors
/// When it cannot be read.
pub fn read_all(
    log: &dyn Log,
    partition: Partition,
    mut each: impl FnMut(Offset, &[u8]),
) -> Result<(u64, u64)> {
    let bounds = log.bounds(partition)?;
    let limit = FetchLimit { records_max: 10_000, ..FetchLimit::default() };
    let (mut next, mut records, mut bytes, mut fetched) = (bounds.start, 0, 0, Records::new());
    while next < bounds.end {
        log.fetch(partition, next, limit, &mut fetched)?;
        let (last, _) = fetched.iter().last().context("a partition ends before its end")?;
        fetched.iter().for_each(|(offset, payload)| each(offset, payload));
        next = Offset(last.0 + 1);
        records += fetched.len() as u64;
        bytes += fetched.bytes() as u64;
    }
    Ok((records, bytes))
}

#[cfg(test)]
mod tests {
    use super::{super::loads::LAST, *};
    use std::collections::BTreeSet;

    #[test]
    fn messages_follow_from_their_seed_and_differ() {
        let (one, same, other) = (Messages::new(1), Messages::new(1), Messages::new(2));
        assert_eq!(one.all, same.all);
        assert_ne!(one.all, other.all);
        assert_eq!(one.all.iter().collect::<BTreeSet<_>>().len(), MESSAGES);
    }

    #[test]
    fn what_fills_a_log_is_all_there() {
        let directory = tempfile::tempdir().unwrap();
        let setting = Setting { partitions: 3, ..Setting::default() };
        let subject = Subject::open(LAST, directory.path(), &setting).unwrap();
        subject.fill(&Messages::new(7), 128 * 1000, 10).unwrap();
        let read = |partition| read_all(&*subject.log, Partition(partition), |_, _| ()).unwrap().0;
        assert_eq!((0..3).map(read).sum::<u64>(), 1001, "and the one that is synced");
        assert!(subject.syncs() > 0);
    }
}
