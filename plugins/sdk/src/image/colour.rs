//! Colours and what is done to single pixels: grey, alpha.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{SettingKind, SettingValue};

/// A colour. In settings it is written `#rrggbb`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Colour(pub [u8; 3]);

impl Colour {
    /// What pictures with transparency are mostly looked at on.
    pub const WHITE: Self = Self([255; 3]);
    /// What most frameworks pad with.
    pub const BLACK: Self = Self([0; 3]);

    /// The grey that is as bright.
    pub fn grey(self) -> Self {
        Self([luma(&self.0); 3])
    }

    /// Whether it is a grey.
    pub fn is_grey(self) -> bool {
        let [red, green, blue] = self.0;
        red == green && green == blue
    }
}

impl FromStr for Colour {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
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

impl TryFrom<String> for Colour {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Colour> for String {
    fn from(colour: Colour) -> Self {
        colour.to_string()
    }
}

impl SettingValue for Colour {
    const KIND: SettingKind = SettingKind::Text;
}

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [red, green, blue] = self.0;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}

/// The brightness of ITU-R 601, which "grey" means to most picture libraries: in sixteen-bit fixed point, rounded.
pub(crate) fn luma(&[red, green, blue]: &[u8; 3]) -> u8 {
    let sum = 19_595 * u32::from(red) + 38_470 * u32::from(green) + 7_471 * u32::from(blue) + 0x8000;
    // The factors add up to 65536, so that the sum shifted is at most 255.
    (sum >> 16) as u8
}

/// Lays RGBA pixels over a background, in place.
#[cfg(any(feature = "png", feature = "webp"))]
pub(crate) fn over(mut pixels: Vec<u8>, background: Colour) -> Vec<u8> {
    let n_pixels = pixels.len() / 4;
    for at in 0..n_pixels {
        let Some(&pixel) = pixels.get(at * 4..).and_then(|rest| rest.first_chunk()) else {
            break;
        };
        if let Some(place) = pixels.get_mut(at * 3..).and_then(|rest| rest.first_chunk_mut()) {
            *place = over_one(pixel, background);
        }
    }
    pixels.truncate(n_pixels * 3);
    pixels
}

/// Takes the colours of RGBA pixels as they are, in place.
#[cfg(any(feature = "png", feature = "webp"))]
pub(crate) fn drop_alpha(pixels: &mut Vec<u8>) {
    let n_pixels = pixels.len() / 4;
    for at in 0..n_pixels {
        pixels.copy_within(at * 4..at * 4 + 3, at * 3);
    }
    pixels.truncate(n_pixels * 3);
}

/// One pixel over a background.
#[cfg(any(feature = "png", feature = "webp"))]
pub(crate) fn over_one([red, green, blue, alpha]: [u8; 4], Colour([r, g, b]): Colour) -> [u8; 3] {
    [blend(red, r, alpha), blend(green, g, alpha), blend(blue, b, alpha)]
}

/// Lays grey pixels with alpha over a background, which may have a colour.
#[cfg(feature = "png")]
pub(crate) fn grey_over(pixels: &[u8], Colour(background): Colour) -> Vec<u8> {
    let pairs = pixels.as_chunks::<2>().0;
    pairs
        .iter()
        .flat_map(|&[grey, alpha]| background.map(|behind| blend(grey, behind, alpha)))
        .collect()
}

/// In the encoded values, as nearly all programs do it, rounded.
#[cfg(any(feature = "png", feature = "webp"))]
fn blend(front: u8, behind: u8, alpha: u8) -> u8 {
    let sum = u32::from(front) * u32::from(alpha) + u32::from(behind) * (255 - u32::from(alpha));
    ((sum + 127) / 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn luma_keeps_greys() {
        for grey in 0..=255 {
            assert_eq!(luma(&[grey; 3]), grey);
        }
        assert_eq!(
            [luma(&[255, 0, 0]), luma(&[0, 255, 0]), luma(&[0, 0, 255])],
            [76, 150, 29]
        );
    }

    #[test]
    fn colours_are_read_and_written() {
        assert_eq!("#ff8000".parse(), Ok(Colour([255, 128, 0])));
        assert_eq!(Colour([255, 128, 0]).to_string(), "#ff8000");
        for wrong in ["", "#", "ff8000", "#ff800", "#+12345", "#ff80000", "#gg0000", "red"] {
            assert_eq!(
                wrong.parse::<Colour>(),
                Err(format!("`{wrong}` is not a colour such as `#ffffff`"))
            );
        }
    }
}
