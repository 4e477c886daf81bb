//! The house rules that a compiler does not check.

use std::path::{Path, PathBuf};

use anyhow::Result;
use millrace_tests::samples::root;

/// A library, and the only places that may know it.
const OWNERS: [(&str, &[&str]); 4] = [
    (
        "hyper",
        &[
            "host/src/admin",
            "host/transport/src/callers",
            "host/transport/src/http",
        ],
    ),
    ("lapin", &["host/transport/src/amqp", "tests"]),
    ("rusqlite", &["host/transport/src/sqlite", "tests"]),
    ("wasmtime", &["host/sandbox"]),
];
/// Modules of the host, and others that they do not use: each of these arrows would close a circle.
const ONE_WAY: [(&str, &[&str]); 5] = [
    (
        "host/src/envelope",
        &["breaker", "generation", "stages", "transport", "work"],
    ),
    (
        "host/transport/src",
        &["breaker", "generation", "reload", "stages", "supervisor", "work"],
    ),
    ("host/src/breaker", &["generation", "stages", "work"]),
    ("host/src/work", &["generation", "stages"]),
    ("host/src/memory", &["reload", "supervisor"]),
];
/// Where lapin is awaited: in one file, which bounds every answer, and in the one that logs in, which is bounded as a
/// whole. Elsewhere nothing of it that can be awaited has a name.
const AWAITS_LAPIN: [&str; 2] = ["host/transport/src/amqp/line.rs", "host/transport/src/amqp/socket.rs"];
/// A file is one module; a larger one is two.
const LINES_MAX: usize = 500;
/// A file of tests is a table of rows.
const TEST_LINES_MAX: usize = 1000;

#[test]
fn the_house_rules_hold() -> Result<()> {
    let mut broken = Vec::new();
    for path in sources(root())? {
        let text = std::fs::read_to_string(&path)?;
        let name = path.strip_prefix(root())?.display().to_string();
        broken.extend(
            complaints(&name, &text)
                .into_iter()
                .map(|what| format!("{name}: {what}")),
        );
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    Ok(())
}

#[test]
fn every_rule_can_be_broken() {
    let rows: [(&str, &str, &str); 17] = [
        (
            "host/src/memory.rs",
            "//! A.\nuse crate::reload::LoadedFiles;",
            "uses `reload`",
        ),
        ("host/src/envelope.rs", "//! A.\nuse crate::worker::Work;", ""),
        ("host/src/a.rs", "use x;", "does not begin with `//!`"),
        ("host/src/a.rs", "//! A.\nuse lapin::Channel;", "`lapin` belongs"),
        ("host/transport/src/amqp/line.rs", "//! A.\nuse lapin::Channel;", ""),
        (
            "host/transport/src/amqp/a.rs",
            "//! A.\nuse lapin::{Channel, Consumer};",
            "without a bound",
        ),
        (
            "host/transport/src/amqp/a.rs",
            "//! A.\nfn a(b: &lapin::Connection) {}",
            "without a bound",
        ),
        (
            "host/transport/src/amqp/a.rs",
            "//! A.\nself.delivery.acker.nack(options).await",
            "without a bound",
        ),
        (
            "host/transport/src/amqp/a.rs",
            "//! A.\nuse lapin::{BasicProperties, Consumer};",
            "",
        ),
        (
            "host/src/a.rs",
            &["//! A.\nfn a(e: wasm", "time::Error) {}"].concat(),
            "`wasmtime` belongs",
        ),
        (
            "host/src/a.rs",
            "//! A.\n/// Not `wasmtime`, and no burnt things.\nfn burner() {}",
            "",
        ),
        ("tests/it/a.rs", &["//! A.\n#[", "ignore]"].concat(), "skips a test"),
        ("models/src/a.rs", &["//! A.\nto", "do!()"].concat(), "is not finished"),
        (
            "host/src/a.rs",
            "//! A.\n#[error(\"no {0}\")]\nA(#[from] B),",
            "says its cause twice",
        ),
        (
            "host/src/a.rs",
            "//! A.\n#[error(\"no {source}\")]\nA {\n source: B },",
            "says its cause twice",
        ),
        ("host/src/a.rs", "//! A.\n#[error(\"no {0}\")]\nA(B),\nC(#[from] D)", ""),
        (
            "host/src/a.rs",
            &["//! A.\ninfo!(\n    took_ms = took.as_", "millis(),\n);"].concat(),
            "is text in JSON",
        ),
    ];
    for (name, text, expected) in rows {
        let found = complaints(name, text).join("; ");
        assert!(
            if expected.is_empty() {
                found.is_empty()
            } else {
                found.contains(expected)
            },
            "{name}: {found:?}"
        );
    }
    let long = format!("//! A.\n{}", "// b\n".repeat(LINES_MAX));
    assert!(complaints("host/src/a.rs", &long).join("; ").contains("lines"));
    let generated = long.replacen("//! A.", "//! A.\n//!\n//! Generated: by a tool.", 1);
    assert!(complaints("host/src/a.rs", &generated).is_empty());
}

fn complaints(name: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    if !text.starts_with("//!") {
        complaints.push("does not begin with `//!`: what it is, and what it must never know".to_owned());
    }
    let lines = text.lines().count();
    let lines_max = if name.contains("tests") {
        TEST_LINES_MAX
    } else {
        LINES_MAX
    };
    // Nobody reads what a tool writes.
    let is_generated = text.lines().take(4).any(|line| line.starts_with("//! Generated: "));
    if lines > lines_max && !is_generated {
        complaints.push(format!("{lines} lines, more than {lines_max}: find the missing noun"));
    }
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    for (library, owners) in OWNERS {
        if mentions(&code, library) && !owners.iter().any(|owner| name.starts_with(owner)) {
            complaints.push(format!("`{library}` belongs to {} alone", owners.join(" and ")));
        }
    }
    for (module, unknown) in ONE_WAY {
        for other in unknown.iter().filter(|other| uses(&code, other)) {
            if name.starts_with(module) {
                complaints.push(format!("uses `{other}`, which uses it"));
            }
        }
    }
    if name.starts_with("host/") && !AWAITS_LAPIN.contains(&name) && awaits_lapin(&code) {
        complaints.push(format!("asks lapin without a bound: {} does it", AWAITS_LAPIN[0]));
    }
    for unit in ["millis", "micros", "nanos"] {
        let is_field = |line: &str| line.contains(" = ") && line.ends_with(&format!(".as_{unit}(),"));
        if code.lines().any(is_field) {
            complaints.push(format!(
                "a field of `as_{unit}()`, which is text in JSON: use `log_fields::millis`"
            ));
        }
    }
    // Written apart, so that this file keeps its own rules.
    if code.contains(concat!("#[", "ignore")) {
        complaints.push("skips a test without saying so".to_owned());
    }
    if code.contains(concat!("to", "do!")) {
        complaints.push("is not finished".to_owned());
    }
    for shown in said_twice(&code) {
        complaints.push(format!("an error says its cause twice: {shown}"));
    }
    complaints
}

/// Errors whose words hold their cause: whoever tells an error tells its causes behind it.
fn said_twice(code: &str) -> Vec<&str> {
    let mut lines = code.lines().map(str::trim).peekable();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        if !line.starts_with(concat!("#[", "error(\"")) {
            continue;
        }
        let variant = lines.peek().copied().unwrap_or_default();
        let is_first = variant.contains(concat!("(#[", "from]")) || variant.contains(concat!("(#[", "source]"));
        if line.contains("{source") || (line.contains("{0") && is_first) {
            found.push(line);
        }
    }
    found
}

/// Whether code has a connection or a channel of lapin's, or settles a delivery by itself.
fn awaits_lapin(code: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let names = |text: &str| {
        text.split(|c| !is_word(c))
            .any(|word| matches!(word, "Channel" | "Connection"))
    };
    let uses = code.split("use lapin::").skip(1);
    let paths = code.split("lapin::").skip(1);
    uses.map(|text| text.split(';').next().unwrap_or_default()).any(names)
        || paths
            .map(|text| text.split(|c| !is_word(c)).next().unwrap_or_default())
            .any(names)
        || ["ack", "nack", "reject"].iter().any(|verb| {
            let (field, call) = (format!("acker.{verb}("), format!("delivery.{verb}("));
            code.contains(&field) || code.contains(&call)
        })
}

/// Whether code names a module of its crate.
fn uses(code: &str, module: &str) -> bool {
    let path = format!("crate::{module}");
    code.match_indices(&path).any(|(at, _)| {
        let rest = code.get(at + path.len()..).unwrap_or_default();
        !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_')
    })
}

/// Whether code names a crate: in a path (`lapin::`), or in a `use` of the crate itself.
fn mentions(code: &str, library: &str) -> bool {
    code.match_indices(library).any(|(at, _)| {
        let before = code.get(..at).and_then(|text| text.chars().next_back());
        let starts = before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != '"' && c != '-');
        // Crates of the same family (`burn_wgpu`, `wasmtime_wasi`) count too.
        let rest = code.get(at + library.len()..).unwrap_or_default();
        let rest = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
        starts && (rest.starts_with("::") || rest.starts_with(" as ") || rest.starts_with(';'))
    })
}

fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && !name.starts_with('.') && name != "target" && name != "demo" {
            found.extend(sources(&path)?);
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
