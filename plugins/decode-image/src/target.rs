//! What the model wants of a picture.

use millrace_plugin::{Element, Refusal, Tensor, TensorType};

use crate::orientation::Orientation;

/// The picture that the model wants.
#[derive(Debug)]
pub(crate) struct Target {
    /// 1 or 3.
    pub(crate) channels: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
    element: Element,
}

impl Target {
    /// Reads the model's input type.
    pub(crate) fn new(wants: &TensorType) -> Result<Self, String> {
        match *wants.shape.as_slice() {
            [channels @ (1 | 3), height, width] if height > 0 && width > 0 => Ok(Self {
                channels,
                width,
                height,
                element: wants.element,
            }),
            _ => Err(format!(
                "the model wants a tensor of shape {:?}: decode-image makes (1 or 3, height, width)",
                wants.shape
            )),
        }
    }

    /// Writes pixels that lie as in their file, already of the right size, as channels in the right orientation.
    /// Grey pixels are repeated in each channel.
    pub(crate) fn tensor(&self, pixels: &[u8], channels: usize, orientation: Orientation) -> Result<Tensor, Refusal> {
        let shape = [self.channels, self.height, self.width];
        let (width, height) = (self.width as usize, self.height as usize);
        let mut planes = Vec::with_capacity(self.channels as usize * width * height);
        for channel in 0..self.channels as usize {
            // Of a grey picture there is one channel to take.
            let samples = pixels.get(channel.min(channels - 1)..).unwrap_or_default();
            if orientation == Orientation::default() {
                planes.extend(samples.iter().step_by(channels));
            } else {
                let walk = orientation.walk(width, height);
                planes.extend(walk.filter_map(|pixel| samples.get(pixel * channels)));
            }
        }
        Ok(match self.element {
            Element::Byte => Tensor::bytes(shape, planes)?,
            Element::Float => Tensor::floats(shape, planes.iter().map(|&byte| f32::from(byte) / 255.0).collect())?,
        })
    }
}
