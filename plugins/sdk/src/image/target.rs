//! What the model wants of a picture, and pictures as tensors of just that type.

use super::{ImageError, Normalisation, Picture};
use crate::{Element, Tensor, TensorType};

/// The picture that the model wants: a tensor type that is known to be (1 or 3, height, width).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    // Invariant: 1 or 3.
    channels: u32,
    // Invariant: both above 0.
    width: u32,
    height: u32,
    element: Element,
    order: Order,
}

crate::choice! {
    /// Which channel comes first.
    #[derive(Default)]
    pub enum Order {
        /// Red.
        #[default]
        Rgb = "rgb",
        /// Blue, as in OpenCV.
        Bgr = "bgr",
    }
}

impl Target {
    /// Reads the model's input type.
    ///
    /// # Errors
    ///
    /// [`ImageError::Shape`] where it is not that of a picture.
    pub fn of(wants: &TensorType) -> Result<Self, ImageError> {
        match *wants.shape.as_slice() {
            [channels @ (1 | 3), height, width] if height > 0 && width > 0 => Ok(Self {
                channels,
                width,
                height,
                element: wants.element,
                order: Order::Rgb,
            }),
            _ => Err(ImageError::Shape {
                shape: wants.shape.clone(),
            }),
        }
    }

    /// With the channels in another order than red, green, blue.
    pub fn with_order(self, order: Order) -> Self {
        Self { order, ..self }
    }

    /// Width and height.
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// The width.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// The height.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Whether the model wants one channel.
    pub fn is_grey(&self) -> bool {
        self.channels == 1
    }

    /// The picture in grey where the model wants one channel. It is less work to do so before it is resized.
    pub fn coloured(&self, picture: Picture) -> Picture {
        if self.is_grey() { picture.into_grey() } else { picture }
    }

    /// The picture as the model's tensor: bytes as they are, floats from 0 to 1. Grey becomes three equal channels and
    /// colour becomes grey, where the model wants so.
    ///
    /// # Errors
    ///
    /// [`ImageError::Size`] where the picture has another.
    pub fn tensor(&self, picture: &Picture) -> Result<Tensor, ImageError> {
        let planes = self.planes(picture)?;
        Ok(match self.element {
            Element::Byte => Tensor::bytes(self.shape(), planes)?,
            Element::Float => self.floats(&planes, &Normalisation::UNIT)?,
        })
    }

    /// The picture as the model's tensor of floats.
    ///
    /// # Errors
    ///
    /// [`ImageError::NormalisedBytes`] where the model wants bytes, and [`ImageError::Size`] where the picture has
    /// another.
    pub fn normalised(&self, picture: &Picture, normalisation: &Normalisation) -> Result<Tensor, ImageError> {
        if self.element == Element::Byte {
            return Err(ImageError::NormalisedBytes);
        }
        self.floats(&self.planes(picture)?, normalisation)
    }

    /// As many bytes as the tensor has elements, channel by channel.
    fn planes(&self, picture: &Picture) -> Result<Vec<u8>, ImageError> {
        let (width, height) = picture.size();
        if (width, height) != self.size() {
            return Err(ImageError::Size {
                wanted_width: self.width,
                wanted_height: self.height,
                width,
                height,
            });
        }
        let grey;
        let picture = if self.is_grey() && picture.channels == 3 {
            grey = picture.clone().into_grey();
            &grey
        } else {
            picture
        };
        let turned = picture.pixels();
        Ok(match (picture.channels, self.is_grey()) {
            (1, true) => turned.into_owned(),
            (1, false) => turned.repeat(3),
            (_, _) => self.separated(&turned),
        })
    }

    /// The channels of colour pixels one after the other.
    fn separated(&self, pixels: &[u8]) -> Vec<u8> {
        let mut planes = vec![0; pixels.len()];
        let (first, rest) = planes.split_at_mut(pixels.len() / 3);
        let (green, last) = rest.split_at_mut(pixels.len() / 3);
        let (red, blue) = match self.order {
            Order::Rgb => (first, last),
            Order::Bgr => (last, first),
        };
        separate(pixels, red, green, blue);
        planes
    }

    fn floats(&self, planes: &[u8], normalisation: &Normalisation) -> Result<Tensor, ImageError> {
        let mut floats = Vec::with_capacity(planes.len());
        let n_pixels = self.width as usize * self.height as usize;
        for (channel, plane) in planes.chunks_exact(n_pixels).enumerate() {
            let table = normalisation.table(channel);
            floats.extend(plane.iter().filter_map(|&byte| table.get(usize::from(byte))));
        }
        Ok(Tensor::floats(self.shape(), floats)?)
    }

    fn shape(&self) -> [u32; 3] {
        [self.channels, self.height, self.width]
    }
}

/// Takes pixels apart into their channels.
fn separate(pixels: &[u8], red: &mut [u8], green: &mut [u8], blue: &mut [u8]) {
    let places = red.iter_mut().zip(green).zip(blue);
    for (&[r, g, b], ((red, green), blue)) in pixels.as_chunks::<3>().0.iter().zip(places) {
        (*red, *green, *blue) = (r, g, b);
    }
}
