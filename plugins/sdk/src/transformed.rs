//! What a transformer makes of a message.

use crate::{Message, Property};

/// What the next in the chain sees in place of the message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transformed {
    /// The new body.
    pub body: Vec<u8>,
    /// Its content type.
    pub content_type: Option<String>,
    /// All headers that the next sees.
    pub headers: Vec<Property>,
}

impl Transformed {
    /// A body of any bytes, without a content type and without headers.
    pub fn new(body: impl Into<Vec<u8>>) -> Self {
        Self {
            body: body.into(),
            content_type: None,
            headers: Vec::new(),
        }
    }

    /// Sets the content type.
    #[must_use]
    pub fn with_content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = Some(content_type.into());
        self
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

    /// Keeps the headers of the message.
    #[must_use]
    pub fn with_headers_of(mut self, message: &Message) -> Self {
        self.headers.extend(message.headers());
        self
    }
}
