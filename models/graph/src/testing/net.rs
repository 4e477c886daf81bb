//! Small networks in few words.

use super::{conv, fill, linear, square};
use crate::builder::Builder;
use crate::graph::{ConstantId, Graph, Operand};
use crate::op::{Activation, Binary, Convolution, Linear, Op, Reduction, Unary};

/// A network whose nodes must fit.
pub(crate) struct Net {
    pub(crate) builder: Builder,
    pub(crate) x: Operand,
    seed: u64,
}

impl Net {
    pub(crate) fn new(input: &str) -> Self {
        let builder = Builder::new("x", super::shape(input));
        let x = Operand::Value(builder.input());
        Self { builder, x, seed: 0 }
    }

    pub(crate) fn node(&mut self, op: Op, inputs: &[Operand]) -> Operand {
        let name = op.name();
        Operand::Value(self.builder.node(name, op, inputs).unwrap())
    }

    pub(crate) fn binary(&mut self, binary: Binary, left: Operand, right: Operand) -> Operand {
        self.node(Op::Binary(binary), &[left, right])
    }

    pub(crate) fn unary(&mut self, unary: Unary, x: Operand) -> Operand {
        self.node(Op::Unary(unary), &[x])
    }

    pub(crate) fn activation(&mut self, activation: Activation, x: Operand) -> Operand {
        self.unary(Unary::Activation(activation), x)
    }

    pub(crate) fn number(&mut self, number: f32) -> Operand {
        Operand::Constant(self.builder.constant("number", &[], vec![number]).unwrap())
    }

    /// Other numbers each time, between a half and one and a half.
    pub(crate) fn numbers(&mut self, shape: &[usize]) -> ConstantId {
        self.seed += 1;
        let numbers: Vec<f32> = fill(shape, self.seed).iter().map(|x| x / 2.0 + 1.0).collect();
        self.builder.constant("numbers", shape, numbers).unwrap()
    }

    pub(crate) fn constant(&mut self, shape: &[usize]) -> Operand {
        Operand::Constant(self.numbers(shape))
    }

    /// Numbers between -1 and 1.
    pub(crate) fn weight(&mut self, shape: &[usize]) -> ConstantId {
        self.seed += 1;
        self.builder.constant("weight", shape, fill(shape, self.seed)).unwrap()
    }

    pub(crate) fn convolution(&mut self, x: Operand, shape: [usize; 4], pad: usize) -> Operand {
        let weight = self.weight(&shape);
        let groups = match self.builder.shape(x).0.as_slice() {
            [_, channels, ..] => channels.size / shape[1],
            _ => 1,
        };
        let conv = conv(weight, square(shape[2], 1, pad));
        self.node(Op::Convolution(Convolution { groups, ..conv }), &[x])
    }

    pub(crate) fn linear(&mut self, x: Operand, shape: [usize; 2], bias: bool) -> Operand {
        let weight = self.weight(&shape);
        let bias = bias.then(|| self.numbers(&shape[1..]));
        self.node(Op::Linear(Linear { bias, ..linear(weight) }), &[x])
    }

    pub(crate) fn scale(&mut self, x: Operand, channels: usize) -> Operand {
        let (factor, shift) = (self.numbers(&[channels]), self.numbers(&[channels]));
        self.node(Op::Scale { factor, shift }, &[x])
    }

    pub(crate) fn mean(&mut self, x: Operand, axes: &[usize]) -> Operand {
        let axes = axes.to_vec();
        let (reduction, keep) = (Reduction::Mean, true);
        self.node(Op::Reduce { reduction, axes, keep }, &[x])
    }

    pub(crate) fn transpose(&mut self, x: Operand, order: &[usize]) -> Operand {
        self.node(Op::Transpose(order.to_vec()), &[x])
    }

    pub(crate) fn reshape(&mut self, x: Operand, shape: &str) -> Operand {
        self.node(Op::Reshape(super::shape(shape)), &[x])
    }

    pub(crate) fn ends(mut self, outputs: &[Operand]) -> Graph {
        for output in outputs {
            match output {
                Operand::Value(value) => self.builder.output("y", *value),
                Operand::Constant(_) => panic!("an output that is a constant"),
            }
        }
        self.builder.finish().unwrap()
    }
}

/// Both graphs yield the same for a few items, up to rounding.
pub(crate) fn assert_same(one: &Graph, other: &Graph, tolerance: f32) {
    const ITEMS: usize = 3;
    let lengths = one.shape(one.input()).at(ITEMS).unwrap();
    let input: Vec<f32> = fill(&lengths, 99).iter().map(|x| x * 3.0).collect();
    let [one, other] = [one, other].map(|graph| (crate::interpret(graph, ITEMS, &input).unwrap(), graph));
    assert_eq!(one.0.len(), other.0.len());
    for (found, expected) in other.0.iter().zip(&one.0) {
        let most = expected
            .iter()
            .filter(|x| x.is_finite())
            .fold(1.0_f32, |most, x| most.max(x.abs()));
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            let same = found == expected || (found.is_nan() && expected.is_nan());
            let near = (found - expected).abs() <= tolerance * most;
            assert!(same || near, "{found}, not {expected}\n{}\n{}", one.1, other.1);
        }
    }
}
