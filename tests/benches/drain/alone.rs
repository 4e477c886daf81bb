//! The limits: the network without messages, and the plugins without a host, in the sandbox and natively.

use std::cell::RefCell;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, future, stream};
use millrace::config::{Isolation, Name, PluginConfig, default_limits};
use millrace::message::{Element, Message, Prediction, TensorType};
use millrace::sandbox::{Called, Compiler, Lane, Plugin, Role, Sandbox};
use millrace_plugin::testing::{TestMessage, preprocessor};
use millrace_plugin::{Preprocessor as _, TensorType as SdkTensorType};
use millrace_tests::figures::{Call, Forward, Spread, quantile};
use millrace_tests::samples::{guest, pictures};
use rustix::time::{ClockId, clock_gettime};
use serde::Deserialize;

use crate::photos;
use crate::subject::Network;
use crate::supplies::{Supplies, must_succeed};

#[path = "../../../plugins/decode-image/src/lib.rs"]
#[allow(unreachable_pub, reason = "it is a library of its own elsewhere")]
mod decode_image;

use decode_image::DecodeImage;

/// How long calls of one kind are repeated, and how many there are at the most.
const LONG: Duration = Duration::from_millis(700);
const CALLS_MAX: usize = 20_000;
/// As many as a host's workers find waiting.
const IN_FLIGHT: usize = 16;
/// The first of them, which do not count.
const WARM_UP: usize = 50;
/// The plugin that is called natively, too.
const NATIVE: &str = "decode-image";
/// Batch sizes of the forward pass.
const BATCHES: &str = "1,8,16,32,64";

/// A line of `millrace model bench --json`.
#[derive(Debug, Deserialize)]
struct Line {
    threads: usize,
    batch: usize,
    median_ms: f64,
}

/// Measures a network on one thread.
pub(crate) fn forwards(supplies: &Supplies, network: Network, round: usize, seconds: f64) -> Result<Vec<Forward>> {
    let folder = supplies.network(network);
    let batches = if network == Network::ResNet18 { "1,4" } else { BATCHES };
    let mut command = Command::new(millrace_tests::host::binary()?);
    command.args(["model", "bench"]).arg(&folder);
    command.args([
        "--json",
        "--threads",
        "1",
        "--batch",
        batches,
        "--seconds",
        &seconds.to_string(),
    ]);
    let output = must_succeed(&mut command)?;
    let line = |line: &str| -> Result<Forward> {
        let line: Line = serde_json::from_str(line).with_context(|| line.to_owned())?;
        Ok(Forward {
            round,
            model: match network {
                Network::Shapes => "shapes-lenet".to_owned(),
                Network::Mean(_) => "mean".to_owned(),
                Network::ResNet18 => "resnet18".to_owned(),
            },
            batch: line.batch,
            threads: line.threads,
            median_ms: line.median_ms,
            items_per_second: line.batch as f64 / line.median_ms * 1000.0,
        })
    };
    output.lines().map(line).collect()
}

/// Calls each shipped plugin of the benches again and again, on one worker.
pub(crate) async fn calls(round: usize) -> Result<Vec<Call>> {
    let sandbox = Sandbox::start(1, Compiler::InProcess)?;
    let lane = sandbox.lane(1);
    let picture = pictures()?.into_iter().next().context("no picture")?;
    let photo = photos::photos()?.into_iter().next().context("no photo")?;
    let (small, large) = (wants(32), wants(224));
    let inputs = [
        ("tensor-passthrough", "raw", "image/x-rgb", picture.raw()?, &small),
        ("decode-image", "raw", "image/x-rgb", picture.raw()?, &small),
        ("decode-image", "png", "image/png", picture.png.clone(), &small),
        ("decode-image", "jpeg", "image/jpeg", picture.jpeg()?, &small),
        ("decode-image", "jpeg of 224x224", "image/jpeg", photo, &large),
    ];
    let mut calls = Vec::new();
    for isolation in [Isolation::Message, Isolation::Worker] {
        for (name, input, content_type, body, wants) in &inputs {
            let plugin = load(&sandbox, name, isolation, Role::Preprocess)?;
            let message = Arc::new(Message {
                id: "1".to_owned(),
                content_type: Some((*content_type).to_owned()),
                body: Arc::new(body.clone()),
                attempt: 1,
                ..Message::default()
            });
            let called = async || cost(plugin.preprocess(&lane, &message, wants).await);
            let (ran, cpu) = repeat(called).await.with_context(|| format!("{name}, {input}"))?;
            calls.push(summed(round, (name, input), shown(isolation), (ran, cpu)));
        }
        calls.push(route(&sandbox, &lane, isolation, round).await?);
    }
    tokio::task::spawn_blocking(move || sandbox.stop()).await?;
    for (name, input, content_type, body, wants) in inputs.into_iter().filter(|one| one.0 == NATIVE) {
        let message = TestMessage {
            content_type: Some(content_type.to_owned()),
            body,
            ..TestMessage::default()
        };
        let costs = native(message, wants)
            .await
            .with_context(|| format!("{input}, natively"))?;
        calls.push(summed(round, (name, input), "native", costs));
    }
    Ok(calls)
}

/// Calls the shipped preprocessor as a function of this program: the same code without a sandbox and without a worker.
async fn native(message: TestMessage, wants: &TensorType) -> Result<(Vec<f64>, Vec<f64>)> {
    let plugin: DecodeImage = preprocessor("{}").map_err(anyhow::Error::msg)?;
    let plugin = RefCell::new(plugin);
    let wants = SdkTensorType {
        shape: wants.shape.clone(),
        element: millrace_plugin::Element::Byte,
    };
    let call = async || {
        let (began, before) = (Instant::now(), thread_cpu()?);
        let tensor = plugin.borrow_mut().preprocess(&message.view(), &wants);
        let (ran, cpu) = (began.elapsed(), thread_cpu()? - before);
        ensure!(tensor.is_ok(), "{tensor:?}");
        Ok((ran.as_secs_f64() * 1e6, cpu.as_secs_f64() * 1e6))
    };
    repeat(call).await
}

/// CPU time of this thread so far.
fn thread_cpu() -> Result<Duration> {
    Ok(Duration::try_from(clock_gettime(ClockId::ThreadCPUTime))?)
}

async fn route(sandbox: &Sandbox, lane: &Lane, isolation: Isolation, round: usize) -> Result<Call> {
    let plugin = load(sandbox, "by-label", isolation, Role::Route)?;
    let labels = [
        "circle", "ring", "crescent", "triangle", "square", "star", "cross", "heart", "arrow", "bar",
    ];
    let prediction = Arc::new(Prediction {
        model: "shapes".into(),
        labels: labels.map(str::to_owned).into(),
        scores: (0..10_u8).map(|n| f32::from(n) / 45.0).collect(),
        outputs: Vec::new(),
    });
    let message = Arc::new(Message {
        id: "1".to_owned(),
        attempt: 1,
        ..Message::default()
    });
    let called = async || cost(plugin.route(lane, &message, &prediction).await);
    let costs = repeat(called).await.context("by-label")?;
    Ok(summed(round, ("by-label", "a prediction"), shown(isolation), costs))
}

fn load(sandbox: &Sandbox, name: &str, isolation: Isolation, role: Role) -> Result<Arc<Plugin>> {
    let (deadline, memory_bytes) = default_limits();
    let settings = match name {
        "tensor-passthrough" => r#"{"format": "raw"}"#,
        _ => "{}",
    };
    let config = PluginConfig {
        name: Name::new(name).with_context(|| name.to_owned())?,
        path: guest("wasm32-unknown-unknown", name)?,
        sha256: None,
        deadline,
        memory_bytes,
        isolation,
        settings: settings.to_owned(),
    };
    Ok(sandbox.load(&config, role)?)
}

fn wants(edge: u32) -> Arc<TensorType> {
    Arc::new(TensorType {
        shape: vec![3, edge, edge],
        element: Element::Byte,
    })
}

/// What one call took: its time, without waiting for the worker, and the worker's CPU time.
fn cost<T>(called: Called<T>) -> Result<(f64, f64)> {
    called.answer?;
    Ok((called.ran.as_secs_f64() * 1e6, called.cpu.as_secs_f64() * 1e6))
}

/// Keeps so many calls waiting: the worker goes from one to the next, as it does under load, and does not sleep between.
async fn repeat(call: impl AsyncFn() -> Result<(f64, f64)>) -> Result<(Vec<f64>, Vec<f64>)> {
    for _ in 0..WARM_UP {
        call().await?;
    }
    let began = Instant::now();
    let goes_on = stream::repeat_with(|| call()).take_while(|_| future::ready(began.elapsed() < LONG));
    let costs: Vec<(f64, f64)> = goes_on.take(CALLS_MAX).buffered(IN_FLIGHT).try_collect().await?;
    ensure!(!costs.is_empty(), "no calls");
    Ok(costs.into_iter().unzip())
}

fn shown(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::Message => "message",
        Isolation::Worker => "worker",
    }
}

fn summed(round: usize, (plugin, input): (&str, &str), isolation: &str, (mut ran, cpu): (Vec<f64>, Vec<f64>)) -> Call {
    ran.sort_by(f64::total_cmp);
    Call {
        round,
        plugin: plugin.to_owned(),
        isolation: isolation.to_owned(),
        input: input.to_owned(),
        n: ran.len(),
        median_us: Spread::of(ran.clone()).map_or(f64::NAN, |spread| spread.median),
        p90_us: quantile(&ran, 0.9),
        cpu_us: cpu.iter().sum::<f64>() / cpu.len() as f64,
    }
}
