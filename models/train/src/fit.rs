//! The training loop: seeded, epoch by epoch, on Burn's CPU backend.

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::network::{Network, Weight};
use super::optimizer::AdamW;
use super::random::Random;
use super::{CHANNELS, Checkpoint, Labelled, PICTURE_BYTES, SIDE, TrainError};

/// Mean and deviation that pictures are normalised with, as in PyTorch's tutorial.
pub(super) const NORMALISATION: (f32, f32) = (0.5, 0.5);
/// Pictures whose accuracy is computed at a time.
const EVALUATION_BATCH: usize = 250;
/// The stream of random numbers that shuffles.
const SHUFFLE_STREAM: u64 = 1 << 40;

/// How long and how fast to train.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where all randomness starts.
    pub seed: u64,
    /// How often all pictures are gone through.
    pub epochs: usize,
    /// Pictures of one step.
    pub batch: usize,
    /// The learning rate of the first step; it falls to 0 along a half cosine.
    pub learning_rate: f64,
}

/// What a training run tells while it goes on.
#[derive(Debug, Clone, Copy)]
pub enum Progress {
    /// A step is done.
    Step {
        /// Counted from 1.
        epoch: usize,
        /// Counted from 1.
        step: usize,
        /// Steps of an epoch.
        steps: usize,
    },
    /// An epoch is done.
    Epoch {
        /// Counted from 1.
        epoch: usize,
        /// The mean loss over the epoch's steps.
        loss: f64,
        /// The share of held-out pictures that are classified rightly, 0 to 1.
        accuracy: f64,
    },
}

/// A trained network's weights.
#[derive(Debug, Clone)]
pub struct Trained {
    pub(super) weights: Vec<Weight>,
}

/// One run: where it begins, what it goes through, and whom it tells.
pub struct Course<'a> {
    /// Where a run that was cut off left off; nothing for a new one.
    pub from: Option<Checkpoint>,
    /// What is trained on, in words or as a digest; checkpoints have it.
    pub data: &'a str,
    /// What an epoch, counted from 0, goes through.
    pub pictures: &'a mut dyn FnMut(usize) -> Labelled,
    /// What an epoch's accuracy is told for.
    pub held_out: &'a Labelled,
    /// Is told how it goes on.
    pub progress: &'a mut dyn FnMut(Progress),
    /// Gets the state after each epoch, to be kept.
    pub keep: &'a mut dyn FnMut(&Checkpoint) -> Result<(), TrainError>,
}

/// Trains a network. A run that goes on from a checkpoint of the same plan ends with the same numbers as one that was not cut
/// off; with more epochs it goes on along the slower fall of the learning rate.
///
/// # Errors
/// When there are no pictures, the loss is no number any more, or the state cannot be kept.
pub fn train(plan: &Plan, course: &mut Course<'_>) -> Result<Trained, TrainError> {
    if course.held_out.is_empty() {
        return Err(TrainError::NoPictures("test with"));
    }
    let device = Device::flex().autodiff();
    device.seed(plan.seed);
    let mut state = State::new(plan, &device);
    let mut first = 0;
    if let Some(from) = course.from.take() {
        first = from.epochs_done;
        state = State::resumed(from, &device)?;
    }
    for epoch in first..plan.epochs {
        let data = (course.pictures)(epoch);
        let loss = state.epoch(plan, epoch, &data, course.progress)?;
        let accuracy = accuracy(&state.network.valid(), course.held_out)?;
        (course.keep)(&state.checkpoint(plan, epoch + 1, course.data)?)?;
        (course.progress)(Progress::Epoch {
            epoch: epoch + 1,
            loss,
            accuracy,
        });
    }
    Ok(Trained {
        weights: state.network.valid().weights()?,
    })
}

/// What changes from step to step.
struct State {
    network: Network,
    optimizer: AdamW,
    random: Random,
    device: Device,
}

impl State {
    fn new(plan: &Plan, device: &Device) -> Self {
        Self {
            network: Network::new(device),
            optimizer: AdamW::new(),
            random: Random::stream(plan.seed, SHUFFLE_STREAM),
            device: device.clone(),
        }
    }

    fn resumed(from: Checkpoint, device: &Device) -> Result<Self, TrainError> {
        Ok(Self {
            network: Network::new(device).with_parameters(from.parameters, device)?,
            // The optimiser computes beside the gradients, and not with them.
            optimizer: AdamW::resumed(from.moments, &Device::flex()),
            random: Random::new(from.random),
            device: device.clone(),
        })
    }

    fn checkpoint(&self, plan: &Plan, epochs_done: usize, data: &str) -> Result<Checkpoint, TrainError> {
        Ok(Checkpoint {
            epochs_done,
            seed: plan.seed,
            batch: plan.batch,
            learning_rate: plan.learning_rate,
            data: data.to_owned(),
            random: self.random.state(),
            parameters: self.network.valid().parameters()?,
            moments: self.optimizer.moments()?,
        })
    }

    /// Goes through all pictures once. Yields the mean loss.
    fn epoch(
        &mut self,
        plan: &Plan,
        epoch: usize,
        data: &Labelled,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<f64, TrainError> {
        let mut order: Vec<(&[u8; PICTURE_BYTES], usize)> = data.iter().collect();
        if order.is_empty() {
            return Err(TrainError::NoPictures("train on"));
        }
        self.random.shuffle(&mut order);
        let criterion = CrossEntropyLossConfig::new().init(&self.device);
        let steps = order.len().div_ceil(plan.batch.max(1));
        let mut total_loss = 0.0;
        for (step, batch) in order.chunks(plan.batch.max(1)).enumerate() {
            let (inputs, targets) = tensors(batch, &self.device);
            let loss = criterion.forward(self.network.forward(inputs), targets);
            let loss_value = scalar(loss.clone())?;
            if !loss_value.is_finite() {
                return Err(TrainError::Failed(format!(
                    "the loss of epoch {} is {loss_value}",
                    epoch + 1
                )));
            }
            total_loss += loss_value;
            let gradients = GradientsParams::from_grads(loss.backward(), &self.network);
            let done = (epoch * steps + step) as f64 / (plan.epochs * steps) as f64;
            let rate = plan.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * done).cos());
            self.network = self.optimizer.step(rate, self.network.clone(), gradients);
            progress(Progress::Step {
                epoch: epoch + 1,
                step: step + 1,
                steps,
            });
        }
        Ok(total_loss / steps as f64)
    }
}

fn tensors(batch: &[(&[u8; PICTURE_BYTES], usize)], device: &Device) -> (Tensor<4>, Tensor<1, Int>) {
    let (mean, deviation) = NORMALISATION;
    let bytes = batch.iter().flat_map(|(picture, _)| picture.iter());
    let numbers: Vec<f32> = bytes
        .map(|byte| (f32::from(*byte) / 255.0 - mean) / deviation)
        .collect();
    let labels: Vec<i64> = batch.iter().map(|(_, label)| *label as i64).collect();
    let inputs = TensorData::new(numbers, [batch.len(), CHANNELS, SIDE, SIDE]);
    let targets = TensorData::new(labels, [batch.len()]);
    (Tensor::from_data(inputs, device), Tensor::from_data(targets, device))
}

fn scalar(tensor: Tensor<1>) -> Result<f64, TrainError> {
    let data = tensor
        .try_into_data()
        .map_err(|error| TrainError::Failed(error.to_string()))?;
    match data.as_slice::<f32>() {
        Ok([number]) => Ok(f64::from(*number)),
        _ => Err(TrainError::Failed("a loss that is not one number".to_owned())),
    }
}

fn accuracy(network: &Network, held_out: &Labelled) -> Result<f64, TrainError> {
    let device = Device::flex();
    let all: Vec<(&[u8; PICTURE_BYTES], usize)> = held_out.iter().collect();
    let mut right = 0;
    for batch in all.chunks(EVALUATION_BATCH) {
        let (inputs, _) = tensors(batch, &device);
        let output = network.forward(inputs);
        let classes = output.dims()[1].max(1);
        let data = output
            .try_into_data()
            .map_err(|error| TrainError::Failed(error.to_string()))?;
        let numbers = data
            .as_slice::<f32>()
            .map_err(|error| TrainError::Failed(format!("{error:?}")))?;
        let rows = numbers.chunks(classes).zip(batch);
        right += rows.filter(|(row, (_, label))| best(row) == Some(*label)).count();
    }
    Ok(right as f64 / all.len() as f64)
}

/// The index of the largest number.
pub(super) fn best(row: &[f32]) -> Option<usize> {
    let largest = row
        .iter()
        .enumerate()
        .max_by(|(_, one), (_, other)| one.total_cmp(other));
    largest.map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{augment, shapes};

    fn run(from: Option<Checkpoint>, kept: &mut Vec<Checkpoint>) -> Vec<Vec<f32>> {
        let plan = Plan {
            seed: 3,
            epochs: 3,
            batch: 8,
            learning_rate: 2e-3,
        };
        let data = shapes::draw(3, 1, 40);
        let mut course = Course {
            from,
            data: "shapes",
            pictures: &mut |epoch| augment::crop_and_flip(&data, 3, epoch),
            held_out: &shapes::draw(3, 0, 10),
            progress: &mut |_| {},
            keep: &mut |checkpoint| {
                kept.push(checkpoint.clone());
                Ok(())
            },
        };
        let trained = train(&plan, &mut course).unwrap();
        trained.weights.into_iter().map(|weight| weight.numbers).collect()
    }

    #[test]
    fn a_run_from_any_checkpoint_ends_with_the_same_weights() {
        let mut kept = Vec::new();
        let whole = run(None, &mut kept);
        assert_eq!(kept.iter().map(|kept| kept.epochs_done).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(kept[0].moments["conv1.weight"].steps, 5);
        for checkpoint in &kept {
            let resumed = run(Some(checkpoint.clone()), &mut Vec::new());
            assert!(
                resumed == whole,
                "other weights behind epoch {}",
                checkpoint.epochs_done
            );
        }
    }

    #[test]
    fn a_checkpoint_of_another_network_is_told() {
        let mut kept = Vec::new();
        run(None, &mut kept);
        let mut other = kept.remove(0);
        other.parameters.remove("fc2.bias");
        let device = Device::flex().autodiff();
        let error = State::resumed(other, &device).err().unwrap().to_string();
        assert_eq!(
            error,
            "training failed: the checkpoint has no `fc2.bias` of this network"
        );
    }
}
