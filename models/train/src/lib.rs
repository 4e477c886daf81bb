//! Trains the network of PyTorch's CIFAR-10 tutorial, on drawn shapes or on CIFAR-10, and writes a model folder.
//!
//! [`shapes::draw`] and [`cifar::read`] yield labelled pictures, [`train`] fits a network to them, and
//! [`write_folder`] writes what [`millrace_models::Model::load`] reads. Nothing is printed: progress is told to a callback.

pub mod augment;
mod checkpoint;
pub mod cifar;
mod confusion;
mod fit;
mod folder;
mod network;
mod optimizer;
mod random;
pub mod shapes;

use std::path::PathBuf;

pub use checkpoint::Checkpoint;
pub use confusion::Confusion;
pub use fit::{Course, Plan, Progress, Trained, train};
pub use folder::{Description, Written, write_folder};

use millrace_model_folder::hexadecimal;
use millrace_models::{ModelError, RunError};
use sha2::{Digest as _, Sha256};

/// Height and width of a picture.
pub const SIDE: usize = 32;
/// Red, green and blue.
pub const CHANNELS: usize = 3;
/// Bytes of a picture, channels first.
pub const PICTURE_BYTES: usize = CHANNELS * SIDE * SIDE;

/// Pictures, one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pictures {
    // Invariant: a multiple of `PICTURE_BYTES`.
    bytes: Vec<u8>,
}

impl Pictures {
    fn with_capacity(n_pictures: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(n_pictures * PICTURE_BYTES),
        }
    }

    fn push(&mut self, picture: &[u8]) {
        debug_assert_eq!(picture.len(), PICTURE_BYTES);
        self.bytes.extend_from_slice(picture);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.bytes.len() / PICTURE_BYTES
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Each picture, channels first.
    pub fn iter(&self) -> impl Iterator<Item = &[u8; PICTURE_BYTES]> {
        self.bytes.as_chunks().0.iter()
    }
}

/// Pictures and the index of each one's class.
#[derive(Debug, Clone, Default)]
pub struct Labelled {
    // Invariant: both are of one length.
    pictures: Pictures,
    labels: Vec<usize>,
}

impl Labelled {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// SHA-256 over the pictures and their classes, in hexadecimal: the same data or other data.
    pub fn digest(&self) -> String {
        let mut digest = Sha256::new();
        digest.update(&self.pictures.bytes);
        for label in &self.labels {
            digest.update((*label as u64).to_le_bytes());
        }
        hexadecimal(&digest.finalize())
    }

    /// Each picture with its class.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8; PICTURE_BYTES], usize)> {
        self.pictures.iter().zip(self.labels.iter().copied())
    }
}

/// Why training, or writing what came of it, failed.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A file of the data set cannot be read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A file of the data set is not as it should be.
    #[error("{}: {message}", .path.display())]
    Data {
        /// The file, or the folder.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// There is nothing to train on, or nothing to test with.
    #[error("no pictures to {0}")]
    NoPictures(&'static str),
    /// The numbers ran away, or a weight cannot be read back.
    #[error("training failed: {0}")]
    Failed(String),
    /// A file of the model folder cannot be written.
    #[error("cannot write {}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A sample picture cannot be written.
    #[error("cannot write {}", .path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// What the encoder says.
        #[source]
        source: image::ImageError,
    },
    /// A checkpoint is not one of this training.
    #[error("{}: {message}", .path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What it is of, and what is trained.
        message: String,
    },
    /// The folder that was written does not load.
    #[error("the model folder that was written does not load")]
    Load(#[from] ModelError),
    /// The folder that was written does not run.
    #[error("the model folder that was written does not run")]
    Run(#[from] RunError),
}
