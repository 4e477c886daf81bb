//! The host is changed while messages flow: what is good comes in, what is bad stays out or is undone, and no message is
//! lost, doubled or turned into a dead letter over it.

mod emergency;
mod files;
mod parts;
mod refused;
mod restart;
mod trial;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use millrace_tests::PATIENCE;
use millrace_tests::amqp::Arrival;
use millrace_tests::broker::Broker;
use millrace_tests::flow::{Flow, Outcome};
use millrace_tests::host::{Host, Mill, field, said};
use millrace_tests::samples::guest;
use millrace_tests::scene::{Plugin, Scene};
use millrace_tests::versions::{digest, hostile, version};
use serde_json::Value;

/// What the log says where a reload found nothing to change.
const UNCHANGED: &str = "nothing changed";
/// What it says of a version that was no worse.
const PASSED: &str = "trial passed: the new version stays";
/// How what it says of one that was refused begins.
const REFUSED: &str = "change refused, nothing changed";
/// What it says of a version that was worse.
const UNDONE: &str = "the new version is worse than the version before: undone";

/// A host with a preprocessor, `crop`, whose file lies beside `plugins.toml`, and messages that flow through it.
struct Rig {
    mill: Mill,
    host: Host,
    flow: Flow,
}

/// The shipped preprocessor.
fn decode_image() -> Result<Vec<u8>> {
    read("decode-image")
}

/// The hostile preprocessor with settings of its own.
fn hostile_with(settings: &str) -> Result<Vec<u8>> {
    hostile(&read("hostile")?, settings)
}

fn read(name: &str) -> Result<Vec<u8>> {
    Ok(std::fs::read(guest("wasm32-wasip2", name)?)?)
}

/// A scene whose preprocessor is `crop`, from a path in the mill's folder.
fn scene(path: &str) -> Result<Scene> {
    Ok(Scene {
        preprocess: Plugin {
            path: PathBuf::from(path),
            lines: String::new(),
        },
        ..Scene::new(Broker::shared()?)?
    })
}

impl Rig {
    /// Starts the scene after `prepare` has put its files in place, and lets messages flow.
    fn start(scene: &Scene, prepare: impl FnOnce(&Mill) -> Result<()>) -> Result<Self> {
        let mill = scene.mill()?;
        prepare(&mill)?;
        let host = mill.start_ready()?;
        let flow = Flow::start(scene)?;
        flow.wait_more(1).with_context(|| host.log())?;
        Ok(Self { mill, host, flow })
    }

    /// The first version of `crop`, in a file of that name.
    fn plain(change: impl FnOnce(Scene) -> Scene) -> Result<Self> {
        let scene = change(scene("crop.wasm")?);
        let first = version(&decode_image()?, 1);
        Self::start(&scene, |mill| Ok(std::fs::write(mill.path("crop.wasm"), first)?))
    }

    /// Waits for a result of this version of `crop`, and gives the generation that it says.
    fn wait_version(&self, what: &str, wasm: &[u8]) -> Result<u64> {
        self.wait_version_since(what, wasm, 0)
    }

    /// As [`Rig::wait_version`], with what generation it must at least be of.
    fn wait_version_since(&self, what: &str, wasm: &[u8], since: u64) -> Result<u64> {
        let expected = format!("crop@{}", digest(wasm));
        let generation = |arrival: &Arrival| arrival.header("x-millrace-generation").parse::<u64>();
        let result = self
            .flow
            .wait_result(&format!("a result of {expected}: {what}"), |arrival| {
                let is_recent = generation(arrival).is_ok_and(|generation| generation >= since);
                arrival.header("x-millrace-preprocess") == expected && is_recent
            });
        Ok(generation(&result.with_context(|| self.host.log())?)?)
    }

    /// Waits for the `n`th refusal, and demands what it says.
    fn wait_refusal(&mut self, n: usize, what: &str, expected: &[&str]) -> Result<()> {
        let text = |line: &Value| {
            let said = said(line).filter(|said| said.starts_with(REFUSED));
            said.map(|said| format!("{said}\nstep: {}", field(line, "step").unwrap_or_default()))
        };
        let is_there = |host: &Host| host.lines().iter().filter_map(text).nth(n - 1);
        let waited = millrace_tests::wait_for(&format!("refusal {n}: {what}"), || is_there(&self.host));
        let told = waited.with_context(|| self.host.log())?;
        for part in expected {
            ensure!(told.contains(part), "{what}: no {part:?} in\n{told}");
        }
        Ok(())
    }

    /// Demands that results go on to come from this version and generation.
    fn still_serves(&self, what: &str, wasm: &[u8], generation: u64) -> Result<()> {
        let expected = (format!("crop@{}", digest(wasm)), generation.to_string());
        let from = self.flow.n_results();
        self.flow.wait_more(10).with_context(|| self.host.log())?;
        let other = self.flow.results_from(from).into_iter().find(|arrival| {
            let found = (
                arrival.header("x-millrace-preprocess"),
                arrival.header("x-millrace-generation"),
            );
            found != (expected.0.as_str(), expected.1.as_str())
        });
        match other {
            Some(other) => anyhow::bail!("{what}: a result with {:?}\n{}", other.headers, self.host.log()),
            None => Ok(()),
        }
    }

    /// Waits until a version was undone, and gives what the log says of it.
    fn wait_undone(&mut self) -> Result<String> {
        let line = self.host.wait_line(PATIENCE, UNDONE)?;
        Ok(line.to_string())
    }

    /// Writes `plugins.toml` anew.
    fn edit(&self, change: impl FnOnce(String) -> String) -> Result<()> {
        let path = self.mill.path("plugins.toml");
        let text = std::fs::read_to_string(&path)?;
        let changed = change(text.clone());
        ensure!(changed != text, "nothing was edited");
        Ok(std::fs::write(path, changed)?)
    }

    /// Lets what flows come to its end: every message has one result, and none is a dead letter.
    fn finish(self) -> Result<Outcome> {
        let outcome = self.flow.finish(self.host)?;
        outcome.all_results()?;
        Ok(outcome)
    }
}
