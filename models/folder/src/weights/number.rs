//! The number types that weights come in, widened or narrowed to `f32`.

use half::{bf16, f16};

/// The type of a number in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Number {
    F16,
    Bf16,
    F32,
    F64,
    /// No weights: recorded byte inputs.
    U8,
}

impl Number {
    /// Bytes of one.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// Little-endian numbers as `f32`; an incomplete number at the end is left out. An `f64` beyond the range becomes
    /// infinite.
    pub(crate) fn widen(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::U8 => bytes.iter().map(|byte| f32::from(*byte)).collect(),
            Self::F16 => chunks(bytes)
                .map(|number| f16::from_le_bytes(number).to_f32())
                .collect(),
            Self::Bf16 => chunks(bytes)
                .map(|number| bf16::from_le_bytes(number).to_f32())
                .collect(),
            Self::F32 => chunks(bytes).map(f32::from_le_bytes).collect(),
            Self::F64 => chunks(bytes).map(|number| f64::from_le_bytes(number) as f32).collect(),
        }
    }
}

fn chunks<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks::<N>().0.iter().copied()
}

#[cfg(test)]
mod tests {
    use super::Number;

    fn check(number: Number, bytes: &[u8], expected: &[f32]) {
        assert_eq!(number.widen(bytes), expected, "{number:?}");
        assert_eq!(bytes.len(), expected.len() * number.bytes());
    }

    #[test]
    fn every_type_widens_to_f32() {
        check(Number::U8, &[0, 255], &[0.0, 255.0]);
        check(Number::F16, &[0x00, 0x3c, 0x00, 0xc0], &[1.0, -2.0]);
        check(Number::Bf16, &[0x80, 0x3f, 0x00, 0xc0], &[1.0, -2.0]);
        check(Number::F32, &1.5f32.to_le_bytes(), &[1.5]);
        check(Number::F64, &(-0.25f64).to_le_bytes(), &[-0.25]);
        check(Number::F64, &1e300f64.to_le_bytes(), &[f32::INFINITY]);
    }
}
