//! Records that say what they are, and whose every byte follows from that.

use fastrand::Rng;
use std::fmt;

/// Begins every record.
const MAGIC: u32 = 0x6b69_6c6c;
const TAG_BYTES: usize = 32;
/// Set in the numbers of identified producers.
const IDENTIFIED: u32 = 1 << 31;

/// What was submitted between two flushes for one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Batch {
    pub(super) producer: u32,
    pub(super) partition: u32,
    /// In which life it was first sent; 0 if that makes no difference, as with an identified producer.
    pub(super) life: u32,
    /// Of this producer in this partition and life, from 0.
    pub(super) number: u32,
}

/// A record of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Tag {
    pub(super) batch: Batch,
    /// Its place in the batch, from 0.
    pub(super) index: u32,
}

impl Batch {
    pub(super) fn identified(producer: u32, partition: u32, number: u32) -> Self {
        Self { producer: producer | IDENTIFIED, partition, life: 0, number }
    }

    pub(super) fn is_identified(&self) -> bool {
        self.producer & IDENTIFIED != 0
    }

    /// The number that its producer is known by, without the mark.
    pub(super) fn producer_number(&self) -> u32 {
        self.producer & !IDENTIFIED
    }

    /// How many records it has: mostly a few.
    pub(super) fn records(&self, seed: u64) -> u32 {
        let mut rng = self.rng(seed);
        match rng.u32(..8) {
            0..3 => 1,
            3..7 => rng.u32(2..20),
            _ => rng.u32(20..300),
        }
    }

    fn rng(&self, seed: u64) -> Rng {
        let fields = [self.producer, self.partition, self.life, self.number].map(u64::from);
        Rng::with_seed(fields.iter().fold(seed, |hash, field| mix(hash ^ field)))
    }
}

impl Tag {
    /// All bytes of the record.
    pub(super) fn payload(&self, seed: u64) -> Vec<u8> {
        let mut rng = self.batch.rng(mix(seed ^ u64::from(self.index) ^ u64::from(MAGIC)));
        // Mostly short; now and then longer than a page, seldom longer than a frame's usual body.
        let bytes = match rng.u32(..2048) {
            0..1600 => rng.usize(..200),
            1600..2000 => rng.usize(..2000),
            2000..2047 => rng.usize(..20_000),
            _ => rng.usize(..600_000),
        };
        let Batch { producer, partition, life, number } = self.batch;
        let length = u32::try_from(bytes).unwrap_or(u32::MAX);
        let words = [MAGIC, producer, partition, life, number, self.index, length, 0];
        let mut payload: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        payload.resize(TAG_BYTES + bytes, 0);
        rng.fill(&mut payload[TAG_BYTES..]);
        payload
    }

    /// What a payload says that it is, if every byte of it is as it should be.
    pub(super) fn of(payload: &[u8], seed: u64) -> Option<Self> {
        let word = |n: usize| payload.get(n * 4..n * 4 + 4)?.try_into().ok().map(u32::from_le_bytes);
        if word(0)? != MAGIC {
            return None;
        }
        let batch = Batch { producer: word(1)?, partition: word(2)?, life: word(3)?, number: word(4)? };
        let tag = Self { batch, index: word(5)? };
        (tag.payload(seed) == payload).then_some(tag)
    }

    /// A number in the place of the tag, where many are kept.
    pub(super) fn digest(&self) -> u64 {
        let Batch { producer, partition, life, number } = self.batch;
        [producer, partition, life, number, self.index]
            .iter()
            .fold(0, |hash, field| mix(hash ^ u64::from(*field)))
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, life, number, .. } = self;
        let producer = self.producer_number();
        if self.is_identified() {
            write!(f, "batch {number} of the numbered producer {producer} in partition {partition}")
        } else {
            write!(f, "batch {number} of producer {producer} in partition {partition} in life {life}")
        }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record {} of {}", self.index, self.batch)
    }
}

/// Scatters the bits of a number: the finaliser of splitmix64.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_known_again_and_one_that_was_altered_is_not() {
        for number in 0..500 {
            let tag = Tag { batch: Batch { producer: 3, partition: 1, life: 7, number }, index: 4 };
            let mut payload = tag.payload(9);
            assert_eq!(Tag::of(&payload, 9), Some(tag));
            assert_eq!(Tag::of(&payload, 8), None, "of another plan");
            let at = number as usize % payload.len();
            payload[at] ^= 1;
            assert_eq!(Tag::of(&payload, 9), None, "byte {at}");
        }
        assert_eq!(Tag::of(b"", 9), None);
    }
}
