//! The node or nodes of each kind of layer.

use millrace_graph::{
    Activation, Adaptive, Convolution, LayerNorm, Linear, Op, Pool as GraphPool, PoolKind, Reduction, Unary, ValueId,
};

use super::{At, Flow, Lowering, Reach, Stop};
use crate::error::ModelError;
use crate::manifest::{Conv2d, Layer, LayerKind, Layout, Pool};

impl Lowering<'_> {
    /// The output of a layer.
    pub(super) fn layer(&mut self, layer: &Layer, at: At) -> Result<At, Stop> {
        match &layer.kind {
            LayerKind::Dropout => Ok(at),
            LayerKind::Residual { body, shortcut } => self.residual(layer, body, shortcut, at),
            LayerKind::Multiply { body } => self.multiply(layer, body, at),
            LayerKind::Concat { branches } => self.concat(layer, branches, at),
            _ => self.plain(layer, at).map_err(Some),
        }
    }

    /// A layer without others in it.
    fn plain(&mut self, layer: &Layer, at: At) -> Result<At, ModelError> {
        let flow = at.flow;
        match &layer.kind {
            LayerKind::Conv2d(conv) => self.conv2d(layer, conv, at),
            LayerKind::Linear { name, out, bias } => self.linear(layer, name, *out, *bias, at),
            LayerKind::BatchNorm { name, eps, affine } => self.batch_norm(layer, name, *eps, *affine, at),
            LayerKind::LayerNorm { name, eps, affine } => self.layer_norm(layer, name, *eps, *affine, at),
            LayerKind::Softmax => {
                let op = Op::Softmax { axis: 1, log: false };
                self.emit(layer, op, &[at.value], flow)
            }
            LayerKind::MaxPool(pool) => self.pool(layer, pool, None, at),
            LayerKind::AvgPool { pool, count_padding } => self.pool(layer, pool, Some(*count_padding), at),
            LayerKind::AdaptiveAvgPool { out: [height, width] } => {
                let next = self.map(layer, flow, [*height, *width])?;
                let op = Op::AdaptiveAverage(Adaptive { out: [*height, *width] });
                self.emit(layer, op, &[at.value], next)
            }
            LayerKind::GlobalMaxPool => {
                let next = self.map(layer, flow, [1, 1])?;
                let op = Op::Reduce {
                    reduction: Reduction::Max,
                    axes: vec![2, 3],
                    keep: true,
                };
                self.emit(layer, op, &[at.value], next)
            }
            LayerKind::Flatten => {
                let next = Flow::Flat(flow.elements());
                match flow {
                    Flow::Flat(_) => Ok(at),
                    Flow::Map { .. } => self.emit(layer, Op::Reshape(next.batch()), &[at.value], next),
                }
            }
            kind => match activation(kind) {
                Some(activation) => {
                    let op = Op::Unary(Unary::Activation(activation));
                    self.emit(layer, op, &[at.value], flow)
                }
                None => Ok(at),
            },
        }
    }

    /// A map of the same channels and another size.
    fn map(&self, layer: &Layer, flow: Flow, [height, width]: [usize; 2]) -> Result<Flow, ModelError> {
        let next = flow.map().and_then(|(channels, ..)| {
            let next = Flow::Map {
                channels,
                height,
                width,
            };
            next.bounded()
        });
        next.map_err(|unfit| self.unfit(layer, unfit))
    }

    fn conv2d(&mut self, layer: &Layer, conv: &Conv2d, at: At) -> Result<At, ModelError> {
        let (channels, ..) = at.flow.map().map_err(|unfit| self.unfit(layer, unfit))?;
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
        let (next, slid) = at
            .flow
            .slide(window, false, *out)
            .map_err(|unfit| self.unfit(layer, unfit))?;
        self.spend(layer, window, channels / groups, next)?;
        let [height, width] = window.kernel;
        let shape = [*out, channels / groups, height, width];
        let weight_name = format!("{name}.weight");
        let weight = self.take(layer, &weight_name, &shape);
        let Some(bias) = self.bias(layer, name, *bias, *out) else {
            return self.broken(next);
        };
        // Each output channel is one contiguous run of the weights.
        let run = weight.as_ref().map_or(1, |weight| weight.len() / out.max(&1)).max(1);
        let largest = |weights: &[f32]| {
            weights
                .iter()
                .fold(0.0, |most: f64, weight| most.max(f64::from(*weight).abs()))
        };
        let reach = Reach {
            weight: weight
                .iter()
                .flat_map(|weight| weight.chunks(run).map(largest))
                .collect(),
            bias: in_double(bias.as_deref(), *out),
        };
        let Some(weight) = self.constant(layer, &weight_name, &shape, weight)? else {
            return self.broken(next);
        };
        let bias = match bias {
            Some(bias) => self.constant(layer, &format!("{name}.bias"), &[*out], Some(bias))?,
            None => None,
        };
        let op = Op::Convolution(Convolution {
            weight,
            bias,
            window: slid,
            groups: *groups,
            residual: false,
            activation: None,
        });
        let next = self.emit(layer, op, &[at.value], next)?;
        self.behind = Some((next.value, reach));
        Ok(next)
    }

    fn linear(&mut self, layer: &Layer, name: &str, out: usize, bias: bool, at: At) -> Result<At, ModelError> {
        let Flow::Flat(features) = at.flow else {
            let found = format!("{}: put a flatten layer in front of it", at.flow);
            return Err(self.unfit(layer, ("a flat input".to_owned(), found)));
        };
        let weight_name = format!("{name}.weight");
        let weight = match self.layout {
            Layout::Burn => self.take(layer, &weight_name, &[features, out]),
            Layout::Pytorch => self
                .take(layer, &weight_name, &[out, features])
                .map(|weight| transpose(&weight, features)),
        };
        let bias = self.bias(layer, name, bias, out);
        let next = Flow::Flat(out).bounded().map_err(|unfit| self.unfit(layer, unfit))?;
        let Some(bias) = bias else {
            return self.broken(next);
        };
        let mut reach = Reach {
            weight: vec![0.0; out],
            bias: in_double(bias.as_deref(), out),
        };
        // `[in, out]`: each row has one weight for each output.
        for row in weight.iter().flat_map(|weight| weight.chunks(out.max(1))) {
            for (most, weight) in reach.weight.iter_mut().zip(row) {
                *most = most.max(f64::from(*weight).abs());
            }
        }
        let Some(weight) = self.constant(layer, &weight_name, &[features, out], weight)? else {
            return self.broken(next);
        };
        let bias = match bias {
            Some(bias) => self.constant(layer, &format!("{name}.bias"), &[out], Some(bias))?,
            None => None,
        };
        let op = Op::Linear(Linear {
            weight,
            bias,
            residual: false,
            activation: None,
        });
        let next = self.emit(layer, op, &[at.value], next)?;
        self.behind = Some((next.value, reach));
        Ok(next)
    }

    fn batch_norm(&mut self, layer: &Layer, name: &str, eps: f64, affine: bool, at: At) -> Result<At, ModelError> {
        let channels = at.flow.channels();
        let Some(norm) = self.norm_weights(layer, name, eps, affine, channels)? else {
            return self.broken(at.flow);
        };
        let mut behind = self
            .behind
            .take()
            .filter(|(value, _)| *value == at.value && self.is_whole);
        let affine = norm.affine(behind.as_mut().map(|(_, reach)| reach));
        let (factor, shift) = affine.map_err(|unfit| self.unfit(layer, unfit))?;
        let factor = self.constant(layer, &format!("{name}.factor"), &[channels], Some(factor))?;
        let shift = self.constant(layer, &format!("{name}.shift"), &[channels], Some(shift))?;
        let Some((factor, shift)) = factor.zip(shift) else {
            return self.broken(at.flow);
        };
        let next = self.emit(layer, Op::Scale { factor, shift }, &[at.value], at.flow)?;
        self.behind = behind.map(|(_, reach)| (next.value, reach));
        Ok(next)
    }

    /// Over the features of a flat input, or over the channels of each pixel of a map.
    fn layer_norm(&mut self, layer: &Layer, name: &str, eps: f64, affine: bool, at: At) -> Result<At, ModelError> {
        let channels = at.flow.channels();
        let (mut scale, mut shift) = (None, None);
        if affine {
            let weight = self.take(layer, &format!("{name}.weight"), &[channels]);
            let bias = self.take(layer, &format!("{name}.bias"), &[channels]);
            scale = self.constant(layer, &format!("{name}.weight"), &[channels], weight)?;
            shift = self.constant(layer, &format!("{name}.bias"), &[channels], bias)?;
        }
        let op = Op::LayerNorm(LayerNorm {
            axes: 1,
            epsilon: eps,
            scale,
            shift,
        });
        match at.flow {
            Flow::Flat(_) => self.emit(layer, op, &[at.value], at.flow),
            Flow::Map {
                channels,
                height,
                width,
            } => {
                let last = Flow::Map {
                    channels: height,
                    height: width,
                    width: channels,
                };
                let there = self.emit(layer, Op::Transpose(vec![0, 2, 3, 1]), &[at.value], last)?;
                let normed = self.emit(layer, op, &[there.value], last)?;
                self.emit(layer, Op::Transpose(vec![0, 3, 1, 2]), &[normed.value], at.flow)
            }
        }
    }

    /// A largest number, or a mean that counts what is added at the edges or does not.
    fn pool(&mut self, layer: &Layer, pool: &Pool, mean: Option<bool>, at: At) -> Result<At, ModelError> {
        let slid = at.flow.slide(&pool.window, pool.ceil, at.flow.channels());
        let (next, window) = slid.map_err(|unfit| self.unfit(layer, unfit))?;
        self.spend(layer, &pool.window, 1, next)?;
        let kind = match mean {
            None => PoolKind::Max,
            Some(false) => PoolKind::Average,
            Some(true) => PoolKind::AverageWithPadding {
                counted: pool.window.padding,
            },
        };
        self.emit(layer, Op::Pool(GraphPool { kind, window }), &[at.value], next)
    }

    /// The shape of a layer whose weights do not fit, which is reported: lowering goes on.
    pub(super) fn broken(&mut self, flow: Flow) -> Result<At, ModelError> {
        self.is_whole = false;
        let value: ValueId = self.graph.input();
        Ok(At { value, flow })
    }
}

/// The function of one number that a layer is.
fn activation(kind: &LayerKind) -> Option<Activation> {
    Some(match kind {
        LayerKind::Relu => Activation::Relu,
        LayerKind::LeakyRelu { slope } => Activation::LeakyRelu { slope: *slope as f32 },
        LayerKind::Clip { low, high } => Activation::Clip { low: *low, high: *high },
        LayerKind::Gelu { approximate: false } => Activation::Gelu,
        LayerKind::Gelu { approximate: true } => Activation::GeluTanh,
        LayerKind::Silu => Activation::Silu,
        LayerKind::Sigmoid => Activation::Sigmoid,
        LayerKind::HardSwish => Activation::HardSwish,
        LayerKind::HardSigmoid => Activation::HardSigmoid {
            alpha: 1.0 / 6.0,
            beta: 0.5,
        },
        _ => return None,
    })
}

fn in_double(bias: Option<&[f32]>, channels: usize) -> Vec<f64> {
    match bias {
        Some(bias) => bias.iter().copied().map(f64::from).collect(),
        None => vec![0.0; channels],
    }
}

/// `[out, in]` to `[in, out]`.
fn transpose(data: &[f32], columns: usize) -> Vec<f32> {
    (0..columns)
        .flat_map(|column| data.iter().skip(column).step_by(columns.max(1)).copied())
        .collect()
}
