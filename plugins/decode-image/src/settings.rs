//! The `settings` table in `plugins.toml`; the README beside this crate is its reference.

use millrace_plugin::serde::{Deserialize, Serialize};
use millrace_plugin::{SettingKind, SettingValue};

millrace_plugin::settings! {
    /// The `settings` table.
    pub struct Settings {
        /// How a picture of another size is made as large as the model wants it.
        pub resize: Resize = Resize::Bilinear,
        /// What becomes of a picture of another aspect ratio.
        pub fit: Fit = Fit::Stretch,
        /// The colour behind transparent pixels, as `#rrggbb`.
        pub background: Colour = WHITE,
        /// The widest picture that is decoded, in pixels.
        pub max_width: u32 = MAX_SIDE,
        /// The highest picture that is decoded, in pixels.
        pub max_height: u32 = MAX_SIDE,
        /// The most pixels of a picture that is decoded.
        pub max_pixels: u64 = MAX_PIXELS,
        /// The most bytes that decoding one picture may take, by what its header says.
        pub max_bytes: u64 = MAX_BYTES,
    }
}

millrace_plugin::choice! {
    /// A resampling filter.
    pub enum Resize {
        /// Antialiased bilinear: a triangle as wide as the reduction.
        Bilinear = "bilinear",
        /// The nearest pixel.
        Nearest = "nearest",
        /// Antialiased Lanczos with three lobes.
        Lanczos = "lanczos",
    }
}

millrace_plugin::choice! {
    /// What becomes of a picture whose aspect ratio is not the model's.
    pub enum Fit {
        /// All of it is stretched.
        Stretch = "stretch",
        /// The largest part of the right aspect ratio is cut out of its centre.
        Crop = "crop",
    }
}

/// A colour as `#rrggbb`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(crate = "millrace_plugin::serde", try_from = "String", into = "String")]
pub struct Colour(pub [u8; 3]);

/// What pictures with transparency are mostly looked at on.
const WHITE: Colour = Colour([255; 3]);
/// Larger pictures are rarely sent to a classifier, and cost more than a second to decode.
const MAX_SIDE: u32 = 8192;
/// 8192 x 4096.
const MAX_PIXELS: u64 = 32 << 20;
/// Three quarters of the memory that a plugin may have by default: the rest is for the body and the tensor.
const MAX_BYTES: u64 = 192 << 20;

impl Settings {
    /// Tells a picture that is empty or too large; called before anything is allocated for it.
    pub(crate) fn check_size(&self, width: u32, height: u32) -> Result<(), String> {
        if width == 0 || height == 0 {
            return Err(format!("a picture of {width}x{height} pixels has none"));
        }
        if width > self.max_width || height > self.max_height {
            let (max_width, max_height) = (self.max_width, self.max_height);
            return Err(format!(
                "a picture of {width}x{height} pixels is larger than {max_width}x{max_height}, the limit"
            ));
        }
        let (pixels, max_pixels) = (u64::from(width) * u64::from(height), self.max_pixels);
        if pixels > max_pixels {
            return Err(format!(
                "a picture of {width}x{height} pixels has {pixels}, the limit is {max_pixels}"
            ));
        }
        Ok(())
    }

    /// Tells a picture that takes too much memory to decode; called before anything is allocated for it.
    pub(crate) fn check_bytes(&self, bytes: u64) -> Result<(), String> {
        if bytes > self.max_bytes {
            return Err(format!(
                "decoding the picture takes {bytes} bytes, the limit is {}",
                self.max_bytes
            ));
        }
        Ok(())
    }
}

impl TryFrom<String> for Colour {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits = text
            .strip_prefix('#')
            .filter(|digits| digits.len() == 6 && !digits.starts_with('+'));
        let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let [_, colour @ ..] = number
            .ok_or_else(|| format!("`{text}` is not a colour such as `#ffffff`"))?
            .to_be_bytes();
        Ok(Self(colour))
    }
}

impl From<Colour> for String {
    fn from(Colour([red, green, blue]): Colour) -> Self {
        format!("#{red:02x}{green:02x}{blue:02x}")
    }
}

impl SettingValue for Colour {
    const KIND: SettingKind = SettingKind::Text;
}
