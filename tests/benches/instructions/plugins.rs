//! Each shipped plugin by itself: calls with the messages of its own cases that have a budget, in the sandbox that serves.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail, ensure};
use millrace::config::case::{Case, Origin};
use millrace::config::{Isolation, Name, PluginConfig, Rendering};
use millrace::message::{Message, Prediction};
use millrace::sandbox::{CallInput, Compiler, Lane, LoadError, LoadProblem, Plugin, Role, Sandbox, TransformOf};
use millrace_models::Model;
use millrace_tests::samples::{guest, root};

use crate::figures::{Figure, Figures, Unit};
use crate::meter;
use crate::valgrind::Callgrind;

/// Calls that are not counted: they make the instance, and fill what is kept.
const WARM: usize = 10;
/// Calls that are counted.
const CALLS: usize = 20;
/// The thread that calls: what it takes to ask it and to be woken is chance, and is in what a message costs.
const WORKER: &str = "sandbox-0";
/// The limit of a transformer's output: the default of `max_message`.
const MESSAGE_MAX_BYTES: usize = 8 << 20;

/// Counts.
///
/// # Errors
/// When a plugin cannot be called, with the log.
pub(crate) fn count(folder: &Path) -> Result<Figures> {
    let callgrind = Callgrind::new(folder, "plugins");
    let output = callgrind.command(["in-plugins"])?.stdin(Stdio::null()).output()?;
    ensure!(output.status.success(), "{}\n{}", output.status, callgrind.log());
    let mut figures = Figures::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let (subject, rest) = line.split_once('\t').context("too few words")?;
        let dump = callgrind.dump(subject, rest)?;
        let called = dump.threads.iter().filter(|(name, _)| name == WORKER);
        let counts = [
            (Unit::Instructions, called.map(|(_, instructions)| instructions).sum()),
            (Unit::Allocations, dump.allocations),
            (Unit::Bytes, dump.bytes),
        ];
        figures.extend(counts.map(|(unit, count)| {
            let subject = format!("plugin {subject}");
            (Figure { subject, unit }, count / CALLS as u64)
        }));
    }
    ensure!(!figures.is_empty(), "no case has a budget");
    Ok(figures)
}

/// Calls, in this process: prints each subject with its allocations and bytes.
///
/// # Errors
/// When a plugin does not answer.
pub(crate) fn run() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // In this process: a child that compiles is not under valgrind, and sees another processor.
    let sandbox = Sandbox::start_small(Compiler::InProcess)?;
    let lane = sandbox.lane(1);
    for (name, file) in cases()? {
        let case = Case::load(&file).map_err(|errors| anyhow!("{}", errors.render(Rendering::of_stderr())))?;
        if case.budget.fuel.is_none() {
            continue;
        }
        let plugin = load(&sandbox, &name, &case)?;
        let input = input(&case, plugin.role()).with_context(|| file.display().to_string())?;
        let subject = format!("{name}/{}", case.name);
        let call = async |n: usize| {
            for _ in 0..n {
                call(&plugin, &lane, &case.message, &input)
                    .await
                    .with_context(|| subject.clone())?;
            }
            anyhow::Ok(())
        };
        runtime.block_on(async {
            call(WARM).await?;
            meter::begin();
            call(CALLS).await?;
            println!("{subject}\t{}", meter::end(&subject)?);
            anyhow::Ok(())
        })?;
    }
    Ok(())
}

/// The cases of every plugin in `plugins/`, by the plugin's name.
fn cases() -> Result<Vec<(String, PathBuf)>> {
    let mut cases = Vec::new();
    for plugin in root().join("plugins").read_dir()? {
        let plugin = plugin?;
        let Ok(files) = plugin.path().join("cases").read_dir() else {
            continue; // the SDK
        };
        for file in files {
            let (name, path) = (plugin.file_name().to_string_lossy().into_owned(), file?.path());
            if path.extension().is_some_and(|ending| ending == "toml") {
                cases.push((name, path));
            }
        }
    }
    cases.sort();
    ensure!(!cases.is_empty(), "no plugin has cases");
    Ok(cases)
}

fn load(sandbox: &Sandbox, name: &str, case: &Case) -> Result<Arc<Plugin>> {
    let config = PluginConfig {
        name: Name::new(name).context("a plugin's folder is named as it is")?,
        path: guest("wasm32-wasip2", name)?,
        sha256: None,
        deadline: case.deadline,
        memory_bytes: case.memory_bytes,
        isolation: Isolation::Worker,
        settings: case.settings.clone().unwrap_or_else(|| "{}".to_owned()),
    };
    for role in Role::ALL {
        match sandbox.load(&config, role) {
            Err(LoadError {
                problem: LoadProblem::World { .. } | LoadProblem::NoPlugin { .. },
                ..
            }) => {}
            loaded => return Ok(loaded?),
        }
    }
    bail!("`{name}` has no role")
}

fn input(case: &Case, role: Role) -> Result<CallInput> {
    Ok(match role {
        Role::Preprocess => CallInput::Preprocess(Arc::new(match (&case.wants, &case.model) {
            (Some(wants), _) => wants.clone(),
            (None, Some(model)) => Model::load(model)?.input().clone(),
            (None, None) => bail!("neither `wants` nor `model`"),
        })),
        Role::Transform => CallInput::Transform(TransformOf::Message {
            max_bytes: MESSAGE_MAX_BYTES,
        }),
        Role::Route => {
            let said = case.prediction.as_ref().context("no prediction")?;
            let Origin::Said { scores, outputs } = &said.origin else {
                bail!("a prediction that a model has to make");
            };
            let (labels, scores): (Vec<_>, Vec<_>) = scores.iter().cloned().unzip();
            CallInput::Route(Arc::new(Prediction {
                model: said.model.as_str().into(),
                labels: labels.into(),
                scores,
                outputs: outputs.clone(),
            }))
        }
    })
}

async fn call(plugin: &Arc<Plugin>, lane: &Lane, message: &Arc<Message>, input: &CallInput) -> Result<()> {
    match input {
        CallInput::Preprocess(wants) => drop(plugin.preprocess(lane, message, wants).await.answer?),
        CallInput::Transform(of) => drop(plugin.transform(lane, message, *of).await.answer?),
        CallInput::Route(prediction) => drop(plugin.route(lane, message, prediction).await.answer?),
    }
    Ok(())
}
