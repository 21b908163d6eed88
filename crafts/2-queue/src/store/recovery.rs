//! Opening a directory: what a crash left, made whole again.
//!
//! All segments but the last were synced before the next was begun, and end with their index: of those only the ends are
//! read. The last is walked through (`scan`). What follows its last whole frame is cut off, and [`Recovery`] says what
//! that was. After `kill -9` this can only be frames that nobody was told of; after a power cut also such as were
//! acknowledged at `os`.

use super::{
    Guards,
    index::{Index, Table},
    retention::SPARES_MAX,
    scan::{Scan, scan},
    segment::{self, BadHead, FIRST_FRAME, Header},
    tail::{Tail, epoch_frame},
    view::{Segment, View},
};
use queue::{
    disk::{self, DataFile, Disk},
    frame::{HEAD_BYTES, Head, Kind},
    line::Taken,
    open::{Gap, LogConfig, OpenError, Recovery, io_error},
    outside::Outside,
};
use std::{collections::VecDeque, io, sync::Arc};

/// Everything that opening finds.
pub(crate) struct Opened {
    pub(crate) view: View,
    pub(crate) tail: Tail,
    pub(crate) spares: Vec<String>,
    pub(crate) recovery: Recovery,
    /// Behind the tail, what was cut off ends here.
    pub(crate) known_until: u64,
    /// Whether the segment was begun just now, and so says already that this opening writes.
    pub(crate) announced: bool,
}

/// Opens the log in this directory, or begins one.
pub(crate) fn open(outside: &Outside, config: &LogConfig, guards: Guards) -> Result<Opened, OpenError> {
    let disk = &*outside.disk;
    let names = disk.list().map_err(|e| io_error(&disk.path(""), e))?;
    let mut files = sort_names(disk, names).map_err(|e| io_error(&disk.path(""), e))?;
    let announced = files.segments.is_empty();
    if announced {
        begin_log(outside, config, guards).map_err(|e| io_error(&disk.path(""), e))?;
        files.segments.push(0);
    }
    let mut found = Found::new(guards);
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
    for spare in files.spares.drain(SPARES_MAX.min(files.spares.len())..) {
        disk.remove(&spare)?;
    }
    // A process that was killed may have left names that are not on disk yet. A spare file whose old name came back once it
    // has a new head would be a segment that is not what its name says.
    disk.sync_names()?;
    Ok(files)
}

/// Makes the first segment of a log.
fn begin_log(outside: &Outside, config: &LogConfig, guards: Guards) -> io::Result<()> {
    let header = Header {
        version: segment::VERSION,
        number: 0,
        salt: (outside.salt)(),
        first_sequence: 0,
        created_ms: (outside.now_ms)(),
        epoch: 1,
        recycled: false,
    };
    let table = Table { known_until: 0, next: vec![0; config.partitions as usize] };
    let seed = guards.seed(header.salt);
    let first = epoch_frame(seed, header.first_sequence, header.epoch, header.created_ms, &table);
    segment::begin(&*outside.disk, None, &header, &first, guards.head_first).map(drop)
}

/// The last segment.
struct Last {
    header: Header,
    file: Arc<dyn DataFile>,
    scan: Scan,
}

/// What has been found so far, from the oldest segment on.
struct Found {
    guards: Guards,
    segments: VecDeque<Segment>,
    gaps: Vec<Gap>,
    /// Where the partitions and the sequence stand behind what has been read; `None` before the first segment.
    next: Option<(Vec<u64>, u64)>,
    epoch: u32,
}

impl Found {
    fn new(guards: Guards) -> Self {
        Self { guards, segments: VecDeque::new(), gaps: Vec::new(), next: None, epoch: 0 }
    }

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
        let seed = self.guards.seed(header.salt);
        let (index, end, sequence) = match read_end(&*file, seed).map_err(failed)? {
            Some(end) => end,
            None => {
                let bases = self.next.as_ref().map(|(next, _)| next.clone());
                let scan = scan(&file, &header, bases, self.guards).map_err(failed)?;
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
        let scan = scan(&file, &header, bases, self.guards).map_err(|e| io_error(file.path(), e))?;
        Ok((header, file, scan))
    }

    fn head_of(&self, outside: &Outside, number: u64) -> Result<(Arc<dyn DataFile>, Header), OpenError> {
        let name = segment::name(number);
        let path = outside.disk.path(&name);
        let file = outside.disk.open(&name).map_err(|e| io_error(&path, e))?;
        match segment::read_header(&*file, number) {
            Ok(header) => Ok((file, header)),
            Err(BadHead::Version(found)) => Err(OpenError::Version { path, found, reads: segment::VERSION }),
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
        let (next, seed) = (index.next(), self.guards.seed(header.salt));
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
            version: header.version,
            batches: scan.batches,
            taken: Taken::default(),
            placed: Vec::new(),
        };
        let recovery = Recovery { records, ends: next, cut: scan.cut, gaps: self.gaps, groups_lost: None };
        Ok(Opened { view, tail, spares, recovery, known_until, announced })
    }
}

/// The index at the end of a full segment, the byte behind its last frame, and the sequence behind that; `None` if it
/// is not there.
pub(super) fn read_end(file: &dyn DataFile, seed: u32) -> io::Result<Option<(Index, u64, u64)>> {
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

fn no_table(file: &dyn DataFile) -> OpenError {
    let why =
        "the frame that says where the partitions stand is damaged, and no older segment says it".to_owned();
    OpenError::Damaged { path: file.path().to_owned(), at: FIRST_FRAME, why }
}
