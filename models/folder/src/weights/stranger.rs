//! Files that are something else than they are to be: by what they begin with, what they are, and the way from there to
//! weights. Judges only what no reader took.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use zip::ZipArchive;

use super::AGAIN;
use crate::manifest::Format;

/// How much of a file is looked at: a tar archive says what it is behind 257 bytes.
const HEAD_BYTES: u64 = 1024;
/// Longest header of safetensors.
const HEADER_MAX_BYTES: u64 = 100_000_000;
/// How the weights alone are written, in Python.
const SAVE: &str = "torch.save(model.state_dict(), \"weights.pth\")";
/// How the names of files of weights end.
const ENDINGS: [&str; 5] = [".pth", ".pt", ".ckpt", ".safetensors", ".bpk"];
/// The byte order mark that editors of Windows put in front of a text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The kind of a file that could not be read as `format`, and a hint; `None` where it is unknown.
pub(super) fn named(path: &Path, format: Format) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    let mut head = Vec::new();
    file.by_ref().take(HEAD_BYTES).read_to_end(&mut head).ok()?;
    if head.is_empty() {
        return Some(format!("it is empty: {AGAIN}"));
    }
    if head.iter().all(|byte| *byte == 0) {
        return Some("it begins with nothing but zeros, as a download that was cut off: fetch it again".to_owned());
    }
    let text = head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&head).trim_ascii_start();
    of_text(text)
        .or_else(|| head.starts_with(b"PK").then(|| of_archive(path))?)
        .or_else(|| of_bytes(&head))
        .or_else(|| of_another_format(&head, length, format))
        .or_else(|| of_protobuf(path, &head))
}

fn of_text(text: &[u8]) -> Option<String> {
    let begins = |with: &str| {
        text.get(..with.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(with.as_bytes()))
    };
    // The second is what it was called before.
    if begins("version https://git-lfs") || begins("version https://hawser") {
        return Some("it is a pointer of Git LFS and not the file: run `git lfs pull` where it was cloned".to_owned());
    }
    if begins("<!doctype html") || begins("<html") || begins("<head") {
        let hint =
            "a page to log in at, or a page about the file: open the address in a browser and download the file itself";
        return Some(format!("it is an HTML page ({hint})"));
    }
    if begins("<?xml") {
        let hint = "such as an answer that refuses access: look at it, and download the file itself";
        return Some(format!("it is XML ({hint})"));
    }
    if begins("{") || begins("[") {
        let has = |part: &[u8]| text.windows(part.len()).any(|found| found == part);
        if has(b"\"weight_map\"") || has(b"\"total_size\"") {
            return Some(
                "it is the index of weights that are split into several files: load them in Python and write one file, \
                 safetensors.torch.save_file(model.state_dict(), \"weights.safetensors\")"
                    .to_owned(),
            );
        }
        return Some("it is JSON, such as a configuration or an error: the weights are another file".to_owned());
    }
    None
}

fn of_bytes(head: &[u8]) -> Option<String> {
    let at = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    let packed = |name: &str, with: &str| Some(format!("it is packed by {name}: unpack it (`{with}`)"));
    if at(0, b"\x93NUMPY") {
        return Some(
            "it is a NumPy array (.npy): write arrays by name, torch.save({\"fc.weight\": torch.from_numpy(array)}, \
             \"weights.pth\")"
                .to_owned(),
        );
    }
    if at(0, b"\x89HDF\r\n\x1a\n") {
        return Some(format!(
            "it is HDF5, such as weights of Keras: a PyTorch network with these weights is written by {SAVE}"
        ));
    }
    if at(0, b"GGUF") || at(0, b"lmgg") || at(0, b"ggjt") {
        return Some(format!(
            "it is a GGUF file, of llama.cpp: take the weights that it was made of, {SAVE}"
        ));
    }
    if at(4, b"TFL3") {
        return Some(format!(
            "it is a model of TensorFlow Lite: a PyTorch network with its weights is written by {SAVE}"
        ));
    }
    if at(0, b"\x1f\x8b") {
        return packed("gzip", "gzip -d");
    }
    if at(0, b"\xfd7zXZ") {
        return packed("xz", "xz -d");
    }
    if at(0, b"\x28\xb5\x2f\xfd") {
        return packed("Zstandard", "zstd -d");
    }
    if at(0, b"BZh") {
        return packed("bzip2", "bzip2 -d");
    }
    if at(0, b"7z\xbc\xaf") || at(0, b"Rar!") {
        return packed("an archiver", "7z x");
    }
    if at(0, b"\x89PNG") || at(0, b"\xff\xd8\xff") || at(0, b"%PDF") || at(0, b"\x7fELF") {
        return Some("it is a picture, a document or a program, and has no weights in it".to_owned());
    }
    if at(257, b"ustar") {
        return Some(
            "it is a tar archive: unpack it (`tar xf`) and name the file of weights in it; what PyTorch before 0.1.10 wrote \
             as one is written anew by torch.save(torch.load(\"old.pth\"), \"weights.pth\")"
                .to_owned(),
        );
    }
    None
}

/// By the names of its own entries: an archive may hold another.
fn of_archive(path: &Path) -> Option<String> {
    let archive = match ZipArchive::new(BufReader::new(File::open(path).ok()?)) {
        Ok(archive) => archive,
        // Its list of entries stands at its end.
        Err(_) => {
            return Some(format!(
                "it is a zip archive, as torch.save writes them, and its end is missing or damaged: {AGAIN}"
            ));
        }
    };
    let names: Vec<String> = archive
        .file_names()
        .filter_map(|name| Some(name.ok()?.to_string()))
        .collect();
    let has = |part: &str| names.iter().any(|name| name.contains(part));
    if has("constants.pkl") || has("/code/") {
        return Some(
            "it is a TorchScript archive, a program with its weights: write the weights alone, \
             torch.save(torch.jit.load(\"model.pt\").state_dict(), \"weights.pth\")"
                .to_owned(),
        );
    }
    if has("data.pkl") {
        return None; // a file of PyTorch, and broken
    }
    if has(".npy") {
        return Some(
            "it is an archive of NumPy arrays (.npz): torch.save({name: torch.from_numpy(array) for name, array in \
             numpy.load(\"weights.npz\").items()}, \"weights.pth\")"
                .to_owned(),
        );
    }
    if has("model.weights.h5") || has("config.json") && has("metadata.json") {
        return Some(format!(
            "it is a model of Keras: a PyTorch network with these weights is written by {SAVE}"
        ));
    }
    if has("MAR-INF") {
        return Some(
            "it is an archive of TorchServe: unpack it (`unzip`) and name the file of weights in it".to_owned(),
        );
    }
    if has("archive_format") || has("extra/") || has("models/model") {
        return Some(format!(
            "it is a program that torch.export wrote: write the weights alone, {SAVE}"
        ));
    }
    if let Some(name) = names
        .iter()
        .find(|name| ENDINGS.iter().any(|ending| name.ends_with(ending)))
    {
        return Some(format!(
            "it is a zip archive with `{}` in it: unpack it (`unzip`) and name that file",
            name.escape_debug()
        ));
    }
    Some(
        "it is a zip archive that torch.save did not write: unpack it (`unzip`) and name the file of weights in it"
            .to_owned(),
    )
}

/// One of the formats that are read, under the name of another.
fn of_another_format(head: &[u8], length: u64, format: Format) -> Option<String> {
    let safetensors = head.first_chunk::<8>().map(|length| u64::from_le_bytes(*length));
    let is_safetensors =
        safetensors.is_some_and(|header| header <= HEADER_MAX_BYTES.min(length)) && head.get(8) == Some(&b'{');
    let is_pickle = matches!(head, [0x80, 0..=5, ..]) || head.starts_with(b"PK");
    let (is, as_format) = match format {
        Format::Safetensors if is_pickle => ("PyTorch's", "pytorch"),
        Format::Pytorch | Format::Burn if is_safetensors => ("safetensors", "safetensors"),
        Format::Burn if is_pickle => ("PyTorch's", "pytorch"),
        _ => return None,
    };
    Some(format!(
        "it is a file of another format ({is}) than its name says: add `format = \"{as_format}\"`, or give it the right ending"
    ))
}

/// ONNX and TensorFlow's graphs have no magic number: field 1 is a small version, and the next is a text or a message.
fn of_protobuf(path: &Path, head: &[u8]) -> Option<String> {
    let ends_in = |ending: &str| path.extension().is_some_and(|found| found.eq_ignore_ascii_case(ending));
    let has = |part: &[u8]| head.windows(part.len()).any(|found| found == part);
    let is_message = matches!(
        head,
        [0x08, 0..=0x7f, 0x12 | 0x1a | 0x22 | 0x2a | 0x32 | 0x3a | 0x42, ..]
    );
    if ends_in("pb") || is_message && (has(b"tensorflow") || has(b"serve")) {
        return Some(format!(
            "it is a graph of TensorFlow: a PyTorch network with its weights is written by {SAVE}"
        ));
    }
    // Its second field is a message where that of ONNX is the name of a program.
    let is_core_ml = matches!(head, [0x08, 0..=0x7f, 0x12, 0] | [0x08, 0..=0x7f, 0x12, _, 0..0x20, ..]);
    if ends_in("mlmodel") || is_core_ml || is_message && has(b"CoreML") {
        return Some(format!(
            "it is a model of Core ML: a PyTorch network with its weights is written by {SAVE}"
        ));
    }
    if is_message || ends_in("onnx") {
        return Some(
            "it is an ONNX model, the network with its weights: rename it so that its name ends with .onnx, and write no layers"
                .to_owned(),
        );
    }
    None
}
