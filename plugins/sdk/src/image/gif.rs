//! GIF: of an animation the first picture. What is behind it must be whole, too: a file that is cut off there is damaged.

use std::num::NonZeroU64;

use gif::{ColorOutput, DecodeOptions, MemoryLimit};

use super::{Alpha, Colour, Decoder as Options, Format, ImageError, Picture, Region, canvas};

/// Bytes of the signature and of the header behind it.
const HEADER_BYTES: usize = 13;

/// Decodes a GIF. What the first picture leaves free has, as Pillow has it, the transparent colour where there is one, else
/// the first one of the palette.
pub(crate) fn decode(body: &[u8], options: &Options) -> Result<Picture, ImageError> {
    let broken = |error: gif::DecodingError| ImageError::undecodable(Format::Gif, error);
    let (width, height) = screen(body)?;
    options.limits.check_size(width, height)?;
    // The frame is inside of the screen: three bytes of that and one of the frame.
    options.limits.check_bytes(u64::from(width) * u64::from(height) * 4)?;

    walk(body)?;

    let mut decoder = DecodeOptions::new();
    decoder.check_lzw_end_code(true);
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
    let see_through = transparent.filter(|_| options.alpha == Alpha::Blend);
    let palette = palette(decoder.palette().map_err(broken)?, see_through, options.background);
    let mut indices = vec![0; region.width as usize * region.height as usize];
    decoder.read_into_buffer(&mut indices).map_err(broken)?;

    let free = palette.get(usize::from(transparent.unwrap_or_default())).copied();
    let mut pixels = canvas::filled(width, height, 3, Colour(free.unwrap_or_default()));
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

/// Goes over all blocks, up to the trailer: each must be there as a whole.
fn walk(body: &[u8]) -> Result<(), ImageError> {
    let mut rest = body.get(10..).ok_or_else(truncated)?;
    let flags = *rest.first().ok_or_else(truncated)?;
    skip(&mut rest, HEADER_BYTES - 10 + table_bytes(flags))?;
    loop {
        let (&block, behind) = rest.split_first().ok_or_else(truncated)?;
        rest = behind;
        match block {
            b';' => return Ok(()),
            b'!' => skip(&mut rest, 1)?,
            b',' => {
                let flags = *rest.get(8).ok_or_else(truncated)?;
                // The place, a table of colours, and the size of codes.
                skip(&mut rest, 9 + table_bytes(flags) + 1)?;
            }
            _ => return Err(ImageError::broken(Format::Gif, "with a block that is not known")),
        }
        loop {
            let length = usize::from(*rest.first().ok_or_else(truncated)?);
            skip(&mut rest, 1 + length)?;
            if length == 0 {
                break;
            }
        }
    }
}

/// The bytes of a table of colours, by the flags in front of it.
fn table_bytes(flags: u8) -> usize {
    if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) }
}

fn skip(rest: &mut &[u8], n_bytes: usize) -> Result<(), ImageError> {
    *rest = rest.get(n_bytes..).ok_or_else(truncated)?;
    Ok(())
}

fn truncated() -> ImageError {
    ImageError::Truncated {
        format: Format::Gif,
        what: "the end of the picture is missing",
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
