//! Model folders for tests: copies of the committed ones, changed.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A classifier of two features, right in every way; the rows below break it.
pub(crate) const SMALL: &str = r#"
[input]
shape = [2]
element = "float"

[output]
labels = ["no", "yes"]

[weights]
file = "weights.safetensors"

[[layer]]
type = "linear"
name = "fc"
out = 2
"#;

pub(crate) fn small_weights() -> Vec<(&'static str, &'static [usize], Vec<f32>)> {
    vec![("fc.weight", &[2, 2], vec![1.0; 4]), ("fc.bias", &[2], vec![0.0; 2])]
}

/// Where models are: the tests of several crates have these helpers.
fn models() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().find(|folder| folder.ends_with("models")).unwrap()
}

pub(crate) fn data(name: &str) -> PathBuf {
    models().join("tests/data").join(name)
}

pub(crate) fn shapes_lenet() -> PathBuf {
    models().join("shapes-lenet")
}

/// A copy of a folder, to be changed.
pub(crate) fn copy(folder: &Path) -> TempDir {
    let copy = TempDir::new().unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
    }
    copy
}

/// A copy whose `model.toml` has one text replaced by another.
pub(crate) fn edited(folder: &Path, from: &str, to: &str) -> TempDir {
    let copy = copy(folder);
    let path = copy.path().join("model.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "`{from}` is not in {}", path.display());
    std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
    copy
}

/// A folder with just this `model.toml` and these weights in safetensors' format.
pub(crate) fn made(manifest: &str, weights: &[(&str, &[usize], Vec<f32>)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("model.toml"), manifest).unwrap();
    std::fs::write(folder.path().join("weights.safetensors"), safetensors(weights)).unwrap();
    folder
}

/// A safetensors file, written by hand so that the reader is not tested with its own writer.
pub(crate) fn safetensors(weights: &[(&str, &[usize], Vec<f32>)]) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, shape, numbers) in weights {
        let start = data.len();
        data.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        let info = serde_json::json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, data.len()] });
        header.insert((*name).to_owned(), info);
    }
    let header = serde_json::to_vec(&header).unwrap();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    file.extend(data);
    file
}
