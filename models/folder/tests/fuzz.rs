//! Any bytes in a model folder: a model or an error that names the file; no panic, no memory beyond the file's own.

use std::path::Path;

use millrace_fuzz::prelude::*;
use millrace_fuzz::{bytes, config, peak_bytes, text};
use millrace_model_folder::Model;
use tempfile::TempDir;

use super::checkpoints::{beside, dictionary, legacy, state_dict, zipped};
use super::folders::{data, safetensors, shapes_lenet};

/// What a folder of a few kilobytes may unfold to, and the allocator's own rooms; what a header that lies asks for is
/// gigabytes.
const SLACK_BYTES: u64 = 512 << 20;

/// A network of every kind of weight file.
const SMALL: &str = r#"
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

/// Keys, layers and numbers that are nearly right.
const WORDS: [&str; 41] = [
    "[",
    "]",
    "=",
    "\"",
    "\n",
    ".",
    ",",
    "[[layer]]",
    "[[layer.layer]]",
    "[weights]",
    "[samples]",
    "[output]",
    "type",
    "\"conv2d\"",
    "\"linear\"",
    "\"max-pool2d\"",
    "\"flatten\"",
    "\"residual\"",
    "\"batch-norm2d\"",
    "\"softmax\"",
    "out",
    "kernel",
    "stride",
    "padding",
    "shape",
    "0",
    "1",
    "-1",
    "3",
    "1048576",
    "4294967295",
    "18446744073709551615",
    "1e38",
    "nan",
    "[1, 1]",
    "[0]",
    "[1048576, 1048576, 1048576]",
    "\"../x\"",
    "\"\"",
    "key = \"a\"",
    "layout = \"burn\"",
];

fn check(manifest: &str, file: &str, weights: &[u8]) -> Result<(), TestCaseError> {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("model.toml"), manifest).unwrap();
    std::fs::write(folder.path().join(file), weights).unwrap();
    let before = peak_bytes();
    match Model::load(folder.path()) {
        Ok(model) => {
            // What unfolds is bounded by what was there, and by a floor for small files.
            let most = (4 * weights.len() as u64).max(1 << 20);
            prop_assert!(
                model.weight_bytes() <= 2 * most,
                "{} bytes of weights",
                model.weight_bytes()
            );
        }
        Err(error) => {
            prop_assert!(error.path().starts_with(folder.path()), "{error}");
            prop_assert!(!error.to_string().is_empty());
        }
    }
    if let (Some(before), Some(after)) = (before, peak_bytes()) {
        prop_assert!(after - before <= SLACK_BYTES, "took {} bytes", after - before);
    }
    Ok(())
}

/// A manifest without the digest, which would refuse every change before it is read, and without samples.
fn manifest(folder: &Path) -> String {
    let text = std::fs::read_to_string(folder.join("model.toml")).unwrap();
    text.lines()
        .filter(|line| !line.starts_with("sha256"))
        .map(|line| format!("{line}\n"))
        .collect()
}

fn small_weights() -> Vec<u8> {
    safetensors(&[("fc.weight", &[2, 2], vec![1.0; 4]), ("fc.bias", &[2], vec![0.0; 2])])
}

fn burn_weights() -> Vec<u8> {
    let tensor = |name: &str, shape: Vec<usize>, n| {
        let bytes = burn_pack::Bytes::from_bytes_vec(vec![0; n]);
        burn_pack::Tensor::new(name.to_owned(), burn_pack::DType::F32, shape, None, bytes)
    };
    let tensors = vec![tensor("fc.weight", vec![2, 2], 16), tensor("fc.bias", vec![2], 8)];
    burn_pack::Writer::new(tensors).into_bytes().unwrap().to_vec()
}

/// Weights with one object of Python's beside them, in both files of PyTorch.
fn checkpoints() -> Vec<Vec<u8>> {
    let objects = beside().into_iter().step_by(5);
    let files = objects.flat_map(|(_, object)| {
        let root = dictionary(&[("beside", object), ("state_dict", state_dict())]);
        [zipped(root.clone()), legacy(root)]
    });
    files.collect()
}

fn manifests() -> Vec<String> {
    let folders = [shapes_lenet(), data("article"), data("residual")];
    folders
        .iter()
        .map(|folder| manifest(folder))
        .chain([SMALL.to_owned()])
        .collect()
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn any_bytes_are_a_manifest_or_an_error(text in text(manifests(), &WORDS)) {
        check(&text, "weights.safetensors", &small_weights())?;
    }

    #[test]
    fn any_bytes_are_safetensors_or_an_error(weights in bytes(vec![small_weights()])) {
        check(SMALL, "weights.safetensors", &weights)?;
    }

    #[test]
    fn any_bytes_are_a_pickle_or_an_error(weights in bytes(vec![std::fs::read(data("residual").join("checkpoint.pt")).unwrap()])) {
        check(&manifest(&data("residual")), "checkpoint.pt", &weights)?;
    }

    #[test]
    fn any_bytes_beside_weights_are_a_checkpoint_or_an_error(weights in bytes(checkpoints())) {
        check(&SMALL.replace("weights.safetensors", "weights.pth"), "weights.pth", &weights)?;
    }

    #[test]
    fn any_bytes_are_burns_own_or_an_error(weights in bytes(vec![burn_weights()])) {
        check(&SMALL.replace("weights.safetensors", "weights.bpk"), "weights.bpk", &weights)?;
    }
}
