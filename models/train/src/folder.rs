//! Writes a model folder: weights, `model.toml`, recorded samples, and pictures to try it with.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use millrace_model_folder::hexadecimal;
use millrace_models::{Device, MANIFEST_FILE, Model, Runner, Tensor, TensorData};
use safetensors::Dtype;
use safetensors::tensor::View;
use sha2::{Digest, Sha256};

use super::fit::{NORMALISATION, Trained, best};
use super::network::LAYERS;
use super::{CHANNELS, Confusion, Labelled, PICTURE_BYTES, SIDE, TrainError};

const WEIGHTS_FILE: &str = "weights.safetensors";
const SAMPLES_FILE: &str = "samples.safetensors";
/// Where the pictures go, within the folder.
const PICTURES_FOLDER: &str = "samples";
/// How many inputs are recorded with their outputs.
const N_SAMPLES: usize = 4;
/// Items of a batch while the held-out pictures are classified.
const BATCH: usize = 16;

/// What `model.toml` says about a model.
#[derive(Debug, Clone)]
pub struct Description {
    /// Its name.
    pub name: String,
    /// A sentence.
    pub description: String,
    /// The licence of the weights.
    pub licence: String,
    /// Where they come from.
    pub provenance: String,
    /// Names of the classes.
    pub labels: Vec<String>,
    /// How many sample pictures are written.
    pub n_pictures: usize,
}

/// What was written.
#[derive(Debug, Clone)]
pub struct Written {
    /// The share of held-out pictures that the folder's model classifies rightly, 0 to 1.
    pub accuracy: f64,
    /// What the held-out pictures of each class were taken for.
    pub confusion: Confusion,
    /// The sample pictures, in the order of their labels.
    pub pictures: Vec<PathBuf>,
}

/// Writes a complete model folder, loads it again, measures it on the held-out pictures, and records
/// samples of what it computes. The sample pictures are held-out ones that it classifies rightly.
///
/// # Errors
/// When a file cannot be written, or what was written does not load and run.
pub fn write_folder(
    folder: &Path,
    trained: &Trained,
    about: &Description,
    held_out: &Labelled,
) -> Result<Written, TrainError> {
    create(folder)?;
    let weights = serialize(trained.weights.iter().map(|weight| {
        let bytes = weight.numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        (
            weight.name.clone(),
            Array {
                dtype: Dtype::F32,
                shape: weight.shape.clone(),
                bytes,
            },
        )
    }))?;
    write(&folder.join(WEIGHTS_FILE), &weights)?;
    let sha256 = hexadecimal(&Sha256::digest(&weights));
    write(&folder.join(MANIFEST_FILE), manifest(about, &sha256, None).as_bytes())?;

    let model = Model::load(folder)?;
    let mut runner = Runner::new(&model, &Device::cpu(), BATCH)?;
    let outputs = classify(&mut runner, held_out)?;
    let mut confusion = Confusion::new(&about.labels);
    let mut right = Vec::with_capacity(outputs.len());
    for (row, label) in outputs.iter().zip(&held_out.labels) {
        let found = best(row);
        found.inspect(|found| confusion.add(*label, *found));
        right.push(found == Some(*label));
    }
    let accuracy = right.iter().filter(|right| **right).count() as f64 / held_out.len().max(1) as f64;
    write(&folder.join(SAMPLES_FILE), &samples(held_out, &outputs)?)?;
    let measured = Measured {
        accuracy,
        items: held_out.len(),
    };
    write(
        &folder.join(MANIFEST_FILE),
        manifest(about, &sha256, Some(&measured)).as_bytes(),
    )?;

    // The folder as it will be served: with its digest and its samples.
    Runner::new(&Model::load(folder)?, &Device::cpu(), 1)?.warm_up(&mut |_| {})?;
    let pictures = write_pictures(&folder.join(PICTURES_FOLDER), about, held_out, &right)?;
    Ok(Written {
        accuracy,
        confusion,
        pictures,
    })
}

struct Measured {
    accuracy: f64,
    items: usize,
}

fn manifest(about: &Description, sha256: &str, measured: Option<&Measured>) -> String {
    let quote = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let labels: Vec<String> = about.labels.iter().map(|label| quote(label)).collect();
    let (mean, deviation) = NORMALISATION;
    let (name, description) = (quote(&about.name), quote(&about.description));
    let (licence, provenance) = (quote(&about.licence), quote(&about.provenance));
    let mut text = format!(
        "name = {name}\ndescription = {description}\nlicence = {licence}\nprovenance = {provenance}\n\n\
         [input]\nshape = [{CHANNELS}, {SIDE}, {SIDE}]\nelement = \"byte\"\nmean = [{mean}]\nstd = [{deviation}]\n\n\
         [output]\nlabels = [{}]\nactivation = \"softmax\"\n\n\
         [weights]\nfile = \"{WEIGHTS_FILE}\"\nsha256 = \"{sha256}\"\n",
        labels.join(", ")
    );
    if let Some(Measured { accuracy, items }) = measured {
        text += &format!("\n[samples]\nfile = \"{SAMPLES_FILE}\"\n");
        text += &format!("\n[accuracy]\nheld_out = {accuracy:.4}\nitems = {items}\n");
    }
    text + LAYERS
}

fn classify(runner: &mut Runner, held_out: &Labelled) -> Result<Vec<Vec<f32>>, TrainError> {
    let mut tensors = Vec::with_capacity(held_out.len());
    for picture in held_out.pictures.iter() {
        let shape = vec![CHANNELS as u32, SIDE as u32, SIDE as u32];
        let tensor = Tensor::new(shape, TensorData::Bytes(picture.to_vec()));
        tensors.push(tensor.map_err(|error| TrainError::Failed(error.to_string()))?);
    }
    let mut outputs = Vec::with_capacity(held_out.len());
    for batch in tensors.chunks(BATCH) {
        let items = runner.run(batch)?;
        outputs.extend(
            items
                .into_iter()
                .flat_map(|item| item.outputs)
                .map(|(_, numbers)| numbers),
        );
    }
    Ok(outputs)
}

/// The first held-out pictures with what the model yields for them.
fn samples(held_out: &Labelled, outputs: &[Vec<f32>]) -> Result<Vec<u8>, TrainError> {
    let n_samples = outputs.len().min(N_SAMPLES);
    let pictures = held_out.pictures.iter().take(n_samples).flatten().copied().collect();
    let rows: Vec<&Vec<f32>> = outputs.iter().take(n_samples).collect();
    let width = rows.first().map_or(0, |row| row.len());
    let numbers = rows
        .into_iter()
        .flatten()
        .flat_map(|number| number.to_le_bytes())
        .collect();
    serialize([
        (
            "input".to_owned(),
            Array {
                dtype: Dtype::U8,
                shape: vec![n_samples, CHANNELS, SIDE, SIDE],
                bytes: pictures,
            },
        ),
        (
            "output".to_owned(),
            Array {
                dtype: Dtype::F32,
                shape: vec![n_samples, width],
                bytes: numbers,
            },
        ),
    ])
}

/// Rightly classified pictures of each class in turn, as `label-number.png`.
fn write_pictures(
    folder: &Path,
    about: &Description,
    held_out: &Labelled,
    right: &[bool],
) -> Result<Vec<PathBuf>, TrainError> {
    if about.n_pictures == 0 {
        return Ok(Vec::new());
    }
    create(folder)?;
    let mut by_class: BTreeMap<usize, Vec<&[u8; PICTURE_BYTES]>> = BTreeMap::new();
    for ((picture, label), _) in held_out.iter().zip(right).filter(|(_, right)| **right) {
        by_class.entry(label).or_default().push(picture);
    }
    let mut written = Vec::new();
    let rounds = by_class.values().map(Vec::len).max().unwrap_or(0);
    for round in 0..rounds {
        for (label, pictures) in &by_class {
            let (Some(picture), Some(name)) = (pictures.get(round), about.labels.get(*label)) else {
                continue;
            };
            if written.len() == about.n_pictures {
                return Ok(written);
            }
            let path = folder.join(format!("{name}-{}.png", round + 1));
            // Channels first to pixel by pixel.
            let pixel = |x: u32, y: u32| {
                let at = y as usize * SIDE + x as usize;
                let mut planes = picture
                    .chunks(SIDE * SIDE)
                    .map(|plane| plane.get(at).copied().unwrap_or(0));
                image::Rgb([(); CHANNELS].map(|()| planes.next().unwrap_or(0)))
            };
            let rgb = image::RgbImage::from_fn(SIDE as u32, SIDE as u32, pixel);
            rgb.save(&path).map_err(|source| TrainError::Picture {
                path: path.clone(),
                source,
            })?;
            written.push(path);
        }
    }
    Ok(written)
}

/// A tensor on its way into a safetensors file.
struct Array {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl View for Array {
    fn dtype(&self) -> Dtype {
        self.dtype
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }
    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

fn serialize(arrays: impl IntoIterator<Item = (String, Array)>) -> Result<Vec<u8>, TrainError> {
    safetensors::serialize(arrays, None).map_err(|error| TrainError::Failed(error.to_string()))
}

fn create(folder: &Path) -> Result<(), TrainError> {
    std::fs::create_dir_all(folder).map_err(|source| TrainError::Write {
        path: folder.to_owned(),
        source,
    })
}

fn write(path: &Path, contents: &[u8]) -> Result<(), TrainError> {
    std::fs::write(path, contents).map_err(|source| TrainError::Write {
        path: path.to_owned(),
        source,
    })
}
