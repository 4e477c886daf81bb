//! Weight files, whatever their format: names, shapes, and bounded reads into `f32`. Knows no layers.

mod burn;
mod names;
mod number;
mod pytorch;
mod safetensors;
mod stranger;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use crate::error::ModelError;
use crate::manifest::Format;
pub(crate) use names::find_prefix;
pub(crate) use number::Number;

/// Longest weight file that is read, in bytes.
pub(crate) const MAX_FILE_BYTES: u64 = 4 << 30;
/// Most elements of one tensor: a gigabyte of `f32`.
pub(crate) const MAX_TENSOR_ELEMENTS: usize = 1 << 28;
/// Tensors may share storage, so a small file can unfold to much; what is read is bounded by the file's length.
const MAX_UNFOLDING: u64 = 4;
/// Bytes that are read without regard to the file's length.
const UNFOLDING_FLOOR_BYTES: u64 = 1 << 20;
/// Most tensors in a file.
const MAX_TENSORS: usize = 65_536;
/// The hint for an incomplete file.
const AGAIN: &str = "copy or download it again";
/// How much of the file is hashed at a time, in bytes.
const HASH_CHUNK_BYTES: usize = 1 << 16;

/// An opened weight file: what is in it, nothing unfolded yet.
pub(crate) struct WeightFile {
    path: PathBuf,
    file_bytes: u64,
    read_bytes: u64,
    entries: BTreeMap<String, Entry>,
    beside: Option<String>,
}

/// The contents of a file.
pub(crate) struct Contents {
    pub(crate) entries: BTreeMap<String, Entry>,
    /// Other tensors in the file that somebody may miss, and a hint.
    pub(crate) beside: Option<String>,
}

/// One tensor of the file.
pub(crate) struct Entry {
    shape: Vec<usize>,
    data: Data,
}

/// Reads the bytes of one tensor.
type ReadBytes = Box<dyn Fn() -> Result<Vec<u8>, String> + Send>;

enum Data {
    Numbers(Number, ReadBytes),
    /// A tensor that is there and cannot be a weight, and why.
    Unreadable(String),
}

impl Entry {
    /// A tensor of these numbers; of a type that no weight has, by its name, it is there and cannot be read.
    pub(crate) fn new(shape: Vec<usize>, number: Result<Number, String>, bytes: ReadBytes) -> Self {
        match number {
            Ok(number) => Self {
                shape,
                data: Data::Numbers(number, bytes),
            },
            Err(name) => {
                let why = format!("its numbers are {name}, and weights are f16, bf16, f32 or f64");
                Self::unreadable(shape, why)
            }
        }
    }

    /// A tensor that cannot become a weight, with the reason.
    pub(crate) fn unreadable(shape: Vec<usize>, why: String) -> Self {
        let data = Data::Unreadable(why);
        Self { shape, data }
    }
}

/// Hashes and opens a weight file. `digest` sees every byte; the second value is the file's own SHA-256.
pub(crate) fn open(path: &Path, format: Format, digest: &mut Sha256) -> Result<(WeightFile, String), ModelError> {
    let before = stamp(path)?;
    let (contents, sha256) = read_and_hash(path, before.0, format, digest)?;
    let parsed = guarded(path, || match format {
        Format::Safetensors => safetensors::entries(contents),
        Format::Pytorch => pytorch::entries(path),
        Format::Burn => burn::entries(contents),
        Format::Onnx => Err("it is a network, and no file of weights".to_owned()),
    });
    // Looked at only when it is not what it is to be: nothing that can be read is taken for something else.
    let Contents { entries, beside } = parsed.map_err(|error| match stranger::named(path, format) {
        Some(what) => weights_error(path, what),
        None => error,
    })?;
    // The PyTorch reader opens the path again: what it saw must be what was hashed.
    if stamp(path)? != before {
        return Err(weights_error(path, "it changed while it was read".to_owned()));
    }
    if entries.len() > MAX_TENSORS {
        return Err(weights_error(
            path,
            format!("{} tensors, more than {MAX_TENSORS}", entries.len()),
        ));
    }
    Ok((
        WeightFile {
            path: path.to_owned(),
            file_bytes: before.0,
            read_bytes: 0,
            entries,
            beside,
        },
        sha256,
    ))
}

impl WeightFile {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Other parts of the file that somebody may miss.
    pub(crate) fn beside(&self) -> Option<&str> {
        self.beside.as_deref()
    }

    /// Why a tensor that is there cannot be read.
    pub(crate) fn unreadable(&self, name: &str) -> Option<&str> {
        match &self.entries.get(name)?.data {
            Data::Unreadable(why) => Some(why),
            Data::Numbers(..) => None,
        }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    pub(crate) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.entries.get(name).map(|entry| entry.shape.as_slice())
    }

    /// The tensor's numbers as `f32`, row-major, and its type in the file.
    pub(crate) fn read(&mut self, name: &str) -> Result<(Number, Vec<f32>), ModelError> {
        let Some(entry) = self.entries.get(name) else {
            return Err(weights_error(&self.path, format!("tensor `{name}` is not in the file")));
        };
        let elements = entry
            .shape
            .iter()
            .try_fold(1usize, |product, axis| product.checked_mul(*axis));
        let Some(elements) = elements.filter(|elements| *elements <= MAX_TENSOR_ELEMENTS) else {
            let message = format!(
                "tensor `{name}` of shape {:?} has more than {MAX_TENSOR_ELEMENTS} numbers",
                entry.shape
            );
            return Err(weights_error(&self.path, message));
        };
        let (number, bytes) = match &entry.data {
            Data::Numbers(number, bytes) => (*number, bytes),
            Data::Unreadable(why) => return Err(weights_error(&self.path, format!("tensor `{name}`: {why}"))),
        };
        self.read_bytes += (elements * number.bytes()) as u64;
        if self.read_bytes > self.file_bytes.saturating_mul(MAX_UNFOLDING).max(UNFOLDING_FLOOR_BYTES) {
            let message = format!(
                "its tensors unfold to more than {MAX_UNFOLDING} times its {} bytes",
                self.file_bytes
            );
            return Err(weights_error(&self.path, message));
        }
        let bytes = guarded(&self.path, bytes).map_err(|error| match error {
            ModelError::Weights { path, message } => {
                let message = format!("tensor `{name}`: {message}");
                ModelError::Weights { path, message }
            }
            other => other,
        })?;
        if bytes.len() != elements * number.bytes() {
            let message = format!("tensor `{name}` has {} bytes for {elements} numbers", bytes.len());
            return Err(weights_error(&self.path, message));
        }
        let numbers = number.widen(&bytes);
        match numbers.iter().position(|number| !number.is_finite()) {
            Some(index) => Err(weights_error(
                &self.path,
                format!("tensor `{name}`: number {index} is not finite as f32"),
            )),
            None => Ok((number, numbers)),
        }
    }
}

/// Length and time of the last change.
fn stamp(path: &Path) -> Result<(u64, Option<SystemTime>), ModelError> {
    let metadata = std::fs::metadata(path).map_err(|source| ModelError::Read {
        path: path.to_owned(),
        source,
    })?;
    if !metadata.is_file() {
        return Err(weights_error(path, "not a file".to_owned()));
    }
    if metadata.len() > MAX_FILE_BYTES {
        return Err(ModelError::TooLarge {
            path: path.to_owned(),
            found: metadata.len(),
            limit: MAX_FILE_BYTES,
        });
    }
    Ok((metadata.len(), metadata.modified().ok()))
}

/// The file's bytes, where its format is parsed from memory, and its SHA-256.
fn read_and_hash(
    path: &Path,
    length: u64,
    format: Format,
    digest: &mut Sha256,
) -> Result<(Vec<u8>, String), ModelError> {
    let failed = |source| ModelError::Read {
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(failed)?.take(length);
    let mut contents = Vec::new();
    let mut own = Sha256::new();
    let mut chunk = vec![0; HASH_CHUNK_BYTES];
    loop {
        let n_read = file.read(&mut chunk).map_err(failed)?;
        let Some(part) = chunk.get(..n_read).filter(|part| !part.is_empty()) else {
            break;
        };
        own.update(part);
        digest.update(part);
        if format != Format::Pytorch {
            contents.extend_from_slice(part);
        }
    }
    Ok((contents, hexadecimal(&own.finalize())))
}

/// The whole of a file that is not a file of weights, as bounded as those are.
pub(crate) fn contents(path: &Path) -> Result<Vec<u8>, ModelError> {
    let failed = |source| ModelError::Read {
        path: path.to_owned(),
        source,
    };
    let (length, _) = stamp(path)?;
    let file = File::open(path).map_err(failed)?;
    let mut contents = Vec::new();
    // A file that grows ends where it ended when it was looked at.
    file.take(length).read_to_end(&mut contents).map_err(failed)?;
    Ok(contents)
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(behind) = source {
        let more = behind.to_string();
        if !text.ends_with(&more) {
            text.push_str(&format!(": {more}"));
        }
        source = behind.source();
    }
    text
}

/// A digest as lower-case hexadecimal digits.
pub fn hexadecimal(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Runs a foreign parser: its panic is the file's error, not ours.
pub(crate) fn guarded<T>(path: &Path, parse: impl FnOnce() -> Result<T, String>) -> Result<T, ModelError> {
    match catch_unwind(AssertUnwindSafe(parse)) {
        Ok(result) => result.map_err(|message| weights_error(path, message)),
        Err(panic) => Err(weights_error(
            path,
            format!(
                "the parser gave up: {}",
                millrace_model_types::panic_text(panic.as_ref())
            ),
        )),
    }
}

fn weights_error(path: &Path, message: String) -> ModelError {
    ModelError::Weights {
        path: path.to_owned(),
        message,
    }
}
