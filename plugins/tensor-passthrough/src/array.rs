//! An array as a file describes it, and the tensor that the model takes. Knows no format: nothing here is believed that was not
//! checked against the number of bytes.

use millrace_plugin::{Element, Tensor, TensorData, TensorType};

/// An array in a message, as it is described there.
#[derive(Debug)]
pub(crate) struct Array<'a> {
    pub(crate) kind: Kind,
    pub(crate) shape: Vec<u64>,
    /// Little-endian, row-major; of any length.
    pub(crate) data: &'a [u8],
}

/// The types of elements that a tensor can be made of without a loss that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    U8,
    F16,
    Bf16,
    F32,
    F64,
}

impl Kind {
    /// Bytes of one element.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    pub(crate) fn plural(self) -> &'static str {
        match self {
            Self::U8 => "bytes",
            Self::F16 => "16-bit floats",
            Self::Bf16 => "bfloat16 floats",
            Self::F32 => "32-bit floats",
            Self::F64 => "64-bit floats",
        }
    }
}

impl Array<'_> {
    /// The tensor, where it is what the model takes.
    pub(crate) fn into_tensor(self, wants: &TensorType) -> Result<Tensor, String> {
        self.check_shape(wants)?;
        let expected = wants.elements().saturating_mul(self.kind.bytes());
        if self.data.len() != expected {
            return Err(format!(
                "{} of the shape {:?} are {expected} bytes, there are {}",
                self.kind.plural(),
                wants.shape,
                self.data.len()
            ));
        }
        let data = match (wants.element, self.kind) {
            (Element::Byte, Kind::U8) => TensorData::Bytes(self.data.to_vec()),
            (Element::Float, Kind::F16) => {
                TensorData::Floats(numbers(self.data, |bytes| half(u16::from_le_bytes(bytes))))
            }
            (Element::Float, Kind::Bf16) => TensorData::Floats(numbers(self.data, |bytes| {
                f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)
            })),
            (Element::Float, Kind::F32) => TensorData::Floats(numbers(self.data, f32::from_le_bytes)),
            (Element::Float, Kind::F64) => {
                TensorData::Floats(numbers(self.data, |bytes| f64::from_le_bytes(bytes) as f32))
            }
            (Element::Byte, kind) => return Err(format!("it holds {}, the model takes bytes", kind.plural())),
            (Element::Float, Kind::U8) => return Err("it holds bytes, the model takes floats".to_owned()),
        };
        Tensor::new(wants.shape.clone(), data).map_err(|error| error.to_string())
    }

    /// The shape must be the model's; one axis more in front is a batch of one.
    fn check_shape(&self, wants: &TensorType) -> Result<(), String> {
        let is_wanted = |shape: &[u64]| shape.iter().copied().eq(wants.shape.iter().copied().map(u64::from));
        match self.shape.as_slice() {
            shape if is_wanted(shape) => Ok(()),
            [1, shape @ ..] if is_wanted(shape) => Ok(()),
            [n, shape @ ..] if is_wanted(shape) => Err(format!("it is a batch of {n}: a message is one tensor")),
            shape => Err(format!("its shape is {shape:?}, the model takes {:?}", wants.shape)),
        }
    }
}

fn numbers<const N: usize>(data: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    let (chunks, _) = data.as_chunks::<N>();
    chunks.iter().map(|bytes| number(*bytes)).collect()
}

/// A 16-bit float: one bit of sign, five of exponent, ten of fraction. Every one of them is a 32-bit float exactly.
fn half(bits: u16) -> f32 {
    let (exponent, fraction) = ((bits >> 10) & 0x1f, bits & 0x3ff);
    let magnitude = match exponent {
        // Below the smallest normal number: multiples of 2 to the power of -24.
        0 => f32::from(fraction) * 2.0_f32.powi(-24),
        31 if fraction == 0 => f32::INFINITY,
        31 => f32::NAN,
        // The exponents' biases differ by 112, the fractions' widths by 13 bits.
        _ => f32::from_bits((u32::from(exponent) + 112) << 23 | u32::from(fraction) << 13),
    };
    if bits & 0x8000 == 0 { magnitude } else { -magnitude }
}

#[cfg(test)]
mod tests {
    use super::half;

    #[test]
    fn halves_are_read_exactly() {
        // Of IEEE 754-2008: sign, exponent and fraction by hand.
        let rows: [(u16, f32); 10] = [
            (0x0000, 0.0),
            (0x8000, -0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x3555, 0.333_251_95),
            (0x7bff, 65504.0),
            (0x0400, 6.103_515_6e-5),
            (0x0001, 5.960_464_5e-8),
            (0x03ff, 6.097_555e-5),
            (0xfc00, f32::NEG_INFINITY),
        ];
        for (bits, expected) in rows {
            assert_eq!(half(bits).to_bits(), expected.to_bits(), "{bits:#06x}");
        }
        assert!(half(0x7e00).is_nan());
        // Positive ones are ordered as their bits are.
        assert!((0..0x7c00_u16).all(|bits| half(bits) < half(bits + 1)));
    }
}
