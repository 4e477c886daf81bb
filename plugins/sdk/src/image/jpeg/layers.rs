//! A picture whose coefficients come in several scans: bit by bit, band by band, or component by component. Knows nothing
//! of pixels.

use super::bits::Bits;
use super::frame::{Component, Frame};
use super::huffman::Codes;
use super::idct::{AREA, Block};
use super::rows::Rows;
use super::scan::{self, Restarts, Scan, Sequential, ZIGZAG};
use super::tables::Tables;
use super::{Damage, broken};
use crate::image::ImageError;

/// The coefficients of a picture.
#[derive(Debug)]
pub(super) struct Layers {
    planes: Vec<Plane>,
}

/// Those of a component.
#[derive(Debug)]
struct Plane {
    blocks: Vec<Block>,
    /// Of each coefficient, in the order in which they come, the lowest bit that there is.
    lowest: [Option<u8>; AREA],
}

impl Layers {
    /// Makes room for the coefficients of a picture.
    pub(super) fn new(frame: &Frame) -> Self {
        let plane = |component: &Component| Plane {
            blocks: vec![[0; AREA]; component.padded.0 * component.padded.1],
            lowest: [None; AREA],
        };
        Self {
            planes: frame.components.iter().map(plane).collect(),
        }
    }

    /// Makes sure that a scan follows from those before, bit by bit.
    pub(super) fn begin(&mut self, scan: &Scan) -> Result<(), ImageError> {
        for place in scan.places() {
            let Some(plane) = self.planes.get_mut(place) else {
                continue;
            };
            if scan.band.0 > 0 && plane.lowest.first() == Some(&None) {
                return Err(broken("whose scans begin with the details"));
            }
            let before = if scan.high == 0 { None } else { Some(scan.high) };
            let band = plane.lowest.get_mut(scan.band.0..=scan.band.1).unwrap_or_default();
            if band.iter().any(|&lowest| lowest != before) {
                return Err(broken(
                    "whose scans do not follow from each other: it lacks one, or has one twice",
                ));
            }
            band.fill(Some(scan.low));
        }
        Ok(())
    }

    /// Makes sure that there is nothing to come.
    pub(super) fn check_complete(&self) -> Result<(), ImageError> {
        if self.planes.iter().any(|plane| plane.lowest.first() == Some(&None)) {
            return Err(broken("without a scan of one of its components"));
        }
        if self
            .planes
            .iter()
            .any(|plane| plane.lowest.iter().any(|&lowest| lowest != Some(0)))
        {
            return Err(broken("that ends before the last of its scans"));
        }
        Ok(())
    }

    /// Decodes a scan, and returns where it ends.
    pub(super) fn decode(
        &mut self,
        frame: &Frame,
        scan: &Scan,
        tables: &Tables,
        (body, at): (&[u8], usize),
    ) -> Result<usize, ImageError> {
        let mut decoders = Vec::with_capacity(scan.parts.len());
        for part in &scan.parts {
            decoders.push(match (frame.progressive, scan.band.0, scan.high) {
                (false, ..) => Pass::Whole(Box::new(Sequential::new(part, tables)?)),
                (true, 0, 0) => Pass::Mean {
                    codes: tables.codes(true, part.dc, true)?,
                    mean: 0,
                    low: scan.low,
                },
                (true, 0, _) => Pass::MeanBit { low: scan.low },
                (true, ..) => Pass::Band(Band {
                    codes: tables.codes(false, part.ac, true)?,
                    band: scan.band,
                    refines: scan.high != 0,
                    low: scan.low,
                    n_ended: 0,
                }),
            });
        }
        let mut bits = Bits::new(body, at);
        let mut restarts = Restarts::new(tables.restart_interval);
        if let ([part], [decoder]) = (scan.parts.as_slice(), decoders.as_mut_slice()) {
            self.decode_alone(frame, part.place, decoder, &mut bits, &mut restarts)?;
        } else {
            self.decode_together(frame, scan, &mut decoders, &mut bits, &mut restarts)?;
        }
        for decoder in &mut decoders {
            decoder.restart()?;
        }
        Ok(bits.end()?)
    }

    /// A scan of one component, which has no blocks beyond its picture.
    fn decode_alone(
        &mut self,
        frame: &Frame,
        place: usize,
        decoder: &mut Pass,
        bits: &mut Bits,
        restarts: &mut Restarts,
    ) -> Result<(), Damage> {
        let (Some(plane), Some(component)) = (self.planes.get_mut(place), frame.components.get(place)) else {
            return Ok(());
        };
        let rows = plane.blocks.chunks_exact_mut(component.padded.0.max(1));
        for row in rows.take(component.blocks.1) {
            for block in row.iter_mut().take(component.blocks.0) {
                if restarts.next(bits)? {
                    decoder.restart()?;
                }
                decoder.block(bits, block)?;
            }
        }
        Ok(())
    }

    /// A scan of several components, unit by unit.
    fn decode_together(
        &mut self,
        frame: &Frame,
        scan: &Scan,
        decoders: &mut [Pass],
        bits: &mut Bits,
        restarts: &mut Restarts,
    ) -> Result<(), Damage> {
        for row in 0..frame.units.1 {
            for column in 0..frame.units.0 {
                if restarts.next(bits)? {
                    for decoder in decoders.iter_mut() {
                        decoder.restart()?;
                    }
                }
                for (part, decoder) in scan.parts.iter().zip(decoders.iter_mut()) {
                    let (Some(plane), Some(component)) =
                        (self.planes.get_mut(part.place), frame.components.get(part.place))
                    else {
                        continue;
                    };
                    let (across, down) = component.factors;
                    for row in row * down..(row + 1) * down {
                        let begin = row * component.padded.0 + column * across;
                        for block in plane.blocks.iter_mut().skip(begin).take(across) {
                            decoder.block(bits, block)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Has all rows of pixels written.
    pub(super) fn write(&self, frame: &Frame, tables: &Tables, rows: &mut Rows) -> Result<(), Damage> {
        rows.set_quantisers(tables);
        for unit in 0..frame.units.1 {
            for (place, (plane, component)) in self.planes.iter().zip(&frame.components).enumerate() {
                let down = component.factors.1;
                for row in unit * down..(unit + 1) * down {
                    let begin = row * component.padded.0;
                    let blocks = plane.blocks.iter().skip(begin).take(component.blocks.0);
                    for (column, block) in blocks.enumerate() {
                        rows.put(place, row, column, block)?;
                    }
                }
            }
            rows.write(unit);
        }
        Ok(())
    }
}

/// What a scan does to the blocks of a component.
#[derive(Debug)]
enum Pass {
    /// It brings all of them.
    Whole(Box<Sequential>),
    /// It brings their means, but for the lowest bits.
    Mean { codes: Codes, mean: i32, low: u8 },
    /// It brings one more bit of their means.
    MeanBit { low: u8 },
    /// It brings other coefficients, or one more bit of them.
    Band(Band),
}

impl Pass {
    fn restart(&mut self) -> Result<(), Damage> {
        match self {
            Self::Whole(decoder) => decoder.restart(),
            Self::Mean { mean, .. } => *mean = 0,
            Self::MeanBit { .. } => {}
            // A run of blocks that have ended is no longer than there are blocks.
            Self::Band(Band { n_ended: 0, .. }) => {}
            Self::Band(_) => return Err(Damage::Sense),
        }
        Ok(())
    }

    fn block(&mut self, bits: &mut Bits, block: &mut Block) -> Result<(), Damage> {
        match self {
            Self::Whole(decoder) => return decoder.block(bits, block),
            Self::Mean { codes, mean, low } => {
                bits.fill();
                *mean = scan::mean(codes, bits, *mean)?;
                scan::put(block, 0, scan::within(*mean << *low)? as i16)?;
            }
            Self::MeanBit { low } => {
                if bits.bit()
                    && let Some(mean) = block.first_mut()
                {
                    *mean |= 1 << *low;
                }
            }
            Self::Band(band) if band.refines => band.refine(bits, block)?,
            Self::Band(band) => band.first(bits, block)?,
        }
        bits.check()
    }
}

/// What a scan of a band of coefficients does.
#[derive(Debug)]
struct Band {
    codes: Codes,
    band: (usize, usize),
    refines: bool,
    low: u8,
    /// How many blocks are to come that have nothing new.
    n_ended: u32,
}

impl Band {
    /// Brings the coefficients for the first time.
    fn first(&mut self, bits: &mut Bits, block: &mut Block) -> Result<(), Damage> {
        if self.n_ended > 0 {
            self.n_ended -= 1;
            return Ok(());
        }
        let (mut at, last) = self.band;
        while at <= last {
            bits.fill();
            let symbol = self.codes.symbol(bits)?;
            match (symbol >> 4, symbol & 15) {
                (15, 0) => {
                    at += 16;
                    if at > last + 1 {
                        return Err(Damage::Sense);
                    }
                }
                (size, 0) => {
                    self.n_ended = ended(bits, size) - 1;
                    break;
                }
                (zeros, size) => {
                    at += zeros as usize;
                    if at > last {
                        return Err(Damage::Sense);
                    }
                    scan::put(block, at, scan::coefficient(bits, size, self.low)?)?;
                    at += 1;
                }
            }
        }
        Ok(())
    }

    /// Brings one more bit of them: of those that are not zero yet, and of those that become so.
    fn refine(&mut self, bits: &mut Bits, block: &mut Block) -> Result<(), Damage> {
        let (mut at, last) = self.band;
        if self.n_ended == 0 {
            while at <= last {
                bits.fill();
                let symbol = self.codes.symbol(bits)?;
                let (zeros, new) = match (symbol >> 4, symbol & 15) {
                    (15, 0) => (15, None),
                    (size, 0) => {
                        self.n_ended = ended(bits, size);
                        break;
                    }
                    (zeros, 1) => (
                        zeros,
                        Some(if bits.number(1) == 1 {
                            1 << self.low
                        } else {
                            -1 << self.low
                        }),
                    ),
                    _ => return Err(Damage::Sense),
                };
                at = self.skip(bits, block, at, Some(zeros));
                if at > last {
                    return Err(Damage::Sense);
                }
                if let Some(new) = new {
                    scan::put(block, at, new)?;
                }
                at += 1;
            }
        }
        if self.n_ended > 0 {
            self.skip(bits, block, at, None);
            self.n_ended -= 1;
        }
        Ok(())
    }

    /// Goes over so many zeros to the next one, or to the end of the band, and brings one more bit of what else is there.
    fn skip(&self, bits: &mut Bits, block: &mut Block, from: usize, zeros: Option<u32>) -> usize {
        let last = self.band.1;
        let mut left = zeros;
        for at in from..=last {
            let place = ZIGZAG.get(at).and_then(|&place| block.get_mut(usize::from(place)));
            let Some(coefficient) = place else {
                continue;
            };
            if *coefficient == 0 {
                match &mut left {
                    Some(0) => return at,
                    Some(left) => *left -= 1,
                    None => {}
                }
            } else if bits.bit() {
                // A bit is never brought twice, so that it is not set.
                *coefficient += if *coefficient > 0 {
                    1 << self.low
                } else {
                    -1 << self.low
                };
            }
        }
        last + 1
    }
}

/// How many blocks have ended, this one among them. The bits must be filled.
fn ended(bits: &mut Bits, size: u32) -> u32 {
    (1 << size) + bits.number(size).cast_unsigned()
}
