//! The filters of PNG, row by row. Knows nothing of what the bytes are.

use super::broken;
use crate::image::ImageError;

/// Undoes the filters of rows that lie behind each other, each with the byte of its filter in front, and puts them together
/// without these. `n_pixel` is the bytes of a pixel, at least one.
pub(super) fn undo(raw: &mut [u8], n_row: usize, n_rows: usize, n_pixel: usize) -> Result<(), ImageError> {
    let none = vec![0; n_row];
    for row in 0..n_rows {
        let from = row * (n_row + 1);
        let filter = raw.get(from).copied().unwrap_or_default();
        raw.copy_within(from + 1..from + 1 + n_row, row * n_row);
        let (before, this) = raw.split_at_mut(row * n_row);
        let this = this.get_mut(..n_row).unwrap_or_default();
        let above = match row {
            0 => none.as_slice(),
            row => before.get((row - 1) * n_row..).unwrap_or_default(),
        };
        match n_pixel {
            1 => undo_row::<1>(filter, this, above)?,
            2 => undo_row::<2>(filter, this, above)?,
            3 => undo_row::<3>(filter, this, above)?,
            4 => undo_row::<4>(filter, this, above)?,
            6 => undo_row::<6>(filter, this, above)?,
            _ => undo_row::<8>(filter, this, above)?,
        }
    }
    Ok(())
}

fn undo_row<const N: usize>(filter: u8, this: &mut [u8], above: &[u8]) -> Result<(), ImageError> {
    let pixels = this.as_chunks_mut::<N>().0;
    let aboves = above.as_chunks::<N>().0;
    let mut left = [0; N];
    match filter {
        0 => {}
        1 => {
            for pixel in pixels {
                for (byte, left) in pixel.iter_mut().zip(left) {
                    *byte = byte.wrapping_add(left);
                }
                left = *pixel;
            }
        }
        2 => {
            for (byte, above) in this.iter_mut().zip(above) {
                *byte = byte.wrapping_add(*above);
            }
        }
        3 => {
            for (pixel, above) in pixels.iter_mut().zip(aboves) {
                for ((byte, left), above) in pixel.iter_mut().zip(left).zip(above) {
                    *byte = byte.wrapping_add(((u16::from(left) + u16::from(*above)) / 2) as u8);
                }
                left = *pixel;
            }
        }
        4 => {
            let mut corner = [0; N];
            for (pixel, above) in pixels.iter_mut().zip(aboves) {
                for (((byte, left), above), corner) in pixel.iter_mut().zip(left).zip(above).zip(corner) {
                    *byte = byte.wrapping_add(nearest(left, *above, corner));
                }
                (left, corner) = (*pixel, *above);
            }
        }
        _ => return Err(broken("with a row whose filter is not known")),
    }
    Ok(())
}

/// The one of three neighbours that is the nearest to what they let expect: Paeth's.
#[inline(always)]
fn nearest(left: u8, above: u8, corner: u8) -> u8 {
    let (a, b, c) = (i16::from(left), i16::from(above), i16::from(corner));
    let (to_left, to_above, to_corner) = ((b - c).abs(), (a - c).abs(), (a + b - 2 * c).abs());
    if to_left <= to_above && to_left <= to_corner {
        left
    } else if to_above <= to_corner {
        above
    } else {
        corner
    }
}
