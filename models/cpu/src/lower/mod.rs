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
mod shape;
mod together;

use std::collections::HashMap;
use std::sync::Arc;

use millrace_graph::{Constant, ConstantId, Graph, Node, Op, Operand, ValueId};

use crate::error::{Error, Unsupported};
use crate::kernels::{Buffer, Kernels};
use crate::layout::{Halo, Map};
use crate::step::{Place, Step};
use crate::steps::{ConstantStep, Convert, StridedStep};

/// Floats that may be written or read behind a storage's last number: a register's.
const OVERHANG: usize = 16;

/// The most floats of one storage, and the largest offset: tables hold offsets of 32 bits.
const STORAGE_FLOATS_MAX: usize = 1 << 31;

/// Where a value's numbers are.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) place: Place,
    pub(crate) layout: Layout,
}

/// In which order they are.
#[derive(Debug, Clone)]
pub(crate) enum Layout {
    /// Row-major, whatever the shape.
    Rows,
    /// With a step along each axis: a view of other numbers.
    Strided(Vec<usize>),
    /// A map in channel blocks.
    Map(Map),
}

/// What may share memory: halos stay zero only where the geometry stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Rows,
    Map(Map),
}

/// Memory of one item's value, or of several values that lie side by side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Storage {
    pub(crate) floats: usize,
    pub(crate) class: Class,
}

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
            Op::Linear(linear) => self.linear(node, linear),
            Op::MatMul => self.matmul(node),
            Op::Pool(pool) => self.pool(node, pool),
            Op::AdaptiveAverage(adaptive) => self.adaptive_average(node, adaptive),
            Op::Reduce { reduction, axes, .. } => self.reduce(node, *reduction, axes),
            Op::Softmax { axis, log: false } => self.softmax(node, *axis),
            Op::LayerNorm(norm) => self.layer_norm(node, norm),
            Op::Unary(unary) => self.unary(node, *unary),
            Op::Binary(binary) => self.binary(node, *binary),
            Op::Scale { factor, shift } => self.scale(node, *factor, *shift),
            Op::Reshape(_) => self.reshape(node),
            Op::Transpose(order) => self.transpose(node, order),
            Op::Slice { starts, steps, .. } => self.slice(node, starts, steps),
            Op::Expand(_) => self.expand(node),
            Op::Gather { axis, indices, shape } => self.gather(node, *axis, indices, shape),
            Op::Concat { axis } => self.concat(node, *axis),
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

    /// The layout that a map gets.
    fn blocked(&self, value: ValueId) -> Option<Map> {
        let [channels, height, width] = self.map_sizes(value)?;
        Some(Map {
            channels,
            height,
            width,
            lanes: self.kernels.lanes(),
            halo: self.halos.get(value.index()).copied().unwrap_or_default(),
        })
    }

    fn new_storage(&mut self, floats: usize, class: Class) -> Place {
        let floats = floats
            .saturating_add(OVERHANG)
            .div_ceil(Buffer::ALIGNMENT)
            .saturating_mul(Buffer::ALIGNMENT);
        self.storages.push(Storage { floats, class });
        Place {
            storage: self.storages.len() - 1,
            offset: 0,
        }
    }

    fn new_rows(&mut self, floats: usize) -> Place {
        self.new_storage(floats, Class::Rows)
    }

    fn new_map(&mut self, map: Map) -> Place {
        self.new_storage(map.len(), Class::Map(map))
    }

    /// Floats from one item to the next.
    fn item_stride(&self, place: Place) -> usize {
        self.storages.get(place.storage).map_or(0, |storage| storage.floats)
    }

    fn push(&mut self, step: impl Step + 'static, places: &[Place]) {
        self.steps.push(Planned {
            step: Box::new(step),
            touches: places.iter().map(|place| place.storage).collect(),
            together: self.together,
        });
    }

    fn set_rows(&mut self, value: ValueId, place: Place) {
        self.stored.insert(
            value,
            Stored {
                place,
                layout: Layout::Rows,
            },
        );
    }

    fn set_map(&mut self, value: ValueId, place: Place, map: Map) {
        self.stored.insert(
            value,
            Stored {
                place,
                layout: Layout::Map(map),
            },
        );
    }

    fn stored(&self, value: ValueId) -> Result<Stored, Refusal> {
        self.stored
            .get(&value)
            .cloned()
            .ok_or_else(|| "a value is read before it is made".to_owned())
    }

    /// Row-major numbers of an operand, copied where they lie otherwise.
    fn rows(&mut self, operand: Operand) -> Result<Place, Refusal> {
        let value = match operand {
            Operand::Constant(id) => return self.constant_rows(id),
            Operand::Value(value) => value,
        };
        let stored = self.stored(value)?;
        if let Some(place) = self.as_rows.get(&value) {
            return Ok(*place);
        }
        let map = match stored.layout {
            Layout::Rows => return Ok(stored.place),
            Layout::Map(map) if map.is_row_major() => return Ok(stored.place),
            Layout::Map(map) => map,
            Layout::Strided(steps) => {
                let sizes = self.sizes(operand);
                let to = elementwise::row_major(&sizes);
                let axes = sizes
                    .iter()
                    .zip(steps)
                    .zip(to)
                    .map(|((length, from), to)| [*length, from, to]);
                let axes: Vec<[usize; 3]> = axes.collect();
                let place = self.new_rows(sizes.iter().product());
                self.push(StridedStep::new(stored.place, place, &axes), &[stored.place, place]);
                self.as_rows.insert(value, place);
                return Ok(place);
            }
        };
        let to = Map::planar(map.channels, map.height, map.width);
        let place = self.new_rows(to.len());
        let step = Convert {
            input: stored.place,
            from: map,
            output: place,
            to,
            first_channel: 0,
        };
        self.push(step, &[stored.place, place]);
        self.as_rows.insert(value, place);
        Ok(place)
    }

    fn constant_rows(&mut self, id: ConstantId) -> Result<Place, Refusal> {
        if let Some(place) = self.constants.get(&id) {
            return Ok(*place);
        }
        let constant = self.constant(id)?;
        let floats = constant.data.len();
        let place = self.new_rows(floats);
        self.push(
            ConstantStep {
                numbers: Buffer::from_slice(&constant.data),
                floats,
                output: place,
            },
            &[place],
        );
        self.constants.insert(id, place);
        Ok(place)
    }

    /// An operand as a map with at least this halo, copied where it lies otherwise.
    fn map(&mut self, value: ValueId, halo: Halo) -> Result<(Place, Map), Refusal> {
        let stored = self.stored(value)?;
        let [channels, height, width] = self.map_sizes(value).ok_or("its input is no map of each item")?;
        let from = match stored.layout {
            Layout::Map(map) if map.halo.covers(halo) && map.channels == channels && map.height == height => {
                return Ok((stored.place, map));
            }
            Layout::Map(map) if map.channels == channels && map.height == height => map,
            _ => Map::planar(channels, height, width),
        };
        let place = match stored.layout {
            Layout::Map(_) if from.lanes > 1 => stored.place,
            _ => self.rows(Operand::Value(value))?,
        };
        let mut to = self.blocked(value).ok_or("its input is no map of each item")?;
        to.halo = to.halo.union(halo);
        let output = self.new_map(to);
        self.push(
            Convert {
                input: place,
                from,
                output,
                to,
                first_channel: 0,
            },
            &[place, output],
        );
        // The next reader finds it so.
        self.set_map(value, output, to);
        Ok((output, to))
    }

    /// Where a node's result goes, and in which layout.
    fn output_map(&mut self, node: &Node) -> Result<(Place, Map), Refusal> {
        let map = self.blocked(node.output).ok_or("its result is no map of each item")?;
        let (place, map) = match self.destined.get(&node.output) {
            Some((place, destined)) if destined.halo.covers(map.halo) => (*place, *destined),
            _ => (self.new_map(map), map),
        };
        self.set_map(node.output, place, map);
        Ok((place, map))
    }
}

/// Channels, height and width of a value that is a map of each item.
pub(crate) fn map_sizes(graph: &Graph, value: ValueId) -> Option<[usize; 3]> {
    match graph.shape(value).0.as_slice() {
        [items, channels, height, width] if items.size == 1 => Some([channels.size, height.size, width.size]),
        _ => None,
    }
}
