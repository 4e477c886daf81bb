//! The `settings` table in `plugins.toml`; the README beside this crate is its reference.

use millrace_plugin::image::{Alpha, Colour, Filter, Fit, Format, Limits, Order, Turn};

millrace_plugin::settings! {
    /// The `settings` table.
    pub struct Settings {
        /// How a picture of another size is made as large as the model wants it: a filter of Pillow's.
        pub resize: Filter = Filter::Bilinear,
        /// What becomes of a picture of another aspect ratio.
        pub fit: Fit = Fit::Stretch,
        /// As torchvision's `Resize` and `CenterCrop`: the picture is resized so that its shorter side has this many pixels, and the
        /// model's size is cut out of its centre. In place of `fit`.
        pub shorter_side: Option<u32>,
        /// The colour behind transparent pixels, as `#rrggbb`.
        pub background: Colour = Colour::WHITE,
        /// What becomes of transparency: `blend` lays the picture over `background`, `ignore` takes all colours as they are.
        pub alpha: Alpha = Alpha::Blend,
        /// What becomes of the orientation that a camera writes: `upright` turns the picture, `ignore` leaves it as it lies.
        pub orientation: Turn = Turn::Upright,
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

impl Settings {
    /// Numbers with which no picture at all could be taken.
    pub(crate) fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.shorter_side == Some(0) {
            wrong.push("`shorter_side` is 0, a picture has at least one pixel".to_owned());
        }
        let limits = [
            ("max_width", u64::from(self.max_width)),
            ("max_height", u64::from(self.max_height)),
            ("max_pixels", self.max_pixels),
            ("max_bytes", self.max_bytes),
        ];
        for (name, _) in limits.iter().filter(|(_, limit)| *limit == 0) {
            wrong.push(format!("`{name}` is 0: with that no picture is taken"));
        }
        wrong
    }
}
