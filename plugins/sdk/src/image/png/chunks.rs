//! The chunks of a file, each with a right checksum, from the first to the last. Knows nothing of pixels.

use super::broken;
use super::samples::{Header, Kind};
use crate::image::{Format, ImageError, Limits};

/// Bytes of the signature.
const SIGNATURE_BYTES: usize = 8;
/// The most that compressed metadata may become.
const TEXT_MAX_BYTES: usize = 1 << 20;
/// What Exif data are called that ImageMagick puts into a text, in hexadecimal.
const RAW_EXIF: &[u8] = b"Raw profile type exif";
const XMP: &[u8] = b"XML:com.adobe.xmp";

/// What bears upon pixels.
#[derive(Debug)]
pub(super) struct Chunks<'a> {
    pub(super) header: Header,
    pub(super) palette: Option<&'a [u8]>,
    pub(super) transparency: Option<&'a [u8]>,
    /// The compressed pixels, chunk by chunk.
    pub(super) data: Vec<&'a [u8]>,
    exif: Option<&'a [u8]>,
    raw_exif: Option<Text<'a>>,
    xmp: Option<Text<'a>>,
}

/// A text behind its keyword, by the kind of its chunk.
#[derive(Debug, Clone, Copy)]
enum Text<'a> {
    Plain(&'a [u8]),
    Compressed(&'a [u8]),
    International(&'a [u8]),
}

impl<'a> Chunks<'a> {
    /// Reads a file. Its size is checked before anything else is.
    pub(super) fn read(body: &'a [u8], limits: &Limits) -> Result<Self, ImageError> {
        let mut rest = body.get(SIGNATURE_BYTES..).ok_or_else(truncated)?;
        let (name, data) = chunk(&mut rest)?;
        if name != b"IHDR" {
            return Err(broken("that does not begin with its header"));
        }
        let header = Header::read(data)?;
        limits.check_size(header.width, header.height)?;
        if header.is_deep_grey() {
            return Err(broken(
                "of grey of sixteen bits, of which a model was trained with no eight for certain: send eight",
            ));
        }
        let mut chunks = Self {
            header,
            palette: None,
            transparency: None,
            data: Vec::new(),
            exif: None,
            raw_exif: None,
            xmp: None,
        };
        let mut is_last_data = false;
        loop {
            let (name, data) = chunk(&mut rest)?;
            let is_data = name == b"IDAT";
            if is_data && !is_last_data && !chunks.data.is_empty() {
                return Err(broken("whose pixels are in two places"));
            }
            is_last_data = is_data;
            if name == b"IEND" {
                break;
            }
            chunks.take(name, data)?;
        }
        if chunks.data.is_empty() {
            return Err(broken("without a picture"));
        }
        Ok(chunks)
    }

    fn take(&mut self, name: &[u8; 4], data: &'a [u8]) -> Result<(), ImageError> {
        let before_pixels = self.data.is_empty();
        match name {
            b"IDAT" => self.data.push(data),
            b"PLTE" => {
                if self.palette.is_some() || !before_pixels || !data.len().is_multiple_of(3) || data.len() > 3 * 256 {
                    return Err(broken("with a palette that cannot be"));
                }
                self.palette = Some(data);
            }
            b"tRNS" => {
                let fits = match self.header.kind {
                    Kind::Grey => data.len() == 2,
                    Kind::Rgb => data.len() == 6,
                    Kind::Palette => data.len() <= self.palette.map_or(0, <[u8]>::len) / 3,
                    Kind::GreyAlpha | Kind::Rgba => false,
                };
                if !fits || self.transparency.is_some() || !before_pixels {
                    return Err(broken("with a transparency that cannot be"));
                }
                self.transparency = Some(data);
            }
            // Of an animation: where on the screen the pixels are. The first picture is as large as that.
            b"fcTL" if before_pixels => {
                let whole = [
                    self.header.width.to_be_bytes(),
                    self.header.height.to_be_bytes(),
                    [0; 4],
                    [0; 4],
                ]
                .concat();
                if data.get(4..20) != Some(whole.as_slice()) {
                    return Err(broken("whose first picture is not as large as it"));
                }
            }
            b"IHDR" => return Err(broken("with two headers")),
            b"eXIf" => self.exif = Some(data),
            b"tEXt" | b"zTXt" | b"iTXt" => self.text(name, data),
            // One that a reader must know, by the first letter of its name.
            [b'A'..=b'Z', ..] => {
                return Err(broken(format!(
                    "with a chunk {} that is not known",
                    name.escape_ascii()
                )));
            }
            _ => {}
        }
        Ok(())
    }

    /// Keeps a text that may hold an orientation.
    fn text(&mut self, name: &[u8; 4], data: &'a [u8]) {
        let n_keyword = data.iter().position(|&byte| byte == 0).unwrap_or(data.len());
        let (keyword, rest) = data.split_at_checked(n_keyword).unwrap_or_default();
        let rest = rest.get(1..).unwrap_or_default();
        let place = match keyword {
            RAW_EXIF => &mut self.raw_exif,
            XMP => &mut self.xmp,
            _ => return,
        };
        *place = Some(match name {
            b"zTXt" => Text::Compressed(rest),
            b"iTXt" => Text::International(rest),
            _ => Text::Plain(rest),
        });
    }

    /// The Exif data, empty where there are none.
    pub(super) fn exif(&self) -> Result<Vec<u8>, ImageError> {
        if let Some(exif) = self.exif {
            return Ok(exif.to_vec());
        }
        let text = read(self.raw_exif)?;
        // An empty line, the name, the length, and then the bytes.
        let lines = text.split(|&byte| byte == b'\n').skip(3).flatten();
        let digits = lines.filter_map(|&digit| char::from(digit).to_digit(16));
        let digits: Vec<u8> = digits.map(|digit| digit as u8).collect();
        let bytes = digits.as_chunks::<2>().0.iter();
        Ok(bytes.map(|[high, low]| high << 4 | low).collect())
    }

    /// The XMP, empty where there is none.
    pub(super) fn xmp(&self) -> Result<Vec<u8>, ImageError> {
        read(self.xmp)
    }
}

/// What a text says, empty where there is none.
fn read(text: Option<Text>) -> Result<Vec<u8>, ImageError> {
    match text {
        None => Ok(Vec::new()),
        Some(Text::Plain(text)) => Ok(text.to_vec()),
        // A byte says how it is compressed, which is always the same way.
        Some(Text::Compressed(text)) => inflated(text.get(1..).unwrap_or_default()),
        Some(Text::International(text)) => {
            let (compressed, rest) = text.split_first_chunk::<2>().unwrap_or((&[0, 0], &[]));
            // A language and a translated name, each with a zero behind it.
            let text = rest.splitn(3, |&byte| byte == 0).nth(2).unwrap_or_default();
            if *compressed == [0, 0] {
                Ok(text.to_vec())
            } else {
                inflated(text)
            }
        }
    }
}

/// Metadata that may hold an orientation.
fn inflated(data: &[u8]) -> Result<Vec<u8>, ImageError> {
    fdeflate::decompress_to_vec_bounded(data, TEXT_MAX_BYTES)
        .map_err(|_| broken("with compressed metadata that cannot be read, and may say which way up it is"))
}

fn truncated() -> ImageError {
    ImageError::Truncated {
        format: Format::Png,
        what: "the end of the picture is missing",
    }
}

/// Takes the next chunk, whose checksum must be right.
fn chunk<'a>(rest: &mut &'a [u8]) -> Result<(&'a [u8; 4], &'a [u8]), ImageError> {
    let (length, behind) = rest.split_first_chunk::<4>().ok_or_else(truncated)?;
    let length = u32::from_be_bytes(*length) as usize;
    let checked = length.checked_add(4).and_then(|length| behind.split_at_checked(length));
    let (checked, behind) = checked.ok_or_else(truncated)?;
    let (checksum, behind) = behind.split_first_chunk::<4>().ok_or_else(truncated)?;
    let (name, data) = checked.split_first_chunk::<4>().ok_or_else(truncated)?;
    if crc32fast::hash(checked) != u32::from_be_bytes(*checksum) {
        return Err(broken(format!(
            "whose chunk {} has a wrong checksum",
            name.escape_ascii()
        )));
    }
    *rest = behind;
    Ok((name, data))
}
