//! One of Burn's devices, which its users need not know Burn to hold.

use burn::tensor::DType;

/// Burn's CPU backend, or an open adapter. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Device(burn::tensor::Device);

impl Device {
    /// Burn's CPU backend, which is always there.
    pub fn flex() -> Self {
        Self(burn::tensor::Device::flex())
    }

    pub(crate) fn of(device: burn::tensor::Device) -> Self {
        Self(device)
    }

    pub(crate) fn burn(&self) -> &burn::tensor::Device {
        &self.0
    }

    /// Whether it computes with 16 bits.
    pub fn supports_half(&self) -> bool {
        self.0.supports_dtype(DType::F16)
    }
}
