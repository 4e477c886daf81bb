//! The graph itself: values, nodes in the order in which they run, constants. Knows no semantics.

use std::sync::Arc;

use crate::op::Op;
use crate::shape::Shape;

/// A value that is computed at run time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub(crate) u32);

/// Numbers that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConstantId(pub(crate) u32);

impl ValueId {
    /// Its place among [`Graph::values`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl ConstantId {
    /// Its place among [`Graph::constants`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a node reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operand {
    /// The result of a node before, or the graph's input.
    Value(ValueId),
    /// A constant.
    Constant(ConstantId),
}

/// A value's name and shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// As the file calls it; for messages and the text form.
    pub name: String,
    /// Its shape.
    pub shape: Shape,
    /// How many numbers of its batched axis are outside of the items: see [`Value::outer`].
    pub(crate) outer: usize,
}

impl Value {
    /// The part of its batched axis that is outside of the items: the numbers stand at `[before, outer, N, inner, behind]`,
    /// where `before` and `behind` are the axes around it. 1 almost everywhere, and where it has no batched axis.
    pub fn outer(&self) -> usize {
        self.outer
    }

    /// The lengths of one item where the items stand one behind the other: `[N, 1000]` has items of `[1000]`, `[4N, 8]` of
    /// `[4, 8]`. Nothing where they do not, or where nothing grows with the batch.
    pub fn item(&self) -> Option<Vec<usize>> {
        let axes = self.shape.0.iter().filter(|axis| !axis.batched || axis.size != 1);
        self.is_item_major().then(|| axes.map(|axis| axis.size).collect())
    }

    /// Whether each item's numbers stand together, one item behind the other.
    pub fn is_item_major(&self) -> bool {
        let before = self.shape.0.iter().take_while(|axis| !axis.batched);
        self.outer == 1 && self.shape.is_batched() && before.into_iter().all(|axis| axis.size == 1)
    }
}

/// Numbers with a shape, row-major.
#[derive(Debug, Clone)]
pub struct Constant {
    /// As the file calls it.
    pub name: String,
    // Invariant: `data.len()` is the product of `shape`.
    /// Its lengths.
    pub shape: Vec<usize>,
    /// Shared: a clone of a graph copies no numbers.
    pub data: Arc<[f32]>,
}

/// One operator applied to operands.
#[derive(Debug, Clone)]
pub struct Node {
    /// As the file calls it; for messages.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// What it computes it from; weights are in the operator.
    pub inputs: Vec<Operand>,
    /// What it yields.
    pub output: ValueId,
}

/// One output of the network.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// As the file calls it.
    pub name: String,
    /// What it is.
    pub value: ValueId,
}

/// A network: checked, every shape inferred. Made by a [`crate::Builder`].
#[derive(Debug, Clone)]
pub struct Graph {
    // Invariants: the input grows with the batch along its first axis or none; each value is the input or the output of just one node, which comes before those that read it; every id
    // is within its list; every shape is the inferred one; at most one axis of a shape is batched.
    pub(crate) values: Vec<Value>,
    pub(crate) constants: Vec<Constant>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) input: ValueId,
    pub(crate) outputs: Vec<Output>,
}

impl Graph {
    /// What the network takes.
    pub fn input(&self) -> ValueId {
        self.input
    }

    /// What it yields, in order.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// In the order in which they run.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Every value, by [`ValueId::index`].
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// Every constant, by [`ConstantId::index`].
    pub fn constants(&self) -> &[Constant] {
        &self.constants
    }

    /// A value's shape; that of a number where the id is of another graph.
    pub fn shape(&self, value: ValueId) -> &Shape {
        static NUMBER: Shape = Shape(Vec::new());
        self.values.get(value.index()).map_or(&NUMBER, |value| &value.shape)
    }

    /// The shape of what a node reads.
    pub fn shape_of(&self, operand: Operand) -> Shape {
        match operand {
            Operand::Value(value) => self.shape(value).clone(),
            Operand::Constant(id) => self
                .constant(id)
                .map_or_else(Shape::default, |constant| Shape::fixed(&constant.shape)),
        }
    }

    /// A constant; nothing where the id is of another graph.
    pub fn constant(&self, id: ConstantId) -> Option<&Constant> {
        self.constants.get(id.index())
    }
}
