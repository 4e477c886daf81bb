//! A plan on a device: its weights uploaded, and one forward pass as tensor operations.

use burn::tensor::module::{adaptive_avg_pool2d, avg_pool2d, conv2d, linear, max_pool2d};
use burn::tensor::ops::{AvgPoolOptions, ConvOptions, MaxPoolOptions};
use burn::tensor::{Device, ExecutionError, Tensor, TensorData, activation};

use crate::manifest::Window;
use crate::plan::{self, Array};

/// Why a forward pass failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// The device says that it can do no more.
    Poisoned(String),
    /// Anything else.
    Other(String),
}

/// The operations, weights on the device. Tensors are handles: a clone copies no numbers.
#[derive(Debug)]
pub(super) struct Network {
    ops: Vec<Op>,
    device: Device,
}

#[derive(Debug)]
enum Op {
    Conv2d {
        weight: Tensor<4>,
        bias: Option<Tensor<1>>,
        options: ConvOptions<2>,
    },
    Linear {
        weight: Tensor<2>,
        bias: Option<Tensor<1>>,
    },
    Scale {
        factor: Tensor<1>,
        shift: Tensor<1>,
    },
    Relu,
    LeakyRelu(f64),
    Gelu,
    GeluApproximate,
    Silu,
    Sigmoid,
    Softmax,
    MaxPool(MaxPoolOptions<2>),
    AvgPool(AvgPoolOptions<2>),
    AdaptiveAvgPool([usize; 2]),
    Flatten,
    Residual {
        body: Vec<Op>,
        shortcut: Vec<Op>,
    },
}

/// What flows between operations: a rank is part of a tensor's type.
#[derive(Clone)]
enum Flow {
    Map(Tensor<4>),
    Flat(Tensor<2>),
}

impl Network {
    /// Uploads the weights.
    pub(super) fn upload(plan: &plan::Plan, device: &Device) -> Result<Self, Fault> {
        Ok(Self {
            ops: upload(&plan.ops, device)?,
            device: device.clone(),
        })
    }

    /// Runs `numbers`, a batch of items of the shape `axes`; all outputs, row-major.
    pub(super) fn forward(&self, numbers: Vec<f32>, n_items: usize, axes: &[usize]) -> Result<Vec<f32>, Fault> {
        let input = match *axes {
            [features] => Flow::Flat(Tensor::from_data(
                TensorData::new(numbers, [n_items, features]),
                &self.device,
            )),
            [channels, height, width] => {
                let data = TensorData::new(numbers, [n_items, channels, height, width]);
                Flow::Map(Tensor::from_data(data, &self.device))
            }
            _ => return Err(Fault::Other(format!("an input of {} axes", axes.len()))),
        };
        let output = match run(&self.ops, input)? {
            Flow::Map(tensor) => tensor.try_into_data(),
            Flow::Flat(tensor) => tensor.try_into_data(),
        };
        let data = output.map_err(|error| match error {
            ExecutionError::DevicePoisoned { reason } => Fault::Poisoned(reason),
            other => Fault::Other(other.to_string()),
        })?;
        match data.as_slice::<f32>() {
            Ok(numbers) => Ok(numbers.to_vec()),
            Err(error) => Err(Fault::Other(format!("outputs that are no f32: {error:?}"))),
        }
    }
}

fn run(ops: &[Op], input: Flow) -> Result<Flow, Fault> {
    let mut flow = input;
    for op in ops {
        flow = step(op, flow)?;
    }
    Ok(flow)
}

fn step(op: &Op, flow: Flow) -> Result<Flow, Fault> {
    Ok(match (op, flow) {
        (Op::Conv2d { weight, bias, options }, Flow::Map(x)) => {
            Flow::Map(conv2d(x, weight.clone(), bias.clone(), options.clone()))
        }
        (Op::Linear { weight, bias }, Flow::Flat(x)) => Flow::Flat(linear(x, weight.clone(), bias.clone())),
        (Op::Scale { factor, shift }, Flow::Map(x)) => {
            let by_channel = |values: &Tensor<1>| values.clone().reshape([1, -1, 1, 1]);
            Flow::Map(x * by_channel(factor) + by_channel(shift))
        }
        (Op::Scale { factor, shift }, Flow::Flat(x)) => {
            Flow::Flat(x * factor.clone().unsqueeze() + shift.clone().unsqueeze())
        }
        (Op::MaxPool(options), Flow::Map(x)) => Flow::Map(max_pool2d(x, options.clone())),
        (Op::AvgPool(options), Flow::Map(x)) => Flow::Map(avg_pool2d(x, options.clone())),
        (Op::AdaptiveAvgPool(out), Flow::Map(x)) => Flow::Map(adaptive_avg_pool2d(x, *out)),
        (Op::Flatten, Flow::Map(x)) => Flow::Flat(x.flatten(1, 3)),
        (Op::Flatten, flat) => flat,
        (Op::Residual { body, shortcut }, flow) => match (run(body, flow.clone())?, run(shortcut, flow)?) {
            (Flow::Map(body), Flow::Map(shortcut)) => Flow::Map(body + shortcut),
            (Flow::Flat(body), Flow::Flat(shortcut)) => Flow::Flat(body + shortcut),
            _ => return Err(unplanned()),
        },
        (op, Flow::Map(x)) => Flow::Map(activate(op, x).ok_or_else(unplanned)?),
        (op, Flow::Flat(x)) => Flow::Flat(activate(op, x).ok_or_else(unplanned)?),
    })
}

/// The operations that work on any rank; channels and features are axis 1 in both.
fn activate<const D: usize>(op: &Op, x: Tensor<D>) -> Option<Tensor<D>> {
    match op {
        Op::Relu => Some(activation::relu(x)),
        Op::LeakyRelu(slope) => Some(activation::leaky_relu(x, *slope)),
        Op::Gelu => Some(activation::gelu(x)),
        Op::GeluApproximate => Some(activation::gelu_approximate(x)),
        Op::Silu => Some(activation::silu(x)),
        Op::Sigmoid => Some(activation::sigmoid(x)),
        Op::Softmax => Some(activation::softmax(x, 1)),
        _ => None,
    }
}

/// The plan was checked when it was built, so this is our bug; it costs a batch, not the process.
fn unplanned() -> Fault {
    Fault::Other("an operation got a tensor of another rank than planned".to_owned())
}

fn upload(ops: &[plan::Op], device: &Device) -> Result<Vec<Op>, Fault> {
    ops.iter().map(|op| upload_op(op, device)).collect()
}

fn upload_op(op: &plan::Op, device: &Device) -> Result<Op, Fault> {
    Ok(match op {
        plan::Op::Conv2d {
            weight,
            bias,
            window,
            groups,
        } => Op::Conv2d {
            weight: tensor(weight, device)?,
            bias: bias.as_deref().map(|bias| vector(bias, device)),
            options: ConvOptions::new(window.stride, window.padding, window.dilation, *groups),
        },
        plan::Op::Linear { weight, bias } => Op::Linear {
            weight: tensor(weight, device)?,
            bias: bias.as_deref().map(|bias| vector(bias, device)),
        },
        plan::Op::Scale { factor, shift } => Op::Scale {
            factor: vector(factor, device),
            shift: vector(shift, device),
        },
        plan::Op::Relu => Op::Relu,
        plan::Op::LeakyRelu { slope } => Op::LeakyRelu(*slope),
        plan::Op::Gelu { approximate: false } => Op::Gelu,
        plan::Op::Gelu { approximate: true } => Op::GeluApproximate,
        plan::Op::Silu => Op::Silu,
        plan::Op::Sigmoid => Op::Sigmoid,
        plan::Op::Softmax => Op::Softmax,
        plan::Op::MaxPool { window, ceil } => Op::MaxPool(max_pool(window, *ceil)),
        plan::Op::AvgPool {
            window,
            ceil,
            count_padding,
        } => Op::AvgPool(
            AvgPoolOptions::new(window.kernel)
                .with_stride(window.stride)
                .with_padding(window.padding)
                .with_count_include_pad(*count_padding)
                .with_ceil_mode(*ceil),
        ),
        plan::Op::AdaptiveAvgPool { out } => Op::AdaptiveAvgPool(*out),
        plan::Op::Flatten => Op::Flatten,
        plan::Op::Residual { body, shortcut } => Op::Residual {
            body: upload(body, device)?,
            shortcut: upload(shortcut, device)?,
        },
    })
}

fn max_pool(window: &Window, ceil: bool) -> MaxPoolOptions<2> {
    MaxPoolOptions::new(window.kernel)
        .with_stride(window.stride)
        .with_padding(window.padding)
        .with_dilation(window.dilation)
        .with_ceil_mode(ceil)
}

fn tensor<const D: usize>(array: &Array, device: &Device) -> Result<Tensor<D>, Fault> {
    let Ok(shape) = <[usize; D]>::try_from(array.shape.as_slice()) else {
        return Err(unplanned());
    };
    Ok(Tensor::from_data(TensorData::new(array.data.clone(), shape), device))
}

fn vector(values: &[f32], device: &Device) -> Tensor<1> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device)
}
