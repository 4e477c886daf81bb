//! `.safetensors`: the only module that knows that crate.

use std::collections::BTreeMap;
use std::sync::Arc;

use safetensors::{Dtype, SafeTensorError, SafeTensors};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::number::Number;
use super::{AGAIN, Contents, Entry};

/// The length of the header stands in front of it.
const LENGTH_BYTES: usize = 8;

pub(super) fn entries(contents: Vec<u8>) -> Result<Contents, String> {
    let contents = Arc::new(contents);
    let (header_bytes, metadata) = SafeTensors::read_metadata(&contents)
        .map_err(|error| format!("no safetensors file: {}", told(&contents, &error)))?;
    let data = LENGTH_BYTES + header_bytes;
    // `read_metadata` has checked that the tensors cover the data exactly, when the file is whole.
    if contents.len() != data + metadata.data_len() {
        let expected = data + metadata.data_len();
        let wrong = other_length(contents.len() as u64, expected as u64);
        return Err(format!("no safetensors file: {wrong}"));
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

/// The fault of a file, and a hint where it is incomplete.
fn told(contents: &[u8], error: &SafeTensorError) -> String {
    let length = contents.len() as u64;
    let header = contents
        .first_chunk::<LENGTH_BYTES>()
        .map(|header| u64::from_le_bytes(*header));
    match (error, header) {
        (SafeTensorError::HeaderTooSmall, _) => format!("it ends after {length} bytes: {AGAIN}"),
        (SafeTensorError::InvalidHeaderLength, Some(header)) => {
            format!("it ends after {length} bytes, within its header of {header}: {AGAIN}")
        }
        (SafeTensorError::MetadataIncompleteBuffer, Some(header)) => match data_length(contents, header) {
            Some(data) => other_length(
                length,
                (LENGTH_BYTES as u64).saturating_add(header).saturating_add(data),
            ),
            None => format!("{error}: {AGAIN}"),
        },
        _ => error.to_string(),
    }
}

fn other_length(length: u64, expected: u64) -> String {
    match length < expected {
        true => format!("it ends after {length} of the {expected} bytes that its header says: {AGAIN}"),
        false => format!("it has {length} bytes, and its header says {expected}: {AGAIN}"),
    }
}

/// Where the last tensor ends, by a header that the library took for itself, and not for the file.
fn data_length(contents: &[u8], header: u64) -> Option<u64> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Part {
        Tensor { data_offsets: (u64, u64) },
        Other(IgnoredAny),
    }
    let end = LENGTH_BYTES.checked_add(usize::try_from(header).ok()?)?;
    let parts: BTreeMap<String, Part> = serde_json::from_slice(contents.get(LENGTH_BYTES..end)?).ok()?;
    let ends = parts.values().filter_map(|part| match part {
        Part::Tensor { data_offsets: (_, end) } => Some(*end),
        Part::Other(_) => None,
    });
    ends.max()
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
