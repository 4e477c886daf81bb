//! Operators that move numbers: reshapes, transposes, slices, concatenations. Most are views, and copy nothing.

use millrace_graph::{Node, Operand};

use crate::layout::Map;
use crate::step::Place;
use crate::steps::{Convert, StridedStep};

use super::elementwise::{broadcast_steps, row_major};
use super::{Layout, Lowering, Refusal, Stored};

impl Lowering<'_> {
    /// Where an operand's numbers are, with a step along each axis; nothing where they lie in blocks.
    pub(super) fn view(&self, operand: Operand) -> Option<(Place, Vec<usize>)> {
        let Operand::Value(value) = operand else { return None };
        let stored = self.stored.get(&value)?;
        match &stored.layout {
            Layout::Rows => Some((stored.place, row_major(&self.sizes(operand)))),
            Layout::Strided(steps) => Some((stored.place, steps.clone())),
            Layout::Map(map) if map.is_row_major() => Some((stored.place, row_major(&self.sizes(operand)))),
            Layout::Map(_) => None,
        }
    }

    /// An operand's view, copied to rows where it lies in blocks.
    pub(super) fn view_or_rows(&mut self, operand: Operand) -> Result<(Place, Vec<usize>), Refusal> {
        match self.view(operand) {
            Some(view) => Ok(view),
            None => Ok((self.rows(operand)?, row_major(&self.sizes(operand)))),
        }
    }

    fn set_view(&mut self, node: &Node, place: Place, steps: Vec<usize>) {
        let layout = match steps == row_major(&self.sizes(Operand::Value(node.output))) {
            true => Layout::Rows,
            false => Layout::Strided(steps),
        };
        self.stored.insert(node.output, Stored { place, layout });
    }

    /// The same numbers under another shape: no copy where they lie in order, or where a flattened map is read through a
    /// table later.
    pub(super) fn reshape(&mut self, node: &Node) -> Result<(), Refusal> {
        let operand = Operand::Value(self.value(node, 0)?);
        let stored = self.stored(self.value(node, 0)?)?;
        let sizes = self.sizes(Operand::Value(node.output));
        let flat = sizes.iter().filter(|size| **size != 1).count() <= 1;
        if matches!(stored.layout, Layout::Map(_)) && flat {
            self.stored.insert(node.output, stored);
            return Ok(());
        }
        if let Layout::Strided(steps) = &stored.layout
            && let Some(steps) = split_steps(&self.sizes(operand), steps, &sizes)
        {
            self.set_view(node, stored.place, steps);
            return Ok(());
        }
        let place = self.rows(operand)?;
        self.stored.insert(
            node.output,
            Stored {
                place,
                layout: Layout::Rows,
            },
        );
        Ok(())
    }

    pub(super) fn transpose(&mut self, node: &Node, order: &[usize]) -> Result<(), Refusal> {
        let operand = Operand::Value(self.value(node, 0)?);
        let (place, steps) = self.view_or_rows(operand)?;
        let steps = order
            .iter()
            .map(|axis| steps.get(*axis).copied().unwrap_or(0))
            .collect();
        self.set_view(node, place, steps);
        Ok(())
    }

    pub(super) fn slice(&mut self, node: &Node, starts: &[usize], strides: &[isize]) -> Result<(), Refusal> {
        let value = self.value(node, 0)?;
        if self.slice_channels(node, value, starts, strides)? {
            return Ok(());
        }
        let (place, steps) = self.view_or_rows(Operand::Value(value))?;
        let strides: Result<Vec<usize>, _> = strides.iter().map(|stride| usize::try_from(*stride)).collect();
        let strides = strides.map_err(|_| "backwards".to_owned())?;
        let offset: usize = starts.iter().zip(&steps).map(|(start, step)| start * step).sum();
        let steps = steps.iter().zip(strides).map(|(step, stride)| step * stride).collect();
        self.set_view(
            node,
            Place {
                offset: place.offset + offset,
                ..place
            },
            steps,
        );
        Ok(())
    }

    /// Whole channel blocks of a map: a part of its storage. Whether it was that.
    fn slice_channels(
        &mut self,
        node: &Node,
        value: millrace_graph::ValueId,
        starts: &[usize],
        strides: &[isize],
    ) -> Result<bool, Refusal> {
        let Stored {
            place,
            layout: Layout::Map(map),
        } = self.stored(value)?
        else {
            return Ok(false);
        };
        let (Some([channels, height, width]), [0, first, 0, 0]) = (self.map_sizes(node.output), starts) else {
            return Ok(false);
        };
        let whole = height == map.height && width == map.width && strides.iter().all(|stride| *stride == 1);
        // Lanes behind the last channel would be another value's: only a reader that ignores them may see them, and all do.
        if map.lanes == 1 || !whole || !first.is_multiple_of(map.lanes) || map.channels < first + channels {
            return Ok(false);
        }
        let offset = place.offset + first / map.lanes * map.block_stride();
        self.set_map(node.output, Place { offset, ..place }, Map { channels, ..map });
        Ok(true)
    }

    pub(super) fn expand(&mut self, node: &Node) -> Result<(), Refusal> {
        let [operand] = node.inputs.as_slice() else {
            return Err("it has not one input".to_owned());
        };
        let rank = self.sizes(Operand::Value(node.output)).len();
        let sizes = self.sizes(*operand);
        let (place, steps) = match operand {
            Operand::Value(_) => self.view_or_rows(*operand)?,
            Operand::Constant(_) => (self.rows(*operand)?, row_major(&sizes)),
        };
        let own = steps
            .iter()
            .zip(&sizes)
            .map(|(step, size)| if *size == 1 { 0 } else { *step });
        let mut all = vec![0; rank.saturating_sub(sizes.len())];
        all.extend(own);
        self.set_view(node, place, all);
        Ok(())
    }

    /// Along an axis by a known index, or by indices that follow each other.
    pub(super) fn gather(
        &mut self,
        node: &Node,
        axis: usize,
        indices: &[usize],
        shape: &[usize],
    ) -> Result<(), Refusal> {
        let first = indices.first().copied().unwrap_or(0);
        let next = indices.get(1).copied().unwrap_or(first);
        let stride = next.checked_sub(first).ok_or("backwards")?;
        let even = indices
            .iter()
            .enumerate()
            .all(|(place, index)| *index == first + place * stride);
        if !even || shape.len() > 1 {
            return Err("scattered indices".to_owned());
        }
        let operand = Operand::Value(self.value(node, 0)?);
        let (place, mut steps) = self.view_or_rows(operand)?;
        let step = steps.get(axis).copied().unwrap_or(0);
        let within: Vec<usize> = shape.iter().map(|_| step * stride).collect();
        steps.splice(axis..=axis, within);
        self.set_view(
            node,
            Place {
                offset: place.offset + first * step,
                ..place
            },
            steps,
        );
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
            let Stored {
                place,
                layout: Layout::Map(from),
            } = self.stored(value)?
            else {
                return Err("its input is no map".to_owned());
            };
            let offset = output.offset + first_channel / to.lanes * to.block_stride();
            let in_place = place == Place { offset, ..output } && from.lanes == to.lanes && from.halo == to.halo;
            if !in_place {
                self.push(
                    Convert {
                        input: place,
                        from,
                        output,
                        to,
                        first_channel,
                    },
                    &[place, output],
                );
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
            let (place, steps) = match input {
                Operand::Value(_) => self.view_or_rows(*input)?,
                Operand::Constant(_) => (self.rows(*input)?, broadcast_steps(&from, from.len())),
            };
            let axes = from
                .iter()
                .zip(steps)
                .zip(&to_steps)
                .map(|((length, from), to)| [*length, from, *to]);
            let axes: Vec<[usize; 3]> = axes.collect();
            let offset = output.offset + index * to_steps.get(axis).copied().unwrap_or(1);
            self.push(
                StridedStep::new(place, Place { offset, ..output }, &axes),
                &[place, output],
            );
            index += from.get(axis).copied().unwrap_or(1);
        }
        self.set_rows(node.output, output);
        Ok(())
    }
}

/// The steps of a view under another shape, where axes are only split, or joined where they lie in order; nothing where the
/// numbers must be copied.
fn split_steps(from: &[usize], steps: &[usize], to: &[usize]) -> Option<Vec<usize>> {
    let mut result = Vec::new();
    let mut from = from.iter().zip(steps).filter(|(length, _)| **length != 1);
    // What is left of the axis, and the step within.
    let mut axis: Option<(usize, usize)> = None;
    for length in to {
        if *length == 1 {
            result.push(0);
            continue;
        }
        let (left, step) = match axis.take() {
            Some(axis) => axis,
            None => {
                let (left, step) = from.next()?;
                (*left, *step)
            }
        };
        if !left.is_multiple_of(*length) {
            return None;
        }
        let rest = left / length;
        result.push(step * rest);
        axis = (rest > 1).then_some((rest, step));
    }
    match (axis, from.next()) {
        (None, None) => Some(result),
        _ => None,
    }
}
