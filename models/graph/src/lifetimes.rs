//! How long each value is needed: executors free or reuse its buffer after its last reader.

use crate::graph::{Graph, Operand, ValueId};

/// Which values end where. Outputs never end; a value that nobody reads ends with the node that makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifetimes {
    // Indexed by node.
    ending: Vec<Vec<ValueId>>,
    // Indexed by value: the last node that needs it.
    last: Vec<Option<usize>>,
    peak: usize,
}

impl Lifetimes {
    /// The lifetimes of a graph's values.
    pub fn of(graph: &Graph) -> Self {
        let mut last: Vec<Option<usize>> = vec![None; graph.values().len()];
        for (index, node) in graph.nodes().iter().enumerate() {
            let read = node.inputs.iter().filter_map(|operand| match operand {
                Operand::Value(id) => Some(*id),
                Operand::Constant(_) => None,
            });
            for id in read.chain([node.output]) {
                if let Some(last) = last.get_mut(id.index()) {
                    *last = Some(index);
                }
            }
        }
        for output in graph.outputs() {
            if let Some(last) = last.get_mut(output.value.index()) {
                *last = None;
            }
        }
        let mut ending = vec![Vec::new(); graph.nodes().len()];
        for (value, last) in (0_u32..).zip(&last) {
            if let Some(ending) = last.and_then(|last| ending.get_mut(last)) {
                ending.push(ValueId(value));
            }
        }
        let peak = peak(graph, &ending);
        Self { ending, last, peak }
    }

    /// What nobody needs after this node (by its place among the graph's nodes), in ascending order.
    pub fn ending_at(&self, node: usize) -> &[ValueId] {
        self.ending.get(node).map(Vec::as_slice).unwrap_or_default()
    }

    /// The last node that needs a value; nothing for outputs, which are needed to the end.
    pub fn last(&self, value: ValueId) -> Option<usize> {
        self.last.get(value.index()).copied().flatten()
    }

    /// Most numbers that are there at once, for each item; what does not grow with the batch counts as for one.
    pub fn peak_elements(&self) -> usize {
        self.peak
    }
}

fn peak(graph: &Graph, ending: &[Vec<ValueId>]) -> usize {
    let elements = |id: ValueId| graph.shape(id).elements().unwrap_or(usize::MAX);
    let mut held = elements(graph.input());
    let mut peak = held;
    for (node, ending) in graph.nodes().iter().zip(ending) {
        held = held.saturating_add(elements(node.output));
        peak = peak.max(held);
        for dead in ending {
            held = held.saturating_sub(elements(*dead));
        }
    }
    peak
}

#[cfg(test)]
mod tests {
    use super::Lifetimes;
    use crate::graph::{Operand, ValueId};
    use crate::op::{Activation, Binary, Op};
    use crate::testing::net::Net;

    #[test]
    fn values_end_with_their_last_reader() {
        let mut net = Net::new("N 4");
        let x = net.x;
        let one = net.activation(Activation::Relu, x);
        let two = net.activation(Activation::Tanh, one);
        let sum = net.binary(Binary::Add, one, two);
        let unread = net.activation(Activation::Silu, sum);
        let last = net.reshape(sum, "N 2 2");
        let graph = net.ends(&[last, two]);
        let lifetimes = Lifetimes::of(&graph);
        let id = |operand| match operand {
            Operand::Value(id) => id,
            Operand::Constant(_) => panic!("a value"),
        };
        let none: &[ValueId] = &[];
        assert_eq!(lifetimes.ending_at(0), [id(x)]);
        assert_eq!(lifetimes.ending_at(1), none);
        assert_eq!(lifetimes.ending_at(2), [id(one)]);
        assert_eq!(lifetimes.ending_at(3), [id(unread)]);
        assert_eq!(lifetimes.ending_at(4), [id(sum)]);
        assert_eq!(lifetimes.ending_at(5), none);
        assert_eq!(lifetimes.last(id(two)), None);
        assert_eq!(lifetimes.last(id(sum)), Some(4));
        assert_eq!(lifetimes.peak_elements(), 12);
    }

    #[test]
    fn an_input_that_nobody_reads_stays() {
        let mut net = Net::new("N 4");
        let number = net.constant(&[4]);
        let all = net.node(Op::Expand(crate::testing::shape("N 4")), &[number]);
        let graph = net.ends(&[all]);
        assert_eq!(Lifetimes::of(&graph).peak_elements(), 8);
    }
}
