//! What a plan is made of: steps that read and write places of the memory. Knows no graph.

use std::ops::Range;

use crate::kernels::{Cells, Source};

/// A part of a storage: what one value of one item takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Which storage.
    pub(crate) storage: usize,
    /// Floats from its beginning.
    pub(crate) offset: usize,
}

/// Where a storage lies in a thread's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) start: usize,
    /// Floats for each item.
    pub(crate) length: usize,
    /// Items that it has room for at a time.
    pub(crate) copies: usize,
}

/// One thread's share of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    /// Which, from 0.
    pub(crate) part: usize,
    /// Of how many.
    pub(crate) of: usize,
}

impl Share {
    /// All of it.
    pub(crate) const WHOLE: Self = Self { part: 0, of: 1 };

    /// The part's share of `count` things.
    pub(crate) fn range(self, count: usize) -> Range<usize> {
        count * self.part / self.of..count * (self.part + 1) / self.of
    }

    /// Whether it is the part that does what cannot be divided.
    pub(crate) fn is_first(self) -> bool {
        self.part == 0
    }
}

/// What a step works on: some items of a batch, and the memory that holds their values.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) memory: Cells<'a>,
    pub(crate) extents: &'a [Extent],
    /// For this thread alone, and for this step alone.
    pub(crate) scratch: Cells<'a>,
    /// The first item, counted within the chunk that the memory holds.
    pub(crate) first: usize,
    /// Items.
    pub(crate) count: usize,
    /// The chunk's inputs, one item behind another.
    pub(crate) input: &'a [f32],
    /// The chunk's outputs, by output, one item behind another.
    pub(crate) outputs: &'a [Cells<'a>],
}

impl<'a> Scope<'a> {
    /// The items, counted within the chunk.
    pub(crate) fn items(&self) -> Range<usize> {
        self.first..self.first + self.count
    }

    /// A place of an item, up to the end of the memory of its storage; the items behind follow.
    pub(crate) fn at(&self, place: Place, item: usize) -> Cells<'a> {
        let Some(extent) = self.extents.get(place.storage) else {
            return self.memory.part(0, 0);
        };
        let copy = item % extent.copies.max(1);
        let storage = self.memory.part(extent.start, extent.length * extent.copies);
        storage.after(copy * extent.length + place.offset)
    }

    /// The same, to read.
    pub(crate) fn source(&self, place: Place, item: usize) -> Source<'a> {
        self.at(place, item).into()
    }
}

/// One step of a plan.
pub(crate) trait Step: Send + Sync {
    /// Computes a share of it, for each item of the scope. Shares write disjoint floats.
    fn run(&self, scope: &Scope<'_>, share: Share);

    /// Floats of scratch memory that it needs.
    fn scratch(&self) -> usize {
        0
    }

    /// Floats of weights that it holds.
    fn weights(&self) -> usize {
        0
    }
}
