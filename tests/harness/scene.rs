//! A pipeline of the shipped model and plugins between queues of its own, as one `plugins.toml`. What a test changes
//! is a field.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::amqp::Client;
use crate::broker::Broker;
use crate::host::Mill;
use crate::oracle::Oracle;
use crate::samples::{guest, model};
use crate::unique;

/// What `plugins.toml` says. The pipeline is `images`, its destination `results`.
#[derive(Debug, Clone)]
pub struct Scene {
    /// The broker's address.
    pub url: String,
    /// The source queue.
    pub input: String,
    /// The queue of the destination `results`.
    pub results: String,
    /// The queue of dead letters.
    pub dead: String,
    /// Messages in flight.
    pub prefetch: u16,
    /// More of the source's table, such as `type = "classic"`.
    pub source: Vec<&'static str>,
    /// The preprocessor.
    pub preprocess: Plugin,
    /// The router.
    pub route: Plugin,
    /// More lines of the pipeline's table.
    pub pipeline: &'static str,
    /// More tables, such as other destinations.
    pub tables: String,
}

/// A plugin's table.
#[derive(Debug, Clone)]
pub struct Plugin {
    /// The file; the plugin is named after it.
    pub path: PathBuf,
    /// More lines of its table.
    pub lines: String,
}

/// The guests that tests use by default are components.
const TARGET: &str = "wasm32-wasip2";

impl Scene {
    /// The shipped plugins between queues that no other test has.
    ///
    /// # Errors
    /// When the guests are not built.
    pub fn new(broker: &Broker) -> Result<Self> {
        Self::at(broker.url())
    }

    /// As [`Scene::new`], with the broker's address.
    ///
    /// # Errors
    /// As [`Scene::new`].
    pub fn at(url: String) -> Result<Self> {
        let name = unique("images");
        Ok(Self {
            url,
            results: format!("{name}.results"),
            dead: format!("{name}.dead"),
            input: name,
            prefetch: 64,
            source: Vec::new(),
            preprocess: Plugin::shipped("decode-image")?,
            route: Plugin::shipped("by-label")?,
            pipeline: "",
            tables: String::new(),
        })
    }

    /// A folder with this scene as its `plugins.toml`.
    ///
    /// # Errors
    /// When there is no place for temporary files.
    pub fn mill(&self) -> Result<Mill> {
        Mill::new(&self.text())
    }

    /// As [`Scene::mill`], with its text changed before.
    ///
    /// # Errors
    /// As [`Scene::mill`].
    pub fn mill_with(&self, change: impl FnOnce(String) -> String) -> Result<Mill> {
        Mill::new(&change(self.text()))
    }

    /// The same with a queue of results that others declare: the host does not declare it again when it is gone.
    ///
    /// # Errors
    /// As [`Scene::mill`].
    pub fn mill_with_foreign_results(&self) -> Result<Mill> {
        let line = format!("routing_key = \"{}\"", self.results);
        self.mill_with(|text| text.replacen(&line, &format!("{line}\ntype = \"passive\""), 1))
    }

    /// The file.
    pub fn text(&self) -> String {
        let Self {
            url,
            input,
            results,
            dead,
            prefetch,
            preprocess,
            route,
            pipeline,
            tables,
            ..
        } = self;
        let source: String = self.source.iter().map(|more| format!(", {more}")).collect();
        format!(
            r#"
[broker]
amqp = "{url}"

{head}
[pipeline.images]
source = {{ queue = "{input}", prefetch = {prefetch}{source} }}
preprocess = "{preprocess}"
model = "shapes"
route = "{route}"
dead_letter = "{dead}"
{pipeline}

[pipeline.images.destination.results]
exchange = ""
routing_key = "{results}"

{tables}
"#,
            head = head(&[preprocess, route]),
            preprocess = preprocess.name(),
            route = route.name(),
        )
    }

    /// The quarantine queue.
    pub fn quarantine_queue(&self) -> String {
        format!("{}.quarantine", self.input)
    }

    /// The quarantine queue of older hosts.
    pub fn former_quarantine_queue(&self) -> String {
        format!("{}.suspect", self.input)
    }

    /// What is in the scene's queues when the host has stopped, by correlation id: fills the judge's last sets.
    ///
    /// # Errors
    /// When the broker is gone.
    pub async fn gather(&self, client: &Client, oracle: &mut Oracle) -> Result<()> {
        for arrival in client.drain(&self.results).await? {
            oracle.result(&arrival.correlation_id);
        }
        for arrival in client.drain(&self.dead).await? {
            oracle.dead_letter(&arrival.correlation_id);
        }
        for queue in [&self.input, &self.quarantine_queue()] {
            for arrival in client.drain(queue).await? {
                oracle.still_waits(&arrival.id);
            }
        }
        Ok(())
    }
}

impl Plugin {
    /// A guest of ours.
    ///
    /// # Errors
    /// When it is not built.
    pub fn shipped(name: &str) -> Result<Self> {
        Ok(Self {
            path: guest(TARGET, name)?,
            lines: String::new(),
        })
    }

    /// A guest of ours with settings, as a TOML table's inside.
    ///
    /// # Errors
    /// When it is not built.
    pub fn with_settings(name: &str, settings: &str) -> Result<Self> {
        Ok(Self {
            lines: format!("settings = {{ {settings} }}"),
            ..Self::shipped(name)?
        })
    }

    /// Its name.
    pub fn name(&self) -> String {
        self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// The tables of the shipped model, on the CPU backend, and of some plugins.
pub fn head(plugins: &[&Plugin]) -> String {
    let mut text = format!("[model.shapes]\npath = {}\ndevice = \"cpu\"\n", quoted(&model()));
    for plugin in plugins {
        text += &format!(
            "\n[plugin.{}]\npath = {}\n{}\n",
            plugin.name(),
            quoted(&plugin.path),
            plugin.lines
        );
    }
    text
}

fn quoted(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}
