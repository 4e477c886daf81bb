//! The `settings` table in `plugins.toml`; the README beside this crate is its reference.

use millrace_plugin::image::{Colour, Filter, Fit, Format, Limits, Order};

millrace_plugin::settings! {
    /// The `settings` table.
    pub struct Settings {
        /// How a picture of another size is made as large as the model wants it: a filter of Pillow's.
        pub resize: Filter = Filter::Bilinear,
        /// What becomes of a picture of another aspect ratio.
        pub fit: Fit = Fit::Stretch,
        /// The colour behind transparent pixels, as `#rrggbb`.
        pub background: Colour = Colour::WHITE,
        /// The formats that are taken: `png`, `jpeg`, `webp` and `gif`. Raw RGB always is.
        pub formats: Vec<Format> = Format::AVAILABLE.to_vec(),
        /// Which channel comes first.
        pub order: Order = Order::Rgb,
        /// For a model that wants floats: what is taken from each channel, of 0 to 1. One number, or three.
        pub mean: Vec<f32> = Vec::new(),
        /// For a model that wants floats: what each channel is then divided by. One number, or three.
        pub std: Vec<f32> = Vec::new(),
        /// The widest picture that is decoded, in pixels.
        pub max_width: u32 = Limits::MAX_SIDE,
        /// The highest picture that is decoded, in pixels.
        pub max_height: u32 = Limits::MAX_SIDE,
        /// The most pixels of a picture that is decoded.
        pub max_pixels: u64 = Limits::MAX_PIXELS,
        /// The most bytes that decoding one picture may take, by what its header says.
        pub max_bytes: u64 = Limits::MAX_BYTES,
    }
}
