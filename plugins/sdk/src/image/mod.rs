//! Pictures for preprocessors: decode within limits, resize, crop, pad, write as a tensor. Knows no plugin's settings.
//!
//! ```
//! use millrace_plugin::image::{Decoder, Filter, Target};
//! use millrace_plugin::{Message, Refusal, Tensor, TensorType};
//!
//! fn preprocess(message: &Message, wants: &TensorType) -> Result<Tensor, Refusal> {
//!     let target = Target::of(wants)?;
//!     let picture = Decoder::default().message(message, &target)?;
//!     let (width, height) = target.size();
//!     Ok(target.tensor(&picture.cover(width, height, Filter::Bilinear))?)
//! }
//! ```
//!
//! Everything that a message says is untrusted: sizes are checked by [`Limits`] before anything is allocated for them, and
//! what cannot be decoded is an [`ImageError`], which becomes a reject. Pictures are eight bits a channel, grey or RGB, and
//! are seen the way up that their Exif orientation says. Filters have the names and the numbers of Pillow's.
//!
//! The features `png`, `jpeg`, `webp` and `gif` each bring one decoder; `image` brings all of them. Everything else here
//! comes with any of them, or alone with `pixels`.

mod canvas;
mod colour;
mod decoder;
mod error;
mod exif;
mod fit;
mod format;
mod limits;
mod normalisation;
mod orientation;
mod picture;
mod raw;
mod region;
mod resample;
mod target;

#[cfg(feature = "gif")]
mod gif;
#[cfg(feature = "jpeg")]
mod jpeg;
#[cfg(feature = "png")]
mod png;
#[cfg(feature = "webp")]
mod webp;

pub use colour::Colour;
pub use decoder::{Alpha, Decoder, Turn};
pub use error::ImageError;
pub use fit::{Fit, Letterbox, Place};
pub use format::Format;
pub use limits::Limits;
pub use normalisation::Normalisation;
pub use orientation::Orientation;
pub use picture::Picture;
pub use region::Region;
pub use resample::Filter;
pub use target::{Order, Target};

#[cfg(test)]
mod tests;
