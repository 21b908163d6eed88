//! The contract's `Log`: what fills the slots, put together.
//!
//! A record stays until every group has committed past it, those that were declared at the opening even before they first
//! subscribe; then it may go. Without any group everything stays. A log that has reached its bound takes nothing more:
//! what it has acknowledged never vanishes, unless it was told to drop what is old or too much.

#[cfg(test)]
mod tests;

use crate::{
    codec::Codec,
    disk,
    line::Pending,
    offsets::{self, Offsets},
    open::{LogConfig, OpenError, Recovery, Verified, io_error},
    outside::Outside,
    producer::QueueProducer,
    slots::{Commit, Groups, GroupsSetup, Journal, Store, Transfer},
};
use contracts::{
    limits::{FETCH_BYTES_MAX, FETCH_RECORDS_MAX},
    queue::{
        Ack, Assignment, Bounds, FetchLimit, GroupStatus, Log, LogError, Membership, Offset, Partition,
        PartitionLag, Producer, Records, Stored,
    },
};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::{
    fmt,
    fs::{File, TryLockError},
    io,
    marker::PhantomData,
    path::Path,
    sync::{Arc, atomic::AtomicU64},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How often the groups' file is written at most, but for new generations.
const GROUPS_INTERVAL: Duration = Duration::from_secs(1);
/// The longest that one fetch waits, whatever was asked for.
const WAIT_MAX: Duration = Duration::from_secs(3600);
/// How often what is too old is looked for within the age that they may reach.
const LOOKS_IN_AN_AGE: u32 = 4;

/// One log in a directory, for all its partitions. Clones share it.
pub struct Queue<S: Store, C: Commit, G: Groups, T> {
    handle: Arc<Handle<S, C, G>>,
    transfer: PhantomData<fn() -> T>,
}

/// What a log and its producers hold; when the last is dropped, the log is closed.
pub(crate) struct Handle<S: Store, C: Commit, G: Groups> {
    pub(crate) shared: Arc<Shared<S, C, G>>,
    /// The log's own threads: one for the commit slot, one that looks after what only time brings.
    own: Vec<JoinHandle<()>>,
}

/// What the log, its producers and its own threads share.
///
/// Locks are taken in the order groups, store, line; that of the line is held to copy bytes only.
pub(crate) struct Shared<S, C, G> {
    config: LogConfig,
    outside: Arc<Outside>,
    pub(crate) journal: Journal<S>,
    pub(crate) commit: C,
    groups: Mutex<SavedGroups<G>>,
    care: Care,
    /// Counts producers: each gets a number.
    pub(crate) producers: AtomicU64,
    /// As long as it is open nobody else can open the log.
    _lock: Option<File>,
}

struct SavedGroups<G> {
    groups: G,
    /// What the file says, as far as is known.
    text: Vec<u8>,
    /// When it was last written.
    at: Option<Instant>,
}

/// For the thread that looks after what only time brings.
#[derive(Default)]
struct Care {
    state: Mutex<CareState>,
    called: Condvar,
}

#[derive(Default)]
struct CareState {
    /// Whether there may be something to do sooner than it thinks.
    due: bool,
    /// Whether it shall end.
    closing: bool,
}

impl Care {
    fn call(&self, closing: bool) {
        let mut state = self.state.lock();
        state.due = true;
        state.closing |= closing;
        self.called.notify_one();
    }
}

impl<S: Store, C: Commit, G: Groups, T: Transfer> Queue<S, C, G, T> {
    /// Opens the log in a directory, or begins one there; says what a crash had left.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(dir: &Path, config: LogConfig) -> Result<(Self, Recovery), OpenError> {
        disk::make_dir(dir).map_err(|e| io_error(dir, e))?;
        let lock = lock(dir)?;
        Self::open_on(Outside::real(dir), Some(lock), config)
    }

    /// Reads all of the log in a directory, which nobody may have open, and holds it against its checksums. Changes
    /// nothing.
    ///
    /// # Errors
    /// [`OpenError::Io`], [`OpenError::Locked`], [`OpenError::Version`], [`OpenError::NotVerifiable`]. Damage is no error.
    pub fn verify(dir: &Path) -> Result<Verified, OpenError> {
        if !dir.join(disk::LOCK).is_file() {
            let why = "there is no log here; give the directory that holds its files, as in data/queue";
            return Err(io_error(dir, io::Error::other(why)));
        }
        let _lock = lock(dir)?;
        S::verify(&disk::RealDisk::new(dir))
    }

    /// The same, on any disk. A lock is held for as long as the log is open.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_on(
        outside: Outside,
        lock: Option<File>,
        config: LogConfig,
    ) -> Result<(Self, Recovery), OpenError> {
        Self::open_with(outside, lock, config, S::open)
    }

    /// The same, with a store that is opened in another way.
    pub(crate) fn open_with(
        outside: Outside,
        lock: Option<File>,
        config: LogConfig,
        open: impl FnOnce(&Arc<Outside>, &LogConfig) -> Result<(S, Recovery), OpenError>,
    ) -> Result<(Self, Recovery), OpenError> {
        let (config, outside) = (config.checked()?, Arc::new(outside));
        let (store, mut recovery) = open(&outside, &config)?;
        let next: Vec<u64> = (0..config.partitions).map(|p| store.bounds(Partition(p)).end.0).collect();
        let groups = SavedGroups::open::<S>(&outside, &config, &next, &mut recovery)?;
        let path = outside.disk.path("");
        let shared = Shared {
            journal: Journal { line: Mutex::new(Pending::new(next, store.batches())), store },
            commit: C::default(),
            groups: Mutex::new(groups),
            care: Care::default(),
            producers: AtomicU64::new(0),
            config,
            outside,
            _lock: lock,
        };
        let handle = Handle::new(shared).map_err(|e| io_error(&path, e))?;
        Ok((Self { handle: Arc::new(handle), transfer: PhantomData }, recovery))
    }
}

impl<S: Store, C: Commit, G: Groups, T> Queue<S, C, G, T> {
    /// How often a file of the log was synced since it was opened.
    pub fn syncs(&self) -> u64 {
        self.shared().journal.marks().syncs()
    }

    /// Where to begin to read what was written at a time, in milliseconds since 1970, or later: at or a little before
    /// it.
    ///
    /// # Errors
    /// [`LogError::NoSuchPartition`], [`LogError::Failed`].
    pub fn offset_at(&self, partition: Partition, time_ms: u64) -> Result<Offset, LogError> {
        self.shared().healthy()?;
        self.shared().check_partition(partition)?;
        Ok(self.shared().journal.store.offset_at(partition, time_ms))
    }

    /// What fills the first slot.
    pub fn store(&self) -> &S {
        &self.shared().journal.store
    }

    fn shared(&self) -> &Shared<S, C, G> {
        &self.handle.shared
    }
}

impl<S: Store, C: Commit, G: Groups, T: Transfer> Log for Queue<S, C, G, T> {
    fn partitions(&self) -> u32 {
        self.shared().config.partitions
    }

    fn ack_max(&self) -> Ack {
        S::ACK_MAX
    }

    fn producer(&self, ack: Ack) -> Result<Box<dyn Producer>, LogError> {
        self.shared().healthy()?;
        if ack > S::ACK_MAX {
            return Err(LogError::AckTooStrong { asked: ack, best: S::ACK_MAX });
        }
        Ok(Box::new(QueueProducer::<S, C, G, T>::new(self.handle.clone(), ack)))
    }

    fn bounds(&self, partition: Partition) -> Result<Bounds, LogError> {
        self.shared().healthy()?;
        self.shared().check_partition(partition)?;
        Ok(self.shared().journal.store.bounds(partition))
    }

    fn fetch(
        &self,
        partition: Partition,
        from: Offset,
        limit: FetchLimit,
        out: &mut Records,
    ) -> Result<(), LogError> {
        out.clear();
        let limit = within_bounds(limit);
        let (shared, store) = (self.shared(), &self.shared().journal.store);
        shared.when_there(partition, limit.wait, || {
            store.fetch(partition, from, limit, T::unpack, out)?;
            Ok((!out.is_empty()).then_some(()))
        })?;
        Ok(())
    }

    fn fetch_stored(
        &self,
        partition: Partition,
        from: Offset,
        limit: FetchLimit,
    ) -> Result<Option<Stored>, LogError> {
        if !T::GIVES_STORED {
            return Ok(None);
        }
        let limit = within_bounds(limit);
        let store = &self.shared().journal.store;
        let found = self.shared().when_there(partition, limit.wait, || {
            let stored = store.fetch_stored(partition, from, limit)?;
            let is_there = stored.as_ref().is_none_or(|stored| !stored.slices.is_empty());
            Ok(is_there.then_some(stored))
        })?;
        Ok(found.unwrap_or_else(|| Some(Stored { slices: Vec::new(), next: from })))
    }

    fn group_members_max(&self) -> usize {
        G::MEMBERS_MAX
    }

    fn subscribe(&self, group: &str, member: &str) -> Result<Membership, LogError> {
        let membership =
            self.shared().with_groups(|groups, now_ms| groups.subscribe(group, member, now_ms))?;
        // The first member of all has a deadline, which nobody knew of.
        self.shared().care.call(false);
        Ok(membership)
    }

    fn rejoin(&self, membership: &Membership) -> Result<Membership, LogError> {
        self.shared().with_groups(|groups, now_ms| groups.rejoin(membership, now_ms))
    }

    fn heartbeat(&self, membership: &Membership) -> Result<u64, LogError> {
        self.shared().with_groups(|groups, now_ms| groups.heartbeat(membership, now_ms))
    }

    fn leave(&self, membership: &Membership) -> Result<(), LogError> {
        self.shared().with_groups(|groups, now_ms| groups.leave(membership, now_ms))
    }

    fn assign(&self, group: &str, assignment: Assignment) -> Result<(), LogError> {
        self.shared().with_groups(|groups, now_ms| groups.assign(group, assignment, now_ms))
    }

    fn groups(&self) -> Result<Vec<GroupStatus>, LogError> {
        let mut all = self.shared().with_groups(|groups, now_ms| {
            groups.expire(now_ms);
            Ok(groups.status(now_ms))
        })?;
        for lag in all.iter_mut().flat_map(|group| &mut group.partitions) {
            let bounds = self.shared().journal.store.bounds(lag.partition);
            *lag = PartitionLag::of(lag.partition, lag.committed, bounds);
        }
        Ok(all)
    }

    fn commit(&self, membership: &Membership, partition: Partition, next: Offset) -> Result<(), LogError> {
        self.shared().check_partition(partition)?;
        let store = &self.shared().journal.store;
        self.shared().with_groups(|groups, now_ms| {
            groups.holds(membership, partition, now_ms)?;
            let bounds = store.bounds(partition);
            if next > bounds.end {
                return Err(LogError::OffsetOutOfRange { asked: next, bounds });
            }
            groups.offsets_mut().commit(&membership.group, partition, next);
            store.retire_consumed(&groups.offsets().done(self.partitions()))
        })
    }

    fn committed(&self, group: &str, partition: Partition) -> Result<Option<Offset>, LogError> {
        self.shared().healthy()?;
        self.shared().check_partition(partition)?;
        Ok(self.shared().groups.lock().groups.offsets().committed(group, partition))
    }
}

fn within_bounds(limit: FetchLimit) -> FetchLimit {
    FetchLimit {
        records_max: limit.records_max.clamp(1, FETCH_RECORDS_MAX),
        bytes_max: limit.bytes_max.min(FETCH_BYTES_MAX),
        wait: limit.wait.min(WAIT_MAX),
    }
}

impl<S: Store, C: Commit, G: Groups> Shared<S, C, G> {
    pub(crate) fn healthy(&self) -> Result<(), LogError> {
        self.journal.marks().healthy()
    }

    pub(crate) fn codec(&self) -> Codec {
        self.config.codec
    }

    pub(crate) fn check_partition(&self, asked: Partition) -> Result<(), LogError> {
        let partitions = self.config.partitions;
        if asked.0 < partitions { Ok(()) } else { Err(LogError::NoSuchPartition { asked, partitions }) }
    }

    /// What `look` finds; if it finds nothing, then after the next write, for as long as the reader waits.
    fn when_there<R>(
        &self,
        partition: Partition,
        wait: Duration,
        mut look: impl FnMut() -> Result<Option<R>, LogError>,
    ) -> Result<Option<R>, LogError> {
        self.check_partition(partition)?;
        let deadline = (!wait.is_zero()).then(|| Instant::now() + wait);
        loop {
            let seen = self.journal.marks().arrivals();
            self.healthy()?;
            let found = look()?;
            let Some(deadline) = deadline.filter(|_| found.is_none()) else { return Ok(found) };
            if !self.journal.marks().wait_for_arrival(seen, deadline) {
                return Ok(None);
            }
        }
    }

    /// Does something with the groups, and has what has changed written: at once if a generation has begun, whatever was
    /// answered. Given again after a crash, it would make a member of who was fenced.
    fn with_groups<R>(&self, act: impl FnOnce(&mut G, u64) -> Result<R, LogError>) -> Result<R, LogError> {
        self.healthy()?;
        let mut saved = self.groups.lock();
        let before = saved.groups.offsets().generations();
        let done = act(&mut saved.groups, (self.outside.uptime_ms)());
        let begun = saved.groups.offsets().generations() != before;
        if begun || saved.at.is_none_or(|at| at.elapsed() >= GROUPS_INTERVAL) {
            saved.save::<S>(&self.outside);
        }
        done
    }

    /// What only time brings: members that were silent for too long, records that are too old.
    fn care(&self) {
        let mut state = self.care.state.lock();
        while !state.closing {
            state.due = false;
            let next = MutexGuard::unlocked(&mut state, || self.look_after());
            match next {
                _ if state.due => {}
                Some(at_most) => drop(self.care.called.wait_for(&mut state, at_most)),
                None => self.care.called.wait(&mut state),
            }
        }
    }

    /// Returns after how long there may be something to do again.
    fn look_after(&self) -> Option<Duration> {
        if self.healthy().is_err() {
            return None;
        }
        let now_ms = (self.outside.uptime_ms)();
        let deadline = self.with_groups(|groups, now_ms| Ok(groups.expire(now_ms))).unwrap_or_default();
        let expires = deadline.map(|at| Duration::from_millis(at.saturating_sub(now_ms).max(1)));
        let ages = self.config.retention_age_max.map(|age| {
            self.journal.store.retire_by_policy();
            age / LOOKS_IN_AN_AGE
        });
        expires.into_iter().chain(ages).min()
    }
}

impl<G: Groups> SavedGroups<G> {
    /// How far the groups came. What cannot be read is as if nobody had committed: records are read again.
    fn open<S: Store>(
        outside: &Outside,
        config: &LogConfig,
        ends: &[u64],
        recovery: &mut Recovery,
    ) -> Result<Self, OpenError> {
        let path = outside.disk.path(offsets::FILE);
        let found =
            if S::ACK_MAX > Ack::Memory { disk::read(&*outside.disk, offsets::FILE) } else { Ok(None) };
        let text = found.map_err(|e| io_error(&path, e))?;
        let mut offsets = match text.as_deref().map(Offsets::decode) {
            Some(Ok(offsets)) => offsets,
            Some(Err(why)) => {
                recovery.groups_lost = Some(format!("{}: {why}", path.display()));
                Offsets::default()
            }
            None => Offsets::default(),
        };
        offsets.forget_beyond(ends);
        offsets.declare(&config.groups);
        let timeout_ms = u64::try_from(config.heartbeat_timeout.as_millis()).unwrap_or(u64::MAX);
        // With none at all nobody could ever be a member.
        let heartbeat_timeout_ms = timeout_ms.max(1);
        let setup = GroupsSetup { partitions: config.partitions, heartbeat_timeout_ms };
        // A file that is not there says that nobody has come anywhere, as the groups do that were declared.
        let text = text.unwrap_or_else(|| offsets.encode().into_bytes());
        Ok(Self { groups: G::new(setup, offsets), text, at: None })
    }

    /// Writes the file, if it would change. That it cannot be written fails nobody: nothing is lost but after a crash, and on
    /// a disk that is full, consumers that subscribe and commit are what makes room. It is tried again the next time.
    fn save<S: Store>(&mut self, outside: &Outside) {
        self.at = Some(Instant::now());
        let text = self.groups.offsets().encode().into_bytes();
        let changed = S::ACK_MAX > Ack::Memory && text != self.text;
        if changed && disk::replace(&*outside.disk, offsets::FILE, &text).is_ok() {
            self.text = text;
        }
    }
}

impl<S: Store, C: Commit, G: Groups> Handle<S, C, G> {
    fn new(shared: Shared<S, C, G>) -> io::Result<Self> {
        let shared = Arc::new(shared);
        let mut handle = Self { shared: shared.clone(), own: Vec::new() };
        let its = shared.clone();
        handle.own.push(
            thread::Builder::new().name("log-sync".to_owned()).spawn(move || its.commit.run(&its.journal))?,
        );
        if G::MEMBERS_MAX > 1 || shared.config.retention_age_max.is_some() {
            handle.own.push(thread::Builder::new().name("log-care".to_owned()).spawn(move || shared.care())?);
        }
        Ok(handle)
    }
}

/// A log that is closed is on disk, and knows how far its groups came. Others can open it then.
impl<S: Store, C: Commit, G: Groups> Drop for Handle<S, C, G> {
    fn drop(&mut self) {
        let Self { shared, own } = self;
        shared.commit.close();
        shared.care.call(true);
        own.drain(..).for_each(|thread| drop(thread.join()));
        if shared.healthy().is_ok() {
            // Nobody is left to be told of an error, and nothing was promised beyond what producers were told.
            let _ = shared.journal.append();
            let _ = shared.journal.store.sync();
            shared.groups.lock().save::<S>(&shared.outside);
        }
    }
}

// By hand, since a derived one would ask for `S: Clone`, which the `Arc` around it does not need.
impl<S: Store, C: Commit, G: Groups, T> Clone for Queue<S, C, G, T> {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone(), transfer: PhantomData }
    }
}

impl<S: Store, C: Commit, G: Groups, T> fmt::Debug for Queue<S, C, G, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.shared().outside.disk.path("");
        f.debug_struct("Queue")
            .field("path", &path)
            .field("partitions", &self.shared().config.partitions)
            .finish()
    }
}

/// Locks a directory against everybody else.
fn lock(dir: &Path) -> Result<File, OpenError> {
    disk::lock(dir).map_err(|e| match e {
        TryLockError::WouldBlock => OpenError::Locked { path: dir.join(disk::LOCK) },
        TryLockError::Error(e) => io_error(&dir.join(disk::LOCK), e),
    })
}
