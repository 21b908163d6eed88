//! Once warm, handing a request over allocates nothing, on either side of the ring: counted, not believed. The same for
//! counting a client's requests.
#![allow(unsafe_code, reason = "a global allocator cannot be written without")]
#![allow(clippy::unwrap_used, reason = "in a test that is the assertion")]

use contracts::{
    TimestampMs,
    ingest::IngestConfig,
    queue::{
        Ack, Bounds, FetchLimit, GroupStatus, Log, LogError, Membership, NewRecord, Offset, Partition,
        Placed, Producer, Records, Ticket,
    },
};
use ingest::{
    handoff::RingHandoff,
    limit::ShardedLimiter,
    slots::{Handoff, Incoming, Limit, Sink, Submit},
};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Waker,
    time::Duration,
};

struct Counting;

/// Of all threads.
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is left to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on, and the block came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn a_warm_request_allocates_nothing_on_its_way_to_the_log() {
    let handoff = RingHandoff::open(&IngestConfig::default(), Arc::new(Discard)).unwrap();
    let mut submit = handoff.submitter().unwrap();
    let limit = ShardedLimiter::new(u32::MAX);
    // Clients of all partitions, names of all lengths; a few turns warm whatever there is to be warmed.
    let clients: Vec<String> = (1..20).map(|n| "c".repeat(n)).collect();
    for turn in 0..1_000 {
        turn_of_16_requests(&mut submit, &limit, &clients, turn);
    }
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for turn in 1_000..11_000 {
        turn_of_16_requests(&mut submit, &limit, &clients, turn);
    }
    let during = ALLOCATIONS.load(Ordering::Relaxed) - before;
    assert_eq!(during, 0, "in 160,000 requests");
    drop(submit);
    handoff.close().unwrap();
}

fn turn_of_16_requests(submit: &mut impl Submit, limit: &impl Limit, clients: &[String], turn: usize) {
    let mut last = Ticket(0);
    for request in 0..16 {
        let client = &clients[(turn + request) % clients.len()];
        let timestamp = TimestampMs(i64::try_from(turn).unwrap());
        limit.admit(client.as_bytes(), timestamp).unwrap();
        let frame = submit.frame();
        frame.begin();
        let labels = &[("host", client.as_str()), ("core", "0")];
        frame.push(&Incoming { client, name: "cpu", labels, timestamp, value: 0.5 }).unwrap();
        last = submit.submit().unwrap();
    }
    submit.flush();
    assert!(submit.wait(last, Duration::from_secs(30)).unwrap() >= last);
}

/// A log that takes everything and keeps nothing.
struct Discard;

impl Log for Discard {
    fn partitions(&self) -> u32 {
        4
    }

    fn ack_max(&self) -> Ack {
        Ack::Memory
    }

    fn producer(&self, _: Ack) -> Result<Box<dyn Producer>, LogError> {
        Ok(Box::new(DiscardProducer(0)))
    }

    fn bounds(&self, _: Partition) -> Result<Bounds, LogError> {
        unreachable!("only produced to")
    }

    fn fetch(&self, _: Partition, _: Offset, _: FetchLimit, _: &mut Records) -> Result<(), LogError> {
        unreachable!("only produced to")
    }

    fn subscribe(&self, _: &str, _: &str) -> Result<Membership, LogError> {
        unreachable!("only produced to")
    }

    fn heartbeat(&self, _: &Membership) -> Result<u64, LogError> {
        unreachable!("only produced to")
    }

    fn groups(&self) -> Result<Vec<GroupStatus>, LogError> {
        unreachable!("only produced to")
    }

    fn commit(&self, _: &Membership, _: Partition, _: Offset) -> Result<(), LogError> {
        unreachable!("only produced to")
    }

    fn committed(&self, _: &str, _: Partition) -> Result<Option<Offset>, LogError> {
        unreachable!("only produced to")
    }
}

struct DiscardProducer(u64);

impl Producer for DiscardProducer {
    fn submit(&mut self, _: NewRecord<'_>) -> Result<Ticket, LogError> {
        self.0 += 1;
        Ok(Ticket(self.0))
    }

    fn flush(&mut self) -> Result<(), LogError> {
        Ok(())
    }

    fn settled(&self) -> Result<Ticket, LogError> {
        Ok(Ticket(self.0))
    }

    fn wait(&mut self, _: Ticket, _: Duration) -> Result<Ticket, LogError> {
        self.settled()
    }

    fn placed(&mut self, _: &mut Vec<Placed>) {}

    fn set_waker(&mut self, _: Waker) {}
}
