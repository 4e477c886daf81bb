//! Pictures as tensors, and what is refused on the way.

use super::super::{Decoder, Format, ImageError, Normalisation, Order, Picture, Target};
use super::draw;
use crate::testing::TestMessage;
use crate::{Element, Refusal, Tensor, TensorType};

fn target(shape: [u32; 3], element: Element) -> Target {
    let wants = TensorType {
        shape: shape.to_vec(),
        element,
    };
    Target::of(&wants).unwrap()
}

#[test]
fn channels_come_first_in_the_order_that_is_asked_for() {
    let picture = Picture::rgb(2, 1, vec![1, 2, 3, 4, 5, 6]).unwrap();
    let bytes = target([3, 1, 2], Element::Byte);
    let expected = |bytes: [u8; 6]| Ok(Tensor::bytes([3, 1, 2], bytes.to_vec()).unwrap());
    assert_eq!(bytes.tensor(&picture), expected([1, 4, 2, 5, 3, 6]));
    assert_eq!(
        bytes.with_order(Order::Bgr).tensor(&picture),
        expected([3, 6, 2, 5, 1, 4])
    );
    assert_eq!(
        bytes.tensor(&picture.clone().flip_horizontal()),
        expected([4, 1, 5, 2, 6, 3])
    );
    let grey = Picture::grey(2, 1, vec![7, 8]).unwrap();
    assert_eq!(bytes.tensor(&grey), expected([7, 8, 7, 8, 7, 8]));

    let one = target([1, 1, 2], Element::Byte);
    assert_eq!(one.tensor(&grey), Ok(Tensor::bytes([1, 1, 2], vec![7, 8]).unwrap()));
    assert_eq!(one.tensor(&picture), Ok(Tensor::bytes([1, 1, 2], vec![2, 5]).unwrap()));
    assert_eq!(one.coloured(picture).channels(), 1);
}

#[test]
fn floats_are_normalised_channel_by_channel() {
    let picture = Picture::rgb(1, 1, vec![255, 0, 51]).unwrap();
    let floats = target([3, 1, 1], Element::Float);
    let expected = |floats: [f32; 3]| Ok(Tensor::floats([3, 1, 1], floats.to_vec()).unwrap());
    assert_eq!(floats.tensor(&picture), expected([1.0, 0.0, 0.2]));
    let normalisation = Normalisation::new(&[0.0, 0.5, 0.2], &[2.0, 0.5, 1.0]).unwrap();
    assert_eq!(floats.normalised(&picture, &normalisation), expected([0.5, -1.0, 0.0]));
    // The numbers go by the channels of the tensor.
    let blue_first = floats.with_order(Order::Bgr).normalised(&picture, &normalisation);
    assert_eq!(blue_first, expected([0.1, -1.0, 0.8]));
    assert_eq!(
        target([3, 1, 1], Element::Byte).normalised(&picture, &normalisation),
        Err(ImageError::NormalisedBytes)
    );
}

#[test]
fn a_tensor_of_another_shape_cannot_be_made() {
    for shape in [
        vec![3, 2],
        vec![4, 8, 8],
        vec![3, 0, 8],
        vec![3, 8, 0],
        vec![1, 3, 8, 8],
    ] {
        let element = Element::Byte;
        let error = Target::of(&TensorType { shape, element }).unwrap_err();
        assert!(matches!(error, ImageError::Shape { .. }));
    }
    let error = target([3, 4, 5], Element::Byte)
        .tensor(&draw("noise", 4, 5))
        .unwrap_err();
    assert_eq!(
        Refusal::from(error),
        Refusal::reject("the model wants 5x4 pixels, the picture has 4x5")
    );
}

#[test]
fn formats_that_are_not_wanted_are_refused() {
    let webp = include_bytes!("../../../testdata/image/lossy.webp");
    let check = |formats: &[Format], expected: &str| {
        let decoder = Decoder::default().with_formats(formats.iter().copied());
        let error = decoder.decode(webp).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("not a {expected}: begins with 52 49 46 46 da 03 00 00 (a WebP)")
        );
        let message = TestMessage {
            body: webp.to_vec(),
            content_type: Some("image/webp".to_owned()),
            ..TestMessage::default()
        };
        decoder
            .message(&message.view(), &target([3, 1, 1], Element::Byte))
            .unwrap_err()
            .to_string()
    };
    let from_message = check(&[Format::Png], "PNG picture");
    assert_eq!(
        from_message,
        "not a PNG or raw RGB picture: begins with 52 49 46 46 da 03 00 00 (a WebP)"
    );
    check(&[Format::Png, Format::Gif], "PNG or GIF picture");
    check(&[Format::Png, Format::Gif, Format::Jpeg], "PNG, GIF or JPEG picture");
    check(&[], "known picture");
}
