//! Why a model folder cannot be used: every error names its file, and the place in `model.toml`.

use std::path::{Path, PathBuf};

/// Why a model folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file of the folder cannot be read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// A file is larger than this version reads.
    #[error("{} has {found} bytes, more than the {limit} that are read", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        found: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// `model.toml` says something that cannot be.
    #[error("{}:{line}:{column}: {message}", .path.display())]
    Manifest {
        /// The path of `model.toml`.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in characters.
        column: usize,
        /// The problem, with the offending text.
        message: String,
    },
    /// A layer does not fit what reaches it, or the weights it names.
    #[error("{}:{line}:{column}: {layer}: expected {expected}, found {found}", .path.display())]
    Mismatch {
        /// The path of `model.toml`.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in characters.
        column: usize,
        /// The layer, such as ``layer 3 (conv2d `conv2`)``.
        layer: String,
        /// The shape in the layer list.
        expected: String,
        /// The existing ones.
        found: String,
    },
    /// A weight or sample file is not what its format demands.
    #[error("{}: {message}", .path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// The problem.
        message: String,
    },
    /// The weights are not the ones that `model.toml` was written for.
    #[error("{}: its SHA-256 is {found}, model.toml says {expected}", .path.display())]
    Digest {
        /// The file.
        path: PathBuf,
        /// The one of `model.toml`, in hexadecimal.
        expected: String,
        /// The one of the file, in hexadecimal.
        found: String,
    },
    /// More than one of these.
    #[error("{}", lines(.0))]
    Several(Vec<ModelError>),
}

fn lines(errors: &[ModelError]) -> String {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

impl ModelError {
    /// One or several, of which there must be one.
    pub(crate) fn of(mut errors: Vec<Self>) -> Self {
        match errors.len() {
            1 => errors.remove(0),
            _ => Self::Several(errors),
        }
    }

    /// Each by itself.
    pub fn each(self) -> Vec<Self> {
        match self {
            Self::Several(errors) => errors.into_iter().flat_map(Self::each).collect(),
            one => vec![one],
        }
    }

    /// The file that the error is about.
    pub fn path(&self) -> &Path {
        match self {
            Self::Read { path, .. }
            | Self::TooLarge { path, .. }
            | Self::Manifest { path, .. }
            | Self::Mismatch { path, .. }
            | Self::Weights { path, .. }
            | Self::Digest { path, .. } => path,
            Self::Several(errors) => errors.first().map_or(Path::new(""), Self::path),
        }
    }

    /// Line and column in `model.toml`, both from 1, where the error has a place there.
    pub fn place(&self) -> Option<(usize, usize)> {
        match self {
            Self::Manifest { line, column, .. } | Self::Mismatch { line, column, .. } => Some((*line, *column)),
            Self::Several(errors) => errors.first()?.place(),
            _ => None,
        }
    }
}
