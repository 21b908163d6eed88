//! A segment file: its name and its head (`FORMAT.md`), and how one is begun.
//!
//! A segment is made whole before it has its name: head and first frame are on disk, then it is renamed, then the name
//! is on disk, and only then frames follow. So a name never stands for half a head, and where a file is used again none
//! of its old frames is overwritten before the new salt is durable.

use crc32c::{crc32c, crc32c_append};
use queue::{
    disk::{self, DataFile, Disk},
    frame::{u32_at, u64_at},
};
use std::{io, sync::Arc};

/// Where the first frame begins.
pub(crate) const FIRST_FRAME: u64 = 2 * COPY_BYTES as u64;

/// What every segment begins with; the version follows.
const MAGIC: [u8; 3] = *b"SCL";
/// Segments are begun in this version …
pub(crate) const VERSION: u8 = 3;
/// … and read if they have this one or a later one. Version 2 knew neither packed bodies nor batches.
const VERSION_MIN: u8 = 2;
/// The head stands twice, each copy in a sector of its own: without the salt in it nothing in the segment can be read.
const COPY_BYTES: usize = 512;
/// u32, over what is before it, from version 3 on, and everything behind it.
const CHECKSUM: usize = 4;
/// u64.
const NUMBER: usize = CHECKSUM + 4;
/// u64.
const SALT: usize = NUMBER + 8;
/// u64.
const FIRST_SEQUENCE: usize = SALT + 8;
/// u64.
const CREATED: usize = FIRST_SEQUENCE + 8;
/// u32.
const EPOCH: usize = CREATED + 8;
/// u32: 1 if the file has been another segment before.
const RECYCLED: usize = EPOCH + 4;
const HEADER_BYTES: usize = RECYCLED + 4;

const SEGMENT: &str = ".log";
const SPARE: &str = ".spare";
/// Zeros in front, so that names sort as numbers do.
const NAME_DIGITS: usize = 20;

/// What stands at the begin of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// What may stand in it.
    pub(crate) version: u8,
    /// One more than that of the segment before.
    pub(crate) number: u64,
    /// Never the same twice.
    pub(crate) salt: u64,
    /// The sequence of its first frame.
    pub(crate) first_sequence: u64,
    pub(crate) created_ms: u64,
    /// Of its first frame.
    pub(crate) epoch: u32,
    /// Whether old bytes lie behind the last frame; zeros otherwise.
    pub(crate) recycled: bool,
}

impl Header {
    fn copy(&self) -> [u8; HEADER_BYTES] {
        let mut copy = [0; HEADER_BYTES];
        copy[..MAGIC.len()].copy_from_slice(&MAGIC);
        copy[MAGIC.len()] = self.version;
        copy[NUMBER..SALT].copy_from_slice(&self.number.to_le_bytes());
        copy[SALT..FIRST_SEQUENCE].copy_from_slice(&self.salt.to_le_bytes());
        copy[FIRST_SEQUENCE..CREATED].copy_from_slice(&self.first_sequence.to_le_bytes());
        copy[CREATED..EPOCH].copy_from_slice(&self.created_ms.to_le_bytes());
        copy[EPOCH..RECYCLED].copy_from_slice(&self.epoch.to_le_bytes());
        copy[RECYCLED..].copy_from_slice(&u32::from(self.recycled).to_le_bytes());
        let checksum = Self::checksum(self.version, &copy);
        copy[CHECKSUM..NUMBER].copy_from_slice(&checksum.to_le_bytes());
        copy
    }

    fn checksum(version: u8, copy: &[u8]) -> u32 {
        let before = if version > VERSION_MIN { crc32c(&copy[..CHECKSUM]) } else { 0 };
        crc32c_append(before, &copy[NUMBER..HEADER_BYTES])
    }

    /// Both copies, to the begin of the first frame.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; 2 * COPY_BYTES];
        for at in [0, COPY_BYTES] {
            bytes[at..at + HEADER_BYTES].copy_from_slice(&self.copy());
        }
        bytes
    }

    fn parse(copy: &[u8]) -> Option<Self> {
        let version = Some(copy[MAGIC.len()]).filter(|version| (VERSION_MIN..=VERSION).contains(version))?;
        let whole = copy.starts_with(&MAGIC) && u32_at(copy, CHECKSUM) == Self::checksum(version, copy);
        whole.then(|| Self {
            version,
            number: u64_at(copy, NUMBER),
            salt: u64_at(copy, SALT),
            first_sequence: u64_at(copy, FIRST_SEQUENCE),
            created_ms: u64_at(copy, CREATED),
            epoch: u32_at(copy, EPOCH),
            recycled: u32_at(copy, RECYCLED) != 0,
        })
    }
}

/// What is wrong with a head.
#[derive(Debug)]
pub(crate) enum BadHead {
    /// It is that of another version.
    Version(u8),
    /// The byte, and what is wrong there.
    Damaged(u64, String),
    /// It cannot be read.
    Io(io::Error),
}

/// Reads the head of the segment of this number, from either copy.
pub(crate) fn read_header(file: &dyn DataFile, number: u64) -> Result<Header, BadHead> {
    let mut bytes = vec![0; 2 * COPY_BYTES];
    let there = file.bytes().map_err(BadHead::Io)?.min(FIRST_FRAME);
    let there = usize::try_from(there).unwrap_or_default();
    file.read_at(0, &mut bytes[..there]).map_err(BadHead::Io)?;
    let copies = [0, COPY_BYTES].map(|at| Header::parse(&bytes[at..]));
    if let Some(header) = copies.into_iter().flatten().find(|header| header.number == number) {
        return Ok(header);
    }
    let version = bytes[MAGIC.len()];
    if bytes.starts_with(&MAGIC) && !(VERSION_MIN..=VERSION).contains(&version) {
        return Err(BadHead::Version(version));
    }
    if let Some(header) = copies.into_iter().flatten().next() {
        let why = format!("expected the head of segment {number}, found that of segment {}", header.number);
        return Err(BadHead::Damaged(NUMBER as u64, why));
    }
    Err(BadHead::Damaged(0, "both copies of the segment's head are damaged".to_owned()))
}

/// Makes a segment of this head and this first frame, from a spare file if there is one.
pub(crate) fn begin(
    disk: &dyn Disk,
    spare: Option<&str>,
    header: &Header,
    first_frame: &[u8],
    synced_first: bool,
) -> io::Result<Arc<dyn DataFile>> {
    let name = name(header.number);
    let unfinished = disk::unfinished(&name);
    let (from, file) = match spare {
        Some(spare) => (spare, disk.open(spare)?),
        None => (unfinished.as_str(), disk.create(&unfinished)?),
    };
    file.write_at(0, &header.encode())?;
    file.write_at(FIRST_FRAME, first_frame)?;
    if synced_first {
        file.sync()?;
    }
    disk.rename(from, &name)?;
    disk.sync_names()?;
    disk.open(&name)
}

/// What the segment of this number is called.
pub(crate) fn name(number: u64) -> String {
    format!("{number:0NAME_DIGITS$}{SEGMENT}")
}

/// What it is called once nobody needs it and its file waits to be used again.
pub(crate) fn spare_name(number: u64) -> String {
    format!("{number:0NAME_DIGITS$}{SPARE}")
}

/// The number of the segment of this name; `None` if it is no segment.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SEGMENT)?;
    let right = digits.len() == NAME_DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
    if right { digits.parse().ok() } else { None }
}

/// Whether this is the name of a spare file.
pub(crate) fn is_spare(name: &str) -> bool {
    name.ends_with(SPARE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use queue::sim::SimDisk;

    #[test]
    fn names_sort_as_numbers_do_and_read_back() {
        let numbers = [0, 1, 9, 10, 99_999, u64::MAX];
        let names: Vec<_> = numbers.iter().map(|n| name(*n)).collect();
        assert!(names.is_sorted());
        assert_eq!(names.iter().map(|n| number_of(n)).collect::<Vec<_>>(), numbers.map(Some));
        for strange in ["", "groups", "1.log", "0000000000000000000x.log", "00000000000000000000.log.tmp"] {
            assert_eq!(number_of(strange), None, "{strange}");
        }
        assert_eq!(number_of("99999999999999999999.log"), None, "beyond a u64");
    }

    #[test]
    fn a_head_is_read_as_long_as_one_of_its_copies_is_whole() {
        let header = Header {
            version: VERSION,
            number: 7,
            salt: 1,
            first_sequence: 2,
            created_ms: 3,
            epoch: 4,
            recycled: true,
        };
        let right = header.encode();
        let read = |bytes: &[u8]| {
            let disk = SimDisk::new(1);
            disk.create("file").unwrap().write_at(0, bytes).unwrap();
            read_header(&*disk.open("file").unwrap(), 7)
        };
        assert_eq!(read(&right).unwrap(), header);
        for at in 0..HEADER_BYTES {
            let mut wrong = right.clone();
            wrong[at] ^= 1;
            assert_eq!(read(&wrong).unwrap(), header, "byte {at} of the first");
            wrong[at] ^= 1;
            wrong[COPY_BYTES + at] ^= 1;
            assert_eq!(read(&wrong).unwrap(), header, "byte {at} of the second");
            wrong[at] ^= 1;
            assert!(read(&wrong).is_err(), "byte {at} of both");
        }
        assert!(read(&right[..100]).is_ok() && read(&right[..10]).is_err());
    }
}
