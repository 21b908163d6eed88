//! What each store keeps through power cuts and kills at any moment, on a disk in memory, each run from a seed.
//!
//! After each life of the process the log is opened again and held against a list: what was acknowledged is there, what is
//! there was submitted, in its order and at its offset, and nothing else is. `QUEUE_CRASH_SEEDS=100000 cargo test --release
//! -p queue-phases --test crash` tries more seeds.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

use contracts::queue::{
    Ack, FetchLimit, Log, LogError, NewRecord, Offset, Partition, Producer, Records, Ticket,
};
use fastrand::Rng;
use queue::{LogConfig, sim::SimDisk};
use queue_phases::{Opened, PHASES};
use std::{collections::BTreeMap, env, time::Duration};

/// As many as a test may take.
const SEEDS: u64 = 1000;
/// Longer than anything takes here.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn files_lose_nothing_that_was_acknowledged() {
    holds(1);
}

#[test]
fn a_write_ahead_log_loses_nothing_that_was_acknowledged() {
    holds(2);
}

#[test]
fn segments_lose_nothing_that_was_acknowledged() {
    holds(3);
}

#[test]
fn a_disk_that_lies_about_syncs_is_found_out() {
    for phase in [1, 2, 3] {
        let found = (0..SEEDS).find_map(|seed| run(phase, seed, true).err().map(|why| (seed, why)));
        let (seed, why) = found.unwrap_or_else(|| panic!("phase {phase}: no seed has noticed"));
        println!("phase {phase}: seed {seed}: {why}");
    }
}

fn holds(phase: usize) {
    let seeds = env::var("QUEUE_CRASH_SEEDS").map_or(SEEDS, |text| text.parse().expect("a number"));
    for seed in 0..seeds {
        if let Err(why) = run(phase, seed, false) {
            panic!("phase {phase}, seed {seed}: {why}");
        }
    }
}

/// What one partition should hold.
#[derive(Default)]
struct Partitioned {
    /// By offset.
    records: BTreeMap<u64, Vec<u8>>,
    /// Behind the last that was published.
    next: u64,
    /// Before this all are on disk, or were handed to the system: so it was said.
    at_disk: u64,
    at_os: u64,
}

struct World {
    rng: Rng,
    disk: SimDisk,
    phase: usize,
    config: LogConfig,
    partitions: Vec<Partitioned>,
    /// Distinguishes payloads.
    records: u64,
}

/// One producer, and what it has submitted since its last flush.
struct Writer {
    ack: Ack,
    producer: Box<dyn Producer>,
    waiting: Vec<(u32, Vec<u8>)>,
}

fn run(phase: usize, seed: u64, lies: bool) -> Result<(), String> {
    let mut rng = Rng::with_seed(seed);
    let disk = SimDisk::new(rng.u64(..));
    if lies {
        disk.lie();
    }
    let partitions = rng.u32(1..4);
    let config = LogConfig { segment_bytes_max: 4096, partitions, ..LogConfig::for_groups(&["group"]) };
    let partitions = (0..partitions).map(|_| Partitioned::default()).collect();
    let mut world = World { rng, disk, phase, config, partitions, records: 0 };
    for _ in 0..world.rng.u32(1..8) {
        world.live()?;
    }
    Ok(())
}

impl World {
    /// A life of the process: from opening to its end.
    fn live(&mut self) -> Result<(), String> {
        let salt = self.rng.u64(..);
        if self.rng.u32(..8) == 0 {
            // The power goes while the log is opened.
            self.disk.lose_power_after(self.rng.usize(..8));
            drop((PHASES[self.phase].open_on)(self.disk.outside(salt), self.config.clone()));
            self.lose_power();
        }
        let opened = (PHASES[self.phase].open_on)(self.disk.outside(salt + 1), self.config.clone());
        let Opened { log, recovery } = opened.map_err(|e| e.to_string())?;
        if !recovery.gaps.is_empty() {
            return Err(format!("no bit was flipped, but {recovery}"));
        }
        self.compare(&*log)?;
        if self.rng.bool() {
            self.disk.lose_power_after(self.rng.usize(..80));
        }
        self.work(&*log);
        match self.rng.u32(..4) {
            0 => drop(log),
            1 => self.disk = self.disk.kill(),
            _ => self.lose_power(),
        }
        // Whatever is left of it works on a disk that is dead.
        self.disk = self.disk.kill();
        Ok(())
    }

    fn lose_power(&mut self) {
        self.disk = self.disk.crash();
        self.partitions.iter_mut().for_each(|p| p.at_os = p.at_disk);
    }

    /// Some load, until the log fails or enough was done.
    fn work(&mut self, log: &dyn Log) {
        let acks = [Ack::Disk, Ack::Disk, Ack::Os];
        let open = |ack| Some(Writer { ack, producer: log.producer(ack).ok()?, waiting: Vec::new() });
        let Some(mut writers) = acks.into_iter().map(open).collect::<Option<Vec<_>>>() else { return };
        let Ok(membership) = log.subscribe("group", "member") else { return };
        for _ in 0..self.rng.u32(..40) {
            let chosen = self.rng.usize(..writers.len());
            let writer = &mut writers[chosen];
            let went_on = match self.rng.u32(..20) {
                0..4 => self.submit(writer),
                4..16 => self.submit(writer).and_then(|()| self.flush(writer)),
                16..18 => {
                    let partition = Partition(self.rng.u32(..self.config.partitions));
                    log.bounds(partition).and_then(|bounds| {
                        let next = Offset(self.rng.u64(bounds.start.0..=bounds.end.0));
                        log.commit(&membership, partition, next)
                    })
                }
                18 => {
                    self.disk.set_room(Some(self.rng.usize(..3000)));
                    Ok(())
                }
                _ => {
                    self.disk.set_room(None);
                    Ok(())
                }
            };
            if went_on.is_err() {
                return;
            }
        }
    }

    fn submit(&mut self, writer: &mut Writer) -> Result<(), LogError> {
        for _ in 0..self.rng.u32(1..7) {
            let partition = self.rng.u32(..self.config.partitions);
            let payload = self.payload();
            match writer.producer.submit(NewRecord { partition: Partition(partition), payload: &payload }) {
                Ok(_) => writer.waiting.push((partition, payload)),
                Err(LogError::Full) => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Of many lengths, none like another.
    fn payload(&mut self) -> Vec<u8> {
        self.records += 1;
        let bytes = [0, 8, 8, 120, 120, 700, 5000][self.rng.usize(..7)];
        self.records.to_le_bytes().iter().cycle().take(bytes).copied().collect()
    }

    /// Flushes, and mostly waits until it has settled; but not for room that may never come.
    fn flush(&mut self, writer: &mut Writer) -> Result<(), LogError> {
        for (partition, payload) in writer.waiting.drain(..) {
            let partition = &mut self.partitions[partition as usize];
            partition.records.insert(partition.next, payload);
            partition.next += 1;
        }
        writer.producer.flush()?;
        if self.rng.u32(..3) == 0 {
            return Ok(());
        }
        self.disk.set_room(None);
        writer.producer.wait(Ticket(u64::MAX), PATIENCE)?;
        let mut placed = Vec::new();
        writer.producer.placed(&mut placed);
        for placed in placed {
            let partition = &mut self.partitions[placed.partition.0 as usize];
            partition.at_os = partition.at_os.max(placed.offset.0 + 1);
            if writer.ack == Ack::Disk {
                partition.at_disk = partition.at_disk.max(placed.offset.0 + 1);
            }
        }
        Ok(())
    }

    /// Holds what the log has against what it should have; from now on that is what it promises.
    fn compare(&mut self, log: &dyn Log) -> Result<(), String> {
        for (number, partition) in (0..).zip(&mut self.partitions) {
            let say = |what: &str| format!("partition {number}: {what}");
            let bounds = log.bounds(Partition(number)).map_err(|e| say(&e.to_string()))?;
            if bounds.end.0 < partition.at_os {
                return Err(say(&format!("{} was acknowledged, it ends at {:?}", partition.at_os, bounds)));
            }
            let (mut next, mut out) = (bounds.start, Records::new());
            while next < bounds.end {
                let limit = FetchLimit { records_max: 7, ..FetchLimit::default() };
                log.fetch(Partition(number), next, limit, &mut out).map_err(|e| say(&e.to_string()))?;
                for (offset, payload) in out.iter() {
                    if offset != next || partition.records.get(&offset.0).is_none_or(|p| p != payload) {
                        return Err(say(&format!("what is at {} was never submitted there", offset.0)));
                    }
                    next = Offset(offset.0 + 1);
                }
                if out.is_empty() {
                    return Err(say(&format!("nothing at {next:?} of {bounds:?}")));
                }
            }
            partition.records.retain(|offset, _| *offset < bounds.end.0);
            (partition.next, partition.at_disk, partition.at_os) = (bounds.end.0, bounds.end.0, bounds.end.0);
        }
        Ok(())
    }
}
