//! The four slots of the log, and what passes between them.
//!
//! ```text
//!            ┌──────────┐ frames ┌──────┐ append ┌───────┐
//! submit ───▶│ Transfer │───────▶│ line │───────▶│ Store │───▶ files
//!            └──────────┘        └──┬───┘  sync  │       │
//!                                 ┌─┴──────┐────▶│       │
//! flush, wait, settled ◀─────────▶│ Commit │◀────│       │ how far it is written, how far synced: `Marks`
//!                                 └────────┘     │       │
//!            ┌──────────┐ frames                 │       │
//! fetch  ◀───│ Transfer │◀───────────────────────│       │
//!            └──────────┘        ┌────────┐ done │       │
//! subscribe, commit ────────────▶│ Groups │─────▶│       │ what nobody needs any more
//!                                └────────┘      └───────┘
//! ```
//!
//! Each slot is one trait here and one file beside this one. The traits know nothing of what fills them: a file can be
//! replaced by another way to do the same, and nothing else changes. [`Queue`](crate::log::Queue) is what they are put
//! into; between the slots stand the [line](crate::line) of what was submitted and is not written, and the [marks](Marks).
//!
//! Batches are counted: each flush that publishes something is one, from 1. What is written and what is on disk is told
//! as the number of the last such batch, so that one number settles what any number of producers wait for. A log that
//! is replicated has one place more to put it: the commit slot proposes a batch and tells how far the others have it.

use crate::{
    batches::Batches,
    codec::Codec,
    disk::Disk,
    line::Pending,
    marks::Marks,
    offsets::Offsets,
    open::{LogConfig, OpenError, Recovery, Verified},
    outside::Outside,
};
use contracts::queue::{
    Ack, Assignment, Bounds, FetchLimit, GroupStatus, LogError, Membership, Offset, Partition, Records,
    Stored,
};
use parking_lot::Mutex;
use std::{sync::Arc, task::Waker, time::Instant};

/// Slot 1: where records lie, how they are found again, what a crash leaves of them, and when they go.
pub trait Store: Sized + Send + Sync + 'static {
    /// The strongest acknowledgement that it can give.
    const ACK_MAX: Ack;

    /// Opens what lies on the disk, or begins; says what a crash had left. Partitions are `config.partitions`.
    ///
    /// # Errors
    /// See [`OpenError`].
    fn open(outside: &Arc<Outside>, config: &LogConfig) -> Result<(Self, Recovery), OpenError>;

    /// Reads all of what lies on a disk and holds it against its checksums. Changes nothing; damage is no error.
    ///
    /// # Errors
    /// [`OpenError::NotVerifiable`] where there are none; [`OpenError::Io`].
    fn verify(disk: &dyn Disk) -> Result<Verified, OpenError> {
        Err(OpenError::NotVerifiable { path: disk.path("") })
    }

    /// How far it is.
    fn marks(&self) -> &Marks;

    /// Writes all that stands in the line, in its order, and tells the marks. What is written can be fetched.
    ///
    /// # Errors
    /// [`LogError::Full`]: what could not be written still waits, and trying again may help. [`LogError::Failed`]:
    /// nothing will, and the marks say so.
    fn append(&self, line: &Mutex<Pending>) -> Result<(), LogError>;

    /// Puts on disk what was written before, if anything was; tells the marks.
    ///
    /// # Errors
    /// [`LogError::Failed`]: nothing goes on, and the marks say so.
    fn sync(&self) -> Result<(), LogError>;

    /// What a partition holds. It exists.
    fn bounds(&self, partition: Partition) -> Bounds;

    /// Adds records from `from` on to `out`, which is empty; none if they are not there yet. `limit` is within bounds.
    ///
    /// # Errors
    /// [`LogError::OffsetOutOfRange`], [`LogError::Damaged`], [`LogError::Failed`].
    fn fetch(
        &self,
        partition: Partition,
        from: Offset,
        limit: FetchLimit,
        unpack: Unpack,
        out: &mut Records,
    ) -> Result<(), LogError>;

    /// The same as they lie in files, without a slice if they are not there yet; `None` if this store has no such form.
    ///
    /// # Errors
    /// As above.
    fn fetch_stored(
        &self,
        _partition: Partition,
        _from: Offset,
        _limit: FetchLimit,
    ) -> Result<Option<Stored>, LogError> {
        Ok(None)
    }

    /// Where to begin to read what was written at this time, in milliseconds since 1970, or later: at it or before. A
    /// store that keeps no times says: at the start.
    fn offset_at(&self, partition: Partition, _time_ms: u64) -> Offset {
        self.bounds(partition).start
    }

    /// What identified producers had sent before the log was opened: all that is remembered of it.
    fn batches(&self) -> Batches {
        Batches::default()
    }

    /// Drops what every group has passed; `done` says for each partition how far they all are.
    ///
    /// # Errors
    /// [`LogError::Failed`]: a file cannot be removed. The log goes on.
    fn retire_consumed(&self, done: &[u64]) -> Result<(), LogError>;

    /// Drops what is over the size or the age that the log was told. What cannot be removed now is tried again later.
    fn retire_by_policy(&self) {}
}

/// From the body of a stored frame, by its codec, to records (see [`Transfer::unpack`]).
pub type Unpack = for<'b> fn(codec: u8, body: &'b [u8], room: &'b mut Vec<u8>) -> Option<&'b [u8]>;

/// What is written, and the line of what is not.
#[derive(Debug)]
pub struct Journal<S> {
    /// Slot 1.
    pub store: S,
    /// What was submitted and waits.
    pub line: Mutex<Pending>,
}

impl<S: Store> Journal<S> {
    /// See [`Store::append`].
    ///
    /// # Errors
    /// As there.
    pub fn append(&self) -> Result<(), LogError> {
        self.store.append(&self.line)
    }

    /// How far the store is.
    pub fn marks(&self) -> &Marks {
        self.store.marks()
    }
}

/// Slot 2: when a batch is written and synced, by whom, and who waits for it.
pub trait Commit: Default + Send + Sync + 'static {
    /// A producer that wants `ack` flushes. `publish` puts its batch into the line, if it has one, and returns how many
    /// bytes stand there then. That nothing can be written now is no error: the batch waits.
    ///
    /// # Errors
    /// [`LogError::Failed`].
    fn flush<S: Store>(
        &self,
        journal: &Journal<S>,
        ack: Ack,
        publish: impl FnOnce(&Mutex<Pending>) -> usize,
    ) -> Result<(), LogError>;

    /// Writes what stands in the line, so that there is room in it.
    ///
    /// # Errors
    /// [`LogError::Full`], [`LogError::Failed`].
    fn write<S: Store>(&self, journal: &Journal<S>) -> Result<(), LogError>;

    /// The number of the last batch that is safe at this level. Every lower one is, too.
    fn reached<S: Store>(&self, journal: &Journal<S>, ack: Ack) -> u64;

    /// Waits until a batch is safe at a level; says whether it is.
    ///
    /// # Errors
    /// [`LogError::Failed`].
    fn wait<S: Store>(
        &self,
        journal: &Journal<S>,
        ack: Ack,
        batch: u64,
        deadline: Instant,
    ) -> Result<bool, LogError>;

    /// Somebody polls for what is not safe yet: sees to it that it will be, without waiting.
    fn call(&self);

    /// Has the producer of this number woken whenever something may have become safe; or no more.
    fn set_waker(&self, producer: u64, waker: Option<Waker>);

    /// The log's own thread, until [`Commit::close`].
    fn run<S: Store>(&self, journal: &Journal<S>);

    /// Ends the log's own thread.
    fn close(&self);
}

/// Slot 3: who is a member of which group, and who reads which partition. Without a clock: `now_ms` only ever grows.
///
/// How far the groups came stands in their [`Offsets`], which this slot keeps, since who may commit is its matter.
pub trait Groups: Sized + Send + 'static {
    /// Most members of a group.
    const MEMBERS_MAX: usize;

    /// Groups without members.
    fn new(setup: GroupsSetup, offsets: Offsets) -> Self;

    /// Which groups there are, and how far they came.
    fn offsets(&self) -> &Offsets;

    /// The same, to change it.
    fn offsets_mut(&mut self) -> &mut Offsets;

    /// See [`Log::subscribe`](contracts::queue::Log::subscribe).
    ///
    /// # Errors
    /// As there.
    fn subscribe(&mut self, group: &str, member: &str, now_ms: u64) -> Result<Membership, LogError>;

    /// See [`Log::rejoin`](contracts::queue::Log::rejoin).
    ///
    /// # Errors
    /// As there.
    fn rejoin(&mut self, membership: &Membership, now_ms: u64) -> Result<Membership, LogError>;

    /// See [`Log::heartbeat`](contracts::queue::Log::heartbeat).
    ///
    /// # Errors
    /// As there.
    fn heartbeat(&mut self, membership: &Membership, now_ms: u64) -> Result<u64, LogError>;

    /// See [`Log::leave`](contracts::queue::Log::leave).
    ///
    /// # Errors
    /// As there.
    fn leave(&mut self, membership: &Membership, now_ms: u64) -> Result<(), LogError>;

    /// See [`Log::assign`](contracts::queue::Log::assign).
    ///
    /// # Errors
    /// As there.
    fn assign(&mut self, group: &str, assignment: Assignment, now_ms: u64) -> Result<(), LogError>;

    /// Whether this member may commit for this partition now. It says that the member is alive, too.
    ///
    /// # Errors
    /// [`LogError::Fenced`].
    fn holds(&mut self, membership: &Membership, partition: Partition, now_ms: u64) -> Result<(), LogError>;

    /// Expels who was silent for too long; returns when the next one would have been, if there is any.
    fn expire(&mut self, now_ms: u64) -> Option<u64>;

    /// All groups, as far as is known here: of the lags only what was committed.
    fn status(&self, now_ms: u64) -> Vec<GroupStatus>;
}

/// What groups are told when a log is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupsSetup {
    /// The log's partitions.
    pub partitions: u32,
    /// A member that was silent for so long is expelled.
    pub heartbeat_timeout_ms: u64,
}

/// Slot 4: how a producer's records become a frame's body, and how they come out of it again; and whether a batch that
/// comes twice is one.
///
/// It has no state: what is done to a frame is done by the producer's own thread, or the reader's, outside of all locks.
pub trait Transfer: Send + Sync + 'static {
    /// Whether frames go to consumers as they lie, from the file to the socket.
    const GIVES_STORED: bool;
    /// Whether what a producer has packed itself is stored as it came.
    const KEEPS_PACKED: bool;
    /// Whether an identified batch that comes a second time is known again.
    const KNOWS_BATCHES: bool;

    /// `frame` has room for its head, then records. Makes of them the body that will be stored, and returns its codec.
    /// `room` is kept for its memory.
    fn pack(codec: Codec, frame: &mut Vec<u8>, room: &mut Vec<u8>) -> u8;

    /// From a body to its records; `None` if it is none of this codec. `room` is kept for its memory.
    fn unpack<'b>(codec: u8, body: &'b [u8], room: &'b mut Vec<u8>) -> Option<&'b [u8]>;
}
