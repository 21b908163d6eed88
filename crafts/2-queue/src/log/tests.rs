//! What holds whatever fills the slots, on a disk in memory.

use crate::{FileLog, LogConfig, OpenError, Recovery, open::PARTITIONS_MAX, sim::SimDisk};
use contracts::{
    limits::RECORD_BYTES_MAX,
    queue::{Ack, FetchLimit, Log, LogError, NewRecord, Offset, Partition, Placed, Records, Ticket},
};
use std::{sync::mpsc, thread, time::Duration};

const FIRST: Partition = Partition(0);
/// Longer than anything takes here.
const PATIENCE: Duration = Duration::from_secs(60);

fn open(disk: &SimDisk, partitions: u32) -> Result<(FileLog, Recovery), OpenError> {
    let config = LogConfig { partitions, ..LogConfig::for_groups(&["storage"]) };
    FileLog::open_on(disk.outside(1), None, config)
}

fn append(log: &FileLog, messages: u64) {
    let mut producer = log.producer(log.ack_max()).unwrap();
    for _ in 0..messages {
        producer.submit(NewRecord { partition: FIRST, payload: b"x" }).unwrap();
    }
    assert_eq!(producer.wait(Ticket(messages), PATIENCE), Ok(Ticket(messages)));
}

#[test]
fn a_log_has_as_many_partitions_as_were_asked_for_within_bounds() {
    for asked in [0, PARTITIONS_MAX + 1] {
        assert!(matches!(open(&SimDisk::new(1), asked), Err(OpenError::BadPartitions { .. })));
    }
    let (log, recovery) = open(&SimDisk::new(1), 3).unwrap();
    assert_eq!((log.partitions(), recovery.ends, recovery.records), (3, vec![0; 3], 0));
    let asked = Partition(3);
    assert_eq!(log.bounds(asked), Err(LogError::NoSuchPartition { asked, partitions: 3 }));
}

#[test]
fn a_record_over_the_bound_is_refused_and_leaves_no_trace() {
    let (log, _) = open(&SimDisk::new(1), 1).unwrap();
    let mut producer = log.producer(log.ack_max()).unwrap();
    let payload = vec![0; RECORD_BYTES_MAX + 1];
    let refused = producer.submit(NewRecord { partition: FIRST, payload: &payload });
    let (bytes, bytes_max) = (payload.len(), RECORD_BYTES_MAX);
    assert_eq!(refused, Err(LogError::RecordTooLarge { bytes, bytes_max }));
    assert_eq!(producer.submit_all(FIRST, &[b"x", &payload]), refused, "nor does what comes with it");
    assert_eq!(producer.submit(NewRecord { partition: FIRST, payload: &payload[1..] }), Ok(Ticket(1)));
}

#[test]
fn records_that_are_submitted_together_lie_as_if_each_had_come_by_itself() {
    let (log, _) = open(&SimDisk::new(1), 1).unwrap();
    let mut producer = log.producer(log.ack_max()).unwrap();
    // More than one frame takes, and one record among them that no frame would share.
    let length = |n: u64| if n == 333 { 300_000 } else { 1000 + n };
    let payloads: Vec<Vec<u8>> =
        (0..700).map(|n: u64| vec![n.to_le_bytes()[0]; usize::try_from(length(n)).unwrap()]).collect();
    let all: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
    let asked = Partition(1);
    let nowhere = LogError::NoSuchPartition { asked, partitions: 1 };
    assert_eq!(producer.submit_all(asked, &all), Err(nowhere));
    assert_eq!(producer.submit_all(FIRST, &all[..350]), Ok(Ticket(350)));
    assert_eq!(producer.submit_all(FIRST, &[]), Ok(Ticket(0)));
    assert_eq!(producer.submit_all(FIRST, &all[350..]), Ok(Ticket(700)));
    assert_eq!(producer.wait(Ticket(700), PATIENCE), Ok(Ticket(700)));
    let (mut found, mut records, mut placed) = (Vec::new(), Records::new(), Vec::new());
    while found.len() < 700 {
        log.fetch(FIRST, Offset(found.len() as u64), FetchLimit::default(), &mut records).unwrap();
        assert!(!records.is_empty());
        found.extend(records.iter().map(|(_, payload)| payload.to_vec()));
    }
    assert!(found == payloads);
    producer.placed(&mut placed);
    let its = |placed: &Placed| (placed.ticket.0, placed.offset.0);
    assert!(placed.iter().map(its).eq((0..700).map(|offset| (offset + 1, offset))));
}

#[test]
fn a_fetch_that_waits_is_woken_by_the_next_record() {
    let (log, _) = open(&SimDisk::new(1), 1).unwrap();
    let (reader, (sender, receiver)) = (log.clone(), mpsc::channel());
    thread::spawn(move || {
        let limit = FetchLimit { wait: Duration::from_secs(3000), ..FetchLimit::default() };
        let mut out = Records::new();
        let result = reader.fetch(FIRST, Offset(0), limit, &mut out);
        let _ = sender.send(result.map(|()| out.len()));
    });
    append(&log, 1);
    assert_eq!(receiver.recv_timeout(PATIENCE).expect("the fetch goes on waiting"), Ok(1));
}

/// A generation that was given away must not begin again, however soon the process is killed.
#[test]
fn how_far_the_groups_came_survives_a_close_and_a_generation_survives_a_kill() {
    let disk = SimDisk::new(1);
    let (log, _) = open(&disk, 1).unwrap();
    append(&log, 5);
    for _ in 0..3 {
        let membership = log.subscribe("storage", "member").unwrap();
        log.commit(&membership, FIRST, Offset(4)).unwrap();
    }
    if log.ack_max() == Ack::Memory {
        return;
    }
    let killed = disk.kill();
    drop(log);
    let (log, recovery) = open(&killed, 1).unwrap();
    // Not how many it still holds: what every group has read may be gone.
    assert_eq!((recovery.ends, recovery.groups_lost), (vec![5], None));
    let membership = log.subscribe("storage", "member").unwrap();
    assert!(membership.generation > 3, "{membership:?}");
    log.commit(&membership, FIRST, Offset(5)).unwrap();
    drop(log);
    let (log, _) = open(&killed, 1).unwrap();
    assert_eq!(log.committed("storage", FIRST), Ok(Some(Offset(5))));
    assert_eq!(log.groups().unwrap()[0].partitions[0].lag, 0);
}
