//! What is done to a training picture so that no epoch shows quite the same: a crop out of a larger ground, and a flip. Knows
//! no network.

use super::random::Random;
use super::{Labelled, PICTURE_BYTES, Pictures, SIDE};

/// Black pixels around a picture before a part of its size is cut out, as `RandomCrop(32, padding=4)` has them.
pub const PADDING: usize = 4;
/// The streams of random numbers that place and flip, one for each epoch.
const STREAM: u64 = 2 << 40;

/// Each picture moved by at most [`PADDING`] pixels along both axes, black where it was moved from, and every second one flipped
/// from left to right. The same seed and epoch do the same.
pub fn crop_and_flip(data: &Labelled, seed: u64, epoch: usize) -> Labelled {
    let mut random = Random::stream(seed, STREAM + epoch as u64);
    let mut pictures = Pictures::with_capacity(data.len());
    for picture in data.pictures.iter() {
        let (down, across) = (random.below(2 * PADDING + 1), random.below(2 * PADDING + 1));
        let flipped = random.below(2) == 1;
        pictures.push(&moved(picture, down, across, flipped));
    }
    Labelled {
        pictures,
        labels: data.labels.clone(),
    }
}

/// The part of a padded picture that begins so far down and across, flipped if it is to be.
fn moved(picture: &[u8; PICTURE_BYTES], down: usize, across: usize, flipped: bool) -> [u8; PICTURE_BYTES] {
    let mut out = [0; PICTURE_BYTES];
    let planes = picture.chunks_exact(SIDE * SIDE).zip(out.chunks_exact_mut(SIDE * SIDE));
    for (plane, out) in planes {
        for (y, row) in out.chunks_exact_mut(SIDE).enumerate() {
            let Some(from) = (y + down)
                .checked_sub(PADDING)
                .and_then(|y| plane.chunks_exact(SIDE).nth(y))
            else {
                continue;
            };
            for (x, byte) in row.iter_mut().enumerate() {
                let x = if flipped { SIDE - 1 - x } else { x };
                let at = (x + across).checked_sub(PADDING).and_then(|x| from.get(x));
                *byte = at.copied().unwrap_or(0);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each pixel's byte says where it was.
    fn ramp() -> [u8; PICTURE_BYTES] {
        std::array::from_fn(|at| (at % SIDE * 7 + at / SIDE % SIDE * 3 + at / (SIDE * SIDE) + 1) as u8)
    }

    fn at(picture: &[u8; PICTURE_BYTES], channel: usize, y: usize, x: usize) -> u8 {
        picture[(channel * SIDE + y) * SIDE + x]
    }

    #[test]
    fn a_picture_is_moved_and_flipped() {
        let picture = ramp();
        assert_eq!(moved(&picture, PADDING, PADDING, false), picture);

        let up_left = moved(&picture, 0, 0, false);
        for channel in 0..3 {
            assert_eq!(at(&up_left, channel, PADDING, PADDING), at(&picture, channel, 0, 0));
            assert_eq!(at(&up_left, channel, 31, 31), at(&picture, channel, 27, 27));
            assert_eq!(at(&up_left, channel, 3, 20), 0, "above the picture");
            assert_eq!(at(&up_left, channel, 20, 3), 0, "left of the picture");
        }
        let down_right = moved(&picture, 2 * PADDING, 2 * PADDING, false);
        assert_eq!(at(&down_right, 1, 0, 0), at(&picture, 1, 4, 4));
        assert_eq!((at(&down_right, 2, 28, 0), at(&down_right, 2, 0, 28)), (0, 0));

        let flipped = moved(&picture, PADDING, PADDING, true);
        assert_eq!(at(&flipped, 0, 5, 0), at(&picture, 0, 5, 31));
        assert_eq!(moved(&flipped, PADDING, PADDING, true), picture);
    }

    #[test]
    fn an_epoch_is_the_same_again_and_another_is_not() {
        let mut data = Labelled::default();
        for label in 0..50 {
            data.pictures.push(&ramp());
            data.labels.push(label % 10);
        }
        let (one, same) = (crop_and_flip(&data, 7, 3), crop_and_flip(&data, 7, 3));
        assert_eq!((&one.pictures, &one.labels), (&same.pictures, &data.labels));
        assert_ne!(one.pictures, crop_and_flip(&data, 7, 4).pictures);
        assert_ne!(one.pictures, crop_and_flip(&data, 8, 3).pictures);
        // Of 162 ways to lie, fifty pictures show most of what there is to see.
        let mut seen: Vec<_> = one.pictures.iter().collect();
        seen.sort_unstable();
        seen.dedup();
        assert!(seen.len() > 30, "{} kinds of fifty", seen.len());
    }
}
