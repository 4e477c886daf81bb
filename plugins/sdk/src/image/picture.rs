//! A decoded picture, and what is done to whole pictures.

use std::borrow::Cow;

use super::canvas;
use super::colour::luma;
use super::region::centred;
use super::resample::{self, Filter};
use super::{Colour, Fit, ImageError, Letterbox, Limits, Orientation, Place, Region};

/// A picture: eight bits a channel, grey or RGB, never empty.
///
/// Every size and place is that of the picture as it is looked at. A turn or a flip, that of a camera too, costs nothing
/// until the pixels are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    // Invariant: `pixels` has `width * height * channels` elements, and none of these is 0.
    /// As it lies in memory, row by row, before it is turned.
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// 1 or 3.
    pub(crate) channels: usize,
    pub(crate) pixels: Vec<u8>,
    /// How it is to be turned before it is looked at.
    pub(crate) orientation: Orientation,
}

impl Picture {
    /// A picture of grey pixels, row by row.
    ///
    /// # Errors
    ///
    /// [`ImageError::NoPixels`] and [`ImageError::PixelCount`].
    pub fn grey(width: u32, height: u32, pixels: Vec<u8>) -> Result<Self, ImageError> {
        Self::new(width, height, 1, pixels)
    }

    /// A picture of pixels of three bytes, red, green and blue, row by row.
    ///
    /// # Errors
    ///
    /// [`ImageError::NoPixels`] and [`ImageError::PixelCount`].
    pub fn rgb(width: u32, height: u32, pixels: Vec<u8>) -> Result<Self, ImageError> {
        Self::new(width, height, 3, pixels)
    }

    pub(crate) fn new(width: u32, height: u32, channels: u32, pixels: Vec<u8>) -> Result<Self, ImageError> {
        if width == 0 || height == 0 {
            return Err(ImageError::NoPixels { width, height });
        }
        let expected = u64::from(width)
            .saturating_mul(u64::from(height))
            .saturating_mul(u64::from(channels));
        if pixels.len() as u64 != expected {
            return Err(ImageError::PixelCount {
                width,
                height,
                channels,
                expected,
                found: pixels.len(),
            });
        }
        Ok(Self {
            width,
            height,
            channels: channels as usize,
            pixels,
            orientation: Orientation::default(),
        })
    }

    /// With another orientation than it had.
    pub fn with_orientation(self, orientation: Orientation) -> Self {
        Self { orientation, ..self }
    }

    /// Its width as it is looked at.
    pub fn width(&self) -> u32 {
        self.size().0
    }

    /// Its height as it is looked at.
    pub fn height(&self) -> u32 {
        self.size().1
    }

    /// Width and height.
    pub fn size(&self) -> (u32, u32) {
        self.orientation.lay(self.width, self.height)
    }

    /// 1 when it is grey, else 3.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The pixels as they are looked at, row by row, of one byte or of three.
    pub fn pixels(&self) -> Cow<'_, [u8]> {
        if self.orientation == Orientation::default() {
            return Cow::Borrowed(&self.pixels);
        }
        let (width, height) = self.size();
        let mut pixels = Vec::with_capacity(self.pixels.len());
        for at in self.orientation.walk(width as usize, height as usize) {
            let at = at * self.channels;
            pixels.extend_from_slice(self.pixels.get(at..at + self.channels).unwrap_or_default());
        }
        Cow::Owned(pixels)
    }

    /// In grey, by the luma of ITU-R 601.
    pub fn into_grey(mut self) -> Self {
        if self.channels == 3 {
            self.pixels = self.pixels.as_chunks::<3>().0.iter().map(luma).collect();
            self.channels = 1;
        }
        self
    }

    /// With three channels, which are equal where it was grey.
    pub fn into_rgb(mut self) -> Self {
        if self.channels == 1 {
            self.pixels = self.pixels.iter().flat_map(|&grey| [grey; 3]).collect();
            self.channels = 3;
        }
        self
    }

    /// With left and right changed.
    pub fn flip_horizontal(self) -> Self {
        let orientation = self.orientation.flipped_horizontally();
        self.with_orientation(orientation)
    }

    /// With top and bottom changed.
    pub fn flip_vertical(self) -> Self {
        let orientation = self.orientation.flipped_vertically();
        self.with_orientation(orientation)
    }

    /// Turned clockwise by so many quarters.
    pub fn rotate_right(self, quarters: u32) -> Self {
        let orientation = (0..quarters % 4).fold(self.orientation, |turned, _| turned.turned_right());
        self.with_orientation(orientation)
    }

    /// A part of it.
    ///
    /// # Errors
    ///
    /// [`ImageError::Outside`] where it reaches over an edge or is empty.
    pub fn crop(&self, region: Region) -> Result<Self, ImageError> {
        let (width, height) = self.size();
        let region = region.inside(width, height)?;
        Ok(self.cut(self.orientation.lay_region(region, width, height)))
    }

    /// The part of this size in its centre, as torchvision's `CenterCrop` takes it.
    ///
    /// # Errors
    ///
    /// [`ImageError::Outside`] where it is smaller.
    pub fn center_crop(&self, width: u32, height: u32) -> Result<Self, ImageError> {
        self.crop(Region {
            left: centred(self.width().saturating_sub(width)),
            top: centred(self.height().saturating_sub(height)),
            width,
            height,
        })
    }

    /// Stretched to a size: Pillow's `Image.resize`. A size of 0 counts as 1.
    pub fn resize(&self, width: u32, height: u32, filter: Filter) -> Self {
        let (of_width, of_height) = self.size();
        self.resize_region(Region::whole(of_width, of_height), width, height, filter)
    }

    /// As large as it is when its shorter side has so many pixels: torchvision's `Resize` of one number.
    ///
    /// # Errors
    ///
    /// [`ImageError::Enlarged`] where that is more than the limits allow, as of a picture of one row.
    pub fn shorter_side(&self, side: u32, filter: Filter, limits: &Limits) -> Result<Self, ImageError> {
        let side = side.max(1);
        let (width, height) = self.size();
        // The longer side is rounded down.
        let longer = |long: u32, short: u32| {
            let longer = u64::from(side) * u64::from(long) / u64::from(short.max(1));
            u32::try_from(longer).unwrap_or(u32::MAX)
        };
        let (to_width, to_height) = if width <= height {
            (side, longer(height, width))
        } else {
            (longer(width, height), side)
        };
        limits
            .check_size(to_width, to_height)
            .map_err(|_| ImageError::Enlarged {
                side,
                width: to_width,
                height: to_height,
            })?;
        Ok(self.resize(to_width, to_height, filter))
    }

    /// The part of this size in its centre, with black bars where it is smaller: torchvision's `CenterCrop`.
    pub fn centred(self, width: u32, height: u32) -> Self {
        let (width, height) = (width.max(1), height.max(1));
        let (own_width, own_height) = self.size();
        let region = Region {
            left: centred(own_width.saturating_sub(width)),
            top: centred(own_height.saturating_sub(height)),
            width: width.min(own_width),
            height: height.min(own_height),
        };
        let part = self.cut(self.orientation.lay_region(region, own_width, own_height));
        // Of an odd number of rows or columns that are left over, the larger half is behind the picture.
        let (left, top) = ((width - region.width) / 2, (height - region.height) / 2);
        part.padded(width, height, Colour::BLACK, left, top)
    }

    /// The largest part of the right aspect ratio in its centre, resized: nothing is distorted, and nothing is empty.
    pub fn cover(&self, width: u32, height: u32, filter: Filter) -> Self {
        let (width, height) = (width.max(1), height.max(1));
        let (of_width, of_height) = self.size();
        self.resize_region(
            Region::centre(of_width, of_height, width, height),
            width,
            height,
            filter,
        )
    }

    /// As large as it can be inside of a size without being distorted: Pillow's `ImageOps.contain`.
    pub fn contain(&self, width: u32, height: u32, filter: Filter) -> Self {
        let (width, height) = self.contained(width, height);
        self.resize(width, height, filter)
    }

    /// To a size in one of the ways above.
    pub fn fit(&self, width: u32, height: u32, fit: Fit, filter: Filter) -> Self {
        match fit {
            Fit::Stretch => self.resize(width, height, filter),
            Fit::Crop => self.cover(width, height, filter),
        }
    }

    /// All of it, undistorted, with bars of a colour where the aspect ratio differs: with the defaults Pillow's
    /// `ImageOps.pad`. A grey picture gets three channels where the bars have a colour.
    pub fn letterbox(&self, width: u32, height: u32, letterbox: &Letterbox) -> Self {
        let (width, height) = (width.max(1), height.max(1));
        let (inner_width, inner_height) = if letterbox.enlarge || self.width() > width || self.height() > height {
            self.contained(width, height)
        } else {
            self.size()
        };
        let picture = self.resize(inner_width, inner_height, letterbox.filter);
        let (left, top) = letterbox
            .place
            .at(width.saturating_sub(inner_width), height.saturating_sub(inner_height));
        picture.padded(width, height, letterbox.fill, left, top)
    }

    /// On a larger ground of a colour. A grey picture gets three channels where that is no grey.
    ///
    /// # Errors
    ///
    /// [`ImageError::Size`] where the ground is smaller.
    pub fn pad(self, width: u32, height: u32, fill: Colour, place: Place) -> Result<Self, ImageError> {
        let (own_width, own_height) = self.size();
        if own_width > width || own_height > height {
            return Err(ImageError::Size {
                wanted_width: width,
                wanted_height: height,
                width: own_width,
                height: own_height,
            });
        }
        let (left, top) = place.at(width - own_width, height - own_height);
        Ok(self.padded(width, height, fill, left, top))
    }

    /// The size of [`Picture::contain`], with the roundings of Pillow.
    fn contained(&self, width: u32, height: u32) -> (u32, u32) {
        let (width, height) = (width.max(1), height.max(1));
        let (own_width, own_height) = (f64::from(self.width()), f64::from(self.height()));
        let (own_ratio, ratio) = (own_width / own_height, f64::from(width) / f64::from(height));
        // A cast of a float to an integer stops at the integer's bounds.
        if own_ratio > ratio {
            let inner = (own_height / own_width * f64::from(width)).round_ties_even() as u32;
            (width, inner.clamp(1, height))
        } else if own_ratio < ratio {
            let inner = (own_width / own_height * f64::from(height)).round_ties_even() as u32;
            (inner.clamp(1, width), height)
        } else {
            (width, height)
        }
    }

    /// A region of it as it is looked at, which is inside, at another size.
    fn resize_region(&self, region: Region, width: u32, height: u32, filter: Filter) -> Self {
        let (of_width, of_height) = self.size();
        let region = self.orientation.lay_region(region, of_width, of_height);
        let (width, height) = self.orientation.lay(width.max(1), height.max(1));
        if (region.width, region.height) == (width, height) {
            return self.cut(region);
        }
        Self {
            width,
            height,
            channels: self.channels,
            pixels: resample::resize(self, region, width, height, filter),
            orientation: self.orientation,
        }
    }

    /// A region of it as it lies, which is inside.
    fn cut(&self, region: Region) -> Self {
        if (region.width, region.height) == (self.width, self.height) {
            return self.clone();
        }
        Self {
            width: region.width,
            height: region.height,
            channels: self.channels,
            pixels: self.rows(region).flatten().copied().collect(),
            orientation: self.orientation,
        }
    }

    /// The rows of a region as it lies, which is inside.
    pub(crate) fn rows(&self, region: Region) -> impl Iterator<Item = &[u8]> {
        let channels = self.channels;
        let left = region.left as usize * channels;
        let columns = left..left + region.width as usize * channels;
        let rows = self
            .pixels
            .chunks_exact(self.width as usize * channels)
            .skip(region.top as usize)
            .take(region.height as usize);
        rows.map(move |row| row.get(columns.clone()).unwrap_or_default())
    }

    /// On a ground that is large enough, so far from its left and its upper edge.
    fn padded(self, width: u32, height: u32, fill: Colour, left: u32, top: u32) -> Self {
        let (inner_width, inner_height) = self.size();
        if (inner_width, inner_height) == (width, height) {
            return self;
        }
        let picture = if fill.is_grey() { self } else { self.into_rgb() };
        let region = Region {
            left,
            top,
            width: inner_width,
            height: inner_height,
        };
        let region = picture.orientation.lay_region(region, width, height);
        let (width, height) = picture.orientation.lay(width, height);
        let mut ground = canvas::filled(width, height, picture.channels, fill);
        canvas::paste(&mut ground, width, picture.channels, region, &picture.pixels);
        Self {
            width,
            height,
            pixels: ground,
            ..picture
        }
    }
}
