//! Resize with antialiasing: a filter that is as wide as what one number of the result stands for. Each axis is a product
//! with a matrix of weights, made here.

use millrace_graph::{Coordinates, Interpolation, Linear, Op, Operand};

use crate::known::Tensor;
use crate::lower::emit::Emitter;
use crate::lower::ops::resize::{MODES, Target};
use crate::problem::{Refusal, advise, refuse};

/// How weights fall with the distance.
#[derive(Debug, Clone, Copy)]
pub(super) struct Filter {
    /// Of the cubic; a triangle where there is none.
    cubic: Option<f64>,
    /// Whether what is beyond the edge does not count; else the edge's number goes on.
    excludes_outside: bool,
}

impl Filter {
    pub(super) fn of(interpolation: Interpolation, excludes_outside: bool) -> Result<Self, Refusal> {
        let cubic = match interpolation {
            Interpolation::Nearest(_) => return Err(advise("`antialias` with mode `nearest` is not known", MODES)),
            Interpolation::Linear => None,
            Interpolation::Cubic { coefficient, .. } => Some(coefficient.into()),
        };
        Ok(Self {
            cubic,
            excludes_outside,
        })
    }

    /// The distance at which weights end.
    fn reach(self) -> f64 {
        if self.cubic.is_some() { 2.0 } else { 1.0 }
    }

    fn weight(self, distance: f64) -> f64 {
        let x = distance.abs();
        match self.cubic {
            None => (1.0 - x).max(0.0),
            Some(a) if x < 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
            Some(a) if x < 2.0 => ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a,
            Some(_) => 0.0,
        }
    }
}

/// One axis to another length.
pub(super) fn along(
    em: &mut Emitter,
    x: Operand,
    axis: usize,
    target: Target,
    (filter, coordinates): (Filter, Coordinates),
) -> Result<Operand, Refusal> {
    let shape = em.shape_of(x);
    let input = shape.0.get(axis).map_or(1, |axis| axis.size);
    // A filter is at most four times as wide as the axis, and a little.
    em.budget.spend(&[input.saturating_add(1), target.out, 8])?;
    let mut matrix = vec![0.0; input.saturating_mul(target.out)];
    for index in 0..target.out {
        let centre = f64::from(coordinates.input_of(index, target.scale, input, target.out)) + 0.5;
        for (from, weight) in weights(filter, centre, f64::from(target.scale), input)? {
            let place = from.saturating_mul(target.out).saturating_add(index);
            if let Some(number) = matrix.get_mut(place) {
                *number += weight as f32;
            }
        }
    }
    let weight = em.constant(&Tensor::floats(vec![input, target.out], matrix))?;
    let last = shape.rank().saturating_sub(1);
    // The same order leads there and back: the axis changes places with the last.
    let mut order: Vec<usize> = (0..shape.rank()).collect();
    order.swap(axis, last);
    let turned = em.transpose(x, &order)?;
    let op = Linear {
        weight,
        bias: None,
        residual: false,
        activation: None,
    };
    let result = em.emit(Op::Linear(op), &[turned])?;
    em.transpose(result, &order)
}

/// Where a number of the result is made from, with weights that sum to 1.
fn weights(filter: Filter, centre: f64, scale: f64, input: usize) -> Result<Vec<(usize, f64)>, Refusal> {
    // Where the result is larger, this is plain interpolation.
    let stretch = (1.0 / scale).max(1.0);
    let reach = filter.reach() * stretch;
    let last = input.saturating_sub(1);
    let (first, end) = ((centre - reach + 0.5).floor(), (centre + reach + 0.5).floor());
    let mut taps = Vec::new();
    let mut place = first;
    while place < end {
        let is_inside = (0.0..=last as f64).contains(&place);
        if is_inside || !filter.excludes_outside {
            let weight = filter.weight((place - centre + 0.5) / stretch);
            taps.push(((place.max(0.0) as usize).min(last), weight));
        }
        place += 1.0;
    }
    let sum: f64 = taps.iter().map(|(_, weight)| *weight).sum();
    match sum.is_finite() && sum.abs() > 1e-9 {
        true => Ok(taps.into_iter().map(|(at, weight)| (at, weight / sum)).collect()),
        false => Err(refuse("the weights of its filter sum to 0")),
    }
}
