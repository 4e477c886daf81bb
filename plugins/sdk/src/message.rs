//! The message being processed, read from the host piece by piece.

#[cfg(target_family = "wasm")]
use crate::bindings::plugin::millrace::pipeline::types::Message as Handle;
#[cfg(not(target_family = "wasm"))]
use crate::testing::TestMessage as Handle;

/// A header or property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// Its name.
    pub name: String,
    /// Its value, as text.
    pub value: String,
}

/// The message being processed. Every call asks the host and copies; nothing is copied that is not asked for.
///
/// Everything in it was chosen by the publisher of the message: untrusted input.
#[derive(Debug)]
pub struct Message<'call> {
    handle: &'call Handle,
}

impl<'call> Message<'call> {
    pub(crate) fn new(handle: &'call Handle) -> Self {
        Self { handle }
    }

    /// The message id: the publisher's where it gave one, else the SHA-256 of the body in hexadecimal.
    pub fn id(&self) -> String {
        self.handle.id()
    }

    /// The publisher's correlation id, which the host copies to every result.
    pub fn correlation_id(&self) -> Option<String> {
        self.handle.correlation_id()
    }

    /// Where the publisher asked for the answer.
    pub fn reply_to(&self) -> Option<String> {
        self.handle.reply_to()
    }

    /// The queue or folder that the message was taken from.
    pub fn source(&self) -> String {
        self.handle.source()
    }

    /// The routing key it was published with, or its file name.
    pub fn key(&self) -> String {
        self.handle.key()
    }

    /// 1 at the first attempt, one more after each retry.
    pub fn attempt(&self) -> u32 {
        self.handle.attempt()
    }

    /// True when the broker has delivered this message before.
    pub fn redelivered(&self) -> bool {
        self.handle.redelivered()
    }

    /// The content type that the publisher claims.
    pub fn content_type(&self) -> Option<String> {
        self.handle.content_type()
    }

    /// The message itself. Every call copies it: call once.
    pub fn body(&self) -> Vec<u8> {
        self.handle.body()
    }

    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<String> {
        self.handle.header(name)
    }

    /// All headers, in the order of the message.
    pub fn headers(&self) -> Vec<Property> {
        self.handle
            .headers()
            .into_iter()
            .map(|header| Property {
                name: header.name,
                value: header.value,
            })
            .collect()
    }
}
