//! What an ONNX file says, as views over its bytes: names and numbers stay where they are. Knows no operators.

mod attribute;
mod graph;
mod tensor;
mod value;

use crate::error::Error;
use crate::limits;
use crate::shown::shown;
use crate::wire::{Fault, Field, Fields};

pub(crate) use attribute::Attribute;
pub(crate) use graph::{Function, GraphView, Node};
pub(crate) use tensor::{External, TensorView};
pub(crate) use value::{Dim, ValueInfo};

/// A whole file.
#[derive(Debug)]
pub(crate) struct ModelView<'a> {
    pub(crate) producer: &'a str,
    pub(crate) producer_version: &'a str,
    pub(crate) opsets: Vec<Opset<'a>>,
    pub(crate) graph: GraphView<'a>,
    pub(crate) functions: Vec<Function<'a>>,
    pub(crate) metadata: Vec<(&'a str, &'a str)>,
}

/// A version of a set of operators.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opset<'a> {
    pub(crate) domain: &'a str,
    pub(crate) version: i64,
}

/// How much of the limits is left while a file is read.
#[derive(Debug)]
pub(crate) struct Counts {
    nodes: usize,
    attributes: usize,
    names: usize,
    initializers: usize,
    entries: usize,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            nodes: limits::NODES,
            attributes: limits::ATTRIBUTES,
            names: limits::NAMES,
            initializers: limits::INITIALIZERS,
            entries: limits::ENTRIES,
        }
    }
}

impl Counts {
    pub(crate) fn node(&mut self) -> Result<(), Error> {
        spend(&mut self.nodes, "nodes", limits::NODES)
    }

    pub(crate) fn attribute(&mut self) -> Result<(), Error> {
        spend(&mut self.attributes, "attributes", limits::ATTRIBUTES)
    }

    pub(crate) fn name(&mut self) -> Result<(), Error> {
        spend(&mut self.names, "names of inputs and outputs", limits::NAMES)
    }

    pub(crate) fn initializer(&mut self) -> Result<(), Error> {
        spend(&mut self.initializers, "initialisers", limits::INITIALIZERS)
    }

    pub(crate) fn entry(&mut self) -> Result<(), Error> {
        spend(
            &mut self.entries,
            "inputs, outputs, functions and entries of metadata",
            limits::ENTRIES,
        )
    }
}

fn spend(left: &mut usize, what: &'static str, limit: usize) -> Result<(), Error> {
    *left = left.checked_sub(1).ok_or(Error::TooMany { what, limit })?;
    Ok(())
}

/// Adds where a fault was.
pub(crate) fn within<T>(part: &'static str, result: Result<T, Fault>) -> Result<T, Error> {
    result.map_err(|fault| Error::Malformed { part, fault })
}

/// A name that is not too long.
pub(crate) fn name<'a>(what: &'static str, field: &Field<'a>) -> Result<&'a str, Error> {
    let text = within(what, field.text())?;
    match text.len() > limits::NAME_BYTES {
        true => Err(Error::LongName {
            shown: shown(text),
            what,
            bytes: text.len(),
            limit: limits::NAME_BYTES,
        }),
        false => Ok(text),
    }
}

impl<'a> ModelView<'a> {
    /// Reads everything but the numbers.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, Error> {
        const PART: &str = "the model";
        let mut counts = Counts::default();
        let mut view = Self {
            producer: "",
            producer_version: "",
            opsets: Vec::new(),
            graph: GraphView::default(),
            functions: Vec::new(),
            metadata: Vec::new(),
        };
        let mut graph = None;
        for field in Fields::of(bytes) {
            let field = within(PART, field)?;
            match field.number {
                2 => view.producer = name("the producer", &field)?,
                3 => view.producer_version = name("the producer", &field)?,
                7 if graph.is_some() => return Err(Error::Twice("its graph")),
                7 => graph = Some(within(PART, field.bytes())?),
                8 => {
                    counts.entry()?;
                    view.opsets.push(opset(within(PART, field.bytes())?)?);
                }
                14 => {
                    counts.entry()?;
                    view.metadata.extend(entry(within(PART, field.bytes())?)?);
                }
                25 => {
                    counts.entry()?;
                    view.functions
                        .push(Function::read(within(PART, field.bytes())?, &mut counts)?);
                }
                _ => {}
            }
        }
        view.graph = GraphView::read(graph.ok_or(Error::Missing("graph"))?, &mut counts)?;
        Ok(view)
    }
}

/// `OperatorSetIdProto`.
pub(crate) fn opset(bytes: &[u8]) -> Result<Opset<'_>, Error> {
    let mut opset = Opset { domain: "", version: 0 };
    for field in Fields::of(bytes) {
        let field = within("an operator set", field)?;
        match field.number {
            1 => opset.domain = name("an operator set", &field)?,
            2 => opset.version = within("an operator set", field.int())?,
            _ => {}
        }
    }
    Ok(opset)
}

/// `StringStringEntryProto`; nothing where it is too long to be of use.
fn entry(bytes: &[u8]) -> Result<Option<(&str, &str)>, Error> {
    let (mut key, mut value) = ("", "");
    for field in Fields::of(bytes) {
        let field = within("the metadata", field)?;
        match field.number {
            1 => key = within("the metadata", field.text())?,
            2 => value = within("the metadata", field.text())?,
            _ => {}
        }
    }
    let fits = key.len() <= limits::NAME_BYTES && value.len() <= limits::METADATA_BYTES;
    Ok(fits.then_some((key, value)))
}
