//! Operators that work number by number, and broadcasting.

use super::{axis, misfit, number, weights};
use crate::builder::Misfit;
use crate::graph::{ConstantId, Graph};
use crate::op::{Activation, Unary};
use crate::shape::{Axis, Shape};

/// Broadcasts two shapes as NumPy does. N goes with N or 1, never with a fixed length: that would fit one batch size alone.
pub(super) fn broadcast(left: &Shape, right: &Shape) -> Result<Shape, Misfit> {
    const ONE: Axis = Axis::fixed(1);
    let rank = left.rank().max(right.rank());
    let aligned = |shape: &Shape, index: usize| match (index + shape.rank()).checked_sub(rank) {
        Some(own) => shape.0.get(own).copied().unwrap_or(ONE),
        None => ONE,
    };
    let axes = (0..rank).map(|index| match (aligned(left, index), aligned(right, index)) {
        (one, other) if one == other || other == ONE => Ok(one),
        (ONE, other) => Ok(other),
        _ => misfit(format!("a shape that is broadcast to {left}"), right.to_string()),
    });
    Ok(Shape(axes.collect::<Result<_, _>>()?))
}

pub(super) fn unary(unary: &Unary, x: &Shape) -> Result<Shape, Misfit> {
    match *unary {
        Unary::Activation(activation) => self::activation(&activation)?,
        Unary::Selu { alpha, gamma } => {
            finite("a finite alpha", alpha)?;
            finite("a finite gamma", gamma)?;
        }
        Unary::Celu { alpha } => number(
            "a finite alpha other than 0",
            alpha.is_finite() && alpha != 0.0,
            alpha.into(),
        )?,
        Unary::ThresholdedRelu { alpha } => finite("a finite alpha", alpha)?,
        _ => {}
    }
    Ok(x.clone())
}

/// Refuses parameters that are no numbers.
pub(super) fn activation(activation: &Activation) -> Result<(), Misfit> {
    match *activation {
        Activation::Clip { low, high } => {
            number("a lower bound", !low.is_nan(), low.into())?;
            number("an upper bound", !high.is_nan(), high.into())
        }
        Activation::LeakyRelu { slope } => finite("a finite slope", slope),
        Activation::HardSigmoid { alpha, beta } => {
            finite("a finite alpha", alpha)?;
            finite("a finite beta", beta)
        }
        Activation::Elu { alpha } => finite("a finite alpha", alpha),
        _ => Ok(()),
    }
}

fn finite(what: &str, found: f32) -> Result<(), Misfit> {
    number(what, found.is_finite(), found.into())
}

pub(super) fn scale(graph: &Graph, factor: ConstantId, shift: ConstantId, x: &Shape) -> Result<Shape, Misfit> {
    let channels = axis(x, 1)?;
    weights(graph, factor, "a factor", &[channels])?;
    weights(graph, shift, "a shift", &[channels])?;
    Ok(x.clone())
}
