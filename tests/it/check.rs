//! `millrace check`: every mistake at once, and `run` refuses what `check` refuses.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use millrace_tests::host::Mill;
use millrace_tests::scene::{Plugin, Scene, head};

/// Ten mistakes, and what must be said about each.
const MISTAKES: &str = r#"
[model.shapes]
path = "no-such-model"
devise = "cpu"

[plugin.decode-image]
path = "no-such-plugin.wasm"
deadline = "1 fortnight"
isolation = "process"

[plugin.by-label]
path = 3

[pipeline.images]
source = { queue = "images", prefetc = 256 }
preprocess = "decode-imagee"
model = "shapes"
route = "by-label"
attempts = 0

[pipeline.images.destination.results]
exchange = ""

[pipeline.images.destination.Shouted]
folder = "out"
"#;
const EXPECTED: [&str; 10] = [
    "devise",
    "fortnight",
    "process",
    "path = 3",
    "did you mean `prefetch`?",
    "did you mean `decode-image`?",
    "attempts",
    "routing_key",
    "Shouted",
    "[broker]",
];

#[test]
fn ten_mistakes_are_told_at_once() -> Result<()> {
    let mill = Mill::new(MISTAKES)?;
    let ended = mill.run(&["check", "plugins.toml"])?;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    for part in EXPECTED {
        assert!(ended.stderr.contains(part), "no {part:?} in:\n{}", ended.stderr);
    }
    let refused = mill.run(&["run", "--log", "warn", "plugins.toml"])?;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert_eq!(refused.stderr, ended.stderr, "run and check say different things");
    Ok(())
}

/// A configuration with one table or line replaced, and what must be said about it.
#[test]
fn files_are_checked_too() -> Result<()> {
    let (decode, label) = (Plugin::shipped("decode-image")?, Plugin::shipped("by-label")?);
    let rest = r#"
[pipeline.pictures]
source = { folder = "inbox" }
preprocess = "decode-image"
model = "shapes"
route = "by-label"

[pipeline.pictures.destination.results]
folder = "out"
"#;
    let config = |decode: &Plugin, label: &Plugin| format!("{}{rest}", head(&[decode, label]));
    let good = Mill::new(&config(&decode, &label))?;
    std::fs::create_dir(good.path("inbox"))?;
    let ended = good.run(&["check", "plugins.toml"])?;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    // Where there is no desktop, the loaders of GPUs complain to stderr, in words that look like errors of the file.
    let auto = Mill::new(&config(&decode, &label).replace("device = \"cpu\"", "device = \"auto\""))?;
    std::fs::create_dir(auto.path("inbox"))?;
    let mut check = auto.command(&["check", "plugins.toml"])?;
    let output = check.env_remove("XDG_RUNTIME_DIR").output()?;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), ended.stderr);

    let line = |plugin: &Plugin, lines: &str| Plugin {
        lines: lines.to_owned(),
        ..plugin.clone()
    };
    let swapped = config(&decode, &label)
        .replace("preprocess = \"decode-image\"", "preprocess = \"by-label\"")
        .replace("route = \"by-label\"", "route = \"decode-image\"");
    let rows = [
        (
            config(&line(&decode, &format!("sha256 = \"{}\"", "0".repeat(64))), &label),
            "sha256",
        ),
        (config(&decode, &line(&label, "settings = { lables = {} }")), "lables"),
        (swapped, "preprocess"),
        (
            config(&decode, &label).replace("shapes-lenet", "shapes-lenett"),
            "shapes-lenett",
        ),
        (
            config(&decode, &label).replace("decode-image.wasm", "decode-images.wasm"),
            "decode-images.wasm",
        ),
        (
            "[broker]\namqp = \"amqps://localhost\"\nca = \"plugins.toml\"\n".to_owned() + &config(&decode, &label),
            "holds no certificate that can be used",
        ),
    ];
    for (text, expected) in rows {
        let mill = Mill::new(&text)?;
        std::fs::create_dir(mill.path("inbox"))?;
        let ended = mill.run(&["check", "plugins.toml"])?;
        assert_eq!(ended.code, Some(2), "{expected}: {ended:?}");
        assert!(ended.stderr.contains(expected), "no {expected:?} in:\n{}", ended.stderr);
    }
    Ok(())
}

/// A folder in the mill with the shipped model, one text of its `model.toml` replaced.
#[test]
fn a_prefetch_that_outlasts_a_drain_is_warned_of() -> Result<()> {
    let scene = Scene {
        prefetch: u16::MAX,
        tables: "[host]\ndrain = \"300ms\"\n".to_owned(),
        ..Scene::at("amqp://localhost".to_owned())?
    };
    let ended = scene.mill()?.run(&["check", "plugins.toml"])?;
    ensure!(ended.code == Some(0), "{ended:?}");
    for part in [
        "for the 65535 messages that pipeline `images` may have in flight, longer than the",
        "lower `prefetch`, or raise `drain`",
    ] {
        ensure!(ended.stderr.contains(part), "no {part:?} in:\n{}", ended.stderr);
    }
    let scene = Scene { prefetch: 1, ..scene };
    let ended = scene.mill()?.run(&["check", "plugins.toml"])?;
    ensure!(!ended.stderr.contains("longer than a drain"), "{ended:?}");
    Ok(())
}

fn model_with(mill: &Mill, from: &str, to: &str) -> Result<()> {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/shapes-lenet");
    std::fs::create_dir(mill.path("changed"))?;
    for file in ["weights.safetensors", "samples.safetensors"] {
        std::fs::copy(shipped.join(file), mill.path("changed").join(file))?;
    }
    let manifest = std::fs::read_to_string(shipped.join("model.toml"))?;
    ensure!(manifest.contains(from), "{from}");
    std::fs::write(mill.path("changed/model.toml"), manifest.replacen(from, to, 1))?;
    Ok(())
}

#[test]
fn a_model_that_is_another_network_is_found_by_check_and_told_alike_by_run() -> Result<()> {
    let (decode, label) = (Plugin::shipped("decode-image")?, Plugin::shipped("by-label")?);
    let config = head(&[&decode, &label]);
    let line = config
        .lines()
        .find(|line| line.contains("shapes-lenet"))
        .context("no model")?;
    let config = config.replace(line, "path = \"changed\"")
        + r#"
[pipeline.pictures]
source = { folder = "inbox" }
preprocess = "decode-image"
model = "shapes"
route = "by-label"

[pipeline.pictures.destination.results]
folder = "out"
"#;
    let relu = "[[layer]]\ntype = \"relu\"\n";
    let rows: [(&str, &str, &[&str]); 4] = [
        ("provenance", "provenance", &[]),
        (
            relu,
            "",
            &[
                "model `shapes`: the layers and weights are not the network of the recorded samples: sample 0 of samples.safetensors",
                "the largest outputs are to be `",
                "the largest difference is",
                "compare the layers with `forward`",
            ],
        ),
        (
            "kernel = 5",
            "kernel = 3",
            &["expected `conv1.weight` of shape [6, 3, 3, 3], found [6, 3, 5, 5]"],
        ),
        (
            "name = \"conv1\"",
            "nmae = \"conv1\"\nkernal = 5",
            &[
                "unknown field `kernal` in [[layer]], did you mean `kernel`?",
                "did you mean `name`?",
                "`name` is missing",
            ],
        ),
    ];
    for (from, to, expected) in rows {
        let mill = Mill::new(&config)?;
        std::fs::create_dir(mill.path("inbox"))?;
        model_with(&mill, from, to)?;
        let ended = mill.run(&["check", "plugins.toml"])?;
        let code = if expected.is_empty() { 0 } else { 2 };
        assert_eq!(ended.code, Some(code), "{from}: {ended:?}");
        for part in expected {
            assert!(ended.stderr.contains(part), "no {part:?} in:\n{}", ended.stderr);
        }
        if code == 2 {
            let refused = mill.run(&["run", "--log", "warn", "plugins.toml"])?;
            assert_eq!(
                (refused.code, refused.stderr),
                (Some(2), ended.stderr),
                "run and check say different things"
            );
        }
    }
    Ok(())
}

#[test]
fn a_limit_of_open_files_is_no_mistake_of_the_file() -> Result<()> {
    let mill = crate::folder::mill()?;
    let check = mill.command(&["check", "plugins.toml"])?;
    let mut told = 0;
    for n_files in (8..48).step_by(2) {
        let mut limited = Command::new("sh");
        limited.args(["-c", &format!("ulimit -n {n_files}; exec \"$0\" check plugins.toml")]);
        limited.arg(check.get_program()).current_dir(mill.path("."));
        let ended = limited.output()?;
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(matches!(ended.status.code(), Some(0 | 1)), "{n_files}: {ended:?}");
        assert!(
            !said.contains("1 mistake in") && !said.contains("mistakes in"),
            "{n_files}: {said}"
        );
        if said.contains("cannot run the compiler") {
            assert!(said.contains("raise it (`ulimit -n`"), "{said}");
            assert!(said.ends_with(": the file itself may be right\n"), "{said}");
            told += 1;
        }
    }
    assert!(told > 0, "no limit was one that only the compiler met");
    Ok(())
}
