//! Which batches of identified producers the log has already.
//!
//! A producer that was not answered does not know whether its batch is in the log, and sends it again. It says who it is
//! and the how manieth batch of a partition this is; the log remembers the last few batches of each, and where they lie. So
//! the second time is told from the first, and gets the first one's answer. A batch before the next one is missing, or one
//! that is older than what is remembered, is refused: to take it would change the order. The idea is Kafka's (KIP-98).
//!
//! The table follows from the frames alone, in their order: who has read the same frames has the same table. It is bounded:
//! a pair of producer and partition that was silent longest is forgotten first. A producer that is not known may begin with
//! any batch.

use crate::frame::{Head, u32_at, u64_at};
use contracts::{
    limits::{IDENTIFIED_BATCHES_KEPT, IDENTIFIED_PRODUCERS_MAX},
    queue::Identity,
};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// The last batches of each producer in each partition.
#[derive(Clone, Debug)]
pub struct Batches {
    /// Bound on the pairs.
    pairs_max: usize,
    known: HashMap<Pair, Known>,
    /// When each pair was last heard of: the first is the first to be forgotten.
    by_use: BTreeMap<u64, Pair>,
    uses: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Pair {
    producer: u64,
    partition: u32,
}

#[derive(Clone, Debug, Default)]
struct Known {
    used: u64,
    /// The newest last; never empty.
    batches: VecDeque<Kept>,
}

/// A batch that is in the log, or in the line before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The producer's number of it.
    pub sequence: u32,
    /// Where its first record lies.
    pub base: u64,
    /// How many records it has.
    pub count: u32,
    /// The number under which it was published since the log was opened; 0: before.
    pub published: u64,
}

impl Kept {
    /// The batch of a frame that was read or written.
    pub fn of(head: &Head) -> Self {
        Self { sequence: head.producer_sequence, base: head.base, count: head.count, published: 0 }
    }
}

/// What is to be done with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is appended.
    Next,
    /// It is there.
    Again(Kept),
    /// It is refused: another one is expected.
    OutOfSequence {
        /// The number of the one that comes next.
        expected: u32,
    },
}

impl Default for Batches {
    fn default() -> Self {
        Self::of_at_most(IDENTIFIED_PRODUCERS_MAX)
    }
}

impl Batches {
    /// A table that remembers so many pairs.
    pub fn of_at_most(pairs_max: usize) -> Self {
        Self { pairs_max, known: HashMap::new(), by_use: BTreeMap::new(), uses: 0 }
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// What is to be done with a batch of so many records. One that has another number of records than the first time is
    /// not the same, and refused.
    pub fn judge(&self, identity: Identity, partition: u32, count: u32) -> Verdict {
        let Identity { producer, sequence } = identity;
        let known = self.known.get(&Pair { producer, partition });
        let Some((known, last)) = known.and_then(|known| Some((known, known.batches.back()?))) else {
            return Verdict::Next;
        };
        let expected = last.sequence.wrapping_add(1);
        if sequence == expected {
            return Verdict::Next;
        }
        match known.batches.iter().find(|kept| kept.sequence == sequence) {
            Some(kept) if kept.count == count => Verdict::Again(*kept),
            _ => Verdict::OutOfSequence { expected },
        }
    }

    /// Learns of a batch. Batches come in the order in which they lie in the log.
    pub fn learn(&mut self, producer: u64, partition: u32, batch: Kept) {
        let pair = Pair { producer, partition };
        if !self.known.contains_key(&pair) && self.known.len() == self.pairs_max {
            self.forget_one();
        }
        self.uses += 1;
        let known = self.known.entry(pair).or_default();
        self.by_use.remove(&known.used);
        self.by_use.insert(self.uses, pair);
        known.used = self.uses;
        if known.batches.len() == IDENTIFIED_BATCHES_KEPT {
            known.batches.pop_front();
        }
        known.batches.push_back(batch);
    }

    fn forget_one(&mut self) {
        if let Some((_, silent)) = self.by_use.pop_first() {
            self.known.remove(&silent);
        }
    }

    /// As it stands in a frame of its own at the begin of a segment: those that were silent longest first.
    pub fn encode(&self) -> Vec<u8> {
        let count = u32::try_from(self.known.len()).expect("the pairs are bounded");
        let mut out = [count.to_le_bytes(), [0; 4]].concat();
        for pair in self.by_use.values() {
            let batches = &self.known[pair].batches;
            out.extend_from_slice(&pair.producer.to_le_bytes());
            out.extend_from_slice(&pair.partition.to_le_bytes());
            out.extend_from_slice(&u32::try_from(batches.len()).unwrap_or_default().to_le_bytes());
            for kept in batches {
                out.extend_from_slice(&kept.base.to_le_bytes());
                out.extend_from_slice(&kept.sequence.to_le_bytes());
                out.extend_from_slice(&kept.count.to_le_bytes());
            }
        }
        out
    }

    /// Reads what [`Batches::encode`] wrote; `None` if it is no such table.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut table = Self::of_at_most(IDENTIFIED_PRODUCERS_MAX);
        let (head, mut rest) = bytes.split_at_checked(8)?;
        for _ in 0..u32_at(head, 0) {
            let (pair, behind) = rest.split_at_checked(16)?;
            let (batches, behind) = behind.split_at_checked(16 * u32_at(pair, 12) as usize)?;
            for kept in batches.chunks_exact(16) {
                let (base, sequence, count) = (u64_at(kept, 0), u32_at(kept, 8), u32_at(kept, 12));
                table.learn(u64_at(pair, 0), u32_at(pair, 8), Kept { sequence, base, count, published: 0 });
            }
            rest = behind;
        }
        rest.is_empty().then_some(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    const PAIRS_MAX: usize = 3;

    fn kept(sequence: u32, base: u64) -> Kept {
        Kept { sequence, base, count: 2, published: 0 }
    }

    fn judge(table: &Batches, producer: u64, sequence: u32) -> Verdict {
        table.judge(Identity { producer, sequence }, 0, 2)
    }

    #[test]
    fn the_last_batches_are_known_again_and_nothing_else_but_the_next_is_taken() {
        let mut table = Batches::default();
        assert_eq!(judge(&table, 1, 77), Verdict::Next, "who is not known may begin anywhere");
        (77..84).for_each(|sequence| table.learn(1, 0, kept(sequence, u64::from(sequence) * 2)));
        for sequence in 79..84 {
            assert_eq!(judge(&table, 1, sequence), Verdict::Again(kept(sequence, u64::from(sequence) * 2)));
        }
        for wrong in [78, 85, 0, u32::MAX] {
            assert_eq!(judge(&table, 1, wrong), Verdict::OutOfSequence { expected: 84 }, "{wrong}");
        }
        assert_eq!(judge(&table, 1, 84), Verdict::Next);
        assert_eq!(judge(&table, 2, 84), Verdict::Next, "another producer");
        assert_eq!(
            table.judge(Identity { producer: 1, sequence: 5 }, 1, 2),
            Verdict::Next,
            "another partition"
        );
        let other = table.judge(Identity { producer: 1, sequence: 83 }, 0, 3);
        assert_eq!(
            other,
            Verdict::OutOfSequence { expected: 84 },
            "a batch of another length is another batch"
        );
    }

    #[test]
    fn after_the_largest_number_comes_zero() {
        let mut table = Batches::default();
        table.learn(1, 0, kept(u32::MAX, 0));
        assert_eq!(judge(&table, 1, 0), Verdict::Next);
        table.learn(1, 0, kept(0, 2));
        assert_eq!(judge(&table, 1, u32::MAX), Verdict::Again(kept(u32::MAX, 0)));
        assert_eq!(judge(&table, 1, 1), Verdict::Next);
    }

    #[test]
    fn the_largest_table_fits_a_frame_and_what_is_cut_short_is_no_table() {
        let mut table = Batches::default();
        for producer in 0..=IDENTIFIED_PRODUCERS_MAX as u64 {
            (0..6).for_each(|sequence| table.learn(producer + 1, 3, kept(sequence, 7)));
        }
        assert_eq!(judge(&table, 1, 9), Verdict::Next, "it was partition 3");
        assert_eq!(table.known.len(), IDENTIFIED_PRODUCERS_MAX);
        let bytes = table.encode();
        assert!(bytes.len() <= crate::frame::ANY_BODY_BYTES_MAX / 8, "{}", bytes.len());
        assert_eq!(Batches::decode(&bytes).unwrap().encode(), bytes);
        for cut in [0, 7, 8, 20, bytes.len() - 1] {
            assert!(Batches::decode(&bytes[..cut]).is_none(), "{cut}");
        }
        assert!(Batches::decode(&[&bytes[..], &[0]].concat()).is_none());
    }

    /// The same in the plainest way: all pairs in the order in which they were last heard of.
    #[derive(Default)]
    struct Model(Vec<(u64, u32, Vec<Kept>)>);

    impl Model {
        fn judge(&self, producer: u64, partition: u32, sequence: u32) -> Verdict {
            let Some((.., batches)) = self.0.iter().find(|(p, q, _)| (*p, *q) == (producer, partition))
            else {
                return Verdict::Next;
            };
            let expected = batches[batches.len() - 1].sequence.wrapping_add(1);
            let recent = &batches[batches.len().saturating_sub(5)..];
            match recent.iter().find(|kept| kept.sequence == sequence) {
                Some(kept) => Verdict::Again(*kept),
                None if sequence == expected => Verdict::Next,
                None => Verdict::OutOfSequence { expected },
            }
        }

        fn learn(&mut self, producer: u64, partition: u32, batch: Kept) {
            let found = self.0.iter().position(|(p, q, _)| (*p, *q) == (producer, partition));
            let mut batches = found.map(|at| self.0.remove(at).2).unwrap_or_default();
            batches.push(batch);
            self.0.push((producer, partition, batches));
            if self.0.len() > PAIRS_MAX {
                self.0.remove(0);
            }
        }
    }

    proptest! {
        #[test]
        fn the_table_is_the_model_also_after_it_was_written_and_read(
            steps in vec((1..4_u64, 0..2_u32, 0..12_u32, 0..10_u32), 0..200),
        ) {
            let (mut table, mut model) = (Batches::of_at_most(PAIRS_MAX), Model::default());
            for (at, (producer, partition, back, what)) in (0_u64..).zip(steps) {
                let expected = match model.judge(producer, partition, 1_000_000) {
                    Verdict::OutOfSequence { expected } => expected,
                    _ => u32::MAX - 5,
                };
                // Mostly the next one; else one of before, or from the future.
                let sequence = if what < 6 { expected } else { expected.wrapping_add(4).wrapping_sub(back) };
                let verdict = table.judge(Identity { producer, sequence }, partition, 2);
                prop_assert_eq!(verdict, model.judge(producer, partition, sequence));
                if verdict == Verdict::Next {
                    table.learn(producer, partition, kept(sequence, at));
                    model.learn(producer, partition, kept(sequence, at));
                }
                if what == 9 {
                    let read = Batches::decode(&table.encode()).unwrap();
                    table = Batches { pairs_max: PAIRS_MAX, ..read };
                }
                prop_assert!(table.known.len() <= PAIRS_MAX && table.by_use.len() == table.known.len());
            }
        }

        #[test]
        fn any_bytes_are_a_table_or_none(bytes in vec(any::<u8>(), 0..300)) {
            if let Some(table) = Batches::decode(&bytes) {
                prop_assert!(table.known.len() <= IDENTIFIED_PRODUCERS_MAX);
            }
        }
    }
}
