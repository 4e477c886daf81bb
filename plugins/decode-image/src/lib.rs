//! Turns PNG, JPEG, WebP, GIF and raw RGB pictures into the tensor that the model takes.

mod settings;

use millrace_plugin::image::{Decoder, Limits, Normalisation, Target};
use millrace_plugin::{Message, Preprocessor, Refusal, Tensor, TensorType};

pub use settings::Settings;

/// The plugin.
#[derive(Debug)]
pub struct DecodeImage {
    decoder: Decoder,
    limits: Limits,
    normalisation: Option<Normalisation>,
    settings: Settings,
}

impl Preprocessor for DecodeImage {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, String> {
        let limits = Limits {
            max_width: settings.max_width,
            max_height: settings.max_height,
            max_pixels: settings.max_pixels,
            max_bytes: settings.max_bytes,
        };
        let decoder = Decoder::default()
            .with_limits(limits)
            .with_background(settings.background)
            .with_alpha(settings.alpha)
            .with_turn(settings.orientation)
            .with_formats(settings.formats.iter().copied());
        let normalisation = Normalisation::of_settings(&settings.mean, &settings.std);
        let wrong = settings.wrong();
        match normalisation {
            Ok(normalisation) if wrong.is_empty() => Ok(Self {
                decoder,
                limits,
                normalisation,
                settings,
            }),
            normalisation => Err([wrong, Vec::from_iter(normalisation.err())].concat().join("; ")),
        }
    }

    fn preprocess(&mut self, message: &Message, wants: &TensorType) -> Result<Tensor, Refusal> {
        let target = Target::of(wants)?.with_order(self.settings.order);
        let picture = target.coloured(self.decoder.message(message, &target)?);
        let (width, height, filter) = (target.width(), target.height(), self.settings.resize);
        let picture = match self.settings.shorter_side {
            Some(side) => picture.shorter_side(side, filter, &self.limits)?.centred(width, height),
            None => picture.fit(width, height, self.settings.fit, filter),
        };
        Ok(match &self.normalisation {
            Some(normalisation) => target.normalised(&picture, normalisation)?,
            None => target.tensor(&picture)?,
        })
    }
}

millrace_plugin::export_preprocessor!(DecodeImage);

#[cfg(test)]
mod tests;
