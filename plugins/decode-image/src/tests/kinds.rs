//! What is decoded, and to which numbers.

use super::*;

#[test]
fn every_kind_of_png_is_decoded() {
    use png::BitDepth::{Eight, Four, One, Sixteen, Two};
    use png::ColorType::{Grayscale, GrayscaleAlpha, Indexed, Rgb, Rgba};
    let check = |what: &str, file: Vec<u8>, expected: [[u8; 3]; 2]| {
        assert_eq!(
            pixels(&json!({"background": "#ff0080"}), file, 2, 1),
            expected,
            "{what}"
        );
    };
    let palette = [10, 20, 30, 40, 50, 60];
    check(
        "rgb",
        png(2, 1, Rgb, Eight, &[1, 2, 3, 4, 5, 6]),
        [[1, 2, 3], [4, 5, 6]],
    );
    check(
        "rgb 16",
        png(2, 1, Rgb, Sixteen, &[1, 255, 2, 0, 3, 0, 4, 9, 5, 0, 6, 0]),
        [[1, 2, 3], [4, 5, 6]],
    );
    check("grey", png(2, 1, Grayscale, Eight, &[7, 200]), [[7; 3], [200; 3]]);
    check("grey 1", png(2, 1, Grayscale, One, &[0b0100_0000]), [[0; 3], [255; 3]]);
    check("grey 4", png(2, 1, Grayscale, Four, &[0x0a]), [[0; 3], [170; 3]]);
    check(
        "grey alpha 16",
        png(2, 1, GrayscaleAlpha, Sixteen, &[100, 9, 255, 255, 7, 0, 0, 0]),
        [[100; 3], [255, 0, 128]],
    );
    check(
        "grey alpha",
        png(2, 1, GrayscaleAlpha, Eight, &[100, 255, 100, 51]),
        [[100; 3], [224, 20, 122]],
    );
    check(
        "alpha",
        png(2, 1, Rgba, Eight, &[1, 2, 3, 255, 9, 9, 9, 0]),
        [[1, 2, 3], [255, 0, 128]],
    );
    check(
        "alpha 16",
        png(
            2,
            1,
            Rgba,
            Sixteen,
            &[1, 0, 2, 0, 3, 0, 255, 255, 9, 0, 9, 0, 9, 0, 0, 0],
        ),
        [[1, 2, 3], [255, 0, 128]],
    );
    check(
        "palette 2",
        png_with(2, 1, Indexed, Two, &[0b0100_0000], &palette, &[]),
        [[40, 50, 60], [10, 20, 30]],
    );
    check(
        "palette with alpha",
        png_with(2, 1, Indexed, Eight, &[1, 0], &palette, &[0]),
        [[40, 50, 60], [255, 0, 128]],
    );
    check(
        "transparent colour",
        png_with(2, 1, Rgb, Eight, &[1, 2, 3, 4, 5, 6], &[], &[0, 4, 0, 5, 0, 6]),
        [[1, 2, 3], [255, 0, 128]],
    );
    assert_eq!(pixels(&json!({}), INTERLACED, 20, 10), pattern(20, 10));
}

#[test]
fn transparency_is_ignored_where_that_is_asked_for() {
    use png::BitDepth::{Eight, Sixteen};
    use png::ColorType::{Grayscale, GrayscaleAlpha, Indexed, Rgb, Rgba};
    let check = |file: Vec<u8>, expected: [[u8; 3]; 2]| {
        assert_eq!(
            pixels(&json!({"alpha": "ignore", "background": "#ff0080"}), file, 2, 1),
            expected
        );
    };
    check(
        png(2, 1, GrayscaleAlpha, Eight, &[100, 255, 90, 0]),
        [[100; 3], [90; 3]],
    );
    check(
        png(2, 1, Rgba, Eight, &[1, 2, 3, 255, 9, 8, 7, 0]),
        [[1, 2, 3], [9, 8, 7]],
    );
    check(
        png(
            2,
            1,
            Rgba,
            Sixteen,
            &[1, 0, 2, 0, 3, 0, 255, 255, 9, 0, 8, 0, 7, 0, 0, 0],
        ),
        [[1, 2, 3], [9, 8, 7]],
    );
    check(
        png_with(2, 1, Indexed, Eight, &[1, 0], &[10, 20, 30, 40, 50, 60], &[0]),
        [[40, 50, 60], [10, 20, 30]],
    );
    check(
        png_with(2, 1, Rgb, Eight, &[1, 2, 3, 4, 5, 6], &[], &[0, 4, 0, 5, 0, 6]),
        [[1, 2, 3], [4, 5, 6]],
    );
    check(
        png_with(2, 1, Grayscale, Eight, &[1, 2], &[], &[0, 2]),
        [[1; 3], [2; 3]],
    );
}

/// The evaluation transform of most weights that are published: `Resize(256)` and `CenterCrop(224)`. The pixels are compared
/// with Pillow's in the SDK.
#[test]
fn the_shorter_side_is_resized_and_the_centre_cut_out() {
    let settings = json!({"shorter_side": 10, "resize": "nearest"});
    let all = pattern(20, 10);
    let centre: Vec<[u8; 3]> = (1..9)
        .flat_map(|y| (6..14).map(move |x| y * 20 + x))
        .map(|at| all[at])
        .collect();
    assert_eq!(pixels(&settings, rgb_png(20, 10), 8, 8), centre);
    // It takes the place of `fit`.
    let both = json!({"shorter_side": 10, "resize": "nearest", "fit": "crop"});
    assert_eq!(pixels(&both, rgb_png(20, 10), 8, 8), centre);
    // A model that wants more gets black bars.
    let barred = pixels(&settings, rgb_png(20, 10), 20, 12);
    assert_eq!(
        (&barred[..20], &barred[20..220]),
        ([[0; 3]; 20].as_slice(), all.as_slice())
    );
    let text = reject(
        &json!({"shorter_side": 256}),
        &message(rgb_png(2000, 1), "image/png"),
        &wants(3, 8, 8),
    );
    assert_eq!(
        text,
        "resized to a shorter side of 256 pixels, the picture is of 512000x256, beyond the limits of size"
    );
}

#[test]
fn orientation_is_ignored_where_that_is_asked_for() {
    let turned = with_orientation(
        &jpeg(9, 7, &[200, 100, 50].repeat(63), image::ExtendedColorType::Rgb8),
        6,
    );
    let settings = json!({"orientation": "ignore", "resize": "nearest"});
    let plain = jpeg(9, 7, &[200, 100, 50].repeat(63), image::ExtendedColorType::Rgb8);
    assert_eq!(pixels(&settings, turned.clone(), 9, 7), pixels(&json!({}), plain, 9, 7));
    assert_eq!(
        pixels(&json!({"resize": "nearest"}), TURNED, 21, 37)[20],
        pattern(37, 21)[0]
    );
    assert_eq!(pixels(&settings, TURNED, 37, 21)[0], pattern(37, 21)[0]);
}

/// The pixels are compared with Pillow's in the SDK.
#[test]
fn webp_and_gif_are_decoded() {
    assert_eq!(
        pixels(&json!({}), PALETTE, 37, 21)[..37],
        pixels(&json!({"formats": ["webp"]}), PALETTE, 37, 21)[..37]
    );
    assert_eq!(pixels(&json!({}), TURNED, 21, 37)[20], pattern(37, 21)[0]);
    let part = pixels(&json!({"background": "#0a141e"}), PART_GIF, 10, 14);
    assert_eq!(part[0], [10, 20, 30]);
    // The first index is 0; the palette counts up by ones, threes and sevens.
    assert_eq!([part[2 * 10 + 3], part[2 * 10 + 4]], [[0, 0, 0], [7, 21, 49]]);
    let text = reject(
        &json!({"formats": ["png", "jpeg"]}),
        &message(STILL_GIF, "image/gif"),
        &wants(3, 4, 4),
    );
    assert_eq!(
        text,
        "not a PNG, JPEG or raw RGB picture: begins with 47 49 46 38 37 61 1d 00 (a GIF)"
    );
}

#[test]
fn floats_are_normalised_and_channels_ordered() {
    let file = png(1, 1, png::ColorType::Rgb, png::BitDepth::Eight, &[255, 0, 51]);
    let tensor = |settings: Value, element: Element| {
        let shape = vec![3, 1, 1];
        preprocess(
            &settings,
            &message(file.clone(), "image/png"),
            &TensorType { shape, element },
        )
    };
    let floats = |settings: Value, expected: [f32; 3]| {
        let expected = Tensor::floats([3, 1, 1], expected.to_vec()).unwrap();
        assert_eq!(tensor(settings, Element::Float), Ok(expected));
    };
    floats(json!({"mean": [0.5], "std": [0.5]}), [1.0, -1.0, -0.6]);
    floats(json!({"mean": [1.0, 0.0, 0.2]}), [0.0, 0.0, 0.0]);
    floats(json!({"std": [2.0], "order": "bgr"}), [0.1, 0.0, 0.5]);
    assert_eq!(
        tensor(json!({"order": "bgr"}), Element::Byte),
        Ok(Tensor::bytes([3, 1, 1], vec![51, 0, 255]).unwrap())
    );
    let refused = tensor(json!({"mean": [0.5]}), Element::Byte);
    assert_eq!(
        refused,
        Err(Refusal::reject(
            "the model wants bytes, which it normalises itself: `mean` and `std` are for models that want floats"
        ))
    );
}

#[test]
fn every_kind_of_jpeg_is_decoded() {
    let check = |what: &str, file: &[u8]| {
        let found = pixels(&json!({"resize": "nearest"}), file, 2, 2);
        assert_close(&found, &QUARTERS, 4, what);
    };
    check("progressive", PROGRESSIVE);
    check("subsampled, with restarts", SUBSAMPLED);
    check("cmyk", CMYK);
    let flat = jpeg(9, 7, &[200, 100, 50].repeat(63), image::ExtendedColorType::Rgb8);
    assert_close(&pixels(&json!({}), flat, 9, 7), &[[200, 100, 50]; 63], 2, "rgb");
    let grey = jpeg(9, 7, &[77; 63], image::ExtendedColorType::L8);
    assert_close(&pixels(&json!({}), grey, 9, 7), &[[77; 3]; 63], 1, "grey");
}

#[test]
fn a_picture_is_turned_as_its_camera_was_held() {
    // Two squares of 16 pixels: red, then blue, seen with each orientation in the shape that it then has.
    let row = [[255, 0, 0].repeat(16), [0, 0, 255].repeat(16)].concat();
    let lying = jpeg(32, 16, &row.repeat(16), image::ExtendedColorType::Rgb8);
    let (red, blue) = ([254, 0, 0], [0, 0, 254]);
    for (orientation, width, height, expected) in [
        (1, 2, 1, [red, blue]),
        (2, 2, 1, [blue, red]),
        (3, 2, 1, [blue, red]),
        (4, 2, 1, [red, blue]),
        (5, 1, 2, [red, blue]),
        (6, 1, 2, [red, blue]),
        (7, 1, 2, [blue, red]),
        (8, 1, 2, [blue, red]),
    ] {
        let found = pixels(
            &json!({"resize": "nearest"}),
            with_orientation(&lying, orientation),
            width,
            height,
        );
        assert_close(&found, &expected, 3, &format!("orientation {orientation}"));
    }
    // Without a resize the same.
    let found = pixels(&json!({}), with_orientation(&lying, 8), 16, 32);
    assert_close(&found[..16], &[blue; 16], 3, "the top row");
}

#[test]
fn png_orientation_counts_too() {
    let mut info = png::Info::with_size(2, 1);
    info.color_type = png::ColorType::Grayscale;
    info.exif_metadata = Some(
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x02\0\0\0"
            .as_slice()
            .into(),
    );
    let mut file = Vec::new();
    png::Encoder::with_info(&mut file, info)
        .unwrap()
        .write_header()
        .unwrap()
        .write_image_data(&[1, 2])
        .unwrap();
    assert_eq!(pixels(&json!({}), file, 2, 1), [[2; 3], [1; 3]]);
}

/// The numbers are Pillow's, by `testdata/make.py`.
#[test]
fn resizing_gives_the_numbers_of_pillow() {
    let check = |filter: &str, body: Vec<u8>, expected: &[u8]| {
        let found = pixels(&json!({"resize": filter}), body, 5, 4);
        assert_eq!(found.concat(), expected, "{filter}");
    };
    check("bilinear", rgb_png(23, 17), &BILINEAR_SMALLER);
    check("bilinear", rgb_png(3, 2), &BILINEAR_LARGER);
    check("lanczos", rgb_png(23, 17), &LANCZOS_SMALLER);
    check("nearest", rgb_png(23, 17), &NEAREST_SMALLER);
}

#[test]
fn a_picture_of_the_right_size_is_taken_as_it_is() {
    for filter in ["bilinear", "lanczos", "nearest"] {
        for fit in ["stretch", "crop"] {
            let settings = json!({"resize": filter, "fit": fit});
            assert_eq!(
                pixels(&settings, rgb_png(20, 10), 20, 10),
                pattern(20, 10),
                "{settings}"
            );
        }
    }
}

#[test]
fn cropping_takes_the_centre() {
    let settings = json!({"fit": "crop", "resize": "nearest"});
    let cut = |width: u32, height: u32, left: u32, top: u32, to: u32| -> Vec<[u8; 3]> {
        let all = pattern(width, height);
        (0..to)
            .flat_map(|y| (0..to).map(move |x| ((top + y) * width + left + x) as usize))
            .map(|at| all[at])
            .collect()
    };
    assert_eq!(pixels(&settings, rgb_png(20, 10), 10, 10), cut(20, 10, 5, 0, 10));
    assert_eq!(pixels(&settings, rgb_png(10, 21), 10, 10), cut(10, 21, 0, 5, 10));
    // A target so slender that the part would be less than a pixel wide.
    assert_eq!(pixels(&settings, rgb_png(20, 1), 1, 40).len(), 40);
    assert_eq!(pixels(&json!({"fit": "crop"}), rgb_png(1, 20), 40, 1).len(), 40);
}

#[test]
fn the_model_gets_the_channels_and_elements_that_it_wants() {
    let file = png(
        2,
        1,
        png::ColorType::Rgb,
        png::BitDepth::Eight,
        &[255, 0, 0, 51, 51, 51],
    );
    let tensor = |shape: [u32; 3], element| {
        let wants = TensorType {
            shape: shape.to_vec(),
            element,
        };
        preprocess(&json!({}), &message(file.clone(), "image/png"), &wants).unwrap()
    };
    assert_eq!(
        tensor([1, 1, 2], Element::Byte),
        Tensor::bytes([1, 1, 2], vec![76, 51]).unwrap()
    );
    assert_eq!(
        tensor([3, 1, 2], Element::Byte),
        Tensor::bytes([3, 1, 2], vec![255, 51, 0, 51, 0, 51]).unwrap()
    );
    let floats = vec![1.0, 0.2, 0.0, 0.2, 0.0, 0.2];
    assert_eq!(
        tensor([3, 1, 2], Element::Float),
        Tensor::floats([3, 1, 2], floats).unwrap()
    );
    for shape in [vec![3, 2], vec![4, 8, 8], vec![3, 0, 8], vec![1, 3, 8, 8]] {
        let wants = TensorType {
            shape,
            element: Element::Byte,
        };
        let text = reject(&json!({}), &message(file.clone(), "image/png"), &wants);
        assert!(text.ends_with("a picture makes (1 or 3, height, width)"), "{text}");
    }
}

#[test]
fn raw_rgb_is_taken_where_it_is_announced() {
    let raw = pattern(4, 2).concat();
    let planes = |message: &TestMessage| preprocess(&json!({}), message, &wants(3, 2, 4)).map(Tensor::into_parts);
    let expected = planes(&message(rgb_png(4, 2), "image/png")).unwrap();
    for content_type in ["image/x-rgb", "IMAGE/X-RGB; width=4", "application/octet-stream"] {
        assert_eq!(
            planes(&message(raw.clone(), content_type)).unwrap(),
            expected,
            "{content_type}"
        );
    }
    let unlabelled = TestMessage {
        body: raw.clone(),
        ..TestMessage::default()
    };
    assert_eq!(planes(&unlabelled).unwrap(), expected);

    // By its headers it is of another size.
    let header = |name: &str, value: &str| Property {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let headers = vec![header("width", "23"), header("height", "17")];
    let large = TestMessage {
        headers,
        ..message(pattern(23, 17).concat(), "image/x-rgb")
    };
    let resized = preprocess(&json!({}), &large, &wants(3, 4, 5)).unwrap();
    let decoded = preprocess(&json!({}), &message(rgb_png(23, 17), "image/png"), &wants(3, 4, 5)).unwrap();
    assert_eq!(resized, decoded);

    // The first three bytes of a JPEG are a colour where it is said to be one.
    let mut colour = raw.clone();
    colour[..3].copy_from_slice(&[0xff, 0xd8, 0xff]);
    assert!(planes(&message(colour, "image/x-rgb")).is_ok());
    // A picture with a signature is what it is, whatever its sender says.
    assert_eq!(planes(&message(rgb_png(4, 2), "image/x-rgb")).unwrap(), expected);
    assert_eq!(planes(&message(rgb_png(4, 2), "image/jpeg")).unwrap(), expected);

    let check = |message: &TestMessage, expected: &str| {
        let text = reject(&json!({}), message, &wants(3, 2, 4));
        assert!(text.contains(expected), "{text}");
    };
    check(
        &message(raw[1..].to_vec(), "image/x-rgb"),
        "raw RGB of 4x2 pixels has 24 bytes, the body has 23",
    );
    check(
        &message(raw.clone(), "image/png"),
        "not a PNG, JPEG, WebP, GIF or raw RGB picture: begins with 00 00 00 0b 00 01 16 00",
    );
    check(
        &TestMessage {
            headers: vec![header("width", "4")],
            ..message(raw.clone(), "image/x-rgb")
        },
        "no `height`",
    );
    let headers = vec![header("width", "4"), header("height", "-2")];
    check(
        &TestMessage {
            headers,
            ..message(raw.clone(), "image/x-rgb")
        },
        "`height` is not a number of pixels",
    );
    let headers = vec![header("width", "4294967295"), header("height", "4294967295")];
    check(
        &TestMessage {
            headers,
            ..message(raw, "image/x-rgb")
        },
        "the body has 24",
    );
}

const BILINEAR_SMALLER: [u8; 60] = [
    31, 23, 36, 76, 65, 40, 127, 96, 45, 178, 107, 50, 221, 108, 54, 43, 65, 102, 88, 140, 106, 139, 128, 111, 190,
    133, 116, 202, 128, 120, 55, 98, 174, 100, 131, 178, 151, 128, 183, 202, 128, 187, 153, 131, 188, 67, 105, 147,
    112, 125, 142, 163, 115, 147, 209, 123, 141, 103, 130, 99,
];

const BILINEAR_LARGER: [u8; 60] = [
    0, 0, 0, 4, 0, 0, 11, 0, 1, 18, 0, 2, 22, 0, 2, 1, 0, 4, 5, 1, 4, 12, 1, 5, 19, 2, 6, 23, 3, 6, 2, 0, 13, 6, 2, 13,
    13, 4, 14, 20, 6, 15, 24, 8, 15, 3, 0, 17, 7, 2, 17, 14, 5, 18, 21, 8, 19, 25, 10, 19,
];

const LANCZOS_SMALLER: [u8; 60] = [
    25, 13, 30, 75, 59, 34, 126, 97, 39, 177, 104, 44, 227, 103, 48, 37, 60, 97, 87, 157, 101, 137, 133, 106, 196, 139,
    111, 206, 134, 116, 51, 98, 190, 101, 138, 195, 149, 119, 200, 217, 128, 204, 147, 132, 204, 63, 102, 146, 113,
    129, 138, 162, 111, 146, 224, 122, 140, 91, 131, 91,
];

const NEAREST_SMALLER: [u8; 60] = [
    28, 20, 36, 72, 60, 40, 127, 110, 45, 182, 160, 50, 226, 200, 54, 40, 60, 104, 84, 180, 108, 139, 74, 113, 194,
    224, 118, 238, 88, 122, 52, 100, 172, 96, 44, 176, 151, 38, 181, 206, 32, 186, 250, 232, 190, 64, 140, 240, 108,
    164, 244, 163, 2, 249, 218, 96, 254, 6, 120, 2,
];
