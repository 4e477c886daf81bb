//! Resizes, and pads of height and width.

use millrace_graph::{Node, Operand, PadMode, Resize, padded, taps};

use crate::kernels::{Axis, Buffer};
use crate::step::Place;
use crate::steps::{ConstantStep, ResampleStep, StridedStep};

use super::elementwise::row_major;
use super::{Lowering, Refusal};

impl Lowering<'_> {
    pub(super) fn resize(&mut self, node: &Node, resize: &Resize) -> Result<(), Refusal> {
        let [_, height, width] = self
            .map_sizes(self.value(node, 0)?)
            .ok_or("its input is no map of each item")?;
        self.resample(node, [taps(resize, 0, height), taps(resize, 1, width)], 0.0)
    }

    pub(super) fn pad(&mut self, node: &Node, before: &[usize], after: &[usize], mode: PadMode) -> Result<(), Refusal> {
        let value = self.value(node, 0)?;
        let outside = match mode {
            PadMode::Constant(number) => number,
            PadMode::Edge | PadMode::Reflect | PadMode::Wrap => 0.0,
        };
        match (self.map_sizes(value), before, after) {
            (Some([_, height, width]), [0, 0, above, left], [0, 0, below, right]) => {
                let axis = |before: usize, length: usize, after: usize| {
                    let index = |at: usize| padded(at, before, length, mode).map(|index| (index, 1.0));
                    (0..before + length + after)
                        .map(|at| index(at).into_iter().collect())
                        .collect()
                };
                let axes = [axis(*above, height, *below), axis(*left, width, *right)];
                self.resample(node, axes, outside)
            }
            _ if matches!(mode, PadMode::Constant(_)) => self.pad_rows(node, before, outside),
            _ => Err("not of height and width alone".to_owned()),
        }
    }

    /// Any axes: the number everywhere, then what it surrounds.
    fn pad_rows(&mut self, node: &Node, before: &[usize], outside: f32) -> Result<(), Refusal> {
        let operand = Operand::Value(self.value(node, 0)?);
        let (place, steps) = self.view_or_rows(operand)?;
        let sizes = self.sizes(Operand::Value(node.output));
        let floats = sizes.iter().product();
        let output = self.new_rows(floats);
        let numbers = Buffer::from_slice(&vec![outside; floats]);
        let fill = ConstantStep {
            numbers,
            floats,
            output,
        };
        self.push(fill, &[output]);
        let to = row_major(&sizes);
        let offset: usize = before.iter().zip(&to).map(|(before, step)| before * step).sum();
        let axes = self.sizes(operand).into_iter().zip(steps).zip(to);
        let axes: Vec<[usize; 3]> = axes.map(|((length, from), to)| [length, from, to]).collect();
        let inner = Place { offset, ..output };
        self.push(StridedStep::new(place, inner, &axes), &[place, output]);
        self.set_rows(node.output, output);
        Ok(())
    }

    fn resample(&mut self, node: &Node, taps: [Vec<Vec<(usize, f32)>>; 2], outside: f32) -> Result<(), Refusal> {
        let value = self.value(node, 0)?;
        let [_, height, width] = self.map_sizes(value).ok_or("its input is no map of each item")?;
        let [rows, columns] = taps;
        let (Some(rows), Some(columns)) = (Axis::new(rows, height), Axis::new(columns, width)) else {
            return Err("it reads beyond its input".to_owned());
        };
        let (input, from) = self.blocked_map(value)?;
        let (output, to) = self.output_map(node)?;
        let step = ResampleStep {
            kernels: self.kernels,
            input,
            from,
            output,
            to,
            rows,
            columns,
            outside,
        };
        self.push(step, &[input, output]);
        Ok(())
    }
}
