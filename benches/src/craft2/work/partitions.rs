//! What it costs that one log holds all partitions, and what it would cost if each had its own.

use super::{
    super::{
        loads::{LAST, MESSAGE_BYTES},
        slice::{Figures, Task},
        subject::{Messages, Setting, Subject, read_all},
    },
    counters::own_io,
    producing::{Shape, turns},
};
use anyhow::{Context, Result};
use contracts::queue::Partition;
use std::{fs, time::Instant};

const PARTITIONS: u32 = 64;
/// Larger than any buffer, and small enough that the page cache keeps it.
const LOG_BYTES: u64 = 512 << 20;
/// As agents send them.
const MESSAGES_A_COMMIT: usize = 100;
/// Readings, of which the last counts: the page cache is warm then.
const READINGS: usize = 2;

/// One partition is read alone, from its begin to its end: `alone` in a log that has no other, or `shared` with 63.
///
/// Both logs are of one size: so the reader of a shared one gets a 64th of the records, in as many fetches as they need.
pub(super) fn one_of_64(task: &Task) -> Result<Figures> {
    let partitions = if task.subject == "alone" { 1 } else { PARTITIONS };
    let subject = Subject::open(LAST, &task.dir, &Setting { partitions, ..Setting::default() })?;
    subject.fill(&Messages::new(task.seed), LOG_BYTES, MESSAGES_A_COMMIT)?;
    let mut figures = Figures::new();
    for _ in 0..READINGS {
        let (before, begun) =
            (own_io("rchar").context("the kernel does not say what is read")?, Instant::now());
        let (records, bytes) = read_all(&*subject.log, Partition(0), |_, _| ())?;
        let seconds = begun.elapsed().as_secs_f64();
        let read = own_io("rchar").unwrap_or(before) - before;
        let told = [
            ("throughput", bytes as f64 / f64::from(1 << 20) / seconds),
            ("records_per_s", records as f64 / seconds),
            ("read_amplification", read as f64 / bytes as f64),
            ("returned_mb", bytes as f64 / 1e6),
        ];
        figures = told.map(|(name, value)| (name.to_owned(), value)).into();
    }
    Ok(figures)
}

/// A message for each of 64 partitions a turn: in `one-log`, or in `own-logs`.
pub(super) fn own_files(task: &Task) -> Result<Figures> {
    let messages = Messages::new(task.seed);
    let one_log = task.subject == "one-log";
    let (logs, partitions) = if one_log { (1, PARTITIONS) } else { (PARTITIONS, 1) };
    let mut subjects = Vec::new();
    for number in 0..logs {
        let dir = task.dir.join(format!("log-{number}"));
        fs::create_dir(&dir)?;
        let subject = Subject::open(LAST, &dir, &Setting { partitions, ..Setting::default() })?;
        // A little at least, so that its files have blocks.
        subject.fill(&messages, u64::from(partitions) * 100 * MESSAGE_BYTES as u64, MESSAGES_A_COMMIT)?;
        subjects.push(subject);
    }
    let shape = Shape { producers: PARTITIONS as usize, messages: 1, partitions };
    turns(&subjects.iter().collect::<Vec<_>>(), shape, &messages, task)
}
