//! Runs a graph on one of Burn's devices: its operators in order, each made ready once.

use std::fmt;

use burn::tensor::{ExecutionError, FloatDType, Tensor, TensorData};
use millrace_graph::{ConstantId, Graph, Lifetimes, Node, Op, Operand, Shape};
use millrace_model_types::Precision;

use crate::any::{self, Any, map};
use crate::device::Device;
use crate::error::Error;
use crate::output::{self, Layout};
use crate::upload::Upload;
use crate::{convolution, layout, norm, pairs, pointwise, pool, reduce, resize};

/// Most products that are in memory at once where matrices are multiplied without kernels for it.
const PRODUCTS_MAX: usize = 1 << 24;

/// How matrices are multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Products {
    /// By the device's kernels for them.
    Kernels,
    /// By products and sums of their numbers, and convolutions directly. For software Vulkan: Mesa's compiler (22.3)
    /// crashes over some of the kernels, which takes the process with it.
    Sums,
}

impl Products {
    /// The products of stacked matrices.
    pub(crate) fn of(self, left: Tensor<3>, right: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Kernels => left.matmul(right),
            Self::Sums => {
                let ([stacked, rows, inner], [_, _, columns]) = (left.dims(), right.dims());
                let at_a_time = (PRODUCTS_MAX / (stacked * rows * columns).max(1)).clamp(1, inner.max(1));
                let parts = (0..inner).step_by(at_a_time).map(|start| {
                    let length = at_a_time.min(inner - start);
                    let left = left.clone().narrow(2, start, length);
                    let right = right.clone().narrow(1, start, length);
                    let products =
                        left.reshape([stacked, rows, length, 1]) * right.reshape([stacked, 1, length, columns]);
                    products.sum_dim(2).reshape([stacked, rows, columns])
                });
                let zeros = || Tensor::zeros([stacked, rows, columns], &left.device());
                parts.reduce(|sum, part| sum + part).unwrap_or_else(zeros)
            }
        }
    }
}

/// For each item its numbers of each output, row-major.
pub type Outputs = Vec<Vec<Vec<f32>>>;

/// One operator, its constants on the device: what it is given, and how many items there are.
pub(crate) type Step = Box<dyn Fn(Vec<Any>, usize) -> Any + Send>;

/// A graph, its constants on a device.
pub struct Executor {
    device: burn::tensor::Device,
    number: FloatDType,
    input: Shape,
    steps: Vec<Ready>,
    outputs: Vec<usize>,
    layouts: Vec<Layout>,
    n_values: usize,
    /// Where the input is, among the values.
    input_at: usize,
}

/// A step and what it reads.
struct Ready {
    step: Step,
    inputs: Vec<Source>,
    output: usize,
}

enum Source {
    /// A value, and whether this is its last use.
    Value(usize, bool),
    Constant(Box<Any>),
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor")
            .field("device", &self.device)
            .field("number", &self.number)
            .field("n_steps", &self.steps.len())
            .finish_non_exhaustive()
    }
}

/// What is not run here, by node and operator; nothing for most graphs.
fn unsupported(graph: &Graph) -> Vec<String> {
    // Two items: a batch axis is no axis of length 1.
    let axes = |operand: &Operand| operand_axes(graph, operand, 2).unwrap_or_default();
    let too_many = graph.nodes().iter().filter_map(|node| {
        let inputs: Vec<Vec<usize>> = node.inputs.iter().map(axes).collect();
        let refused = match &node.op {
            Op::Reduce { axes, .. } => inputs
                .first()
                .is_some_and(|input| reduce::merged(input, axes).0.len() > any::MAX_RANK),
            _ => false,
        };
        let name = node.name.escape_debug();
        refused.then(|| {
            format!(
                "node `{name}`: more than {} axes that differ in how they are read",
                any::MAX_RANK
            )
        })
    });
    too_many.collect()
}

impl Executor {
    /// Puts the constants on the device.
    ///
    /// # Errors
    /// When there is an operator that is not run here.
    pub fn prepare(graph: &Graph, device: &Device, precision: Precision, products: Products) -> Result<Self, Error> {
        let device = device.burn();
        let number = match precision {
            Precision::F32 => FloatDType::F32,
            Precision::F16 => FloatDType::F16,
        };
        let refused = unsupported(graph);
        if !refused.is_empty() {
            return Err(Error::Graph(refused.join("; ")));
        }
        let mut upload = Upload::new(graph, device, number, products);
        let lifetimes = Lifetimes::of(graph);
        let steps = graph.nodes().iter().enumerate().map(|(index, node)| {
            let step = step(graph, node, &mut upload)?;
            let mut inputs = Vec::new();
            for operand in &node.inputs {
                inputs.push(match operand {
                    Operand::Value(value) => {
                        let is_last = lifetimes.last(*value) == Some(index);
                        Source::Value(value.index(), is_last)
                    }
                    Operand::Constant(id) => Source::Constant(Box::new(upload.operand(*id)?)),
                });
            }
            Ok(Ready {
                step,
                inputs,
                output: node.output.index(),
            })
        });
        let outputs = graph.outputs().iter().map(|output| output.value.index());
        Ok(Self {
            steps: steps.collect::<Result<_, Error>>()?,
            device: device.clone(),
            number,
            input: graph.shape(graph.input()).clone(),
            outputs: outputs.collect(),
            layouts: output::layouts(graph),
            n_values: graph.values().len(),
            input_at: graph.input().index(),
        })
    }

    fn values(&self, numbers: Vec<f32>, n_items: usize) -> Result<Vec<Option<Any>>, Error> {
        let axes = self.input.at(n_items).ok_or_else(unplanned)?;
        let flat = TensorData::new(numbers, [axes.iter().product::<usize>()]);
        let input = Any::from(Tensor::<1>::from_data(flat, &self.device)).keep(&axes);
        let input = match self.number {
            FloatDType::F32 => input,
            number => input.cast(number),
        };
        let mut values: Vec<Option<Any>> = vec![None; self.n_values];
        put(&mut values, self.input_at, input);
        for ready in &self.steps {
            let mut inputs = Vec::with_capacity(ready.inputs.len());
            for source in &ready.inputs {
                inputs.push(match source {
                    Source::Value(index, _) => values.get(*index).cloned().flatten().ok_or_else(unplanned)?,
                    Source::Constant(tensor) => Any::clone(tensor),
                });
            }
            // The last reader has the only handle: it may write into the tensor, and frees it.
            for source in &ready.inputs {
                if let Source::Value(index, true) = source
                    && let Some(value) = values.get_mut(*index)
                {
                    *value = None;
                }
            }
            put(&mut values, ready.output, (ready.step)(inputs, n_items));
        }
        Ok(values)
    }
}

impl Executor {
    /// Runs the numbers of `n_items` items, one item after the other.
    ///
    /// # Errors
    /// When the device fails. What it reports by a panic is not caught here.
    pub fn run(&mut self, numbers: Vec<f32>, n_items: usize) -> Result<Outputs, Error> {
        let values = self.values(numbers, n_items)?;
        let outputs = self.outputs.iter().map(|index| {
            let value = values.get(*index).cloned().flatten().ok_or_else(unplanned)?;
            read(value)
        });
        let outputs = outputs.collect::<Result<Vec<_>, Error>>()?;
        output::split(&self.layouts, &outputs, n_items).map_err(Error::Graph)
    }
}

fn put(values: &mut [Option<Any>], at: usize, value: Any) {
    if let Some(slot) = values.get_mut(at) {
        *slot = Some(value);
    }
}

fn read(value: Any) -> Result<Vec<f32>, Error> {
    let data = value
        .into1()
        .cast(FloatDType::F32)
        .try_into_data()
        .map_err(|error| match error {
            ExecutionError::DevicePoisoned { reason } => Error::DeviceLost(reason),
            other => Error::Device(other.to_string()),
        })?;
    match data.as_slice::<f32>() {
        Ok(numbers) => Ok(numbers.to_vec()),
        Err(error) => Err(Error::Graph(format!("outputs that are no f32: {error:?}"))),
    }
}

/// The graph was checked when it was made, so this is our bug; it costs a batch, not the process.
pub(crate) fn unplanned() -> Error {
    Error::Graph("an operator got a tensor of another shape than planned".to_owned())
}

fn step(graph: &Graph, node: &Node, upload: &mut Upload<'_>) -> Result<Step, Error> {
    let about = About { graph, node };
    Ok(match &node.op {
        Op::Convolution(of) => convolution::dense(&about, of, upload)?,
        Op::TransposedConvolution(of) => convolution::transposed(&about, of, upload)?,
        Op::Linear(of) => convolution::linear(&about, of, upload)?,
        Op::MatMul => convolution::product(&about, upload.products()),
        Op::Pool(pool) => pool::windows(&about, *pool, upload)?,
        Op::AdaptiveAverage(adaptive) => pool::adaptive(&about, *adaptive),
        Op::Scale { factor, shift } => norm::scale(&about, *factor, *shift, upload)?,
        Op::LayerNorm(of) => norm::layer(&about, of, upload)?,
        Op::GroupNorm(of) => norm::group(&about, of, upload)?,
        Op::LocalResponseNorm(of) => norm::local(&about, *of),
        Op::Softmax { axis, log } => norm::softmax(&about, *axis, *log),
        Op::Unary(unary) => {
            let unary = *unary;
            one(move |x, _| map!(x, tensor => pointwise::unary(unary, tensor)))
        }
        Op::Binary(binary) => pairs::binary(&about, *binary),
        Op::Select => pairs::select(&about),
        Op::Reduce { reduction, axes, .. } => reduce::reduce(&about, *reduction, axes),
        Op::ArgExtreme {
            smallest, axis, last, ..
        } => reduce::extreme(
            &about,
            reduce::Extreme {
                smallest: *smallest,
                axis: *axis,
                last: *last,
            },
            upload,
        ),
        Op::Reshape(_) => layout::reshape(&about),
        Op::Transpose(order) => layout::transpose(&about, order),
        Op::Slice { starts, steps, .. } => layout::slice(&about, starts, steps, upload),
        Op::Concat { axis } => layout::concat(&about, *axis),
        Op::Pad { before, after, mode } => layout::pad(&about, before, after, *mode, upload),
        Op::Expand(_) => layout::expand(&about),
        Op::Gather { axis, indices, .. } => layout::gather(&about, *axis, indices, upload),
        Op::Resize(resize) => resize::resize(&about, resize, upload)?,
    })
}

/// A node and the graph that it is of.
pub(crate) struct About<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) node: &'a Node,
}

impl About<'_> {
    pub(crate) fn input(&self, index: usize) -> Shape {
        match self.node.inputs.get(index) {
            Some(Operand::Value(value)) => self.graph.shape(*value).clone(),
            Some(Operand::Constant(id)) => self
                .graph
                .constant(*id)
                .map_or_else(Shape::default, |constant| Shape::fixed(&constant.shape)),
            None => Shape::default(),
        }
    }

    pub(crate) fn output(&self) -> Shape {
        self.graph.shape(self.node.output).clone()
    }

    /// The only number of an operand that is a constant of one number.
    pub(crate) fn scalar(&self, index: usize) -> Option<f32> {
        match self.node.inputs.get(index)? {
            Operand::Constant(id) => match *self.graph.constant(*id)?.data {
                [number] => Some(number),
                _ => None,
            },
            Operand::Value(_) => None,
        }
    }

    pub(crate) fn constant(&self, id: ConstantId) -> Result<(&[usize], &[f32]), Error> {
        let constant = self.graph.constant(id).ok_or_else(unplanned)?;
        Ok((&constant.shape, &constant.data))
    }
}

/// A step with one input.
pub(crate) fn one(run: impl Fn(Any, usize) -> Any + Send + 'static) -> Step {
    Box::new(move |inputs, n_items| match inputs.into_iter().next() {
        Some(input) => run(input, n_items),
        None => nothing(),
    })
}

/// In the place of an input that is not there: the builder of a graph lets none be missing.
pub(crate) fn nothing() -> Any {
    Any::from(Tensor::<1>::zeros([1], &burn::tensor::Device::flex()))
}

/// The lengths of a shape in a batch; that they do not overflow was checked when the batch's size was.
pub(crate) fn lengths(shape: &Shape, n_items: usize) -> Vec<usize> {
    shape.at(n_items).unwrap_or_default()
}

fn operand_axes(graph: &Graph, operand: &Operand, n_items: usize) -> Option<Vec<usize>> {
    match operand {
        Operand::Value(value) => graph.shape(*value).at(n_items),
        Operand::Constant(id) => graph.constant(*id).map(|constant| constant.shape.clone()),
    }
}

/// Lengths before an axis, its own, and those behind it, each as one.
pub(crate) fn around(axes: &[usize], axis: usize) -> [usize; 3] {
    let product = |axes: &[usize]| axes.iter().product::<usize>();
    let before = axes.get(..axis).map_or(1, product);
    let behind = axes.get(axis + 1..).map_or(1, product);
    [before, axes.get(axis).copied().unwrap_or(1), behind]
}
