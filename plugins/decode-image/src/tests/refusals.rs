//! What is refused, and in which words.

use super::*;

#[test]
fn what_is_no_picture_is_refused_with_what_it_is() {
    let check = |body: &[u8], expected: &str| {
        let text = reject(&json!({}), &message(body, "image/png"), &wants(3, 4, 4));
        assert_eq!(text, expected);
    };
    check(b"", "the body is empty");
    let unknown = "not a PNG, JPEG, WebP, GIF or raw RGB picture: begins with ";
    check(b"%PDF-1.7 ...", &format!("{unknown}25 50 44 46 2d 31 2e 37 (a PDF)"));
    check(b"hello", &format!("{unknown}68 65 6c 6c 6f (text)"));
    check(b"RIFF\0\0\0\0WAVEfmt ", &format!("{unknown}52 49 46 46 00 00 00 00"));
    check(b"GIF88a", &format!("{unknown}47 49 46 38 38 61 (a GIF)"));
    check(b"\x01\x02\x00", &format!("{unknown}01 02 00"));
    // As long as raw pixels would be: what is a file is a file.
    let of_length = |begin: &[u8]| [begin, &[7; 48][begin.len()..]].concat();
    let check_raw = |begin: &[u8], expected: &str| {
        let body = TestMessage {
            body: of_length(begin),
            ..TestMessage::default()
        };
        let outcome = preprocess(&json!({"formats": ["png"]}), &body, &wants(3, 4, 4));
        match outcome {
            Ok(_) => assert_eq!(expected, "pixels", "{begin:?}"),
            Err(refusal) => assert!(format!("{refusal:?}").contains(expected), "{refusal:?}"),
        }
    };
    check_raw(b"\xff\xd8\xff\xe0", "(a JPEG)");
    check_raw(b"BM\x30\0\0\0", "(a BMP)");
    check_raw(b"\0\0\0\x18ftypheic", "(a HEIC)");
    check_raw(b"II*\0", "(a TIFF)");
    check_raw(b"BM\x31\0\0\0", "pixels");
    check_raw(b"\x1f\x8b\x08", "pixels");
    check_raw(b"\0\0\x01\0", "pixels");
    check_raw(b"", "pixels");
    check(
        b"/9j/4AAQSkZJRg",
        &format!("{unknown}2f 39 6a 2f 34 41 41 51 (a JPEG in base64)"),
    );
}

#[test]
fn a_truncated_picture_is_refused() {
    let colours = image::ExtendedColorType::Rgb8;
    let busy = jpeg(40, 40, &pattern(40, 40).concat(), colours);
    let flat = jpeg(8, 8, &[9; 192], colours);
    for file in [
        &busy,
        &flat,
        PROGRESSIVE,
        SUBSAMPLED,
        CMYK,
        &rgb_png(40, 40),
        INTERLACED,
    ] {
        assert!(preprocess(&json!({}), &message(file, "image/png"), &wants(3, 4, 4)).is_ok());
        // Every length of the small ones, and near the end of the large one. A PNG ends in a chunk
        // without data, of which the checksum may be missing.
        let whole = if file.starts_with(b"\x89PNG") {
            file.len() - 4
        } else {
            file.len()
        };
        for length in (1..whole).filter(|length| file.len() < 1500 || length % 37 == 0 || file.len() - length < 40) {
            reject(&json!({}), &message(&file[..length], "image/png"), &wants(3, 4, 4));
        }
    }
    for file in WEBPS {
        for length in 12..file.len() - 1 {
            let text = reject(&json!({}), &message(&file[..length], "image/webp"), &wants(3, 4, 4));
            assert_eq!(text, "a truncated WebP: it is shorter than it says");
        }
    }
    // All pixels of a GIF may be there where the code that ends them, the end of its blocks or the trailer is not.
    for file in [STILL_GIF, TRANSPARENT_GIF, PART_GIF] {
        for length in 6..file.len() - 4 {
            let text = reject(&json!({}), &message(&file[..length], "image/gif"), &wants(3, 4, 4));
            assert!(text.contains("GIF"), "{text}");
        }
    }
    let text = reject(
        &json!({}),
        &message(&busy[..busy.len() / 2], "image/jpeg"),
        &wants(3, 4, 4),
    );
    assert_eq!(text, "a truncated JPEG: the end of the picture is missing");
}

#[test]
fn a_damaged_picture_is_refused_or_decoded_but_never_a_panic() {
    let own = [PROGRESSIVE, SUBSAMPLED, CMYK, INTERLACED, &rgb_png(9, 9)];
    for file in own.into_iter().chain(WEBPS).chain(GIFS) {
        for at in 0..file.len() {
            for damage in [0x00, 0x5a, 0xff] {
                let mut file = file.to_vec();
                file[at] ^= damage;
                let _outcome = preprocess(
                    &json!({"max_pixels": 4096}),
                    &message(file, "image/png"),
                    &wants(3, 4, 4),
                );
            }
        }
    }
    let mut file = rgb_png(40, 40);
    let middle = file.len() / 2;
    file[middle] ^= 1;
    let text = reject(&json!({}), &message(file, "image/png"), &wants(3, 4, 4));
    assert_eq!(text, "a PNG whose chunk IDAT has a wrong checksum");
}

#[test]
fn a_picture_that_is_too_large_is_refused_by_its_header() {
    let check = |settings: Value, body: &[u8], expected: &str| {
        let text = reject(&settings, &message(body, "image/png"), &wants(3, 4, 4));
        assert_eq!(text, expected, "{settings}");
    };
    // A header that promises 65500x65500 pixels, and nothing behind it.
    let mut bomb = rgb_png(2, 2);
    bomb[16..24].copy_from_slice(&[0, 0, 0xff, 0xdc, 0, 0, 0xff, 0xdc]);
    let crc = crc(&bomb[12..29]).to_be_bytes();
    bomb[29..33].copy_from_slice(&crc);
    check(
        json!({}),
        &bomb,
        "a picture of 65500x65500 pixels is larger than 8192x8192, the limit",
    );
    let roomy = json!({"max_width": 65535, "max_height": 65535});
    check(
        roomy.clone(),
        &bomb,
        "a picture of 65500x65500 pixels has 4290250000, the limit is 33554432",
    );
    let roomy = json!({"max_width": 65535, "max_height": 65535, "max_pixels": 4294967296u64});
    check(
        roomy,
        &bomb,
        "decoding the picture takes 12870815500 bytes, the limit is 201326592",
    );

    let narrow = json!({"max_width": 31});
    check(
        narrow.clone(),
        PROGRESSIVE,
        "a picture of 32x32 pixels is larger than 31x8192, the limit",
    );
    check(
        narrow,
        &rgb_png(32, 1),
        "a picture of 32x1 pixels is larger than 31x8192, the limit",
    );
    check(
        json!({"max_pixels": 1023}),
        CMYK,
        "a picture of 32x32 pixels has 1024, the limit is 1023",
    );
    // Three bytes a pixel, and two rows of blocks of each component; a progressive one with its coefficients, of which this
    // one has half of the colours' too.
    check(
        json!({"max_bytes": 5119}),
        CMYK,
        "decoding the picture takes 5120 bytes, the limit is 5119",
    );
    check(
        json!({"max_bytes": 5119}),
        PROGRESSIVE,
        "decoding the picture takes 7680 bytes, the limit is 5119",
    );
    let raw = TestMessage {
        body: vec![0; 48],
        ..TestMessage::default()
    };
    let text = reject(&json!({"max_height": 3}), &raw, &wants(3, 4, 4));
    assert_eq!(text, "a picture of 4x4 pixels is larger than 8192x3, the limit");

    let mut empty = jpeg(8, 8, &[9; 192], image::ExtendedColorType::Rgb8);
    let frame = empty.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    empty[frame + 5..frame + 9].fill(0);
    check(json!({}), &empty, "a picture of 0x0 pixels has none");
}

/// The sizes that a WebP names are those of its screen, of its frame and of its coded pixels; a GIF's are two.
#[test]
fn every_size_that_a_file_names_is_checked() {
    let check = |settings: Value, file: &[u8], at: usize, bytes: &[u8], expected: &str| {
        let mut file = file.to_vec();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        let text = reject(&settings, &message(file, "image/webp"), &wants(3, 4, 4));
        assert_eq!(text, expected, "{settings} {at}");
    };
    let place = |file: &[u8], name: &[u8; 4]| file.windows(4).position(|at| at == name).unwrap() + 8;
    // 16383x16383 in the header of the coded pixels, of which 400 MB would be taken.
    let huge = [0xff, 0x3f, 0xff, 0x3f];
    let contradiction = "a WebP with two headers that contradict each other";
    check(
        json!({}),
        LOSSY,
        place(LOSSY, b"VP8 ") + 6,
        &huge,
        "a picture of 16383x16383 pixels is larger than 8192x8192, the limit",
    );
    check(
        json!({}),
        LOSSLESS,
        place(LOSSLESS, b"VP8L") + 1,
        &[0xff, 0xff, 0xff, 0x0f],
        "a picture of 16384x16384 pixels is larger than 8192x8192, the limit",
    );
    check(
        json!({}),
        LOSSY_ALPHA,
        place(LOSSY_ALPHA, b"VP8 ") + 6,
        &huge,
        contradiction,
    );
    check(
        json!({}),
        ANIMATED_LOSSY,
        place(ANIMATED_LOSSY, b"VP8 ") + 6,
        &huge,
        contradiction,
    );
    check(
        json!({}),
        ANIMATED,
        place(ANIMATED, b"VP8X") + 4,
        &[0xff; 6],
        "a picture of 16777216x16777216 pixels is larger than 8192x8192, the limit",
    );
    check(
        json!({}),
        ANIMATED,
        place(ANIMATED, b"ANMF"),
        &[1],
        "a WebP with a picture that is not inside of it",
    );
    check(
        json!({"max_bytes": 10000}),
        LOSSY_ALPHA,
        0,
        b"R",
        "decoding the picture takes 12598 bytes, the limit is 10000",
    );
    check(
        json!({}),
        STILL_GIF,
        6,
        &[0xff; 4],
        "a picture of 65535x65535 pixels is larger than 8192x8192, the limit",
    );
    check(
        json!({"max_bytes": 1971}),
        STILL_GIF,
        0,
        b"G",
        "decoding the picture takes 1972 bytes, the limit is 1971",
    );
    let text = "a GIF whose first picture is not inside of it";
    check(json!({}), PART_GIF, 6, &[8, 0], text);
    check(json!({}), STILL_GIF, 6, &[0, 0], "a picture of 0x17 pixels has none");
}

/// The checksum of a PNG's chunk.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                (crc >> 1) ^ 0xedb8_8320
            } else {
                crc >> 1
            }
        })
    })
}

#[test]
fn wrong_settings_are_refused() {
    let check = |settings: Value, expected: &str| {
        let error = testing::preprocessor::<DecodeImage>(&settings.to_string()).unwrap_err();
        assert!(error.contains(expected), "{settings} gave: {error}");
    };
    check(
        json!({"resise": "nearest"}),
        "unknown field `resise`, expected one of `resize`, `fit`",
    );
    check(
        json!({"resize": "cubic"}),
        "`resize`: unknown variant `cubic`, expected one of `nearest`, `box`, `bilinear`, `hamming`, `bicubic`, `lanczos`",
    );
    check(
        json!({"background": "red"}),
        "`background`: `red` is not a colour such as `#ffffff`",
    );
    check(json!({"background": "#+12345"}), "is not a colour");
    check(
        json!({"max_width": -1}),
        "`max_width`: invalid value: integer `-1`, expected u32",
    );
    check(json!({"formats": ["bmp"]}), "`formats[0]`: unknown variant `bmp`");
    check(
        json!({"order": "grb"}),
        "`order`: unknown variant `grb`, expected `rgb` or `bgr`",
    );
    check(
        json!({"alpha": "drop"}),
        "`alpha`: unknown variant `drop`, expected `blend` or `ignore`",
    );
    check(
        json!({"orientation": "exif"}),
        "`orientation`: unknown variant `exif`, expected `upright` or `ignore`",
    );
    check(
        json!({"shorter_side": 0}),
        "`shorter_side` is 0, a picture has at least one pixel",
    );
    check(
        json!({"max_width": -1, "mean": [1, 2], "background": "zzz", "shorter_side": 0, "max_pixels": 0}),
        "`background`: `zzz` is not a colour such as `#ffffff`; `max_width`: invalid value: integer `-1`, expected u32; \
         `shorter_side` is 0, a picture has at least one pixel; `max_pixels` is 0: with that no picture is taken; `mean` has \
         2 numbers, not 1 or 3",
    );
    check(json!({"std": [0.0]}), "`std` holds 0, and is divided by");
    check(json!({"mean": [0.5, 0.5]}), "`mean` has 2 numbers, not 1 or 3");
}
