//! The schemas that editors read: they are what the code makes, take what the host takes, and refuse what it refuses.
//!
//! `cargo xtask generate` writes the schemas, the tables of the reference and the SDK's bindings anew; `UPDATE_SNAPSHOTS=1`
//! the texts beside bad files.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use jsonschema_valid::schemas::Draft;
use millrace::transport::REGISTRY;
use millrace_schema::json_of;
use millrace_tests::bindings;
use millrace_tests::host::Mill;
use millrace_tests::samples::root;
use millrace_tests::scene::{Plugin, head};
use serde_json::{Value, json};

/// What a schema has against a file: the place in it, and why.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    place: String,
    why: String,
    /// The word of the schema that it offends.
    word: String,
}

fn refusals(schema: &Value, instance: &Value) -> Result<Vec<Refusal>> {
    let config = jsonschema_valid::Config::from_schema(schema, Some(Draft::Draft7))?;
    let Err(errors) = config.validate(instance) else {
        return Ok(Vec::new());
    };
    let refusals = errors.map(|error| Refusal {
        place: error
            .instance_path
            .iter()
            .rev()
            .map(|part| format!("/{part}"))
            .collect(),
        word: error.schema_path.first().cloned().unwrap_or_default(),
        why: error.msg,
    });
    Ok(refusals.collect())
}

fn toml(text: &str) -> Result<Value> {
    Ok(json_of(&toml::Value::Table(toml::from_str(text)?)))
}

fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(root().join(path)).with_context(|| format!("cannot read {path}"))
}

/// The files in a folder whose name ends like this, sorted.
fn files(folder: &str, end: &str) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(root().join(folder))?;
    let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|found| found == end));
    files.sort();
    ensure!(!files.is_empty(), "{folder} has no {end}");
    Ok(files)
}

/// The blocks of TOML in a page that stand alone: not those that go on where another one ended.
fn blocks(page: &str) -> impl Iterator<Item = &str> {
    let after = page.split("```toml").skip(1);
    let blocks = after.filter_map(|rest| rest.split_once('\n'));
    let alone = blocks.filter(|(fence, _)| !fence.contains("after=") && !fence.contains(" append"));
    alone.filter_map(|(_, text)| text.split("```").next())
}

#[test]
fn generated_files_are_what_the_code_makes() -> Result<()> {
    let pretty = |schema: Value| format!("{schema:#}\n");
    let mut rows: Vec<(String, String)> = bindings::modules(root())?;
    let made = [
        (
            "schema/plugins.schema.json",
            pretty(millrace::config::schema(&REGISTRY)),
        ),
        ("schema/model.schema.json", pretty(millrace_models::manifest_schema())),
        ("schema/case.schema.json", pretty(millrace::config::case_schema())),
        (
            "docs/model-folder.md",
            millrace_models::manifest_reference(&read("docs/model-folder.md")?)?,
        ),
    ];
    rows.extend(made.map(|(path, made)| (path.to_owned(), made)));
    let pages = millrace::config::reference_pages(&REGISTRY);
    let kept: Vec<String> = pages
        .iter()
        .map(|page| read(&format!("docs/{page}")))
        .collect::<Result<_>>()?;
    let kept: Vec<&str> = kept.iter().map(String::as_str).collect();
    let filled = millrace::config::reference(&REGISTRY, &kept)?;
    let contents = read("docs/SUMMARY.md")?;
    for (page, made) in pages.into_iter().zip(filled) {
        ensure!(
            contents.contains(&format!("({page})")),
            "docs/SUMMARY.md does not name {page}"
        );
        rows.push((format!("docs/{page}"), made));
    }
    for (path, made) in rows {
        if std::env::var_os("UPDATE_GENERATED").is_some() {
            std::fs::write(root().join(&path), &made)?;
        }
        let kept = read(&path).unwrap_or_default();
        ensure!(
            kept == made,
            "{path} is not what the code makes: `cargo xtask generate` writes it anew"
        );
    }
    Ok(())
}

#[test]
fn the_schemas_are_schemas_and_their_own_values_fit() -> Result<()> {
    let mut n_values = 0;
    for schema in [
        millrace::config::schema(&REGISTRY),
        millrace::config::case_schema(),
        millrace_models::manifest_schema(),
    ] {
        let config = jsonschema_valid::Config::from_schema(&schema, Some(Draft::Draft7))?;
        ensure!(config.validate_schema().is_ok(), "no schema of draft 7");
        let definitions = &schema["definitions"];
        let sections = definitions.as_object().context("no definitions")?;
        let properties = sections
            .values()
            .chain([&schema])
            .filter_map(|section| section["properties"].as_object());
        for (name, property) in properties.flatten() {
            let own = json!({ "definitions": definitions, "allOf": [property] });
            let examples = property["examples"].as_array().into_iter().flatten();
            for value in examples.chain(property.get("default")) {
                let refused = refusals(&own, value)?;
                ensure!(refused.is_empty(), "{name} = {value}: {refused:?}");
                n_values += 1;
            }
        }
    }
    ensure!(n_values > 80, "{n_values} values");
    Ok(())
}

#[test]
fn what_the_host_takes_the_schema_takes() -> Result<()> {
    let plugins = millrace::config::schema(&REGISTRY);
    let case = millrace::config::case_schema();
    let model = millrace_models::manifest_schema();
    let mut whole: Vec<(&Value, PathBuf)> = vec![(&plugins, root().join("xtask/src/demo.toml"))];
    for folder in [
        "host/transport/src/config_tests/testdata/good",
        "host/transport/src/config_tests/testdata/warned",
    ] {
        whole.extend(files(folder, "toml")?.into_iter().map(|path| (&plugins, path)));
    }
    for entry in std::fs::read_dir(root().join("models"))? {
        let manifest = entry?.path().join("model.toml");
        whole.extend(manifest.exists().then_some((&model, manifest)));
    }
    ensure!(whole.iter().any(|(schema, _)| **schema == model), "no model");
    for (schema, path) in whole {
        let refused = refusals(schema, &toml(&std::fs::read_to_string(&path)?)?)?;
        ensure!(refused.is_empty(), "{}: {refused:#?}", path.display());
    }

    // Pages show parts of files, too: what is missing there is elsewhere.
    let (mut n_plugins, mut n_models) = (0, 0);
    let mut pages = files("docs", "md")?;
    pages.push(root().join("README.md"));
    for page in pages {
        for block in blocks(&std::fs::read_to_string(&page)?) {
            let Ok(instance) = toml(block) else { continue };
            let has = |keys: &[&str]| {
                keys.iter()
                    .any(|key| instance.get(key).is_some_and(|value| value.is_object()))
            };
            let schema = if has(&["broker", "host", "plugin", "pipeline"]) || has(&["model"]) {
                n_plugins += 1;
                &plugins
            } else if instance.get("message").is_some() {
                &case
            } else if instance.get("layer").is_some() {
                n_models += 1;
                &model
            } else {
                continue;
            };
            let mut refused = refusals(schema, &instance)?;
            refused.retain(|refusal| refusal.word != "required");
            ensure!(refused.is_empty(), "{}: {refused:#?}\n{block}", page.display());
        }
    }
    ensure!(n_plugins >= 15 && n_models >= 3, "{n_plugins} and {n_models} blocks");
    let readme = read("README.md")?;
    let shown = blocks(&readme).next().context("README.md shows no file")?;
    ensure!(
        refusals(&plugins, &toml(shown)?)?.is_empty(),
        "README.md shows a part of a file"
    );
    Ok(())
}

/// A file with one mistake: what the schema says about it, and what `millrace check` says.
#[test]
fn what_the_schema_refuses_the_host_refuses() -> Result<()> {
    let plugins = millrace::config::schema(&REGISTRY);
    let model = millrace_models::manifest_schema();
    let mut n_files = 0;
    for (folder, schema) in [("plugins", &plugins), ("model", &model)] {
        for path in files(&format!("tests/schema/{folder}"), "toml")? {
            let text = std::fs::read_to_string(&path)?;
            let refused = refusals(schema, &toml(&text)?)?;
            ensure!(!refused.is_empty(), "the schema takes {}", path.display());
            let said = match folder {
                "plugins" => checked(&Mill::new(&text)?)?,
                _ => checked(&with_model(&text)?)?,
            };
            let mut lines: Vec<String> = refused
                .iter()
                .map(|refusal| format!("schema: {}: {}", refusal.place, refusal.why))
                .collect();
            lines.sort();
            lines.dedup();
            lines.extend(said.into_iter().map(|line| format!("check: {line}")));
            compare(&path, &(lines.join("\n") + "\n"))?;
            n_files += 1;
        }
    }
    ensure!(n_files > 30, "{n_files} files");
    Ok(())
}

/// An editor is shown the settings of the file's own plugins, also while the file is wrong.
#[test]
fn a_schema_knows_the_settings_of_the_plugins() -> Result<()> {
    let (decode, label) = (Plugin::shipped("decode-image")?, Plugin::shipped("by-label")?);
    let rest = "\n[pipeline.pictures]\nsource = { folder = \"inbox\" }\npreprocess = \"decode-image\"\nmodel = \"shapes\"\n\
        route = \"by-label\"\nattempts = \"many\"\ndestination.out = { folder = \"out\" }\n";
    let with = |settings: &str| {
        let label = Plugin {
            lines: settings.to_owned(),
            ..label.clone()
        };
        format!("{}{rest}", head(&[&decode, &label]))
    };
    let mill = Mill::new(&with("settings = { lables = {} }"))?;
    let ended = mill.run(&["schema", "plugins", "--file", "plugins.toml"])?;
    ensure!(ended.code == Some(0), "{ended:?}");
    let schema: Value = serde_json::from_str(&ended.stdout)?;
    let places = |settings: &str| -> Result<Vec<String>> {
        let refused = refusals(&schema, &toml(&with(settings))?)?;
        Ok(refused.into_iter().map(|refusal| refusal.place).collect())
    };
    let always = "/pipeline/pictures/attempts".to_owned();
    let settings = "/plugin/by-label/settings";
    let rows = [
        ("", None),
        ("settings = { labels = { cat = \"cats\" }, top_k = 3 }", None),
        ("settings = { lables = {} }", Some(settings.to_owned())),
        ("settings = { top_k = \"3\" }", Some(format!("{settings}/top_k"))),
    ];
    for (lines, expected) in rows {
        let mut expected: Vec<String> = expected.into_iter().chain([always.clone()]).collect();
        let mut found = places(lines)?;
        found.sort();
        expected.sort();
        ensure!(found == expected, "{lines}: {found:?}, and not {expected:?}");
    }
    let ended = mill.run(&["schema", "model", "--file", "plugins.toml"])?;
    ensure!(
        ended.code == Some(1) && ended.stderr.contains("--file goes with"),
        "{ended:?}"
    );
    Ok(())
}

/// What `millrace check` has against a file, beside that what it names is not there.
fn checked(mill: &Mill) -> Result<Vec<String>> {
    let ended = mill.run(&["check", "plugins.toml"])?;
    ensure!(ended.code == Some(2), "{ended:?}");
    let lines = ended.stderr.lines().filter_map(|line| line.strip_prefix("error: "));
    let lines = lines.filter(|line| !line.ends_with("does not exist"));
    let folder = mill.path("").display().to_string();
    let lines: Vec<String> = lines.map(|line| line.replace(&folder, "")).collect();
    ensure!(!lines.is_empty(), "{ended:?}");
    Ok(lines)
}

/// A file that names a model folder with this `model.toml`.
fn with_model(manifest: &str) -> Result<Mill> {
    let mill = Mill::new(
        "[model.bad]\npath = \"bad\"\n[plugin.a]\npath = \"a.wasm\"\n[plugin.b]\npath = \"b.wasm\"\n\
        [pipeline.a]\nsource = { folder = \"in\" }\npreprocess = \"a\"\nmodel = \"bad\"\nroute = \"b\"\n\
        destination.out = { folder = \"out\" }\n",
    )?;
    std::fs::create_dir(mill.path("bad"))?;
    std::fs::write(mill.path("bad/model.toml"), manifest)?;
    Ok(mill)
}

/// Compares with the text beside a file.
fn compare(path: &Path, actual: &str) -> Result<()> {
    let snapshot = path.with_extension("err");
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&snapshot, actual)?;
    }
    let expected = std::fs::read_to_string(&snapshot).unwrap_or_default();
    if expected != actual {
        bail!("{} differs:\n{actual}", snapshot.display());
    }
    Ok(())
}
