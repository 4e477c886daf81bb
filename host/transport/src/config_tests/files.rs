//! Whole files: good ones, and bad ones beside the text that they must give.
//!
//! `UPDATE_SNAPSHOTS=1` rewrites the texts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use millrace_model_types::DeviceChoice;

use crate::REGISTRY;
use crate::amqp::{BrokerConfig, ExchangeConfig, QueueSourceConfig, QueueType, ReplyConfig};
use crate::config::*;
use crate::folder::FolderSourceConfig;

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config_tests/testdata")
}

fn environment(name: &str) -> Option<String> {
    match name {
        "AMQP_URL" => Some("amqp://guest:hunter2@localhost:5672/%2f".to_owned()),
        "CONTROL_TOKEN" => Some("hunter2-hunter2-hunter2".to_owned()),
        "TOKEN_OF_A_FILE" => Some("hunter2-hunter2-hunter2\n".to_owned()),
        "SECRET" => Some("hunter2 \u{1b}[31m".to_owned()),
        _ => None,
    }
}

fn parse(path: &Path) -> Result<(Config, Vec<Warning>), ConfigErrors> {
    let text = std::fs::read_to_string(path).unwrap();
    Config::parse(&text, path, &REGISTRY, &environment)
}

fn good(name: &str) -> Config {
    let (config, warnings) = parse(&testdata().join("good").join(name)).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(warnings, [], "{}", config.render_warnings(&warnings, Rendering::Plain));
    config
}

fn files(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(testdata().join(folder)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|end| end == "toml"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths
}

/// Compares with the text beside the file.
fn compare(path: &Path, actual: &str) {
    assert!(
        !actual.contains("hunter2"),
        "a secret is shown for {}:\n{actual}",
        path.display()
    );
    assert!(
        !actual.contains('\u{1b}'),
        "an escape sequence is passed on for {}",
        path.display()
    );
    let folder = testdata().display().to_string();
    let actual = actual.replace(&format!("{folder}/"), "").trim_end().to_owned() + "\n";
    let snapshot = path.with_extension("err");
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&snapshot, &actual).unwrap();
    }
    let expected = std::fs::read_to_string(&snapshot).unwrap_or_default();
    assert_eq!(expected, actual, "{} differs:\n{actual}", snapshot.display());
}

#[test]
fn bad_files_give_their_text() {
    for path in files("bad") {
        match parse(&path) {
            Ok(_) => panic!("{} was taken", path.display()),
            Err(errors) => compare(&path, &errors.to_string()),
        }
    }
}

#[test]
fn good_files_are_taken() {
    for path in files("good") {
        let name = path.file_name().unwrap().to_string_lossy();
        good(&name);
    }
}

#[test]
fn doubtful_files_are_taken_with_their_text() {
    for path in files("warned") {
        let (config, warnings) = parse(&path).unwrap_or_else(|errors| panic!("{}:\n{errors}", path.display()));
        assert!(!warnings.is_empty());
        compare(&path, &config.render_warnings(&warnings, Rendering::Plain));
    }
}

#[test]
fn what_a_file_leaves_out_has_its_default() {
    let config = good("minimal.toml");
    let cores = std::thread::available_parallelism().unwrap().get();
    assert!(config.path.is_absolute() && config.path.ends_with("good/minimal.toml"));
    assert!(config.connections.is_empty());
    assert_eq!(
        (config.host.workers, config.host.drain),
        (cores, Duration::from_secs(25))
    );
    assert_eq!(config.host.admin, None);
    assert_eq!((&config.host.control, config.host.watch), (&ControlConfig::Auto, true));
    let model = &config.models["shapes"];
    assert_eq!(model.path, testdata().join("good/../files/model"));
    assert_eq!((&model.devices, model.max_batch), (&vec![DeviceChoice::Auto], None));
    assert_eq!(model.max_wait, Duration::from_millis(2));
    let plugin = &config.plugins["decode-image"];
    assert_eq!(plugin.path, testdata().join("good/../files/decode-image.wasm"));
    assert_eq!(
        (plugin.deadline, plugin.memory_bytes),
        (Duration::from_secs(1), 256 << 20)
    );
    assert_eq!(
        (plugin.isolation, plugin.settings.as_str(), &plugin.sha256),
        (Isolation::Message, "{}", &None)
    );
    let pipeline = &config.pipelines["images"];
    assert_eq!(
        (pipeline.plugins.preprocess.as_str(), pipeline.plugins.route.as_str()),
        ("decode-image", "by-label")
    );
    assert_eq!((pipeline.attempts, pipeline.max_message_bytes), (3, 8 << 20));
    let trial = TrialConfig {
        messages: 100,
        failures: 2,
        slower: 5.0,
    };
    assert_eq!((pipeline.trial, &pipeline.smoke_tests), (trial, &Vec::new()));
    let source = pipeline.source.as_kind::<FolderSourceConfig>().unwrap();
    assert_eq!(source.prefetch, 64);
    assert!(source.pattern.is_match("any name.at all"));
}

#[test]
fn what_a_file_says_is_what_it_gives() {
    let config = good("full.toml");
    let broker = &config.connections[&ConnectionName::default()];
    let broker = broker.as_kind::<BrokerConfig>().unwrap();
    assert_eq!(broker.amqp.expose(), "amqp://guest:hunter2@localhost:5672/%2f");
    assert_eq!(broker.shown(), "amqp://guest:***@localhost:5672/%2f");
    assert_eq!(broker.confirm_timeout, Duration::from_secs(10));
    assert_eq!(config.host.memory_bytes, Some(4 << 30));
    assert_eq!(broker.max_message_bytes, 128 << 20);
    assert_eq!(
        (config.host.workers, config.host.drain),
        (3, Duration::from_millis(1_500))
    );
    assert_eq!(config.host.admin, Some("[::1]:9464".parse().unwrap()));
    let control = ControlConfig::Tcp {
        address: "127.0.0.1:9465".parse().unwrap(),
        token: Secret::new("hunter2-hunter2-hunter2".to_owned()),
    };
    assert_eq!((&config.host.control, config.host.watch), (&control, false));
    let model = &config.models["shapes"];
    assert_eq!(model.devices, [DeviceChoice::Adapter("llvmpipe".to_owned())]);
    assert_eq!(
        (model.max_batch, model.max_wait),
        (Some(32), Duration::from_micros(500))
    );
    let plugin = &config.plugins["decode-image"];
    let digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    assert_eq!(
        (plugin.sha256.as_deref(), plugin.isolation),
        (Some(digest), Isolation::Worker)
    );
    assert_eq!(
        (plugin.deadline, plugin.memory_bytes),
        (Duration::from_millis(250), 64 << 20)
    );
    let settings: serde_json::Value = serde_json::from_str(&plugin.settings).unwrap();
    let expected = serde_json::json!({
        "resize": "bilinear", "token": "hunter2 \u{1b}[31m", "plain": "${SECRET} costs $5",
        "since": "2026-01-02T03:04:05Z", "sizes": [1, 16, -3, 2.5, true], "nested": { "a key": "é" },
    });
    assert_eq!(settings, expected);

    let pipeline = &config.pipelines["images"];
    assert_eq!((pipeline.attempts, pipeline.max_message_bytes), (5, 1 << 20));
    let source = pipeline.source.as_kind::<QueueSourceConfig>().unwrap();
    assert_eq!(
        (source.queue.as_str(), source.dead_letter.as_str()),
        ("image_queue", "graveyard")
    );
    assert_eq!((source.prefetch, source.declare), (100, QueueType::Passive));
    let trial = TrialConfig {
        messages: 500,
        failures: 0,
        slower: 3.0,
    };
    assert_eq!(pipeline.trial, trial);
    let smoke_test = |file: &str, outcome, label: Option<&str>| SmokeTestConfig {
        file: testdata().join("good/../files").join(file),
        outcome,
        label: label.map(str::to_owned),
    };
    let smoke_tests = [
        smoke_test("inbox/keep.txt", SmokeTestOutcome::Results, Some("arrow")),
        smoke_test("inbox-2/keep.txt", SmokeTestOutcome::Reject, None),
    ];
    assert_eq!(pipeline.smoke_tests, smoke_tests);
    let to = pipeline.destinations["results"].as_kind::<ExchangeConfig>().unwrap();
    assert_eq!((to.exchange.as_str(), to.routing_key.as_str()), ("", "result_queue"));
    assert!(to.keys.is_none());
    assert_eq!(to.declare, QueueType::Quorum);

    let to = pipeline.destinations["by-topic"].as_kind::<ExchangeConfig>().unwrap();
    let keys = to.keys.as_ref().unwrap();
    assert_eq!(to.exchange, "amq.topic");
    assert!(keys.is_match("labels.cat") && !keys.is_match("label.cat"));
    let ReplyConfig { allow, .. } = pipeline.destinations["answer"].as_kind().unwrap();
    assert!(allow.is_match("amq.rabbitmq.reply-to.g1h2AA5yZXBseUAx") && allow.is_match("client.7"));
    assert!(!allow.is_match("image_queue"));
    let source = config.pipelines["files"]
        .source
        .as_kind::<FolderSourceConfig>()
        .unwrap();
    assert_eq!(source.prefetch, 8);
    assert!(source.pattern.is_match("a.jpg") && !source.pattern.is_match("a.txt"));
}

#[test]
fn two_lines_take_a_queue_that_is_classic_and_not_durable() {
    let config = good("foreign-queue.toml");
    let pipeline = &config.pipelines["images"];
    let source = pipeline.source.as_kind::<QueueSourceConfig>().unwrap();
    assert_eq!(source.declare, QueueType::Classic { durable: false });
    assert_eq!(
        (source.dead_letter.as_str(), source.prefetch),
        ("image_queue.dead", 256)
    );
    let to = pipeline.destinations["results"].as_kind::<ExchangeConfig>().unwrap();
    assert_eq!(to.declare, QueueType::Classic { durable: false });
}

#[test]
fn a_pipeline_takes_from_one_broker_and_delivers_to_another() {
    let config = good("connections.toml");
    let plant = ConnectionName(Name::new("plant"));
    assert_eq!(config.connections.len(), 2);
    assert_eq!(config.connections[&plant].body_bytes_max(), 1 << 20);
    assert_eq!(plant.to_string(), "[connection.plant]");
    let pipeline = &config.pipelines["images"];
    assert_eq!(pipeline.source.connection(), Some(&plant));
    let at = |name: &str| pipeline.destinations[name].connection().cloned();
    assert_eq!(
        (at("results"), at("plant")),
        (Some(ConnectionName::default()), Some(plant.clone()))
    );
    assert_eq!(pipeline.connections(), [ConnectionName::default(), plant].into());
}

#[test]
fn debug_output_shows_no_secret() {
    let shown = format!("{:?}", good("full.toml"));
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn later_checks_add_their_mistakes_in_the_same_form() {
    let config = good("full.toml");
    let mut errors = config.errors();
    assert!(errors.is_empty() && errors.clone().into_result().is_ok());
    errors.push(Diagnostic::at(
        config.locate("plugin.decode-image.sha256"),
        "the file has another digest",
    ));
    errors.push(Diagnostic::at(config.locate("model.shapes.path"), "the model does not load").hint("train it"));
    // A key that is not written leads to its table, and what cannot be there to the file.
    errors.push(Diagnostic::at(
        config.locate("plugin.by-label.settings"),
        "bad settings",
    ));
    errors.push(Diagnostic::at(config.locate("no.such.key"), "about the file"));
    let text = errors.into_result().unwrap_err().to_string();
    let file = std::fs::read_to_string(&config.path).unwrap();
    let at = |begins: &str, column: usize| {
        let above = file.lines().take_while(|line| !line.starts_with(begins)).count();
        format!("full.toml:{}:{column}", above + 1)
    };
    for (message, place) in [
        ("error: the file has another digest", at("sha256 =", 10)),
        ("error: the model does not load", at("path =", 8)),
        ("error: bad settings", at("[plugin.by-label]", 9)),
        ("error: about the file", "full.toml\n".to_owned()),
        ("  = help: train it", String::new()),
        ("4 mistakes in ", "full.toml".to_owned()),
    ] {
        let (_, after) = text
            .split_once(message)
            .unwrap_or_else(|| panic!("no `{message}` in\n{text}"));
        let line_and_place: String = after.lines().take(2).map(|line| line.to_owned() + "\n").collect();
        assert!(
            line_and_place.contains(&place),
            "no `{place}` after `{message}` in\n{text}"
        );
    }
}

#[test]
fn a_span_that_is_nowhere_is_rendered_all_the_same() {
    let config = good("full.toml");
    let length = std::fs::read_to_string(&config.path).unwrap().len();
    let e_acute = std::fs::read_to_string(&config.path).unwrap().find('é').unwrap();
    #[expect(clippy::reversed_empty_ranges, reason = "a span that nobody should make")]
    for span in [
        0..0,
        length..length,
        length + 5..length + 9,
        9..3,
        e_acute + 1..e_acute + 1,
        0..usize::MAX,
    ] {
        let mut errors = config.errors();
        errors.push(Diagnostic::at(span.clone(), "here").context(span, "and there"));
        assert!(errors.render(Rendering::Coloured).contains("here"));
    }
}

#[test]
fn a_file_that_cannot_be_read_is_one_mistake() {
    let folder = std::env::temp_dir().join(format!("millrace-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("plugins.toml");
    let message = || Config::load(&path, &REGISTRY).unwrap_err().to_string();
    assert!(message().starts_with("error: the file cannot be read"), "{}", message());
    std::fs::write(&path, b"[host]\nworkers = \xff\n").unwrap();
    assert!(
        message().contains("the file is not UTF-8") && message().contains("plugins.toml:2:11"),
        "{}",
        message()
    );
    std::fs::write(&path, vec![b'#'; (1 << 20) + 1]).unwrap();
    assert!(message().contains("1048577 bytes"), "{}", message());
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn colours_are_for_terminals_alone() {
    let errors = parse(&testdata().join("bad/ten-mistakes.toml")).unwrap_err();
    assert!(errors.diagnostics().len() >= 10);
    assert!(errors.render(Rendering::Coloured).contains('\u{1b}'));
    assert!(!errors.render(Rendering::Plain).contains('\u{1b}'));
}

#[test]
fn what_is_right_in_a_bad_file_can_be_checked_further() {
    let names = |names: Vec<&Name>| names.into_iter().map(Name::to_string).collect::<Vec<_>>().join(" ");
    let check = |file: &str, models: &str, plugins: &str, preprocessors: &str, routers: &str| {
        let errors = parse(&testdata().join("bad").join(file)).unwrap_err();
        let valid_parts = errors.valid_parts();
        assert_eq!(names(valid_parts.models.keys().collect()), models, "{file}");
        assert_eq!(names(valid_parts.plugins.keys().collect()), plugins, "{file}");
        assert_eq!(
            names(valid_parts.preprocessors.iter().collect()),
            preprocessors,
            "{file}"
        );
        assert_eq!(names(valid_parts.routers.iter().collect()), routers, "{file}");
    };
    check("ten-mistakes.toml", "", "", "", "");
    check(
        "sources.toml",
        "shapes",
        "by-label decode-image",
        "decode-image",
        "by-label",
    );
    check("references.toml", "shapes", "by-label decode-image", "", "");
    check("environment.toml", "", "by-label", "", "by-label");
    check("devices.toml", "", "", "", "");
}

/// The pages of the reference, which describe every key.
fn reference() -> String {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let pages = crate::config::reference_pages(&REGISTRY).into_iter();
    pages
        .map(|page| std::fs::read_to_string(docs.join(page)).unwrap())
        .collect()
}

#[test]
fn the_reference_names_every_key() {
    let reference = reference();
    let sections = REGISTRY.file().root.all();
    let keys: Vec<&str> = sections.iter().flat_map(|section| section.names()).collect();
    assert!(keys.len() > 50, "{keys:?}");
    for key in keys.into_iter().filter(|key| *key != "adapter") {
        assert!(
            reference.contains(&format!("`{key}`")) || reference.contains(&format!("[{key}")),
            "`{key}` is not in the reference"
        );
    }
    for table in ["connection", "model", "plugin", "pipeline"] {
        assert!(
            reference.contains(&format!("[{table}.NAME]")),
            "[{table}.NAME] is not in the reference"
        );
    }
}

#[test]
fn the_examples_of_the_reference_hold() {
    let reference = reference();
    let examples: Vec<&str> = reference
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(examples.len() > 8, "{}", examples.len());
    for example in examples {
        let head = if example.starts_with("source") {
            "[pipeline.images]\n"
        } else {
            ""
        };
        let text = format!("{head}{example}");
        let Err(errors) = Config::parse(&text, Path::new("plugins.toml"), &REGISTRY, &|_| {
            Some("guest".repeat(4))
        }) else {
            panic!("the files of this example exist:\n{text}");
        };
        // An example is a part of a file, and its own files are not there.
        let expected = [
            "there is no ",
            "the key ",
            "the file ",
            "the folder ",
            "this needs a broker",
            "this is not an AMQP URL",
        ];
        for diagnostic in errors.diagnostics() {
            assert!(
                expected.iter().any(|start| diagnostic.message.starts_with(start)),
                "{}",
                errors
            );
        }
    }
}
