//! Producers of one thread: each submits so many messages and flushes; then all are waited for, and so on.
//!
//! The raw limit beside them does as much with nothing in between: the same bytes at once, written by one thread into a file
//! that has its blocks, with a sync each time.

use super::{
    super::{
        loads::{MESSAGE_BYTES, RAW},
        slice::{Figures, Task},
        subject::{Messages, Setting, Subject, settle, submit},
    },
    counters::Counters,
};
use anyhow::{Context, Result};
use contracts::queue::Partition;
use queue::Codec;
use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant},
};

/// What the log drops is older: it goes through its files once before the clock starts.
pub(in super::super) const RETENTION_BYTES: u64 = 256 << 20;
/// And so much more, so that it has begun to use them again.
pub(in super::super) const FILL_BYTES: u64 = RETENTION_BYTES + (128 << 20);
/// The first phase whose files are used again; those before it would be filled for nothing.
const RECYCLES: u32 = 3;

/// Who sends how much.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) producers: usize,
    pub(super) messages: usize,
    pub(super) partitions: u32,
}

impl Shape {
    fn of(load: &str) -> Result<Self> {
        let (producers, messages) = match load {
            "single" => (1, 1),
            "sixty-four" => (64, 1),
            "thousand" | "compressed" => (1, 1000),
            "eight-thousand" => (8, 1000),
            other => anyhow::bail!("there is no load {other:?}"),
        };
        Ok(Self { producers, messages, partitions: 1 })
    }

    fn turn(self) -> usize {
        self.producers * self.messages
    }
}

pub(super) fn measure(task: &Task) -> Result<Figures> {
    let shape = Shape::of(&task.load)?;
    if task.subject == RAW {
        return raw(&task.dir, shape.turn() * MESSAGE_BYTES, shape.turn(), task.seconds);
    }
    let messages = Messages::new(task.seed);
    let number: u32 = task.subject.trim_start_matches("phase").parse().context("a phase has a number")?;
    let recycles = number >= RECYCLES;
    // The one in memory would fill it.
    let forgets = recycles || number == 0;
    let setting = Setting {
        partitions: shape.partitions,
        codec: if task.load == "compressed" { Codec::Lz4 } else { Codec::Raw },
        retention_bytes_max: forgets.then_some(RETENTION_BYTES),
        ..Setting::default()
    };
    let subject = Subject::open(&task.subject, &task.dir, &setting)?;
    if recycles {
        subject.fill(&messages, FILL_BYTES, 1000)?;
    }
    task.sampled(|| turns(&[&subject], shape, &messages, task))
}

/// Turns of all producers, who stand in turn before each of these logs and each of their partitions.
pub(super) fn turns(
    subjects: &[&Subject],
    shape: Shape,
    messages: &Messages,
    task: &Task,
) -> Result<Figures> {
    let mut producers =
        (0..shape.producers).map(|n| subjects[n % subjects.len()].producer()).collect::<Result<Vec<_>>>()?;
    let syncs = || subjects.iter().map(|subject| subject.syncs()).sum::<u64>();
    let (mut turns, mut latencies_us) = (0_u64, Vec::new());
    let (before, syncs_before, begun) = (Counters::now(&task.dir)?, syncs(), Instant::now());
    while begun.elapsed() < Duration::from_secs_f64(task.seconds) {
        let turn = Instant::now();
        let mut last = Vec::with_capacity(producers.len());
        for (number, producer) in (0..).zip(&mut producers) {
            last.push(submit(
                &mut **producer,
                Partition(number % shape.partitions),
                messages,
                shape.messages,
            )?);
        }
        for (producer, last) in producers.iter_mut().zip(last) {
            settle(&mut **producer, last)?;
        }
        turns += 1;
        latencies_us.push(turn.elapsed().as_secs_f64() * 1e6);
    }
    let elapsed = begun.elapsed().as_secs_f64();
    let (messages, syncs) = ((turns * shape.turn() as u64) as f64, (syncs() - syncs_before) as f64);
    let mut figures = rates(messages, elapsed, &mut latencies_us);
    figures.insert("syncs_per_1000".to_owned(), 1000.0 * syncs / messages);
    before.tell(&task.dir, messages, syncs, &mut figures)?;
    Ok(figures)
}

/// A throughput, and the quantiles of what a turn took.
pub(in super::super) fn rates(messages: f64, seconds: f64, latencies_us: &mut [f64]) -> Figures {
    latencies_us.sort_by(f64::total_cmp);
    let quantile =
        |percent: usize| latencies_us.get((latencies_us.len().max(1) - 1) * percent / 100).copied();
    let mut figures = Figures::from([("throughput".to_owned(), messages / seconds)]);
    for (name, percent) in [("p50_us", 50), ("p99_us", 99)] {
        figures.extend(quantile(percent).map(|us| (name.to_owned(), us)));
    }
    figures
}

/// Writes of so many bytes, each synced, into a file that has its blocks.
pub(in super::super) fn raw(dir: &Path, bytes: usize, messages: usize, seconds: f64) -> Result<Figures> {
    const FILE_BYTES: u64 = 64 << 20;
    let file = File::options().create(true).truncate(true).write(true).open(dir.join("raw"))?;
    for mib in 0..FILE_BYTES >> 20 {
        file.write_all_at(&[0; 1 << 20], mib << 20)?;
    }
    file.sync_all()?;
    let written = vec![1; bytes];
    let (mut at, mut latencies_us) = (0, Vec::new());
    let (before, begun) = (Counters::now(dir)?, Instant::now());
    while begun.elapsed() < Duration::from_secs_f64(seconds) {
        if at + bytes as u64 > FILE_BYTES {
            at = 0;
        }
        let turn = Instant::now();
        file.write_all_at(&written, at)?;
        file.sync_data()?;
        latencies_us.push(turn.elapsed().as_secs_f64() * 1e6);
        at += bytes as u64;
    }
    let (elapsed, syncs) = (begun.elapsed().as_secs_f64(), latencies_us.len() as f64);
    let messages = syncs * messages as f64;
    let mut figures = rates(messages, elapsed, &mut latencies_us);
    figures.insert("syncs_per_1000".to_owned(), 1000.0 * syncs / messages);
    before.tell(dir, messages, syncs, &mut figures)?;
    Ok(figures)
}
