//! Plugins that are compiled in a process of their own: as good as any, and what cannot be compiled harms nobody.

use std::sync::Arc;
use std::time::Duration;

use millrace::config::PluginConfig;
use millrace::sandbox::{CompileLimits, Compiler, CompilerProcess, Role, Sandbox};
use millrace_tests::host::binary;
use millrace_tests::samples::guest;
use millrace_tests::wat;

use super::{COMPONENT, MODULE, config, first_byte, hostile, load};

/// A sandbox that compiles as the host does, with limits of its own.
pub(super) fn sandbox(limits: CompileLimits) -> Sandbox {
    let program = Some(binary().unwrap());
    Sandbox::start(
        1,
        Compiler::Child(CompilerProcess {
            program,
            limits,
            counts_fuel: false,
        }),
    )
    .unwrap()
}

/// A preprocessor that is valid, small, and more than a compiler can stand: every local lives through every loop.
fn bomb(n_loops: usize, n_locals: usize) -> Vec<u8> {
    let locals = "(local i64)".repeat(n_locals);
    let mut body = "(loop ".repeat(n_loops);
    for n in 0..n_locals {
        let (to, from) = (n + 2, (n + 1) % n_locals + 2);
        body += &format!("(local.set {to} (i64.add (local.get {from}) (i64.const {n})))");
    }
    body += &"(br_if 0 (local.get 0)))".repeat(n_loops);
    let fields = format!(
        r#"(func (export "preprocess") (param i32 i32 i32 i32) (result i32) unreachable)
           (func (export "bomb") (param i32 i32) {locals} {body})"#
    );
    wat::preprocessor(&fields).unwrap()
}

fn file(folder: &tempfile::TempDir, bytes: &[u8]) -> PluginConfig {
    let path = folder.path().join("guest.wasm");
    std::fs::write(&path, bytes).unwrap();
    config(path)
}

#[tokio::test]
async fn what_a_child_compiled_serves_like_any_other() {
    let sandbox = sandbox(CompileLimits::default());
    for target in [MODULE, COMPONENT] {
        let plugin = load(&sandbox, &config(guest(target, "hostile").unwrap()), Role::Preprocess);
        assert_eq!(first_byte(&plugin, &sandbox.lane(1)).await.unwrap(), 0, "{target}");
        let trapping = PluginConfig {
            settings: hostile("trap").settings,
            ..config(guest(target, "hostile").unwrap())
        };
        let trapping = load(&sandbox, &trapping, Role::Preprocess);
        let error = first_byte(&trapping, &sandbox.lane(1)).await.unwrap_err().to_string();
        assert!(error.contains("executed; in hostile::"), "names came along: {error}");
    }
    assert_eq!(sandbox.n_compiled(), 2, "other settings are no other code");
}

#[tokio::test]
async fn a_compile_bomb_ends_at_its_limit_while_others_are_served() {
    let limits = CompileLimits {
        cpu: Duration::from_secs(1),
        ..CompileLimits::default()
    };
    let sandbox = Arc::new(sandbox(limits));
    let plugin = load(&sandbox, &hostile("ok"), Role::Preprocess);
    let folder = tempfile::tempdir().unwrap();
    let bomb = file(&folder, &bomb(200, 2000));
    let loading = tokio::task::spawn_blocking({
        let sandbox = Arc::clone(&sandbox);
        move || sandbox.load(&bomb, Role::Preprocess).unwrap_err().problem
    });
    let (lane, mut n_served) = (sandbox.lane(1), 0);
    while !loading.is_finished() {
        assert_eq!(first_byte(&plugin, &lane).await.unwrap(), 0);
        n_served += 1;
    }
    let problem = loading.await.unwrap();
    assert_eq!(problem.to_string(), "compiling it took more than 1 s of CPU time");
    assert!(n_served > 100, "{n_served}");
    assert_eq!(sandbox.n_compiled(), 1);
}

#[test]
fn a_compile_bomb_takes_no_more_memory_than_it_may() {
    let limits = CompileLimits {
        memory_bytes: 128 << 20,
        ..CompileLimits::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let bomb = file(&folder, &bomb(1000, 10_000));
    let problem = sandbox(limits).load(&bomb, Role::Preprocess).unwrap_err().problem;
    assert_eq!(problem.to_string(), "compiling it needed more than 128 MiB of memory");
}

#[test]
fn a_version_that_was_compiled_lately_is_not_compiled_again() {
    let sandbox = Sandbox::start(1, Compiler::InProcess).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(guest(MODULE, "hostile").unwrap()).unwrap();
    // An empty custom section more makes another version.
    let versions = [bytes.clone(), [&bytes[..], &[0, 1, 0]].concat()];
    for version in [0, 1, 0, 1, 1, 0] {
        let loaded = load(&sandbox, &file(&folder, &versions[version]), Role::Preprocess);
        drop(loaded);
    }
    assert_eq!(sandbox.n_compiled(), 2);
}
