//! Files that are something else than weights: each is named, with the way out.

use millrace_model_folder::Model;
use tempfile::TempDir;
use zip::CompressionMethod;

use super::checkpoints::archive;
use super::folders::safetensors;

fn manifest(file: &str) -> String {
    format!(
        "input = {{ shape = [2], element = \"float\" }}\nweights = {{ file = \"{file}\" }}\n\
         layer = [{{ type = \"linear\", name = \"fc\", out = 2 }}]"
    )
}

fn error_of(file: &str, contents: &[u8]) -> String {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("model.toml"), manifest(file)).unwrap();
    std::fs::write(folder.path().join(file), contents).unwrap();
    match Model::load(folder.path()) {
        Ok(_) => panic!("{file} loads"),
        Err(error) => error.to_string(),
    }
}

/// Whatever ending it was given.
#[track_caller]
fn check(contents: &[u8], expected: &[&str]) {
    for file in ["weights.pth", "weights.safetensors", "weights.bpk"] {
        let error = error_of(file, contents);
        for part in expected.iter().chain(&[file]) {
            assert!(error.contains(part), "{file}: `{part}` is not in: {error}");
        }
    }
}

fn zip(names: &[&str]) -> Vec<u8> {
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (*name, b"x".as_slice())).collect();
    archive(&files, CompressionMethod::Stored)
}

#[test]
fn files_that_are_something_else_are_named_with_the_way_out() {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 44703\n";
    check(pointer, &["Git LFS", "git lfs pull"]);
    check(
        b"<!DOCTYPE html>\n<html><head><title>Sign in</title>",
        &["HTML", "log in", "download"],
    );
    check(b"\n  <HTML><body>404", &["HTML"]);
    // Behind a byte order mark, and by the name that Git LFS had before.
    check(b"\xef\xbb\xbf<!doctype HTML>", &["HTML"]);
    check(
        b"\xef\xbb\xbfversion https://git-lfs.github.com/spec/v1\noid",
        &["Git LFS"],
    );
    check(
        b"version https://hawser.github.com/spec/v1\noid sha256:aa\nsize 3\n",
        &["Git LFS", "git lfs pull"],
    );
    check(
        b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>",
        &["XML", "refuses access"],
    );
    check(
        b"{\"metadata\": {\"total_size\": 12}, \"weight_map\": {\"fc.weight\": \"model-00001-of-00002.safetensors\"}}",
        &["index", "several files", "save_file"],
    );
    check(b"{\"error\": \"not found\"}", &["JSON"]);
    check(b"", &["empty"]);
    check(&[0; 4096], &["zeros", "fetch"]);
    check(
        b"\x08\x07\x12\x07pytorch\x1a\x052.1.0:\x10graph",
        &["ONNX", "ends with .onnx"],
    );
    check(b"\x08\x08\x3a\x10\x0a\x04node", &["ONNX"]);
    check(b"\x08\x01\x12\x00", &["Core ML"]);
    check(b"\x08\x05\x12\x2a\x0a\x14\x0a\x05image", &["Core ML"]);
    check(b"\x08\x01\x12\x20\x0a\x05\x12\x03tensorflow..serve", &["TensorFlow"]);
    check(b"\x89HDF\r\n\x1a\n\0\0\0\0", &["HDF5", "Keras"]);
    check(b"GGUF\x03\0\0\0", &["GGUF"]);
    check(b"\x1c\0\0\0TFL3\x14\0", &["TensorFlow Lite"]);
    check(b"\x93NUMPY\x01\0v\0{'descr': '<f4'}", &["NumPy", "from_numpy"]);
    check(b"\x1f\x8b\x08\0\0\0\0\0", &["gzip -d"]);
    check(b"\x28\xb5\x2f\xfd\x04\0", &["zstd -d"]);
    check(b"\xfd7zXZ\0", &["xz -d"]);
    check(b"\x89PNG\r\n\x1a\n", &["picture"]);
    check(&zip(&["arr_0.npy", "fc.weight.npy"]), &["NumPy", "numpy.load"]);
    check(
        &zip(&["m/data.pkl", "m/constants.pkl", "m/code/net.py"]),
        &["TorchScript", "torch.jit.load"],
    );
    check(&zip(&["metadata.json", "config.json", "model.weights.h5"]), &["Keras"]);
    check(&zip(&["MAR-INF/MANIFEST.json", "net.pth"]), &["TorchServe"]);
    check(&zip(&["readme.txt"]), &["torch.save did not write", "unzip"]);
    // By its own entries, and not by those of an archive in it.
    let inner = zip(&["m/data.pkl", "m/constants.pkl", "a.npy"]);
    check(
        &archive(&[("cifar.pth", &inner)], CompressionMethod::Stored),
        &["`cifar.pth` in it", "unzip"],
    );
    let mut tar = vec![b'x'; 512];
    tar[257..262].copy_from_slice(b"ustar");
    check(&tar, &["tar"]);
}

#[test]
fn a_format_under_the_name_of_another_is_told() {
    let weights = safetensors(&[("fc.weight", &[2, 2], vec![1.0; 4])]);
    for file in ["weights.pth", "weights.bpk"] {
        let error = error_of(file, &weights);
        assert!(
            error.contains("safetensors") && error.contains("format = \"safetensors\""),
            "{error}"
        );
    }
    let pickle = b"\x80\x02}X\x01\0\0\0aK\x01s.";
    for (file, contents) in [
        ("weights.safetensors", pickle.as_slice()),
        ("weights.bpk", pickle.as_slice()),
        ("weights.safetensors", zip(&["m/data.pkl", "m/data/0"]).as_slice()),
    ] {
        let error = error_of(file, contents);
        assert!(
            error.contains("PyTorch") && error.contains("format = \"pytorch\""),
            "{error}"
        );
    }
}

#[test]
fn what_was_cut_off_anywhere_is_to_be_fetched_again() {
    let stored = zip(&["m/data.pkl", "m/data/0", "m/data/1", "m/version"]);
    let scalars = [
        ("fc.weight", &[2_usize, 2][..], vec![1.0; 4]),
        ("fc.bias", &[2], vec![0.0; 2]),
    ];
    let safetensors = safetensors(&scalars);
    for (file, whole) in [("weights.pth", stored), ("weights.safetensors", safetensors)] {
        for length in 2..whole.len() {
            let error = error_of(file, &whole[..length]);
            assert!(error.contains("again"), "{file}, {length} of {}: {error}", whole.len());
            assert!(!error.contains("unzip"), "{file}, {length} of {}: {error}", whole.len());
        }
    }
}

#[test]
fn a_file_of_another_length_than_its_header_says_tells_both() {
    let whole = safetensors(&[("fc.weight", &[2, 2], vec![1.0; 4])]);
    let n = whole.len();
    let cut = error_of("weights.safetensors", &whole[..n - 1]);
    assert!(cut.contains(&format!("ends after {} of the {n} bytes", n - 1)), "{cut}");
    let long = error_of("weights.safetensors", &[&whole[..], b"x"].concat());
    assert!(
        long.contains(&format!("has {} bytes, and its header says {n}", n + 1)),
        "{long}"
    );
    let header = error_of("weights.safetensors", &whole[..20]);
    assert!(header.contains("ends after 20 bytes, within its header"), "{header}");
}

#[test]
fn what_is_broken_is_not_taken_for_something_else() {
    let error = error_of("weights.safetensors", b"\x10\0\0\0\0\0\0\0{\"fc\":");
    assert!(error.contains("no safetensors file"), "{error}");
    let error = error_of("weights.pth", &zip(&["m/data.pkl", "m/data/0"]));
    assert!(error.contains("no PyTorch file"), "{error}");
    let error = error_of("weights.bpk", b"BURN\0\0");
    assert!(error.contains("no Burn file"), "{error}");
}
