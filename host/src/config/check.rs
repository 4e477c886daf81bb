//! From what the user wrote to what the host runs on: values, names, files. Knows no TOML.
//!
//! After a mistake a value stands in (usually the default), so that everything else is still looked at; nothing
//! that was built this way leaves the room.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use millrace_models::DeviceChoice;
use toml::Spanned;

use super::broker_url;
use super::check_values::{Expect, Limits};
use super::links::{Links, UseKind};
use super::mistakes::Mistake;
use super::raw::{RawBroker, RawConfig, RawDevice, RawHost, RawModel, RawPlugin};
use super::table::Report;
use super::values::{Bytes, Text};
use super::{BrokerConfig, HostConfig, Isolation, ModelConfig, Name, PipelineConfig, PluginConfig, Secret, Sound};

// A broker that confirms nothing for ten minutes is as good as gone, and its consumer timeout (30 minutes) is near.
const CONFIRM_TIMEOUT: Limits<Duration> = Limits {
    key: "confirm_timeout",
    min: Duration::from_millis(100),
    max: Duration::from_secs(600),
    default: Duration::from_secs(30),
};

// What RabbitMQ 4 takes by default (`max_message_size`), and what any RabbitMQ takes at most.
const BROKER_MAX_MESSAGE_DEFAULT: u64 = 16 << 20;
const BROKER_MAX_MESSAGE_MAX: u64 = 512 << 20;

// Service managers kill after 30 seconds or more; a drain must end before.
const DRAIN: Limits<Duration> = Limits {
    key: "drain",
    min: Duration::ZERO,
    max: Duration::from_secs(3_600),
    default: Duration::from_secs(25),
};

// Each worker may hold a plugin's whole memory; more threads than this are no machine that exists.
const WORKERS_MAX: i128 = 1_024;

// Less than this no host starts in; more is no machine that exists. Where the key is absent, the machine's is the limit.
const HOST_MEMORY: Limits<Bytes> = Limits {
    key: "memory",
    min: Bytes(64 << 20),
    max: Bytes(1 << 50),
    default: Bytes(1 << 50),
};

// A batch is padded and warmed up at its largest size before the first message.
const MAX_BATCH: Limits<i128> = Limits {
    key: "max_batch",
    min: 1,
    max: 4_096,
    default: 1,
};

// Two milliseconds are little beside a forward pass, and enough to fill a batch under load.
const MAX_WAIT: Limits<Duration> = Limits {
    key: "max_wait",
    min: Duration::ZERO,
    max: Duration::from_secs(10),
    default: Duration::from_millis(2),
};

// The clock of the sandbox ticks in milliseconds; a call of more than five minutes is no call.
const DEADLINE: Limits<Duration> = Limits {
    key: "deadline",
    min: Duration::from_millis(1),
    max: Duration::from_secs(300),
    default: Duration::from_secs(1),
};

// One page of WebAssembly, and all that 32 bits can address.
const MEMORY: Limits<Bytes> = Limits {
    key: "memory",
    min: Bytes(64 << 10),
    max: Bytes(4 << 30),
    default: Bytes(256 << 20),
};

/// Hexadecimal digits of a SHA-256.
const SHA256_DIGITS: usize = 64;

/// The checks of one file, and what they found out for the checks across pipelines.
pub(super) struct Checker<'r, 'a> {
    pub(super) report: &'r mut Report<'a>,
    /// The folder of the file: relative paths begin here.
    pub(super) base: &'r Path,
    pub(super) links: Links,
}

/// What was checked.
pub(super) struct Checked {
    pub(super) broker: Option<BrokerConfig>,
    pub(super) host: HostConfig,
    pub(super) pipelines: BTreeMap<Name, PipelineConfig>,
    pub(super) sound: Sound,
}

impl Checker<'_, '_> {
    /// Checks the whole file.
    pub(super) fn config(&mut self, raw: &RawConfig<'_>) -> Checked {
        let broker = raw.broker.as_ref().map(|raw| self.broker(raw));
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
            ca: broker.as_ref().and_then(|broker| broker.ca.clone()),
        };
        Checked {
            broker,
            host,
            pipelines,
            sound,
        }
    }

    /// What a check gives, where it found nothing wrong and nothing was wrong before.
    fn sound<T>(&mut self, is_mistaken: bool, check: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let n_before = self.report.mistakes.len();
        check(self).filter(|_| !is_mistaken && self.report.mistakes.len() == n_before)
    }

    fn broker(&mut self, raw: &RawBroker) -> BrokerConfig {
        self.required(&raw.amqp, "amqp", &raw.span, "`amqp = \"${AMQP_URL}\"`");
        if let Some(amqp) = raw.amqp.given()
            && let Err(error) = broker_url::check(&amqp.get_ref().value)
        {
            self.report
                .mistake(Mistake::at(amqp.span(), error.message).hint(error.hint));
        }
        let amqp = raw
            .amqp
            .given()
            .map(|amqp| amqp.get_ref().value.clone())
            .unwrap_or_default();
        BrokerConfig {
            ca: self.ca(raw, &amqp),
            max_message_bytes: self.size_bytes(
                &raw.max_message,
                "max_message",
                BROKER_MAX_MESSAGE_MAX,
                BROKER_MAX_MESSAGE_DEFAULT,
            ),
            amqp: Secret::new(amqp),
            confirm_timeout: self.within(&raw.confirm_timeout, &CONFIRM_TIMEOUT),
        }
    }

    fn ca(&mut self, raw: &RawBroker, amqp: &str) -> Option<PathBuf> {
        if !broker_url::is_tls(amqp) && !amqp.is_empty() {
            self.refuse(
                &raw.ca,
                "`ca` is for a broker that is reached by TLS",
                "write `amqps://` in `amqp`, or leave out `ca`",
            );
            return None;
        }
        self.path(raw.ca.given()?, Expect::File)
    }

    fn host(&mut self, raw: &RawHost) -> HostConfig {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let cores = i128::try_from(cores).unwrap_or(1).min(WORKERS_MAX);
        let workers = self.within(
            &raw.workers,
            &Limits {
                key: "workers",
                min: 1,
                max: WORKERS_MAX,
                default: cores,
            },
        );
        HostConfig {
            workers: usize::try_from(workers).unwrap_or(1),
            drain: self.within(&raw.drain, &DRAIN),
            admin: raw.admin.given().and_then(|admin| self.loopback(admin)),
            memory_bytes: raw.memory.given().map(|_| self.within(&raw.memory, &HOST_MEMORY).0),
            control: self.control(raw),
            watch: raw.watch.given().is_none_or(|watch| *watch.get_ref()),
        }
    }

    fn model(&mut self, raw: &RawModel<'_>) -> Option<ModelConfig> {
        let name = self.name(raw.name, &raw.span, "model");
        self.required(
            &raw.path,
            "path",
            &raw.span,
            "`path = \"models/..\"`, a folder with a `model.toml`",
        );
        let path = raw.path.given().and_then(|path| self.path(path, Expect::Folder));
        let device = match raw.device.given() {
            Some(device) => self.device(device),
            None => DeviceChoice::default(),
        };
        let max_batch = raw.max_batch.given().map(|_| self.within(&raw.max_batch, &MAX_BATCH));
        Some(ModelConfig {
            name: name?,
            path: path?,
            device,
            max_batch: max_batch.and_then(|batch| usize::try_from(batch).ok()),
            max_wait: self.within(&raw.max_wait, &MAX_WAIT),
        })
    }

    fn device(&mut self, raw: &Spanned<RawDevice>) -> DeviceChoice {
        const FORMS: &str =
            "write \"auto\", \"gpu\", \"cpu\" or { adapter = \"..\" }; `millrace devices` lists adapters";
        match raw.get_ref() {
            RawDevice::Named(text) => match text.value.as_str() {
                "auto" => return DeviceChoice::Auto,
                "gpu" => return DeviceChoice::Gpu,
                "cpu" => return DeviceChoice::Cpu,
                _ => {
                    let message = format!("{} is no device", text.quoted());
                    self.report.mistake(Mistake::at(raw.span(), message).hint(FORMS));
                }
            },
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
        DeviceChoice::default()
    }

    fn plugin(&mut self, raw: &RawPlugin<'_>) -> Option<PluginConfig> {
        let name = self.name(raw.name, &raw.span, "plugin");
        self.required(&raw.path, "path", &raw.span, "`path = \"plugins/..wasm\"`");
        let path = raw.path.given().and_then(|path| self.path(path, Expect::File));
        let isolation = self.choice(
            &raw.isolation,
            "isolation",
            &[("message", Isolation::Message), ("worker", Isolation::Worker)],
        );
        let memory = self.within(&raw.memory, &MEMORY);
        let sha256 = raw.sha256.given().and_then(|digest| self.sha256(digest));
        let deadline = self.within(&raw.deadline, &DEADLINE);
        Some(PluginConfig {
            name: name?,
            path: path?,
            sha256,
            deadline,
            memory_bytes: usize::try_from(memory.0).unwrap_or(usize::MAX),
            isolation: isolation.unwrap_or_default(),
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
