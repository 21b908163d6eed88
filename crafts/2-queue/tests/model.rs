//! The log against a list in memory, opened again at random moments.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

mod common;

use common::{FIRST, open, read_all};
use contracts::{
    packed::{PackedRecords, pack},
    queue::{
        Ack, Bounds, FetchLimit, Identity, Log, LogError, NewRecord, Offset, Placed, Producer, Records,
        Ticket,
    },
};
use proptest::{collection::vec, prelude::*};
use queue::{Codec, FileLog, LogConfig, wire};
use std::time::Duration;

#[derive(Clone, Debug)]
enum Step {
    Submit(Vec<u8>),
    Flush,
    /// Several at once; or packed by who sends them; or by an identified producer, so many times.
    Several(Vec<Vec<u8>>),
    Packed(Vec<Vec<u8>>),
    Identified {
        batch: Vec<Vec<u8>>,
        times: usize,
    },
    /// From somewhere up to just beyond the end, in thousandths of it.
    Fetch {
        from: u64,
        records_max: usize,
        bytes_max: usize,
    },
    Commit(u64),
    /// The log is closed, and what was not flushed is gone. From now on it packs, or does not.
    Reopen(Codec),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => payload().prop_map(Step::Submit),
        3 => Just(Step::Flush),
        2 => vec(payload(), 1..6).prop_map(Step::Several),
        1 => vec(payload(), 1..6).prop_map(Step::Packed),
        1 => (vec(payload(), 1..6), 1..4_usize).prop_map(|(batch, times)| Step::Identified { batch, times }),
        3 => (0..1100_u64, 0..9_usize, 0..600_usize)
            .prop_map(|(from, records_max, bytes_max)| Step::Fetch { from, records_max, bytes_max }),
        1 => (0..1000_u64).prop_map(Step::Commit),
        1 => prop_oneof![Just(Codec::Raw), Just(Codec::Lz4)].prop_map(Step::Reopen),
    ]
}

/// Some pack well.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        2 => vec(any::<u8>(), 0..200),
        1 => (any::<u8>(), 0..2000_usize).prop_map(|(byte, bytes)| vec![byte; bytes]),
    ]
}

/// What the log should be. Offsets are places in the list.
#[derive(Default)]
struct Model {
    written: Vec<Vec<u8>>,
    waiting: Vec<Vec<u8>>,
    committed: Option<u64>,
    /// The farthest that was ever committed: what lies before it may be gone, also if the group has rewound since.
    released: u64,
}

impl Model {
    fn end(&self) -> u64 {
        self.written.len() as u64
    }

    fn flush(&mut self) {
        self.written.append(&mut self.waiting);
    }

    /// The records of a fetch, by the words of the contract.
    fn fetch(&self, from: u64, limit: FetchLimit) -> Vec<(u64, Vec<u8>)> {
        let (mut found, mut bytes) = (Vec::new(), 0);
        for (offset, payload) in (0..).zip(&self.written).skip(usize::try_from(from).unwrap()) {
            bytes += payload.len();
            if !found.is_empty() && (found.len() >= limit.records_max || bytes > limit.bytes_max) {
                break;
            }
            found.push((offset, payload.clone()));
        }
        found
    }
}

fn config() -> LogConfig {
    LogConfig { segment_bytes_max: 2000, ..LogConfig::for_groups(&["storage"]) }
}

fn producer(log: &FileLog) -> Box<dyn Producer> {
    log.producer(Ack::Os).unwrap()
}

fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let dir = tempfile::tempdir().unwrap();
    let mut model = Model::default();
    let mut log = open(dir.path(), config()).0;
    let mut writer = producer(&log);
    let (mut submitted, mut flushed, mut sequence) = (0, 0, u32::MAX - 1);
    for step in steps {
        match step {
            Step::Submit(payload) => {
                submitted += 1;
                let ticket = writer.submit(NewRecord { partition: FIRST, payload: &payload });
                prop_assert_eq!(ticket, Ok(Ticket(submitted)));
                model.waiting.push(payload);
            }
            Step::Flush => {
                prop_assert_eq!(writer.flush(), Ok(()));
                model.flush();
                flushed = submitted;
            }
            Step::Several(batch) => {
                submitted += batch.len() as u64;
                let all: Vec<&[u8]> = batch.iter().map(Vec::as_slice).collect();
                prop_assert_eq!(writer.submit_all(FIRST, &all), Ok(Ticket(submitted)));
                model.waiting.extend(batch);
            }
            Step::Packed(batch) => {
                submitted += batch.len() as u64;
                let (packed, mut room) = (pack(batch.iter().map(|payload| &payload[..])), Vec::new());
                let packed = PackedRecords::open(&packed, &mut room).unwrap();
                prop_assert_eq!(writer.submit_packed(FIRST, &packed), Ok(Ticket(submitted)));
                model.waiting.extend(batch);
            }
            // In a log that does not know batches again, records like any others.
            Step::Identified { batch, .. } if !log.knows_batches() => {
                for payload in batch {
                    submitted += 1;
                    writer.submit(NewRecord { partition: FIRST, payload: &payload }).unwrap();
                    model.waiting.push(payload);
                }
            }
            Step::Identified { batch, times } => {
                writer.flush().unwrap();
                model.flush();
                writer.placed(&mut Vec::new());
                let expected: Vec<_> = (model.end()..).take(batch.len()).collect();
                for _ in 0..times {
                    writer.identify(Identity { producer: 1, sequence }).unwrap();
                    for payload in &batch {
                        submitted += 1;
                        writer.submit(NewRecord { partition: FIRST, payload }).unwrap();
                    }
                    writer.flush().unwrap();
                    let mut placed: Vec<Placed> = Vec::new();
                    writer.placed(&mut placed);
                    let found: Vec<_> = placed.iter().map(|placed| placed.offset.0).collect();
                    prop_assert_eq!(&found, &expected);
                }
                sequence = sequence.wrapping_add(1);
                flushed = submitted;
                model.waiting.extend(batch);
                model.flush();
            }
            Step::Fetch { from, records_max, bytes_max } => {
                let limit = FetchLimit { records_max, bytes_max, wait: Duration::ZERO };
                check_fetch(&log, &model, from * (model.end() + 1) / 1000, limit)?;
            }
            Step::Commit(next) => {
                let next = next * (model.end() + 1) / 1000;
                let membership = log.subscribe("storage", "member").unwrap();
                prop_assert_eq!(log.commit(&membership, FIRST, Offset(next)), Ok(()));
                model.committed = Some(next);
                model.released = model.released.max(next);
            }
            Step::Reopen(codec) => {
                drop((writer, log));
                let (again, recovery) = open(dir.path(), LogConfig { codec, ..config() });
                prop_assert_eq!((recovery.cut, recovery.groups_lost), (None, None));
                log = again;
                writer = producer(&log);
                model.waiting.clear();
                (submitted, flushed) = (0, 0);
            }
        }
        prop_assert_eq!(writer.settled(), Ok(Ticket(flushed)));
        prop_assert_eq!(log.committed("storage", FIRST), Ok(model.committed.map(Offset)));
        check_bounds(log.bounds(FIRST).unwrap(), &model)?;
    }
    let found = read_all(&log);
    let start = model.written.len() - found.len();
    let everything = FetchLimit { records_max: usize::MAX, bytes_max: usize::MAX, wait: Duration::ZERO };
    prop_assert_eq!(found, model.fetch(start as u64, everything));
    Ok(())
}

/// The end is exact; the start is where the log likes, but nothing that was not committed is gone.
fn check_bounds(bounds: Bounds, model: &Model) -> Result<(), TestCaseError> {
    prop_assert_eq!(bounds.end.0, model.end());
    prop_assert!(bounds.start.0 <= model.released);
    Ok(())
}

fn check_fetch(log: &FileLog, model: &Model, from: u64, limit: FetchLimit) -> Result<(), TestCaseError> {
    let mut records = Records::new();
    let result = log.fetch(FIRST, Offset(from), limit, &mut records);
    let bounds = log.bounds(FIRST).unwrap();
    if from < bounds.start.0 || from > bounds.end.0 {
        prop_assert_eq!(result, Err(LogError::OffsetOutOfRange { asked: Offset(from), bounds }));
        return Ok(());
    }
    prop_assert_eq!(result, Ok(()));
    let found: Vec<_> = records.iter().map(|(offset, payload)| (offset.0, payload.to_vec())).collect();
    let expected = model.fetch(from, limit);
    prop_assert_eq!(&found, &expected);
    check_stored(log, from, limit, &expected)
}

/// As they lie in the files: perhaps fewer, since frames are not cut, but the same.
fn check_stored(
    log: &FileLog,
    from: u64,
    limit: FetchLimit,
    expected: &[(u64, Vec<u8>)],
) -> Result<(), TestCaseError> {
    let Some(stored) = log.fetch_stored(FIRST, Offset(from), limit).unwrap() else { return Ok(()) };
    let mut sent = Vec::new();
    for slice in wire::envelope(&stored) {
        let mut bytes = vec![0; usize::try_from(slice.bytes).unwrap()];
        slice.file.read_at(slice.at, &mut bytes).unwrap();
        sent.extend_from_slice(&bytes);
    }
    let mut records = Records::new();
    wire::decode(&sent, FIRST, Offset(from), limit, &mut records).unwrap();
    let found: Vec<_> = records.iter().map(|(offset, payload)| (offset.0, payload.to_vec())).collect();
    prop_assert_eq!(&found[..], &expected[..found.len()]);
    prop_assert_eq!(found.is_empty(), expected.is_empty());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_log_is_a_list_that_survives_being_closed(steps in vec(step(), 0..120)) {
        run(steps)?;
    }
}

/// Segments long enough for an index of several entries: filled by the tail, by recovery, and by whoever reads.
#[test]
fn a_fetch_finds_its_first_record_wherever_it_lies() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let dir = tempfile::tempdir().unwrap();
    let config = || LogConfig { segment_bytes_max: 1 << 20, ..LogConfig::for_groups(&["storage"]) };
    let mut model = Model::default();
    let mut log = open(dir.path(), config()).0;
    for round in 0..4 {
        let mut writer = producer(&log);
        for _ in 0..400 {
            let bytes = rng.usize(..5000);
            let payload: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(bytes).collect();
            writer.submit(NewRecord { partition: FIRST, payload: &payload }).unwrap();
            model.waiting.push(payload);
        }
        writer.flush().unwrap();
        model.flush();
        if round % 2 == 1 {
            drop((writer, log));
            log = open(dir.path(), config()).0;
        }
        for _ in 0..200 {
            let limit = FetchLimit {
                records_max: rng.usize(1..50),
                bytes_max: rng.usize(..1 << 18),
                wait: Duration::ZERO,
            };
            check_fetch(&log, &model, rng.u64(..=model.end()), limit).unwrap();
        }
    }
}
