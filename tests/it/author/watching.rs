//! `plugin watch` beside a host that runs: what is saved serves, and what does not build changes nothing.

use std::fs::File;
use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use millrace_tests::control::Control;
use millrace_tests::host::Mill;
use millrace_tests::samples::pictures;
use millrace_tests::scene::Plugin;
use millrace_tests::{wait_at_most, wait_for};
use rustix::process::{Pid, Signal, kill_process};

use super::{build, mill, millrace, new};

/// Building the SDK and what it needs takes a minute, and longer on a machine that tests beside.
const BUILD_LIMIT: Duration = Duration::from_secs(900);

/// A watch that runs; dropping it ends it.
struct Watching {
    child: Child,
    log: PathBuf,
}

impl Watching {
    fn start(mill: &Mill, arguments: &[&str]) -> Result<Self> {
        let log = mill.path("watch.log");
        let file = File::create(&log)?;
        let mut command = millrace(mill, arguments)?;
        command.stdout(file.try_clone()?).stderr(file);
        Ok(Self {
            child: command.spawn()?,
            log,
        })
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until it said something so often.
    fn wait(&self, what: &str, times: usize) -> Result<()> {
        let waited = wait_for(&format!("{what:?}"), || {
            (self.said().matches(what).count() >= times).then_some(())
        });
        waited.with_context(|| self.said())
    }

    /// As [`Watching::wait`], where much is built before.
    fn wait_long(&self, what: &str) -> Result<()> {
        let waited = wait_at_most(BUILD_LIMIT, &format!("{what:?}"), || {
            self.said().contains(what).then_some(())
        });
        waited.with_context(|| self.said())
    }

    fn interrupt(mut self) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?).context("no process id")?;
        kill_process(pid, Signal::INT)?;
        let status = wait_for("the end of the watch", || self.child.try_wait().ok().flatten())?;
        ensure!(status.success(), "{status}: {}", self.said());
        Ok(())
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // Errors here say that it is gone already.
        if self.child.kill().is_ok() {
            self.child.wait().ok();
        }
    }
}

#[test]
fn what_is_saved_serves_and_what_does_not_build_changes_nothing() -> Result<()> {
    // The host's place is cargo's own: what fails a case must not get there all the same.
    let place = super::target()?.join("wasm32-unknown-unknown/release/saved_one.wasm");
    let saved_one = Plugin {
        path: place.with_file_name("saved-one.wasm"),
        lines: String::new(),
    };
    let plugins = [Plugin::shipped("decode-image")?, saved_one];
    let mill = mill(
        &plugins.each_ref(),
        "preprocess = \"decode-image\"\nroute = \"saved-one\"",
    )?;
    let text = std::fs::read_to_string(mill.path("plugins.toml"))?;
    std::fs::write(
        mill.path("plugins.toml"),
        text.replace("saved-one.wasm", "saved_one.wasm"),
    )?;
    new(&mill, "saved-one", "route")?;
    build(&mill, "saved-one")?;
    let first = std::fs::read(&place)?;
    let mut host = mill.start()?;
    host.wait_ready()?;
    let control = Control(mill.path("control.sock"));
    let sample = pictures()?.into_iter().next().context("no sample")?;
    let result = |name: &str| -> Result<serde_json::Value> {
        std::fs::write(mill.path(&format!("inbox/{name}")), &sample.png)?;
        let path = mill.path(&format!("out/{name}.json"));
        let text = wait_for("a result", || std::fs::read(&path).ok().filter(|text| !text.is_empty()))?;
        Ok(serde_json::from_slice(&text)?)
    };
    assert_eq!(result("a.png")?["label"], sample.label.as_str());

    let watching = Watching::start(&mill, &["plugin", "watch", "saved-one", "--file", "plugins.toml"])?;
    // What is there serves already. Everything that it needs is built once more, in a place of its own.
    watching.wait_long("nothing to change: generation 1 serves")?;
    watching.wait("generation 1 serves, without a trial", 1)?;
    ensure!(
        watching.said().contains("/watch/wasm32-unknown-unknown/"),
        "{}",
        watching.said()
    );
    watching.wait("watching saved-one", 1)?;

    let source = mill.path("saved-one/src/lib.rs");
    let text = std::fs::read_to_string(&source)?;
    let saved = text.replace("\"label\": best.label", "\"label\": \"of the save\"");
    ensure!(saved != text, "the scaffold's router has other words");
    std::fs::write(&source, &saved)?;
    watching.wait("a case failed: not giving this version to a host", 1)?;
    watching.wait("watching saved-one", 2)?;
    assert_eq!(
        std::fs::read(&place)?,
        first,
        "what failed a case is where the host takes it"
    );
    assert_eq!(control.status()?["generation"], 1);

    let case = mill.path("saved-one/cases/first.toml");
    let expects = std::fs::read_to_string(&case)?;
    let expected = expects.replace("\"/label\" = \"star\"", "\"/label\" = \"of the save\"");
    ensure!(expected != expects, "the scaffold's case has other words");
    std::fs::write(&case, expected)?;
    watching.wait("generation 2 serves", 1)?;
    watching.wait("given to the host in", 2)?;
    assert_eq!(result("b.png")?["label"], "of the save");

    std::fs::write(&source, saved.replace("prediction.top(1)", "prediction.top(\"one\")"))?;
    watching.wait("error[E0308]: mismatched types", 1)?;
    watching.wait("watching saved-one", 4)?;
    ensure!(watching.said().contains("src/lib.rs:"), "{}", watching.said());
    assert_eq!(control.status()?["generation"], 2);

    // It builds, no case says otherwise, and it cannot serve: the host says no, and its file is as it was.
    std::fs::remove_file(&case)?;
    let before = std::fs::read(&place)?;
    std::fs::write(
        &source,
        saved
            .replace("true => Ok(Self", "true if false => Ok(Self")
            .replace("false => Err", "_ => Err"),
    )?;
    watching.wait("error: refused at step check", 1)?;
    watching.wait("saved_one.wasm is as it was", 1)?;
    assert_eq!(std::fs::read(&place)?, before);
    assert_eq!(result("c.png")?["label"], "of the save");
    assert_eq!(control.status()?["generation"], 2);

    // It serves, and is worse than what it replaced: what the plugin and the host say of it is shown, and how it ends.
    std::fs::write(
        &source,
        saved.replace(
            "let top = prediction.top(1);",
            "let top = prediction.top(1);\n        millrace_plugin::warn!(\"\\u{1b}[31mlooking\");\n        panic!(\"no luck\");",
        ),
    )?;
    watching.wait("generation 3 serves (", 1)?;
    for n in 0..6 {
        std::fs::write(mill.path(&format!("inbox/worse-{n}.png")), &sample.png)?;
    }
    watching.wait("error: undone: generation 4 serves again", 1)?;
    watching.wait("again, which serves", 1)?;
    for part in [
        "looking",
        "panicked at src/lib.rs:",
        "no luck",
        "a plugin failed: calling it once more (trap)",
    ] {
        ensure!(watching.said().contains(part), "no {part:?} in {}", watching.said());
    }
    ensure!(!watching.said().contains('\u{1b}'), "{:?}", watching.said());
    let serves = control.status()?["plugins"]
        .as_array()
        .and_then(|plugins| Some(plugins.iter().find(|plugin| plugin["name"] == "saved-one")?["digest"].clone()))
        .context("it serves no more")?;
    let there = millrace_tests::versions::digest(&std::fs::read(&place)?);
    ensure!(
        serves.as_str().is_some_and(|serves| serves.starts_with(&there)),
        "{serves} serves, and {there} is there"
    );
    for n in 0..6 {
        let path = mill.path(&format!("out/worse-{n}.png.json"));
        wait_for("a result", || path.exists().then_some(()))?;
    }

    host.stop()?;
    std::fs::write(&source, &text)?;
    watching.wait("no host runs plugins.toml", 1)?;
    watching.interrupt()
}
