//! GIF: of an animation the first picture. What is behind it must be whole, too: a file that is cut off there is damaged.
//!
//! The blocks are read here, because a reader that is made for viewers stops where the last pixel is, and does not say
//! whether there were more. Only the codes are somebody else's.

use weezl::decode::Decoder as Codes;
use weezl::{BitOrder, LzwStatus};

use super::{Alpha, Colour, Decoder as Options, Format, ImageError, Picture, Region, canvas};

/// The rows of an interlaced picture: where each pass begins, and its steps.
const PASSES: [(usize, usize); 4] = [(0, 8), (4, 8), (2, 4), (1, 2)];
/// Codes of more bits than this would be of more colours than a palette has.
const CODE_BITS_MAX: u8 = 8;

/// A file, as its blocks say.
#[derive(Debug, Default)]
struct File<'a> {
    palette: &'a [u8],
    frame: Option<Frame<'a>>,
    /// The index that is transparent in the picture that comes next.
    transparent: Option<u8>,
}

/// The first picture.
#[derive(Debug)]
struct Frame<'a> {
    region: Region,
    palette: &'a [u8],
    transparent: Option<u8>,
    interlaced: bool,
    code_bits: u8,
    data: Vec<&'a [u8]>,
}

/// Decodes a GIF. What the first picture leaves free has, as Pillow has it, the transparent colour where there is one, else
/// the first one of the palette.
pub(crate) fn decode(body: &[u8], options: &Options) -> Result<Picture, ImageError> {
    let (width, height) = screen(body)?;
    options.limits.check_size(width, height)?;
    // The frame is inside of the screen: three bytes of that and one of the frame.
    options.limits.check_bytes(u64::from(width) * u64::from(height) * 4)?;
    let frame = File::read(body)?.frame.ok_or_else(|| broken("without a picture"))?;
    let region = frame
        .region
        .inside(width, height)
        .map_err(|_| broken("whose first picture is not inside of it"))?;
    if frame.palette.is_empty() {
        return Err(broken("without a palette"));
    }
    let see_through = frame.transparent.filter(|_| options.alpha == Alpha::Blend);
    let palette = palette(frame.palette, see_through, options.background);
    let indices = frame.indices()?;

    let free = palette.get(usize::from(frame.transparent.unwrap_or_default())).copied();
    let mut pixels = canvas::filled(width, height, 3, Colour(free.unwrap_or_default()));
    let rows = frame.rows(&indices);
    for (place, row) in canvas::places(&mut pixels, width, 3, region).zip(rows) {
        for (place, index) in place.as_chunks_mut().0.iter_mut().zip(row) {
            *place = palette.get(usize::from(*index)).copied().unwrap_or_default();
        }
    }
    Picture::rgb(width, height, pixels)
}

fn broken(what: &'static str) -> ImageError {
    ImageError::broken(Format::Gif, what)
}

fn truncated() -> ImageError {
    ImageError::Truncated {
        format: Format::Gif,
        what: "the end of the picture is missing",
    }
}

/// The size of the screen, behind the signature.
fn screen(body: &[u8]) -> Result<(u32, u32), ImageError> {
    let mut rest = body.get(6..).ok_or_else(truncated)?;
    Ok((number(&mut rest)?, number(&mut rest)?))
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

impl<'a> File<'a> {
    /// Goes over all blocks, up to the trailer: each must be there as a whole. What is behind is no part of it.
    fn read(body: &'a [u8]) -> Result<Self, ImageError> {
        let mut rest = body.get(10..).ok_or_else(truncated)?;
        let mut file = Self::default();
        let &[flags, _, _] = take(&mut rest, 3)? else {
            return Err(truncated());
        };
        file.palette = take(&mut rest, table_bytes(flags))?;
        loop {
            match byte(&mut rest)? {
                b';' => return Ok(file),
                b'!' => {
                    let label = byte(&mut rest)?;
                    let blocks = blocks(&mut rest)?;
                    // A control block: of those before a picture the last one counts that names a colour. Of one that is
                    // longer than it must be Pillow takes the beginning.
                    match (label, blocks.first()) {
                        (0xf9, Some([flags, _, _, index, ..])) if flags & 1 == 1 => file.transparent = Some(*index),
                        (0xf9, Some([] | [_] | [_, _] | [_, _, _])) => {
                            return Err(broken("with a control block that is too short"));
                        }
                        _ => {}
                    }
                }
                b',' => file.frame(&mut rest)?,
                _ => return Err(broken("with a block that is not known")),
            }
        }
    }

    /// Reads a picture, and keeps the first one.
    fn frame(&mut self, rest: &mut &'a [u8]) -> Result<(), ImageError> {
        let region = Region {
            left: number(rest)?,
            top: number(rest)?,
            width: number(rest)?,
            height: number(rest)?,
        };
        let flags = byte(rest)?;
        let own = take(rest, table_bytes(flags))?;
        let code_bits = byte(rest)?;
        let data = blocks(rest)?;
        let transparent = self.transparent.take();
        if self.frame.is_none() {
            self.frame = Some(Frame {
                region,
                palette: if own.is_empty() { self.palette } else { own },
                transparent,
                interlaced: flags & 0x40 != 0,
                code_bits,
                data,
            });
        }
        Ok(())
    }
}

impl Frame<'_> {
    /// The indices of the pixels, as they come: exactly as many as there must be.
    fn indices(&self) -> Result<Vec<u8>, ImageError> {
        if !(1..=CODE_BITS_MAX).contains(&self.code_bits) {
            return Err(broken("with codes of a size that cannot be"));
        }
        let n_pixels = self.region.width as usize * self.region.height as usize;
        let mut codes = Codes::new(BitOrder::Lsb, self.code_bits);
        // One more than there must be, to see whether there are more.
        let mut indices = vec![0; n_pixels + 1];
        let (mut n_written, mut has_ended) = (0, false);
        // At the end, what was read and not yet written.
        for mut input in self.data.iter().copied().chain([[].as_slice()]) {
            // Some writers leave a few bytes behind the code that ends the pixels.
            while !has_ended {
                let out = indices.get_mut(n_written..).unwrap_or_default();
                let step = codes.decode_bytes(input, out);
                n_written += step.consumed_out;
                input = input.get(step.consumed_in..).unwrap_or_default();
                match step.status {
                    Ok(_) if n_written > n_pixels => return Err(broken("with more pixels than its header says")),
                    Ok(LzwStatus::Done) => has_ended = true,
                    Ok(_) if step.consumed_in == 0 && step.consumed_out == 0 => break,
                    Ok(_) => {}
                    Err(_) => return Err(broken("with damaged data: they hold bits that are no code")),
                }
            }
        }
        if n_written < n_pixels {
            return Err(broken("with fewer pixels than its header says"));
        }
        indices.truncate(n_pixels);
        Ok(indices)
    }

    /// The rows from top to bottom.
    fn rows<'a>(&self, indices: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let (width, height) = (self.region.width as usize, self.region.height as usize);
        let mut order: Vec<usize> = (0..height).collect();
        if self.interlaced {
            let passes = PASSES.iter().flat_map(|&(begin, step)| (begin..height).step_by(step));
            for (at, row) in passes.enumerate() {
                if let Some(place) = order.get_mut(row) {
                    *place = at;
                }
            }
        }
        let row = move |at: usize| indices.get(at * width..(at + 1) * width).unwrap_or_default();
        order.into_iter().map(row)
    }
}

/// The blocks up to the empty one.
fn blocks<'a>(rest: &mut &'a [u8]) -> Result<Vec<&'a [u8]>, ImageError> {
    let mut blocks = Vec::new();
    loop {
        match byte(rest)? {
            0 => return Ok(blocks),
            length => blocks.push(take(rest, usize::from(length))?),
        }
    }
}

/// The bytes of a table of colours, by the flags in front of it.
fn table_bytes(flags: u8) -> usize {
    if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) }
}

fn byte(rest: &mut &[u8]) -> Result<u8, ImageError> {
    take(rest, 1)?.first().copied().ok_or_else(truncated)
}

fn number(rest: &mut &[u8]) -> Result<u32, ImageError> {
    match take(rest, 2)? {
        &[low, high] => Ok(u32::from(u16::from_le_bytes([low, high]))),
        _ => Err(truncated()),
    }
}

fn take<'a>(rest: &mut &'a [u8], n_bytes: usize) -> Result<&'a [u8], ImageError> {
    let (taken, behind) = rest.split_at_checked(n_bytes).ok_or_else(truncated)?;
    *rest = behind;
    Ok(taken)
}
