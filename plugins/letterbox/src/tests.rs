//! The plugin from message to tensor, natively. Files and filters are compared with Pillow's in the SDK.

use millrace_plugin::serde_json::{Value, json};
use millrace_plugin::testing::{self, TestMessage};
use millrace_plugin::{Element, Preprocessor, Refusal, Tensor, TensorData, TensorType};

use super::LetterboxImage;

fn png(width: u32, height: u32, colour: png::ColorType, pixels: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(colour);
    encoder.write_header().unwrap().write_image_data(pixels).unwrap();
    file
}

fn preprocess(settings: &Value, body: Vec<u8>, shape: [u32; 3], element: Element) -> Result<Tensor, Refusal> {
    let mut plugin: LetterboxImage = testing::preprocessor(&settings.to_string()).unwrap();
    let message = TestMessage {
        body,
        content_type: Some("image/png".to_owned()),
        ..TestMessage::default()
    };
    let shape = shape.to_vec();
    plugin.preprocess(&message.view(), &TensorType { shape, element })
}

/// The first channel, as rows.
#[track_caller]
fn check(settings: Value, body: Vec<u8>, shape: [u32; 3], expected: &[&[u8]]) {
    let tensor = preprocess(&settings, body, shape, Element::Byte).unwrap();
    let TensorData::Bytes(bytes) = tensor.data() else {
        panic!("floats")
    };
    let rows: Vec<&[u8]> = bytes.chunks(shape[2] as usize).take(shape[1] as usize).collect();
    assert_eq!(rows, expected, "{settings}");
}

#[test]
fn bars_fill_what_is_left_over() {
    let wide = || png(4, 2, png::ColorType::Grayscale, &[1, 2, 3, 4, 5, 6, 7, 8]);
    let (bar, top, bottom): (&[u8], &[u8], &[u8]) = (&[114; 4], &[1, 2, 3, 4], &[5, 6, 7, 8]);
    check(json!({}), wide(), [1, 4, 4], &[bar, top, bottom, bar]);
    check(json!({}), wide(), [3, 4, 4], &[bar, top, bottom, bar]);
    check(
        json!({"place": "top-left"}),
        wide(),
        [1, 4, 4],
        &[top, bottom, bar, bar],
    );
    check(
        json!({"place": "bottom-right"}),
        wide(),
        [1, 4, 4],
        &[bar, bar, top, bottom],
    );
    let tall = png(1, 3, png::ColorType::Grayscale, &[1, 2, 3]);
    check(
        json!({"fill": "#090909"}),
        tall,
        [1, 3, 4],
        &[&[9, 9, 1, 9], &[9, 9, 2, 9], &[9, 9, 3, 9]],
    );
}

#[test]
fn a_smaller_picture_grows_or_not() {
    let small = || png(2, 1, png::ColorType::Grayscale, &[10, 20]);
    let nearest = |enlarge: bool| json!({"resize": "nearest", "enlarge": enlarge, "fill": "#000000"});
    check(
        nearest(true),
        small(),
        [1, 4, 4],
        &[&[0; 4], &[10, 10, 20, 20], &[10, 10, 20, 20], &[0; 4]],
    );
    // Three rows are left over: two above, as Pillow rounds.
    check(
        nearest(false),
        small(),
        [1, 4, 4],
        &[&[0; 4], &[0; 4], &[0, 10, 20, 0], &[0; 4]],
    );
    // What is larger shrinks, either way.
    check(nearest(false), small(), [1, 1, 1], &[&[20]]);
}

#[test]
fn the_fill_has_a_colour_where_the_model_takes_one() {
    let picture = || png(1, 1, png::ColorType::Rgba, &[255, 0, 0, 0]);
    let settings = json!({"fill": "#ff0080", "background": "#0a141e"});
    let tensor = |shape, element| preprocess(&settings, picture(), shape, element).unwrap();
    assert_eq!(
        tensor([3, 1, 2], Element::Byte),
        Tensor::bytes([3, 1, 2], vec![10, 255, 20, 0, 30, 128]).unwrap()
    );
    // The greys that are as bright.
    assert_eq!(
        tensor([1, 1, 2], Element::Byte),
        Tensor::bytes([1, 1, 2], vec![18, 91]).unwrap()
    );
    let settings = json!({"fill": "#ffffff", "mean": [0.5], "std": [0.5], "background": "#000000"});
    assert_eq!(
        preprocess(&settings, picture(), [1, 1, 2], Element::Float),
        Ok(Tensor::floats([1, 1, 2], vec![-1.0, 1.0]).unwrap())
    );
}

#[test]
fn what_is_no_picture_or_no_setting_is_refused() {
    let refused = |settings: Value, body: Vec<u8>, shape| match preprocess(&settings, body, shape, Element::Byte) {
        Err(Refusal::Reject(text)) => text,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        refused(json!({}), b"hello".to_vec(), [3, 4, 4]),
        "not a PNG, JPEG, WebP, GIF or raw RGB picture: begins with 68 65 6c 6c 6f (text)"
    );
    let large = png(3, 1, png::ColorType::Grayscale, &[1, 2, 3]);
    assert_eq!(
        refused(json!({"max_width": 2}), large.clone(), [3, 4, 4]),
        "a picture of 3x1 pixels is larger than 2x8192, the limit"
    );
    assert_eq!(
        refused(json!({}), large, [2, 4, 4]),
        "the model wants a tensor of shape [2, 4, 4]: a picture makes (1 or 3, height, width)"
    );
    let check = |settings: Value, expected: &str| {
        let error = testing::preprocessor::<LetterboxImage>(&settings.to_string()).unwrap_err();
        assert!(error.contains(expected), "{settings} gave: {error}");
    };
    check(
        json!({"fit": "crop"}),
        "unknown field `fit`, expected one of `fill`, `place`",
    );
    check(
        json!({"fill": "grey"}),
        "`fill`: `grey` is not a colour such as `#ffffff`",
    );
    check(
        json!({"place": "left"}),
        "expected one of `center`, `top-left`, `bottom-right`",
    );
    check(json!({"mean": [1, 2]}), "`mean` has 2 numbers, not 1 or 3");
}
