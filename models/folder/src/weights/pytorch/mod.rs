//! PyTorch's `.pth` and `.pt`. No code of a pickle is run, and whatever Python stands beside the tensors is passed over.

mod container;
mod machine;
mod old;
mod pickle;
mod tensor;
mod walk;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use container::Storages;
use tensor::View;
use walk::{Found, MAX_DEPTH, MAX_NAME_BYTES};

use super::{Contents, Entry};

/// The content of a file without weights, for an error.
const WAY_OUT: &str = "write the weights alone: torch.save(model.state_dict(), \"weights.pth\")";

pub(super) fn entries(path: &Path) -> Result<Contents, String> {
    if old::is_tar(path) {
        return old::entries(path);
    }
    let (pickle, storages) = container::open(path).map_err(|error| format!("no PyTorch file: {error}"))?;
    let found = walk::tensors(&pickle)?;
    if found.tensors.is_empty() {
        return Err(nothing_in(&found, &pickle.type_name(pickle.root)));
    }
    if let (Storages::None, Some((name, view))) = (&storages, found.tensors.first_key_value()) {
        let why = view.as_ref().err().map_or("its numbers are not in it", String::as_str);
        return Err(format!(
            "it was written by `pickle` and not by `torch.save` (`{}`: {why}): {WAY_OUT}",
            name.escape_debug()
        ));
    }
    if found.tensors.keys().any(String::is_empty) {
        return Err(format!("it is one tensor without a name: {WAY_OUT}"));
    }
    let storages = Arc::new(storages);
    let Found {
        tensors,
        passed,
        n_hidden,
        is_too_deep,
    } = found;
    let tensors = tensors.into_iter().map(|(name, view)| (name, entry(view, &storages)));
    let mut passed: Vec<String> = passed.iter().map(|(class, at)| told(class, at)).collect();
    passed.extend(is_too_deep.then(too_deep));
    Ok(Contents {
        entries: tensors.collect::<BTreeMap<_, _>>(),
        beside: match n_hidden {
            0 => None,
            _ => Some(format!(
                "{n_hidden} more tensors lie in Python objects that are passed over ({}): {WAY_OUT}",
                passed.join(", ")
            )),
        },
    })
}

fn entry(view: Result<View, String>, storages: &Arc<Storages>) -> Entry {
    let view = match view {
        Ok(view) => view,
        Err(why) => return Entry::unreadable(Vec::new(), why),
    };
    let (shape, number) = (view.shape.clone(), view.number.clone());
    let storages = Arc::clone(storages);
    let bytes = move || {
        let beyond = || "it reaches beyond its storage".to_owned();
        let (numbers, range) = view.extent().ok_or_else(beyond)?;
        let bytes = |numbers: usize| {
            (numbers as u64)
                .checked_mul(view.element_bytes as u64)
                .ok_or_else(beyond)
        };
        let read = match numbers {
            0 => Vec::new(),
            _ => storages.read(&view.storage, bytes(range.start)?, bytes(range.len())?)?,
        };
        view.gather(read, numbers).ok_or_else(beyond)
    };
    Entry::new(shape, number, Box::new(bytes))
}

/// Why a pickle without a tensor is not a file of weights.
fn nothing_in(found: &Found, root: &str) -> String {
    let has = |part: &str| found.passed.iter().find(|(class, _)| class.contains(part));
    if let Some((class, at)) = has("numpy") {
        let what = told(class, at);
        return format!(
            "its arrays are NumPy's ({what}): \
             torch.save({{name: torch.from_numpy(array) for name, array in arrays.items()}}, \"weights.pth\")"
        );
    }
    let passed: Vec<String> = found.passed.iter().map(|(class, at)| told(class, at)).collect();
    match passed.as_slice() {
        _ if found.is_too_deep && found.n_hidden > 0 => format!("its tensors are {}: {WAY_OUT}", too_deep()),
        [] => format!("it is a pickle without a tensor ({}): {WAY_OUT}", with_article(root)),
        _ => format!(
            "it has no tensor that is not part of another object ({}): {WAY_OUT}",
            passed.join(", ")
        ),
    }
}

fn too_deep() -> String {
    format!("nested more than {MAX_DEPTH} deep, or have names of more than {MAX_NAME_BYTES} bytes")
}

fn with_article(name: &str) -> String {
    match name {
        "None" | "nothing" => name.to_owned(),
        _ if name.starts_with("a ") || name.starts_with("an ") => name.to_owned(),
        _ if name.starts_with(['a', 'e', 'i', 'o', 'u']) => format!("an {name}"),
        _ => format!("a {name}"),
    }
}

fn told(class: &str, at: &str) -> String {
    match at {
        "" => format!("`{class}`"),
        at => format!("`{class}` at `{at}`"),
    }
}
