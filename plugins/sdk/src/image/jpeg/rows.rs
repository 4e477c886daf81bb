//! From blocks to rows of pixels: what is sampled less often is filled in as libjpeg does it. Knows nothing of coded data.

use super::Damage;
use super::colour::Colours;
use super::frame::{Component, Frame};
use super::idct::{self, AREA, Block, SIDE};
use super::tables::Tables;

/// Rows of units that are kept: a row of pixels may need a row of samples of the next.
const N_KEPT: usize = 2;

/// The pixels of a picture, as far as they are written.
#[derive(Debug)]
pub(super) struct Rows {
    width: usize,
    height: usize,
    colours: Colours,
    pixels: Vec<u8>,
    /// The rows that are written.
    n_written: usize,
    /// The largest factor down.
    down: usize,
    planes: Vec<Plane>,
    /// A row of each component as wide as the picture, where it is not as it is sampled.
    wide: Vec<Vec<u8>>,
    sums: Vec<u16>,
}

/// The samples of a component that are in the works.
#[derive(Debug)]
struct Plane {
    samples: Vec<u8>,
    stride: usize,
    /// Rows of samples that are kept, in a ring.
    n_rows: usize,
    n_blocks: usize,
    size: (usize, usize),
    filling: Filling,
    quantiser: Block,
}

/// How a component that is sampled less often is filled in.
#[derive(Debug, Clone, Copy)]
enum Filling {
    None,
    /// Twice across, between two neighbours.
    Across,
    /// Twice down, between two neighbours.
    Down,
    /// Both.
    Both,
    /// Each sample so often, across and down.
    Repeat(usize, usize),
}

impl Filling {
    /// As libjpeg chooses it.
    fn of(component: &Component, (across, down): (usize, usize)) -> Self {
        let (across, down) = (across / component.factors.0, down / component.factors.1);
        match (across, down) {
            (1, 1) => Self::None,
            (2, 1) if component.size.0 > 2 => Self::Across,
            (1, 2) => Self::Down,
            (2, 2) if component.size.0 > 2 => Self::Both,
            _ => Self::Repeat(across, down),
        }
    }
}

impl Rows {
    /// Makes room for the pixels of a picture.
    pub(super) fn new(frame: &Frame, colours: Colours) -> Self {
        let plane = |component: &Component| {
            let (stride, n_rows) = (component.padded.0 * SIDE, component.factors.1 * SIDE * N_KEPT);
            Plane {
                samples: vec![0; stride * n_rows],
                stride,
                n_rows,
                n_blocks: component.blocks.0,
                size: component.size,
                filling: Filling::of(component, frame.factors),
                quantiser: [0; AREA],
            }
        };
        Self {
            width: frame.width as usize,
            height: frame.height as usize,
            colours,
            pixels: Vec::with_capacity(frame.pixel_bytes() as usize),
            n_written: 0,
            down: frame.factors.1,
            planes: frame.components.iter().map(plane).collect(),
            wide: vec![Vec::new(); frame.components.len()],
            sums: Vec::new(),
        }
    }

    /// With the quantisers of the components.
    pub(super) fn set_quantisers(&mut self, tables: &Tables) {
        for (at, plane) in self.planes.iter_mut().enumerate() {
            plane.quantiser = tables.quantiser(at);
        }
    }

    /// 1 or 3.
    pub(super) fn channels(&self) -> u32 {
        self.colours.channels() as u32
    }

    /// Takes a block of a component, by its row and column. One that only fills up a unit is not looked at.
    #[inline]
    pub(super) fn put(&mut self, place: usize, row: usize, column: usize, block: &Block) -> Result<(), Damage> {
        let Some(plane) = self.planes.get_mut(place) else {
            return Ok(());
        };
        if column < plane.n_blocks {
            let begin = row * SIDE % plane.n_rows * plane.stride + column * SIDE;
            if let Some(out) = plane.samples.get_mut(begin..) {
                idct::inverse(block, &plane.quantiser, out, plane.stride)?;
            }
        }
        Ok(())
    }

    /// Writes the rows that can be written when a row of units is complete.
    pub(super) fn write(&mut self, unit: usize) {
        let end = (unit + 1) * SIDE * self.down;
        // The last ones may need the next row of samples.
        let end = if end >= self.height {
            self.height
        } else {
            end - self.down
        };
        for row in self.n_written..end {
            for (plane, wide) in self.planes.iter().zip(&mut self.wide) {
                plane.fill_in(row, wide, &mut self.sums);
            }
            let rows = self
                .planes
                .iter()
                .zip(&self.wide)
                .map(|(plane, wide)| match plane.filling {
                    Filling::None => plane.row(row),
                    _ => wide.as_slice(),
                });
            self.colours.write(rows, self.width, &mut self.pixels);
        }
        self.n_written = end;
    }

    /// All pixels.
    pub(super) fn into_pixels(self) -> Vec<u8> {
        self.pixels
    }
}

impl Plane {
    /// A row of samples, of those that are kept; beyond the edges the last one.
    fn row(&self, row: usize) -> &[u8] {
        let begin = row.min(self.size.1.saturating_sub(1)) % self.n_rows * self.stride;
        self.samples.get(begin..begin + self.size.0).unwrap_or_default()
    }

    /// Makes a row that is as wide as the picture.
    fn fill_in(&self, row: usize, wide: &mut Vec<u8>, sums: &mut Vec<u16>) {
        // The row of samples that is the nearest, and the one that is next.
        let near = row / 2;
        let next = if row.is_multiple_of(2) {
            near.saturating_sub(1)
        } else {
            near + 1
        };
        match self.filling {
            Filling::None => {}
            Filling::Across => {
                sums.clear();
                sums.extend(self.row(row).iter().map(|&sample| u16::from(sample)));
                widen::<2>(sums, wide, [1, 2]);
            }
            Filling::Down => {
                let bias = if row.is_multiple_of(2) { 1 } else { 2 };
                wide.clear();
                wide.extend(self.blended(near, next).map(|sum| ((sum + bias) >> 2) as u8));
            }
            Filling::Both => {
                sums.clear();
                sums.extend(self.blended(near, next));
                widen::<4>(sums, wide, [8, 7]);
            }
            Filling::Repeat(across, down) => {
                wide.clear();
                wide.extend(
                    self.row(row / down)
                        .iter()
                        .flat_map(|&sample| std::iter::repeat_n(sample, across)),
                );
            }
        }
    }

    /// Three parts of a row and one of another.
    fn blended(&self, near: usize, next: usize) -> impl Iterator<Item = u16> {
        let pairs = self.row(near).iter().zip(self.row(next));
        pairs.map(|(&near, &next)| 3 * u16::from(near) + u16::from(next))
    }
}

/// Makes a row twice as wide: of each sample two, three parts of it and one of its neighbour on that side; at the edges it is
/// its own neighbour.
fn widen<const SHIFT: u32>(samples: &mut Vec<u16>, wide: &mut Vec<u8>, [left, right]: [u16; 2]) {
    let n_samples = samples.len();
    let (Some(&first), Some(&last)) = (samples.first(), samples.last()) else {
        return;
    };
    samples.push(last);
    wide.resize(n_samples * 2, 0);
    let pairs = wide.as_chunks_mut::<2>().0;
    if let Some((pair, pairs)) = pairs.split_first_mut() {
        let second = samples.get(1).copied().unwrap_or(last);
        *pair = [
            ((3 * first + first + left) >> SHIFT) as u8,
            ((3 * first + second + right) >> SHIFT) as u8,
        ];
        for (pair, &[before, sample, after]) in pairs.iter_mut().zip(samples.array_windows()) {
            *pair = [
                ((3 * sample + before + left) >> SHIFT) as u8,
                ((3 * sample + after + right) >> SHIFT) as u8,
            ];
        }
    }
}
