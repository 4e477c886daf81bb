//! The network's input and outputs.

use millrace_graph::{Node, Operand, ValueId};

use crate::layout::Map;
use crate::step::Place;
use crate::steps::{InputStep, OutputStep};

use super::halo::{is_channel_concat, values};
use super::{Lowering, Refusal};

impl Lowering<'_> {
    /// Brings the input into the layout of its first reader.
    pub(super) fn input(&mut self) -> Result<(), Refusal> {
        let value = self.graph.input();
        let floats = self.elements(Operand::Value(value));
        let Some([channels, height, width]) = self.map_sizes(value) else {
            let place = self.new_rows(floats);
            self.push(
                InputStep {
                    output: place,
                    map: Map::planar(1, 1, floats),
                },
                &[place],
            );
            self.set_rows(value, place);
            return Ok(());
        };
        let halo = self.halos.get(value.index()).copied().unwrap_or_default();
        // The first convolution reads three channels: blocks would be mostly empty.
        let map = Map {
            halo,
            ..Map::planar(channels, height, width)
        };
        let place = self.new_map(map);
        self.push(InputStep { output: place, map }, &[place]);
        self.set_map(value, place, map);
        Ok(())
    }

    /// Brings an output out; yields its floats for an item.
    pub(super) fn output(&mut self, index: usize, value: ValueId) -> Result<usize, Refusal> {
        let floats = self.elements(Operand::Value(value));
        let input = self.rows(Operand::Value(value))?;
        self.push(OutputStep { input, floats, index }, &[input]);
        Ok(floats)
    }

    /// Gives what is concatenated a place in the whole, so that it need not be copied.
    pub(super) fn destine_concatenations(&mut self) {
        let lanes = self.kernels.lanes();
        let nodes: Vec<&Node> = self.graph.nodes().iter().rev().collect();
        for node in nodes {
            if !is_channel_concat(self.graph, node, lanes) {
                continue;
            }
            let Some(map) = self.blocked(node.output) else { continue };
            let place = match self.destined.get(&node.output) {
                Some((place, _)) => *place,
                None => self.joined_already(node).unwrap_or_else(|| self.new_map(map)),
            };
            self.destined.insert(node.output, (place, map));
            let mut offset = place.offset;
            for value in values(&node.inputs) {
                let Some(part) = self.blocked(value) else { continue };
                let part_place = Place { offset, ..place };
                if value != self.graph.input() && part.halo == map.halo {
                    self.destined.entry(value).or_insert((part_place, part));
                }
                offset += part.len();
            }
        }
    }

    /// Where the parts of a concatenation already lie one behind another, in a larger one.
    fn joined_already(&self, node: &Node) -> Option<Place> {
        let mut parts = values(&node.inputs).map(|value| self.destined.get(&value));
        let (first, map) = parts.next()??;
        let mut end = first.offset + map.len();
        for part in parts {
            let (place, map) = part?;
            if place.storage != first.storage || place.offset != end {
                return None;
            }
            end += map.len();
        }
        Some(*first)
    }
}
