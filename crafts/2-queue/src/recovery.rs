//! Opening a directory: what a crash left, made whole again.
//!
//! All segments but the last were synced before the next was begun, so only the last is read. What follows its last
//! whole record is cut off, and [`Recovery`] says what that was. After `kill -9` this can only be records that nobody
//! was told of; after a power cut also such as were acknowledged at `os`.
//!
//! A damaged record in the middle of the last segment is cut with everything behind it: from the bytes alone it cannot
//! be told from a power cut that let later blocks reach the disk before earlier ones.

use crate::{
    disk::{DataFile, Disk, UNFINISHED},
    groups::Groups,
    segment,
    tail::Tail,
    view::{Place, Segment, View},
    walk::{Stop, Walk},
};
use std::{
    collections::VecDeque,
    fmt,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Locked by the process that has the log open.
const LOCK: &str = "lock";
/// The groups' file.
pub(crate) const GROUPS: &str = "groups";

/// What was found when a log was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Records that the log holds.
    pub records: u64,
    /// What was cut off its end.
    pub cut: Option<Cut>,
    /// Why it is not known how far the groups came, if that is so: they begin at the log's start again.
    pub groups_lost: Option<String>,
}

/// What was cut off the end of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Of which file.
    pub file: PathBuf,
    /// From which byte on.
    pub at: u64,
    /// How much.
    pub bytes: u64,
    /// What was wrong there.
    pub why: String,
}

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Two processes would overwrite each other's records.
    #[error("{}: another process has this log open; stop it, or choose another directory", path.display())]
    Locked {
        /// The file that it has locked.
        path: PathBuf,
    },
    /// A file is not what its name says, and not because of a crash.
    #[error("{}, byte {at}: {why}; restore the file, or move it away together with all before it", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The first wrong byte.
        at: u64,
        /// What is wrong.
        why: String,
    },
}

/// Everything that opening finds.
pub(crate) struct Opened {
    pub(crate) lock: File,
    pub(crate) view: View,
    pub(crate) tail: Tail,
    pub(crate) groups: Groups,
    pub(crate) recovery: Recovery,
}

/// Opens the log in this directory, or begins one.
pub(crate) fn open(dir: &Path, disk: &Disk) -> Result<Opened, OpenError> {
    make_dir(dir).map_err(|e| io_error(dir, e))?;
    let lock = lock(disk)?;
    let firsts = segments(dir, disk).map_err(|e| io_error(dir, e))?;
    let mut segments = VecDeque::new();
    for first in &firsts[..firsts.len() - 1] {
        let file = open_segment(disk, *first)?;
        let bytes = file.bytes().map_err(|e| io_error(file.path(), e))?;
        segments.push_back(Segment::new(*first, file, segment::HEAD_BYTES as u64, bytes));
    }
    let first = firsts[firsts.len() - 1];
    let file = open_segment(disk, first)?;
    let (last, end, cut) = recover_last(&file, first)?;
    segments.push_back(last);
    let view = View::new(segments, end.offset);
    let (groups, groups_lost) = read_groups(disk, end.offset)?;
    let records = end.offset - firsts[0];
    let recovery = Recovery { records, cut, groups_lost };
    Ok(Opened { lock, view, tail: Tail::new(file, end.at, end.offset), groups, recovery })
}

/// Makes the directory, and its name safe from a power cut.
fn make_dir(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    // The parent of a path of one part is the directory that the process is in.
    let parent = dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

fn lock(disk: &Disk) -> Result<File, OpenError> {
    let path = disk.path(LOCK);
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|e| io_error(&path, e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { path }),
        Err(TryLockError::Error(e)) => Err(io_error(&path, e)),
    }
}

/// With which records the segments begin, ascending; at least one. What is unfinished is removed.
fn segments(dir: &Path, disk: &Disk) -> io::Result<Vec<u64>> {
    let mut firsts = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        if name.ends_with(&format!(".{UNFINISHED}")) {
            disk.remove(&name)?;
        }
        firsts.extend(segment::first_of(&name));
    }
    if firsts.is_empty() {
        disk.create_synced(&segment::name(0), &segment::head(0))?;
        firsts.push(0);
    }
    firsts.sort_unstable();
    Ok(firsts)
}

/// Opens a segment and checks its head. It was created whole, so no crash is an excuse.
fn open_segment(disk: &Disk, first: u64) -> Result<Arc<DataFile>, OpenError> {
    let path = disk.path(&segment::name(first));
    let file = disk.open(&segment::name(first)).map_err(|e| io_error(&path, e))?;
    let mut head = [0; segment::HEAD_BYTES];
    match file.read_at(0, &mut head) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
            let why = "it is shorter than a segment's head".to_owned();
            return Err(OpenError::Damaged { path, at: 0, why });
        }
        Err(e) => return Err(io_error(&path, e)),
    }
    segment::check(&head, first).map_err(|(at, why)| OpenError::Damaged { path, at, why })?;
    Ok(Arc::new(file))
}

/// Walks through the last segment, and cuts off what is behind its last whole record.
fn recover_last(file: &Arc<DataFile>, first: u64) -> Result<(Segment, Place, Option<Cut>), OpenError> {
    let failed = |e| io_error(file.path(), e);
    let begin = segment::HEAD_BYTES as u64;
    let bytes = file.bytes().map_err(failed)?;
    let mut found = Segment::new(first, file.clone(), begin, bytes);
    let mut walk = Walk::new(file.clone(), begin, first, bytes);
    let cut = loop {
        match walk.step() {
            Ok(Some(record)) => found.learn(Place { offset: record.offset, at: record.at }),
            Ok(None) => break None,
            Err(Stop::Damage { at, why }) => {
                break Some(Cut { file: file.path().to_owned(), at, bytes: bytes - at, why });
            }
            Err(Stop::Io(e)) => return Err(failed(e)),
        }
    };
    let end = Place { offset: walk.next_offset(), at: walk.at() };
    if cut.is_some() {
        // On disk before anything is written over it: a second crash must not find the old bytes behind the new.
        file.cut(end.at).and_then(|()| file.sync()).map_err(failed)?;
        found = found.until(end.at);
    }
    Ok((found, end, cut))
}

/// How far the groups came. What cannot be read is as if nobody had committed: records are read again.
fn read_groups(disk: &Disk, end: u64) -> Result<(Groups, Option<String>), OpenError> {
    let path = disk.path(GROUPS);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((Groups::default(), None)),
        Err(e) => return Err(io_error(&path, e)),
    };
    match Groups::decode(&text) {
        Ok(mut groups) => {
            groups.forget_beyond(end);
            Ok((groups, None))
        }
        Err(why) => Ok((Groups::default(), Some(format!("{}: {why}", path.display())))),
    }
}

fn io_error(path: &Path, source: io::Error) -> OpenError {
    OpenError::Io { path: path.to_owned(), source }
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the log holds {} records", self.records)?;
        if let Some(Cut { file, at, bytes, why }) = &self.cut {
            write!(f, "; {bytes} bytes were CUT off {} from byte {at} on: {why}", file.display())?;
        }
        if let Some(why) = &self.groups_lost {
            write!(f, "; its groups begin again, {why}")?;
        }
        Ok(())
    }
}
