//! A decoded picture.

use crate::orientation::Orientation;

/// A decoded picture: eight bits a channel, grey or RGB, row by row, as it lies in its file.
#[derive(Debug)]
pub(crate) struct Picture {
    // Invariant: `pixels` has `width * height * channels` elements, and none of these is 0.
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// 1 or 3.
    pub(crate) channels: usize,
    pub(crate) pixels: Vec<u8>,
    /// How it is to be turned before it is looked at.
    pub(crate) orientation: Orientation,
}

impl Picture {
    /// The picture in grey, by the luma of ITU-R 601: what "grey" means to most picture libraries.
    pub(crate) fn into_grey(mut self) -> Self {
        if self.channels == 3 {
            self.pixels = self.pixels.as_chunks::<3>().0.iter().map(luma).collect();
            self.channels = 1;
        }
        self
    }
}

/// In sixteen-bit fixed point, rounded.
fn luma(&[red, green, blue]: &[u8; 3]) -> u8 {
    let sum = 19_595 * u32::from(red) + 38_470 * u32::from(green) + 7_471 * u32::from(blue) + 0x8000;
    // The factors add up to 65536, so that the sum shifted is at most 255.
    (sum >> 16) as u8
}

#[cfg(test)]
mod tests {
    use super::luma;

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
}
