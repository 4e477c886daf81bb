//! Which nodes are run, and in which order: those that outputs need, each behind those that it reads from.

use std::collections::{HashMap, HashSet};

use crate::file::{Counts, Node};
use crate::limits;
use crate::problem::Problem;
use crate::shown::shown;

/// The nodes that are run.
pub(crate) struct Order<'a> {
    pub(crate) nodes: Vec<usize>,
    read: HashSet<&'a str>,
}

impl Order<'_> {
    /// Whether a node that is run, or the world, reads a value.
    pub(crate) fn is_read(&self, name: &str) -> bool {
        self.read.contains(name)
    }
}

/// Orders nodes. Walks with a stack of its own: chains are as long as a file likes.
pub(crate) fn of<'a>(nodes: &[Node<'a>], outputs: &[&'a str], counts: &mut Counts) -> Result<Order<'a>, Problem> {
    let mut makers = HashMap::new();
    for (index, node) in nodes.iter().enumerate() {
        for name in node.outputs.iter().filter(|name| !name.is_empty()) {
            if makers.insert(*name, index).is_some() {
                return Err(Problem::of_model(
                    format!("`{}` is the output of two nodes", shown(name)),
                    "",
                ));
            }
        }
    }
    let mut read: HashSet<&'a str> = outputs.iter().copied().collect();
    let mut reads = Vec::new();
    for node in nodes {
        reads.push(inputs_of(node, counts)?);
    }
    let sources = |index: usize| {
        let names = reads.get(index).into_iter().flatten();
        names
            .filter_map(|name| makers.get(name).copied())
            .collect::<Vec<usize>>()
    };
    let mut state = vec![State::New; nodes.len()];
    let mut finished = Vec::new();
    for output in outputs {
        let Some(root) = makers.get(output) else {
            continue;
        };
        let mut stack = vec![(*root, sources(*root).into_iter())];
        if state.get(*root) != Some(&State::New) {
            continue;
        }
        set(&mut state, *root, State::Open);
        while let Some((index, rest)) = stack.last_mut() {
            let Some(next) = rest.next() else {
                set(&mut state, *index, State::Done);
                read.extend(reads.get(*index).into_iter().flatten());
                finished.push(*index);
                stack.pop();
                continue;
            };
            match state.get(next) {
                Some(State::New) => {
                    set(&mut state, next, State::Open);
                    let inner = sources(next);
                    stack.push((next, inner.into_iter()));
                }
                Some(State::Open) => {
                    let label = nodes.get(next).map_or("", Node::label);
                    return Err(Problem::of_model(
                        format!("node `{}` needs its own output", shown(label)),
                        "",
                    ));
                }
                _ => {}
            }
        }
    }
    let is_sorted = finished
        .iter()
        .all(|index| sources(*index).iter().all(|source| source < index));
    if is_sorted {
        // As the file has them: values are read soon after they are made.
        finished.sort_unstable();
    }
    Ok(Order { nodes: finished, read })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Open,
    Done,
}

fn set(state: &mut [State], index: usize, to: State) {
    if let Some(place) = state.get_mut(index) {
        *place = to;
    }
}

/// The names that a node reads: its inputs, and what graphs within it read of the graphs around them.
fn inputs_of<'a>(node: &Node<'a>, counts: &mut Counts) -> Result<Vec<&'a str>, Problem> {
    let mut names: Vec<&'a str> = node.inputs.iter().copied().filter(|name| !name.is_empty()).collect();
    if node.operator == "If" {
        inner_names(node, counts, &mut names, 0)?;
    }
    Ok(names)
}

fn inner_names<'a>(
    node: &Node<'a>,
    counts: &mut Counts,
    names: &mut Vec<&'a str>,
    depth: usize,
) -> Result<(), Problem> {
    if depth == limits::DEPTH {
        return Err(Problem::of_model(
            format!("graphs are nested more than {} deep", limits::DEPTH),
            "",
        ));
    }
    for attribute in &node.attributes {
        let graph = attribute
            .graph(counts)
            .map_err(|error| Problem::of_model(error.to_string(), ""))?;
        let Some(graph) = graph else { continue };
        for inner in &graph.nodes {
            names.extend(inner.inputs.iter().copied());
            inner_names(inner, counts, names, depth.saturating_add(1))?;
        }
        names.extend(graph.outputs.iter().map(|output| output.name));
    }
    Ok(())
}
