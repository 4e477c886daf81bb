//! Graphs, nodes and functions of a file.

use crate::error::Error;
use crate::file::{Attribute, Counts, Opset, TensorView, ValueInfo, name, opset, within};
use crate::limits;
use crate::wire::Fields;

/// `GraphProto`.
#[derive(Debug, Default)]
pub(crate) struct GraphView<'a> {
    pub(crate) nodes: Vec<Node<'a>>,
    pub(crate) initializers: Vec<TensorView<'a>>,
    pub(crate) inputs: Vec<ValueInfo<'a>>,
    pub(crate) outputs: Vec<ValueInfo<'a>>,
    pub(crate) has_sparse: bool,
}

/// `NodeProto`.
#[derive(Debug, Default)]
pub(crate) struct Node<'a> {
    pub(crate) name: &'a str,
    pub(crate) operator: &'a str,
    pub(crate) domain: &'a str,
    pub(crate) overload: &'a str,
    pub(crate) inputs: Vec<&'a str>,
    pub(crate) outputs: Vec<&'a str>,
    pub(crate) attributes: Vec<Attribute<'a>>,
}

/// `FunctionProto`.
#[derive(Debug, Default)]
pub(crate) struct Function<'a> {
    pub(crate) name: &'a str,
    pub(crate) domain: &'a str,
    pub(crate) overload: &'a str,
    pub(crate) inputs: Vec<&'a str>,
    pub(crate) outputs: Vec<&'a str>,
    /// Attributes that have a value where the caller gives none.
    pub(crate) defaults: Vec<Attribute<'a>>,
    pub(crate) nodes: Vec<Node<'a>>,
    pub(crate) opsets: Vec<Opset<'a>>,
}

impl<'a> GraphView<'a> {
    pub(crate) fn read(bytes: &'a [u8], counts: &mut Counts) -> Result<Self, Error> {
        const PART: &str = "the graph";
        let mut graph = Self::default();
        for field in Fields::of(bytes) {
            let field = within(PART, field)?;
            match field.number {
                1 => graph.nodes.push(Node::read(within(PART, field.bytes())?, counts)?),
                5 => {
                    counts.initializer()?;
                    graph.initializers.push(TensorView::read(within(PART, field.bytes())?)?);
                }
                11 => {
                    // Older exporters list every initialiser among the inputs.
                    counts.initializer()?;
                    graph.inputs.push(ValueInfo::read(within(PART, field.bytes())?)?);
                }
                12 => {
                    counts.entry()?;
                    graph.outputs.push(ValueInfo::read(within(PART, field.bytes())?)?);
                }
                15 => graph.has_sparse = true,
                _ => {}
            }
        }
        Ok(graph)
    }
}

impl<'a> Node<'a> {
    fn read(bytes: &'a [u8], counts: &mut Counts) -> Result<Self, Error> {
        const PART: &str = "a node";
        counts.node()?;
        let mut node = Self::default();
        for field in Fields::of(bytes) {
            let field = within(PART, field)?;
            match field.number {
                1 => {
                    counts.name()?;
                    node.inputs.push(name("a node's input", &field)?);
                }
                2 => {
                    counts.name()?;
                    node.outputs.push(name("a node's output", &field)?);
                }
                3 => node.name = name(PART, &field)?,
                4 => node.operator = name("an operator", &field)?,
                5 => {
                    counts.attribute()?;
                    few(&node.attributes)?;
                    node.attributes.push(Attribute::read(within(PART, field.bytes())?)?);
                }
                7 => node.domain = name("a domain", &field)?,
                8 => node.overload = name("an overload", &field)?,
                _ => {}
            }
        }
        Ok(node)
    }

    /// The node's own name, or that of its first output where it has none.
    pub(crate) fn label(&self) -> &'a str {
        match self.name {
            "" => self.outputs.first().copied().unwrap_or(""),
            name => name,
        }
    }
}

/// Refuses another attribute where there are many.
fn few(attributes: &[Attribute<'_>]) -> Result<(), Error> {
    match attributes.len() < limits::OWN_ATTRIBUTES {
        true => Ok(()),
        false => Err(Error::TooMany {
            what: "attributes of one node",
            limit: limits::OWN_ATTRIBUTES,
        }),
    }
}

impl<'a> Function<'a> {
    pub(crate) fn read(bytes: &'a [u8], counts: &mut Counts) -> Result<Self, Error> {
        const PART: &str = "a function";
        let mut function = Self::default();
        for field in Fields::of(bytes) {
            let field = within(PART, field)?;
            match field.number {
                1 => function.name = name(PART, &field)?,
                4 => {
                    counts.name()?;
                    function.inputs.push(name("a function's input", &field)?);
                }
                5 => {
                    counts.name()?;
                    function.outputs.push(name("a function's output", &field)?);
                }
                7 => function.nodes.push(Node::read(within(PART, field.bytes())?, counts)?),
                9 => {
                    counts.entry()?;
                    function.opsets.push(opset(within(PART, field.bytes())?)?);
                }
                10 => function.domain = name("a domain", &field)?,
                11 => {
                    counts.attribute()?;
                    few(&function.defaults)?;
                    function.defaults.push(Attribute::read(within(PART, field.bytes())?)?);
                }
                13 => function.overload = name("an overload", &field)?,
                _ => {}
            }
        }
        Ok(function)
    }
}
