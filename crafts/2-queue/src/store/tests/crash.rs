//! Crash proof: loads that end in a power cut or a kill at any moment, over and over, each from a seed.
//!
//! After each the log is opened again and held against a list in memory: what was acknowledged is there, what is there was
//! submitted, in its order and at its offset, and nothing else is. In the end one bit is flipped somewhere: every record
//! that was there is still there, or a reader is told.
//!
//! `QUEUE_CRASH_SEEDS=100000 cargo test --release -p queue crash` tries more seeds; `QUEUE_CRASH_FIRST` says with which
//! to begin.

use super::*;
use crate::frame::{Head, Kind, whole};
use contracts::queue::Ack;
use fastrand::Rng;
use std::{collections::BTreeMap, env, io::ErrorKind};

/// As many as a test may take.
const SEEDS: u64 = 3000;
/// A guard that is off, and a disk that lies, are found out within so many.
const SEEDS_TO_FAIL: u64 = 3000;

#[test]
fn nothing_acknowledged_is_lost_and_nothing_else_comes_back() {
    let first = from_env("QUEUE_CRASH_FIRST", 0);
    let seeds = from_env("QUEUE_CRASH_SEEDS", SEEDS);
    for seed in first..first + seeds {
        if let Err(why) = run(seed, Guards::ALL, false) {
            panic!("seed {seed}: {why}");
        }
    }
}

#[test]
fn a_disk_that_lies_about_syncs_is_found_out() {
    fails_for_some_seed("the disk lies", Guards::ALL, true);
}

#[test]
fn without_its_salt_a_segment_takes_what_looks_like_a_frame_for_one() {
    fails_for_some_seed("no salt", Guards { salt: false, ..Guards::ALL }, false);
}

#[test]
fn without_epochs_what_a_crash_left_behind_the_end_comes_back() {
    fails_for_some_seed("no epoch", Guards { epoch: false, ..Guards::ALL }, false);
}

#[test]
fn an_epoch_that_was_not_announced_is_used_twice() {
    fails_for_some_seed("no announcement", Guards { announced: false, ..Guards::ALL }, false);
}

#[test]
fn a_name_before_its_head_is_a_segment_that_cannot_be_read() {
    fails_for_some_seed("no head first", Guards { head_first: false, ..Guards::ALL }, false);
}

#[test]
fn without_the_mark_of_what_was_synced_damage_is_cut_off_as_if_it_were_torn() {
    fails_for_some_seed("no mark", Guards { synced_mark: false, ..Guards::ALL }, false);
}

/// Where epochs are off as well: with them, a frame in the wrong place is of the wrong epoch too.
#[test]
fn with_checksums_alone_old_frames_come_back() {
    let guards = Guards { sequence: false, salt: false, epoch: false, ..Guards::ALL };
    fails_for_some_seed("checksums alone", guards, false);
}

fn fails_for_some_seed(what: &str, guards: Guards, lies: bool) {
    let found = (0..SEEDS_TO_FAIL).find_map(|seed| run(seed, guards, lies).err().map(|why| (seed, why)));
    let (seed, why) = found.unwrap_or_else(|| panic!("{what}: no seed below {SEEDS_TO_FAIL} has noticed"));
    println!("{what}: seed {seed}: {why}");
}

pub(super) fn from_env(name: &str, or: u64) -> u64 {
    env::var(name).ok().map_or(or, |text| text.parse().expect("a number"))
}

/// How the life of a process ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Closed,
    Killed,
    PowerCut,
}

/// What one partition should hold.
#[derive(Clone, Default)]
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
    guards: Guards,
    config: LogConfig,
    partitions: Vec<Partitioned>,
    /// Distinguishes payloads.
    records: u64,
    /// Whether each flush is one frame, and as long as the frame that an opening begins with: what a crash left behind it
    /// then fits where the next frame would be.
    same: bool,
}

fn run(seed: u64, guards: Guards, lies: bool) -> Result<(), String> {
    let mut rng = Rng::with_seed(seed);
    let disk = SimDisk::new(rng.u64(..));
    if lies {
        disk.lie();
    }
    let partitions = rng.u32(1..4);
    let config = LogConfig {
        segment_bytes_max: 4096,
        partitions,
        retention_bytes_max: rng.bool().then_some(16_000),
        codec: if rng.bool() { Codec::Lz4 } else { Codec::Raw },
        ..LogConfig::for_groups(&["group"])
    };
    let partitions = vec![Partitioned::default(); partitions as usize];
    let same = rng.bool();
    let mut world = World { rng, disk, guards, config, partitions, records: 0, same };
    for _ in 0..world.rng.u32(1..if same { 13 } else { 7 }) {
        world.live()?;
    }
    // What an opening does not seal by its own epoch frame could not be told from a torn end.
    if guards.announced { world.flip() } else { Ok(()) }
}

impl World {
    fn open(&mut self) -> Result<(FileLog, Recovery), OpenError> {
        open_guarded(&self.disk, self.rng.u64(..), self.guards, self.config.clone())
    }

    /// A life of the process: from opening to its end.
    fn live(&mut self) -> Result<(), String> {
        if self.rng.u32(..8) == 0 {
            // The power goes while the log is opened.
            self.disk.lose_power_after(self.rng.usize(..8));
            drop(self.open());
            self.lose_power();
        }
        if self.rng.u32(..8) == 0 {
            self.misread()?;
        }
        let (log, recovery) = self.open().map_err(|e| e.to_string())?;
        if !recovery.gaps.is_empty() {
            return Err(format!("no bit was flipped, but {recovery}"));
        }
        self.compare(&log)?;
        if self.rng.bool() {
            self.disk.lose_power_after(self.rng.usize(..60));
        }
        let end = self.work(&log);
        self.disk = match end {
            End::Closed => {
                drop(log);
                self.disk = self.disk.kill();
                return Ok(());
            }
            End::Killed => self.disk.kill(),
            End::PowerCut => {
                self.lose_power();
                self.disk.clone()
            }
        };
        drop(log);
        Ok(())
    }

    /// For a while the disk cannot read what it holds. The log says so, and takes nothing for torn or damaged.
    fn misread(&mut self) -> Result<(), String> {
        self.disk.fail_reads_after(Some(self.rng.usize(..30)));
        match self.open() {
            Ok((log, _)) => {
                for partition in (0..self.config.partitions).map(Partition) {
                    match records_of(&log, partition) {
                        Ok(_) | Err(LogError::Failed(_)) => {}
                        Err(e) => return Err(format!("a read has failed: {e}")),
                    }
                }
                self.disk.fail_reads_after(None);
                self.compare(&log)?;
            }
            Err(OpenError::Io { .. }) => {}
            Err(e) => return Err(format!("a read has failed: {e}")),
        }
        self.disk = self.disk.kill();
        Ok(())
    }

    fn lose_power(&mut self) {
        self.disk = self.disk.crash();
        self.partitions.iter_mut().for_each(|p| p.at_os = p.at_disk);
    }

    /// Some load, until the process has come to its end.
    fn work(&mut self, log: &FileLog) -> End {
        let acks = [Ack::Disk, Ack::Disk, Ack::Os];
        let mut producers: Vec<_> = acks.map(|ack| (ack, log.producer(ack).unwrap(), Vec::new())).into();
        let Ok(membership) = log.subscribe("group", "member") else { return End::PowerCut };
        for _ in 0..self.rng.u32(..if self.same { 13 } else { 40 }) {
            let chosen = self.rng.usize(..producers.len());
            let (ack, producer, waiting) = &mut producers[chosen];
            let went_on = match self.rng.u32(..20) {
                0..4 => self.submit(&mut **producer, waiting),
                4..10 => self
                    .submit(&mut **producer, waiting)
                    .and_then(|()| self.flush(*ack, &mut **producer, waiting)),
                10..16 => self
                    .submit(&mut **producer, waiting)
                    .and_then(|()| self.flush(*ack, &mut **producer, waiting))
                    .and_then(|()| self.wait(*ack, &mut **producer)),
                16 => self.commit(log, &membership),
                _ => {
                    self.trouble();
                    Ok(())
                }
            };
            if went_on.is_err() {
                // A log that broke: the process ends, with the power or without.
                return if self.rng.bool() { End::Killed } else { End::PowerCut };
            }
        }
        drop(producers);
        let ends = [End::Closed, End::Killed, End::PowerCut, End::PowerCut];
        let end = ends[self.rng.usize(..ends.len())];
        // What a full disk or a lost power leaves of a close is as good as a kill.
        if end == End::Closed && self.rng.bool() { End::Killed } else { end }
    }

    /// The disk gets full, or has room again, or fails.
    fn trouble(&mut self) {
        match self.rng.u32(..24) {
            0..8 => self.disk.set_room(Some(self.rng.usize(..3000))),
            8..14 => self.there_is_room(),
            14 => self.disk.fail_names(Some(ErrorKind::StorageFull)),
            15 => self.disk.fail_names(Some(ErrorKind::PermissionDenied)),
            16 => self.disk.fail_syncs(true),
            17 => self.disk.fail_syncs_with(Some(ErrorKind::StorageFull)),
            _ => {}
        }
    }

    fn there_is_room(&mut self) {
        self.disk.set_room(None);
        self.disk.fail_names(None);
    }

    fn submit(
        &mut self,
        producer: &mut dyn Producer,
        waiting: &mut Vec<(u32, Vec<u8>)>,
    ) -> Result<(), LogError> {
        for _ in 0..if self.same { 1 } else { self.rng.u32(1..7) } {
            let partition = self.rng.u32(..self.config.partitions);
            let payload = self.payload();
            match producer.submit(NewRecord { partition: Partition(partition), payload: &payload }) {
                Ok(_) => waiting.push((partition, payload)),
                Err(LogError::Full) => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Of many lengths, none like another; some look like frames that were never written.
    fn payload(&mut self) -> Vec<u8> {
        self.records += 1;
        let id = self.records.to_le_bytes();
        if self.same {
            let bytes = 15 + 8 * self.partitions.len();
            return id.iter().cycle().take(bytes).copied().collect();
        }
        let bytes = [0, 8, 8, 120, 120, 120, 700, 5000][self.rng.usize(..8)];
        if bytes == 700 && self.rng.bool() {
            return self.forged(&id);
        }
        id.iter().cycle().take(bytes).copied().collect()
    }

    /// Frames whose checksums are right but for the salt, which nobody can know.
    fn forged(&mut self, id: &[u8]) -> Vec<u8> {
        let sequence = self.rng.u64(..400);
        let head = Head { sequence, synced: sequence, epoch: 99, ..Head::of(Kind::Data, 0, 1, b"\x03no!") };
        let frame = whole(&head, 0, b"\x03no!");
        // Wherever the record begins, one copy is aligned.
        let copies = (0..8).flat_map(|shift| [vec![0; shift], frame.clone()].concat());
        id.iter().copied().chain(copies).collect()
    }

    fn flush(
        &mut self,
        ack: Ack,
        producer: &mut dyn Producer,
        waiting: &mut Vec<(u32, Vec<u8>)>,
    ) -> Result<(), LogError> {
        for (partition, payload) in waiting.drain(..) {
            let partition = &mut self.partitions[partition as usize];
            partition.records.insert(partition.next, payload);
            partition.next += 1;
        }
        producer.flush()?;
        // Looked at only where flushing was writing: at `disk` a look would call the log's own thread.
        let last =
            producer.wait(Ticket(u64::MAX), if ack == Ack::Os { Duration::ZERO } else { return Ok(()) })?;
        let mut placed = Vec::new();
        producer.placed(&mut placed);
        assert!(placed.iter().all(|p| p.ticket <= last));
        for placed in placed {
            let partition = &mut self.partitions[placed.partition.0 as usize];
            partition.at_os = partition.at_os.max(placed.offset.0 + 1);
        }
        Ok(())
    }

    /// Waits for what was flushed, but not for room that may never come.
    fn wait(&mut self, ack: Ack, producer: &mut dyn Producer) -> Result<(), LogError> {
        if ack == Ack::Os {
            return Ok(());
        }
        self.there_is_room();
        producer.wait(Ticket(u64::MAX), PATIENCE)?;
        let mut placed = Vec::new();
        producer.placed(&mut placed);
        for placed in placed {
            let partition = &mut self.partitions[placed.partition.0 as usize];
            partition.at_disk = partition.at_disk.max(placed.offset.0 + 1);
            partition.at_os = partition.at_os.max(partition.at_disk);
        }
        Ok(())
    }

    fn commit(&mut self, log: &FileLog, membership: &contracts::queue::Membership) -> Result<(), LogError> {
        let partition = Partition(self.rng.u32(..self.config.partitions));
        let bounds = log.bounds(partition)?;
        log.commit(membership, partition, Offset(self.rng.u64(bounds.start.0..=bounds.end.0)))
    }

    /// Holds what the log has against what it should have; from now on that is what it promises.
    fn compare(&mut self, log: &FileLog) -> Result<(), String> {
        for (number, partition) in (0..).zip(&mut self.partitions) {
            let say = |what: &str| format!("partition {number}: {what}");
            let found = records_of(log, Partition(number)).map_err(|e| say(&e.to_string()))?;
            let bounds = log.bounds(Partition(number)).map_err(|e| say(&e.to_string()))?;
            if bounds.end.0 < partition.at_os {
                return Err(say(&format!(
                    "{} was acknowledged, it ends at {}",
                    partition.at_os, bounds.end.0
                )));
            }
            for (offset, payload) in found {
                if partition.records.get(&offset) != Some(&payload) {
                    return Err(say(&format!("record {offset} was never submitted there")));
                }
            }
            partition.records.retain(|offset, _| *offset < bounds.end.0);
            (partition.next, partition.at_disk, partition.at_os) = (bounds.end.0, bounds.end.0, bounds.end.0);
        }
        Ok(())
    }

    /// Flips a bit of a log that is whole: what is then missing is told.
    fn flip(&mut self) -> Result<(), String> {
        self.there_is_room();
        // Nothing goes but by the flip.
        self.config.retention_bytes_max = None;
        let (log, _) = self.open().map_err(|e| e.to_string())?;
        self.compare(&log)?;
        let bounds: Vec<_> = (0..self.config.partitions).map(|p| log.bounds(Partition(p)).unwrap()).collect();
        drop(log);
        let names = crate::disk::Disk::list(&self.disk).unwrap();
        let segments: Vec<_> = names.iter().filter(|name| name.ends_with(".log")).collect();
        let name = segments[self.rng.usize(..segments.len())];
        // Mostly where frames are: behind the last there may be much that is nothing.
        let used = self.disk.content(name).iter().rposition(|byte| *byte != 0).unwrap_or_default() + 1;
        self.disk.flip(name, self.rng.usize(..used), self.rng.u32(..8));
        let (log, recovery) = match self.open() {
            Err(OpenError::Damaged { .. } | OpenError::Version { .. }) => return Ok(()),
            opened => opened.map_err(|e| e.to_string())?,
        };
        let is_told = !recovery.gaps.is_empty() || recovery.cut.is_some();
        for ((number, before), partition) in (0..).zip(bounds).zip(&self.partitions) {
            let (after, mut missing) = (log.bounds(Partition(number)).unwrap(), 0);
            for offset in before.start.0..before.end.0 {
                let mut out = Records::new();
                let limit = FetchLimit { records_max: 1, ..FetchLimit::default() };
                match log.fetch(Partition(number), Offset(offset), limit, &mut out) {
                    Ok(()) if out.iter().next().is_some_and(|(_, p)| p == partition.records[&offset]) => {}
                    Err(LogError::Damaged { .. }) => missing += 1,
                    Err(LogError::OffsetOutOfRange { .. }) if is_told => missing += 1,
                    other => {
                        return Err(format!("{name}, partition {number}, {offset}: {other:?} {recovery}"));
                    }
                }
            }
            if missing == 0 && (after.start > before.start || after.end != before.end) {
                return Err(format!("{name}: bounds were {before:?}, are {after:?}: {recovery}"));
            }
        }
        Ok(())
    }
}
