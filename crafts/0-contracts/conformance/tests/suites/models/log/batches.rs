//! Which batches are there already: the last of each producer in each partition.

use super::Fault;
use contracts::{
    limits::IDENTIFIED_BATCHES_KEPT,
    queue::{Identity, LogError, Offset, Partition},
};
use std::collections::{HashMap, VecDeque};

pub(super) struct Batches {
    fault: Fault,
    known: HashMap<(u64, Partition), VecDeque<(u32, Offset)>>,
}

impl Batches {
    pub(super) fn new(fault: Fault) -> Self {
        Self { fault, known: HashMap::new() }
    }

    /// Where the batch lies; `None` if it is the producer's next.
    pub(super) fn find(&self, identity: Identity, partition: Partition) -> Result<Option<Offset>, LogError> {
        let Identity { producer, sequence: asked } = identity;
        let refused = |expected| Err(LogError::OutOfSequence { producer, partition, expected, asked });
        let last = match self.known.get(&self.key(producer, partition)).and_then(VecDeque::back) {
            Some((last, _)) => *last,
            None if self.fault == Fault::MustBeginAtZero && asked > 0 => return refused(0),
            None => return Ok(None),
        };
        let known = &self.known[&self.key(producer, partition)];
        if let Some((_, first)) = known.iter().find(|(sequence, _)| *sequence == asked) {
            return Ok(Some(*first));
        }
        let next =
            if self.fault == Fault::NeverWraps { last.saturating_add(1) } else { last.wrapping_add(1) };
        let is_old = asked < last && last - asked < 1000;
        let taken = asked == next
            || (self.fault == Fault::TakesGaps && asked > next)
            || (self.fault == Fault::AppendsWhatIsOld && is_old);
        if taken { Ok(None) } else { refused(next) }
    }

    pub(super) fn note(
        &mut self,
        Identity { producer, sequence }: Identity,
        partition: Partition,
        at: Offset,
    ) {
        let kept = if self.fault == Fault::ForgetsSoon { 1 } else { IDENTIFIED_BATCHES_KEPT };
        let known = self.known.entry(self.key(producer, partition)).or_default();
        known.push_back((sequence, at));
        while known.len() > kept {
            known.pop_front();
        }
    }

    fn key(&self, producer: u64, partition: Partition) -> (u64, Partition) {
        match self.fault {
            Fault::OneCountForAllProducers => (0, partition),
            Fault::OneCountForAllPartitions => (producer, Partition(0)),
            _ => (producer, partition),
        }
    }
}
