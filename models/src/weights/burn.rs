//! Burn's own `.bpk`: the only room that knows that crate.

use std::collections::BTreeMap;

use burn_pack::{Bytes, DType, Reader};

use super::Entry;
use super::number::Number;

pub(super) fn entries(contents: Vec<u8>) -> Result<BTreeMap<String, Entry>, String> {
    let failed = |error: burn_pack::Error| format!("no Burn file: {error}");
    let reader = Reader::from_bytes(Bytes::from_bytes_vec(contents)).map_err(failed)?;
    let entries = reader.into_tensors().map_err(failed)?.into_iter().map(|tensor| {
        let (name, shape) = (tensor.name.clone(), tensor.shape.as_slice().to_vec());
        let number = number(tensor.dtype);
        let bytes = move || match tensor.to_bytes() {
            Ok(bytes) => Ok(bytes.to_vec()),
            Err(error) => Err(error.to_string()),
        };
        (
            name,
            Entry {
                shape,
                number,
                bytes: Box::new(bytes),
            },
        )
    });
    Ok(entries.collect())
}

fn number(dtype: DType) -> Option<Number> {
    match dtype {
        DType::F16 => Some(Number::F16),
        DType::BF16 => Some(Number::Bf16),
        DType::F32 => Some(Number::F32),
        DType::F64 => Some(Number::F64),
        DType::U8 => Some(Number::U8),
        _ => None,
    }
}
