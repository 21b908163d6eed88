//! Slot: where records lie. One file, to whose end everything is appended, frame by frame.
//!
//! ```text
//! wal:  head · frame · frame · frame · … · what a crash has torn
//! ```
//!
//! The head says where all begins: `SCW1 · checksum u32 · partitions u32 · 0 u32 · salt u64 · first sequence u64`, then
//! for each partition its first offset u64. Behind it stand the frames, each at a multiple of 8. A sync is good for all that
//! was appended before, and the disk writes in one place. Each frame has checksums, over its head and over its body, so
//! that what is not whole is told from what is; they begin with the salt, which nobody can guess, so that no record can
//! look like a frame. Opening walks through all of them.
//!
//! A place where no whole frame of the next sequence stands is the end of the log: the power went while it was written. What
//! is behind it is reported and overwritten with zeros, so that nothing of it can ever follow on a new frame. Unless a
//! frame behind it says that the place was on disk before: then it is damage, and the log is not opened, since cutting
//! there would cut what was acknowledged.
//!
//! What nobody needs any more is at the begin, and a file cannot lose its begin. So once it is the half of the file, the
//! other half is copied into a new one, while everybody waits.
//!
//! What is wrong with it: that copy; where each frame lies is kept in memory, and found out again by reading all of the
//! file whenever it is opened; and each append makes the file longer, so that the file system writes its own books
//! with every sync.

use contracts::queue::{Ack, Bounds, FetchLimit, LogError, Offset, Partition, Records};
use crc32c::crc32c;
use parking_lot::Mutex;
use queue::{
    disk::{self, DataFile},
    frame::{self, ALIGN, HEAD_BYTES, Head, RecordsIn, u32_at, u64_at},
    line::{Pending, Taken},
    marks::Marks,
    open::{Cut, LogConfig, OpenError, PARTITIONS_MAX, Recovery, io_error},
    outside::Outside,
    slots::{Store, Unpack},
};
use std::{collections::VecDeque, io, sync::Arc};

const FILE: &str = "wal";
const MAGIC: [u8; 4] = *b"SCW\x01";
/// u32, over everything behind it.
const CHECKSUM: usize = 4;
/// u32, and four zeros.
const PARTITIONS: usize = CHECKSUM + 4;
/// u64.
const SALT: usize = PARTITIONS + 8;
/// u64.
const SEQUENCE: usize = SALT + 8;
/// u64 each.
const STARTS: usize = SEQUENCE + 8;
/// Less than this part of a segment of the usual size is never copied.
const COPY_PART_MIN: u64 = 64;
/// How much is read at once where frames are looked for.
const READ_BYTES: usize = 1 << 20;

/// One file that grows.
#[derive(Debug)]
pub struct WriteAheadLog {
    outside: Arc<Outside>,
    bytes_max: u64,
    copy_bytes_min: u64,
    marks: Marks,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    taken: Taken,
    file: Arc<dyn DataFile>,
    salt: u64,
    /// Where the next frame goes.
    at: u64,
    /// Of the next frame.
    sequence: u64,
    /// All frames before this sequence are on disk.
    synced: u64,
    partitions: Vec<Places>,
}

/// Where one partition's frames lie.
#[derive(Clone, Debug, Default)]
struct Places {
    start: u64,
    next: u64,
    /// First record and byte of each.
    frames: VecDeque<(u64, u64)>,
}

impl Places {
    fn bounds(&self) -> Bounds {
        Bounds { start: Offset(self.start), end: Offset(self.next) }
    }

    /// The frame at or before a record, and those behind it.
    fn from(&self, offset: u64) -> impl Iterator<Item = (u64, u64)> {
        let behind = self.frames.partition_point(|(base, _)| *base <= offset);
        self.frames.range(behind.saturating_sub(1)..).copied()
    }

    /// What of it is left when everything before `done` has gone, by whole frames.
    fn without(&self, done: u64) -> Self {
        let behind = self.frames.partition_point(|(base, _)| *base <= done);
        let gone = if done >= self.next { self.frames.len() } else { behind.saturating_sub(1) };
        let frames: VecDeque<_> = self.frames.range(gone..).copied().collect();
        let start = frames.front().map_or(if gone > 0 { self.next } else { self.start }, |(base, _)| *base);
        Self { start, next: self.next, frames }
    }
}

impl Store for WriteAheadLog {
    const ACK_MAX: Ack = Ack::Disk;

    fn open(outside: &Arc<Outside>, config: &LogConfig) -> Result<(Self, Recovery), OpenError> {
        let (state, cut) = open(outside, config.partitions)?;
        let ends: Vec<u64> = state.partitions.iter().map(|places| places.next).collect();
        let records = state.partitions.iter().map(|places| places.next - places.start).sum();
        let recovery = Recovery { records, ends, cut, ..Recovery::default() };
        let wal = Self {
            outside: outside.clone(),
            bytes_max: config.retained_bytes_max,
            copy_bytes_min: config.segment_bytes_max / COPY_PART_MIN,
            marks: Marks::default(),
            state: Mutex::new(state),
        };
        Ok((wal, recovery))
    }

    fn marks(&self) -> &Marks {
        &self.marks
    }

    fn append(&self, line: &Mutex<Pending>) -> Result<(), LogError> {
        let mut state = self.state.lock();
        while state.taken.refill(line) {
            while let Some((head, frame)) = state.next_frame((self.outside.now_ms)()) {
                let bytes = frame.len() as u64;
                if state.at + bytes > self.bytes_max {
                    return Err(self.marks.found_no_room());
                }
                let (file, at) = (state.file.clone(), state.at);
                file.write_at(at, &frame).map_err(|e| self.marks.refuses(file.path(), &e))?;
                state.learn(&head);
                state.taken.pass_first();
                self.marks.has_written(state.taken.written(), bytes);
            }
        }
        self.marks.found_room();
        Ok(())
    }

    fn sync(&self) -> Result<(), LogError> {
        let (file, sequence, written) = {
            let state = self.state.lock();
            self.marks.begins_sync();
            (state.file.clone(), state.sequence, state.taken.written())
        };
        if written > self.marks.reached(Ack::Disk) {
            self.marks.counts_sync();
            file.sync().map_err(|e| self.marks.breaks(file.path(), &e))?;
            let mut state = self.state.lock();
            state.synced = state.synced.max(sequence);
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
        unpack: Unpack,
        out: &mut Records,
    ) -> Result<(), LogError> {
        let (file, seed, places) = {
            let state = self.state.lock();
            let places = &state.partitions[partition.0 as usize];
            let bounds = places.bounds();
            if from < bounds.start || from > bounds.end {
                return Err(LogError::OffsetOutOfRange { asked: from, bounds });
            }
            // A frame has a record at least: there are enough of these.
            let found: Vec<_> = places.from(from.0).take(limit.records_max).collect();
            (state.file.clone(), frame::seed(state.salt), found)
        };
        let mut room = Vec::new();
        for (base, at) in places {
            let read = read_frame(&*file, seed, at)
                .map_err(|e| LogError::Failed(format!("{}: {e}", file.path().display())));
            if read.is_err() && !out.is_empty() {
                return Ok(());
            }
            let frame = read?;
            let records = frame.as_ref().and_then(|(head, body)| unpack(head.codec, body, &mut room));
            let Some(records) = records else {
                // What is whole before the damage is given first.
                return if out.is_empty() {
                    self.tell(partition, from.0.max(base), &*file, at)
                } else {
                    Ok(())
                };
            };
            for (offset, record) in (base..).zip(RecordsIn::new(records)).skip_while(|(o, _)| *o < from.0) {
                if !out.has_room(record.len(), limit) {
                    return Ok(());
                }
                out.push(Offset(offset), record);
            }
        }
        Ok(())
    }

    fn retire_consumed(&self, done: &[u64]) -> Result<(), LogError> {
        let mut state = self.state.lock();
        let left: Vec<_> = state.partitions.iter().zip(done).map(|(p, done)| p.without(*done)).collect();
        let first = left.iter().filter_map(|places| Some(places.frames.front()?.1)).min().unwrap_or(state.at);
        if first < self.copy_bytes_min || first < state.at / 2 {
            return Ok(());
        }
        self.copy(&mut state, left, first).or_else(|e| {
            // If there is no room for a copy now, there may be another time.
            let _ = self.outside.disk.remove(&disk::unfinished(FILE));
            let why = || format!("{}: {e}", self.outside.disk.path(FILE).display());
            if disk::is_full(&e) { Ok(()) } else { Err(LogError::Failed(why())) }
        })
    }
}

impl State {
    /// The first frame that waits, as it will lie in the file.
    fn next_frame(&self, time_ms: u64) -> Option<(Head, Vec<u8>)> {
        let (head, body) = self.taken.first()?;
        let head = Head { time_ms, sequence: self.sequence, synced: self.synced, ..head };
        Some((head, frame::whole(&head, frame::seed(self.salt), body)))
    }

    /// Learns of the frame that stands at the end now.
    fn learn(&mut self, head: &Head) {
        let places = &mut self.partitions[head.partition as usize];
        if head.base >= places.start {
            places.frames.push_back((head.base, self.at));
        }
        places.next = places.next.max(head.next_offset());
        self.at += head.frame_bytes();
        self.sequence = head.sequence + 1;
    }
}

impl WriteAheadLog {
    /// Replaces the file by one that begins with the byte `first` of this one.
    fn copy(&self, state: &mut State, left: Vec<Places>, first: u64) -> io::Result<()> {
        let disk = &*self.outside.disk;
        let unfinished = disk::unfinished(FILE);
        let starts: Vec<u64> = left.iter().map(|places| places.start).collect();
        // The frames keep their checksums, and so the salt.
        let sequence = sequence_at(&*state.file, frame::seed(state.salt), first)?.unwrap_or(state.sequence);
        let head = Header { salt: state.salt, sequence, starts }.encode();
        let file = disk.create(&unfinished)?;
        file.write_at(0, &head)?;
        let (mut from, mut to, mut bytes) = (first, head.len() as u64, Vec::new());
        while from < state.at {
            let left = usize::try_from(state.at - from).unwrap_or(usize::MAX);
            bytes.resize(left.min(READ_BYTES), 0);
            state.file.read_at(from, &mut bytes)?;
            file.write_at(to, &bytes)?;
            (from, to) = (from + bytes.len() as u64, to + bytes.len() as u64);
        }
        self.marks.counts_sync();
        file.sync()?;
        disk.rename(&unfinished, FILE)?;
        // From here on frames go to the new file: that it has its name must be as durable as they are.
        let named = disk.sync_names().and_then(|()| disk.open(FILE));
        state.file = named.inspect_err(|e| drop(self.marks.breaks(&disk.path(FILE), e)))?;
        let moved = first - head.len() as u64;
        state.partitions = left;
        state.partitions.iter_mut().flat_map(|p| &mut p.frames).for_each(|(_, at)| *at -= moved);
        (state.at, state.synced) = (to, state.sequence);
        Ok(())
    }

    /// Says which records are damaged.
    fn tell(&self, partition: Partition, from: u64, file: &dyn DataFile, at: u64) -> Result<(), LogError> {
        let state = self.state.lock();
        let places = &state.partitions[partition.0 as usize];
        if from < places.start {
            // It was dropped while we read.
            return Err(LogError::OffsetOutOfRange { asked: Offset(from), bounds: places.bounds() });
        }
        let next = places.from(from).nth(1).map_or(places.next, |(base, _)| base);
        let why = format!("{}, byte {at}: the frame is not what was written", file.path().display());
        Err(LogError::Damaged { partition, from: Offset(from), next: Offset(next), why })
    }
}

/// Opens the file, or makes one; says what was cut off.
fn open(outside: &Outside, partitions: u32) -> Result<(State, Option<Cut>), OpenError> {
    let disk = &*outside.disk;
    let path = disk.path(FILE);
    let failed = |e| io_error(&path, e);
    let file = open_file(outside, partitions).map_err(failed)?;
    let damaged = |at, why: &str| OpenError::Damaged { path: path.clone(), at, why: why.to_owned() };
    let header = Header::read(&*file).map_err(failed)?;
    let header = header.ok_or_else(|| damaged(0, "this is no log, or its head is damaged"))?;
    let mut state = State::begin(file, &header, partitions);
    let file = state.file.clone();
    let mut window = Window::of(&*file).map_err(failed)?;
    walk(&mut state, &mut window).map_err(failed)?;
    let found = u32::try_from(state.partitions.len()).unwrap_or(u32::MAX);
    if found > partitions {
        return Err(OpenError::FewerPartitions { path: disk.path(""), found, asked: partitions });
    }
    let cut = match behind(&state, &mut window).map_err(failed)? {
        Behind::Nothing => None,
        Behind::Torn(cut) => Some(cut),
        Behind::Proof => {
            return Err(damaged(state.at, "no frame stands here, and a later one says that one was on disk"));
        }
    };
    if let Some(cut) = &cut {
        disk::zero_fill(&*state.file, cut.at, cut.at + cut.bytes).map_err(failed)?;
    }
    // What was found may lie in the page cache only; it counts as synced from here on.
    state.file.sync().map_err(failed)?;
    state.synced = state.sequence;
    Ok((state, cut))
}

fn open_file(outside: &Outside, partitions: u32) -> io::Result<Arc<dyn DataFile>> {
    let disk = &*outside.disk;
    let unfinished = disk::unfinished(FILE);
    if disk.list()?.contains(&unfinished) {
        disk.remove(&unfinished)?;
    }
    // A process that was killed may have left a name that is not on disk yet.
    disk.sync_names()?;
    match disk.open(FILE) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let starts = vec![0; partitions as usize];
            let header = Header { salt: (outside.salt)(), sequence: 0, starts };
            disk::replace(disk, FILE, &header.encode())?;
            disk.open(FILE)
        }
        opened => opened,
    }
}

impl State {
    fn begin(file: Arc<dyn DataFile>, header: &Header, partitions: u32) -> Self {
        let begin = |start: &u64| Places { start: *start, next: *start, ..Places::default() };
        let mut places: Vec<_> = header.starts.iter().map(begin).collect();
        places.resize_with(places.len().max(partitions as usize), Places::default);
        let (salt, sequence) = (header.salt, header.sequence);
        Self {
            taken: Taken::default(),
            file,
            salt,
            at: header.bytes(),
            sequence,
            synced: 0,
            partitions: places,
        }
    }
}

/// Goes through all frames, to the first place where none stands.
fn walk(state: &mut State, window: &mut Window<'_>) -> io::Result<()> {
    let seed = frame::seed(state.salt);
    loop {
        let head = Head::parse(seed, window.look(state.at, HEAD_BYTES)?);
        let Some(head) = head.filter(|head| head.sequence == state.sequence) else { return Ok(()) };
        let body_at = state.at + HEAD_BYTES as u64;
        if !head.fits(window.look(body_at, head.body_bytes as usize)?) {
            return Ok(());
        }
        let partitions = state.partitions.len().max(head.partition as usize + 1);
        state.partitions.resize_with(partitions, Places::default);
        state.learn(&head);
    }
}

/// What lies behind the last frame.
enum Behind {
    Nothing,
    /// What a crash has left of what was being written.
    Torn(Cut),
    /// A frame that was written after the place behind the last one had been synced.
    Proof,
}

fn behind(state: &State, window: &mut Window<'_>) -> io::Result<Behind> {
    let seed = frame::seed(state.salt);
    let (mut used, mut frames, mut records) = (state.at, 0, 0);
    for at in (state.at..window.end).step_by(ALIGN) {
        let bytes = window.look(at, HEAD_BYTES)?;
        if let Some(last) = bytes.iter().take(ALIGN).rposition(|byte| *byte != 0) {
            used = at + last as u64 + 1;
        }
        if let Some(head) = Head::parse(seed, bytes).filter(|head| head.sequence >= state.sequence) {
            if head.synced > state.sequence {
                return Ok(Behind::Proof);
            }
            frames += 1;
            records += u64::from(head.count);
        }
    }
    if used == state.at {
        return Ok(Behind::Nothing);
    }
    let (file, why) = (state.file.path().to_owned(), "a frame is cut short or changed".to_owned());
    Ok(Behind::Torn(Cut { file, at: state.at, bytes: used - state.at, frames, records, why }))
}

/// The frame that begins here; `None` if none does, or its body is not what was written.
fn read_frame(file: &dyn DataFile, seed: u32, at: u64) -> io::Result<Option<(Head, Vec<u8>)>> {
    let mut head = [0; HEAD_BYTES];
    file.read_at(at, &mut head)?;
    let Some(head) = Head::parse(seed, &head) else { return Ok(None) };
    let mut body = vec![0; head.body_bytes as usize];
    file.read_at(at + HEAD_BYTES as u64, &mut body)?;
    Ok(head.fits(&body).then_some((head, body)))
}

/// The sequence of the frame that begins here, if one does.
fn sequence_at(file: &dyn DataFile, seed: u32, at: u64) -> io::Result<Option<u64>> {
    let mut window = Window::of(file)?;
    Ok(Head::parse(seed, window.look(at, HEAD_BYTES)?).map(|head| head.sequence))
}

/// A part of a file in memory, moved along as it is looked at.
struct Window<'f> {
    file: &'f dyn DataFile,
    /// Of the file.
    end: u64,
    at: u64,
    held: Vec<u8>,
}

impl<'f> Window<'f> {
    fn of(file: &'f dyn DataFile) -> io::Result<Self> {
        Ok(Self { file, end: file.bytes()?, at: 0, held: Vec::new() })
    }

    /// So many bytes from here on, or fewer where the file ends before.
    fn look(&mut self, at: u64, bytes: usize) -> io::Result<&[u8]> {
        let left = usize::try_from(self.end.saturating_sub(at)).unwrap_or(usize::MAX);
        let bytes = bytes.min(left);
        if bytes == 0 {
            return Ok(&[]);
        }
        let is_held = at >= self.at && at + bytes as u64 <= self.at + self.held.len() as u64;
        if !is_held {
            self.held.resize(bytes.max(READ_BYTES).min(left), 0);
            self.at = at;
            self.file.read_at(at, &mut self.held)?;
        }
        let from = usize::try_from(at - self.at).unwrap_or(usize::MAX);
        Ok(&self.held[from..from + bytes])
    }
}

/// What the file begins with.
struct Header {
    salt: u64,
    /// Of the first frame.
    sequence: u64,
    /// Of each partition.
    starts: Vec<u64>,
}

impl Header {
    fn bytes(&self) -> u64 {
        (STARTS + 8 * self.starts.len()) as u64
    }

    fn encode(&self) -> Vec<u8> {
        let partitions = u32::try_from(self.starts.len()).expect("the partitions are bounded");
        let mut bytes = [&MAGIC[..], &[0; 4], &partitions.to_le_bytes(), &[0; 4]].concat();
        for value in [&self.salt, &self.sequence].into_iter().chain(&self.starts) {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        let checksum = crc32c(&bytes[PARTITIONS..]);
        bytes[CHECKSUM..PARTITIONS].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// `None` if the file does not begin with one.
    fn read(file: &dyn DataFile) -> io::Result<Option<Self>> {
        let mut window = Window::of(file)?;
        let fixed = window.look(0, STARTS)?;
        if fixed.len() < STARTS || fixed[..CHECKSUM] != MAGIC {
            return Ok(None);
        }
        let partitions = u32_at(fixed, PARTITIONS).min(PARTITIONS_MAX) as usize;
        let bytes = window.look(0, STARTS + 8 * partitions)?;
        let whole =
            bytes.len() == STARTS + 8 * partitions && u32_at(bytes, CHECKSUM) == crc32c(&bytes[PARTITIONS..]);
        Ok(whole.then(|| Self {
            salt: u64_at(bytes, SALT),
            sequence: u64_at(bytes, SEQUENCE),
            starts: bytes[STARTS..].chunks_exact(8).map(|start| u64_at(start, 0)).collect(),
        }))
    }
}
