//! What a load has seen, on files that outlive it.
//!
//! Each thread writes a file of its own. A note is as long as any other, so that one which was cut short by the kill is
//! known by its length. It is a fact: it is written after what it tells, but for a commit, which is announced.

use super::record::{Batch, Tag};
use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

/// Words of a note; each has eight bytes.
const WORDS: usize = 6;
const NOTE_BYTES: usize = WORDS * 8;

/// One thing that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// The log has answered for a batch; it begins at this offset, if the log told.
    Acknowledged { batch: Batch, offset: Option<u64> },
    /// A member was handed these consecutive records of one batch.
    Read(Run),
    /// A member was handed bytes that nobody has sent.
    Broken { partition: u32, offset: u64 },
    /// A member is about to commit.
    Commits { partition: u32, next: u64 },
}

/// Consecutive records of one batch, as a member got them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) member: u16,
    pub(super) generation: u64,
    pub(super) partition: u32,
    pub(super) offset: u64,
    pub(super) first: Tag,
    pub(super) records: u32,
}

impl Run {
    /// Whether this record is the next of the run.
    pub(super) fn goes_on_with(&self, offset: u64, tag: Tag) -> bool {
        let Tag { batch, index } = self.first;
        let next = Tag { batch, index: index.wrapping_add(self.records) };
        offset == self.offset + u64::from(self.records) && tag == next
    }

    /// Its records: where they lie, and what they are.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, Tag)> {
        let Self { offset, first: Tag { batch, index }, .. } = *self;
        let record = move |n| (offset + u64::from(n), Tag { batch, index: index.wrapping_add(n) });
        (0..self.records).map(record)
    }
}

const NO_OFFSET: u64 = u64::MAX;

impl Note {
    fn words(&self) -> [u64; WORDS] {
        match *self {
            Self::Acknowledged { batch, offset } => {
                let [a, b] = batch_words(batch);
                [1, a, b, offset.unwrap_or(NO_OFFSET), 0, 0]
            }
            Self::Read(Run { member, generation, partition, offset, first, records }) => {
                let [a, b] = batch_words(first.batch);
                let kind = 2 | u64::from(member) << 8 | u64::from(partition) << 32;
                let place = u64::from(first.index) << 32 | u64::from(records);
                [kind, a, b, offset, generation, place]
            }
            Self::Broken { partition, offset } => [3, u64::from(partition), offset, 0, 0, 0],
            Self::Commits { partition, next } => [4, u64::from(partition), next, 0, 0, 0],
        }
    }

    fn of(words: [u64; WORDS]) -> Option<Self> {
        let partition = low(words[1]);
        Some(match words[0] & 0xff {
            1 => Self::Acknowledged {
                batch: batch_of(words[1], words[2]),
                offset: (words[3] != NO_OFFSET).then_some(words[3]),
            },
            2 => Self::Read(Run {
                member: u16::try_from(low(words[0]) >> 8).ok()?,
                partition: high(words[0]),
                generation: words[4],
                offset: words[3],
                first: Tag { batch: batch_of(words[1], words[2]), index: high(words[5]) },
                records: low(words[5]),
            }),
            3 => Self::Broken { partition, offset: words[2] },
            4 => Self::Commits { partition, next: words[2] },
            _ => return None,
        })
    }
}

fn batch_words(batch: Batch) -> [u64; 2] {
    let Batch { producer, partition, life, number } = batch;
    [u64::from(producer) << 32 | u64::from(partition), u64::from(life) << 32 | u64::from(number)]
}

fn batch_of(a: u64, b: u64) -> Batch {
    Batch { producer: high(a), partition: low(a), life: high(b), number: low(b) }
}

fn high(word: u64) -> u32 {
    u32::try_from(word >> 32).unwrap_or(u32::MAX)
}

fn low(word: u64) -> u32 {
    u32::try_from(word & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

/// One thread's notes.
pub(super) struct Notebook {
    file: File,
    buffer: Vec<u8>,
}

impl Notebook {
    pub(super) fn new(dir: &Path, thread: &str) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(dir.join(format!("{thread}.notes")))?;
        Ok(Self { file, buffer: Vec::new() })
    }

    pub(super) fn note(&mut self, note: Note) {
        self.buffer.extend(note.words().iter().flat_map(|word| word.to_le_bytes()));
    }

    /// Hands what was noted to the system. What is true only then may be done after it.
    pub(super) fn keep(&mut self) -> io::Result<()> {
        self.file.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

/// What all threads of a life have noted.
pub(super) fn read(dir: &Path) -> io::Result<Vec<Note>> {
    let mut notes = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "notes") {
            for bytes in fs::read(&path)?.as_chunks::<NOTE_BYTES>().0 {
                let words = std::array::from_fn(|n| {
                    bytes[n * 8..].first_chunk().map_or(0, |word| u64::from_le_bytes(*word))
                });
                notes.push(Note::of(words).ok_or_else(|| io::Error::other(format!("{words:?} is no note")))?);
            }
        }
    }
    Ok(notes)
}
