//! A preprocessor that asks for the time of day. Built for wasm32-wasip2 it imports the wall clock, which
//! is not granted: the host refuses to load it, and names the import.

use std::time::{SystemTime, UNIX_EPOCH};

use millrace_plugin::{Message, NoSettings, Preprocessor, Refusal, Tensor, TensorType};

/// The plugin.
#[derive(Debug)]
pub struct WantsClock;

impl Preprocessor for WantsClock {
    type Settings = NoSettings;

    fn new(_settings: NoSettings) -> Result<Self, String> {
        Ok(Self)
    }

    fn preprocess(&mut self, _message: &Message, wants: &TensorType) -> Result<Tensor, Refusal> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = (now.as_secs() % 256) as u8;
        Ok(Tensor::bytes(wants.shape.clone(), vec![seconds; wants.elements()])?)
    }
}

millrace_plugin::export_preprocessor!(WantsClock);
