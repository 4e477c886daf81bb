//! Tensors as plain data: what crosses between plugins, the host and a model. Knows no backend.

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// `u8`, 0 to 255; the model normalises them.
    Byte,
    /// `f32`, fed to the model as they are.
    Float,
}

/// A tensor's type, without the batch axis: channels first (C, H, W) for pictures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorType {
    /// Lengths of the axes, outermost first.
    pub shape: Vec<u32>,
    /// The type of each element.
    pub element: Element,
}

/// The elements of a tensor, row-major.
#[derive(Debug, Clone, PartialEq)]
pub enum TensorData {
    /// Bytes, 0 to 255.
    Bytes(Vec<u8>),
    /// Finite floats.
    Floats(Vec<f32>),
}

/// A tensor whose data fit its shape and whose floats are finite.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    // Invariant: `data.len()` is the product of `shape`, and every float is finite.
    shape: Vec<u32>,
    data: TensorData,
}

/// Why shape and data do not make a tensor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// The number of elements is not the product of the shape.
    #[error("a tensor of shape {shape:?} has {expected} elements, found {found}")]
    Length {
        /// The shape that was claimed.
        shape: Vec<u32>,
        /// The product of the shape, saturating.
        expected: u64,
        /// The elements that were given.
        found: u64,
    },
    /// A float is NaN or infinite.
    #[error("element {index} is not a finite number")]
    NotFinite {
        /// The first such element, counted row-major from 0.
        index: usize,
    },
}

impl TensorType {
    /// The number of elements, saturating.
    pub fn elements(&self) -> u64 {
        product(&self.shape)
    }
}

impl std::fmt::Display for TensorType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let element = match self.element {
            Element::Byte => "byte",
            Element::Float => "float",
        };
        write!(f, "{element} {:?}", self.shape)
    }
}

impl TensorData {
    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Floats(floats) => floats.len(),
        }
    }

    /// Whether it has no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Tensor {
    /// Joins a shape and data that fit each other.
    ///
    /// # Errors
    /// When the number of elements is not the product of the shape, or a float is not finite.
    pub fn new(shape: Vec<u32>, data: TensorData) -> Result<Self, TensorError> {
        let (expected, found) = (product(&shape), data.len() as u64);
        if expected != found {
            return Err(TensorError::Length { shape, expected, found });
        }
        if let TensorData::Floats(floats) = &data
            && let Some(index) = floats.iter().position(|float| !float.is_finite())
        {
            return Err(TensorError::NotFinite { index });
        }
        Ok(Self { shape, data })
    }

    /// Lengths of the axes, outermost first, without the batch axis.
    pub fn shape(&self) -> &[u32] {
        &self.shape
    }

    /// The elements, row-major.
    pub fn data(&self) -> &TensorData {
        &self.data
    }

    /// The tensor's type.
    pub fn tensor_type(&self) -> TensorType {
        let element = match self.data {
            TensorData::Bytes(_) => Element::Byte,
            TensorData::Floats(_) => Element::Float,
        };
        TensorType {
            shape: self.shape.clone(),
            element,
        }
    }
}

fn product(shape: &[u32]) -> u64 {
    shape
        .iter()
        .fold(1, |product: u64, axis| product.saturating_mul(u64::from(*axis)))
}
