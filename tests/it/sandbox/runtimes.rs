//! Guests that bring a language's runtime: composed of several with a memory each, modules for WASI's first preview, and
//! what such a runtime imports unasked.

use millrace::config::PluginConfig;
use millrace::disposition::ReasonClass;
use millrace::sandbox::{CallError, CompileLimits, Compiler, Role, Sandbox};
use millrace_tests::wat;

use super::{compiling, config, first_byte, load, shared};

/// A preprocessor that is two components in one.
const COMPOSED: &str = include_str!("composed.wat");

/// The bytes of the text that its outer one hands to its inner one, added up by that.
const SUM: u8 = {
    let text = b"composed";
    let (mut sum, mut at) = (0_u8, 0);
    while at < text.len() {
        sum = sum.wrapping_add(text[at]);
        at += 1;
    }
    sum
};

/// What modules of C, Go and Rust import for WASI's first preview.
const PREVIEW_1: &str = r#"
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_prestat_get" (func $fd_prestat_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
"#;

/// A tensor of one value; what a traceback looks like, and where it is.
const HELPERS: &str = r#"
  (memory (export "memory") 16)
  (data (i32.const 512) "\03\00\00\00\20\00\00\00\20\00\00\00")
  (data (i32.const 768) "Traceback (most recent call last):\n  in inner\nZeroDivisionError: division by zero")
  (data (i32.const 640) "\00\03\00\00\51\00\00\00")
  (func $tensor (param $value i32) (result i32)
    (memory.fill (i32.const 983040) (local.get $value) (i32.const 3072))
    (i32.store (i32.const 132) (i32.const 512))
    (i32.store (i32.const 136) (i32.const 3))
    (i32.store (i32.const 144) (i32.const 983040))
    (i32.store (i32.const 148) (i32.const 3072))
    (i32.const 128))
"#;

/// A module for the first preview that does this when it is called, and answers with what is left on the stack.
fn preview_1(does: &str) -> Vec<u8> {
    preview_1_with("", does)
}

fn preview_1_with(fields: &str, does: &str) -> Vec<u8> {
    let fields = format!(
        "{HELPERS} {fields} (func (export \"preprocess\") (param i32 i32 i32 i32) (result i32)
           (call $give-back (local.get 0)) (call $tensor {does}))"
    );
    wat::preprocessor_importing(PREVIEW_1, &fields).unwrap()
}

fn file(folder: &tempfile::TempDir, bytes: &[u8]) -> PluginConfig {
    let path = folder.path().join("guest.wasm");
    std::fs::write(&path, bytes).unwrap();
    config(path)
}

fn refused(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    match shared().load(&file(&folder, bytes), Role::Preprocess) {
        Ok(plugin) => panic!("{plugin:?} was loaded"),
        Err(error) => error.problem.to_string(),
    }
}

#[tokio::test]
async fn a_component_of_several_with_a_memory_each_runs() {
    let folder = tempfile::tempdir().unwrap();
    let config = file(&folder, &wat::component(COMPOSED).unwrap());
    let child = compiling::sandbox(CompileLimits::default());
    for sandbox in [&Sandbox::start(1, Compiler::InProcess).unwrap(), &child] {
        let plugin = load(sandbox, &config, Role::Preprocess);
        assert_eq!(first_byte(&plugin, &sandbox.lane(1)).await.unwrap(), SUM);
    }
}

/// What the file says in place of what the good one says, and why it is refused.
#[test]
fn memories_are_bounded_in_number_and_in_their_sum() {
    let check = |from: &str, to: &str, expected: &str| {
        assert!(COMPOSED.contains(from), "{from}");
        let bytes = wat::component(&COMPOSED.replace(from, to)).unwrap();
        let text = refused(&bytes);
        assert!(text.contains(expected), "{to}: {text}");
    };
    // Each of them begins within 64 MiB.
    check(
        "(memory (export \"memory\") 1)",
        "(memory (export \"memory\") 600)",
        "it failed when it was given its settings: it asked for 75 MiB of memory, allowed 64 MiB",
    );
    check(
        "(memory (export \"memory\") 1)\n",
        "(memory (export \"memory\") 1) (memory 1)\n",
        "it is not valid: ",
    );
    let instances = "(core instance (instantiate $memory-module))".repeat(3);
    check(
        "(core instance $memory (instantiate $memory-module))",
        &format!("(core instance $memory (instantiate $memory-module)) {instances}"),
        "it is not valid: ",
    );
}

/// What a module does, and the first byte of its answer.
#[tokio::test]
async fn a_module_for_the_first_preview_finds_nothing_and_is_refused_nothing_harmless() {
    const BADF: u8 = 8;
    let rows = [
        ("(i32.const 7)", 7),
        (
            "(call $fd_write (i32.const 2) (i32.const 640) (i32.const 1) (i32.const 632))",
            0,
        ),
        // A clock that stands still.
        ("(call $clock_time_get (i32.const 1) (i64.const 0) (i32.const 632))", 0),
        (
            "(block (result i32) (drop (call $clock_time_get (i32.const 1) (i64.const 0) (i32.const 632))) (i32.load (i32.const 632)))",
            0,
        ),
        // No folder that it could begin at.
        ("(call $fd_prestat_get (i32.const 3) (i32.const 632))", BADF),
        (
            "(call $path_open (i32.const 3) (i32.const 0) (i32.const 768) (i32.const 9) (i32.const 0) (i64.const 0)
               (i64.const 0) (i32.const 0) (i32.const 632))",
            BADF,
        ),
        // No environment.
        (
            "(block (result i32) (drop (call $environ_sizes_get (i32.const 632) (i32.const 636)))
               (i32.load (i32.const 632)))",
            0,
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (does, expected) in rows {
        let plugin = load(shared(), &file(&folder, &preview_1(does)), Role::Preprocess);
        let found = first_byte(&plugin, &shared().lane(1)).await;
        assert_eq!(
            found.unwrap_or_else(|error| panic!("{does}: {error}")),
            expected,
            "{does}"
        );
    }
}

/// A runtime seeds itself when it starts; a plugin that asks in a call wants what is not there.
#[tokio::test]
async fn a_runtime_starts_with_the_same_seed_every_time() {
    let configure = r#"(func (export "millrace:pipeline/plugin@0.1.0#configure") (param i32 i32) (result i32)
        (drop (call $random_get (i32.const 600) (i32.const 8))) (i32.const 1024))"#;
    let folder = tempfile::tempdir().unwrap();
    let bytes = preview_1_with(configure, "(i32.load8_u (i32.const 600))");
    let plugin = load(shared(), &file(&folder, &bytes), Role::Preprocess);
    for _ in 0..2 {
        assert_eq!(first_byte(&plugin, &shared().lane(1)).await.unwrap(), b'e');
    }
    // No runtime needs so much.
    let greedy = configure.replace("(i32.const 600) (i32.const 8)", "(i32.const 70000) (i32.const 8192)");
    let text = refused(&preview_1_with(&greedy, "(i32.const 0)"));
    assert!(text.contains("called `get-random-bytes`"), "{text}");
}

/// What a module does, and what is said about its end.
#[tokio::test]
async fn what_is_not_granted_is_named_by_the_call_that_asks_for_it() {
    let print = "(call $fd_write (i32.const 2) (i32.const 640) (i32.const 1) (i32.const 632))";
    let rows = [
        (
            "(call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 632))".to_owned(),
            "called `now` of `wasi:clocks/wall-clock`, which is not granted",
        ),
        (
            "(call $random_get (i32.const 632) (i32.const 8))".to_owned(),
            "called `get-random-bytes` of `wasi:random/random`, which is not granted",
        ),
        (
            "(block (result i32) (call $proc_exit (i32.const 1)) (unreachable))".to_owned(),
            "called exit",
        ),
        // The last line of a traceback, which nobody ended, is the reason.
        (
            format!("(block (result i32) (drop {print}) (unreachable))"),
            "trapped: wasm `unreachable` instruction executed: ZeroDivisionError: division by zero",
        ),
        (
            format!("(block (result i32) (drop {print}) (call $proc_exit (i32.const 1)) (unreachable))"),
            "called exit: ZeroDivisionError: division by zero",
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (does, expected) in rows {
        let plugin = load(shared(), &file(&folder, &preview_1(&does)), Role::Preprocess);
        match first_byte(&plugin, &shared().lane(1)).await {
            Err(CallError::Fault { class, text }) => {
                assert_eq!(class, ReasonClass::Trap, "{does}: {text}");
                assert!(text.starts_with(expected), "{does}: {text}");
            }
            other => panic!("{does}: {other:?}"),
        }
    }
}

#[test]
fn a_module_for_the_draft_before_the_first_preview_is_told_to_be_built_anew() {
    let draft = PREVIEW_1.replace("wasi_snapshot_preview1", "wasi_unstable");
    let bytes = wat::preprocessor_importing(
        &draft,
        &format!("{HELPERS} (func (export \"preprocess\") (param i32 i32 i32 i32) (result i32) (unreachable))"),
    );
    let text = refused(&bytes.unwrap());
    assert!(
        text.contains("`wasi_unstable`") && text.contains("rebuild it"),
        "{text}"
    );
}

/// An import of somebody's own beside those of a runtime is no runtime's.
#[test]
fn a_runtime_gets_what_is_of_wasi_and_nothing_else() {
    let folders = r#"(import "wasi:filesystem/preopens@0.2.0" (instance))"#;
    let clock = r#"(import "wasi:clocks/wall-clock@0.2.0" (instance))"#;
    let other = r#"(import "somebody:else/thing@1.0.0" (instance))"#;
    let rows = [
        (clock.to_owned(), None),
        (format!("{folders} {clock}"), Some("")),
        (
            format!("{folders} {clock} {other}"),
            Some("`somebody:else/thing@1.0.0`"),
        ),
    ];
    for (imports, ungranted) in rows {
        let mut text = COMPOSED.to_owned();
        let at = text.find("  (component $adder").unwrap();
        text.insert_str(at, &imports);
        let folder = tempfile::tempdir().unwrap();
        let loaded = shared().load(&file(&folder, &wat::component(&text).unwrap()), Role::Preprocess);
        let problem = loaded.err().map(|error| error.problem.to_string()).unwrap_or_default();
        match ungranted {
            Some("") => assert_eq!(problem, "", "{imports}"),
            Some(name) => assert!(
                problem.contains(name) && !problem.contains("wasi:"),
                "{imports}: {problem}"
            ),
            None => assert!(
                problem.contains("`wasi:clocks/wall-clock@0.2.0`"),
                "{imports}: {problem}"
            ),
        }
    }
}
