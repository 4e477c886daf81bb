//! `millrace replay`: a saved dead letter, or a case, through a whole pipeline on this machine. Nothing is sent.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, bail};
use clap::Args;
use millrace_models::{DeviceChoice, Placement};
use tokio_util::sync::CancellationToken;

use super::output::{plain, print};
use super::plugin::{body, labels, results, tensor};
use super::{MISTAKEN, check};
use crate::cases;
use crate::config::case::{Case, ExpectedOutcome, Outcome, Record};
use crate::config::{Config, Name, PipelineConfig, Rendering};
use crate::disposition::{Disposition, Reason, ReasonClass, Stage};
use crate::generation::Stages;
use crate::recall::Recall;
use crate::reload::{self, HeldBack, Replayed};
use crate::sandbox::{Compiler, Plugin, Sandbox};
use crate::streams::{self, Severity};
use crate::supervisor::destinations;
use crate::transport::{Connections, Destination, OpenError, REGISTRY, registry};
use crate::work::Seen;

/// A token that no port uses.
const NO_TOKEN: &str = "a replay has no control interface, so it needs no token";

/// How much of a text is shown.
const TEXT_CHARS: usize = 2000;

/// How much of a name is shown.
const NAME_CHARS: usize = 200;

/// Labels that are shown.
const LABELS_MAX: usize = 5;

const EXAMPLES: &str = "\
Examples:
  millrace dlq save order-7 dark-cat
  millrace replay dark-cat
  millrace replay dark-cat --plugin decode-image=target/wasm32-wasip2/release/decode_image.wasm
  millrace replay dark-cat --model shapes=models/shapes-next

The exit code is 0 when a saved dead letter has the outcome that it expects (`dlq save` shows it), and for any other case when the message
would be processed (results, or a skip); else it is 1.";

/// `millrace replay`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// The folder that `millrace dlq save` made, or a case
    case: PathBuf,
    /// The file with the pipeline
    #[arg(long, value_name = "FILE", default_value = "plugins.toml")]
    file: PathBuf,
    /// The pipeline [default: the one that the dead letter names, or the only one]
    #[arg(long, value_name = "NAME")]
    pipeline: Option<String>,
    /// Another build of a plugin instead of the file's; may be given several times
    #[arg(long, value_name = "NAME=FILE", value_parser = parse_override)]
    plugin: Vec<(Name, PathBuf)>,
    /// Another folder of a model instead of the file's
    #[arg(long, value_name = "NAME=FOLDER", value_parser = parse_override)]
    model: Vec<(Name, PathBuf)>,
}

pub(super) async fn replay(options: Options) -> anyhow::Result<ExitCode> {
    let file = cases::find(&options.case)?;
    let [case] = file.files.as_slice() else {
        bail!("`{}` has several cases: name one", options.case.display());
    };
    let case = match Case::load(case) {
        Ok(case) => case,
        Err(errors) => {
            streams::say(Severity::Error, errors.render(Rendering::of_stderr()));
            return Ok(ExitCode::from(MISTAKEN));
        }
    };
    let mut config = match read(&options.file)? {
        Ok(config) => config,
        Err(errors) => return Ok(check::refuse(&errors)),
    };
    let pipeline = choose(&config, &options, &case)?;
    override_parts(&mut config, &options, &pipeline)?;
    let sandbox = Sandbox::start(config.host.workers, Compiler::of_author())?;
    let loaded_config = match reload::load_config(Ok((config, Vec::new())), &sandbox) {
        Ok(loaded_config) => loaded_config,
        Err(errors) => return Ok(check::refuse(&errors)),
    };
    let (config, device_lost) = (loaded_config.config, CancellationToken::new());
    let (none, nothing) = (BTreeMap::new(), HeldBack::default());
    let mut parts = loaded_config
        .loaded
        .serve(&config, &none, &nothing, 1, &device_lost)
        .await?;
    let parts = parts
        .remove(&pipeline.name)
        .context("the pipeline lacks a part: a bug of Millrace")?;
    let stages = Stages {
        generation: 1,
        plugins: parts.plugins.map(|plugin| Arc::clone(&plugin.what)),
        model: parts.model.what,
        lane: sandbox.lane(1),
        destinations: offline(&config, &pipeline)?,
        attempts: pipeline.attempts,
        max_message_bytes: pipeline.max_message_bytes,
        max_results_bytes: pipeline.max_results_bytes,
        described: OnceLock::new(),
        recall: Recall::default(),
    };
    let (name, message) = (pipeline.name.as_str(), (*case.message).clone());
    let replayed = reload::replay(name, &stages, message, "replay", Some(Seen::default())).await;
    print(shown(&pipeline, &stages, &case, &replayed).trim_end())?;
    Ok(if is_as_expected(expected(&case), &replayed) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Reads the file; the addresses of connections, and the tokens that clients show, need not be there.
fn read(path: &Path) -> anyhow::Result<Result<Config, crate::config::ConfigErrors>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let table: toml::Table = text.parse().unwrap_or_default();
    let is_value = |value: Option<&toml::Value>, name: &str| {
        value.and_then(toml::Value::as_str) == Some(format!("${{{name}}}").as_str())
    };
    let token = table.get("host").and_then(|host| host.get("control_token"));
    let connections = || {
        let named = table.get("connection").and_then(toml::Value::as_table);
        table
            .get("broker")
            .into_iter()
            .chain(named.into_iter().flat_map(|named| named.values()))
    };
    let nowhere = |name: &str| {
        let mut kinds = REGISTRY.connections();
        let kind = kinds.find(|kind| connections().any(|table| is_value(table.get(kind.key), name)));
        kind.map(|kind| kind.nowhere.to_owned())
    };
    let sources = || {
        let pipelines = table.get("pipeline").and_then(toml::Value::as_table);
        let pipelines = pipelines.into_iter().flat_map(|named| named.values());
        pipelines.filter_map(|pipeline| pipeline.get("source"))
    };
    let unneeded = |name: &str| {
        let mut secrets = REGISTRY.sources().flat_map(|kind| kind.secrets);
        let secret = secrets.find(|secret| sources().any(|table| is_value(table.get(secret.key), name)));
        secret.map(|secret| secret.stand_in.to_owned())
    };
    let variable = |name: &str| match std::env::var(name) {
        Ok(value) => Some(value),
        Err(_) if nowhere(name).is_some() => nowhere(name),
        Err(_) if is_value(token, name) => Some(NO_TOKEN.to_owned()),
        Err(_) => unneeded(name),
    };
    Ok(Config::parse(&text, path, &REGISTRY, &variable).map(|(config, _)| config))
}

/// The pipeline that is meant.
fn choose(config: &Config, options: &Options, case: &Case) -> anyhow::Result<PipelineConfig> {
    let of_name = |name: &str| config.pipelines.get(name);
    if let Some(name) = &options.pipeline {
        let found = of_name(name).cloned();
        return found.with_context(|| format!("there is no pipeline `{name}` in `{}`", options.file.display()));
    }
    let recorded = case.record.as_ref().and_then(|record| record.pipeline.as_deref());
    if let Some(pipeline) = recorded.and_then(of_name) {
        return Ok(pipeline.clone());
    }
    let mut all = config.pipelines.values();
    match (all.next(), all.next()) {
        (Some(only), None) => Ok(only.clone()),
        _ => bail!(
            "`{}` has several pipelines: choose one with --pipeline",
            options.file.display()
        ),
    }
}

/// Leaves what the pipeline needs, with the parts that the caller wants in it, on the CPU.
fn override_parts(config: &mut Config, options: &Options, pipeline: &PipelineConfig) -> anyhow::Result<()> {
    for (name, path) in &options.plugin {
        let plugin = config.plugins.get_mut(name);
        let plugin = plugin.with_context(|| format!("there is no plugin `{name}` in the file"))?;
        plugin.path = std::path::absolute(path)?;
        plugin.sha256 = None;
    }
    for (name, path) in &options.model {
        let model = config.models.get_mut(name);
        model
            .with_context(|| format!("there is no model `{name}` in the file"))?
            .path = std::path::absolute(path)?;
    }
    config.pipelines.retain(|name, _| *name == pipeline.name);
    config.models.retain(|name, _| *name == pipeline.model);
    config
        .plugins
        .retain(|name, _| pipeline.plugins.iter().any(|used| used == name));
    for model in config.models.values_mut() {
        model.place(Placement::on(DeviceChoice::Cpu));
        model.max_batch = Some(1);
    }
    Ok(())
}

/// Binds the destinations to connections that are never made.
fn offline(config: &Config, pipeline: &PipelineConfig) -> Result<BTreeMap<Name, Arc<dyn Destination>>, OpenError> {
    let mut connections = Connections::new();
    for (name, connection) in &config.connections {
        connections.insert(name.clone(), registry::connection(connection.as_ref())?.offline());
    }
    destinations(pipeline, &connections)
}

fn shown(pipeline: &PipelineConfig, stages: &Stages, case: &Case, replayed: &Replayed) -> String {
    let (case_name, id) = (plain(&case.name, NAME_CHARS), plain(&case.message.id, NAME_CHARS));
    let n_bytes = case.message.body.len();
    let mut text = format!(
        "case {case_name}: message {id}, {n_bytes} bytes, pipeline `{}`\n",
        pipeline.name
    );
    let seen = replayed.notes.seen.as_deref();
    let mut stage = |stage: Stage, who: String, what: Option<String>| {
        let Some(took) = replayed.notes.timings.of(stage) else {
            return;
        };
        let took = took.as_secs_f64() * 1e3;
        writeln!(text, "\n{stage}: {who}, {took:.3} ms").unwrap_or_default();
        text += &what.unwrap_or_default();
    };
    let told = |plugin: &Arc<Plugin>| format!("{}@{}", plugin.identity().name, plugin.identity().version());
    let (preparing, concluding) = (
        stages.plugins.preparing().map(told),
        stages.plugins.concluding().map(told),
    );
    let mut made = String::new();
    for (plugin, message) in stages
        .plugins
        .before
        .iter()
        .zip(seen.iter().flat_map(|seen| &seen.messages))
    {
        writeln!(made, "{} made a message", plugin.identity().name).unwrap_or_default();
        made += &body(&message.body, message.content_type.as_deref(), &message.headers);
    }
    made += &seen
        .and_then(|seen| seen.tensor.as_ref())
        .map(tensor)
        .unwrap_or_default();
    stage(Stage::Preprocess, preparing.collect::<Vec<_>>().join(", "), Some(made));
    let model = format!(
        "{}@{} on {}",
        stages.model.name(),
        stages.model.digest().get(..12).unwrap_or_default(),
        stages.model.device()
    );
    let best = seen.and_then(|seen| seen.prediction.as_ref());
    stage(
        Stage::Infer,
        model,
        best.map(|prediction| labels(&prediction.top(LABELS_MAX))),
    );
    let sent = seen.and_then(|seen| seen.results.as_deref()).map(results);
    stage(Stage::Route, concluding.collect::<Vec<_>>().join(", "), sent);
    writeln!(text, "\noutcome   {}", outcome(replayed)).unwrap_or_default();
    if let Some(record) = &case.record {
        let recorded = plain(&recorded(record), TEXT_CHARS);
        let is_same = is_as_recorded(record, replayed);
        let verdict = if is_same {
            "the same as recorded"
        } else {
            "differs from the record"
        };
        writeln!(text, "recorded  {recorded}\n          {verdict}").unwrap_or_default();
        let expected = expected(case);
        let verdict = match is_as_expected(expected, replayed) {
            true => "so it is",
            false => "it is not so",
        };
        writeln!(text, "expected  {}\n          {verdict}", expected.told()).unwrap_or_default();
    }
    text
}

/// The expected outcome of a message. A case for one plugin says nothing about a pipeline; a saved dead letter is about
/// all of it.
fn expected(case: &Case) -> ExpectedOutcome {
    match (&case.record, &case.expected) {
        (Some(_), Some(expected)) => expected.outcome,
        (Some(record), None) => ExpectedOutcome::against(&record.class),
        (None, _) => ExpectedOutcome::Processed,
    }
}

fn is_as_expected(expected: ExpectedOutcome, replayed: &Replayed) -> bool {
    let outcome = match &replayed.made {
        Ok(_) => Outcome::Ok,
        Err(Disposition::Ack) => Outcome::Skip,
        Err(Disposition::Retry(_)) => Outcome::Retry,
        Err(Disposition::Reject(reason)) => match reason.class {
            ReasonClass::Refused => Outcome::Reject,
            ReasonClass::AttemptsSpent => Outcome::Retry,
            class => Outcome::Fault(class),
        },
        Err(Disposition::Return | Disposition::Quarantine { .. }) => return false,
    };
    expected.allows(outcome)
}

fn outcome(replayed: &Replayed) -> String {
    let told = |how: &str, reason: &Reason| {
        let text = plain(&reason.to_string(), TEXT_CHARS);
        format!("{how}: {} in {}: {text}", reason.class, reason.stage)
    };
    match &replayed.made {
        Ok(pending_outputs) => super::output::count(pending_outputs.len(), "result"),
        Err(Disposition::Ack) => "a plugin skips it".to_owned(),
        Err(Disposition::Reject(reason)) => told("a dead letter", reason),
        Err(Disposition::Retry(reason)) => told("another attempt", reason),
        Err(Disposition::Return | Disposition::Quarantine { .. }) => "it would go back to its source".to_owned(),
    }
}

fn recorded(record: &Record) -> String {
    let stage = record
        .stage
        .map_or_else(|| "an unknown stage".to_owned(), |stage| stage.to_string());
    format!("a dead letter: {} in {stage}: {}", record.class, record.text)
}

/// Whether the same comes of it as then: the same class in the same stage.
fn is_as_recorded(record: &Record, replayed: &Replayed) -> bool {
    match &replayed.made {
        Err(Disposition::Reject(reason)) => Some(reason.stage) == record.stage && reason.class.as_str() == record.class,
        _ => false,
    }
}

fn parse_override(text: &str) -> Result<(Name, PathBuf), String> {
    let parsed = text
        .split_once('=')
        .and_then(|(name, path)| Some((Name::new(name)?, PathBuf::from(path))));
    parsed
        .filter(|(_, path)| !path.as_os_str().is_empty())
        .ok_or_else(|| "such as crop=target/crop.wasm".to_owned())
}
