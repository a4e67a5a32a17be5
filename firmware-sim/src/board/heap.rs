//! The proof that the device takes nothing from a heap: an allocator that counts what one thread
//! allocates once it was told to.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::thread_local;

thread_local! {
    /// Allocations of this thread since it was watched; none while it is not.
    static COUNT: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Counts what the calling thread allocates from now on.
pub fn watch() {
    COUNT.set(Some(0));
}

/// Stops counting, and says how many allocations there were.
#[must_use]
pub fn unwatch() -> u64 {
    COUNT.take().unwrap_or(0)
}

/// The system's allocator, counted.
#[derive(Debug)]
pub struct Counted;

fn count() {
    // A thread that is ending has no count any more, and is not the device.
    let _ = COUNT.try_with(|count| count.set(count.get().map(|n| n + 1)));
}

// SAFETY: every call is handed to the system's allocator as it came, which keeps the contract.
// Counting neither allocates nor unwinds: the counter needs no initialisation and no destructor.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, len: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, len) }
    }
}
