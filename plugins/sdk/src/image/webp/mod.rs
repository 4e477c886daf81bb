//! WebP: lossy and lossless, with alpha or without, of an animation the first picture.
//!
//! The container is read here, and the decoder gets a file of one picture, whose sizes are known to agree: its own reader
//! of containers believes what it finds. And it does not say whether anything was left of its data: that is found out beside
//! it.

mod container;
mod tables;
mod vp8;

use std::io::Cursor;

use image_webp::WebPDecoder;

use super::colour::{drop_alpha, over};
use super::{Alpha, Colour, Decoder as Options, Format, ImageError, Picture, canvas};
use container::{Coded, File};

/// Decodes a WebP. What the first picture of an animation leaves free is transparent, or black where the file has no alpha.
pub(crate) fn decode(body: &[u8], options: &Options) -> Result<Picture, ImageError> {
    let file = File::read(body)?;
    let (coded, alpha) = (file.coded()?, file.alpha());
    let (width, height) = file.size()?;
    options.limits.check_size(width, height)?;
    options
        .limits
        .check_bytes(coded.bytes(alpha.is_some()) + u64::from(width) * u64::from(height) * 3)?;

    let background = Some(options.background).filter(|_| options.alpha == Alpha::Blend && file.may_see_through());
    let mut pixels = pixels(&coded, alpha, background)?;
    let place = file.place()?;
    if (place.width, place.height) != (width, height) {
        let mut screen = canvas::filled(width, height, 3, background.unwrap_or(Colour::BLACK));
        canvas::paste(&mut screen, width, 3, place, &pixels);
        pixels = screen;
    }
    let orientation = options.orientation(file.exif.unwrap_or_default(), file.xmp.unwrap_or_default());
    Ok(Picture::rgb(width, height, pixels)?.with_orientation(orientation))
}

/// The pixels of a picture, in red, green and blue: over a background, or as they are whatever their alpha.
fn pixels(coded: &Coded, alpha: Option<&[u8]>, background: Option<Colour>) -> Result<Vec<u8>, ImageError> {
    if !coded.lossless {
        vp8::check(coded.data, coded.width, coded.height)?;
    }
    let single = coded.single(alpha);
    let undecodable = |error| ImageError::undecodable(Format::WebP, error);
    let mut source = Cursor::new(single.bytes.as_slice());
    let mut decoder = WebPDecoder::new(&mut source).map_err(undecodable)?;
    let channels = if decoder.has_alpha() { 4 } else { 3 };
    let size = coded.width as usize * coded.height as usize * channels;
    if decoder.output_buffer_size() != Some(size) {
        return Err(broken("with two headers that contradict each other"));
    }
    let mut pixels = vec![0; size];
    decoder.read_image(&mut pixels).map_err(undecodable)?;
    drop(decoder);
    // It takes in up to seven bytes more than it needs, so that as many may be left that are not noticed.
    if single.end.is_some_and(|end| source.position() < end as u64) {
        return Err(broken("with data behind the end of its pixels"));
    }
    if channels == 4 {
        match background {
            Some(background) => pixels = over(pixels, background),
            None => drop_alpha(&mut pixels),
        }
    }
    Ok(pixels)
}

fn broken(what: &'static str) -> ImageError {
    ImageError::broken(Format::WebP, what)
}

fn truncated() -> ImageError {
    ImageError::Truncated {
        format: Format::WebP,
        what: "it is shorter than it says",
    }
}

/// A number of three bytes.
fn number(data: &[u8], at: usize) -> Result<u32, ImageError> {
    match data.get(at..at + 3) {
        Some(&[low, middle, high]) => Ok(u32::from_le_bytes([low, middle, high, 0])),
        _ => Err(truncated()),
    }
}
