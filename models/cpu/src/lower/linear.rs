//! Linear layers: over rows, and over a map that was flattened.

use millrace_graph::{Linear, Node, Operand};

use crate::kernels::{Finish, Table};
use crate::layout::Map;
use crate::step::Place;
use crate::steps::{DenseParts, DenseStep, ResidualPart, Section};

use super::{Layout, Lowering, Refusal};

impl Lowering<'_> {
    pub(super) fn linear(&mut self, node: &Node, linear: &Linear) -> Result<(), Refusal> {
        let weights = self.constant(linear.weight)?;
        let [inputs, outputs] = weights.shape.as_slice() else {
            return Err("its weight has not two axes".to_owned());
        };
        let (inputs, outputs) = (*inputs, *outputs);
        let value = self.value(node, 0)?;
        let rows = self.elements(Operand::Value(node.output)) / outputs.max(1);
        let (input, taps) = self.features(value, inputs, rows)?;
        let residual = node.inputs.get(1).map(|operand| self.rows(*operand)).transpose()?;
        let output = self.new_rows(rows * outputs);
        let offsets = |step: usize| -> Vec<u32> { (0..rows).map(|row| (row * step) as u32).collect() };
        let lanes = self.kernels.lanes();
        let parts = DenseParts {
            kernels: self.kernels,
            input,
            output,
            residual: residual.map(|input| ResidualPart {
                input,
                places: self.repeated(&offsets(outputs), self.item_stride(input)),
                block_stride: lanes,
            }),
            sections: vec![Section {
                taps,
                first_channel: 0,
                channels: outputs,
            }],
            bias: self.bias(linear.bias, outputs)?,
            pixels: self.repeated(&offsets(inputs), self.item_stride(input)),
            places: self.repeated(&offsets(outputs), self.item_stride(output)),
            pixels_of_item: rows,
            block_stride: lanes,
            tight: rows > 1,
            input_floats: rows * inputs,
            finish: Finish::of(linear.activation),
        };
        let data = &weights.data;
        let step = DenseStep::new(parts, |_, tap, channel| {
            data.get(tap * outputs + channel).copied().unwrap_or(0.0)
        });
        let places: Vec<Place> = [input, output].into_iter().chain(residual).collect();
        self.push(step, &places);
        self.set_rows(node.output, output);
        Ok(())
    }

    /// Where a linear layer reads its features: in a map where it was flattened, else in rows.
    fn features(
        &mut self,
        value: millrace_graph::ValueId,
        inputs: usize,
        rows: usize,
    ) -> Result<(Place, Table), Refusal> {
        let stored = self.stored(value)?;
        if let Layout::Map(map) = stored.layout
            && rows == 1
            && inputs == map.channels * map.pixels()
        {
            return Ok((stored.place, flattened(&map)));
        }
        let place = self.rows(Operand::Value(value))?;
        Ok((place, Table::new((0..inputs).map(|input| input as u32).collect())))
    }
}

/// Where the numbers of a map are, in row-major order.
fn flattened(map: &Map) -> Table {
    let channel = |channel: usize| {
        let pixel = move |y: usize, x: usize| (map.channel(channel) + map.origin() + map.step(y, x)) as u32;
        (0..map.height).flat_map(move |y| (0..map.width).map(move |x| pixel(y, x)))
    };
    Table::new((0..map.channels).flat_map(channel).collect())
}
