//! The files of phase 1: what each name says, and what a missing one means.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

use contracts::queue::{Ack, FetchLimit, Log, LogError, NewRecord, Offset, Partition, Records, Ticket};
use queue::{LogConfig, OpenError, disk::Disk, sim::SimDisk};
use queue_phases::{Opened, PHASES};
use std::time::Duration;

const SECOND: Partition = Partition(1);

fn open(disk: &SimDisk, partitions: u32) -> Result<Opened, OpenError> {
    let config = LogConfig { partitions, ..LogConfig::for_groups(&["storage"]) };
    (PHASES[1].open_on)(disk.outside(3), config)
}

fn append(log: &dyn Log, messages: &[&[u8]]) {
    let mut producer = log.producer(Ack::Disk).unwrap();
    for payload in messages {
        producer.submit(NewRecord { partition: SECOND, payload }).unwrap();
    }
    producer.wait(Ticket(u64::MAX), Duration::from_secs(60)).unwrap();
}

fn from(log: &dyn Log, offset: u64) -> Result<Vec<Vec<u8>>, LogError> {
    let mut out = Records::new();
    log.fetch(SECOND, Offset(offset), FetchLimit::default(), &mut out)?;
    Ok(out.iter().map(|(_, payload)| payload.to_vec()).collect())
}

fn name(offset: u64) -> String {
    format!("1-{offset:020}.msg")
}

#[test]
fn a_message_is_the_content_of_the_file_of_its_name() {
    let disk = SimDisk::new(1);
    let Opened { log, .. } = open(&disk, 2).unwrap();
    append(&*log, &[b"one", b"", b"three"]);
    assert_eq!([0, 1, 2].map(|i| disk.content(&name(i))), [b"one".to_vec(), Vec::new(), b"three".to_vec()]);
    drop(log);
    let error = open(&disk, 1).map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::FewerPartitions { found: 2, asked: 1, .. }), "{error}");
}

#[test]
fn what_every_group_has_passed_goes_but_the_last_which_says_the_next_offset() {
    let disk = SimDisk::new(1);
    let Opened { log, .. } = open(&disk, 2).unwrap();
    append(&*log, &[b"one", b"two", b"three"]);
    let membership = log.subscribe("storage", "m").unwrap();
    log.commit(&membership, SECOND, Offset(3)).unwrap();
    drop(log);
    let messages = Disk::list(&disk).unwrap().into_iter().filter(|name| name.ends_with(".msg"));
    assert_eq!(messages.collect::<Vec<_>>(), [name(2)]);
    let Opened { log, recovery } = open(&disk, 2).unwrap();
    assert_eq!(recovery.ends, [0, 3]);
    append(&*log, &[b"four"]);
    assert_eq!(from(&*log, 3), Ok(vec![b"four".to_vec()]));
}

#[test]
fn a_file_that_is_gone_is_a_gap_and_its_reader_is_told() {
    let disk = SimDisk::new(1);
    let Opened { log, .. } = open(&disk, 2).unwrap();
    append(&*log, &[b"one", b"two", b"three", b"four"]);
    drop(log);
    Disk::remove(&disk, &name(1)).unwrap();
    Disk::remove(&disk, &name(2)).unwrap();
    let Opened { log, recovery } = open(&disk, 2).unwrap();
    let [gap] = &recovery.gaps[..] else { panic!("{recovery}") };
    assert_eq!((gap.file.clone(), gap.frames), (disk.path(&name(1)), 2));
    assert_eq!(from(&*log, 0), Ok(vec![b"one".to_vec()]), "what is there before it is given first");
    let why = format!("/sim/{} is missing", name(1));
    let damaged = LogError::Damaged { partition: SECOND, from: Offset(1), next: Offset(3), why };
    assert_eq!(from(&*log, 1), Err(damaged));
    assert_eq!(from(&*log, 3), Ok(vec![b"four".to_vec()]));
}

#[test]
fn a_disk_without_room_takes_nothing_and_goes_on_when_there_is_some() {
    let disk = SimDisk::new(1);
    let Opened { log, .. } = open(&disk, 2).unwrap();
    append(&*log, &[b"before"]);
    let mut producer = log.producer(Ack::Disk).unwrap();
    disk.set_room(Some(10));
    for payload in [b"first".as_slice(), b"much longer", b"third"] {
        producer.submit(NewRecord { partition: SECOND, payload }).unwrap();
    }
    producer.flush().unwrap();
    assert_eq!(producer.settled(), Ok(Ticket(0)));
    assert_eq!(producer.submit(NewRecord { partition: SECOND, payload: b"x" }), Err(LogError::Full));
    disk.set_room(None);
    assert_eq!(producer.wait(Ticket(3), Duration::from_secs(60)), Ok(Ticket(3)));
    let expected = [b"before".as_slice(), b"first", b"much longer", b"third"];
    assert_eq!(from(&*log, 0), Ok(expected.map(<[u8]>::to_vec).to_vec()));
}
