//! Craft 2: the log between ingest and storage.
//!
//! A log is a set of partitions, each an ordered sequence of records with consecutive offsets. Producers append
//! and learn *later* what is safe: [`Producer::submit`] gives a [`Ticket`], [`Producer::settled`] the highest
//! ticket that may be acknowledged. One thread can so hold thousands of replies while one fsync is under way,
//! without async code. Consumers fetch from any offset and commit, for their group, how far they came.
//!
//! The promise: at least once, ordered within a partition, and what was acknowledged at a level survives what
//! that level names. The model is Kafka's; deferred acknowledgement follows its group commit.

use crate::{file::FileSlice, packed::PackedRecords};
use serde::{Deserialize, Serialize};
use std::{ops::Range, task::Waker, time::Duration};

/// The topic that the pipeline's samples travel on.
pub const TOPIC: &str = "metrics.inbound";

/// One of a log's ordered sequences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Partition(pub u32);

/// The place of a record within its partition, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(pub u64);

/// The place of a submission within its producer, from 1. `Ticket(0)` is "nothing yet".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// How safe a record must be before it is acknowledged. Each level includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ack {
    /// In this process's memory: lost with the process.
    Memory,
    /// Handed to the operating system: survives `kill -9`.
    Os,
    /// On the disk: survives a power cut.
    Disk,
}

impl Ack {
    /// As it is written on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Os => "os",
            Self::Disk => "disk",
        }
    }
}

/// Why the log refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogError {
    /// There is no such partition.
    #[error("partition {} does not exist: the log has {partitions}, counted from 0", asked.0)]
    NoSuchPartition {
        /// What was asked for.
        asked: Partition,
        /// How many there are.
        partitions: u32,
    },
    /// The offset is not in the log.
    #[error("offset {} is outside the log, which holds {}..{}", asked.0, bounds.start.0, bounds.end.0)]
    OffsetOutOfRange {
        /// What was asked for.
        asked: Offset,
        /// What the log has.
        bounds: Bounds,
    },
    /// The log cannot promise this much.
    #[error("this log can acknowledge at {} at most, not at {}", best.as_str(), asked.as_str())]
    AckTooStrong {
        /// What was asked for.
        asked: Ack,
        /// What it can do.
        best: Ack,
    },
    /// A record over the limit.
    #[error("a record of {bytes} bytes is too large, the most is {bytes_max}")]
    RecordTooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// Back-pressure: nothing was taken, try again.
    #[error("the log is full; try again when its consumers have caught up")]
    Full,
    /// The member was replaced, or never joined: it must subscribe again, and must not commit.
    #[error("generation {asked} of group {group:?} is over, the current one is {current}; subscribe again")]
    Fenced {
        /// The group.
        group: String,
        /// The member's generation.
        asked: u64,
        /// The group's generation.
        current: u64,
    },
    /// A group's or member's name that is empty, too long or not printable ASCII.
    #[error("{0:?} is no name for a group or a member: 1 to 128 printable ASCII characters")]
    BadName(String),
    /// A bound on the number of groups.
    #[error("the log has {0} consumer groups already, which is the most")]
    TooManyGroups(usize),
    /// A bound on the members of one group.
    #[error("group {group:?} has {members_max} members already, which is the most")]
    TooManyMembers {
        /// The group.
        group: String,
        /// The limit.
        members_max: usize,
    },
    /// An identified batch that is neither the producer's next nor one of its last: batches between are missing.
    #[error(
        "batch {asked} of producer {producer} in partition {} is out of sequence, the next is {expected}",
        partition.0
    )]
    OutOfSequence {
        /// The producer.
        producer: u64,
        /// Where to.
        partition: Partition,
        /// Its next batch there.
        expected: u32,
        /// What was sent.
        asked: u32,
    },
    /// Records were lost to damage. What lies behind them can be read.
    #[error(
        "records {}..{} of partition {} are damaged: {why}; go on at {}",
        from.0, next.0, partition.0, next.0
    )]
    Damaged {
        /// The partition.
        partition: Partition,
        /// The first that cannot be read.
        from: Offset,
        /// The next that can.
        next: Offset,
        /// File, byte and what was found there.
        why: String,
    },
    /// This log does not do that.
    #[error("this log does not {0}")]
    NotOffered(String),
    /// The log cannot go on. What was submitted and not settled has an unknown fate.
    #[error("the log failed: {0}")]
    Failed(String),
}

/// What a partition holds: offsets `start..end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// The oldest record that is still there.
    pub start: Offset,
    /// Where the next record will be.
    pub end: Offset,
}

/// A topic's partitions.
pub trait Log: Send + Sync {
    /// How many partitions there are; it does not change.
    fn partitions(&self) -> u32;

    /// The strongest acknowledgement that it can give.
    fn ack_max(&self) -> Ack;

    /// A new producer whose tickets settle at `ack`.
    ///
    /// # Errors
    /// [`LogError::AckTooStrong`], [`LogError::Failed`].
    fn producer(&self, ack: Ack) -> Result<Box<dyn Producer>, LogError>;

    /// What the partition holds now.
    ///
    /// # Errors
    /// [`LogError::NoSuchPartition`], [`LogError::Failed`].
    fn bounds(&self, partition: Partition) -> Result<Bounds, LogError>;

    /// Replaces the content of `out` with records from `from` on; none when there are none yet. Waits up to
    /// `limit.wait` for the first.
    ///
    /// # Errors
    /// [`LogError::NoSuchPartition`]; [`LogError::OffsetOutOfRange`] below the start or beyond the end;
    /// [`LogError::Damaged`] if the record at `from` is: what lies before the damage is given first;
    /// [`LogError::Failed`].
    fn fetch(
        &self,
        partition: Partition,
        from: Offset,
        limit: FetchLimit,
        out: &mut Records,
    ) -> Result<(), LogError>;

    /// The same records as they lie in the log's files, for who knows their form. `None` if this log has no such form,
    /// or none that would be worth while here.
    ///
    /// # Errors
    /// As those of [`Log::fetch`].
    fn fetch_stored(
        &self,
        _partition: Partition,
        _from: Offset,
        _limit: FetchLimit,
    ) -> Result<Option<Stored>, LogError> {
        Ok(None)
    }

    /// Whether its producers' batches are known again: see [`Producer::identify`].
    fn knows_batches(&self) -> bool {
        // Asked of a producer that is thrown away, so that no log can say one thing here and do another there.
        let asked = Identity { producer: 1, sequence: 0 };
        self.producer(Ack::Memory).and_then(|mut producer| producer.identify(asked)).is_ok()
    }

    /// How many members a group can share its partitions among. Where it is one, the last who subscribes is the member.
    fn group_members_max(&self) -> usize {
        1
    }

    /// Makes `member` part of `group` and gives it its partitions. A new generation begins. A former self, a member of
    /// the same name, is fenced. The other members stay, and should [`Log::rejoin`]: until they do they keep what they
    /// hold, and nobody else is given it.
    ///
    /// # Errors
    /// [`LogError::BadName`], [`LogError::TooManyGroups`], [`LogError::TooManyMembers`], [`LogError::Failed`].
    fn subscribe(&self, group: &str, member: &str) -> Result<Membership, LogError>;

    /// Moves a member on to the group's current generation: it lets go of partitions that are not its own any more, and
    /// gets those that nobody holds. Which partitions the membership names is not asked.
    ///
    /// # Errors
    /// [`LogError::Fenced`], [`LogError::Failed`].
    fn rejoin(&self, membership: &Membership) -> Result<Membership, LogError> {
        let generation = self.heartbeat(membership)?;
        // A group's only member holds them all.
        let partitions = (0..self.partitions()).map(Partition).collect();
        Ok(Membership { generation, partitions, ..membership.clone() })
    }

    /// Says that the member is alive; returns the group's generation. If it is higher than the member's, the member
    /// should rejoin.
    ///
    /// A member that has not said so for the log's heartbeat timeout is expelled, and its partitions are given to others.
    ///
    /// # Errors
    /// [`LogError::Fenced`], [`LogError::Failed`].
    fn heartbeat(&self, membership: &Membership) -> Result<u64, LogError>;

    /// Gives everything that the member holds to the others, now, and fences it; where groups have one member, it may be
    /// that nothing changes.
    ///
    /// # Errors
    /// [`LogError::Fenced`], [`LogError::Failed`].
    fn leave(&self, membership: &Membership) -> Result<(), LogError> {
        self.heartbeat(membership).map(|_| ())
    }

    /// Says how a group's partitions are dealt out, from its next generation on.
    ///
    /// # Errors
    /// [`LogError::BadName`], [`LogError::TooManyGroups`], [`LogError::Failed`].
    fn assign(&self, _group: &str, _assignment: Assignment) -> Result<(), LogError> {
        // One member gets all partitions, however they are dealt out.
        Ok(())
    }

    /// All groups: their members, and how far they came.
    ///
    /// # Errors
    /// [`LogError::Failed`].
    fn groups(&self) -> Result<Vec<GroupStatus>, LogError>;

    /// Records that everything before `next` is done. Lower than before is allowed: a group may rewind. Taken from who
    /// holds the partition, also while it has not yet joined the current generation.
    ///
    /// # Errors
    /// [`LogError::Fenced`]; [`LogError::NoSuchPartition`]; [`LogError::OffsetOutOfRange`] beyond the end;
    /// [`LogError::Failed`].
    fn commit(&self, membership: &Membership, partition: Partition, next: Offset) -> Result<(), LogError>;

    /// How far the group came; `None` if it never committed.
    ///
    /// # Errors
    /// [`LogError::NoSuchPartition`], [`LogError::Failed`].
    fn committed(&self, group: &str, partition: Partition) -> Result<Option<Offset>, LogError>;
}

/// Appends to a log. Belongs to one thread.
pub trait Producer: Send {
    /// Makes what is submitted until the next flush, all of it to one partition, this producer's batch of that number.
    /// A batch that the log has already is not appended again: its tickets settle, and its places are those of the
    /// first time.
    ///
    /// # Errors
    /// [`LogError::NotOffered`].
    fn identify(&mut self, _identity: Identity) -> Result<(), LogError> {
        Err(LogError::NotOffered("know batches again that it has already".to_owned()))
    }

    /// Takes a copy of one record. Ordered within its partition after everything submitted to it before.
    ///
    /// # Errors
    /// [`LogError::Full`] is the back-pressure; [`LogError::NoSuchPartition`]; [`LogError::RecordTooLarge`];
    /// [`LogError::Failed`]. Nothing was taken then.
    fn submit(&mut self, record: NewRecord<'_>) -> Result<Ticket, LogError>;

    /// Takes a copy of several records, all to one partition and in their order; returns the ticket of the last, `Ticket(0)` if
    /// there is none. What a log looks at for each record it may look at once here.
    ///
    /// # Errors
    /// As those of [`Producer::submit`]; records may have been taken before one that was not.
    fn submit_all(&mut self, partition: Partition, payloads: &[&[u8]]) -> Result<Ticket, LogError> {
        let mut last = Ticket(0);
        for payload in payloads {
            last = self.submit(NewRecord { partition, payload })?;
        }
        Ok(last)
    }

    /// Takes the records of a packed batch, in their order; returns the ticket of the last, `Ticket(0)` if there is none. A
    /// log may keep the batch as it is, or each record by itself.
    ///
    /// # Errors
    /// As those of [`Producer::submit`]; records of the batch may have been taken before one that was not.
    fn submit_packed(&mut self, partition: Partition, batch: &PackedRecords<'_>) -> Result<Ticket, LogError> {
        let mut last = Ticket(0);
        for payload in batch {
            last = self.submit(NewRecord { partition, payload })?;
        }
        Ok(last)
    }

    /// Publishes what was submitted since the last flush. An identified batch lies together, at consecutive offsets.
    ///
    /// # Errors
    /// [`LogError::OutOfSequence`]: the identified batch was not taken. Its tickets are void: they get no place, and say
    /// nothing when later ones settle.
    /// [`LogError::Failed`]: what is not settled has an unknown fate, and must not be acknowledged.
    fn flush(&mut self) -> Result<(), LogError>;

    /// The highest ticket that may be acknowledged.
    ///
    /// # Errors
    /// [`LogError::Failed`], as above.
    fn settled(&self) -> Result<Ticket, LogError>;

    /// Waits until `upto` is settled, at most for a time; returns what is settled then.
    ///
    /// # Errors
    /// [`LogError::Failed`], as above.
    fn wait(&mut self, upto: Ticket, at_most: Duration) -> Result<Ticket, LogError>;

    /// Moves to `out` where settled submissions came to lie, in the order of their tickets.
    fn placed(&mut self, out: &mut Vec<Placed>);

    /// For those who cannot block: woken whenever [`Producer::settled`] may have moved.
    fn set_waker(&mut self, waker: Waker);
}

/// Who sends a batch, and the how manieth of theirs in its partition it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// A number that the producer has drawn at random; never 0.
    pub producer: u64,
    /// One more than that of its batch before; after the largest comes 0. A producer that the log does not know may
    /// begin anywhere.
    pub sequence: u32,
}

/// A record to append. Opaque to the log; in this pipeline, a [`Batch`](crate::Batch) in binary form.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// Where to.
    pub partition: Partition,
    /// What.
    pub payload: &'a [u8],
}

/// Where a submission came to lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The submission.
    pub ticket: Ticket,
    /// Its partition.
    pub partition: Partition,
    /// Its offset.
    pub offset: Offset,
}

/// How much a fetch may return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchLimit {
    /// Most records.
    pub records_max: usize,
    /// Most bytes of payload, unless the first record alone is larger.
    pub bytes_max: usize,
    /// How long to wait for a first record.
    pub wait: Duration,
}

impl Default for FetchLimit {
    fn default() -> Self {
        Self { records_max: 1000, bytes_max: 4 << 20, wait: Duration::ZERO }
    }
}

/// A member's place in its group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The group.
    pub group: String,
    /// The member.
    pub member: String,
    /// Rises with every change of membership.
    pub generation: u64,
    /// What this member is to read.
    pub partitions: Vec<Partition>,
}

/// How a group's partitions are dealt out to its members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Assignment {
    /// Neighbours together, in the order of the members' names: easy to foresee, and moves many when one comes or goes.
    Range,
    /// Everybody keeps what they hold as far as that is fair.
    #[default]
    Sticky,
}

/// A group, seen from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupStatus {
    /// Its name.
    pub group: String,
    /// Rises with every change of membership.
    pub generation: u64,
    /// How its partitions are dealt out.
    pub assignment: Assignment,
    /// How often its partitions were dealt out anew since the log was opened.
    pub rebalances: u64,
    /// Who is in it, by name.
    pub members: Vec<MemberStatus>,
    /// How far it came, by partition.
    pub partitions: Vec<PartitionLag>,
}

/// A member of a group, seen from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// Its name.
    pub member: String,
    /// The generation that it has joined.
    pub generation: u64,
    /// What it holds.
    pub partitions: Vec<Partition>,
    /// Milliseconds since it was last heard of.
    pub silent_ms: u64,
}

/// How far a group came in a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionLag {
    /// The partition.
    pub partition: Partition,
    /// Where the group goes on; `None` if it never committed.
    pub committed: Option<Offset>,
    /// Where the next record will be.
    pub end: Offset,
    /// Records that are there and not committed.
    pub lag: u64,
}

impl PartitionLag {
    /// The lag of a group that has committed this of what the partition holds.
    pub fn of(partition: Partition, committed: Option<Offset>, bounds: Bounds) -> Self {
        let next = committed.unwrap_or(bounds.start).max(bounds.start);
        Self { partition, committed, end: bounds.end, lag: bounds.end.0.saturating_sub(next.0) }
    }
}

/// Frames of one partition as they lie in a log's files.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Where they lie, in their order: each holds whole frames.
    pub slices: Vec<StoredSlice>,
    /// The offset behind their last record. The first frame may begin before what was asked for.
    pub next: Offset,
}

/// Neighbours in one segment.
#[derive(Clone, Debug)]
pub struct StoredSlice {
    /// Where.
    pub slice: FileSlice,
    /// What the checksums of the segment's frames begin with.
    pub seed: u32,
}

/// Fetched records in one reusable buffer: no allocation a record.
#[derive(Clone, Debug, Default)]
pub struct Records {
    bytes: Vec<u8>,
    rows: Vec<(Offset, Range<usize>)>,
}

impl Records {
    /// None, without capacity.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the records, keeps the capacity.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.rows.clear();
    }

    /// Appends a record.
    pub fn push(&mut self, offset: Offset, payload: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(payload);
        self.rows.push((offset, start..self.bytes.len()));
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes of all payloads.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Offsets and payloads, in ascending order of the offsets.
    pub fn iter(&self) -> impl Iterator<Item = (Offset, &[u8])> {
        self.rows.iter().map(|(offset, range)| (*offset, &self.bytes[range.clone()]))
    }

    /// Whether one more record of `bytes` fits `limit`; the first always does.
    pub fn has_room(&self, bytes: usize, limit: FetchLimit) -> bool {
        self.is_empty() || (self.len() < limit.records_max && self.bytes() + bytes <= limit.bytes_max)
    }

    /// The HTTP form: for each record `offset u64 · length u32 · payload`, little endian.
    ///
    /// # Panics
    /// If a payload passes 4 GiB, which [`RECORD_BYTES_MAX`](crate::limits::RECORD_BYTES_MAX) forbids.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes.len() + self.rows.len() * 12);
        for (offset, payload) in self.iter() {
            out.extend_from_slice(&offset.0.to_le_bytes());
            put_payload(payload, &mut out);
        }
        out
    }

    /// Replaces the content with what `bytes`, in the HTTP form, hold.
    ///
    /// # Errors
    /// The byte at which the form is broken; the records before it are kept.
    pub fn decode(&mut self, bytes: &[u8]) -> Result<(), usize> {
        self.clear();
        let mut at = 0;
        while at < bytes.len() {
            let offset =
                bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes).ok_or(at)?;
            let payload = payload_at(bytes, at + 8).ok_or(at + 8)?;
            self.push(Offset(offset), payload);
            at += 12 + payload.len();
        }
        Ok(())
    }
}

/// Appends `length u32 · payload`: the form in which `POST /produce` takes several records.
///
/// # Panics
/// If the payload passes 4 GiB.
pub fn put_payload(payload: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(payload.len()).expect("a record is bounded far below 4 GiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(payload);
}

/// The payload whose length stands at `at`; `None` if it is cut short.
pub fn payload_at(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let length = u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize;
    bytes.get(at + 4..at.checked_add(4 + length)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn records_round_trip(payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..10)) {
            let mut records = Records::new();
            for (i, payload) in payloads.iter().enumerate() {
                records.push(Offset(i as u64), payload);
            }
            let mut back = Records::new();
            back.decode(&records.encode()).unwrap();
            prop_assert_eq!(back.iter().map(|(_, p)| p.to_vec()).collect::<Vec<_>>(), payloads);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Records::new().decode(&bytes);
            let _ = payload_at(&bytes, 0);
        }
    }
}
