//! From the views of a file to a graph: nodes in order, names to values, functions and constant branches written out.

mod attempt;
mod attributes;
mod call;
mod emit;
mod inline;
mod ops;
mod order;
mod reread;
mod rows;
mod scope;
mod value;

pub(crate) use attempt::{fixed, input, lower};
pub(crate) use emit::Batch;

use crate::file::{Attribute, Counts, ModelView, Node, Opset};
use crate::limits;
use crate::lower::call::Call;
use crate::lower::emit::Emitter;
use crate::lower::inline::Functions;
use crate::lower::ops::{advice_for, handler};
use crate::lower::scope::Scope;
use crate::lower::value::Value;
use crate::problem::{Problem, Problems, Refusal, advise, refuse};
use crate::shown::shown;
use crate::weights::Weights;

/// Lowers the nodes of one file, once.
pub(crate) struct Lowering<'m, 'a> {
    view: &'m ModelView<'a>,
    weights: &'m Weights<'a>,
    em: Emitter,
    problems: Problems,
    counts: Counts,
    functions: Functions<'m, 'a>,
    steps_left: usize,
}

/// What nodes share that belong together: the main graph's, or those of a function.
#[derive(Clone, Copy)]
struct Frame<'f, 'a> {
    opsets: &'f [Opset<'a>],
    /// What the attributes of the enclosing function are.
    attributes: &'f [Attribute<'a>],
    depth: usize,
}

/// Whether a domain is the standard's own.
pub(crate) fn is_standard(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

/// The version of the standard's operators.
pub(crate) fn version(opsets: &[Opset<'_>]) -> Option<i64> {
    opsets
        .iter()
        .find(|opset| is_standard(opset.domain))
        .map(|opset| opset.version)
}

impl<'a> Lowering<'_, 'a> {
    /// Lowers those nodes of which the outputs need something.
    fn nodes(
        &mut self,
        nodes: &[Node<'a>],
        outputs: &[&'a str],
        scope: &mut Scope<'_, 'a>,
        frame: Frame<'_, 'a>,
    ) -> Result<(), Problem> {
        self.spend(nodes)?;
        let order = order::of(nodes, outputs, &mut self.counts)?;
        for index in &order.nodes {
            let Some(node) = nodes.get(*index) else {
                continue;
            };
            let wanted: Vec<bool> = node.outputs.iter().map(|name| order.is_read(name)).collect();
            let values = match self.node(node, wanted.clone(), scope, frame) {
                Ok(values) => values,
                Err(refusal) => {
                    if let Some(refusal) = refusal {
                        self.problems.node(&full_name(node), node.label(), refusal);
                    }
                    vec![Value::Broken; node.outputs.len()]
                }
            };
            for (name, value) in node.outputs.iter().zip(values) {
                scope.insert(name, value);
            }
        }
        Ok(())
    }

    /// Counts nodes and all that hangs on them: a function may call others many times over.
    fn spend(&mut self, nodes: &[Node<'a>]) -> Result<(), Problem> {
        let cost = |node: &Node<'_>| node.inputs.len() + node.outputs.len() + node.attributes.len() + 1;
        let cost = nodes.iter().map(cost).fold(0, usize::saturating_add);
        let left = self.steps_left.checked_sub(cost);
        self.steps_left = left.ok_or_else(|| {
            Problem::of_model(
                format!(
                    "it has more than {} nodes, inputs and outputs once its functions are written out",
                    limits::STEPS
                ),
                "",
            )
        })?;
        Ok(())
    }

    /// What a node yields; an error without a refusal where what is wrong was said already.
    fn node(
        &mut self,
        node: &Node<'a>,
        wanted: Vec<bool>,
        scope: &Scope<'_, 'a>,
        frame: Frame<'_, 'a>,
    ) -> Result<Vec<Value>, Option<Refusal>> {
        self.em.node = shown(node.label());
        let mut inputs = Vec::new();
        let mut is_broken = false;
        for name in &node.inputs {
            let value = match *name {
                "" => None,
                name => Some(self.value(name, scope)?),
            };
            is_broken |= matches!(value, Some(Value::Broken));
            inputs.push(value);
        }
        let is_function = self.functions.get(node).is_some();
        let handler = handler(node.operator).filter(|_| is_standard(node.domain));
        if !is_function && handler.is_none() && !(is_standard(node.domain) && node.operator == "If") {
            return Err(Some(unsupported(node)));
        }
        if is_broken && handler.is_none() && !is_function {
            return Err(Some(advise(
                "its condition is computed while the network runs",
                advice_for("If"),
            )));
        }
        if is_broken {
            return Err(None);
        }
        let version = version(frame.opsets)
            .or_else(|| version(&self.view.opsets))
            .unwrap_or(limits::NEWEST_OPSET);
        let call = Call {
            operator: node.operator,
            version,
            attributes: resolved(&node.attributes, frame.attributes),
            inputs,
            wanted: wanted.clone(),
            weights: self.weights,
        };
        if !is_function {
            attributes::check(call.operator, &call.attributes)?;
        }
        let has_rows = call
            .inputs
            .iter()
            .flatten()
            .any(|value| matches!(value, Value::Rows(_)));
        let values = match handler {
            Some(_) if has_rows => rows::lowered(&mut self.em, &call)?,
            Some(handler) => handler(&mut self.em, &call)?,
            None if is_function => self.inlined(node, call, frame)?,
            None => self.branch(&call, scope, frame)?,
        };
        match without_value(&values, node, &wanted) {
            Some(name) => Err(Some(refuse(format!("its output `{}` is not supported", shown(name))))),
            None => Ok(values),
        }
    }

    /// What a name stands for.
    fn value(&mut self, name: &'a str, scope: &Scope<'_, 'a>) -> Result<Value, Option<Refusal>> {
        if let Some(value) = scope.value(name) {
            return Ok(value.clone());
        }
        let Some(view) = scope.initializer(name) else {
            return Err(Some(refuse(format!(
                "its input `{}` is made by no node before it",
                shown(name)
            ))));
        };
        let tensor = self
            .weights
            .get(view)
            .map_err(|fault| Some(refuse(format!("its input `{}`: {fault}", shown(name)))))?;
        self.em
            .budget
            .allow(tensor.data.len().saturating_mul(limits::FOLDED_PER_NUMBER));
        Ok(Value::Known(tensor))
    }
}

/// The first output that is read and has no value.
fn without_value<'n>(values: &[Value], node: &Node<'n>, wanted: &[bool]) -> Option<&'n str> {
    let outputs = node.outputs.iter().zip(wanted).skip(values.len());
    outputs.filter(|(_, wanted)| **wanted).map(|(name, _)| *name).next()
}

/// The attributes of a node, those of the enclosing function in the place of references to them.
fn resolved<'a>(own: &[Attribute<'a>], outer: &[Attribute<'a>]) -> Vec<Attribute<'a>> {
    let resolve = |attribute: &Attribute<'a>| match attribute.reference {
        "" => Some(*attribute),
        reference => {
            let meant = outer.iter().find(|outer| outer.name == reference);
            meant.map(|meant| meant.renamed(attribute.name))
        }
    };
    own.iter().filter_map(resolve).collect()
}

fn full_name(node: &Node<'_>) -> String {
    match is_standard(node.domain) {
        true => node.operator.to_owned(),
        false => format!("{}.{}", node.domain, node.operator),
    }
}

fn unsupported(node: &Node<'_>) -> Refusal {
    match node.domain {
        domain if is_standard(domain) => advise("the operator is not supported", advice_for(node.operator)),
        domain if domain.starts_with("com.microsoft") => advise(
            "it is an operator of ONNX Runtime's own (`com.microsoft`)",
            "use the file as it was exported, before ONNX Runtime optimised or quantised it",
        ),
        domain => advise(
            format!(
                "it is of the operator set `{}`, which is not the standard's",
                shown(domain)
            ),
            "export with standard operators only",
        ),
    }
}
