//! WebP: lossy and lossless, with alpha or without, of an animation the first picture.
//!
//! The container is read here, and the decoder gets a file of one picture, whose sizes are known to agree: its own reader
//! of containers believes what it finds.

use std::io::Cursor;

use image_webp::WebPDecoder;

use super::colour::{drop_alpha, over};
use super::{Alpha, Colour, Decoder as Options, Format, ImageError, Picture, Region, canvas};

/// Bytes of a chunk's name and length.
const HEADER_BYTES: usize = 8;
/// Bytes of an animation's frame before its chunks.
const FRAME_BYTES: usize = 16;
/// The flag of alpha in the extended header.
const ALPHA_FLAG: u8 = 0x10;

/// A file, as its chunks say.
#[derive(Debug, Default)]
struct File<'a> {
    /// Width and height of the screen, where the header is an extended one.
    screen: Option<(u32, u32)>,
    /// Where the picture is on the screen, where it is one of an animation.
    place: Option<Region>,
    alpha: Option<&'a [u8]>,
    picture: Option<Coded<'a>>,
    exif: Option<&'a [u8]>,
    xmp: Option<&'a [u8]>,
}

/// The coded pixels.
#[derive(Debug, Clone, Copy)]
struct Coded<'a> {
    data: &'a [u8],
    lossless: bool,
    width: u32,
    height: u32,
}

/// Decodes a WebP. What the first picture of an animation leaves free is transparent.
pub(crate) fn decode(body: &[u8], options: &Options) -> Result<Picture, ImageError> {
    let file = File::read(body)?;
    let coded = file.picture.ok_or_else(|| broken("without a picture"))?;
    let (width, height) = file.screen.unwrap_or((coded.width, coded.height));
    options.limits.check_size(width, height)?;
    let place = match file.place {
        Some(place) => place,
        None => Region::whole(width, height),
    };
    let place = place
        .inside(width, height)
        .map_err(|_| broken("whose first picture is not inside of it"))?;
    if (place.width, place.height) != (coded.width, coded.height) {
        return Err(broken("with two headers that contradict each other"));
    }
    options
        .limits
        .check_bytes(coded.bytes(file.alpha.is_some()) + u64::from(width) * u64::from(height) * 3)?;

    let single = file.single(&coded);
    let undecodable = |error| ImageError::undecodable(Format::WebP, error);
    let mut decoder = WebPDecoder::new(Cursor::new(single.as_slice())).map_err(undecodable)?;
    let channels = if decoder.has_alpha() { 4 } else { 3 };
    let size = coded.width as usize * coded.height as usize * channels;
    if decoder.output_buffer_size() != Some(size) {
        return Err(broken("with two headers that contradict each other"));
    }
    let mut pixels = vec![0; size];
    decoder.read_image(&mut pixels).map_err(undecodable)?;
    // What is free of the screen is transparent black.
    let free = match options.alpha {
        Alpha::Blend => options.background,
        Alpha::Ignore => Colour::BLACK,
    };
    if channels == 4 {
        match options.alpha {
            Alpha::Blend => pixels = over(pixels, options.background),
            Alpha::Ignore => drop_alpha(&mut pixels),
        }
    }
    if (place.width, place.height) != (width, height) {
        let mut screen = canvas::filled(width, height, 3, free);
        canvas::paste(&mut screen, width, 3, place, &pixels);
        pixels = screen;
    }
    let orientation = options.orientation(file.exif.unwrap_or_default(), file.xmp.unwrap_or_default());
    Ok(Picture::rgb(width, height, pixels)?.with_orientation(orientation))
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

impl<'a> File<'a> {
    /// Walks the chunks. The first one of each kind counts.
    fn read(body: &'a [u8]) -> Result<Self, ImageError> {
        let length = body
            .get(4..)
            .and_then(|rest| rest.first_chunk())
            .ok_or_else(truncated)?;
        let end = (u32::from_le_bytes(*length) as usize).saturating_add(HEADER_BYTES);
        // What is behind the end is no part of it.
        let mut rest = body.get(..end).and_then(|file| file.get(12..)).ok_or_else(truncated)?;
        let mut file = Self::default();
        while !rest.is_empty() {
            let (name, data) = chunk(&mut rest)?;
            match name {
                // In a simple file what is behind the picture has no meaning, but a length.
                _ if file.screen.is_none() && file.picture.is_some() => {}
                b"VP8X" if file.screen.is_none() => file.screen = Some(screen(data)?),
                b"ANMF" if file.picture.is_none() => file.frame(data)?,
                b"EXIF" => file.exif = file.exif.or(Some(data)),
                b"XMP " => file.xmp = file.xmp.or(Some(data)),
                _ => file.coded(name, data)?,
            }
        }
        Ok(file)
    }

    /// Reads a frame of an animation.
    fn frame(&mut self, data: &'a [u8]) -> Result<(), ImageError> {
        let (header, mut rest) = data.split_at_checked(FRAME_BYTES).ok_or_else(truncated)?;
        let number = |at: usize| number(header, at);
        self.place = Some(Region {
            left: number(0)? * 2,
            top: number(3)? * 2,
            width: number(6)? + 1,
            height: number(9)? + 1,
        });
        while !rest.is_empty() {
            let (name, data) = chunk(&mut rest)?;
            self.coded(name, data)?;
        }
        if self.picture.is_none() {
            return Err(broken("without a picture"));
        }
        Ok(())
    }

    /// Takes a chunk of pixels.
    fn coded(&mut self, name: &[u8], data: &'a [u8]) -> Result<(), ImageError> {
        if self.picture.is_some() {
            return Ok(());
        }
        match name {
            b"ALPH" => self.alpha = self.alpha.or(Some(data)),
            b"VP8 " => self.picture = Some(Coded::lossy(data)?),
            b"VP8L" => self.picture = Some(Coded::lossless(data)?),
            _ => {}
        }
        Ok(())
    }

    /// A file of the one picture alone.
    fn single(&self, coded: &Coded) -> Vec<u8> {
        let alpha = self.alpha.filter(|_| !coded.lossless);
        let room = coded.data.len() + alpha.map_or(0, <[u8]>::len);
        let mut file = Vec::with_capacity(room + 64);
        file.extend_from_slice(b"RIFF\0\0\0\0WEBP");
        if let Some(alpha) = alpha {
            let side = |side: u32| (side - 1).to_le_bytes();
            let ([w0, w1, w2, _], [h0, h1, h2, _]) = (side(coded.width), side(coded.height));
            push(&mut file, b"VP8X", &[ALPHA_FLAG, 0, 0, 0, w0, w1, w2, h0, h1, h2]);
            push(&mut file, b"ALPH", alpha);
        }
        push(&mut file, if coded.lossless { b"VP8L" } else { b"VP8 " }, coded.data);
        // Chunks have lengths of 32 bits, of which two are given away for the few bytes beside them.
        let length = u32::try_from(file.len() - HEADER_BYTES).unwrap_or(u32::MAX);
        if let Some(place) = file.get_mut(4..8) {
            place.copy_from_slice(&length.to_le_bytes());
        }
        file
    }
}

impl<'a> Coded<'a> {
    /// Reads the header of a key frame of VP8: three bytes, a start code, width and height of 14 bits.
    fn lossy(data: &'a [u8]) -> Result<Self, ImageError> {
        let Some(
            &[
                _,
                _,
                _,
                0x9d,
                0x01,
                0x2a,
                width_low,
                width_high,
                height_low,
                height_high,
            ],
        ) = data.first_chunk()
        else {
            return Err(broken("without a key frame"));
        };
        let side = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
        Ok(Self {
            data,
            lossless: false,
            width: side(width_low, width_high),
            height: side(height_low, height_high),
        })
    }

    /// Reads the header of a lossless picture: a byte, width and height of 14 bits, each less one.
    fn lossless(data: &'a [u8]) -> Result<Self, ImageError> {
        let Some(&[0x2f, a, b, c, d]) = data.first_chunk() else {
            return Err(broken("whose lossless data have no header"));
        };
        let sizes = u32::from_le_bytes([a, b, c, d]);
        Ok(Self {
            data,
            lossless: true,
            width: (sizes & 0x3fff) + 1,
            height: ((sizes >> 14) & 0x3fff) + 1,
        })
    }

    /// What decoding takes: planes of whole blocks of 16, the pixels, those of alpha, and the copy of the file.
    fn bytes(&self, alpha: bool) -> u64 {
        let pixels = u64::from(self.width) * u64::from(self.height);
        let blocks = u64::from(self.width.next_multiple_of(16)) * u64::from(self.height.next_multiple_of(16));
        let decoded = match (self.lossless, alpha) {
            (true, _) => 4 * pixels + 4 * pixels,
            (false, false) => blocks * 3 / 2 + 3 * pixels,
            (false, true) => blocks * 3 / 2 + 4 * pixels + 5 * pixels,
        };
        decoded + self.data.len() as u64
    }
}

/// Takes the next chunk, with the byte that makes its length even. The last one may lack that.
fn chunk<'a>(rest: &mut &'a [u8]) -> Result<(&'a [u8; 4], &'a [u8]), ImageError> {
    let (name, behind) = rest.split_first_chunk::<4>().ok_or_else(truncated)?;
    let (length, behind) = behind.split_first_chunk::<4>().ok_or_else(truncated)?;
    let (data, behind) = behind
        .split_at_checked(u32::from_le_bytes(*length) as usize)
        .ok_or_else(truncated)?;
    *rest = behind.get(data.len() % 2..).unwrap_or_default();
    Ok((name, data))
}

fn push(file: &mut Vec<u8>, name: &[u8; 4], data: &[u8]) {
    file.extend_from_slice(name);
    file.extend_from_slice(&u32::try_from(data.len()).unwrap_or(u32::MAX).to_le_bytes());
    file.extend_from_slice(data);
    if data.len() % 2 == 1 {
        file.push(0);
    }
}

/// Width and height of the extended header, behind its flags.
fn screen(data: &[u8]) -> Result<(u32, u32), ImageError> {
    Ok((number(data, 4)? + 1, number(data, 7)? + 1))
}

/// A number of three bytes.
fn number(data: &[u8], at: usize) -> Result<u32, ImageError> {
    match data.get(at..at + 3) {
        Some(&[low, middle, high]) => Ok(u32::from_le_bytes([low, middle, high, 0])),
        _ => Err(truncated()),
    }
}
