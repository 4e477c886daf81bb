//! Nodes over maps.

use millrace_graph::{
    Adaptive, Convolution, Coordinates, GroupNorm, Interpolation, Op, Operand, PadMode, Pool, PoolKind, Reduction,
    Resize, Rounding, Shape, TransposedConvolution, Unary, Window,
};

use super::Growth;

impl Growth {
    fn window(&mut self, kernel_max: usize) -> Window {
        let square = self.random.one_in(2);
        let random = &mut self.random;
        let mut pair = |low, high| {
            let first = random.from(low, high);
            [first, if square { first } else { random.from(low, high) }]
        };
        Window {
            kernel: pair(1, kernel_max),
            stride: pair(1, 3),
            dilation: pair(1, 2),
            before: pair(0, 2),
            after: pair(0, 2),
        }
    }

    pub(super) fn map_node(&mut self) {
        let operand = self.any();
        match self.random.from(0, 15) {
            0..=4 => self.convolution(operand),
            5 => self.pool(operand),
            6 => {
                let out = [self.random.from(1, 4), self.random.from(1, 4)];
                self.add(Op::AdaptiveAverage(Adaptive { out }), &[operand]);
            }
            7 => {
                let channels = self.sizes(operand)[1];
                let (factor, shift) = (self.constant(&[channels], 1.0), self.constant(&[channels], 1.0));
                self.add(Op::Scale { factor, shift }, &[operand]);
            }
            8 => {
                let activation = self.activation();
                self.add(Op::Unary(Unary::Activation(activation)), &[operand]);
            }
            9 => self.binary(operand),
            10 => {
                let other = self.any();
                self.add(Op::Concat { axis: 1 }, &[operand, other, operand]);
            }
            11 => self.slice(operand),
            12 => self.resize(operand),
            13 => self.pad(operand),
            14 => self.group_norm(operand),
            _ => self.transposed(operand),
        }
    }

    fn resize(&mut self, operand: Operand) {
        let out = [self.random.from(1, 20), self.random.from(1, 20)];
        let scale = match self.sizes(operand).as_slice() {
            [_, _, height, width] => [out[0] as f32 / *height as f32, out[1] as f32 / *width as f32],
            _ => return,
        };
        let interpolation = self.random.pick(&[
            Interpolation::Nearest(Rounding::Floor),
            Interpolation::Nearest(Rounding::PreferFloor),
            Interpolation::Linear,
            Interpolation::Cubic {
                coefficient: -0.75,
                exclude_outside: false,
            },
        ]);
        let coordinates = self.random.pick(&[
            Coordinates::HalfPixel,
            Coordinates::AlignCorners,
            Coordinates::Asymmetric,
        ]);
        let resize = Resize {
            out,
            scale,
            interpolation,
            coordinates,
        };
        self.add(Op::Resize(resize), &[operand]);
    }

    fn pad(&mut self, operand: Operand) {
        let mode = self.random.pick(&[
            PadMode::Constant(0.0),
            PadMode::Constant(-1.5),
            PadMode::Edge,
            PadMode::Reflect,
            PadMode::Wrap,
        ]);
        let channels = if self.random.one_in(4) { 2 } else { 0 };
        let mut pads = || {
            vec![
                0,
                self.random.from(0, channels),
                self.random.from(0, 3),
                self.random.from(0, 3),
            ]
        };
        let (before, after) = (pads(), pads());
        self.add(Op::Pad { before, after, mode }, &[operand]);
    }

    fn group_norm(&mut self, operand: Operand) {
        let channels = self.sizes(operand)[1];
        let divisors = (1..=channels).filter(|groups| channels.is_multiple_of(*groups));
        let divisors: Vec<usize> = divisors.collect();
        let norm = GroupNorm {
            groups: self.random.pick(&divisors),
            // Groups of a few numbers that hardly differ would be blown up, and roundings with them.
            epsilon: 0.1,
            scale: self.random.one_in(2).then(|| self.constant(&[channels], 1.0)),
            shift: self.random.one_in(2).then(|| self.constant(&[channels], 1.0)),
        };
        self.add(Op::GroupNorm(norm), &[operand]);
    }

    fn transposed(&mut self, operand: Operand) {
        let channels = self.sizes(operand)[1];
        let out = self.random.pick(&[1, 3, 8, 17, 32]);
        let window = self.window(4);
        let [height, width] = window.kernel;
        let room = |axis: usize| window.stride[axis].max(window.dilation[axis]) - 1;
        let output_padding = [self.random.from(0, room(0)), self.random.from(0, room(1))];
        let scale = ((channels * height * width) as f32).sqrt().recip();
        let convolution = TransposedConvolution {
            weight: self.constant(&[channels, out, height, width], scale),
            bias: self.random.one_in(2).then(|| self.constant(&[out], 0.5)),
            window,
            output_padding,
            groups: 1,
        };
        self.add(Op::TransposedConvolution(convolution), &[operand]);
    }

    fn convolution(&mut self, operand: Operand) {
        let channels = self.sizes(operand)[1];
        let divisors: Vec<usize> = (1..=channels)
            .filter(|groups| channels.is_multiple_of(*groups))
            .collect();
        let groups = if self.random.one_in(3) {
            self.random.pick(&divisors)
        } else {
            1
        };
        let depthwise = groups == channels;
        let out = if depthwise {
            channels
        } else {
            groups * self.random.pick(&[1, 3, 8, 11, 16, 32, 40])
        };
        if out > 200 {
            return;
        }
        let mut window = self.window(4);
        if self.random.one_in(3) {
            // What Winograd's method takes.
            window = Window {
                kernel: [3; 2],
                stride: [1; 2],
                dilation: [1; 2],
                ..window
            };
        }
        let [height, width] = window.kernel;
        let fan = (channels / groups * height * width) as f32;
        let convolution = Convolution {
            weight: self.constant(&[out, channels / groups, height, width], fan.sqrt().recip()),
            bias: self.random.one_in(2).then(|| self.constant(&[out], 0.5)),
            window,
            groups,
            residual: false,
            activation: self.maybe_activation(),
        };
        let with_residual = Op::Convolution(Convolution {
            residual: true,
            ..convolution.clone()
        });
        let residual = self.any();
        if !self.add(with_residual, &[operand, residual]) {
            self.add(Op::Convolution(convolution), &[operand]);
        }
    }

    /// A convolution whose groups have as many channels as a register, a half or a quarter of one, or some that fit none.
    pub(super) fn groups(&mut self) {
        let operand = self.any();
        let channels = self.sizes(operand)[1];
        let widths = [2, 3, 4, 6, 8, 12, 16, 24];
        let fitting: Vec<usize> = widths
            .into_iter()
            .filter(|width| channels.is_multiple_of(*width))
            .collect();
        let inputs = self.random.pick(&fitting);
        let groups = channels / inputs;
        let outputs = match self.random.one_in(2) {
            true => inputs,
            false => self.random.pick(&[4, 8, 12, 16, 20, 24, 32]),
        };
        let window = match self.random.one_in(2) {
            true => self.window(3),
            // Keeps the size, so that a residual fits.
            false => Window {
                kernel: [3; 2],
                stride: [1; 2],
                dilation: [1; 2],
                before: [1; 2],
                after: [1; 2],
            },
        };
        let [height, width] = window.kernel;
        let scale = ((inputs * height * width) as f32).sqrt().recip();
        let convolution = Convolution {
            weight: self.constant(&[groups * outputs, inputs, height, width], scale),
            bias: self.random.one_in(2).then(|| self.constant(&[groups * outputs], 0.5)),
            window,
            groups,
            residual: false,
            activation: self.maybe_activation(),
        };
        let with_residual = Op::Convolution(Convolution {
            residual: true,
            ..convolution.clone()
        });
        let residual = self.any();
        if !self.add(with_residual, &[operand, residual]) {
            self.add(Op::Convolution(convolution), &[operand]);
        }
    }

    /// A convolution that keeps height and width, and a residual where one fits.
    pub(super) fn same_size(&mut self, operand: Operand) {
        let channels = self.sizes(operand)[1];
        let out = if self.random.one_in(2) {
            channels
        } else {
            self.random.from(32, 40)
        };
        let convolution = Convolution {
            weight: self.constant(&[out, channels, 3, 3], (channels as f32 * 9.0).sqrt().recip()),
            bias: Some(self.constant(&[out], 0.5)),
            window: Window {
                kernel: [3; 2],
                stride: [1; 2],
                dilation: [1; 2],
                before: [1; 2],
                after: [1; 2],
            },
            groups: 1,
            residual: true,
            activation: self.maybe_activation(),
        };
        let residual = self.any();
        if !self.add(Op::Convolution(convolution.clone()), &[operand, residual]) {
            self.add(
                Op::Convolution(Convolution {
                    residual: false,
                    ..convolution
                }),
                &[operand],
            );
        }
    }

    fn pool(&mut self, operand: Operand) {
        let window = self.window(4);
        let counted = [
            self.random.from(0, window.after[0]),
            self.random.from(0, window.after[1]),
        ];
        let kind = self.random.pick(&[
            PoolKind::Max,
            PoolKind::Average,
            PoolKind::AverageWithPadding { counted },
        ]);
        self.add(Op::Pool(Pool { kind, window }), &[operand]);
    }

    /// A classifier's: pool or not, flatten, linear layers.
    pub(super) fn head(&mut self) {
        if self.random.one_in(2) {
            let newest = self.values[self.values.len() - 1];
            let keep = self.random.one_in(2);
            self.add(
                Op::Reduce {
                    reduction: Reduction::Mean,
                    axes: vec![2, 3],
                    keep,
                },
                &[newest],
            );
        }
        let newest = self.values[self.values.len() - 1];
        let elements = self.builder.shape(newest).elements().unwrap();
        self.add(Op::Reshape(Shape::batch_of(&[elements])), &[newest]);
        for _ in 0..self.random.from(1, 2) {
            let newest = self.values[self.values.len() - 1];
            self.linear(newest);
        }
    }
}
