//! The way between the generated bindings and the traits: what the export macros expand to calls this.

use std::cell::RefCell;
use std::panic::PanicHookInfo;

use crate::bindings::plugin::exports::millrace::pipeline::plugin;
use crate::bindings::plugin::millrace::pipeline::{log as host_log, types};
use crate::bindings::route::exports::millrace::pipeline::route;
use crate::bindings::transform::exports::millrace::pipeline::transform;
use crate::{
    Element, Level, Message, Outbound, Prediction, Preprocessor, Property, Refusal, Router, Score, Setting,
    SettingKind, Settings, Tensor, TensorData, TensorType, Transformed, Transformer, settings,
};

#[doc(hidden)]
pub use wit_bindgen::rt as wit_bindgen_rt;

/// The host promises to configure an instance before any other call; where it did not, this is told.
const NOT_CONFIGURED: &str = "the plugin was called before it was configured";

/// The plugin of this instance. Calls never overlap, so the cell is never borrowed twice.
#[derive(Debug)]
pub struct Instance<P> {
    plugin: RefCell<Option<P>>,
}

impl<P> Instance<P> {
    /// Not yet configured.
    pub const fn empty() -> Self {
        Self {
            plugin: RefCell::new(None),
        }
    }

    /// Reads the settings and makes the plugin. From here on a panic tells the host what it was.
    pub fn configure<S: Settings>(
        &self,
        settings: &str,
        new: impl FnOnce(S) -> Result<P, String>,
    ) -> Result<(), String> {
        tell_panics();
        *self.plugin.borrow_mut() = Some(settings::made(settings, new)?);
        Ok(())
    }
}

impl<P: Preprocessor> Instance<P> {
    /// Calls the preprocessor.
    pub fn preprocess(
        &self,
        message: &types::Message,
        wants: types::TensorType,
    ) -> Result<types::Tensor, types::Refusal> {
        match &mut *self.plugin.borrow_mut() {
            Some(plugin) => Ok(plugin.preprocess(&Message::new(message), &wants.into())?.into()),
            None => Err(types::Refusal::Reject(NOT_CONFIGURED.to_owned())),
        }
    }
}

impl<P: Router> Instance<P> {
    /// Calls the router.
    pub fn route(
        &self,
        message: &types::Message,
        prediction: &types::Prediction,
    ) -> Result<Vec<route::Outbound>, types::Refusal> {
        match &mut *self.plugin.borrow_mut() {
            Some(plugin) => {
                let outbound = plugin.route(&Message::new(message), &Prediction::new(prediction))?;
                Ok(outbound.into_iter().map(route::Outbound::from).collect())
            }
            None => Err(types::Refusal::Reject(NOT_CONFIGURED.to_owned())),
        }
    }
}

impl<P: Transformer> Instance<P> {
    /// Calls the transformer.
    pub fn transform(&self, message: &types::Message) -> Result<transform::Transformed, types::Refusal> {
        match &mut *self.plugin.borrow_mut() {
            Some(plugin) => Ok(plugin.transform(&Message::new(message))?.into()),
            None => Err(types::Refusal::Reject(NOT_CONFIGURED.to_owned())),
        }
    }
}

/// Which settings a plugin takes.
pub fn declared<S: Settings>() -> Vec<plugin::Setting> {
    S::declared().into_iter().map(plugin::Setting::from).collect()
}

/// Sends panics to the host's log. A panic aborts the call right after; its trap says only `unreachable`.
pub fn tell_panics() {
    std::panic::set_hook(Box::new(|info: &PanicHookInfo| {
        let message = info.payload_as_str().unwrap_or("(a panic without a message)");
        let text = match info.location() {
            Some(at) => format!("panicked at {}:{}: {message}", at.file(), at.line()),
            None => format!("panicked: {message}"),
        };
        log(Level::Error, &text);
    }));
}

/// Writes one line to the host's log.
pub(crate) fn log(level: Level, text: &str) {
    let level = match level {
        Level::Trace => host_log::Level::Trace,
        Level::Debug => host_log::Level::Debug,
        Level::Info => host_log::Level::Info,
        Level::Warn => host_log::Level::Warn,
        Level::Error => host_log::Level::Error,
    };
    host_log::log(level, text);
}

impl From<types::Score> for Score {
    fn from(score: types::Score) -> Self {
        Self {
            index: score.index,
            label: score.label,
            score: score.score,
        }
    }
}

impl From<types::TensorType> for TensorType {
    fn from(tensor_type: types::TensorType) -> Self {
        let element = match tensor_type.element {
            types::Element::Byte => Element::Byte,
            types::Element::Float => Element::Float,
        };
        Self {
            shape: tensor_type.shape,
            element,
        }
    }
}

impl TryFrom<types::Tensor> for Tensor {
    type Error = crate::ElementCount;

    fn try_from(tensor: types::Tensor) -> Result<Self, Self::Error> {
        let data = match tensor.data {
            types::TensorData::Bytes(bytes) => TensorData::Bytes(bytes),
            types::TensorData::Floats(floats) => TensorData::Floats(floats),
        };
        Self::new(tensor.shape, data)
    }
}

impl From<Tensor> for types::Tensor {
    fn from(tensor: Tensor) -> Self {
        let (shape, data) = tensor.into_parts();
        let data = match data {
            TensorData::Bytes(bytes) => types::TensorData::Bytes(bytes),
            TensorData::Floats(floats) => types::TensorData::Floats(floats),
        };
        Self { shape, data }
    }
}

impl From<Refusal> for types::Refusal {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Reject(text) => Self::Reject(text),
            Refusal::Retry(text) => Self::Retry(text),
            Refusal::Skip(text) => Self::Skip(text),
        }
    }
}

impl From<Property> for types::Property {
    fn from(property: Property) -> Self {
        Self {
            name: property.name,
            value: property.value,
        }
    }
}

impl From<Transformed> for transform::Transformed {
    fn from(transformed: Transformed) -> Self {
        Self {
            body: transformed.body,
            content_type: transformed.content_type,
            headers: transformed.headers.into_iter().map(types::Property::from).collect(),
        }
    }
}

impl From<Setting> for plugin::Setting {
    fn from(setting: Setting) -> Self {
        let kind = match setting.kind {
            SettingKind::Boolean => plugin::SettingKind::Boolean,
            SettingKind::Integer => plugin::SettingKind::Integer,
            SettingKind::Number => plugin::SettingKind::Number,
            SettingKind::Text => plugin::SettingKind::Text,
            SettingKind::Array => plugin::SettingKind::Array,
            SettingKind::Table => plugin::SettingKind::Table,
        };
        Self {
            name: setting.name,
            help: setting.help,
            kind,
            choices: setting.choices,
            default: setting.default,
            required: setting.required,
            schema: setting.schema,
        }
    }
}

impl From<Outbound> for route::Outbound {
    fn from(outbound: Outbound) -> Self {
        Self {
            destination: outbound.destination,
            key: outbound.key,
            body: outbound.body,
            content_type: outbound.content_type,
            headers: outbound.headers.into_iter().map(types::Property::from).collect(),
        }
    }
}
