//! The limiter alone: what an admission costs, with one thread and with two.
//!
//! Prediction: with one thread the two ways cost the same. With two that count different clients, one mutex makes them
//! wait for each other; shards do not, unless two clients fall into the same one.

#![allow(clippy::unwrap_used)] // a bench that cannot go on should stop
#![allow(missing_docs)] // of what criterion's macros make

use contracts::TimestampMs;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ingest::{limit::ShardedLimiter, slots::Limit};
use ingest_phases::limit::global::GlobalLimiter;
use std::{
    hint::black_box,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

/// Clients of each thread.
const CLIENTS: usize = 1000;

criterion_group! {
    name = limiter;
    config = Criterion::default().sample_size(30).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = limiters
}
criterion_main!(limiter);

fn limiters(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("limiter");
    group.throughput(Throughput::Elements(1));
    for threads in [1, 2] {
        group.bench_function(BenchmarkId::new("global", threads), |b| {
            b.iter_custom(|admissions| admitting::<GlobalLimiter>(threads, admissions));
        });
        group.bench_function(BenchmarkId::new("sharded", threads), |b| {
            b.iter_custom(|admissions| admitting::<ShardedLimiter>(threads, admissions));
        });
    }
    group.finish();
}

/// How long it takes until each thread has had so many admissions: with two that do not disturb each other, as long as
/// with one.
fn admitting<L: Limit>(threads: usize, admissions: u64) -> Duration {
    let limit = L::new(u32::MAX);
    let start = Barrier::new(threads + 1);
    thread::scope(|scope| {
        for thread in 0..threads {
            let (limit, start) = (&limit, &start);
            scope.spawn(move || {
                let clients: Vec<String> = (0..CLIENTS).map(|n| format!("client-{thread}-{n}")).collect();
                start.wait();
                for (client, n) in clients.iter().cycle().zip(0..admissions) {
                    // A request each µs: the window slides as it does under load.
                    let now = TimestampMs(1_700_000_000_000 + i64::try_from(n / 1000).unwrap_or(i64::MAX));
                    black_box(limit.admit(client.as_bytes(), now)).unwrap();
                }
                start.wait();
            });
        }
        start.wait();
        let begun = Instant::now();
        start.wait();
        begun.elapsed()
    })
}
