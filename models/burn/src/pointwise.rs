//! Functions of one number. Each is composed of what every backend computes alike.

use burn::tensor::{Bool, FloatDType, Tensor, activation};
use millrace_graph::{Activation, Unary};

pub(super) fn unary<const D: usize>(unary: Unary, x: Tensor<D>) -> Tensor<D> {
    match unary {
        Unary::Activation(activation) => activate(activation, x),
        Unary::Selu { alpha, gamma } => (x.clone().clamp_min(0.0) + (below(x).exp() - 1.0) * alpha) * gamma,
        Unary::Celu { alpha } => {
            let bent = ((x.clone() / alpha).exp() - 1.0) * alpha;
            x.clamp_min(0.0) + bent.clamp_max(0.0)
        }
        Unary::Softplus => softplus(x),
        Unary::Softsign => x.clone() / (x.abs() + 1.0),
        Unary::ThresholdedRelu { alpha } => {
            let low = x.clone().lower_equal_elem(alpha);
            x.mask_fill(low, 0.0)
        }
        Unary::Abs => x.abs(),
        Unary::Neg => x.neg(),
        Unary::Exp => x.exp(),
        Unary::Log => x.log(),
        Unary::Sqrt => x.sqrt(),
        Unary::Reciprocal => x.recip(),
        Unary::Erf => x.erf(),
        Unary::Floor => x.floor(),
        Unary::Ceil => x.ceil(),
        Unary::Round => round(x),
        Unary::Truncate => {
            let negative = x.clone().lower_elem(0.0);
            let (up, down) = (x.clone().ceil(), x.floor());
            down.mask_where(negative, up)
        }
        Unary::Sign => {
            let number = x.dtype().into();
            truth(x.clone().greater_elem(0.0), number) - truth(x.lower_elem(0.0), number)
        }
        Unary::Sin => x.sin(),
        Unary::Cos => x.cos(),
        Unary::Not => {
            let number = x.dtype().into();
            truth(x.equal_elem(0.0), number)
        }
    }
}

fn activate<const D: usize>(activation: Activation, x: Tensor<D>) -> Tensor<D> {
    match activation {
        Activation::Relu => activation::relu(x),
        Activation::Clip { low, high } => match (low.is_finite(), high.is_finite()) {
            (true, true) => x.clamp(low, high),
            (true, false) => x.clamp_min(low),
            (false, true) => x.clamp_max(high),
            (false, false) => x,
        },
        Activation::LeakyRelu { slope } => activation::leaky_relu(x, f64::from(slope)),
        Activation::Sigmoid => activation::sigmoid(x),
        Activation::Silu => activation::silu(x),
        Activation::HardSigmoid { alpha, beta } => hard_sigmoid(x, alpha, beta),
        Activation::HardSwish => x.clone() * hard_sigmoid(x, 1.0 / 6.0, 0.5),
        Activation::Gelu => activation::gelu(x),
        Activation::GeluTanh => {
            let cube = x.clone() * x.clone() * x.clone();
            let bent = ((x.clone() + cube * 0.044_715) * (2.0 / std::f64::consts::PI).sqrt()).tanh();
            x * 0.5 * (bent + 1.0)
        }
        Activation::Tanh => x.tanh(),
        Activation::Elu { alpha } => x.clone().clamp_min(0.0) + (below(x).exp() - 1.0) * alpha,
        Activation::Mish => x.clone() * softplus(x).tanh(),
    }
}

fn hard_sigmoid<const D: usize>(x: Tensor<D>, alpha: f32, beta: f32) -> Tensor<D> {
    (x * alpha + beta).clamp(0.0, 1.0)
}

/// The part below 0: its exponential does not overflow.
fn below<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.clamp_max(0.0)
}

/// Without an overflow of the exponential.
fn softplus<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.clone().clamp_min(0.0) + x.abs().neg().exp().log1p()
}

/// Halves to even: what devices call rounding leaves open where halves go.
fn round<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let number = x.dtype().into();
    let floor = x.clone().floor();
    let rest = x - floor.clone();
    let is_odd = (floor.clone() - (floor.clone() * 0.5).floor() * 2.0).equal_elem(1.0);
    let up = rest
        .clone()
        .greater_elem(0.5)
        .bool_or(rest.equal_elem(0.5).bool_and(is_odd));
    floor + truth(up, number)
}

/// 1 and 0 for what holds and what does not.
pub(super) fn truth<const D: usize>(holds: Tensor<D, Bool>, number: FloatDType) -> Tensor<D> {
    holds.float().cast(number)
}
