//! Slot: where records lie. Each message in a file of its own: `PARTITION-OFFSET.msg`.
//!
//! A file is written and synced under another name, and then gets its own: a name never stands for half a message. What
//! makes the name durable is a sync of the directory. So a message at `disk` costs two syncs, of which each has the file
//! system write its own books as well. Names change in their order, as in a journal: what a power cut leaves of them
//! is their begin.
//!
//! What is wrong with it: the price is a message's, not a batch's. A message of a hundred bytes takes a file's
//! blocks on the disk and a file's time; a directory of a million names is slow by itself; opening the log looks at every
//! one of them; and nothing tells whether the bytes in a file are those that were written.

use contracts::queue::{Ack, Bounds, FetchLimit, LogError, Offset, Partition, Records};
use parking_lot::Mutex;
use queue::{
    disk::{self, DataFile, Disk},
    frame::{CODEC_RAW, RecordsIn},
    line::{Pending, Taken},
    marks::Marks,
    open::{Gap, LogConfig, OpenError, Recovery, io_error},
    outside::Outside,
    slots::{Store, Unpack},
};
use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::Arc,
};

const MESSAGE: &str = ".msg";
/// Zeros in front, so that names sort as offsets do.
const NAME_DIGITS: usize = 20;

/// A file for each message.
#[derive(Debug)]
pub struct FilePerMessage {
    outside: Arc<Outside>,
    bytes_max: u64,
    marks: Marks,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    taken: Taken,
    partitions: Vec<Files>,
    /// In all files.
    bytes: u64,
}

/// One partition's files.
#[derive(Debug, Default)]
struct Files {
    start: u64,
    /// How long each is, from the start on; `None` where one is missing.
    bytes: VecDeque<Option<u64>>,
}

impl Files {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    fn bounds(&self) -> Bounds {
        Bounds { start: Offset(self.start), end: Offset(self.end()) }
    }

    /// Where the next file is that is not missing.
    fn next_there(&self, offset: u64) -> u64 {
        let behind = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        let missing = self.bytes.iter().skip(behind).take_while(|bytes| bytes.is_none()).count();
        offset + missing as u64
    }
}

impl Store for FilePerMessage {
    const ACK_MAX: Ack = Ack::Disk;

    fn open(outside: &Arc<Outside>, config: &LogConfig) -> Result<(Self, Recovery), OpenError> {
        let disk = &*outside.disk;
        let found = list(disk).map_err(|e| io_error(&disk.path(""), e))?;
        let known = found.keys().last().map_or(0, |(partition, _)| partition + 1);
        if known > config.partitions {
            return Err(OpenError::FewerPartitions {
                path: disk.path(""),
                found: known,
                asked: config.partitions,
            });
        }
        let mut partitions: Vec<_> = (0..config.partitions).map(|_| Files::default()).collect();
        let mut gaps = Vec::new();
        for ((partition, offset), bytes) in &found {
            let files = &mut partitions[*partition as usize];
            if files.bytes.is_empty() {
                files.start = *offset;
            }
            if files.end() < *offset {
                let file = disk.path(&name(*partition, files.end()));
                gaps.push(Gap { file, at: 0, bytes: 0, frames: *offset - files.end() });
            }
            let end = usize::try_from(*offset - files.start).unwrap_or(usize::MAX);
            files.bytes.resize(end, None);
            files.bytes.push_back(Some(*bytes));
        }
        let ends = partitions.iter().map(Files::end).collect();
        let records = partitions.iter().map(|files| files.bytes.len() as u64).sum();
        let recovery = Recovery { records, ends, gaps, ..Recovery::default() };
        let state = State { taken: Taken::default(), partitions, bytes: found.values().sum() };
        let (outside, bytes_max) = (outside.clone(), config.retained_bytes_max);
        Ok((Self { outside, bytes_max, marks: Marks::default(), state: Mutex::new(state) }, recovery))
    }

    fn marks(&self) -> &Marks {
        &self.marks
    }

    fn append(&self, line: &Mutex<Pending>) -> Result<(), LogError> {
        let mut state = self.state.lock();
        let State { taken, partitions, bytes } = &mut *state;
        while taken.refill(line) {
            while let Some((head, body)) = taken.first() {
                assert!(head.codec == CODEC_RAW, "a file holds a message, not what one was packed into");
                let lengths = || RecordsIn::new(body).map(|message| message.len() as u64);
                let more: u64 = lengths().sum();
                if *bytes + more > self.bytes_max {
                    return Err(self.marks.found_no_room());
                }
                for (offset, message) in (head.base..).zip(RecordsIn::new(body)) {
                    self.write(&name(head.partition, offset), message)?;
                }
                // Only now they can be fetched: a frame that found room for a part of its messages is written again.
                partitions[head.partition as usize].bytes.extend(lengths().map(Some));
                *bytes += more;
                taken.pass_first();
                self.marks.has_written(taken.written(), more);
            }
        }
        self.marks.found_room();
        Ok(())
    }

    fn sync(&self) -> Result<(), LogError> {
        let written = {
            let state = self.state.lock();
            self.marks.begins_sync();
            state.taken.written()
        };
        // What is in the files was synced before they had their names.
        if written > self.marks.reached(Ack::Disk) {
            self.marks.counts_sync();
            let disk = &*self.outside.disk;
            disk.sync_names().map_err(|e| self.marks.breaks(&disk.path(""), &e))?;
            self.marks.has_synced(written);
        }
        Ok(())
    }

    fn bounds(&self, partition: Partition) -> Bounds {
        self.state.lock().partitions[partition.0 as usize].bounds()
    }

    fn fetch(
        &self,
        partition: Partition,
        from: Offset,
        limit: FetchLimit,
        _: Unpack,
        out: &mut Records,
    ) -> Result<(), LogError> {
        let bounds = self.bounds(partition);
        if from < bounds.start || from > bounds.end {
            return Err(LogError::OffsetOutOfRange { asked: from, bounds });
        }
        for offset in from.0..bounds.end.0 {
            let name = name(partition.0, offset);
            match disk::read(&*self.outside.disk, &name) {
                Ok(Some(message)) if out.has_room(message.len(), limit) => out.push(Offset(offset), &message),
                Ok(Some(_)) => return Ok(()),
                // What is there before it is given first.
                Ok(None) | Err(_) if !out.is_empty() => return Ok(()),
                Ok(None) => return self.tell_missing(partition, offset),
                Err(e) => {
                    let file = self.outside.disk.path(&name);
                    return Err(LogError::Failed(format!("{}: {e}", file.display())));
                }
            }
        }
        Ok(())
    }

    fn retire_consumed(&self, done: &[u64]) -> Result<(), LogError> {
        let mut state = self.state.lock();
        let State { partitions, bytes, .. } = &mut *state;
        for ((partition, files), done) in (0..).zip(partitions).zip(done) {
            // The last one stays: its name says which offset comes next.
            while files.start < *done && files.start + 1 < files.end() {
                let name = name(partition, files.start);
                let gone = files.bytes.front().copied().flatten();
                match self.outside.disk.remove(&name) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => {
                        return Err(LogError::Failed(format!(
                            "{}: {e}",
                            self.outside.disk.path(&name).display()
                        )));
                    }
                    _ => files.bytes.pop_front(),
                };
                files.start += 1;
                *bytes = bytes.saturating_sub(gone.unwrap_or(0));
            }
        }
        Ok(())
    }
}

impl FilePerMessage {
    fn write(&self, name: &str, message: &[u8]) -> Result<(), LogError> {
        let (disk, unfinished) = (&*self.outside.disk, disk::unfinished(name));
        let written = disk.create(&unfinished).and_then(|file| self.fill(&*file, message));
        let named = written.and_then(|()| disk.rename(&unfinished, name));
        named.map_err(|e| self.marks.refuses(&disk.path(name), &e))
    }

    fn fill(&self, file: &dyn DataFile, message: &[u8]) -> io::Result<()> {
        file.write_at(0, message)?;
        self.marks.counts_sync();
        // One that fails breaks the log, also where there was no room: what it has left is not known.
        file.sync().map_err(|e| io::Error::other(e.to_string()))
    }

    /// Says that a message is missing, unless it was dropped while we looked.
    fn tell_missing(&self, partition: Partition, offset: u64) -> Result<(), LogError> {
        let state = self.state.lock();
        let files = &state.partitions[partition.0 as usize];
        let (from, bounds) = (Offset(offset), files.bounds());
        if offset < files.start {
            return Err(LogError::OffsetOutOfRange { asked: from, bounds });
        }
        let next = Offset(files.next_there(offset).max(offset + 1));
        let file = self.outside.disk.path(&name(partition.0, offset));
        Err(LogError::Damaged { partition, from, next, why: format!("{} is missing", file.display()) })
    }
}

/// All messages by partition and offset, and how long they are. Removes what is unfinished.
fn list(disk: &dyn Disk) -> io::Result<BTreeMap<(u32, u64), u64>> {
    let mut found = BTreeMap::new();
    for name in disk.list()? {
        if disk::is_unfinished(&name) {
            disk.remove(&name)?;
        } else if let Some(key) = key_of(&name) {
            found.insert(key, disk.open(&name)?.bytes()?);
        }
    }
    // A process that was killed may have left names that are not on disk yet.
    disk.sync_names()?;
    Ok(found)
}

fn name(partition: u32, offset: u64) -> String {
    format!("{partition}-{offset:0NAME_DIGITS$}{MESSAGE}")
}

/// The partition and the offset of the message of this name; `None` if it is no message.
fn key_of(found: &str) -> Option<(u32, u64)> {
    let (partition, offset) = found.strip_suffix(MESSAGE)?.split_once('-')?;
    let key = (partition.parse().ok()?, offset.parse().ok()?);
    (name(key.0, key.1) == found).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_offsets_do_and_read_back() {
        let offsets = [0, 9, 10, u64::MAX];
        let names: Vec<_> = offsets.iter().map(|offset| name(3, *offset)).collect();
        assert!(names.is_sorted());
        assert_eq!(names.iter().map(|n| key_of(n)).collect::<Vec<_>>(), offsets.map(|o| Some((3, o))));
        for strange in
            ["groups", "lock", "3-4.msg", "+3-00000000000000000004.msg", "3-00000000000000000004.msg.tmp"]
        {
            assert_eq!(key_of(strange), None, "{strange}");
        }
    }
}
