//! The phases: which variant fills each slot. Read downwards, each line differs from the one above in one slot.

use crate::{
    commit::sync_each::SyncEach,
    groups::one_reader::OneReader,
    store::{file_per_message::FilePerMessage, memory::Memory, write_ahead_log::WriteAheadLog},
    transfer::copied::Copied,
};
use contracts::queue::Log;
use queue::{
    LogConfig, OpenError, Recovery,
    commit::GroupCommit,
    groups::ConsumerGroups,
    log::Queue,
    outside::Outside,
    slots::{Commit, Groups, Store, Transfer},
    store::Segments,
};
use std::{path::Path, sync::Arc};

/// A list in memory.
pub type Phase0 = Queue<Memory, SyncEach, OneReader, Copied>;
/// A file for each message.
pub type Phase1 = Queue<FilePerMessage, SyncEach, OneReader, Copied>;
/// One file that grows.
pub type Phase2 = Queue<WriteAheadLog, SyncEach, OneReader, Copied>;
/// Segments with an index.
pub type Phase3 = Queue<Segments, SyncEach, OneReader, Copied>;
/// One sync for everybody who waits.
pub type Phase4 = Queue<Segments, GroupCommit, OneReader, Copied>;
/// Groups of several members.
pub type Phase5 = Queue<Segments, GroupCommit, ConsumerGroups, Copied>;
/// Batches that are packed, and sent as they lie: the production log.
pub type Phase6 = queue::FileLog;

/// A phase by name.
#[derive(Clone, Copy)]
pub struct Phase {
    /// As it is asked for: `phase3`.
    pub name: &'static str,
    /// What it is, in a few words.
    pub title: &'static str,
    /// The types that fill its slots, as the compiler names them.
    pub types: fn() -> &'static str,
    /// Opens it in a directory.
    pub open: OpenPhase,
    /// Opens it on any disk.
    pub open_on: OpenPhaseOn,
}

/// Opens a log in a directory, or begins one there.
pub type OpenPhase = fn(&Path, LogConfig) -> Result<Opened, OpenError>;
/// The same on any disk.
pub type OpenPhaseOn = fn(Outside, LogConfig) -> Result<Opened, OpenError>;

/// A log that was opened.
pub struct Opened {
    /// The log.
    pub log: Arc<dyn CountedLog>,
    /// What was found when it was opened.
    pub recovery: Recovery,
}

/// A log that counts what is dear.
pub trait CountedLog: Log {
    /// How often it has synced a file, or a directory in place of one, since it was opened.
    fn syncs(&self) -> u64;
}

impl<S: Store, C: Commit, G: Groups, T: Transfer> CountedLog for Queue<S, C, G, T> {
    fn syncs(&self) -> u64 {
        Self::syncs(self)
    }
}

/// All of them, from the naive to the best.
pub const PHASES: [Phase; 7] = [
    phase::<Phase0>("phase0", "a list in memory"),
    phase::<Phase1>("phase1", "a file per message"),
    phase::<Phase2>("phase2", "a write-ahead log"),
    phase::<Phase3>("phase3", "segments and an index"),
    phase::<Phase4>("phase4", "group commit"),
    phase::<Phase5>("phase5", "consumer groups"),
    phase::<Phase6>(queue::NAME, queue::TITLE),
];

/// What every composition can be made from.
pub trait Open: Log + Sized + 'static {
    /// Opens it in a directory.
    ///
    /// # Errors
    /// See [`OpenError`].
    fn open(dir: &Path, config: LogConfig) -> Result<Opened, OpenError>;

    /// Opens it on any disk.
    ///
    /// # Errors
    /// See [`OpenError`].
    fn open_on(outside: Outside, config: LogConfig) -> Result<Opened, OpenError>;
}

impl<S: Store, C: Commit, G: Groups, T: Transfer> Open for Queue<S, C, G, T> {
    fn open(dir: &Path, config: LogConfig) -> Result<Opened, OpenError> {
        Self::open(dir, config).map(opened)
    }

    fn open_on(outside: Outside, config: LogConfig) -> Result<Opened, OpenError> {
        Self::open_on(outside, None, config).map(opened)
    }
}

fn opened<L: CountedLog + 'static>((log, recovery): (L, Recovery)) -> Opened {
    Opened { log: Arc::new(log), recovery }
}

/// A composition under a name.
pub const fn phase<L: Open>(name: &'static str, title: &'static str) -> Phase {
    Phase { name, title, types: std::any::type_name::<L>, open: L::open, open_on: L::open_on }
}
