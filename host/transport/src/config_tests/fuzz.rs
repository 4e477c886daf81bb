//! Any text as `plugins.toml`: no panic, every mistake can be shown, none shows a secret.

use std::path::{Path, PathBuf};

use millrace_fuzz::prelude::*;
use millrace_fuzz::{config, text};

use crate::REGISTRY;
use crate::config::*;

/// Characters that steer the parser, and values that are nearly right.
const WORDS: [&str; 40] = [
    "[",
    "]",
    "{",
    "}",
    "=",
    "\"",
    "'",
    "\"\"\"",
    "#",
    ".",
    ",",
    "\n",
    "${SECRET}",
    "${",
    "$${X}",
    "${AMQP_URL}",
    "\\u0000",
    "\\",
    "é",
    "\u{202e}",
    "[[plugin]]",
    "[plugin.a]",
    "[pipeline.images]",
    "[broker]",
    "-1",
    "0",
    "99999999999999999999",
    "1e400",
    "nan",
    "true",
    "\"1s\"",
    "\"-1s\"",
    "\"10EiB\"",
    "\"*\"",
    "\"[\"",
    "amqp://",
    "../..",
    "prefetch",
    "queue",
    "folder",
];

const SECRET: &str = "hunter2";

fn environment(name: &str) -> Option<String> {
    match name {
        "AMQP_URL" => Some(format!("amqp://guest:{SECRET}@localhost:5672/%2f")),
        "SECRET" => Some(format!("{SECRET} \u{1b}[31m\n")),
        _ => None,
    }
}

fn files() -> Vec<String> {
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config_tests/testdata");
    let mut paths: Vec<PathBuf> = Vec::new();
    for folder in ["good", "bad"] {
        let entries = std::fs::read_dir(testdata.join(folder)).unwrap();
        paths.extend(entries.map(|entry| entry.unwrap().path()));
    }
    paths.retain(|path| path.extension().is_some_and(|end| end == "toml"));
    // The order of a folder is the machine's; a seed must draw the same everywhere.
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect()
}

#[track_caller]
fn check(text: &str) {
    let path = Path::new("/nowhere/plugins.toml");
    let spans: Vec<Option<Span>> = match Config::parse(text, path, &REGISTRY, &environment) {
        Ok((config, warnings)) => {
            shown(text, &config.render_warnings(&warnings, Rendering::Plain));
            warnings
                .into_iter()
                .map(|Warning(diagnostic)| diagnostic.span)
                .collect()
        }
        Err(errors) => {
            assert!(!errors.is_empty(), "refused without a mistake");
            shown(text, &errors.render(Rendering::Plain));
            errors.render(Rendering::Coloured);
            errors
                .diagnostics()
                .iter()
                .map(|diagnostic| diagnostic.span.clone())
                .collect()
        }
    };
    for span in spans.into_iter().flatten() {
        assert!(
            text.get(span.clone()).is_some(),
            "{span:?} is no place in a text of {} bytes",
            text.len()
        );
    }
}

/// A rendering holds no secret and no escape sequence.
#[track_caller]
fn shown(text: &str, rendered: &str) {
    assert!(
        text.contains(SECRET) || !rendered.contains(SECRET),
        "a secret is shown: {rendered}"
    );
    assert!(
        !rendered.contains('\u{1b}'),
        "an escape sequence is passed on: {rendered:?}"
    );
}

proptest! {
    #![proptest_config(config(150))]

    #[test]
    fn any_text_is_read_or_refused_with_places_inside_it(text in text(files(), &WORDS)) {
        check(&text);
    }
}

#[test]
fn a_name_that_steers_a_terminal_is_escaped() {
    for below in ["colour = 1", "[plugin]\n\"b\\u001b\" = 1"] {
        check(&format!("[plugin.\"a\\u001b\"]\n{below}\n"));
    }
    check("[plugin]\n\"b\\u001b\" = 1\n");
}
