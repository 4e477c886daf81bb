//! From what the user wrote to what the host runs on: values, names, files. Knows no TOML.
//!
//! After a mistake a value stands in (usually the default), so that everything else is still looked at; nothing
//! that was built this way leaves the room.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use millrace_models::{DeviceChoice, Placement};
use toml::Spanned;

use super::check_values::Expect;
use super::limits::{
    DEADLINE, DEVICE, DRAIN, GPU_AT_BEFORE, HOST_MEMORY, INSTANCES, ISOLATION, Limits, MAX_BATCH, MAX_DEVICES,
    MAX_WAIT, MEMORY, PRECISION, THREADS, WATCH, WORKERS,
};
use super::links::{Endpoint, EndpointRole, EndpointUse, Links, UseKind};
use super::mistakes::{Mistake, Span, did_you_mean};
use super::raw::{RawConfig, RawHost, RawModel, RawPlugin};
use super::raw_device::RawDevice;
use super::table::{Key, Report};
use super::units;
use super::values::{Bytes, Text};
use super::{HostConfig, ModelConfig, Name, PipelineConfig, PluginConfig, Sound};
use crate::transport::kind::Transport;
use crate::transport::{ConnectionConfig, ConnectionName};

/// What a call may take where nobody says otherwise: CPU time, and bytes of memory.
pub fn default_limits() -> (Duration, usize) {
    (
        DEADLINE.default,
        usize::try_from(MEMORY.default.0).unwrap_or(usize::MAX),
    )
}

/// A plugin's limits as the file has them, `deadline` and `memory`.
pub fn limits_shown((deadline, memory_bytes): (Duration, usize)) -> (String, String) {
    let bytes = u64::try_from(memory_bytes).unwrap_or(u64::MAX);
    (units::show_duration(deadline), units::show_size(bytes))
}

/// Reads them; the default of what is not said.
///
/// # Errors
/// What is wrong with one of them.
pub fn limits_read(deadline: Option<&str>, memory: Option<&str>) -> Result<(Duration, usize), String> {
    fn within<T: Copy + PartialOrd>(value: T, limits: &Limits<T>, text: &str) -> Result<T, String> {
        let is_within = (limits.min..=limits.max).contains(&value);
        is_within
            .then_some(value)
            .ok_or_else(|| format!("`{}` cannot be {text:?}", limits.key))
    }
    let (default_deadline, default_bytes) = default_limits();
    let deadline = deadline.map(|text| {
        let read = units::duration(text).map_err(|error| format!("`deadline`: {}", error.message))?;
        within(read, &DEADLINE, text)
    });
    let memory = memory.map(|text| {
        let read = units::size_bytes(text).map_err(|error| format!("`memory`: {}", error.message))?;
        within(Bytes(read), &MEMORY, text)
    });
    Ok((
        deadline.transpose()?.unwrap_or(default_deadline),
        match memory.transpose()? {
            Some(Bytes(bytes)) => usize::try_from(bytes).unwrap_or(usize::MAX),
            None => default_bytes,
        },
    ))
}

/// Hexadecimal digits of a SHA-256.
const SHA256_DIGITS: usize = 64;

/// The checks of one file, and what they found out for the checks across pipelines.
pub(crate) struct Checker<'r, 'a> {
    pub(crate) report: &'r mut Report<'a>,
    /// The folder of the file: relative paths begin here.
    pub(crate) base: &'r Path,
    pub(crate) links: Links,
    /// The connections of the file, by name, and the kind of each; none for `[broker]`.
    pub(crate) kinds: BTreeMap<Option<Name>, &'static str>,
}

/// What was checked.
pub(crate) struct Checked {
    pub(crate) host: HostConfig,
    pub(crate) pipelines: BTreeMap<Name, PipelineConfig>,
    pub(crate) sound: Sound,
}

impl Checker<'_, '_> {
    /// Checks the whole file.
    pub(super) fn config(&mut self, raw: &RawConfig<'_>) -> Checked {
        let connections = self.connections(raw);
        let host = self.host(&raw.host);
        let models = raw
            .models
            .iter()
            .filter_map(|raw| self.sound(raw.is_mistaken, |this| this.model(raw)));
        let models = models.map(|model| (model.name.clone(), model)).collect();
        let plugins = raw
            .plugins
            .iter()
            .filter_map(|raw| self.sound(raw.is_mistaken, |this| this.plugin(raw)));
        let plugins = plugins.map(|plugin| (plugin.name.clone(), plugin)).collect();
        let pipelines = raw.pipelines.iter().filter_map(|pipeline| self.pipeline(pipeline, raw));
        let pipelines = pipelines.map(|pipeline| (pipeline.name.clone(), pipeline)).collect();
        if !raw.has_pipelines && !self.report.meant.contains(&(0, "pipeline")) {
            let mistake = Mistake::at(None, "there is no pipeline").hint("add a `[pipeline.NAME]`");
            self.report.mistake(mistake);
        }
        if raw.broker.is_none()
            && !self.report.meant.contains(&(0, "broker"))
            && let Some(span) = self.links.needs_broker.first()
        {
            let mistake = Mistake::at(span.clone(), "this needs a broker, and the file has no `[broker]`")
                .hint("add `[broker]` with `amqp = \"${AMQP_URL}\"`");
            self.report.mistake(mistake);
        }
        self.links.check(raw, self.report);
        let preprocessors = self.links.used_as(UseKind::Preprocess);
        let transformers = self.links.used_as(UseKind::Transform);
        let routers = self.links.used_as(UseKind::Route);
        let sound = Sound {
            models,
            plugins,
            preprocessors,
            transformers,
            routers,
            connections,
        };
        Checked { host, pipelines, sound }
    }

    /// What a check gives, where it found nothing wrong and nothing was wrong before.
    fn sound<T>(&mut self, is_mistaken: bool, check: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let n_before = self.report.mistakes.len();
        check(self).filter(|_| !is_mistaken && self.report.mistakes.len() == n_before)
    }

    /// `[broker]`, and every `[connection.NAME]`.
    fn connections(&mut self, raw: &RawConfig<'_>) -> BTreeMap<ConnectionName, Arc<dyn ConnectionConfig>> {
        let mut connections = BTreeMap::new();
        if let Some(broker) = &raw.broker {
            self.kinds.insert(None, broker.kind.key);
            connections.insert(ConnectionName::default(), broker.read.check(self, &broker.span));
        }
        for connection in &raw.connections {
            let name = self.name(connection.name, &connection.span, "connection");
            let config = connection.read.check(self, &connection.span);
            if let Some(name) = name {
                self.kinds.insert(Some(name.clone()), connection.kind.key);
                connections.insert(ConnectionName(Some(name)), config);
            }
        }
        connections
    }

    /// The connection that a source or a destination of a transport names, or needs.
    pub(crate) fn connection(
        &mut self,
        key: &Key<Text>,
        transport: &'static Transport,
        needed_by: Span,
    ) -> Option<ConnectionName> {
        let is_own = |kind: &str| transport.connections.iter().any(|own| own.key == kind);
        let Some(given) = key.given() else {
            if !key.is_absent() {
                return None;
            }
            match self.kinds.get(&None) {
                Some(kind) if !is_own(kind) => {
                    let message = format!(
                        "this needs a connection by {}, and `[broker]` is one by {kind}",
                        transport.name
                    );
                    let hint = "name one by `connection`";
                    self.report.mistake(Mistake::at(needed_by, message).hint(hint));
                    return None;
                }
                _ => self.links.needs_broker.push(needed_by),
            }
            return Some(ConnectionName::default());
        };
        let text = given.get_ref();
        self.links.connections.insert(text.value.clone());
        let name = Name::new(&text.value);
        match self.kinds.get(&name).filter(|_| name.is_some()) {
            Some(kind) if is_own(kind) => return Some(ConnectionName(name)),
            Some(kind) => {
                let message = format!(
                    "the connection {} is by {kind}, and this needs one by {}",
                    text.quoted(),
                    transport.name
                );
                self.report.mistake(Mistake::at(given.span(), message));
            }
            None => {
                let known: Vec<&str> = self.kinds.keys().flatten().map(Name::as_str).collect();
                let message = format!("there is no connection {}", text.quoted());
                self.report
                    .mistake(match did_you_mean(&text.value, known.iter().copied()) {
                        Some(meant) => Mistake::at(given.span(), format!("{message}, did you mean `{meant}`?")),
                        None => Mistake::at(given.span(), message)
                            .hint("add `[connection.NAME]`, or leave out `connection` for `[broker]`"),
                    });
            }
        }
        None
    }

    /// Adds what is wrong.
    pub(crate) fn mistake(&mut self, mistake: Mistake) {
        self.report.mistake(mistake);
    }

    /// Adds what a person should know.
    pub(crate) fn warning(&mut self, warning: Mistake) {
        self.report.warning(warning);
    }

    /// Notes what a pipeline takes from or sends to, so that others who do can be found.
    pub(crate) fn link(&mut self, pipeline: &str, role: EndpointRole, endpoint: Endpoint, span: Span) {
        let pipeline = pipeline.to_owned();
        self.links.endpoints.push(EndpointUse {
            pipeline,
            role,
            endpoint,
            span,
        });
    }

    fn host(&mut self, raw: &RawHost) -> HostConfig {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let cores = i128::try_from(cores).unwrap_or(1).min(WORKERS.max);
        let workers = self.within(
            &raw.workers,
            &Limits {
                default: cores,
                ..WORKERS
            },
        );
        HostConfig {
            workers: usize::try_from(workers).unwrap_or(1),
            drain: self.within(&raw.drain, &DRAIN),
            admin: self.admin(raw),
            memory_bytes: raw.memory.given().map(|_| self.within(&raw.memory, &HOST_MEMORY).0),
            control: self.control(raw),
            watch: raw.watch.given().map_or(WATCH, |watch| *watch.get_ref()),
        }
    }

    fn model(&mut self, raw: &RawModel<'_>) -> Option<ModelConfig> {
        let name = self.name(raw.name, &raw.span, "model");
        self.required(
            &raw.path,
            "path",
            &raw.span,
            "`path = \"models/..\"`, a folder with a `model.toml`, or an `.onnx` file",
        );
        let path = raw.path.given().and_then(|path| {
            let is_network = path.get_ref().value.ends_with(".onnx");
            self.path(path, if is_network { Expect::File } else { Expect::Folder })
        });
        let devices = self.devices(raw);
        let threads = raw.threads.given().map(|_| self.within(&raw.threads, &THREADS));
        let instances = self.within(&raw.instances, &INSTANCES);
        let precision = self.choice(&raw.precision, "precision", PRECISION.words);
        let max_batch = raw.max_batch.given().map(|_| self.within(&raw.max_batch, &MAX_BATCH));
        Some(ModelConfig {
            name: name?,
            path: path?,
            placement: Placement {
                devices,
                instances: usize::try_from(instances).unwrap_or(1),
                threads: threads.and_then(|threads| usize::try_from(threads).ok()),
                precision: precision.unwrap_or(PRECISION.default),
            },
            max_batch: max_batch.and_then(|batch| usize::try_from(batch).ok()),
            max_wait: self.within(&raw.max_wait, &MAX_WAIT),
        })
    }

    /// Those of `devices`, or the one of `device`.
    fn devices(&mut self, raw: &RawModel<'_>) -> Vec<DeviceChoice> {
        let one = raw.device.given().map(|device| self.device(device));
        let Some(several) = raw.devices.given() else {
            return vec![one.unwrap_or(DEVICE.default)];
        };
        if let Some(device) = raw.device.given() {
            let message = "`device` and `devices` say the same twice";
            let mistake = Mistake::at(device.span(), message).hint("leave one of them out");
            self.report.mistake(mistake);
        }
        let devices = &several.get_ref().0;
        if !(1..=MAX_DEVICES).contains(&devices.len()) {
            let message = format!("`devices` must name from 1 to {MAX_DEVICES}, found {}", devices.len());
            self.report.mistake(Mistake::at(several.span(), message));
            return vec![DEVICE.default];
        }
        devices.iter().map(|device| self.device(device)).collect()
    }

    fn device(&mut self, raw: &Spanned<RawDevice>) -> DeviceChoice {
        const FORMS: &str =
            "write \"auto\", \"gpu\", \"gpu:1\", \"cpu\" or { adapter = \"..\" }; `millrace devices` lists adapters";
        match raw.get_ref() {
            RawDevice::Named(text) => {
                let mut words = DEVICE.words.iter();
                if let Some((_, device)) = words.find(|(word, _)| *word == text.value) {
                    return device.clone();
                }
                let place = text
                    .value
                    .strip_prefix(GPU_AT_BEFORE)
                    .and_then(|place| place.parse::<u8>().ok());
                if let Some(place) = place.filter(|place| *place < 100) {
                    return DeviceChoice::GpuAt(place.into());
                }
                let message = format!("{} is no device", text.quoted());
                self.report.mistake(Mistake::at(raw.span(), message).hint(FORMS));
            }
            RawDevice::Adapter { adapter, span } => {
                self.required(
                    adapter,
                    "adapter",
                    span,
                    "a part of the adapter's name; `millrace devices` lists them",
                );
                if let Some(adapter) = adapter.given() {
                    if !adapter.get_ref().value.trim().is_empty() {
                        return DeviceChoice::Adapter(adapter.get_ref().value.clone());
                    }
                    self.report
                        .mistake(Mistake::at(adapter.span(), "the adapter has no name").hint(FORMS));
                }
            }
        }
        DEVICE.default
    }

    fn plugin(&mut self, raw: &RawPlugin<'_>) -> Option<PluginConfig> {
        let name = self.name(raw.name, &raw.span, "plugin");
        self.required(&raw.path, "path", &raw.span, "`path = \"plugins/..wasm\"`");
        let path = raw.path.given().and_then(|path| self.path(path, Expect::File));
        let isolation = self.choice(&raw.isolation, "isolation", ISOLATION.words);
        let memory = self.within(&raw.memory, &MEMORY);
        let sha256 = raw.sha256.given().and_then(|digest| self.sha256(digest));
        let deadline = self.within(&raw.deadline, &DEADLINE);
        Some(PluginConfig {
            name: name?,
            path: path?,
            sha256,
            deadline,
            memory_bytes: usize::try_from(memory.0).unwrap_or(usize::MAX),
            isolation: isolation.unwrap_or(ISOLATION.default),
            settings: raw
                .settings
                .given()
                .map_or_else(|| "{}".to_owned(), |settings| settings.get_ref().0.clone()),
        })
    }

    fn sha256(&mut self, digest: &Spanned<Text>) -> Option<String> {
        let text = &digest.get_ref().value;
        if text.len() == SHA256_DIGITS && text.chars().all(|c| c.is_ascii_hexdigit()) {
            return Some(text.to_ascii_lowercase());
        }
        let n_chars = text.chars().count();
        let message = match text.chars().all(|c| c.is_ascii_hexdigit()) {
            true => format!("a SHA-256 has {SHA256_DIGITS} hexadecimal digits, found {n_chars}"),
            false => format!("a SHA-256 has {SHA256_DIGITS} hexadecimal digits and nothing else"),
        };
        self.report
            .mistake(Mistake::at(digest.span(), message).hint("`sha256sum FILE` prints it"));
        None
    }
}
