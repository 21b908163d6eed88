//! Several records as one compressed block: how a producer sends a batch, how a log may store it, and how a consumer gets
//! it, without anybody between them unpacking it. `FORMAT.md` draws the bytes.
//!
//! Who unpacks trusts no length that it was told: the room is bounded before a byte is written to it, so that a few bytes
//! cannot ask for gigabytes.

use crate::limits::{BATCH_RECORDS_MAX, BODY_BYTES_MAX, RECORD_BYTES_MAX};
use lz4_flex::block::{compress_into, decompress_into, get_maximum_output_size};

/// Bytes before the block: the length of what is in it.
const LENGTH_BYTES: usize = 4;
/// What the length of a record takes in most cases, if not all: as much room is made at once.
const LENGTH_OF_RECORD_BYTES: usize = 4;
/// No byte of a block stands for more than so many.
const EXPANSION_MAX: usize = 255;

/// A packed batch that was checked: its records can be had.
#[derive(Clone, Copy, Debug)]
pub struct PackedRecords<'a> {
    packed: &'a [u8],
    records: &'a [u8],
    count: u32,
}

impl<'a> PackedRecords<'a> {
    /// Unpacks a batch into `room`, which is kept for its memory, and checks all of it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn open(packed: &'a [u8], room: &'a mut Vec<u8>) -> Result<Self, BadPacked> {
        let records = unpack(packed, room).ok_or(BadPacked::NoBlock)?;
        let (mut count, mut rest) = (0_u32, RecordsIn::new(records));
        for record in rest.by_ref() {
            count += 1;
            if record.len() > RECORD_BYTES_MAX {
                return Err(BadPacked::RecordTooLarge { bytes: record.len() });
            }
            if count as usize > BATCH_RECORDS_MAX {
                return Err(BadPacked::TooManyRecords);
            }
        }
        if rest.is_done() {
            Ok(Self { packed, records, count })
        } else {
            Err(BadPacked::CutShort { record: count })
        }
    }

    /// As it is sent and stored.
    pub fn bytes(&self) -> &'a [u8] {
        self.packed
    }

    /// Number of records.
    pub fn len(&self) -> u32 {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The records, in their order.
    pub fn iter(&self) -> RecordsIn<'a> {
        RecordsIn::new(self.records)
    }
}

impl<'a> IntoIterator for &PackedRecords<'a> {
    type Item = &'a [u8];
    type IntoIter = RecordsIn<'a>;

    fn into_iter(self) -> RecordsIn<'a> {
        self.iter()
    }
}

/// Why some bytes are no packed batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPacked {
    /// They cannot be unpacked, or not to as many bytes as they say.
    #[error("this is no LZ4 block behind the length of what is in it, at most {BODY_BYTES_MAX} bytes")]
    NoBlock,
    /// A record that ends before its length.
    #[error("record {record} of the batch, counted from 0, is cut short")]
    CutShort {
        /// Which one.
        record: u32,
    },
    /// A record over the limit.
    #[error("a record of {bytes} bytes is too large, the most is {RECORD_BYTES_MAX}")]
    RecordTooLarge {
        /// Its size.
        bytes: usize,
    },
    /// More records than a batch may have.
    #[error("the batch has more than {BATCH_RECORDS_MAX} records")]
    TooManyRecords,
}

/// Records as one packed batch.
pub fn pack<'p>(payloads: impl IntoIterator<Item = &'p [u8]>) -> Vec<u8> {
    let (mut records, mut out) = (Vec::new(), Vec::new());
    payloads.into_iter().for_each(|payload| put_record(payload, &mut records));
    let block = block_of(&records, &mut out).len();
    let length = u32::try_from(records.len()).expect("a batch is bounded far below 4 GiB");
    out.truncate(block);
    out.splice(..0, length.to_le_bytes());
    out
}

/// The LZ4 block of these bytes. `room` is kept for its memory.
pub fn block_of<'r>(records: &[u8], room: &'r mut Vec<u8>) -> &'r [u8] {
    let bytes_max = get_maximum_output_size(records.len());
    if room.len() < bytes_max {
        room.resize(bytes_max, 0);
    }
    let bytes = compress_into(records, room).expect("the room is as large as a block of these bytes can be");
    &room[..bytes]
}

/// From a packed batch to its records, one after the other; `None` if it is none. What the records are is not looked at.
/// `room` is kept for its memory.
pub fn unpack<'r>(packed: &[u8], room: &'r mut Vec<u8>) -> Option<&'r [u8]> {
    let bytes = unpacked_bytes(packed.len(), packed)?;
    if room.len() < bytes {
        room.resize(bytes, 0);
    }
    let written = decompress_into(&packed[LENGTH_BYTES..], &mut room[..bytes]).ok()?;
    (written == bytes).then_some(&room[..bytes])
}

/// How long the records of a packed batch are, of whose bytes only the first need be there; `None` if they cannot be.
pub fn unpacked_bytes(packed_bytes: usize, begin: &[u8]) -> Option<usize> {
    let bytes = u32::from_le_bytes(*begin.first_chunk()?) as usize;
    let possible = packed_bytes.checked_sub(LENGTH_BYTES)?.saturating_mul(EXPANSION_MAX);
    (bytes <= possible.min(BODY_BYTES_MAX)).then_some(bytes)
}

/// Appends a record to others: its length, seven bits a byte and the lowest first, and its bytes.
#[inline]
pub fn put_record(payload: &[u8], records: &mut Vec<u8>) {
    records.reserve(LENGTH_OF_RECORD_BYTES + payload.len());
    let mut left = payload.len();
    while left > 0x7F {
        records.push(left.to_le_bytes()[0] | 0x80);
        left >>= 7;
    }
    records.push(left.to_le_bytes()[0]);
    records.extend_from_slice(payload);
}

/// Records one after the other, as [`put_record`] has put them.
#[derive(Clone, Debug)]
pub struct RecordsIn<'b> {
    rest: &'b [u8],
}

impl<'b> RecordsIn<'b> {
    /// All of these bytes.
    pub fn new(records: &'b [u8]) -> Self {
        Self { rest: records }
    }

    /// Whether nothing is left. What is cut short leaves something.
    pub fn is_done(&self) -> bool {
        self.rest.is_empty()
    }
}

impl<'b> Iterator for RecordsIn<'b> {
    type Item = &'b [u8];

    /// `None` at the end, and where no whole record stands.
    fn next(&mut self) -> Option<&'b [u8]> {
        let (mut length, mut shift, mut rest) = (0_usize, 0, self.rest);
        loop {
            let (byte, behind) = rest.split_first()?;
            rest = behind;
            length |= usize::from(byte & 0x7F).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                break;
            }
            shift += 7;
        }
        let record;
        (record, self.rest) = rest.split_at_checked(length)?;
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    fn packed(payloads: &[Vec<u8>]) -> Vec<u8> {
        pack(payloads.iter().map(|payload| &payload[..]))
    }

    #[test]
    fn records_of_any_length_read_back_and_what_is_cut_short_ends_them() {
        let records: Vec<Vec<u8>> = [0, 1, 127, 128, 16_383, 16_384, 70_000].map(|n| vec![7; n]).to_vec();
        let mut body = Vec::new();
        records.iter().for_each(|record| put_record(record, &mut body));
        let mut all = RecordsIn::new(&body);
        assert_eq!(all.by_ref().map(<[u8]>::to_vec).collect::<Vec<_>>(), records);
        assert!(all.is_done());
        for cut_short in [&body[..body.len() - 1], &[0x80], &[3], &[0xFF; 20]] {
            let mut some = RecordsIn::new(cut_short);
            assert!(some.by_ref().count() < records.len() && !some.is_done());
        }
    }

    #[test]
    fn a_length_that_cannot_be_is_refused_before_there_is_room_for_it() {
        let mut batch = packed(&[vec![0; 1000]]);
        for claim in [u32::MAX, 17 << 20, 1 << 16, 1003, 1001, 0] {
            batch[..4].copy_from_slice(&claim.to_le_bytes());
            let mut room = Vec::new();
            assert_eq!(unpack(&batch, &mut room), None, "{claim}");
            assert!(room.capacity() <= batch.len() * EXPANSION_MAX, "{claim}");
        }
        assert_eq!(unpack(&[1, 0, 0], &mut Vec::new()), None);
    }

    #[test]
    fn a_batch_of_a_stranger_is_counted_or_refused_with_a_reason() {
        let mut room = Vec::new();
        let two = packed(&[b"one".to_vec(), Vec::new()]);
        let batch = PackedRecords::open(&two, &mut room).unwrap();
        assert_eq!((batch.len(), batch.bytes()), (2, &two[..]));
        assert_eq!(batch.iter().collect::<Vec<_>>(), [&b"one"[..], &[]]);
        let many = vec![Vec::new(); BATCH_RECORDS_MAX];
        let count =
            |batch: &[u8]| PackedRecords::open(batch, &mut Vec::new()).map(|batch| batch.len() as usize);
        assert_eq!(count(&packed(&many)), Ok(BATCH_RECORDS_MAX));
        assert_eq!(count(&packed(&[])), Ok(0));
        assert_eq!(count(&packed(&[many, vec![Vec::new()]].concat())), Err(BadPacked::TooManyRecords));
        let bytes = RECORD_BYTES_MAX + 1;
        assert_eq!(count(&packed(&[vec![0; bytes]])), Err(BadPacked::RecordTooLarge { bytes }));
        assert_eq!(count(b"noise"), Err(BadPacked::NoBlock));
        // Ten bytes that stand for themselves, as the block format has them: two records, the second cut short.
        let cut_short = b"\x05\0\0\0\x50\x01a\x03bc";
        assert_eq!(count(cut_short), Err(BadPacked::CutShort { record: 1 }));
    }

    proptest! {
        #[test]
        fn a_packed_batch_is_unpacked_as_it_was(payloads in vec(vec(0..4_u8, 0..300), 0..40)) {
            let (batch, mut room) = (packed(&payloads), vec![9; 100]);
            let batch = PackedRecords::open(&batch, &mut room).unwrap();
            prop_assert_eq!(batch.iter().map(<[u8]>::to_vec).collect::<Vec<_>>(), payloads);
        }

        /// Flipped, cut and made up: refused or read, and never more room than a block of these bytes may ask for.
        #[test]
        fn any_bytes_are_a_batch_or_none(
            payloads in vec(vec(0..4_u8, 0..100), 1..20),
            flips in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            cut in any::<prop::sample::Index>(),
            noise in vec(any::<u8>(), 0..200),
        ) {
            let mut wrong = packed(&payloads);
            for (at, with) in flips {
                let at = at.index(wrong.len());
                wrong[at] ^= with;
            }
            wrong.truncate(cut.index(wrong.len() + 1));
            for bytes in [wrong, noise] {
                let mut room = Vec::new();
                let _ = PackedRecords::open(&bytes, &mut room);
                prop_assert!(room.len() <= bytes.len() * EXPANSION_MAX);
            }
        }
    }
}
