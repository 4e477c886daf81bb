//! JPEG: baseline and progressive, grey, colour and CMYK. A truncated one is refused.

use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::{Decoder as Options, Format, ImageError, Orientation, Picture};

/// Markers without a segment: TEM and the restarts, which do not belong in a header but do no harm there.
const ALONE: [u8; 9] = [0x01, 0xd0, 0xd1, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7];
/// Samples of a block, and bytes of a coefficient.
const BLOCK_BYTES: u64 = 64 * 2;

/// What the header says, read before the decoder is let loose.
#[derive(Debug, Default, PartialEq, Eq)]
struct Header {
    width: u16,
    height: u16,
    progressive: bool,
    /// Sampling factors by component, horizontal and vertical.
    components: Vec<(u8, u8)>,
    /// Components in the first scan.
    first_scan: u8,
}

/// Decodes a JPEG.
pub(crate) fn decode(body: &[u8], options: &Options) -> Result<Picture, ImageError> {
    let header = Header::read(body)?;
    options
        .limits
        .check_size(u32::from(header.width), u32::from(header.height))?;
    let (channels, colours) = match header.components.len() {
        1 => (1, ColorSpace::Luma),
        3 | 4 => (3, ColorSpace::RGB),
        n_components => return Err(broken(format!("of {n_components} components"))),
    };
    let size = usize::from(header.width) * usize::from(header.height) * channels as usize;
    options
        .limits
        .check_bytes((size as u64).saturating_add(header.coefficient_bytes()))?;

    let lenience = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::from(header.width))
        .set_max_height(usize::from(header.height))
        .jpeg_set_out_colorspace(colours);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(body), lenience);
    let undecodable = |error| ImageError::undecodable(Format::Jpeg, error);
    decoder.decode_headers().map_err(undecodable)?;
    if decoder.output_buffer_size() != Some(size) {
        return Err(broken("with two headers that contradict each other"));
    }
    let mut pixels = vec![0; size];
    decoder.decode_into(&mut pixels).map_err(undecodable)?;
    let orientation = decoder
        .exif()
        .map(|exif| Orientation::from_exif(exif))
        .unwrap_or_default();
    let picture = Picture::new(u32::from(header.width), u32::from(header.height), channels, pixels)?;
    Ok(picture.with_orientation(orientation))
}

fn broken(what: impl Into<String>) -> ImageError {
    ImageError::broken(Format::Jpeg, what)
}

fn truncated(what: &'static str) -> ImageError {
    ImageError::Truncated {
        format: Format::Jpeg,
        what,
    }
}

impl Header {
    /// Walks the segments up to the first scan, and makes sure that the end of the picture follows it:
    /// the decoder fills up what is missing of the last rows.
    fn read(body: &[u8]) -> Result<Self, ImageError> {
        let cut = || truncated("it ends in its header");
        let mut header = Self::default();
        let mut rest = body.get(2..).ok_or_else(cut)?;
        loop {
            // Bytes between segments, of which the decoder allows a few, end at the next marker.
            let begin = rest.iter().position(|&byte| byte == 0xff).ok_or_else(cut)?;
            rest = rest.get(begin..).unwrap_or_default();
            let [_, marker, tail @ ..] = rest else {
                return Err(cut());
            };
            rest = match *marker {
                0 | 0xff => rest.get(1..).unwrap_or_default(),
                marker if ALONE.contains(&marker) => tail,
                0xd9 => return Err(broken("without a picture")),
                marker => {
                    let length = usize::from(u16::from_be_bytes(*tail.first_chunk().ok_or_else(cut)?));
                    let segment = tail.get(2..length).ok_or_else(cut)?;
                    let after = tail.get(length..).unwrap_or_default();
                    match marker {
                        // The frame headers; those of lossless and arithmetic coding are refused by the decoder.
                        0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => header.frame(marker, segment)?,
                        0xda => return header.scan(segment, after),
                        _ => {}
                    }
                    after
                }
            };
        }
    }

    fn frame(&mut self, marker: u8, segment: &[u8]) -> Result<(), ImageError> {
        let [_, height_high, height_low, width_high, width_low, _, components @ ..] = segment else {
            return Err(broken("whose frame header is cut off"));
        };
        self.width = u16::from_be_bytes([*width_high, *width_low]);
        self.height = u16::from_be_bytes([*height_high, *height_low]);
        self.progressive = marker == 0xc2;
        let (components, _) = components.as_chunks::<3>();
        self.components = components
            .iter()
            .map(|[_, sampling, _]| (sampling >> 4, sampling & 15))
            .collect();
        Ok(())
    }

    fn scan(mut self, segment: &[u8], data: &[u8]) -> Result<Self, ImageError> {
        self.first_scan = segment.first().copied().unwrap_or_default();
        // In the coded data a byte ff is followed by 00, so that these two bytes can only be the end.
        if !data.windows(2).rev().any(|pair| pair == [0xff, 0xd9]) {
            return Err(truncated("the end of the picture is missing"));
        }
        Ok(self)
    }

    /// What the decoder keeps of coefficients: those of the whole picture, unless one scan brings them all in turn.
    fn coefficient_bytes(&self) -> u64 {
        if !self.progressive && usize::from(self.first_scan) == self.components.len() {
            return 0;
        }
        let most =
            |factor: fn(&(u8, u8)) -> u8| u64::from(self.components.iter().map(factor).max().unwrap_or(1).max(1));
        let columns = u64::from(self.width).div_ceil(8 * most(|&(horizontal, _)| horizontal));
        let rows = u64::from(self.height).div_ceil(8 * most(|&(_, vertical)| vertical));
        let blocks: u64 = self.components.iter().map(|&(h, v)| u64::from(h) * u64::from(v)).sum();
        columns * rows * blocks * BLOCK_BYTES
    }
}
