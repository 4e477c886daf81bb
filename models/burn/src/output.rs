//! A graph's outputs to those of each item: the batch axis need not come first. Knows no device.

use millrace_graph::{Graph, Value};

/// How one output of a batch is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Runs of `inner` numbers for each item, as often as `outer` says.
    Batched { outer: usize, inner: usize },
    /// The same numbers for every item.
    Shared { elements: usize },
}

pub(crate) fn layouts(graph: &Graph) -> Vec<Layout> {
    let layouts = graph.outputs().iter().map(|output| {
        let axes = &graph.shape(output.value).0;
        let product = |range: std::ops::Range<usize>| -> usize {
            axes.get(range)
                .unwrap_or_default()
                .iter()
                .map(|axis| axis.size)
                .product()
        };
        // A part of the batched axis may stand outside of the items.
        let value = graph.values().get(output.value.index());
        let outside = value.map_or(1, Value::outer).max(1);
        match axes.iter().position(|axis| axis.batched) {
            Some(batch) => Layout::Batched {
                outer: product(0..batch) * outside,
                inner: product(batch..axes.len()) / outside,
            },
            None => Layout::Shared {
                elements: product(0..axes.len()),
            },
        }
    });
    layouts.collect()
}

/// For each item its part of every output.
///
/// # Errors
/// When an output has not as many numbers as it should.
pub(crate) fn split(layouts: &[Layout], outputs: &[Vec<f32>], n_items: usize) -> Result<Vec<Vec<Vec<f32>>>, String> {
    for (index, (layout, output)) in layouts.iter().zip(outputs).enumerate() {
        let expected = match *layout {
            Layout::Batched { outer, inner } => outer.saturating_mul(inner).saturating_mul(n_items),
            Layout::Shared { elements } => elements,
        };
        if output.len() != expected {
            return Err(format!(
                "output {index} has {} numbers for {n_items} items, expected {expected}",
                output.len()
            ));
        }
    }
    if outputs.len() != layouts.len() {
        return Err(format!("{} outputs, expected {}", outputs.len(), layouts.len()));
    }
    let of_item = |item: usize| {
        let parts = layouts.iter().zip(outputs).map(|(layout, output)| match *layout {
            Layout::Shared { .. } => output.clone(),
            Layout::Batched { inner, .. } => {
                let runs = output.chunks((inner * n_items).max(1));
                let own = runs.filter_map(|run| run.get(item * inner..(item + 1) * inner));
                own.flatten().copied().collect()
            }
        });
        parts.collect()
    };
    Ok((0..n_items).map(of_item).collect())
}

#[cfg(test)]
mod tests {
    use super::{Layout, split};

    #[test]
    fn each_item_gets_its_part_wherever_the_batch_axis_is() {
        let layouts = [
            Layout::Batched { outer: 1, inner: 2 },
            Layout::Batched { outer: 2, inner: 1 },
            Layout::Shared { elements: 1 },
        ];
        let outputs = [vec![1.0, 2.0, 3.0, 4.0], vec![1.0, 3.0, 2.0, 4.0], vec![7.0]];
        let items = split(&layouts, &outputs, 2).unwrap();
        assert_eq!(
            items,
            [
                vec![vec![1.0, 2.0], vec![1.0, 2.0], vec![7.0]],
                vec![vec![3.0, 4.0], vec![3.0, 4.0], vec![7.0]],
            ]
        );
        assert!(
            split(&layouts, &outputs, 3)
                .unwrap_err()
                .contains("output 0 has 4 numbers")
        );
        assert!(split(&layouts, &outputs[..2], 2).is_err());
    }
}
