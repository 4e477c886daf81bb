//! Whether a pipeline could finish its messages in flight within a drain, by the speed of its model on this machine.
//! Knows no plugin and no broker: what these take comes on top.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use millrace_models::{Device, Element, Model, Runner, Tensor, TensorData, is_cpu};

use crate::config::{Config, Diagnostic, ModelConfig, Name, Warning};
use crate::reload::LoadedFiles;
use crate::transport;

/// Warns of each queue whose prefetch its model cannot finish within a drain. Only CPUs are asked: a GPU would have to be
/// warmed up for it.
pub(super) fn warnings(config: &Config, loaded: &LoadedFiles) -> Vec<Warning> {
    let limit = config.host.drain.saturating_sub(transport::reserve(config.host.drain));
    let mut times: BTreeMap<&Name, Option<Duration>> = BTreeMap::new();
    let mut warnings = Vec::new();
    for (name, pipeline) in &config.pipelines {
        if !pipeline.source.capabilities().hands_over_ahead {
            continue;
        }
        let n_in_flight = pipeline.source.prefetch();
        let Some((model, settings)) = loaded.model(&pipeline.model).zip(config.models.get(&pipeline.model)) else {
            continue;
        };
        let time = *times
            .entry(&pipeline.model)
            .or_insert_with(|| item_time(model, settings));
        let Some(needs) = time
            .map(|time| time * u32::from(n_in_flight))
            .filter(|needs| *needs > limit)
        else {
            continue;
        };
        let text = format!(
            "model `{}` takes {:.0} s for the {} messages that pipeline `{name}` may have in flight, longer than the {} s of a drain: a stop returns some of them",
            pipeline.model,
            needs.as_secs_f64(),
            n_in_flight,
            limit.as_secs(),
        );
        let at = config.locate(&format!("pipeline.{name}.source.prefetch"));
        let at = at.or_else(|| config.locate(&format!("pipeline.{name}.source")));
        warnings.push(Warning(
            Diagnostic::at(at, text).hint("lower `prefetch`, or raise `drain` of `[host]`"),
        ));
    }
    warnings
}

/// The memory of a full batch for each of its items; `None` where it is unknown.
fn item_time(model: &Model, settings: &ModelConfig) -> Option<Duration> {
    if !settings.devices.iter().all(is_cpu) {
        return None;
    }
    let devices = Device::open_all(&settings.placement()).ok()?;
    let device = devices.first()?;
    let n_items = settings.max_batch.unwrap_or_else(|| device.default_max_batch());
    let mut runner = Runner::new(model, device, n_items).ok()?;
    let input = model.input();
    let n_numbers = usize::try_from(input.elements()).ok()?;
    let data = match input.element {
        Element::Byte => TensorData::Bytes(vec![127; n_numbers]),
        Element::Float => TensorData::Floats(vec![0.5; n_numbers]),
    };
    let item = Tensor::new(input.shape.clone(), data).ok()?;
    let batch = vec![item; n_items];
    runner.run(&batch).ok()?; // memory is taken, and caches fill
    let began = Instant::now();
    runner.run(&batch).ok()?;
    let n_runners = u32::try_from(devices.len()).unwrap_or(1).max(1);
    Some(began.elapsed() / u32::try_from(n_items).ok()? / n_runners)
}
