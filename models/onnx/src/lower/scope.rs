//! What names stand for, in a graph and in those around it.

use std::collections::HashMap;

use crate::file::{GraphView, TensorView};
use crate::lower::value::Value;

/// The names of one graph.
pub(crate) struct Scope<'s, 'a> {
    values: HashMap<&'a str, Value>,
    initializers: HashMap<&'a str, TensorView<'a>>,
    outer: Option<&'s Scope<'s, 'a>>,
}

impl<'s, 'a> Scope<'s, 'a> {
    pub(crate) fn new(outer: Option<&'s Scope<'s, 'a>>) -> Self {
        Self {
            values: HashMap::new(),
            initializers: HashMap::new(),
            outer,
        }
    }

    /// With the initialisers of a graph.
    pub(crate) fn of_graph(graph: &GraphView<'a>, outer: Option<&'s Scope<'s, 'a>>) -> Self {
        let mut scope = Self::new(outer);
        scope.initializers = graph
            .initializers
            .iter()
            .map(|view| (view.name, view.clone()))
            .collect();
        scope
    }

    pub(crate) fn insert(&mut self, name: &'a str, value: Value) {
        if !name.is_empty() {
            self.values.insert(name, value);
        }
    }

    pub(crate) fn value(&self, name: &str) -> Option<&Value> {
        match self.values.get(name) {
            Some(value) => Some(value),
            None if self.initializers.contains_key(name) => None,
            None => self.outer?.value(name),
        }
    }

    pub(crate) fn initializer(&self, name: &str) -> Option<&TensorView<'a>> {
        match self.initializers.get(name) {
            Some(view) => Some(view),
            None => self.outer?.initializer(name),
        }
    }
}
