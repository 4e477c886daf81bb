//! The plugin from message to tensor, natively.

mod evaluation;
mod fuzz;
mod kinds;
mod refusals;

use millrace_plugin::serde_json::{Value, json};
use millrace_plugin::testing::{self, TestMessage};
use millrace_plugin::{Element, Preprocessor, Property, Refusal, Tensor, TensorData, TensorType};

use super::DecodeImage;

const PROGRESSIVE: &[u8] = include_bytes!("../../testdata/progressive.jpg");
const SUBSAMPLED: &[u8] = include_bytes!("../../testdata/subsampled.jpg");
const CMYK: &[u8] = include_bytes!("../../testdata/cmyk.jpg");
const INTERLACED: &[u8] = include_bytes!("../../testdata/interlaced.png");

/// The SDK's, which compares them with Pillow's pixels.
const LOSSY: &[u8] = include_bytes!("../../../sdk/testdata/image/lossy.webp");
const LOSSLESS: &[u8] = include_bytes!("../../../sdk/testdata/image/lossless.webp");
const PALETTE: &[u8] = include_bytes!("../../../sdk/testdata/image/palette.webp");
const LOSSY_ALPHA: &[u8] = include_bytes!("../../../sdk/testdata/image/lossy-alpha.webp");
const LOSSLESS_ALPHA: &[u8] = include_bytes!("../../../sdk/testdata/image/lossless-alpha.webp");
const TURNED: &[u8] = include_bytes!("../../../sdk/testdata/image/turned.webp");
const ANIMATED_LOSSY: &[u8] = include_bytes!("../../../sdk/testdata/image/animated-lossy.webp");
const ANIMATED: &[u8] = include_bytes!("../../../sdk/testdata/image/animated.webp");
const STILL_GIF: &[u8] = include_bytes!("../../../sdk/testdata/image/still.gif");
const ANIMATED_GIF: &[u8] = include_bytes!("../../../sdk/testdata/image/animated.gif");
const TRANSPARENT_GIF: &[u8] = include_bytes!("../../../sdk/testdata/image/transparent.gif");
const PART_GIF: &[u8] = include_bytes!("../../../sdk/testdata/image/part.gif");
const WEBPS: [&[u8]; 8] = [
    LOSSY,
    LOSSLESS,
    PALETTE,
    LOSSY_ALPHA,
    LOSSLESS_ALPHA,
    TURNED,
    ANIMATED_LOSSY,
    ANIMATED,
];
const GIFS: [&[u8]; 4] = [STILL_GIF, ANIMATED_GIF, TRANSPARENT_GIF, PART_GIF];

/// What the four quarters of the JPEGs are.
const QUARTERS: [[u8; 3]; 4] = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]];

fn wants(channels: u32, height: u32, width: u32) -> TensorType {
    TensorType {
        shape: vec![channels, height, width],
        element: Element::Byte,
    }
}

fn message(body: impl Into<Vec<u8>>, content_type: &str) -> TestMessage {
    TestMessage {
        body: body.into(),
        content_type: Some(content_type.to_owned()),
        ..TestMessage::default()
    }
}

fn preprocess(settings: &Value, message: &TestMessage, wants: &TensorType) -> Result<Tensor, Refusal> {
    let mut plugin: DecodeImage = testing::preprocessor(&settings.to_string()).unwrap();
    plugin.preprocess(&message.view(), wants)
}

/// The tensor of a picture, as RGB pixels.
#[track_caller]
fn pixels(settings: &Value, body: impl Into<Vec<u8>>, width: u32, height: u32) -> Vec<[u8; 3]> {
    let tensor = preprocess(
        settings,
        &message(body, "application/octet-stream"),
        &wants(3, height, width),
    )
    .unwrap();
    let TensorData::Bytes(planes) = tensor.data() else {
        panic!("floats")
    };
    let plane = (width * height) as usize;
    (0..plane)
        .map(|at| [planes[at], planes[at + plane], planes[at + 2 * plane]])
        .collect()
}

/// The text of the refusal, which must be a reject.
#[track_caller]
fn reject(settings: &Value, message: &TestMessage, wants: &TensorType) -> String {
    match preprocess(settings, message, wants).unwrap_err() {
        Refusal::Reject(text) => text,
        other => panic!("{other:?}"),
    }
}

/// The pictures that `testdata/make.py` draws.
fn pattern(width: u32, height: u32) -> Vec<[u8; 3]> {
    let at = |x: u32, y: u32| [(x * 11 + y * 3) as u8, (x * y * 5) as u8, (y * 17 + x) as u8];
    (0..height).flat_map(|y| (0..width).map(move |x| at(x, y))).collect()
}

fn png(width: u32, height: u32, colour: png::ColorType, depth: png::BitDepth, data: &[u8]) -> Vec<u8> {
    png_with(width, height, colour, depth, data, &[], &[])
}

fn png_with(
    width: u32,
    height: u32,
    colour: png::ColorType,
    depth: png::BitDepth,
    data: &[u8],
    palette: &[u8],
    transparency: &[u8],
) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(colour);
    encoder.set_depth(depth);
    if !palette.is_empty() {
        encoder.set_palette(palette.to_vec());
    }
    if !transparency.is_empty() {
        encoder.set_trns(transparency.to_vec());
    }
    encoder.write_header().unwrap().write_image_data(data).unwrap();
    file
}

fn rgb_png(width: u32, height: u32) -> Vec<u8> {
    png(
        width,
        height,
        png::ColorType::Rgb,
        png::BitDepth::Eight,
        &pattern(width, height).concat(),
    )
}

fn jpeg(width: u32, height: u32, pixels: &[u8], colour: image::ExtendedColorType) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut file, 100);
    encoder.encode(pixels, width, height, colour).unwrap();
    file
}

/// Puts Exif data with an orientation behind the first marker of a JPEG.
fn with_orientation(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let tiff = [
        b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".as_slice(),
        &[orientation],
        b"\0\0\0\0\0\0",
    ]
    .concat();
    let segment = [b"Exif\0\0".as_slice(), &tiff].concat();
    let length = (segment.len() as u16 + 2).to_be_bytes();
    [&jpeg[..2], b"\xff\xe1", &length, &segment, &jpeg[2..]].concat()
}

#[track_caller]
fn assert_close(found: &[[u8; 3]], expected: &[[u8; 3]], most: u8, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let worst = found
            .iter()
            .zip(expected)
            .map(|(found, expected)| found.abs_diff(*expected))
            .max()
            .unwrap();
        assert!(worst <= most, "{what}: pixel {at} is {found:?}, not {expected:?}");
    }
}
