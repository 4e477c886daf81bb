//! How a camera was held, by the Exif data of a picture.

use super::Region;
use super::exif::{self, Tiff};

/// One of the eight orientations of Exif: how a picture that lies in a file is turned before it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Orientation {
    /// Rows and columns change places, before the flips.
    transpose: bool,
    flip_horizontal: bool,
    flip_vertical: bool,
}

impl Orientation {
    /// Reads it from Exif data, which begin with a TIFF header, or with "Exif" and then that. What cannot be read leaves the picture as it lies:
    /// broken metadata are no reason to refuse pixels.
    pub fn from_exif(exif: &[u8]) -> Self {
        Self::from_metadata(exif, &[])
    }

    /// Reads it from Exif data and, where these do not have it, from XMP: as Pillow's `ImageOps.exif_transpose`, which
    /// takes any type of number, and of several the first.
    pub fn from_metadata(exif: &[u8], xmp: &[u8]) -> Self {
        let mut tiff = exif;
        while let Some(rest) = tiff.strip_prefix(b"Exif\0\0") {
            tiff = rest;
        }
        let tag = match Tiff::new(tiff).and_then(|tiff| tiff.orientation()) {
            Some(tag) => tag,
            None => exif::in_xmp(xmp),
        };
        tag.and_then(Self::from_tag).unwrap_or_default()
    }

    /// By the number in the tag.
    pub fn from_tag(tag: u16) -> Option<Self> {
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

    /// Turned once more, so that left and right change places.
    pub(crate) fn flipped_horizontally(self) -> Self {
        Self {
            flip_horizontal: !self.flip_horizontal,
            ..self
        }
    }

    /// Turned once more, so that top and bottom change places.
    pub(crate) fn flipped_vertically(self) -> Self {
        Self {
            flip_vertical: !self.flip_vertical,
            ..self
        }
    }

    /// Turned once more, by a quarter, clockwise.
    pub(crate) fn turned_right(self) -> Self {
        // Rows become columns, and then left and right change places.
        Self {
            transpose: !self.transpose,
            flip_horizontal: !self.flip_vertical,
            flip_vertical: self.flip_horizontal,
        }
    }

    /// Whether rows and columns change places.
    pub(crate) fn transposes(self) -> bool {
        self.transpose
    }

    /// Whether the picture's columns and its rows, as they lie, run backwards when it is looked at.
    pub(crate) fn mirrors(self) -> (bool, bool) {
        if self.transpose {
            (self.flip_vertical, self.flip_horizontal)
        } else {
            (self.flip_horizontal, self.flip_vertical)
        }
    }

    /// The width and height that a picture has as it lies, which is to be of this width and height when turned.
    pub(crate) fn lay(self, width: u32, height: u32) -> (u32, u32) {
        if self.transpose {
            (height, width)
        } else {
            (width, height)
        }
    }

    /// Where a region of the turned picture, which has this width and height, is in the picture as it lies.
    pub(crate) fn lay_region(self, region: Region, width: u32, height: u32) -> Region {
        let Region {
            mut left,
            mut top,
            width: inner_width,
            height: inner_height,
        } = region;
        if self.flip_horizontal {
            left = width.saturating_sub(left).saturating_sub(inner_width);
        }
        if self.flip_vertical {
            top = height.saturating_sub(top).saturating_sub(inner_height);
        }
        let (left, top) = self.lay(left, top);
        let (width, height) = self.lay(inner_width, inner_height);
        Region {
            left,
            top,
            width,
            height,
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
    fn turns_add_up() {
        let seen = |orientation: Orientation| {
            let (width, height) = orientation.lay(3, 2);
            orientation
                .walk(width as usize, height as usize)
                .map(|at| char::from(b"abcdef"[at]))
                .collect::<String>()
        };
        let upright = Orientation::default();
        assert_eq!(seen(upright.turned_right()), "daebfc");
        assert_eq!(seen(upright.turned_right().turned_right()), "fedcba");
        assert_eq!(seen(upright.turned_right().flipped_horizontally()), "adbecf");
        assert_eq!(seen(upright.flipped_horizontally().turned_right()), "fcebda");
        assert_eq!(seen(upright.flipped_vertically().turned_right()), "adbecf");
        for tag in 1..=8 {
            let orientation = Orientation::from_tag(tag).unwrap();
            let around = orientation.turned_right().turned_right().turned_right().turned_right();
            assert_eq!(around, orientation);
        }
    }

    #[test]
    fn regions_are_found_where_they_lie() {
        // Of the pictures above the part without the first column and the last row.
        for tag in 1..=8 {
            let orientation = Orientation::from_tag(tag).unwrap();
            let (width, height) = orientation.lay(3, 2);
            let region = Region {
                left: 1,
                top: 0,
                width: width - 1,
                height: height - 1,
            };
            let walk = orientation.walk(width as usize, height as usize).enumerate();
            let inside = walk.filter(|(at, _)| at % width as usize >= 1 && at / (width as usize) < height as usize - 1);
            let mut expected: Vec<usize> = inside.map(|(_, lying)| lying).collect();
            expected.sort_unstable();
            let lying = orientation.lay_region(region, width, height);
            let found: Vec<usize> = (0..6)
                .filter(|at| (lying.left..lying.left + lying.width).contains(&(*at as u32 % 3)))
                .filter(|at| (lying.top..lying.top + lying.height).contains(&(*at as u32 / 3)))
                .collect();
            assert_eq!(found, expected, "orientation {tag}");
        }
    }

    #[test]
    fn broken_exif_leaves_the_picture_as_it_lies() {
        let good = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0";
        assert_eq!(Orientation::from_exif(good), Orientation::from_tag(6).unwrap());
        let prefixed = [b"Exif\0\0".as_slice(), good].concat();
        assert_eq!(Orientation::from_exif(&prefixed), Orientation::from_tag(6).unwrap());
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

    /// Data of one entry, with what is behind the directory, in both orders of bytes.
    fn exif(big_endian: bool, kind: u16, count: u32, value: u64, size: usize) -> Vec<u8> {
        let number = |number: u64, n_bytes: usize| {
            let mut bytes = number.to_le_bytes()[..n_bytes].to_vec();
            if big_endian {
                bytes.reverse();
            }
            bytes
        };
        let inline = size * count as usize <= 4;
        let mut value = [number(value, size), vec![0; 16]].concat();
        let place = if inline { value[..4].to_vec() } else { number(26, 4) };
        value.truncate(if inline { 0 } else { size * count as usize });
        let begin: &[u8] = if big_endian { b"MM\0*" } else { b"II*\0" };
        let entry = [number(0x112, 2), number(kind.into(), 2), number(count.into(), 4), place].concat();
        [begin, &number(8, 4), &number(1, 2), &entry, &[0; 4], &value].concat()
    }

    /// What Pillow's `exif_transpose` does, which was asked for each of these.
    #[test]
    fn every_type_of_number_is_taken_as_pillow_takes_it() {
        let turned = Orientation::from_tag(6).unwrap();
        let as_it_lies = Orientation::default();
        let rational = |big_endian: bool| if big_endian { 6 << 32 | 1 } else { 1 << 32 | 6 };
        let check = |kind: u16, count: u32, value: u64, size: usize, expected: Orientation| {
            for big_endian in [false, true] {
                let value = if matches!(kind, 5 | 10) {
                    rational(big_endian)
                } else {
                    value
                };
                let exif = exif(big_endian, kind, count, value, size);
                assert_eq!(
                    Orientation::from_exif(&exif),
                    expected,
                    "type {kind}, {count} of {value}"
                );
            }
        };
        for (kind, size) in [
            (3, 2),
            (4, 4),
            (6, 1),
            (8, 2),
            (9, 4),
            (13, 4),
            (16, 8),
            (5, 8),
            (10, 8),
        ] {
            check(kind, 1, 6, size, turned);
            check(kind, 2, 6, size, turned);
        }
        check(11, 1, u64::from(6f32.to_bits()), 4, turned);
        check(12, 1, 6f64.to_bits(), 8, turned);
        check(12, 1, 6.5f64.to_bits(), 8, as_it_lies);
        for kind in [1, 2, 7, 0, 14, 99] {
            check(kind, 1, 6, 1, as_it_lies);
        }
        for kind in [3, 4, 6] {
            check(kind, 0, 6, 1, as_it_lies);
        }
        for value in [0, 1, 9, 65_535] {
            check(3, 1, value, 2, as_it_lies);
        }
        check(4, 1, 65_542, 4, as_it_lies);
    }

    #[test]
    fn xmp_counts_where_exif_says_nothing() {
        let turned = Orientation::from_tag(6).unwrap();
        let as_it_lies = Orientation::default();
        let check = |exif: &[u8], xmp: &str, expected: Orientation| {
            assert_eq!(Orientation::from_metadata(exif, xmp.as_bytes()), expected, "{xmp}");
        };
        let attribute = r#"<x tiff:Orientation="6"/>"#;
        check(b"", attribute, turned);
        check(b"", "<tiff:Orientation>6</tiff:Orientation>", turned);
        check(b"", r#"tiff:Orientation tiff:Orientation="68""#, turned);
        check(b"", "<x tiff:Orientation='6'/>", as_it_lies);
        check(b"", r#"tiff:Orientation="16""#, as_it_lies);
        check(b"", r#"tiff:Orientation="9" tiff:Orientation="6""#, as_it_lies);
        check(b"", r#"exif:Orientation="6""#, as_it_lies);
        // One that Exif has counts, even where it is none; one of an unknown type is as good as none.
        check(&exif(false, 3, 1, 1, 2), attribute, as_it_lies);
        check(&exif(false, 3, 1, 9, 2), attribute, as_it_lies);
        check(&exif(true, 1, 1, 6, 1), attribute, as_it_lies);
        check(&exif(true, 99, 1, 6, 1), attribute, turned);
        check(b"II*\0\x08\0\0\0\0\0", attribute, turned);
        // One whose entry is cut off, and one of no numbers, are not there.
        check(&exif(false, 3, 1, 3, 2)[..8 + 2 + 11], attribute, turned);
        check(&exif(true, 3, 1, 3, 2)[..8 + 2 + 11], "", as_it_lies);
        check(&exif(false, 3, 0, 3, 2), attribute, turned);
        // The number of a TIFF in either order, and that of a big one in one of them.
        for (big_endian, number) in [(true, b"MM*\0"), (true, b"MM\0+"), (false, b"II\0*")] {
            let file = [number.as_slice(), &exif(big_endian, 3, 1, 6, 2)[4..]].concat();
            check(&file, "", turned);
        }
        check(
            &[b"II+\0".as_slice(), &exif(false, 3, 1, 6, 2)[4..]].concat(),
            "",
            as_it_lies,
        );
    }
}
