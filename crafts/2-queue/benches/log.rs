//! The log alone, in process, in files: what a promise at `disk` costs, and how many syncs it takes.
//!
//! Prediction: one sync serves everybody who waits for it. So 64 producers that send one message each need one sync for
//! all of them, 16 for 1,000 messages; a thousand messages a commit cost a sync, and next to nothing a message; and eight
//! such producers together come near to what the disk takes in writes of that size with a sync each, which is measured
//! beside.
//!
//! Not a criterion bench: what is counted, syncs and messages, belongs to the same run as the time. `LOG_BENCH_DIR` is
//! where the files go, `LOG_BENCH_SECONDS` how long each round lasts.

#![allow(clippy::unwrap_used)] // a bench that cannot go on should stop
#![allow(clippy::print_stdout)] // its result

use contracts::queue::{Ack, FetchLimit, Log, NewRecord, Offset, Partition, Producer, Records, Ticket};
use queue::{FileLog, LogConfig};
use std::{
    env,
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tempfile::TempDir;

const MESSAGE_BYTES: usize = 128;
/// The log drops what is older: so it writes into files that it uses again, as one that has run for a while does.
const RETENTION_BYTES: u64 = 256 << 20;
/// Of each load; the middle one counts.
const ROUNDS: usize = 5;
const PATIENCE: Duration = Duration::from_secs(60);

/// Producers of one thread, each of which submits so many messages and flushes; then all are waited for.
struct Load {
    name: &'static str,
    producers: usize,
    messages: usize,
    partitions: u32,
}

const LOADS: [Load; 5] = [
    Load { name: "1 x 1", producers: 1, messages: 1, partitions: 1 },
    Load { name: "64 x 1", producers: 64, messages: 1, partitions: 1 },
    Load { name: "1 x 1000", producers: 1, messages: 1000, partitions: 1 },
    Load { name: "8 x 1000", producers: 8, messages: 1000, partitions: 1 },
    Load { name: "8 x 1000, 8 partitions", producers: 8, messages: 1000, partitions: 8 },
];

fn main() {
    println!("| load | messages/s | syncs per 1,000 | p50 us | p99 us | raw: messages/s |");
    println!("|---|---|---|---|---|---|");
    for load in &LOADS {
        let mut rounds: Vec<_> = (0..ROUNDS).map(|_| (run(load), raw(load))).collect();
        rounds.sort_by(|(a, _), (b, _)| a.rate.total_cmp(&b.rate));
        let mut raws: Vec<f64> = rounds.iter().map(|(_, raw)| *raw).collect();
        raws.sort_by(f64::total_cmp);
        let (Figures { rate, syncs, p50_us, p99_us }, raw) = (&rounds[ROUNDS / 2].0, raws[ROUNDS / 2]);
        println!("| {} | {rate:.0} | {syncs:.2} | {p50_us} | {p99_us} | {raw:.0} |", load.name);
    }
    catch_up();
    recovery();
}

struct Figures {
    rate: f64,
    /// Per 1,000 messages.
    syncs: f64,
    p50_us: u128,
    p99_us: u128,
}

/// One round, in a log of its own that has gone once through its files before the clock starts.
fn run(load: &Load) -> Figures {
    let dir = directory();
    let config = LogConfig {
        partitions: load.partitions,
        retention_bytes_max: Some(RETENTION_BYTES),
        ..LogConfig::for_groups(&[])
    };
    let (log, _) = FileLog::open(dir.path(), config).unwrap();
    fill(&log, RETENTION_BYTES + (128 << 20));
    let mut producers: Vec<_> = (0..load.producers).map(|_| log.producer(Ack::Disk).unwrap()).collect();
    let (mut turns, mut latencies) = (0_u64, Vec::new());
    let (before, begun) = (log.syncs(), Instant::now());
    while begun.elapsed() < seconds() {
        let turn = Instant::now();
        for (number, producer) in (0..).zip(&mut producers) {
            submit(&mut **producer, Partition(number % load.partitions), load.messages);
        }
        for producer in &mut producers {
            settle(&mut **producer, (turns + 1) * load.messages as u64);
        }
        turns += 1;
        latencies.push(turn.elapsed());
    }
    let messages = (turns * (load.producers * load.messages) as u64) as f64;
    let (elapsed, syncs) = (begun.elapsed().as_secs_f64(), (log.syncs() - before) as f64);
    latencies.sort_unstable();
    let quantile = |part: usize| latencies[(latencies.len() - 1) * part / 100].as_micros();
    Figures {
        rate: messages / elapsed,
        syncs: 1000.0 * syncs / messages,
        p50_us: quantile(50),
        p99_us: quantile(99),
    }
}

/// The same bytes, written by one thread into one file that has its blocks, with a sync each time.
fn raw(load: &Load) -> f64 {
    const FILE_BYTES: u64 = 64 << 20;
    let dir = directory();
    let file = File::options().create(true).truncate(true).write(true).open(dir.path().join("raw")).unwrap();
    (0..FILE_BYTES >> 20).for_each(|mib| file.write_all_at(&[0; 1 << 20], mib << 20).unwrap());
    file.sync_all().unwrap();
    let messages = load.producers * load.messages;
    let bytes = vec![1; messages * MESSAGE_BYTES];
    let (mut at, mut turns) = (0, 0_u64);
    let begun = Instant::now();
    while begun.elapsed() < seconds() {
        if at + bytes.len() as u64 > FILE_BYTES {
            at = 0;
        }
        file.write_all_at(&bytes, at).unwrap();
        file.sync_data().unwrap();
        at += bytes.len() as u64;
        turns += 1;
    }
    (turns * messages as u64) as f64 / begun.elapsed().as_secs_f64()
}

/// A reader that has fallen behind: alone in the log, and with 63 other partitions in between.
fn catch_up() {
    println!("\n| reads | partitions in the log | MiB/s |\n|---|---|---|");
    for partitions in [1, 64] {
        let dir = directory();
        let config = LogConfig { partitions, ..LogConfig::for_groups(&[]) };
        let (log, _) = FileLog::open(dir.path(), config).unwrap();
        for _ in 0..(256 << 20) / (partitions as usize * 100 * MESSAGE_BYTES) {
            let mut producer = log.producer(Ack::Os).unwrap();
            (0..partitions).for_each(|partition| submit(&mut *producer, Partition(partition), 100));
        }
        let mut rates: Vec<f64> = (0..ROUNDS).map(|_| read(&log)).collect();
        rates.sort_by(f64::total_cmp);
        println!("| one partition | {partitions} | {:.0} |", rates[ROUNDS / 2]);
    }
}

/// Reads the first partition from its begin to its end; returns MiB of messages a second.
fn read(log: &FileLog) -> f64 {
    let (mut next, mut bytes, mut records) = (Offset(0), 0, Records::new());
    let end = log.bounds(Partition(0)).unwrap().end;
    let begun = Instant::now();
    while next < end {
        log.fetch(
            Partition(0),
            next,
            FetchLimit { records_max: 10_000, ..FetchLimit::default() },
            &mut records,
        )
        .unwrap();
        bytes += records.bytes();
        next.0 += records.len() as u64;
    }
    bytes as f64 / (1 << 20) as f64 / begun.elapsed().as_secs_f64()
}

/// How long it takes to open a log of a GiB, from a warm page cache.
fn recovery() {
    let dir = directory();
    let config = || LogConfig::for_groups(&[]);
    let (log, _) = FileLog::open(dir.path(), config()).unwrap();
    fill(&log, 1 << 30);
    drop(log);
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            let (_log, recovery) = FileLog::open(dir.path(), config()).unwrap();
            assert_eq!((recovery.cut, recovery.gaps), (None, vec![]));
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    println!("\n| opens | ms |\n|---|---|");
    println!("| a log of 1 GiB | {:.1} |", times[ROUNDS / 2].as_secs_f64() * 1000.0);
}

fn submit(producer: &mut dyn Producer, partition: Partition, messages: usize) {
    let payload = [0x5A; MESSAGE_BYTES];
    for _ in 0..messages {
        producer.submit(NewRecord { partition, payload: &payload }).unwrap();
    }
    producer.flush().unwrap();
}

fn settle(producer: &mut dyn Producer, upto: u64) {
    assert_eq!(producer.wait(Ticket(upto), PATIENCE), Ok(Ticket(upto)));
    // Nobody here wants to know, and the log must not have to remember.
    producer.placed(&mut Vec::new());
}

fn fill(log: &FileLog, bytes: u64) {
    let mut producer = log.producer(Ack::Os).unwrap();
    for _ in 0..bytes / (1000 * MESSAGE_BYTES as u64) {
        submit(&mut *producer, Partition(0), 1000);
    }
}

fn directory() -> TempDir {
    let parent = env::var_os("LOG_BENCH_DIR").map_or_else(env::temp_dir, PathBuf::from);
    tempfile::tempdir_in::<&Path>(&parent).unwrap()
}

fn seconds() -> Duration {
    let seconds = env::var("LOG_BENCH_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs_f64(seconds.unwrap_or(1.0))
}
