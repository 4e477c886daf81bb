//! Any bytes as a picture: a tensor of the right length or a refusal, within the memory that the settings allow.

use millrace_fuzz::prelude::*;
use millrace_fuzz::{bytes, config, peak_bytes};

use super::*;

/// What one picture may take at most, here.
const MAX_BYTES: u64 = 16 << 20;
/// What the test itself, and the allocator's own rooms, may take beside it.
const SLACK_BYTES: u64 = 512 << 20;
const WIDTH: u32 = 9;
const HEIGHT: u32 = 7;

fn pictures() -> Vec<Vec<u8>> {
    let grey = |width: u32, height: u32| vec![90; (width * height) as usize];
    let rgb = pattern(24, 16).concat();
    let others = WEBPS.into_iter().chain(GIFS).map(<[u8]>::to_vec);
    let own = vec![
        rgb_png(24, 16),
        png(5, 3, png::ColorType::Grayscale, png::BitDepth::Sixteen, &[7; 30]),
        png_with(
            4,
            4,
            png::ColorType::Indexed,
            png::BitDepth::Two,
            &[0b0001_1011; 4],
            &[9; 12],
            &[1, 2, 3],
        ),
        INTERLACED.to_vec(),
        jpeg(24, 16, &rgb, image::ExtendedColorType::Rgb8),
        jpeg(17, 9, &grey(17, 9), image::ExtendedColorType::L8),
        with_orientation(&jpeg(24, 16, &rgb, image::ExtendedColorType::Rgb8), 6),
        PROGRESSIVE.to_vec(),
        SUBSAMPLED.to_vec(),
        CMYK.to_vec(),
    ];
    own.into_iter().chain(others).collect()
}

/// Sets the checksums of a PNG's chunks right, so that what was changed in them is read.
fn with_right_checksums(mut file: Vec<u8>) -> Vec<u8> {
    let mut at = 8;
    while let Some(length) = file.get(at..).and_then(|rest| rest.first_chunk::<4>()) {
        let length = u32::from_be_bytes(*length) as usize;
        let Some(end) = at.checked_add(8).and_then(|begin| begin.checked_add(length)) else {
            break;
        };
        let Some(checksum) = file.get(at + 4..end).map(crc32) else {
            break;
        };
        match file.get_mut(end..).and_then(|rest| rest.first_chunk_mut::<4>()) {
            Some(place) => *place = checksum.to_be_bytes(),
            None => break,
        }
        at = end + 4;
    }
    file
}

/// Sets the length of a WebP right, so that one that grew or shrank is not just a truncated one.
fn with_right_length(mut file: Vec<u8>) -> Vec<u8> {
    let length = (file.len() as u32).wrapping_sub(8);
    if file.starts_with(b"RIFF") && file.len() >= 8 {
        file[4..8].copy_from_slice(&length.to_le_bytes());
    }
    file
}

/// The checksum of PNG and of zip, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

fn check(body: Vec<u8>, content_type: &str) -> Result<(), TestCaseError> {
    let before = peak_bytes();
    let settings = json!({ "max_bytes": MAX_BYTES });
    match preprocess(&settings, &message(body, content_type), &wants(3, HEIGHT, WIDTH)) {
        Ok(tensor) => {
            let TensorData::Bytes(bytes) = tensor.data() else {
                return Err(TestCaseError::fail("floats"));
            };
            prop_assert_eq!(bytes.len() as u32, 3 * WIDTH * HEIGHT);
        }
        Err(Refusal::Reject(text)) => prop_assert!(!text.is_empty()),
        Err(other) => prop_assert!(false, "{other:?}"),
    }
    if let (Some(before), Some(after)) = (before, peak_bytes()) {
        prop_assert!(
            after - before <= MAX_BYTES + SLACK_BYTES,
            "took {} bytes",
            after - before
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(1000))]

    #[test]
    fn a_picture_is_read_or_refused(body in bytes(pictures()), raw in any::<bool>()) {
        check(body.clone(), if raw { "image/x-rgb" } else { "application/octet-stream" })?;
        check(with_right_length(with_right_checksums(body)), "image/png")?;
    }
}

#[test]
fn lengths_that_were_right_stay_as_they_are() {
    for picture in WEBPS {
        assert_eq!(with_right_length(picture.to_vec()), picture);
    }
}

#[test]
fn checksums_that_were_right_stay_as_they_are() {
    for picture in pictures().into_iter().filter(|picture| picture.starts_with(b"\x89PNG")) {
        assert_eq!(with_right_checksums(picture.clone()), picture);
    }
}
