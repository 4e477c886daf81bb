//! PNG: every colour type and depth, interlaced or not, of an animation the first picture.
//!
//! Read here, down to the filters, because a reader that is made for viewers lets pass what this one is asked about: a wrong
//! checksum of the pixels, pixels that are too many, what is not there behind them. Only deflate is somebody else's.

mod chunks;
mod filters;
mod samples;

use super::colour::{grey_over, over};
use super::{Alpha, Decoder as Options, Format, ImageError, Picture};
use chunks::Chunks;
use samples::{Kind, Layout};

/// Decodes a PNG. What is behind its last chunk is no part of it.
pub(crate) fn decode(body: &[u8], options: &Options) -> Result<Picture, ImageError> {
    let chunks = Chunks::read(body, &options.limits)?;
    let header = &chunks.header;
    let layout = Layout::of(header);
    let transparent = chunks.transparency.is_some() && options.alpha == Alpha::Blend;
    options.limits.check_bytes(layout.bytes(transparent))?;
    let raw = inflate(&chunks.data, layout.raw_bytes())?;
    let samples = layout.samples(raw, if transparent { chunks.transparency } else { None })?;

    let (channels, pixels) = match (header.kind, transparent) {
        (Kind::Grey, false) => (1, samples),
        (Kind::Grey, true) | (Kind::GreyAlpha, _) => match options.alpha {
            Alpha::Blend => (3, grey_over(&samples, options.background)),
            Alpha::Ignore => (1, samples.as_chunks::<2>().0.iter().map(|&[grey, _]| grey).collect()),
        },
        (Kind::Rgb, false) => (3, samples),
        (Kind::Rgb, true) | (Kind::Rgba, _) => (3, without_alpha(samples, options)),
        (Kind::Palette, _) => {
            let palette = chunks.palette.ok_or_else(|| broken("without its palette"))?;
            (3, coloured(&samples, palette, chunks.transparency, options)?)
        }
    };
    let orientation = options.orientation(&chunks.exif()?, &chunks.xmp()?);
    Ok(Picture::new(header.width, header.height, channels, pixels)?.with_orientation(orientation))
}

fn broken(what: impl Into<String>) -> ImageError {
    ImageError::broken(Format::Png, what)
}

/// RGB of RGBA.
fn without_alpha(mut samples: Vec<u8>, options: &Options) -> Vec<u8> {
    match options.alpha {
        Alpha::Blend => over(samples, options.background),
        Alpha::Ignore => {
            super::colour::drop_alpha(&mut samples);
            samples
        }
    }
}

/// RGB of a palette's indices.
fn coloured(
    indices: &[u8],
    palette: &[u8],
    transparency: Option<&[u8]>,
    options: &Options,
) -> Result<Vec<u8>, ImageError> {
    let mut colours: Vec<[u8; 3]> = palette.as_chunks::<3>().0.to_vec();
    if options.alpha == Alpha::Blend {
        for (colour, &alpha) in colours.iter_mut().zip(transparency.unwrap_or_default()) {
            *colour = super::colour::over_one([colour[0], colour[1], colour[2], alpha], options.background);
        }
    }
    let mut pixels = Vec::with_capacity(indices.len() * 3);
    for &index in indices {
        match colours.get(usize::from(index)) {
            Some(colour) => pixels.extend_from_slice(colour),
            None => return Err(broken("with a pixel of a colour that its palette does not have")),
        }
    }
    Ok(pixels)
}

/// The filtered rows: exactly as many bytes as there must be, whose checksum is right.
fn inflate(data: &[&[u8]], n_bytes: usize) -> Result<Vec<u8>, ImageError> {
    let undecodable = |error| ImageError::undecodable(Format::Png, error);
    let mut inflater = fdeflate::Decompressor::new();
    // One more than there must be, to see whether there are more.
    let mut raw = vec![0; n_bytes + 1];
    let mut n_written = 0;
    for mut input in data.iter().copied() {
        while !input.is_empty() {
            if inflater.is_done() {
                return Err(broken("with data behind the end of its pixels"));
            }
            let (n_read, n_new) = inflater
                .read(input, &mut raw, n_written, false)
                .map_err(|error| undecodable(format!("{error:?}")))?;
            n_written += n_new;
            if n_written > n_bytes || (n_read == 0 && n_new == 0 && !inflater.is_done()) {
                return Err(broken("with more pixels than its header says"));
            }
            input = input.get(n_read..).unwrap_or_default();
        }
    }
    if !inflater.is_done() {
        return Err(ImageError::Truncated {
            format: Format::Png,
            what: "its pixels have no end",
        });
    }
    if n_written < n_bytes {
        return Err(broken("with fewer pixels than its header says"));
    }
    raw.truncate(n_bytes);
    Ok(raw)
}
