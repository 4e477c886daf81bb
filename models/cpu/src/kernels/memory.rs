//! Floats in memory: aligned buffers, views that several threads share, and tables of offsets whose largest is known.

use std::marker::PhantomData;
use std::ops::Range;

/// Floats of a cache line. A vector of AVX-512 that crosses lines takes two accesses.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Line([f32; Buffer::ALIGNMENT]);

/// Floats that begin at a cache line.
#[derive(Clone)]
pub(crate) struct Buffer {
    lines: Vec<Line>,
}

impl Buffer {
    /// Floats that a buffer begins at a multiple of.
    pub(crate) const ALIGNMENT: usize = 16;

    /// At least so many zeros, rounded up to whole lines.
    pub(crate) fn zeroed(length: usize) -> Self {
        Self {
            lines: vec![Line([0.0; Self::ALIGNMENT]); length.div_ceil(Self::ALIGNMENT)],
        }
    }

    /// The same floats.
    pub(crate) fn from_slice(floats: &[f32]) -> Self {
        let mut buffer = Self::zeroed(floats.len());
        for (to, from) in buffer.floats_mut().iter_mut().zip(floats) {
            *to = *from;
        }
        buffer
    }

    /// All of them.
    pub(crate) fn floats(&self) -> &[f32] {
        // SAFETY: a line is sixteen floats without padding, and so are lines one behind another.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.lines.len() * Self::ALIGNMENT) }
    }

    /// All of them.
    pub(crate) fn floats_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.lines.len() * Self::ALIGNMENT) }
    }

    /// A view that several threads may write through.
    pub(crate) fn share(&mut self) -> Cells<'_> {
        Cells::of(self.floats_mut())
    }
}

/// Floats that threads read and write through copies of one exclusive borrow, as through `&[Cell<f32>]`.
///
/// Bounds are checked by whoever makes a call of a kernel. That no float is written while another thread has to do with it
/// is the plan's promise: parts of a step write disjoint floats, and a barrier stands between steps.
#[derive(Clone, Copy)]
pub(crate) struct Cells<'a> {
    start: *mut f32,
    length: usize,
    borrow: PhantomData<&'a mut [f32]>,
}

// SAFETY: the promise above; without it every kernel's data would need a lock.
unsafe impl Send for Cells<'_> {}
// SAFETY: the same.
unsafe impl Sync for Cells<'_> {}

impl<'a> Cells<'a> {
    /// How many.
    pub(crate) fn len(self) -> usize {
        self.length
    }

    /// Those from `start` on.
    pub(crate) fn part(self, start: usize, length: usize) -> Cells<'a> {
        assert!(
            start <= self.length && length <= self.length - start,
            "a view ends within its buffer"
        );
        Cells {
            // SAFETY: within the buffer, as just asserted.
            start: unsafe { self.start.add(start) },
            length,
            borrow: PhantomData,
        }
    }

    /// All from `start` on.
    pub(crate) fn after(self, start: usize) -> Cells<'a> {
        self.part(start, self.length.saturating_sub(start))
    }

    /// As many as the slice has.
    pub(crate) fn copy_from(self, floats: &[f32]) {
        assert!(floats.len() <= self.length, "what is copied fits");
        // SAFETY: as many floats as asserted; a shared slice does not overlap with cells, which are exclusively borrowed.
        unsafe { std::ptr::copy_nonoverlapping(floats.as_ptr(), self.start, floats.len()) }
    }

    /// As many as the slice has.
    pub(crate) fn copy_to(self, floats: &mut [f32]) {
        assert!(floats.len() <= self.length, "as many are there as are asked for");
        // SAFETY: as many floats as asserted; an exclusive slice overlaps with nothing.
        unsafe { std::ptr::copy_nonoverlapping(self.start, floats.as_mut_ptr(), floats.len()) }
    }

    /// The same floats of an exclusive slice.
    pub(crate) fn of(floats: &'a mut [f32]) -> Self {
        Self {
            start: floats.as_mut_ptr(),
            length: floats.len(),
            borrow: PhantomData,
        }
    }

    /// Where it begins; whoever reads through it has checked against [`Cells::len`].
    #[inline(always)]
    pub(super) fn pointer(self) -> *mut f32 {
        self.start
    }
}

/// Floats that are read alone: of [`Cells`], or of a slice.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    start: *const f32,
    length: usize,
    borrow: PhantomData<&'a [f32]>,
}

// SAFETY: as for `Cells`.
unsafe impl Send for Source<'_> {}
// SAFETY: as for `Cells`.
unsafe impl Sync for Source<'_> {}

impl<'a> From<Cells<'a>> for Source<'a> {
    fn from(cells: Cells<'a>) -> Self {
        Self {
            start: cells.start,
            length: cells.length,
            borrow: PhantomData,
        }
    }
}

impl<'a> From<&'a [f32]> for Source<'a> {
    fn from(floats: &'a [f32]) -> Self {
        Self {
            start: floats.as_ptr(),
            length: floats.len(),
            borrow: PhantomData,
        }
    }
}

impl<'a> Source<'a> {
    /// How many.
    pub(crate) fn len(self) -> usize {
        self.length
    }

    /// All from `start` on.
    pub(crate) fn after(self, start: usize) -> Self {
        assert!(start <= self.length, "a view begins within its buffer");
        Self {
            // SAFETY: within the buffer, as just asserted.
            start: unsafe { self.start.add(start) },
            length: self.length - start,
            borrow: PhantomData,
        }
    }

    /// Where it begins; whoever reads through it has checked against [`Source::len`].
    #[inline(always)]
    pub(super) fn pointer(self) -> *const f32 {
        self.start
    }
}

/// Offsets into a buffer, the largest of which is known: a kernel's bounds are checked once, not at each access.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Table {
    // Invariant: no entry is larger than `largest`.
    entries: Vec<u32>,
    largest: usize,
}

impl Table {
    pub(crate) fn new(entries: Vec<u32>) -> Self {
        let largest = entries.iter().copied().max().unwrap_or(0) as usize;
        Self { entries, largest }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> {
        self.entries.iter().map(|entry| *entry as usize)
    }

    /// Some of them. None where they are not there.
    pub(crate) fn range(&self, range: Range<usize>) -> Offsets<'_> {
        Offsets {
            entries: self.entries.get(range).unwrap_or(&[]),
            largest: self.largest,
        }
    }

    pub(crate) fn all(&self) -> Offsets<'_> {
        self.range(0..self.entries.len())
    }
}

/// Some entries of a [`Table`].
#[derive(Clone, Copy)]
pub(crate) struct Offsets<'a> {
    // Invariant: no entry is larger than `largest`.
    entries: &'a [u32],
    largest: usize,
}

impl<'a> Offsets<'a> {
    pub(crate) fn len(self) -> usize {
        self.entries.len()
    }

    /// No entry is larger.
    pub(super) fn largest(self) -> usize {
        self.largest
    }

    pub(super) fn entries(self) -> &'a [u32] {
        self.entries
    }

    pub(crate) fn range(self, range: Range<usize>) -> Offsets<'a> {
        Offsets {
            entries: self.entries.get(range).unwrap_or(&[]),
            largest: self.largest,
        }
    }
}
