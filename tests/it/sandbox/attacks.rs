//! Guests that no compiler makes: what becomes of a call, and what is not even taken into service.

use std::time::Duration;

use millrace::config::PluginConfig;
use millrace::disposition::ReasonClass;
use millrace::sandbox::{CallError, Role};
use millrace_tests::{attacks, wat};

use super::{config, first_byte, load, shared};

/// A guest of text as a file.
fn file(folder: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PluginConfig {
    let path = folder.path().join(format!("{name}.wasm"));
    std::fs::write(&path, bytes).unwrap();
    PluginConfig {
        deadline: Duration::from_millis(100),
        ..config(path)
    }
}

#[tokio::test]
async fn every_attack_in_a_call_ends_at_its_bound() {
    use ReasonClass::{Deadline, Memory, OutputTooLarge, Trap};
    let rows: [(&str, ReasonClass, &str); 14] = [
        ("unreachable", Trap, "trapped: wasm `unreachable` instruction executed"),
        ("division-by-zero", Trap, "trapped: integer divide by zero"),
        ("pointer-out-of-bounds", Trap, "trapped: "),
        (
            "message-kept",
            Trap,
            "trapped: borrow handles still remain at the end of the call",
        ),
        ("lying-length", Trap, "trapped: "),
        ("lying-variant", Trap, "trapped: "),
        ("real-length", OutputTooLarge, "handed over more than 1 MiB at once"),
        ("recursion", Trap, "trapped: call stack exhausted"),
        (
            "many-small-grows",
            Memory,
            "asked for 64.06 MiB of memory, allowed 64 MiB",
        ),
        ("one-large-grow", Memory, " of memory, allowed 64 MiB"),
        ("table-bomb", Trap, "trapped: wasm `unreachable`"),
        (
            "endless-allocator",
            Deadline,
            "ran past its deadline of 0.100 s of CPU time",
        ),
        ("deep-allocator", Trap, "trapped: call stack exhausted"),
        ("lying-allocator", Trap, "trapped: "),
    ];
    let folder = tempfile::tempdir().unwrap();
    let attacks = attacks::calls();
    assert_eq!(
        attacks.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        rows.map(|(name, ..)| name)
    );
    for ((name, class, text), (_, fields)) in rows.into_iter().zip(attacks) {
        let config = file(&folder, name, &wat::preprocessor(&fields).unwrap());
        let plugin = load(shared(), &config, Role::Preprocess);
        match first_byte(&plugin, &shared().lane(1)).await {
            Err(CallError::Fault {
                class: found,
                text: told,
            }) => {
                assert_eq!(found, class, "{name}: {told}");
                assert!(told.contains(text) && told.len() < 4096, "{name}: {told}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn what_attacks_its_loading_is_not_taken_into_service() {
    let rows: [(&str, &str); 14] = [
        (
            "endless-start",
            "it failed when it was given its settings: it ran past its deadline of 0.100 s",
        ),
        ("trap-at-start", "trapped: wasm `unreachable`"),
        ("endless-allocator-at-load", "it ran past its deadline of 0.100 s"),
        ("endless-configure", "it ran past its deadline of 0.100 s"),
        (
            "memory-of-4-gibibytes",
            "it needs 4 GiB of memory at its start, allowed 64 MiB",
        ),
        ("table-of-a-million", "it is not valid: "),
        ("data-outside", "trapped: out of bounds memory access"),
        ("two-memories", "it is not valid: "),
        ("what-is-switched-off", "it is not valid: "),
        ("10000-imports", "it is not a preprocessor: "),
        ("10000-exports", "it is not a preprocessor: "),
        ("5000-core-instances", "it is "),
        ("components-in-components", "it is "),
        ("instances-of-instances", "it is "),
    ];
    let folder = tempfile::tempdir().unwrap();
    let modules = attacks::loads();
    let modules = modules.into_iter().map(|(name, text)| (name, wat::preprocessor(&text)));
    let components = attacks::components();
    let components = components.into_iter().map(|(name, text)| (name, wat::component(&text)));
    for ((name, expected), (attack, bytes)) in rows.into_iter().zip(modules.chain(components)) {
        assert_eq!(name, attack);
        let began = std::time::Instant::now();
        let problem = match shared().load(&file(&folder, name, &bytes.unwrap()), Role::Preprocess) {
            Ok(plugin) => panic!("{name}: {plugin:?} was loaded"),
            Err(error) => error.problem.to_string(),
        };
        println!("{name}: {:?}: {problem}", began.elapsed());
        assert!(problem.contains(expected) && problem.len() < 4096, "{name}: {problem}");
    }
}
