//! A part of a picture.

use super::ImageError;

/// A part of a picture, in pixels from its upper left corner. Whether it is inside is checked where it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// The left edge.
    pub left: u32,
    /// The upper edge.
    pub top: u32,
    /// The width.
    pub width: u32,
    /// The height.
    pub height: u32,
}

impl Region {
    /// All of a picture.
    pub(crate) fn whole(width: u32, height: u32) -> Self {
        Self {
            left: 0,
            top: 0,
            width,
            height,
        }
    }

    /// The largest part of a picture in its centre that has the aspect ratio of `width` to `height`.
    pub(crate) fn centre(of_width: u32, of_height: u32, width: u32, height: u32) -> Self {
        // Rounded; at least a pixel.
        let scaled = |side: u32, to: u32, of: u32| {
            let (side, to, of) = (u128::from(side), u128::from(to), u128::from(of.max(1)));
            let side = (2 * side * to + of) / (2 * of);
            u32::try_from(side).unwrap_or(u32::MAX).max(1)
        };
        let inner_width = scaled(of_height, width, height).min(of_width);
        let inner_height = scaled(of_width, height, width).min(of_height);
        Self {
            left: (of_width - inner_width) / 2,
            top: (of_height - inner_height) / 2,
            width: inner_width,
            height: inner_height,
        }
    }

    /// Itself, if it is a part of a picture of this size and not empty.
    pub(crate) fn inside(self, of_width: u32, of_height: u32) -> Result<Self, ImageError> {
        let Self {
            left,
            top,
            width,
            height,
        } = self;
        let fits =
            |begin: u32, length: u32, of: u32| length > 0 && begin.checked_add(length).is_some_and(|end| end <= of);
        if fits(left, width, of_width) && fits(top, height, of_height) {
            Ok(self)
        } else {
            Err(ImageError::Outside {
                left,
                top,
                width,
                height,
                of_width,
                of_height,
            })
        }
    }
}

/// How far from the edge something lies that is centred, when this much is left over: half of it, a half pixel to the
/// even side, as Pillow and torchvision round.
pub(crate) fn centred(over: u32) -> u32 {
    let half = over / 2;
    if over % 2 == 1 && half % 2 == 1 { half + 1 } else { half }
}
