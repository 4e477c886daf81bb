//! Height and width to other lengths: for each index of what comes out, the indices that it is made of.

use super::Tensor;
use crate::op::{Coordinates, Interpolation, Resize, Rounding};

/// For each output index along an axis (0 is height, 1 is width) the input indices, all below `input`, with their weights.
/// Coordinates are computed in `f32`, as everybody does: which neighbour is nearest depends on it.
pub fn taps(resize: &Resize, axis: usize, input: usize) -> Vec<Vec<(usize, f32)>> {
    let ([height, width], [down, right]) = (resize.out, resize.scale);
    let (out, scale) = if axis == 0 { (height, down) } else { (width, right) };
    (0..out)
        .map(|index| {
            let at = resize.coordinates.input_of(index, scale, input, out);
            merged(neighbours(resize.interpolation, at, input))
        })
        .collect()
}

impl Coordinates {
    /// The input coordinate of an output index along an axis.
    pub fn input_of(self, index: usize, scale: f32, input: usize, out: usize) -> f32 {
        let half_pixel = (index as f32 + 0.5) / scale - 0.5;
        match self {
            Self::HalfPixel => half_pixel,
            Self::HalfPixelSymmetric => {
                let adjustment = out as f32 / (scale * input as f32);
                input as f32 / 2.0 * (1.0 - adjustment) + half_pixel
            }
            Self::PytorchHalfPixel => {
                if out > 1 {
                    half_pixel
                } else {
                    0.0
                }
            }
            Self::AlignCorners if out <= 1 => 0.0,
            Self::AlignCorners => index as f32 * (input.saturating_sub(1)) as f32 / (out - 1) as f32,
            Self::Asymmetric => index as f32 / scale,
        }
    }
}

fn neighbours(interpolation: Interpolation, at: f32, input: usize) -> Vec<(usize, f32)> {
    let last = input.saturating_sub(1);
    // What is before the first index becomes the first; a cast does not overflow.
    let clamp = |index: f32| (index.max(0.0) as usize).min(last);
    match interpolation {
        Interpolation::Nearest(rounding) => vec![(clamp(round(rounding, at)), 1.0)],
        Interpolation::Linear => {
            let at = at.clamp(0.0, last as f32);
            let part = at - at.floor();
            vec![(clamp(at.floor()), 1.0 - part), (clamp(at.floor() + 1.0), part)]
        }
        Interpolation::Cubic {
            coefficient,
            exclude_outside,
        } => {
            let part = f64::from(at - at.floor());
            let weights = cubic(part, f64::from(coefficient));
            let indices = [-1.0, 0.0, 1.0, 2.0].map(|offset| at.floor() + offset);
            let inside = |index: f32| index >= 0.0 && index <= last as f32;
            let counts = indices.map(|index| !exclude_outside || inside(index));
            let taken = weights.iter().zip(counts).filter(|(_, counts)| *counts);
            let sum: f64 = if exclude_outside {
                taken.map(|(weight, _)| *weight).sum()
            } else {
                1.0
            };
            if sum == 0.0 {
                return vec![(clamp(at), 1.0)];
            }
            let all = indices.into_iter().zip(weights).zip(counts);
            all.filter(|(_, counts)| *counts)
                .map(|((index, weight), _)| (clamp(index), (weight / sum) as f32))
                .collect()
        }
    }
}

fn round(rounding: Rounding, at: f32) -> f32 {
    match rounding {
        Rounding::PreferFloor => (at - 0.5).ceil(),
        Rounding::PreferCeil => (at + 0.5).floor(),
        Rounding::Floor => at.floor(),
        Rounding::Ceil => at.ceil(),
    }
}

/// The weights of the neighbours at distances `1 + part`, `part`, `1 - part` and `2 - part`.
fn cubic(part: f64, a: f64) -> [f64; 4] {
    let near = |distance: f64| ((a + 2.0) * distance - (a + 3.0)) * distance * distance + 1.0;
    let far = |distance: f64| ((a * distance - 5.0 * a) * distance + 8.0 * a) * distance - 4.0 * a;
    [far(1.0 + part), near(part), near(1.0 - part), far(2.0 - part)]
}

/// One entry for each index, without those that weigh nothing.
fn merged(neighbours: Vec<(usize, f32)>) -> Vec<(usize, f32)> {
    let mut merged: Vec<(usize, f32)> = Vec::with_capacity(neighbours.len());
    for (index, weight) in neighbours {
        match merged.iter_mut().find(|(known, _)| *known == index) {
            Some((_, sum)) => *sum += weight,
            None => merged.push((index, weight)),
        }
    }
    merged.retain(|(_, weight)| *weight != 0.0);
    merged
}

pub(super) fn resize(resize: &Resize, x: Tensor<'_>, shape: &[usize], out: &mut [f32]) -> Option<()> {
    let ([.., height, width], [.., rows, columns]) = (x.shape, shape) else {
        return None;
    };
    let (vertical, horizontal) = (taps(resize, 0, *height), taps(resize, 1, *width));
    let planes = x.data.chunks(height.checked_mul(*width)?);
    for (source, out) in planes.zip(out.chunks_mut(rows.checked_mul(*columns)?)) {
        for (line, vertical) in out.chunks_mut(*columns).zip(&vertical) {
            for (out, horizontal) in line.iter_mut().zip(&horizontal) {
                let mut sum = 0.0;
                for (row, by) in vertical {
                    let source = source.get(row.checked_mul(*width)?..)?;
                    for (column, weight) in horizontal {
                        sum += f64::from(*by) * f64::from(*weight) * f64::from(*source.get(*column)?);
                    }
                }
                *out = sum as f32;
            }
        }
    }
    Some(())
}
