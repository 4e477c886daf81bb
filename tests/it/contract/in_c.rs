//! Plugins in C: built as the book says, and treated as any other.

use anyhow::{Context, Result, ensure};
use millrace::config::PluginConfig;
use millrace::disposition::ReasonClass;
use millrace::message::TensorData;
use millrace::sandbox::{CallError, Compiler, PluginRefusal, Role, Sandbox};
use millrace_tests::clang;
use millrace_tests::host::Mill;
use millrace_tests::samples::{Sample, pictures};
use millrace_tests::scene::{Plugin, head};
use tempfile::TempDir;

use crate::sandbox::{config, message, wants};

const PREPROCESSOR: &str = "grey-threshold";
const ROUTER: &str = "one-label";

/// A guest in a folder that lives as long as this.
struct Built {
    folder: TempDir,
    name: &'static str,
}

impl Built {
    fn new(name: &'static str) -> Result<Self> {
        Self::with(name, |command| command)
    }

    fn with(name: &'static str, change: impl FnOnce(String) -> String) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        clang::build_with(folder.path(), name, change)?;
        Ok(Self { folder, name })
    }

    fn config(&self, settings: &str) -> PluginConfig {
        PluginConfig {
            settings: settings.to_owned(),
            ..config(self.folder.path().join(format!("{}.wasm", self.name)))
        }
    }

    fn plugin(&self, settings: &str) -> Plugin {
        Plugin {
            path: self.folder.path().join(format!("{}.wasm", self.name)),
            lines: format!("settings = {{ {settings} }}"),
        }
    }
}

/// What the plugin must make of a raw picture: three times the same plane.
fn thresholded(rgb: &[u8], threshold: u32) -> Vec<u8> {
    let weigh = |pixel: &[u8]| -> u32 {
        let weights = [299_u32, 587, 114];
        let sum: u32 = pixel
            .iter()
            .zip(weights)
            .map(|(&value, weight)| u32::from(value) * weight)
            .sum();
        sum / 1000
    };
    let plane = rgb
        .chunks_exact(3)
        .map(|pixel| if weigh(pixel) >= threshold { 255 } else { 0 });
    plane.collect::<Vec<u8>>().repeat(3)
}

#[tokio::test]
async fn a_preprocessor_in_c_does_what_its_settings_say() -> Result<()> {
    let (guest, sandbox) = (Built::new(PREPROCESSOR)?, Sandbox::start(1, Compiler::InProcess)?);
    let lane = sandbox.lane(1);
    let rows = [
        ("{}", 128),
        (r#"{"threshold":0}"#, 0),
        (r#"{ "threshold" : 200 }"#, 200),
    ];
    for (settings, threshold) in rows {
        let plugin = sandbox.load(&guest.config(settings), Role::Preprocess)?;
        for sample in pictures()? {
            let rgb = sample.raw()?;
            let answer = plugin.preprocess(&lane, &message("m", &rgb), &wants()).await.answer;
            let tensor = answer.with_context(|| format!("{settings}: {}", sample.path.display()))?;
            assert_eq!(tensor.tensor_type(), *wants());
            let expected = TensorData::Bytes(thresholded(&rgb, threshold));
            assert!(*tensor.data() == expected, "{settings}: {}", sample.path.display());
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_c_refuses_is_told_in_its_words() -> Result<()> {
    let (guest, sandbox) = (Built::new(PREPROCESSOR)?, Sandbox::start(1, Compiler::InProcess)?);
    let plugin = sandbox.load(&guest.config("{}"), Role::Preprocess)?;
    let answer = plugin
        .preprocess(&sandbox.lane(1), &message("m", b"no picture"), &wants())
        .await
        .answer;
    let Err(CallError::Refused(PluginRefusal::Reject(why))) = answer else {
        anyhow::bail!("{answer:?}");
    };
    assert_eq!(why, "the body is not raw RGB of the size that the model takes");
    let refused = sandbox.load(&guest.config(r#"{"threshold":256}"#), Role::Preprocess);
    let error = refused.err().context("it took 256")?.problem.to_string();
    assert_eq!(error, "it rejects its settings: `threshold` is not between 0 and 255");
    Ok(())
}

#[tokio::test]
async fn a_bug_in_c_costs_its_message_and_names_its_function() -> Result<()> {
    let guest = Built::with(PREPROCESSOR, |command| command.replace("clang ", "clang -DWITH_A_BUG "))?;
    let sandbox = Sandbox::start(1, Compiler::InProcess)?;
    let plugin = sandbox.load(&guest.config("{}"), Role::Preprocess)?;
    let lane = sandbox.lane(1);
    let answer = plugin
        .preprocess(&lane, &message("m", b"no picture"), &wants())
        .await
        .answer;
    let Err(CallError::Fault { class, text }) = answer else {
        anyhow::bail!("{answer:?}");
    };
    assert_eq!(class, ReasonClass::Trap);
    for part in [
        "wasm `unreachable` instruction executed",
        "exports_millrace_pipeline_preprocess_preprocess",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    let good = plugin
        .preprocess(&lane, &message("m", &[9; 3 * 32 * 32]), &wants())
        .await
        .answer;
    assert!(good.is_ok(), "{good:?}");
    Ok(())
}

/// A function that prints, and runs before all others.
const GREET: &str =
    "printf '#include <stdio.h>\\n__attribute__((constructor)) void greet(void) { puts(\"hello\"); }' > greet.c\n";

fn greeting(command: String, sources: &str) -> String {
    format!("{GREET}{}", command.replace("grey-threshold.c", sources))
}

/// What somebody does wrong who follows the book, and what is said about it.
#[test]
fn what_is_built_wrongly_is_told() -> Result<()> {
    let untyped = Built::with(PREPROCESSOR, |command| {
        command.replace(" preprocessor_component_type.o", "")
    });
    let error = format!("{:#}", untyped.err().context("linked without a component type")?);
    let expected = "undefined symbol: __component_type_object_force_link_preprocessor";
    assert!(error.contains(expected), "no {expected:?} in {error}");
    Ok(())
}

/// The instruction of a machine without clang.
#[test]
fn without_a_compiler_the_packages_are_named() -> Result<()> {
    let lacking = Built::with(PREPROCESSOR, |command| command.replace("clang ", "no-such-clang "));
    let error = format!("{:#}", lacking.err().context("built by nobody")?);
    for part in [
        "no-such-clang",
        "cargo xtask test",
        "apt-get install clang lld wasi-libc libclang-rt-dev-wasm32",
    ] {
        assert!(error.contains(part), "no {part:?} in {error}");
    }
    Ok(())
}

#[test]
fn what_c_prints_is_in_the_log() -> Result<()> {
    let preprocessor = Built::with(PREPROCESSOR, |command| greeting(command, "grey-threshold.c greet.c"))?;
    let mill = mill(&preprocessor.plugin("threshold = 96"), &Plugin::shipped("by-label")?)?;
    std::fs::write(mill.path("inbox/good.rgb"), vec![9; 3 * 32 * 32])?;
    let ended = mill.run(&["run", "plugins.toml", "--once", "--log-format", "json"])?;
    assert_eq!(mill.files("inbox/done"), ["good.rgb"], "{ended:?}");
    let hello = ended.stderr.lines().find(|line| line.contains("hello"));
    let hello = hello.with_context(|| format!("nobody says hello: {ended:?}"))?;
    assert!(hello.contains(PREPROCESSOR), "{hello}");
    Ok(())
}

/// Settings, and what `check` says of them; nothing where they are good.
#[test]
fn the_settings_of_c_are_checked_as_any_others() -> Result<()> {
    let (preprocessor, router) = (Built::new(PREPROCESSOR)?, Built::new(ROUTER)?);
    let rows = [
        ("threshold = 96", "label = \"circle\"", &[][..]),
        (
            "thresold = 96",
            "label = \"circle\"",
            &["no setting `thresold`, did you mean `threshold`?"],
        ),
        (
            "threshold = \"dark\"",
            "label = \"circle\"",
            &["`threshold` must be an integer"],
        ),
        (
            "threshold = 256",
            "label = \"circle\"",
            &["`threshold` is not between 0 and 255"],
        ),
        (
            "threshold = 96",
            "matching = \"circles\"",
            &["the setting `label` is missing"],
        ),
        (
            "threshold = 96",
            "label = \"\\u0001\"",
            &["a character that this plugin does not read"],
        ),
    ];
    for (threshold, label, expected) in rows {
        let mill = mill(&preprocessor.plugin(threshold), &router.plugin(label))?;
        let ended = mill.run(&["check", "plugins.toml"])?;
        let code = if expected.is_empty() { 0 } else { 2 };
        assert_eq!(ended.code, Some(code), "{threshold}, {label}: {ended:?}");
        for part in expected {
            assert!(ended.stderr.contains(part), "no {part:?} in:\n{}", ended.stderr);
        }
    }
    Ok(())
}

#[test]
fn plugins_in_c_work_with_plugins_in_rust() -> Result<()> {
    let (preprocessor, router) = (Built::new(PREPROCESSOR)?, Built::new(ROUTER)?);
    let samples = pictures()?;
    let first = samples.first().context("no samples")?;

    let settings = format!("label = {:?}, matching = \"one\", others = \"rest\"", first.label);
    let mill = mill(&Plugin::shipped("decode-image")?, &router.plugin(&settings))?;
    for sample in &samples {
        std::fs::write(mill.path("inbox").join(name(sample)?), &sample.png)?;
    }
    let ended = mill.run(&["run", "plugins.toml", "--once"])?;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for sample in &samples {
        let folder = if sample.label == first.label { "one" } else { "rest" };
        let found = std::fs::read_to_string(mill.path(folder).join(format!("{}.txt", name(sample)?)));
        assert_eq!(
            found.with_context(|| format!("{} is not in {folder}", sample.path.display()))?,
            sample.label
        );
    }
    ensure!(
        mill.files("rest").len() > mill.files("one").len(),
        "one label has most of the pictures"
    );

    let mill = self::mill(&preprocessor.plugin("threshold = 96"), &Plugin::shipped("by-label")?)?;
    std::fs::write(mill.path("inbox/good.rgb"), first.raw()?)?;
    std::fs::write(mill.path("inbox/bad.rgb"), "no picture")?;
    let ended = mill.run(&["run", "plugins.toml", "--once"])?;
    assert_eq!(mill.files("inbox/done"), ["good.rgb"], "{ended:?}");
    let result: serde_json::Value = serde_json::from_slice(&std::fs::read(mill.path("results/good.rgb.json"))?)?;
    assert!(result["label"].is_string(), "{result}");
    let reason = std::fs::read_to_string(mill.path("inbox/dead/bad.rgb.reason.json"))?;
    for part in ["the body is not raw RGB", "refused", "preprocess", "grey-threshold"] {
        assert!(reason.contains(part), "no {part:?} in {reason}");
    }
    Ok(())
}

fn name(sample: &Sample) -> Result<String> {
    Ok(sample
        .path
        .file_name()
        .context("no name")?
        .to_string_lossy()
        .into_owned())
}

/// A pipeline between folders, with a destination for each name that a router here uses.
fn mill(preprocessor: &Plugin, router: &Plugin) -> Result<Mill> {
    let head = head(&[preprocessor, router]);
    let (preprocess, route) = (preprocessor.name(), router.name());
    let mut text = format!(
        r#"
{head}
[pipeline.pictures]
source = {{ folder = "inbox" }}
preprocess = "{preprocess}"
model = "shapes"
route = "{route}"

"#
    );
    for destination in ["one", "rest", "results"] {
        text += &format!("[pipeline.pictures.destination.{destination}]\nfolder = \"{destination}\"\n");
    }
    let mill = Mill::new(&text)?;
    std::fs::create_dir(mill.path("inbox"))?;
    Ok(mill)
}
