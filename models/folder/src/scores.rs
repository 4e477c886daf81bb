//! From raw outputs to scores, on the host: a handful of numbers an item.

/// How raw outputs become scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// They sum up to 1: one of the classes.
    Softmax,
    /// Each by itself within 0 to 1: any of the classes.
    Sigmoid,
    /// They are scores already.
    None,
}

impl Activation {
    /// As `model.toml` says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Softmax => "softmax",
            Self::Sigmoid => "sigmoid",
            Self::None => "none",
        }
    }

    /// The scores of one item.
    pub fn apply(self, outputs: &[f32]) -> Vec<f32> {
        match self {
            Self::None => outputs.to_vec(),
            Self::Sigmoid => outputs.iter().map(|output| 1.0 / (1.0 + (-output).exp())).collect(),
            Self::Softmax => {
                // The largest is subtracted so that no exponential overflows; a NaN stays one.
                let largest = outputs.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let powers: Vec<f32> = outputs.iter().map(|output| (output - largest).exp()).collect();
                let sum: f32 = powers.iter().sum();
                powers.into_iter().map(|power| power / sum).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Activation;

    fn check(activation: Activation, outputs: &[f32], expected: &[f32]) {
        let scores = activation.apply(outputs);
        for (score, expected) in scores.iter().zip(expected) {
            assert!(
                (score - expected).abs() < 1e-6,
                "{activation:?} of {outputs:?} is {scores:?}"
            );
        }
        assert_eq!(scores.len(), expected.len());
    }

    #[test]
    fn scores_follow_the_activation() {
        check(Activation::Softmax, &[0.0, 0.0], &[0.5, 0.5]);
        check(Activation::Softmax, &[1000.0, 0.0], &[1.0, 0.0]);
        check(Activation::Sigmoid, &[0.0, 100.0, -100.0], &[0.5, 1.0, 0.0]);
        check(Activation::None, &[0.25, 0.75], &[0.25, 0.75]);
    }

    #[test]
    fn a_nan_does_not_become_a_score() {
        assert!(
            Activation::Softmax
                .apply(&[f32::NAN, 0.0])
                .iter()
                .any(|score| score.is_nan())
        );
    }
}
