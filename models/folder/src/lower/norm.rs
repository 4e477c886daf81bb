//! Batch norm at inference is `x * factor + shift` by channel. The passes fold it into the layer before it, so what it
//! makes of that layer's weights is looked at here, where the layer is known.

use super::flow::Unfit;

/// A batch norm's four vectors; `gamma` and `beta` are absent where it is not affine.
pub(super) struct BatchNorm {
    // Invariant: all of one length; no variance is below 0.
    pub(super) gamma: Option<Vec<f32>>,
    pub(super) beta: Option<Vec<f32>>,
    pub(super) mean: Vec<f32>,
    pub(super) variance: Vec<f32>,
    pub(super) eps: f64,
}

/// The largest weight, by size, and the bias of each channel of a layer that norms may be folded into.
pub(super) struct Reach {
    pub(super) weight: Vec<f64>,
    pub(super) bias: Vec<f64>,
}

impl BatchNorm {
    /// Factor and shift by channel.
    ///
    /// # Errors
    /// When they are beyond the range of `f32`, or bring the weights of the layer before there.
    pub(super) fn affine(&self, before: Option<&mut Reach>) -> Result<(Vec<f32>, Vec<f32>), Unfit> {
        let affine: Vec<(f64, f64)> = self.in_double().collect();
        let mut finite = affine
            .iter()
            .all(|(factor, shift)| is_finite(*factor) && is_finite(*shift));
        if let Some(reach) = before {
            for ((weight, bias), (factor, shift)) in reach.weight.iter_mut().zip(&mut reach.bias).zip(&affine) {
                *weight *= factor.abs();
                *bias = *bias * factor + shift;
                finite &= is_finite(*weight) && is_finite(*bias);
            }
        }
        if !finite {
            let expected = "statistics that keep the weights finite".to_owned();
            return Err((expected, "an overflow".to_owned()));
        }
        Ok(affine
            .into_iter()
            .map(|(factor, shift)| (factor as f32, shift as f32))
            .unzip())
    }

    fn in_double(&self) -> impl Iterator<Item = (f64, f64)> {
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

/// Whether it is a number as `f32`, too.
fn is_finite(number: f64) -> bool {
    (number as f32).is_finite()
}

#[cfg(test)]
mod tests {
    use super::{BatchNorm, Reach};

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
    fn factor_and_shift_follow_the_statistics() {
        // Factors 2 / sqrt(4) = 1 and 1 / sqrt(1) = 1; shifts 1 - 3 and -1.
        assert_eq!(norm().affine(None).unwrap(), (vec![1.0, 1.0], vec![-2.0, -1.0]));
        let plain = BatchNorm {
            gamma: None,
            beta: None,
            ..norm()
        };
        assert_eq!(plain.affine(None).unwrap(), (vec![0.5, 1.0], vec![-1.5, 0.0]));
    }

    #[test]
    fn statistics_that_bring_weights_out_of_range_are_refused() {
        let reach = |largest: f64| Reach {
            weight: vec![largest, 1.0],
            bias: vec![0.0, 0.0],
        };
        let huge = BatchNorm {
            gamma: Some(vec![1e20, 1.0]),
            ..norm()
        };
        assert!(huge.affine(Some(&mut reach(1.0))).is_ok());
        assert!(huge.affine(Some(&mut reach(1e20))).is_err());
        // Two in a row: each by itself would do.
        let mut twice = reach(1.0);
        assert!(huge.affine(Some(&mut twice)).is_ok());
        assert!(huge.affine(Some(&mut twice)).is_err());
        let beyond = BatchNorm {
            gamma: Some(vec![1e38, 1.0]),
            variance: vec![0.0, 0.0],
            eps: 1e-9,
            ..norm()
        };
        assert!(beyond.affine(None).is_err());
    }
}
