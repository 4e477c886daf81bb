//! How far the data of a lossy picture go: the modes and coefficients of a key frame of VP8 (RFC 6386) are read to their
//! end, and forgotten. Knows nothing of pixels.
//!
//! The decoder of pixels takes as many bits as it needs and does not say how many. Data that were changed need more of them
//! than there are, or fewer: nothing else in a lossy picture tells damage.

use super::tables::{MODES, TOKEN_CHANGES, TOKENS};
use super::{broken, number};
use crate::image::ImageError;

/// Bytes before the first partition: a tag, a start code, the size.
const HEADER_BYTES: usize = 10;
/// The most bytes that may be behind the last bit of a partition. libwebp leaves one at most; libvpx ends each partition with
/// 32 bits that say nothing.
const LEFT_MAX_BYTES: usize = 4;
/// A bit that is as likely set as not.
const EVEN: u8 = 128;
/// Reads a key frame to its end. Each partition must have just the bits that its part of the picture takes.
pub(super) fn check(data: &[u8], width: u32, height: u32) -> Result<(), ImageError> {
    let first_bytes = (number(data, 0)? >> 5) as usize;
    let rest = data.get(HEADER_BYTES..).unwrap_or_default();
    let (first, rest) = rest.split_at_checked(first_bytes).ok_or_else(short)?;
    let mut header = Bools::new(first);
    let frame = Frame::read(&mut header);
    let mut partitions = partitions(rest, frame.n_partitions)?;

    let (columns, rows) = (width.div_ceil(16) as usize, height.div_ceil(16) as usize);
    let mut above = vec![Macroblock::default(); columns];
    let n_partitions = partitions.len();
    for row in 0..rows {
        let Some(tokens) = partitions.get_mut(row % n_partitions) else {
            break;
        };
        let mut left = Macroblock::default();
        for above in &mut above {
            frame.macroblock(&mut header, tokens, above, &mut left);
        }
        if header.is_short() || tokens.is_short() {
            return Err(short());
        }
    }
    if partitions
        .iter()
        .chain([&header])
        .any(|bools| bools.n_left() > LEFT_MAX_BYTES)
    {
        return Err(broken("with data behind the end of its pixels"));
    }
    Ok(())
}

fn short() -> ImageError {
    broken("whose data end before its pixels do")
}

/// The partitions of coefficients: the sizes of all but the last one are in front of them.
fn partitions(rest: &[u8], n_partitions: usize) -> Result<Vec<Bools<'_>>, ImageError> {
    let (sizes, mut rest) = rest.split_at_checked(3 * (n_partitions - 1)).ok_or_else(short)?;
    let mut partitions = Vec::with_capacity(n_partitions);
    for at in 0..n_partitions - 1 {
        let (partition, behind) = rest
            .split_at_checked(number(sizes, 3 * at)? as usize)
            .ok_or_else(short)?;
        partitions.push(Bools::new(partition));
        rest = behind;
    }
    partitions.push(Bools::new(rest));
    Ok(partitions)
}

/// What a frame header says that bears upon what comes behind it.
#[derive(Debug)]
struct Frame {
    /// Of the tree of segments, where macroblocks name theirs.
    segments: Option<[u8; 3]>,
    /// That a macroblock has coefficients, where it may say that it has none.
    skip: Option<u8>,
    // Invariant: 1, 2, 4 or 8.
    n_partitions: usize,
    tokens: [u8; TOKENS.len()],
}

/// What the next macroblocks must know of one.
#[derive(Debug, Clone, Copy, Default)]
struct Macroblock {
    /// The modes of the four blocks at its edge.
    modes: [u8; 4],
    /// Whether the blocks at its edge have coefficients: that of the means of luma, four of luma, two of each chroma.
    filled: [bool; 9],
}

impl Frame {
    /// Reads the header (section 9.2 and on), in which a flag stands before most values.
    fn read(bools: &mut Bools) -> Self {
        // The space of colours, and whether samples need no clamping.
        bools.literal(2);
        let segments = if bools.flag() { segments(bools) } else { None };
        // The kind, the level and the sharpness of the loop filter.
        bools.literal(1 + 6 + 3);
        if bools.flag() && bools.flag() {
            for _ in 0..8 {
                bools.optional(6 + 1);
            }
        }
        let n_partitions = 1 << bools.literal(2);
        // One quantiser, and the differences of five others to it.
        bools.literal(7);
        for _ in 0..5 {
            bools.optional(4 + 1);
        }
        // Whether the probabilities are kept for the next frame.
        bools.flag();
        let mut tokens = TOKENS;
        for (probability, change) in tokens.iter_mut().zip(TOKEN_CHANGES) {
            if bools.bool(change) {
                *probability = bools.literal(8) as u8;
            }
        }
        let skip = bools.optional(8).map(|probability| probability as u8);
        Self {
            segments,
            skip,
            n_partitions,
            tokens,
        }
    }

    /// Reads a macroblock: its modes (section 11), and its coefficients (section 13).
    fn macroblock(&self, header: &mut Bools, tokens: &mut Bools, above: &mut Macroblock, left: &mut Macroblock) {
        if let Some([first, low, high]) = self.segments {
            let half = if header.bool(first) { high } else { low };
            header.bool(half);
        }
        let is_empty = self.skip.is_some_and(|probability| header.bool(probability));
        let has_means = modes(header, above, left);
        if !is_empty {
            self.coefficients(tokens, has_means, &mut above.filled, &mut left.filled);
            return;
        }
        for filled in [&mut above.filled, &mut left.filled] {
            // Where luma has no block of means, the one before keeps its say.
            let kept = filled.first().is_some_and(|&means| means && !has_means);
            *filled = [kept, false, false, false, false, false, false, false, false];
        }
    }

    fn coefficients(&self, bools: &mut Bools, has_means: bool, above: &mut [bool; 9], left: &mut [bool; 9]) {
        let (luma, first) = if has_means { (0, 1) } else { (3, 0) };
        let means = if has_means { 1 } else { 0 };
        for (begin, side, kind, first) in [(0, means, 1, 0), (1, 4, luma, first), (5, 2, 2, 0), (7, 2, 2, 0)] {
            for left in left.iter_mut().skip(begin).take(side) {
                for above in above.iter_mut().skip(begin).take(side) {
                    let before = usize::from(*above) + usize::from(*left);
                    let filled = self.block(bools, kind, before, first);
                    (*above, *left) = (filled, filled);
                }
            }
        }
    }

    /// Reads the coefficients of a block of a kind, and says whether there were any.
    fn block(&self, bools: &mut Bools, kind: usize, mut before: usize, first: usize) -> bool {
        /// Which probabilities a place in a block has.
        const BANDS: [usize; 16] = [0, 1, 2, 3, 6, 4, 5, 6, 6, 6, 6, 6, 6, 6, 6, 7];
        let (mut is_filled, mut after_zero) = (false, false);
        for band in BANDS.iter().skip(first) {
            let begin = ((kind * 8 + band) * 3 + before) * 11;
            let probabilities = self.tokens.get(begin..).and_then(|rest| rest.first_chunk());
            let Some(&[end, zero, one, few, two, three, some, less, more, third, fifth]) = probabilities else {
                break;
            };
            if !after_zero && !bools.bool(end) {
                break;
            }
            is_filled = true;
            after_zero = !bools.bool(zero);
            if after_zero {
                before = 0;
                continue;
            }
            before = 1;
            if bools.bool(one) {
                before = 2;
                // The bits that a category has beside it, by how likely each is not set.
                let extra: &[u8] = if !bools.bool(few) {
                    if bools.bool(two) {
                        bools.bool(three);
                    }
                    &[]
                } else if !bools.bool(some) {
                    if bools.bool(less) { &[165, 145] } else { &[159] }
                } else if !bools.bool(more) {
                    if bools.bool(third) {
                        &[176, 155, 140, 135]
                    } else {
                        &[173, 148, 140]
                    }
                } else if bools.bool(fifth) {
                    &[254, 254, 243, 230, 196, 177, 153, 140, 133, 130, 129]
                } else {
                    &[180, 157, 141, 134, 130]
                };
                for &probability in extra {
                    bools.bool(probability);
                }
            }
            // Its sign.
            bools.flag();
        }
        is_filled
    }
}

/// What segments differ in, which is passed over, and how macroblocks name theirs.
fn segments(bools: &mut Bools) -> Option<[u8; 3]> {
    let (has_map, has_values) = (bools.flag(), bools.flag());
    if has_values {
        bools.flag();
        for n_bits in [7, 7, 7, 7, 6, 6, 6, 6] {
            bools.optional(n_bits + 1);
        }
    }
    has_map.then(|| [(); 3].map(|()| bools.optional(8).map_or(255, |probability| probability as u8)))
}

/// Reads the modes of a macroblock, and says whether the means of its luma are in a block of their own: that is where its
/// blocks have one mode.
fn modes(bools: &mut Bools, above: &mut Macroblock, left: &mut Macroblock) -> bool {
    /// From a node to the next two; 0 and below are modes.
    const TREE: [i8; 18] = [0, 2, -1, 4, -2, 6, 8, 12, -3, 10, -5, -6, -4, 14, -7, 16, -8, -9];
    let is_one = bools.bool(145);
    if is_one {
        // Of a block that has the same one: mean, vertical, horizontal, and true motion.
        let is_later = bools.bool(156);
        let mode = match (is_later, bools.bool(if is_later { EVEN } else { 163 })) {
            (false, false) => 0,
            (false, true) => 2,
            (true, false) => 3,
            (true, true) => 1,
        };
        (above.modes, left.modes) = ([mode; 4], [mode; 4]);
    } else {
        for left in &mut left.modes {
            for above in &mut above.modes {
                let begin = (usize::from(*above) * 10 + usize::from(*left)) * 9;
                let probabilities = MODES.get(begin..begin + 9).unwrap_or_default();
                let mut node = 0;
                let mode = loop {
                    let probability = probabilities.get(node / 2).copied().unwrap_or(EVEN);
                    let next = TREE.get(node + usize::from(bools.bool(probability)));
                    match next.map_or(0, |next| i16::from(*next)) {
                        next @ 1.. => node = usize::from(next.unsigned_abs()),
                        mode => break mode.unsigned_abs() as u8,
                    }
                };
                (*above, *left) = (mode, mode);
            }
        }
    }
    // Chroma: mean, vertical, horizontal or true motion.
    if bools.bool(142) && bools.bool(114) {
        bools.bool(183);
    }
    is_one
}

/// The boolean decoder (section 7). Behind the end of its data it reads zeros, and knows of it.
#[derive(Debug)]
struct Bools<'a> {
    rest: &'a [u8],
    /// What is left of the bits that were taken in: eight that are compared, and those behind them.
    value: u64,
    // Invariant: 128 to 255.
    range: u32,
    /// How many bits there are behind the eight; below 0 some of the eight are missing.
    n_bits: i32,
    /// The bytes that were read behind the end.
    n_missing: usize,
}

impl<'a> Bools<'a> {
    fn new(data: &'a [u8]) -> Self {
        Self {
            rest: data,
            value: 0,
            range: 255,
            n_bits: -8,
            n_missing: 0,
        }
    }

    /// A bit, by how likely it is not set, in 256 parts.
    #[inline(always)]
    fn bool(&mut self, probability: u8) -> bool {
        if self.n_bits < 0 {
            self.fill();
        }
        let split = 1 + (((self.range - 1) * u32::from(probability)) >> 8);
        let place = u64::from(split) << self.n_bits;
        let is_set = self.value >= place;
        if is_set {
            self.range -= split;
            self.value -= place;
        } else {
            self.range = split;
        }
        let shift = self.range.leading_zeros() - 24;
        self.range <<= shift;
        self.n_bits -= shift.cast_signed();
        is_set
    }

    fn fill(&mut self) {
        if let Some((word, rest)) = self.rest.split_first_chunk() {
            self.value = self.value << 32 | u64::from(u32::from_be_bytes(*word));
            self.n_bits += 32;
            self.rest = rest;
            return;
        }
        let byte = match self.rest.split_first() {
            Some((byte, rest)) => {
                self.rest = rest;
                *byte
            }
            None => {
                self.n_missing += 1;
                0
            }
        };
        self.value = self.value << 8 | u64::from(byte);
        self.n_bits += 8;
    }

    fn flag(&mut self) -> bool {
        self.bool(EVEN)
    }

    fn literal(&mut self, n_bits: u32) -> u32 {
        (0..n_bits).fold(0, |number, _| number << 1 | u32::from(self.flag()))
    }

    /// A number of so many bits behind a flag that says whether it is there.
    fn optional(&mut self, n_bits: u32) -> Option<u32> {
        self.flag().then(|| self.literal(n_bits))
    }

    /// Whether more was read than there is.
    fn is_short(&self) -> bool {
        self.n_missing > 0
    }

    /// The bytes of which no bit was needed.
    fn n_left(&self) -> usize {
        self.rest.len() + usize::try_from(self.n_bits / 8).unwrap_or_default()
    }
}
