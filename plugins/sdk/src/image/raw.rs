//! Raw RGB: three bytes a pixel, row by row, and nothing else. Only what the message says about it tells its size.

use super::{ImageError, Limits, Picture, Target};
use crate::Message;

/// A raw picture as the message announces it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Raw {
    width: u32,
    height: u32,
    /// Whether the content type says so in so many words.
    explicit: bool,
}

impl Raw {
    /// What the message announces: nothing, unless its content type is that of raw RGB or of any bytes.
    ///
    /// The size is that of the headers `width` and `height`, else what the model wants.
    pub(crate) fn announced(message: &Message, target: &Target) -> Result<Option<Self>, String> {
        let content_type = message.content_type();
        let essence = content_type
            .as_deref()
            .and_then(|text| text.split(';').next())
            .map(str::trim);
        let explicit = essence.is_some_and(|essence| essence.eq_ignore_ascii_case("image/x-rgb"));
        let any_bytes = essence.is_none_or(|essence| essence.eq_ignore_ascii_case("application/octet-stream"));
        if !explicit && !any_bytes {
            return Ok(None);
        }
        let (width, height) = match (side(message, "width")?, side(message, "height")?) {
            (Some(width), Some(height)) => (width, height),
            (None, None) => target.size(),
            (Some(_), None) => return Err("it has a header `width` but no `height`".to_owned()),
            (None, Some(_)) => return Err("it has a header `height` but no `width`".to_owned()),
        };
        Ok(Some(Self {
            width,
            height,
            explicit,
        }))
    }

    /// Whether the content type says that it is raw RGB.
    pub(crate) fn is_explicit(&self) -> bool {
        self.explicit
    }

    /// Whether a body has the length that it must have.
    pub(crate) fn fits(&self, body: &[u8]) -> bool {
        body.len() as u64 == self.bytes()
    }

    /// Why a body of another length is none.
    pub(crate) fn mismatch(&self, body: &[u8]) -> String {
        let (width, height, bytes) = (self.width, self.height, self.bytes());
        format!(
            "raw RGB of {width}x{height} pixels has {bytes} bytes, the body has {}",
            body.len()
        )
    }

    /// The picture. The body must fit.
    pub(crate) fn decode(&self, body: Vec<u8>, limits: &Limits) -> Result<Picture, ImageError> {
        limits.check_size(self.width, self.height)?;
        Picture::rgb(self.width, self.height, body)
    }

    fn bytes(&self) -> u64 {
        u64::from(self.width)
            .saturating_mul(u64::from(self.height))
            .saturating_mul(3)
    }
}

fn side(message: &Message, name: &str) -> Result<Option<u32>, String> {
    match message.header(name) {
        Some(text) => match text.trim().parse() {
            Ok(pixels) => Ok(Some(pixels)),
            Err(_) => Err(format!("its header `{name}` is not a number of pixels")),
        },
        None => Ok(None),
    }
}
