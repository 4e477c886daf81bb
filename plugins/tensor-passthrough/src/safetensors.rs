//! A safetensors file; the crate of the format's authors checks that its header does not lie.

use ::safetensors::{Dtype, SafeTensors};

use crate::array::{Array, Kind};

/// Names of tensors that an error lists.
const TOLD_MAX: usize = 8;

/// The tensor of that name, or the only one.
pub(crate) fn read<'a>(body: &'a [u8], name: Option<&str>) -> Result<Array<'a>, String> {
    let file =
        SafeTensors::deserialize(body).map_err(|error| format!("not a safetensors file that can be read: {error}"))?;
    let name = match name {
        Some(name) => name,
        None => only(&file)?,
    };
    let tensor = file
        .tensor(name)
        .map_err(|_| format!("the safetensors file has no tensor `{name}`, but {}", names(&file)))?;
    let kind = match tensor.dtype() {
        Dtype::U8 => Kind::U8,
        Dtype::F16 => Kind::F16,
        Dtype::BF16 => Kind::Bf16,
        Dtype::F32 => Kind::F32,
        Dtype::F64 => Kind::F64,
        other => {
            return Err(format!(
                "the tensor's elements are {other}; known are U8, F16, BF16, F32 and F64"
            ));
        }
    };
    Ok(Array {
        kind,
        shape: tensor
            .shape()
            .iter()
            .map(|axis| u64::try_from(*axis).unwrap_or(u64::MAX))
            .collect(),
        data: tensor.data(),
    })
}

fn only<'a>(file: &'a SafeTensors) -> Result<&'a str, String> {
    match file.names().as_slice() {
        [name] => Ok(name),
        [] => Err("the safetensors file holds no tensor".to_owned()),
        _ => Err(format!(
            "the safetensors file holds {}: the setting `tensor` says which is taken",
            names(file)
        )),
    }
}

/// The names, sorted; not all of many.
fn names(file: &SafeTensors) -> String {
    let mut names = file.names();
    names.sort_unstable();
    let more = names.len().saturating_sub(TOLD_MAX);
    let listed: Vec<String> = names.iter().take(TOLD_MAX).map(|name| format!("`{name}`")).collect();
    match (listed.len(), more) {
        (0, _) => "none".to_owned(),
        (_, 0) => listed.join(", "),
        _ => format!("{} and {more} more", listed.join(", ")),
    }
}
