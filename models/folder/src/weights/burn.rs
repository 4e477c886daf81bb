//! Burn's own `.bpk`: the only module that knows that crate.

use burn_pack::{Bytes, DType, Reader};

use super::number::Number;
use super::{Contents, Entry};

pub(super) fn entries(contents: Vec<u8>) -> Result<Contents, String> {
    let failed = |error: burn_pack::Error| format!("no Burn file: {error}");
    let reader = Reader::from_bytes(Bytes::from_bytes_vec(contents)).map_err(failed)?;
    let entries = reader.into_tensors().map_err(failed)?.into_iter().map(|tensor| {
        let (name, shape) = (tensor.name.clone(), tensor.shape.as_slice().to_vec());
        let number = number(tensor.dtype);
        let bytes = move || match tensor.to_bytes() {
            Ok(bytes) => Ok(bytes.to_vec()),
            Err(error) => Err(error.to_string()),
        };
        (name, Entry::new(shape, number, Box::new(bytes)))
    });
    Ok(Contents {
        entries: entries.collect(),
        beside: None,
    })
}

fn number(dtype: DType) -> Result<Number, String> {
    match dtype {
        DType::F16 => Ok(Number::F16),
        DType::BF16 => Ok(Number::Bf16),
        DType::F32 => Ok(Number::F32),
        DType::F64 => Ok(Number::F64),
        DType::U8 => Ok(Number::U8),
        other => Err(format!("{other:?}")),
    }
}
