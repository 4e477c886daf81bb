//! From layers and weights to a plan: shapes are inferred layer by layer, and every misfit names its layer.

use super::fold::{self, BatchNorm};
use super::names;
use super::shape::{Flow, Unfit};
use super::{Array, Op, Plan};
use crate::error::ModelError;
use crate::manifest::{Conv2d, Layer, LayerKind, Layout, Manifest, Pool, Source, Window};
use crate::weights::{Number, WeightFile, find_prefix};

/// Most bytes of all weights as `f32`.
const MAX_WEIGHT_BYTES: u64 = 4 << 30;
/// Most numbers under one window: backends unfold a few hundred windows at a time. A 7x7 one over 2,048
/// channels has 100,352.
const MAX_WINDOW_ELEMENTS: u64 = 1 << 17;
/// Most multiplications of one item, all layers together: 24 times those of ResNet-152 at 224x224.
const MAX_WORK: u64 = 1 << 38;
/// Most misfits of weights that are told one by one.
const MAX_ERRORS: usize = 16;

/// Why a layer has no output: told here, or told already.
type Stop = Option<ModelError>;

/// Builds the plan of a manifest from its weight file.
pub(crate) fn build(manifest: &Manifest, source: &Source, weights: &mut WeightFile) -> Result<Plan, ModelError> {
    let failed = |message| ModelError::Weights {
        path: weights.path().to_owned(),
        message,
    };
    let mut wanted = Vec::new();
    names::list_wanted(&manifest.layers, &mut wanted);
    let names: Vec<String> = wanted.iter().flatten().cloned().collect();
    let prefix = find_prefix(weights.names(), &names, manifest.weights.key.as_deref()).map_err(failed)?;
    let input = Flow::of_input(&manifest.input.shape).map_err(|(expected, found)| {
        let (line, column) = source.place(0);
        let layer = "the input".to_owned();
        ModelError::Mismatch {
            path: source.path.clone(),
            line,
            column,
            layer,
            expected,
            found,
        }
    })?;
    let missing = names::missing(&wanted, &prefix, weights);
    let used = names.iter().map(|name| format!("{prefix}{name}")).collect();
    let unused = names::unused(weights, &prefix, &used, &manifest.weights.ignore);
    let mut builder = Builder {
        source,
        weights,
        prefix,
        layout: manifest.weights.layout,
        errors: Vec::new(),
        peak_elements: input.elements(),
        kept_elements: 0,
        window_elements: 0,
        weight_bytes: 0,
        largest_weight_bytes: 0,
        work: 0,
    };
    let built = builder.sequence(&manifest.layers, input);
    let mut errors = builder.errors;
    errors.truncate(MAX_ERRORS);
    errors.extend(missing.into_iter().chain(unused));
    match built {
        Some((ops, output)) if errors.is_empty() => Ok(Plan {
            ops,
            output: output.axes(),
            peak_elements: builder.peak_elements,
            window_elements: builder.window_elements,
            weight_bytes: builder.weight_bytes,
            largest_weight_bytes: builder.largest_weight_bytes,
        }),
        _ => Err(ModelError::of(errors)),
    }
}

struct Builder<'a> {
    source: &'a Source,
    weights: &'a mut WeightFile,
    prefix: String,
    layout: Layout,
    /// What is wrong so far; building goes on, with nothing in the place of a weight that does not fit.
    errors: Vec<ModelError>,
    peak_elements: usize,
    /// What the residual layers around keep.
    kept_elements: usize,
    window_elements: u64,
    weight_bytes: u64,
    largest_weight_bytes: u64,
    work: u64,
}

impl Builder<'_> {
    /// Operations, and what the last yields; nothing where a layer does not fit what reaches it.
    fn sequence(&mut self, layers: &[Layer], input: Flow) -> Option<(Vec<Op>, Flow)> {
        let mut ops = Vec::new();
        let mut flow = input;
        for layer in layers {
            let next = match self.layer(layer, flow, &mut ops) {
                Ok(next) => next,
                Err(stop) => {
                    self.errors.extend(stop);
                    return None;
                }
            };
            self.hold(flow.elements().saturating_add(next.elements()));
            flow = next;
        }
        Some((ops, flow))
    }

    /// Appends the operation of a layer; what it yields.
    fn layer(&mut self, layer: &Layer, flow: Flow, ops: &mut Vec<Op>) -> Result<Flow, Stop> {
        let unfit = |unfit| self.unfit(layer, unfit);
        let (op, next) = match &layer.kind {
            LayerKind::Conv2d(conv) => self.conv2d(layer, conv, flow)?,
            LayerKind::Linear { name, out, bias } => self.linear(layer, name, *out, *bias, flow)?,
            LayerKind::BatchNorm { name, eps, affine } => {
                let norm = self.batch_norm(layer, name, *eps, *affine, flow.channels())?;
                if self.errors.is_empty() {
                    fold::push(ops, &norm).map_err(|unfit| self.unfit(layer, unfit))?;
                }
                return Ok(flow);
            }
            LayerKind::Dropout => return Ok(flow),
            LayerKind::Relu => (Op::Relu, flow),
            LayerKind::LeakyRelu { slope } => (Op::LeakyRelu { slope: *slope }, flow),
            LayerKind::Gelu { approximate } => (
                Op::Gelu {
                    approximate: *approximate,
                },
                flow,
            ),
            LayerKind::Silu => (Op::Silu, flow),
            LayerKind::Sigmoid => (Op::Sigmoid, flow),
            LayerKind::Softmax => (Op::Softmax, flow),
            LayerKind::MaxPool(pool) => {
                let next = self.pool(layer, pool, flow)?;
                (
                    Op::MaxPool {
                        window: pool.window.clone(),
                        ceil: pool.ceil,
                    },
                    next,
                )
            }
            LayerKind::AvgPool { pool, count_padding } => {
                let next = self.pool(layer, pool, flow)?;
                let (window, ceil) = (pool.window.clone(), pool.ceil);
                (
                    Op::AvgPool {
                        window,
                        ceil,
                        count_padding: *count_padding,
                    },
                    next,
                )
            }
            LayerKind::AdaptiveAvgPool { out: [height, width] } => {
                let (channels, ..) = flow.map().map_err(unfit)?;
                let next = Flow::Map {
                    channels,
                    height: *height,
                    width: *width,
                }
                .bounded()
                .map_err(unfit)?;
                (Op::AdaptiveAvgPool { out: [*height, *width] }, next)
            }
            LayerKind::GlobalMaxPool => {
                let (channels, height, width) = flow.map().map_err(unfit)?;
                let kernel = [height, width];
                let window = Window {
                    kernel,
                    stride: kernel,
                    padding: [0, 0],
                    dilation: [1, 1],
                };
                (
                    Op::MaxPool { window, ceil: false },
                    Flow::Map {
                        channels,
                        height: 1,
                        width: 1,
                    },
                )
            }
            LayerKind::Flatten => (Op::Flatten, Flow::Flat(flow.elements())),
            LayerKind::Residual { body, shortcut } => self.residual(layer, body, shortcut, flow)?,
        };
        ops.push(op);
        Ok(next)
    }

    fn conv2d(&mut self, layer: &Layer, conv: &Conv2d, flow: Flow) -> Result<(Op, Flow), ModelError> {
        let (channels, ..) = flow.map().map_err(|unfit| self.unfit(layer, unfit))?;
        let Conv2d {
            name,
            out,
            window,
            groups,
            bias,
        } = conv;
        if channels % groups != 0 || out % groups != 0 {
            let found = format!("{channels} into {out} in {groups} groups");
            return Err(self.unfit(layer, ("channels that the groups divide".to_owned(), found)));
        }
        let next = flow
            .slide(window, false, *out)
            .map_err(|unfit| self.unfit(layer, unfit))?;
        self.spend(layer, window, channels / groups, next)?;
        let [height, width] = window.kernel;
        let under = (height as u64)
            .saturating_mul(width as u64)
            .saturating_mul((channels / groups) as u64);
        self.window_elements = self.window_elements.max(under.saturating_add((out / groups) as u64));
        let shape = vec![*out, channels / groups, height, width];
        let data = self.take(layer, &format!("{name}.weight"), &shape);
        let bias = self.bias(layer, name, *bias, *out);
        let weight = Array { shape, data };
        Ok((
            Op::Conv2d {
                weight,
                bias,
                window: window.clone(),
                groups: *groups,
            },
            next,
        ))
    }

    fn linear(
        &mut self,
        layer: &Layer,
        name: &str,
        out: usize,
        bias: bool,
        flow: Flow,
    ) -> Result<(Op, Flow), ModelError> {
        let Flow::Flat(features) = flow else {
            let found = format!("{flow}: put a flatten layer in front of it");
            return Err(self.unfit(layer, ("a flat input".to_owned(), found)));
        };
        let weight_name = format!("{name}.weight");
        let data = match self.layout {
            Layout::Burn => self.take(layer, &weight_name, &[features, out]),
            Layout::Pytorch => transpose(&self.take(layer, &weight_name, &[out, features]), features),
        };
        let bias = self.bias(layer, name, bias, out);
        let weight = Array {
            shape: vec![features, out],
            data,
        };
        let next = Flow::Flat(out).bounded().map_err(|unfit| self.unfit(layer, unfit))?;
        Ok((Op::Linear { weight, bias }, next))
    }

    fn pool(&mut self, layer: &Layer, pool: &Pool, flow: Flow) -> Result<Flow, ModelError> {
        let slid = flow.slide(&pool.window, pool.ceil, flow.channels());
        let next = slid.map_err(|unfit| self.unfit(layer, unfit))?;
        self.spend(layer, &pool.window, 1, next)?;
        Ok(next)
    }

    /// Notes that so many numbers are there at once, beside what is kept.
    fn hold(&mut self, elements: usize) {
        self.peak_elements = self.peak_elements.max(self.kept_elements.saturating_add(elements));
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

    fn bias(&mut self, layer: &Layer, name: &str, bias: bool, out: usize) -> Option<Vec<f32>> {
        bias.then(|| self.take(layer, &format!("{name}.bias"), &[out]))
    }

    fn batch_norm(
        &mut self,
        layer: &Layer,
        name: &str,
        eps: f64,
        affine: bool,
        channels: usize,
    ) -> Result<BatchNorm, ModelError> {
        let mut either = |pytorch: &str, burn: &str| {
            let name_in_file = if self.weights.has(&format!("{}{name}.{pytorch}", self.prefix)) {
                pytorch
            } else {
                burn
            };
            self.take(layer, &format!("{name}.{name_in_file}"), &[channels])
        };
        let (gamma, beta) = match affine {
            true => (Some(either("weight", "gamma")), Some(either("bias", "beta"))),
            false => (None, None),
        };
        let mean = self.take(layer, &format!("{name}.running_mean"), &[channels]);
        let variance = self.take(layer, &format!("{name}.running_var"), &[channels]);
        if let Some(negative) = variance.iter().find(|variance| **variance < 0.0) {
            return Err(self.unfit(layer, ("a running_var of at least 0".to_owned(), negative.to_string())));
        }
        Ok(BatchNorm {
            gamma,
            beta,
            mean,
            variance,
            eps,
        })
    }

    fn residual(&mut self, layer: &Layer, body: &[Layer], shortcut: &[Layer], flow: Flow) -> Result<(Op, Flow), Stop> {
        // The input is kept while the body runs, and then what the body yields.
        let around = self.kept_elements;
        self.kept_elements = around.saturating_add(flow.elements());
        let body = self.sequence(body, flow);
        let yielded = body.as_ref().map_or(0, |(_, flow)| flow.elements());
        self.kept_elements = around.saturating_add(yielded);
        let shortcut = self.sequence(shortcut, flow);
        self.kept_elements = around;
        self.hold(yielded.saturating_mul(3));
        let (Some((body, body_flow)), Some((shortcut, shortcut_flow))) = (body, shortcut) else {
            return Err(None); // told within them
        };
        if body_flow != shortcut_flow {
            let expected = format!("a shortcut that yields {body_flow} as its body does");
            return Err(Some(self.unfit(layer, (expected, shortcut_flow.to_string()))));
        }
        Ok((Op::Residual { body, shortcut }, body_flow))
    }

    /// Reads a weight that must have this shape; empty, and told, where it cannot be read or has another.
    fn take(&mut self, layer: &Layer, name: &str, shape: &[usize]) -> Vec<f32> {
        let name = format!("{}{name}", self.prefix);
        if !self.weights.has(&name) {
            return Vec::new(); // told with all that are missing
        }
        self.read(layer, &name, shape).unwrap_or_else(|error| {
            self.errors.push(error);
            Vec::new()
        })
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
        self.largest_weight_bytes = self.largest_weight_bytes.max(bytes);
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

    fn unfit(&self, layer: &Layer, (expected, found): Unfit) -> ModelError {
        let (line, column) = self.source.place(layer.at);
        let (path, layer) = (self.source.path.clone(), layer.label.clone());
        ModelError::Mismatch {
            path,
            line,
            column,
            layer,
            expected,
            found,
        }
    }
}

/// `[out, in]` to `[in, out]`.
fn transpose(data: &[f32], columns: usize) -> Vec<f32> {
    (0..columns)
        .flat_map(|column| data.iter().skip(column).step_by(columns.max(1)).copied())
        .collect()
}
