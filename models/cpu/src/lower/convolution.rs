//! Convolutions: direct, depthwise, grouped, Winograd.

use millrace_graph::{Convolution, Node, Operand};

use crate::kernels::{Buffer, Finish, TILE, Table};
use crate::layout::Map;
use crate::step::Place;
use crate::steps::{DenseParts, DenseStep, DepthwiseStep, ResidualPart, WinogradParts, WinogradStep};

use super::grouped::Groups;
use super::halo::{self, Method};
use super::{Lowering, Refusal};

/// A convolution with everything at its place.
pub(super) struct Site<'c> {
    pub(super) convolution: &'c Convolution,
    /// `[out, in of a group, height, width]`.
    pub(super) weights: &'c [f32],
    pub(super) input: Place,
    pub(super) from: Map,
    pub(super) output: Place,
    pub(super) to: Map,
    pub(super) residual: Option<(Place, Map)>,
}

impl Lowering<'_> {
    pub(super) fn convolution(&mut self, node: &Node, convolution: &Convolution) -> Result<(), Refusal> {
        let value = self.value(node, 0)?;
        let method = halo::method(self.graph, convolution, value, node.output);
        let needed = halo::needed(self.graph, convolution, value, node.output);
        let (input, from) = self.map(value, needed)?;
        let residual = match node.inputs.get(1) {
            None => None,
            Some(Operand::Value(residual)) => Some(self.blocked_map(*residual)?),
            Some(Operand::Constant(_)) => return Err("its residual is a constant".to_owned()),
        };
        let (input, from) = match method {
            Method::Direct => (input, from),
            Method::Depthwise | Method::Winograd => self.in_blocks(value, input, from)?,
        };
        let (output, to) = self.output_map(node)?;
        let weights = self.constant(convolution.weight)?;
        let site = Site {
            convolution,
            weights: &weights.data,
            input,
            from,
            output,
            to,
            residual,
        };
        match method {
            Method::Direct => match Groups::of(&site).piece(self.kernels) {
                Some(width) => self.grouped(&site, width),
                None => self.direct(&site),
            },
            Method::Depthwise => self.depthwise(&site),
            Method::Winograd => self.winograd(&site),
        }
    }

    /// A map whose blocks are as wide as the kernels'.
    pub(super) fn blocked_map(&mut self, value: millrace_graph::ValueId) -> Result<(Place, Map), Refusal> {
        let (place, map) = self.map(value, crate::layout::Halo::default())?;
        self.in_blocks(value, place, map)
    }

    fn in_blocks(&mut self, value: millrace_graph::ValueId, place: Place, map: Map) -> Result<(Place, Map), Refusal> {
        let lanes = self.kernels.lanes();
        if map.lanes == lanes {
            return Ok((place, map));
        }
        let to = Map { lanes, ..map };
        let output = self.new_map(to);
        let step = crate::steps::Convert {
            input: place,
            from: map,
            output,
            to,
            first_channel: 0,
        };
        self.push(step, &[place, output]);
        self.set_map(value, output, to);
        Ok((output, to))
    }

    pub(super) fn places(&self, site: &Site<'_>) -> Vec<Place> {
        let residual = site.residual.map(|(place, _)| place);
        [site.input, site.output].into_iter().chain(residual).collect()
    }

    fn direct(&mut self, site: &Site<'_>) -> Result<(), Refusal> {
        let (convolution, from, to) = (site.convolution, &site.from, &site.to);
        let groups = Groups::of(site);
        let [kernel_height, kernel_width] = convolution.window.kernel;
        let kernel = kernel_height * kernel_width;
        let sections = groups.sections(site, self.kernels.lanes());
        let of_section = |channels: usize| tap_order(from.lanes, channels / groups.outputs * groups.inputs, kernel);
        let orders: Vec<_> = sections.iter().map(|section| of_section(section.channels)).collect();
        let first_groups: Vec<_> = sections
            .iter()
            .map(|section| section.first_channel / groups.outputs)
            .collect();
        let places = self.places(site);
        let parts = DenseParts {
            kernels: self.kernels,
            input: site.input,
            output: site.output,
            residual: site.residual.map(|(input, map)| ResidualPart {
                input,
                places: self.repeated(&results(&map), self.item_stride(input)),
                block_stride: map.block_stride(),
            }),
            sections,
            bias: self.bias(convolution.bias, to.channels)?,
            pixels: self.repeated(&pixels(convolution, from, to), self.item_stride(site.input)),
            places: self.repeated(&results(to), self.item_stride(site.output)),
            pixels_of_item: to.pixels(),
            block_stride: to.block_stride(),
            tight: false,
            input_floats: from.len(),
            finish: Finish::of(convolution.activation),
        };
        let step = DenseStep::new(parts, |section, tap, channel| {
            let (Some(order), Some(first)) = (orders.get(section), first_groups.get(section)) else {
                return 0.0;
            };
            let Some((input, at)) = order.get(tap) else { return 0.0 };
            let group = channel / groups.outputs;
            if input / groups.inputs != group {
                return 0.0;
            }
            let output = first * groups.outputs + channel;
            let index = (output * groups.inputs + input % groups.inputs) * kernel + at;
            site.weights.get(index).copied().unwrap_or(0.0)
        });
        self.push(step, &places);
        Ok(())
    }

    fn depthwise(&mut self, site: &Site<'_>) -> Result<(), Refusal> {
        let (convolution, from, to) = (site.convolution, site.from, site.to);
        let lanes = self.kernels.lanes();
        let [height, width] = convolution.window.kernel;
        let kernel = height * width;
        let mut weights = Buffer::zeroed(to.blocks() * kernel * lanes);
        for (block, rows) in weights.floats_mut().chunks_exact_mut(kernel * lanes).enumerate() {
            for (tap, row) in rows.chunks_exact_mut(lanes).enumerate() {
                for (lane, to) in row.iter_mut().enumerate() {
                    let channel = block * lanes + lane;
                    *to = site.weights.get(channel * kernel + tap).copied().unwrap_or(0.0);
                }
            }
        }
        let places = self.places(site);
        let step = DepthwiseStep {
            kernels: self.kernels,
            input: site.input,
            from,
            output: site.output,
            to,
            residual: site.residual.map(|(input, map)| ResidualPart {
                input,
                places: Table::new(results(&map)),
                block_stride: map.block_stride(),
            }),
            weights,
            bias: self.bias(convolution.bias, to.channels)?,
            taps: taps(convolution, &from, 0, 1),
            pixels: Table::new(pixels(convolution, &from, &to)),
            places: Table::new(results(&to)),
            finish: Finish::of(convolution.activation),
        };
        self.push(step, &places);
        Ok(())
    }

    fn winograd(&mut self, site: &Site<'_>) -> Result<(), Refusal> {
        let (convolution, from, to) = (site.convolution, site.from, site.to);
        let [top, left] = convolution.window.before;
        let tiles = |map: &Map, origin: usize| -> Vec<u32> {
            let corner = |y: usize, x: usize| (origin + map.step(y, x)) as u32;
            let rows = (0..to.height).step_by(TILE);
            rows.flat_map(|y| (0..to.width).step_by(TILE).map(move |x| corner(y, x)))
                .collect()
        };
        let size = |length: usize, start: usize| (length - start).min(TILE) as u8;
        let rows = (0..to.height).step_by(TILE);
        let sizes: Vec<[u8; 2]> = rows
            .flat_map(|y| {
                (0..to.width)
                    .step_by(TILE)
                    .map(move |x| [size(to.height, y), size(to.width, x)])
            })
            .collect();
        let residual = site.residual.map(|(input, map)| {
            let part = ResidualPart {
                input,
                places: self.repeated(&tiles(&map, map.origin()), self.item_stride(input)),
                block_stride: map.block_stride(),
            };
            (part, map.row_stride())
        });
        let places = self.places(site);
        let parts = WinogradParts {
            kernels: self.kernels,
            input: site.input,
            from,
            output: site.output,
            to,
            residual,
            bias: self.bias(convolution.bias, to.channels)?,
            patches: self.repeated(
                &tiles(&from, from.origin() - from.step(top, left)),
                self.item_stride(site.input),
            ),
            tiles: self.repeated(&tiles(&to, to.origin()), self.item_stride(site.output)),
            tiles_of_item: sizes.len(),
            sizes: sizes.repeat(self.together),
            finish: Finish::of(convolution.activation),
        };
        let step = WinogradStep::new(parts, |output, input| {
            let start = (output * from.channels + input) * 9;
            site.weights
                .get(start..)
                .and_then(|rest| rest.first_chunk())
                .copied()
                .unwrap_or_default()
        });
        self.push(step, &places);
        Ok(())
    }

    /// The entries for each item that is worked on together with others.
    pub(super) fn repeated(&self, entries: &[u32], item_stride: usize) -> Table {
        let items = (0..self.together).flat_map(|item| {
            let start = (item * item_stride) as u32;
            entries.iter().map(move |entry| entry + start)
        });
        Table::new(items.collect())
    }
}

/// Input channel and tap of the kernel, in the order in which weights are packed: neighbours in memory come together.
pub(super) fn tap_order(lanes: usize, channels: usize, kernel: usize) -> Vec<(usize, usize)> {
    let blocks = (0..channels).step_by(lanes);
    blocks
        .flat_map(|first| {
            let last = (first + lanes).min(channels);
            (0..kernel).flat_map(move |tap| (first..last).map(move |channel| (channel, tap)))
        })
        .collect()
}

/// Where taps are, from their pixel, in that order; of channels from `first_channel` on.
pub(super) fn taps(convolution: &Convolution, from: &Map, first_channel: usize, channels: usize) -> Table {
    let [height, width] = convolution.window.kernel;
    let [down, across] = convolution.window.dilation;
    let order = tap_order(from.lanes, channels, height * width);
    let offset = |(channel, tap): (usize, usize)| {
        let (row, column) = (tap / width, tap % width);
        (from.channel(first_channel + channel) + from.step(row * down, column * across)) as u32
    };
    Table::new(order.into_iter().map(offset).collect())
}

/// Where each result's window begins.
pub(super) fn pixels(convolution: &Convolution, from: &Map, to: &Map) -> Vec<u32> {
    let [top, left] = convolution.window.before;
    let [down, across] = convolution.window.stride;
    let origin = from.origin() - from.step(top, left);
    let pixel = |y: usize, x: usize| (origin + from.step(y * down, x * across)) as u32;
    (0..to.height)
        .flat_map(|y| (0..to.width).map(move |x| pixel(y, x)))
        .collect()
}

/// Where each result goes.
pub(super) fn results(to: &Map) -> Vec<u32> {
    let pixel = |y: usize, x: usize| (to.origin() + to.step(y, x)) as u32;
    (0..to.height)
        .flat_map(|y| (0..to.width).map(move |x| pixel(y, x)))
        .collect()
}
