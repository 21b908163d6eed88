//! Four members share a group's partitions; one of them dies without a word.
//!
//! Handling 10 records takes a member 1 ms, whatever the processor does: so four get four times as far as one, if they
//! share the work. What each was handed is written down, and held against what a group promises.

use super::super::{
    slice::{Figures, Task},
    subject::{Messages, Setting, Subject},
};
use anyhow::{Context, Result};
use contracts::queue::{FetchLimit, Log, LogError, Membership, Offset, Partition, Records};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

const GROUP: &str = "workers";
const MEMBERS: u32 = 4;
const PARTITIONS: u32 = 8;
/// More than all members together handle.
const LOG_BYTES: u64 = 48 << 20;
const MESSAGES_A_COMMIT: usize = 100;
/// Handed at once.
const BATCH: usize = 100;
const RECORD_TIME: Duration = Duration::from_micros(100);
/// Of the log: who is silent for longer is expelled.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_millis(500);
/// How often a member says that it lives, and hears whether it should rejoin.
const HEARTBEAT_EVERY: Duration = Duration::from_millis(20);
/// When one of them dies, of the whole.
const DEATH_AFTER: f64 = 0.3;

/// Records of one partition that one member was handed at once.
#[derive(Clone, Copy, Debug)]
struct Handed {
    member: u32,
    generation: u64,
    partition: Partition,
    from: u64,
    behind: u64,
    at: Instant,
}

pub(super) fn measure(task: &Task) -> Result<Figures> {
    let setting = Setting {
        partitions: PARTITIONS,
        groups: vec![GROUP.to_owned()],
        heartbeat_timeout: Some(HEARTBEAT_TIMEOUT),
        ..Setting::default()
    };
    let subject = Subject::open(&task.subject, &task.dir, &setting)?;
    subject.fill(&Messages::new(task.seed), LOG_BYTES, MESSAGES_A_COMMIT)?;
    let length = Duration::from_secs_f64(task.seconds) + 3 * HEARTBEAT_TIMEOUT;
    let (stop, die) = (AtomicBool::new(false), AtomicBool::new(false));
    let log = &*subject.log;
    let lives = thread::scope(|scope| -> Result<Vec<Life>> {
        let members: Vec<_> = (0..MEMBERS)
            .map(|number| {
                let end = if number == 0 { &die } else { &stop };
                scope.spawn(move || {
                    Member { log, number, handed: Vec::new(), heard: Instant::now() }.live(end)
                })
            })
            .collect();
        thread::sleep(length.mul_f64(DEATH_AFTER));
        // Release pairs with the members' Acquire, though nothing hangs on it but the flag.
        die.store(true, Ordering::Release);
        thread::sleep(length.mul_f64(1.0 - DEATH_AFTER));
        stop.store(true, Ordering::Release);
        members.into_iter().map(|m| m.join().map_err(|_| anyhow::anyhow!("a member panicked"))?).collect()
    })?;
    let committed = (0..PARTITIONS)
        .map(|partition| Ok(log.committed(GROUP, Partition(partition))?.map_or(0, |next| next.0)))
        .collect::<Result<Vec<u64>>>()?;
    told(&lives, &committed, length)
}

/// What a member was handed, and how it ended.
#[derive(Debug)]
struct Life {
    handed: Vec<Handed>,
    /// When it was last heard of.
    end: Instant,
    /// What it held then.
    held: Vec<Partition>,
}

struct Member<'l> {
    log: &'l dyn Log,
    number: u32,
    handed: Vec<Handed>,
    /// Just before it last said anything to the log: whatever a member says, it lives.
    heard: Instant,
}

impl Member<'_> {
    /// Until it is told to end, which it does without a word.
    fn live(mut self, end: &AtomicBool) -> Result<Life> {
        let name = format!("member-{}", self.number);
        let mut membership = self.log.subscribe(GROUP, &name)?;
        let (mut asked, mut turn) = (Instant::now(), 0);
        // Acquire pairs with the Release of who ends it.
        while !end.load(Ordering::Acquire) {
            if asked.elapsed() >= HEARTBEAT_EVERY {
                asked = Instant::now();
                membership = self.heartbeat(membership, end)?;
            }
            // One partition at a time, so that it is never long before it says again that it lives.
            turn += 1;
            let partition = membership.partitions.get(turn % membership.partitions.len().max(1)).copied();
            let worked = partition.map(|partition| self.work(&membership, partition)).transpose()?;
            if worked != Some(true) {
                thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(Life { handed: self.handed, end: self.heard, held: membership.partitions })
    }

    fn heartbeat(&mut self, membership: Membership, end: &AtomicBool) -> Result<Membership> {
        self.heard = Instant::now();
        let heard = match self.log.heartbeat(&membership) {
            Ok(generation) if generation > membership.generation => self.log.rejoin(&membership),
            Ok(_) => return Ok(membership),
            Err(error) => Err(error),
        };
        match heard {
            Err(LogError::Fenced { .. }) => {
                if self.log.group_members_max() == 1 {
                    // Who reads alone is not to be replaced at once by whom it has replaced.
                    sleep_unless(end, HEARTBEAT_TIMEOUT);
                }
                Ok(self.log.subscribe(GROUP, &membership.member)?)
            }
            other => Ok(other?),
        }
    }

    /// A batch of a partition that it holds; whether there was one.
    fn work(&mut self, membership: &Membership, partition: Partition) -> Result<bool> {
        let limit = FetchLimit { records_max: BATCH, ..FetchLimit::default() };
        let next = self.log.committed(GROUP, partition)?.unwrap_or(Offset(0));
        // A member that was expelled a moment ago must not take what is another's now.
        self.heard = Instant::now();
        if self.log.heartbeat(membership).is_err() {
            return Ok(false);
        }
        let mut records = Records::new();
        self.log.fetch(partition, next, limit, &mut records)?;
        if records.is_empty() {
            return Ok(false);
        }
        let behind = next.0 + records.len() as u64;
        let (member, generation) = (self.number, membership.generation);
        self.handed.push(Handed { member, generation, partition, from: next.0, behind, at: Instant::now() });
        thread::sleep(RECORD_TIME * u32::try_from(records.len())?);
        self.heard = Instant::now();
        match self.log.commit(membership, partition, Offset(behind)) {
            Ok(()) => Ok(true),
            Err(LogError::Fenced { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

fn sleep_unless(end: &AtomicBool, at_most: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < at_most && !end.load(Ordering::Acquire) {
        thread::sleep(Duration::from_millis(5));
    }
}

/// The first of the lives is the one that ended early.
fn told(lives: &[Life], committed: &[u64], length: Duration) -> Result<Figures> {
    let dead = lives.first().context("nobody lived")?;
    let all: Vec<Handed> = lives.iter().flat_map(|life| life.handed.iter().copied()).collect();
    let taken_over = dead.held.iter().filter_map(|partition| {
        let others = all.iter().filter(|handed| handed.member != 0 && handed.partition == *partition);
        others.map(|handed| handed.at).filter(|at| *at > dead.end).min()
    });
    let taken_over: Vec<Instant> = taken_over.collect();
    let mut figures = Figures::from([
        ("throughput".to_owned(), committed.iter().sum::<u64>() as f64 / length.as_secs_f64()),
        ("missed".to_owned(), missed(&all, committed) as f64),
        ("twice_in_a_generation".to_owned(), twice(&all) as f64),
        ("partitions_of_the_dead".to_owned(), dead.held.len() as f64),
        ("timeout_ms".to_owned(), HEARTBEAT_TIMEOUT.as_secs_f64() * 1e3),
    ]);
    // Where some were never taken over there is no time to tell.
    if taken_over.len() == dead.held.len()
        && let Some(last) = taken_over.iter().max()
    {
        figures.insert("takeover_ms".to_owned(), (*last - dead.end).as_secs_f64() * 1e3);
    }
    Ok(figures)
}

/// Records that count as done and were handed to nobody.
fn missed(all: &[Handed], committed: &[u64]) -> u64 {
    let mut missed = 0;
    for (partition, end) in (0..).map(Partition).zip(committed) {
        let mut handed: Vec<_> =
            all.iter().filter(|h| h.partition == partition).map(|h| (h.from, h.behind)).collect();
        handed.sort_unstable();
        let mut next = 0;
        for (from, behind) in handed {
            missed += from.min(*end).saturating_sub(next);
            next = next.max(behind);
        }
        missed += end.saturating_sub(next);
    }
    missed
}

/// Records that two members were handed in one generation.
fn twice(all: &[Handed]) -> u64 {
    let mut by_place: BTreeMap<(u64, Partition), Vec<&Handed>> = BTreeMap::new();
    for handed in all {
        by_place.entry((handed.generation, handed.partition)).or_default().push(handed);
    }
    let mut twice = 0;
    for handed in by_place.values() {
        for (number, one) in handed.iter().enumerate() {
            for other in handed[number + 1..].iter().filter(|other| other.member != one.member) {
                twice += one.behind.min(other.behind).saturating_sub(one.from.max(other.from));
            }
        }
    }
    twice
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handed(member: u32, generation: u64, from: u64, behind: u64) -> Handed {
        Handed { member, generation, partition: Partition(0), from, behind, at: Instant::now() }
    }

    #[test]
    fn what_nobody_was_handed_is_missed() {
        let all = [handed(0, 1, 0, 10), handed(1, 2, 20, 30), handed(2, 2, 5, 12)];
        assert_eq!(missed(&all, &[30]), 8, "12 to 20");
        assert_eq!(missed(&all, &[40]), 18);
        assert_eq!(missed(&all, &[12]), 0);
    }

    #[test]
    fn what_two_members_have_in_one_generation_is_twice() {
        assert_eq!(twice(&[handed(0, 1, 0, 10), handed(1, 1, 5, 15)]), 5);
        assert_eq!(twice(&[handed(0, 1, 0, 10), handed(1, 2, 5, 15)]), 0, "another generation");
        assert_eq!(twice(&[handed(0, 1, 0, 10), handed(0, 1, 5, 15)]), 0, "one member may read again");
    }
}
