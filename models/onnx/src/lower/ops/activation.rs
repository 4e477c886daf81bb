//! Activations with their parameters.

use millrace_graph::{Activation, Binary, Op, Unary};

use crate::known::Kind;
use crate::known::{self, BinaryKind, Tensor, UnaryKind};
use crate::lower::call::Call;
use crate::lower::emit::Emitter;
use crate::lower::ops::{Answer, one};
use crate::lower::value::Value;
use crate::problem::{Refusal, refuse};

/// The activations that have no inputs beside the one.
fn of(call: &Call<'_, '_>) -> Result<Option<Unary>, Refusal> {
    let activation = match call.operator {
        "Relu" => Activation::Relu,
        "LeakyRelu" => Activation::LeakyRelu {
            slope: call.float_or("alpha", 0.01)?,
        },
        "Elu" => Activation::Elu {
            alpha: call.float_or("alpha", 1.0)?,
        },
        "Sigmoid" => Activation::Sigmoid,
        "HardSigmoid" => Activation::HardSigmoid {
            alpha: call.float_or("alpha", 0.2)?,
            beta: call.float_or("beta", 0.5)?,
        },
        "HardSwish" => Activation::HardSwish,
        "Tanh" => Activation::Tanh,
        "Mish" => Activation::Mish,
        "Gelu" => match call.text_or("approximate", "none")? {
            "none" => Activation::Gelu,
            "tanh" => Activation::GeluTanh,
            other => return Err(refuse(format!("approximation `{}` is not known", crate::shown(other)))),
        },
        "Selu" => {
            return Ok(Some(Unary::Selu {
                alpha: call.float_or("alpha", 1.673_263_2)?,
                gamma: call.float_or("gamma", 1.050_701)?,
            }));
        }
        "Celu" => {
            return Ok(Some(Unary::Celu {
                alpha: call.float_or("alpha", 1.0)?,
            }));
        }
        "Softplus" => return Ok(Some(Unary::Softplus)),
        "Softsign" => return Ok(Some(Unary::Softsign)),
        "ThresholdedRelu" => {
            return Ok(Some(Unary::ThresholdedRelu {
                alpha: call.float_or("alpha", 1.0)?,
            }));
        }
        _ => return Ok(None),
    };
    Ok(Some(Unary::Activation(activation)))
}

pub(crate) fn activation(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let x = call.input(0)?;
    let unary = of(call)?.ok_or_else(|| refuse("it is not known"))?;
    let load = match call.operator {
        "Relu" => Some(UnaryKind::Relu),
        "Sigmoid" => Some(UnaryKind::Sigmoid),
        "Tanh" => Some(UnaryKind::Tanh),
        _ => None,
    };
    if let (Value::Known(tensor), Some(load)) = (x, load) {
        return one(Value::Known(known::unary(load, tensor, &mut em.budget)?));
    }
    let operand = em.operand(x)?;
    one(em.value(Op::Unary(unary), &[operand], x.kind())?)
}

/// `x · sigmoid(alpha · x)`.
pub(crate) fn swish(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let x = call.input(0)?;
    let operand = em.operand(x)?;
    let alpha = call.float_or("alpha", 1.0)?;
    if alpha == 1.0 {
        return one(em.value(Op::Unary(Unary::Activation(Activation::Silu)), &[operand], Kind::Float)?);
    }
    let alpha = em.number(alpha)?;
    let scaled = em.binary(Binary::Mul, operand, alpha)?;
    let gate = em.unary(Unary::Activation(Activation::Sigmoid), scaled)?;
    let result = em.binary(Binary::Mul, operand, gate)?;
    one(em.given(result, Kind::Float)?)
}

/// `x - bias` above `lambd`, `x + bias` below `-lambd`, else 0.
pub(crate) fn shrink(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let x = em.operand(call.input(0)?)?;
    let (lambd, bias) = (call.float_or("lambd", 0.5)?, call.float_or("bias", 0.0)?);
    let (high, low) = (em.number(lambd)?, em.number(-lambd)?);
    let (bias, zero) = (em.number(bias)?, em.number(0.0)?);
    let is_above = em.binary(Binary::Greater, x, high)?;
    let is_below = em.binary(Binary::Less, x, low)?;
    let less = em.binary(Binary::Sub, x, bias)?;
    let more = em.binary(Binary::Add, x, bias)?;
    let below = em.emit(Op::Select, &[is_below, more, zero])?;
    one(em.value(Op::Select, &[is_above, less, below], Kind::Float)?)
}

/// `x` from 0 on, `slope · x` below, with a slope for each channel or number.
pub(crate) fn prelu(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let (x, slope) = (call.input(0)?, call.input(1)?);
    let operand = em.operand(x)?;
    if let Some(tensor) = slope.known()
        && let Some(slope) = tensor.single()
        && tensor.dims.len() <= em.shape(x)?.rank()
    {
        let activation = Activation::LeakyRelu { slope };
        return one(em.value(Op::Unary(Unary::Activation(activation)), &[operand], Kind::Float)?);
    }
    let slope = em.operand(slope)?;
    let result = em.binary(Binary::LeakyBySlope, operand, slope)?;
    one(em.given(result, Kind::Float)?)
}

pub(crate) fn clip(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let x = call.input(0)?;
    let (low, high) = match call.version < 11 {
        true => (call.float("min")?.map(number), call.float("max")?.map(number)),
        false => (call.optional(1).cloned(), call.optional(2).cloned()),
    };
    if let Value::Known(tensor) = x {
        let mut tensor = tensor.clone();
        for (bound, kind) in [(low, BinaryKind::Max), (high, BinaryKind::Min)] {
            match bound {
                Some(Value::Known(bound)) => tensor = known::binary(kind, &tensor, &bound, &mut em.budget)?,
                Some(_) => return Err(refuse("its bounds are computed while the network runs")),
                None => {}
            }
        }
        return one(Value::Known(tensor));
    }
    let single = |bound: &Option<Value>, none: f32| match bound {
        Some(value) => value.known().and_then(Tensor::single),
        None => Some(none),
    };
    let operand = em.operand(x)?;
    if let (Some(low), Some(high)) = (single(&low, f32::NEG_INFINITY), single(&high, f32::INFINITY)) {
        let activation = match (low, high) {
            (f32::NEG_INFINITY, f32::INFINITY) => return one(x.clone()),
            (0.0, f32::INFINITY) => Activation::Relu,
            (low, high) => Activation::Clip { low, high },
        };
        return one(em.value(Op::Unary(Unary::Activation(activation)), &[operand], x.kind())?);
    }
    let mut result = operand;
    for (bound, binary) in [(low, Binary::Max), (high, Binary::Min)] {
        if let Some(bound) = bound {
            let bound = em.operand(&bound)?;
            result = em.binary(binary, result, bound)?;
        }
    }
    one(em.given(result, x.kind())?)
}

fn number(number: f32) -> Value {
    Value::Known(Tensor::floats(Vec::new(), vec![number]))
}

/// Softmax and its logarithm. Before operator set 13 all axes from the one on are one.
pub(crate) fn softmax(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let x = call.input(0)?;
    let log = call.operator == "LogSoftmax";
    let shape = em.shape(x)?;
    let rank = shape.rank();
    let default = if call.version < 13 { 1 } else { -1 };
    let axis = crate::lower::call::axis(call.int_or("axis", default)?, rank)?;
    let operand = em.operand(x)?;
    let last = rank.saturating_sub(1);
    if call.version >= 13 || axis == last {
        return one(em.value(Op::Softmax { axis, log }, &[operand], Kind::Float)?);
    }
    let mut flat = shape.clone();
    let behind = crate::lower::emit::product(&flat.0.split_off(axis))?;
    flat.0.push(behind);
    let flat = em.reshape(operand, flat)?;
    let result = em.emit(Op::Softmax { axis, log }, &[flat])?;
    let result = em.reshape(result, shape)?;
    one(em.given(result, Kind::Float)?)
}
