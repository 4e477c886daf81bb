//! A graph that is being rewritten. Each rewrite is checked: a node is replaced only by one that inference says yields the
//! same shape with the items at the same place, and only from what is computed before it.

use std::sync::Arc;

use crate::builder::check_constant;
use crate::graph::{Constant, ConstantId, Graph, Node, Operand, Output, Value, ValueId};
use crate::infer;
use crate::limits::{MAX_CONSTANT_BYTES, MAX_CONSTANTS, MAX_NODES};
use crate::op::Op;
use crate::shape::Shape;

/// Nodes are numbered as in the graph that they come from; inserted ones follow.
pub(super) struct Edit {
    graph: Graph,
    /// By node: where it runs. The graph's own nodes are far enough from each other that others fit between them.
    positions: Vec<u64>,
    /// By node: how many were inserted before it.
    inserted: Vec<u64>,
    /// By node: whether somebody needs it.
    alive: Vec<bool>,
    /// By value: the node that yields it.
    producers: Vec<Option<usize>>,
    /// By value: the nodes that read it, once for each time.
    readers: Vec<Vec<usize>>,
    constant_bytes: u64,
    changed: bool,
}

/// From one of the graph's nodes to the next.
const ROOM: u64 = 1 << 16;

impl Edit {
    pub(super) fn of(graph: Graph) -> Self {
        let nodes = graph.nodes.len();
        let mut edit = Self {
            positions: (1..).map(|index: u64| index * ROOM).take(nodes).collect(),
            inserted: vec![0; nodes],
            alive: vec![true; nodes],
            producers: vec![None; graph.values.len()],
            readers: vec![Vec::new(); graph.values.len()],
            constant_bytes: graph
                .constants
                .iter()
                .map(|constant| size_of_val(&*constant.data) as u64)
                .sum(),
            changed: false,
            graph,
        };
        for index in 0..nodes {
            let Some(node) = edit.graph.nodes.get(index) else {
                continue;
            };
            let (output, inputs) = (node.output, node.inputs.clone());
            if let Some(producer) = edit.producers.get_mut(output.index()) {
                *producer = Some(index);
            }
            edit.read(index, &inputs);
        }
        for index in 0..nodes {
            edit.bury(index);
        }
        edit
    }

    /// The numbers of the nodes.
    pub(super) fn nodes(&self) -> std::ops::Range<usize> {
        0..self.graph.nodes.len()
    }

    /// A node that somebody needs.
    pub(super) fn node(&self, index: usize) -> Option<&Node> {
        let alive = self.alive.get(index).copied().unwrap_or(false);
        self.graph.nodes.get(index).filter(|_| alive)
    }

    pub(super) fn graph(&self) -> &Graph {
        &self.graph
    }

    pub(super) fn has_changed(&self) -> bool {
        self.changed
    }

    /// The node that yields an operand.
    pub(super) fn producer(&self, operand: Operand) -> Option<(usize, &Node)> {
        let Operand::Value(value) = operand else { return None };
        let index = self.producers.get(value.index()).copied().flatten()?;
        Some((index, self.node(index)?))
    }

    /// Whether just one node reads a value, and it is no output.
    pub(super) fn is_sole(&self, operand: Operand) -> bool {
        match operand {
            Operand::Value(value) => self.readers_of(value) == 1 && !self.is_output(value),
            Operand::Constant(_) => false,
        }
    }

    fn readers_of(&self, value: ValueId) -> usize {
        self.readers.get(value.index()).map_or(0, Vec::len)
    }

    pub(super) fn is_output(&self, value: ValueId) -> bool {
        self.graph.outputs.iter().any(|output| output.value == value)
    }

    pub(super) fn shape(&self, operand: Operand) -> Shape {
        self.graph.shape_of(operand)
    }

    pub(super) fn constant(&self, operand: Operand) -> Option<&Constant> {
        match operand {
            Operand::Constant(id) => self.graph.constant(id),
            Operand::Value(_) => None,
        }
    }

    /// A constant's number, if it is but one.
    pub(super) fn scalar(&self, operand: Operand) -> Option<f32> {
        match &*self.constant(operand)?.data {
            [number] => Some(*number),
            _ => None,
        }
    }

    /// Adds a constant; nothing where it is beyond the limits.
    pub(super) fn add_constant(&mut self, name: &str, shape: &[usize], data: Vec<f32>) -> Option<ConstantId> {
        self.add_shared(name, shape, data.into())
    }

    /// Adds a constant whose numbers another may have as well.
    pub(super) fn add_shared(&mut self, name: &str, shape: &[usize], data: Arc<[f32]>) -> Option<ConstantId> {
        check_constant(shape, data.len()).ok()?;
        let bytes = self.constant_bytes.saturating_add(size_of_val(&*data) as u64);
        let many = self.graph.constants.len();
        if bytes > MAX_CONSTANT_BYTES || many >= MAX_CONSTANTS {
            return None;
        }
        self.constant_bytes = bytes;
        self.graph.constants.push(Constant {
            name: name.to_owned(),
            shape: shape.to_vec(),
            data,
        });
        Some(ConstantId(u32::try_from(many).ok()?))
    }

    /// Adds a constant of finite numbers alone.
    pub(super) fn add_finite(&mut self, name: &str, shape: &[usize], data: Vec<f32>) -> Option<ConstantId> {
        match data.iter().all(|number| number.is_finite()) {
            true => self.add_constant(name, shape, data),
            false => None,
        }
    }

    /// Replaces what a node computes. Nothing happens where something else would come out, or an input comes too late.
    pub(super) fn replace(&mut self, index: usize, op: Op, inputs: &[Operand]) -> Option<()> {
        let output = self.node(index)?.output;
        let own = *self.positions.get(index)?;
        let late = inputs.iter().any(|input| self.position(*input) >= own);
        let found = infer::infer(&self.graph, &op, inputs).ok()?;
        let value = self.graph.values.get(output.index())?;
        if late || found.shape != value.shape || found.outer != value.outer {
            return None;
        }
        let node = self.graph.nodes.get_mut(index)?;
        node.op = op;
        let before = std::mem::replace(&mut node.inputs, inputs.to_vec());
        self.read(index, inputs);
        self.unread(index, &before);
        self.changed = true;
        Some(())
    }

    /// Where the node runs that yields an operand; 0 for the input and constants.
    fn position(&self, operand: Operand) -> u64 {
        let producer = self.producer(operand).and_then(|(index, _)| self.positions.get(index));
        producer.copied().unwrap_or(0)
    }

    /// Adds a node that runs just before another.
    pub(super) fn insert_before(&mut self, index: usize, op: Op, inputs: &[Operand]) -> Option<Operand> {
        let name = self.node(index)?.name.clone();
        let (before, count) = (*self.positions.get(index)?, *self.inserted.get(index)?);
        let position = before.checked_sub(ROOM)?.checked_add(1 + count)?;
        let late = inputs.iter().any(|input| self.position(*input) >= position);
        if count + 2 >= ROOM || late || self.graph.nodes.len() >= MAX_NODES {
            return None;
        }
        let found = infer::infer(&self.graph, &op, inputs).ok()?;
        let output = ValueId(u32::try_from(self.graph.values.len()).ok()?);
        let new = self.graph.nodes.len();
        self.graph.values.push(Value {
            name: name.clone(),
            shape: found.shape,
            outer: found.outer,
        });
        self.graph.nodes.push(Node {
            name,
            op,
            inputs: inputs.to_vec(),
            output,
        });
        self.positions.push(position);
        self.inserted.push(0);
        self.alive.push(true);
        self.producers.push(Some(new));
        self.readers.push(Vec::new());
        *self.inserted.get_mut(index)? += 1;
        self.read(new, inputs);
        self.changed = true;
        Some(Operand::Value(output))
    }

    /// Whether [`Self::forward`] would do it.
    pub(super) fn can_forward(&self, index: usize, operand: Operand) -> bool {
        let Some(own) = self
            .node(index)
            .and_then(|node| self.graph.values.get(node.output.index()))
        else {
            return false;
        };
        let is_output = self.node(index).is_some_and(|node| self.is_output(node.output));
        let reads = match operand {
            Operand::Value(new) => {
                let place = self.graph.values.get(new.index()).map(|value| value.outer);
                place == Some(own.outer) && (!is_output || self.producer(operand).is_some())
            }
            Operand::Constant(_) => !is_output,
        };
        reads && own.shape == self.shape(operand)
    }

    /// Whether one node runs before another.
    pub(super) fn runs_before(&self, one: usize, other: usize) -> bool {
        self.positions.get(one) < self.positions.get(other)
    }

    /// A constant's name.
    pub(super) fn name(&self, id: ConstantId) -> String {
        self.graph
            .constant(id)
            .map_or_else(String::new, |constant| constant.name.clone())
    }

    /// Lets everybody read `operand` in place of what a node yields; the node dies. Nothing happens where the shapes differ,
    /// or an output would be no node's result.
    pub(super) fn forward(&mut self, index: usize, operand: Operand) -> Option<()> {
        if !self.can_forward(index, operand) {
            return None;
        }
        let value = self.node(index)?.output;
        if let Operand::Value(new) = operand {
            for output in self.graph.outputs.iter_mut().filter(|output| output.value == value) {
                output.value = new;
            }
        }
        let readers = std::mem::take(self.readers.get_mut(value.index())?);
        for reader in readers {
            let Some(node) = self.graph.nodes.get_mut(reader) else {
                continue;
            };
            for input in node.inputs.iter_mut().filter(|input| **input == Operand::Value(value)) {
                *input = operand;
                if let Operand::Value(new) = operand
                    && let Some(readers) = self.readers.get_mut(new.index())
                {
                    readers.push(reader);
                }
            }
        }
        self.changed = true;
        self.bury(index);
        Some(())
    }

    fn read(&mut self, index: usize, inputs: &[Operand]) {
        for input in inputs {
            if let Operand::Value(value) = input
                && let Some(readers) = self.readers.get_mut(value.index())
            {
                readers.push(index);
            }
        }
    }

    /// Takes a reader off values; nodes that nobody needs any more die.
    fn unread(&mut self, index: usize, inputs: &[Operand]) {
        for input in inputs {
            let Operand::Value(value) = input else { continue };
            if let Some(readers) = self.readers.get_mut(value.index())
                && let Some(at) = readers.iter().position(|reader| *reader == index)
            {
                readers.swap_remove(at);
            }
            if let Some(producer) = self.producers.get(value.index()).copied().flatten() {
                self.bury(producer);
            }
        }
    }

    /// Lets a node die if nobody needs it, and those that were there for it alone.
    fn bury(&mut self, index: usize) {
        let mut waiting = vec![index];
        while let Some(index) = waiting.pop() {
            let Some(node) = self.node(index) else { continue };
            if self.readers_of(node.output) > 0 || self.is_output(node.output) {
                continue;
            }
            let inputs = node.inputs.clone();
            if let Some(alive) = self.alive.get_mut(index) {
                *alive = false;
            }
            for input in inputs {
                let Operand::Value(value) = input else { continue };
                if let Some(readers) = self.readers.get_mut(value.index())
                    && let Some(at) = readers.iter().position(|reader| *reader == index)
                {
                    readers.swap_remove(at);
                }
                waiting.extend(self.producers.get(value.index()).copied().flatten());
            }
        }
    }

    /// The graph without dead nodes and constants, numbered anew.
    pub(super) fn finish(self) -> Graph {
        let Graph {
            values,
            constants,
            nodes,
            input,
            outputs,
        } = self.graph;
        let mut living: Vec<(u64, Node)> = self
            .positions
            .into_iter()
            .zip(nodes)
            .zip(self.alive)
            .filter_map(|(node, alive)| alive.then_some(node))
            .collect();
        living.sort_by_key(|(position, _)| *position);
        let mut nodes: Vec<Node> = living.into_iter().map(|(_, node)| node).collect();

        let (kept_values, new_values) = renumber(
            values,
            std::iter::once(input.0).chain(nodes.iter().map(|node| node.output.0)),
        );
        let used = nodes.iter().flat_map(|node| {
            let inputs = node.inputs.iter().filter_map(|input| match input {
                Operand::Constant(id) => Some(id.0),
                Operand::Value(_) => None,
            });
            inputs.chain(node.op.constants().map(|id| id.0))
        });
        let (kept_constants, new_constants) = renumber(constants, used);
        let value = |id: ValueId| ValueId(number(&new_values, id.0));
        let constant = |id: ConstantId| ConstantId(number(&new_constants, id.0));
        for node in &mut nodes {
            node.op.map_constants(constant);
            node.output = value(node.output);
            for input in &mut node.inputs {
                *input = match *input {
                    Operand::Value(id) => Operand::Value(value(id)),
                    Operand::Constant(id) => Operand::Constant(constant(id)),
                };
            }
        }
        let outputs = outputs.into_iter().map(|output| Output {
            value: value(output.value),
            ..output
        });
        Graph {
            values: kept_values,
            constants: kept_constants,
            nodes,
            input: value(input),
            outputs: outputs.collect(),
        }
    }
}

/// Keeps the things that are used, in the order of their first use. Yields them, and by old number the new one.
fn renumber<T>(things: Vec<T>, used: impl Iterator<Item = u32>) -> (Vec<T>, Vec<Option<u32>>) {
    let mut numbers = vec![None; things.len()];
    let mut things: Vec<Option<T>> = things.into_iter().map(Some).collect();
    let mut kept = Vec::new();
    for old in used {
        let thing = things.get_mut(old as usize).and_then(Option::take);
        if let (Some(thing), Some(number)) = (thing, numbers.get_mut(old as usize)) {
            *number = u32::try_from(kept.len()).ok();
            kept.push(thing);
        }
    }
    (kept, numbers)
}

fn number(numbers: &[Option<u32>], old: u32) -> u32 {
    numbers.get(old as usize).copied().flatten().unwrap_or(0)
}
