//! The books: what the load has noted, held against the log.
//!
//! Lives are heard one by one, and the log is checked after any of them. What a check has found is what the next one must
//! find again; of what lies behind it, only tags are remembered.

use super::{
    GROUP, Orders, Plan,
    notes::{self, Note, Run},
    record::{Batch, Tag},
};
use contracts::queue::{FetchLimit, Log, LogError, Offset, Partition, Records};
use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
    path::Path,
};

/// What the log must hold, after the lives that were heard.
pub struct Ledger {
    plan: Plan,
    lives: u32,
    partitions: BTreeMap<u32, Book>,
    /// Who was handed which partition in which generation.
    handed: BTreeMap<(u64, u32), u16>,
    /// The highest generation of the lives before this one.
    generation_before: u64,
    /// For each identified producer and partition: the first batch that was not answered.
    unanswered: BTreeMap<(u32, u32), u32>,
    seen: Seen,
}

/// One partition.
#[derive(Default)]
struct Book {
    /// What the last check has found: its first offset, and a digest of each record.
    start: u64,
    found: VecDeque<u64>,
    /// Heard since: by offset, what members were handed; which batches were acknowledged, and where.
    read: BTreeMap<u64, Tag>,
    acknowledged: BTreeMap<Batch, Option<u64>>,
    /// The farthest that any member was about to commit.
    commits: u64,
    /// Before this the group has been handed everything.
    handed_until: u64,
    /// The last record of each producer, and its offset.
    last: BTreeMap<u32, (Tag, u64)>,
    /// Where the last batches of identified producers begin: whoever repeats one must be told the same.
    places: BTreeMap<Batch, u64>,
}

/// How much was checked: a run that saw nothing proves nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Lives that were heard.
    pub lives: u32,
    /// Checks that held.
    pub checks: u32,
    /// Batches that were acknowledged, …
    pub acknowledged: u64,
    /// … of these by their number.
    pub identified: u64,
    /// Records that the log was found to hold, each counted once.
    pub records: u64,
    /// Records that members were handed.
    pub handed: u64,
    /// Records that the log has dropped, since the group had committed them.
    pub retired: u64,
    /// Batches with a number that were written and not answered when the process was killed: their producers repeat them.
    pub repeated: u64,
}

impl Ledger {
    /// Books without an entry.
    pub fn new(plan: Plan) -> Self {
        Self {
            plan,
            lives: 0,
            partitions: BTreeMap::new(),
            handed: BTreeMap::new(),
            generation_before: 0,
            unanswered: BTreeMap::new(),
            seen: Seen::default(),
        }
    }

    /// What the next life is to do.
    pub fn orders(&self) -> Orders {
        Orders {
            plan: self.plan.clone(),
            life: self.lives + 1,
            unanswered: self.unanswered.iter().map(|((a, b), first)| (*a, *b, *first)).collect(),
        }
    }

    /// How much was checked so far.
    pub fn seen(&self) -> Seen {
        self.seen
    }

    /// Takes the notes of a life that is over.
    ///
    /// # Errors
    /// What in them no log may do, or that they cannot be read.
    pub fn hear(&mut self, dir: &Path) -> Result<(), String> {
        let notes = notes::read(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        self.lives += 1;
        self.seen.lives += 1;
        self.generation_before = self.handed.keys().map(|(generation, _)| *generation).max().unwrap_or(0);
        notes.into_iter().try_for_each(|note| self.enter(note))
    }

    fn enter(&mut self, note: Note) -> Result<(), String> {
        match note {
            Note::Acknowledged { batch, offset } => self.enter_acknowledged(batch, offset),
            Note::Read(run) => self.enter_read(run),
            Note::Broken { partition, offset } => {
                Err(format!("partition {partition}: a member was handed bytes at {offset} that nobody sent"))
            }
            Note::Commits { partition, next } => {
                let book = self.partitions.entry(partition).or_default();
                book.commits = book.commits.max(next);
                Ok(())
            }
        }
    }

    fn enter_acknowledged(&mut self, batch: Batch, offset: Option<u64>) -> Result<(), String> {
        self.seen.acknowledged += 1;
        let book = self.partitions.entry(batch.partition).or_default();
        if !batch.is_identified() {
            book.acknowledged.insert(batch, offset);
            return Ok(());
        }
        self.seen.identified += 1;
        let unanswered = self.unanswered.entry((batch.producer_number(), batch.partition)).or_default();
        *unanswered = (*unanswered).max(batch.number + 1);
        let Some(offset) = offset else { return Ok(()) };
        if let Some(place) = book.places.insert(batch, offset).filter(|place| *place != offset) {
            return Err(format!("{batch} was acknowledged at {place}, and when it was repeated at {offset}"));
        }
        // One that has been found already is not looked for again: that it is there once is seen by its producer's order.
        if book.last.get(&batch.producer).is_none_or(|(last, _)| last.batch.number < batch.number) {
            book.acknowledged.insert(batch, Some(offset));
        }
        Ok(())
    }

    fn enter_read(&mut self, run: Run) -> Result<(), String> {
        let Run { member, generation, partition, .. } = run;
        if generation <= self.generation_before {
            let before = self.generation_before;
            return Err(format!(
                "generation {generation} was used again after a kill: there was {before} before"
            ));
        }
        let holder = *self.handed.entry((generation, partition)).or_insert(member);
        if holder != member {
            return Err(format!(
                "partition {partition} was handed to members {holder} and {member} in generation {generation}"
            ));
        }
        let book = self.partitions.entry(partition).or_default();
        for (offset, tag) in run.iter() {
            self.seen.handed += 1;
            let before = book.read.insert(offset, tag);
            if let Some(before) = before.filter(|before| *before != tag) {
                return Err(format!(
                    "partition {partition}, offset {offset}: members were handed {before} and {tag}"
                ));
            }
        }
        Ok(())
    }

    /// Holds everything that was heard against the log, which nobody else may use meanwhile.
    ///
    /// # Errors
    /// The first thing that is not as it must be, in words.
    pub fn check(&mut self, log: &dyn Log) -> Result<(), String> {
        for partition in 0..log.partitions() {
            let seed = self.plan.seed;
            let book = self.partitions.entry(partition).or_default();
            book.check(log, partition, seed, &mut self.seen)
                .map_err(|why| format!("partition {partition}: {why}"))?;
        }
        // What a life's members were handed matters no more, but for the last generation.
        let newest = self.handed.keys().map(|(generation, _)| *generation).max();
        self.handed.retain(|(generation, _), _| Some(*generation) == newest);
        self.seen.checks += 1;
        Ok(())
    }
}

impl Book {
    fn check(&mut self, log: &dyn Log, number: u32, seed: u64, seen: &mut Seen) -> Result<(), String> {
        let partition = Partition(number);
        let told = |error: LogError| error.to_string();
        let bounds = log.bounds(partition).map_err(told)?;
        let (start, end) = (bounds.start.0, bounds.end.0);
        self.check_bounds(start, end)?;
        let committed = log.committed(GROUP, partition).map_err(told)?.map_or(0, |offset| offset.0);
        let there = scan(log, partition, start..end, seed)?;
        self.check_handed(start, end)?;
        if committed > self.commits.min(self.handed_until) {
            let (commits, handed) = (self.commits, self.handed_until);
            return Err(format!(
                "the group has committed {committed}; it came to {commits}, and was handed records up to {handed}"
            ));
        }
        self.check_found(&there, start)?;
        self.check_new(&there, number, start, seed, seen)?;
        self.check_acknowledged()?;
        self.found = there.iter().map(Tag::digest).collect();
        seen.retired += start - self.start;
        self.start = start;
        self.read.clear();
        Ok(())
    }

    /// The end of what the last check has found.
    fn known(&self) -> u64 {
        self.start + self.found.len() as u64
    }

    fn check_bounds(&self, start: u64, end: u64) -> Result<(), String> {
        let known = self.known();
        if end < known {
            return Err(format!("it held records up to {known}, and now ends at {end}"));
        }
        if start > self.commits {
            return Err(format!(
                "records from {} to {start} are gone, and the group came to {} at most",
                self.start, self.commits
            ));
        }
        if start < self.start {
            Err(format!("it began at {}, and now at {start}", self.start))
        } else {
            Ok(())
        }
    }

    /// The group is handed everything, without a hole, and nothing that is not there afterwards.
    fn check_handed(&mut self, start: u64, end: u64) -> Result<(), String> {
        for offset in self.read.keys() {
            if *offset >= end {
                return Err(format!("a member was handed record {offset}, and now the log ends at {end}"));
            }
            if *offset > self.handed_until {
                let missed = self.handed_until;
                return Err(format!("the group was handed record {offset}, and never record {missed}"));
            }
            self.handed_until = self.handed_until.max(offset + 1);
        }
        if start > self.handed_until {
            let missed = self.handed_until;
            return Err(format!("record {missed} was dropped, and the group was never handed it"));
        }
        Ok(())
    }

    /// What the last check has found is what this one finds, and what members were handed.
    fn check_found(&self, there: &[Tag], start: u64) -> Result<(), String> {
        let again = there.iter().zip(start..).chain(self.read.iter().map(|(offset, tag)| (tag, *offset)));
        for (tag, offset) in again {
            let before =
                offset.checked_sub(self.start).and_then(|n| self.found.get(usize::try_from(n).ok()?));
            if before.is_some_and(|before| *before != tag.digest()) {
                return Err(format!("record {offset} was another one before it was {tag}"));
            }
        }
        for (offset, handed) in self.read.range(start..) {
            let tag = there.get(usize::try_from(offset - start).unwrap_or(usize::MAX));
            if tag != Some(handed) {
                let tag = tag.map_or_else(|| "nothing".to_owned(), Tag::to_string);
                return Err(format!("a member was handed {handed} at {offset}, where there is {tag} now"));
            }
        }
        Ok(())
    }

    /// Every record that no check has seen, in order: those that are there, and before them those that were dropped since,
    /// as members were handed them.
    fn check_new(
        &mut self,
        there: &[Tag],
        number: u32,
        start: u64,
        seed: u64,
        seen: &mut Seen,
    ) -> Result<(), String> {
        for offset in self.known()..start + there.len() as u64 {
            let tag = match offset.checked_sub(start) {
                Some(n) => there[usize::try_from(n).map_err(|e| e.to_string())?],
                None => *self.read.get(&offset).ok_or_else(|| format!("nobody has seen record {offset}"))?,
            };
            seen.records += 1;
            if tag.batch.partition != number {
                return Err(format!("record {offset} is {tag}"));
            }
            self.check_order(tag, offset, seed, seen)?;
        }
        // An identified batch is there as a whole, also if it is the last.
        let is_cut_short = |tag: &Tag| tag.batch.is_identified() && tag.index + 1 < tag.batch.records(seed);
        let open = self.last.values().find(|(tag, _)| is_cut_short(tag));
        open.map_or(Ok(()), |(tag, offset)| Err(format!("{} ends at {offset}, with {tag}", tag.batch)))
    }

    /// What may follow a producer's last record.
    fn check_order(&mut self, tag: Tag, offset: u64, seed: u64, seen: &mut Seen) -> Result<(), String> {
        let batch = tag.batch;
        if let Some((last, at)) = self.last.insert(batch.producer, (tag, offset)) {
            let place = |tag: Tag| (tag.batch.life, tag.batch.number, tag.index);
            if place(tag) <= place(last) {
                return Err(format!("{tag} at {offset} comes again, or too late: {last} is at {at}"));
            }
            let within = batch == last.batch;
            let next = if within { last.index + 1 } else { 0 };
            let whole = within || last.index + 1 == last.batch.records(seed);
            let number = if batch.life == last.batch.life { last.batch.number + 1 } else { 0 };
            if tag.index != next || !within && batch.number != number {
                return Err(format!(
                    "{tag} is at {offset}, and what should be before it is not: {last} is, at {at}"
                ));
            }
            // A producer that is killed may leave a part of its last batch; but not one with a number.
            if !whole && (batch.is_identified() || batch.life == last.batch.life) {
                return Err(format!(
                    "{tag} is at {offset}, and the batch before it ends with {last} at {at}"
                ));
            }
            if batch.is_identified() && within && offset != at + 1 {
                return Err(format!("{tag} is at {offset}, apart from {last} at {at}"));
            }
        } else if (tag.index, batch.number) != (0, 0) {
            return Err(format!("{tag} is at {offset}, and nothing of what should be before it"));
        }
        if tag.index == 0 {
            self.begins(batch, offset, seen)?;
        }
        if tag.index + 1 == batch.records(seed) {
            self.acknowledged.remove(&batch);
        }
        Ok(())
    }

    /// A batch begins here: it must be where its producer was told.
    fn begins(&mut self, batch: Batch, offset: u64, seen: &mut Seen) -> Result<(), String> {
        let acknowledged = self.acknowledged.get(&batch);
        if let Some(Some(told)) = acknowledged.filter(|told| told.is_some_and(|told| told != offset)) {
            return Err(format!("{batch} was acknowledged at {told}, and is at {offset}"));
        }
        if batch.is_identified() {
            if acknowledged.is_none() {
                seen.repeated += 1;
            }
            let place = *self.places.entry(batch).or_insert(offset);
            if place != offset {
                return Err(format!("{batch} was acknowledged at {place}, and is at {offset}"));
            }
        }
        Ok(())
    }

    /// Every batch that was acknowledged has been found to its last record.
    fn check_acknowledged(&self) -> Result<(), String> {
        let Some((missing, told)) = self.acknowledged.first_key_value() else { return Ok(()) };
        let place = told.map_or_else(String::new, |offset| format!(" at {offset}"));
        Err(format!(
            "{missing} was acknowledged{place} and is missing, as are {} more",
            self.acknowledged.len() - 1
        ))
    }
}

/// What the log holds, every byte of it as it was sent.
fn scan(log: &dyn Log, partition: Partition, range: Range<u64>, seed: u64) -> Result<Vec<Tag>, String> {
    let (mut there, mut records) = (Vec::new(), Records::new());
    let mut next = range.start;
    while next < range.end {
        log.fetch(partition, Offset(next), FetchLimit::default(), &mut records)
            .map_err(|error| error.to_string())?;
        for (offset, payload) in records.iter() {
            if offset.0 != next {
                return Err(format!("a fetch from {next} gave record {}", offset.0));
            }
            let tag = Tag::of(payload, seed);
            there.push(tag.ok_or_else(|| format!("record {next} is nothing that anybody has sent"))?);
            next += 1;
        }
        if records.is_empty() {
            return Err(format!("nothing is at {next}, and the log ends at {}", range.end));
        }
    }
    Ok(there)
}
