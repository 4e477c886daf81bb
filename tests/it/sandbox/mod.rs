//! The sandbox with real plugins in it: what each may do, and what becomes of those that do more.

mod attacks;
mod calls;
mod compiling;
mod lanes;
mod loading;
mod runtimes;

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use millrace::config::{Isolation, Name, PluginConfig};
use millrace::message::{Element, Message, Prediction, TensorData, TensorType};
use millrace::sandbox::{CallError, Compiler, Plugin, Role, Sandbox};
use millrace_tests::samples::guest;

/// Core modules: what a plugin is built as when nothing is to be imported.
pub(crate) const MODULE: &str = "wasm32-unknown-unknown";
/// Components that import what the standard library wants.
pub(crate) const COMPONENT: &str = "wasm32-wasip2";

/// Long enough that no call but an endless one needs it, short enough to be waited for.
const DEADLINE: Duration = Duration::from_millis(300);

pub(crate) fn config(path: PathBuf) -> PluginConfig {
    PluginConfig {
        name: Name::new("guest").unwrap(),
        path,
        sha256: None,
        deadline: DEADLINE,
        memory_bytes: 64 << 20,
        isolation: Isolation::Message,
        settings: "{}".to_owned(),
    }
}

fn hostile(mode: &str) -> PluginConfig {
    let settings = format!(r#"{{"mode": "{mode}"}}"#);
    PluginConfig {
        settings,
        ..config(guest(MODULE, "hostile").unwrap())
    }
}

fn hostile_route(mode: &str) -> PluginConfig {
    PluginConfig {
        path: guest(MODULE, "hostile-route").unwrap(),
        ..hostile(mode)
    }
}

/// A sandbox for tests that count nothing in it; what is kept loaded is compiled once for all of them.
fn shared() -> &'static Sandbox {
    static SHARED: LazyLock<(Sandbox, [Arc<Plugin>; 2])> = LazyLock::new(|| {
        let sandbox = Sandbox::start(2, Compiler::InProcess).unwrap();
        let preprocessor = load(&sandbox, &hostile("ok"), Role::Preprocess);
        let router = load(&sandbox, &hostile_route("ok"), Role::Route);
        (sandbox, [preprocessor, router])
    });
    &SHARED.0
}

fn load(sandbox: &Sandbox, config: &PluginConfig, role: Role) -> Arc<Plugin> {
    sandbox.load(config, role).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn message(id: &str, body: &[u8]) -> Arc<Message> {
    Arc::new(Message {
        id: id.to_owned(),
        body: Arc::new(body.to_vec()),
        attempt: 1,
        ..Message::default()
    })
}

/// What the small network takes.
pub(crate) fn wants() -> Arc<TensorType> {
    Arc::new(TensorType {
        shape: vec![3, 32, 32],
        element: Element::Byte,
    })
}

fn prediction() -> Arc<Prediction> {
    Arc::new(Prediction {
        model: "shapes".into(),
        labels: ["circle", "square"].map(str::to_owned).into(),
        scores: vec![0.25, 0.75],
        outputs: Vec::new(),
    })
}

/// The first element of the tensor that the plugin makes of any message.
async fn first_byte(plugin: &Arc<Plugin>, lane: &millrace::sandbox::Lane) -> Result<u8, CallError> {
    let tensor = plugin.preprocess(lane, &message("m", b""), &wants()).await.answer?;
    match tensor.data() {
        TensorData::Bytes(bytes) => Ok(bytes[0]),
        TensorData::Floats(_) => panic!("wanted bytes"),
    }
}
