//! Each shipped plugin once, in a real pipeline from folder to folder, and the examples of their READMEs.

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use millrace_tests::host::Mill;
use millrace_tests::samples::{Sample, guest, pictures, root};
use millrace_tests::scene::{Plugin, head};
use serde_json::Value;

/// The key of a pipeline that a plugin stands at, in place of the plugin that stands there otherwise.
const ROLES: [(&str, &str); 8] = [
    ("by-label", r#"route = "by-label""#),
    ("decode-image", r#"preprocess = "decode-image""#),
    ("json-image", r#"preprocess = ["json-image", "decode-image"]"#),
    ("letterbox", r#"preprocess = "letterbox""#),
    ("sample-by-score", r#"route = "sample-by-score""#),
    ("tensor-passthrough", r#"preprocess = "tensor-passthrough""#),
    ("to-schema", r#"route = "to-schema""#),
    ("top-k-fanout", r#"route = "top-k-fanout""#),
];

/// What `numpy.save` writes of a picture as the model takes it: planes of red, green and blue.
fn npy(sample: &Sample) -> Result<Vec<u8>> {
    let pixels = sample.raw()?;
    let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 3, 32, 32), }\n";
    let mut file = b"\x93NUMPY\x01\0".to_vec();
    file.extend(u16::try_from(header.len())?.to_le_bytes());
    file.extend(header.bytes());
    for channel in 0..3 {
        file.extend(pixels.iter().skip(channel).step_by(3));
    }
    Ok(file)
}

/// A safetensors file whose header nests as deeply as a reader of JSON may follow.
fn deep_safetensors() -> Vec<u8> {
    let header = format!("{{\"x\": {}{}}}", "[".repeat(120), "]".repeat(120));
    [(header.len() as u64).to_le_bytes().as_slice(), header.as_bytes()].concat()
}

/// Pipelines from a folder of their name to folders, which is filled with the files before the host runs once.
struct Scene {
    text: String,
    sources: Vec<String>,
    files: Vec<(String, Vec<u8>)>,
}

impl Scene {
    fn new(plugins: &[&Plugin]) -> Self {
        Self {
            text: head(plugins),
            sources: Vec::new(),
            files: Vec::new(),
        }
    }

    /// Adds a pipeline; each destination is the folder `PIPELINE-DESTINATION`.
    fn pipeline(mut self, name: &str, stages: &str, destinations: &[&str]) -> Self {
        self.sources.push(name.to_owned());
        self.text +=
            &format!("\n[pipeline.{name}]\nsource = {{ folder = \"{name}\" }}\nmodel = \"shapes\"\n{stages}\n");
        for destination in destinations {
            self.text += &format!("[pipeline.{name}.destination.{destination}]\nfolder = \"{name}-{destination}\"\n");
        }
        self
    }

    fn file(mut self, path: &str, body: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.to_owned(), body.into()));
        self
    }

    fn run(self) -> Result<Mill> {
        let mill = Mill::new(&self.text)?;
        for source in &self.sources {
            std::fs::create_dir(mill.path(source))?;
        }
        for (path, body) in &self.files {
            std::fs::write(mill.path(path), body)?;
        }
        let ended = mill.run(&["run", "plugins.toml", "--once"])?;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        Ok(mill)
    }
}

fn read(mill: &Mill, path: &str) -> Result<Value> {
    let text = std::fs::read(mill.path(path)).with_context(|| {
        let folder = path.split('/').next().unwrap_or_default();
        format!("no {path}, but {:?}", mill.files(folder))
    })?;
    Ok(serde_json::from_slice(&text)?)
}

#[test]
fn tensors_fanouts_and_samples_come_out_as_their_readmes_say() -> Result<()> {
    let samples = pictures()?;
    let [first, second, ..] = samples.as_slice() else {
        bail!("too few samples")
    };
    // The other classes' destinations are not declared: `k` is 1.
    let rank = format!("rank-of-{}", second.label);
    let template = r#"what = "{label}", file = "{key}", sure = "{score}", three = "{top}""#;
    let mill = Scene::new(&[
        &Plugin::shipped("decode-image")?,
        &Plugin::shipped("tensor-passthrough")?,
        &Plugin::with_settings("sample-by-score", "between = [0.0, 2.0]")?,
        &Plugin::with_settings("to-schema", &format!("template = {{ {template} }}"))?,
        &Plugin::with_settings("top-k-fanout", r#"k = 1, destination = "rank-of-{label}""#)?,
    ])
    .pipeline(
        "kept",
        "preprocess = \"decode-image\"\nroute = \"sample-by-score\"",
        &["results", "samples"],
    )
    .pipeline(
        "ranks",
        "preprocess = \"tensor-passthrough\"\nroute = \"top-k-fanout\"",
        &[&rank],
    )
    .pipeline(
        "schema",
        "preprocess = \"tensor-passthrough\"\nroute = \"to-schema\"",
        &["results"],
    )
    .file("kept/first.png", first.png.clone())
    .file("ranks/second.npy", npy(second)?)
    .file("ranks/deep.safetensors", deep_safetensors())
    .file("schema/second.npy", npy(second)?)
    .run()?;

    let result = read(&mill, "kept-results/first.png.json")?;
    assert_eq!(result["label"], first.label.as_str());
    assert_eq!(result["unsure"], true);
    let copy = std::fs::read(mill.path("kept-samples/first.png.1.png"));
    assert_eq!(
        copy.with_context(|| format!("{:?}", mill.files("kept-samples")))?,
        first.png
    );
    let envelope = read(&mill, "kept-samples/first.png.1.png.envelope.json")?;
    assert_eq!(envelope["headers"]["why"], "between", "{envelope}");

    let result = read(&mill, &format!("ranks-{rank}/second.npy.json"))?;
    assert_eq!(result["label"], second.label.as_str());
    assert_eq!((&result["rank"], &result["of"]), (&1.into(), &1.into()));
    check_refused(
        &mill,
        "ranks",
        "deep.safetensors",
        "tensor-passthrough",
        "not a safetensors file",
    )?;

    let result = read(&mill, "schema-results/second.npy.json")?;
    assert_eq!(
        (&result["what"], &result["file"]),
        (&second.label.as_str().into(), &"second.npy".into())
    );
    assert_eq!(result["three"].as_array().map(Vec::len), Some(3));
    assert_eq!(result["three"][0]["score"], result["sure"]);
    Ok(())
}

#[test]
fn a_picture_in_json_is_classified_and_its_fields_stand_in_the_result() -> Result<()> {
    let samples = pictures()?;
    let sample = samples.first().context("no samples")?;
    let picture = serde_json::json!({"image": STANDARD.encode(&sample.png), "camera": {"id": 7}}).to_string();
    let deep = format!("{{\"camera\": {}{}}}", "[".repeat(500_000), "]".repeat(500_000));
    let template = r#"what = "{label}", camera = "{body:/camera/id}""#;
    let mill = Scene::new(&[
        &Plugin::shipped("decode-image")?,
        &Plugin::shipped("json-image")?,
        &Plugin::with_settings("to-schema", &format!("template = {{ {template} }}"))?,
    ])
    .pipeline(
        "json",
        "preprocess = [\"json-image\", \"decode-image\"]\nroute = \"to-schema\"",
        &["results"],
    )
    .file("json/picture.json", picture)
    .file("json/deep.json", deep)
    .file(
        "json/pickle.json",
        b"\x80\x04\x95\x0e\0\0\0\0\0\0\0}\x94\x8c\x05image\x94K\x01s.",
    )
    .run()?;
    let result = read(&mill, "json-results/picture.json.json")?;
    assert_eq!(
        (&result["what"], &result["camera"]),
        (&sample.label.as_str().into(), &7.into())
    );
    check_refused(
        &mill,
        "json",
        "deep.json",
        "json-image",
        "there is no `/image` in the JSON",
    )?;
    check_refused(&mill, "json", "pickle.json", "json-image", "it can run code")
}

/// A file became a dead letter because a plugin refused it: it did not trap.
fn check_refused(mill: &Mill, pipeline: &str, file: &str, plugin: &str, reason: &str) -> Result<()> {
    let found = read(mill, &format!("{pipeline}/dead/{file}.reason.json"))?.to_string();
    for part in [reason, "refused", plugin] {
        assert!(found.contains(part), "{file}: no {part:?} in {found}");
    }
    Ok(())
}

/// Each TOML of a README, as far as it is the plugin's tables.
fn examples(name: &str) -> Result<Vec<String>> {
    let readme = std::fs::read_to_string(root().join("plugins").join(name).join("README.md"))?;
    let file = guest("wasm32-wasip2", name)?;
    let shown = format!("\"plugins/{name}.wasm\"");
    let blocks = readme.split("```toml\n").skip(1);
    let mut examples = Vec::new();
    for block in blocks.filter_map(|rest| rest.split("```").next()) {
        let tables = block.split("[pipeline").next().unwrap_or_default();
        if !tables.contains(&shown) {
            bail!("an example in the README of {name} does not say {shown}");
        }
        examples.push(tables.replace(&shown, &format!("{:?}", file.display().to_string())));
    }
    if examples.is_empty() {
        bail!("no example in the README of {name}");
    }
    Ok(examples)
}

#[test]
fn the_examples_of_the_readmes_are_accepted() -> Result<()> {
    let folder = root().join("plugins");
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // The SDK is no plugin.
        if name == "sdk" || !path.join("Cargo.toml").exists() {
            continue;
        }
        let role = ROLES.iter().find(|(plugin, _)| *plugin == name);
        let (_, stage) = role.with_context(|| format!("no role of {name} is known here"))?;
        let others: Vec<&str> = ["decode-image", "by-label"]
            .into_iter()
            .filter(|other| *other != name)
            .collect();
        let plugins: Vec<Plugin> = others
            .iter()
            .map(|other| Plugin::shipped(other))
            .collect::<Result<_>>()?;
        for example in examples(&name)? {
            let mut text = head(&plugins.iter().collect::<Vec<_>>());
            text += &example;
            text += "\n[pipeline.images]\nsource = { folder = \"inbox\" }\nmodel = \"shapes\"\n";
            for key in ["preprocess", "route"] {
                text += match (stage.starts_with(key), key) {
                    (true, _) => stage,
                    (false, "route") => "route = \"by-label\"",
                    (false, _) => "preprocess = \"decode-image\"",
                };
                text += "\n";
            }
            for destination in ["results", "cats", "dogs", "others", "people", "nothing-seen"] {
                text += &format!("[pipeline.images.destination.{destination}]\nfolder = \"{destination}\"\n");
            }
            let mill = Mill::new(&text)?;
            std::fs::create_dir(mill.path("inbox"))?;
            let ended = mill.run(&["check", "plugins.toml"])?;
            assert_eq!(ended.code, Some(0), "{name}:\n{text}\n{ended:?}");
        }
    }
    Ok(())
}
