//! The load: producers and members, a thread each, until they are stopped, killed, or the log is gone.

use super::{
    Fault, GROUP, Orders,
    notes::{Note, Notebook, Run},
    record::{Batch, Tag},
};
use contracts::queue::{
    Ack, FetchLimit, Identity, Log, LogError, Membership, NewRecord, Offset, Partition, Placed, Producer,
    Records, Ticket,
};
use fastrand::Rng;
use std::{
    collections::{BTreeMap, VecDeque},
    io,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

/// Most batches of an identified producer that wait for their answer: no more than a log remembers of it.
const UNANSWERED_MAX: usize = 4;
/// Most batches of another producer that do.
const SENT_MAX: usize = 12;
/// Sequences of identified producers begin shortly before the largest, and so pass it.
const FIRST_SEQUENCE: u32 = u32::MAX - 20;
/// How long one wait for an answer, or for room, lasts before the stop is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// The longest that a member is silent for no reason.
const SILENCE_MS_MAX: u64 = 300;

/// Runs the load of one life and notes in `dir` what it sees. It ends when `stop` is set, or when every thread has met an
/// error of the log; returns these. Over HTTP that is how a kill shows; in the process that is killed it never returns.
///
/// # Errors
/// When a note cannot be written.
pub fn work(log: &dyn Log, orders: &Orders, dir: &Path, stop: &AtomicBool) -> io::Result<Vec<LogError>> {
    let life = Life { log, orders, dir, stop };
    let members = orders.plan.members.min(u32::try_from(log.group_members_max()).unwrap_or(u32::MAX));
    let ended: Vec<_> = thread::scope(|scope| {
        let life = &life;
        let plain = (0..).zip(&orders.plan.plain).map(|(n, ack)| scope.spawn(move || life.plain(n, *ack)));
        let plain: Vec<_> = plain.collect();
        let identified = (0..orders.plan.identified).map(|n| scope.spawn(move || life.identified(n)));
        let identified: Vec<_> = identified.collect();
        let members: Vec<_> = (0..members).map(|n| scope.spawn(move || life.member(n))).collect();
        let all = plain.into_iter().chain(identified).chain(members);
        all.map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    let mut errors = Vec::new();
    for end in ended {
        match end {
            Err(Over::Log(error)) => errors.push(error),
            Err(Over::Notes(error)) => return Err(error),
            Ok(()) => {}
        }
    }
    Ok(errors)
}

/// Why a thread went no further.
enum Over {
    Log(LogError),
    Notes(io::Error),
}

impl From<LogError> for Over {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

impl From<io::Error> for Over {
    fn from(error: io::Error) -> Self {
        Self::Notes(error)
    }
}

struct Life<'a> {
    log: &'a dyn Log,
    orders: &'a Orders,
    dir: &'a Path,
    stop: &'a AtomicBool,
}

impl Life<'_> {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn has(&self, fault: Fault) -> bool {
        self.orders.plan.fault == Some(fault)
    }

    fn rng(&self, role: u64, number: u32) -> Rng {
        Rng::with_seed(
            self.orders.plan.seed ^ role << 48 ^ u64::from(number) << 32 ^ u64::from(self.orders.life),
        )
    }

    /// A producer that sends everything once.
    fn plain(&self, number: u32, ack: Ack) -> Result<(), Over> {
        let mut rng = self.rng(1, number);
        let mut sender = Sender::new(self, &format!("plain-{number}"), ack)?;
        let mut next = vec![0; self.log.partitions() as usize];
        let hasty = self.has(Fault::AcknowledgesFirst);
        while self.goes_on() {
            for _ in 0..rng.u32(1..4) {
                let partition = rng.u32(..self.log.partitions());
                let count = &mut next[partition as usize];
                let batch = Batch { producer: number, partition, life: self.orders.life, number: *count };
                *count += 1;
                sender.submit(batch)?;
                if hasty {
                    sender.notebook.note(Note::Acknowledged { batch, offset: None });
                    sender.notebook.keep()?;
                }
            }
            if hasty && rng.u32(..16) > 0 {
                continue;
            }
            sender.producer.flush()?;
            let unanswered = if rng.bool() { SENT_MAX } else { 0 };
            sender.collect(unanswered)?;
        }
        Ok(())
    }

    /// A producer that numbers its batches, begins with those that were not answered in the life before, and now and then
    /// with one that was.
    fn identified(&self, number: u32) -> Result<(), Over> {
        let mut rng = self.rng(2, number);
        let mut sender = Sender::new(self, &format!("identified-{number}"), self.log.ack_max())?;
        let mut next: Vec<_> = (0..self.log.partitions()).map(|p| self.first_of(number, p)).collect();
        next.iter_mut().for_each(|next| *next -= rng.u32(..2).min(*next));
        while self.goes_on() {
            let partition = rng.u32(..self.log.partitions());
            let count = &mut next[partition as usize];
            let batch = Batch::identified(number, partition, *count);
            *count += 1;
            if !self.has(Fault::RepeatsAsNew) {
                let producer = (self.orders.plan.seed << 8 | u64::from(number)) + 1;
                let sequence = FIRST_SEQUENCE.wrapping_add(batch.number);
                match sender.producer.identify(Identity { producer, sequence }) {
                    Err(LogError::NotOffered(_)) => return Ok(()),
                    identified => identified?,
                }
            }
            sender.submit(batch)?;
            sender.producer.flush()?;
            let unanswered = if rng.bool() { UNANSWERED_MAX - 1 } else { 0 };
            sender.collect(unanswered)?;
        }
        Ok(())
    }

    fn first_of(&self, producer: u32, partition: u32) -> u32 {
        let known = self.orders.unanswered.iter().find(|(a, b, _)| (*a, *b) == (producer, partition));
        known.map_or(0, |(_, _, first)| *first)
    }

    /// A member of the group: reads, commits, is silent for a while, leaves and comes again.
    fn member(&self, number: u32) -> Result<(), Over> {
        let number = u16::try_from(number).unwrap_or(u16::MAX);
        let notebook = Notebook::new(self.dir, &format!("member-{number}"))?;
        let mut reader =
            Reader { life: self, number, notebook, rng: self.rng(3, number.into()), records: Records::new() };
        while self.goes_on() {
            match reader.stay() {
                // Expelled, or replaced: it comes again.
                Err(Over::Log(LogError::Fenced { .. })) => {}
                stayed => stayed?,
            }
        }
        Ok(())
    }
}

/// A producer and what it waits for.
struct Sender<'a> {
    life: &'a Life<'a>,
    producer: Box<dyn Producer>,
    notebook: Notebook,
    last: Ticket,
    unanswered: VecDeque<Sent>,
    placed: Vec<Placed>,
}

/// A batch that was submitted: its tickets, and where its first record came to lie.
struct Sent {
    batch: Batch,
    first: Ticket,
    last: Ticket,
    offset: Option<u64>,
}

impl<'a> Sender<'a> {
    fn new(life: &'a Life<'a>, name: &str, ack: Ack) -> Result<Self, Over> {
        Ok(Self {
            life,
            producer: life.log.producer(ack)?,
            notebook: Notebook::new(life.dir, name)?,
            last: Ticket(0),
            unanswered: VecDeque::new(),
            placed: Vec::new(),
        })
    }

    fn submit(&mut self, batch: Batch) -> Result<(), Over> {
        let seed = self.life.orders.plan.seed;
        let first = Ticket(self.last.0 + 1);
        for index in 0..batch.records(seed) {
            self.submit_one(Partition(batch.partition), &Tag { batch, index }.payload(seed))?;
        }
        self.unanswered.push_back(Sent { batch, first, last: self.last, offset: None });
        Ok(())
    }

    /// A log without room is waited for: its readers make room.
    fn submit_one(&mut self, partition: Partition, payload: &[u8]) -> Result<(), Over> {
        loop {
            match self.producer.submit(NewRecord { partition, payload }) {
                Ok(ticket) => {
                    self.last = ticket;
                    return Ok(());
                }
                Err(LogError::Full) if self.life.goes_on() => thread::sleep(Duration::from_millis(1)),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits until no more than so many batches are unanswered, and notes those that are.
    fn collect(&mut self, unanswered_max: usize) -> Result<(), Over> {
        self.note_placed()?;
        while self.unanswered.len() > unanswered_max && self.life.goes_on() {
            self.producer.wait(self.unanswered[0].last, LOOK)?;
            self.note_placed()?;
        }
        Ok(())
    }

    fn note_placed(&mut self) -> Result<(), Over> {
        self.producer.placed(&mut self.placed);
        for placed in self.placed.drain(..) {
            let Some(sent) = self.unanswered.front_mut() else { break };
            if placed.ticket == sent.first {
                sent.offset = Some(placed.offset.0);
            }
            if placed.ticket == sent.last {
                self.notebook.note(Note::Acknowledged { batch: sent.batch, offset: sent.offset });
                self.unanswered.pop_front();
            }
        }
        Ok(self.notebook.keep()?)
    }
}

/// A member and how far it has read.
struct Reader<'a> {
    life: &'a Life<'a>,
    number: u16,
    notebook: Notebook,
    rng: Rng,
    records: Records,
}

impl Reader<'_> {
    /// From joining to leaving, or to an error.
    fn stay(&mut self) -> Result<(), Over> {
        let log = self.life.log;
        let mut membership = log.subscribe(GROUP, &format!("member-{}", self.number))?;
        let mut positions = BTreeMap::new();
        while self.life.goes_on() {
            if log.heartbeat(&membership)? > membership.generation {
                if self.rng.bool() {
                    self.commit_all(&membership, &positions)?;
                }
                membership = log.rejoin(&membership)?;
                positions.retain(|partition, _| membership.partitions.contains(partition));
            }
            for partition in membership.partitions.clone() {
                self.read(&membership, partition, &mut positions)?;
            }
            match self.rng.u32(..400) {
                0..3 => thread::sleep(Duration::from_millis(self.rng.u64(..SILENCE_MS_MAX))),
                3..6 => return Ok(log.leave(&membership)?),
                _ => {}
            }
        }
        Ok(())
    }

    /// One fetch from where this member is, or where its group is.
    fn read(
        &mut self,
        membership: &Membership,
        partition: Partition,
        positions: &mut BTreeMap<Partition, u64>,
    ) -> Result<(), Over> {
        let log = self.life.log;
        let from = match positions.get(&partition) {
            Some(position) => *position,
            None => {
                let start = log.bounds(partition)?.start;
                log.committed(GROUP, partition)?.unwrap_or(start).max(start).0
            }
        };
        let limit = FetchLimit {
            records_max: self.rng.usize(1..1000),
            bytes_max: self.rng.usize(1..1 << 20),
            wait: Duration::from_millis(self.rng.u64(..4)),
        };
        match log.fetch(partition, Offset(from), limit, &mut self.records) {
            // Another has committed more than this one knew, and the log has dropped it.
            Err(LogError::OffsetOutOfRange { bounds, .. }) if from < bounds.start.0 => {
                positions.remove(&partition);
                return Ok(());
            }
            fetched => fetched?,
        }
        let mut next = self.note_read(membership, partition).unwrap_or(from);
        self.notebook.keep()?;
        if self.life.has(Fault::CommitsUnread) && self.rng.u32(..8) == 0 {
            next = log.bounds(partition)?.end.0;
        }
        positions.insert(partition, next);
        if self.rng.u32(..4) == 0 { self.commit(membership, partition, next) } else { Ok(()) }
    }

    /// Notes what was fetched, in runs; returns the offset behind it.
    fn note_read(&mut self, membership: &Membership, partition: Partition) -> Option<u64> {
        let (mut run, mut next): (Option<Run>, _) = (None, None);
        for (offset, payload) in self.records.iter() {
            next = Some(offset.0 + 1);
            let Some(tag) = Tag::of(payload, self.life.orders.plan.seed) else {
                self.notebook.note(Note::Broken { partition: partition.0, offset: offset.0 });
                continue;
            };
            match &mut run {
                Some(run) if run.goes_on_with(offset.0, tag) => run.records += 1,
                _ => {
                    let new = Run {
                        member: self.number,
                        generation: membership.generation,
                        partition: partition.0,
                        offset: offset.0,
                        first: tag,
                        records: 1,
                    };
                    if let Some(whole) = run.replace(new) {
                        self.notebook.note(Note::Read(whole));
                    }
                }
            }
        }
        if let Some(last) = run {
            self.notebook.note(Note::Read(last));
        }
        next
    }

    fn commit_all(
        &mut self,
        membership: &Membership,
        positions: &BTreeMap<Partition, u64>,
    ) -> Result<(), Over> {
        for (partition, next) in positions {
            self.commit(membership, *partition, *next)?;
        }
        Ok(())
    }

    fn commit(&mut self, membership: &Membership, partition: Partition, next: u64) -> Result<(), Over> {
        self.notebook.note(Note::Commits { partition: partition.0, next });
        self.notebook.keep()?;
        Ok(self.life.log.commit(membership, partition, Offset(next))?)
    }
}
