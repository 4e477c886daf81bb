//! Stands in for the host, so that a plugin's logic is tested without WebAssembly.
//!
//! ```
//! use millrace_plugin::testing::{self, TestMessage};
//! # use millrace_plugin::{Element, Message, NoSettings, Preprocessor, Refusal, Tensor, TensorType};
//! # #[derive(Debug)]
//! # struct Body;
//! # impl Preprocessor for Body {
//! #     type Settings = NoSettings;
//! #     fn new(_: NoSettings) -> Result<Self, String> { Ok(Self) }
//! #     fn preprocess(&mut self, message: &Message, wants: &TensorType) -> Result<Tensor, Refusal> {
//! #         Ok(Tensor::bytes(wants.shape.clone(), message.body())?)
//! #     }
//! # }
//! let mut plugin: Body = testing::preprocessor(r#"{}"#)?;
//! let message = TestMessage { body: vec![1, 2], ..TestMessage::default() };
//! let tensor = plugin.preprocess(&message.view(), &TensorType { shape: vec![2], element: Element::Byte });
//! assert_eq!(tensor, Ok(Tensor::bytes([2], vec![1, 2]).unwrap()));
//!
//! assert!(testing::preprocessor::<Body>(r#"{"misspelt": 1}"#).unwrap_err().contains("misspelt"));
//! # Ok::<(), String>(())
//! ```

mod readme;

pub use readme::readme;

use crate::{
    Message, Prediction, Preprocessor, Property, Router, Score, Settings, Tensor, TensorType, Transformer, settings,
};

/// Reads settings in JSON as the host does.
///
/// # Errors
///
/// The text that the host would tell.
pub fn settings<S: Settings>(json: &str) -> Result<S, String> {
    settings::made(json, Ok)
}

/// Configures a preprocessor as the host does, with settings in JSON.
///
/// # Errors
///
/// The text that the host would tell.
pub fn preprocessor<P: Preprocessor>(settings: &str) -> Result<P, String> {
    settings::made(settings, P::new)
}

/// Configures a router as the host does, with settings in JSON.
///
/// # Errors
///
/// The text that the host would tell.
pub fn router<R: Router>(settings: &str) -> Result<R, String> {
    settings::made(settings, R::new)
}

/// Configures a transformer as the host does, with settings in JSON.
///
/// # Errors
///
/// The text that the host would tell.
pub fn transformer<T: Transformer>(settings: &str) -> Result<T, String> {
    settings::made(settings, T::new)
}

/// A message of the test's making.
#[derive(Debug, Clone, Default)]
pub struct TestMessage {
    /// See [`Message::id`].
    pub id: String,
    /// See [`Message::correlation_id`].
    pub correlation_id: Option<String>,
    /// See [`Message::reply_to`].
    pub reply_to: Option<String>,
    /// See [`Message::source`].
    pub source: String,
    /// See [`Message::key`].
    pub key: String,
    /// See [`Message::attempt`].
    pub attempt: u32,
    /// See [`Message::redelivered`].
    pub redelivered: bool,
    /// See [`Message::content_type`].
    pub content_type: Option<String>,
    /// See [`Message::body`].
    pub body: Vec<u8>,
    /// See [`Message::headers`].
    pub headers: Vec<Property>,
}

/// A prediction of the test's making.
#[derive(Debug, Clone, Default)]
pub struct TestPrediction {
    /// See [`Prediction::model`].
    pub model: String,
    /// All classes, best first.
    pub scores: Vec<Score>,
    /// See [`Prediction::output`].
    pub outputs: Vec<Tensor>,
}

impl TestMessage {
    /// What the plugin gets to see.
    pub fn view(&self) -> Message<'_> {
        Message::new(self)
    }

    pub(crate) fn id(&self) -> String {
        self.id.clone()
    }

    pub(crate) fn correlation_id(&self) -> Option<String> {
        self.correlation_id.clone()
    }

    pub(crate) fn reply_to(&self) -> Option<String> {
        self.reply_to.clone()
    }

    pub(crate) fn source(&self) -> String {
        self.source.clone()
    }

    pub(crate) fn key(&self) -> String {
        self.key.clone()
    }

    pub(crate) fn attempt(&self) -> u32 {
        self.attempt
    }

    pub(crate) fn redelivered(&self) -> bool {
        self.redelivered
    }

    pub(crate) fn content_type(&self) -> Option<String> {
        self.content_type.clone()
    }

    pub(crate) fn body(&self) -> Vec<u8> {
        self.body.clone()
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.headers
            .iter()
            .find(|header| header.name == name)
            .map(|header| header.value.clone())
    }

    pub(crate) fn headers(&self) -> Vec<Property> {
        self.headers.clone()
    }
}

impl TestPrediction {
    /// What the plugin gets to see.
    pub fn view(&self) -> Prediction<'_> {
        Prediction::new(self)
    }

    pub(crate) fn model(&self) -> String {
        self.model.clone()
    }

    pub(crate) fn top(&self, k: u32) -> Vec<Score> {
        self.scores.iter().take(k as usize).cloned().collect()
    }

    pub(crate) fn outputs(&self) -> Vec<TensorType> {
        self.outputs.iter().map(Tensor::tensor_type).collect()
    }

    pub(crate) fn output(&self, index: u32) -> Option<Tensor> {
        self.outputs.get(index as usize).cloned()
    }
}
