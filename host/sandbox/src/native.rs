//! For benchmarks alone: the plugin that `plugins.toml` calls `decode-image` runs natively, so that a run shows what
//! WebAssembly costs. Compiled in by the feature `native-preprocess`, which no deployed host may have: nothing bounds such a
//! call, and nothing keeps it apart from the host.

use std::sync::{Mutex, MutexGuard, PoisonError};

use millrace_config::PluginConfig;
use millrace_plugin::testing::{self, TestMessage};
use millrace_plugin::{Preprocessor as _, Property, Refusal, TensorData};
use millrace_types::message::{Element, Message, Tensor, TensorType};

use super::bindings::plugin::millrace::pipeline::types;
use super::{CallError, Role, output};

// The plugin's source and no dependency: its crate is a `cdylib` as well, for whose sake cargo would build every library that it
// shares with the host a second time. (Its unit tests need libraries of their own: this crate's are not built with the feature.)
#[path = "../../../plugins/decode-image/src/lib.rs"]
#[allow(unreachable_pub, reason = "it is a library of its own elsewhere")]
mod decode_image;

use decode_image::DecodeImage;

/// The name in `plugins.toml` of the plugin that runs natively. Its file is loaded and checked as always.
const NAME: &str = "decode-image";

/// The shipped plugin, compiled for this machine.
pub(super) struct NativePreprocess {
    settings: String,
    // A call takes one out, so that none waits for another: as many are made as workers call at once.
    idle: Mutex<Vec<DecodeImage>>,
}

impl NativePreprocess {
    /// The native form of a plugin, where it has one.
    pub(super) fn of(config: &PluginConfig, role: Role) -> Option<Self> {
        let name = config.name.to_string();
        (name == NAME && role == Role::Preprocess).then(|| {
            tracing::warn!(plugin = %name, "plugin runs natively: this build is for benchmarks alone");
            Self {
                settings: config.settings.clone(),
                idle: Mutex::default(),
            }
        })
    }

    /// Does what a call of the plugin does, and checks the answer as that of a plugin.
    ///
    /// # Errors
    /// When the message is refused.
    pub(super) fn preprocess(&self, message: &Message, input_type: &TensorType) -> Result<Tensor, CallError> {
        let idle = self.idle().pop();
        let mut plugin = match idle {
            Some(plugin) => plugin,
            None => testing::preprocessor::<DecodeImage>(&self.settings).map_err(|text| CallError::Host { text })?,
        };
        let answer = plugin.preprocess(&seen(message).view(), &wanted(input_type));
        self.idle().push(plugin);
        match answer {
            Ok(tensor) => {
                let (shape, data) = tensor.into_parts();
                let data = match data {
                    TensorData::Bytes(bytes) => types::TensorData::Bytes(bytes),
                    TensorData::Floats(floats) => types::TensorData::Floats(floats),
                };
                output::tensor(types::Tensor { shape, data }, input_type)
            }
            Err(refusal) => Err(output::refusal(match refusal {
                Refusal::Reject(text) => types::Refusal::Reject(text),
                Refusal::Retry(text) => types::Refusal::Retry(text),
                Refusal::Skip(text) => types::Refusal::Skip(text),
            })),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<DecodeImage>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the plugin asks of a message: its body, its content type and its headers.
fn seen(message: &Message) -> TestMessage {
    let header = |(name, value): &(String, String)| Property {
        name: name.clone(),
        value: value.clone(),
    };
    TestMessage {
        content_type: message.content_type.clone(),
        headers: message.headers.iter().map(header).collect(),
        body: message.body.to_vec(),
        ..TestMessage::default()
    }
}

fn wanted(input_type: &TensorType) -> millrace_plugin::TensorType {
    millrace_plugin::TensorType {
        shape: input_type.shape.clone(),
        element: match input_type.element {
            Element::Byte => millrace_plugin::Element::Byte,
            Element::Float => millrace_plugin::Element::Float,
        },
    }
}
