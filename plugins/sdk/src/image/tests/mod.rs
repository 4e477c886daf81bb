//! Pictures against what Pillow makes of the same ones, and what authors rely on.

mod damage;
mod geometry;
mod jpeg;
mod pillow;
mod tensors;

use super::{Orientation, Picture};

/// The pictures that `testdata/image/record.py` draws.
fn draw(kind: &str, width: u32, height: u32) -> Picture {
    let ramps = |x: u32, y: u32| [x * 11 + y * 3, x * y * 5, y * 17 + x].map(|sample| sample as u8);
    let noise = |x: u32, y: u32| {
        [0, 85, 170].map(|channel| {
            let seed = x * x * 31 + y * y * 17 + x * y * 7 + channel;
            match (seed.wrapping_mul(2_654_435_761) >> 24) as u8 {
                ..64 => 0,
                193.. => 255,
                sample => sample,
            }
        })
    };
    let pixels = (0..height).flat_map(|y| {
        (0..width).flat_map(move |x| match kind {
            "ramps" => ramps(x, y),
            _ => noise(x, y),
        })
    });
    Picture::rgb(width, height, pixels.collect()).unwrap()
}

/// As `draw`, lying in the way that makes it look so turned by an Exif orientation.
fn draw_turned(kind: &str, width: u32, height: u32, tag: u16) -> Picture {
    draw(kind, width, height).with_orientation(Orientation::from_tag(tag).unwrap())
}
