//! Why a file is not read.

use crate::wire::Fault;

/// Why a file is not read as an ONNX model at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file that cannot be opened or read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file that is too large.
    #[error("`{path}` has {bytes} bytes; at most {limit} are read")]
    Large {
        /// The file.
        path: String,
        /// How many it has.
        bytes: u64,
        /// How many may be.
        limit: u64,
    },
    /// Bytes that are not what they should be.
    #[error("not an ONNX model: in {part}: {fault}")]
    Malformed {
        /// Where.
        part: &'static str,
        /// What.
        fault: Fault,
    },
    /// More of something than may be.
    #[error("too many {what}: at most {limit} are read")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many may be.
        limit: usize,
    },
    /// A name that is too long.
    #[error("the name `{shown}` of {what} has {bytes} bytes; at most {limit} may be")]
    LongName {
        /// Its beginning.
        shown: String,
        /// Of what.
        what: &'static str,
        /// How many it has.
        bytes: usize,
        /// How many may be.
        limit: usize,
    },
    /// A part that must be there.
    #[error("not an ONNX model: it has no {0}")]
    Missing(&'static str),
    /// A part that is there twice.
    #[error("not an ONNX model: it has two of {0}")]
    Twice(&'static str),
    /// A name that is given twice.
    #[error("`{name}` is the name of two values: {what}")]
    DuplicateName {
        /// The name.
        name: String,
        /// Where the second is.
        what: &'static str,
    },
    /// An operator set that is not known.
    #[error("its opset is {found}; {oldest} to {newest} are known: export again with `opset_version=18`")]
    Opset {
        /// Its version.
        found: i64,
        /// The oldest.
        oldest: i64,
        /// The newest.
        newest: i64,
    },
    /// Weights that are not there as declared.
    #[error("initialiser `{name}`: {fault}")]
    Tensor {
        /// Which.
        name: String,
        /// What is wrong.
        fault: TensorFault,
    },
}

/// What is wrong with numbers that a file declares.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TensorFault {
    /// Bytes that are not what they should be.
    #[error(transparent)]
    Malformed(#[from] Fault),
    /// Too many axes.
    #[error("it has {0} axes; at most 12 may be")]
    Rank(usize),
    /// A length below 0, or so many numbers that they cannot be counted.
    #[error("its shape {0} is impossible")]
    Shape(String),
    /// More numbers than all initialisers may have.
    #[error("it declares {declared} numbers; all initialisers together may have {limit}")]
    Large {
        /// How many.
        declared: usize,
        /// How many may be.
        limit: usize,
    },
    /// Not as many numbers as the shape says.
    #[error("its shape says {declared} {unit}, {found} are there")]
    Count {
        /// How many should be.
        declared: usize,
        /// How many are.
        found: usize,
        /// Of what.
        unit: &'static str,
    },
    /// A type that networks cannot compute with here.
    #[error("its type {0} is not supported")]
    Type(String),
    /// It is in a file whose name leaves the folder.
    #[error("it is in the file `{0}`, which is not within the model's folder")]
    Outside(String),
    /// It is in another file, and there is no folder.
    #[error("it is in the file `{0}` beside the model, and the model was read without a folder")]
    NoFolder(String),
    /// The place in the other file is not one.
    #[error(
        "its place in the file `{location}` is impossible: offset {offset}, length {length}, and the file has {bytes} bytes"
    )]
    Place {
        /// Which file.
        location: String,
        /// From where.
        offset: u64,
        /// How many bytes.
        length: u64,
        /// How many bytes the file has.
        bytes: u64,
    },
    /// An entry of the place is no number.
    #[error("`{key}` of its place in another file is `{value}`, which is no number of bytes")]
    Entry {
        /// Which.
        key: &'static str,
        /// What it says.
        value: String,
    },
    /// The file beside the model cannot be read.
    #[error("cannot read the file `{location}`: {why}")]
    Read {
        /// Which file.
        location: String,
        /// Why.
        why: std::io::Error,
    },
}
