//! `x · factor + shift` with numbers that are known, as a node says it.

use super::super::edit::Edit;
use crate::graph::{Constant, Node, Operand};
use crate::interpret;
use crate::op::{Binary, Op};

/// One factor and shift for each channel, in `f64`: folding rounds once.
pub(super) struct Affine {
    pub(super) factor: Vec<f64>,
    pub(super) shift: Vec<f64>,
}

/// What a node multiplies or adds to.
pub(super) fn argument(edit: &Edit, node: &Node) -> Option<Operand> {
    match (&node.op, node.inputs.as_slice()) {
        (Op::Scale { .. }, [x]) => Some(*x),
        (Op::Binary(binary), [left, right]) => match (binary, edit.constant(*left), edit.constant(*right)) {
            (Binary::Add | Binary::Sub | Binary::Mul | Binary::Div, None, Some(_)) => Some(*left),
            (Binary::Add | Binary::Sub | Binary::Mul, Some(_), None) => Some(*right),
            _ => None,
        },
        _ => None,
    }
}

impl Affine {
    /// The node's factor and shift along an axis; nothing where they differ along others.
    pub(super) fn along(edit: &Edit, node: &Node, axis: usize, channels: usize) -> Option<Self> {
        if let Op::Scale { factor, shift } = &node.op {
            let numbers = |id| Some(wide(&edit.graph().constant(id)?.data));
            let own = (axis == 1).then(|| Some((numbers(*factor)?, numbers(*shift)?)))??;
            return Some(Self {
                factor: own.0,
                shift: own.1,
            });
        }
        let rank = edit.graph().shape(node.output).rank();
        Self::of_binary(edit, node, |constant| vector(constant, rank, axis, channels))
    }

    /// The node's factors and shifts over the last axes, which have these lengths.
    pub(super) fn over_last(edit: &Edit, node: &Node, lengths: &[usize]) -> Option<Self> {
        Self::of_binary(edit, node, |constant| {
            let more = constant.shape.len().saturating_sub(lengths.len());
            let (before, own) = constant.shape.split_at_checked(more)?;
            let fits = before.iter().all(|axis| *axis == 1);
            let expanded = fits.then(|| interpret::expand(own, &constant.data, lengths))??;
            Some(wide(&expanded))
        })
    }

    fn of_binary(edit: &Edit, node: &Node, numbers: impl Fn(&Constant) -> Option<Vec<f64>>) -> Option<Self> {
        let (Op::Binary(binary), [left, right]) = (&node.op, node.inputs.as_slice()) else {
            return None;
        };
        let (constant, is_left) = match (edit.constant(*left), edit.constant(*right)) {
            (Some(constant), None) => (constant, true),
            (None, Some(constant)) => (constant, false),
            _ => return None,
        };
        let numbers = numbers(constant)?;
        let every = |number: f64| vec![number; numbers.len()];
        let (factor, shift) = match (binary, is_left) {
            (Binary::Add, _) => (every(1.0), numbers),
            (Binary::Sub, false) => (every(1.0), numbers.iter().map(|number| -number).collect()),
            (Binary::Sub, true) => (every(-1.0), numbers),
            (Binary::Mul, _) => (numbers.clone(), every(0.0)),
            (Binary::Div, false) => (numbers.iter().map(|number| 1.0 / number).collect(), every(0.0)),
            _ => return None,
        };
        Some(Self { factor, shift })
    }

    /// Whether nothing is multiplied.
    pub(super) fn is_shift(&self) -> bool {
        self.factor.iter().all(|factor| *factor == 1.0)
    }

    /// As `f32`.
    pub(super) fn numbers(&self) -> (Vec<f32>, Vec<f32>) {
        (narrow(&self.factor), narrow(&self.shift))
    }

    /// Numbers by channel that this is applied to: `number · factor`, and `number · factor + shift`.
    pub(super) fn after(&self, factor: Option<&[f32]>, shift: Option<&[f32]>) -> (Vec<f32>, Vec<f32>) {
        let at = |vector: Option<&[f32]>, index: usize, default: f64| {
            vector
                .and_then(|vector| vector.get(index))
                .map_or(default, |number| f64::from(*number))
        };
        let pairs = self.factor.iter().zip(&self.shift).enumerate();
        pairs
            .map(|(index, (own, more))| {
                (
                    (at(factor, index, 1.0) * own) as f32,
                    (at(shift, index, 0.0) * own + more) as f32,
                )
            })
            .unzip()
    }
}

/// A number for each channel of a constant that is broadcast to `rank` axes, and differs along one alone.
fn vector(constant: &Constant, rank: usize, axis: usize, channels: usize) -> Option<Vec<f64>> {
    let more = rank.checked_sub(constant.shape.len())?;
    let others = constant
        .shape
        .iter()
        .enumerate()
        .filter(|(index, _)| index + more != axis);
    if others.into_iter().any(|(_, length)| *length != 1) {
        return None;
    }
    match &*constant.data {
        [number] => Some(vec![f64::from(*number); channels]),
        numbers => (numbers.len() == channels).then(|| wide(numbers)),
    }
}

fn wide(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().map(|number| f64::from(*number)).collect()
}

fn narrow(numbers: &[f64]) -> Vec<f32> {
    numbers.iter().map(|number| *number as f32).collect()
}
