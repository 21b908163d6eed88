//! The contract's `Log`: opening, fetching, waiting, retention.
//!
//! There is one partition. A record stays until every group has committed past it, those that were declared at the
//! opening even before they first subscribe; then its segment is deleted as a whole. Without any group everything
//! stays. A log that has reached its bound takes nothing more: what it has acknowledged never vanishes.

use crate::{
    disk::Disk,
    groups::Groups,
    producer::FileProducer,
    recovery::{self, OpenError, Opened, Recovery},
    segment::{self, SEGMENT_BYTES_MAX},
    sync::Synced,
    tail::Tail,
    view::{INDEX_BYTES, Place, Span, View},
    walk::{Stop, Walk},
};
use contracts::{
    limits::{FETCH_BYTES_MAX, FETCH_RECORDS_MAX},
    queue::{Ack, Bounds, FetchLimit, Log, LogError, Membership, Offset, Partition, Producer, Records},
};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::{
    fs::File,
    io,
    path::Path,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How much a log holds. Beyond: [`LogError::Full`].
pub const RETAINED_BYTES_MAX: u64 = 16 << 30;
/// The longest that one fetch waits, whatever was asked for.
const WAIT_MAX: Duration = Duration::from_secs(3600);
/// How often the groups' file is written at most.
const GROUPS_INTERVAL: Duration = Duration::from_secs(1);

/// How a log is to be.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Groups that hold the log from the start.
    pub groups: Vec<String>,
    /// A segment is closed, and another begun, before it would pass this.
    pub segment_bytes_max: u64,
    /// All segments together; at least two of them.
    pub retained_bytes_max: u64,
}

impl LogConfig {
    /// A log that keeps every record until these groups have committed it.
    pub fn for_groups(groups: &[&str]) -> Self {
        Self {
            groups: groups.iter().map(|name| (*name).to_owned()).collect(),
            segment_bytes_max: SEGMENT_BYTES_MAX,
            retained_bytes_max: RETAINED_BYTES_MAX,
        }
    }
}

/// One append-only file, cut into segments. Clones share it.
#[derive(Clone)]
pub struct FileLog {
    handle: Arc<Handle>,
}

/// What a log and its producers hold; when the last is dropped, the log is closed.
pub(crate) struct Handle {
    pub(crate) shared: Arc<Shared>,
    /// The log's own thread: see `sync`.
    syncer: Option<JoinHandle<()>>,
}

/// What the log, its producers and its readers share.
///
/// Locks are taken in the order `groups`, `tail`, `synced`, `view`, and no file is read or written under that of
/// `view`, which everybody needs.
pub(crate) struct Shared {
    pub(crate) config: LogConfig,
    pub(crate) disk: Disk,
    groups: Mutex<SavedGroups>,
    /// Held by who writes.
    pub(crate) tail: Mutex<Tail>,
    pub(crate) synced: Synced,
    pub(crate) view: Mutex<View>,
    /// Notified, with the view, when a record was written, and when the log broke.
    pub(crate) appended: Condvar,
    /// Whether the last write found no room.
    pub(crate) full: AtomicBool,
    /// Why nothing goes on, once that is so.
    broken: OnceLock<String>,
    /// As long as it is open nobody else can open the log.
    _lock: File,
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
        Self::open_on(Disk::new(dir), dir, config)
    }

    /// The same, on a disk that may have faults.
    pub(crate) fn open_on(
        disk: Disk,
        dir: &Path,
        mut config: LogConfig,
    ) -> Result<(Self, Recovery), OpenError> {
        config.retained_bytes_max = config.retained_bytes_max.max(2 * config.segment_bytes_max);
        let Opened { lock, view, tail, mut groups, recovery } = recovery::open(dir, &disk)?;
        groups.declare(&config.groups);
        let shared = Shared {
            config,
            disk,
            groups: Mutex::new(SavedGroups { groups, at: None }),
            tail: Mutex::new(tail),
            synced: Synced::default(),
            view: Mutex::new(view),
            appended: Condvar::new(),
            full: AtomicBool::new(false),
            broken: OnceLock::new(),
            _lock: lock,
        };
        let handle = Handle::new(shared).map_err(|source| OpenError::Io { path: dir.to_owned(), source })?;
        Ok((Self { handle: Arc::new(handle) }, recovery))
    }

    fn shared(&self) -> &Shared {
        &self.handle.shared
    }
}

impl Log for FileLog {
    fn partitions(&self) -> u32 {
        1
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
        Ok(self.shared().view.lock().bounds())
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
        let mut next = from.0;
        let mut span = self.shared().wait_for(from, limit.wait)?;
        while let Some(found) = span {
            let end = found.end.offset;
            next = self.shared().read(&found, next, limit, out)?;
            // A segment that ends does not end a fetch.
            span = if next == end { self.shared().view.lock().span(next) } else { None };
        }
        Ok(())
    }

    fn subscribe(&self, group: &str, member: &str) -> Result<Membership, LogError> {
        self.shared().healthy()?;
        let mut saved = self.shared().groups.lock();
        let membership = saved.groups.subscribe(group, member)?;
        self.shared().save(&mut saved);
        Ok(membership)
    }

    fn heartbeat(&self, membership: &Membership) -> Result<(), LogError> {
        self.shared().healthy()?;
        let mut saved = self.shared().groups.lock();
        saved.groups.check(membership)?;
        // So that the last commits before a pause are saved as well, though no other commit follows them.
        self.shared().save(&mut saved);
        Ok(())
    }

    fn commit(&self, membership: &Membership, partition: Partition, next: Offset) -> Result<(), LogError> {
        self.shared().healthy()?;
        self.shared().check_partition(partition)?;
        let mut saved = self.shared().groups.lock();
        saved.groups.check(membership)?;
        let bounds = self.shared().view.lock().bounds();
        if next > bounds.end {
            return Err(LogError::OffsetOutOfRange { asked: next, bounds });
        }
        saved.groups.commit(&membership.group, next.0);
        self.shared().save(&mut saved);
        self.shared().retire(saved.groups.done())
    }

    fn committed(&self, group: &str, partition: Partition) -> Result<Option<Offset>, LogError> {
        self.shared().healthy()?;
        self.shared().check_partition(partition)?;
        Ok(self.shared().groups.lock().groups.committed(group).map(Offset))
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
        LogError::Failed(why.clone())
    }

    /// Whether it is worth while to ask before one takes a record.
    pub(crate) fn may_be_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    pub(crate) fn check_partition(&self, asked: Partition) -> Result<(), LogError> {
        if asked == Partition(0) { Ok(()) } else { Err(LogError::NoSuchPartition { asked, partitions: 1 }) }
    }

    /// Where this record lies; waits for it if it is the next one to come. `None` if it did not.
    fn wait_for(&self, offset: Offset, at_most: Duration) -> Result<Option<Span>, LogError> {
        let deadline = Instant::now() + at_most.min(WAIT_MAX);
        let mut view: MutexGuard<'_, View> = self.view.lock();
        loop {
            self.healthy()?;
            let bounds = view.bounds();
            if offset < bounds.start || offset > bounds.end {
                return Err(LogError::OffsetOutOfRange { asked: offset, bounds });
            }
            let span = view.span(offset.0);
            if span.is_some() || self.appended.wait_until(&mut view, deadline).timed_out() {
                return Ok(span);
            }
        }
    }

    /// Reads from record `next` on until the span ends or the limit is reached; returns the record after the last.
    fn read(&self, span: &Span, next: u64, limit: FetchLimit, out: &mut Records) -> Result<u64, LogError> {
        let mut walk = Walk::new(span.file.clone(), span.from.at, span.from.offset, span.end.at);
        let mut learned: Vec<Place> = Vec::new();
        let mut reached = next;
        while walk.next_offset() < span.end.offset {
            let record = match walk.step() {
                Ok(Some(record)) => record,
                // What is whole before the damage is given first, so that a reader comes as far as one can.
                _ if !out.is_empty() => break,
                Ok(None) => return Err(self.damaged(span, span.end.at, "records are missing behind it")),
                Err(Stop::Damage { at, why }) => return Err(self.damaged(span, at, &why)),
                Err(Stop::Io(e)) => return Err(self.damaged(span, walk.at(), &e.to_string())),
            };
            if record.at >= learned.last().map_or(span.from.at, |last| last.at) + INDEX_BYTES {
                learned.push(Place { offset: record.offset, at: record.at });
            }
            if record.offset < next {
                continue;
            }
            if !out.has_room(record.payload.len(), limit) {
                break;
            }
            out.push(Offset(record.offset), record.payload);
            reached = record.offset + 1;
        }
        if !learned.is_empty() {
            self.view.lock().learn(&learned);
        }
        Ok(reached)
    }

    /// Only this fetch fails: what can still be read, and written, can be.
    fn damaged(&self, span: &Span, at: u64, why: &str) -> LogError {
        LogError::Failed(format!("{}, byte {at}: {why}", span.file.path().display()))
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
        saved.groups.save(|text| self.disk.replace(recovery::GROUPS, text.as_bytes()));
    }

    /// Deletes the segments that nobody needs any more, the oldest first: whenever this ends, there is no gap.
    fn retire(&self, done: u64) -> Result<(), LogError> {
        loop {
            let Some(first) = self.view.lock().done_with(done) else { return Ok(()) };
            let name = segment::name(first);
            match self.disk.remove(&name) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(LogError::Failed(format!("{}: {e}", self.disk.path(&name).display())));
                }
                _ => self.view.lock().forget(first),
            }
        }
    }
}

impl Handle {
    fn new(shared: Shared) -> io::Result<Self> {
        let shared = Arc::new(shared);
        let its = shared.clone();
        let syncer = thread::Builder::new().name("log-sync".to_owned());
        let syncer = syncer.spawn(move || its.sync_when_called())?;
        Ok(Self { shared, syncer: Some(syncer) })
    }
}

/// A log that is closed is on disk, and knows how far its groups came. Others can open it then.
impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.synced.close();
        let _ = self.syncer.take().map(JoinHandle::join);
        if self.shared.healthy().is_ok() {
            // Nobody is left to be told of an error, and nothing was promised beyond what producers were told.
            let (last, _) = self.shared.view.lock().last();
            let _ = last.sync();
            self.shared.save_now(&mut self.shared.groups.lock());
        }
    }
}
