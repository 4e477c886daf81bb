//! How large a picture may be, asked before anything is allocated for it.

use super::ImageError;

/// How large a picture may be, by what its header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The widest picture, in pixels.
    pub max_width: u32,
    /// The highest picture, in pixels.
    pub max_height: u32,
    /// The most pixels.
    pub max_pixels: u64,
    /// The most bytes that decoding may take beside the file itself.
    pub max_bytes: u64,
}

impl Limits {
    /// [`Limits::max_width`] and [`Limits::max_height`] by default: larger pictures are rarely sent to a classifier,
    /// and cost more than a second to decode.
    pub const MAX_SIDE: u32 = 8192;
    /// [`Limits::max_pixels`] by default: 8192 x 4096.
    pub const MAX_PIXELS: u64 = 32 << 20;
    /// [`Limits::max_bytes`] by default: three quarters of the memory that a plugin may have by default. The rest is for
    /// the body and the tensor.
    pub const MAX_BYTES: u64 = 192 << 20;

    /// Tells a picture that is empty or too large.
    pub(crate) fn check_size(&self, width: u32, height: u32) -> Result<(), ImageError> {
        if width == 0 || height == 0 {
            return Err(ImageError::NoPixels { width, height });
        }
        let Self {
            max_width,
            max_height,
            max_pixels,
            ..
        } = *self;
        if width > max_width || height > max_height {
            return Err(ImageError::TooLarge {
                width,
                height,
                max_width,
                max_height,
            });
        }
        let pixels = u64::from(width) * u64::from(height);
        if pixels > max_pixels {
            return Err(ImageError::TooManyPixels {
                width,
                height,
                pixels,
                max_pixels,
            });
        }
        Ok(())
    }

    /// Tells a picture that takes too much memory to decode.
    #[cfg(any(feature = "png", feature = "jpeg", feature = "webp", feature = "gif"))]
    pub(crate) fn check_bytes(&self, bytes: u64) -> Result<(), ImageError> {
        // What this machine cannot address is too much too.
        let max_bytes = self.max_bytes.min(usize::MAX as u64 / 2);
        if bytes > max_bytes {
            return Err(ImageError::TooManyBytes { bytes, max_bytes });
        }
        Ok(())
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_width: Self::MAX_SIDE,
            max_height: Self::MAX_SIDE,
            max_pixels: Self::MAX_PIXELS,
            max_bytes: Self::MAX_BYTES,
        }
    }
}
