//! From a file to a plugin: what is taken, and what is refused in which words.

use std::fs::OpenOptions;
use std::io::Write;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

use millrace::config::{Isolation, PluginConfig};
use millrace::sandbox::{CompileLimits, Compiler, LoadProblem, Role, Sandbox};
use millrace_tests::samples::guest;
use millrace_tests::{wait_for, wat};

use super::{COMPONENT, MODULE, compiling, config, first_byte, hostile, load, message, prediction, shared};

/// Fails to load a file, whoever compiles it, and says why.
fn refused(config: &PluginConfig, role: Role) -> String {
    static CHILD: LazyLock<Sandbox> = LazyLock::new(|| compiling::sandbox(CompileLimits::default()));
    let (here, child) = (refused_by(shared(), config, role), refused_by(&CHILD, config, role));
    // But for the time that a call took.
    let constant = |text: &str| text.split("(used").next().map(str::to_owned);
    assert_eq!(constant(&here), constant(&child), "who compiles makes no difference");
    here
}

fn refused_by(sandbox: &Sandbox, config: &PluginConfig, role: Role) -> String {
    match sandbox.load(config, role) {
        Ok(plugin) => panic!("{plugin:?} was loaded"),
        Err(error) => {
            let text = error.to_string();
            assert!(text.starts_with("plugin `guest` (") && !text.contains('\n'), "{text}");
            error.problem.to_string()
        }
    }
}

fn file(folder: &tempfile::TempDir, bytes: &[u8]) -> PluginConfig {
    let path = folder.path().join("guest.wasm");
    std::fs::write(&path, bytes).unwrap();
    config(path)
}

#[tokio::test]
async fn core_modules_and_components_are_both_plugins() {
    for target in [MODULE, COMPONENT] {
        let sandbox = Sandbox::start(1, Compiler::InProcess).unwrap();
        let lane = sandbox.lane(1);
        for isolation in [Isolation::Message, Isolation::Worker] {
            let plugin = PluginConfig {
                isolation,
                ..config(guest(target, "hostile").unwrap())
            };
            let plugin = load(&sandbox, &plugin, Role::Preprocess);
            assert_eq!(first_byte(&plugin, &lane).await.unwrap(), 0, "{target} {isolation:?}");
            assert_eq!(plugin.identity().digest.len(), 64);
            let router = PluginConfig {
                isolation,
                ..config(guest(target, "hostile-route").unwrap())
            };
            let router = load(&sandbox, &router, Role::Route);
            let results = router
                .route(&lane, &message("m", b""), &prediction())
                .await
                .answer
                .unwrap();
            assert_eq!(results[0].body, b"square", "{target} {isolation:?}");
        }
    }
}

#[tokio::test]
async fn a_panic_in_a_component_is_told_in_the_panics_words() {
    let sandbox = Sandbox::start(1, Compiler::InProcess).unwrap();
    let plugin = PluginConfig {
        path: guest(COMPONENT, "hostile").unwrap(),
        ..hostile("panic")
    };
    let plugin = load(&sandbox, &plugin, Role::Preprocess);
    let error = first_byte(&plugin, &sandbox.lane(1)).await.unwrap_err().to_string();
    assert!(
        error.contains("panicked at ") && error.contains("the hostile plugin panics"),
        "{error}"
    );
}

#[test]
fn the_other_world_is_named() {
    let text = refused(&config(guest(MODULE, "hostile-route").unwrap()), Role::Preprocess);
    assert_eq!(
        text,
        "it exports `millrace:pipeline/route@0.1.0`, but is used as a preprocessor, \
         which exports `millrace:pipeline/preprocess@0.1.0`"
    );
    let text = refused(&config(guest(COMPONENT, "hostile").unwrap()), Role::Route);
    assert!(
        text.contains("`millrace:pipeline/preprocess@0.1.0`, but is used as a router"),
        "{text}"
    );
}

#[test]
fn another_version_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(guest(COMPONENT, "hostile").unwrap()).unwrap();
    let bytes = replaced(
        &bytes,
        b"millrace:pipeline/preprocess@0.1.0",
        b"millrace:pipeline/preprocess@0.2.0",
    );
    let text = refused(&file(&folder, &bytes), Role::Preprocess);
    assert!(
        text.starts_with("it exports `millrace:pipeline/preprocess@0.2.0`, but is used as a preproc"),
        "{text}"
    );
}

#[test]
fn what_does_not_fit_the_contract_is_named_in_the_words_of_who_wrote_it() {
    let exports = r#"(instance $none)
        (export "millrace:pipeline/preprocess@0.1.0" (instance $none))
        (export "millrace:pipeline/plugin@0.1.0" (instance $none))"#;
    let functions = r#"(core module $m (func (export "f") (result i32) i32.const 0))
        (core instance $c (instantiate $m))
        (func $f (result u32) (canon lift (core func $c "f")))
        (instance $plugin (export "settings" (func $f)) (export "configure" (func $f)))
        (instance $preprocess (export "preprocess" (func $f)))
        (export "millrace:pipeline/preprocess@0.1.0" (instance $preprocess))
        (export "millrace:pipeline/plugin@0.1.0" (instance $plugin))"#;
    let import = |name: &str, what: &str| format!(r#"(import "millrace:pipeline/{name}" (instance {what})) {exports}"#);
    let rows = [
        (
            import("types@0.2.0", r#"(export "message" (type (sub resource)))"#),
            "it imports `millrace:pipeline/types@0.2.0`, but this host has `millrace:pipeline/types@0.1.0`",
        ),
        (
            import("types@0.1.7", r#"(export "frobnicate" (func))"#),
            "it does not fit the contract: its import `millrace:pipeline/types@0.1.7` is not as it is here: \
             export `frobnicate` has the wrong type: this host does not have the function",
        ),
        (
            import("log@0.1.0", r#"(export "log" (func (param "text" string)))"#),
            "it does not fit the contract: its import `millrace:pipeline/log@0.1.0` is not as it is here: \
             export `log` has the wrong type: type mismatch with parameters: expected 2-tuple, found 1-tuple",
        ),
        (
            exports.to_owned(),
            "it does not fit the contract: export `millrace:pipeline/plugin@0.1.0` does not have export `settings`",
        ),
        (
            functions.to_owned(),
            "it does not fit the contract: failed to convert function to given type: \
             type mismatch with results: expected `list` found `u32`",
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (text, expected) in rows {
        let bytes = wat::component(&format!("(component {text})")).unwrap();
        assert_eq!(refused(&file(&folder, &bytes), Role::Preprocess), expected);
    }
}

/// A Python interpreter is put together of 38; how many are too many is told.
#[test]
fn a_component_may_be_put_together_of_64_core_instances() {
    let text = |n| {
        let instances = "(core instance (instantiate $m))".repeat(n);
        format!("(component (core module $m) {instances})")
    };
    let folder = tempfile::tempdir().unwrap();
    for (n, expected) in [
        (64, "it is not a preprocessor: "),
        (65, "contains 65 core module instances"),
    ] {
        let bytes = wat::component(&text(n)).unwrap();
        let found = refused(&file(&folder, &bytes), Role::Preprocess);
        assert!(found.contains(expected), "{n}: {found}");
    }
}

#[test]
fn an_import_that_is_not_granted_is_named() {
    let text = refused(&config(guest(COMPONENT, "wants-clock").unwrap()), Role::Preprocess);
    assert!(
        text.starts_with("it imports `wasi:clocks/") && text.contains("`wasi:clocks/wall-clock@0.2."),
        "{text}"
    );
    assert!(text.ends_with("`, which are not granted"), "{text}");
}

#[test]
fn files_that_are_no_plugins_are_refused_in_plain_words() {
    let folder = tempfile::tempdir().unwrap();
    let rows: [(&[u8], &str); 7] = [
        (b"", "it is not WebAssembly: the file is empty"),
        (b"(component)", "it is not WebAssembly: it begins with `(component)`"),
        (
            b"\x1b[31mred and more",
            "it is not WebAssembly: it begins with `\\u{1b}[31mred and mor`",
        ),
        (
            b"\x7fELF\x02\x01\x01",
            "it is precompiled native code, which is refused",
        ),
        (
            b"\0asm\x01\0\0\0",
            "it is a core module without an embedded component type",
        ),
        (
            b"\0asm\x0d\0\x01\0",
            "it is not a preprocessor: it does not export `millrace:pipeline/preprocess@0.1.0`",
        ),
        (b"\0asm\x63\0\0\0", "it is not WebAssembly"),
    ];
    for (bytes, expected) in rows {
        let text = refused(&file(&folder, bytes), Role::Preprocess);
        assert!(text.starts_with(expected), "{text}");
    }
    let text = refused(&config(folder.path().join("missing.wasm")), Role::Preprocess);
    assert!(text.starts_with("cannot read it: "), "{text}");
    let text = refused(&config(folder.path().to_owned()), Role::Preprocess);
    assert!(text.starts_with("cannot read it: "), "{text}");
    let large = vec![0; (32 << 20) + 1];
    assert_eq!(
        refused(&file(&folder, &large), Role::Preprocess),
        "it is larger than 32 MiB"
    );
}

#[test]
fn a_file_that_is_cut_off_is_refused_wherever_it_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    for target in [MODULE, COMPONENT] {
        let bytes = std::fs::read(guest(target, "hostile").unwrap()).unwrap();
        for part in [9, bytes.len() / 4, bytes.len() / 2, bytes.len() - 1] {
            let text = refused(&file(&folder, &bytes[..part]), Role::Preprocess);
            assert!(
                text == "it ends in the middle: was it cut off, or is it still being written?",
                "{target} cut at {part}: {text}"
            );
        }
    }
}

#[test]
fn a_file_that_changes_while_it_is_read_is_not_taken() {
    const BYTES: u64 = 4 << 20;
    let folder = tempfile::tempdir().unwrap();
    let config = file(&folder, &vec![0; usize::try_from(BYTES).unwrap()]);
    let mut written = OpenOptions::new().append(true).open(&config.path).unwrap();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0.. {
                if is_done.load(Ordering::Relaxed) {
                    return;
                }
                written.write_all(&[0; 16]).unwrap();
                if n % 100_000 == 0 {
                    written.set_len(BYTES).unwrap();
                }
            }
        });
        let changed = wait_for("a change that is noticed", || {
            let problem = shared().load(&config, Role::Preprocess).unwrap_err().problem;
            matches!(problem, LoadProblem::Changed).then_some(())
        });
        is_done.store(true, Ordering::Relaxed);
        changed.unwrap();
    });
}

#[test]
fn a_pin_must_match() {
    let path = guest(MODULE, "hostile").unwrap();
    let sandbox = Sandbox::start(1, Compiler::InProcess).unwrap();
    let digest = load(&sandbox, &config(path.clone()), Role::Preprocess)
        .identity()
        .digest
        .clone();
    let pinned = PluginConfig {
        sha256: Some(digest.clone()),
        ..config(path.clone())
    };
    load(&sandbox, &pinned, Role::Preprocess);
    let pinned = PluginConfig {
        sha256: Some("0".repeat(64)),
        ..config(path)
    };
    assert_eq!(
        refused(&pinned, Role::Preprocess),
        format!("its sha256 is {digest}, but the pinned one is {}", "0".repeat(64))
    );
}

#[test]
fn a_plugin_that_fails_its_trial_is_not_taken() {
    let rows = [
        (
            "reject-settings",
            "it rejects its settings: the hostile plugin accepts no settings",
        ),
        ("panic-in-configure", "the hostile plugin panics in configure"),
        (
            "loop-in-configure",
            "it failed when it was given its settings: it ran past its deadline of 0.300 s",
        ),
        (
            "no-such-mode",
            "it rejects its settings: unknown variant `no-such-mode`",
        ),
    ];
    for (mode, expected) in rows {
        let text = refused(&hostile(mode), Role::Preprocess);
        assert!(text.contains(expected), "{mode}: {text}");
    }
    let sandbox = Sandbox::start(1, Compiler::InProcess).unwrap();
    let problem = sandbox
        .load(&hostile("reject-settings"), Role::Preprocess)
        .unwrap_err()
        .problem;
    assert!(matches!(problem, LoadProblem::Settings(_)));
    assert_eq!(sandbox.instances(), 0);
}

#[test]
fn memory_that_cannot_even_begin_is_refused() {
    let config = PluginConfig {
        memory_bytes: 64 << 10,
        ..hostile("ok")
    };
    let text = refused(&config, Role::Preprocess);
    assert!(
        text.starts_with("it needs ") && text.ends_with("of memory at its start, allowed 64 KiB"),
        "{text}"
    );
}

#[test]
fn a_sandbox_needs_a_worker() {
    assert!(Sandbox::start(0, Compiler::InProcess).is_err());
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len(), "a binary's lengths stay as they are");
    let mut bytes = bytes.to_vec();
    let found: Vec<_> = (0..bytes.len() - from.len())
        .filter(|at| bytes[*at..].starts_with(from))
        .collect();
    assert!(!found.is_empty());
    for at in found {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    bytes
}
