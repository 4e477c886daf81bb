//! Where the numbers of a map lie: channels in blocks as wide as a register, rows with a halo of zeros.

/// Rows and columns of zeros around a map: as many as its readers' padding, so that no kernel has an edge case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Halo {
    pub(crate) top: usize,
    pub(crate) left: usize,
    pub(crate) bottom: usize,
    pub(crate) right: usize,
}

impl Halo {
    /// The larger on each side.
    pub(crate) fn union(self, other: Self) -> Self {
        Self {
            top: self.top.max(other.top),
            left: self.left.max(other.left),
            bottom: self.bottom.max(other.bottom),
            right: self.right.max(other.right),
        }
    }

    /// Whether it is as wide as another on each side.
    pub(crate) fn covers(self, other: Self) -> bool {
        self.union(other) == self
    }
}

/// A map `[channels, height, width]` in memory as `[blocks, rows with halo, columns with halo, lanes]`.
///
/// With one lane and no halo it is row-major, as a file has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Map {
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// Channels of a block.
    pub(crate) lanes: usize,
    pub(crate) halo: Halo,
}

impl Map {
    /// A map in row-major order.
    pub(crate) fn planar(channels: usize, height: usize, width: usize) -> Self {
        Self {
            channels,
            height,
            width,
            lanes: 1,
            halo: Halo::default(),
        }
    }

    /// Channel blocks; the last one may have lanes that mean nothing.
    pub(crate) fn blocks(&self) -> usize {
        self.channels.div_ceil(self.lanes)
    }

    pub(crate) fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// Floats from one row to the next.
    pub(crate) fn row_stride(&self) -> usize {
        (self.width + self.halo.left + self.halo.right) * self.lanes
    }

    /// Floats from one channel block to the next.
    pub(crate) fn block_stride(&self) -> usize {
        (self.height + self.halo.top + self.halo.bottom) * self.row_stride()
    }

    /// Floats in all.
    pub(crate) fn len(&self) -> usize {
        self.blocks() * self.block_stride()
    }

    /// Where the first row's first number of the first channel is.
    pub(crate) fn origin(&self) -> usize {
        self.halo.top * self.row_stride() + self.halo.left * self.lanes
    }

    /// From the beginning to a channel's plane.
    pub(crate) fn channel(&self, channel: usize) -> usize {
        channel / self.lanes * self.block_stride() + channel % self.lanes
    }

    /// From a pixel to one that lies so many rows down and columns right.
    pub(crate) fn step(&self, rows: usize, columns: usize) -> usize {
        rows * self.row_stride() + columns * self.lanes
    }

    /// Whether the numbers lie as they would in row-major order, but for lanes behind the last channel.
    pub(crate) fn is_row_major(&self) -> bool {
        self.halo == Halo::default() && (self.lanes == 1 || self.pixels() == 1)
    }
}
