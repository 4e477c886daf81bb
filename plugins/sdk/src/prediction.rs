//! What the model made of the message, read from the host piece by piece.

use serde::ser::{Serialize, SerializeStruct, Serializer};

#[cfg(target_family = "wasm")]
use crate::bindings::plugin::millrace::pipeline::types::Prediction as Handle;
#[cfg(not(target_family = "wasm"))]
use crate::testing::TestPrediction as Handle;
use crate::{Tensor, TensorType};

/// One class of a classifier with its score.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// The index of the class in the model's output.
    pub index: u32,
    /// Its label in the model's folder, or the index in decimal digits.
    pub label: String,
    /// A probability for `softmax` and `sigmoid`, the raw output where the model names no activation.
    pub score: f32,
}

/// As in the results of the shipped routers: `{"label": "cat", "index": 4, "score": 0.9}`.
impl Serialize for Score {
    fn serialize<S: Serializer>(&self, writer: S) -> Result<S::Ok, S::Error> {
        let mut class = writer.serialize_struct("Score", 3)?;
        class.serialize_field("label", &self.label)?;
        class.serialize_field("index", &self.index)?;
        class.serialize_field("score", &self.decimal())?;
        class.end()
    }
}

impl Score {
    /// The score for JSON: the number whose decimal is the shortest that reads back as the same score.
    ///
    /// A value of `serde_json` holds every number as an `f64`, and 0.9 as an `f32` is 0.8999999761581421 as an `f64`.
    ///
    /// ```
    /// use millrace_plugin::Score;
    /// use millrace_plugin::serde_json::json;
    ///
    /// let best = Score { index: 4, label: "cat".to_owned(), score: 0.9 };
    /// assert_eq!(json!({ "score": best.decimal() }).to_string(), r#"{"score":0.9}"#);
    /// assert_eq!(json!({ "best": best }).to_string(), r#"{"best":{"index":4,"label":"cat","score":0.9}}"#);
    /// ```
    pub fn decimal(&self) -> f64 {
        crate::json::decimal(self.score)
    }
}

/// What the model made of the message.
#[derive(Debug)]
pub struct Prediction<'call> {
    handle: &'call Handle,
}

#[cfg_attr(
    not(target_family = "wasm"),
    expect(
        clippy::useless_conversion,
        reason = "the bindings have types of their own, the stand-in has not"
    )
)]
impl<'call> Prediction<'call> {
    pub(crate) fn new(handle: &'call Handle) -> Self {
        Self { handle }
    }

    /// The model's name in `plugins.toml`.
    pub fn model(&self) -> String {
        self.handle.model()
    }

    /// The `k` best classes, best first, equal scores by index; fewer where the model has fewer.
    pub fn top(&self, k: u32) -> Vec<Score> {
        self.handle.top(k).into_iter().map(Score::from).collect()
    }

    /// The types of the model's raw outputs.
    pub fn outputs(&self) -> Vec<TensorType> {
        self.handle.outputs().into_iter().map(TensorType::from).collect()
    }

    /// One raw output, before the activation; none when there is no such output.
    pub fn output(&self, index: u32) -> Option<Tensor> {
        self.handle.output(index).and_then(|tensor| tensor.try_into().ok())
    }
}
