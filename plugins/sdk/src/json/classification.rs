//! What a classifier made of a message, as the JSON that the shipped routers send.

use serde::Serialize;

use crate::{Message, Prediction, Refusal, Score};

/// What a classifier made of a message, as the JSON that the shipped routers send.
///
/// ```
/// use millrace_plugin::Score;
/// use millrace_plugin::json::Classification;
/// use millrace_plugin::testing::{TestMessage, TestPrediction};
///
/// let message = TestMessage { id: "m-1".to_owned(), ..TestMessage::default() };
/// let prediction = TestPrediction {
///     model: "pets".to_owned(),
///     scores: vec![Score { index: 4, label: "cat".to_owned(), score: 0.9 }],
///     ..TestPrediction::default()
/// };
/// let seen = Classification::new(&message.view(), &prediction.view(), 3).unwrap();
/// let class = r#""label":"cat","index":4,"score":0.9"#;
/// let expected = format!(r#"{{"id":"m-1","model":"pets",{class},"top":[{{{class}}}]}}"#);
/// assert_eq!(millrace_plugin::serde_json::to_string(&seen).unwrap(), expected);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Classification {
    /// The message's id.
    pub id: String,
    /// The model's name in `plugins.toml`.
    pub model: String,
    /// The best class; in JSON its fields are those of the whole.
    #[serde(flatten)]
    pub best: Score,
    /// Whether a router took it for doubtful; left out of the JSON where no router said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsure: Option<bool>,
    /// The best classes, best first; the first is `best`.
    pub top: Vec<Score>,
}

impl Classification {
    /// The `k` best classes, and at least the best one.
    ///
    /// # Errors
    ///
    /// A [`Refusal::Reject`] where the model has no classes.
    pub fn new(message: &Message, prediction: &Prediction, k: u32) -> Result<Self, Refusal> {
        let model = prediction.model();
        let top = prediction.top(k.max(1));
        match top.first().cloned() {
            Some(best) => Ok(Self {
                id: message.id(),
                model,
                best,
                unsure: None,
                top,
            }),
            None => Err(Refusal::reject(format!(
                "the model `{model}` gives no scores: a classifier is needed"
            ))),
        }
    }
}
