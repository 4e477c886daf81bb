//! A model as the world sees it: what its file says of itself, and the graph that it lowers into.

use std::collections::{BTreeSet, HashSet};

use millrace_graph::Graph;

use crate::element::Element;
use crate::error::Error;
use crate::file::{Dim, ModelView};
use crate::limits;
use crate::lower::{self, Batch};
use crate::problem::Problem;
use crate::shown::shown;
use crate::source::Source;
use crate::weights::Weights;

/// A model that was read; the numbers stay in the file until it is lowered.
#[derive(Debug)]
pub struct Model<'a> {
    view: ModelView<'a>,
    weights: Weights<'a>,
    version: i64,
}

/// What a network takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// As the file calls it; cut and escaped.
    pub name: String,
    /// The type of its numbers.
    pub element: Element,
    /// Its axes, the batch among them.
    pub axes: Vec<InputAxis>,
}

/// One axis of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputAxis {
    /// So long.
    Fixed(usize),
    /// Of any length; as the file calls it, if it does.
    Free(String),
}

/// How many items the network computes at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Items {
    /// Any number: the axis is free in the file.
    Free,
    /// Any number, though the file was written for so many.
    FreeFrom(usize),
    /// One at a time: the graph has no batch axis.
    One,
}

/// A graph, and what became of the file's batch axis.
#[derive(Debug, Clone)]
pub struct Lowered {
    /// The graph.
    pub graph: Graph,
    /// How many items it takes.
    pub items: Items,
}

/// What a file leaves open.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The lengths of one item, without the batch, where the file leaves some of them free: `[3, 224, 224]`.
    pub item: Option<Vec<usize>>,
}

impl<'a> Model<'a> {
    /// Reads what is in a file; no weights yet.
    ///
    /// # Errors
    /// When it is no ONNX file, or beyond the limits.
    pub fn read(source: &'a Source) -> Result<Self, Error> {
        let view = ModelView::read(source.bytes())?;
        let version =
            lower::version(&view.opsets).ok_or(Error::Missing("opset: no version of the standard operator set"))?;
        if !(limits::OLDEST_OPSET..=limits::NEWEST_OPSET).contains(&version) {
            return Err(Error::Opset {
                found: version,
                oldest: limits::OLDEST_OPSET,
                newest: limits::NEWEST_OPSET,
            });
        }
        if view.graph.outputs.is_empty() {
            return Err(Error::Missing("output"));
        }
        distinct(&view)?;
        Ok(Self {
            view,
            weights: Weights::of(source),
            version,
        })
    }

    /// What wrote the file, and its version; cut and escaped.
    pub fn producer(&self) -> (String, String) {
        (shown(self.view.producer), shown(self.view.producer_version))
    }

    /// The version of the standard operator set.
    pub fn opset(&self) -> i64 {
        self.version
    }

    /// How many nodes the file has, functions not written out.
    pub fn nodes(&self) -> usize {
        self.view.graph.nodes.len()
    }

    /// What the network takes.
    ///
    /// # Errors
    /// When it takes several, or what no image can be.
    pub fn input(&self) -> Result<Input, Problem> {
        let input = lower::input(&self.view)?;
        let axis = |dim: &Dim<'_>| match (lower::fixed(*dim), *dim) {
            (Some(length), _) => InputAxis::Fixed(length),
            (None, Dim::Free(name)) => InputAxis::Free(shown(name)),
            (None, Dim::Fixed(_)) => InputAxis::Free(String::new()),
        };
        Ok(Input {
            name: shown(input.value.name),
            element: input.element,
            axes: input.dims.iter().map(axis).collect(),
        })
    }

    /// The names of what it yields; cut and escaped.
    pub fn outputs(&self) -> Vec<String> {
        self.view
            .graph
            .outputs
            .iter()
            .map(|output| shown(output.name))
            .collect()
    }

    /// What else the exporter wrote, as it stands in the file: labels, sizes, authors.
    pub fn metadata(&self) -> &[(&'a str, &'a str)] {
        &self.view.metadata
    }

    /// The files beside the model that weights are in, relative to its folder, as the file names them.
    pub fn external_files(&self) -> Vec<&'a str> {
        let places = self.view.graph.initializers.iter().filter_map(|tensor| tensor.external);
        let names: BTreeSet<&'a str> = places.map(|place| place.location).collect();
        names.into_iter().collect()
    }

    /// Makes the graph.
    ///
    /// # Errors
    /// With everything that keeps the model from being run.
    pub fn lower(&self, options: &Options) -> Result<Lowered, Vec<Problem>> {
        if self.view.graph.has_sparse {
            return Err(vec![Problem::of_model(
                "it has sparse initialisers",
                "export it with dense ones",
            )]);
        }
        let (graph, batch) = lower::lower(&self.view, &self.weights, options.item.as_deref())?;
        let items = match batch {
            Batch::Free => Items::Free,
            Batch::Reread(items) => Items::FreeFrom(items),
            Batch::Fixed => Items::One,
        };
        Ok(Lowered { graph, items })
    }
}

/// Refuses names that stand for two things.
fn distinct(view: &ModelView<'_>) -> Result<(), Error> {
    let mut names = HashSet::new();
    let initializers = view
        .graph
        .initializers
        .iter()
        .map(|tensor| (tensor.name, "initialisers"));
    let outputs = view
        .graph
        .nodes
        .iter()
        .flat_map(|node| node.outputs.iter().map(|name| (*name, "outputs of nodes")));
    for (name, what) in initializers.chain(outputs) {
        if !name.is_empty() && !names.insert(name) {
            return Err(Error::DuplicateName {
                name: shown(name),
                what,
            });
        }
    }
    let mut inputs = HashSet::new();
    for input in &view.graph.inputs {
        if !inputs.insert(input.name) {
            return Err(Error::DuplicateName {
                name: shown(input.name),
                what: "inputs",
            });
        }
    }
    Ok(())
}
