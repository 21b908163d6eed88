//! A whole log, frame by frame, every checksum: what is damaged, and what a crash has left. Nothing is changed.
//!
//! Opening reads the last segment and the ends of the others; damage further back is told to who reads there, perhaps
//! weeks later. This reads everything now. A segment that is followed by another was on disk before that was begun, so
//! in it nothing can be torn: what is not whole is damage.

use super::{
    Guards,
    recovery::read_end,
    scan::{Scan, scan_synced},
    segment::{self, BadHead, Header},
};
use contracts::queue::{Bounds, Offset};
use queue::{
    disk::{DataFile, Disk},
    open::{Damage, OpenError, Verified, io_error},
};
use std::{path::PathBuf, sync::Arc};

/// Reads all of a log.
pub(super) fn verify(disk: &dyn Disk) -> Result<Verified, OpenError> {
    let names = disk.list().map_err(|e| io_error(&disk.path(""), e))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| segment::number_of(name)).collect();
    if numbers.is_empty() {
        return Err(OpenError::NotVerifiable { path: disk.path("") });
    }
    numbers.sort_unstable();
    let mut found = Finding { verified: Verified::default(), next: None, starts: None };
    let opened = numbers.into_iter().map(|number| found.open(disk, number));
    let opened: Vec<_> = opened.collect::<Result<_, _>>()?;
    let mut segments = opened.into_iter().flatten().peekable();
    while let Some((file, header)) = segments.next() {
        let behind = segments.peek().map(|(_, next)| next.first_sequence);
        found.read(&file, &header, behind).map_err(|e| io_error(file.path(), e))?;
    }
    Ok(found.finished())
}

/// A segment whose head could be read.
type Readable = (Arc<dyn DataFile>, Header);

struct Finding {
    verified: Verified,
    /// Where partitions and sequence stand behind what has been read.
    next: Option<(Vec<u64>, u64)>,
    /// Where the partitions begin.
    starts: Option<Vec<u64>>,
}

impl Finding {
    /// Reads the head; `None` if it is damaged, and so all of the segment is lost.
    fn open(&mut self, disk: &dyn Disk, number: u64) -> Result<Option<Readable>, OpenError> {
        let name = segment::name(number);
        let path = disk.path(&name);
        let file = disk.open(&name).map_err(|e| io_error(&path, e))?;
        let bytes = file.bytes().map_err(|e| io_error(&path, e))?;
        (self.verified.segments, self.verified.bytes) =
            (self.verified.segments + 1, self.verified.bytes + bytes);
        match segment::read_header(&*file, number) {
            Ok(header) => Ok(Some((file, header))),
            Err(BadHead::Version(found)) => Err(OpenError::Version { path, found, reads: segment::VERSION }),
            Err(BadHead::Io(e)) => Err(io_error(&path, e)),
            Err(BadHead::Damaged(at, why)) => {
                self.damaged(path, at, bytes - at, 0, format!("{why}: nothing in it can be read"));
                Ok(None)
            }
        }
    }

    /// Reads a segment; `behind` is the first sequence of the one behind it, before which everything was on disk.
    fn read(
        &mut self,
        file: &Arc<dyn DataFile>,
        header: &Header,
        behind: Option<u64>,
    ) -> std::io::Result<()> {
        let expected = self.next.as_ref().map_or(header.first_sequence, |(_, sequence)| *sequence);
        if expected < header.first_sequence {
            let lost = header.first_sequence - expected;
            self.damaged(
                file.path().to_owned(),
                0,
                0,
                lost,
                "frames are missing before this file".to_owned(),
            );
        }
        let bases = self.next.take().map(|(next, _)| next);
        let scan = scan_synced(file, header, bases, Guards::ALL, behind.unwrap_or(0))?;
        let lost_within: u64 = scan.gaps.iter().map(|gap| gap.frames).sum();
        self.verified.frames += scan.sequence - header.first_sequence - lost_within;
        for gap in &scan.gaps {
            let what = "frames are changed or missing".to_owned();
            self.damaged(gap.file.clone(), gap.at, gap.bytes, gap.frames, what);
        }
        match behind {
            None => self.verified.torn = scan.cut.clone(),
            Some(behind) => self.read_to_the_end(&**file, header, &scan, behind)?,
        }
        let next = scan.index.as_ref().map(|index| {
            let bases = || (0..index.partitions()).map(|partition| index.base(partition)).collect();
            self.starts.get_or_insert_with(bases);
            index.next()
        });
        self.next = next.map(|next| (next, behind.unwrap_or(scan.sequence)));
        Ok(())
    }

    /// A segment that is full: its last frames, and the index at its end.
    fn read_to_the_end(
        &mut self,
        file: &dyn DataFile,
        header: &Header,
        scan: &Scan,
        behind: u64,
    ) -> std::io::Result<()> {
        let end = read_end(file, Guards::ALL.seed(header.salt))?;
        if scan.sequence < behind {
            let upto = end.as_ref().map_or(0, |(_, end, _)| *end);
            let what = "its last frames are changed or missing".to_owned();
            let bytes = upto.saturating_sub(scan.end);
            self.damaged(file.path().to_owned(), scan.end, bytes, behind - scan.sequence, what);
        }
        if end.is_none() {
            let what =
                "the index at its end is damaged; it is made again whenever the log is opened".to_owned();
            self.damaged(file.path().to_owned(), file.bytes()?, 0, 0, what);
        }
        Ok(())
    }

    fn damaged(&mut self, file: PathBuf, at: u64, bytes: u64, frames: u64, what: String) {
        self.verified.damage.push(Damage { file, at, bytes, frames, what });
    }

    fn finished(self) -> Verified {
        let mut starts = self.starts.unwrap_or_default();
        let next = self.next.map_or(Vec::new(), |(next, _)| next);
        starts.resize(next.len(), 0);
        let bounds = |(start, end)| Bounds { start: Offset(start), end: Offset(end) };
        Verified { partitions: starts.into_iter().zip(next).map(bounds).collect(), ..self.verified }
    }
}
