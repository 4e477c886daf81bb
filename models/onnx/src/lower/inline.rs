//! Functions of the file and branches whose condition is known, written out where they are used.

use std::collections::HashMap;

use crate::file::{Function, ModelView, Node};
use crate::limits;
use crate::lower::call::Call;
use crate::lower::ops::{Answer, advice_for};
use crate::lower::scope::Scope;
use crate::lower::{Frame, Lowering, is_standard};
use crate::problem::{Refusal, advise, refuse};

/// The functions of a file, by domain, name and overload.
pub(crate) struct Functions<'m, 'a> {
    by_name: HashMap<[&'a str; 3], &'m Function<'a>>,
}

impl<'m, 'a> Functions<'m, 'a> {
    pub(crate) fn of(view: &'m ModelView<'a>) -> Self {
        let key = |function: &'m Function<'a>| [domain(function.domain), function.name, function.overload];
        let by_name = view.functions.iter().map(|function| (key(function), function));
        Self {
            by_name: by_name.collect(),
        }
    }

    /// The function that a node calls, if it calls one.
    pub(crate) fn get(&self, node: &Node<'a>) -> Option<&'m Function<'a>> {
        self.by_name
            .get(&[domain(node.domain), node.operator, node.overload])
            .copied()
    }
}

fn domain(domain: &str) -> &str {
    if is_standard(domain) { "" } else { domain }
}

impl<'a> Lowering<'_, 'a> {
    /// What a function yields.
    pub(super) fn inlined(&mut self, node: &Node<'a>, call: Call<'_, 'a>, frame: Frame<'_, 'a>) -> Answer {
        let function = self
            .functions
            .get(node)
            .ok_or_else(|| refuse("the function is not there"))?;
        let depth = deeper(frame)?;
        // What the caller gives counts before what the function has.
        let mut attributes = call.attributes;
        attributes.extend(function.defaults.iter().copied());
        let mut scope = Scope::new(None);
        for (name, value) in function.inputs.iter().zip(call.inputs) {
            if let Some(value) = value {
                scope.insert(name, value);
            }
        }
        let inner = Frame {
            opsets: &function.opsets,
            attributes: &attributes,
            depth,
        };
        self.nodes(&function.nodes, &function.outputs, &mut scope, inner)
            .map_err(|problem| refuse(problem.what))?;
        self.outputs(&function.outputs, &scope)
    }

    /// What a branch yields.
    pub(super) fn branch(&mut self, call: &Call<'_, 'a>, scope: &Scope<'_, 'a>, frame: Frame<'_, 'a>) -> Answer {
        let Some(condition) = call.input(0)?.known() else {
            return Err(advise(
                "its condition is computed while the network runs",
                advice_for("If"),
            ));
        };
        let condition = condition.data.ints().and_then(|bits| bits.first().copied());
        let condition = condition.ok_or_else(|| refuse("its condition depends on how many items a batch has"))?;
        let name = if condition == 0 { "else_branch" } else { "then_branch" };
        let attribute = call
            .attribute(name)
            .ok_or_else(|| refuse(format!("it has no `{name}`")))?;
        let graph = attribute
            .graph(&mut self.counts)?
            .ok_or_else(|| refuse(format!("its `{name}` is no graph")))?;
        let depth = deeper(frame)?;
        let outputs: Vec<&'a str> = graph.outputs.iter().map(|output| output.name).collect();
        let mut inner = Scope::of_graph(&graph, Some(scope));
        let frame = Frame { depth, ..frame };
        self.nodes(&graph.nodes, &outputs, &mut inner, frame)
            .map_err(|problem| refuse(problem.what))?;
        self.outputs(&outputs, &inner)
    }

    /// Outputs by name.
    fn outputs(&mut self, names: &[&'a str], scope: &Scope<'_, 'a>) -> Answer {
        let mut values = Vec::new();
        for name in names {
            values.push(
                self.value(name, scope)
                    .map_err(|refusal| refusal.unwrap_or_else(|| refuse("an output is missing")))?,
            );
        }
        Ok(values)
    }
}

fn deeper(frame: Frame<'_, '_>) -> Result<usize, Refusal> {
    let depth = frame.depth.saturating_add(1);
    match depth > limits::DEPTH {
        true => Err(refuse(format!(
            "functions and graphs are nested more than {} deep",
            limits::DEPTH
        ))),
        false => Ok(depth),
    }
}
