//! Members that read a log to its end while others join and leave: how much of it is read more than once.
//!
//! Nobody dies here and nobody is slow. What is read twice was read by a member that was not let finish: it had not
//! committed yet, and who came after it had to begin where the last commit was.

use super::{
    counters::{as_f64, said},
    rig::{GROUP, Rig, payload, producer, settle, submit},
};
use anyhow::{Result, ensure};
use contracts::queue::{Ack, FetchLimit, Log, LogError, Membership, Offset, Partition, Records, Ticket};
use queue_phases::OpenPhaseOn as OpenOn;
use std::{collections::BTreeMap, sync::Arc};

const PARTITIONS: u32 = 8;
const MESSAGES: u64 = 800;
/// What a member reads of a partition in one of its turns.
const READ_MAX: usize = 5;
/// A member commits in every so manieth of its turns, as one that waits until what it has read is stored.
const TURNS_TO_COMMIT: u32 = 3;
/// Who subscribes, and in which round.
const JOINS: [(u32, &str); 3] = [(0, "a"), (4, "b"), (8, "c")];
/// Who has had enough, and in which round.
const LEAVES: (u32, &str) = (11, "a");
/// By then all has been read many times over.
const ROUNDS_MAX: u32 = 500;

/// How many messages members read beyond those that there are, until a group has read everything.
pub(super) fn messages_read_twice(open: OpenOn) -> Result<f64> {
    let log = filled(open)?;
    let mut members: Vec<Member> = Vec::new();
    let mut read = 0;
    for round in 0..ROUNDS_MAX {
        if let Some((_, name)) = JOINS.iter().find(|(at, _)| *at == round) {
            members.push(Member::new(log.clone(), log.subscribe(GROUP, name)?)?);
        }
        let mut left = Vec::new();
        for mut member in members {
            let leaves = LEAVES == (round, member.membership.member.as_str());
            // Who is fenced has been replaced, and what it has read and not committed is somebody else's to read again.
            match member.turn(leaves) {
                Ok(messages) => read += messages,
                Err(LogError::Fenced { .. }) => continue,
                Err(error) => return Err(error.into()),
            }
            if !leaves {
                left.push(member);
            }
        }
        members = left;
        if is_done(&log)? {
            ensure!(
                read >= MESSAGES,
                "the group has committed {MESSAGES} messages, and was given {read} of them"
            );
            return Ok(as_f64(read - MESSAGES));
        }
    }
    anyhow::bail!("after {ROUNDS_MAX} rounds the group has not read everything: a partition has no reader")
}

/// A log with the same number of messages in each partition.
fn filled(open: OpenOn) -> Result<Arc<dyn Log>> {
    let log = Rig::with_partitions(open, PARTITIONS).log().map_err(said)?;
    let mut producer = producer(&log, Ack::Os).map_err(said)?;
    let mut last = Ticket(0);
    for (number, partition) in (0..usize::try_from(MESSAGES)?).zip((0..PARTITIONS).cycle()) {
        last = submit(&mut *producer, Partition(partition), &payload(number)).map_err(said)?;
    }
    settle(&mut *producer, last, "the messages that are to be read").map_err(said)?;
    Ok(log)
}

/// Whether the group has committed all there is.
fn is_done(log: &Arc<dyn Log>) -> Result<bool, LogError> {
    for partition in (0..PARTITIONS).map(Partition) {
        if log.committed(GROUP, partition)? != Some(log.bounds(partition)?.end) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Somebody who reads.
struct Member {
    log: Arc<dyn Log>,
    membership: Membership,
    /// The next message of each partition that it holds.
    next: BTreeMap<Partition, Offset>,
    turns: u32,
}

impl Member {
    fn new(log: Arc<dyn Log>, membership: Membership) -> Result<Self, LogError> {
        let mut member = Self { log, membership, next: BTreeMap::new(), turns: 0 };
        member.begin()?;
        Ok(member)
    }

    /// Says that it is alive, moves on with its group, reads a little; says how many messages.
    fn turn(&mut self, leaves: bool) -> Result<u64, LogError> {
        if self.log.heartbeat(&self.membership)? > self.membership.generation {
            self.commit()?;
            self.membership = self.log.rejoin(&self.membership)?;
            self.begin()?;
        }
        let mut read = 0;
        let mut records = Records::new();
        for (partition, next) in &mut self.next {
            let limit = FetchLimit { records_max: READ_MAX, ..FetchLimit::default() };
            self.log.fetch(*partition, *next, limit, &mut records)?;
            next.0 += records.len() as u64;
            read += records.len() as u64;
        }
        self.turns += 1;
        if leaves || self.turns.is_multiple_of(TURNS_TO_COMMIT) {
            self.commit()?;
        }
        if leaves {
            self.log.leave(&self.membership)?;
        }
        Ok(read)
    }

    fn commit(&self) -> Result<(), LogError> {
        self.next
            .iter()
            .try_for_each(|(partition, next)| self.log.commit(&self.membership, *partition, *next))
    }

    /// Goes on where it was, and in what is new to it where the last commit was.
    fn begin(&mut self) -> Result<(), LogError> {
        let mut next = BTreeMap::new();
        for partition in &self.membership.partitions {
            let known = self.next.get(partition).copied();
            let begin = match known {
                Some(offset) => offset,
                None => self.log.committed(GROUP, *partition)?.unwrap_or(Offset(0)),
            };
            next.insert(*partition, begin);
        }
        self.next = next;
        Ok(())
    }
}
