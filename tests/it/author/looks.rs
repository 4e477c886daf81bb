//! `plugin check` and `plugin inspect`: of what is good, what is hostile, and what is nothing of the kind.

use anyhow::{Context, Result};
use millrace_tests::host::Mill;
use millrace_tests::samples::{guest, model, pictures};
use serde_json::Value;

use super::{must, run};

const COMPONENT: &str = "wasm32-wasip2";
const MODULE: &str = "wasm32-unknown-unknown";

fn path(target: &str, name: &str) -> Result<String> {
    Ok(guest(target, name)?.display().to_string())
}

fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
}

#[test]
fn check_says_what_a_plugin_needs_takes_costs_and_yields() -> Result<()> {
    let (mill, model) = (Mill::new("")?, model().display().to_string());
    let router = path(COMPONENT, "by-label")?;
    let settings = r#"{"labels": {"star": "stars"}, "default": "others"}"#;
    let told = must(
        &mill,
        &["plugin", "check", &router, "--settings", settings, "--model", &model],
    )?;
    says(
        &told,
        &[
            "a router, a component",
            "sha256",
            "millrace:pipeline/types@0.1.0",
            "the contract",
        ],
    );
    says(&told, &["wasi:cli/environment@", "there, but inert"]);
    says(
        &told,
        &[
            "labels",
            "table",
            "{}",
            "Destinations by label",
            "compiling",
            "starting",
            "memory",
        ],
    );
    let to = |label: &str| {
        told.lines()
            .find(|line| line.trim_start().starts_with(label))
            .map(str::to_owned)
    };
    says(
        &to("star ").context("no row for star")?,
        &["0.9", "stars", "\"label\":\"star\""],
    );
    says(&to("ring ").context("no row for ring")?, &["others"]);

    let decoder = path(MODULE, "decode-image")?;
    std::fs::write(mill.path("settings.toml"), "resize = \"nearest\"\n")?;
    let told = must(
        &mill,
        &[
            "plugin",
            "check",
            &decoder,
            "--settings",
            "settings.toml",
            "--model",
            &model,
        ],
    )?;
    says(&told, &["a preprocessor, a core module", "takes [3, 32, 32] bytes"]);
    let sample = pictures()?.into_iter().next().context("no sample")?;
    let row = told
        .lines()
        .find(|line| line.contains(&format!("{}-", sample.label)))
        .context("no row")?;
    says(row, &["[3, 32, 32] bytes, ", " to 255", "mean ", &sample.label]);
    assert!(!told.contains("wasi:"), "{told}");
    Ok(())
}

#[test]
fn check_refuses_in_the_words_of_a_host() -> Result<()> {
    let mill = Mill::new("")?;
    std::fs::write(mill.path("text.wasm"), "no wasm \u{1b}[31m")?;
    std::fs::write(mill.path("module.wasm"), b"\0asm\x01\0\0\0")?;
    std::fs::write(mill.path("component.wasm"), b"\0asm\x0d\0\x01\0")?;
    let (router, clock) = (path(COMPONENT, "by-label")?, path(COMPONENT, "wants-clock")?);
    let hostile = path(COMPONENT, "hostile")?;
    let rows: [(&[&str], &[&str]); 7] = [
        (
            &["text.wasm"],
            &["plugin `text` (text.wasm): it is not WebAssembly: it begins with `no wasm \\u{1b}[31m`"],
        ),
        (
            &["module.wasm"],
            &["it is a core module without an embedded component type"],
        ),
        (
            &["component.wasm"],
            &["it is not a plugin: a preprocessor exports `millrace:pipeline/preprocess@0.1.0`"],
        ),
        (&["no-such.wasm"], &["cannot read it: No such file"]),
        (&[&clock], &["wasi:clocks/", "not granted"]),
        (
            &[&router, "--settings", r#"{"lables": {}}"#],
            &["`lables`", "did you mean `labels`"],
        ),
        (
            &[&hostile, "--settings", r#"{"mode": "loop-in-configure"}"#],
            &[
                "plugin `hostile`",
                "it failed when it was given its settings: it ",
                "deadline",
            ],
        ),
    ];
    for (arguments, parts) in rows {
        let arguments: Vec<&str> = ["plugin", "check"].iter().chain(arguments).copied().collect();
        let ended = run(&mill, &arguments)?;
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
        assert!(
            !ended.stderr.contains("\u{1b}[31mno") && !ended.stdout.contains('\u{1b}'),
            "{ended:?}"
        );
        says(&ended.stderr, parts);
    }
    // What it takes is told though what it is given is refused.
    let ended = run(&mill, &["plugin", "check", &router, "--settings", r#"{"lables": {}}"#])?;
    says(&ended.stdout, &["SETTING", "labels", "Destinations by label"]);
    Ok(())
}

#[test]
fn inspect_shows_wit_makers_and_settings_of_any_component() -> Result<()> {
    let mill = Mill::new("")?;
    for (target, kind) in [
        (COMPONENT, "a component: a router"),
        (MODULE, "a core module with an embedded component type"),
    ] {
        let told = must(&mill, &["plugin", "inspect", &path(target, "by-label")?])?;
        says(
            &told,
            &[
                kind,
                "sha256",
                "language: Rust",
                "processed-by: rustc",
                "custom section producers",
            ],
        );
        says(
            &told,
            &[
                "unsure_below",
                "world root {",
                "import millrace:pipeline/log@0.1.0;",
                "record score {",
            ],
        );
    }
    let router = path(COMPONENT, "by-label")?;
    let json: Value = serde_json::from_str(&must(&mill, &["plugin", "inspect", &router, "--json"])?)?;
    assert_eq!(json["roles"], serde_json::json!(["router"]));
    assert_eq!(json["settings"][0]["name"], "labels");
    assert_eq!(json["settings"][0]["kind"], "table");
    assert!(
        json["wit"]
            .as_str()
            .is_some_and(|wit| wit.contains("export millrace:pipeline/route@0.1.0"))
    );

    std::fs::write(mill.path("empty.wasm"), b"\0asm\x0d\0\x01\0")?;
    let told = must(&mill, &["plugin", "inspect", "empty.wasm"])?;
    says(
        &told,
        &[
            "not a plugin: it exports no role of the contract",
            "its settings are unknown",
        ],
    );
    let hostile = must(&mill, &["plugin", "inspect", &path(COMPONENT, "hostile")?])?;
    says(&hostile, &["a preprocessor"]);
    let refused = run(&mill, &["plugin", "inspect", "plugins.toml"])?;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    says(&refused.stderr, &["it is not WebAssembly: the file is empty"]);
    Ok(())
}
