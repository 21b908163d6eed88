//! The bytes of a frame: `FORMAT.md`.
//!
//! A frame is what one flush of one producer brought for one partition: a head and, behind it, its records. Its checksum
//! begins with the salt of the segment that it lies in. So a frame that an earlier use of the same file has left behind,
//! or bytes within a record that look like a frame, are no frames here.

use contracts::limits::RECORD_BYTES_MAX;
use crc32c::{crc32c, crc32c_append};

pub use contracts::packed::{RecordsIn, put_record};

/// u32, over the salt and the rest of the head.
const CHECKSUM: usize = 0;
/// u8.
const MAGIC_AT: usize = CHECKSUM + 4;
/// u8.
const VERSION_AT: usize = MAGIC_AT + 1;
/// u8.
const CODEC: usize = VERSION_AT + 1;
/// u8.
const KIND: usize = CODEC + 1;
/// u64.
const BASE: usize = KIND + 1;
/// u64.
const TIME: usize = BASE + 8;
/// u64.
const SEQUENCE: usize = TIME + 8;
/// u64.
const SYNCED: usize = SEQUENCE + 8;
/// u64.
const PRODUCER: usize = SYNCED + 8;
/// u32.
const PRODUCER_SEQUENCE: usize = PRODUCER + 8;
/// u32.
const EPOCH: usize = PRODUCER_SEQUENCE + 4;
/// u32.
const PARTITION: usize = EPOCH + 4;
/// u32.
const COUNT: usize = PARTITION + 4;
/// u32.
const BODY_BYTES: usize = COUNT + 4;
/// u32.
const BODY_CHECKSUM: usize = BODY_BYTES + 4;
/// Bytes of a head.
pub const HEAD_BYTES: usize = BODY_CHECKSUM + 4;

const MAGIC: u8 = 0xF5;
/// Of what a head looks like, which has not changed since version 2 of the log.
const VERSION: u8 = 2;
/// Frames begin at multiples of this: who looks for one behind damage has fewer places to try.
pub const ALIGN: usize = 8;
/// A frame takes no further record beyond this. Who reads from its middle reads all of it.
pub const BODY_BYTES_MAX: usize = 256 << 10;
/// No body is longer: a record of the largest size and its length, or the index of a large segment.
pub const ANY_BODY_BYTES_MAX: usize = RECORD_BYTES_MAX + (1 << 20);

/// What a frame holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Records.
    #[default]
    Data = 0,
    /// How far every partition is: the first frame of a segment, and of each opening.
    Epoch = 1,
    /// The index of a segment that is full.
    End = 2,
    /// Which batches of identified producers are in the log: the second frame of a segment, if there are any.
    Batches = 3,
}

/// A body of records one after the other.
pub const CODEC_RAW: u8 = 0;
/// A packed batch of them.
pub const CODEC_LZ4: u8 = 1;

/// What stands before a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// How the body is stored.
    pub codec: u8,
    /// What it holds.
    pub kind: Kind,
    /// Offset of the first record.
    pub base: u64,
    /// When it was written.
    pub time_ms: u64,
    /// One more than that of the frame before, whatever its partition.
    pub sequence: u64,
    /// All frames before this sequence were on disk when this one was written.
    pub synced: u64,
    /// Who sent it, and the how manieth of theirs in the partition it is; zeros: nobody said.
    pub producer: u64,
    /// See [`Head::producer`].
    pub producer_sequence: u32,
    /// Which opening of the log wrote it.
    pub epoch: u32,
    /// Whose records these are.
    pub partition: u32,
    /// Records in the body.
    pub count: u32,
    /// Bytes of the body.
    pub body_bytes: u32,
    /// Of the body as it is stored.
    pub body_checksum: u32,
}

impl Head {
    /// Writes the head; `seed` is that of the segment.
    pub fn put(&self, seed: u32, out: &mut [u8]) {
        out[MAGIC_AT] = MAGIC;
        out[VERSION_AT] = VERSION;
        out[CODEC] = self.codec;
        out[KIND] = self.kind as u8;
        for (at, value) in [
            (BASE, self.base),
            (TIME, self.time_ms),
            (SEQUENCE, self.sequence),
            (SYNCED, self.synced),
            (PRODUCER, self.producer),
        ] {
            out[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        for (at, value) in [
            (PRODUCER_SEQUENCE, self.producer_sequence),
            (EPOCH, self.epoch),
            (PARTITION, self.partition),
            (COUNT, self.count),
            (BODY_BYTES, self.body_bytes),
            (BODY_CHECKSUM, self.body_checksum),
        ] {
            out[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        let checksum = crc32c_append(seed, &out[MAGIC_AT..HEAD_BYTES]);
        out[CHECKSUM..MAGIC_AT].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Reads a head; `None` if this is none of the segment with this seed. Nothing is known of the body yet, but that
    /// its length was written by us.
    pub fn parse(seed: u32, bytes: &[u8]) -> Option<Self> {
        let head = bytes.first_chunk::<HEAD_BYTES>()?;
        if head[MAGIC_AT] != MAGIC || head[VERSION_AT] != VERSION {
            return None;
        }
        if u32_at(head, CHECKSUM) != crc32c_append(seed, &head[MAGIC_AT..]) {
            return None;
        }
        Some(Self::read(head)?).filter(|head| head.body_bytes as usize <= ANY_BODY_BYTES_MAX)
    }

    /// Reads a head that waits to be written, and has no checksum yet.
    pub fn read(head: &[u8; HEAD_BYTES]) -> Option<Self> {
        let kind = match head[KIND] {
            0 => Kind::Data,
            1 => Kind::Epoch,
            2 => Kind::End,
            3 => Kind::Batches,
            _ => return None,
        };
        Some(Self {
            codec: head[CODEC],
            kind,
            base: u64_at(head, BASE),
            time_ms: u64_at(head, TIME),
            sequence: u64_at(head, SEQUENCE),
            synced: u64_at(head, SYNCED),
            producer: u64_at(head, PRODUCER),
            producer_sequence: u32_at(head, PRODUCER_SEQUENCE),
            epoch: u32_at(head, EPOCH),
            partition: u32_at(head, PARTITION),
            count: u32_at(head, COUNT),
            body_bytes: u32_at(head, BODY_BYTES),
            body_checksum: u32_at(head, BODY_CHECKSUM),
        })
    }

    /// The head of this body.
    ///
    /// # Panics
    /// If the body is 4 GiB or longer.
    pub fn of(kind: Kind, partition: u32, count: u32, body: &[u8]) -> Self {
        let body_bytes = u32::try_from(body.len()).expect("a body is bounded far below 4 GiB");
        Self { kind, partition, count, body_bytes, body_checksum: crc32c(body), ..Self::default() }
    }

    /// Whether nothing in the body has changed since it was written.
    pub fn fits(&self, body: &[u8]) -> bool {
        crc32c(body) == self.body_checksum
    }

    /// Bytes of the frame, to the begin of the next.
    pub fn frame_bytes(&self) -> u64 {
        (HEAD_BYTES as u64 + u64::from(self.body_bytes)).next_multiple_of(ALIGN as u64)
    }

    /// The offset behind its last record.
    pub fn next_offset(&self) -> u64 {
        self.base.saturating_add(u64::from(self.count))
    }
}

/// Gives a frame that waits to be written its first record's offset.
pub fn set_base(frame: &mut [u8], base: u64) {
    frame[BASE..BASE + 8].copy_from_slice(&base.to_le_bytes());
}

/// What the checksums of a segment's frames begin with.
pub fn seed(salt: u64) -> u32 {
    crc32c(&salt.to_le_bytes())
}

/// A whole frame, as it lies in the file.
pub fn whole(head: &Head, seed: u32, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; HEAD_BYTES];
    head.put(seed, &mut frame);
    frame.extend_from_slice(body);
    frame.resize(frame.len().next_multiple_of(ALIGN), 0);
    frame
}

/// A little endian number at this place.
///
/// # Panics
/// If the bytes end before.
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// A little endian number at this place.
///
/// # Panics
/// If the bytes end before.
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(body: &[u8]) -> Head {
        Head {
            base: 7,
            time_ms: 1,
            sequence: 9,
            synced: 8,
            epoch: 3,
            producer: 5,
            producer_sequence: 6,
            ..Head::of(Kind::Data, 2, 4, body)
        }
    }

    #[test]
    fn a_head_reads_back_and_no_flipped_bit_or_other_salt_is_taken_for_it() {
        let (head, salt) = (example(b"abc"), seed(77));
        let frame = whole(&head, salt, b"abc");
        assert_eq!(frame.len() as u64, head.frame_bytes());
        assert_eq!(Head::parse(salt, &frame), Some(head));
        assert!(head.fits(&frame[HEAD_BYTES..HEAD_BYTES + 3]) && !head.fits(b"abd"));
        assert_eq!(Head::parse(seed(78), &frame), None);
        for at in 0..HEAD_BYTES {
            for bit in 0..8 {
                let mut wrong = frame.clone();
                wrong[at] ^= 1 << bit;
                assert_eq!(Head::parse(salt, &wrong), None, "byte {at}, bit {bit}");
            }
        }
        assert_eq!(Head::parse(salt, &frame[..HEAD_BYTES - 1]), None);
        assert_eq!(Head::parse(0, &[0; HEAD_BYTES]), None, "zeros are no frame");
    }
}
