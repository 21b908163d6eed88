//! Who writes and who syncs, on a disk in memory.

use super::UNWRITTEN_BYTES;
use crate::{FileLog, LogConfig, sim::SimDisk};
use contracts::queue::{Ack, Log, LogError, NewRecord, Offset, Partition, Producer, Ticket};
use std::{sync::mpsc, thread, time::Duration};

const FIRST: Partition = Partition(0);
/// Longer than anything takes here.
const PATIENCE: Duration = Duration::from_secs(60);

fn log() -> (FileLog, SimDisk) {
    let disk = SimDisk::new(1);
    (FileLog::open_on(disk.outside(2), None, LogConfig::for_groups(&["storage"])).unwrap().0, disk)
}

fn submit(producer: &mut dyn Producer, payload: &[u8]) -> Result<Ticket, LogError> {
    producer.submit(NewRecord { partition: FIRST, payload })
}

fn waited(producer: &mut dyn Producer, upto: u64) {
    assert_eq!(producer.wait(Ticket(upto), PATIENCE), Ok(Ticket(upto)));
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if is_so() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("waited in vain until {what}");
}

#[test]
fn a_long_line_is_written_at_a_flush_and_a_short_one_when_somebody_waits() {
    let (log, disk) = log();
    let (before, mut producer) = (disk.syncs(), log.producer(Ack::Disk).unwrap());
    submit(&mut *producer, b"x").unwrap();
    producer.flush().unwrap();
    assert_eq!(log.bounds(FIRST).unwrap().end, Offset(0));
    submit(&mut *producer, &vec![0; UNWRITTEN_BYTES]).unwrap();
    producer.flush().unwrap();
    assert_eq!((log.bounds(FIRST).unwrap().end, disk.syncs()), (Offset(2), before));
    waited(&mut *producer, 2);
    assert_eq!(disk.syncs(), before + 1);
}

#[test]
fn producers_that_wait_for_the_disk_share_its_syncs() {
    const FOLLOWERS: u64 = 8;
    let (log, disk) = log();
    let before = disk.syncs();
    disk.hold_syncs();
    let _released = Released(&disk);
    let (published, all) = mpsc::channel();
    let append = |published: mpsc::Sender<()>| {
        let mut producer = log.producer(Ack::Disk).unwrap();
        submit(&mut *producer, b"x").unwrap();
        producer.flush().unwrap();
        published.send(()).unwrap();
        waited(&mut *producer, 1);
    };
    thread::scope(|scope| {
        scope.spawn(|| append(published.clone()));
        eventually("the first producer syncs", || disk.syncs() == before + 1);
        (0..FOLLOWERS).for_each(|_| drop(scope.spawn(|| append(published.clone()))));
        (0..=FOLLOWERS).for_each(|_| all.recv().unwrap());
        disk.release_syncs();
    });
    // The first sync had begun before the others published, so it was no good to them; one more was enough for all.
    assert_eq!(disk.syncs(), before + 2);
}

#[test]
fn many_producers_of_one_thread_need_one_sync_together() {
    let (log, disk) = log();
    let before = disk.syncs();
    let mut producers: Vec<_> = (0..64).map(|_| log.producer(Ack::Disk).unwrap()).collect();
    for round in 1..=10 {
        for producer in &mut producers {
            submit(&mut **producer, b"x").unwrap();
            producer.flush().unwrap();
        }
        producers.iter_mut().for_each(|producer| waited(&mut **producer, round));
        assert_eq!(disk.syncs() as u64, before as u64 + round);
    }
    assert_eq!(log.bounds(FIRST).unwrap().end, Offset(640));
}

/// A test that fails must not hang, either.
struct Released<'d>(&'d SimDisk);

impl Drop for Released<'_> {
    fn drop(&mut self) {
        self.0.release_syncs();
    }
}

/// Nobody asked for it, but the end of a segment must not find 64 MiB to sync.
#[test]
fn the_log_syncs_every_few_mib_by_itself_and_is_broken_if_that_fails() {
    let (log, disk) = log();
    let before = disk.syncs();
    let mut producer = log.producer(Ack::Os).unwrap();
    let mut append = || submit(&mut *producer, &vec![1; 5 << 20]).and_then(|_| producer.flush());
    append().unwrap();
    eventually("it was synced", || disk.syncs() == before + 1);
    append().unwrap();
    eventually("it was synced again", || disk.syncs() == before + 2);
    disk.fail_syncs(true);
    append().unwrap();
    eventually("the log is broken", || log.bounds(FIRST).is_err());
    assert!(matches!(append(), Err(LogError::Failed(_))));
}
