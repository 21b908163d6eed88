//! The contract's `Log`: opening, waiting, groups; and what the log's parts share.
//!
//! A record stays until every group has committed past it, those that were declared at the opening even before they first
//! subscribe; then its segment goes as a whole. Without any group everything stays. A log that has reached its bound takes
//! nothing more: what it has acknowledged never vanishes, unless it was told to drop what is old or too much.

use crate::{
    disk::{self, Disk, RealDisk},
    frame,
    groups::Groups,
    pending::Pending,
    producer::FileProducer,
    recovery::{self, OpenError, Opened, Recovery, io_error},
    segment::SEGMENT_BYTES_MAX,
    sync::Progress,
    tail::Tail,
    view::View,
};
use contracts::{
    limits::{FETCH_BYTES_MAX, FETCH_RECORDS_MAX},
    queue::{
        Ack, Bounds, FetchLimit, GroupStatus, Log, LogError, Membership, Offset, Partition, PartitionLag,
        Producer, Records,
    },
};
use parking_lot::{Condvar, Mutex};
use std::{
    fs::{File, TryLockError},
    hash::{BuildHasher, RandomState},
    io,
    path::Path,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime},
};

/// How much a log holds. Beyond: [`LogError::Full`].
pub const RETAINED_BYTES_MAX: u64 = 16 << 30;
/// Most partitions of a log.
pub const PARTITIONS_MAX: u32 = 1024;
/// How often the groups' file is written at most.
const GROUPS_INTERVAL: Duration = Duration::from_secs(1);

/// How a log is to be.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Groups that hold the log from the start.
    pub groups: Vec<String>,
    /// How many partitions: at least as many as the log has, at most [`PARTITIONS_MAX`].
    pub partitions: u32,
    /// A segment is closed, and another begun, before it would pass this.
    pub segment_bytes_max: u64,
    /// All segments together; at least two of them. A log that is so large takes nothing more.
    pub retained_bytes_max: u64,
    /// A log that is larger drops its oldest segments, whoever has not read them.
    pub retention_bytes_max: Option<u64>,
    /// Segments whose newest record is older are dropped, whoever has not read them.
    pub retention_age_max: Option<Duration>,
}

impl LogConfig {
    /// A log of one partition that keeps every record until these groups have committed it.
    pub fn for_groups(groups: &[&str]) -> Self {
        Self {
            groups: groups.iter().map(|name| (*name).to_owned()).collect(),
            partitions: 1,
            segment_bytes_max: SEGMENT_BYTES_MAX,
            retained_bytes_max: RETAINED_BYTES_MAX,
            retention_bytes_max: None,
            retention_age_max: None,
        }
    }
}

/// One log in a directory of files, for all its partitions. Clones share it.
#[derive(Clone)]
pub struct FileLog {
    handle: Arc<Handle>,
}

/// What a log and its producers hold; when the last is dropped, the log is closed.
pub(crate) struct Handle {
    pub(crate) shared: Arc<Shared>,
    /// The log's own thread: see `sync`.
    own: Option<JoinHandle<()>>,
}

/// What the log, its producers and its readers share.
///
/// Locks are taken in the order `groups`, `tail`, `spares`, `pending`, `view`, and no file is read or written under those
/// of `pending` and `view`, which everybody needs.
pub(crate) struct Shared {
    pub(crate) config: LogConfig,
    pub(crate) outside: Outside,
    groups: Mutex<SavedGroups>,
    /// Held by who writes.
    pub(crate) tail: Mutex<Tail>,
    /// Files that wait to become segments again, by name.
    pub(crate) spares: Mutex<Vec<String>>,
    pub(crate) pending: Mutex<Pending>,
    pub(crate) progress: Progress,
    pub(crate) view: Mutex<View>,
    /// Notified, with the view, when frames were written, and when the log broke.
    pub(crate) appended: Condvar,
    /// Whether the last write found no room.
    pub(crate) full: AtomicBool,
    /// Counts producers: each gets a number.
    pub(crate) producers: AtomicU64,
    /// Why nothing goes on, once that is so.
    broken: OnceLock<String>,
    /// As long as it is open nobody else can open the log.
    _lock: Option<File>,
}

/// What comes from outside of the log: in tests all of it follows from a seed.
pub(crate) struct Outside {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) now_ms: Box<dyn Fn() -> u64 + Send + Sync>,
    /// Another number each time, which nobody can guess.
    pub(crate) salt: Box<dyn Fn() -> u64 + Send + Sync>,
    pub(crate) guards: Guards,
}

impl Outside {
    fn real(dir: &Path) -> Self {
        let since_1970 = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            disk: Arc::new(RealDisk::new(dir)),
            now_ms: Box::new(move || u64::try_from(since_1970().as_millis()).unwrap_or(u64::MAX)),
            // The keys of a hasher come from the system's randomness.
            salt: Box::new(|| RandomState::new().hash_one(0_u8)),
            guards: Guards::ALL,
        }
    }
}

/// What keeps recovery from taking for a record what is none. All of them, but for tests that show what each is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Guards {
    /// A frame's sequence is one more than that of the frame before.
    pub(crate) sequence: bool,
    /// Checksums begin with the segment's salt.
    pub(crate) salt: bool,
    /// The epoch never falls …
    pub(crate) epoch: bool,
    /// … and is on disk before the first record that has it.
    pub(crate) announced: bool,
    /// A segment's head is on disk before it has its name.
    pub(crate) head_first: bool,
    /// A frame says what was on disk when it was written: so damage is told from what was torn.
    pub(crate) synced_mark: bool,
}

impl Guards {
    pub(crate) const ALL: Self = Self {
        sequence: true,
        salt: true,
        epoch: true,
        announced: true,
        head_first: true,
        synced_mark: true,
    };

    pub(crate) fn seed(self, salt: u64) -> u32 {
        if self.salt { frame::seed(salt) } else { 0 }
    }
}

struct SavedGroups {
    groups: Groups,
    /// When the file was last written.
    at: Option<Instant>,
}

impl FileLog {
    /// Opens the log in a directory, or begins one there; says what a crash had left.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(dir: &Path, config: LogConfig) -> Result<(Self, Recovery), OpenError> {
        disk::make_dir(dir).map_err(|e| io_error(dir, e))?;
        let lock = disk::lock(dir).map_err(|e| match e {
            TryLockError::WouldBlock => OpenError::Locked { path: dir.join(disk::LOCK) },
            TryLockError::Error(e) => io_error(&dir.join(disk::LOCK), e),
        })?;
        Self::open_on(Outside::real(dir), Some(lock), config)
    }

    /// The same, on any disk.
    pub(crate) fn open_on(
        outside: Outside,
        lock: Option<File>,
        mut config: LogConfig,
    ) -> Result<(Self, Recovery), OpenError> {
        if !(1..=PARTITIONS_MAX).contains(&config.partitions) {
            return Err(OpenError::BadPartitions { asked: config.partitions, max: PARTITIONS_MAX });
        }
        config.retained_bytes_max = config.retained_bytes_max.max(2 * config.segment_bytes_max);
        let Opened { view, tail, mut groups, spares, recovery, known_until, announced } =
            recovery::open(&outside, &config)?;
        groups.declare(&config.groups);
        let path = outside.disk.path("");
        let shared = Shared {
            config,
            outside,
            groups: Mutex::new(SavedGroups { groups, at: None }),
            pending: Mutex::new(Pending::new(view.next().to_vec())),
            progress: Progress::default(),
            tail: Mutex::new(tail),
            spares: Mutex::new(spares),
            view: Mutex::new(view),
            appended: Condvar::new(),
            full: AtomicBool::new(false),
            producers: AtomicU64::new(0),
            broken: OnceLock::new(),
            _lock: lock,
        };
        if !announced {
            shared.announce(known_until).map_err(|e| io_error(&path, io::Error::other(e)))?;
        }
        let handle = Handle::new(shared).map_err(|e| io_error(&path, e))?;
        Ok((Self { handle: Arc::new(handle) }, recovery))
    }

    /// How often a file of the log was synced since it was opened.
    pub fn syncs(&self) -> u64 {
        self.shared().progress.syncs()
    }

    /// Where to begin to read what was written at a time, in milliseconds since 1970, or later: at or a little before
    /// it.
    ///
    /// # Errors
    /// [`LogError::NoSuchPartition`], [`LogError::Failed`].
    pub fn offset_at(&self, partition: Partition, time_ms: u64) -> Result<Offset, LogError> {
        self.shared().healthy()?;
        self.shared().check_partition(partition)?;
        Ok(Offset(self.shared().view.lock().offset_at(partition.0 as usize, time_ms)))
    }

    #[cfg(test)]
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    fn shared(&self) -> &Shared {
        &self.handle.shared
    }
}

impl Log for FileLog {
    fn partitions(&self) -> u32 {
        self.shared().config.partitions
    }

    fn ack_max(&self) -> Ack {
        Ack::Disk
    }

    fn producer(&self, ack: Ack) -> Result<Box<dyn Producer>, LogError> {
        self.shared().healthy()?;
        Ok(Box::new(FileProducer::new(self.handle.clone(), ack)))
    }

    fn bounds(&self, partition: Partition) -> Result<Bounds, LogError> {
        self.shared().healthy()?;
        self.shared().check_partition(partition)?;
        Ok(self.shared().view.lock().bounds(partition.0 as usize))
    }

    fn fetch(
        &self,
        partition: Partition,
        from: Offset,
        limit: FetchLimit,
        out: &mut Records,
    ) -> Result<(), LogError> {
        out.clear();
        self.shared().check_partition(partition)?;
        let limit = FetchLimit {
            records_max: limit.records_max.clamp(1, FETCH_RECORDS_MAX),
            bytes_max: limit.bytes_max.min(FETCH_BYTES_MAX),
            ..limit
        };
        self.shared().fetch(partition, from, limit, out)
    }

    fn subscribe(&self, group: &str, member: &str) -> Result<Membership, LogError> {
        self.shared().healthy()?;
        let mut saved = self.shared().groups.lock();
        let membership = saved.groups.subscribe(group, member, self.partitions())?;
        self.shared().save(&mut saved);
        Ok(membership)
    }

    fn heartbeat(&self, membership: &Membership) -> Result<u64, LogError> {
        self.shared().healthy()?;
        let mut saved = self.shared().groups.lock();
        saved.groups.check(membership)?;
        // So that the last commits before a pause are saved as well, though no other commit follows them.
        self.shared().save(&mut saved);
        Ok(membership.generation)
    }

    fn groups(&self) -> Result<Vec<GroupStatus>, LogError> {
        self.shared().healthy()?;
        let mut all = self.shared().groups.lock().groups.status(self.partitions());
        let view = self.shared().view.lock();
        for lag in all.iter_mut().flat_map(|group| &mut group.partitions) {
            *lag = PartitionLag::of(lag.partition, lag.committed, view.bounds(lag.partition.0 as usize));
        }
        Ok(all)
    }

    fn commit(&self, membership: &Membership, partition: Partition, next: Offset) -> Result<(), LogError> {
        self.shared().healthy()?;
        self.shared().check_partition(partition)?;
        let mut saved = self.shared().groups.lock();
        saved.groups.check(membership)?;
        let bounds = self.shared().view.lock().bounds(partition.0 as usize);
        if next > bounds.end {
            return Err(LogError::OffsetOutOfRange { asked: next, bounds });
        }
        saved.groups.commit(&membership.group, partition, next.0);
        self.shared().save(&mut saved);
        self.shared().retire_consumed(&saved.groups.done(self.partitions()))
    }

    fn committed(&self, group: &str, partition: Partition) -> Result<Option<Offset>, LogError> {
        self.shared().healthy()?;
        self.shared().check_partition(partition)?;
        Ok(self.shared().groups.lock().groups.committed(group, partition).map(Offset))
    }
}

impl Shared {
    /// # Errors
    /// Why the log is broken, if it is.
    pub(crate) fn healthy(&self) -> Result<(), LogError> {
        self.broken.get().map_or(Ok(()), |why| Err(LogError::Failed(why.clone())))
    }

    /// Breaks the log for good: opened again, it is whole again.
    pub(crate) fn breaks(&self, path: &Path, error: &io::Error) -> LogError {
        let why = self.broken.get_or_init(|| format!("{}: {error}", path.display()));
        // Whoever looks right now has not seen it, and must be waiting before it is called.
        drop(self.view.lock());
        self.appended.notify_all();
        self.progress.wake();
        LogError::Failed(why.clone())
    }

    /// Whether it is worth while to ask before one takes a record.
    pub(crate) fn may_be_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    pub(crate) fn check_partition(&self, asked: Partition) -> Result<(), LogError> {
        let partitions = self.config.partitions;
        if asked.0 < partitions { Ok(()) } else { Err(LogError::NoSuchPartition { asked, partitions }) }
    }

    /// Writes the groups' file, if it is time. That it cannot be written fails no commit: nothing is lost but after a
    /// crash, and on a disk that is full commits are what makes room.
    fn save(&self, saved: &mut SavedGroups) {
        if saved.at.is_none_or(|at| at.elapsed() >= GROUPS_INTERVAL) {
            self.save_now(saved);
        }
    }

    fn save_now(&self, saved: &mut SavedGroups) {
        saved.at = Some(Instant::now());
        saved.groups.save(|text| disk::replace(&*self.outside.disk, recovery::GROUPS, text.as_bytes()));
    }
}

impl Handle {
    fn new(shared: Shared) -> io::Result<Self> {
        let shared = Arc::new(shared);
        let its = shared.clone();
        let own = thread::Builder::new().name("log-sync".to_owned());
        let own = own.spawn(move || its.commit_when_called())?;
        Ok(Self { shared, own: Some(own) })
    }
}

/// A log that is closed is on disk, and knows how far its groups came. Others can open it then.
impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.progress.close();
        let _ = self.own.take().map(JoinHandle::join);
        if self.shared.healthy().is_ok() {
            // Nobody is left to be told of an error, and nothing was promised beyond what producers were told.
            let _ = self.shared.commit();
            self.shared.save_now(&mut self.shared.groups.lock());
        }
    }
}
