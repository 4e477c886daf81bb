//! A ground of one colour, and pixels laid on it.

use super::{Colour, Region};

/// Pixels of one colour, row by row: of its red where there is one channel, which is to be of a grey.
pub(crate) fn filled(width: u32, height: u32, channels: usize, Colour(fill): Colour) -> Vec<u8> {
    let n_pixels = width as usize * height as usize;
    if channels == 1 || Colour(fill).is_grey() {
        vec![fill[0]; n_pixels * channels]
    } else {
        fill.repeat(n_pixels)
    }
}

/// Lays the pixels of a region of a ground on it. The region is inside of the ground.
pub(crate) fn paste(ground: &mut [u8], width: u32, channels: usize, region: Region, pixels: &[u8]) {
    for (place, row) in
        places(ground, width, channels, region).zip(pixels.chunks_exact(region.width as usize * channels))
    {
        place.copy_from_slice(row);
    }
}

/// The rows of a region of a ground. The region is inside of the ground, and not empty.
pub(crate) fn places(
    ground: &mut [u8],
    width: u32,
    channels: usize,
    region: Region,
) -> impl Iterator<Item = &mut [u8]> {
    let left = region.left as usize * channels;
    let right = left + region.width as usize * channels;
    let rows = ground
        .chunks_exact_mut(width as usize * channels)
        .skip(region.top as usize)
        .take(region.height as usize);
    rows.filter_map(move |row| row.get_mut(left..right))
}
