//! Batches of identified producers: each is in the log once, however often it was sent, through crashes too.
//!
//! `QUEUE_CRASH_SEEDS=100000 cargo test --release -p queue identified` tries more seeds.

use super::*;
use contracts::{
    limits::{IDENTIFIED_BATCHES_KEPT, RECORD_BYTES_MAX},
    packed::{PackedRecords, pack},
    queue::{Ack, Identity, Placed},
};
use fastrand::Rng;
use std::{collections::BTreeMap, env};

/// As many as a test may take.
const SEEDS: u64 = 1000;

/// Sends a batch, and waits for it; where it lies.
fn send(log: &FileLog, producer: u64, sequence: u32, records: &[&[u8]]) -> Result<Vec<u64>, LogError> {
    send_by(&mut *log.producer(Ack::Disk).unwrap(), producer, sequence, records)
}

fn send_by(
    by: &mut dyn Producer,
    producer: u64,
    sequence: u32,
    records: &[&[u8]],
) -> Result<Vec<u64>, LogError> {
    by.identify(Identity { producer, sequence })?;
    let mut last = Ticket(0);
    for record in records {
        last = submit(by, record)?;
    }
    by.flush()?;
    assert!(by.wait(last, PATIENCE)? >= last);
    Ok(placed(by))
}

fn placed(by: &mut dyn Producer) -> Vec<u64> {
    let mut placed: Vec<Placed> = Vec::new();
    by.placed(&mut placed);
    placed.iter().map(|placed| placed.offset.0).collect()
}

#[test]
fn a_batch_that_is_sent_twice_lies_where_it_lay() {
    let disk = SimDisk::new(1);
    let (log, _) = open(&disk, config());
    assert_eq!(send(&log, 7, 100, &[b"a", b"b"]), Ok(vec![0, 1]));
    assert_eq!(send(&log, 7, 101, &[b"c"]), Ok(vec![2]));
    assert_eq!(send(&log, 8, 100, &[b"d"]), Ok(vec![3]), "another producer");
    assert_eq!(send(&log, 7, 100, &[b"a", b"b"]), Ok(vec![0, 1]));
    assert_eq!(log.bounds(FIRST).unwrap().end, Offset(4));
    drop(log);
    let (log, _) = open(&disk, config());
    assert_eq!(send(&log, 7, 101, &[b"c"]), Ok(vec![2]), "also after a restart");
    assert_eq!(send(&log, 7, 102, &[b"e"]), Ok(vec![4]));
    assert_eq!(payloads(&log), [b"a", b"b", b"c", b"d", b"e"]);
}

#[test]
fn a_batch_out_of_sequence_is_refused_and_its_tickets_are_void() {
    let (log, _) = open(&SimDisk::new(1), config());
    let mut by = log.producer(Ack::Disk).unwrap();
    assert_eq!(send_by(&mut *by, 7, 0, &[b"a"]), Ok(vec![0]));
    let refused = send_by(&mut *by, 7, 2, &[b"x", b"y"]);
    let expected = LogError::OutOfSequence { producer: 7, partition: FIRST, expected: 1, asked: 2 };
    assert_eq!(refused, Err(expected));
    submit(&mut *by, b"nobody's").unwrap();
    assert_eq!(
        by.wait(Ticket(u64::MAX), PATIENCE),
        Ok(Ticket(4)),
        "two tickets were given to what was refused"
    );
    assert_eq!(placed(&mut *by), [1]);
    assert_eq!(send_by(&mut *by, 7, 1, &[b"b"]), Ok(vec![2]));
    assert_eq!(payloads(&log), [&b"a"[..], b"nobody's", b"b"]);
}

/// The first one stands in the line, and nothing of it is on disk.
#[test]
fn a_batch_that_is_sent_again_before_it_is_safe_settles_with_the_first() {
    let disk = SimDisk::new(1);
    let (log, _) = open(&disk, config());
    let mut producers: Vec<_> = (0..2).map(|_| log.producer(Ack::Disk).unwrap()).collect();
    for by in &mut producers {
        by.identify(Identity { producer: 7, sequence: 0 }).unwrap();
        submit(&mut **by, b"once").unwrap();
        by.flush().unwrap();
    }
    let second = &mut producers[1];
    assert_eq!(second.wait(Ticket(1), PATIENCE), Ok(Ticket(1)));
    assert_eq!(placed(&mut **second), [0]);
    assert_eq!(producers[0].settled(), Ok(Ticket(1)), "one sync was good for both");
    assert_eq!(payloads(&log), [b"once"]);
}

#[test]
fn what_cannot_be_one_frame_is_no_identified_batch() {
    let (log, _) = open(&SimDisk::new(1), LogConfig { partitions: 2, ..config() });
    let mut by = log.producer(Ack::Os).unwrap();
    assert!(matches!(by.identify(Identity { producer: 0, sequence: 0 }), Err(LogError::NotOffered(_))));
    let (packed, mut room) = (pack([&b"x"[..]]), Vec::new());
    let packed = PackedRecords::open(&packed, &mut room).unwrap();
    let elsewhere = NewRecord { partition: Partition(1), payload: b"x" };
    type Add<'a> = &'a dyn Fn(&mut dyn Producer) -> Result<Ticket, LogError>;
    let adds: [Add<'_>; 3] = [&|by| by.submit(elsewhere), &|by| by.submit_packed(FIRST, &packed), &|by| {
        submit(by, &[1; 15_700_000])
    }];
    for add in adds {
        by.identify(Identity { producer: 7, sequence: 0 }).unwrap();
        submit(&mut *by, &[1; 2_000_000]).unwrap();
        let refused = add(&mut *by);
        let expected = matches!(refused, Err(LogError::NotOffered(_) | LogError::RecordTooLarge { .. }));
        assert!(expected, "{refused:?}");
    }
    // Longer than frames of others may be.
    by.identify(Identity { producer: 7, sequence: 0 }).unwrap();
    for _ in 0..3 {
        submit(&mut *by, &[1; 200_000]).unwrap();
    }
    by.flush().unwrap();
    assert_eq!(log.bounds(FIRST).unwrap().end, Offset(3));
    // The next one is nobody's again.
    submit(&mut *by, b"x").unwrap();
    by.submit(elsewhere).unwrap();
    by.flush().unwrap();
    assert_eq!(log.bounds(Partition(1)).unwrap().end, Offset(1));
}

/// A part of it would be taken for the whole when it is sent again.
#[test]
fn a_record_that_is_refused_takes_its_batch_with_it() {
    let (log, _) = open(&SimDisk::new(1), config());
    let mut by = log.producer(Ack::Disk).unwrap();
    by.identify(Identity { producer: 7, sequence: 0 }).unwrap();
    submit(&mut *by, b"a").unwrap();
    let too_large = vec![0; RECORD_BYTES_MAX + 1];
    assert!(matches!(submit(&mut *by, &too_large), Err(LogError::RecordTooLarge { .. })));
    assert!(matches!(submit(&mut *by, b"b"), Err(LogError::NotOffered(_))));
    by.flush().unwrap();
    assert_eq!(log.bounds(FIRST).unwrap().end, Offset(0));
    assert_eq!(send_by(&mut *by, 7, 0, &[b"a", b"b"]), Ok(vec![0, 1]));
}

#[test]
fn a_packed_batch_is_stored_as_it_came_and_known_again() {
    let disk = SimDisk::new(1);
    let (log, _) = open(&disk, config());
    let mut by = log.producer(Ack::Disk).unwrap();
    submit(&mut *by, b"before").unwrap();
    let (batch, mut room) = (pack([&b"one"[..], b"two", b"three"]), Vec::new());
    for _ in 0..2 {
        by.identify(Identity { producer: 7, sequence: 0 }).unwrap();
        by.submit_packed(FIRST, &PackedRecords::open(&batch, &mut room).unwrap()).unwrap();
        by.flush().unwrap();
    }
    submit(&mut *by, b"behind").unwrap();
    assert_eq!(by.wait(Ticket(u64::MAX), PATIENCE), Ok(Ticket(8)));
    assert_eq!(placed(&mut *by), [0, 1, 2, 3, 1, 2, 3, 4]);
    assert_eq!(payloads(&log), [&b"before"[..], b"one", b"two", b"three", b"behind"]);
    let content = disk.content(SEGMENT);
    let found = content.windows(batch.len()).filter(|bytes| *bytes == batch).count();
    assert_eq!(found, 1, "as it came, once");
}

#[test]
fn the_last_batches_are_known_however_many_segments_ago_they_came() {
    let disk = SimDisk::new(1);
    let small = || LogConfig { segment_bytes_max: 2000, ..config() };
    let (log, _) = open(&disk, small());
    (0..5).for_each(|i| drop(send(&log, 7, i, &[b"x"]).unwrap()));
    (0..30).for_each(|i| drop(send(&log, 8, i, &[&[1; 300]]).unwrap()));
    drop(log);
    let (log, _) = open(&disk, small());
    assert_eq!(send(&log, 7, 0, &[b"x"]), Ok(vec![0]));
    assert_eq!(send(&log, 7, 4, &[b"x"]), Ok(vec![4]));
    assert_eq!(log.bounds(FIRST).unwrap().end, Offset(35));
}

#[test]
fn through_any_crash_every_batch_is_there_once_and_in_its_order() {
    let from_env =
        |name: &str, or: u64| env::var(name).ok().map_or(or, |text| text.parse().expect("a number"));
    let first = from_env("QUEUE_CRASH_FIRST", 0);
    for seed in first..first + from_env("QUEUE_CRASH_SEEDS", SEEDS) {
        if let Err(why) = run(seed, true) {
            panic!("seed {seed}: {why}");
        }
    }
}

#[test]
fn who_does_not_say_who_it_is_has_batches_there_twice() {
    let found = (0..SEEDS).find_map(|seed| run(seed, false).err().map(|why| (seed, why)));
    let (seed, why) = found.expect("a seed that notices");
    println!("seed {seed}: {why}");
}

/// What one producer sends to one partition: batches that follow from their number, so that they can be sent again.
struct Stream {
    /// Whether it says who it is.
    identified: bool,
    producer: u64,
    partition: u32,
    /// The number of its first batch; the largest is near, so that they begin again at 0.
    first: u32,
    /// How many batches there are so far; how many were sent by this process; how many were answered.
    made: u32,
    sent: u32,
    answered: u32,
    /// Where batches lie, as far as that was said.
    told: BTreeMap<u32, u64>,
    /// Sent since the last answer, in order.
    unanswered: Vec<u32>,
}

impl Stream {
    fn records(&self, batch: u32) -> Vec<Vec<u8>> {
        let count = 1 + (u64::from(batch) * 7 + self.producer) % 3;
        let repeats = [1, 3, 40][(batch as usize + self.partition as usize) % 3];
        (0..count)
            .map(|i| {
                format!("{} {} {batch} {i};", self.producer, self.partition).repeat(repeats).into_bytes()
            })
            .collect()
    }

    /// Sends the next batch, one that is made for that if all were sent. At most so many are under way as the log remembers.
    fn send(&mut self, by: &mut dyn Producer) -> Result<(), LogError> {
        if self.sent == self.made {
            if (self.made - self.answered) as usize == IDENTIFIED_BATCHES_KEPT {
                return Ok(());
            }
            self.made += 1;
        }
        let batch = self.sent;
        if self.identified {
            by.identify(Identity { producer: self.producer, sequence: self.first.wrapping_add(batch) })?;
        }
        for payload in &self.records(batch) {
            match by.submit(NewRecord { partition: Partition(self.partition), payload }) {
                // With one record the whole batch is refused. It is sent again later.
                Err(LogError::Full) => return Ok(()),
                submitted => submitted?,
            };
        }
        by.flush()?;
        self.sent += 1;
        self.unanswered.push(batch);
        Ok(())
    }

    /// Waits for what was sent, and looks where it lies.
    fn wait(&mut self, by: &mut dyn Producer) -> Result<Result<(), String>, LogError> {
        by.wait(Ticket(u64::MAX), PATIENCE)?;
        let mut placed = placed(by).into_iter();
        for batch in std::mem::take(&mut self.unanswered) {
            let count = self.records(batch).len();
            let lies: Vec<u64> = placed.by_ref().take(count).collect();
            let told = *self.told.entry(batch).or_insert(lies[0]);
            if lies != (told..told + count as u64).collect::<Vec<_>>() {
                return Ok(Err(format!(
                    "batch {batch} of {} lies at {lies:?}, and lay at {told}",
                    self.producer
                )));
            }
            self.answered = self.answered.max(batch + 1);
        }
        Ok(Ok(()))
    }

    /// Everything that was not answered is sent again.
    fn begin_again(&mut self) {
        self.sent = self.answered;
        self.unanswered.clear();
    }
}

fn run(seed: u64, identified: bool) -> Result<(), String> {
    let mut rng = Rng::with_seed(seed);
    let mut disk = SimDisk::new(rng.u64(..));
    let ack = if rng.bool() { Ack::Disk } else { Ack::Os };
    let config = LogConfig {
        segment_bytes_max: 4096,
        partitions: 2,
        codec: if rng.bool() { Codec::Lz4 } else { Codec::Raw },
        ..LogConfig::for_groups(&[])
    };
    let mut streams: Vec<Stream> = (0..4)
        .map(|i| Stream {
            identified,
            producer: 1 + i / 2,
            partition: u32::try_from(i % 2).unwrap(),
            first: u32::MAX - rng.u32(..10),
            made: 0,
            sent: 0,
            answered: 0,
            told: BTreeMap::new(),
            unanswered: Vec::new(),
        })
        .collect();
    for _ in 0..rng.u32(1..7) {
        let (log, _) = try_open(&disk, rng.u64(..), config.clone()).map_err(|e| e.to_string())?;
        if rng.bool() {
            disk.lose_power_after(rng.usize(..60));
        }
        match live(&log, &disk, &mut streams, ack, &mut rng) {
            Ok(result) => result?,
            Err(LogError::Failed(_)) => {}
            Err(e) => return Err(format!("a client that did all right was told: {e}")),
        }
        // What was answered at `os` is lost with the power, and with it the sequence.
        disk = if ack == Ack::Disk && rng.bool() { disk.crash() } else { disk.kill() };
        drop(log);
    }
    let (log, _) = try_open(&disk, rng.u64(..), config).map_err(|e| e.to_string())?;
    settle(&log, &mut streams)?.map_err(|e| e.to_string()).and_then(|()| compare(&log, &streams))
}

/// A life of the process.
fn live(
    log: &FileLog,
    disk: &SimDisk,
    streams: &mut [Stream],
    ack: Ack,
    rng: &mut Rng,
) -> Result<Result<(), String>, LogError> {
    let mut producers = Vec::new();
    for stream in &mut *streams {
        stream.begin_again();
        producers.push(log.producer(ack)?);
    }
    for _ in 0..rng.u32(..60) {
        let chosen = rng.usize(..streams.len());
        let (stream, by) = (&mut streams[chosen], &mut *producers[chosen]);
        match rng.u32(..20) {
            0..12 => stream.send(by)?,
            12..16 => {
                disk.set_room(None);
                if let Err(why) = stream.wait(by)? {
                    return Ok(Err(why));
                }
            }
            // The client has lost its patience, or its connection. It begins again on another.
            16..18 => {
                stream.begin_again();
                *producers.get_mut(chosen).expect("as many as streams") = log.producer(ack)?;
            }
            18 => disk.set_room(Some(rng.usize(..3000))),
            _ => disk.set_room(None),
        }
    }
    Ok(Ok(()))
}

/// Everybody sends what was not answered, until it is.
fn settle(log: &FileLog, streams: &mut [Stream]) -> Result<Result<(), LogError>, String> {
    for stream in streams {
        stream.begin_again();
        let mut by = log.producer(Ack::Disk).map_err(|e| e.to_string())?;
        while stream.sent < stream.made {
            if let Err(e) = stream.send(&mut *by) {
                return Ok(Err(e));
            }
        }
        match stream.wait(&mut *by) {
            Ok(result) => result?,
            Err(e) => return Ok(Err(e)),
        }
    }
    Ok(Ok(()))
}

/// Each stream's records in each partition: all of them, once, in their order, where it was said.
fn compare(log: &FileLog, streams: &[Stream]) -> Result<(), String> {
    for stream in streams {
        let mine = format!("{} {} ", stream.producer, stream.partition);
        let found = records_of(log, Partition(stream.partition)).map_err(|e| e.to_string())?;
        let found: Vec<_> =
            found.into_iter().filter(|(_, payload)| payload.starts_with(mine.as_bytes())).collect();
        let expected: Vec<_> = (0..stream.made).flat_map(|batch| stream.records(batch)).collect();
        if !found.iter().map(|(_, payload)| payload).eq(&expected) {
            return Err(format!(
                "the log holds {} records of {mine}, {} were sent",
                found.len(),
                expected.len()
            ));
        }
        for (batch, told) in &stream.told {
            let first = &stream.records(*batch)[0];
            if !found.iter().any(|(offset, payload)| offset == told && payload == first) {
                return Err(format!("batch {batch} of {mine} was told to lie at {told}, and does not"));
            }
        }
    }
    Ok(())
}
