//! What may not serve: each is refused with its reason, and the old version goes on as if nothing had been.

use super::*;

#[test]
fn files_that_are_no_good_plugin_are_refused_by_name_and_reason() -> Result<()> {
    let mut rig = Rig::plain(|scene| scene)?;
    let wasm = decode_image()?;
    let first = version(&wasm, 1);
    let path = rig.mill.path("crop.wasm");
    let generation = rig.wait_version("the first", &first)?;
    let half = wasm.get(..wasm.len() / 2).context("a file without a half")?.to_vec();
    let rows: [(&str, Vec<u8>, &str); 7] = [
        ("cut off", half, "it ends in the middle"),
        ("empty", Vec::new(), "it is not WebAssembly"),
        ("a text", b"(not a plugin)".to_vec(), "it is not WebAssembly"),
        ("a router", read("by-label")?, "but is used as a preprocessor"),
        ("of another world", read("wants-clock")?, "not granted"),
        (
            "one that wants other settings",
            hostile_with(r#"{"mode":"reject-settings"}"#)?,
            "the hostile plugin accepts no settings",
        ),
        (
            "one that panics when it is configured",
            hostile_with(r#"{"mode":"panic-in-configure"}"#)?,
            "it failed when it was given its settings",
        ),
    ];
    for (n, (what, bytes, expected)) in (1..).zip(rows) {
        std::fs::write(&path, bytes)?;
        rig.wait_refusal(n, what, &[expected, "plugins.toml:"])?;
        rig.still_serves(what, &first, generation)?;
    }
    let second = version(&wasm, 2);
    std::fs::write(&path, &second)?;
    assert_eq!(rig.wait_version("a good one after all that", &second)?, generation + 1);
    rig.finish()?.all_right()
}

#[test]
fn a_version_that_fails_its_smoke_tests_never_sees_a_message() -> Result<()> {
    let mut rig = Rig::plain(|scene| {
        let smoke_test = |file: &str, label: &str| {
            let path = millrace_tests::samples::model().join("samples").join(file);
            format!("[[pipeline.images.smoke_test]]\nfile = {path:?}\nlabel = {label:?}\n")
        };
        Scene {
            tables: smoke_test("arrow-1.png", "arrow") + &smoke_test("ring-1.png", "ring"),
            ..scene
        }
    })?;
    let wasm = decode_image()?;
    let first = version(&wasm, 1);
    let path = rig.mill.path("crop.wasm");
    let generation = rig.wait_version("the first", &first)?;
    // Zeros look like at most one of the two.
    let rows = [
        ("trap", "trap"),
        ("wrong-shape", "shape"),
        ("reject", "rejects"),
        ("ok", "label"),
    ];
    for (n, (mode, expected)) in (1..).zip(rows) {
        std::fs::write(&path, hostile_with(&format!(r#"{{"mode":"{mode}"}}"#))?)?;
        rig.wait_refusal(n, mode, &["smoke test", expected, ".png", "step: smoke-test"])?;
        rig.still_serves(mode, &first, generation)?;
    }
    let second = version(&wasm, 2);
    std::fs::write(&path, &second)?;
    assert_eq!(rig.wait_version("one that passes", &second)?, generation + 1);
    let outcome = rig.finish()?;
    let of_hostile = outcome.results.iter().find(|result| {
        let version = result.header("x-millrace-preprocess");
        ![&first, &second].iter().any(|wasm| version.ends_with(&digest(wasm)))
    });
    assert!(of_hostile.is_none(), "{of_hostile:?}");
    outcome.all_right()
}

#[test]
fn a_file_with_a_mistake_or_a_change_of_what_is_fixed_is_refused_as_a_whole() -> Result<()> {
    let mut rig = Rig::plain(|scene| scene)?;
    let first = version(&decode_image()?, 1);
    let generation = rig.wait_version("the first", &first)?;
    let path = rig.mill.path("plugins.toml");
    let good = std::fs::read_to_string(&path)?;
    // With each comes a change that would be good by itself, and a new version of the plugin.
    let good_change = |text: &str| text.replace("[plugin.by-label]", "[plugin.by-label]\nsettings = { top_k = 2 }");
    let rows: [(&str, String, &[&str]); 3] = [
        (
            "a typing error",
            good.replace("prefetch", "prefetc"),
            &["did you mean `prefetch`?"],
        ),
        (
            "another broker",
            good.replace("[broker]\n", "[broker]\nconfirm_timeout = \"29s\"\n"),
            &["[broker]", "restart", "step: compare"],
        ),
        (
            "another host",
            format!("{good}\n[host]\ndrain = \"24s\"\n"),
            &["[host]", "restart", "step: compare"],
        ),
    ];
    for (n, (what, text, expected)) in (1..).zip(rows) {
        std::fs::write(&path, good_change(&text))?;
        rig.wait_refusal(n, what, expected)?;
        rig.still_serves(what, &first, generation)?;
    }
    std::fs::write(&path, good_change(&good))?;
    let result = rig.flow.wait_result("the good change alone", |arrival| {
        arrival.header("x-millrace-generation") == (generation + 1).to_string()
    });
    result.with_context(|| rig.host.log())?;
    rig.finish()?.all_right()
}
