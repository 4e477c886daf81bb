//! A log in JSON: every line is one object, and a field has one type, whatever the host lives through.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use millrace_tests::PATIENCE;
use millrace_tests::amqp::{Client, Parcel};
use millrace_tests::broker::Broker;
use millrace_tests::control::{CONTROL, Control};
use millrace_tests::host::Mill;
use millrace_tests::samples::{guest, pictures};
use millrace_tests::scene::Scene;
use serde_json::Value;

/// The types that fields were seen with, and where first.
#[derive(Default)]
struct Types(BTreeMap<String, (&'static str, String)>);

impl Types {
    fn look(&mut self, log: &str) -> Result<()> {
        for line in log.lines() {
            let value: Value = serde_json::from_str(line).with_context(|| format!("no JSON: {line:?}"))?;
            for name in ["timestamp", "level", "message"] {
                ensure!(value[name].is_string(), "no `{name}`: {line}");
            }
            self.note(&value, line)?;
        }
        Ok(())
    }

    fn note(&mut self, value: &Value, line: &str) -> Result<()> {
        for (name, value) in value.as_object().into_iter().flatten() {
            let of = match value {
                Value::Null => "null",
                Value::Bool(_) => "boolean",
                Value::Number(_) => "number",
                Value::String(_) => "string",
                Value::Array(_) => "array",
                Value::Object(_) => "object",
            };
            let (seen, first) = self.0.entry(name.clone()).or_insert_with(|| (of, line.to_owned()));
            ensure!(*seen == of, "`{name}` is a {seen} in\n{first}\nand a {of} in\n{line}");
            self.note(value, line)?;
            for item in value.as_array().into_iter().flatten() {
                self.note(item, line)?;
            }
        }
        Ok(())
    }
}

/// A scene whose preprocessor is `crop.wasm` beside the file.
fn mill(scene: &Scene, plugin: &str) -> Result<Mill> {
    let mill =
        scene.mill_with(|text| text.replace(&format!("{:?}", scene.preprocess.path.display()), "\"crop.wasm\""))?;
    std::fs::copy(guest("wasm32-wasip2", plugin)?, mill.path("crop.wasm"))?;
    Ok(mill)
}

#[tokio::test]
async fn every_line_of_a_hosts_life_is_an_object_and_each_field_has_one_type() -> Result<()> {
    let broker = Broker::shared()?;
    let scene = Scene {
        tables: format!("[host]\nwatch = false\nadmin = \"127.0.0.1:0\"\n{CONTROL}\n"),
        ..Scene::new(broker)?
    };
    let mill = mill(&scene, "decode-image")?;
    let mut host = mill.start_with(&[
        "run",
        "plugins.toml",
        "--log-format",
        "json",
        "--log",
        "info,millrace=debug",
    ])?;
    host.wait_ready()?;
    let control = Control(mill.path("control.sock"));
    let client = Client::connect(&broker.url()).await?;
    let sample = pictures()?.swap_remove(0);
    let good = |n: usize| Parcel::new(&format!("good-{n}"), sample.png.clone());
    client.publish(&scene.input, &good(0)).await?;
    client.publish(&scene.input, &Parcel::new("bad", "no picture")).await?;
    client.take_all(&scene.dead, 1).await?;
    // A change that is refused, one that is made and undone, one that is made, and a pause.
    std::fs::write(mill.path("crop.wasm"), "no plugin")?;
    assert_eq!(control.ask("POST", "/v1/reload")?.0, 422);
    std::fs::copy(guest("wasm32-wasip2", "hostile")?, mill.path("crop.wasm"))?;
    let text = std::fs::read_to_string(mill.path("plugins.toml"))?;
    let trapping = text.replace(
        "path = \"crop.wasm\"",
        "path = \"crop.wasm\"\nsettings = { mode = \"trap\" }",
    );
    std::fs::write(mill.path("plugins.toml"), trapping)?;
    control.reload()?;
    client.publish_all(&scene.input, (1..20).map(good)).await?;
    client.take_all(&scene.results, 20).await?;
    host.wait_line(PATIENCE, "the new version is worse than the version before: undone")?;
    std::fs::copy(guest("wasm32-wasip2", "decode-image")?, mill.path("crop.wasm"))?;
    std::fs::write(mill.path("plugins.toml"), text)?;
    control.reload()?;
    assert_eq!(control.ask("POST", "/v1/pipelines/images/pause")?.0, 200);
    assert_eq!(control.ask("POST", "/v1/pipelines/images/resume")?.0, 200);
    assert_eq!(control.ask("POST", "/v1/pipelines/none/resume")?.0, 404);
    client.publish(&scene.input, &good(20)).await?;
    client.take_all(&scene.results, 1).await?;
    let mut types = Types::default();
    let (log, ended) = host.stop_with_log()?;
    ensure!(ended.success(), "{ended}: {log}");
    types.look(&log)?;
    for name in ["took_ms", "generation", "attempt", "deadline_s"] {
        let (of, _) = types.0.get(name).with_context(|| format!("no line has `{name}`"))?;
        assert_eq!(*of, "number", "{name}");
    }
    // What a host says that does not come so far, and what verbs say.
    for arguments in [
        ["run", "plugins.toml", "--nonsense", "--log-format=json"].as_slice(),
        &["--log-format", "json", "run", "none.toml"],
        &["--log-format", "json", "run", "plugins.toml", "--once"],
        &["--log-format", "json", "--log", "=,=", "check", "broken.toml"],
        &["--log-format", "json", "status"],
        &[
            "--log-format",
            "json",
            "send",
            "--amqp",
            "amqp://127.0.0.1:1",
            "q",
            "none.png",
        ],
        &["--log-format", "json", "devices"],
        &["--log-format", "json"],
    ] {
        std::fs::write(mill.path("broken.toml"), "[host]\nworkers = 0\nnonsense = 1\n")?;
        let ended = mill.run(arguments)?;
        assert_eq!(
            ended.code == Some(0),
            arguments.contains(&"devices"),
            "{arguments:?}: {ended:?}"
        );
        assert_eq!(
            ended.stderr.is_empty(),
            ended.code == Some(0),
            "{arguments:?}: {ended:?}"
        );
        types.look(&ended.stderr).with_context(|| format!("{arguments:?}"))?;
    }
    Ok(())
}

#[test]
fn a_host_that_cannot_start_says_why_in_one_object() -> Result<()> {
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let scene = Scene {
        tables: format!("[host]\nadmin = \"{}\"\n", taken.local_addr()?),
        ..Scene::at("amqp://127.0.0.1:1/%2f".to_owned())?
    };
    let ended = scene.mill()?.run(&["run", "plugins.toml", "--log-format", "json"])?;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    Types::default().look(&ended.stderr)?;
    let last: Value = serde_json::from_str(ended.stderr.lines().last().context("nothing was said")?)?;
    assert_eq!(last["level"], "ERROR");
    let message = last["message"].as_str().unwrap_or_default();
    assert!(message.contains("cannot serve health and metrics at"), "{message}");
    Ok(())
}
