//! Attributes of nodes. The body is read again when a value is asked for: nothing of it is kept.

use crate::error::Error;
use crate::file::{Counts, GraphView, TensorView, name, within};
use crate::wire::{Fault, Field, Fields};

/// `AttributeProto`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attribute<'a> {
    pub(crate) name: &'a str,
    /// The attribute of the enclosing function that is meant; empty where the value is here.
    pub(crate) reference: &'a str,
    /// The code of its type; 0 where the file does not say.
    pub(crate) kind: i64,
    body: &'a [u8],
}

const PART: &str = "an attribute";

impl<'a> Attribute<'a> {
    pub(crate) fn read(body: &'a [u8]) -> Result<Self, Error> {
        let mut attribute = Self {
            name: "",
            reference: "",
            kind: 0,
            body,
        };
        for field in Fields::of(body) {
            let field = within(PART, field)?;
            match field.number {
                1 => attribute.name = name(PART, &field)?,
                20 => attribute.kind = within(PART, field.int())?,
                21 => attribute.reference = name(PART, &field)?,
                _ => {}
            }
        }
        Ok(attribute)
    }

    /// The same value under the name that it has at the node within the function.
    pub(crate) fn renamed(self, name: &'a str) -> Self {
        Self {
            name,
            reference: "",
            ..self
        }
    }

    pub(crate) fn int(&self) -> Result<Option<i64>, Fault> {
        self.last(3)?.map(|field| field.int()).transpose()
    }

    pub(crate) fn float(&self) -> Result<Option<f32>, Fault> {
        self.last(2)?.map(|field| field.float()).transpose()
    }

    pub(crate) fn text(&self) -> Result<Option<&'a str>, Fault> {
        self.last(4)?.map(|field| field.text()).transpose()
    }

    pub(crate) fn ints(&self) -> Result<Vec<i64>, Fault> {
        let mut all = Vec::new();
        for field in self.fields(8) {
            for int in field?.ints() {
                all.push(int?);
            }
        }
        Ok(all)
    }

    pub(crate) fn floats(&self) -> Result<Vec<f32>, Fault> {
        let mut all = Vec::new();
        for field in self.fields(7) {
            all.extend(field?.fours()?.map(f32::from_le_bytes));
        }
        Ok(all)
    }

    pub(crate) fn tensor(&self) -> Result<Option<TensorView<'a>>, Error> {
        match within(PART, self.last(5))? {
            Some(field) => TensorView::read(within(PART, field.bytes())?).map(Some),
            None => Ok(None),
        }
    }

    pub(crate) fn graph(&self, counts: &mut Counts) -> Result<Option<GraphView<'a>>, Error> {
        match within(PART, self.last(6))? {
            Some(field) => GraphView::read(within(PART, field.bytes())?, counts).map(Some),
            None => Ok(None),
        }
    }

    fn fields(&self, number: u32) -> impl Iterator<Item = Result<Field<'a>, Fault>> + use<'a> {
        Fields::of(self.body).filter(move |field| field.as_ref().map_or(true, |field| field.number == number))
    }

    /// The last of a field: so the format says where one is there several times.
    fn last(&self, number: u32) -> Result<Option<Field<'a>>, Fault> {
        let mut last = None;
        for field in self.fields(number) {
            last = Some(field?);
        }
        Ok(last)
    }
}
