//! Types of numbers in files, and how bytes become numbers of ours.

use std::sync::Arc;

use crate::error::TensorFault;
use crate::file::TensorView;
use crate::known::{Data, Kind, Tensor};
use crate::source::Source;
use crate::wire::Fault;

/// The type of an element in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Element {
    Float,
    Uint8,
    Int8,
    Uint16,
    Int16,
    Int32,
    Int64,
    Bool,
    Float16,
    Double,
    Uint32,
    Uint64,
    Bfloat16,
}

/// The names of all codes; those of [`Element`] are read.
const NAMES: [&str; 27] = [
    "undefined",
    "float",
    "uint8",
    "int8",
    "uint16",
    "int16",
    "int32",
    "int64",
    "string",
    "bool",
    "float16",
    "double",
    "uint32",
    "uint64",
    "complex64",
    "complex128",
    "bfloat16",
    "float8e4m3fn",
    "float8e4m3fnuz",
    "float8e5m2",
    "float8e5m2fnuz",
    "uint4",
    "int4",
    "float4e2m1",
    "float8e8m0",
    "uint2",
    "int2",
];

impl Element {
    /// The type of a code; its name where numbers of it are not read.
    pub(crate) fn of(code: i64) -> Result<Self, String> {
        Ok(match code {
            1 => Self::Float,
            2 => Self::Uint8,
            3 => Self::Int8,
            4 => Self::Uint16,
            5 => Self::Int16,
            6 => Self::Int32,
            7 => Self::Int64,
            9 => Self::Bool,
            10 => Self::Float16,
            11 => Self::Double,
            12 => Self::Uint32,
            13 => Self::Uint64,
            16 => Self::Bfloat16,
            _ => {
                let name = usize::try_from(code).ok().and_then(|code| NAMES.get(code));
                return Err(name.map_or_else(|| format!("number {code}"), |name| (*name).to_owned()));
            }
        })
    }

    /// What a number of this type stands for.
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Float | Self::Float16 | Self::Double | Self::Bfloat16 => Kind::Float,
            Self::Bool => Kind::Bool,
            _ => Kind::Int,
        }
    }

    /// Bytes of one number.
    fn width(self) -> usize {
        match self {
            Self::Uint8 | Self::Int8 | Self::Bool => 1,
            Self::Uint16 | Self::Int16 | Self::Float16 | Self::Bfloat16 => 2,
            Self::Float | Self::Int32 | Self::Uint32 => 4,
            Self::Int64 | Self::Double | Self::Uint64 => 8,
        }
    }

    /// The field of `TensorProto` that numbers of this type are in where they are not bytes.
    fn field(self) -> u32 {
        match self {
            Self::Float => 4,
            Self::Int64 => 7,
            Self::Double => 10,
            Self::Uint32 | Self::Uint64 => 11,
            _ => 5,
        }
    }
}

/// The numbers of a tensor.
pub(crate) fn decode(view: &TensorView<'_>, source: &Source) -> Result<Tensor, TensorFault> {
    let element = Element::of(view.kind).map_err(TensorFault::Type)?;
    let elements = view.elements();
    let expected = elements.saturating_mul(element.width());
    let data = match (&view.external, view.raw) {
        (Some(place), _) => of_bytes(element, &source.external(place, expected)?),
        (None, Some(raw)) if raw.len() == expected => of_bytes(element, raw),
        (None, Some(raw)) if !raw.is_empty() => {
            return Err(TensorFault::Count {
                declared: expected,
                found: raw.len(),
                unit: "bytes",
            });
        }
        (None, _) => of_fields(element, view, elements)?,
    };
    match data.len() == elements {
        true => Ok(Tensor {
            dims: view.dims.clone(),
            data,
        }),
        false => Err(TensorFault::Count {
            declared: elements,
            found: data.len(),
            unit: "numbers",
        }),
    }
}

fn of_bytes(element: Element, bytes: &[u8]) -> Data {
    fn numbers<const WIDTH: usize, R>(bytes: &[u8], of: impl Fn([u8; WIDTH]) -> R) -> Arc<[R]> {
        let (chunks, _) = bytes.as_chunks::<WIDTH>();
        chunks.iter().map(|chunk| of(*chunk)).collect()
    }
    match element {
        Element::Float => Data::F32(numbers(bytes, f32::from_le_bytes)),
        Element::Double => Data::F32(numbers(bytes, |chunk| f64::from_le_bytes(chunk) as f32)),
        Element::Float16 => Data::F32(numbers(bytes, |chunk| half(u16::from_le_bytes(chunk)))),
        Element::Bfloat16 => Data::F32(numbers(bytes, |chunk| brain(u16::from_le_bytes(chunk)))),
        Element::Bool => Data::Bool(bytes.iter().map(|byte| *byte != 0).collect()),
        Element::Uint8 => Data::I64(bytes.iter().map(|byte| i64::from(*byte)).collect()),
        Element::Int8 => Data::I64(bytes.iter().map(|byte| i64::from(byte.cast_signed())).collect()),
        Element::Uint16 => Data::I64(numbers(bytes, |chunk| u16::from_le_bytes(chunk).into())),
        Element::Int16 => Data::I64(numbers(bytes, |chunk| i16::from_le_bytes(chunk).into())),
        Element::Int32 => Data::I64(numbers(bytes, |chunk| i32::from_le_bytes(chunk).into())),
        Element::Uint32 => Data::I64(numbers(bytes, |chunk| u32::from_le_bytes(chunk).into())),
        Element::Int64 => Data::I64(numbers(bytes, i64::from_le_bytes)),
        Element::Uint64 => Data::I64(numbers(bytes, |chunk| u64::from_le_bytes(chunk).cast_signed())),
    }
}

/// Numbers in a field of their type, at most one more than there should be.
fn of_fields(element: Element, view: &TensorView<'_>, elements: usize) -> Result<Data, Fault> {
    let most = elements.saturating_add(1);
    let fields = || view.fields(element.field());
    let ints = || -> Result<Vec<i64>, Fault> {
        let mut all = Vec::new();
        for field in fields() {
            for int in field?.ints() {
                if all.len() < most {
                    all.push(int?);
                }
            }
        }
        Ok(all)
    };
    Ok(match element {
        Element::Float => {
            let mut all = Vec::new();
            for field in fields() {
                let left = most.saturating_sub(all.len());
                all.extend(field?.fours()?.map(f32::from_le_bytes).take(left));
            }
            Data::F32(all.into())
        }
        Element::Double => {
            let mut all = Vec::new();
            for field in fields() {
                let left = most.saturating_sub(all.len());
                all.extend(
                    field?
                        .eights()?
                        .map(|chunk| f64::from_le_bytes(chunk) as f32)
                        .take(left),
                );
            }
            Data::F32(all.into())
        }
        // The bits of the number are in the lower half of an integer.
        Element::Float16 => Data::F32(ints()?.into_iter().map(|bits| half(bits as u16)).collect()),
        Element::Bfloat16 => Data::F32(ints()?.into_iter().map(|bits| brain(bits as u16)).collect()),
        Element::Bool => Data::Bool(ints()?.into_iter().map(|bit| bit != 0).collect()),
        _ => Data::I64(ints()?.into()),
    })
}

/// A number of 16 bits: 1 for the sign, 5 for the exponent, 10 for the fraction.
fn half(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from((bits >> 10) & 0x1f);
    let fraction = f32::from(bits & 0x3ff);
    match exponent {
        0 => sign * fraction * 2.0_f32.powi(-24),
        31 if fraction == 0.0 => sign * f32::INFINITY,
        31 => f32::NAN,
        _ => sign * (1.0 + fraction / 1024.0) * 2.0_f32.powi(exponent.saturating_sub(15)),
    }
}

/// The upper half of a number of 32 bits.
fn brain(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}
