//! `.safetensors`: the only room that knows that crate.

use std::collections::BTreeMap;
use std::sync::Arc;

use safetensors::{Dtype, SafeTensors};

use super::Entry;
use super::number::Number;

/// The length of the header stands in front of it.
const LENGTH_BYTES: usize = 8;

pub(super) fn entries(contents: Vec<u8>) -> Result<BTreeMap<String, Entry>, String> {
    let contents = Arc::new(contents);
    let (header_bytes, metadata) =
        SafeTensors::read_metadata(&contents).map_err(|error| format!("no safetensors file: {error}"))?;
    let data = LENGTH_BYTES + header_bytes;
    // `read_metadata` has checked that the tensors cover the data exactly, when the file is whole.
    if contents.len() != data + metadata.data_len() {
        let expected = data + metadata.data_len();
        return Err(format!(
            "no safetensors file: {} bytes, its header says {expected}",
            contents.len()
        ));
    }
    let entries = metadata.tensors().into_iter().map(|(name, info)| {
        let (start, end) = info.data_offsets;
        let contents = Arc::clone(&contents);
        let bytes = move || match contents.get(data + start..data + end) {
            Some(bytes) => Ok(bytes.to_vec()),
            None => Err("a tensor lies outside the file".to_owned()),
        };
        (
            name,
            Entry {
                shape: info.shape.clone(),
                number: number(info.dtype),
                bytes: Box::new(bytes),
            },
        )
    });
    Ok(entries.collect())
}

fn number(dtype: Dtype) -> Option<Number> {
    match dtype {
        Dtype::F16 => Some(Number::F16),
        Dtype::BF16 => Some(Number::Bf16),
        Dtype::F32 => Some(Number::F32),
        Dtype::F64 => Some(Number::F64),
        Dtype::U8 => Some(Number::U8),
        _ => None,
    }
}
