//! Any tensor and any results of a plugin's: what passes is exactly what the model takes and an envelope can hold.

use millrace_fuzz::config;
use millrace_fuzz::prelude::*;
use millrace_fuzz::proptest::collection::vec;
use millrace_fuzz::proptest::option;
use millrace_types::message::{Element, TensorData, TensorType};

use super::bindings::plugin::millrace::pipeline::types;
use super::bindings::route::exports::millrace::pipeline::route;
use super::output::{RESULT_BODIES_MAX_BYTES, outbounds, tensor};
use super::{CallError, text};

fn input_type() -> impl Strategy<Value = TensorType> {
    (vec(1..6_u32, 1..4), any::<bool>()).prop_map(|(shape, byte)| TensorType {
        shape,
        element: if byte { Element::Byte } else { Element::Float },
    })
}

/// Axes: those that are wanted, nearly those, or any.
fn shape(wanted: Vec<u32>) -> impl Strategy<Value = Vec<u32>> {
    let swapped: Vec<u32> = wanted.iter().rev().copied().collect();
    prop_oneof![
        6 => Just(wanted),
        1 => Just(swapped),
        1 => vec(any::<u32>(), 0..20),
    ]
}

fn data(n: usize) -> impl Strategy<Value = types::TensorData> {
    let length = prop_oneof![6 => Just(n), 1 => Just(n + 1), 1 => 0..n.max(1)];
    (length, any::<bool>()).prop_flat_map(|(length, byte)| {
        if byte {
            vec(any::<u8>(), length).prop_map(types::TensorData::Bytes).boxed()
        } else {
            let float = prop_oneof![
                200 => any::<u16>().prop_map(f32::from),
                1 => any::<u32>().prop_map(f32::from_bits),
            ];
            vec(float, length).prop_map(types::TensorData::Floats).boxed()
        }
    })
}

fn any_tensor() -> impl Strategy<Value = (TensorType, types::Tensor)> {
    input_type().prop_flat_map(|input_type| {
        let n = usize::try_from(input_type.elements()).unwrap();
        let tensor = (shape(input_type.shape.clone()), data(n));
        (
            Just(input_type),
            tensor.prop_map(|(shape, data)| types::Tensor { shape, data }),
        )
    })
}

/// Whether a tensor is exactly what is wanted, said another way than the code under test says it.
fn is_right(tensor: &types::Tensor, input_type: &TensorType) -> bool {
    let n: u64 = input_type.shape.iter().map(|axis| u64::from(*axis)).product();
    let (element, length, finite) = match &tensor.data {
        types::TensorData::Bytes(bytes) => (Element::Byte, bytes.len(), true),
        types::TensorData::Floats(floats) => (
            Element::Float,
            floats.len(),
            floats.iter().all(|float| float.is_finite()),
        ),
    };
    tensor.shape == input_type.shape && element == input_type.element && length as u64 == n && finite
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![8 => "[a-z-]{0,12}", 1 => ".{0,20}", 1 => "[a-z]{250,260}"]
}

fn outbound() -> impl Strategy<Value = route::Outbound> {
    let header = (
        name(),
        prop_oneof![8 => "[ -~]{0,20}", 1 => ".{0,20}", 1 => Just("v".repeat(9000))],
    )
        .prop_map(|(name, value)| types::Property { name, value })
        .boxed();
    let parts = (
        name(),
        option::of(name()),
        vec(any::<u8>(), 0..32),
        option::of(name()),
        prop_oneof![8 => vec(header.clone(), 0..4), 1 => vec(header, 60..70)],
    );
    parts.prop_map(|(destination, key, body, content_type, headers)| route::Outbound {
        destination,
        key,
        body,
        content_type,
        headers,
    })
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn output_tensors_pass_exactly_when_the_model_takes_them((input_type, given) in any_tensor()) {
        let right = is_right(&given, &input_type);
        match tensor(given.clone(), &input_type) {
            Ok(passed) => {
                prop_assert!(right, "{given:?} passed for {input_type}");
                prop_assert_eq!(passed.shape(), input_type.shape.as_slice());
                match (passed.data(), given.data) {
                    (TensorData::Bytes(passed), types::TensorData::Bytes(given)) => prop_assert_eq!(passed, &given),
                    (TensorData::Floats(passed), types::TensorData::Floats(given)) => prop_assert_eq!(passed, &given),
                    other => prop_assert!(false, "{other:?}"),
                }
            }
            Err(CallError::BadOutput { text, .. }) => {
                prop_assert!(!right, "{input_type} was refused: {text}");
                prop_assert!(text.len() < 1024 && !text.chars().any(text::is_unsafe), "{text:?}");
            }
            Err(other) => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn output_results_that_pass_fit_into_an_envelope(given in vec(outbound(), 0..10)) {
        match outbounds(given.clone(), RESULT_BODIES_MAX_BYTES) {
            Ok(passed) => {
                prop_assert_eq!(passed.len(), given.len());
                prop_assert!(passed.len() <= 8);
                for outbound in &passed {
                    let names = [Some(&outbound.destination), outbound.key.as_ref(), outbound.content_type.as_ref()];
                    let headers = &outbound.headers;
                    for name in names.into_iter().flatten().chain(headers.iter().map(|(name, _)| name)) {
                        prop_assert!(name.len() <= 255 && !name.chars().any(text::is_unsafe), "{name:?}");
                    }
                    prop_assert!(headers.len() <= 64);
                    prop_assert!(headers.iter().all(|(name, value)| !name.is_empty() && !value.chars().any(text::is_unsafe)));
                    prop_assert!(headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() <= 64 << 10);
                }
            }
            Err(CallError::BadOutput { text, .. }) => {
                prop_assert!(text.len() < 1024 && !text.chars().any(text::is_unsafe), "{text:?}");
            }
            Err(other) => prop_assert!(false, "{other:?}"),
        }
    }
}
