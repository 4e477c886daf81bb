//! One call: what a plugin returns, says and breaks.

use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, Once};
use std::time::Instant;

use millrace::config::{Isolation, PluginConfig};
use millrace::disposition::ReasonClass;
use millrace::message::Outbound;
use millrace::sandbox::{CallError, Compiler, PluginCounts, PluginRefusal, Role, Sandbox};
use millrace_tests::samples::guest;
use millrace_tests::wait_for;

use super::{
    COMPONENT, DEADLINE, MODULE, config, first_byte, hostile, hostile_route, load, message, prediction, shared, wants,
};

/// Makes one call of a preprocessor in a mode.
async fn preprocess(config: &PluginConfig, id: &str) -> Result<(), CallError> {
    let plugin = load(shared(), config, Role::Preprocess);
    let answer = plugin
        .preprocess(&shared().lane(1), &message(id, b"body"), &wants())
        .await;
    answer.answer.map(|tensor| assert_eq!(tensor.tensor_type(), *wants()))
}

/// Makes one call of a router in a mode.
async fn route(config: &PluginConfig) -> Result<Vec<Outbound>, CallError> {
    let plugin = load(shared(), config, Role::Route);
    plugin
        .route(&shared().lane(1), &message("m", b"body"), &prediction())
        .await
        .answer
}

/// The class of an error, and whether it ended the instance.
fn told(error: CallError) -> (&'static str, ReasonClass, String) {
    match error {
        CallError::Fault { class, text } => ("fault", class, text),
        CallError::BadOutput { class, text, .. } => ("bad output", class, text),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_broken_bound_is_told_with_its_limit() {
    use ReasonClass::{Deadline, Memory, OutputTooLarge, Trap};
    let rows: [(&str, ReasonClass, &str); 10] = [
        (
            "trap",
            Trap,
            "trapped: wasm `unreachable` instruction executed; in hostile::",
        ),
        ("panic", Trap, "the hostile plugin panics"),
        ("panic", Trap, "panicked at "),
        ("out-of-bounds", Trap, "trapped: out of bounds memory access"),
        ("recurse", Trap, "; in hostile::behaviour::recurse"),
        (
            "loop",
            Deadline,
            "ran past its deadline of 0.300 s of CPU time (used 0.3",
        ),
        (
            "loop-in-host",
            Deadline,
            "ran past its deadline of 0.300 s of CPU time (used 0.3",
        ),
        ("memory-bomb", Memory, " of memory, allowed 64 MiB"),
        ("memory-bomb-handled", Memory, "asked for 64."),
        ("huge-output", OutputTooLarge, "handed over more than 1 MiB at once"),
    ];
    for (mode, class, text) in rows {
        let memory_bytes = if class == OutputTooLarge { 256 << 20 } else { 64 << 20 };
        let error = preprocess(
            &PluginConfig {
                memory_bytes,
                ..hostile(mode)
            },
            "m",
        )
        .await
        .unwrap_err();
        let found = told(error);
        assert_eq!((found.0, found.1), ("fault", class), "{mode}: {}", found.2);
        assert!(found.2.contains(text), "{mode}: {}", found.2);
        assert!(found.2.len() < 4096 && !found.2.contains('\n'), "{mode}: {}", found.2);
    }
}

#[tokio::test]
async fn only_a_tensor_that_the_model_takes_leaves_the_sandbox() {
    let rows = [
        ("wrong-shape", "expected byte [3, 32, 32], found byte [32, 32, 3]"),
        ("no-shape", "expected byte [3, 32, 32], found byte []"),
        ("huge-shape", "expected byte [3, 32, 32], found a tensor of 16 axes"),
        ("wrong-element", "expected byte [3, 32, 32], found float [3, 32, 32]"),
        ("nan", "expected byte [3, 32, 32], found float [3, 32, 32]"),
        ("short-data", "has 3072 elements, found 3071"),
        ("long-data", "has 3072 elements, found 3073"),
    ];
    for (mode, text) in rows {
        let found = told(preprocess(&hostile(mode), "m").await.unwrap_err());
        assert_eq!(
            (found.0, found.1),
            ("bad output", ReasonClass::BadTensor),
            "{mode}: {}",
            found.2
        );
        assert!(found.2.contains(text), "{mode}: {}", found.2);
    }
}

#[tokio::test]
async fn floats_that_are_not_finite_do_not_leave_the_sandbox() {
    let wants = millrace::message::TensorType {
        element: millrace::message::Element::Float,
        ..(*wants()).clone()
    };
    for mode in ["nan", "infinity"] {
        let plugin = load(shared(), &hostile(mode), Role::Preprocess);
        let answer = plugin
            .preprocess(&shared().lane(1), &message("m", b""), &Arc::new(wants.clone()))
            .await;
        let found = told(answer.answer.unwrap_err());
        assert_eq!((found.0, found.1), ("bad output", ReasonClass::BadTensor));
        assert!(found.2.contains("element 0 is not a finite number"), "{}", found.2);
    }
}

#[tokio::test]
async fn refusals_come_in_the_plugins_words_bounded_and_escaped() {
    #[track_caller]
    fn check(answer: Result<(), CallError>, expected: impl FnOnce(&PluginRefusal) -> bool) {
        match answer.unwrap_err() {
            CallError::Refused(refusal) => assert!(expected(&refusal), "{refusal:?}"),
            other => panic!("{other:?}"),
        }
    }
    let refused = async |mode| preprocess(&hostile(mode), "m").await;
    check(refused("reject").await, |r| {
        *r == PluginRefusal::Reject("the hostile plugin rejects".to_owned())
    });
    check(refused("retry").await, |r| {
        *r == PluginRefusal::Retry("the hostile plugin wants another attempt".to_owned())
    });
    check(refused("skip").await, |r| {
        *r == PluginRefusal::Skip("the hostile plugin wants no result".to_owned())
    });
    let clean = |r: &PluginRefusal| matches!(r, PluginRefusal::Reject(text) if text.starts_with("\\u{1b}]0;owned\\u{7}") && !text.chars().any(char::is_control));
    check(refused("refuse-control-characters").await, clean);
}

#[tokio::test]
async fn a_refusal_of_a_mebibyte_is_cut_or_refused_itself() {
    match preprocess(&hostile("refuse-text-huge"), "m").await.unwrap_err() {
        CallError::Refused(PluginRefusal::Reject(text)) => assert_eq!(text.len(), 1024 + 3),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn results_that_no_envelope_holds_do_not_leave_the_sandbox() {
    use ReasonClass::{Deadline, Denied, OutputTooLarge, Trap};
    let rows: [(&str, &str, ReasonClass, &str); 10] = [
        (
            "many-outputs",
            "bad output",
            OutputTooLarge,
            "returned 1000 results, allowed 8",
        ),
        (
            "huge-body",
            "fault",
            OutputTooLarge,
            "handed over more than 9 MiB at once",
        ),
        (
            "long-key",
            "bad output",
            Denied,
            "returned a key of 300 bytes, allowed 255",
        ),
        (
            "header-long-name",
            "bad output",
            Denied,
            "returned a header of 300 bytes, allowed 255",
        ),
        (
            "header-long-value",
            "bad output",
            OutputTooLarge,
            "returned a result with 1 MiB of headers, allowed 64 KiB",
        ),
        (
            "many-headers",
            "bad output",
            OutputTooLarge,
            "returned a result with 10000 headers, allowed 64",
        ),
        (
            "long-content-type",
            "bad output",
            Denied,
            "returned a content type of 300 bytes, allowed 255",
        ),
        ("trap", "fault", Trap, "wasm `unreachable` instruction executed"),
        ("panic", "fault", Trap, "the hostile router panics"),
        ("loop", "fault", Deadline, "ran past its deadline of 0.300 s"),
    ];
    for (mode, kind, class, text) in rows {
        let found = told(
            route(&PluginConfig {
                memory_bytes: 256 << 20,
                ..hostile_route(mode)
            })
            .await
            .unwrap_err(),
        );
        assert_eq!((found.0, found.1), (kind, class), "{mode}: {}", found.2);
        assert!(found.2.contains(text), "{mode}: {}", found.2);
    }
}

#[tokio::test]
async fn a_router_sees_the_prediction_and_names_destinations() {
    let results = route(&hostile_route("fan-out")).await.unwrap();
    let found: Vec<_> = results
        .iter()
        .map(|r| (r.destination.as_str(), r.body.as_slice()))
        .collect();
    assert_eq!(
        found,
        [("results", b"square".as_slice()), ("copies", b"square".as_slice())]
    );
    assert!(route(&hostile_route("nothing")).await.unwrap().is_empty());
    assert_eq!(route(&hostile_route("ask-too-much")).await.unwrap()[0].body, b"2 true");
}

#[tokio::test]
async fn a_message_shows_its_state_only_to_the_isolation_that_keeps_it() {
    for (isolation, expected) in [(Isolation::Message, [1, 1, 1]), (Isolation::Worker, [1, 2, 3])] {
        let sandbox = Sandbox::start(1, Compiler::InProcess).unwrap();
        let plugin = load(
            &sandbox,
            &PluginConfig {
                isolation,
                ..hostile("stateful")
            },
            Role::Preprocess,
        );
        let lane = sandbox.lane(1);
        let mut found = Vec::new();
        for _ in 0..3 {
            found.push(first_byte(&plugin, &lane).await.unwrap());
        }
        assert_eq!(found, expected, "{isolation:?}");
    }
}

#[tokio::test]
async fn an_instance_does_not_outlive_its_fault() {
    let sandbox = Sandbox::start(1, Compiler::InProcess).unwrap();
    let config = PluginConfig {
        isolation: Isolation::Worker,
        ..hostile("panic-on-poison")
    };
    let plugin = load(&sandbox, &config, Role::Preprocess);
    let lane = sandbox.lane(1);
    for _ in 0..3 {
        plugin
            .preprocess(&lane, &message("m", b"good"), &wants())
            .await
            .answer
            .unwrap();
        assert_eq!(sandbox.instances(), 1);
        let found = told(
            plugin
                .preprocess(&lane, &message("m", b"poison"), &wants())
                .await
                .answer
                .unwrap_err(),
        );
        assert_eq!(found.1, ReasonClass::Trap, "{}", found.2);
        assert_eq!(sandbox.instances(), 0);
    }
}

#[tokio::test]
async fn what_calls_cost_is_counted_for_all_versions_of_a_plugin_together() {
    let sandbox = Sandbox::start(1, Compiler::InProcess).unwrap();
    let lane = sandbox.lane(1);
    let first = load(&sandbox, &hostile("ok"), Role::Preprocess);
    first_byte(&first, &lane).await.unwrap();
    let second = load(&sandbox, &hostile("loop"), Role::Preprocess);
    first_byte(&second, &lane).await.unwrap_err();
    // A worker counts what it did after it answered.
    let [counts] = wait_for("two calls", || {
        let counts: [PluginCounts; 1] = sandbox.counts().try_into().ok()?;
        (counts[0].waited.n() == 2).then_some(counts)
    })
    .unwrap();
    assert_eq!(counts.name, "guest");
    assert!(counts.cpu >= DEADLINE && counts.cpu < 10 * DEADLINE, "{:?}", counts.cpu);
    assert!(
        counts.memory_peak_bytes > 64 << 10 && counts.memory_peak_bytes <= 64 << 20,
        "{counts:?}"
    );
    drop((first, second));
    wait_for("no plugin", || sandbox.counts().is_empty().then_some(())).unwrap();
}

/// Growing its memory would cost every fresh instance two system calls. WASI's allocator takes the initial pages first, and so
/// does that of the SDK: an allocator that does not needs one page more.
#[tokio::test]
async fn a_small_call_of_a_core_module_stays_within_the_memory_that_it_begins_with() {
    let mut peaks = [0, 0];
    for (target, peak) in [MODULE, COMPONENT].into_iter().zip(&mut peaks) {
        let sandbox = Sandbox::start(1, Compiler::InProcess).unwrap();
        let lane = sandbox.lane(1);
        let plugin = load(
            &sandbox,
            &config(guest(target, "tensor-passthrough").unwrap()),
            Role::Preprocess,
        );
        let body = message("m", &[7; 3 * 32 * 32]);
        plugin.preprocess(&lane, &body, &wants()).await.answer.unwrap();
        *peak = wait_for("a call", || {
            sandbox
                .counts()
                .first()
                .map(|counts| counts.memory_peak_bytes)
                .filter(|peak| *peak > 0)
        })
        .unwrap();
    }
    let [module, component] = peaks;
    assert!(
        module < component + (48 << 10),
        "{module} bytes, {component} with WASI's allocator"
    );
}

#[tokio::test]
async fn a_deadline_is_cpu_time_and_not_wall_clock_time() {
    let busy = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let cores = std::thread::available_parallelism().unwrap().get();
    let burners: Vec<_> = (0..cores * 4)
        .map(|_| {
            let busy = Arc::clone(&busy);
            std::thread::spawn(move || while busy.load(std::sync::atomic::Ordering::Relaxed) {})
        })
        .collect();
    let sandbox = Sandbox::start(1, Compiler::InProcess).unwrap();
    let plugin = load(&sandbox, &hostile("loop"), Role::Preprocess);
    let began = Instant::now();
    let answer = plugin.preprocess(&sandbox.lane(1), &message("m", b""), &wants()).await;
    let took = began.elapsed();
    busy.store(false, std::sync::atomic::Ordering::Relaxed);
    burners.into_iter().for_each(|burner| burner.join().unwrap());
    let found = told(answer.answer.unwrap_err());
    assert!(found.2.contains("of CPU time (used 0.3"), "{}", found.2);
    assert!(
        took > DEADLINE * 3 / 2,
        "on cores that were all busy four times over, it took {took:?}"
    );
}

#[tokio::test]
async fn what_a_plugin_says_is_bounded_and_escaped() {
    capture();
    preprocess(&hostile("log-flood"), "flood-1").await.unwrap();
    let lines = log("flood-1");
    assert_eq!(lines.iter().filter(|line| line.contains("plugin log ")).count(), 64);
    let last = lines.last().unwrap();
    assert!(
        last.contains("plugin logged too much") && last.contains("dropped=99936"),
        "{last}"
    );
    assert!(
        lines[0].contains("plugin=\"guest\"") && lines[0].contains("line 0"),
        "{}",
        lines[0]
    );

    preprocess(&hostile("log-long-line"), "flood-2").await.unwrap();
    let lines = log("flood-2");
    assert!(lines.len() == 1 && lines[0].len() < 1400, "{} bytes", lines[0].len());

    preprocess(&hostile("log-control-characters"), "flood-3").await.unwrap();
    let lines = log("flood-3");
    assert_eq!(lines.len(), 1);
    assert!(
        !lines[0].chars().any(|c| c.is_control() || c == '\u{202e}'),
        "{:?}",
        lines[0]
    );
}

#[tokio::test]
async fn a_body_can_be_asked_for_again_and_again() {
    preprocess(&hostile("body-flood"), "m").await.unwrap();
}

static CAPTURED: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// The lines that were logged about a message so far. The subscriber is the process's: workers are threads of their own.
fn log(id: &str) -> Vec<String> {
    let captured = captured();
    let lines = std::str::from_utf8(&captured).unwrap().lines();
    lines
        .filter(|line| line.contains(&format!("message_id=\"{id}\"")))
        .map(str::to_owned)
        .collect()
}

fn captured() -> MutexGuard<'static, Vec<u8>> {
    CAPTURED.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn capture() {
    struct Captured;
    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            captured().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(|| Captured)
            .init()
    });
}
