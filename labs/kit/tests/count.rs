//! Threads are counted by who they are. One test alone in its program, since whoever runs tests starts threads for them.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

use ingest_phases::engine::thread_pool::ThreadPool;
use lab_kit::{count::Threads, engine};
use std::{sync::mpsc, thread};

#[test]
fn threads_that_are_about_to_end_hide_none_that_are_started() {
    // Where the system does not tell, nothing is counted.
    if Threads::now().is_none() {
        return;
    }
    one_that_ends_hides_no_other();
    a_pool_is_counted_right_after_a_thousand_threads();
}

fn one_that_ends_hides_no_other() {
    let (leave, stays) = mpsc::channel::<()>();
    let old = thread::spawn(move || stays.recv());
    let before = Threads::now().unwrap();
    assert_eq!(before.started_since(), 0);
    let (end, until) = mpsc::channel::<()>();
    let new = thread::spawn(move || until.recv());
    drop(leave);
    let _ = old.join().unwrap();
    assert_eq!(before.started_since(), 1, "whether or not the old one is still there");
    drop(end);
    let _ = new.join().unwrap();
}

/// A thousand take their time to end, and the pool has its 64 from the beginning.
fn a_pool_is_counted_right_after_a_thousand_threads() {
    let slot = engine::<ThreadPool>();
    let counter = slot.counters_of(7).find(|counter| counter.name == "threads_per_thousand_connections");
    let of_phase = counter.unwrap().of_phase;
    for _ in 0..3 {
        assert!(of_phase(6).unwrap() > 64.0);
        assert_eq!(of_phase(7).unwrap(), 64.0);
    }
}
