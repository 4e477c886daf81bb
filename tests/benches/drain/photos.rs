//! Pictures that are drawn for the run: as large as a ResNet takes them, and raw ones of any size.

use anyhow::Result;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, resize};
use millrace_tests::samples::pictures;

/// The edge of a photo.
const EDGE: u32 = 224;
/// The quality of a camera's.
const QUALITY: u8 = 90;
/// How many raw pictures there are of a size.
const N_NOISE: u8 = 6;
/// What noise adds to the smooth picture, at the most: without any, a JPEG would be smaller than a photograph's.
const GRAIN: u32 = 48;

/// The sample pictures as JPEGs of 224x224, with grain.
///
/// # Errors
/// When a sample is no picture.
pub(crate) fn photos() -> Result<Vec<Vec<u8>>> {
    let mut photos = Vec::new();
    for (number, sample) in (0..).zip(pictures()?) {
        let small = image::load_from_memory(&sample.png)?.to_rgb8();
        let mut large = resize(&small, EDGE, EDGE, FilterType::Triangle);
        let mut draw = Draw(number);
        for value in large.iter_mut() {
            *value = value.saturating_add(draw.below(GRAIN));
        }
        let mut jpeg = Vec::new();
        large.write_with_encoder(JpegEncoder::new_with_quality(&mut jpeg, QUALITY))?;
        photos.push(jpeg);
    }
    Ok(photos)
}

/// Raw pictures of noise; one third of each is brighter than the others.
pub(crate) fn noise(edge: u32) -> Vec<Vec<u8>> {
    let plane = (edge * edge) as usize;
    let picture = |number: u8| {
        let mut draw = Draw(u32::from(number));
        let planes = (0..3).flat_map(|colour| std::iter::repeat_n(colour, plane));
        planes
            .map(|colour| draw.below(128) + if colour == number % 3 { 64 } else { 0 })
            .collect()
    };
    (0..N_NOISE).map(picture).collect()
}

/// Numbers that look drawn, and are the same in every run.
struct Draw(u32);

impl Draw {
    /// A number below `n`, of at most 256.
    fn below(&mut self, n: u32) -> u8 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        u8::try_from((self.0 >> 16) % n).unwrap_or(u8::MAX)
    }
}
