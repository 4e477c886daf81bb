//! Turns PNG, JPEG and raw RGB pictures into the tensor that the model takes.

mod jpeg;
mod orientation;
mod picture;
mod png;
mod raw;
mod resize;
mod settings;
mod signature;
mod target;

use std::borrow::Cow;

use millrace_plugin::{Message, Preprocessor, Refusal, Tensor, TensorType};

use picture::Picture;
use raw::Raw;
use resize::Region;
pub use settings::{Colour, Fit, Resize, Settings};
use signature::Signature;
use target::Target;

/// The plugin.
#[derive(Debug)]
pub struct DecodeImage {
    settings: Settings,
}

impl Preprocessor for DecodeImage {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, String> {
        Ok(Self { settings })
    }

    fn preprocess(&mut self, message: &Message, wants: &TensorType) -> Result<Tensor, Refusal> {
        let target = Target::new(wants).map_err(Refusal::Reject)?;
        let picture = self.decode(message, &target).map_err(Refusal::Reject)?;
        self.tensor(picture, &target)
    }
}

impl DecodeImage {
    fn decode(&self, message: &Message, target: &Target) -> Result<Picture, String> {
        let body = message.body();
        if body.is_empty() {
            return Err("the body is empty".to_owned());
        }
        let raw = Raw::announced(message, target);
        // A raw picture has no signature, and may begin with the three bytes of a JPEG's: where it is
        // announced as raw and as long as it must be, it is one.
        if let Ok(Some(raw)) = &raw
            && raw.is_explicit()
            && raw.fits(&body)
        {
            return raw.decode(body, &self.settings);
        }
        match Signature::of(&body) {
            Signature::Png => png::decode(&body, &self.settings),
            Signature::Jpeg => jpeg::decode(&body, &self.settings),
            Signature::Unknown => {
                let reason = match raw {
                    Ok(Some(raw)) if raw.fits(&body) => return raw.decode(body, &self.settings),
                    Ok(Some(raw)) => raw.mismatch(&body),
                    Ok(None) => return Err(unknown(&body)),
                    Err(reason) => reason,
                };
                Err(format!("{}; {reason}", unknown(&body)))
            }
        }
    }

    fn tensor(&self, picture: Picture, target: &Target) -> Result<Tensor, Refusal> {
        let picture = if target.channels == 1 {
            picture.into_grey()
        } else {
            picture
        };
        // The picture is turned while the tensor is written, so it is resized to the target lying as it lies.
        let (width, height) = picture.orientation.lay(target.width, target.height);
        let region = Region::new(&picture, width, height, self.settings.fit);
        let pixels = if region.is_whole(&picture) && (picture.width, picture.height) == (width, height) {
            Cow::Borrowed(&picture.pixels)
        } else {
            Cow::Owned(resize::resize(&picture, region, width, height, self.settings.resize))
        };
        target.tensor(&pixels, picture.channels, picture.orientation)
    }
}

fn unknown(body: &[u8]) -> String {
    format!(
        "not a PNG, JPEG or raw RGB picture: begins with {}",
        signature::describe(body)
    )
}

millrace_plugin::export_preprocessor!(DecodeImage);

#[cfg(test)]
mod tests;
