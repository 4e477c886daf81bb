//! PNG: every colour type and depth, interlaced or not, of an animation the first picture.

use std::io::Cursor;

use png::{ColorType, Decoder, Limits, Transformations};

use crate::orientation::Orientation;
use crate::picture::Picture;
use crate::settings::{Colour, Settings};

/// Decodes a PNG. Checksums are verified; text and colour profiles are not read.
pub(crate) fn decode(body: &[u8], settings: &Settings) -> Result<Picture, String> {
    let broken = |error: png::DecodingError| format!("a PNG that cannot be decoded: {error}");
    // Bounds what the decoder itself allocates: a few rows and its chunks.
    let limits = Limits {
        bytes: usize::try_from(settings.max_bytes).unwrap_or(usize::MAX),
    };
    let mut decoder = Decoder::new_with_limits(Cursor::new(body), limits);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let header = decoder.read_header_info().map_err(broken)?;
    settings.check_size(header.width, header.height)?;

    // Palettes become colours, transparent colours become alpha, and every channel eight bits.
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    let mut reader = decoder.read_info().map_err(broken)?;
    let size = reader
        .output_buffer_size()
        .ok_or("a PNG that is too large for this machine")?;
    settings.check_bytes(size as u64)?;
    let mut pixels = vec![0; size];
    reader.next_frame(&mut pixels).map_err(broken)?;

    let (channels, pixels) = match reader.output_color_type().0 {
        ColorType::Grayscale => (1, pixels),
        ColorType::Rgb => (3, pixels),
        ColorType::GrayscaleAlpha => (3, colours_over(&pixels, settings.background)),
        ColorType::Rgba => (3, over(pixels, settings.background)),
        ColorType::Indexed => return Err("a PNG whose palette was not expanded".to_owned()),
    };
    let info = reader.info();
    let orientation = info
        .exif_metadata
        .as_deref()
        .map(Orientation::from_exif)
        .unwrap_or_default();
    Ok(Picture {
        width: info.width as usize,
        height: info.height as usize,
        channels,
        pixels,
        orientation,
    })
}

/// Lays pixels with alpha over a background, in place.
fn over(mut pixels: Vec<u8>, Colour(background): Colour) -> Vec<u8> {
    let n_pixels = pixels.len() / 4;
    for at in 0..n_pixels {
        let Some(&[red, green, blue, alpha]) = pixels.get(at * 4..).and_then(|rest| rest.first_chunk()) else {
            break;
        };
        let [r, g, b] = background;
        let colour = [blend(red, r, alpha), blend(green, g, alpha), blend(blue, b, alpha)];
        if let Some(place) = pixels.get_mut(at * 3..).and_then(|rest| rest.first_chunk_mut()) {
            *place = colour;
        }
    }
    pixels.truncate(n_pixels * 3);
    pixels
}

/// Lays grey pixels with alpha over a background, which may have a colour.
fn colours_over(pixels: &[u8], Colour(background): Colour) -> Vec<u8> {
    let pairs = pixels.as_chunks::<2>().0;
    pairs
        .iter()
        .flat_map(|&[grey, alpha]| background.map(|behind| blend(grey, behind, alpha)))
        .collect()
}

/// In the encoded values, as nearly all programs do it, rounded.
fn blend(front: u8, behind: u8, alpha: u8) -> u8 {
    let sum = u32::from(front) * u32::from(alpha) + u32::from(behind) * (255 - u32::from(alpha));
    ((sum + 127) / 255) as u8
}
