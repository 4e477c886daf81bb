//! Which weights the layers need, which of them a file lacks, and which of its own no layer uses.

use std::collections::BTreeSet;

use crate::error::ModelError;
use crate::manifest::{Conv2d, Layer, LayerKind};
use crate::weights::WeightFile;

/// How many names an error lists.
const SHOWN: usize = 8;

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
            LayerKind::Residual { body, shortcut } => {
                list_wanted(body, wanted);
                list_wanted(shortcut, wanted);
            }
            _ => {}
        }
    }
}

pub(super) fn check_missing(wanted: &[Vec<String>], prefix: &str, weights: &WeightFile) -> Result<(), ModelError> {
    let missing = wanted
        .iter()
        .filter(|names| !names.iter().any(|name| weights.has(&format!("{prefix}{name}"))));
    let missing: Vec<String> = missing
        .filter_map(|names| Some(format!("{prefix}{}", names.first()?)))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let there: Vec<String> = weights.names().map(str::to_owned).collect();
    let message = format!("it lacks the weights {}; it has {}", shown(&missing), shown(&there));
    Err(ModelError::Weights {
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
pub(super) fn check_unused(
    weights: &WeightFile,
    prefix: &str,
    used: &BTreeSet<String>,
    ignore: &[String],
) -> Result<(), ModelError> {
    let unused = weights.names().filter(|name| {
        let Some(name_within) = name.strip_prefix(prefix) else {
            return false;
        };
        let ignored = ignore.iter().any(|start| {
            name_within
                .strip_prefix(start.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        });
        !ignored && !used.contains(*name)
    });
    let unused: Vec<String> = unused.map(str::to_owned).collect();
    if unused.is_empty() {
        return Ok(());
    }
    let message = format!(
        "no layer uses its weights {}: the layer list is not this network, or they belong into `ignore`",
        shown(&unused)
    );
    Err(ModelError::Weights {
        path: weights.path().to_owned(),
        message,
    })
}
