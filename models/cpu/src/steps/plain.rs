//! Operators that are not hot: computed by the book, on row-major numbers.

use std::sync::Arc;

use millrace_graph::{ConstantId, Graph, Op, Tensor, run_into};

use crate::step::{Place, Scope, Share, Step};

/// What an operator reads.
pub(crate) enum PlainInput {
    /// A value of the item.
    Value(Place),
    /// Numbers that are known.
    Constant(ConstantId),
}

/// See the module.
pub(crate) struct PlainStep {
    /// Has the constants.
    pub(crate) graph: Arc<Graph>,
    pub(crate) op: Op,
    /// And the shape of an item.
    pub(crate) inputs: Vec<(PlainInput, Vec<usize>)>,
    pub(crate) output: Place,
    /// The shape of an item.
    pub(crate) shape: Vec<usize>,
}

impl PlainStep {
    fn item(&self, scope: &Scope<'_>, item: usize) {
        let copies: Vec<Vec<f32>> = self
            .inputs
            .iter()
            .map(|(input, shape)| match input {
                PlainInput::Value(place) => {
                    let mut floats = vec![0.0; shape.iter().product()];
                    scope.at(*place, item).copy_to(&mut floats);
                    floats
                }
                PlainInput::Constant(_) => Vec::new(),
            })
            .collect();
        let tensors = self.inputs.iter().zip(&copies).map(|((input, shape), copy)| Tensor {
            shape,
            data: match input {
                PlainInput::Value(_) => copy,
                PlainInput::Constant(id) => self.graph.constant(*id).map_or(&[], |constant| &constant.data),
            },
        });
        let tensors: Vec<Tensor<'_>> = tensors.collect();
        let mut result = vec![0.0; self.shape.iter().product()];
        let outcome = run_into(&self.graph, &self.op, &tensors, &self.shape, &mut result);
        assert!(
            outcome.is_ok(),
            "an operator takes what the graph was checked for: {outcome:?}"
        );
        scope.at(self.output, item).copy_from(&result);
    }
}

impl Step for PlainStep {
    fn run(&self, scope: &Scope<'_>, share: Share) {
        if share.is_first() {
            for item in scope.items() {
                self.item(scope, item);
            }
        }
    }
}
