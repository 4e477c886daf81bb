//! From filtered rows to samples of eight bits, pixel by pixel: depths and interlacing. Knows nothing of colours.

use super::{broken, filters};
use crate::image::ImageError;

/// What the samples of a pixel are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Grey,
    Rgb,
    Palette,
    GreyAlpha,
    Rgba,
}

/// The header.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) kind: Kind,
    /// Bits of a sample: 1, 2, 4, 8 or 16.
    depth: u8,
    interlaced: bool,
}

impl Header {
    pub(super) fn read(data: &[u8]) -> Result<Self, ImageError> {
        let &[a, b, c, d, e, f, g, h, depth, colour, 0, 0, interlaced @ (0 | 1)] = data else {
            return Err(broken("with a header that is not known"));
        };
        let kind = match (colour, depth) {
            (0, 1 | 2 | 4 | 8 | 16) => Kind::Grey,
            (2, 8 | 16) => Kind::Rgb,
            (3, 1 | 2 | 4 | 8) => Kind::Palette,
            (4, 8 | 16) => Kind::GreyAlpha,
            (6, 8 | 16) => Kind::Rgba,
            _ => {
                return Err(broken(format!(
                    "of {depth} bits a sample with colours of kind {colour}, which there are not"
                )));
            }
        };
        Ok(Self {
            width: u32::from_be_bytes([a, b, c, d]),
            height: u32::from_be_bytes([e, f, g, h]),
            kind,
            depth,
            interlaced: interlaced == 1,
        })
    }

    /// Whether it is grey of sixteen bits: Pillow makes RGB of it by cutting off what is above 255, which leaves white, and
    /// others take the upper eight bits.
    pub(super) fn is_deep_grey(&self) -> bool {
        self.kind == Kind::Grey && self.depth == 16
    }
}

/// Where the pixels of an interlaced picture are, pass by pass: the first column and row, and the steps.
const PASSES: [(usize, usize, usize, usize); 7] = [
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
];

/// How the samples lie in the file.
#[derive(Debug)]
pub(super) struct Layout {
    width: usize,
    height: usize,
    kind: Kind,
    depth: usize,
    n_channels: usize,
    interlaced: bool,
}

impl Layout {
    pub(super) fn of(header: &Header) -> Self {
        Self {
            width: header.width as usize,
            height: header.height as usize,
            kind: header.kind,
            depth: usize::from(header.depth),
            n_channels: match header.kind {
                Kind::Grey | Kind::Palette => 1,
                Kind::GreyAlpha => 2,
                Kind::Rgb => 3,
                Kind::Rgba => 4,
            },
            interlaced: header.interlaced,
        }
    }

    /// The columns and rows of each pass.
    fn passes(&self) -> impl Iterator<Item = (usize, usize)> {
        let (width, height) = (self.width, self.height);
        let passes = if self.interlaced {
            PASSES.as_slice()
        } else {
            &[(0, 0, 1, 1)]
        };
        passes.iter().map(move |&(left, top, across, down)| {
            (
                width.saturating_sub(left).div_ceil(across),
                height.saturating_sub(top).div_ceil(down),
            )
        })
    }

    /// The bytes of a row of so many pixels, without that of its filter.
    fn row_bytes(&self, width: usize) -> usize {
        (width * self.n_channels * self.depth).div_ceil(8)
    }

    /// The bytes of all rows.
    pub(super) fn raw_bytes(&self) -> usize {
        let pass = |(width, height): (usize, usize)| {
            if width == 0 {
                0
            } else {
                (self.row_bytes(width) + 1) * height
            }
        };
        self.passes().map(pass).sum()
    }

    /// What decoding takes: the rows, what they become where that has no room in their place, and what they are laid over.
    pub(super) fn bytes(&self, transparent: bool) -> u64 {
        let pixels = self.width as u64 * self.height as u64;
        let channels = self.n_channels as u64;
        let samples = match (self.in_place(), transparent) {
            (true, false) => 0,
            (_, true) if self.kind != Kind::Palette => pixels * (channels + 1),
            (true, true) => 0,
            (false, _) => pixels * channels,
        };
        // Their colours, where each sample becomes three.
        let coloured = match (self.kind, transparent) {
            (Kind::Palette | Kind::GreyAlpha, _) | (Kind::Grey, true) => pixels * 3,
            _ => 0,
        };
        self.raw_bytes() as u64 + samples + coloured
    }

    /// Whether the samples take no more room than the rows.
    fn in_place(&self) -> bool {
        self.depth >= 8 && !self.interlaced
    }

    /// The samples, of eight bits. With a transparent colour there is one more of each pixel, its alpha.
    pub(super) fn samples(&self, mut raw: Vec<u8>, transparent: Option<&[u8]>) -> Result<Vec<u8>, ImageError> {
        let transparent = transparent.filter(|_| self.kind != Kind::Palette);
        let n_pixel = (self.n_channels * self.depth / 8).max(1);
        if self.in_place() && transparent.is_none() {
            filters::undo(&mut raw, self.row_bytes(self.width), self.height, n_pixel)?;
            raw.truncate(self.row_bytes(self.width) * self.height);
            if self.depth == 16 {
                for at in 0..raw.len() / 2 {
                    raw.copy_within(at * 2..at * 2 + 1, at);
                }
                raw.truncate(raw.len() / 2);
            }
            return Ok(raw);
        }
        let n_out = self.n_channels + usize::from(transparent.is_some());
        let mut samples = vec![0; self.width * self.height * n_out];
        let mut rest = raw.as_mut_slice();
        let places = if self.interlaced {
            PASSES.as_slice()
        } else {
            &[(0, 0, 1, 1)]
        };
        for ((width, height), &(left, top, across, down)) in self.passes().zip(places) {
            if width == 0 {
                continue;
            }
            let n_row = self.row_bytes(width);
            let (pass, behind) = rest.split_at_mut_checked((n_row + 1) * height).unwrap_or_default();
            rest = behind;
            filters::undo(pass, n_row, height, n_pixel)?;
            for (row, bytes) in pass.chunks_exact(n_row).take(height).enumerate() {
                let begin = ((top + row * down) * self.width + left) * n_out;
                let out = samples
                    .get_mut(begin..begin + ((width - 1) * across + 1) * n_out)
                    .unwrap_or_default();
                self.spread(bytes, transparent, out.chunks_mut(n_out * across));
            }
        }
        Ok(samples)
    }

    /// Writes the samples of a row into the places of its pixels.
    fn spread<'a>(&self, bytes: &[u8], transparent: Option<&[u8]>, places: impl Iterator<Item = &'a mut [u8]>) {
        // Grey of few bits is stretched to eight; an index is not.
        let factor = match (self.kind, self.depth) {
            (Kind::Grey, 1) => 255,
            (Kind::Grey, 2) => 85,
            (Kind::Grey, 4) => 17,
            _ => 1,
        };
        let clear = transparent.map(|colour| colour.as_chunks::<2>().0.iter().map(|&word| u16::from_be_bytes(word)));
        for (pixel, place) in places.enumerate() {
            let mut is_clear = clear.is_some();
            let mut clear = clear.clone();
            for channel in 0..self.n_channels {
                let sample = self.sample(bytes, pixel * self.n_channels + channel);
                is_clear = is_clear && clear.as_mut().and_then(Iterator::next) == Some(sample);
                if let Some(place) = place.get_mut(channel) {
                    *place = if self.depth == 16 {
                        (sample >> 8) as u8
                    } else {
                        (sample * factor) as u8
                    };
                }
            }
            if let (Some(_), Some(alpha)) = (transparent, place.get_mut(self.n_channels)) {
                *alpha = if is_clear { 0 } else { 255 };
            }
        }
    }

    /// One sample of a row, of as many bits as it has.
    fn sample(&self, bytes: &[u8], at: usize) -> u16 {
        let byte = |at: usize| bytes.get(at).copied().unwrap_or_default();
        match self.depth {
            16 => u16::from_be_bytes([byte(at * 2), byte(at * 2 + 1)]),
            8 => u16::from(byte(at)),
            depth => {
                let bit = at * depth;
                u16::from(byte(bit / 8) >> (8 - depth - bit % 8)) & ((1 << depth) - 1)
            }
        }
    }
}
