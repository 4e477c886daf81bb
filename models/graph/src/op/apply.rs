//! What the functions yield: computed in `f64` and rounded once.

use super::{Activation, Binary, Unary};

impl Activation {
    /// The function at `x`.
    pub fn apply(&self, x: f32) -> f32 {
        let wide = f64::from(x);
        match *self {
            Self::Relu => clip(x, 0.0, f32::INFINITY),
            Self::Clip { low, high } => clip(x, low, high),
            Self::LeakyRelu { slope } if x < 0.0 => slope * x,
            Self::Elu { alpha } if x < 0.0 => (f64::from(alpha) * wide.exp_m1()) as f32,
            Self::LeakyRelu { .. } | Self::Elu { .. } => x,
            Self::Sigmoid => sigmoid(wide) as f32,
            Self::Silu => (wide * sigmoid(wide)) as f32,
            Self::HardSigmoid { alpha, beta } => hard_sigmoid(wide, alpha.into(), beta.into()) as f32,
            Self::HardSwish => (wide * hard_sigmoid(wide, 1.0 / 6.0, 0.5)) as f32,
            Self::Gelu => (wide / 2.0 * (1.0 + erf(wide * std::f64::consts::FRAC_1_SQRT_2))) as f32,
            Self::GeluTanh => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (wide + 0.044_715 * wide.powi(3));
                (wide / 2.0 * (1.0 + inner.tanh())) as f32
            }
            Self::Tanh => wide.tanh() as f32,
            Self::Mish => (wide * softplus(wide).tanh()) as f32,
        }
    }
}

impl Unary {
    /// The function at `x`.
    pub fn apply(&self, x: f32) -> f32 {
        let wide = f64::from(x);
        let truth = |holds: bool| f32::from(u8::from(holds));
        match *self {
            Self::Activation(activation) => activation.apply(x),
            Self::Selu { alpha, gamma } => {
                let inner = if x < 0.0 {
                    f64::from(alpha) * wide.exp_m1()
                } else {
                    wide
                };
                (f64::from(gamma) * inner) as f32
            }
            Self::Celu { alpha } => {
                let alpha = f64::from(alpha);
                (wide.max(0.0) + (alpha * (wide / alpha).exp_m1()).min(0.0)) as f32
            }
            Self::Softplus => softplus(wide) as f32,
            Self::Softsign => (wide / (1.0 + wide.abs())) as f32,
            Self::ThresholdedRelu { alpha } => {
                if x > alpha {
                    x
                } else {
                    0.0
                }
            }
            Self::Abs => x.abs(),
            Self::Neg => -x,
            Self::Exp => wide.exp() as f32,
            Self::Log => wide.ln() as f32,
            Self::Sqrt => x.sqrt(),
            Self::Reciprocal => 1.0 / x,
            Self::Erf => erf(wide) as f32,
            Self::Floor => x.floor(),
            Self::Ceil => x.ceil(),
            Self::Round => x.round_ties_even(),
            Self::Truncate => x.trunc(),
            Self::Sign if x > 0.0 => 1.0,
            Self::Sign if x < 0.0 => -1.0,
            Self::Sign => x,
            Self::Sin => wide.sin() as f32,
            Self::Cos => wide.cos() as f32,
            Self::Not => truth(x == 0.0),
        }
    }
}

impl Binary {
    /// The function of `x` and `y`.
    pub fn apply(self, x: f32, y: f32) -> f32 {
        let truth = |holds: bool| f32::from(u8::from(holds));
        match self {
            Self::Add => x + y,
            Self::Sub => x - y,
            Self::Mul => x * y,
            Self::Div => x / y,
            // Unlike `f32::max`, what is no number stays so.
            Self::Max => {
                if x > y || x.is_nan() {
                    x
                } else {
                    y
                }
            }
            Self::Min => {
                if x < y || x.is_nan() {
                    x
                } else {
                    y
                }
            }
            Self::Pow => f64::from(x).powf(y.into()) as f32,
            Self::Mod => {
                let rest = x % y;
                if rest != 0.0 && (rest < 0.0) != (y < 0.0) {
                    rest + y
                } else {
                    rest
                }
            }
            Self::Fmod => x % y,
            Self::LeakyBySlope => {
                if x < 0.0 {
                    y * x
                } else {
                    x
                }
            }
            Self::Equal => truth(x == y),
            Self::Less => truth(x < y),
            Self::LessOrEqual => truth(x <= y),
            Self::Greater => truth(x > y),
            Self::GreaterOrEqual => truth(x >= y),
            Self::And => truth(x != 0.0 && y != 0.0),
            Self::Or => truth(x != 0.0 || y != 0.0),
            Self::Xor => truth((x != 0.0) != (y != 0.0)),
        }
    }
}

/// `min(max(x, low), high)`; what is no number stays so.
fn clip(x: f32, low: f32, high: f32) -> f32 {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn hard_sigmoid(x: f64, alpha: f64, beta: f64) -> f64 {
    (alpha * x + beta).clamp(0.0, 1.0)
}

/// Without an overflow for large `x`.
fn softplus(x: f64) -> f64 {
    let positive = if x > 0.0 { x } else { 0.0 };
    match x.is_nan() {
        true => x,
        false => positive + (-x.abs()).exp().ln_1p(),
    }
}

/// The error function: `2/sqrt(pi) · exp(-x²) · sum of 2^n x^(2n+1) / (1·3·..·(2n+1))`, whose terms all have one sign.
fn erf(x: f64) -> f64 {
    // Beyond, it is 1 in every digit of an `f64`.
    const ONE_FROM: f64 = 6.0;
    if x.is_nan() || x.abs() >= ONE_FROM {
        return if x.is_nan() { x } else { x.signum() };
    }
    let square = x * x;
    let (mut term, mut sum, mut odd) = (x, x, 1.0);
    // At 6 the terms are below the last digit after 130.
    for _ in 0..200 {
        odd += 2.0;
        term *= 2.0 * square / odd;
        sum += term;
        if term.abs() <= sum.abs() * f64::EPSILON {
            break;
        }
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-square).exp() * sum
}

#[cfg(test)]
mod tests {
    use super::{Activation, Binary, Unary};

    #[test]
    fn functions_of_one_number() {
        let check = |unary: Unary, rows: &[(f32, f32)]| {
            for (x, expected) in rows {
                let found = unary.apply(*x);
                let near = (found - expected).abs() <= 1e-6 * expected.abs() || found == *expected;
                assert!(
                    near || (found.is_nan() && expected.is_nan()),
                    "{unary:?} of {x}: {found}, not {expected}"
                );
            }
        };
        const INFINITY: f32 = f32::INFINITY;
        const NAN: f32 = f32::NAN;
        let activation = Unary::Activation;
        check(
            activation(Activation::Relu),
            &[(-1.0, 0.0), (2.0, 2.0), (INFINITY, INFINITY), (NAN, NAN)],
        );
        let six = activation(Activation::Clip { low: 0.0, high: 6.0 });
        check(six, &[(-1.0, 0.0), (7.0, 6.0), (3.0, 3.0), (NAN, NAN)]);
        check(
            activation(Activation::Clip { low: 2.0, high: 1.0 }),
            &[(0.0, 1.0), (3.0, 1.0)],
        );
        check(
            activation(Activation::LeakyRelu { slope: 0.1 }),
            &[(-2.0, -0.2), (2.0, 2.0)],
        );
        check(
            activation(Activation::Sigmoid),
            &[(0.0, 0.5), (-1000.0, 0.0), (1000.0, 1.0), (1.0, 0.731_058_6)],
        );
        check(
            activation(Activation::Silu),
            &[(1.0, 0.731_058_6), (-2.0, -0.238_405_84)],
        );
        let hard = activation(Activation::HardSigmoid { alpha: 0.2, beta: 0.5 });
        check(hard, &[(1.0, 0.7), (-3.0, 0.0), (3.0, 1.0)]);
        check(
            activation(Activation::HardSwish),
            &[(1.0, 2.0 / 3.0), (-4.0, 0.0), (4.0, 4.0)],
        );
        check(
            activation(Activation::Gelu),
            &[(1.0, 0.841_344_7), (-1.0, -0.158_655_26), (10.0, 10.0), (-20.0, 0.0)],
        );
        check(
            activation(Activation::GeluTanh),
            &[(1.0, 0.841_191_95), (-1.0, -0.158_808_01)],
        );
        check(activation(Activation::Tanh), &[(0.5, 0.462_117_16), (100.0, 1.0)]);
        check(
            activation(Activation::Elu { alpha: 2.0 }),
            &[(-1.0, -1.264_241_1), (3.0, 3.0)],
        );
        check(
            activation(Activation::Mish),
            &[(1.0, 0.865_098_4), (-1.0, -0.303_401_46), (100.0, 100.0)],
        );
        check(
            Unary::Selu {
                alpha: 1.673_263_2,
                gamma: 1.050_701,
            },
            &[(-1.0, -1.111_330_7), (1.0, 1.050_701)],
        );
        check(Unary::Celu { alpha: 2.0 }, &[(-2.0, -1.264_241_1), (3.0, 3.0)]);
        check(
            Unary::Softplus,
            &[
                (0.0, std::f32::consts::LN_2),
                (1000.0, 1000.0),
                (-1000.0, 0.0),
                (NAN, NAN),
            ],
        );
        check(Unary::Softsign, &[(-3.0, -0.75)]);
        check(Unary::ThresholdedRelu { alpha: 1.0 }, &[(1.0, 0.0), (1.5, 1.5)]);
        check(
            Unary::Erf,
            &[
                (0.5, 0.520_499_9),
                (-0.5, -0.520_499_9),
                (1e-10, 1.128_379_2e-10),
                (4.0, 1.0),
                (NAN, NAN),
            ],
        );
        check(
            Unary::Erf,
            &[
                (2.0, 0.995_322_3),
                (3.0, 0.999_977_9),
                (INFINITY, 1.0),
                (-INFINITY, -1.0),
            ],
        );
        check(Unary::Round, &[(0.5, 0.0), (1.5, 2.0), (-2.5, -2.0)]);
        check(Unary::Truncate, &[(1.7, 1.0), (-1.7, -1.0)]);
        check(Unary::Floor, &[(-1.2, -2.0)]);
        check(Unary::Ceil, &[(-1.2, -1.0)]);
        check(Unary::Sign, &[(-3.0, -1.0), (0.0, 0.0), (2.0, 1.0)]);
        check(Unary::Not, &[(0.0, 1.0), (2.0, 0.0)]);
        check(Unary::Reciprocal, &[(4.0, 0.25), (0.0, INFINITY)]);
        check(Unary::Abs, &[(-4.0, 4.0)]);
        check(Unary::Neg, &[(-4.0, 4.0)]);
        check(Unary::Exp, &[(1.0, std::f32::consts::E), (100.0, INFINITY)]);
        check(Unary::Log, &[(1.0, 0.0), (-1.0, NAN), (0.0, -INFINITY)]);
        check(Unary::Sqrt, &[(9.0, 3.0), (-1.0, NAN)]);
        check(Unary::Sin, &[(1.0, 0.841_471)]);
        check(Unary::Cos, &[(1.0, 0.540_302_3)]);
    }

    #[test]
    fn functions_of_two_numbers() {
        let check = |binary: Binary, x: f32, y: f32, expected: f32| {
            let found = binary.apply(x, y);
            let same = found == expected || (found.is_nan() && expected.is_nan());
            assert!(same, "{binary:?} of {x} and {y}: {found}, not {expected}");
        };
        check(Binary::Add, 1.0, 2.0, 3.0);
        check(Binary::Sub, 1.0, 2.0, -1.0);
        check(Binary::Mul, 3.0, 2.0, 6.0);
        check(Binary::Div, 3.0, 2.0, 1.5);
        check(Binary::Max, 3.0, f32::NAN, f32::NAN);
        check(Binary::Min, f32::NAN, 3.0, f32::NAN);
        check(Binary::Max, 3.0, 4.0, 4.0);
        check(Binary::Min, 3.0, 4.0, 3.0);
        check(Binary::Pow, -2.0, 3.0, -8.0);
        check(Binary::Mod, -7.0, 3.0, 2.0);
        check(Binary::Mod, 7.0, -3.0, -2.0);
        check(Binary::Mod, 6.0, -3.0, 0.0);
        check(Binary::Fmod, -7.0, 3.0, -1.0);
        check(Binary::Fmod, 7.0, -3.0, 1.0);
        check(Binary::LeakyBySlope, -2.0, 0.25, -0.5);
        check(Binary::LeakyBySlope, 2.0, 0.25, 2.0);
        check(Binary::Equal, 2.0, 2.0, 1.0);
        check(Binary::Less, 2.0, 2.0, 0.0);
        check(Binary::LessOrEqual, 2.0, 2.0, 1.0);
        check(Binary::Greater, 3.0, 2.0, 1.0);
        check(Binary::GreaterOrEqual, 1.0, 2.0, 0.0);
        check(Binary::And, 1.0, 0.0, 0.0);
        check(Binary::Or, 1.0, 0.0, 1.0);
        check(Binary::Xor, 1.0, 2.0, 0.0);
    }
}
