//! Tensors as pictures: what the model sees, for people. Knows nothing of cases.

use std::io::Cursor;
use std::path::Path;

use super::statistics::numbers;
use crate::message::{Element, Tensor};

/// The widest and highest picture that is made or read.
const SIDE_MAX: u32 = 8192;

/// Memory that reading a PNG may take.
const READ_MAX_BYTES: usize = 256 << 20;

/// A panel side by side with others is enlarged until it is so wide.
const PANEL_PIXELS: u32 = 128;

/// Between two panels.
const GAP_PIXELS: u32 = 4;

/// A difference is shown so many times as bright: one of 10 grey levels is hard to see.
const DIFFERENCE_FACTOR: u16 = 8;

/// Rows of pixels, red, green and blue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    width: u32,
    height: u32,
    // Invariant: three for each pixel.
    pixels: Vec<u8>,
}

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// It cannot be written.
    #[error("cannot write `{path}`")]
    Write { path: String, source: std::io::Error },
    /// It cannot be encoded.
    #[error("the picture cannot be encoded")]
    Encode(#[from] png::EncodingError),
    /// It is not a PNG that can be compared with.
    #[error("{0}")]
    Decode(String),
}

impl Picture {
    /// The tensor as a picture, where it is one: one or three channels. Bytes are grey levels; floats are those from 0
    /// to 1, or else from the least to the largest.
    pub fn of(tensor: &Tensor) -> Option<Self> {
        let (channels, width, height) = match tensor.shape() {
            [channels @ (1 | 3), height, width] => (*channels as usize, *width, *height),
            [height, width] => (1, *width, *height),
            _ => return None,
        };
        if width == 0 || height == 0 || width > SIDE_MAX || height > SIDE_MAX {
            return None;
        }
        let numbers = numbers(tensor);
        let (low, high) = match tensor.tensor_type().element {
            Element::Byte => (0.0, 255.0),
            Element::Float if is_unit(&numbers) => (0.0, 1.0),
            Element::Float => numbers
                .iter()
                .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), number| {
                    (low.min(*number), high.max(*number))
                }),
        };
        let level = |number: &f64| grey(*number, low, high);
        let plane = (width as usize).checked_mul(height as usize)?;
        let mut pixels = Vec::with_capacity(plane.checked_mul(3)?);
        for at in 0..plane {
            for channel in 0..3_usize {
                let index = channel.min(channels - 1) * plane + at;
                pixels.push(numbers.get(index).map_or(0, level));
            }
        }
        Some(Self { width, height, pixels })
    }

    /// Whether a PNG can hold a tensor, so that it can be compared with: a picture whose elements are grey levels.
    pub fn is_exact(tensor: &Tensor) -> bool {
        Self::of(tensor).is_some() && (tensor.tensor_type().element == Element::Byte || is_unit(&numbers(tensor)))
    }

    /// Reads a PNG.
    ///
    /// # Errors
    /// When it is none, or too large.
    pub fn read(bytes: &[u8]) -> Result<Self, PictureError> {
        let bad = |error: png::DecodingError| PictureError::Decode(format!("cannot read it as a PNG: {error}"));
        let limits = png::Limits { bytes: READ_MAX_BYTES };
        let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), limits);
        decoder.set_transformations(png::Transformations::normalize_to_color8());
        let mut reader = decoder.read_info().map_err(bad)?;
        let (width, height) = (reader.info().width, reader.info().height);
        if width > SIDE_MAX || height > SIDE_MAX {
            return Err(PictureError::Decode(format!(
                "{width}x{height} pixels are more than {SIDE_MAX}x{SIDE_MAX}"
            )));
        }
        let size = reader.output_buffer_size().unwrap_or_default();
        let mut buffer = vec![0; size];
        let frame = reader.next_frame(&mut buffer).map_err(bad)?;
        let samples = frame.color_type.samples();
        let pixels = buffer
            .get(..frame.buffer_size())
            .unwrap_or_default()
            .chunks_exact(samples);
        let pixels = pixels.flat_map(|pixel| match *pixel {
            [grey] | [grey, _] => [grey; 3],
            [red, green, blue, ..] => [red, green, blue],
            [] => [0; 3],
        });
        Ok(Self {
            width,
            height,
            pixels: pixels.collect(),
        })
    }

    /// Width and height.
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// Grey levels of red, green and blue, pixel by pixel.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Expected, found and their difference, side by side and enlarged.
    #[must_use]
    pub fn beside(&self, found: &Self) -> Self {
        let difference = self.difference(found);
        let panels = [self, found, &difference];
        let factor = (PANEL_PIXELS / panels.iter().map(|panel| panel.width.max(1)).max().unwrap_or(1)).max(1);
        let panels = panels.map(|panel| panel.enlarged(factor));
        let height = panels.iter().map(|panel| panel.height).max().unwrap_or(1);
        let width = panels.iter().map(|panel| panel.width + GAP_PIXELS).sum::<u32>() - GAP_PIXELS;
        let mut whole = Self::blank(width, height, 255);
        let mut left = 0;
        for panel in &panels {
            whole.paste(panel, left);
            left += panel.width + GAP_PIXELS;
        }
        whole
    }

    /// Black where both are the same, brighter where they differ more; white outside of either.
    fn difference(&self, other: &Self) -> Self {
        let (width, height) = (self.width.max(other.width), self.height.max(other.height));
        let mut difference = Self::blank(width, height, 255);
        for y in 0..height {
            for x in 0..width {
                if let (Some(a), Some(b)) = (self.pixel(x, y), other.pixel(x, y)) {
                    let level = |(a, b): (&u8, &u8)| (u16::from(a.abs_diff(*b)) * DIFFERENCE_FACTOR).min(255) as u8;
                    let pixel: Vec<u8> = a.iter().zip(b).map(level).collect();
                    difference.set(x, y, &pixel);
                }
            }
        }
        difference
    }

    fn blank(width: u32, height: u32, level: u8) -> Self {
        let n_pixels = (width as usize).saturating_mul(height as usize);
        Self {
            width,
            height,
            pixels: vec![level; n_pixels.saturating_mul(3)],
        }
    }

    fn enlarged(&self, factor: u32) -> Self {
        let mut large = Self::blank(self.width * factor, self.height * factor, 0);
        for y in 0..large.height {
            for x in 0..large.width {
                if let Some(pixel) = self.pixel(x / factor, y / factor) {
                    large.set(x, y, pixel);
                }
            }
        }
        large
    }

    fn paste(&mut self, other: &Self, left: u32) {
        for y in 0..other.height {
            for x in 0..other.width {
                if let Some(pixel) = other.pixel(x, y) {
                    self.set(left + x, y, pixel);
                }
            }
        }
    }

    fn offset(&self, x: u32, y: u32) -> Option<usize> {
        (x < self.width && y < self.height).then(|| (y as usize * self.width as usize + x as usize) * 3)
    }

    fn pixel(&self, x: u32, y: u32) -> Option<&[u8]> {
        let at = self.offset(x, y)?;
        self.pixels.get(at..at + 3)
    }

    fn set(&mut self, x: u32, y: u32, pixel: &[u8]) {
        if let Some(at) = self.offset(x, y)
            && let Some(place) = self.pixels.get_mut(at..at + 3)
            && pixel.len() == 3
        {
            place.copy_from_slice(pixel);
        }
    }

    /// The picture as a PNG.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn png(&self) -> Result<Vec<u8>, PictureError> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width, self.height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.pixels)?;
        writer.finish()?;
        Ok(bytes)
    }

    /// Writes the picture as a PNG.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), PictureError> {
        let path_shown = path.display().to_string();
        std::fs::write(path, self.png()?).map_err(|source| PictureError::Write {
            path: path_shown,
            source,
        })
    }
}

fn is_unit(numbers: &[f64]) -> bool {
    numbers.iter().all(|number| (0.0..=1.0).contains(number))
}

fn grey(number: f64, low: f64, high: f64) -> u8 {
    let part = if high > low { (number - low) / (high - low) } else { 0.0 };
    // From 0 to 255 once rounded.
    (part * 255.0).round().clamp(0.0, 255.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::TensorData;

    fn tensor(shape: &[u32], bytes: &[u8]) -> Tensor {
        Tensor::new(shape.to_vec(), TensorData::Bytes(bytes.to_vec())).unwrap()
    }

    #[test]
    fn a_tensor_becomes_a_png_and_the_png_the_same_picture() {
        let picture = Picture::of(&tensor(&[3, 1, 2], &[1, 2, 3, 4, 5, 6])).unwrap();
        assert_eq!(picture.pixels(), [1, 3, 5, 2, 4, 6]);
        assert_eq!(Picture::read(&picture.png().unwrap()).unwrap(), picture);
        let grey = Picture::of(&tensor(&[1, 1, 2], &[7, 9])).unwrap();
        assert_eq!(grey.pixels(), [7, 7, 7, 9, 9, 9]);
        assert_eq!(Picture::of(&tensor(&[2, 1, 1], &[7, 9])), None);
        assert_eq!(Picture::of(&tensor(&[3, 0, 2], &[])), None);
        assert!(Picture::read(b"GIF89a").is_err());
    }

    #[test]
    fn three_panels_stand_side_by_side() {
        let (a, b) = (tensor(&[1, 1, 2], &[10, 20]), tensor(&[1, 1, 2], &[10, 30]));
        let both = Picture::of(&a).unwrap().beside(&Picture::of(&b).unwrap());
        assert_eq!(both.size(), (3 * 128 + 2 * 4, 64));
        let middle_of = |panel: u32, pixel: u32| both.pixel(panel * 132 + pixel * 64 + 32, 32).unwrap()[0];
        assert_eq!((middle_of(0, 1), middle_of(1, 1)), (20, 30));
        assert_eq!((middle_of(2, 0), middle_of(2, 1)), (0, 80));
    }

    #[test]
    fn floats_are_shown_from_0_to_1_or_as_far_as_they_go() {
        let floats = |floats: Vec<f32>| Tensor::new(vec![1, 1, 2], TensorData::Floats(floats)).unwrap();
        assert_eq!(Picture::of(&floats(vec![0.0, 0.5])).unwrap().pixels()[3], 128);
        assert!(Picture::is_exact(&floats(vec![0.0, 0.5])));
        let wide = floats(vec![-2.0, 2.0]);
        assert_eq!(Picture::of(&wide).unwrap().pixels(), [0, 0, 0, 255, 255, 255]);
        assert!(!Picture::is_exact(&wide));
    }
}
