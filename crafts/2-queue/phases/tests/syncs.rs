//! What a promise at `disk` takes in each phase, counted: syncs.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

use contracts::queue::{Ack, NewRecord, Partition, Producer, Ticket};
use queue::{LogConfig, sim::SimDisk};
use queue_phases::{Opened, PHASES};
use std::time::Duration;

fn open(phase: usize) -> Opened {
    (PHASES[phase].open_on)(SimDisk::new(1).outside(2), LogConfig::for_groups(&[])).unwrap()
}

fn submit(producer: &mut dyn Producer, messages: u64) {
    for _ in 0..messages {
        producer.submit(NewRecord { partition: Partition(0), payload: b"a message" }).unwrap();
    }
    producer.flush().unwrap();
}

fn wait(producer: &mut dyn Producer, upto: u64) {
    assert_eq!(producer.wait(Ticket(upto), Duration::from_secs(60)), Ok(Ticket(upto)));
}

/// Syncs of so many producers of one thread, each of which commits so many messages at once; ten turns.
fn syncs(phase: usize, producers: u64, messages: u64) -> u64 {
    let Opened { log, .. } = open(phase);
    let mut all: Vec<_> = (0..producers).map(|_| log.producer(Ack::Disk).unwrap()).collect();
    let before = log.syncs();
    for turn in 1..=10 {
        all.iter_mut().for_each(|producer| submit(&mut **producer, messages));
        all.iter_mut().for_each(|producer| wait(&mut **producer, turn * messages));
    }
    log.syncs() - before
}

#[test]
fn a_message_alone_takes_two_syncs_as_a_file_and_one_ever_after() {
    assert_eq!([1, 2, 3, 4, 5, 6].map(|phase| syncs(phase, 1, 1)), [20, 10, 10, 10, 10, 10]);
}

#[test]
fn a_thousand_messages_at_once_take_one_sync_unless_each_is_a_file() {
    assert_eq!([1, 2, 3, 4, 5, 6].map(|phase| syncs(phase, 1, 1000)), [10_010, 10, 10, 10, 10, 10]);
}

#[test]
fn sixty_four_producers_share_a_sync_once_commits_are_grouped() {
    assert_eq!([2, 3, 4, 5, 6].map(|phase| syncs(phase, 64, 1)), [640, 640, 10, 10, 10]);
}

#[test]
fn memory_promises_no_disk() {
    let Opened { log, .. } = open(0);
    assert!(log.producer(Ack::Os).is_err());
    let mut producer = log.producer(Ack::Memory).unwrap();
    submit(&mut *producer, 3);
    wait(&mut *producer, 3);
    assert_eq!(log.syncs(), 0);
}
