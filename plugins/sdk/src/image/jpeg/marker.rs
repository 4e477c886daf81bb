//! The segments of a file. Knows nothing of what is in them.

use super::tables::Tables;
use super::{broken, truncated};
use crate::image::ImageError;

/// What comes next in a file.
pub(super) enum Marker<'a> {
    /// A segment, by the second byte of its marker.
    Segment(u8, &'a [u8]),
    /// The end of the picture.
    End,
}

/// Goes through the segments.
pub(super) struct Markers<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Markers<'a> {
    /// Behind the marker that begins every JPEG.
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self { body, at: 2 }
    }

    /// The file, and the place where the next bytes are.
    pub(super) fn rest(&self) -> (&'a [u8], usize) {
        (self.body, self.at)
    }

    /// Behind the coded data of a scan.
    pub(super) fn go_to(&mut self, at: usize) {
        self.at = at;
    }

    /// The next segment. Bytes that belong to none are signs of damage: only fill bytes may be between them.
    pub(super) fn next(&mut self) -> Result<Marker<'a>, ImageError> {
        match self.marker()? {
            0xd9 => Ok(Marker::End),
            0xd8 => Err(broken("with the beginning of a second one inside")),
            0x01 | 0xd0..=0xd7 => Err(broken("with a marker that does not belong between its segments")),
            0 | 0xff => Err(broken("with bytes between its segments that belong to none")),
            marker => {
                let cut = || truncated("it ends in its header");
                let rest = self.body.get(self.at..).ok_or_else(cut)?;
                let length = usize::from(u16::from_be_bytes(*rest.first_chunk().ok_or_else(cut)?));
                if length < 2 {
                    return Err(broken("with a segment that is shorter than its length"));
                }
                let segment = rest.get(2..length).ok_or_else(cut)?;
                self.at += length;
                Ok(Marker::Segment(marker, segment))
            }
        }
    }

    /// Some cameras write a restart marker behind the last interval, too, if that is a whole one.
    pub(super) fn skip_last_restart(&mut self, tables: &Tables, n_units: usize) {
        let interval = tables.restart_interval;
        if interval == 0 || !n_units.is_multiple_of(interval) {
            return;
        }
        let expected = 0xd0 + ((n_units / interval - 1) % 8) as u8;
        if self
            .body
            .get(self.at..)
            .is_some_and(|rest| rest.starts_with(&[0xff, expected]))
        {
            self.at += 2;
        }
    }

    /// The second byte of the next marker.
    fn marker(&mut self) -> Result<u8, ImageError> {
        let cut = || truncated("the end of the picture is missing");
        let rest = self.body.get(self.at..).ok_or_else(cut)?;
        match rest.first() {
            None => return Err(cut()),
            Some(0xff) => {}
            Some(_) => return Err(broken("with bytes between its segments that belong to none")),
        }
        let n_fill = rest.iter().position(|&byte| byte != 0xff).ok_or_else(cut)?;
        self.at += n_fill + 1;
        rest.get(n_fill).copied().ok_or_else(cut)
    }
}
