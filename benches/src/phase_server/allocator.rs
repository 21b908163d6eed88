//! Counts allocations: how many a request costs is a fact that no clock has to find out.
//!
//! Counting is off unless it is asked for, since an atomic addition per allocation would slow down those phases most
//! that allocate most, and so flatter the others.
//!
//! A library cannot choose the allocator of a program. Whoever wants to be counted says so in its `main.rs`, with
//! `#[global_allocator]`; where nobody has, nothing is counted, and [`is_installed`] tells.
#![allow(unsafe_code)] // `GlobalAlloc` cannot be implemented otherwise; everything is passed on to the system's.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    hint::black_box,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

/// The system's allocator, watched.
#[derive(Clone, Copy, Debug, Default)]
pub struct CountingAllocator;

static ON: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// Counts from now on.
pub fn start_counting() {
    // Relaxed: a few allocations more or less at the beginning are of no matter, and nothing else hangs on the flag.
    ON.store(true, Ordering::Relaxed);
}

/// How many there were; `None` where nobody counts.
pub fn count() -> Option<u64> {
    ON.load(Ordering::Relaxed).then(|| ALLOCATIONS.load(Ordering::Relaxed))
}

/// Whether this program has the allocator that counts. Counting must have begun.
pub fn is_installed() -> bool {
    let before = count();
    drop(black_box(Box::new(0_u8)));
    count() > before
}

fn counted() {
    if ON.load(Ordering::Relaxed) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: each method passes its arguments unchanged to `System`, which keeps the contract; counting neither allocates
// nor panics.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        counted();
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        counted();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        counted();
        // SAFETY: the block came from `System`, as every block here does, with this layout.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the block came from `System`, as every block here does, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}
