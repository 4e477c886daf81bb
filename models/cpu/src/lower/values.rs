//! Where values are in memory, and in which order their numbers are.

use millrace_graph::{ConstantId, Node, Operand, ValueId};

use crate::kernels::Buffer;
use crate::layout::{Halo, Map};
use crate::step::Place;
use crate::steps::{ConstantStep, Convert, StridedStep};

use super::{Lowering, Refusal, elementwise};

/// Floats that may be written or read behind a storage's last number: a register's.
const OVERHANG: usize = 16;

/// Where a value's numbers are.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) place: Place,
    pub(crate) layout: Layout,
}

/// In which order they are.
#[derive(Debug, Clone)]
pub(crate) enum Layout {
    /// Row-major, whatever the shape.
    Rows,
    /// With a step along each axis: a view of other numbers.
    Strided(Vec<usize>),
    /// A map in channel blocks.
    Map(Map),
}

/// What may share memory: halos stay zero only where the geometry stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Rows,
    Map(Map),
}

/// Memory of one item's value, or of several values that lie side by side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Storage {
    pub(crate) floats: usize,
    pub(crate) class: Class,
}

impl Lowering<'_> {
    /// The layout that a map gets.
    pub(super) fn blocked(&self, value: ValueId) -> Option<Map> {
        let [channels, height, width] = self.map_sizes(value)?;
        Some(Map {
            channels,
            height,
            width,
            lanes: self.kernels.lanes(),
            halo: self.halos.get(value.index()).copied().unwrap_or_default(),
        })
    }

    fn new_storage(&mut self, floats: usize, class: Class) -> Place {
        let floats = floats
            .saturating_add(OVERHANG)
            .div_ceil(Buffer::ALIGNMENT)
            .saturating_mul(Buffer::ALIGNMENT);
        self.storages.push(Storage { floats, class });
        Place {
            storage: self.storages.len() - 1,
            offset: 0,
        }
    }

    pub(super) fn new_rows(&mut self, floats: usize) -> Place {
        self.new_storage(floats, Class::Rows)
    }

    pub(super) fn new_map(&mut self, map: Map) -> Place {
        self.new_storage(map.len(), Class::Map(map))
    }

    /// Floats from one item to the next.
    pub(super) fn item_stride(&self, place: Place) -> usize {
        self.storages.get(place.storage).map_or(0, |storage| storage.floats)
    }

    pub(super) fn set_rows(&mut self, value: ValueId, place: Place) {
        self.stored.insert(
            value,
            Stored {
                place,
                layout: Layout::Rows,
            },
        );
    }

    pub(super) fn set_map(&mut self, value: ValueId, place: Place, map: Map) {
        self.stored.insert(
            value,
            Stored {
                place,
                layout: Layout::Map(map),
            },
        );
    }

    pub(super) fn stored(&self, value: ValueId) -> Result<Stored, Refusal> {
        self.stored
            .get(&value)
            .cloned()
            .ok_or_else(|| "a value is read before it is made".to_owned())
    }

    /// Row-major numbers of an operand, copied where they lie otherwise.
    pub(super) fn rows(&mut self, operand: Operand) -> Result<Place, Refusal> {
        let value = match operand {
            Operand::Constant(id) => return self.constant_rows(id),
            Operand::Value(value) => value,
        };
        let stored = self.stored(value)?;
        if let Some(place) = self.as_rows.get(&value) {
            return Ok(*place);
        }
        let map = match stored.layout {
            Layout::Rows => return Ok(stored.place),
            Layout::Map(map) if map.is_row_major() => return Ok(stored.place),
            Layout::Map(map) => map,
            Layout::Strided(steps) => {
                let sizes = self.sizes(operand);
                let to = elementwise::row_major(&sizes);
                let axes = sizes
                    .iter()
                    .zip(steps)
                    .zip(to)
                    .map(|((length, from), to)| [*length, from, to]);
                let axes: Vec<[usize; 3]> = axes.collect();
                let place = self.new_rows(sizes.iter().product());
                self.push(StridedStep::new(stored.place, place, &axes), &[stored.place, place]);
                self.as_rows.insert(value, place);
                return Ok(place);
            }
        };
        let to = Map::planar(map.channels, map.height, map.width);
        let place = self.new_rows(to.len());
        let step = Convert {
            input: stored.place,
            from: map,
            output: place,
            to,
            first_channel: 0,
        };
        self.push(step, &[stored.place, place]);
        self.as_rows.insert(value, place);
        Ok(place)
    }

    fn constant_rows(&mut self, id: ConstantId) -> Result<Place, Refusal> {
        if let Some(place) = self.constants.get(&id) {
            return Ok(*place);
        }
        let constant = self.constant(id)?;
        let floats = constant.data.len();
        let place = self.new_rows(floats);
        self.push(
            ConstantStep {
                numbers: Buffer::from_slice(&constant.data),
                floats,
                output: place,
            },
            &[place],
        );
        self.constants.insert(id, place);
        Ok(place)
    }

    /// An operand as a map with at least this halo, copied where it lies otherwise.
    pub(super) fn map(&mut self, value: ValueId, halo: Halo) -> Result<(Place, Map), Refusal> {
        let stored = self.stored(value)?;
        let [channels, height, width] = self.map_sizes(value).ok_or("its input is no map of each item")?;
        let from = match stored.layout {
            Layout::Map(map) if map.halo.covers(halo) && map.channels == channels && map.height == height => {
                return Ok((stored.place, map));
            }
            Layout::Map(map) if map.channels == channels && map.height == height => map,
            _ => Map::planar(channels, height, width),
        };
        let place = match stored.layout {
            Layout::Map(_) if from.lanes > 1 => stored.place,
            _ => self.rows(Operand::Value(value))?,
        };
        let mut to = self.blocked(value).ok_or("its input is no map of each item")?;
        to.halo = to.halo.union(halo);
        let output = self.new_map(to);
        self.push(
            Convert {
                input: place,
                from,
                output,
                to,
                first_channel: 0,
            },
            &[place, output],
        );
        // The next reader finds it so.
        self.set_map(value, output, to);
        Ok((output, to))
    }

    /// Where a node's result goes, and in which layout.
    pub(super) fn output_map(&mut self, node: &Node) -> Result<(Place, Map), Refusal> {
        let map = self.blocked(node.output).ok_or("its result is no map of each item")?;
        let (place, map) = match self.destined.get(&node.output) {
            Some((place, destined)) if destined.halo.covers(map.halo) => (*place, *destined),
            _ => (self.new_map(map), map),
        };
        self.set_map(node.output, place, map);
        Ok((place, map))
    }
}
