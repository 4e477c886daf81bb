//! The bytes of a model: its file, and the files of weights beside it, which never are outside the folder.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, TensorFault};
use crate::file::External;
use crate::limits;
use crate::shown::shown;

/// The bytes of an ONNX file and the folder that its weights may be in.
#[derive(Debug)]
pub struct Source {
    bytes: Vec<u8>,
    folder: Option<PathBuf>,
}

impl Source {
    /// Reads a file; weights may be in others of its folder.
    ///
    /// # Errors
    /// When it cannot be read or is too large.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let read = |source| Error::Read {
            path: path.display().to_string(),
            source,
        };
        let file = File::open(path).map_err(read)?;
        let bytes = file.metadata().map_err(read)?.len();
        let large = |bytes| Error::Large {
            path: path.display().to_string(),
            bytes,
            limit: limits::FILE_BYTES,
        };
        if bytes > limits::FILE_BYTES {
            return Err(large(bytes));
        }
        let mut contents = Vec::new();
        contents
            .try_reserve_exact(usize::try_from(bytes).unwrap_or(0))
            .map_err(|_| large(bytes))?;
        // A file that grows, or a device, ends at the limit as well.
        file.take(limits::FILE_BYTES.saturating_add(1))
            .read_to_end(&mut contents)
            .map_err(read)?;
        if contents.len() as u64 > limits::FILE_BYTES {
            return Err(large(contents.len() as u64));
        }
        let folder = match path.parent() {
            Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
            Some(folder) => folder,
            None => Path::new("."),
        };
        Ok(Self {
            bytes: contents,
            folder: Some(folder.to_owned()),
        })
    }

    /// Takes bytes that were read already, and the folder that weights may be in.
    pub fn from_bytes(bytes: Vec<u8>, folder: Option<PathBuf>) -> Self {
        Self { bytes, folder }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Just `expected` bytes of a file beside the model.
    pub(crate) fn external(&self, place: &External<'_>, expected: usize) -> Result<Vec<u8>, TensorFault> {
        let location = shown(place.location);
        let folder = self
            .folder
            .as_deref()
            .ok_or_else(|| TensorFault::NoFolder(location.clone()))?;
        let outside = || TensorFault::Outside(location.clone());
        let read = |why| TensorFault::Read {
            location: location.clone(),
            why,
        };
        let relative = Path::new(place.location);
        let plain = relative
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if place.location.is_empty() || !plain {
            return Err(outside());
        }
        // Links are followed, and where they lead must be within the folder.
        let folder = folder.canonicalize().map_err(read)?;
        let path = folder.join(relative).canonicalize().map_err(read)?;
        if !path.starts_with(&folder) || !path.metadata().map_err(read)?.is_file() {
            return Err(outside());
        }
        let mut file = File::open(&path).map_err(read)?;
        let bytes = file.metadata().map_err(read)?.len();
        let offset = place.offset.unwrap_or(0);
        let length = place.length.unwrap_or(expected as u64);
        let fits = offset.checked_add(length).is_some_and(|end| end <= bytes);
        if !fits {
            return Err(TensorFault::Place {
                location,
                offset,
                length,
                bytes,
            });
        }
        if length != expected as u64 {
            return Err(TensorFault::Count {
                declared: expected,
                found: usize::try_from(length).unwrap_or(usize::MAX),
                unit: "bytes",
            });
        }
        file.seek(SeekFrom::Start(offset)).map_err(read)?;
        let mut contents = vec![0; expected];
        file.read_exact(&mut contents).map_err(read)?;
        Ok(contents)
    }
}
