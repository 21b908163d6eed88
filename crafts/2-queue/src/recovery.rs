//! Opening a directory: what a crash left, made whole again.
//!
//! All segments but the last were synced before the next was begun, and end with their index: of those only the ends are
//! read. The last is walked through (`scan`). What follows its last whole frame is cut off, and [`Recovery`] says what
//! that was. After `kill -9` this can only be frames that nobody was told of; after a power cut also such as were
//! acknowledged at `os`.

use crate::{
    disk::{self, DataFile, Disk},
    frame::{HEAD_BYTES, Head, Kind},
    groups::Groups,
    index::{Index, Table},
    log::{LogConfig, Outside},
    scan::{Scan, scan},
    segment::{self, BadHead, FIRST_FRAME, Header},
    tail::{Tail, epoch_frame},
    view::{Segment, View},
};
use std::{
    collections::VecDeque,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The groups' file.
pub(crate) const GROUPS: &str = "groups";

/// What was found when a log was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Records that the log holds, gaps not counted out.
    pub records: u64,
    /// Where each partition's next record will be.
    pub ends: Vec<u64>,
    /// What was cut off the end.
    pub cut: Option<Cut>,
    /// What is damaged in the middle, as far as opening has come across it. The rest can be read.
    pub gaps: Vec<Gap>,
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
    /// How many bytes, to the end of the last that was ours.
    pub bytes: u64,
    /// How many frames whose heads are whole, and the records in them.
    pub frames: u64,
    /// The records in them.
    pub records: u64,
    /// What was wrong there.
    pub why: String,
}

/// What is damaged in the middle of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// In which file.
    pub file: PathBuf,
    /// From which byte on.
    pub at: u64,
    /// How many bytes.
    pub bytes: u64,
    /// How many frames are missing.
    pub frames: u64,
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
    /// The log was written by a program that has another format.
    #[error(
        "{}: this log has format version {found}, this program reads version {}; \
         let the program that wrote it empty it into storage, then move the directory away",
        path.display(),
        segment::MAGIC[3]
    )]
    Version {
        /// A file of the log.
        path: PathBuf,
        /// The version that it has.
        found: u8,
    },
    /// There are more partitions in the log than were asked for: records would become unreachable.
    #[error("{}: the log has {found} partitions, {asked} were asked for; ask for {found} or more", path.display())]
    FewerPartitions {
        /// The directory.
        path: PathBuf,
        /// How many the log has.
        found: u32,
        /// How many were asked for.
        asked: u32,
    },
    /// A bound on the number of partitions.
    #[error("{asked} partitions were asked for; a log has 1 to {max}")]
    BadPartitions {
        /// How many were asked for.
        asked: u32,
        /// The most.
        max: u32,
    },
}

/// Everything that opening finds.
pub(crate) struct Opened {
    pub(crate) view: View,
    pub(crate) tail: Tail,
    pub(crate) groups: Groups,
    pub(crate) spares: Vec<String>,
    pub(crate) recovery: Recovery,
    /// Behind the tail, what was cut off ends here.
    pub(crate) known_until: u64,
    /// Whether the segment was begun just now, and so says already that this opening writes.
    pub(crate) announced: bool,
}

/// Opens the log in this directory, or begins one.
pub(crate) fn open(outside: &Outside, config: &LogConfig) -> Result<Opened, OpenError> {
    let disk = &*outside.disk;
    let names = disk.list().map_err(|e| io_error(&disk.path(""), e))?;
    let mut files = sort_names(disk, names).map_err(|e| io_error(&disk.path(""), e))?;
    let announced = files.segments.is_empty();
    if announced {
        begin_log(outside, config).map_err(|e| io_error(&disk.path(""), e))?;
        files.segments.push(0);
    }
    let mut found = Found::default();
    let (&last, older) = files.segments.split_last().expect("one was begun if there was none");
    older.iter().try_for_each(|number| found.sealed(outside, *number))?;
    let (header, file, scan) = found.last(outside, last)?;
    found.opened(outside, config, files.spares, announced, Last { header, file, scan })
}

/// What the files of a directory are.
struct Files {
    /// Ascending.
    segments: Vec<u64>,
    spares: Vec<String>,
}

/// Removes what is unfinished, and makes sure that names are what they seem.
fn sort_names(disk: &dyn Disk, names: Vec<String>) -> io::Result<Files> {
    let mut files = Files { segments: Vec::new(), spares: Vec::new() };
    for name in names {
        if disk::is_unfinished(&name) {
            disk.remove(&name)?;
        } else if segment::is_spare(&name) {
            files.spares.push(name);
        } else {
            files.segments.extend(segment::number_of(&name));
        }
    }
    files.segments.sort_unstable();
    files.spares.sort_unstable();
    for spare in files.spares.drain(crate::retention::SPARES_MAX.min(files.spares.len())..) {
        disk.remove(&spare)?;
    }
    // A process that was killed may have left names that are not on disk yet. A spare file whose old name came back once it
    // has a new head would be a segment that is not what its name says.
    disk.sync_names()?;
    Ok(files)
}

/// Makes the first segment of a log.
fn begin_log(outside: &Outside, config: &LogConfig) -> io::Result<()> {
    let header = Header {
        number: 0,
        salt: (outside.salt)(),
        first_sequence: 0,
        created_ms: (outside.now_ms)(),
        epoch: 1,
        recycled: false,
    };
    let table = Table { known_until: 0, next: vec![0; config.partitions as usize] };
    let seed = outside.guards.seed(header.salt);
    let first = epoch_frame(seed, header.first_sequence, header.epoch, header.created_ms, &table);
    segment::begin(&*outside.disk, None, &header, &first, outside.guards.head_first).map(drop)
}

/// The last segment.
struct Last {
    header: Header,
    file: Arc<dyn DataFile>,
    scan: Scan,
}

/// What has been found so far, from the oldest segment on.
#[derive(Default)]
struct Found {
    segments: VecDeque<Segment>,
    gaps: Vec<Gap>,
    /// Where the partitions and the sequence stand behind what has been read; `None` before the first segment.
    next: Option<(Vec<u64>, u64)>,
    epoch: u32,
}

impl Found {
    /// A segment that is not the last: its end is read, or else all of it.
    fn sealed(&mut self, outside: &Outside, number: u64) -> Result<(), OpenError> {
        let (file, header) = match self.head_of(outside, number) {
            // The rest can be read without it.
            Err(OpenError::Damaged { path, at, .. }) => {
                self.gaps.push(Gap { file: path, at, bytes: 0, frames: 0 });
                return Ok(());
            }
            opened => opened?,
        };
        let failed = |e| io_error(file.path(), e);
        self.is_continued_by(outside, &header);
        let seed = outside.guards.seed(header.salt);
        let (index, end, sequence) = match read_end(&*file, seed).map_err(failed)? {
            Some(end) => end,
            None => {
                let bases = self.next.as_ref().map(|(next, _)| next.clone());
                let scan = scan(&file, &header, bases, outside.guards).map_err(failed)?;
                let index = scan.index.ok_or_else(|| no_table(&*file))?;
                self.gaps.extend(scan.gaps);
                self.epoch = self.epoch.max(scan.epoch);
                (index, scan.end, scan.sequence)
            }
        };
        self.next = Some((index.next(), sequence));
        self.segments.push_back(Segment { number, file, seed, end, index });
        Ok(())
    }

    /// The last segment is walked through.
    fn last(
        &mut self,
        outside: &Outside,
        number: u64,
    ) -> Result<(Header, Arc<dyn DataFile>, Scan), OpenError> {
        let (file, header) = self.head_of(outside, number)?;
        self.is_continued_by(outside, &header);
        let bases = self.next.take().map(|(next, _)| next);
        let scan = scan(&file, &header, bases, outside.guards).map_err(|e| io_error(file.path(), e))?;
        Ok((header, file, scan))
    }

    fn head_of(&self, outside: &Outside, number: u64) -> Result<(Arc<dyn DataFile>, Header), OpenError> {
        let name = segment::name(number);
        let path = outside.disk.path(&name);
        let file = outside.disk.open(&name).map_err(|e| io_error(&path, e))?;
        match segment::read_header(&*file, number) {
            Ok(header) => Ok((file, header)),
            Err(BadHead::Version(found)) => Err(OpenError::Version { path, found }),
            Err(BadHead::Damaged(at, why)) => Err(OpenError::Damaged { path, at, why }),
            Err(BadHead::Io(e)) => Err(io_error(&path, e)),
        }
    }

    /// Notes what is missing between the segment before and this one.
    fn is_continued_by(&mut self, outside: &Outside, header: &Header) {
        self.epoch = self.epoch.max(header.epoch);
        let before = self.next.as_ref().map_or(header.first_sequence, |(_, sequence)| *sequence);
        if before < header.first_sequence {
            let file = outside.disk.path(&segment::name(header.number.saturating_sub(1)));
            let at = self.segments.back().filter(|s| s.number + 1 == header.number).map_or(0, |s| s.end);
            self.gaps.push(Gap { file, at, bytes: 0, frames: header.first_sequence - before });
        }
    }

    fn opened(
        mut self,
        outside: &Outside,
        config: &LogConfig,
        spares: Vec<String>,
        announced: bool,
        Last { header, file, scan }: Last,
    ) -> Result<Opened, OpenError> {
        let disk = &*outside.disk;
        let mut index = scan.index.ok_or_else(|| no_table(&*file))?;
        let (found, asked) = (u32::try_from(index.partitions()).unwrap_or(u32::MAX), config.partitions);
        if found > asked {
            return Err(OpenError::FewerPartitions { path: disk.path(""), found, asked });
        }
        index.grow(asked as usize);
        let (next, seed) = (index.next(), outside.guards.seed(header.salt));
        let fresh = index.is_empty();
        let file_bytes = file.bytes().map_err(|e| io_error(file.path(), e))?;
        self.gaps.extend(scan.gaps);
        self.segments.push_back(Segment {
            number: header.number,
            file: file.clone(),
            seed,
            end: scan.end,
            index,
        });
        let view = View::new(self.segments, next.clone());
        let (groups, groups_lost) = read_groups(disk, &next)?;
        let starts: Vec<u64> = (0..next.len()).map(|p| view.bounds(p).start.0).collect();
        let records = next.iter().zip(&starts).map(|(next, start)| next.saturating_sub(*start)).sum();
        let known_until = scan.cut.as_ref().map_or(0, |cut| cut.at + cut.bytes).max(scan.known_until);
        let tail = Tail {
            file,
            number: header.number,
            seed,
            at: scan.end,
            file_bytes,
            fresh,
            sequence: scan.sequence,
            epoch: self.epoch.max(scan.epoch) + u32::from(!announced),
            written: 0,
            taken: Default::default(),
            bytes_done: 0,
            batches_done: 0,
            placed: Vec::new(),
            unsynced: 0,
        };
        let recovery = Recovery { records, ends: next, cut: scan.cut, gaps: self.gaps, groups_lost };
        Ok(Opened { view, tail, groups, spares, recovery, known_until, announced })
    }
}

/// The index at the end of a full segment, the byte behind its last frame, and the sequence behind that; `None` if it
/// is not there.
fn read_end(file: &dyn DataFile, seed: u32) -> io::Result<Option<(Index, u64, u64)>> {
    let bytes = file.bytes()?;
    let Some(head_at) = bytes.checked_sub(HEAD_BYTES as u64).filter(|at| *at >= FIRST_FRAME) else {
        return Ok(None);
    };
    let mut head = [0; HEAD_BYTES];
    file.read_at(head_at, &mut head)?;
    let head = Head::parse(seed, &head).filter(|head| head.kind == Kind::End);
    let Some((head, at)) =
        head.and_then(|head| Some((head, head_at.checked_sub(u64::from(head.body_bytes))?)))
    else {
        return Ok(None);
    };
    let mut body = vec![0; head.body_bytes as usize];
    file.read_at(at, &mut body)?;
    let index = if head.fits(&body) { Index::decode(&body) } else { None };
    Ok(index.map(|(index, end)| (index, end, head.sequence)))
}

/// How far the groups came. What cannot be read is as if nobody had committed: records are read again.
fn read_groups(disk: &dyn Disk, ends: &[u64]) -> Result<(Groups, Option<String>), OpenError> {
    let path = disk.path(GROUPS);
    let Some(text) = disk::read(disk, GROUPS).map_err(|e| io_error(&path, e))? else {
        return Ok((Groups::default(), None));
    };
    match Groups::decode(&text) {
        Ok(mut groups) => {
            groups.forget_beyond(ends);
            Ok((groups, None))
        }
        Err(why) => Ok((Groups::default(), Some(format!("{}: {why}", path.display())))),
    }
}

fn no_table(file: &dyn DataFile) -> OpenError {
    let why =
        "the frame that says where the partitions stand is damaged, and no older segment says it".to_owned();
    OpenError::Damaged { path: file.path().to_owned(), at: FIRST_FRAME, why }
}

pub(crate) fn io_error(path: &Path, source: io::Error) -> OpenError {
    OpenError::Io { path: path.to_owned(), source }
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the log holds {} records", self.records)?;
        if let Some(Cut { file, at, bytes, frames, records, why }) = &self.cut {
            write!(f, "; {bytes} bytes were CUT off {} from byte {at} on: {why}", file.display())?;
            write!(
                f,
                " ({frames} frames with {records} records could be told; the partitions end at {:?})",
                self.ends
            )?;
        }
        for Gap { file, at, bytes, frames } in &self.gaps {
            write!(
                f,
                "; {} is DAMAGED from byte {at} on, {bytes} bytes and {frames} frames",
                file.display()
            )?;
        }
        if let Some(why) = &self.groups_lost {
            write!(f, "; its groups begin again, {why}")?;
        }
        Ok(())
    }
}
