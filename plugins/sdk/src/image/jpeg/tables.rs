//! The tables of a file, as they are when a scan begins. Knows nothing of coded data.

use super::broken;
use super::frame::Frame;
use super::huffman::{Codes, Definition};
use super::idct::{AREA, Block};
use super::scan::{Scan, ZIGZAG};
use crate::image::ImageError;

/// The tables that a file may have of each kind.
const N_TABLES: usize = 4;

/// The tables of a file.
#[derive(Debug, Default)]
pub(super) struct Tables {
    /// Units between two restart markers; 0 where there are none.
    pub(super) restart_interval: usize,
    quantisers: [Option<Block>; N_TABLES],
    /// Of each component, the quantisers that it had when its first scan began: later ones do not count.
    latched: [Option<Block>; N_TABLES],
    dc: [Option<Definition>; N_TABLES],
    ac: [Option<Definition>; N_TABLES],
}

impl Tables {
    /// Reads a segment of Huffman tables.
    pub(super) fn huffman(&mut self, mut segment: &[u8]) -> Result<(), ImageError> {
        let wrong = || broken("with a Huffman table that cannot be");
        while let Some((&kind, rest)) = segment.split_first() {
            segment = rest;
            let tables = match kind >> 4 {
                0 => &mut self.dc,
                1 => &mut self.ac,
                _ => return Err(wrong()),
            };
            let place = tables.get_mut(usize::from(kind & 15)).ok_or_else(wrong)?;
            let definition = Definition::take(&mut segment).ok_or_else(wrong)?;
            if definition.codes(false).is_none() {
                return Err(wrong());
            }
            *place = Some(definition);
        }
        Ok(())
    }

    /// Reads a segment of quantisers, of eight or of sixteen bits.
    pub(super) fn quantisers(&mut self, mut segment: &[u8]) -> Result<(), ImageError> {
        let wrong = || broken("with a table of quantisers that cannot be");
        while let Some((&kind, rest)) = segment.split_first() {
            let place = self.quantisers.get_mut(usize::from(kind & 15)).ok_or_else(wrong)?;
            let numbers: [u16; AREA] = match kind >> 4 {
                0 => {
                    let (numbers, rest) = rest.split_first_chunk::<AREA>().ok_or_else(wrong)?;
                    segment = rest;
                    numbers.map(u16::from)
                }
                1 => {
                    let (numbers, rest) = rest.split_at_checked(2 * AREA).ok_or_else(wrong)?;
                    segment = rest;
                    let mut words = [0; AREA];
                    for (word, bytes) in words.iter_mut().zip(numbers.as_chunks().0) {
                        *word = u16::from_be_bytes(*bytes);
                    }
                    words
                }
                _ => return Err(wrong()),
            };
            let mut block = [0; AREA];
            for (number, place) in numbers.iter().zip(ZIGZAG) {
                if let Some(place) = block.get_mut(usize::from(place)) {
                    *place = number.cast_signed();
                }
            }
            *place = Some(block);
        }
        Ok(())
    }

    /// Reads how often restart markers come.
    pub(super) fn restarts(&mut self, segment: &[u8]) -> Result<(), ImageError> {
        let [high, low] = segment else {
            return Err(broken("with a restart interval that cannot be"));
        };
        self.restart_interval = usize::from(u16::from_be_bytes([*high, *low]));
        Ok(())
    }

    /// Keeps the quantisers of the components that a scan is the first one of.
    pub(super) fn latch(&mut self, frame: &Frame, scan: &Scan) -> Result<(), ImageError> {
        for at in scan.places() {
            let number = frame.components.get(at).map_or(0, |component| component.quantiser);
            if let Some(place @ None) = self.latched.get_mut(at) {
                let quantiser = self.quantisers.get(number).copied().flatten();
                *place = Some(quantiser.ok_or_else(|| broken("without the quantisers that a component names"))?);
            }
        }
        Ok(())
    }

    /// The quantisers of a component, which were kept.
    pub(super) fn quantiser(&self, component: usize) -> Block {
        self.latched.get(component).copied().flatten().unwrap_or([0; AREA])
    }

    /// Codes of means, or of the other coefficients. Where a file that is not progressive has none, the standard's.
    pub(super) fn codes(&self, dc: bool, number: usize, progressive: bool) -> Result<Codes, ImageError> {
        let tables = if dc { &self.dc } else { &self.ac };
        let standard = || {
            if progressive {
                None
            } else {
                Definition::standard(dc, number)
            }
        };
        let definition = tables.get(number).cloned().flatten().or_else(standard);
        let codes = definition
            .ok_or_else(|| broken("without the Huffman table that a scan names"))?
            .codes(!dc && !progressive)
            .ok_or_else(|| broken("with a Huffman table that cannot be"))?;
        if dc && !codes.is_below(16) {
            return Err(broken("with a Huffman table that cannot be"));
        }
        Ok(codes)
    }
}
