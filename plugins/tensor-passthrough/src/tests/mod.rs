//! The plugin from message to tensor, natively.

mod fuzz;

use millrace_plugin::serde_json::{Value, json};
use millrace_plugin::testing::{self, TestMessage};
use millrace_plugin::{Element, TensorData};

use super::*;

macro_rules! files {
    ($($name:ident = $file:literal;)+) => {
        $(const $name: &[u8] = include_bytes!(concat!("../../testdata/", $file));)+
    };
}

files! {
    BYTES = "bytes.npy";
    HALVES = "halves.npy";
    FLOATS = "floats.npy";
    DOUBLES = "doubles.npy";
    BATCH = "batch.npy";
    VERSION_2 = "version-2.npy";
    VERSION_3 = "version-3.npy";
    FORTRAN = "fortran.npy";
    BIG_ENDIAN = "big-endian.npy";
    INTEGERS = "integers.npy";
    STRUCTURES = "structures.npy";
    ONE = "one.safetensors";
    TWO = "two.safetensors";
}

/// What `testdata/make.py` writes.
const SHAPE: [u32; 3] = [3, 2, 2];

fn wants(element: Element) -> TensorType {
    TensorType {
        shape: SHAPE.to_vec(),
        element,
    }
}

fn preprocess(settings: &Value, body: &[u8], wants: &TensorType) -> Result<Tensor, Refusal> {
    let mut plugin: TensorPassthrough = testing::preprocessor(&settings.to_string()).unwrap();
    let message = TestMessage {
        body: body.to_vec(),
        ..TestMessage::default()
    };
    plugin.preprocess(&message.view(), wants)
}

fn byte_elements() -> TensorData {
    TensorData::Bytes((0..12).collect())
}

fn float_elements() -> TensorData {
    TensorData::Floats((0_u8..12).map(f32::from).collect())
}

fn raw_floats() -> Vec<u8> {
    (0_u8..12).flat_map(|n| f32::from(n).to_le_bytes()).collect()
}

#[test]
fn every_format_gives_its_elements() {
    #[track_caller]
    fn check(format: &str, body: &[u8], element: Element) {
        let expected = match element {
            Element::Byte => byte_elements(),
            Element::Float => float_elements(),
        };
        for settings in [json!({}), json!({ "format": format })] {
            let tensor = preprocess(&settings, body, &wants(element)).unwrap();
            assert_eq!(
                (tensor.shape(), tensor.data()),
                (SHAPE.as_slice(), &expected),
                "{settings}"
            );
        }
    }
    check("npy", BYTES, Element::Byte);
    for body in [HALVES, FLOATS, DOUBLES, BATCH, VERSION_2, VERSION_3] {
        check("npy", body, Element::Float);
    }
    check("safetensors", ONE, Element::Float);
    check("raw", &(0..12).collect::<Vec<u8>>(), Element::Byte);
    check("raw", &raw_floats(), Element::Float);
}

#[test]
fn one_of_several_tensors_is_named() {
    let settings = json!({"tensor": "picture"});
    let tensor = preprocess(&settings, TWO, &wants(Element::Byte)).unwrap();
    assert_eq!(tensor.data(), &byte_elements());
}

#[test]
fn a_raw_tensor_may_begin_like_a_file_where_it_is_said_to_be_raw() {
    let mut body = b"\x93NUMPY".to_vec();
    body.resize(12, 0);
    let tensor = preprocess(&json!({"format": "raw"}), &body, &wants(Element::Byte)).unwrap();
    assert_eq!(tensor.data(), &TensorData::Bytes(body));
}

#[test]
fn what_is_not_the_tensor_is_refused_in_words() {
    #[track_caller]
    fn check(settings: Value, body: &[u8], element: Element, expected: &str) {
        match preprocess(&settings, body, &wants(element)) {
            Err(Refusal::Reject(text)) => assert!(text.contains(expected), "{text}"),
            other => panic!("{other:?}"),
        }
    }
    use Element::{Byte, Float};
    let auto = || json!({});
    check(auto(), b"", Byte, "the body is empty");
    check(
        auto(),
        &[7; 11],
        Byte,
        "(it begins with 07 07 07 07), and raw bytes of the shape [3, 2, 2] are 12 bytes, the body has 11",
    );
    check(
        auto(),
        &[7; 12],
        Float,
        "raw 32-bit floats of the shape [3, 2, 2] are 48 bytes, the body has 12",
    );
    check(
        auto(),
        b"\x89PNG\r\n\x1a\n and more",
        Byte,
        "it is a PNG: decode-image reads it",
    );
    check(
        auto(),
        b"\x80\x04\x95 and more of it",
        Byte,
        "a pickle, which this host does not read: it can run code",
    );
    check(
        auto(),
        b"PK\x03\x04 and more of it",
        Byte,
        "send one array with `numpy.save`",
    );
    check(
        auto(),
        FORTRAN,
        Float,
        "it is in Fortran order: save `numpy.ascontiguousarray(array)`",
    );
    check(auto(), BIG_ENDIAN, Float, "it is big-endian (`>f4`)");
    check(auto(), INTEGERS, Float, "its elements are `<i8`; known are `|u1`");
    check(
        auto(),
        STRUCTURES,
        Byte,
        "its elements are structures of several fields",
    );
    check(auto(), BYTES, Float, "it holds bytes, the model takes floats");
    check(auto(), DOUBLES, Byte, "it holds 64-bit floats, the model takes bytes");
    check(
        auto(),
        TWO,
        Byte,
        "the safetensors file holds `label`, `picture`: the setting `tensor` says which is taken",
    );
    check(
        json!({"tensor": "image"}),
        TWO,
        Byte,
        "has no tensor `image`, but `label`, `picture`",
    );
    check(json!({"tensor": "label"}), TWO, Byte, "the tensor's elements are I64");
    check(
        json!({"format": "raw"}),
        FLOATS,
        Float,
        "the shape [3, 2, 2] are 48 bytes, the body has 176",
    );
    check(
        json!({"format": "npy"}),
        ONE,
        Float,
        "it does not begin with `\\x93NUMPY`",
    );
    check(
        json!({"format": "safetensors"}),
        FLOATS,
        Float,
        "not a safetensors file that can be read: ",
    );
}

#[test]
fn a_header_that_lies_is_refused() {
    #[track_caller]
    fn check(file: &[u8], from: &str, to: &str, expected: &str) {
        let at = file
            .windows(from.len())
            .position(|part| part == from.as_bytes())
            .unwrap();
        let mut body = file.to_vec();
        body.splice(at..at + from.len(), to.bytes());
        match preprocess(&json!({}), &body, &wants(Element::Float)) {
            Err(Refusal::Reject(text)) => assert!(text.contains(expected), "{text}"),
            other => panic!("{other:?}"),
        }
    }
    check(
        FLOATS,
        "(3, 2, 2)",
        "(2, 2, 3)",
        "its shape is [2, 2, 3], the model takes [3, 2, 2]",
    );
    check(FLOATS, "(3, 2, 2)", "(9999999999, 2, 2)", "its shape is");
    check(
        BATCH,
        "(1, 3, 2, 2)",
        "(2, 3, 2, 2)",
        "it is a batch of 2: a message is one tensor",
    );
    check(
        FLOATS,
        "<f4",
        "<f8",
        "64-bit floats of the shape [3, 2, 2] are 96 bytes, there are 48",
    );
    check(
        FLOATS,
        "NUMPY\x01\0",
        "NUMPY\x01\x01",
        "its version is 1.1, 1.0 to 3.0 are known",
    );
    check(VERSION_2, "NUMPY\x02\0", "NUMPY\x04\0", "its version is 4.0");
    check(ONE, "[0,48]", "[0,44]", "not a safetensors file that can be read");
    check(ONE, "[3,2,2]", "[3,2,9]", "not a safetensors file that can be read");
    check(
        ONE,
        "{",
        "{{",
        "not a safetensors file that can be read: invalid JSON in header",
    );
    let mut torn = FLOATS.to_vec();
    for (length, expected) in [
        (175, "are 48 bytes, there are 47"),
        (100, "it ends within its header"),
        (7, "it ends within"),
    ] {
        torn.truncate(length);
        let text = preprocess(&json!({}), &torn, &wants(Element::Float)).unwrap_err();
        assert!(format!("{text:?}").contains(expected), "{text:?}");
    }
    let mut long = FLOATS.to_vec();
    long[8..10].copy_from_slice(&u16::MAX.to_le_bytes());
    let text = preprocess(&json!({}), &long, &wants(Element::Float)).unwrap_err();
    assert!(
        format!("{text:?}").contains("its header has 65535 bytes, the limit is 10000"),
        "{text:?}"
    );
}

#[test]
fn wrong_settings_are_refused() {
    let check = |settings: Value, expected: &str| {
        let error = testing::preprocessor::<TensorPassthrough>(&settings.to_string()).unwrap_err();
        assert!(error.contains(expected), "{settings} gave: {error}");
    };
    check(
        json!({"format": "npz"}),
        "`format`: unknown variant `npz`, expected one of `auto`, `raw`",
    );
    check(
        json!({"format": "npy", "tensor": "x"}),
        "`tensor` is for safetensors files",
    );
}

#[test]
fn the_readme_says_what_is_declared() {
    assert_eq!(testing::readme::<Settings>(include_str!("../../README.md")), Ok(()));
}
