//! The first five minutes with Millrace: a folder of pictures, two plugins, a model, no broker.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::guests;
use crate::project::{Program, Project};
use crate::step;

const CONFIG: &str = include_str!("demo.toml");
const SAMPLES: &str = "models/shapes-lenet/samples";
const PLUGINS: [&str; 2] = ["decode-image", "by-label"];

/// Builds what is needed, lays out `demo/`, runs the host over it once and prints what came out.
pub(crate) fn run(project: &Project) -> Result<()> {
    println!("Building the two plugins for wasm32-wasip2 ...");
    let guests = guests::build_components(project, &PLUGINS)?;
    println!("Building the host ...");
    let host = project.build("millrace", Program::HostWithoutGpus)?;

    let demo = project.root.join("demo");
    let pictures = lay_out(project, &demo, &guests)?;
    println!("\nClassifying {pictures} pictures: millrace run demo/plugins.toml --once\n");
    let mut run = Command::new(&host);
    run.args(["run", "demo/plugins.toml", "--once"])
        .current_dir(&project.root);
    step::must_succeed(project.quiet_vulkan(&mut run)?)?;

    let results = results(&demo.join("out"))?;
    println!("\n{:<44}{:<16}{:>8}", "picture", "label", "score");
    for Row { picture, label, score } in &results {
        println!("{picture:<44}{label:<16}{score:>8.4}");
    }
    if results.len() != pictures {
        bail!(
            "{pictures} pictures went in, {} results came out: see demo/inbox/dead",
            results.len()
        );
    }
    println!("{}", next(project, &host));
    Ok(())
}

/// Makes `demo/` anew: fresh pictures in the inbox, nothing in the outbox. A `plugins.toml` that is there stays.
fn lay_out(project: &Project, demo: &Path, guests: &guests::Guests) -> Result<usize> {
    let (inbox, out) = (demo.join("inbox"), demo.join("out"));
    for folder in [&inbox, &out] {
        if folder.exists() {
            fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
        }
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    for plugin in PLUGINS {
        let (from, to) = (guests.component(plugin), demo.join(format!("{plugin}.wasm")));
        fs::copy(&from, &to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    }
    let config = demo.join("plugins.toml");
    if !config.exists() {
        fs::write(&config, CONFIG).with_context(|| format!("cannot write {}", config.display()))?;
    }
    let samples = files(&project.root.join(SAMPLES), "png")?;
    for sample in &samples {
        let name = sample.file_name().context("a sample has no name")?;
        fs::copy(sample, inbox.join(name)).with_context(|| format!("cannot copy {}", sample.display()))?;
    }
    Ok(samples.len())
}

struct Row {
    picture: String,
    label: String,
    score: f64,
}

fn results(out: &Path) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for path in files(out, "json")? {
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let result: serde_json::Value =
            serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))?;
        // A folder destination writes the envelope beside the result; only results have a label.
        let Some(label) = result.get("label").and_then(|label| label.as_str()) else {
            continue;
        };
        rows.push(Row {
            // `cat.png.json` is the result of `cat.png`.
            picture: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            label: label.to_owned(),
            score: result.get("score").and_then(|score| score.as_f64()).unwrap_or(f64::NAN),
        });
    }
    Ok(rows)
}

fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.is_file() && path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn next(project: &Project, host: &Path) -> String {
    format!(
        "
That was: picture -> plugin `decode-image` -> tensor -> model -> plugin `by-label` -> JSON in demo/out.

What to try next
  - put pictures of your own into demo/inbox and run it again:
        {host} run demo/plugins.toml --once
  - change where results go: edit demo/plugins.toml (it says how), then
        {host} check demo/plugins.toml
  - write a plugin of your own, and see it serve at every save:
        {host} plugin new my-router --role route
        {host} plugin watch my-router --file demo/plugins.toml --plugin by-label
  - with a RabbitMQ: give the pipeline a queue as its source, then
        {host} run demo/plugins.toml &
        {host} send image_queue models/shapes-lenet/samples/*.png
        {host} receive result_queue

This build of the host has no GPU support; `cargo build --release --package millrace` builds one that has.
",
        host = project.shown(host)
    )
}
