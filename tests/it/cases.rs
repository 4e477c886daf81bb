//! `millrace plugin run`, `test` and `bench`, and `millrace replay`: what a plugin makes of a message, on real guests.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use millrace_tests::host::{Ended, Mill};
use millrace_tests::samples::{guest, model, pictures, root};
use millrace_tests::scene::head;
use millrace_tests::versions;
use serde_json::Value;

/// Components, and core modules that the host makes components of.
const TARGETS: [&str; 2] = ["wasm32-wasip2", "wasm32-unknown-unknown"];

/// A folder with cases in it.
struct Desk {
    mill: Mill,
}

impl Desk {
    fn new(cases: &[(&str, &str)]) -> Result<Self> {
        let mill = Mill::new("")?;
        std::fs::create_dir(mill.path("cases"))?;
        for (name, text) in cases {
            std::fs::write(mill.path("cases").join(name), text)?;
        }
        Ok(Self { mill })
    }

    fn plugin(&self, verb: &str, plugin: &str, more: &[&str]) -> Result<Ended> {
        let wasm = guest(TARGETS[0], plugin)?.display().to_string();
        self.mill.run(&[&["plugin", verb, &wasm], more].concat())
    }

    /// `plugin test` over the folder.
    fn test(&self, plugin: &str, more: &[&str]) -> Result<Ended> {
        self.plugin("test", plugin, &[&["--cases", "cases"], more].concat())
    }

    fn case(&self, name: &str) -> Result<String> {
        Ok(std::fs::read_to_string(self.mill.path("cases").join(name))?)
    }
}

#[track_caller]
fn has(ended: &Ended, code: i32, parts: &[&str]) {
    assert_eq!(ended.code, Some(code), "{}\n{}", ended.stdout, ended.stderr);
    let said = format!("{}{}", ended.stdout, ended.stderr);
    for part in parts {
        assert!(said.contains(part), "no {part:?} in:\n{said}");
    }
}

/// A picture of the shipped model, beside the cases.
fn star(desk: &Desk) -> Result<PathBuf> {
    let star = pictures()?.into_iter().find(|sample| sample.label == "star");
    let path = desk.mill.path("cases").join("star.png");
    std::fs::write(&path, star.context("no star")?.png)?;
    Ok(path)
}

#[test]
fn the_cases_of_every_plugin_pass_on_both_targets() -> Result<()> {
    let mill = Mill::new("")?;
    let mut n_plugins = 0;
    for entry in std::fs::read_dir(root().join("plugins"))? {
        let folder = entry?.path();
        if !folder.join("cases").is_dir() {
            continue;
        }
        n_plugins += 1;
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let cases = folder.join("cases").display().to_string();
        for target in TARGETS {
            let wasm = guest(target, &name)?.display().to_string();
            let ended = mill.run(&["plugin", "test", &wasm, "--cases", &cases])?;
            has(&ended, 0, &[" 0 failed"]);
        }
    }
    ensure!(n_plugins >= 2, "only {n_plugins} plugins have cases");
    Ok(())
}

#[test]
fn a_case_that_fails_tells_what_differs_and_shows_it() -> Result<()> {
    let text = "wants = { shape = [3, 32, 32], element = \"byte\" }\n[message]\nfile = \"star.png\"\n\
        [expect]\ntensor = { shape = [3, 32, 31], max = 17, mean = 1, file = \"other.png\" }\n";
    let desk = Desk::new(&[("star.toml", text)])?;
    star(&desk)?;
    let other = pictures()?
        .into_iter()
        .find(|sample| sample.label == "heart")
        .context("no heart")?;
    std::fs::write(desk.mill.path("cases/other.png"), other.png)?;
    let ended = desk.test("decode-image", &["--pictures", "seen"])?;
    has(
        &ended,
        1,
        &[
            "FAILED   star",
            "tensor.shape",
            "[3, 32, 31]",
            "tensor.max",
            "17",
            "grey levels",
            "0 passed, 1 failed",
        ],
    );
    assert!(ended.stdout.contains("seen/star.png"), "{}", ended.stdout);
    let side_by_side = image::open(desk.mill.path("seen/star.png"))?;
    assert_eq!((side_by_side.width(), side_by_side.height()), (3 * 128 + 2 * 4, 128));
    // As JSON, a line a case.
    let ended = desk.test("decode-image", &["--pictures", "seen", "--json"])?;
    let line: Value = serde_json::from_str(ended.stdout.trim())?;
    assert_eq!(
        (line["case"].as_str(), line["verdict"].as_str()),
        (Some("star"), Some("failed"))
    );
    assert_eq!(line["differences"][0]["what"], "tensor.shape", "{line}");
    Ok(())
}

#[test]
fn update_writes_what_came_out_and_keeps_the_rest() -> Result<()> {
    let said = "# Why it is here.\nwants = { shape = [3, 32, 32], element = \"byte\" }\n\n[message]\nfile = \"star.png\"\n\n\
        [expect] # what must come\ntensor = { mean = 1, max = 3 } # both wrong\n\n[budget]\nmemory = \"8MiB\"\n";
    let refused = "wants = { shape = [3, 32, 32], element = \"byte\" }\n[message]\ntext = \"no picture\"\n\
        [expect]\n# it used to pass\ntensor = { mean = 1 }\n\n[limits]\ndeadline = \"1s\"\n";
    let nothing =
        "model = \"MODEL\"\n[message]\nfile = \"star.png\"\n".replace("MODEL", &model().display().to_string());
    let desk = Desk::new(&[
        ("said.toml", said),
        ("refused.toml", refused),
        ("nothing.toml", &nothing),
    ])?;
    star(&desk)?;
    has(
        &desk.test("decode-image", &[])?,
        1,
        &["it expects nothing", "0 passed, 3 failed"],
    );
    has(&desk.test("decode-image", &["--update"])?, 0, &["wrote"]);
    has(&desk.test("decode-image", &[])?, 0, &["3 passed, 0 failed"]);
    let text = desk.case("said.toml")?;
    for part in [
        "# Why it is here.",
        "[expect] # what must come",
        "# both wrong",
        "max = 255 }",
        "memory = \"8MiB\"",
    ] {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
    assert!(!text.contains("sha256"), "what was not said is not compared:\n{text}");
    let text = desk.case("refused.toml")?;
    assert!(text.contains("outcome = \"reject\"") && text.contains("deadline = \"1s\"") && !text.contains("tensor"));
    let text = desk.case("nothing.toml")?;
    assert!(text.contains("label = \"star\"") && text.contains("sha256"), "{text}");
    Ok(())
}

#[test]
fn update_writes_results_too() -> Result<()> {
    let case = "[message]\ntext = \"a picture\"\nid = \"m\"\n[prediction]\nscores = { cat = 0.5, dog = 0.25 }\n";
    let said = format!("{case}[[expect.result]]\ndestination = \"x\" # a comment\njson = {{ \"/label\" = \"owl\" }}\n");
    let desk = Desk::new(&[("fresh.toml", case), ("said.toml", &said)])?;
    has(
        &desk.test("by-label", &[])?,
        1,
        &["result 1: destination", "result 1: json /label", "\"owl\"", "\"cat\""],
    );
    has(&desk.test("by-label", &["--update"])?, 0, &["wrote"]);
    has(&desk.test("by-label", &[])?, 0, &["2 passed, 0 failed"]);
    let text = desk.case("said.toml")?;
    assert!(
        text.contains("destination = \"results\" # a comment\njson = { \"/label\" = \"cat\" }"),
        "{text}"
    );
    let text = desk.case("fresh.toml")?;
    assert!(
        text.contains("[[expect.result]]") && text.contains("\"/top/1/label\" = \"dog\""),
        "{text}"
    );
    Ok(())
}

/// What a hostile plugin does, and the outcome that a case expects of it.
#[test]
fn every_way_to_fail_can_be_expected() -> Result<()> {
    let rows = [
        ("trap", "trap", "unreachable"),
        ("panic", "trap", "panics"),
        ("loop", "deadline", "past its deadline"),
        ("memory-bomb", "memory", "allowed 128 MiB"),
        ("huge-output", "output-too-large", "at once"),
        ("wrong-shape", "bad-tensor", "expected byte"),
        ("nan", "bad-tensor", "found float"),
        ("reject", "reject", "rejects"),
        ("retry", "retry", "another attempt"),
        ("skip", "skip", ""),
        ("reject-settings", "settings", "no settings"),
    ];
    let cases: Vec<(String, String)> = rows
        .iter()
        .map(|(mode, outcome, reason)| {
            let text = format!(
                "wants = {{ shape = [3, 32, 32], element = \"byte\" }}\n[message]\ntext = \"any\"\n[settings]\nmode = \"{mode}\"\n\
                 [limits]\ndeadline = \"200ms\"\nmemory = \"128MiB\"\n[expect]\noutcome = \"{outcome}\"\nreason = \"{reason}\"\n"
            );
            (format!("{mode}.toml"), text)
        })
        .collect();
    let cases: Vec<(&str, &str)> = cases
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    let desk = Desk::new(&cases)?;
    has(&desk.test("hostile", &[])?, 0, &["11 passed, 0 failed"]);
    // One that does well is not what any of them expects.
    for (name, text) in cases {
        let mode = name.trim_end_matches(".toml");
        let text = text.replace(&format!("mode = \"{mode}\""), "mode = \"ok\"");
        std::fs::write(desk.mill.path("cases").join(name), text)?;
    }
    has(&desk.test("hostile", &[])?, 1, &["0 passed, 11 failed"]);
    Ok(())
}

#[test]
fn a_budget_holds_and_fuel_is_the_same_each_time() -> Result<()> {
    let case = |fuel: u64, memory: &str| {
        format!(
            "wants = {{ shape = [3, 32, 32], element = \"byte\" }}\n[message]\nfile = \"star.png\"\n[expect]\n\
             [budget]\nfuel = {fuel}\nmemory = \"{memory}\"\n"
        )
    };
    let desk = Desk::new(&[
        ("wide.toml", &case(1 << 40, "64MiB")),
        ("tight.toml", &case(1000, "64kB")),
    ])?;
    star(&desk)?;
    let fuel = || -> Result<u64> {
        let ended = desk.test("decode-image", &["--json"])?;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let lines: Vec<Value> = ended
            .stdout
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()?;
        let [tight, wide] = lines.as_slice() else {
            anyhow::bail!("{ended:?}")
        };
        assert_eq!(wide["verdict"], "passed");
        let what = |at: usize| tight["differences"][at]["what"].as_str();
        assert_eq!(
            (what(0), what(1)),
            (Some("budget.fuel"), Some("budget.memory")),
            "{tight}"
        );
        assert_eq!(wide["fuel"], tight["fuel"]);
        wide["fuel"].as_u64().context("no fuel")
    };
    let first = fuel()?;
    assert!(first > 10_000, "{first}");
    assert_eq!(first, fuel()?);
    Ok(())
}

#[test]
fn bench_measures_keeps_and_compares() -> Result<()> {
    let case = "wants = { shape = [3, 32, 32], element = \"byte\" }\n[message]\nfile = \"star.png\"\n";
    let desk = Desk::new(&[("star.toml", case)])?;
    star(&desk)?;
    let ended = desk.plugin("bench", "decode-image", &["--cases", "cases", "--save", "before.json"])?;
    has(
        &ended,
        0,
        &[
            "instantiate",
            "configure",
            "copy in",
            "run",
            "copy out",
            "fuel",
            "memory",
        ],
    );
    let kept: Value = serde_json::from_slice(&std::fs::read(desk.mill.path("before.json"))?)?;
    let star = &kept["cases"]["star"];
    for part in ["instantiate", "configure", "copy_in", "run", "copy_out"] {
        assert!(
            star[part]["median_ns"].as_u64().is_some_and(|ns| ns > 0),
            "{part}: {star}"
        );
    }
    // As if it had once been better.
    let mut better = kept.clone();
    better["cases"]["star"]["fuel"] = 1000.into();
    better["cases"]["gone"] = star.clone();
    std::fs::write(desk.mill.path("better.json"), better.to_string())?;
    let ended = desk.plugin(
        "bench",
        "decode-image",
        &["--cases", "cases", "--baseline", "better.json"],
    )?;
    has(&ended, 0, &["WORSE    star: fuel: 1000 -> ", "gone     gone"]);
    has(
        &desk.plugin("bench", "decode-image", &["--cases", "cases", "--baseline", "no.json"])?,
        1,
        &["no.json"],
    );
    Ok(())
}

#[test]
fn run_shows_what_a_plugin_makes() -> Result<()> {
    let desk = Desk::new(&[])?;
    let star = star(&desk)?.display().to_string();
    let model = model().display().to_string();
    let message = ["--message", star.as_str()];
    let run = |plugin: &str, more: &[&str]| desk.plugin("run", plugin, &[&message, more].concat());
    let ended = run("decode-image", &["--model", &model, "--png", "seen.png"])?;
    has(
        &ended,
        0,
        &[
            "(preprocessor): ok",
            "byte [3, 32, 32]",
            "range    0 to 255",
            "####",
            "labels   star",
        ],
    );
    assert_eq!(
        image::open(desk.mill.path("seen.png"))?.into_rgb8(),
        image::open(&star)?.into_rgb8()
    );
    has(
        &run("decode-image", &["--shape", "1x8x8", "--element", "float"])?,
        0,
        &["float [1, 8, 8]"],
    );
    has(&run("decode-image", &[])?, 1, &["--model"]);
    has(
        &run(
            "by-label",
            &[
                "--scores",
                "cat=0.9,dog=0.1",
                "--settings",
                r#"{"labels": {"cat": "cats"}}"#,
            ],
        )?,
        0,
        &["(router): ok", "1. to `cats`", "application/json", "\"label\":\"cat\""],
    );
    let decode = guest(TARGETS[1], "decode-image")?.display().to_string();
    has(
        &run("by-label", &["--model", &model, "--preprocess", &decode])?,
        0,
        &["\"label\":\"star\""],
    );
    has(&run("by-label", &[])?, 1, &["the prediction for the router is missing"]);
    let echo = [
        "--settings",
        r#"{"mode": "echo-header"}"#,
        "--header",
        "echo=\u{1b}[31m",
        "--scores",
        "cat=1",
    ];
    let ended = run("hostile-route", &echo)?;
    assert!(
        !format!("{}{}", ended.stdout, ended.stderr).contains('\u{1b}'),
        "{ended:?}"
    );
    has(
        &run("hostile", &["--shape", "1", "--settings", r#"{"mode": "panic"}"#])?,
        1,
        &["trap", "panics"],
    );
    Ok(())
}

#[test]
fn what_is_no_case_is_told_and_nothing_is_no_pass() -> Result<()> {
    let desk = Desk::new(&[])?;
    has(&desk.test("by-label", &[])?, 1, &["there are no cases"]);
    let text = "[mesage]\ntext = 1\n[expect]\noutcome = \"rejected\"\n[budget]\nfuel = \"much\"\n";
    std::fs::write(desk.mill.path("cases/bad.toml"), text)?;
    let ended = desk.test("by-label", &[])?;
    has(
        &ended,
        1,
        &[
            "bad.toml:1:",
            "did you mean `message`?",
            "bad.toml:4:11",
            "did you mean `reject`?",
            "bad.toml:6:8",
        ],
    );
    // A crate that was not built is none that passes.
    let folder = root().join("plugins/by-label");
    let mut command = desk.mill.command(&["plugin", "test", &folder.display().to_string()])?;
    let ended = command.env("CARGO_TARGET_DIR", desk.mill.path("target")).output()?;
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!ended.status.success() && said.contains("is not built"), "{said}");
    Ok(())
}

/// A folder pipeline whose preprocessor rejects everything, of its own accord.
fn rejecting() -> Result<Mill> {
    let hostile = std::fs::read(guest(TARGETS[0], "hostile")?)?;
    let by_label = millrace_tests::scene::Plugin::shipped("by-label")?;
    let head = head(&[&by_label]);
    let mill = Mill::new(&format!(
        "{head}\n[plugin.decode-image]\npath = \"rejects.wasm\"\n\
         [pipeline.pictures]\nsource = {{ folder = \"inbox\" }}\npreprocess = \"decode-image\"\nmodel = \"shapes\"\n\
         route = \"by-label\"\n[pipeline.pictures.destination.results]\nfolder = \"out\"\n"
    ))?;
    std::fs::write(
        mill.path("rejects.wasm"),
        versions::hostile(&hostile, r#"{"mode": "reject"}"#)?,
    )?;
    std::fs::create_dir(mill.path("inbox"))?;
    Ok(mill)
}

fn write_star(mill: &Mill, to: &Path) -> Result<()> {
    let star = pictures()?.into_iter().find(|sample| sample.label == "star");
    Ok(std::fs::write(mill.path("").join(to), star.context("no star")?.png)?)
}

#[test]
fn a_saved_dead_letter_is_a_case_and_is_replayed() -> Result<()> {
    let mill = rejecting()?;
    write_star(&mill, Path::new("inbox/star.png"))?;
    assert_eq!(mill.run(&["run", "plugins.toml", "--once"])?.code, Some(0));
    has(
        &mill.run(&["dlq", "save", "star.png", "dead-letters/star"])?,
        0,
        &[
            "case.json",
            "expects processed (results, or a skip); where the refusal was right, save it with --expect reject",
        ],
    );
    let model = model().display().to_string();
    let (rejects, decode) = ("rejects.wasm", guest(TARGETS[0], "decode-image")?.display().to_string());
    let test = |wasm: &str, more: &[&str]| {
        mill.run(
            &[
                &["plugin", "test", wasm, "--cases", "dead-letters", "--model", &model],
                more,
            ]
            .concat(),
        )
    };
    // The build that wrote the dead letter fails its case, and a corrected one passes it.
    has(
        &test(rejects, &[])?,
        1,
        &["FAILED   star", "expected  results, or a skip", "found     reject"],
    );
    has(&test(&decode, &[])?, 0, &["ok       star", "1 passed, 0 failed"]);
    // A router never saw it: nothing ran, so nothing is known.
    let route = guest(TARGETS[0], "by-label")?.display().to_string();
    has(&test(&route, &[])?, 1, &["skipped  star"]);

    let replayed = mill.run(&["replay", "dead-letters/star"])?;
    has(
        &replayed,
        1,
        &[
            "preprocess: decode-image@",
            "refused in preprocess",
            "the same as recorded",
            "expected  results, or a skip\n          it is not so",
        ],
    );
    let other = format!("decode-image={decode}");
    let replayed = mill.run(&["replay", "dead-letters/star", "--plugin", &other])?;
    has(
        &replayed,
        0,
        &[
            "byte [3, 32, 32]",
            "infer: shapes@",
            "labels   star",
            "1. to `results`",
            "1 result",
            "differs from the record",
            "expected  results, or a skip\n          so it is",
        ],
    );
    assert_eq!(mill.files("out"), [""; 0], "a replay sends nothing");

    // A failure is not written down as what must come. What is right now is written beside the record, and holds from then on.
    has(&test(rejects, &["--update"])?, 1, &["its message still fails (reject)"]);
    has(&test(&decode, &["--update"])?, 0, &["wrote"]);
    has(&test(&decode, &[])?, 0, &["1 passed, 0 failed"]);
    has(&test(rejects, &[])?, 1, &["expected  ok", "found     reject"]);

    // A refusal that was right is a case that holds it.
    std::fs::remove_dir_all(mill.path("dead-letters"))?;
    let save = ["dlq", "save", "star.png", "dead-letters/right", "--expect", "reject"];
    has(&mill.run(&save)?, 0, &["expects reject\n"]);
    has(&test(rejects, &[])?, 0, &["1 passed, 0 failed"]);
    has(&test(&decode, &[])?, 1, &["expected  reject", "found     ok"]);
    has(&mill.run(&["replay", "dead-letters/right"])?, 0, &["so it is"]);
    has(
        &mill.run(&["replay", "dead-letters/right", "--plugin", &other])?,
        1,
        &["it is not so"],
    );
    Ok(())
}

#[test]
fn what_was_compiled_once_is_found_the_next_time_and_only_where_nobody_else_can_write() -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let case = "wants = { shape = [3, 32, 32], element = \"byte\" }\n[message]\nfile = \"star.png\"\n[expect]\n\
        [budget]\nfuel = 1_000_000_000_000\n";
    let desk = Desk::new(&[("star.toml", case)])?;
    star(&desk)?;
    let kept = desk.mill.path("cache/millrace/compiled");
    let n_kept = || std::fs::read_dir(&kept).into_iter().flatten().count();
    let compiled = |verb: &str, more: &[&str]| -> Result<(usize, String)> {
        let ended = desk.plugin(verb, "decode-image", &[&["--log", "millrace=debug"], more].concat())?;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let said = format!("{}{}", ended.stdout, ended.stderr);
        Ok((said.matches("found a plugin compiled").count(), said))
    };
    let cases = ["--cases", "cases"];
    assert_eq!(compiled("test", &cases)?.0, 0);
    // Once for serving, and once with fuel.
    assert_eq!(n_kept(), 2);
    assert_eq!(compiled("test", &cases)?.0, 2);
    let (found, said) = compiled("check", &[])?;
    assert_eq!((found, said.contains("compiled a plugin")), (1, false), "{said}");
    assert_eq!(compiled("bench", &cases)?.0, 3, "serving, fuel and time");
    assert_eq!(n_kept(), 2);
    // A host that serves neither looks there nor writes.
    let head = head(&[&millrace_tests::scene::Plugin::shipped("decode-image")?]);
    std::fs::write(desk.mill.path("plugins.toml"), head)?;
    let checked = desk.mill.run(&["check", "plugins.toml", "--log", "millrace=debug"])?;
    assert!(!checked.stderr.contains("found a plugin compiled"), "{checked:?}");

    // What is damaged is compiled again.
    for entry in std::fs::read_dir(&kept)? {
        let path = entry?.path();
        let mut bytes = std::fs::read(&path)?;
        let last = bytes.last_mut().context("an empty entry")?;
        *last ^= 1;
        std::fs::write(&path, bytes)?;
    }
    assert_eq!(compiled("check", &[])?.0, 0);
    assert_eq!(compiled("check", &[])?.0, 1);
    // A folder that others may enter is not used, which is said once.
    std::fs::set_permissions(&kept, std::fs::Permissions::from_mode(0o755))?;
    let (found, said) = compiled("test", &cases)?;
    assert_eq!(found, 0);
    assert_eq!(said.matches("cannot cache compiled code").count(), 1, "{said}");
    assert!(said.contains("chmod 700"), "{said}");
    Ok(())
}

#[test]
fn a_dead_letter_of_a_fault_is_a_case_that_the_broken_build_fails_and_the_mended_one_passes() -> Result<()> {
    let plugin = millrace_tests::scene::Plugin::with_settings;
    let route = millrace_tests::scene::Plugin::shipped("by-label")?;
    let head = head(&[&plugin("hostile", "mode = \"trap\"")?, &route]);
    let mill = Mill::new(&format!(
        "{head}\n[pipeline.images]\nsource = {{ folder = \"inbox\" }}\npreprocess = \"hostile\"\nmodel = \"shapes\"\n\
         route = \"by-label\"\n[pipeline.images.destination.results]\nfolder = \"out\"\n"
    ))?;
    std::fs::create_dir(mill.path("inbox"))?;
    write_star(&mill, Path::new("inbox/star.png"))?;
    assert_eq!(mill.run(&["run", "plugins.toml", "--once"])?.code, Some(0));
    has(
        &mill.run(&["dlq", "save", "star.png", "dead-letters/star"])?,
        0,
        &["expects no-fault (any answer but a fault)"],
    );
    let hostile = guest(TARGETS[0], "hostile")?.display().to_string();
    let model = model().display().to_string();
    let test = |mode: &str| {
        let settings = format!("{{\"mode\": \"{mode}\"}}");
        let more = ["--cases", "dead-letters", "--model", &model, "--settings", &settings];
        mill.run(&[&["plugin", "test", &hostile], &more[..]].concat())
    };
    for broken in ["trap", "huge-output", "wrong-shape"] {
        has(&test(broken)?, 1, &["expected  any answer but a fault", "found     "]);
    }
    for mended in ["ok", "reject", "skip", "retry"] {
        has(&test(mended)?, 0, &["1 passed, 0 failed"]);
    }
    let text = std::fs::read_to_string(mill.path("plugins.toml"))?;
    for (mode, code, verdict) in [
        ("trap", 1, "it is not so"),
        ("reject", 0, "so it is"),
        ("ok", 0, "so it is"),
    ] {
        let changed = text.replace("mode = \"trap\"", &format!("mode = \"{mode}\""));
        std::fs::write(mill.path("changed.toml"), changed)?;
        let replayed = mill.run(&["replay", "dead-letters/star", "--file", "changed.toml"])?;
        has(&replayed, code, &["expected  any answer but a fault", verdict]);
    }
    Ok(())
}

/// A pipeline that made one dead letter, which is saved as `letters/star`.
fn saved_dead_letter(preprocess: (&str, &str, &str), route: (&str, &str, &str)) -> Result<Mill> {
    let plugin = |(name, settings, limits): (&str, &str, &str)| -> Result<String> {
        let wasm = guest(TARGETS[0], name)?;
        Ok(format!(
            "[plugin.{name}]\npath = {:?}\nsettings = {{ {settings} }}\n{limits}\n",
            wasm.display().to_string()
        ))
    };
    let mill = Mill::new(&format!(
        "{}{}{}\n[pipeline.images]\nsource = {{ folder = \"inbox\" }}\npreprocess = \"{}\"\nmodel = \"shapes\"\n\
         route = \"{}\"\n[pipeline.images.destination.results]\nfolder = \"out\"\n",
        head(&[]),
        plugin(preprocess)?,
        plugin(route)?,
        preprocess.0,
        route.0
    ))?;
    std::fs::create_dir(mill.path("inbox"))?;
    write_star(&mill, Path::new("inbox/star.png"))?;
    let ran = mill.run(&["run", "plugins.toml", "--once"])?;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    has(
        &mill.run(&["dlq", "save", "star.png", "dead-letters/star"])?,
        0,
        &["expects no-fault"],
    );
    Ok(mill)
}

#[test]
fn a_dead_letter_keeps_the_limits_that_its_plugin_broke() -> Result<()> {
    let limits = "memory = \"64MiB\"\ndeadline = \"700ms\"";
    let mill = saved_dead_letter(("hostile", "mode = \"use-memory\"", limits), ("by-label", "", ""))?;
    let case: Value = serde_json::from_slice(&std::fs::read(mill.path("dead-letters/star/case.json"))?)?;
    assert_eq!(case["dead_letter"]["reason"], "memory");
    assert_eq!(
        case["limits"],
        serde_json::json!({ "deadline": "700ms", "memory": "64MiB" })
    );
    let hostile = guest(TARGETS[0], "hostile")?.display().to_string();
    let model = model().display().to_string();
    let test = |mode: &str| {
        let settings = format!("{{\"mode\": \"{mode}\"}}");
        let more = ["--cases", "dead-letters", "--model", &model, "--settings", &settings];
        mill.run(&[&["plugin", "test", &hostile], &more[..]].concat())
    };
    has(
        &test("use-memory")?,
        1,
        &["expected  any answer but a fault", "found     memory"],
    );
    has(&test("ok")?, 0, &["1 passed, 0 failed"]);
    Ok(())
}

#[test]
fn a_dead_letter_of_a_router_keeps_what_the_router_was_shown() -> Result<()> {
    let mill = saved_dead_letter(("decode-image", "", ""), ("hostile-route", "mode = \"trap\"", ""))?;
    let case: Value = serde_json::from_slice(&std::fs::read(mill.path("dead-letters/star/case.json"))?)?;
    assert_eq!(
        (&case["dead_letter"]["stage"], &case["prediction"]["model"]),
        (&"route".into(), &"shapes".into())
    );
    let scores = case["prediction"]["scores"].as_array().context("no scores")?;
    assert_eq!((scores.len(), &case["prediction"]["cut_scores"]), (10, &0.into()));
    let route = guest(TARGETS[0], "hostile-route")?.display().to_string();
    let test = |mode: &str| {
        let settings = format!("{{\"mode\": \"{mode}\"}}");
        mill.run(&[
            "plugin",
            "test",
            &route,
            "--cases",
            "dead-letters",
            "--settings",
            &settings,
        ])
    };
    has(
        &test("trap")?,
        1,
        &["expected  any answer but a fault", "found     trap"],
    );
    for mended in ["ok", "reject", "skip"] {
        has(&test(mended)?, 0, &["1 passed, 0 failed"]);
    }
    // It is shown the best label that there was, and the raw outputs.
    let text = std::fs::read_to_string(mill.path("dead-letters/star/case.json"))?;
    for (mode, body) in [("ok", "star"), ("ask-too-much", "10 true")] {
        let results = serde_json::json!({ "outcome": "ok", "result": [{ "text": body }] });
        let mut changed = case.clone();
        changed["expect"] = results;
        std::fs::write(mill.path("dead-letters/star/case.json"), changed.to_string())?;
        has(&test(mode)?, 0, &["1 passed, 0 failed"]);
    }
    std::fs::write(mill.path("dead-letters/star/case.json"), text)?;
    // The dead letter says nothing against the preprocessor.
    let decode = guest(TARGETS[0], "decode-image")?.display().to_string();
    let model = model().display().to_string();
    let ended = mill.run(&["plugin", "test", &decode, "--cases", "dead-letters", "--model", &model])?;
    assert!(!ended.stdout.contains("FAILED"), "{ended:?}");
    Ok(())
}

#[test]
fn a_replay_needs_no_broker() -> Result<()> {
    let plugin = millrace_tests::scene::Plugin::shipped;
    let head = head(&[&plugin("decode-image")?, &plugin("by-label")?]);
    let mill = Mill::new(&format!(
        "[broker]\namqp = \"${{NO_SUCH_VARIABLE}}\"\n{head}\n\
         [pipeline.images]\nsource = {{ queue = \"images\" }}\npreprocess = \"decode-image\"\nmodel = \"shapes\"\n\
         route = \"by-label\"\n[pipeline.images.destination.results]\nexchange = \"\"\nrouting_key = \"results\"\n"
    ))?;
    write_star(&mill, Path::new("star.png"))?;
    std::fs::write(mill.path("star.toml"), "[message]\nfile = \"star.png\"\n")?;
    has(&mill.run(&["replay", "star.toml"])?, 0, &["labels   star", "1 result"]);
    std::fs::write(mill.path("text.toml"), "[message]\ntext = \"no picture\"\n")?;
    has(
        &mill.run(&["replay", "text.toml"])?,
        1,
        &["a dead letter: refused in preprocess"],
    );
    has(
        &mill.run(&["replay", "star.toml", "--plugin", "nobody=star.png"])?,
        1,
        &["no plugin `nobody`"],
    );
    Ok(())
}

#[test]
fn a_transformer_is_tried_tested_and_measured_too() -> Result<()> {
    let case =
        "[message]\ntext = \"a picture\"\ncontent_type = \"text/plain\"\n[settings]\nmode = \"mark\"\ntext = \"?\"\n";
    let said = format!(
        "{case}[expect.message]\ntext = \"a picture?\"\ncontent_type = \"text/plain\"\nheaders = {{ mark = \"?\" }}\n"
    );
    let wrong = said.replace("a picture?", "a picture!");
    let desk = Desk::new(&[("fresh.toml", case), ("said.toml", &said), ("wrong.toml", &wrong)])?;
    has(
        &desk.test("hostile-transform", &[])?,
        1,
        &[
            "ok       said",
            "message: text",
            "expected  a picture!",
            "found     a picture?",
            "1 passed, 2 failed",
        ],
    );
    has(&desk.test("hostile-transform", &["--update"])?, 0, &["wrote"]);
    has(&desk.test("hostile-transform", &[])?, 0, &["3 passed, 0 failed"]);
    assert!(desk.case("fresh.toml")?.contains("[expect.message]"));
    let ended = desk.plugin("bench", "hostile-transform", &["--cases", "cases/said.toml", "--json"])?;
    let benched: Value = serde_json::from_str(&ended.stdout)?;
    assert!(
        benched["cases"]["said"]["fuel"].as_u64().is_some_and(|fuel| fuel > 0),
        "{benched}"
    );
    std::fs::write(desk.mill.path("text"), "a picture")?;
    let ended = desk.plugin("run", "hostile-transform", &["--message", "text"])?;
    has(
        &ended,
        0,
        &["(transformer): ok", "makes    a message", "mark: !", "a picture!"],
    );
    Ok(())
}
