//! From the components of a pixel to red, green and blue, in the fixed point of libjpeg, and as Pillow makes RGB of CMYK.

use super::frame::{Component, Frame};
use super::metadata::Metadata;

/// What the components of a picture are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colours {
    Grey,
    Rgb,
    YCbCr,
    /// Inverted, as Adobe writes it, and as Pillow takes it to be.
    Cmyk,
    /// CMYK whose first three are coded as if they were RGB.
    Ycck,
}

/// Bits behind the point.
const PRECISION_BITS: i32 = 16;
const HALF: i32 = 1 << (PRECISION_BITS - 1);
/// 1.402 and so on, in sixteen bits behind the point.
const RED_OF_CR: i32 = 91_881;
const BLUE_OF_CB: i32 = 116_130;
const GREEN_OF_CR: i32 = -46_802;
const GREEN_OF_CB: i32 = -22_554;

impl Colours {
    /// As libjpeg guesses it by the markers of JFIF and of Adobe and by the components' names.
    pub(super) fn of(frame: &Frame, metadata: &Metadata) -> Self {
        let names: Vec<u8> = frame
            .components
            .iter()
            .map(|component: &Component| component.id)
            .collect();
        match (names.as_slice(), metadata.adobe_transform) {
            ([_], _) => Self::Grey,
            ([_, _, _], _) if metadata.is_jfif => Self::YCbCr,
            ([_, _, _], Some(0)) => Self::Rgb,
            ([_, _, _], Some(_)) => Self::YCbCr,
            (b"RGB", None) => Self::Rgb,
            ([_, _, _], None) => Self::YCbCr,
            (_, None | Some(0)) => Self::Cmyk,
            (_, Some(_)) => Self::Ycck,
        }
    }

    /// The channels of the pixels.
    pub(super) fn channels(self) -> usize {
        if self == Self::Grey { 1 } else { 3 }
    }

    /// Appends a row of pixels, of a row of each component that is at least as wide.
    pub(super) fn write<'a>(self, mut rows: impl Iterator<Item = &'a [u8]>, width: usize, pixels: &mut Vec<u8>) {
        let mut row = || rows.next().unwrap_or_default().get(..width).unwrap_or_default();
        let first = row();
        if self == Self::Grey {
            pixels.extend_from_slice(first);
            return;
        }
        let begin = pixels.len();
        pixels.resize(begin + width * 3, 0);
        let out = pixels.get_mut(begin..).unwrap_or_default().as_chunks_mut::<3>().0;
        let (second, third) = (row(), row());
        let samples = first.iter().zip(second).zip(third);
        match self {
            Self::Grey | Self::Rgb => {
                for (out, ((&red, &green), &blue)) in out.iter_mut().zip(samples) {
                    *out = [red, green, blue];
                }
            }
            Self::YCbCr => {
                for (out, ((&y, &cb), &cr)) in out.iter_mut().zip(samples) {
                    *out = rgb(y, cb, cr);
                }
            }
            Self::Cmyk => {
                for ((out, ((&cyan, &magenta), &yellow)), &black) in out.iter_mut().zip(samples).zip(row()) {
                    *out = [cyan, magenta, yellow].map(|ink| without_black(255 - ink, black));
                }
            }
            Self::Ycck => {
                for ((out, ((&y, &cb), &cr)), &black) in out.iter_mut().zip(samples).zip(row()) {
                    *out = rgb(y, cb, cr).map(|ink| without_black(ink, black));
                }
            }
        }
    }
}

#[inline(always)]
fn rgb(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
    let red = y + ((RED_OF_CR * cr + HALF) >> PRECISION_BITS);
    let green = y + ((GREEN_OF_CB * cb + GREEN_OF_CR * cr + HALF) >> PRECISION_BITS);
    let blue = y + ((BLUE_OF_CB * cb + HALF) >> PRECISION_BITS);
    [red, green, blue].map(|channel| channel.clamp(0, 255) as u8)
}

/// A channel of RGB, of the ink that takes it away and of what black leaves: as Pillow's `cmyk2rgb`.
fn without_black(ink: u8, left: u8) -> u8 {
    let product = u32::from(ink) * u32::from(left) + 128;
    let taken = ((product >> 8) + product) >> 8;
    left.saturating_sub(taken as u8)
}
