//! The heap of a plugin that is built for `wasm32-unknown-unknown`.
//!
//! The standard allocator of that target takes all memory by growing the plugin's, also where its last page is nearly empty. For an
//! instance that lives for one message that is dear: the host makes the new pages accessible, and takes them away again before the
//! next instance begins, which are two system calls that stop all other threads. So allocations come from what is left of the pages
//! that the plugin begins with, as they do in WASI's library, and then from the standard allocator.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Memory between two addresses, given out from the beginning to the end. All of it is free again when the last allocation is freed:
/// right for an instance that serves one message, and for one that serves many.
struct Region {
    // The first byte that is not given out; 0 before the first allocation.
    next: AtomicUsize,
    n_allocations: AtomicUsize,
}

impl Region {
    const fn new() -> Self {
        Self {
            next: AtomicUsize::new(0),
            n_allocations: AtomicUsize::new(0),
        }
    }

    /// An address for so many bytes within the bounds; `None` where they do not fit. `align` is a power of two.
    fn allocate(&self, (begin, end): (usize, usize), size: usize, align: usize) -> Option<usize> {
        let address = self.next.load(Relaxed).max(begin).checked_next_multiple_of(align)?;
        let after = address.checked_add(size).filter(|after| *after <= end)?;
        self.next.store(after, Relaxed);
        self.n_allocations.fetch_add(1, Relaxed);
        Some(address)
    }

    /// Takes an allocation back.
    fn free(&self, begin: usize, address: usize, size: usize) {
        let is_last = self.n_allocations.fetch_sub(1, Relaxed) == 1;
        if is_last {
            self.next.store(begin, Relaxed);
        } else if self.next.load(Relaxed) == address.wrapping_add(size) {
            self.next.store(address, Relaxed);
        }
    }

    /// Whether an allocation has another size now, at the same address.
    fn resize(&self, end: usize, address: usize, old: usize, new: usize) -> bool {
        if self.next.load(Relaxed) != address.wrapping_add(old) {
            return new <= old;
        }
        let after = address.checked_add(new).filter(|after| *after <= end);
        after.inspect(|after| self.next.store(*after, Relaxed)).is_some()
    }
}

#[cfg(target_family = "wasm")]
mod allocator {
    #![expect(unsafe_code, reason = "an allocator hands out raw memory")]

    use std::alloc::{GlobalAlloc, Layout, System};

    use super::Region;

    #[global_allocator]
    static HEAP: Heap = Heap(Region::new());

    struct Heap(Region);

    // Defined by the linker: where the plugin's data ends, and where the pages end that it begins with.
    unsafe extern "C" {
        static __heap_base: u8;
        static __heap_end: u8;
    }

    fn bounds() -> (usize, usize) {
        ((&raw const __heap_base).addr(), (&raw const __heap_end).addr())
    }

    fn is_ours(pointer: *mut u8) -> bool {
        let (begin, end) = bounds();
        (begin..end).contains(&pointer.addr())
    }

    // SAFETY: an address of the region is within memory that the linker left to the heap, and given out once until it is
    // freed; the standard allocator knows only memory beyond it. There is one thread.
    unsafe impl GlobalAlloc for Heap {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            match self.0.allocate(bounds(), layout.size(), layout.align()) {
                Some(address) => std::ptr::with_exposed_provenance_mut(address),
                // SAFETY: as the caller promises.
                None => unsafe { System.alloc(layout) },
            }
        }

        unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
            let Some(address) = self.0.allocate(bounds(), layout.size(), layout.align()) else {
                // SAFETY: as the caller promises.
                return unsafe { System.alloc_zeroed(layout) };
            };
            let pointer: *mut u8 = std::ptr::with_exposed_provenance_mut(address);
            // SAFETY: `size` bytes from here on were just given out. They may have been used before.
            unsafe { pointer.write_bytes(0, layout.size()) };
            pointer
        }

        unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
            if is_ours(pointer) {
                self.0.free(bounds().0, pointer.addr(), layout.size());
            } else {
                // SAFETY: it is the standard allocator's, and of this layout.
                unsafe { System.dealloc(pointer, layout) }
            }
        }

        unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new: usize) -> *mut u8 {
            if !is_ours(pointer) {
                // SAFETY: it is the standard allocator's, and of this layout.
                return unsafe { System.realloc(pointer, layout, new) };
            }
            if self.0.resize(bounds().1, pointer.addr(), layout.size(), new) {
                return pointer;
            }
            // SAFETY: the caller promises that the new size is one that a layout of this alignment can have.
            let moved = unsafe { self.alloc(Layout::from_size_align_unchecked(new, layout.align())) };
            if !moved.is_null() {
                // SAFETY: both are at least so long, and they are two allocations.
                unsafe { moved.copy_from_nonoverlapping(pointer, layout.size().min(new)) };
                // SAFETY: as the caller promises, it is of this layout.
                unsafe { self.dealloc(pointer, layout) };
            }
            moved
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: (usize, usize) = (100, 200);

    #[test]
    fn allocations_are_aligned_and_end_within_the_bounds() {
        let region = Region::new();
        let found = [(10, 1), (4, 4), (8, 8), (72, 1), (71, 1), (1, 1)]
            .map(|(size, align)| region.allocate(BOUNDS, size, align));
        assert_eq!(found, [Some(100), Some(112), Some(120), Some(128), None, None]);
        assert_eq!(region.allocate(BOUNDS, usize::MAX, 1), None);
        assert_eq!(Region::new().allocate(BOUNDS, 1, 1 << 63), None);
    }

    #[test]
    fn what_is_freed_last_first_is_used_again_and_all_is_when_nothing_is_left() {
        let region = Region::new();
        let [first, second, third] = [10, 20, 30].map(|size| region.allocate(BOUNDS, size, 1).unwrap());
        region.free(100, third, 30);
        assert_eq!(region.allocate(BOUNDS, 5, 1), Some(third));
        region.free(100, first, 10);
        assert_eq!(region.allocate(BOUNDS, 1, 1), Some(135), "the first is behind others");
        region.free(100, third, 5);
        region.free(100, 135, 1);
        region.free(100, second, 20);
        assert_eq!(region.allocate(BOUNDS, 100, 1), Some(100));
    }

    #[test]
    fn the_last_allocation_grows_where_it_is_and_others_only_shrink() {
        let region = Region::new();
        let [first, last] = [10, 20].map(|size| region.allocate(BOUNDS, size, 1).unwrap());
        assert!(region.resize(200, last, 20, 90));
        assert!(!region.resize(200, last, 90, 91), "beyond the end");
        assert!(region.resize(200, first, 10, 5) && !region.resize(200, first, 5, 6));
        assert!(region.resize(200, last, 90, 1));
        assert_eq!(region.allocate(BOUNDS, 1, 1), Some(111));
    }
}
