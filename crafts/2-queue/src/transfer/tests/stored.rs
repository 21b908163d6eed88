//! Frames as they lie: what a consumer reads from them is what a fetch gives, and it does not change under a slow reader.

use super::*;
use crate::wire;
use contracts::{
    file::FileSlice,
    queue::{Ack, Stored, StoredSlice},
};
use fastrand::Rng;

fn bytes_of(slice: &FileSlice) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(slice.bytes).unwrap()];
    slice.file.read_at(slice.at, &mut bytes).unwrap();
    bytes
}

fn stored(log: &FileLog, partition: Partition, from: u64, limit: FetchLimit) -> Stored {
    log.fetch_stored(partition, Offset(from), limit).unwrap().expect("this log gives frames as they lie")
}

/// What a consumer makes of it.
fn read(stored: &Stored, partition: Partition, from: u64, limit: FetchLimit) -> Records {
    let sent: Vec<u8> = wire::envelope(stored).iter().flat_map(bytes_of).collect();
    let mut out = Records::new();
    wire::decode(&sent, partition, Offset(from), limit, &mut out).unwrap();
    out
}

fn listed(records: &Records) -> Vec<(u64, Vec<u8>)> {
    records.iter().map(|(offset, payload)| (offset.0, payload.to_vec())).collect()
}

fn one_record(producer: &mut dyn Producer, partition: u32, payload: &[u8]) {
    producer.submit(NewRecord { partition: Partition(partition), payload }).unwrap();
    producer.flush().unwrap();
}

/// Of all lengths, packed and not, in segments that end in between.
#[test]
fn stored_frames_hold_what_a_fetch_gives() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let config = LogConfig { partitions: 3, segment_bytes_max: 200_000, codec: Codec::Lz4, ..config() };
    let (log, _) = open(&SimDisk::new(1), config);
    let mut producer = log.producer(Ack::Os).unwrap();
    for _ in 0..400 {
        let partition = Partition(rng.u32(..3));
        for _ in 0..rng.usize(1..10) {
            let bytes = [0, 10, 300, 5_000][rng.usize(..4)];
            let noise = rng.bool();
            let payload: Vec<u8> = (0..bytes).map(|_| if noise { rng.u8(..) } else { 7 }).collect();
            producer.submit(NewRecord { partition, payload: &payload }).unwrap();
        }
        producer.flush().unwrap();
    }
    for _ in 0..300 {
        let partition = Partition(rng.u32(..3));
        let end = log.bounds(partition).unwrap().end.0;
        let from = rng.u64(..=end);
        let limit = FetchLimit {
            records_max: rng.usize(1..200),
            bytes_max: rng.usize(..300_000),
            ..FetchLimit::default()
        };
        let mut fetched = Records::new();
        log.fetch(partition, Offset(from), limit, &mut fetched).unwrap();
        let stored = stored(&log, partition, from, limit);
        let found = listed(&read(&stored, partition, from, limit));
        // Frames are given as a whole: there may be fewer records than would have had room, but none only if there are none.
        assert_eq!(found, listed(&fetched)[..found.len()], "{from} {limit:?}");
        assert_eq!(found.is_empty(), from == end);
        assert!(stored.next.0 >= from + found.len() as u64);
    }
}

#[test]
fn neighbours_are_one_slice_and_what_is_small_comes_together() {
    let (log, _) = open(&SimDisk::new(1), LogConfig { partitions: 2, ..config() });
    let mut producer = log.producer(Ack::Os).unwrap();
    let all = FetchLimit::default();
    (0..3).for_each(|_| one_record(&mut *producer, 0, &[1; 8_000]));
    let slices = |partition| stored(&log, Partition(partition), 0, all).slices;
    let [StoredSlice { slice, .. }] = &slices(0)[..] else { panic!("three neighbours") };
    assert!(slice.bytes > 24_000);
    // From here on each frame has one of the other partition between it and the next.
    for _ in 0..10 {
        one_record(&mut *producer, 1, &[2; 100]);
        one_record(&mut *producer, 0, &[1; 100]);
    }
    assert_eq!(slices(0).len(), 2, "what lies in the file, and what was copied together");
    assert_eq!(slices(1).len(), 1);
    assert_eq!(stored(&log, Partition(1), 10, all).slices.len(), 0, "at the end there is nothing");
}

/// A file that is used again would change under who reads it slowly.
#[test]
fn a_segment_that_somebody_still_reads_is_not_used_again() {
    let config = LogConfig { segment_bytes_max: 100_000, retention_bytes_max: Some(300_000), ..config() };
    let disk = SimDisk::new(1);
    let (log, _) = open(&disk, config);
    let mut producer = log.producer(Ack::Os).unwrap();
    let mut fill = |with: u8| (0..100).for_each(|_| one_record(&mut *producer, 0, &[with; 20_000]));
    fill(1);
    let files = disk.files();
    fill(2);
    assert_eq!(disk.files(), files, "files are used again");
    let start = log.bounds(FIRST).unwrap().start.0;
    let held = stored(&log, FIRST, start, FetchLimit::default());
    assert!(held.slices[0].slice.bytes > 80_000, "in the file");
    let before = listed(&read(&held, FIRST, start, FetchLimit::default()));
    fill(3);
    assert!(log.bounds(FIRST).unwrap().start.0 > held.next.0, "they were dropped");
    assert_eq!(listed(&read(&held, FIRST, start, FetchLimit::default())), before);
    let with_held = disk.files();
    assert!(with_held > files, "others took the place of what is held");
    drop(held);
    fill(4);
    assert_eq!(disk.files(), with_held, "and then files are used again");
}

#[test]
fn a_reader_who_waits_is_given_what_comes() {
    let (log, _) = open(&SimDisk::new(1), config());
    let limit = FetchLimit { wait: PATIENCE, ..FetchLimit::default() };
    thread::scope(|scope| {
        let reader = scope.spawn(|| stored(&log, FIRST, 0, limit));
        one_record(&mut *log.producer(Ack::Os).unwrap(), 0, b"here");
        let stored = reader.join().unwrap();
        assert_eq!(listed(&read(&stored, FIRST, 0, limit)), [(0, b"here".to_vec())]);
    });
    let soon = FetchLimit { wait: Duration::from_millis(1), ..FetchLimit::default() };
    let nothing = stored(&log, FIRST, 1, soon);
    assert!(nothing.slices.is_empty() && nothing.next == Offset(1));
    let beyond = log.fetch_stored(FIRST, Offset(2), soon);
    assert!(matches!(beyond, Err(LogError::OffsetOutOfRange { .. })), "{beyond:?}");
}

/// Nobody looks into bodies before the consumer does; a head is missed by the log itself.
#[test]
fn damage_is_told_by_the_log_or_found_by_the_consumer() {
    for (at, by_log) in [(9, true), (crate::frame::HEAD_BYTES + 9, false)] {
        let disk = SimDisk::new(1);
        let (log, _) = open(&disk, LogConfig { codec: Codec::Lz4, ..config() });
        let mut producer = log.producer(Ack::Os).unwrap();
        (0..3).for_each(|i| one_record(&mut *producer, 0, &[i; 2000]));
        let second = stored(&log, FIRST, 1, FetchLimit { records_max: 1, ..FetchLimit::default() });
        let frame = bytes_of(&second.slices[0].slice);
        let content = disk.content(SEGMENT);
        let place = content.windows(frame.len()).position(|bytes| bytes == frame).unwrap();
        disk.flip(SEGMENT, place + at, 0);
        let first = stored(&log, FIRST, 0, FetchLimit { records_max: 1, ..FetchLimit::default() });
        assert_eq!(read(&first, FIRST, 0, FetchLimit::default()).len(), 1, "what is before it is there");
        let told = log.fetch(FIRST, Offset(1), FetchLimit::default(), &mut Records::new());
        let Err(LogError::Damaged { from: Offset(1), next: Offset(2), .. }) = told else {
            panic!("{told:?}")
        };
        match log.fetch_stored(FIRST, Offset(1), FetchLimit::default()) {
            Err(LogError::Damaged { from: Offset(1), next: Offset(2), .. }) if by_log => {}
            Ok(Some(stored)) if !by_log => {
                let sent: Vec<u8> = wire::envelope(&stored).iter().flat_map(bytes_of).collect();
                let found = wire::decode(&sent, FIRST, Offset(1), FetchLimit::default(), &mut Records::new());
                assert_eq!(found.unwrap_err().why, "its body is damaged");
            }
            other => panic!("{other:?}"),
        }
    }
}
