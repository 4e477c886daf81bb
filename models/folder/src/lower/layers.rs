//! From layers and weights to a graph: shapes are inferred layer by layer, and every misfit names its layer.

use millrace_graph::{ConstantId, Op, Operand, ValueId};

use super::Network;
use super::flow::{Flow, Unfit};
use super::names;
use super::norm::{BatchNorm, Reach};
use crate::error::ModelError;
use crate::manifest::{Layer, Layout, Manifest, Source, Window};
use crate::weights::{Number, WeightFile, find_prefix};

mod emit;
mod joined;

/// Most bytes of all weights as `f32`.
const MAX_WEIGHT_BYTES: u64 = 4 << 30;
/// Most numbers under one window: backends unfold a few hundred windows at a time. A 7x7 one over 2,048
/// channels has 100,352.
const MAX_WINDOW_ELEMENTS: u64 = 1 << 17;
/// Most multiplications of one item, all layers together: 24 times those of ResNet-152 at 224x224.
const MAX_WORK: u64 = 1 << 38;
/// Most misfits of weights that are listed one by one.
const MAX_ERRORS: usize = 16;
/// The graph's input and its output, by name.
const INPUT: &str = "input";
const OUTPUT: &str = "output";

/// The reason why a layer has no output: reported here, or already.
type Stop = Option<ModelError>;

/// Lowers a manifest's layers with the weights of its file.
pub(crate) fn lower(
    manifest: &Manifest,
    layers: &[Layer],
    source: &Source,
    weights: &mut WeightFile,
) -> Result<Network, ModelError> {
    let failed = |message| ModelError::Weights {
        path: weights.path().to_owned(),
        message,
    };
    let mut wanted = Vec::new();
    names::list_wanted(layers, &mut wanted);
    let names: Vec<String> = wanted.iter().flatten().cloned().collect();
    let prefix = find_prefix(weights.names(), &names, manifest.weights.key.as_deref()).map_err(failed)?;
    let at_start = |(expected, found)| mismatch(source, 0, "the input", (expected, found));
    let input = Flow::of_input(manifest.input.shape().unwrap_or_default()).map_err(at_start)?;
    let missing = names::missing(&wanted, &prefix, weights);
    let used = names.iter().map(|name| format!("{prefix}{name}")).collect();
    let unused = names::unused(weights, &prefix, &used, &manifest.weights.ignore);
    let mut lowering = Lowering {
        source,
        weights,
        prefix,
        layout: manifest.weights.layout,
        graph: millrace_graph::Builder::new(INPUT, input.batch()),
        errors: Vec::new(),
        is_whole: true,
        behind: None,
        weight_bytes: 0,
        work: 0,
    };
    let start = At {
        value: lowering.graph.input(),
        flow: input,
    };
    let lowered = lowering.sequence(layers, start);
    let Lowering { graph, mut errors, .. } = lowering;
    errors.truncate(MAX_ERRORS);
    errors.extend(missing.into_iter().chain(unused));
    match lowered {
        Some(output) if errors.is_empty() => {
            finish(graph, output).map_err(|unfit| mismatch(source, 0, "the network", unfit))
        }
        _ => Err(ModelError::of(errors)),
    }
}

fn finish(mut graph: millrace_graph::Builder, output: At) -> Result<Network, Unfit> {
    graph.output(OUTPUT, output.value);
    let graph = graph.finish().map_err(|misfit| (misfit.expected, misfit.found))?;
    Ok(Network::of(graph))
}

fn mismatch(source: &Source, at: usize, layer: &str, (expected, found): Unfit) -> ModelError {
    let (line, column) = source.place(at);
    ModelError::Mismatch {
        path: source.path.clone(),
        line,
        column,
        layer: layer.to_owned(),
        expected,
        found,
    }
}

/// The input of a layer.
#[derive(Debug, Clone, Copy)]
struct At {
    value: ValueId,
    flow: Flow,
}

struct Lowering<'a> {
    source: &'a Source,
    weights: &'a mut WeightFile,
    prefix: String,
    layout: Layout,
    graph: millrace_graph::Builder,
    /// The misfits so far; lowering goes on, to find others.
    errors: Vec<ModelError>,
    /// Whether every weight so far was there and fitted: after that the graph is not made any further.
    is_whole: bool,
    /// The convolution or the linear layer that yielded a value, as far as a norm behind it must know.
    behind: Option<(ValueId, Reach)>,
    weight_bytes: u64,
    work: u64,
}

impl Lowering<'_> {
    /// The output of the last layer; `None` where a layer does not fit its input.
    fn sequence(&mut self, layers: &[Layer], input: At) -> Option<At> {
        let mut at = input;
        for layer in layers {
            at = match self.layer(layer, at) {
                Ok(next) => next,
                Err(stop) => {
                    self.is_whole = false;
                    self.errors.extend(stop);
                    return None;
                }
            };
        }
        Some(at)
    }

    /// Adds a node for a layer; of a graph that is not whole any more, only the shape is kept.
    fn emit(&mut self, layer: &Layer, op: Op, inputs: &[ValueId], flow: Flow) -> Result<At, ModelError> {
        if !self.is_whole {
            let value = self.graph.input();
            return Ok(At { value, flow });
        }
        let operands: Vec<Operand> = inputs.iter().copied().map(Operand::Value).collect();
        let node = self.graph.node(&layer.label, op, &operands);
        let value = node.map_err(|misfit| self.unfit(layer, (misfit.expected, misfit.found)))?;
        let inferred = self.graph.shape(Operand::Value(value));
        if inferred != flow.batch() {
            // Our bug: the graph and the layer list disagree on what an operator yields.
            return Err(self.unfit(layer, (flow.to_string(), inferred.to_string())));
        }
        Ok(At { value, flow })
    }

    /// A constant of the graph; nothing where its numbers are not there.
    fn constant(
        &mut self,
        layer: &Layer,
        name: &str,
        shape: &[usize],
        data: Option<Vec<f32>>,
    ) -> Result<Option<ConstantId>, ModelError> {
        let Some(data) = data.filter(|_| self.is_whole) else {
            self.is_whole = false;
            return Ok(None);
        };
        let id = self.graph.constant(name, shape, data);
        id.map(Some)
            .map_err(|misfit| self.unfit(layer, (misfit.expected, misfit.found)))
    }

    /// Counts a window over so many channels, moved to every number of `next`.
    fn spend(&mut self, layer: &Layer, window: &Window, channels: usize, next: Flow) -> Result<(), ModelError> {
        let [height, width] = window.kernel;
        let under = (height as u64)
            .saturating_mul(width as u64)
            .saturating_mul(channels as u64);
        self.work = self.work.saturating_add(under.saturating_mul(next.elements() as u64));
        if under > MAX_WINDOW_ELEMENTS {
            let expected = format!("at most {MAX_WINDOW_ELEMENTS} numbers under a window");
            return Err(self.unfit(layer, (expected, under.to_string())));
        }
        if self.work > MAX_WORK {
            let expected = format!("at most {MAX_WORK} multiplications an item up to here");
            return Err(self.unfit(layer, (expected, self.work.to_string())));
        }
        Ok(())
    }

    /// The bias of a layer, where it has one; the outer nothing where it cannot be read.
    fn bias(&mut self, layer: &Layer, name: &str, bias: bool, out: usize) -> Option<Option<Vec<f32>>> {
        match bias {
            true => self.take(layer, &format!("{name}.bias"), &[out]).map(Some),
            false => Some(None),
        }
    }

    fn norm_weights(
        &mut self,
        layer: &Layer,
        name: &str,
        eps: f64,
        affine: bool,
        channels: usize,
    ) -> Result<Option<BatchNorm>, ModelError> {
        let mut either = |pytorch: &str, burn: &str| {
            let name_in_file = if self.weights.has(&format!("{}{name}.{pytorch}", self.prefix)) {
                pytorch
            } else {
                burn
            };
            self.take(layer, &format!("{name}.{name_in_file}"), &[channels])
        };
        let affine = affine.then(|| (either("weight", "gamma"), either("bias", "beta")));
        let mean = self.take(layer, &format!("{name}.running_mean"), &[channels]);
        let variance = self.take(layer, &format!("{name}.running_var"), &[channels]);
        if let Some(negative) = variance.iter().flatten().find(|variance| **variance < 0.0) {
            return Err(self.unfit(layer, ("a running_var of at least 0".to_owned(), negative.to_string())));
        }
        let (gamma, beta) = match affine {
            Some((Some(gamma), Some(beta))) => (Some(gamma), Some(beta)),
            Some(_) => return Ok(None),
            None => (None, None),
        };
        Ok(mean.zip(variance).map(|(mean, variance)| BatchNorm {
            gamma,
            beta,
            mean,
            variance,
            eps,
        }))
    }

    /// Reads a weight that must have this shape; `None`, and a report, where it cannot be read or has another.
    fn take(&mut self, layer: &Layer, name: &str, shape: &[usize]) -> Option<Vec<f32>> {
        let name = format!("{}{name}", self.prefix);
        if !self.weights.has(&name) {
            self.is_whole = false;
            return None; // told with all that are missing
        }
        match self.read(layer, &name, shape) {
            Ok(data) => Some(data),
            Err(error) => {
                self.is_whole = false;
                self.errors.push(error);
                None
            }
        }
    }

    fn read(&mut self, layer: &Layer, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        if let Some(why) = self.weights.unreadable(name) {
            let unfit = (format!("`{name}` of floats"), why.to_owned());
            return Err(self.unfit(layer, unfit));
        }
        let found = self.weights.shape(name).unwrap_or_default();
        if found != shape {
            let reversed: Vec<usize> = shape.iter().rev().copied().collect();
            let hint = if found == reversed.as_slice() {
                ": the other way round, see `layout`"
            } else {
                ""
            };
            let unfit = (format!("`{name}` of shape {shape:?}"), format!("{found:?}{hint}"));
            return Err(self.unfit(layer, unfit));
        }
        let elements = shape
            .iter()
            .fold(1u64, |product, axis| product.saturating_mul(*axis as u64));
        let bytes = elements.saturating_mul(size_of::<f32>() as u64);
        self.weight_bytes = self.weight_bytes.saturating_add(bytes);
        if self.weight_bytes > MAX_WEIGHT_BYTES {
            let unfit = (
                format!("at most {MAX_WEIGHT_BYTES} bytes of weights"),
                "more".to_owned(),
            );
            return Err(self.unfit(layer, unfit));
        }
        let (number, data) = self.weights.read(name)?;
        if number == Number::U8 {
            return Err(self.unfit(layer, (format!("`{name}` of floats"), "bytes".to_owned())));
        }
        Ok(data)
    }

    fn unfit(&self, layer: &Layer, unfit: Unfit) -> ModelError {
        mismatch(self.source, layer.at, &layer.label, unfit)
    }
}
