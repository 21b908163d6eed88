//! What it costs a thread to hand a request over, in each of the three ways, to a log that costs nothing.
//!
//! `cargo run --release -p ingest-phases --example handoff_cost`. Nanoseconds of CPU a request, which a busy machine changes
//! less than the clock: of the thread that hands over, and of the process, which is the writer's too. The thread waits for
//! its answers after so many frames.

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
    slots::{Handoff, Incoming, Sink, Submit},
};
use ingest_phases::handoff::{in_request::InRequest, queue_writer::QueueWriter};
use rustix::time::{ClockId, clock_gettime};
use std::{sync::Arc, task::Waker, thread, time::Duration};

const REQUESTS: u32 = 200_000;
const ROUNDS: usize = 5;

fn main() -> Result<(), LogError> {
    println!("{:<12} {:>10} {:>12} {:>10} {:>10}", "way", "requests", "frames", "thread", "process");
    println!("{:<12} {:>10} {:>12} {:>10} {:>10}", "", "a frame", "in flight", "ns", "ns");
    for (a_frame, in_flight) in [(1, 1), (1, 64), (16, 1), (16, 64)] {
        row::<InRequest>("in request", a_frame, in_flight)?;
        row::<QueueWriter>("queue", a_frame, in_flight)?;
        row::<RingHandoff>("ring", a_frame, in_flight)?;
    }
    Ok(())
}

fn row<H: Handoff>(way: &str, a_frame: u32, in_flight: u32) -> Result<(), LogError> {
    let rounds = (0..ROUNDS).map(|_| round::<H>(a_frame, in_flight)).collect::<Result<Vec<_>, _>>()?;
    let median = |mut of: Vec<f64>| {
        of.sort_by(f64::total_cmp);
        of[ROUNDS / 2]
    };
    let thread = median(rounds.iter().map(|(thread, _)| *thread).collect());
    let process = median(rounds.iter().map(|(_, process)| *process).collect());
    println!("{way:<12} {a_frame:>10} {in_flight:>12} {thread:>10.0} {process:>10.0}");
    Ok(())
}

/// Nanoseconds of CPU a request: of this thread, of all.
fn round<H: Handoff>(a_frame: u32, in_flight: u32) -> Result<(f64, f64), LogError> {
    let handoff = H::open(&IngestConfig::default(), Arc::new(Discard))?;
    let mut submit = handoff.submitter()?;
    let clocks = [ClockId::ThreadCPUTime, ClockId::ProcessCPUTime];
    let begun = clocks.map(clock_gettime);
    for frame in 1..=REQUESTS / a_frame {
        let mut last = Ticket(0);
        for _ in 0..a_frame {
            while let Err(refusal) = request(&mut submit).map(|ticket| last = ticket) {
                assert_eq!(refusal, LogError::Full);
                thread::yield_now();
            }
        }
        submit.flush();
        if frame % in_flight == 0 {
            let settled = submit.wait(last, Duration::from_secs(10));
            assert!(settled.is_ok_and(|settled| settled >= last), "the log settles everything");
        }
    }
    let ended = clocks.map(clock_gettime);
    drop(submit);
    handoff.close()?;
    let [thread, process] = [0, 1].map(|at| {
        let seconds = ended[at].tv_sec - begun[at].tv_sec;
        let nanoseconds = ended[at].tv_nsec - begun[at].tv_nsec;
        (seconds * 1_000_000_000 + nanoseconds) as f64 / f64::from(REQUESTS)
    });
    Ok((thread, process))
}

fn request(submit: &mut impl Submit) -> Result<Ticket, LogError> {
    let labels = &[("host", "web-1"), ("core", "0")];
    let frame = submit.frame();
    frame.begin();
    let sample = Incoming { client: "", name: "cpu_usage", labels, timestamp: TimestampMs(1), value: 75.5 };
    assert!(frame.push(&sample).is_ok(), "it is a good sample");
    submit.submit()
}

/// A log that takes everything and keeps nothing.
struct Discard;

impl Log for Discard {
    fn partitions(&self) -> u32 {
        1
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
