//! Batch-norm at inference is `x * factor + shift` by channel; behind a convolution or a linear layer it costs nothing.

use super::Op;
use super::shape::Unfit;

/// A batch-norm's four vectors; `gamma` and `beta` are absent where it is not affine.
pub(super) struct BatchNorm {
    // Invariant: all of one length; no variance is below 0.
    pub(super) gamma: Option<Vec<f32>>,
    pub(super) beta: Option<Vec<f32>>,
    pub(super) mean: Vec<f32>,
    pub(super) variance: Vec<f32>,
    pub(super) eps: f64,
}

impl BatchNorm {
    /// Factor and shift by channel, in `f64`, so that folding rounds once.
    fn affine(&self) -> impl Iterator<Item = (f64, f64)> {
        let channels = self.mean.iter().zip(&self.variance).enumerate();
        channels.map(|(channel, (mean, variance))| {
            let at = |values: &Option<Vec<f32>>, default: f64| {
                values
                    .as_ref()
                    .and_then(|values| values.get(channel))
                    .map_or(default, |value| f64::from(*value))
            };
            let factor = at(&self.gamma, 1.0) / (f64::from(*variance) + self.eps).sqrt();
            (factor, at(&self.beta, 0.0) - f64::from(*mean) * factor)
        })
    }
}

/// Appends a batch-norm: into the operation before it, or as one of its own.
///
/// # Errors
/// When the result is beyond the range of `f32`.
pub(super) fn push(ops: &mut Vec<Op>, norm: &BatchNorm) -> Result<(), Unfit> {
    fold(ops, norm);
    let finite = match ops.last() {
        Some(Op::Conv2d { weight, bias, .. } | Op::Linear { weight, bias }) => {
            all_finite(&weight.data) && bias.as_deref().is_none_or(all_finite)
        }
        Some(Op::Scale { factor, shift }) => all_finite(factor) && all_finite(shift),
        _ => true,
    };
    if finite {
        return Ok(());
    }
    Err((
        "statistics that keep the weights finite".to_owned(),
        "an overflow".to_owned(),
    ))
}

fn all_finite(numbers: &[f32]) -> bool {
    numbers.iter().all(|number| number.is_finite())
}

fn fold(ops: &mut Vec<Op>, norm: &BatchNorm) {
    let channels = norm.mean.len();
    match ops.last_mut() {
        Some(Op::Conv2d { weight, bias, .. }) => {
            // Each output channel is one contiguous run of the weights.
            let run = weight.data.len() / channels.max(1);
            for (weights, (factor, _)) in weight.data.chunks_mut(run.max(1)).zip(norm.affine()) {
                scale(weights.iter_mut(), factor);
            }
            fold_bias(bias, norm);
        }
        Some(Op::Linear { weight, bias }) => {
            // `[in, out]`: each row has one weight for each output.
            for row in weight.data.chunks_mut(channels.max(1)) {
                for (weight, (factor, _)) in row.iter_mut().zip(norm.affine()) {
                    scale(std::iter::once(weight), factor);
                }
            }
            fold_bias(bias, norm);
        }
        _ => {
            let (factor, shift) = norm
                .affine()
                .map(|(factor, shift)| (factor as f32, shift as f32))
                .unzip();
            ops.push(Op::Scale { factor, shift });
        }
    }
}

fn scale<'a>(weights: impl Iterator<Item = &'a mut f32>, factor: f64) {
    for weight in weights {
        *weight = (f64::from(*weight) * factor) as f32;
    }
}

fn fold_bias(bias: &mut Option<Vec<f32>>, norm: &BatchNorm) {
    let bias = bias.get_or_insert_with(|| vec![0.0; norm.mean.len()]);
    for (bias, (factor, shift)) in bias.iter_mut().zip(norm.affine()) {
        *bias = (f64::from(*bias) * factor + shift) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Array, Op};
    use super::{BatchNorm, push};

    fn norm() -> BatchNorm {
        BatchNorm {
            gamma: Some(vec![2.0, 1.0]),
            beta: Some(vec![1.0, -1.0]),
            mean: vec![3.0, 0.0],
            variance: vec![3.0, 0.0],
            eps: 1.0,
        }
    }

    #[test]
    fn a_linear_layer_takes_the_norm_in() {
        let weight = Array {
            shape: vec![3, 2],
            data: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        };
        let mut ops = vec![Op::Linear {
            weight,
            bias: Some(vec![0.5, 0.5]),
        }];
        push(&mut ops, &norm()).unwrap();
        // Factors 2 / sqrt(4) = 1 and 1 / sqrt(1) = 1; shifts 1 - 3 and -1.
        let [
            Op::Linear {
                weight,
                bias: Some(bias),
            },
        ] = ops.as_slice()
        else {
            panic!("one linear layer")
        };
        assert_eq!(weight.data, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(bias, &[-1.5, -0.5]);
    }

    #[test]
    fn a_norm_on_its_own_becomes_a_scale() {
        let mut ops = vec![Op::Relu];
        push(
            &mut ops,
            &BatchNorm {
                gamma: None,
                beta: None,
                ..norm()
            },
        )
        .unwrap();
        let [Op::Relu, Op::Scale { factor, shift }] = ops.as_slice() else {
            panic!("a scale")
        };
        assert_eq!(
            (factor.as_slice(), shift.as_slice()),
            ([0.5, 1.0].as_slice(), [-1.5, 0.0].as_slice())
        );
    }
}
