//! Constants on the device, each once however many nodes read it.

use std::collections::BTreeMap;

use burn::tensor::{Device, FloatDType, Int, Tensor, TensorData};
use millrace_graph::{ConstantId, Graph};

use crate::any::Any;
use crate::error::Error;
use crate::executor::{Products, unplanned};

/// The constants of a graph on their way to a device.
pub(super) struct Upload<'a> {
    graph: &'a Graph,
    device: Device,
    number: FloatDType,
    products: Products,
    there: BTreeMap<ConstantId, Any>,
    /// Kernels whose numbers are in another order in memory.
    kernels: BTreeMap<ConstantId, Tensor<4>>,
}

impl<'a> Upload<'a> {
    pub(super) fn new(graph: &'a Graph, device: &Device, number: FloatDType, products: Products) -> Self {
        Self {
            graph,
            device: device.clone(),
            number,
            products,
            there: BTreeMap::new(),
            kernels: BTreeMap::new(),
        }
    }

    /// How matrices are multiplied.
    pub(super) fn products(&self) -> Products {
        self.products
    }

    /// A constant under its own axes.
    pub(super) fn operand(&mut self, id: ConstantId) -> Result<Any, Error> {
        if let Some(there) = self.there.get(&id) {
            return Ok(there.clone());
        }
        let constant = self.graph.constant(id).ok_or_else(unplanned)?;
        let tensor = self.numbers(constant.data.to_vec(), &constant.shape);
        self.there.insert(id, tensor.clone());
        Ok(tensor)
    }

    /// A constant as one axis.
    pub(super) fn vector(&mut self, id: ConstantId) -> Result<Tensor<1>, Error> {
        Ok(self.operand(id)?.into1())
    }

    /// A constant as one axis, where there is one.
    pub(super) fn vector_of(&mut self, id: Option<ConstantId>) -> Result<Option<Tensor<1>>, Error> {
        id.map(|id| self.vector(id)).transpose()
    }

    /// Numbers that are not a constant of the graph.
    pub(super) fn numbers(&self, numbers: Vec<f32>, axes: &[usize]) -> Any {
        let length = numbers.len();
        let flat = Tensor::<1>::from_data(TensorData::new(numbers, [length]), &self.device);
        let flat = match self.number {
            FloatDType::F32 => flat,
            number => flat.cast(number),
        };
        Any::from(flat).keep(axes)
    }

    /// As [`Self::numbers`], and in full precision whatever the others are.
    pub(super) fn exact(&self, numbers: Vec<f32>) -> Tensor<1> {
        let length = numbers.len();
        Tensor::from_data(TensorData::new(numbers, [length]), &self.device)
    }

    /// Indices into an axis.
    pub(super) fn indices(&self, indices: &[usize]) -> Tensor<1, Int> {
        // Axes are far shorter than what 32 bits hold.
        let indices: Vec<i32> = indices
            .iter()
            .map(|index| i32::try_from(*index).unwrap_or(i32::MAX))
            .collect();
        let length = indices.len();
        Tensor::from_data(TensorData::new(indices, [length]), &self.device)
    }

    /// The kernels of a convolution, `[out, in, height, width]`. GPUs read them with the channels last, and would bring
    /// them into that order at every call: they are so in memory, seen through their axes in another order.
    pub(super) fn kernel(&mut self, id: ConstantId) -> Result<Tensor<4>, Error> {
        if let Some(there) = self.kernels.get(&id) {
            return Ok(there.clone());
        }
        let constant = self.graph.constant(id).ok_or_else(unplanned)?;
        let [out, channels, height, width] =
            <[usize; 4]>::try_from(constant.shape.as_slice()).map_err(|_| unplanned())?;
        let kernel = match self.device == Device::flex() {
            true => self.operand(id)?.into4([out, channels, height, width]),
            false => {
                let last = channels_last(&constant.data, channels, height * width);
                let last = self.numbers(last, &[out, height, width, channels]);
                last.into4([out, height, width, channels]).permute([0, 3, 1, 2])
            }
        };
        self.kernels.insert(id, kernel.clone());
        Ok(kernel)
    }
}

/// `[out, channels, taps]` to `[out, taps, channels]`.
fn channels_last(kernels: &[f32], channels: usize, taps: usize) -> Vec<f32> {
    let mut last = Vec::with_capacity(kernels.len());
    for kernel in kernels.chunks((channels * taps).max(1)) {
        for tap in 0..taps {
            last.extend(kernel.iter().skip(tap).step_by(taps.max(1)));
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::channels_last;

    #[test]
    fn channels_go_behind_the_taps() {
        let kernels: Vec<f32> = (0..12_u8).map(f32::from).collect();
        let last = [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11].map(|number: u8| f32::from(number));
        assert_eq!(channels_last(&kernels, 2, 3), last);
    }
}
