//! Huffman codes. Knows nothing of what their symbols mean.

use super::Damage;
use super::bits::Bits;

/// Bits of a code that are looked up at once.
const LOOK_BITS: u32 = 9;
/// The longest code.
const MAX_BITS: usize = 16;

/// A table as a file defines it: how many codes of each length, and their symbols.
#[derive(Debug, Clone)]
pub(super) struct Definition {
    counts: [u8; MAX_BITS],
    symbols: Vec<u8>,
}

/// A table to decode with.
#[derive(Debug)]
pub(super) struct Codes {
    /// For what the next bits may be, the length of the code and its symbol; 0 where it is longer.
    look: [u16; 1 << LOOK_BITS],
    /// For what the next bits may be, a run of zeros, the coefficient behind it, and the bits of both; 0 where that is too long.
    runs: Vec<Run>,
    /// For each length, the end of its codes, in sixteen bits.
    ends: [u32; MAX_BITS + 1],
    /// For each length, what is to be added to a code to get the place of its symbol.
    offsets: [i32; MAX_BITS + 1],
    symbols: Vec<u8>,
}

/// A coefficient that is short enough to be looked up.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Run {
    pub(super) value: i16,
    pub(super) zeros: u8,
    /// 0 where there is none.
    pub(super) n_bits: u8,
}

impl Definition {
    /// Takes the next table from a segment.
    pub(super) fn take(segment: &mut &[u8]) -> Option<Self> {
        let (counts, rest) = segment.split_first_chunk::<MAX_BITS>()?;
        let (symbols, rest) = rest.split_at_checked(counts.iter().map(|&count| usize::from(count)).sum())?;
        *segment = rest;
        Some(Self {
            counts: *counts,
            symbols: symbols.to_vec(),
        })
    }

    /// The tables that a motion JPEG means when it has none: those of the standard's annex K, by kind and number.
    pub(super) fn standard(dc: bool, number: usize) -> Option<Self> {
        let (counts, symbols): (&[u8; MAX_BITS], &[u8]) = match (dc, number) {
            (true, 0) => (&DC_LUMA, &DC_SYMBOLS),
            (true, 1) => (&DC_CHROMA, &DC_SYMBOLS),
            (false, 0) => (&AC_LUMA, &AC_LUMA_SYMBOLS),
            (false, 1) => (&AC_CHROMA, &AC_CHROMA_SYMBOLS),
            _ => return None,
        };
        Some(Self {
            counts: *counts,
            symbols: symbols.to_vec(),
        })
    }

    /// A table to decode with; with the runs that are looked up at once where these are wanted. Nothing where there are
    /// more codes than fit, or one of ones alone.
    pub(super) fn codes(&self, runs: bool) -> Option<Codes> {
        let mut codes = Codes {
            look: [0; 1 << LOOK_BITS],
            runs: Vec::new(),
            ends: [0; MAX_BITS + 1],
            offsets: [0; MAX_BITS + 1],
            symbols: self.symbols.clone(),
        };
        let (mut code, mut place) = (0u32, 0u32);
        let tables = codes.ends.iter_mut().zip(&mut codes.offsets).skip(1);
        for (length, (&count, (end, offset))) in (1u32..).zip(self.counts.iter().zip(tables)) {
            *offset = place.cast_signed() - code.cast_signed();
            for _ in 0..count {
                let symbol = *self.symbols.get(place as usize)?;
                if length <= LOOK_BITS {
                    let begin = (code << (LOOK_BITS - length)) as usize;
                    let entries = codes.look.get_mut(begin..begin + (1 << (LOOK_BITS - length)))?;
                    entries.fill((length as u16) << 8 | u16::from(symbol));
                }
                code += 1;
                place += 1;
            }
            if count > 0 && code >= 1 << length {
                return None;
            }
            *end = code << (MAX_BITS as u32 - length);
            code <<= 1;
        }
        if runs {
            codes.runs = (0u32..)
                .zip(&codes.look)
                .map(|(bits, &entry)| Run::of(bits, entry))
                .collect();
        }
        Some(codes)
    }
}

impl Run {
    /// What begins with these bits, of which a code is known.
    fn of(bits: u32, entry: u16) -> Self {
        let (n_code, symbol) = (u32::from(entry >> 8), u32::from(entry & 0xff));
        let (zeros, size) = (symbol >> 4, symbol & 15);
        if n_code == 0 || size == 0 || n_code + size > LOOK_BITS {
            return Self::default();
        }
        let number = (bits >> (LOOK_BITS - n_code - size)) & ((1 << size) - 1);
        let value = if number < 1 << (size - 1) {
            number.cast_signed() + 1 - (1 << size)
        } else {
            number.cast_signed()
        };
        Self {
            value: value as i16,
            zeros: zeros as u8,
            n_bits: (n_code + size) as u8,
        }
    }
}

impl Codes {
    /// Whether all symbols are below a limit.
    pub(super) fn is_below(&self, limit: u8) -> bool {
        self.symbols.iter().all(|&symbol| symbol < limit)
    }

    /// Takes a code. There must be sixteen bits.
    #[inline(always)]
    pub(super) fn symbol(&self, bits: &mut Bits) -> Result<u32, Damage> {
        let entry = u32::from(
            self.look
                .get(bits.peek(LOOK_BITS) as usize)
                .copied()
                .unwrap_or_default(),
        );
        if entry != 0 {
            bits.skip(entry >> 8);
            return Ok(entry & 0xff);
        }
        self.long(bits)
    }

    /// What begins with the next bits, where that can be looked up.
    #[inline(always)]
    pub(super) fn run(&self, bits: &Bits) -> Run {
        self.runs
            .get(bits.peek(LOOK_BITS) as usize)
            .copied()
            .unwrap_or_default()
    }

    fn long(&self, bits: &mut Bits) -> Result<u32, Damage> {
        let next = bits.peek(MAX_BITS as u32);
        let lengths = (0u32..)
            .zip(self.ends.iter().zip(&self.offsets))
            .skip(LOOK_BITS as usize + 1);
        for (length, (end, offset)) in lengths {
            if next < *end {
                let code = (next >> (MAX_BITS as u32 - length)).cast_signed();
                let symbol = usize::try_from(code + offset)
                    .ok()
                    .and_then(|place| self.symbols.get(place));
                bits.skip(length);
                return symbol.map(|&symbol| u32::from(symbol)).ok_or(Damage::Code);
            }
        }
        Err(Damage::Code)
    }
}

const DC_LUMA: [u8; MAX_BITS] = [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0];
const DC_CHROMA: [u8; MAX_BITS] = [0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0];
const DC_SYMBOLS: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
const AC_LUMA: [u8; MAX_BITS] = [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 125];
const AC_CHROMA: [u8; MAX_BITS] = [0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 119];
const AC_LUMA_SYMBOLS: [u8; 162] = [
    1, 2, 3, 0, 4, 17, 5, 18, 33, 49, 65, 6, 19, 81, 97, 7, 34, 113, 20, 50, 129, 145, 161, 8, 35, 66, 177, 193, 21,
    82, 209, 240, 36, 51, 98, 114, 130, 9, 10, 22, 23, 24, 25, 26, 37, 38, 39, 40, 41, 42, 52, 53, 54, 55, 56, 57, 58,
    67, 68, 69, 70, 71, 72, 73, 74, 83, 84, 85, 86, 87, 88, 89, 90, 99, 100, 101, 102, 103, 104, 105, 106, 115, 116,
    117, 118, 119, 120, 121, 122, 131, 132, 133, 134, 135, 136, 137, 138, 146, 147, 148, 149, 150, 151, 152, 153, 154,
    162, 163, 164, 165, 166, 167, 168, 169, 170, 178, 179, 180, 181, 182, 183, 184, 185, 186, 194, 195, 196, 197, 198,
    199, 200, 201, 202, 210, 211, 212, 213, 214, 215, 216, 217, 218, 225, 226, 227, 228, 229, 230, 231, 232, 233, 234,
    241, 242, 243, 244, 245, 246, 247, 248, 249, 250,
];
const AC_CHROMA_SYMBOLS: [u8; 162] = [
    0, 1, 2, 3, 17, 4, 5, 33, 49, 6, 18, 65, 81, 7, 97, 113, 19, 34, 50, 129, 8, 20, 66, 145, 161, 177, 193, 9, 35, 51,
    82, 240, 21, 98, 114, 209, 10, 22, 36, 52, 225, 37, 241, 23, 24, 25, 26, 38, 39, 40, 41, 42, 53, 54, 55, 56, 57,
    58, 67, 68, 69, 70, 71, 72, 73, 74, 83, 84, 85, 86, 87, 88, 89, 90, 99, 100, 101, 102, 103, 104, 105, 106, 115,
    116, 117, 118, 119, 120, 121, 122, 130, 131, 132, 133, 134, 135, 136, 137, 138, 146, 147, 148, 149, 150, 151, 152,
    153, 154, 162, 163, 164, 165, 166, 167, 168, 169, 170, 178, 179, 180, 181, 182, 183, 184, 185, 186, 194, 195, 196,
    197, 198, 199, 200, 201, 202, 210, 211, 212, 213, 214, 215, 216, 217, 218, 226, 227, 228, 229, 230, 231, 232, 233,
    234, 242, 243, 244, 245, 246, 247, 248, 249, 250,
];
