//! Exponential, error function and what follows from them, a register at a time.

use millrace_graph::Activation;

use super::vector::Vector;

/// `c[0] · x^n + .. + c[n]`.
///
/// # Safety
/// [`Vector`]'s contract.
#[inline(always)]
unsafe fn polynomial<V: Vector, const TERMS: usize>(x: V, coefficients: [f32; TERMS]) -> V {
    // SAFETY: the caller's contract is the callee's.
    unsafe {
        let mut sum = V::splat(0.0);
        for coefficient in coefficients {
            sum = sum.mul_add(x, V::splat(coefficient));
        }
        sum
    }
}

/// `e^x` to 2 units in the last place; 0 below -87.
///
/// # Safety
/// [`Vector`]'s contract.
#[inline(always)]
pub(super) unsafe fn exp<V: Vector>(x: V) -> V {
    // ln 2 in two parts, so that a whole multiple of it is subtracted without an error.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // SAFETY: the caller's contract is the callee's; the power is of a whole number from -127 (which yields 0) to 127.
    unsafe {
        let x = V::splat(89.0).min(V::splat(-87.0).max(x));
        let whole = x.mul(V::splat(std::f32::consts::LOG2_E)).round();
        let rest = whole.mul_add(V::splat(-LN2_HIGH), x);
        let rest = whole.mul_add(V::splat(-LN2_LOW), rest);
        // The polynomial of Cephes' expf.
        let tail = polynomial(
            rest,
            [
                1.987_569_1e-4,
                1.398_199_9e-3,
                8.333_452e-3,
                4.166_579_6e-2,
                1.666_666_5e-1,
                0.5,
            ],
        );
        let power = tail.mul(rest).mul_add(rest, rest).add(V::splat(1.0));
        // Twice half the power of two: that of 128 is not a float, and the product overflows as it should.
        let half = whole.sub(V::splat(1.0)).power_of_two();
        power.mul(half).mul(V::splat(2.0))
    }
}

/// `1 / (1 + e^-x)`.
///
/// # Safety
/// [`Vector`]'s contract.
#[inline(always)]
unsafe fn sigmoid<V: Vector>(x: V) -> V {
    // SAFETY: the caller's contract is the callee's.
    unsafe {
        let one = V::splat(1.0);
        one.div(exp(V::splat(0.0).sub(x)).add(one))
    }
}

/// Hyperbolic tangent, to 2e-7.
///
/// # Safety
/// [`Vector`]'s contract.
#[inline(always)]
unsafe fn tanh<V: Vector>(x: V) -> V {
    // SAFETY: the caller's contract is the callee's.
    unsafe {
        let one = V::splat(1.0);
        let power = exp(x.add(x));
        one.sub(V::splat(2.0).div(power.add(one)))
    }
}

/// The error function, to 3e-7.
///
/// # Safety
/// [`Vector`]'s contract.
#[inline(always)]
pub(super) unsafe fn erf<V: Vector>(x: V) -> V {
    // Beyond it the result is 1 in single precision. Range and ratio of polynomials as in Eigen's and XLA's erf.
    const EDGE: f32 = 3.832_507;
    // SAFETY: the caller's contract is the callee's.
    unsafe {
        let x = V::splat(EDGE).min(V::splat(-EDGE).max(x));
        let square = x.mul(x);
        let above = polynomial(
            square,
            [
                2.290_506_5e-4,
                3.408_291e-3,
                5.095_569_6e-2,
                1.852_083_2e-1,
                std::f32::consts::FRAC_2_SQRT_PI,
            ],
        );
        let below = polynomial(
            square,
            [
                -1.179_160_2e-7,
                2.354_796_6e-5,
                1.017_962_5e-3,
                1.407_047e-2,
                1.109_850_5e-1,
                4.974_692_5e-1,
                1.0,
            ],
        );
        x.mul(above).div(below)
    }
}

/// What an activation makes of a number, as `millrace_graph::Activation` defines it. A NaN stays.
///
/// # Safety
/// [`Vector`]'s contract.
#[inline(always)]
pub(super) unsafe fn activate<V: Vector>(activation: Activation, x: V) -> V {
    // SAFETY: the caller's contract is the callee's.
    unsafe {
        let zero = V::splat(0.0);
        let one = V::splat(1.0);
        let half = V::splat(0.5);
        match activation {
            Activation::Relu => zero.max(x),
            Activation::Clip { low, high } => V::splat(high).min(V::splat(low).max(x)),
            Activation::LeakyRelu { slope } => zero.min(x).mul_add(V::splat(slope), zero.max(x)),
            Activation::Sigmoid => sigmoid(x),
            Activation::Silu => x.div(exp(zero.sub(x)).add(one)),
            Activation::HardSigmoid { alpha, beta } => one.min(zero.max(x.mul_add(V::splat(alpha), V::splat(beta)))),
            Activation::HardSwish => x.mul(one.min(zero.max(x.mul_add(V::splat(1.0 / 6.0), half)))),
            Activation::Gelu => {
                // From here downwards the result is 0 in single precision, and `erf` is not quite -1.
                const ZERO: f32 = -5.42;
                let share = erf(x.mul(V::splat(std::f32::consts::FRAC_1_SQRT_2))).mul_add(half, half);
                V::splat(ZERO).max(x).mul(share)
            }
            Activation::GeluTanh => {
                // `1/2 + tanh(y)/2` is `sigmoid(2y)`; twice the square root of 2/pi.
                const FACTOR: f32 = 1.595_769;
                let cubic = x.mul(x).mul_add(V::splat(0.044_715), one).mul(x);
                x.mul(sigmoid(cubic.mul(V::splat(FACTOR))))
            }
            Activation::Tanh => tanh(x),
            Activation::Elu { alpha } => exp(zero.min(x)).sub(one).mul_add(V::splat(alpha), zero.max(x)),
            Activation::Mish => {
                // tanh(ln(1 + e^x)) is (e^2x + 2e^x) / (e^2x + 2e^x + 2), and 1 in single precision from 20 on.
                let power = exp(V::splat(20.0).min(x));
                let above = power.mul(power.add(V::splat(2.0)));
                x.mul(above.div(above.add(V::splat(2.0))))
            }
        }
    }
}
