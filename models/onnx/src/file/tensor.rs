//! Tensors as a file declares them: shape, type, and where the numbers are.

use crate::error::{Error, TensorFault};
use crate::file::{name, within};
use crate::limits;
use crate::shown::shown;
use crate::wire::{Fault, Field, Fields};

/// `TensorProto`.
#[derive(Debug, Clone)]
pub(crate) struct TensorView<'a> {
    pub(crate) name: &'a str,
    // Invariant: at most `limits::RANK` of them, and their product fits.
    pub(crate) dims: Vec<usize>,
    pub(crate) kind: i64,
    pub(crate) raw: Option<&'a [u8]>,
    pub(crate) external: Option<External<'a>>,
    body: &'a [u8],
}

/// Where in another file the numbers are.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct External<'a> {
    pub(crate) location: &'a str,
    pub(crate) offset: Option<u64>,
    pub(crate) length: Option<u64>,
}

const PART: &str = "a tensor";

impl<'a> TensorView<'a> {
    pub(crate) fn read(body: &'a [u8]) -> Result<Self, Error> {
        let mut view = Self {
            name: "",
            dims: Vec::new(),
            kind: 0,
            raw: None,
            external: None,
            body,
        };
        let mut dims = Vec::new();
        let mut is_external = false;
        let mut place = External::default();
        for field in Fields::of(body) {
            let field = within(PART, field)?;
            match field.number {
                1 => {
                    for dim in field.ints() {
                        // One more than may be is enough to be refused below.
                        if dims.len() <= limits::RANK {
                            dims.push(within(PART, dim)?);
                        }
                    }
                }
                2 => view.kind = within(PART, field.int())?,
                8 => view.name = name("an initialiser", &field)?,
                9 => view.raw = Some(within(PART, field.bytes())?),
                13 => place.entry(within(PART, field.bytes())?)?,
                14 => is_external = within(PART, field.int())? == 1,
                _ => {}
            }
        }
        view.external = is_external.then_some(place);
        view.dims = lengths(&dims).map_err(|fault| Error::Tensor {
            name: shown(view.name),
            fault,
        })?;
        Ok(view)
    }

    /// Where in the file it is: no other is there.
    pub(crate) fn place(&self) -> usize {
        self.body.as_ptr().addr()
    }

    /// How many numbers its shape says; it was checked that they can be counted.
    pub(crate) fn elements(&self) -> usize {
        self.dims.iter().copied().fold(1, usize::saturating_mul)
    }

    /// The fields of a number: the numbers of one type.
    pub(crate) fn fields(&self, number: u32) -> impl Iterator<Item = Result<Field<'a>, Fault>> + use<'a> {
        Fields::of(self.body).filter(move |field| field.as_ref().map_or(true, |field| field.number == number))
    }
}

fn lengths(dims: &[i64]) -> Result<Vec<usize>, TensorFault> {
    if dims.len() > limits::RANK {
        return Err(TensorFault::Rank(dims.len()));
    }
    let impossible = || TensorFault::Shape(format!("{dims:?}"));
    let dims: Vec<usize> = dims
        .iter()
        .map(|dim| usize::try_from(*dim).map_err(|_| impossible()))
        .collect::<Result<_, _>>()?;
    // An axis of length 0 does not make the others harmless: they are walked nevertheless.
    let declared = dims
        .iter()
        .try_fold(1_usize, |product, dim| product.checked_mul((*dim).max(1)))
        .ok_or_else(impossible)?;
    match declared > limits::WEIGHTS {
        true => Err(TensorFault::Large {
            declared,
            limit: limits::WEIGHTS,
        }),
        false => Ok(dims),
    }
}

impl<'a> External<'a> {
    fn entry(&mut self, bytes: &'a [u8]) -> Result<(), Error> {
        const PLACE: &str = "the place of an initialiser in another file";
        let (mut key, mut value) = ("", "");
        for field in Fields::of(bytes) {
            let field = within(PLACE, field)?;
            match field.number {
                1 => key = name(PLACE, &field)?,
                2 => value = name(PLACE, &field)?,
                _ => {}
            }
        }
        match key {
            "location" => self.location = value,
            "offset" => self.offset = Some(bytes_of("offset", value)?),
            "length" => self.length = Some(bytes_of("length", value)?),
            _ => {}
        }
        Ok(())
    }
}

fn bytes_of(key: &'static str, value: &str) -> Result<u64, Error> {
    value.parse().map_err(|_| Error::Tensor {
        name: String::new(),
        fault: TensorFault::Entry {
            key,
            value: shown(value),
        },
    })
}
