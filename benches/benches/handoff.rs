//! The hand-over alone: from a sample to a settled ticket, with a log that costs nothing.
//!
//! Prediction: one request at a time, handing over within the request is the cheapest: there is nobody to wake. With 16
//! that came together, a ring publishes them at once and wins over a queue that is locked for each; within the request,
//! each still makes a record of its own.

#![allow(clippy::unwrap_used)] // a bench that cannot go on should stop
#![allow(missing_docs)] // of what criterion's macros make

use benches::logs::TallyLog;
use contracts::{
    TimestampMs,
    ingest::IngestConfig,
    queue::{LogError, Ticket},
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ingest::{
    handoff::RingHandoff,
    slots::{Handoff, Incoming, Sink, Submit},
};
use ingest_phases::handoff::{in_request::InRequest, queue_writer::QueueWriter};
use std::{sync::Arc, thread, time::Duration};

/// Longer than anything here takes.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);

criterion_group! {
    name = handoff;
    config = Criterion::default().sample_size(30).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = handoffs
}
criterion_main!(handoff);

fn handoffs(criterion: &mut Criterion) {
    for requests in [1, 16] {
        measure::<InRequest>(criterion, "in-request", requests);
        measure::<QueueWriter>(criterion, "queue", requests);
        measure::<RingHandoff>(criterion, "ring", requests);
    }
}

/// So many requests that come together, and wait for the last of them.
fn measure<H: Handoff>(criterion: &mut Criterion, name: &str, requests: u64) {
    let handoff = H::open(&IngestConfig::default(), Arc::new(TallyLog::default())).unwrap();
    let mut submit = handoff.submitter().unwrap();
    let mut group = criterion.benchmark_group("handoff");
    group.throughput(Throughput::Elements(requests));
    group.bench_function(BenchmarkId::new(name, requests), |b| {
        b.iter(|| {
            let last = (0..requests).fold(Ticket(0), |_, _| request(&mut submit));
            submit.flush();
            assert!(submit.wait(last, SETTLE_TIMEOUT).unwrap() >= last);
        });
    });
    group.finish();
    drop(submit);
    handoff.close().unwrap();
}

/// One request with one sample; tried again where it is told to come back later.
fn request(submit: &mut impl Submit) -> Ticket {
    loop {
        let frame = submit.frame();
        frame.begin();
        let (labels, timestamp) = (&[("client", "37")], TimestampMs(1_700_000_000_000));
        frame.push(&Incoming { client: "c37", name: "cpu", labels, timestamp, value: 0.5 }).unwrap();
        match submit.submit() {
            Ok(ticket) => return ticket,
            Err(LogError::Full) => {
                submit.frame().rollback();
                thread::yield_now();
            }
            Err(error) => panic!("{error}"),
        }
    }
}
