//! A training run between two epochs, as a file: what goes on from it ends as the run that was not cut off. Knows no data.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read, Write as _};
use std::path::Path;

use safetensors::tensor::View;
use safetensors::{Dtype, SafeTensors};

use super::optimizer::Moments;
use super::{Plan, TrainError};

/// The largest checkpoint that is read: the network's has about 0.7 MB.
const MAX_BYTES: u64 = 16 << 20;
/// What is in front of the names of arrays.
const PARAMETER: &str = "parameter.";
const FIRST: &str = "moment_1.";
const SECOND: &str = "moment_2.";
/// The file's kind, and the version of what is in it.
const KIND: (&str, &str) = ("millrace-checkpoint", "1");

/// A training run between two epochs.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// Epochs that are done.
    pub epochs_done: usize,
    /// Where the run's randomness started.
    pub seed: u64,
    /// Pictures of one step.
    pub batch: usize,
    /// The learning rate of the first step.
    pub learning_rate: f64,
    /// What was trained on, in words or as a digest.
    pub data: String,
    /// How the shuffling goes on.
    pub(super) random: u64,
    pub(super) parameters: BTreeMap<String, Vec<f32>>,
    pub(super) moments: BTreeMap<String, Moments>,
}

impl Checkpoint {
    /// Writes it in place of an older one, which stays whole until the new one is.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), TrainError> {
        let failed = |source| TrainError::Write {
            path: path.to_owned(),
            source,
        };
        let contents = self.serialize()?;
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let mut file = File::create(&partial).map_err(failed)?;
        file.write_all(&contents)
            .and_then(|()| file.sync_all())
            .map_err(failed)?;
        std::fs::rename(&partial, path).map_err(failed)
    }

    /// Reads one.
    ///
    /// # Errors
    /// When the file cannot be read or is no checkpoint.
    pub fn read(path: &Path) -> Result<Self, TrainError> {
        let failed = |source| TrainError::Read {
            path: path.to_owned(),
            source,
        };
        let mut contents = Vec::new();
        let file = File::open(path).map_err(failed)?;
        file.take(MAX_BYTES + 1).read_to_end(&mut contents).map_err(failed)?;
        if contents.len() as u64 > MAX_BYTES {
            return Err(wrong(path, "too large for a checkpoint of the trainer"));
        }
        Self::parse(&contents).ok_or_else(|| wrong(path, "no checkpoint of the trainer, or one that is cut off"))
    }

    /// Whether a run of this plan on this data may go on from here: it would end as one that was not cut off.
    ///
    /// # Errors
    /// Names what is different, and what to do.
    pub fn must_be_of(&self, path: &Path, plan: &Plan, data: &str) -> Result<(), TrainError> {
        let differs = |what: &str, of: String, asked: String| {
            let message =
                format!("is of a run with {what} {of}, and {asked} is asked for: ask for the same, or remove the file");
            Err(wrong(path, &message))
        };
        if self.data != data {
            return Err(wrong(
                path,
                "is of a run on other data: name the same data, or remove the file",
            ));
        }
        if self.seed != plan.seed {
            return differs("the seed", self.seed.to_string(), plan.seed.to_string());
        }
        if self.batch != plan.batch {
            return differs("batches of", self.batch.to_string(), plan.batch.to_string());
        }
        if self.learning_rate.to_bits() != plan.learning_rate.to_bits() {
            return differs(
                "the learning rate",
                self.learning_rate.to_string(),
                plan.learning_rate.to_string(),
            );
        }
        if self.epochs_done > plan.epochs {
            let (done, asked) = (self.epochs_done, plan.epochs);
            let message =
                format!("has {done} epochs done, and {asked} are asked for: ask for more, or remove the file");
            return Err(wrong(path, &message));
        }
        Ok(())
    }

    fn serialize(&self) -> Result<Vec<u8>, TrainError> {
        let mut arrays = Vec::new();
        for (name, numbers) in &self.parameters {
            arrays.push((format!("{PARAMETER}{name}"), Numbers::new(numbers)));
        }
        let mut steps = 0;
        for (name, moments) in &self.moments {
            arrays.push((format!("{FIRST}{name}"), Numbers::new(&moments.first)));
            arrays.push((format!("{SECOND}{name}"), Numbers::new(&moments.second)));
            steps = moments.steps;
        }
        let about = [
            (KIND.0, KIND.1.to_owned()),
            ("epochs_done", self.epochs_done.to_string()),
            ("seed", self.seed.to_string()),
            ("batch", self.batch.to_string()),
            ("learning_rate", self.learning_rate.to_string()),
            ("data", self.data.clone()),
            ("random", self.random.to_string()),
            ("steps", steps.to_string()),
        ];
        let about: HashMap<String, String> = about.map(|(key, value)| (key.to_owned(), value)).into();
        safetensors::serialize(arrays, Some(about)).map_err(|error| TrainError::Failed(error.to_string()))
    }

    fn parse(contents: &[u8]) -> Option<Self> {
        let (_, metadata) = SafeTensors::read_metadata(contents).ok()?;
        let about = metadata.metadata().as_ref()?;
        let text = |key: &str| about.get(key).map(String::as_str);
        let count = |key: &str| text(key)?.parse::<usize>().ok();
        if text(KIND.0)? != KIND.1 {
            return None;
        }
        let arrays = SafeTensors::deserialize(contents).ok()?;
        let numbers = |name: &str| {
            let array = arrays.tensor(name).ok()?;
            let (bytes, rest) = array.data().as_chunks::<4>();
            let is_plain = array.dtype() == Dtype::F32 && rest.is_empty();
            is_plain.then(|| {
                bytes
                    .iter()
                    .map(|bytes| f32::from_le_bytes(*bytes))
                    .collect::<Vec<f32>>()
            })
        };
        let (mut parameters, mut moments) = (BTreeMap::new(), BTreeMap::new());
        let steps = count("steps")?;
        for name in arrays.names() {
            let Some(name) = name.strip_prefix(PARAMETER) else {
                continue;
            };
            let of = numbers(&format!("{PARAMETER}{name}"))?;
            let (first, second) = (
                numbers(&format!("{FIRST}{name}"))?,
                numbers(&format!("{SECOND}{name}"))?,
            );
            if first.len() != of.len() || second.len() != of.len() {
                return None;
            }
            parameters.insert(name.to_owned(), of);
            moments.insert(name.to_owned(), Moments { steps, first, second });
        }
        Some(Self {
            epochs_done: count("epochs_done")?,
            seed: text("seed")?.parse().ok()?,
            batch: count("batch")?,
            learning_rate: text("learning_rate")?.parse().ok()?,
            data: text("data")?.to_owned(),
            random: text("random")?.parse().ok()?,
            parameters,
            moments,
        })
    }
}

fn wrong(path: &Path, message: &str) -> TrainError {
    TrainError::Checkpoint {
        path: path.to_owned(),
        message: message.to_owned(),
    }
}

/// Numbers on their way into a file.
struct Numbers<'a> {
    numbers: &'a [f32],
    shape: [usize; 1],
}

impl<'a> Numbers<'a> {
    fn new(numbers: &'a [f32]) -> Self {
        Self {
            numbers,
            shape: [numbers.len()],
        }
    }
}

impl View for Numbers<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.numbers.iter().flat_map(|number| number.to_le_bytes()).collect())
    }
    fn data_len(&self) -> usize {
        size_of_val(self.numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        let moments = |number: f32| Moments {
            steps: 12,
            first: vec![number, f32::MIN_POSITIVE / 2.0],
            second: vec![0.1 + number, -0.0],
        };
        Checkpoint {
            epochs_done: 3,
            seed: u64::MAX,
            batch: 32,
            learning_rate: 2e-3,
            data: "cifar".to_owned(),
            random: 0x9e37_79b9_7f4a_7c15,
            parameters: [("a.weight", 0.1), ("b.bias", -1e-30)]
                .map(|(name, number)| (name.to_owned(), vec![number, 1.0]))
                .into(),
            moments: [("a.weight", 0.3), ("b.bias", 7.0)]
                .map(|(name, number)| (name.to_owned(), moments(number)))
                .into(),
        }
    }

    fn plan() -> Plan {
        Plan {
            seed: u64::MAX,
            epochs: 8,
            batch: 32,
            learning_rate: 2e-3,
        }
    }

    #[test]
    fn what_is_written_is_read_bit_by_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.safetensors");
        std::fs::write(&path, "an older one").unwrap();
        checkpoint().write(&path).unwrap();
        assert_eq!(Checkpoint::read(&path).unwrap(), checkpoint());
        checkpoint().must_be_of(&path, &plan(), "cifar").unwrap();
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[test]
    fn a_checkpoint_of_another_run_is_refused_by_what_differs() {
        let check = |plan: Plan, data: &str, expected: &str| {
            let error = checkpoint().must_be_of(Path::new("run"), &plan, data).unwrap_err();
            assert_eq!(error.to_string(), format!("run: {expected}"));
        };
        check(
            plan(),
            "shapes",
            "is of a run on other data: name the same data, or remove the file",
        );
        let asked = |what: &str| format!("is of a run with {what} is asked for: ask for the same, or remove the file");
        let seed = asked("the seed 18446744073709551615, and 7");
        check(Plan { seed: 7, ..plan() }, "cifar", &seed);
        check(Plan { batch: 64, ..plan() }, "cifar", &asked("batches of 32, and 64"));
        let rate = Plan {
            learning_rate: 1e-3,
            ..plan()
        };
        check(rate, "cifar", &asked("the learning rate 0.002, and 0.001"));
        let done = "has 3 epochs done, and 2 are asked for: ask for more, or remove the file";
        check(Plan { epochs: 2, ..plan() }, "cifar", done);
    }

    #[test]
    fn what_is_no_checkpoint_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.safetensors");
        let whole = checkpoint().serialize().unwrap();
        let other = safetensors::serialize([("a", Numbers::new(&[1.0]))], None).unwrap();
        for contents in [
            b"".as_slice(),
            b"nothing",
            &whole[..whole.len() - 1],
            &whole[..200],
            &other,
        ] {
            std::fs::write(&path, contents).unwrap();
            let error = Checkpoint::read(&path).unwrap_err().to_string();
            assert!(
                error.ends_with("no checkpoint of the trainer, or one that is cut off"),
                "{error}"
            );
        }
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(Checkpoint::read(&path), Err(TrainError::Read { .. })));
    }
}
