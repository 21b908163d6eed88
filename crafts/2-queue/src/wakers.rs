//! Who is woken when something may have settled: producers that cannot block.

use parking_lot::Mutex;
use std::{collections::BTreeMap, task::Waker};

/// By the producers' numbers.
#[derive(Debug, Default)]
pub struct Wakers(Mutex<BTreeMap<u64, Waker>>);

impl Wakers {
    /// Tells everybody that something has settled, or that nothing will.
    pub fn wake(&self) {
        self.0.lock().values().for_each(Waker::wake_by_ref);
    }

    /// Has the producer of this number woken from now on; or no more.
    pub fn set(&self, producer: u64, waker: Option<Waker>) {
        let mut wakers = self.0.lock();
        match waker {
            Some(waker) => drop(wakers.insert(producer, waker)),
            None => drop(wakers.remove(&producer)),
        }
    }
}
