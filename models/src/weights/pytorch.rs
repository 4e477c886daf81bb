//! PyTorch's `.pth` and `.pt`: the only room that knows the reader of them. No code of a pickle is run.

use std::collections::BTreeMap;
use std::path::Path;

use pytorch_reader::{DType, PytorchReader};

use super::Entry;
use super::number::Number;

pub(super) fn entries(path: &Path) -> Result<BTreeMap<String, Entry>, String> {
    // Without a key every tensor is listed, under the dotted path of the dictionaries it is in.
    let reader = PytorchReader::new(path).map_err(|error| format!("no PyTorch file: {error}"))?;
    let entries = reader.into_tensors().into_iter().map(|(name, tensor)| {
        let (shape, number) = (tensor.shape().to_vec(), number(tensor.dtype()));
        let bytes = move || tensor.read().map_err(|error| error.to_string());
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
        DType::I64 | DType::I32 | DType::I16 | DType::I8 | DType::U64 | DType::U32 | DType::U16 | DType::Bool => None,
    }
}
