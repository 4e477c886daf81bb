//! Any bytes as a tensor: one of the type that the model takes, or a refusal, and no more memory than the body deserves.

use millrace_fuzz::prelude::*;
use millrace_fuzz::{bytes, config, peak_bytes, proptest};

use super::*;

/// What the test itself, and the allocator's own rooms, may take.
const SLACK_BYTES: u64 = 512 << 20;

fn files() -> Vec<Vec<u8>> {
    [
        BYTES, HALVES, FLOATS, DOUBLES, BATCH, VERSION_2, VERSION_3, FORTRAN, ONE, TWO,
    ]
    .map(<[u8]>::to_vec)
    .to_vec()
}

fn check(settings: &Value, body: &[u8], element: Element) -> Result<(), TestCaseError> {
    let before = peak_bytes();
    match preprocess(settings, body, &wants(element)) {
        Ok(tensor) => prop_assert_eq!(tensor.tensor_type(), wants(element)),
        Err(Refusal::Reject(text)) => prop_assert!(!text.is_empty()),
        Err(other) => prop_assert!(false, "{other:?}"),
    }
    if let (Some(before), Some(after)) = (before, peak_bytes()) {
        prop_assert!(after - before <= SLACK_BYTES, "took {} bytes", after - before);
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(1000))]

    #[test]
    fn a_tensor_is_read_or_refused(body in bytes(files())) {
        for format in ["auto", "raw", "npy", "safetensors"] {
            for element in [Element::Byte, Element::Float] {
                check(&json!({ "format": format }), &body, element)?;
            }
        }
        check(&json!({"tensor": "picture"}), &body, Element::Byte)?;
    }

    #[test]
    fn what_is_written_is_read(
        floats in proptest::collection::vec(any::<f32>(), 12), version in 1..=3_u8, batch in any::<bool>()
    ) {
        let shape = if batch { "(1, 3, 2, 2)" } else { "(3, 2, 2)" };
        let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n");
        let mut body = [b"\x93NUMPY", [version, 0].as_slice()].concat();
        match version {
            1 => body.extend((header.len() as u16).to_le_bytes()),
            _ => body.extend((header.len() as u32).to_le_bytes()),
        }
        body.extend(header.bytes());
        body.extend(floats.iter().flat_map(|float| float.to_le_bytes()));
        let tensor = preprocess(&json!({}), &body, &wants(Element::Float)).unwrap();
        prop_assert_eq!(tensor.data(), &TensorData::Floats(floats));
    }
}
