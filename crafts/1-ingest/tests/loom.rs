//! The ring and the bell under the model checker: every interleaving of two threads, and every value that the memory
//! model lets a load see.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release -p ingest --test loom`. Without the flag there is nothing here.
#![cfg(loom)]
#![allow(clippy::unwrap_used, reason = "in a test that is the assertion")]

use ingest::ring::{Bell, ring};
use loom::{
    sync::{
        Arc, Notify,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};
use std::{
    sync,
    task::{Wake, Waker},
};

/// A place to sleep, for one: as `thread::park`, a wake-up that comes early is kept. (The checker's own `park` forgets it
/// when the thread waits for a lock in between.)
struct Bed(Notify);

impl Bed {
    fn new() -> sync::Arc<Self> {
        sync::Arc::new(Self(Notify::new()))
    }
}

impl Wake for Bed {
    fn wake(self: sync::Arc<Self>) {
        self.0.notify();
    }
}

#[test]
fn items_arrive_once_and_in_order_through_a_ring_that_fills_up() {
    loom::model(|| {
        let (mut pusher, mut popper) = ring(2);
        let pushing = thread::spawn(move || {
            // Boxed: the checker sees an item that was read twice, or never freed.
            (0..4).take_while(|item| pusher.push(Box::new(*item)).is_ok()).count()
        });
        let mut popped = 0;
        for _ in 0..3 {
            if let Some(item) = popper.pop() {
                assert_eq!(*item, popped);
                popped += 1;
            }
        }
        let pushed = pushing.join().unwrap();
        assert!(popper.is_closed());
        while let Some(item) = popper.pop() {
            assert_eq!(*item, popped);
            popped += 1;
        }
        assert_eq!(popped, pushed);
    });
}

#[test]
fn a_slot_is_used_again_only_when_it_has_been_emptied() {
    loom::model(|| {
        let (mut pusher, mut popper) = ring(1);
        pusher.push(Box::new(0)).unwrap();
        let popping = thread::spawn(move || {
            let first = popper.pop().unwrap();
            (*first, popper.pop().map(|second| *second))
        });
        let second = pusher.push(Box::new(1)).is_ok();
        let (first, seen) = popping.join().unwrap();
        assert_eq!(first, 0);
        assert!(seen.is_none() || (second && seen == Some(1)));
    });
}

#[test]
fn what_is_left_is_freed_whoever_leaves_last() {
    loom::model(|| {
        let (mut pusher, mut popper) = ring(2);
        let pushing = thread::spawn(move || {
            pusher.push(Arc::new(1)).unwrap();
            pusher.push(Arc::new(2)).unwrap();
        });
        let _ = popper.pop();
        drop(popper);
        pushing.join().unwrap();
    });
}

#[test]
fn the_end_is_seen_only_after_all_that_came_before_it() {
    loom::model(|| {
        let (mut pusher, mut popper) = ring(2);
        let pushing = thread::spawn(move || pusher.push(7).unwrap());
        if popper.is_closed() {
            assert_eq!(popper.pop(), Some(7));
        }
        pushing.join().unwrap();
    });
}

/// The writer's sleep: it looks at the ring, then sleeps; whoever pushes rings. A lost wake-up is a deadlock, which the
/// checker finds.
#[test]
fn no_frame_is_pushed_unheard() {
    loom::model(|| {
        let (mut pusher, mut popper) = ring(2);
        let bell = Arc::new(Bell::default());
        let rings = bell.clone();
        let bed = Bed::new();
        bell.set_waker(Some(Waker::from(bed.clone())));
        let pushing = thread::spawn(move || {
            for item in 0..2 {
                pusher.push(item).unwrap();
                rings.ring();
            }
        });
        let mut expected = 0;
        while expected < 2 {
            while let Some(item) = popper.pop() {
                assert_eq!(item, expected);
                expected += 1;
            }
            bell.arm();
            if popper.is_empty() && expected < 2 {
                bed.0.wait();
            }
        }
        pushing.join().unwrap();
    });
}

/// A loss and a later settlement, as the hand-over's lanes tell them: the loss is stored first, and looked at last.
#[test]
fn no_loss_hides_behind_a_ticket_that_settles_later() {
    loom::model(|| {
        let lane = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0), Bell::default()));
        let writes = lane.clone();
        let bed = Bed::new();
        lane.2.set_waker(Some(Waker::from(bed.clone())));
        let writing = thread::spawn(move || {
            let (settled, lost, bell) = &*writes;
            lost.store(1, Ordering::Release);
            bell.ring();
            settled.store(2, Ordering::Release);
            bell.ring();
        });
        let (settled, lost, bell) = &*lane;
        let look = || (settled.load(Ordering::Acquire), lost.load(Ordering::Acquire));
        loop {
            let (has_settled, has_lost) = look();
            assert!(has_settled < 2 || has_lost == 1, "ticket 1 would be acknowledged");
            if has_settled == 2 {
                break;
            }
            bell.arm();
            let (has_settled, has_lost) = look();
            assert!(has_settled < 2 || has_lost == 1, "ticket 1 would be acknowledged");
            if has_settled < 2 {
                bed.0.wait();
            }
        }
        writing.join().unwrap();
    });
}

/// The submitter's sleep: it looks at the settled ticket, then sleeps; the writer settles and rings.
#[test]
fn no_ticket_settles_unheard() {
    loom::model(|| {
        let lane = Arc::new((AtomicUsize::new(0), Bell::default()));
        let settles = lane.clone();
        let bed = Bed::new();
        lane.1.set_waker(Some(Waker::from(bed.clone())));
        let settling = thread::spawn(move || {
            for ticket in 1..=2 {
                settles.0.store(ticket, Ordering::Release);
                settles.1.ring();
            }
        });
        let (settled, bell) = &*lane;
        while settled.load(Ordering::Acquire) < 2 {
            bell.arm();
            if settled.load(Ordering::Acquire) < 2 {
                bed.0.wait();
            }
        }
        settling.join().unwrap();
    });
}
