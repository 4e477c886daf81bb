//! From what the user wrote to what the host runs on: values, names, files. Knows no TOML.
//!
//! After a mistake a value stands in (usually the default), so that everything else is still looked at; nothing
//! that was built this way leaves the room.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use millrace_model_types::{DeviceChoice, Placement};
use toml::Spanned;
use toml::de::DeTable;

use super::check_values::Expect;
use super::diagnostics::{Diagnostic, Span, did_you_mean};
use super::endpoint::{ConnectionConfig, ConnectionName};
use super::host::HOST;
use super::kind::Transport;
use super::limits::{
    DEADLINE, DEVICE, GPU_AT_BEFORE, INSTANCES, ISOLATION, Limits, MAX_BATCH, MAX_DEVICES, MAX_WAIT, MEMORY, PRECISION,
    THREADS,
};
use super::links::{EndpointRole, EndpointUse, LinkedEndpoint, Links, UseKind};
use super::raw::{RawConfig, RawModel, RawPlugin};
use super::raw_device::RawDevice;
use super::table::{Key, Report, Table};
use super::units;
use super::values::{Bytes, Text};
use super::{HostConfig, ModelConfig, Name, PipelineConfig, PluginConfig, ValidParts};

/// The default limits of a call: CPU time, and bytes of memory.
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
/// The problem of one of them.
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
pub struct Checker<'r, 'a> {
    pub report: &'r mut Report<'a>,
    /// The folder of the file: relative paths begin here.
    pub(crate) base: &'r Path,
    pub(crate) links: Links,
    /// The connections of the file, by name, and the kind of each; none for `[broker]`.
    pub(crate) kinds: BTreeMap<Option<Name>, &'static str>,
}

/// The checked parts.
pub(super) struct Checked {
    pub(super) host: HostConfig,
    pub(super) pipelines: BTreeMap<Name, PipelineConfig>,
    pub(super) valid_parts: ValidParts,
}

impl Checker<'_, '_> {
    /// Checks the whole file.
    pub(super) fn config(&mut self, raw: &RawConfig<'_>) -> Checked {
        let connections = self.connections(raw);
        let none = DeTable::new();
        let host = raw.host.clone();
        let host = HostConfig::read(
            host.unwrap_or_else(|| Table::new(&none, &HOST, String::new(), 0..0)),
            self,
        );
        let models = raw
            .models
            .iter()
            .filter_map(|raw| self.if_valid(raw.is_invalid, |this| this.model(raw)));
        let models = models.map(|model| (model.name.clone(), model)).collect();
        let plugins = raw
            .plugins
            .iter()
            .filter_map(|raw| self.if_valid(raw.is_invalid, |this| this.plugin(raw)));
        let plugins = plugins.map(|plugin| (plugin.name.clone(), plugin)).collect();
        let pipelines = raw.pipelines.iter().filter_map(|pipeline| self.pipeline(pipeline, raw));
        let pipelines = pipelines.map(|pipeline| (pipeline.name.clone(), pipeline)).collect();
        if !raw.has_pipelines && !self.report.meant.contains(&(0, "pipeline")) {
            let diagnostic = Diagnostic::at(None, "the file has no pipeline").hint("add a `[pipeline.NAME]`");
            self.report.diagnostic(diagnostic);
        }
        if raw.broker.is_none()
            && !self.report.meant.contains(&(0, "broker"))
            && let Some(span) = self.links.needs_broker.first()
        {
            let diagnostic = Diagnostic::at(span.clone(), "this needs a broker, and the file has no `[broker]`")
                .hint("add `[broker]` with `amqp = \"${AMQP_URL}\"`");
            self.report.diagnostic(diagnostic);
        }
        self.links.check(raw, self.report);
        let preprocessors = self.links.used_as(UseKind::Preprocess);
        let transformers = self.links.used_as(UseKind::Transform);
        let routers = self.links.used_as(UseKind::Route);
        let valid_parts = ValidParts {
            models,
            plugins,
            preprocessors,
            transformers,
            routers,
            connections,
        };
        Checked {
            host,
            pipelines,
            valid_parts,
        }
    }

    /// The result of a check, where it found nothing wrong and nothing was wrong before.
    fn if_valid<T>(&mut self, is_invalid: bool, check: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let n_before = self.report.diagnostics.len();
        check(self).filter(|_| !is_invalid && self.report.diagnostics.len() == n_before)
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
    pub fn connection(
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
                        "this needs a connection of kind {}, and `[broker]` is of kind {kind}",
                        transport.name
                    );
                    let hint = "name another with `connection`";
                    self.report.diagnostic(Diagnostic::at(needed_by, message).hint(hint));
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
                    "the connection {} is of kind {kind}, and this needs one of kind {}",
                    text.quoted(),
                    transport.name
                );
                self.report.diagnostic(Diagnostic::at(given.span(), message));
            }
            None => {
                let known: Vec<&str> = self.kinds.keys().flatten().map(Name::as_str).collect();
                let message = format!("there is no connection {}", text.quoted());
                self.report
                    .diagnostic(match did_you_mean(&text.value, known.iter().copied()) {
                        Some(meant) => Diagnostic::at(given.span(), format!("{message}, did you mean `{meant}`?")),
                        None => Diagnostic::at(given.span(), message)
                            .hint("add `[connection.NAME]`, or leave out `connection` for `[broker]`"),
                    });
            }
        }
        None
    }

    /// Adds what is wrong.
    pub fn diagnostic(&mut self, diagnostic: Diagnostic) {
        self.report.diagnostic(diagnostic);
    }

    /// Adds what a person should know.
    pub fn warning(&mut self, warning: Diagnostic) {
        self.report.warning(warning);
    }

    /// Notes what a pipeline takes from or sends to, so that others who do can be found.
    pub fn link(&mut self, pipeline: &str, role: EndpointRole, endpoint: LinkedEndpoint, span: Span) {
        let pipeline = pipeline.to_owned();
        self.links.endpoints.push(EndpointUse {
            pipeline,
            role,
            endpoint,
            span,
        });
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

    /// The devices of `devices`, or the one of `device`.
    fn devices(&mut self, raw: &RawModel<'_>) -> Vec<DeviceChoice> {
        let one = raw.device.given().map(|device| self.device(device));
        let Some(several) = raw.devices.given() else {
            return vec![one.unwrap_or(DEVICE.default)];
        };
        if let Some(device) = raw.device.given() {
            let message = "`device` and `devices` exclude each other";
            let diagnostic = Diagnostic::at(device.span(), message).hint("leave one of them out");
            self.report.diagnostic(diagnostic);
        }
        let devices = &several.get_ref().0;
        if !(1..=MAX_DEVICES).contains(&devices.len()) {
            let message = format!("`devices` must name from 1 to {MAX_DEVICES}, found {}", devices.len());
            self.report.diagnostic(Diagnostic::at(several.span(), message));
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
                let message = format!("{} is not a device", text.quoted());
                self.report.diagnostic(Diagnostic::at(raw.span(), message).hint(FORMS));
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
                        .diagnostic(Diagnostic::at(adapter.span(), "the adapter has no name").hint(FORMS));
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
            .diagnostic(Diagnostic::at(digest.span(), message).hint("`sha256sum FILE` prints it"));
        None
    }
}
