//! What was submitted and is not written yet.
//!
//! A producer collects records in its own `Batch`, so that copying and checksums take no lock. A flush publishes the
//! batch: under one short lock its frames get their offsets and a place in the line ([`Pending`]). Whoever writes next
//! takes all that stands in the line at once.

use crate::{
    batches::{Batches, Kept, Verdict},
    codec::Codec,
    frame::{self, ANY_BODY_BYTES_MAX, BODY_BYTES_MAX, CODEC_LZ4, HEAD_BYTES, Head, Kind},
    slots::Transfer,
};
use contracts::{
    packed::PackedRecords,
    queue::{Identity, LogError, Offset, Partition, Placed, Ticket},
};
use parking_lot::Mutex;
use std::{collections::VecDeque, mem};

/// What stands in the line beyond this is written without being asked: a caller that never flushes must not fill the
/// memory.
pub const LINE_BYTES_MAX: usize = 16 << 20;
/// How much memory a buffer keeps for the next records. One large record must not be paid for ever after.
const KEPT_BYTES: usize = 1 << 20;
/// Buffers that a batch keeps.
const KEPT_BUFFERS: usize = 64;

/// Most bytes that the length of a record takes in a body.
const LENGTH_BYTES_MAX: usize = 4;

/// What one producer has submitted since its last flush.
#[derive(Default)]
pub(crate) struct Batch {
    /// What is done to records that come one by one.
    codec: Codec,
    /// Whose batch it is, and which of theirs. Such a batch is one frame: it is in the log as a whole, or it is not.
    identity: Option<Identity>,
    /// Whether a record of such a batch was refused, and so all of it.
    is_refused: bool,
    frames: Vec<Growing>,
    /// By partition.
    partitions: Vec<Touched>,
    bytes: usize,
    /// Empty, and ready to be used again.
    buffers: Vec<Vec<u8>>,
    /// Of who packs.
    room: Vec<u8>,
}

/// A frame that takes records.
struct Growing {
    partition: u32,
    count: u32,
    /// Room for the head, and the body.
    bytes: Vec<u8>,
    /// Whether the body came packed: it takes no more.
    is_packed: bool,
    /// Whether an earlier frame of this batch is of the same partition.
    continues: bool,
}

#[derive(Clone, Copy, Default)]
struct Touched {
    /// One more than the place of the frame that takes its records; 0 for none.
    frame: usize,
    /// The offset of the next record that has no place yet; for [`Places`].
    cursor: u64,
}

impl Batch {
    pub(crate) fn new(codec: Codec) -> Self {
        Self { codec, ..Self::default() }
    }

    /// Says whose batch this is. It is empty.
    pub(crate) fn identify(&mut self, identity: Identity) {
        self.identity = Some(identity);
    }

    /// If this is an identified batch, nothing of it is taken: a part of it would be taken for the whole when it comes again.
    pub(crate) fn refuse(&mut self, places: &mut Places) {
        if self.is_identified() {
            self.clear();
            self.is_refused = true;
            places.forget_unassigned();
        }
    }

    pub(crate) fn is_identified(&self) -> bool {
        self.identity.is_some()
    }

    /// Whether a body of so many bytes may join the batch.
    ///
    /// # Errors
    /// What an identified batch cannot be: more than one frame.
    pub(crate) fn admits(&self, partition: Partition, bytes: usize, is_packed: bool) -> Result<(), LogError> {
        let refused = |what: &str| Err(LogError::NotOffered(what.to_owned()));
        if self.is_refused {
            return refused("go on with an identified batch of which it has refused a record");
        }
        let (Some(_), Some(frame)) = (self.identity, self.frames.first()) else { return Ok(()) };
        if frame.partition != partition.0 {
            return refused("take records of several partitions in one identified batch");
        }
        if frame.is_packed || is_packed {
            return refused("take anything beside a packed batch in one identified batch");
        }
        let bytes = frame.bytes.len() - HEAD_BYTES + LENGTH_BYTES_MAX + bytes;
        if bytes > ANY_BODY_BYTES_MAX {
            return Err(LogError::RecordTooLarge { bytes, bytes_max: ANY_BODY_BYTES_MAX });
        }
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a copy of a record.
    pub(crate) fn push(&mut self, partition: Partition, payload: &[u8]) {
        self.push_some(partition, &[payload]);
    }

    /// Takes a copy of each of these.
    pub(crate) fn push_all(&mut self, partition: Partition, mut payloads: &[&[u8]]) {
        while !payloads.is_empty() {
            let taken = self.push_some(partition, payloads);
            payloads = &payloads[taken..];
        }
    }

    /// Takes a copy of as many as go into one frame: at least of the first. Returns how many these were.
    fn push_some(&mut self, partition: Partition, payloads: &[&[u8]]) -> usize {
        let bytes_max = if self.is_identified() { ANY_BODY_BYTES_MAX } else { BODY_BYTES_MAX };
        let has_room =
            |frame: &Growing, payload: &[u8]| frame.bytes.len() + payload.len() <= HEAD_BYTES + bytes_max;
        let open = self.partitions.get(partition.0 as usize).map_or(0, |touched| touched.frame);
        let open = open.checked_sub(1).filter(|open| {
            let frame = &self.frames[*open];
            !frame.is_packed && payloads.first().is_some_and(|payload| has_room(frame, payload))
        });
        let frame = match open {
            Some(open) => &mut self.frames[open],
            None => self.begin_frame(partition, false),
        };
        let (bytes_before, count_before) = (frame.bytes.len(), frame.count);
        for payload in payloads {
            if frame.count > count_before && !has_room(frame, payload) {
                break;
            }
            frame::put_record(payload, &mut frame.bytes);
            frame.count += 1;
        }
        let taken = (frame.count - count_before) as usize;
        self.bytes += frame.bytes.len() - bytes_before;
        taken
    }

    /// Takes a copy of a packed batch.
    pub(crate) fn push_packed(&mut self, partition: Partition, batch: &PackedRecords<'_>) {
        let frame = self.begin_frame(partition, true);
        frame.bytes.extend_from_slice(batch.bytes());
        frame.count = batch.len();
        self.bytes += batch.bytes().len();
    }

    fn begin_frame(&mut self, partition: Partition, is_packed: bool) -> &mut Growing {
        let at = partition.0 as usize;
        if self.partitions.len() <= at {
            self.partitions.resize(at + 1, Touched::default());
        }
        let continues = self.partitions[at].frame != 0;
        let mut bytes = self.buffers.pop().unwrap_or_default();
        bytes.resize(HEAD_BYTES, 0);
        self.partitions[at].frame = self.frames.len() + 1;
        self.frames.push_mut(Growing { partition: partition.0, count: 0, bytes, is_packed, continues })
    }

    /// Packs, and sums up what can be known before a frame has its place.
    fn seal<T: Transfer>(&mut self) {
        let (producer, producer_sequence) =
            self.identity.map_or((0, 0), |identity| (identity.producer, identity.sequence));
        for frame in &mut self.frames {
            let codec = match frame.is_packed {
                true => CODEC_LZ4,
                false => T::pack(self.codec, &mut frame.bytes, &mut self.room),
            };
            let head = Head::of(Kind::Data, frame.partition, frame.count, &frame.bytes[HEAD_BYTES..]);
            Head { codec, producer, producer_sequence, ..head }.put(0, &mut frame.bytes);
            frame.bytes.resize(frame.bytes.len().next_multiple_of(frame::ALIGN), 0);
        }
    }

    /// What comes next is another batch, and nobody's.
    pub(crate) fn clear(&mut self) {
        for mut frame in self.frames.drain(..) {
            self.partitions[frame.partition as usize].frame = 0;
            if self.buffers.len() < KEPT_BUFFERS {
                frame.bytes.clear();
                frame.bytes.shrink_to(KEPT_BYTES);
                self.buffers.push(frame.bytes);
            }
        }
        self.bytes = 0;
        (self.identity, self.is_refused) = (None, false);
        if self.room.len() > KEPT_BYTES {
            self.room = Vec::new();
        }
    }
}

/// The line of frames that wait to be written. Its lock is held to copy bytes, never to wait.
#[derive(Debug)]
pub struct Pending {
    line: Line,
    /// How many batches were ever published: the number of the last.
    published: u64,
    /// The offset of each partition's next record.
    next: Vec<u64>,
    /// The identified batches that are in the log or in the line. What is decided here stays so, since what stands in the
    /// line will be written.
    batches: Batches,
}

/// Frames, as they will be written but for what their heads learn last.
#[derive(Debug, Default)]
struct Line {
    bytes: Vec<u8>,
    /// Where each batch ends.
    ends: Vec<usize>,
}

impl Line {
    /// Puts a frame behind the others. The first goes without a copy where its memory is as good as the line's: a producer
    /// that is alone, and the line, lend each other theirs.
    fn put(&mut self, frame: &mut Vec<u8>) {
        if self.bytes.is_empty() && self.bytes.capacity() <= frame.capacity() {
            mem::swap(&mut self.bytes, frame);
        } else {
            self.bytes.extend_from_slice(frame);
        }
    }
}

impl Pending {
    /// `next` are the partitions' next offsets, `batches` the identified ones that are in the log already.
    pub fn new(next: Vec<u64>, batches: Batches) -> Self {
        Self { line: Line::default(), published: 0, next, batches }
    }

    /// Puts a sealed batch into the line; returns its number, from 1. One that came before gets the number and the places
    /// of the first time, and nothing is put anywhere.
    fn take_in(&mut self, batch: &mut Batch) -> Result<u64, LogError> {
        if let Some(first) = self.first_time(batch)? {
            batch.partitions[batch.frames[0].partition as usize].cursor = first.base;
            return Ok(first.published);
        }
        self.published += 1;
        self.learn(batch);
        for frame in &mut batch.frames {
            let partition = frame.partition as usize;
            let base = self.next[partition];
            if !frame.continues {
                batch.partitions[partition].cursor = base;
            }
            self.next[partition] += u64::from(frame.count);
            frame::set_base(&mut frame.bytes, base);
            self.line.put(&mut frame.bytes);
        }
        self.line.ends.push(self.line.bytes.len());
        Ok(self.published)
    }

    /// What became of an identified batch when it came before; `None` if it never did.
    fn first_time(&self, batch: &Batch) -> Result<Option<Kept>, LogError> {
        let (Some(identity), [frame, ..]) = (batch.identity, &batch.frames[..]) else { return Ok(None) };
        match self.batches.judge(identity, frame.partition, frame.count) {
            Verdict::Next => Ok(None),
            Verdict::Again(first) => Ok(Some(first)),
            Verdict::OutOfSequence { expected } => Err(LogError::OutOfSequence {
                producer: identity.producer,
                partition: Partition(frame.partition),
                expected,
                asked: identity.sequence,
            }),
        }
    }

    /// Remembers an identified batch that is about to get its place.
    fn learn(&mut self, batch: &Batch) {
        let (Some(Identity { producer, sequence }), [frame, ..]) = (batch.identity, &batch.frames[..]) else {
            return;
        };
        let base = self.next[frame.partition as usize];
        let kept = Kept { sequence, base, count: frame.count, published: self.published };
        self.batches.learn(producer, frame.partition, kept);
    }
}

/// Publishes a batch; returns its number and how many bytes stand in the line now.
///
/// # Errors
/// [`LogError::OutOfSequence`]: the batch is gone, and its records have no places.
pub(crate) fn publish<T: Transfer>(
    pending: &Mutex<Pending>,
    batch: &mut Batch,
    places: &mut Places,
) -> Result<(u64, usize), LogError> {
    batch.seal::<T>();
    let published = {
        let mut pending = pending.lock();
        pending.take_in(batch).map(|number| (number, pending.line.bytes.len()))
    };
    match &published {
        Ok(_) => places.assign(&mut batch.partitions),
        Err(_) => places.forget_unassigned(),
    }
    batch.clear();
    published
}

/// What a store has taken out of the line, and how much of it is written. What cannot be written stays, in its order.
#[derive(Debug, Default)]
pub struct Taken {
    line: Line,
    bytes_done: usize,
    batches_done: usize,
    /// The number of the last batch that is written.
    written: u64,
}

impl Taken {
    /// Whether anything waits. Takes the line if what was taken before is written.
    pub fn refill(&mut self, pending: &Mutex<Pending>) -> bool {
        if self.bytes_done == self.line.bytes.len() {
            self.line.bytes.clear();
            self.line.bytes.shrink_to(16 * KEPT_BYTES);
            self.line.ends.clear();
            (self.bytes_done, self.batches_done) = (0, 0);
            mem::swap(&mut self.line, &mut pending.lock().line);
        }
        self.bytes_done < self.line.bytes.len()
    }

    /// The frames that are not written yet, each from its head to the begin of the next.
    pub fn rest(&self) -> &[u8] {
        &self.line.bytes[self.bytes_done..]
    }

    /// The same, for who completes their heads.
    pub fn rest_mut(&mut self) -> &mut [u8] {
        &mut self.line.bytes[self.bytes_done..]
    }

    /// The first frame that is not written yet, and its body.
    pub fn first(&self) -> Option<(Head, &[u8])> {
        let rest = self.rest();
        let head = Head::read(rest.first_chunk()?)?;
        Some((head, rest.get(HEAD_BYTES..HEAD_BYTES + head.body_bytes as usize)?))
    }

    /// So many bytes, whole frames, are written.
    pub fn pass(&mut self, bytes: usize) {
        self.bytes_done += bytes;
        while self.line.ends.get(self.batches_done).is_some_and(|end| *end <= self.bytes_done) {
            self.batches_done += 1;
            self.written += 1;
        }
    }

    /// The first frame is written.
    pub fn pass_first(&mut self) {
        let bytes = self.first().map_or(0, |(head, _)| head.frame_bytes());
        self.pass(usize::try_from(bytes).unwrap_or(usize::MAX));
    }

    /// The number of the last batch that is written.
    pub fn written(&self) -> u64 {
        self.written
    }
}

/// Where a producer's records come to lie, as runs of neighbours: one run for a producer that is alone and writes to one
/// partition, however much it appends and even if nobody ever asks.
#[derive(Default)]
pub(crate) struct Places {
    runs: VecDeque<Run>,
    /// How many of the last runs have no offset yet.
    unassigned: usize,
}

struct Run {
    ticket: u64,
    partition: u32,
    offset: u64,
    count: u64,
}

impl Run {
    fn continues(&self, before: &Self) -> bool {
        let behind = (before.partition, before.ticket + before.count, before.offset + before.count);
        behind == (self.partition, self.ticket, self.offset)
    }
}

impl Places {
    /// Learns of submissions that were given tickets from this one on.
    pub(crate) fn submitted(&mut self, Ticket(ticket): Ticket, Partition(partition): Partition, count: u64) {
        match self.runs.back_mut() {
            Some(run) if self.unassigned > 0 && run.partition == partition => run.count += count,
            _ => {
                self.runs.push_back(Run { ticket, partition, offset: 0, count });
                self.unassigned += 1;
            }
        }
    }

    /// Gives the last runs their offsets, and joins them with what they continue.
    fn assign(&mut self, partitions: &mut [Touched]) {
        let first = self.runs.len() - mem::take(&mut self.unassigned);
        for run in self.runs.range_mut(first..) {
            let cursor = &mut partitions[run.partition as usize].cursor;
            run.offset = *cursor;
            *cursor += run.count;
        }
        if first > 0 && self.runs.len() == first + 1 && self.runs[first].continues(&self.runs[first - 1]) {
            self.runs[first - 1].count += self.runs[first].count;
            self.runs.pop_back();
        }
    }

    /// The last runs get no offsets: their tickets are void.
    fn forget_unassigned(&mut self) {
        self.runs.truncate(self.runs.len() - mem::take(&mut self.unassigned));
    }

    /// Moves out those up to a ticket.
    pub(crate) fn take(&mut self, upto: Ticket, out: &mut Vec<Placed>) {
        while let Some(run) = self.runs.front_mut() {
            let count = run.count.min((upto.0 + 1).saturating_sub(run.ticket));
            out.extend((0..count).map(|i| Placed {
                ticket: Ticket(run.ticket + i),
                partition: Partition(run.partition),
                offset: Offset(run.offset + i),
            }));
            run.ticket += count;
            run.offset += count;
            run.count -= count;
            if run.count > 0 {
                return;
            }
            self.runs.pop_front();
        }
    }
}
