//! Turns pictures into the tensor that the model takes without distorting them: the sides that are left over get bars.

use millrace_plugin::image::{
    Alpha, Colour, Decoder, Filter, Format, Letterbox, Limits, Normalisation, Order, Place, Target, Turn,
};
use millrace_plugin::{Message, Preprocessor, Refusal, Tensor, TensorType};

millrace_plugin::settings! {
    /// The `settings` table.
    pub struct Settings {
        /// The colour of the bars, as `#rrggbb`; for a model that wants grey, the grey that is as bright.
        pub fill: Colour = YOLO_GREY,
        /// Where between the bars the picture is.
        pub place: Place = Place::Center,
        /// Whether a picture that is smaller than the model's is made larger; if not, it gets bars all around.
        pub enlarge: bool = true,
        /// How a picture of another size is made as large as it can be: a filter of Pillow's.
        pub resize: Filter = Filter::Bilinear,
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

/// What YOLO's networks are trained with.
const YOLO_GREY: Colour = Colour([114; 3]);

/// The plugin.
#[derive(Debug)]
pub struct LetterboxImage {
    decoder: Decoder,
    letterbox: Letterbox,
    order: Order,
    normalisation: Option<Normalisation>,
}

impl Preprocessor for LetterboxImage {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, String> {
        let limits = Limits {
            max_width: settings.max_width,
            max_height: settings.max_height,
            max_pixels: settings.max_pixels,
            max_bytes: settings.max_bytes,
        };
        let letterbox = Letterbox {
            filter: settings.resize,
            fill: settings.fill,
            place: settings.place,
            enlarge: settings.enlarge,
        };
        Ok(Self {
            decoder: Decoder::default()
                .with_limits(limits)
                .with_background(settings.background)
                .with_alpha(settings.alpha)
                .with_turn(settings.orientation)
                .with_formats(settings.formats),
            letterbox,
            order: settings.order,
            normalisation: Normalisation::of_settings(&settings.mean, &settings.std)?,
        })
    }

    fn preprocess(&mut self, message: &Message, wants: &TensorType) -> Result<Tensor, Refusal> {
        let target = Target::of(wants)?.with_order(self.order);
        let picture = target.coloured(self.decoder.message(message, &target)?);
        let fill = if target.is_grey() {
            self.letterbox.fill.grey()
        } else {
            self.letterbox.fill
        };
        let letterbox = Letterbox { fill, ..self.letterbox };
        let picture = picture.letterbox(target.width(), target.height(), &letterbox);
        Ok(match &self.normalisation {
            Some(normalisation) => target.normalised(&picture, normalisation)?,
            None => target.tensor(&picture)?,
        })
    }
}

millrace_plugin::export_preprocessor!(LetterboxImage);

#[cfg(test)]
mod tests;
