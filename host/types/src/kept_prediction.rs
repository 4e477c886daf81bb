//! A prediction as text that a dead letter keeps: bounded, so that a router can get it again. Knows no router.

use serde::{Deserialize, Serialize};

use crate::message::{Prediction, Tensor, TensorData};

/// The most of it, in bytes: beside 32 KiB of the original's headers it fits into what a broker takes.
pub const TEXT_MAX_BYTES: usize = 8192;

/// The prediction that a router got. Read from a dead letter, all of it is untrusted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptPrediction {
    /// The model's name.
    pub model: String,
    /// Pairs of a label and its score, in the order of the classes.
    pub scores: Vec<(String, f32)>,
    /// Raw outputs.
    #[serde(default)]
    pub outputs: Vec<KeptOutput>,
    /// Classes that are left out, those with the least scores.
    #[serde(default)]
    pub cut_scores: usize,
    /// Outputs that are left out.
    #[serde(default)]
    pub cut_outputs: usize,
}

/// A raw output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptOutput {
    /// Its axes.
    pub shape: Vec<u32>,
    /// Its numbers, row by row.
    pub values: Vec<f32>,
}

impl KeptPrediction {
    /// As JSON, with as much as fits: the scores before the outputs, and of the scores the best.
    pub fn text_of(prediction: &Prediction) -> Option<String> {
        let label = |class: usize| prediction.labels.get(class).cloned();
        let mut classes: Vec<(usize, f32)> = prediction.scores.iter().copied().enumerate().collect();
        classes.sort_by(|(a, x), (b, y)| y.total_cmp(x).then(a.cmp(b)));
        // A pair has four bytes at least: of more than that many none would stay.
        classes.truncate(TEXT_MAX_BYTES / 4);
        loop {
            let mut kept = classes.clone();
            kept.sort_by_key(|(class, _)| *class);
            let scores = kept
                .into_iter()
                .map(|(class, score)| (label(class).unwrap_or_else(|| class.to_string()), score));
            let mut without = Self {
                model: prediction.model.to_string(),
                scores: scores.collect(),
                outputs: Vec::new(),
                cut_scores: prediction.scores.len() - classes.len(),
                cut_outputs: prediction.outputs.len(),
            };
            if without.text().is_some() {
                without.add_outputs(&prediction.outputs);
                return without.text();
            }
            if classes.is_empty() {
                return None; // its model has a name that no file can give it
            }
            classes.truncate(classes.len() / 4 * 3);
        }
    }

    /// All of the outputs, or none: a router that reads one has its reason to read the others.
    fn add_outputs(&mut self, outputs: &[Tensor]) {
        let n_numbers: usize = outputs.iter().map(|output| output.data().len()).sum();
        if n_numbers > TEXT_MAX_BYTES / 2 {
            return;
        }
        let kept = outputs.iter().map(|output| KeptOutput {
            shape: output.shape().to_vec(),
            values: match output.data() {
                TensorData::Floats(values) => values.clone(),
                TensorData::Bytes(values) => values.iter().copied().map(f32::from).collect(),
            },
        });
        let with = Self {
            outputs: kept.collect(),
            cut_outputs: 0,
            ..self.clone()
        };
        if with.text().is_some() {
            *self = with;
        }
    }

    fn text(&self) -> Option<String> {
        let text = serde_json::to_string(self).ok()?;
        (text.len() <= TEXT_MAX_BYTES).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prediction(n_classes: usize, n_outputs: usize) -> Prediction {
        Prediction {
            model: "shapes".into(),
            labels: (0..n_classes).map(|class| format!("class \"{class}\"")).collect(),
            scores: (0..n_classes).map(|class| 1.0 / (class as f32 + 3.0)).rev().collect(),
            outputs: vec![Tensor::new(vec![n_outputs as u32], TensorData::Floats(vec![0.1; n_outputs])).unwrap()],
        }
    }

    fn kept(prediction: &Prediction) -> KeptPrediction {
        let text = KeptPrediction::text_of(prediction).unwrap();
        assert!(text.len() <= TEXT_MAX_BYTES, "{}", text.len());
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn what_fits_is_kept_as_it_was() {
        let small = prediction(10, 20);
        let kept = kept(&small);
        let pairs: Vec<_> = small.labels.iter().cloned().zip(small.scores.iter().copied()).collect();
        assert_eq!((kept.model.as_str(), kept.scores), ("shapes", pairs));
        assert_eq!((kept.outputs[0].values.len(), kept.outputs[0].values[0]), (20, 0.1));
        assert_eq!((kept.cut_scores, kept.cut_outputs), (0, 0));
    }

    #[test]
    fn of_too_much_the_best_scores_are_kept_in_the_order_of_the_classes() {
        let large = prediction(5000, 5000);
        let kept = kept(&large);
        assert!(kept.scores.len() > 100, "{}", kept.scores.len());
        assert_eq!(kept.cut_scores, 5000 - kept.scores.len());
        assert_eq!((kept.cut_outputs, kept.outputs.len()), (1, 0));
        assert_eq!(kept.scores.last().unwrap().0, "class \"4999\"");
        assert!(kept.scores.is_sorted_by(|(_, a), (_, b)| a < b));
    }

    #[test]
    fn what_cannot_be_kept_is_left_out() {
        let mut long = prediction(1, 1);
        long.labels = vec!["x".repeat(TEXT_MAX_BYTES)].into();
        let kept = kept(&long);
        assert_eq!((kept.scores.len(), kept.cut_scores), (0, 1));
        assert_eq!(kept.outputs.len(), 1);
    }
}
