//! Resampling in two passes with 22-bit fixed-point weights: the numbers of Pillow's `Image.resize`.

use std::borrow::Cow;
use std::f64::consts::PI;

use super::{Picture, Region};

crate::choice! {
    /// A resampling filter, by the names and with the numbers of Pillow.
    ///
    /// All but the nearest pixel are antialiased: where a picture shrinks, they grow with the reduction.
    #[derive(Default)]
    pub enum Filter {
        /// The nearest pixel.
        Nearest = "nearest",
        /// The mean of the pixels underneath.
        Box = "box",
        /// A triangle.
        #[default]
        Bilinear = "bilinear",
        /// As sharp as bicubic and as cheap as bilinear, when shrinking.
        Hamming = "hamming",
        /// Cubic convolution with a = -0.5.
        Bicubic = "bicubic",
        /// A windowed sinc of three lobes.
        Lanczos = "lanczos",
    }
}

/// Bits of a weight behind the point: what a 32-bit sum of products with bytes leaves room for.
const PRECISION_BITS: u32 = 32 - 8 - 2;
/// One half, so that the shift at the end rounds.
const HALF: i32 = 1 << (PRECISION_BITS - 1);
/// Columns that are summed up at once: four registers of four 32-bit numbers.
const BLOCK: usize = 16;

/// Pixels of `C` channels, row by row; those of interest are a part of them.
struct Plane<'a, const C: usize> {
    pixels: Cow<'a, [u8]>,
    /// Bytes from one row to the next.
    stride: usize,
    /// The byte where the first row of interest begins.
    begin: usize,
    n_rows: usize,
    n_columns: usize,
    /// Whether its columns and its rows run backwards when it is looked at.
    mirrors: (bool, bool),
}

/// How each output sample is a weighted sum of neighbouring input samples.
struct Kernel {
    /// The first input sample of each output sample, and how many there are.
    spans: Vec<(usize, usize)>,
    /// For each output sample as many weights as `stride`, of which the first ones count.
    weights: Vec<i32>,
    stride: usize,
}

/// Makes a picture of `width` to `height` of a region that is inside, as both lie: pixels with the channels of `picture`.
pub(crate) fn resize(picture: &Picture, region: Region, width: u32, height: u32, filter: Filter) -> Vec<u8> {
    match (filter, picture.channels) {
        (Filter::Nearest, _) => nearest(picture, region, width, height),
        (filter, 1) => resample::<1>(picture, region, width, height, filter),
        (filter, _) => resample::<3>(picture, region, width, height, filter),
    }
}

fn nearest(picture: &Picture, region: Region, width: u32, height: u32) -> Vec<u8> {
    let channels = picture.channels;
    let (backwards, upside_down) = picture.orientation.mirrors();
    let columns = under(region.width, width, backwards);
    let mut out = Vec::with_capacity(width as usize * height as usize * channels);
    for row in under(region.height, height, upside_down) {
        let row = (region.top as usize + row) * picture.width as usize + region.left as usize;
        let row = picture.pixels.get(row * channels..).unwrap_or_default();
        for column in &columns {
            out.extend_from_slice(row.get(column * channels..(column + 1) * channels).unwrap_or_default());
        }
    }
    out
}

/// The input sample under the centre of each output sample. The centres are added up, as Pillow does: where one falls
/// between two samples, the error of that decides.
fn under(input: u32, output: u32, backwards: bool) -> Vec<usize> {
    let scale = f64::from(input) / f64::from(output);
    let mut centre = scale * 0.5;
    let mut samples = Vec::with_capacity(output as usize);
    for _ in 0..output {
        samples.push((centre as usize).min(input as usize - 1));
        centre += scale;
    }
    if backwards {
        // The samples are counted from the side that is the left or the upper one when it is looked at.
        samples.reverse();
        for sample in &mut samples {
            *sample = input as usize - 1 - *sample;
        }
    }
    samples
}

fn resample<const C: usize>(picture: &Picture, region: Region, width: u32, height: u32, filter: Filter) -> Vec<u8> {
    let stride = picture.width as usize * C;
    let plane = Plane::<C> {
        pixels: Cow::Borrowed(&picture.pixels),
        stride,
        begin: region.top as usize * stride + region.left as usize * C,
        n_rows: region.height as usize,
        n_columns: region.width as usize,
        mirrors: picture.orientation.mirrors(),
    };
    // Each pass rounds, so the order shows: it is that of the picture as it is looked at.
    let orientation = picture.orientation;
    let seen = orientation.lay(region.width, region.height);
    let down_first = is_down_first(seen, orientation.lay(width, height)) != orientation.transposes();
    let (width, height) = (width as usize, height as usize);
    let plane = if down_first {
        plane.down(height, filter).across(width, filter)
    } else {
        plane.across(width, filter).down(height, filter)
    };
    plane.pixels.into_owned()
}

/// Whether rows are summed up before columns: as Pillow decides it since version 13, where the height shrinks by more than
/// twice what the width does. Earlier versions never do, which makes a difference of a few levels at hard edges.
fn is_down_first((width, height): (u32, u32), (to_width, to_height): (u32, u32)) -> bool {
    let less = |from: u32, to: u32| i64::from(from) - i64::from(to);
    to_height < height && less(height, to_height) > 2 * less(width, to_width)
}

impl<const C: usize> Plane<'_, C> {
    /// With so many columns. A plane that has as many is left as it is.
    fn across(self, width: usize, filter: Filter) -> Self {
        if self.n_columns == width {
            return self;
        }
        let kernel = Kernel::new(self.n_columns, width, filter, self.mirrors.0);
        let mut out = Vec::with_capacity(self.n_rows * width * C);
        // Three channels are read as four, with one byte of the pixel behind; the last one of all has none.
        let mut last = Vec::new();
        for at in 0..self.n_rows {
            let row = self.pixels.get(self.begin + at * self.stride..).unwrap_or_default();
            let row = match row.get(..self.n_columns * C + 1) {
                Some(row) => row,
                None => {
                    last.clear();
                    last.extend_from_slice(row);
                    last.push(0);
                    &last
                }
            };
            if C == 3 {
                row_of_colours(row, &kernel, &mut out);
            } else {
                row_of_greys(row, &kernel, &mut out);
            }
        }
        let n_rows = self.n_rows;
        self.compact(out, n_rows, width)
    }

    /// With so many rows. A plane that has as many is left as it is.
    fn down(self, height: usize, filter: Filter) -> Self {
        if self.n_rows == height {
            return self;
        }
        let kernel = Kernel::new(self.n_rows, height, filter, self.mirrors.1);
        let length = self.n_columns * C;
        let mut out = vec![0; height * length];
        for ((start, weights), out) in kernel.samples().zip(out.chunks_exact_mut(length)) {
            let rows = self.pixels.get(self.begin + start * self.stride..).unwrap_or_default();
            sum_of_rows(rows, self.stride, weights, out);
        }
        let n_columns = self.n_columns;
        self.compact(out, height, n_columns)
    }

    fn compact(self, pixels: Vec<u8>, n_rows: usize, n_columns: usize) -> Self {
        Self {
            pixels: Cow::Owned(pixels),
            stride: n_columns * C,
            begin: 0,
            n_rows,
            n_columns,
            mirrors: self.mirrors,
        }
    }
}

/// Appends a row of resampled RGB pixels. `row` is one byte longer than its pixels.
fn row_of_colours(row: &[u8], kernel: &Kernel, out: &mut Vec<u8>) {
    for (start, weights) in kernel.samples() {
        let mut sums = [HALF; 4];
        let pixels = row.get(start * 3..).unwrap_or_default().array_windows::<4>().step_by(3);
        for (pixel, &weight) in pixels.zip(weights) {
            for (sum, &sample) in sums.iter_mut().zip(pixel) {
                *sum += i32::from(sample) * weight;
            }
        }
        let [red, green, blue, _] = sums.map(byte);
        out.extend_from_slice(&[red, green, blue]);
    }
}

/// Appends a row of resampled grey pixels.
fn row_of_greys(row: &[u8], kernel: &Kernel, out: &mut Vec<u8>) {
    for (start, weights) in kernel.samples() {
        let row = row.get(start..).unwrap_or_default();
        let sum = row
            .iter()
            .zip(weights)
            .fold(HALF, |sum, (&sample, &weight)| sum + i32::from(sample) * weight);
        out.push(byte(sum));
    }
}

/// Writes the weighted sum of rows.
fn sum_of_rows(rows: &[u8], stride: usize, weights: &[i32], out: &mut [u8]) {
    let length = out.len();
    let blocks = out.as_chunks_mut::<BLOCK>();
    for (at, block) in blocks.0.iter_mut().enumerate() {
        let mut sums = [HALF; BLOCK];
        for (row, &weight) in weights.iter().enumerate() {
            let samples = rows
                .get(row * stride + at * BLOCK..)
                .and_then(|rest| rest.first_chunk::<BLOCK>());
            for (sum, &sample) in sums.iter_mut().zip(samples.unwrap_or(&[0; BLOCK])) {
                *sum += i32::from(sample) * weight;
            }
        }
        *block = sums.map(byte);
    }
    let begin = length - blocks.1.len();
    for (at, place) in (begin..).zip(blocks.1.iter_mut()) {
        let samples = rows.get(at..).unwrap_or_default().iter().step_by(stride);
        *place = byte(
            samples
                .zip(weights)
                .fold(HALF, |sum, (&sample, &weight)| sum + i32::from(sample) * weight),
        );
    }
}

fn byte(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

impl Kernel {
    /// As Pillow's `precompute_coeffs`, operation by operation: where a weight falls on an edge of a filter, the last
    /// bit decides.
    fn new(input: usize, output: usize, filter: Filter, backwards: bool) -> Self {
        let scale = input as f64 / output as f64;
        // Where the picture shrinks the filter grows, so that every input sample counts.
        let stretch = scale.max(1.0);
        let shrink = 1.0 / stretch;
        let support = filter.support() * stretch;
        let stride = support.ceil() as usize * 2 + 1;
        let mut kernel = Self {
            spans: Vec::with_capacity(output),
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
            weights.extend((start..end).map(|sample| filter.at((sample as f64 - centre + 0.5) * shrink)));
            let sum: f64 = weights.iter().sum();
            kernel.spans.push((start, weights.len()));
            kernel.weights.extend(weights.iter().map(|weight| fixed(weight / sum)));
            kernel.weights.resize(kernel.spans.len() * stride, 0);
        }
        if backwards {
            kernel.mirror(input);
        }
        kernel
    }

    /// Counts from the other side: a filter that is not symmetric, and an edge that is rounded to one side, are as they
    /// would be if the picture were turned first.
    fn mirror(&mut self, input: usize) {
        for ((start, length), weights) in self.spans.iter_mut().zip(self.weights.chunks_exact_mut(self.stride)) {
            *start = input - *start - *length;
            if let Some(weights) = weights.get_mut(..*length) {
                weights.reverse();
            }
        }
        self.spans.reverse();
        // Row by row, with each row as it is.
        self.weights.reverse();
        for weights in self.weights.chunks_exact_mut(self.stride) {
            weights.reverse();
        }
    }

    /// For each output sample the first input sample, and the weights of that one and of those behind it.
    fn samples(&self) -> impl Iterator<Item = (usize, &[i32])> {
        let weights = self.weights.chunks_exact(self.stride);
        self.spans
            .iter()
            .zip(weights)
            .map(|(&(start, length), weights)| (start, weights.get(..length).unwrap_or_default()))
    }
}

fn fixed(weight: f64) -> i32 {
    (weight * f64::from(1 << PRECISION_BITS)).round() as i32
}

impl Filter {
    /// How far from its centre the filter reaches, in samples.
    fn support(self) -> f64 {
        match self {
            // Not resampled; as Pillow has it.
            Self::Nearest => 0.0,
            Self::Box => 0.5,
            Self::Bilinear | Self::Hamming => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    /// The weight of a sample at a distance from the centre.
    fn at(self, distance: f64) -> f64 {
        let x = distance.abs();
        match self {
            // One of the two edges is inside.
            Self::Nearest | Self::Box => f64::from(u8::from(distance > -0.5 && distance <= 0.5)),
            Self::Bilinear => (1.0 - x).max(0.0),
            Self::Hamming if x == 0.0 => 1.0,
            Self::Hamming if x < 1.0 => sinc(x) * (0.54 + 0.46 * (x * PI).cos()),
            Self::Bicubic if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5,
            Self::Lanczos if (-3.0..3.0).contains(&distance) => sinc(distance) * sinc(distance / 3.0),
            Self::Hamming | Self::Bicubic | Self::Lanczos => 0.0,
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) }
}
