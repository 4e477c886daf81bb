//! PNG: every colour type and depth, interlaced or not, of an animation the first picture.

use std::io::Cursor;

use png::{ColorType, Decoder, Limits, Transformations};

use super::colour::{grey_over, over};
use super::{Decoder as Options, Format, ImageError, Orientation, Picture};

/// Decodes a PNG. Checksums are verified; text and colour profiles are not read.
pub(crate) fn decode(body: &[u8], options: &Options) -> Result<Picture, ImageError> {
    let broken = |error: png::DecodingError| ImageError::undecodable(Format::Png, error);
    let sizes = &options.limits;
    // Bounds what the decoder itself allocates: a few rows and its chunks.
    let limits = Limits {
        bytes: usize::try_from(sizes.max_bytes).unwrap_or(usize::MAX),
    };
    let mut decoder = Decoder::new_with_limits(Cursor::new(body), limits);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let header = decoder.read_header_info().map_err(broken)?;
    sizes.check_size(header.width, header.height)?;

    // Palettes become colours, transparent colours become alpha, and every channel eight bits.
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    let mut reader = decoder.read_info().map_err(broken)?;
    let size = reader
        .output_buffer_size()
        .ok_or_else(|| ImageError::broken(Format::Png, "that is too large for this machine"))?;
    sizes.check_bytes(size as u64)?;
    let mut pixels = vec![0; size];
    reader.next_frame(&mut pixels).map_err(broken)?;

    let (channels, pixels) = match reader.output_color_type().0 {
        ColorType::Grayscale => (1, pixels),
        ColorType::Rgb => (3, pixels),
        ColorType::GrayscaleAlpha => (3, grey_over(&pixels, options.background)),
        ColorType::Rgba => (3, over(pixels, options.background)),
        ColorType::Indexed => return Err(ImageError::broken(Format::Png, "whose palette was not expanded")),
    };
    let info = reader.info();
    let orientation = info
        .exif_metadata
        .as_deref()
        .map(Orientation::from_exif)
        .unwrap_or_default();
    Ok(Picture::new(info.width, info.height, channels, pixels)?.with_orientation(orientation))
}
