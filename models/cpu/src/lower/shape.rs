//! Operators that move numbers: reshapes, concatenations.

use millrace_graph::{Node, Operand};

use crate::step::Place;
use crate::steps::{Convert, StridedStep};

use super::elementwise::row_major;
use super::{Layout, Lowering, Refusal, Stored};

impl Lowering<'_> {
    /// The same numbers under another shape: no copy where they lie in order, or where a flattened map is read through a
    /// table later.
    pub(super) fn reshape(&mut self, node: &Node) -> Result<(), Refusal> {
        let value = self.value(node, 0)?;
        let stored = self.stored(value)?;
        let flat = self.sizes(Operand::Value(node.output)).iter().filter(|size| **size != 1).count() <= 1;
        if let Layout::Map(_) = stored.layout
            && flat
        {
            self.stored.insert(node.output, stored);
            return Ok(());
        }
        let place = self.rows(Operand::Value(value))?;
        self.stored.insert(node.output, Stored { place, layout: Layout::Rows });
        Ok(())
    }

    pub(super) fn concat(&mut self, node: &Node, axis: usize) -> Result<(), Refusal> {
        let maps = node.inputs.iter().all(|input| {
            matches!(input, Operand::Value(value)
                if self.map_sizes(*value).is_some()
                && self.stored(*value).is_ok_and(|stored| matches!(stored.layout, Layout::Map(_))))
        });
        match maps && axis == 1 {
            true => self.concat_channels(node),
            false => self.concat_rows(node, axis),
        }
    }

    /// Along the channels of maps: what already lies at its place is not copied.
    fn concat_channels(&mut self, node: &Node) -> Result<(), Refusal> {
        let (output, to) = self.output_map(node)?;
        let mut first_channel = 0;
        for value in super::halo::values(&node.inputs) {
            let Stored { place, layout: Layout::Map(from) } = self.stored(value)? else {
                return Err("its input is no map".to_owned());
            };
            let offset = output.offset + first_channel / to.lanes * to.block_stride();
            let in_place = place == Place { offset, ..output } && from.lanes == to.lanes && from.halo == to.halo;
            if !in_place {
                self.push(Convert { input: place, from, output, to, first_channel }, &[place, output]);
            }
            first_channel += from.channels;
        }
        Ok(())
    }

    fn concat_rows(&mut self, node: &Node, axis: usize) -> Result<(), Refusal> {
        let sizes = self.sizes(Operand::Value(node.output));
        let output = self.new_rows(sizes.iter().product());
        let to_steps = row_major(&sizes);
        let mut index = 0;
        for input in &node.inputs {
            let from = self.sizes(*input);
            let place = self.rows(*input)?;
            let axes = from.iter().zip(row_major(&from)).zip(&to_steps).map(|((length, from), to)| [*length, from, *to]);
            let axes: Vec<[usize; 3]> = axes.collect();
            let offset = output.offset + index * to_steps.get(axis).copied().unwrap_or(1);
            self.push(StridedStep::new(place, Place { offset, ..output }, &axes), &[place, output]);
            index += from.get(axis).copied().unwrap_or(1);
        }
        self.set_rows(node.output, output);
        Ok(())
    }
}
