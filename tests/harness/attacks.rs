//! Hostile preprocessors that only text can say, by name. What becomes of each is for the tests to say.

/// What `preprocess` of a core module is called with, and what it returns: a pointer.
const PREPROCESS: &str = r#"(func (export "preprocess") (param i32 i32 i32 i32) (result i32)"#;

/// Attacks that are a call: they load, and misbehave when a message comes.
pub fn calls() -> Vec<(&'static str, String)> {
    let body = |body: &str| format!("{PREPROCESS} {body})");
    let answer = |answer: &str| body(&format!("(call $give-back (local.get 0)) {answer} (i32.const 2048)"));
    vec![
        ("unreachable", body("unreachable")),
        ("division-by-zero", body("(i32.div_u (i32.const 1) (i32.const 0))")),
        (
            "pointer-out-of-bounds",
            body("(call $give-back (local.get 0)) (i32.const -8)"),
        ),
        ("message-kept", body("(i32.const 2048)")),
        // ok(tensor { shape: a list of no axes, data: bytes, of which there are 4 GiB less one })
        (
            "lying-length",
            answer("(i32.store (i32.const 2068) (i32.const -1)) (i32.store (i32.const 2064) (i32.const 0))"),
        ),
        ("lying-variant", answer("(i32.store8 (i32.const 2048) (i32.const 77))")),
        // 16 MiB of bytes that are there, of a tensor of 3 KiB.
        (
            "real-length",
            format!(
                r#"(memory (export "memory") 300) {}"#,
                answer("(i32.store (i32.const 2068) (i32.const 0x1000000))")
            ),
        ),
        (
            "recursion",
            format!(
                "(func $deep (param i64) (result i64) (i64.mul (call $deep (i64.add (local.get 0) (i64.const 1))) (local.get 0))) {}",
                body("(drop (call $deep (i64.const 0))) unreachable")
            ),
        ),
        (
            "many-small-grows",
            body("(loop $more (drop (memory.grow (i32.const 1))) (br $more)) unreachable"),
        ),
        (
            "one-large-grow",
            body("(drop (memory.grow (i32.const 65000))) unreachable"),
        ),
        (
            "table-bomb",
            format!(
                "(table $bomb 1 funcref) {}",
                body(
                    "(loop $more (br_if $more (i32.ne (i32.const -1) (table.grow $bomb (ref.null func) (i32.const 1000))))) unreachable"
                )
            ),
        ),
        (
            "endless-allocator",
            // `configure` is given its settings through it, so it ends the first time.
            format!(
                r#"(global $calls (mut i32) (i32.const 0))
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                  (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
                  (loop $for_ever (br_if $for_ever (i32.gt_u (global.get $calls) (i32.const 1))))
                  (call $allocate (local.get 2) (local.get 3)))
                {}"#,
                body("unreachable")
            ),
        ),
        (
            "deep-allocator",
            format!(
                r#"(global $calls (mut i32) (i32.const 0))
                (func $deep (param i32) (result i32) (i32.add (call $deep (local.get 0)) (i32.const 1)))
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                  (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
                  (if (i32.gt_u (global.get $calls) (i32.const 1)) (then (drop (call $deep (i32.const 0)))))
                  (call $allocate (local.get 2) (local.get 3)))
                {}"#,
                body("unreachable")
            ),
        ),
        (
            "lying-allocator",
            format!(
                r#"(global $calls (mut i32) (i32.const 0))
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                  (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
                  (if (i32.gt_u (global.get $calls) (i32.const 1)) (then (return (i32.const -16))))
                  (call $allocate (local.get 2) (local.get 3)))
                {}"#,
                body("unreachable")
            ),
        ),
    ]
}

/// Attacks on loading: core modules that must not be taken into service.
pub fn loads() -> Vec<(&'static str, String)> {
    let with = |fields: &str| format!("{fields} {PREPROCESS} unreachable)");
    vec![
        (
            "endless-start",
            with("(func $start (loop $for_ever (br $for_ever))) (start $start)"),
        ),
        ("trap-at-start", with("(func $start unreachable) (start $start)")),
        (
            "endless-allocator-at-load",
            with(
                r#"(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (loop $for_ever (br $for_ever)) unreachable)"#,
            ),
        ),
        (
            "endless-configure",
            with(
                r#"(func (export "millrace:pipeline/plugin@0.1.0#configure") (param i32 i32) (result i32) (loop $for_ever (br $for_ever)) unreachable)"#,
            ),
        ),
        ("memory-of-4-gibibytes", with(r#"(memory (export "memory") 65536)"#)),
        ("table-of-a-million", with("(table 1000000 funcref)")),
        ("data-outside", with(r#"(data (i32.const 0x7fffffff) "outside")"#)),
        (
            "two-memories",
            with(r#"(memory (export "memory") 2) (memory $second 2)"#),
        ),
        ("what-is-switched-off", with(r#"(memory (export "memory") i64 1)"#)),
    ]
}

/// Attacks on loading that are components.
pub fn components() -> Vec<(&'static str, String)> {
    let many = |n: usize, one: &dyn Fn(usize) -> String| -> String { (0..n).map(one).collect() };
    let component = |inside: String| format!("(component {inside})");
    vec![
        (
            "10000-imports",
            component(many(10_000, &|n| format!("(import \"a{n}\" (func))"))),
        ),
        (
            "10000-exports",
            component(format!(
                "(core module $m (func (export \"f\"))) (core instance $i (instantiate $m)) (func $f (canon lift (core func $i \"f\"))) {}",
                many(10_000, &|n| format!("(export \"a{n}\" (func $f))"))
            )),
        ),
        (
            "5000-core-instances",
            component(format!(
                "(core module $m (memory 1)) {}",
                many(5_000, &|_| "(core instance (instantiate $m))".to_owned())
            )),
        ),
        (
            "components-in-components",
            component(format!("{}{}", "(component ".repeat(80), ")".repeat(80))),
        ),
        (
            "instances-of-instances",
            // Each has two of the one before it: a million at the end.
            component(format!(
                "(component $c0 (core module $m) (core instance (instantiate $m))) {} (instance (instantiate $c20))",
                many(20, &|n| {
                    let next = n + 1;
                    format!(
                        "(component $c{next} (alias outer 1 $c{n} (component $c)) (instance (instantiate $c)) (instance (instantiate $c))) "
                    )
                })
            )),
        ),
    ]
}
