//! One result message.

use serde::Serialize;

use crate::Property;

/// One result message: to a destination that the pipeline declares in `plugins.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbound {
    /// The destination's name. One that the pipeline does not declare makes the message a dead letter.
    pub destination: String,
    /// A routing key in place of the destination's own, where the destination's `keys` allow it.
    pub key: Option<String>,
    /// The result.
    pub body: Vec<u8>,
    /// Such as `application/json`.
    pub content_type: Option<String>,
    /// Headers of the result; names that begin with `x-` and `CC`, `BCC` are refused by the host.
    pub headers: Vec<Property>,
}

impl Outbound {
    /// A result of any bytes.
    pub fn new(destination: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self {
            destination: destination.into(),
            key: None,
            body: body.into(),
            content_type: None,
            headers: Vec::new(),
        }
    }

    /// A result in JSON.
    ///
    /// # Errors
    ///
    /// Where `value` cannot be written as JSON: a map whose keys are not text.
    pub fn json(destination: impl Into<String>, value: &impl Serialize) -> Result<Self, serde_json::Error> {
        let mut outbound = Self::new(destination, serde_json::to_vec(value)?);
        outbound.content_type = Some("application/json".to_owned());
        Ok(outbound)
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push(Property {
            name: name.into(),
            value: value.into(),
        });
        self
    }

    /// Sets the routing key.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets the content type.
    #[must_use]
    pub fn with_content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = Some(content_type.into());
        self
    }
}
