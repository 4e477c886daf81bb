//! Model folders for tests: copies of the committed ones, changed.

use std::path::{Path, PathBuf};

use millrace_models::{Device, DeviceChoice, Element, Model, Runner, Tensor, TensorData};
use tempfile::TempDir;

pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

pub(crate) fn shapes_lenet() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("shapes-lenet")
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

pub(crate) fn cpu_runner(model: &Model, max_batch: usize) -> Runner {
    let device = Device::open(&DeviceChoice::Cpu).unwrap();
    Runner::new(model, &device, max_batch).unwrap()
}

/// Tensors of the model's input type, each different.
pub(crate) fn inputs(model: &Model, n_items: usize) -> Vec<Tensor> {
    let input = model.input();
    let byte = |item: usize, index: usize| ((index * 37 + item * 101 + index * index % 89) % 256) as u8;
    let tensor = |item| {
        let bytes = (0..input.elements() as usize).map(|index| byte(item, index));
        let data = match input.element {
            Element::Byte => TensorData::Bytes(bytes.collect()),
            Element::Float => TensorData::Floats(bytes.map(|byte| f32::from(byte) / 100.0 - 1.0).collect()),
        };
        Tensor::new(input.shape.clone(), data).unwrap()
    };
    (0..n_items).map(tensor).collect()
}

/// The raw outputs of each item.
pub(crate) fn outputs(runner: &mut Runner, batch: &[Tensor]) -> Vec<Vec<f32>> {
    runner
        .run(batch)
        .unwrap()
        .into_iter()
        .map(|item| item.outputs[0].1.clone())
        .collect()
}

pub(crate) fn largest_difference(left: &[Vec<f32>], right: &[Vec<f32>]) -> f32 {
    assert_eq!(left.len(), right.len());
    let pairs = left.iter().zip(right).flat_map(|(left, right)| {
        assert_eq!(left.len(), right.len());
        left.iter().zip(right)
    });
    pairs.fold(0.0, |largest: f32, (left, right)| {
        assert!(left.is_finite() && right.is_finite());
        largest.max((left - right).abs())
    })
}
