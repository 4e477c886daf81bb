//! Each operator and small network of `tests/models`, lowered and computed by the book: as ONNX Runtime computed it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use millrace_graph::interpret;
use millrace_onnx::{Items, Model, Options, Source};

/// The largest difference, relative to the largest number of an output.
const TOLERANCE: f32 = 1e-4;

/// Cases that are known not to be lowered, with what their refusal must say.
const REFUSED: &[(&str, &str)] = &[
    ("atan", "`Atan`"),
    ("constant_sparse", "`sparse_value`"),
    ("gather_elements", "computed while the network runs"),
    ("gather_nd", "computed while the network runs"),
    ("ops_of_microsoft", "`com.microsoft.Gelu`"),
    ("output_with_the_batch_inside", "does not begin with the batch"),
    ("resize_crop", "`tf_crop_and_resize`"),
];

#[test]
fn every_operator_computes_what_onnx_runtime_does() {
    check_folder("operators");
}

#[test]
fn every_small_network_computes_what_onnx_runtime_does() {
    check_folder("networks");
}

#[test]
fn what_cannot_run_is_refused_with_its_reason() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/models/refused");
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(&folder).expect("the cases are in the repository") {
        let path = entry.expect("a folder can be listed").path();
        if path.extension().is_none_or(|extension| extension != "onnx") {
            continue;
        }
        let name = path.file_stem().unwrap_or_default().display().to_string();
        let wishes = std::fs::read_to_string(path.with_extension("txt")).expect("a text beside each file");
        let load = || {
            let source = Source::open(&path).map_err(|error| error.to_string())?;
            let model = Model::read(&source).map_err(|error| error.to_string())?;
            let lowered = model.lower(&Options::default());
            lowered.map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        };
        match load() {
            Ok(_) => wrong.push(format!("{name}: accepted")),
            Err(message) => wrong.extend(
                wishes
                    .lines()
                    .filter(|wish| !message.contains(wish))
                    .map(|wish| format!("{name}: no {wish:?} in: {message}")),
            ),
        }
    }
    wrong.sort();
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

fn check_folder(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/models")
        .join(name);
    let only = std::env::var("MILLRACE_CASE").ok();
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the cases are in the repository")
        .map(|entry| entry.expect("a folder can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "onnx"))
        .filter(|path| only.as_deref().is_none_or(|only| path.to_string_lossy().contains(only)))
        .collect();
    files.sort();
    assert!(only.is_some() || files.len() > 20, "{} has no cases", folder.display());
    let mut wrong = Vec::new();
    for file in &files {
        let stem = file
            .file_name()
            .expect("a file has a name")
            .to_string_lossy()
            .into_owned();
        let stem = stem.split('.').next().expect("a name has a beginning").to_owned();
        match (check(file, &folder.join(format!("{stem}.safetensors"))), refusal(&stem)) {
            (Ok(()), None) => {}
            (Ok(()), Some(_)) => wrong.push(format!("{}: it is lowered now", file.display())),
            (Err(what), Some(part)) if what.contains(part) => {}
            (Err(what), _) => wrong.push(format!("{}: {what}", file.file_name().unwrap_or_default().display())),
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        files.len(),
        wrong.join("\n")
    );
}

fn refusal(stem: &str) -> Option<&'static str> {
    REFUSED.iter().find(|(name, _)| *name == stem).map(|(_, part)| *part)
}

fn check(file: &Path, expected: &Path) -> Result<(), String> {
    let source = Source::open(file).map_err(|error| error.to_string())?;
    let model = Model::read(&source).map_err(|error| error.to_string())?;
    let lowered = model.lower(&Options::default()).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        problems.join("\n    ")
    })?;
    let tensors = tensors(expected);
    let (shape, input) = tensors.get("input").expect("a case has an input");
    let graph = &lowered.graph;
    let outputs = graph.outputs().len();
    if outputs + 1 != tensors.len() {
        return Err(format!("{outputs} outputs, {} expected", tensors.len() - 1));
    }
    if lowered.items == Items::One && graph.shape(graph.input()).at(1).as_deref() != Some(shape) {
        return Err(format!("one item at a time, and the case has {shape:?}"));
    }
    let n_items = match lowered.items {
        Items::One => 1,
        _ => shape[0],
    };
    // Five items, too: the case's own, over and over.
    for items in [n_items, if lowered.items == Items::One { 1 } else { 5 }] {
        let per_item = input.len() / n_items;
        let batch: Vec<f32> = (0..items)
            .flat_map(|item| &input[item % n_items * per_item..][..per_item])
            .copied()
            .collect();
        let found = interpret(graph, items, &batch).map_err(|fault| fault.to_string())?;
        for (index, (output, found)) in graph.outputs().iter().zip(&found).enumerate() {
            let (shape, wanted) = &tensors[&format!("output.{index}")];
            let own = graph.shape(output.value);
            let own_shape = own.at(items).expect("a shape of a few items");
            if items == n_items && own_shape != *shape {
                return Err(format!("output {index} has shape {own_shape:?}, expected {shape:?}"));
            }
            let wanted = if items == n_items {
                wanted.clone()
            } else {
                again(wanted, own, n_items, items)
            };
            compare(index, found, &wanted)?;
        }
    }
    Ok(())
}

/// The output of more items, of those of fewer.
fn again(wanted: &[f32], shape: &millrace_graph::Shape, n_items: usize, items: usize) -> Vec<f32> {
    let Some(at) = shape.0.iter().position(|axis| axis.batched) else {
        return wanted.to_vec();
    };
    let outer: usize = shape.0[..at].iter().map(|axis| axis.size).product();
    let inner: usize = shape.0[at..].iter().map(|axis| axis.size).product();
    let mut all = Vec::new();
    for row in 0..outer {
        for item in 0..items {
            all.extend_from_slice(&wanted[(row * n_items + item % n_items) * inner..][..inner]);
        }
    }
    all
}

fn compare(index: usize, found: &[f32], wanted: &[f32]) -> Result<(), String> {
    if found.len() != wanted.len() {
        return Err(format!(
            "output {index} has {} numbers, expected {}",
            found.len(),
            wanted.len()
        ));
    }
    let largest = wanted
        .iter()
        .filter(|x| x.is_finite())
        .fold(1e-3_f32, |most, x| most.max(x.abs()));
    for (at, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        let same =
            found == wanted || found.is_nan() && wanted.is_nan() || (found - wanted).abs() <= TOLERANCE * largest;
        if !same {
            return Err(format!("output {index} at {at} is {found}, expected {wanted}"));
        }
    }
    Ok(())
}

/// The tensors of a safetensors file that our own scripts wrote, as numbers.
fn tensors(path: &Path) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let header = std::str::from_utf8(&bytes[8..8 + length]).expect("a header of text");
    let data = &bytes[8 + length..];
    let mut tensors = BTreeMap::new();
    for entry in header.split("},").map(|entry| entry.trim_matches([' ', '{', '}'])) {
        let (name, rest) = entry.split_once(':').expect("a name");
        let field = |key: &str| rest.split_once(&format!("\"{key}\":")).expect("a field").1;
        let list = |key: &str| {
            let inside = field(key).trim_start_matches('[').split(']').next().expect("a list");
            inside
                .split(',')
                .filter_map(|number| number.parse().ok())
                .collect::<Vec<usize>>()
        };
        let kind = field("dtype")
            .trim_start_matches('"')
            .split('"')
            .next()
            .expect("a type");
        let bytes = &data[list("data_offsets")[0]..list("data_offsets")[1]];
        let numbers = match kind {
            "F32" => bytes
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes(b.try_into().expect("four")))
                .collect(),
            "U8" => bytes.iter().map(|byte| f32::from(*byte)).collect(),
            "BOOL" => bytes.iter().map(|byte| f32::from(*byte)).collect(),
            "I64" => bytes
                .chunks_exact(8)
                .map(|b| i64::from_le_bytes(b.try_into().expect("eight")) as f32)
                .collect(),
            "F64" => bytes
                .chunks_exact(8)
                .map(|b| f64::from_le_bytes(b.try_into().expect("eight")) as f32)
                .collect(),
            other => panic!("type {other}"),
        };
        tensors.insert(name.trim_matches('"').to_owned(), (list("shape"), numbers));
    }
    tensors
}
