//! What two threads need to hand things over without a lock: a bounded ring, and a bell for whoever sleeps.
//!
//! **The ring.** One thread pushes, one pops; the types see to it, for neither end can be cloned. An item lies in a slot
//! that one side owns at a time, and two counters say whose it is. Each counter has one writer and a cache line of its
//! own, and each side keeps the other's last value: it looks again only when the ring seems full, or empty. So the two
//! threads exchange a cache line a burst, not an item. The ring is Lamport's; the remembered counters are known from
//! FastFlow and from the LMAX Disruptor.
//!
//! **The bell.** Sleeping is where such a ring goes wrong: between the last look and the sleep an item may come, and who
//! pushed it saw nobody asleep. So the sleeper says that it will sleep and looks once more, and the other side pushes and
//! then looks for a sleeper. With a full fence between the two steps of each, at least one sees the other. Ringing for
//! somebody who is awake is one fence and one load, and no system call.
//!
//! Both are checked by running every interleaving: `RUSTFLAGS="--cfg loom" cargo test --release -p ingest --test loom`.
#![allow(
    unsafe_code,
    reason = "two threads share the slots, and no lock says whose turn it is; the counters do"
)]

use crossbeam::utils::CachePadded;
use shared::{Arc, AtomicBool, AtomicUsize, Mutex, Ordering, UnsafeCell, fence};
use std::{mem::MaybeUninit, sync::PoisonError, task::Waker};

/// A ring with room for `capacity` items, at least one.
pub fn ring<T>(capacity: usize) -> (Pusher<T>, Popper<T>) {
    let capacity = capacity.max(1);
    // A power of two, so that a place is a mask away from a counter, and stays so when the counter wraps.
    let slots = (0..capacity.next_power_of_two()).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect();
    let ring = Arc::new(Ring {
        slots,
        pushed: CachePadded::new(AtomicUsize::new(0)),
        popped: CachePadded::new(AtomicUsize::new(0)),
        closed: AtomicBool::new(false),
    });
    let pusher = Pusher { ring: ring.clone(), capacity, pushed: 0, popped_seen: 0 };
    (pusher, Popper { ring, popped: 0, pushed_seen: 0 })
}

/// The end into which items go.
pub struct Pusher<T> {
    ring: Arc<Ring<T>>,
    capacity: usize,
    /// Items pushed so far: `Ring::pushed`, which only this end writes.
    pushed: usize,
    /// `Ring::popped` when it was last looked at. The truth can only be more, which is more room.
    popped_seen: usize,
}

impl<T> Pusher<T> {
    /// Whether the next push will succeed. Once true, it stays so: nobody else pushes.
    pub fn has_room(&mut self) -> bool {
        if self.pushed.wrapping_sub(self.popped_seen) < self.capacity {
            return true;
        }
        // Acquire: pairs with the Release in `pop`. An item that is counted as popped has been moved out of its slot.
        self.popped_seen = self.ring.popped.load(Ordering::Acquire);
        self.pushed.wrapping_sub(self.popped_seen) < self.capacity
    }

    /// Adds an item behind all others.
    ///
    /// # Errors
    /// Gives the item back if the ring is full.
    pub fn push(&mut self, item: T) -> Result<(), T> {
        if !self.has_room() {
            return Err(item);
        }
        self.ring.slot(self.pushed).with_mut(|slot| {
            // SAFETY: the slot is empty, since fewer than `capacity` items lie in the ring, and the popper does not touch
            // it before `pushed` says that it is filled. Nobody else pushes: this is `&mut self` of the only pusher.
            unsafe { (*slot).write(item) };
        });
        self.pushed = self.pushed.wrapping_add(1);
        // Release: pairs with the Acquire in `Popper::is_empty`. Who sees the count sees the item.
        self.ring.pushed.store(self.pushed, Ordering::Release);
        Ok(())
    }
}

impl<T> Drop for Pusher<T> {
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `is_closed`. Who sees the end sees all that was pushed before it.
        self.ring.closed.store(true, Ordering::Release);
    }
}

/// The end from which items come, in the order in which they went in.
pub struct Popper<T> {
    ring: Arc<Ring<T>>,
    /// Items popped so far: `Ring::popped`, which only this end writes.
    popped: usize,
    /// `Ring::pushed` when it was last looked at. The truth can only be more, which is more items.
    pushed_seen: usize,
}

impl<T> Popper<T> {
    /// Whether nothing is there now.
    pub fn is_empty(&mut self) -> bool {
        if self.popped == self.pushed_seen {
            // Acquire: pairs with the Release in `push`.
            self.pushed_seen = self.ring.pushed.load(Ordering::Acquire);
        }
        self.popped == self.pushed_seen
    }

    /// Takes the oldest item.
    pub fn pop(&mut self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        let item = self.ring.slot(self.popped).with_mut(|slot| {
            // SAFETY: `pushed` says that the slot is filled, and the pusher does not touch it before `popped` says that it
            // is empty again. Nobody else pops: this is `&mut self` of the only popper, and it goes on to the next slot.
            unsafe { (*slot).assume_init_read() }
        });
        self.popped = self.popped.wrapping_add(1);
        // Release: pairs with the Acquire in `has_room`. Who sees the count may overwrite the slot.
        self.ring.popped.store(self.popped, Ordering::Release);
        Some(item)
    }

    /// Whether nothing more will come: the pusher is gone. What it left may still be there, so ask this *before* finding
    /// the ring empty.
    pub fn is_closed(&self) -> bool {
        self.ring.closed.load(Ordering::Acquire)
    }
}

struct Ring<T> {
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
    /// Items pushed so far, wrapping. Written by the pusher.
    pushed: CachePadded<AtomicUsize>,
    /// Items popped so far, wrapping. Written by the popper. The filled slots are those from here up to `pushed`.
    popped: CachePadded<AtomicUsize>,
    /// The pusher is gone.
    closed: AtomicBool,
}

// SAFETY: a slot is reached by the pusher while it is empty and by the popper while it is filled, never by both: the
// counters pass it from one to the other. So items cross threads (`T: Send`) and are never shared.
unsafe impl<T: Send> Sync for Ring<T> {}
// SAFETY: as above; whoever drops the ring drops the items that are left.
unsafe impl<T: Send> Send for Ring<T> {}

impl<T> Ring<T> {
    fn slot(&self, count: usize) -> &UnsafeCell<MaybeUninit<T>> {
        &self.slots[count & (self.slots.len() - 1)]
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        // Relaxed: dropping the last `Arc` has synchronised with both ends.
        let pushed = self.pushed.load(Ordering::Relaxed);
        let mut left = self.popped.load(Ordering::Relaxed);
        while left != pushed {
            self.slot(left).with_mut(|slot| {
                // SAFETY: the slots from `popped` up to `pushed` are filled, and both ends are gone.
                unsafe { (*slot).assume_init_drop() };
            });
            left = left.wrapping_add(1);
        }
    }
}

/// Wakes one sleeper, and costs next to nothing while it is awake.
///
/// The sleeper: [`Bell::arm`], look whether there is something to do after all, and only then sleep. The other side: do
/// what the sleeper waits for, then [`Bell::ring`].
#[derive(Default)]
pub struct Bell {
    /// Somebody may be asleep. The ring that wakes them takes it back; one who found work instead of sleeping leaves it, and
    /// is woken once for nothing.
    armed: AtomicBool,
    /// How to wake them. A lock that only sleepers and their wakers take.
    waker: Mutex<Option<Waker>>,
}

impl Bell {
    /// Who is to be woken; returns who was before.
    pub fn set_waker(&self, waker: Option<Waker>) -> Option<Waker> {
        let mut held = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut held, waker)
    }

    /// The next ring wakes. What stands before a ring that came too early for that is seen by every look after this.
    pub fn arm(&self) {
        self.armed.store(true, Ordering::Relaxed);
        // Pairs with the fence in `ring`: whichever of the two comes second sees what stands before the other.
        fence(Ordering::SeqCst);
    }

    /// Wakes the sleeper, if there is one; call it after doing what it waits for.
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        // The swap, so that a burst wakes once. Looking first keeps the line shared while nobody sleeps.
        if self.armed.load(Ordering::Relaxed) && self.armed.swap(false, Ordering::Relaxed) {
            let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

/// The standard library's, or those of the model checker, which runs every interleaving of them.
#[cfg(not(loom))]
mod shared {
    pub(super) use std::sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering, fence},
    };

    /// The standard cell behind the model checker's interface.
    pub(super) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(super) fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        pub(super) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }
}

#[cfg(loom)]
mod shared {
    pub(super) use loom::{
        cell::UnsafeCell,
        sync::{
            Arc, Mutex,
            atomic::{AtomicBool, AtomicUsize, Ordering, fence},
        },
    };
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{collections::VecDeque, thread};

    #[test]
    fn a_full_ring_gives_the_item_back() {
        let (mut pusher, mut popper) = ring(3);
        for item in 0..3 {
            pusher.push(item).unwrap();
        }
        assert!(!pusher.has_room());
        assert_eq!(pusher.push(3), Err(3), "three, although four slots were made");
        assert_eq!(popper.pop(), Some(0));
        pusher.push(3).unwrap();
        assert_eq!(
            [popper.pop(), popper.pop(), popper.pop(), popper.pop()],
            [Some(1), Some(2), Some(3), None]
        );
    }

    #[test]
    fn what_was_left_in_it_is_dropped_with_it() {
        let item = Arc::new(());
        let (mut pusher, mut popper) = ring(4);
        for _ in 0..4 {
            pusher.push(item.clone()).unwrap();
        }
        drop(popper.pop());
        assert!(!popper.is_closed());
        drop(pusher);
        assert!(popper.is_closed());
        assert!(popper.pop().is_some(), "what came before the end is still there");
        assert_eq!(Arc::strong_count(&item), 3);
        drop(popper);
        assert_eq!(Arc::strong_count(&item), 1);
    }

    #[test]
    fn between_two_threads_nothing_is_lost_or_reordered() {
        const ITEMS: usize = 200_000;
        let (mut pusher, mut popper) = ring::<Box<usize>>(7);
        let popping = thread::spawn(move || {
            let mut expected = 0;
            while expected < ITEMS {
                match popper.pop() {
                    Some(item) => {
                        assert_eq!(*item, expected);
                        expected += 1;
                    }
                    None => thread::yield_now(),
                }
            }
            assert!(popper.pop().is_none());
        });
        for item in 0..ITEMS {
            let mut item = Box::new(item);
            while let Err(back) = pusher.push(item) {
                item = back;
                thread::yield_now();
            }
        }
        popping.join().unwrap();
    }

    proptest! {
        #[test]
        fn it_behaves_as_a_bounded_queue(
            capacity in 1_usize..9,
            pushes in proptest::collection::vec(any::<bool>(), 0..200),
        ) {
            let (mut pusher, mut popper) = ring(capacity);
            let mut model = VecDeque::new();
            for (item, push) in pushes.into_iter().enumerate() {
                prop_assert_eq!(pusher.has_room(), model.len() < capacity);
                prop_assert_eq!(popper.is_empty(), model.is_empty());
                if push {
                    let fits = model.len() < capacity;
                    prop_assert_eq!(pusher.push(Box::new(item)).is_ok(), fits);
                    if fits {
                        model.push_back(item);
                    }
                } else {
                    prop_assert_eq!(popper.pop().map(|item| *item), model.pop_front());
                }
            }
        }
    }
}
