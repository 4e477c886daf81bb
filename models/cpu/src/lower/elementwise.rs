//! Functions of numbers one by one: in blocks where their operands are maps, in rows otherwise.

use millrace_graph::{Binary, ConstantId, Node, Operand, Unary};

use crate::kernels::{Arithmetic, Buffer};
use crate::layout::{Halo, Map};
use crate::step::Place;
use crate::steps::{Computation, MapStep, RowsStep, Side, Spread};

use super::{Layout, Lowering, Refusal};

impl Lowering<'_> {
    pub(super) fn unary(&mut self, node: &Node, unary: Unary) -> Result<(), Refusal> {
        let Unary::Activation(activation) = unary else {
            return Err(format!("{unary:?} is not lowered yet"));
        };
        self.elementwise(node, Computation::Activation(activation))
    }

    pub(super) fn binary(&mut self, node: &Node, binary: Binary) -> Result<(), Refusal> {
        let arithmetic = match binary {
            Binary::Add => Arithmetic::Add,
            Binary::Sub => Arithmetic::Sub,
            Binary::Mul => Arithmetic::Mul,
            Binary::Div => Arithmetic::Div,
            _ => return Err(format!("{binary:?} is not lowered yet")),
        };
        self.elementwise(node, Computation::Binary(arithmetic))
    }

    /// `x · factor + shift` by channel.
    pub(super) fn scale(&mut self, node: &Node, factor: ConstantId, shift: ConstantId) -> Result<(), Refusal> {
        let value = self.value(node, 0)?;
        let sizes = self.sizes(Operand::Value(value));
        let channels = sizes.get(1).copied().unwrap_or(1);
        let (factor, shift) = (self.bias(Some(factor), channels)?, self.bias(Some(shift), channels)?);
        if self.is_blocked(value) {
            let (place, from) = self.blocked_map(value)?;
            let (output, to) = self.output_map(node)?;
            let operands = vec![
                (Side::Value(place), Spread::Map(from)),
                (Side::Numbers(factor), Spread::Channels),
                (Side::Numbers(shift), Spread::Channels),
            ];
            let step = MapStep {
                kernels: self.kernels,
                operands,
                computation: Computation::MulAdd,
                output,
                to,
            };
            self.push(step, &[place, output]);
            return Ok(());
        }
        let place = self.rows(Operand::Value(value))?;
        let output = self.new_rows(sizes.iter().product());
        let by_channel = |axis: usize| usize::from(axis == 1);
        let axes = row_major(&sizes).into_iter().enumerate().map(|(axis, step)| {
            let length = sizes.get(axis).copied().unwrap_or(1);
            (length, vec![step, by_channel(axis), by_channel(axis)])
        });
        let operands = vec![Side::Value(place), Side::Numbers(factor), Side::Numbers(shift)];
        let axes: Vec<(usize, Vec<usize>)> = axes.collect();
        let step = RowsStep::new(self.kernels, operands, Computation::MulAdd, output, &axes);
        self.push(step, &[place, output]);
        self.set_rows(node.output, output);
        Ok(())
    }

    fn elementwise(&mut self, node: &Node, computation: Computation) -> Result<(), Refusal> {
        match self.map_operands(node)? {
            Some(operands) => self.over_map(node, computation, operands),
            None => self.over_rows(node, computation),
        }
    }

    /// Whether a value lies in channel blocks.
    fn is_blocked(&self, value: millrace_graph::ValueId) -> bool {
        let lies_so = self.stored(value).is_ok_and(|stored| match stored.layout {
            Layout::Map(map) => map.lanes == self.kernels.lanes(),
            Layout::Rows | Layout::Strided(_) => false,
        });
        lies_so && self.map_sizes(value).is_some()
    }

    /// How each operand goes along with a map in blocks; nothing where the rows are the better way.
    fn map_operands(&mut self, node: &Node) -> Result<Option<Vec<(Side, Spread)>>, Refusal> {
        let Some(result) = self.map_sizes(node.output) else {
            return Ok(None);
        };
        let blocked = node.inputs.iter().any(|input| {
            matches!(input, Operand::Value(value) if self.is_blocked(*value) && self.map_sizes(*value) == Some(result))
        });
        if !blocked {
            return Ok(None);
        }
        let [channels, height, width] = result;
        let mut operands = Vec::new();
        for input in &node.inputs {
            let sizes = self.sizes(*input);
            let mut padded = vec![1; 4_usize.saturating_sub(sizes.len())];
            padded.extend(&sizes);
            let operand = match (input, padded.as_slice()) {
                (Operand::Value(value), [1, c, h, w]) if [*c, *h, *w] == result && sizes.len() == 4 => {
                    let (place, map) = self.map(*value, Halo::default())?;
                    let (place, map) = match map.lanes == self.kernels.lanes() {
                        true => (place, map),
                        false => self.blocked_map(*value)?,
                    };
                    (Side::Value(place), Spread::Map(map))
                }
                (Operand::Constant(id), [1, 1, 1, 1]) => (
                    Side::Numbers(Buffer::from_slice(&self.constant(*id)?.data)),
                    Spread::One,
                ),
                (Operand::Constant(id), [1, c, 1, 1]) if *c == channels => {
                    (Side::Numbers(self.bias(Some(*id), channels)?), Spread::Channels)
                }
                (Operand::Value(_), [1, c, 1, 1]) if *c == channels => {
                    (Side::Value(self.rows(*input)?), Spread::Channels)
                }
                (Operand::Constant(id), [1, c, h, w]) if [*c, *h, *w] == [channels, height, width] => {
                    let constant = self.constant(*id)?;
                    let to = Map {
                        lanes: self.kernels.lanes(),
                        ..Map::planar(channels, height, width)
                    };
                    (Side::Numbers(in_blocks(&constant.data, &to)), Spread::Map(to))
                }
                _ => return Ok(None),
            };
            operands.push(operand);
        }
        Ok(Some(operands))
    }

    fn over_map(
        &mut self,
        node: &Node,
        computation: Computation,
        operands: Vec<(Side, Spread)>,
    ) -> Result<(), Refusal> {
        let (output, to) = self.output_map(node)?;
        let places = operands.iter().filter_map(|(side, _)| place(side));
        let places: Vec<Place> = places.chain([output]).collect();
        self.push(
            MapStep {
                kernels: self.kernels,
                operands,
                computation,
                output,
                to,
            },
            &places,
        );
        Ok(())
    }

    fn over_rows(&mut self, node: &Node, computation: Computation) -> Result<(), Refusal> {
        let result = self.sizes(Operand::Value(node.output));
        let mut operands = Vec::new();
        let mut steps = Vec::new();
        for input in &node.inputs {
            operands.push(match input {
                Operand::Value(_) => Side::Value(self.rows(*input)?),
                Operand::Constant(id) => Side::Numbers(Buffer::from_slice(&self.constant(*id)?.data)),
            });
            steps.push(broadcast_steps(&self.sizes(*input), result.len()));
        }
        let output = self.new_rows(result.iter().product());
        let axes = result.iter().enumerate().map(|(axis, length)| {
            (
                *length,
                steps
                    .iter()
                    .map(|steps| steps.get(axis).copied().unwrap_or(0))
                    .collect(),
            )
        });
        let axes: Vec<(usize, Vec<usize>)> = axes.collect();
        let places: Vec<Place> = operands.iter().filter_map(place).chain([output]).collect();
        self.push(
            RowsStep::new(self.kernels, operands, computation, output, &axes),
            &places,
        );
        self.set_rows(node.output, output);
        Ok(())
    }
}

fn place(side: &Side) -> Option<Place> {
    match side {
        Side::Value(place) => Some(*place),
        Side::Numbers(_) => None,
    }
}

/// From one index to the next along each axis of a row-major value.
pub(super) fn row_major(sizes: &[usize]) -> Vec<usize> {
    let mut step = 1;
    let mut steps: Vec<usize> = sizes
        .iter()
        .rev()
        .map(|size| {
            let this = step;
            step *= size;
            this
        })
        .collect();
    steps.reverse();
    steps
}

/// The same, seen as `rank` axes: 0 where an axis is repeated.
pub(super) fn broadcast_steps(sizes: &[usize], rank: usize) -> Vec<usize> {
    let own = row_major(sizes);
    let repeated = own
        .into_iter()
        .zip(sizes)
        .map(|(step, size)| if *size == 1 { 0 } else { step });
    let mut steps = vec![0; rank.saturating_sub(sizes.len())];
    steps.extend(repeated);
    steps
}

/// Row-major numbers in channel blocks.
fn in_blocks(numbers: &[f32], to: &Map) -> Buffer {
    let mut buffer = Buffer::zeroed(to.len());
    let floats = buffer.floats_mut();
    for (index, number) in numbers.iter().enumerate() {
        let (channel, pixel) = (index / to.pixels(), index % to.pixels());
        let at = to.channel(channel) + to.origin() + to.step(pixel / to.width, pixel % to.width);
        if let Some(to) = floats.get_mut(at) {
            *to = *number;
        }
    }
    buffer
}
