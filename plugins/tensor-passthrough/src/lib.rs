//! Takes a message that is the tensor itself: raw elements, a NumPy file or a safetensors file.

mod array;
mod literal;
mod npy;
mod safetensors;
mod signature;

use millrace_plugin::{Element, Message, Preprocessor, Refusal, Tensor, TensorType};

use array::{Array, Kind};
use signature::Signature;

/// The plugin.
#[derive(Debug)]
pub struct TensorPassthrough {
    settings: Settings,
}

millrace_plugin::settings! {
    /// The `settings` table in `plugins.toml`.
    pub struct Settings {
        /// What a message is; `auto` looks at its first bytes, and takes for raw what begins like nothing else.
        pub format: Format = Format::Auto,
        /// Which tensor of a safetensors file is taken; the only one where it is left out.
        pub tensor: Option<String>,
    }
}

millrace_plugin::choice! {
    /// What a message is.
    pub enum Format {
        /// What its first bytes say.
        Auto = "auto",
        /// The elements alone, little-endian.
        Raw = "raw",
        /// A NumPy file, of versions 1 to 3.
        Npy = "npy",
        /// A safetensors file.
        Safetensors = "safetensors",
    }
}

impl Preprocessor for TensorPassthrough {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, String> {
        if settings.tensor.is_some() && matches!(settings.format, Format::Raw | Format::Npy) {
            return Err("`tensor` is for safetensors files: other messages hold one tensor".to_owned());
        }
        Ok(Self { settings })
    }

    fn preprocess(&mut self, message: &Message, wants: &TensorType) -> Result<Tensor, Refusal> {
        let body = message.body();
        self.array(&body, wants)
            .and_then(|array| array.into_tensor(wants))
            .map_err(Refusal::Reject)
    }
}

impl TensorPassthrough {
    fn array<'a>(&self, body: &'a [u8], wants: &TensorType) -> Result<Array<'a>, String> {
        if body.is_empty() {
            return Err("the body is empty".to_owned());
        }
        let is_guessed = self.settings.format == Format::Auto;
        let format = match (self.settings.format, Signature::of(body)) {
            (Format::Auto, Signature::Npy) => Format::Npy,
            (Format::Auto, Signature::Safetensors) => Format::Safetensors,
            (Format::Auto, _) => Format::Raw,
            (format, _) => format,
        };
        match format {
            Format::Npy => npy::read(body).map_err(|reason| format!("not a NumPy file that can be read: {reason}")),
            Format::Safetensors => safetensors::read(body, self.settings.tensor.as_deref()),
            Format::Auto | Format::Raw => raw(body, wants, is_guessed),
        }
    }
}

/// The elements alone: there is nothing to check them by but their number.
fn raw<'a>(body: &'a [u8], wants: &TensorType, is_guessed: bool) -> Result<Array<'a>, String> {
    let kind = match wants.element {
        Element::Byte => Kind::U8,
        Element::Float => Kind::F32,
    };
    let expected = wants.elements().saturating_mul(kind.bytes());
    if body.len() == expected {
        return Ok(Array {
            kind,
            shape: wants.shape.iter().copied().map(u64::from).collect(),
            data: body,
        });
    }
    let (shape, found) = (&wants.shape, body.len());
    let raw = format!(
        "raw {} of the shape {shape:?} are {expected} bytes, the body has {found}",
        kind.plural()
    );
    if is_guessed {
        let begins = signature::describe(body);
        Err(format!("neither a NumPy nor a safetensors file ({begins}), and {raw}"))
    } else {
        Err(raw)
    }
}

millrace_plugin::export_preprocessor!(TensorPassthrough);

#[cfg(test)]
mod tests;
