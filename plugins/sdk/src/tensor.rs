//! Tensors whose elements are as many as their shape says.

use std::fmt;

use crate::Refusal;

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// Unsigned bytes, 0 to 255, which the model normalises.
    Byte,
    /// 32-bit floats, fed to the model as they are.
    Float,
}

/// A tensor's type, without the batch axis: for pictures (channels, height, width), channels R, G, B.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorType {
    /// The length of each axis.
    pub shape: Vec<u32>,
    /// The type of the elements.
    pub element: Element,
}

/// The elements, row-major: the last axis varies fastest.
#[derive(Debug, Clone, PartialEq)]
pub enum TensorData {
    /// For [`Element::Byte`].
    Bytes(Vec<u8>),
    /// For [`Element::Float`].
    Floats(Vec<f32>),
}

/// A tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    // Invariant: `data` has as many elements as the product of `shape`.
    shape: Vec<u32>,
    data: TensorData,
}

/// The number of elements is not the product of the shape. As a [`Refusal`] it is a reject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElementCount {
    shape: Vec<u32>,
    found: usize,
}

impl TensorType {
    /// The number of elements: the product of the shape, [`usize::MAX`] where that is larger.
    pub fn elements(&self) -> usize {
        elements(&self.shape)
    }
}

impl Tensor {
    /// A tensor of bytes.
    ///
    /// # Errors
    ///
    /// [`ElementCount`] where `data` does not have the product of `shape` elements.
    pub fn bytes(shape: impl Into<Vec<u32>>, data: Vec<u8>) -> Result<Self, ElementCount> {
        Self::new(shape.into(), TensorData::Bytes(data))
    }

    /// A tensor of floats. The host rejects one that holds a float which is not finite.
    ///
    /// # Errors
    ///
    /// [`ElementCount`] where `data` does not have the product of `shape` elements.
    pub fn floats(shape: impl Into<Vec<u32>>, data: Vec<f32>) -> Result<Self, ElementCount> {
        Self::new(shape.into(), TensorData::Floats(data))
    }

    /// A tensor of either.
    ///
    /// # Errors
    ///
    /// [`ElementCount`] where `data` does not have the product of `shape` elements.
    pub fn new(shape: Vec<u32>, data: TensorData) -> Result<Self, ElementCount> {
        let found = match &data {
            TensorData::Bytes(bytes) => bytes.len(),
            TensorData::Floats(floats) => floats.len(),
        };
        if found == elements(&shape) {
            Ok(Self { shape, data })
        } else {
            Err(ElementCount { shape, found })
        }
    }

    /// The length of each axis.
    pub fn shape(&self) -> &[u32] {
        &self.shape
    }

    /// The elements.
    pub fn data(&self) -> &TensorData {
        &self.data
    }

    /// Shape and type of the elements.
    pub fn tensor_type(&self) -> TensorType {
        let element = match &self.data {
            TensorData::Bytes(_) => Element::Byte,
            TensorData::Floats(_) => Element::Float,
        };
        TensorType {
            shape: self.shape.clone(),
            element,
        }
    }

    /// Shape and elements.
    pub fn into_parts(self) -> (Vec<u32>, TensorData) {
        (self.shape, self.data)
    }
}

fn elements(shape: &[u32]) -> usize {
    shape
        .iter()
        .fold(1, |product: usize, axis| product.saturating_mul(*axis as usize))
}

impl fmt::Display for ElementCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let expected = elements(&self.shape);
        write!(
            f,
            "a tensor of shape {:?} has {expected} elements, not {}",
            self.shape, self.found
        )
    }
}

impl std::error::Error for ElementCount {}

impl From<ElementCount> for Refusal {
    fn from(error: ElementCount) -> Self {
        Self::Reject(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_number_of_elements_is_refused() {
        assert_eq!(
            Tensor::bytes([3, 2, 2], vec![0; 11]).unwrap_err().to_string(),
            "a tensor of shape [3, 2, 2] has 12 elements, not 11"
        );
        assert!(Tensor::bytes([3, 2, 2], vec![0; 12]).is_ok());
        assert!(Tensor::floats([], vec![1.0]).is_ok());
        assert!(Tensor::floats([u32::MAX; 3], vec![]).is_err());
    }
}
