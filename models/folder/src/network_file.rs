//! Networks in files of their own: with `survey.rs` the only module that knows ONNX. Their reader is bounded, and contained all the
//! same.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use millrace_graph::Graph;
use millrace_onnx::{Element, Model, Options, Problem, Source};
use sha2::{Digest, Sha256};

use crate::error::ModelError;
use crate::load::Found;
use crate::lower::Network;
use crate::manifest::FoundInput;
use crate::weights;

mod labels;

/// Most characters of the description that a file has of itself.
const DESCRIPTION_MAX_CHARS: usize = 500;
/// How much of a file of weights is hashed at a time, in bytes.
const HASH_CHUNK_BYTES: usize = 1 << 16;

/// Reads a network, whose open axes `shape` closes. `digest` sees every byte, of the file and of the files of weights
/// beside it; the second value is the file's own SHA-256.
pub(crate) fn read(path: &Path, shape: Option<&[u32]>, digest: &mut Sha256) -> Result<(Found, String), ModelError> {
    let bytes = weights::contents(path)?;
    digest.update(&bytes);
    let sha256 = weights::hexadecimal(&Sha256::digest(&bytes));
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let source = Source::from_bytes(bytes, Some(folder.to_owned()));
    let read = weights::guarded(path, || Ok(lowered(path, &source, shape)))??;
    for name in &read.external {
        hash_beside(&folder.join(name), name, digest)?;
    }
    let graph = read.graph;
    let input = FoundInput {
        shape: item_shape(&graph),
        is_bytes: read.element == Element::Uint8,
        is_unit: read.is_unit,
    };
    Ok((
        Found {
            network: Network::of(graph),
            input,
            labels: read.labels,
            description: read.description,
        },
        sha256,
    ))
}

/// The parts that are read from a file.
struct Lowered {
    graph: Graph,
    element: Element,
    external: Vec<String>,
    labels: Vec<String>,
    is_unit: bool,
    description: Option<String>,
}

fn lowered(path: &Path, source: &Source, shape: Option<&[u32]>) -> Result<Lowered, ModelError> {
    let failed = |message| ModelError::Weights {
        path: path.to_owned(),
        message,
    };
    let each =
        |problems: Vec<Problem>| ModelError::of(problems.iter().map(|problem| failed(problem.to_string())).collect());
    let model = Model::read(source).map_err(|error| failed(weights::chain(&error)))?;
    let input = model.input().map_err(|problem| failed(problem.to_string()))?;
    let options = Options {
        item: shape.map(|shape| shape.iter().map(|axis| *axis as usize).collect()),
    };
    let graph = model.lower(&options).map_err(each)?.graph;
    let metadata = model.metadata();
    let entry = |key: &str| metadata.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
    let description = entry("description").or_else(|| entry("doc_string"));
    Ok(Lowered {
        graph,
        element: input.element,
        external: model.external_files().into_iter().map(str::to_owned).collect(),
        labels: labels::of(metadata),
        // Its networks take pictures of 0 to 1, and have nothing more to say about it.
        is_unit: entry("author") == Some("Ultralytics"),
        description: description.map(|text| text.chars().take(DESCRIPTION_MAX_CHARS).collect()),
    })
}

/// The shape of an item: without the batch axis, or without the axis of the only item.
fn item_shape(graph: &Graph) -> Vec<u32> {
    let axes = graph.shape(graph.input()).0.as_slice();
    let of_item = match axes {
        [first, rest @ ..] if first.batched || (first.size == 1 && !rest.is_empty()) => rest,
        all => all,
    };
    of_item
        .iter()
        .map(|axis| u32::try_from(axis.size).unwrap_or(u32::MAX))
        .collect()
}

/// Its name stands before its bytes, and its length between the two, so that no byte can move from one to the other.
fn hash_beside(path: &Path, name: &str, digest: &mut Sha256) -> Result<(), ModelError> {
    let failed = |source| ModelError::Read {
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(failed)?;
    digest.update(name.as_bytes());
    digest.update(file.metadata().map_err(failed)?.len().to_le_bytes());
    let mut chunk = vec![0; HASH_CHUNK_BYTES];
    loop {
        let n_read = file.read(&mut chunk).map_err(failed)?;
        match chunk.get(..n_read).filter(|part| !part.is_empty()) {
            Some(part) => digest.update(part),
            None => return Ok(()),
        }
    }
}
