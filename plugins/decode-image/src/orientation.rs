//! How a camera was held, by the Exif data of a picture.

/// One of the eight orientations of Exif.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Orientation {
    /// Rows and columns change places, before the flips.
    transpose: bool,
    flip_horizontal: bool,
    flip_vertical: bool,
}

/// The tag of the orientation in the first directory.
const TAG: u16 = 0x112;
/// The type of an unsigned 16-bit number.
const SHORT: u16 = 3;
/// Bytes of a directory's entry.
const ENTRY_BYTES: usize = 12;

impl Orientation {
    /// Reads it from Exif data, which begin with a TIFF header. What cannot be read leaves the picture as it lies:
    /// broken metadata are no reason to refuse pixels.
    pub(crate) fn from_exif(exif: &[u8]) -> Self {
        Self::find(exif).unwrap_or_default()
    }

    /// By the number in the tag.
    pub(crate) fn from_tag(tag: u16) -> Option<Self> {
        let (transpose, flip_horizontal, flip_vertical) = match tag {
            1 => (false, false, false),
            2 => (false, true, false),
            3 => (false, true, true),
            4 => (false, false, true),
            5 => (true, false, false),
            6 => (true, true, false),
            7 => (true, true, true),
            8 => (true, false, true),
            _ => return None,
        };
        Some(Self {
            transpose,
            flip_horizontal,
            flip_vertical,
        })
    }

    fn find(exif: &[u8]) -> Option<Self> {
        let big_endian = match exif.get(..4)? {
            b"MM\0*" => true,
            b"II*\0" => false,
            _ => return None,
        };
        let short = |at: usize| {
            let bytes: [u8; 2] = exif.get(at..at.checked_add(2)?)?.try_into().ok()?;
            Some(if big_endian {
                u16::from_be_bytes(bytes)
            } else {
                u16::from_le_bytes(bytes)
            })
        };
        let long = |at: usize| {
            let bytes: [u8; 4] = exif.get(at..at.checked_add(4)?)?.try_into().ok()?;
            Some(if big_endian {
                u32::from_be_bytes(bytes)
            } else {
                u32::from_le_bytes(bytes)
            })
        };
        let directory = long(4)? as usize;
        let entries = usize::from(short(directory)?);
        for entry in 0..entries {
            let at = directory.checked_add(2 + entry * ENTRY_BYTES)?;
            if short(at)? == TAG {
                return if short(at + 2)? == SHORT {
                    Self::from_tag(short(at + 8)?)
                } else {
                    None
                };
            }
        }
        None
    }

    /// The width and height that a picture has as it lies, which is to be of this width and height when turned.
    pub(crate) fn lay(self, width: u32, height: u32) -> (usize, usize) {
        let (width, height) = (width as usize, height as usize);
        if self.transpose {
            (height, width)
        } else {
            (width, height)
        }
    }

    /// For each pixel of the turned picture of this size, row by row, where it is in the picture as it lies.
    pub(crate) fn walk(self, width: usize, height: usize) -> impl Iterator<Item = usize> {
        // How far apart in the lying picture the neighbours in a row and in a column of the turned one are.
        let (across, down) = if self.transpose { (height, 1) } else { (1, width) };
        let columns = move |x: usize| if self.flip_horizontal { width - 1 - x } else { x } * across;
        let rows = move |y: usize| if self.flip_vertical { height - 1 - y } else { y } * down;
        (0..height).flat_map(move |y| (0..width).map(move |x| rows(y) + columns(x)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Turns the picture that lies as `abc` over `def`.
    fn check(tag: u16, expected: &[&str]) {
        let orientation = Orientation::from_tag(tag).unwrap();
        let (width, height) = (expected[0].len(), expected.len());
        let turned: String = orientation
            .walk(width, height)
            .map(|at| char::from(b"abcdef"[at]))
            .collect();
        assert_eq!(turned, expected.concat(), "orientation {tag}");
    }

    #[test]
    fn all_orientations_turn() {
        check(1, &["abc", "def"]);
        check(2, &["cba", "fed"]);
        check(3, &["fed", "cba"]);
        check(4, &["def", "abc"]);
        check(5, &["ad", "be", "cf"]);
        check(6, &["da", "eb", "fc"]);
        check(7, &["fc", "eb", "da"]);
        check(8, &["cf", "be", "ad"]);
    }

    #[test]
    fn broken_exif_leaves_the_picture_as_it_lies() {
        let good = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0";
        assert_eq!(Orientation::from_exif(good), Orientation::from_tag(6).unwrap());
        for length in 0..good.len() - 2 {
            assert_eq!(
                Orientation::from_exif(&good[..length]),
                Orientation::default(),
                "the first {length} bytes"
            );
        }
        assert_eq!(Orientation::from_exif(b"MM\0*\xff\xff\xff\xff"), Orientation::default());
        assert_eq!(
            Orientation::from_exif(b"MM\0*\0\0\0\x08\xff\xff"),
            Orientation::default()
        );
    }
}
