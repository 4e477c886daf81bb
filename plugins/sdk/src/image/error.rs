//! Why there is no picture, or no tensor of it. Its texts reach logs and dead letters.

use super::Format;
use crate::{ElementCount, Refusal};

/// Why there is no picture, or no tensor of it. As a [`Refusal`] it is a reject: the same bytes fail again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// There are no bytes at all.
    #[error("the body is empty")]
    Empty,
    /// The bytes are of no format that is taken.
    #[error("not a {accepted} picture: begins with {begin}")]
    Unknown {
        /// The formats that are taken, as words.
        accepted: String,
        /// The first bytes, and what they may be.
        begin: String,
    },
    /// The bytes are of no format that is taken, and no raw picture either.
    #[error("not a {accepted} picture: begins with {begin}; {reason}")]
    NotRaw {
        /// The formats that are taken, as words.
        accepted: String,
        /// The first bytes, and what they may be.
        begin: String,
        /// Why they are no raw picture.
        reason: String,
    },
    /// The file is damaged, cut off, or of a kind that the decoder does not know.
    #[error("a {format} {what}")]
    Broken {
        /// What the first bytes say that it is.
        format: Format,
        /// What is wrong, so that it continues "a PNG ...".
        what: String,
    },
    /// The file ends too early.
    #[error("a truncated {format}: {what}")]
    Truncated {
        /// What the first bytes say that it is.
        format: Format,
        /// What is missing.
        what: &'static str,
    },
    /// A picture without pixels.
    #[error("a picture of {width}x{height} pixels has none")]
    NoPixels {
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
    },
    /// A side is longer than [`Limits`](super::Limits) allow.
    #[error("a picture of {width}x{height} pixels is larger than {max_width}x{max_height}, the limit")]
    TooLarge {
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
        /// The limit.
        max_width: u32,
        /// The limit.
        max_height: u32,
    },
    /// It has more pixels than [`Limits`](super::Limits) allow.
    #[error("a picture of {width}x{height} pixels has {pixels}, the limit is {max_pixels}")]
    TooManyPixels {
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
        /// Its pixels.
        pixels: u64,
        /// The limit.
        max_pixels: u64,
    },
    /// Decoding it would take more memory than [`Limits`](super::Limits) allow.
    #[error("decoding the picture takes {bytes} bytes, the limit is {max_bytes}")]
    TooManyBytes {
        /// What it would take.
        bytes: u64,
        /// The limit.
        max_bytes: u64,
    },
    /// Pixels that are more or fewer than the size says.
    #[error("{width}x{height} pixels of {channels} channels have {expected} bytes, not {found}")]
    PixelCount {
        /// The width.
        width: u32,
        /// The height.
        height: u32,
        /// 1 or 3.
        channels: u32,
        /// The bytes of such a picture.
        expected: u64,
        /// The bytes that there are.
        found: usize,
    },
    /// A region that reaches over the edge, or is empty.
    #[error("a region of {width}x{height} pixels at {left}, {top} is not inside a picture of {of_width}x{of_height}")]
    Outside {
        /// The region's left edge.
        left: u32,
        /// The region's upper edge.
        top: u32,
        /// The region's width.
        width: u32,
        /// The region's height.
        height: u32,
        /// The picture's width.
        of_width: u32,
        /// The picture's height.
        of_height: u32,
    },
    /// The model wants no picture.
    #[error("the model wants a tensor of shape {shape:?}: a picture makes (1 or 3, height, width)")]
    Shape {
        /// What the model wants.
        shape: Vec<u32>,
    },
    /// The picture is of another size than the model wants: resize it first.
    #[error("the model wants {wanted_width}x{wanted_height} pixels, the picture has {width}x{height}")]
    Size {
        /// What the model wants.
        wanted_width: u32,
        /// What the model wants.
        wanted_height: u32,
        /// The picture's width.
        width: u32,
        /// The picture's height.
        height: u32,
    },
    /// With the shorter side that is asked for it is larger than [`Limits`](super::Limits) allow.
    #[error(
        "resized to a shorter side of {side} pixels, the picture is of {width}x{height}, beyond the limits of size"
    )]
    Enlarged {
        /// The shorter side.
        side: u32,
        /// The width that goes with it.
        width: u32,
        /// The height that goes with it.
        height: u32,
    },
    /// Bytes cannot be normalised.
    #[error("the model wants bytes, which it normalises itself: `mean` and `std` are for models that want floats")]
    NormalisedBytes,
    /// Our mistake: a tensor of another length than its shape.
    #[error(transparent)]
    Elements(#[from] ElementCount),
}

impl ImageError {
    /// A file that the decoder gave up on.
    #[cfg(any(feature = "png", feature = "jpeg", feature = "webp", feature = "gif"))]
    pub(crate) fn broken(format: Format, what: impl Into<String>) -> Self {
        Self::Broken {
            format,
            what: what.into(),
        }
    }

    /// A file that the decoder gave up on, in its words.
    #[cfg(any(feature = "png", feature = "webp"))]
    pub(crate) fn undecodable(format: Format, error: impl std::fmt::Display) -> Self {
        Self::broken(format, format!("that cannot be decoded: {error}"))
    }
}

impl From<ImageError> for Refusal {
    fn from(error: ImageError) -> Self {
        Self::Reject(error.to_string())
    }
}
