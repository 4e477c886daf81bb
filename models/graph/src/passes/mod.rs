//! Passes: they rewrite a graph into a smaller one that computes the same, up to rounding.

mod activations;
mod averages;
mod constants;
mod edit;
mod fuse;
mod identities;
mod layout;
mod norms;
mod pads;
mod parallel;
mod patterns;
mod products;
mod scales;
mod taps;

#[cfg(test)]
mod tests;

use crate::graph::Graph;
use edit::Edit;

/// What executors can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Sums go into the convolution or linear layer before them.
    pub residuals: bool,
    /// Activations go into the convolution or linear layer before them.
    pub activations: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            residuals: true,
            activations: true,
        }
    }
}

/// How often the passes run at most. Each round leaves fewer or simpler nodes; networks need two or three.
const MAX_ROUNDS: usize = 16;

/// Rewrites a graph until nothing more is found. The names and the order of its outputs stay.
pub fn optimise(graph: Graph, options: &Options) -> Graph {
    let (mut graph, mut spent) = (graph, 0);
    for _ in 0..MAX_ROUNDS {
        let mut edit = Edit::of(graph);
        constants::fold(&mut edit, &mut spent);
        identities::remove(&mut edit);
        layout::merge(&mut edit);
        patterns::recognise(&mut edit);
        norms::recognise(&mut edit);
        products::recognise(&mut edit);
        averages::recognise(&mut edit);
        pads::fold(&mut edit);
        taps::cut(&mut edit);
        scales::fold(&mut edit);
        parallel::join(&mut edit);
        activations::recognise(&mut edit);
        let changed = edit.has_changed();
        graph = edit.finish();
        if !changed {
            break;
        }
    }
    // Last: what is behind a sum or an activation does not go into what is before it any more.
    for _ in 0..MAX_ROUNDS {
        let mut edit = Edit::of(graph);
        fuse::fuse(&mut edit, options);
        let changed = edit.has_changed();
        graph = edit.finish();
        if !changed {
            break;
        }
    }
    graph
}
