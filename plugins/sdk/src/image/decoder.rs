//! From bytes to a picture: what they are is told by their first bytes, and only formats that are wanted are taken.

#[cfg(any(feature = "png", feature = "jpeg", feature = "webp"))]
use super::Orientation;
use super::raw::Raw;
use super::{Colour, Format, ImageError, Limits, Picture, Target, format};
use crate::Message;

/// Decodes pictures of the formats that it is told to take, within limits.
#[derive(Debug, Clone)]
pub struct Decoder {
    pub(crate) limits: Limits,
    /// What transparent pixels are laid over.
    #[cfg_attr(
        not(any(feature = "png", feature = "webp", feature = "gif")),
        expect(dead_code, reason = "no format without them has transparent pixels")
    )]
    pub(crate) background: Colour,
    /// What becomes of transparency.
    #[cfg_attr(
        not(any(feature = "png", feature = "webp", feature = "gif")),
        expect(dead_code, reason = "no format without them has transparent pixels")
    )]
    pub(crate) alpha: Alpha,
    /// What becomes of the orientation that a camera writes.
    #[cfg_attr(
        not(any(feature = "png", feature = "jpeg", feature = "webp")),
        expect(dead_code, reason = "no format without them says which way up it is")
    )]
    turn: Turn,
    formats: Vec<Format>,
}

crate::choice! {
    /// What becomes of transparency.
    #[derive(Default)]
    pub enum Alpha {
        /// The picture is laid over a background.
        #[default]
        Blend = "blend",
        /// The colours of all pixels count, those that nobody sees too: as Pillow's `convert("RGB")` has it.
        Ignore = "ignore",
    }
}

crate::choice! {
    /// What becomes of the orientation that a camera writes.
    #[derive(Default)]
    pub enum Turn {
        /// The picture is turned to be the right way up, as by Pillow's `ImageOps.exif_transpose`.
        #[default]
        Upright = "upright",
        /// The picture is left as it lies in the file, as `Image.open` leaves it.
        Ignore = "ignore",
    }
}

impl Default for Decoder {
    /// Every format that this crate was built with, laid over white, within the default limits.
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            background: Colour::WHITE,
            alpha: Alpha::Blend,
            turn: Turn::Upright,
            formats: Format::AVAILABLE.to_vec(),
        }
    }
}

impl Decoder {
    /// With other limits.
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// With another colour behind transparent pixels.
    pub fn with_background(self, background: Colour) -> Self {
        Self { background, ..self }
    }

    /// With another way to treat transparency.
    pub fn with_alpha(self, alpha: Alpha) -> Self {
        Self { alpha, ..self }
    }

    /// With another way to treat the orientation that a camera writes.
    pub fn with_turn(self, turn: Turn) -> Self {
        Self { turn, ..self }
    }

    /// With some formats only: each decoder that a stranger cannot reach is one that cannot be attacked.
    pub fn with_formats(self, formats: impl IntoIterator<Item = Format>) -> Self {
        let mut formats: Vec<Format> = formats.into_iter().collect();
        formats.retain(|format| Format::AVAILABLE.contains(format));
        Self { formats, ..self }
    }

    /// Decodes a file, of an animation its first picture.
    ///
    /// # Errors
    ///
    /// [`ImageError`] where it is no picture of a format that is taken, damaged, cut off or too large.
    pub fn decode(&self, body: &[u8]) -> Result<Picture, ImageError> {
        if body.is_empty() {
            return Err(ImageError::Empty);
        }
        match self.recognise(body) {
            Some(format) => self.decode_as(format, body),
            None => Err(ImageError::Unknown {
                accepted: Format::list(&self.formats, "or"),
                begin: format::describe(body),
            }),
        }
    }

    /// Decodes a message's body: a file, or raw RGB where that is announced.
    ///
    /// Raw RGB, three bytes a pixel row by row, has no first bytes to know it by. A body is taken for it when its content
    /// type is `image/x-rgb`, or else when that is `application/octet-stream` or missing and the body is no file; and only
    /// if its length is exactly width x height x 3. The size is that of the headers `width` and `height`, else the model's.
    ///
    /// # Errors
    ///
    /// As of [`Decoder::decode`].
    pub fn message(&self, message: &Message, target: &Target) -> Result<Picture, ImageError> {
        let body = message.body();
        if body.is_empty() {
            return Err(ImageError::Empty);
        }
        let raw = Raw::announced(message, target);
        // A raw picture has no signature, and may begin with the three bytes of a JPEG's: where it is announced as raw
        // and as long as it must be, it is one.
        if let Ok(Some(raw)) = &raw
            && raw.is_explicit()
            && raw.fits(&body)
        {
            return raw.decode(body, &self.limits);
        }
        if let Some(format) = self.recognise(&body) {
            return self.decode_as(format, &body);
        }
        let accepted = Format::list(&self.formats, "or raw RGB");
        let begin = format::describe(&body);
        let reason = match raw {
            Ok(Some(_)) if format::is_file(&body) => return Err(ImageError::Unknown { accepted, begin }),
            Ok(Some(raw)) if raw.fits(&body) => return raw.decode(body, &self.limits),
            Ok(Some(raw)) => raw.mismatch(&body),
            Ok(None) => return Err(ImageError::Unknown { accepted, begin }),
            Err(reason) => reason,
        };
        Err(ImageError::NotRaw {
            accepted,
            begin,
            reason,
        })
    }

    /// Which way up a picture with these metadata is to be looked at.
    #[cfg(any(feature = "png", feature = "jpeg", feature = "webp"))]
    pub(crate) fn orientation(&self, exif: &[u8], xmp: &[u8]) -> Orientation {
        match self.turn {
            Turn::Upright => Orientation::from_metadata(exif, xmp),
            Turn::Ignore => Orientation::default(),
        }
    }

    fn recognise(&self, body: &[u8]) -> Option<Format> {
        Format::of(body).filter(|format| self.formats.contains(format))
    }

    fn decode_as(&self, format: Format, body: &[u8]) -> Result<Picture, ImageError> {
        match format {
            #[cfg(feature = "png")]
            Format::Png => super::png::decode(body, self),
            #[cfg(feature = "jpeg")]
            Format::Jpeg => super::jpeg::decode(body, self),
            #[cfg(feature = "webp")]
            Format::WebP => super::webp::decode(body, self),
            #[cfg(feature = "gif")]
            Format::Gif => super::gif::decode(body, self),
            // Not among `AVAILABLE`.
            #[allow(unreachable_patterns, reason = "reached where a feature is off")]
            _ => Err(ImageError::Unknown {
                accepted: Format::list(&self.formats, "or"),
                begin: format::describe(body),
            }),
        }
    }
}
