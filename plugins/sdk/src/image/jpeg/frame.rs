//! The frame header: how large a picture is, and how its components are sampled. Knows nothing of coded data.

use super::broken;
use super::idct::SIDE;
use crate::image::ImageError;

/// The most a component is sampled more often than another one, in each direction.
const FACTOR_MAX: u8 = 4;
/// The most blocks of a unit of an interleaved scan, by the standard.
const UNIT_BLOCKS_MAX: usize = 10;

/// What the frame header says, known to be decodable.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) progressive: bool,
    // Invariant: 1, 3 or 4, each with factors that divide the largest ones.
    pub(super) components: Vec<Component>,
    /// The largest factors, across and down.
    pub(super) factors: (usize, usize),
    /// How many units of an interleaved scan there are, across and down.
    pub(super) units: (usize, usize),
}

/// One component.
#[derive(Debug)]
pub(super) struct Component {
    pub(super) id: u8,
    /// The number of its table of quantisers.
    pub(super) quantiser: usize,
    /// How often it is sampled in a unit, across and down.
    pub(super) factors: (usize, usize),
    /// Its samples, across and down.
    pub(super) size: (usize, usize),
    /// The blocks that have samples of it.
    pub(super) blocks: (usize, usize),
    /// The blocks with those that fill up the units.
    pub(super) padded: (usize, usize),
}

/// Refuses a kind of JPEG by its name.
pub(super) fn unknown(kind: &str) -> ImageError {
    broken(format!(
        "of the {kind} kind, which is not decoded: baseline, extended and progressive ones are"
    ))
}

impl Frame {
    /// Reads a frame header, and refuses what could not be decoded right.
    pub(super) fn read(marker: u8, segment: &[u8]) -> Result<Self, ImageError> {
        match marker {
            0xc0..=0xc2 => {}
            0xc3 => return Err(unknown("lossless")),
            0xc9 | 0xca => return Err(unknown("arithmetic-coded")),
            0xcb => return Err(unknown("lossless arithmetic-coded")),
            _ => return Err(unknown("hierarchical")),
        }
        let [
            precision,
            height_high,
            height_low,
            width_high,
            width_low,
            n_components,
            components @ ..,
        ] = segment
        else {
            return Err(broken("whose frame header is cut off"));
        };
        if *precision != 8 {
            return Err(broken(format!(
                "of {precision} bits a sample, which is not decoded: those of 8 are"
            )));
        }
        if !matches!(n_components, 1 | 3 | 4) {
            return Err(broken(format!(
                "of {n_components} components, which is not decoded: grey ones, and those of 3 and 4, are"
            )));
        }
        let (components, []) = components.as_chunks::<3>() else {
            return Err(broken("whose frame header has another length than it says"));
        };
        if components.len() != usize::from(*n_components) {
            return Err(broken("whose frame header has another length than it says"));
        }
        let height = u32::from(u16::from_be_bytes([*height_high, *height_low]));
        let width = u32::from(u16::from_be_bytes([*width_high, *width_low]));
        Self::new(width, height, marker == 0xc2, components)
    }

    fn new(width: u32, height: u32, progressive: bool, components: &[[u8; 3]]) -> Result<Self, ImageError> {
        if height == 0 && width > 0 {
            return Err(broken("that tells its height behind its picture, or has none"));
        }
        // Of one component alone the factors have no meaning: it is not interleaved with anything.
        let alone = components.first().map(|&[id, _, quantiser]| [[id, 0x11, quantiser]]);
        let components = match (&alone, components.len()) {
            (Some(alone), 1) => alone.as_slice(),
            _ => components,
        };
        let most = |factor: fn(u8) -> u8| components.iter().map(|&[_, both, _]| factor(both)).max().unwrap_or(1);
        let (across, down) = (most(|both| both >> 4), most(|both| both & 15));
        for (at, &[id, both, quantiser]) in components.iter().enumerate() {
            let (own_across, own_down) = (both >> 4, both & 15);
            if !(1..=FACTOR_MAX).contains(&own_across) || !(1..=FACTOR_MAX).contains(&own_down) {
                return Err(broken(format!(
                    "with a sampling factor of {own_across}x{own_down}: they are 1 to 4"
                )));
            }
            if across % own_across != 0 || down % own_down != 0 {
                return Err(broken(format!(
                    "with a component of {own_across}x{own_down} samples beside one of {across}x{down}, which is not \
                     decoded: one must be a multiple of the other"
                )));
            }
            if components.iter().take(at).any(|&[other, ..]| other == id) {
                return Err(broken("with two components of one name"));
            }
            if quantiser > 3 {
                return Err(broken(
                    "with a component whose table of quantisers is beyond the fourth",
                ));
            }
        }
        let factors = (usize::from(across), usize::from(down));
        let unit = |side: u32, factor: usize| (side as usize).div_ceil(factor * SIDE);
        let units = (unit(width, factors.0), unit(height, factors.1));
        let component = |&[id, both, quantiser]: &[u8; 3]| {
            let own = (usize::from(both >> 4), usize::from(both & 15));
            let size = (
                (width as usize * own.0).div_ceil(factors.0),
                (height as usize * own.1).div_ceil(factors.1),
            );
            Component {
                id,
                quantiser: usize::from(quantiser),
                factors: own,
                size,
                blocks: (size.0.div_ceil(SIDE), size.1.div_ceil(SIDE)),
                padded: (units.0 * own.0, units.1 * own.1),
            }
        };
        Ok(Self {
            width,
            height,
            progressive,
            components: components.iter().map(component).collect(),
            factors,
            units,
        })
    }

    /// The channels of the picture: 1 or 3.
    pub(super) fn channels(&self) -> u32 {
        if self.components.len() == 1 { 1 } else { 3 }
    }

    /// What the pixels take.
    pub(super) fn pixel_bytes(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height) * u64::from(self.channels())
    }

    /// What the rows take that are in the works.
    pub(super) fn row_bytes(&self) -> u64 {
        let rows = |component: &Component| component.padded.0 * SIDE * component.factors.1 * SIDE * 2;
        self.components.iter().map(|component| rows(component) as u64).sum()
    }

    /// What coefficients take that are all kept.
    pub(super) fn coefficient_bytes(&self) -> u64 {
        let blocks = |component: &Component| component.padded.0 as u64 * component.padded.1 as u64;
        self.components.iter().map(blocks).sum::<u64>() * size_of::<super::idct::Block>() as u64
    }
}

/// Whether a unit of these components has no more blocks than the standard allows.
pub(super) fn fits_a_unit<'a>(components: impl Iterator<Item = &'a Component>) -> bool {
    components
        .map(|component| component.factors.0 * component.factors.1)
        .sum::<usize>()
        <= UNIT_BLOCKS_MAX
}
