//! What is in the queues, and the networks that are made for the run. Knows which programs make them, and starts no subject.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use millrace_tests::amqp::{Arrival, Parcel};
use millrace_tests::samples::{Sample, model, pictures, root};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::echo::RESULT_BYTES;
use crate::photos;
use crate::subject::{Body, Network, Preprocess, Runs, Subject};

/// The classes of the network that takes the mean of each colour.
const COLOURS: [&str; 3] = ["red", "green", "blue"];
/// Means that lie so near may be in either order: the host sums as 32-bit floats.
const ALIKE: f64 = 0.01;

/// A message, and what may come of it.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    content_type: &'static str,
    body: Vec<u8>,
    /// Labels that a network of pictures may give.
    labels: Vec<String>,
    /// Labels that the mean of each colour may give.
    colours: Vec<String>,
}

/// Everything that is made before the first block.
pub(crate) struct Supplies {
    /// The Python of the peers, where there is one.
    pub(crate) python: Option<PathBuf>,
    items: BTreeMap<Body, Vec<Item>>,
    folder: TempDir,
}

impl Supplies {
    /// Makes what these subjects need.
    ///
    /// # Errors
    /// When Python is needed and fails.
    pub(crate) fn gather(subjects: &[Subject], python: Option<PathBuf>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("millrace-bench-").tempdir()?;
        let mut supplies = Self {
            python,
            items: BTreeMap::new(),
            folder,
        };
        for subject in subjects {
            supplies.add_items(subject.body)?;
            match subject.runs {
                Runs::Echo => {}
                Runs::Host(pipeline) => {
                    if let Network::Mean(edge) = pipeline.network {
                        supplies.add_mean(edge)?;
                    }
                    if pipeline.preprocess == Preprocess::Python && !supplies.python_plugin().exists() {
                        supplies.run_python("plugin/build.py", &[&supplies.python_plugin()])?;
                    }
                }
                Runs::Peer(_) if supplies.onnx().exists() => {}
                Runs::Peer(_) => supplies.run_python("network.py", &[&supplies.onnx()])?,
            }
        }
        Ok(supplies)
    }

    /// The folder of a network.
    pub(crate) fn network(&self, network: Network) -> PathBuf {
        match network {
            Network::Shapes => model(),
            Network::Mean(edge) => self.path(&format!("mean-{edge}")),
            Network::ResNet18 => self.path("resnet18"),
        }
    }

    /// The LeNet for ONNX Runtime.
    pub(crate) fn onnx(&self) -> PathBuf {
        self.path("lenet.onnx")
    }

    /// The preprocessor in Python.
    pub(crate) fn python_plugin(&self) -> PathBuf {
        self.path("python-plugin.wasm")
    }

    /// `n` messages of a subject, numbered.
    ///
    /// # Errors
    /// When they were not made.
    pub(crate) fn parcels(&self, subject: &Subject, n: usize) -> Result<impl Iterator<Item = Parcel>> {
        let items = self.items(subject.body)?;
        let numbered = (0..n).zip(items.iter().cycle());
        Ok(numbered.map(|(n, item)| item.parcel(n)))
    }

    /// The messages of a kind, which are sent in turn.
    ///
    /// # Errors
    /// When they were not made.
    pub(crate) fn items(&self, body: Body) -> Result<&[Item]> {
        let items = self
            .items
            .get(&body)
            .with_context(|| format!("no messages of {body}"))?;
        Ok(items)
    }

    /// Demands that a result is right for message `n`.
    ///
    /// # Errors
    /// With what was found.
    pub(crate) fn check(&self, subject: &Subject, result: &Arrival, n: usize) -> Result<()> {
        let items = self.items(subject.body)?;
        let item = items.get(n % items.len()).context("no message")?;
        let expected = match subject.network() {
            None => {
                ensure!(result.body.len() == RESULT_BYTES, "message {n}: {result:?}");
                return Ok(());
            }
            Some(Network::Mean(_)) => &item.colours,
            Some(Network::Shapes | Network::ResNet18) => &item.labels,
        };
        let found = result.json()?;
        let label = found.get("label").and_then(Value::as_str).context("no label")?;
        ensure!(
            expected.iter().any(|one| one == label),
            "message {n}: expected {expected:?}, found `{label}`"
        );
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn add_items(&mut self, body: Body) -> Result<()> {
        if self.items.contains_key(&body) {
            return Ok(());
        }
        let items = match body {
            Body::Photo => self.photos()?,
            Body::Noise(edge) => photos::noise(edge).into_iter().map(of_noise).collect(),
            Body::Pickle => self.pickles()?,
            Body::Raw => of_samples("image/x-rgb", Sample::raw)?,
            Body::Png => of_samples("image/png", |sample| Ok(sample.png.clone()))?,
            Body::Jpeg => of_samples("image/jpeg", Sample::jpeg)?,
        };
        self.items.insert(body, items);
        Ok(())
    }

    /// What Python makes of the pictures. One file for each: Rust writes no pickles.
    fn pickles(&self) -> Result<Vec<Item>> {
        let folder = self.path("pickles");
        self.run_python("bodies.py", &[&folder])?;
        let read = |(number, sample): (usize, Sample)| {
            let path = folder.join(number.to_string());
            let body = fs::read(&path).with_context(|| path.display().to_string())?;
            Ok(Item::of("application/octet-stream", body, &sample))
        };
        pictures()?.into_iter().enumerate().map(read).collect()
    }

    /// A ResNet-18 with drawn weights, pictures of its size, and what ONNX Runtime says of each.
    fn photos(&self) -> Result<Vec<Item>> {
        let (folder, onnx) = (self.path("photos"), self.path("resnet18.onnx"));
        fs::create_dir_all(&folder)?;
        let bodies = photos::photos()?;
        for (number, body) in bodies.iter().enumerate() {
            fs::write(folder.join(format!("{number:02}.jpg")), body)?;
        }
        let labels = self.path("labels.json");
        self.run_python("resnet.py", &[&onnx, &folder, &labels])?;
        let import = ["--normalisation", "imagenet", "--labels", "imagenet1k", "--out"];
        let mut command = Command::new(millrace_tests::host::binary()?);
        command.args(["model", "import"]).arg(&onnx).args(import);
        must_succeed(command.arg(self.network(Network::ResNet18)))?;
        let labels: Vec<Vec<String>> = serde_json::from_slice(&fs::read(labels)?)?;
        ensure!(
            labels.len() == bodies.len(),
            "{} labels of {} photos",
            labels.len(),
            bodies.len()
        );
        let items = bodies.into_iter().zip(labels).map(|(body, labels)| Item {
            content_type: "image/jpeg",
            body,
            labels,
            colours: Vec::new(),
        });
        Ok(items.collect())
    }

    /// The network of next to no work: the mean of each colour, through a layer that leaves it as it is.
    fn add_mean(&self, edge: u32) -> Result<()> {
        let folder = self.network(Network::Mean(edge));
        fs::create_dir_all(&folder)?;
        let text = format!(
            "name = \"mean\"\nlicence = \"Apache-2.0 OR MIT\"\nprovenance = \"made by the bench\"\n\n[input]\n\
             shape = [3, {edge}, {edge}]\nelement = \"byte\"\nmean = [0.0]\nstd = [1.0]\n\n[output]\n\
             labels = [\"red\", \"green\", \"blue\"]\nactivation = \"none\"\n\n[weights]\nfile = \"weights.safetensors\"\n\n\
             [[layer]]\ntype = \"global-avg-pool\"\n\n[[layer]]\ntype = \"flatten\"\n\n\
             [[layer]]\ntype = \"linear\"\nname = \"same\"\nout = 3\nbias = false\n"
        );
        fs::write(folder.join("model.toml"), text)?;
        Ok(fs::write(folder.join("weights.safetensors"), unit_matrix()?)?)
    }

    fn run_python(&self, script: &str, arguments: &[&Path]) -> Result<()> {
        let Some(python) = &self.python else {
            bail!("{script} needs Python");
        };
        let mut command = Command::new(python);
        command.arg(peers().join(script)).args(arguments);
        must_succeed(&mut command).map(drop)
    }
}

impl Item {
    fn of(content_type: &'static str, body: Vec<u8>, sample: &Sample) -> Self {
        Self {
            content_type,
            body,
            labels: vec![sample.label.clone()],
            colours: sample.raw().map(|raw| colours(&raw)).unwrap_or_default(),
        }
    }

    /// The message with this number.
    pub(crate) fn parcel(&self, n: usize) -> Parcel {
        Parcel {
            content_type: Some(self.content_type.to_owned()),
            ..Parcel::new(&n.to_string(), self.body.clone())
        }
    }

    /// Such as `image/png`.
    pub(crate) fn content_type(&self) -> &'static str {
        self.content_type
    }

    /// The body.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }
}

/// Where the programs of Python are.
pub(crate) fn peers() -> PathBuf {
    root().join("tests/benches/peers")
}

/// Runs a program to its end.
///
/// # Errors
/// With what it said when it fails.
pub(crate) fn must_succeed(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{command:?} ended with {}:\n{said}",
        output.status
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn of_samples(content_type: &'static str, body: impl Fn(&Sample) -> Result<Vec<u8>>) -> Result<Vec<Item>> {
    let samples = pictures()?;
    let item = |sample: &Sample| Ok(Item::of(content_type, body(sample)?, sample));
    samples.iter().map(item).collect()
}

fn of_noise(body: Vec<u8>) -> Item {
    Item {
        content_type: "image/x-rgb",
        labels: Vec::new(),
        colours: colours(&body),
        body,
    }
}

/// The labels whose mean is the highest. A raw tensor has its colours one after the other, and so have the means of a picture
/// that is passed on as it is: the first third of the bytes is `red`, whatever they show.
fn colours(raw: &[u8]) -> Vec<String> {
    let third = (raw.len() / 3).max(1);
    let mean = |plane: &[u8]| plane.iter().map(|byte| f64::from(*byte)).sum::<f64>() / plane.len() as f64;
    let means: Vec<f64> = raw.chunks_exact(third).map(mean).collect();
    let highest = means.iter().copied().fold(0.0, f64::max);
    let named = COLOURS.iter().zip(&means).filter(|(_, mean)| highest - **mean < ALIKE);
    named.map(|(name, _)| (*name).to_owned()).collect()
}

/// `same.weight`, three by three, as a safetensors file.
fn unit_matrix() -> Result<Vec<u8>> {
    let values: Vec<u8> = (0..9)
        .flat_map(|n| if n % 4 == 0 { 1.0_f32 } else { 0.0 }.to_le_bytes())
        .collect();
    let header = json!({ "same.weight": { "dtype": "F32", "shape": [3, 3], "data_offsets": [0, values.len()] } });
    let header = serde_json::to_vec(&header)?;
    let length = u64::try_from(header.len())?.to_le_bytes();
    Ok([&length, header.as_slice(), &values].concat())
}
