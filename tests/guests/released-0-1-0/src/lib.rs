//! A plugin of all three roles that was built against the released contract 0.1.0, without the SDK: whatever becomes
//! of either, it must run. It uses everything that the contract has.
#![cfg(target_family = "wasm")]

use std::cell::RefCell;

use bindings::exports::millrace::pipeline::{plugin, preprocess, route, transform};
use bindings::millrace::pipeline::log::{Level, log};
use bindings::millrace::pipeline::types::{Element, TensorData};
use plugin::{Setting, SettingKind};
use preprocess::{Tensor, TensorType};
use route::{Outbound, Prediction};
use transform::{Message, Property, Refusal, Transformed};

mod bindings {
    #![allow(missing_docs, unreachable_pub, unsafe_code, clippy::all, reason = "generated code")]
    wit_bindgen::generate!({
        path: "../../../wit/0.1.0",
        inline: "
            package millrace:released;
            world everything {
                include millrace:pipeline/preprocessor@0.1.0;
                include millrace:pipeline/router@0.1.0;
                include millrace:pipeline/transformer@0.1.0;
            }
        ",
        generate_all,
    });
}

struct Released;

thread_local! {
    static SETTINGS: RefCell<String> = const { RefCell::new(String::new()) };
}

impl plugin::Guest for Released {
    fn settings() -> Vec<Setting> {
        let setting = |name: &str, kind, default: Option<&str>, choices: &[&str]| Setting {
            name: name.to_owned(),
            help: format!("Of the kind that its name says: {name}."),
            kind,
            choices: choices.iter().map(|&choice| choice.to_owned()).collect(),
            default: default.map(str::to_owned),
            required: false,
            schema: (kind == SettingKind::Integer).then(|| r#"{"minimum": 0}"#.to_owned()),
        };
        let choice = setting("text", SettingKind::Text, Some("\"black\""), &["black", "white"]);
        vec![
            setting("boolean", SettingKind::Boolean, Some("false"), &[]),
            setting("integer", SettingKind::Integer, Some("1"), &[]),
            setting("number", SettingKind::Number, Some("0.5"), &[]),
            choice,
            setting("array", SettingKind::Array, Some("[]"), &[]),
            setting("table", SettingKind::Table, None, &[]),
        ]
    }

    fn configure(settings: String) -> Result<(), String> {
        if settings.contains("\"boolean\":true") {
            return Err("`boolean` must not be true".to_owned());
        }
        SETTINGS.set(settings);
        Ok(())
    }
}

impl preprocess::Guest for Released {
    fn preprocess(message: &Message, wants: TensorType) -> Result<Tensor, Refusal> {
        for level in [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error] {
            log(level, "the released plugin says something");
        }
        let body = message.body();
        refuse_as_told(&body)?;
        let n_elements = wants.shape.iter().map(|&axis| axis as usize).product();
        let first = body.first().copied().unwrap_or_default();
        let data = match wants.element {
            Element::Byte => TensorData::Bytes(vec![first; n_elements]),
            Element::Float => TensorData::Floats(vec![f32::from(first); n_elements]),
        };
        let shape = wants.shape;
        Ok(Tensor { shape, data })
    }
}

impl route::Guest for Released {
    fn route(message: &Message, prediction: &Prediction) -> Result<Vec<Outbound>, Refusal> {
        refuse_as_told(&message.body())?;
        let mut lines = told(message);
        lines.push(format!("model={}", prediction.model()));
        for score in prediction.top(2) {
            lines.push(format!("top={} {} {}", score.index, score.label, score.score));
        }
        for (index, output) in (0..).zip(prediction.outputs()) {
            let n_elements = prediction.output(index).map(|tensor| match tensor.data {
                TensorData::Bytes(bytes) => bytes.len(),
                TensorData::Floats(floats) => floats.len(),
            });
            lines.push(format!("output={:?} {:?} {n_elements:?}", output.shape, output.element));
        }
        Ok(vec![Outbound {
            destination: "results".to_owned(),
            key: message.header("key"),
            body: lines.join("\n").into_bytes(),
            content_type: Some("text/plain".to_owned()),
            headers: message.headers(),
        }])
    }
}

impl transform::Guest for Released {
    fn transform(message: &Message) -> Result<Transformed, Refusal> {
        let mut body = message.body();
        refuse_as_told(&body)?;
        body.extend_from_slice(b" transformed");
        let mut headers = message.headers();
        headers.push(Property {
            name: "transformed".to_owned(),
            value: "yes".to_owned(),
        });
        Ok(Transformed {
            body,
            content_type: message.content_type(),
            headers,
        })
    }
}

/// Everything that a message says of itself, and the settings.
fn told(message: &Message) -> Vec<String> {
    vec![
        format!("settings={}", SETTINGS.with_borrow(String::clone)),
        format!("id={}", message.id()),
        format!("correlation-id={:?}", message.correlation_id()),
        format!("reply-to={:?}", message.reply_to()),
        format!("source={}", message.source()),
        format!("key={}", message.key()),
        format!("attempt={}", message.attempt()),
        format!("redelivered={}", message.redelivered()),
        format!("content-type={:?}", message.content_type()),
        format!("body={}", String::from_utf8_lossy(&message.body())),
    ]
}

fn refuse_as_told(body: &[u8]) -> Result<(), Refusal> {
    match body {
        b"reject" => Err(Refusal::Reject("the message says so".to_owned())),
        b"retry" => Err(Refusal::Retry("the message says so".to_owned())),
        b"skip" => Err(Refusal::Skip("the message says so".to_owned())),
        b"trap" => core::arch::wasm32::unreachable(),
        _ => Ok(()),
    }
}

#[expect(unsafe_code, reason = "generated code")]
const _: () = {
    bindings::export!(Released with_types_in bindings);
};
