//! A scan: which components it brings, and how their blocks are coded. Knows nothing of what becomes of them.

use super::bits::Bits;
use super::frame::{Frame, fits_a_unit};
use super::huffman::Codes;
use super::idct::{AREA, Block};
use super::rows::Rows;
use super::tables::Tables;
use super::{Damage, broken};
use crate::image::ImageError;

/// Where in a block the coefficients are, in the order in which they come.
pub(super) const ZIGZAG: [u8; AREA] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];

/// The largest category of a difference of means, where samples have eight bits.
const DC_CATEGORY_MAX: u32 = 11;
/// The largest category of another coefficient.
const AC_CATEGORY_MAX: u32 = 10;
/// What no coefficient of eight-bit samples reaches: twice what the transform can give.
const COEFFICIENT_END: i32 = 2048;

/// The header of a scan, known to fit the frame.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) parts: Vec<Part>,
    /// The first and the last coefficient.
    pub(super) band: (usize, usize),
    /// The bit above those that it brings, 0 where it brings a coefficient for the first time; and the lowest one.
    pub(super) high: u8,
    pub(super) low: u8,
}

/// A component of a scan.
#[derive(Debug)]
pub(super) struct Part {
    /// Its place in the frame.
    pub(super) place: usize,
    pub(super) dc: usize,
    pub(super) ac: usize,
}

impl Scan {
    /// Reads the header of a scan.
    pub(super) fn new(segment: &[u8], frame: &Frame) -> Result<Self, ImageError> {
        let wrong = || broken("with a scan header that does not fit its frame");
        let (&n_parts, rest) = segment.split_first().ok_or_else(wrong)?;
        let (parts, progression) = rest.split_at_checked(usize::from(n_parts) * 2).ok_or_else(wrong)?;
        let &[first, last, bits] = progression else {
            return Err(wrong());
        };
        let mut scan = Self {
            parts: Vec::with_capacity(frame.components.len()),
            band: (usize::from(first), usize::from(last)),
            high: bits >> 4,
            low: bits & 15,
        };
        for &[id, tables] in parts.as_chunks::<2>().0 {
            let place = frame.components.iter().position(|component| component.id == id);
            let place = place.ok_or_else(wrong)?;
            if scan.places().any(|other| other == place) {
                return Err(wrong());
            }
            scan.parts.push(Part {
                place,
                dc: usize::from(tables >> 4),
                ac: usize::from(tables & 15),
            });
        }
        if scan.parts.is_empty() || !scan.is_possible(frame.progressive) {
            return Err(wrong());
        }
        let fits = fits_a_unit(scan.places().filter_map(|place| frame.components.get(place)));
        if scan.parts.len() > 1 && !fits {
            return Err(broken(
                "with more than ten blocks in a unit of a scan, which is not decoded",
            ));
        }
        if !frame.progressive {
            scan.band = (0, AREA - 1);
        }
        Ok(scan)
    }

    /// Whether there are such scans.
    fn is_possible(&self, progressive: bool) -> bool {
        let (first, last) = self.band;
        if !progressive {
            // Some baseline files have zeros here, which mean nothing.
            return matches!((first, last), (0, 0 | 63)) && self.high == 0 && self.low == 0;
        }
        let band = if first == 0 {
            last == 0
        } else {
            first <= last && last < AREA && self.parts.len() == 1
        };
        // Each refinement brings one bit more.
        band && self.low <= 13 && (self.high == 0 || self.high == self.low + 1)
    }

    /// How many components it has.
    pub(super) fn n_components(&self) -> usize {
        self.parts.len()
    }

    /// The places of its components in the frame.
    pub(super) fn places(&self) -> impl Iterator<Item = usize> {
        self.parts.iter().map(|part| part.place)
    }

    /// How many units it has: of one component alone, those are its blocks.
    pub(super) fn n_units(&self, frame: &Frame) -> usize {
        match self.parts.as_slice() {
            [alone] => frame
                .components
                .get(alone.place)
                .map_or(0, |component| component.blocks.0 * component.blocks.1),
            _ => frame.units.0 * frame.units.1,
        }
    }
}

/// Counts the units between restart markers.
#[derive(Debug)]
pub(super) struct Restarts {
    interval: usize,
    left: usize,
    n_markers: u8,
}

impl Restarts {
    pub(super) fn new(interval: usize) -> Self {
        Self {
            interval,
            left: interval,
            n_markers: 0,
        }
    }

    /// Counts a unit; says whether a marker was read before it.
    pub(super) fn next(&mut self, bits: &mut Bits) -> Result<bool, Damage> {
        if self.interval == 0 {
            return Ok(false);
        }
        let restarted = self.left == 0;
        if restarted {
            bits.restart(0xd0 + self.n_markers % 8)?;
            self.n_markers = (self.n_markers + 1) % 8;
            self.left = self.interval;
        }
        self.left -= 1;
        Ok(restarted)
    }
}

/// What decodes the whole blocks of one component.
#[derive(Debug)]
pub(super) struct Sequential {
    dc: Codes,
    ac: Codes,
    mean: i32,
}

impl Sequential {
    pub(super) fn new(part: &Part, tables: &Tables) -> Result<Self, ImageError> {
        Ok(Self {
            dc: tables.codes(true, part.dc, false)?,
            ac: tables.codes(false, part.ac, false)?,
            mean: 0,
        })
    }

    /// Begins anew, behind a restart marker.
    pub(super) fn restart(&mut self) {
        self.mean = 0;
    }

    /// Decodes a block, of zeros before.
    #[inline]
    pub(super) fn block(&mut self, bits: &mut Bits, block: &mut Block) -> Result<(), Damage> {
        bits.fill();
        self.mean = mean(&self.dc, bits, self.mean)?;
        if let Some(place) = block.first_mut() {
            *place = self.mean as i16;
        }
        let mut at = 1;
        while at < AREA {
            bits.fill();
            let run = self.ac.run(bits);
            let (zeros, value) = if run.n_bits != 0 {
                bits.skip(u32::from(run.n_bits));
                (usize::from(run.zeros), run.value)
            } else {
                let symbol = self.ac.symbol(bits)?;
                match (symbol >> 4, symbol & 15) {
                    (0, 0) => break,
                    (15, 0) => {
                        at += 16;
                        continue;
                    }
                    (zeros, size @ 1..=AC_CATEGORY_MAX) => (zeros as usize, bits.signed(size) as i16),
                    _ => return Err(Damage::Sense),
                }
            };
            at += zeros;
            put(block, at, value)?;
            at += 1;
        }
        if at > AREA {
            return Err(Damage::Sense);
        }
        bits.check()
    }
}

/// Puts a coefficient into its place.
#[inline(always)]
pub(super) fn put(block: &mut Block, at: usize, value: i16) -> Result<(), Damage> {
    let place = ZIGZAG.get(at).ok_or(Damage::Sense)?;
    if let Some(place) = block.get_mut(usize::from(*place)) {
        *place = value;
    }
    Ok(())
}

/// The next mean, which is coded as the difference to the one before. The bits must be filled.
#[inline(always)]
pub(super) fn mean(codes: &Codes, bits: &mut Bits, before: i32) -> Result<i32, Damage> {
    let size = codes.symbol(bits)?;
    if size > DC_CATEGORY_MAX {
        return Err(Damage::Sense);
    }
    within(before + bits.signed(size))
}

/// A coefficient, if it is one that a picture can have.
pub(super) fn within(coefficient: i32) -> Result<i32, Damage> {
    if (-COEFFICIENT_END..COEFFICIENT_END).contains(&coefficient) {
        Ok(coefficient)
    } else {
        Err(Damage::Sense)
    }
}

/// The next signed number of a category, as a coefficient without its lowest bits.
pub(super) fn coefficient(bits: &mut Bits, size: u32, low: u8) -> Result<i16, Damage> {
    if size > AC_CATEGORY_MAX {
        return Err(Damage::Sense);
    }
    Ok(within(bits.signed(size) << low)? as i16)
}

/// Decodes a scan of all components, and has their rows written as they come. Returns where it ends.
pub(super) fn at_once(
    frame: &Frame,
    scan: &Scan,
    tables: &Tables,
    (body, at): (&[u8], usize),
    rows: &mut Rows,
) -> Result<usize, ImageError> {
    rows.set_quantisers(tables);
    let decoders = scan.parts.iter().map(|part| Sequential::new(part, tables));
    let mut decoders = decoders.collect::<Result<Vec<_>, _>>()?;
    let mut bits = Bits::new(body, at);
    let mut restarts = Restarts::new(tables.restart_interval);
    let mut block = [0; AREA];
    for row in 0..frame.units.1 {
        for column in 0..frame.units.0 {
            if restarts.next(&mut bits)? {
                decoders.iter_mut().for_each(Sequential::restart);
            }
            for (part, decoder) in scan.parts.iter().zip(&mut decoders) {
                let (across, down) = frame
                    .components
                    .get(part.place)
                    .map_or((1, 1), |component| component.factors);
                for at in 0..down {
                    for column in column * across..(column + 1) * across {
                        block.fill(0);
                        decoder.block(&mut bits, &mut block)?;
                        rows.put(part.place, row * down + at, column, &block)?;
                    }
                }
            }
        }
        rows.write(row);
    }
    Ok(bits.end()?)
}
