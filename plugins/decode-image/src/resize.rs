//! Resampling in two passes with 22-bit fixed-point weights: the numbers of Pillow's `Image.resize`.

use std::f64::consts::PI;

use crate::picture::Picture;
use crate::settings::{Fit, Resize};

/// Bits of a weight behind the point: what a 32-bit sum of products with bytes leaves room for.
const PRECISION_BITS: u32 = 32 - 8 - 2;
/// One half, so that the shift at the end rounds.
const HALF: i32 = 1 << (PRECISION_BITS - 1);

/// The part of a picture that is resized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Region {
    // Invariant: inside the picture that it was made for, and not empty.
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

/// How each output sample is a weighted sum of neighbouring input samples.
struct Kernel {
    /// The first input sample of each output sample.
    starts: Vec<usize>,
    /// For each output sample as many weights as `stride`, of which the last ones may be 0.
    weights: Vec<i32>,
    stride: usize,
}

impl Region {
    /// The part of `picture` that becomes a picture of `width` to `height`.
    pub(crate) fn new(picture: &Picture, width: usize, height: usize, fit: Fit) -> Self {
        let mut region = Self {
            left: 0,
            top: 0,
            width: picture.width,
            height: picture.height,
        };
        if fit == Fit::Crop {
            let scaled = |side: usize, to: usize, of: usize| {
                // Rounded; at least a pixel.
                let side = (2 * side as u64 * to as u64 + of as u64) / (2 * of as u64);
                usize::try_from(side).unwrap_or(usize::MAX).max(1)
            };
            region.width = scaled(picture.height, width, height).min(picture.width);
            region.height = scaled(picture.width, height, width).min(picture.height);
            region.left = (picture.width - region.width) / 2;
            region.top = (picture.height - region.height) / 2;
        }
        region
    }

    /// Whether it is all of the picture.
    pub(crate) fn is_whole(self, picture: &Picture) -> bool {
        (self.width, self.height) == (picture.width, picture.height)
    }
}

/// Makes a picture of `width` to `height` of a region, with the channels of `picture`, row by row.
pub(crate) fn resize(picture: &Picture, region: Region, width: usize, height: usize, filter: Resize) -> Vec<u8> {
    match (filter, picture.channels) {
        (Resize::Nearest, channels) => nearest(picture, region, width, height, channels),
        (filter, 1) => resample::<1>(picture, region, width, height, filter),
        (filter, _) => resample::<3>(picture, region, width, height, filter),
    }
}

/// The rows of a region.
fn rows(picture: &Picture, region: Region) -> impl Iterator<Item = &[u8]> {
    let channels = picture.channels;
    let columns = region.left * channels..(region.left + region.width) * channels;
    let rows = picture
        .pixels
        .chunks_exact(picture.width * channels)
        .skip(region.top)
        .take(region.height);
    rows.map(move |row| row.get(columns.clone()).unwrap_or_default())
}

fn nearest(picture: &Picture, region: Region, width: usize, height: usize, channels: usize) -> Vec<u8> {
    // The input sample under the centre of each output sample.
    let under = |at: usize, input: usize, output: usize| {
        let under = (2 * at as u64 + 1) * input as u64 / (2 * output as u64);
        usize::try_from(under).unwrap_or(usize::MAX)
    };
    let columns: Vec<usize> = (0..width).map(|x| under(x, region.width, width) * channels).collect();
    let stride = picture.width * channels;
    let mut out = Vec::with_capacity(width * height * channels);
    for y in 0..height {
        let row = (region.top + under(y, region.height, height)) * stride + region.left * channels;
        let row = picture.pixels.get(row..).unwrap_or_default();
        for &column in &columns {
            out.extend_from_slice(row.get(column..column + channels).unwrap_or_default());
        }
    }
    out
}

fn resample<const C: usize>(picture: &Picture, region: Region, width: usize, height: usize, filter: Resize) -> Vec<u8> {
    let horizontal = Kernel::new(region.width, width, filter);
    let mut narrow = Vec::with_capacity(width * region.height * C);
    for row in rows(picture, region) {
        let (row, _) = row.as_chunks::<C>();
        for (start, weights) in horizontal.samples() {
            let mut sums = [HALF; C];
            for (pixel, weight) in row.iter().skip(start).zip(weights) {
                for (sum, sample) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(*sample) * weight;
                }
            }
            narrow.extend(sums.map(byte));
        }
    }

    let vertical = Kernel::new(region.height, height, filter);
    let stride = width * C;
    let mut out = Vec::with_capacity(stride * height);
    let mut sums = vec![HALF; stride];
    for (start, weights) in vertical.samples() {
        sums.fill(HALF);
        for (row, weight) in narrow.chunks_exact(stride).skip(start).zip(weights) {
            for (sum, sample) in sums.iter_mut().zip(row) {
                *sum += i32::from(*sample) * weight;
            }
        }
        out.extend(sums.iter().copied().map(byte));
    }
    out
}

fn byte(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

impl Kernel {
    fn new(input: usize, output: usize, filter: Resize) -> Self {
        let scale = input as f64 / output as f64;
        // Where the picture shrinks the filter grows, so that every input sample counts.
        let stretch = scale.max(1.0);
        let support = filter.support() * stretch;
        let stride = support.ceil() as usize * 2 + 1;
        let mut kernel = Self {
            starts: Vec::with_capacity(output),
            weights: Vec::with_capacity(output * stride),
            stride,
        };
        let mut weights: Vec<f64> = Vec::with_capacity(stride);
        for at in 0..output {
            let centre = (at as f64 + 0.5) * scale;
            // Both are truncated to a whole number, and a negative number becomes 0.
            let start = (centre - support + 0.5) as usize;
            let end = ((centre + support + 0.5) as usize).min(input);
            weights.clear();
            weights.extend((start..end).map(|sample| filter.at((sample as f64 - centre + 0.5) / stretch)));
            let sum: f64 = weights.iter().sum();
            kernel.starts.push(start);
            kernel.weights.extend(weights.iter().map(|weight| fixed(weight / sum)));
            kernel.weights.resize(kernel.starts.len() * stride, 0);
        }
        kernel
    }

    fn samples(&self) -> impl Iterator<Item = (usize, &[i32])> {
        self.starts.iter().copied().zip(self.weights.chunks_exact(self.stride))
    }
}

fn fixed(weight: f64) -> i32 {
    (weight * f64::from(1 << PRECISION_BITS)).round() as i32
}

impl Resize {
    /// How far from its centre the filter reaches, in samples.
    fn support(self) -> f64 {
        if self == Self::Lanczos { 3.0 } else { 1.0 }
    }

    /// The weight of a sample at a distance from the centre.
    fn at(self, distance: f64) -> f64 {
        let sinc = |x: f64| if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) };
        match self {
            Self::Lanczos if distance.abs() < 3.0 => sinc(distance) * sinc(distance / 3.0),
            Self::Lanczos => 0.0,
            _ => (1.0 - distance.abs()).max(0.0),
        }
    }
}
