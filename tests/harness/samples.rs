//! The pictures, plugins and models that tests use. Knows where they lie, not what is in them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// A sample picture with the label that its file name begins with.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The PNG file.
    pub path: PathBuf,
    /// What the model must say.
    pub label: String,
    /// The file's bytes.
    pub png: Vec<u8>,
}

impl Sample {
    /// The pixels as the model's input: 32x32, RGB, rows of pixels.
    ///
    /// # Errors
    /// When the file is no picture.
    pub fn raw(&self) -> Result<Vec<u8>> {
        Ok(image::load_from_memory(&self.png)?.to_rgb8().into_raw())
    }

    /// The picture as a JPEG.
    ///
    /// # Errors
    /// When the file is no picture.
    pub fn jpeg(&self) -> Result<Vec<u8>> {
        let mut jpeg = Vec::new();
        let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 95);
        image::load_from_memory(&self.png)?
            .to_rgb8()
            .write_with_encoder(encoder)?;
        Ok(jpeg)
    }
}

/// The repository's root.
pub fn root() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// The folder of the shipped model.
pub fn model() -> PathBuf {
    root().join("models/shapes-lenet")
}

/// The sample pictures of the shipped model, in the order of their names. A file name is `NN-label.png` or
/// `label-NN.png`, both of which the model's training writes.
///
/// # Errors
/// When there are none.
pub fn pictures() -> Result<Vec<Sample>> {
    let folder = model().join("samples");
    let entries = std::fs::read_dir(&folder).with_context(|| format!("no samples in {}", folder.display()))?;
    let mut samples = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "png") {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let label = stem
                .trim_matches(|c: char| c.is_ascii_digit() || c == '-' || c == '_')
                .to_owned();
            samples.push(Sample {
                png: std::fs::read(&path)?,
                path,
                label,
            });
        }
    }
    samples.sort_by(|a, b| a.path.cmp(&b.path));
    ensure!(!samples.is_empty(), "no PNG in {}", folder.display());
    Ok(samples)
}

/// A guest that `cargo xtask guests` built: its package's name, and the wasm target.
///
/// # Errors
/// When it is not there.
pub fn guest(target: &str, name: &str) -> Result<PathBuf> {
    let path = guests()?.join(target).join(format!("{name}.wasm"));
    ensure!(
        path.exists(),
        "{} is missing: run `cargo xtask guests` first",
        path.display()
    );
    Ok(path)
}

/// The folder of all guests.
pub(crate) fn guests() -> Result<PathBuf> {
    match std::env::var_os("MILLRACE_GUESTS") {
        Some(folder) => Ok(PathBuf::from(folder)),
        None => Ok(crate::host::target_folder()?.join("guests")),
    }
}
