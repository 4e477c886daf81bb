//! Functions of one number, of two, and of many.

/// A function that is applied to each number of an operator's result.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, low), high)`; either may be infinite.
    Clip {
        /// The least.
        low: f32,
        /// The most.
        high: f32,
    },
    /// `x` from 0 on, `slope · x` below.
    LeakyRelu {
        /// Below 0.
        slope: f32,
    },
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `x · sigmoid(x)`.
    Silu,
    /// `min(max(alpha · x + beta, 0), 1)`.
    HardSigmoid {
        /// The slope.
        alpha: f32,
        /// At 0.
        beta: f32,
    },
    /// `x · min(max(x / 6 + 1/2, 0), 1)`.
    HardSwish,
    /// `x / 2 · (1 + erf(x / sqrt(2)))`.
    Gelu,
    /// `x / 2 · (1 + tanh(sqrt(2/pi) · (x + 0.044715 x^3)))`.
    GeluTanh,
    /// Hyperbolic tangent.
    Tanh,
    /// `x` from 0 on, `alpha · (exp(x) - 1)` below.
    Elu {
        /// Below 0.
        alpha: f32,
    },
    /// `x · tanh(ln(1 + exp(x)))`.
    Mish,
}

impl Activation {
    /// One of each kind, with parameters that networks have: what executors are tested with.
    pub const EACH: [Self; 12] = [
        Self::Relu,
        Self::Clip { low: -1.0, high: 6.0 },
        Self::LeakyRelu { slope: 0.01 },
        Self::Sigmoid,
        Self::Silu,
        Self::HardSigmoid { alpha: 0.2, beta: 0.5 },
        Self::HardSwish,
        Self::Gelu,
        Self::GeluTanh,
        Self::Tanh,
        Self::Elu { alpha: 1.0 },
        Self::Mish,
    ];

    /// What it is called in the text form.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Relu => "relu",
            Self::Clip { .. } => "clip",
            Self::LeakyRelu { .. } => "leaky-relu",
            Self::Sigmoid => "sigmoid",
            Self::Silu => "silu",
            Self::HardSigmoid { .. } => "hard-sigmoid",
            Self::HardSwish => "hard-swish",
            Self::Gelu => "gelu",
            Self::GeluTanh => "gelu-tanh",
            Self::Tanh => "tanh",
            Self::Elu { .. } => "elu",
            Self::Mish => "mish",
        }
    }
}

/// A function of one number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unary {
    /// One of those that fit behind another operator.
    Activation(Activation),
    /// `gamma · (x` from 0 on, `alpha · (exp(x) - 1)` below`)`.
    Selu {
        /// Below 0.
        alpha: f32,
        /// On the whole.
        gamma: f32,
    },
    /// `max(0, x) + min(0, alpha · (exp(x / alpha) - 1))`.
    Celu {
        /// Below 0.
        alpha: f32,
    },
    /// `ln(1 + exp(x))`.
    Softplus,
    /// `x / (1 + |x|)`.
    Softsign,
    /// `x` where it is above `alpha`, else 0.
    ThresholdedRelu {
        /// The threshold.
        alpha: f32,
    },
    /// Without its sign.
    Abs,
    /// With the other sign.
    Neg,
    /// `e` to the power of it.
    Exp,
    /// Natural logarithm.
    Log,
    /// Square root.
    Sqrt,
    /// `1 / x`.
    Reciprocal,
    /// The error function.
    Erf,
    /// Downwards.
    Floor,
    /// Upwards.
    Ceil,
    /// To the nearest, halves to even.
    Round,
    /// Towards zero: what a cast to an integer does.
    Truncate,
    /// -1, 0 or 1.
    Sign,
    /// Sine of radians.
    Sin,
    /// Cosine of radians.
    Cos,
    /// 1 for 0, else 0.
    Not,
}

impl Unary {
    /// What it is called in the text form.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Activation(activation) => activation.name(),
            Self::Selu { .. } => "selu",
            Self::Celu { .. } => "celu",
            Self::Softplus => "softplus",
            Self::Softsign => "softsign",
            Self::ThresholdedRelu { .. } => "thresholded-relu",
            Self::Abs => "abs",
            Self::Neg => "neg",
            Self::Exp => "exp",
            Self::Log => "log",
            Self::Sqrt => "sqrt",
            Self::Reciprocal => "reciprocal",
            Self::Erf => "erf",
            Self::Floor => "floor",
            Self::Ceil => "ceil",
            Self::Round => "round",
            Self::Truncate => "truncate",
            Self::Sign => "sign",
            Self::Sin => "sin",
            Self::Cos => "cos",
            Self::Not => "not",
        }
    }
}

/// A function of two numbers. Comparisons yield 1 or 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Max,
    Min,
    /// The first to the power of the second.
    Pow,
    /// The remainder with the sign of the divisor, as Python's `%`.
    Mod,
    /// The remainder with the sign of the dividend, as C's `fmod`.
    Fmod,
    /// The first from 0 on, the second times the first below: PReLU with a slope for each number.
    LeakyBySlope,
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    And,
    Or,
    Xor,
}

impl Binary {
    /// What it is called in the text form.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Sub => "sub",
            Self::Mul => "mul",
            Self::Div => "div",
            Self::Max => "max",
            Self::Min => "min",
            Self::Pow => "pow",
            Self::Mod => "mod",
            Self::Fmod => "fmod",
            Self::LeakyBySlope => "leaky-by-slope",
            Self::Equal => "equal",
            Self::Less => "less",
            Self::LessOrEqual => "less-or-equal",
            Self::Greater => "greater",
            Self::GreaterOrEqual => "greater-or-equal",
            Self::And => "and",
            Self::Or => "or",
            Self::Xor => "xor",
        }
    }
}

/// One number for many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Reduction {
    Mean,
    Sum,
    Max,
    Min,
    Product,
    /// The sum of their sizes.
    L1,
    /// The root of the sum of squares.
    L2,
    SumOfSquares,
    /// The logarithm of the sum.
    LogOfSum,
    /// The logarithm of the sum of exponentials.
    LogOfSumOfExp,
}

impl Reduction {
    /// What it is called in the text form.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Mean => "reduce-mean",
            Self::Sum => "reduce-sum",
            Self::Max => "reduce-max",
            Self::Min => "reduce-min",
            Self::Product => "reduce-product",
            Self::L1 => "reduce-l1",
            Self::L2 => "reduce-l2",
            Self::SumOfSquares => "reduce-sum-of-squares",
            Self::LogOfSum => "reduce-log-of-sum",
            Self::LogOfSumOfExp => "reduce-log-of-sum-of-exp",
        }
    }
}
