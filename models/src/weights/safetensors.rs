//! `.safetensors`: the only room that knows that crate.

use std::sync::Arc;

use safetensors::{Dtype, SafeTensors};

use super::number::Number;
use super::{Contents, Entry};

/// The length of the header stands in front of it.
const LENGTH_BYTES: usize = 8;

pub(super) fn entries(contents: Vec<u8>) -> Result<Contents, String> {
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
            Entry::new(info.shape.clone(), number(info.dtype), Box::new(bytes)),
        )
    });
    Ok(Contents {
        entries: entries.collect(),
        beside: None,
    })
}

fn number(dtype: Dtype) -> Result<Number, String> {
    match dtype {
        Dtype::F16 => Ok(Number::F16),
        Dtype::BF16 => Ok(Number::Bf16),
        Dtype::F32 => Ok(Number::F32),
        Dtype::F64 => Ok(Number::F64),
        Dtype::U8 => Ok(Number::U8),
        other => Err(format!("{other:?}")),
    }
}
