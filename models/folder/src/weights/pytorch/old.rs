//! The tar archives of PyTorch before 0.1.10: the only module that knows the foreign reader of them.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use pytorch_reader::{DType, PytorchReader};

use crate::weights::number::Number;
use crate::weights::{Contents, Entry};

/// Where a tar archive says that it is one.
const MAGIC_AT: usize = 257;
const MAGIC: &[u8] = b"ustar";

pub(super) fn is_tar(path: &Path) -> bool {
    let mut head = Vec::new();
    let length = (MAGIC_AT + MAGIC.len()) as u64;
    let read = File::open(path).and_then(|file| file.take(length).read_to_end(&mut head));
    read.is_ok() && head.get(MAGIC_AT..) == Some(MAGIC)
}

pub(super) fn entries(path: &Path) -> Result<Contents, String> {
    let reader = PytorchReader::new(path)
        .map_err(|error| format!("a tar archive that no PyTorch before 0.1.10 wrote: {error}"))?;
    let entries = reader.into_tensors().into_iter().map(|(name, tensor)| {
        let (shape, number) = (tensor.shape().to_vec(), number(tensor.dtype()));
        let bytes = move || tensor.read().map_err(|error| error.to_string());
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
