//! Which weights the layers need, which of them a file lacks, and which of its own no layer uses.

use std::collections::BTreeSet;

use crate::error::ModelError;
use crate::manifest::{Conv2d, Layer, LayerKind};
use crate::near::nearest;
use crate::weights::WeightFile;

/// How many names an error lists.
const SHOWN: usize = 8;
/// How many names a missing one is compared with.
const CANDIDATES: usize = 4096;

/// The names of every weight that the layers need, each with those it may go by.
pub(super) fn list_wanted(layers: &[Layer], wanted: &mut Vec<Vec<String>>) {
    for layer in layers {
        match &layer.kind {
            LayerKind::Conv2d(Conv2d { name, bias, .. }) | LayerKind::Linear { name, bias, .. } => {
                wanted.push(vec![format!("{name}.weight")]);
                if *bias {
                    wanted.push(vec![format!("{name}.bias")]);
                }
            }
            LayerKind::BatchNorm { name, affine, .. } => {
                if *affine {
                    wanted.push(vec![format!("{name}.weight"), format!("{name}.gamma")]);
                    wanted.push(vec![format!("{name}.bias"), format!("{name}.beta")]);
                }
                wanted.push(vec![format!("{name}.running_mean")]);
                wanted.push(vec![format!("{name}.running_var")]);
            }
            LayerKind::LayerNorm { name, affine: true, .. } => {
                wanted.push(vec![format!("{name}.weight")]);
                wanted.push(vec![format!("{name}.bias")]);
            }
            LayerKind::Residual { body, shortcut } => {
                list_wanted(body, wanted);
                list_wanted(shortcut, wanted);
            }
            LayerKind::Multiply { body } => list_wanted(body, wanted),
            LayerKind::Concat { branches } => branches.iter().for_each(|branch| list_wanted(branch, wanted)),
            _ => {}
        }
    }
}

/// The weights that the file lacks, as one error: each with the name that may be meant.
pub(super) fn missing(wanted: &[Vec<String>], prefix: &str, weights: &WeightFile) -> Option<ModelError> {
    let missing = wanted
        .iter()
        .filter(|names| !names.iter().any(|name| weights.has(&format!("{prefix}{name}"))));
    let missing: Vec<String> = missing
        .filter_map(|names| Some(format!("{prefix}{}", names.first()?)))
        .collect();
    if missing.is_empty() {
        return None;
    }
    let needed: BTreeSet<String> = wanted.iter().flatten().map(|name| format!("{prefix}{name}")).collect();
    let spare = || weights.names().filter(|name| !needed.contains(*name));
    let meant = |name: &String| match nearest(name, spare().take(CANDIDATES)) {
        Some(near) => format!("`{}` (did you mean `{}`?)", name.escape_debug(), near.escape_debug()),
        None => format!("`{}`", name.escape_debug()),
    };
    let mut listed: Vec<String> = missing.iter().take(SHOWN).map(meant).collect();
    if missing.len() > SHOWN {
        listed.push(format!("{} more", missing.len() - SHOWN));
    }
    let there: Vec<String> = weights.names().map(str::to_owned).collect();
    let beside = weights.beside().map(|beside| format!("; {beside}")).unwrap_or_default();
    let message = format!(
        "it lacks the weights {}; it has {}{beside}",
        listed.join(", "),
        shown(&there)
    );
    Some(ModelError::Weights {
        path: weights.path().to_owned(),
        message,
    })
}

fn shown(names: &[String]) -> String {
    let listed: Vec<String> = names
        .iter()
        .take(SHOWN)
        .map(|name| format!("`{}`", name.escape_debug()))
        .collect();
    match names.len() {
        0 => "none".to_owned(),
        n_names if n_names > SHOWN => format!("{} and {} more", listed.join(", "), n_names - SHOWN),
        _ => listed.join(", "),
    }
}

/// A weight that no layer uses says that the layer list is not the network it was trained as.
pub(super) fn unused(
    weights: &WeightFile,
    prefix: &str,
    used: &BTreeSet<String>,
    ignore: &[String],
) -> Option<ModelError> {
    let unused = weights.names().filter(|name| {
        let Some(name_within) = name.strip_prefix(prefix) else {
            return false;
        };
        let ignored = ignore.iter().any(|start| {
            name_within
                .strip_prefix(start.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        });
        // PyTorch's counter in every batch-norm; inference does not use it.
        let is_counter = name
            .strip_suffix("num_batches_tracked")
            .is_some_and(|norm| used.contains(&format!("{norm}running_mean")));
        !ignored && !is_counter && !used.contains(*name)
    });
    let unused: Vec<String> = unused.map(str::to_owned).collect();
    if unused.is_empty() {
        return None;
    }
    let message = format!(
        "no layer uses its weights {}: the layer list is not this network, or they belong into `ignore`",
        shown(&unused)
    );
    Some(ModelError::Weights {
        path: weights.path().to_owned(),
        message,
    })
}
