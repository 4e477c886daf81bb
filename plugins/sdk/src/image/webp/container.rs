//! The chunks of a file: each where it may be, no more and no fewer, those of the later pictures of an animation too. Knows
//! nothing of what is in coded pixels, but for their headers.

use super::{broken, number, truncated};
use crate::image::{ImageError, Region};

/// Bytes of a chunk's name and length.
pub(super) const CHUNK_BYTES: usize = 8;
/// Bytes of an animation's frame before its chunks.
const FRAME_BYTES: usize = 16;
/// Bytes of what an animation says of itself.
const ANIMATION_BYTES: usize = 6;
/// Flags of the extended header.
const ALPHA_FLAG: u8 = 0x10;
const ANIMATION_FLAG: u8 = 0x02;

/// A file, as its chunks say.
#[derive(Debug, Default)]
pub(super) struct File<'a> {
    extended: Option<Extended>,
    /// Whether the chunk was there that must come before the pictures of an animation.
    announces_animation: bool,
    /// Where the first picture of an animation is on the screen.
    place: Option<Region>,
    first: Image<'a>,
    pub(super) exif: Option<&'a [u8]>,
    pub(super) xmp: Option<&'a [u8]>,
}

/// The extended header.
#[derive(Debug)]
struct Extended {
    flags: u8,
    width: u32,
    height: u32,
}

/// A picture, as its chunks say.
#[derive(Debug, Default)]
struct Image<'a> {
    alpha: Option<&'a [u8]>,
    coded: Option<Coded<'a>>,
}

/// The coded pixels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Coded<'a> {
    pub(super) data: &'a [u8],
    pub(super) lossless: bool,
    pub(super) width: u32,
    pub(super) height: u32,
}

impl<'a> File<'a> {
    /// Walks the chunks. Of metadata the first of each kind count.
    pub(super) fn read(body: &'a [u8]) -> Result<Self, ImageError> {
        let length = body
            .get(4..)
            .and_then(|rest| rest.first_chunk())
            .ok_or_else(truncated)?;
        let end = (u32::from_le_bytes(*length) as usize).saturating_add(CHUNK_BYTES);
        // What is behind the end is no part of it.
        let mut rest = body.get(..end).and_then(|file| file.get(12..)).ok_or_else(truncated)?;
        let mut file = Self::default();
        match chunk(&mut rest)? {
            (b"VP8X", data) => file.extended = Some(Extended::read(data)?),
            (name @ (b"VP8 " | b"VP8L"), data) => file.first.take(name, data)?,
            _ => return Err(broken("that does not begin with its picture or its header")),
        }
        while !rest.is_empty() {
            let (name, data) = chunk(&mut rest)?;
            match &file.extended {
                Some(extended) => {
                    let is_animated = extended.flags & ANIMATION_FLAG != 0;
                    file.take(name, data, is_animated)?;
                }
                None if matches!(name, b"VP8 " | b"VP8L" | b"VP8X" | b"ALPH" | b"ANIM" | b"ANMF") => {
                    return Err(broken("with a second picture, or parts of one, behind its own"));
                }
                // In a simple file what else is behind the picture has no meaning, but a length.
                None => {}
            }
        }
        file.check()?;
        Ok(file)
    }

    /// Takes a chunk behind the extended header.
    fn take(&mut self, name: &[u8; 4], data: &'a [u8], is_animated: bool) -> Result<(), ImageError> {
        match name {
            b"VP8X" => return Err(broken("with two extended headers")),
            b"ANIM" if is_animated => {
                if data.len() < ANIMATION_BYTES {
                    return Err(broken("whose animation has a header that cannot be"));
                }
                self.announces_animation = true;
            }
            b"ANMF" if is_animated && self.announces_animation => self.frame(data)?,
            b"ANMF" => {
                return Err(broken(
                    "with a picture of an animation that its header does not announce",
                ));
            }
            b"ALPH" | b"VP8 " | b"VP8L" if is_animated => {
                return Err(broken("with a picture beside those of its animation"));
            }
            b"EXIF" => self.exif = self.exif.or(Some(data)),
            b"XMP " => self.xmp = self.xmp.or(Some(data)),
            _ => self.first.take(name, data)?,
        }
        Ok(())
    }

    /// Reads a picture of an animation, and keeps the first one.
    fn frame(&mut self, data: &'a [u8]) -> Result<(), ImageError> {
        let (header, mut rest) = data.split_at_checked(FRAME_BYTES).ok_or_else(truncated)?;
        let place = Region {
            left: number(header, 0)? * 2,
            top: number(header, 3)? * 2,
            width: number(header, 6)? + 1,
            height: number(header, 9)? + 1,
        };
        let (width, height) = self.size()?;
        let outside = |_| broken("with a picture that is not inside of it");
        let place = place.inside(width, height).map_err(outside)?;
        let mut image = Image::default();
        while !rest.is_empty() {
            let (name, data) = chunk(&mut rest)?;
            image.take(name, data)?;
        }
        image.check((place.width, place.height))?;
        if self.place.is_none() {
            self.place = Some(place);
            self.first = image;
        }
        Ok(())
    }

    /// Makes sure that there is a picture, and that it is as large as the file says.
    fn check(&self) -> Result<(), ImageError> {
        match self.place {
            Some(_) => Ok(()),
            None => self.first.check(self.size()?),
        }
    }

    /// Width and height of the screen.
    pub(super) fn size(&self) -> Result<(u32, u32), ImageError> {
        match &self.extended {
            Some(extended) => Ok((extended.width, extended.height)),
            None => self.coded().map(|coded| (coded.width, coded.height)),
        }
    }

    /// Where the first picture is on the screen, which is known to have room for it.
    pub(super) fn place(&self) -> Result<Region, ImageError> {
        match self.place {
            Some(place) => Ok(place),
            None => self.size().map(|(width, height)| Region::whole(width, height)),
        }
    }

    /// The pixels of the first picture.
    pub(super) fn coded(&self) -> Result<Coded<'a>, ImageError> {
        self.first.coded.ok_or_else(|| broken("without a picture"))
    }

    /// The alpha of the first picture, where that is apart from its pixels.
    pub(super) fn alpha(&self) -> Option<&'a [u8]> {
        self.first.alpha
    }

    /// Whether alpha counts. Where the extended header says that there is none, the colours of the pictures are those of
    /// opaque pixels, as libwebp has it; but for a lossless picture that is no animation, which says it itself.
    pub(super) fn may_see_through(&self) -> bool {
        let is_own = self.place.is_none() && self.first.coded.is_some_and(|coded| coded.lossless);
        self.extended
            .as_ref()
            .is_none_or(|extended| is_own || extended.flags & ALPHA_FLAG != 0)
    }
}

impl<'a> Image<'a> {
    /// Takes a chunk, which may be one that is not known.
    fn take(&mut self, name: &[u8; 4], data: &'a [u8]) -> Result<(), ImageError> {
        match name {
            b"ALPH" if self.alpha.is_some() || self.coded.is_some() => {
                return Err(broken("with alpha where none belongs"));
            }
            b"ALPH" => self.alpha = Some(data),
            b"VP8 " | b"VP8L" if self.coded.is_some() => return Err(broken("with two pictures in the place of one")),
            b"VP8 " => self.coded = Some(Coded::lossy(data)?),
            b"VP8L" if self.alpha.is_some() => return Err(broken("with alpha where none belongs")),
            b"VP8L" => self.coded = Some(Coded::lossless(data)?),
            _ => {}
        }
        Ok(())
    }

    /// Makes sure that it is there, and of that size.
    fn check(&self, size: (u32, u32)) -> Result<(), ImageError> {
        match self.coded {
            None => Err(broken("without a picture")),
            Some(coded) if (coded.width, coded.height) == size => Ok(()),
            Some(_) => Err(broken("with two headers that contradict each other")),
        }
    }
}

impl Extended {
    fn read(data: &[u8]) -> Result<Self, ImageError> {
        let flags = data.first().copied().ok_or_else(truncated)?;
        Ok(Self {
            flags,
            width: number(data, 4)? + 1,
            height: number(data, 7)? + 1,
        })
    }
}

impl<'a> Coded<'a> {
    /// Reads the header of a key frame of VP8: three bytes, a start code, width and height of 14 bits.
    fn lossy(data: &'a [u8]) -> Result<Self, ImageError> {
        let Some(&[a, b, c, 0x9d, 0x01, 0x2a, d, e, f, g]) = data.first_chunk() else {
            return Err(broken("without a key frame"));
        };
        let tag = u32::from_le_bytes([a, b, c, 0]);
        // A bit that is not set in a key frame, the version, whether it is shown, the size of the first partition.
        let (is_other, version, is_shown, first) = (tag & 1 != 0, tag >> 1 & 7, tag >> 4 & 1 != 0, tag >> 5);
        if is_other || version > 3 || !is_shown || first as usize >= data.len() {
            return Err(broken("whose lossy data have a header that cannot be"));
        }
        let side = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
        Ok(Self {
            data,
            lossless: false,
            width: side(d, e),
            height: side(f, g),
        })
    }

    /// Reads the header of a lossless picture: a byte, width and height of 14 bits, each less one, a bit for alpha, and the
    /// version.
    fn lossless(data: &'a [u8]) -> Result<Self, ImageError> {
        let Some(&[0x2f, a, b, c, d]) = data.first_chunk() else {
            return Err(broken("whose lossless data have no header"));
        };
        let sizes = u32::from_le_bytes([a, b, c, d]);
        if sizes >> 29 != 0 {
            return Err(broken("whose lossless data have a header that cannot be"));
        }
        Ok(Self {
            data,
            lossless: true,
            width: (sizes & 0x3fff) + 1,
            height: ((sizes >> 14) & 0x3fff) + 1,
        })
    }

    /// What decoding takes: planes of whole blocks of 16, the pixels, those of alpha, and the copy of the file.
    pub(super) fn bytes(&self, alpha: bool) -> u64 {
        let pixels = u64::from(self.width) * u64::from(self.height);
        let blocks = u64::from(self.width.next_multiple_of(16)) * u64::from(self.height.next_multiple_of(16));
        let decoded = match (self.lossless, alpha) {
            (true, _) => 4 * pixels + 4 * pixels,
            (false, false) => blocks * 3 / 2 + 3 * pixels,
            (false, true) => blocks * 3 / 2 + 4 * pixels + 5 * pixels,
        };
        decoded + self.data.len() as u64
    }

    /// A file of the one picture alone.
    pub(super) fn single(&self, alpha: Option<&[u8]>) -> Single {
        let room = self.data.len() + alpha.map_or(0, <[u8]>::len);
        let mut file = Vec::with_capacity(room + 64);
        file.extend_from_slice(b"RIFF\0\0\0\0WEBP");
        let mut end = None;
        if let Some(alpha) = alpha {
            let side = |side: u32| side.saturating_sub(1).to_le_bytes();
            let ([w0, w1, w2, _], [h0, h1, h2, _]) = (side(self.width), side(self.height));
            push(&mut file, b"VP8X", &[ALPHA_FLAG, 0, 0, 0, w0, w1, w2, h0, h1, h2]);
            end = Some(push(&mut file, b"ALPH", alpha));
        }
        let name = if self.lossless { b"VP8L" } else { b"VP8 " };
        let pixels = push(&mut file, name, self.data);
        if self.lossless {
            end = Some(pixels);
        }
        // Chunks have lengths of 32 bits, of which two are given away for the few bytes beside them.
        let length = u32::try_from(file.len() - CHUNK_BYTES).unwrap_or(u32::MAX);
        if let Some(place) = file.get_mut(4..8) {
            place.copy_from_slice(&length.to_le_bytes());
        }
        Single { bytes: file, end }
    }
}

/// A file of one picture.
#[derive(Debug)]
pub(super) struct Single {
    pub(super) bytes: Vec<u8>,
    /// Where a reader is when all is read, where lossless data are what it reads last.
    pub(super) end: Option<usize>,
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

/// Appends a chunk, and says where its data end.
fn push(file: &mut Vec<u8>, name: &[u8; 4], data: &[u8]) -> usize {
    file.extend_from_slice(name);
    file.extend_from_slice(&u32::try_from(data.len()).unwrap_or(u32::MAX).to_le_bytes());
    file.extend_from_slice(data);
    let end = file.len();
    if data.len() % 2 == 1 {
        file.push(0);
    }
    end
}
