//! The contract in Rust: generated bindings, one module for each interface that a plugin exports, and what the host does
//! when a guest reads a message, reads a prediction or logs. Knows no limits but those of the log.

use std::sync::Arc;

use millrace_types::message::{Element, Message, Prediction, Tensor, TensorData, TensorType};
use wasmtime::component::{HasSelf, Linker, Resource};
use wasmtime::{Result, StoreContextMut};

use self::plugin::millrace::pipeline::{log, types};
use super::state::State;

pub(super) mod plugin {
    //! The exports of every plugin, whatever its world.
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "
            package millrace:host-plugin;
            world every-plugin {
                import millrace:pipeline/types@0.1.0;
                import millrace:pipeline/log@0.1.0;
                export millrace:pipeline/plugin@0.1.0;
            }
        ",
        imports: { default: trappable },
        with: {
            "millrace:pipeline/types.message": crate::bindings::MessageHandle,
            "millrace:pipeline/types.prediction": crate::bindings::PredictionHandle,
        },
    });
}

pub(super) mod preprocess {
    //! The exports of a preprocessor.
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "
            package millrace:host-preprocess;
            world role {
                import millrace:pipeline/types@0.1.0;
                export millrace:pipeline/preprocess@0.1.0;
            }
        ",
        with: { "millrace:pipeline/types": crate::bindings::plugin::millrace::pipeline::types },
    });
}

pub(super) mod transform {
    //! The exports of a transformer.
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "
            package millrace:host-transform;
            world role {
                import millrace:pipeline/types@0.1.0;
                export millrace:pipeline/transform@0.1.0;
            }
        ",
        with: { "millrace:pipeline/types": crate::bindings::plugin::millrace::pipeline::types },
    });
}

pub(super) mod route {
    //! The exports of a router.
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "
            package millrace:host-route;
            world role {
                import millrace:pipeline/types@0.1.0;
                export millrace:pipeline/route@0.1.0;
            }
        ",
        with: { "millrace:pipeline/types": crate::bindings::plugin::millrace::pipeline::types },
    });
}

/// The interface that the message is in.
pub(super) const TYPES: &str = "millrace:pipeline/types@0.1.0";

/// The meaning of a guest's `message` handle: the one message of the call in progress.
///
/// There is no table behind handles: a call has one message and at most one prediction, and the component model lets a
/// guest hold a handle of this type only while the call that lent it runs.
#[expect(unreachable_pub, reason = "generated code re-exports it")]
pub struct MessageHandle;

/// The meaning of a guest's `prediction` handle: the one prediction of the call in progress.
#[expect(unreachable_pub, reason = "generated code re-exports it")]
pub struct PredictionHandle;

/// Lets guests reach what their world imports of Millrace.
///
/// # Errors
/// When a name is defined twice: our bug.
pub(super) fn add_to_linker(linker: &mut Linker<State>) -> Result<()> {
    types::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    log::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    // In place of the generated one, which would copy the body once more on its way into the guest's memory.
    linker.allow_shadowing(true);
    linker.instance(TYPES)?.func_wrap(
        "[method]message.body",
        |store: StoreContextMut<'_, State>, (_,): (Resource<MessageHandle>,)| {
            Ok((Arc::clone(&store.data().message()?.body),))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

impl types::Host for State {}

impl types::HostMessage for State {
    fn id(&mut self, _: Resource<MessageHandle>) -> Result<String> {
        Ok(self.message()?.id.clone())
    }

    fn correlation_id(&mut self, _: Resource<MessageHandle>) -> Result<Option<String>> {
        Ok(self.message()?.correlation_id.clone())
    }

    fn reply_to(&mut self, _: Resource<MessageHandle>) -> Result<Option<String>> {
        Ok(self.message()?.reply_to.clone())
    }

    fn source(&mut self, _: Resource<MessageHandle>) -> Result<String> {
        Ok(self.message()?.source.clone())
    }

    fn key(&mut self, _: Resource<MessageHandle>) -> Result<String> {
        Ok(self.message()?.key.clone())
    }

    fn attempt(&mut self, _: Resource<MessageHandle>) -> Result<u32> {
        Ok(self.message()?.attempt)
    }

    fn redelivered(&mut self, _: Resource<MessageHandle>) -> Result<bool> {
        Ok(self.message()?.redelivered)
    }

    fn content_type(&mut self, _: Resource<MessageHandle>) -> Result<Option<String>> {
        Ok(self.message()?.content_type.clone())
    }

    fn body(&mut self, _: Resource<MessageHandle>) -> Result<Vec<u8>> {
        Ok(self.message()?.body.to_vec())
    }

    fn header(&mut self, _: Resource<MessageHandle>, name: String) -> Result<Option<String>> {
        let headers = &self.message()?.headers;
        Ok(headers
            .iter()
            .find(|(header, _)| *header == name)
            .map(|(_, value)| value.clone()))
    }

    fn headers(&mut self, _: Resource<MessageHandle>) -> Result<Vec<types::Property>> {
        let headers = &self.message()?.headers;
        Ok(headers
            .iter()
            .map(|(name, value)| types::Property {
                name: name.clone(),
                value: value.clone(),
            })
            .collect())
    }

    fn drop(&mut self, _: Resource<MessageHandle>) -> Result<()> {
        Ok(())
    }
}

impl types::HostPrediction for State {
    fn model(&mut self, _: Resource<PredictionHandle>) -> Result<String> {
        Ok(self.prediction()?.model.to_string())
    }

    fn top(&mut self, _: Resource<PredictionHandle>, k: u32) -> Result<Vec<types::Score>> {
        let top = self.prediction()?.top(usize::try_from(k).unwrap_or(usize::MAX));
        Ok(top
            .into_iter()
            .map(|s| types::Score {
                index: s.index,
                label: s.label,
                score: s.score,
            })
            .collect())
    }

    fn outputs(&mut self, _: Resource<PredictionHandle>) -> Result<Vec<types::TensorType>> {
        Ok(self
            .prediction()?
            .outputs
            .iter()
            .map(|output| tensor_type(&output.tensor_type()))
            .collect())
    }

    fn output(&mut self, _: Resource<PredictionHandle>, index: u32) -> Result<Option<types::Tensor>> {
        let outputs = &self.prediction()?.outputs;
        let output = usize::try_from(index).ok().and_then(|index| outputs.get(index));
        Ok(output.map(tensor))
    }

    fn drop(&mut self, _: Resource<PredictionHandle>) -> Result<()> {
        Ok(())
    }
}

impl log::Host for State {
    fn log(&mut self, level: log::Level, text: String) -> Result<()> {
        let level = match level {
            log::Level::Trace => tracing::Level::TRACE,
            log::Level::Debug => tracing::Level::DEBUG,
            log::Level::Info => tracing::Level::INFO,
            log::Level::Warn => tracing::Level::WARN,
            log::Level::Error => tracing::Level::ERROR,
        };
        self.log.line(level, &text);
        Ok(())
    }
}

impl State {
    fn message(&self) -> Result<&Arc<Message>> {
        self.message
            .as_ref()
            .ok_or_else(|| wasmtime::format_err!("there is no message in this call"))
    }

    fn prediction(&self) -> Result<&Arc<Prediction>> {
        self.prediction
            .as_ref()
            .ok_or_else(|| wasmtime::format_err!("there is no prediction in this call"))
    }
}

/// Says a tensor type in the contract's words.
pub(super) fn tensor_type(tensor_type: &TensorType) -> types::TensorType {
    let element = match tensor_type.element {
        Element::Byte => types::Element::Byte,
        Element::Float => types::Element::Float,
    };
    types::TensorType {
        shape: tensor_type.shape.clone(),
        element,
    }
}

fn tensor(tensor: &Tensor) -> types::Tensor {
    let data = match tensor.data() {
        TensorData::Bytes(bytes) => types::TensorData::Bytes(bytes.clone()),
        TensorData::Floats(floats) => types::TensorData::Floats(floats.clone()),
    };
    types::Tensor {
        shape: tensor.shape().to_vec(),
        data,
    }
}
