//! Names, types and shapes of a graph's inputs and outputs.

use crate::error::{Error, TensorFault};
use crate::file::{name, within};
use crate::limits;
use crate::shown::shown;
use crate::wire::{Fault, Fields};

/// `ValueInfoProto`.
#[derive(Debug, Clone, Default)]
pub(crate) struct ValueInfo<'a> {
    pub(crate) name: &'a str,
    /// The code of the element type; 0 where it is no tensor or nothing is said.
    pub(crate) kind: i64,
    /// Nothing where not even the number of axes is said.
    pub(crate) dims: Option<Vec<Dim<'a>>>,
}

/// A length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dim<'a> {
    /// A number; 0 and below mean that it is free.
    Fixed(i64),
    /// A name for what is free; empty where nothing is said.
    Free(&'a str),
}

const PART: &str = "the type of an input or output";

impl<'a> ValueInfo<'a> {
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut value = Self::default();
        let mut kind = None;
        for field in Fields::of(bytes) {
            let field = within(PART, field)?;
            match field.number {
                1 => value.name = name("an input or output", &field)?,
                2 => kind = Some(within(PART, field.bytes())?),
                _ => {}
            }
        }
        // A type is several messages deep, each at most once: no recursion.
        let tensor = within(PART, inner(kind, 1))?;
        for field in Fields::of(tensor.unwrap_or_default()) {
            let field = within(PART, field)?;
            match field.number {
                1 => value.kind = within(PART, field.int())?,
                2 => value.dims = Some(dims(value.name, within(PART, field.bytes())?)?),
                _ => {}
            }
        }
        Ok(value)
    }
}

fn inner(message: Option<&[u8]>, number: u32) -> Result<Option<&[u8]>, Fault> {
    let mut found = None;
    for field in Fields::of(message.unwrap_or_default()) {
        let field = field?;
        if field.number == number {
            found = Some(field.bytes()?);
        }
    }
    Ok(found)
}

/// `TensorShapeProto`.
fn dims<'a>(value: &str, bytes: &'a [u8]) -> Result<Vec<Dim<'a>>, Error> {
    let mut dims = Vec::new();
    for field in Fields::of(bytes) {
        let field = within(PART, field)?;
        if field.number != 1 {
            continue;
        }
        if dims.len() == limits::RANK {
            return Err(Error::Tensor {
                name: shown(value),
                fault: TensorFault::Rank(limits::RANK.saturating_add(1)),
            });
        }
        let mut dim = Dim::Free("");
        for field in Fields::of(within(PART, field.bytes())?) {
            let field = within(PART, field)?;
            match field.number {
                1 => dim = Dim::Fixed(within(PART, field.int())?),
                2 => dim = Dim::Free(name("an axis", &field)?),
                _ => {}
            }
        }
        dims.push(dim);
    }
    Ok(dims)
}
