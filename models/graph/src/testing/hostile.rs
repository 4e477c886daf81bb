//! Operators with parameters that no network has.

use super::random::Random;
use super::{conv, linear, transposed};
use crate::graph::ConstantId;
use crate::op::{
    Activation, Adaptive, Binary, Convolution, Coordinates, GroupNorm, Interpolation, LayerNorm, Linear,
    LocalResponseNorm, Op, PadMode, Pool, PoolKind, Reduction, Resize, Rounding, TransposedConvolution, Unary, Window,
};
use crate::shape::{Axis, Shape};

/// Draws what a hostile file may say.
pub(crate) struct Hostile {
    pub(crate) random: Random,
    /// How many constants there are; some ids are of none.
    pub(crate) constants: u32,
}

impl Hostile {
    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.random.below(of.len())]
    }

    fn size(&mut self) -> usize {
        let large = self.pick(&[
            1 << 16,
            1 << 20,
            (1 << 20) + 1,
            1 << 26,
            1 << 32,
            1 << 63,
            usize::MAX,
            usize::MAX - 1,
        ]);
        let small = self.random.below(5);
        self.pick(&[small, small, small, small, small, small, small, large])
    }

    fn pair(&mut self) -> [usize; 2] {
        [self.size(), self.size()]
    }

    fn axis(&mut self) -> usize {
        let any = self.size();
        self.pick(&[0, 1, 2, 3, any])
    }

    fn sizes(&mut self) -> Vec<usize> {
        (0..self.random.below(6)).map(|_| self.size()).collect()
    }

    fn float(&mut self) -> f32 {
        self.pick(&[
            0.0,
            1.0,
            -1.0,
            0.5,
            1e-45,
            f32::MAX,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
        ])
    }

    fn step(&mut self) -> isize {
        self.pick(&[1, 1, 2, -1, -2, 0, isize::MAX, isize::MIN])
    }

    fn holds(&mut self) -> bool {
        self.random.below(2) == 0
    }

    pub(crate) fn shape(&mut self) -> Shape {
        let axes = (0..self.random.below(6)).map(|_| Axis {
            size: self.size(),
            batched: self.random.below(6) == 0,
        });
        Shape(axes.collect())
    }

    fn constant(&mut self) -> ConstantId {
        ConstantId(self.random.below(self.constants as usize + 1) as u32)
    }

    fn maybe(&mut self) -> Option<ConstantId> {
        self.holds().then(|| self.constant())
    }

    fn window(&mut self) -> Window {
        Window {
            kernel: self.pair(),
            stride: self.pair(),
            dilation: self.pair(),
            before: self.pair(),
            after: self.pair(),
        }
    }

    fn activation(&mut self) -> Activation {
        let (one, other) = (self.float(), self.float());
        self.pick(&[
            Activation::Relu,
            Activation::Clip { low: one, high: other },
            Activation::LeakyRelu { slope: one },
            Activation::HardSigmoid {
                alpha: one,
                beta: other,
            },
            Activation::Elu { alpha: one },
            Activation::Gelu,
            Activation::GeluTanh,
            Activation::Mish,
        ])
    }

    fn unary(&mut self) -> Unary {
        let (activation, one, other) = (self.activation(), self.float(), self.float());
        self.pick(&[
            Unary::Activation(activation),
            Unary::Selu {
                alpha: one,
                gamma: other,
            },
            Unary::Celu { alpha: one },
            Unary::ThresholdedRelu { alpha: one },
            Unary::Softplus,
            Unary::Erf,
            Unary::Log,
            Unary::Exp,
        ])
    }

    /// An operator at random.
    pub(crate) fn op(&mut self) -> Op {
        match self.random.below(12) {
            0 => {
                let conv = conv(self.constant(), self.window());
                let (groups, bias, residual) = (self.size(), self.maybe(), self.holds());
                let activation = self.holds().then(|| self.activation());
                Op::Convolution(Convolution {
                    groups,
                    bias,
                    residual,
                    activation,
                    ..conv
                })
            }
            1 => {
                let conv = transposed(self.constant(), self.window());
                let (groups, bias, output_padding) = (self.size(), self.maybe(), self.pair());
                Op::TransposedConvolution(TransposedConvolution {
                    groups,
                    bias,
                    output_padding,
                    ..conv
                })
            }
            2 => {
                let counted = self.pair();
                let kind = self.pick(&[
                    PoolKind::Max,
                    PoolKind::Average,
                    PoolKind::AverageWithPadding { counted },
                ]);
                Op::Pool(Pool {
                    kind,
                    window: self.window(),
                })
            }
            3 => self.norm(),
            4 => self.layout(),
            5 => self.layout(),
            6 => self.resize(),
            7 => Op::Unary(self.unary()),
            8 => Op::Binary(self.pick(&[
                Binary::Add,
                Binary::Div,
                Binary::Pow,
                Binary::Mod,
                Binary::Fmod,
                Binary::Max,
            ])),
            9 => {
                let linear = linear(self.constant());
                let (bias, residual) = (self.maybe(), self.holds());
                match self.random.below(3) {
                    0 => Op::MatMul,
                    1 => Op::Select,
                    _ => Op::Linear(Linear {
                        bias,
                        residual,
                        ..linear
                    }),
                }
            }
            10 => {
                let (axes, keep) = (self.sizes(), self.holds());
                let reduction = self.pick(&[
                    Reduction::Mean,
                    Reduction::Product,
                    Reduction::LogOfSumOfExp,
                    Reduction::Max,
                ]);
                Op::Reduce { reduction, axes, keep }
            }
            _ => {
                let (axis, keep, last) = (self.axis(), self.holds(), self.holds());
                match self.holds() {
                    true => Op::Softmax { axis, log: keep },
                    false => Op::ArgExtreme {
                        smallest: self.holds(),
                        axis,
                        keep,
                        last,
                    },
                }
            }
        }
    }

    fn norm(&mut self) -> Op {
        let (scale, shift, epsilon) = (self.maybe(), self.maybe(), f64::from(self.float()));
        match self.random.below(4) {
            0 => Op::LayerNorm(LayerNorm {
                axes: self.size(),
                epsilon,
                scale,
                shift,
            }),
            1 => Op::GroupNorm(GroupNorm {
                groups: self.size(),
                epsilon,
                scale,
                shift,
            }),
            2 => {
                let [alpha, beta, bias] = [self.float(), self.float(), self.float()].map(f64::from);
                Op::LocalResponseNorm(LocalResponseNorm {
                    size: self.size(),
                    alpha,
                    beta,
                    bias,
                })
            }
            _ => Op::Scale {
                factor: self.constant(),
                shift: self.constant(),
            },
        }
    }

    fn layout(&mut self) -> Op {
        match self.random.below(7) {
            0 => Op::Reshape(self.shape()),
            1 => Op::Transpose(self.sizes()),
            2 => {
                let steps = (0..self.random.below(6)).map(|_| self.step()).collect();
                Op::Slice {
                    starts: self.sizes(),
                    steps,
                    shape: self.shape(),
                }
            }
            3 => Op::Concat { axis: self.axis() },
            4 => {
                let number = self.float();
                let mode = self.pick(&[
                    PadMode::Constant(number),
                    PadMode::Edge,
                    PadMode::Reflect,
                    PadMode::Wrap,
                ]);
                Op::Pad {
                    before: self.sizes(),
                    after: self.sizes(),
                    mode,
                }
            }
            5 => Op::Expand(self.shape()),
            _ => Op::Gather {
                axis: self.axis(),
                indices: self.sizes(),
                shape: self.sizes(),
            },
        }
    }

    fn resize(&mut self) -> Op {
        if self.holds() {
            return Op::AdaptiveAverage(Adaptive { out: self.pair() });
        }
        let (coefficient, exclude_outside) = (self.float(), self.holds());
        let rounding = self.pick(&[
            Rounding::Floor,
            Rounding::Ceil,
            Rounding::PreferFloor,
            Rounding::PreferCeil,
        ]);
        let cubic = Interpolation::Cubic {
            coefficient,
            exclude_outside,
        };
        Op::Resize(Resize {
            out: self.pair(),
            scale: [self.float(), self.float()],
            interpolation: self.pick(&[Interpolation::Nearest(rounding), Interpolation::Linear, cubic]),
            coordinates: self.pick(&[
                Coordinates::HalfPixel,
                Coordinates::HalfPixelSymmetric,
                Coordinates::PytorchHalfPixel,
                Coordinates::AlignCorners,
                Coordinates::Asymmetric,
            ]),
        })
    }
}
