//! Where a running host can be asked to change: each form of `control`, and what is refused.

use std::path::Path;

use crate::REGISTRY;
use crate::config::{Config, ControlConfig, Rendering, Secret};

const TOKEN: &str = "hunter2-hunter2-hunter2";

/// The result of `[host]` with these lines, in a file of this folder.
fn control(folder: &Path, lines: &str) -> Result<ControlConfig, String> {
    let pipeline = "[pipeline.a]\nsource = { folder = \".\" }\npreprocess = \"p\"\nmodel = \"m\"\nroute = \"r\"\n\
        destination.out = { folder = \"out\" }\n[model.m]\npath = \".\"\n\
        [plugin.p]\npath = \"file\"\n[plugin.r]\npath = \"file\"\n";
    let text = format!("[host]\n{lines}\n{pipeline}");
    let env = |name: &str| (name == "TOKEN").then(|| TOKEN.to_owned());
    let (config, _) = Config::parse(&text, &folder.join("plugins.toml"), &REGISTRY, &env).map_err(|errors| {
        let shown = errors.render(Rendering::Plain);
        assert!(!shown.contains("hunter2"), "a token is shown: {shown}");
        shown
    })?;
    Ok(config.host.control)
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    std::fs::write(folder.path().join("file.sock"), "").unwrap();
    folder
}

#[test]
fn each_form_is_taken() {
    let folder = folder();
    let tcp = |address: &str| ControlConfig::Tcp {
        address: address.parse().unwrap(),
        token: Secret::new(TOKEN.to_owned()),
    };
    let check = |lines: &str, expected: ControlConfig| {
        assert_eq!(control(folder.path(), lines), Ok(expected), "{lines}");
    };
    check("", ControlConfig::Auto);
    check("control = 'auto'", ControlConfig::Auto);
    check("control = 'off'", ControlConfig::Off);
    check(
        "control = 'a.sock'",
        ControlConfig::Socket(folder.path().join("a.sock")),
    );
    check("control = '/tmp/a.sock'", ControlConfig::Socket("/tmp/a.sock".into()));
    check(
        "control = '127.0.0.1:0'\ncontrol_token = '${TOKEN}'",
        tcp("127.0.0.1:0"),
    );
    check("control = '[::]:9465'\ncontrol_token = '${TOKEN}'", tcp("[::]:9465"));
    // A socket that a host left behind is used again.
    std::os::unix::net::UnixListener::bind(folder.path().join("left.sock")).unwrap();
    check(
        "control = 'left.sock'",
        ControlConfig::Socket(folder.path().join("left.sock")),
    );
}

#[test]
fn what_cannot_be_listened_at_is_refused() {
    let folder = folder();
    let check = |lines: &str, expected: &str| {
        let shown = control(folder.path(), lines).unwrap_err();
        assert!(shown.contains(expected), "{lines} gives\n{shown}");
    };
    check("control = 'on'", "`control` cannot be `on`");
    check("control = 'Auto'", "did you mean `auto`?");
    check("control = ''", "`control` cannot be ``");
    check("control = 'millrace'", "`control` cannot be `millrace`");
    check("control = '127.0.0.1'", "`control` cannot be `127.0.0.1`");
    check("control = 'localhost:9465'", "`control` cannot be `localhost:9465`");
    check("control = 'file.sock'", "exists and is not a socket");
    check("control = 'no/such/a.sock'", "the folder above it does not exist");
    check(
        &format!("control = '{}.sock'", "a".repeat(100)),
        "more than the 107 allowed",
    );
    check("control = '127.0.0.1:9465'", "set `control_token`");
    let with = |token: &str| format!("control = '127.0.0.1:9465'\ncontrol_token = '{token}'");
    check(&with("hunter2"), "it has 7 characters and needs at least 16");
    check(&with(&"hunter2".repeat(100)), "may have at most 512");
    check(&with("hunter2 hunter2 hunter2"), "without spaces");
    check(&with("hunter2-hunter2-hünter2"), "ASCII letters");
    check(&with("${NO_TOKEN}"), "`${NO_TOKEN}` is not set");
    // A mistake elsewhere does not show it, either.
    check(&(with("${TOKEN}-hunter2") + "\nworkers = 0"), "`workers` must be");
    check(&with("hunter2-${TOKEN} "), "without spaces");
}
