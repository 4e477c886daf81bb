//! From a graph to steps: chooses layouts and methods, packs weights. Everything is for one item; batches come later.

mod convolution;
mod edges;
mod elementwise;
mod grouped;
mod halo;
mod linear;
mod matmul;
mod norm;
mod pool;
mod resample;
mod shape;
mod together;
mod transposed;
mod values;

use std::collections::HashMap;
use std::sync::Arc;

use millrace_graph::{Constant, ConstantId, Graph, Node, Op, Operand, ValueId};

use crate::error::{Error, Unsupported};
use crate::kernels::{Buffer, Kernels};
use crate::layout::{Halo, Map};
use crate::step::{Place, Step};

pub(crate) use values::{Class, Storage};
use values::{Layout, Stored};

/// The most floats of one storage, and the largest offset: tables hold offsets of 32 bits.
const STORAGE_FLOATS_MAX: usize = 1 << 31;

/// A step, and which storages it touches.
pub(crate) struct Planned {
    pub(crate) step: Box<dyn Step>,
    pub(crate) touches: Vec<usize>,
    /// Items that are best worked on together.
    pub(crate) together: usize,
}

/// What comes out of it.
pub(crate) struct Lowered {
    pub(crate) steps: Vec<Planned>,
    pub(crate) storages: Vec<Storage>,
    /// Floats of an item, by output.
    pub(crate) outputs: Vec<usize>,
    /// Floats of an item.
    pub(crate) input: usize,
    /// Nodes that are computed by the book.
    pub(crate) plain_nodes: Vec<String>,
}

/// Why a node cannot be lowered.
pub(crate) type Refusal = String;

/// The work in progress.
pub(crate) struct Lowering<'g> {
    graph: &'g Graph,
    /// The same, for steps that compute by the book.
    shared: Arc<Graph>,
    /// Nodes that are computed by the book.
    plain_nodes: Vec<String>,
    kernels: &'static Kernels,
    halos: Vec<Halo>,
    destined: HashMap<ValueId, (Place, Map)>,
    stored: HashMap<ValueId, Stored>,
    as_rows: HashMap<ValueId, Place>,
    constants: HashMap<ConstantId, Place>,
    storages: Vec<Storage>,
    steps: Vec<Planned>,
    together: usize,
}

/// Lowers a graph.
///
/// # Errors
/// Names every node that cannot be lowered.
pub(crate) fn lower(graph: &Graph, kernels: &'static Kernels, together_max: usize) -> Result<Lowered, Error> {
    let mut lowering = Lowering {
        graph,
        shared: Arc::new(graph.clone()),
        plain_nodes: Vec::new(),
        kernels,
        halos: halo::halos(graph, kernels.lanes()),
        destined: HashMap::new(),
        stored: HashMap::new(),
        as_rows: HashMap::new(),
        constants: HashMap::new(),
        storages: Vec::new(),
        steps: Vec::new(),
        together: 1,
    };
    let mut unsupported = Vec::new();
    lowering.destine_concatenations();
    if let Err(reason) = lowering.input() {
        unsupported.push(Unsupported {
            node: "input".to_owned(),
            reason,
        });
    }
    let together = together::together(graph, together_max);
    for (node, together) in graph.nodes().iter().zip(together) {
        lowering.together = together;
        if let Err(reason) = lowering.node(node) {
            unsupported.push(Unsupported {
                node: node.name.clone(),
                reason,
            });
            // What reads it goes on, so that every reason is said.
            let place = lowering.new_rows(lowering.elements(Operand::Value(node.output)));
            lowering.set_rows(node.output, place);
        }
    }
    let mut outputs = Vec::new();
    for (index, output) in graph.outputs().iter().enumerate() {
        match lowering.output(index, output.value) {
            Ok(floats) => outputs.push(floats),
            Err(reason) => unsupported.push(Unsupported {
                node: output.name.clone(),
                reason,
            }),
        }
    }
    if let Some(storage) = lowering
        .storages
        .iter()
        .find(|storage| storage.floats > STORAGE_FLOATS_MAX)
    {
        return Err(Error::TooLarge { floats: storage.floats });
    }
    if !unsupported.is_empty() {
        return Err(Error::Unsupported(unsupported));
    }
    let input = lowering.elements(Operand::Value(graph.input()));
    Ok(Lowered {
        steps: lowering.steps,
        storages: lowering.storages,
        outputs,
        input,
        plain_nodes: lowering.plain_nodes,
    })
}

impl<'g> Lowering<'g> {
    /// Lowers one node: by a kernel where there is one for it, else the plain way.
    fn node(&mut self, node: &Node) -> Result<(), Refusal> {
        match self.by_kernels(node) {
            Ok(()) => Ok(()),
            Err(_) => self.plain(node),
        }
    }

    /// # Errors
    /// Why there is no kernel for it.
    fn by_kernels(&mut self, node: &Node) -> Result<(), Refusal> {
        match &node.op {
            Op::Convolution(convolution) => self.convolution(node, convolution),
            Op::TransposedConvolution(convolution) => self.transposed(node, convolution),
            Op::Linear(linear) => self.linear(node, linear),
            Op::MatMul => self.matmul(node),
            Op::Pool(pool) => self.pool(node, pool),
            Op::AdaptiveAverage(adaptive) => self.adaptive_average(node, adaptive),
            Op::Reduce { reduction, axes, .. } => self.reduce(node, *reduction, axes),
            Op::Softmax { axis, log: false } => self.softmax(node, *axis),
            Op::LayerNorm(norm) => self.layer_norm(node, norm),
            Op::GroupNorm(norm) => self.group_norm(node, norm),
            Op::Unary(unary) => self.unary(node, *unary),
            Op::Binary(binary) => self.binary(node, *binary),
            Op::Scale { factor, shift } => self.scale(node, *factor, *shift),
            Op::Reshape(_) => self.reshape(node),
            Op::Transpose(order) => self.transpose(node, order),
            Op::Slice { starts, steps, .. } => self.slice(node, starts, steps),
            Op::Expand(_) => self.expand(node),
            Op::Gather { axis, indices, shape } => self.gather(node, *axis, indices, shape),
            Op::Concat { axis } => self.concat(node, *axis),
            Op::Pad { before, after, mode } => self.pad(node, before, after, *mode),
            Op::Resize(resize) => self.resize(node, resize),
            other => Err(format!("no kernel for {}", other.name())),
        }
    }

    /// The value that a node reads first.
    fn value(&self, node: &Node, index: usize) -> Result<ValueId, Refusal> {
        match node.inputs.get(index) {
            Some(Operand::Value(value)) => Ok(*value),
            _ => Err(format!("input {index} is no value")),
        }
    }

    fn constant(&self, id: ConstantId) -> Result<&'g Constant, Refusal> {
        self.graph
            .constant(id)
            .ok_or_else(|| "a constant is of another graph".to_owned())
    }

    /// Numbers of a constant that a node may have; as many zeros as asked for otherwise.
    fn bias(&self, id: Option<ConstantId>, channels: usize) -> Result<Buffer, Refusal> {
        let lanes = self.kernels.lanes();
        let mut buffer = Buffer::zeroed(channels.div_ceil(lanes) * lanes);
        if let Some(id) = id {
            for (to, from) in buffer
                .floats_mut()
                .iter_mut()
                .zip(self.constant(id)?.data.iter().take(channels))
            {
                *to = *from;
            }
        }
        Ok(buffer)
    }

    /// The shape of one item.
    fn sizes(&self, operand: Operand) -> Vec<usize> {
        match operand {
            Operand::Value(value) => self.graph.shape(value).0.iter().map(|axis| axis.size).collect(),
            Operand::Constant(id) => self
                .graph
                .constant(id)
                .map_or_else(Vec::new, |constant| constant.shape.clone()),
        }
    }

    fn elements(&self, operand: Operand) -> usize {
        self.sizes(operand)
            .iter()
            .fold(1, |product, size| product.saturating_mul(*size))
    }

    /// Channels, height and width of a value that is a map.
    fn map_sizes(&self, value: ValueId) -> Option<[usize; 3]> {
        map_sizes(self.graph, value)
    }

    fn push(&mut self, step: impl Step + 'static, places: &[Place]) {
        self.steps.push(Planned {
            step: Box::new(step),
            touches: places.iter().map(|place| place.storage).collect(),
            together: self.together,
        });
    }
}

/// Channels, height and width of a value that is a map of each item.
pub(crate) fn map_sizes(graph: &Graph, value: ValueId) -> Option<[usize; 3]> {
    match graph.shape(value).0.as_slice() {
        [items, channels, height, width] if items.size == 1 => Some([channels.size, height.size, width.size]),
        _ => None,
    }
}
