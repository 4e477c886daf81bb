//! How a picture is brought to a size of another aspect ratio.

use super::region::centred;
use super::{Colour, Filter};

crate::choice! {
    /// What becomes of a picture whose aspect ratio is not the model's.
    #[derive(Default)]
    pub enum Fit {
        /// All of it is stretched.
        #[default]
        Stretch = "stretch",
        /// The largest part of the right aspect ratio is cut out of its centre.
        Crop = "crop",
    }
}

/// How a picture gets bars at two of its sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Letterbox {
    /// What it is resized with.
    pub filter: Filter,
    /// The colour of the bars.
    pub fill: Colour,
    /// Where between the bars it is.
    pub place: Place,
    /// Whether a picture that is smaller is made larger; if not, it gets bars all around.
    pub enlarge: bool,
}

crate::choice! {
    /// Where on a larger ground a picture lies.
    #[derive(Default)]
    pub enum Place {
        /// In the middle.
        #[default]
        Center = "center",
        /// In the upper left corner, with all of the ground to the right and below.
        TopLeft = "top-left",
        /// In the lower right corner.
        BottomRight = "bottom-right",
    }
}

impl Default for Letterbox {
    fn default() -> Self {
        Self {
            filter: Filter::Bilinear,
            fill: Colour::BLACK,
            place: Place::Center,
            enlarge: true,
        }
    }
}

impl Place {
    /// Left and top of a picture, where this much width and height is left over.
    pub(crate) fn at(self, width: u32, height: u32) -> (u32, u32) {
        match self {
            Self::Center => (centred(width), centred(height)),
            Self::TopLeft => (0, 0),
            Self::BottomRight => (width, height),
        }
    }
}
