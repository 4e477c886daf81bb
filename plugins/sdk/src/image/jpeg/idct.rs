//! From the coefficients of a block to its samples: the accurate integer transform of libjpeg, number for number. Knows
//! nothing of where blocks come from.

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

/// Writes the samples of a block into the eight rows that begin with `out`, which are `stride` bytes apart.
pub(super) fn inverse(block: &Block, quantiser: &Block, out: &mut [u8], stride: usize) {
    let (rows, _) = block.as_chunks::<SIDE>();
    let (factors, _) = quantiser.as_chunks::<SIDE>();
    let nothing = |row: &[i16; SIDE]| row.iter().fold(0, |all, sample| all | sample) == 0;
    if let [first, others @ ..] = rows
        && others.iter().all(nothing)
        && let [mean, first @ ..] = first
        && first.iter().all(|&coefficient| coefficient == 0)
    {
        // What the two passes come to where there is nothing but a mean.
        let mean = i32::from(mean.wrapping_mul(quantiser.first().copied().unwrap_or_default()));
        let sample = sample(((mean << PASS1_BITS) + 16) >> (PASS1_BITS + 3));
        for row in out.chunks_mut(stride).take(SIDE) {
            if let Some(row) = row.first_chunk_mut::<SIDE>() {
                *row = [sample; SIDE];
            }
        }
        return;
    }
    let mut lanes = [[0; SIDE]; SIDE];
    for ((lanes, row), factors) in lanes.iter_mut().zip(rows).zip(factors) {
        for ((lane, coefficient), factor) in lanes.iter_mut().zip(row).zip(factors) {
            // In sixteen bits, as the vectors of libjpeg-turbo have it.
            *lane = i32::from(coefficient.wrapping_mul(*factor));
        }
    }
    let mut columns = pass::<{ CONST_BITS - PASS1_BITS }>(&lanes);
    for lanes in &mut columns {
        for lane in lanes {
            *lane = (*lane).clamp(i32::from(i16::MIN), i32::from(i16::MAX));
        }
    }
    let columns = transposed(&columns);
    let samples = pass::<{ CONST_BITS + PASS1_BITS + 3 }>(&columns);
    let samples = transposed(&samples);
    for (row, lanes) in out.chunks_mut(stride).zip(&samples) {
        if let Some(row) = row.first_chunk_mut::<SIDE>() {
            *row = lanes.map(sample);
        }
    }
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
