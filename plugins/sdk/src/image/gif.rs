//! GIF: of an animation the first picture.

use std::num::NonZeroU64;

use gif::{ColorOutput, DecodeOptions, MemoryLimit};

use super::{Colour, Decoder as Options, Format, ImageError, Picture, Region, canvas};

/// Decodes a GIF. What the first picture leaves free is transparent, as browsers have it, whatever background colour the
/// file names.
pub(crate) fn decode(body: &[u8], options: &Options) -> Result<Picture, ImageError> {
    let broken = |error: gif::DecodingError| ImageError::undecodable(Format::Gif, error);
    let (width, height) = screen(body)?;
    options.limits.check_size(width, height)?;
    // The frame is inside of the screen: three bytes of that and one of the frame.
    options.limits.check_bytes(u64::from(width) * u64::from(height) * 4)?;

    let mut decoder = DecodeOptions::new();
    decoder.set_color_output(ColorOutput::Indexed);
    decoder.check_frame_consistency(true);
    decoder
        .set_memory_limit(NonZeroU64::new(options.limits.max_bytes).map_or(MemoryLimit::Unlimited, MemoryLimit::Bytes));
    let mut decoder = decoder.read_info(body).map_err(broken)?;
    let Some(frame) = decoder.next_frame_info().map_err(broken)? else {
        return Err(ImageError::broken(Format::Gif, "without a picture"));
    };
    let region = Region {
        left: u32::from(frame.left),
        top: u32::from(frame.top),
        width: u32::from(frame.width),
        height: u32::from(frame.height),
    };
    let transparent = frame.transparent;
    let region = region
        .inside(width, height)
        .map_err(|_| ImageError::broken(Format::Gif, "without a picture"))?;
    let palette = palette(decoder.palette().map_err(broken)?, transparent, options.background);
    let mut indices = vec![0; region.width as usize * region.height as usize];
    decoder.read_into_buffer(&mut indices).map_err(broken)?;

    let mut pixels = canvas::filled(width, height, 3, options.background);
    let rows = indices.chunks_exact(region.width as usize);
    for (place, row) in canvas::places(&mut pixels, width, 3, region).zip(rows) {
        for (place, index) in place.as_chunks_mut().0.iter_mut().zip(row) {
            *place = palette.get(usize::from(*index)).copied().unwrap_or_default();
        }
    }
    Picture::rgb(width, height, pixels)
}

/// The size of the screen, behind the signature.
fn screen(body: &[u8]) -> Result<(u32, u32), ImageError> {
    match body.get(6..10) {
        Some(&[width_low, width_high, height_low, height_high]) => Ok((
            u32::from(u16::from_le_bytes([width_low, width_high])),
            u32::from(u16::from_le_bytes([height_low, height_high])),
        )),
        _ => Err(ImageError::Truncated {
            format: Format::Gif,
            what: "it ends in its header",
        }),
    }
}

/// A colour for every index: black for those that the palette does not have.
fn palette(colours: &[u8], transparent: Option<u8>, Colour(background): Colour) -> [[u8; 3]; 256] {
    let mut palette = [[0; 3]; 256];
    for (place, colour) in palette.iter_mut().zip(colours.as_chunks().0) {
        *place = *colour;
    }
    if let Some(place) = transparent.and_then(|index| palette.get_mut(usize::from(index))) {
        *place = background;
    }
    palette
}
