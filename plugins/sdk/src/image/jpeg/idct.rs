//! From the coefficients of a block to its samples: the accurate integer transform of libjpeg, number for number. Knows
//! nothing of where blocks come from.
//!
//! libjpeg-turbo computes it in vectors of sixteen bits, and where a number does not fit into these, every processor makes
//! another picture of it. A block of which that is true is not decoded: its samples lie beyond four times what eight bits
//! hold, which no encoder writes.

use super::Damage;

/// Samples of a side of a block.
pub(super) const SIDE: usize = 8;
/// Samples of a block.
pub(super) const AREA: usize = SIDE * SIDE;

/// Coefficients or quantisers, row by row.
pub(super) type Block = [i16; AREA];

/// Bits behind the point of the constants.
const CONST_BITS: u32 = 13;
/// Bits that the first pass leaves behind the point.
const PASS1_BITS: u32 = 2;

type Lanes = [i32; SIDE];

/// The most that a number may be before a pass, on both sides of 0: a pass adds two of them up in sixteen bits. The first
/// pass makes 32 of a sample that is off the middle by 1, so that this allows 511, where eight bits hold 128.
const NUMBER_MAX: u32 = 16_383;

/// Writes the samples of a block into the eight rows that begin with `out`, which are `stride` bytes apart.
#[inline]
pub(super) fn inverse(block: &Block, quantiser: &Block, out: &mut [u8], stride: usize) -> Result<(), Damage> {
    let (rows, _) = block.as_chunks::<SIDE>();
    let (factors, _) = quantiser.as_chunks::<SIDE>();
    let nothing = |row: &[i16; SIDE]| row.iter().fold(0, |all, sample| all | sample) == 0;
    if let [first, others @ ..] = rows
        && others.iter().all(nothing)
        && let [mean, first @ ..] = first
        && first.iter().all(|&coefficient| coefficient == 0)
    {
        // What the two passes come to where there is nothing but a mean.
        let mean = product(*mean, quantiser.first().copied().unwrap_or_default());
        check(&[[mean << PASS1_BITS]])?;
        let sample = sample(((mean << PASS1_BITS) + 16) >> (PASS1_BITS + 3));
        for row in out.chunks_mut(stride).take(SIDE) {
            if let Some(row) = row.first_chunk_mut::<SIDE>() {
                *row = [sample; SIDE];
            }
        }
        return Ok(());
    }
    let mut lanes = [[0; SIDE]; SIDE];
    for ((lanes, row), factors) in lanes.iter_mut().zip(rows).zip(factors) {
        for ((lane, coefficient), factor) in lanes.iter_mut().zip(row).zip(factors) {
            *lane = product(*coefficient, *factor);
        }
    }
    check(&lanes)?;
    let columns = pass::<{ CONST_BITS - PASS1_BITS }>(&lanes);
    check(&columns)?;
    let columns = transposed(&columns);
    let samples = pass::<{ CONST_BITS + PASS1_BITS + 3 }>(&columns);
    let samples = transposed(&samples);
    for (row, lanes) in out.chunks_mut(stride).zip(&samples) {
        if let Some(row) = row.first_chunk_mut::<SIDE>() {
            *row = lanes.map(sample);
        }
    }
    Ok(())
}

/// What a coefficient stands for. Quantisers have sixteen bits without a sign.
#[inline(always)]
fn product(coefficient: i16, factor: i16) -> i32 {
    i32::from(coefficient) * i32::from(factor.cast_unsigned())
}

/// Tells numbers that the next pass cannot take.
#[inline(always)]
fn check<const N: usize>(rows: &[[i32; N]]) -> Result<(), Damage> {
    let all = rows.as_flattened().iter();
    if all.fold(0, |most, number| most.max(number.unsigned_abs())) > NUMBER_MAX {
        return Err(Damage::Range);
    }
    Ok(())
}

fn sample(value: i32) -> u8 {
    (value + 128).clamp(0, 255) as u8
}

fn transposed(from: &[Lanes; SIDE]) -> [Lanes; SIDE] {
    let [a, b, c, d, e, f, g, h] = from;
    let mut to = [[0; SIDE]; SIDE];
    let columns = a.iter().zip(b).zip(c).zip(d).zip(e).zip(f).zip(g).zip(h);
    for (to, (((((((a, b), c), d), e), f), g), h)) in to.iter_mut().zip(columns) {
        *to = [*a, *b, *c, *d, *e, *f, *g, *h];
    }
    to
}

/// One dimension of the transform, for eight columns at once: the algorithm of Loeffler, Ligtenberg and Moschytz with
/// twelve multiplications, whose roundings are part of the format as everybody knows it.
#[expect(
    clippy::indexing_slicing,
    reason = "arrays of eight, by a counter below eight: what is known not to fail is what becomes vectors"
)]
#[inline(always)]
fn pass<const SHIFT: u32>(rows: &[Lanes; SIDE]) -> [Lanes; SIDE] {
    let mut out = [[0; SIDE]; SIDE];
    let times = i32::wrapping_mul;
    for at in 0..SIDE {
        let row = |n: usize| rows[n][at];
        let z1 = times(row(2).wrapping_add(row(6)), 4433);
        let two = z1.wrapping_add(times(row(6), -15137));
        let three = z1.wrapping_add(times(row(2), 6270));
        let zero = row(0).wrapping_add(row(4)) << CONST_BITS;
        let one = row(0).wrapping_sub(row(4)) << CONST_BITS;
        let even = [
            zero.wrapping_add(three),
            one.wrapping_add(two),
            one.wrapping_sub(two),
            zero.wrapping_sub(three),
        ];

        let (a, b, c, d) = (row(7), row(5), row(3), row(1));
        let z5 = times(a.wrapping_add(c).wrapping_add(b).wrapping_add(d), 9633);
        let z1 = times(a.wrapping_add(d), -7373);
        let z2 = times(b.wrapping_add(c), -20995);
        let z3 = times(a.wrapping_add(c), -16069).wrapping_add(z5);
        let z4 = times(b.wrapping_add(d), -3196).wrapping_add(z5);
        let odd = [
            times(d, 12299).wrapping_add(z1).wrapping_add(z4),
            times(c, 25172).wrapping_add(z2).wrapping_add(z3),
            times(b, 16819).wrapping_add(z2).wrapping_add(z4),
            times(a, 2446).wrapping_add(z1).wrapping_add(z3),
        ];

        let rounded = |value: i32| value.wrapping_add(1 << (SHIFT - 1)) >> SHIFT;
        out[0][at] = rounded(even[0].wrapping_add(odd[0]));
        out[1][at] = rounded(even[1].wrapping_add(odd[1]));
        out[2][at] = rounded(even[2].wrapping_add(odd[2]));
        out[3][at] = rounded(even[3].wrapping_add(odd[3]));
        out[4][at] = rounded(even[3].wrapping_sub(odd[3]));
        out[5][at] = rounded(even[2].wrapping_sub(odd[2]));
        out[6][at] = rounded(even[1].wrapping_sub(odd[1]));
        out[7][at] = rounded(even[0].wrapping_sub(odd[0]));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of one coefficient the first sample, or that there is none.
    fn check(place: usize, coefficient: i16, quantiser: u16, expected: Option<u8>) {
        let (mut block, mut quantisers) = ([0; AREA], [1; AREA]);
        block[place] = coefficient;
        quantisers[place] = quantiser.cast_signed();
        let mut out = [0; AREA];
        let found = inverse(&block, &quantisers, &mut out, SIDE);
        assert_eq!(found.ok().map(|()| out[0]), expected, "{coefficient} x {quantiser}");
    }

    #[test]
    fn what_sixteen_bits_do_not_hold_is_refused() {
        // The mean of a block, and those of its columns, make four of themselves in the first pass.
        check(0, 80, 1, Some(138));
        check(0, 1023, 1, Some(255));
        check(0, 1365, 3, Some(255));
        check(0, -1365, 3, Some(0));
        check(0, 1024, 4, None);
        check(0, -2047, 255, None);
        // Products that would be small ones in sixteen bits.
        check(0, 1, 65_535, None);
        check(0, 2, 32_769, None);
        check(0, 0, 65_535, Some(128));
        check(1, 1365, 3, Some(255));
        check(1, 1024, 4, None);
        // The others make up to 5.6.
        check(8, 2900, 1, Some(255));
        check(8, 3000, 1, None);
        check(9, -2900, 1, Some(0));
        check(63, 16_384, 1, None);
        check(1, 1, 50_000, None);
        // Each in its bounds, and their sum not.
        let mut block = [0; AREA];
        for place in block.iter_mut().step_by(SIDE) {
            *place = 1500;
        }
        assert_eq!(inverse(&block, &[1; AREA], &mut [0; AREA], SIDE), Err(Damage::Range));
    }
}
