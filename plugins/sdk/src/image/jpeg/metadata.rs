//! What the segments of applications say that bears upon pixels: which colours these are, and which way up.

use crate::image::{Decoder as Options, Orientation};

/// What was found before the first scan.
#[derive(Debug, Default)]
pub(super) struct Metadata<'a> {
    pub(super) is_jfif: bool,
    /// What Adobe's marker says of the colours.
    pub(super) adobe_transform: Option<u8>,
    exif: Vec<u8>,
    xmp: &'a [u8],
}

impl<'a> Metadata<'a> {
    /// Reads a segment of an application. What is not known is passed over.
    pub(super) fn read(&mut self, marker: u8, segment: &'a [u8]) {
        match marker {
            // As libjpeg knows them: by their names, and no shorter than they must be.
            0xe0 if segment.len() >= 14 && segment.starts_with(b"JFIF\0") => self.is_jfif = true,
            0xee if segment.starts_with(b"Adobe") => {
                self.adobe_transform = segment.get(11).copied().or(self.adobe_transform);
            }
            // What is too long for one segment goes on in the next, as Pillow has it.
            0xe1 => {
                if let Some(exif) = segment.strip_prefix(b"Exif\0\0") {
                    self.exif.extend_from_slice(exif);
                } else if let Some(xmp) = segment.strip_prefix(b"http://ns.adobe.com/xap/1.0/\0") {
                    self.xmp = xmp;
                }
            }
            _ => {}
        }
    }

    /// Which way up the picture is to be looked at.
    pub(super) fn orientation(&self, options: &Options) -> Orientation {
        options.orientation(&self.exif, self.xmp)
    }
}
