//! The training loop: seeded, epoch by epoch, on Burn's CPU backend.

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::network::{Network, Weight};
use super::random::Random;
use super::{CHANNELS, Labelled, PICTURE_BYTES, SIDE, TrainError};

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

/// Trains a network. `pictures` yields what an epoch, counted from 0, goes through; `held_out` is what its
/// accuracy is told for.
///
/// # Errors
/// When there are no pictures, or the loss is no number any more.
pub fn train(
    plan: &Plan,
    pictures: &mut dyn FnMut(usize) -> Labelled,
    held_out: &Labelled,
    progress: &mut dyn FnMut(Progress),
) -> Result<Trained, TrainError> {
    if held_out.is_empty() {
        return Err(TrainError::NoPictures("test with"));
    }
    let device = Device::flex().autodiff();
    device.seed(plan.seed);
    let mut random = Random::stream(plan.seed, SHUFFLE_STREAM);
    let mut network = Network::new(&device);
    let mut optimizer = AdamWConfig::new().with_weight_decay(1e-3).init();
    let criterion = CrossEntropyLossConfig::new().init(&device);
    for epoch in 0..plan.epochs {
        let data = pictures(epoch);
        let mut order: Vec<(&[u8; PICTURE_BYTES], usize)> = data.iter().collect();
        if order.is_empty() {
            return Err(TrainError::NoPictures("train on"));
        }
        random.shuffle(&mut order);
        let steps = order.len().div_ceil(plan.batch.max(1));
        let mut total_loss = 0.0;
        for (step, batch) in order.chunks(plan.batch.max(1)).enumerate() {
            let (inputs, targets) = tensors(batch, &device);
            let loss = criterion.forward(network.forward(inputs), targets);
            let loss_value = scalar(loss.clone())?;
            if !loss_value.is_finite() {
                return Err(TrainError::Failed(format!(
                    "the loss of epoch {} is {loss_value}",
                    epoch + 1
                )));
            }
            total_loss += loss_value;
            let gradients = GradientsParams::from_grads(loss.backward(), &network);
            let done = (epoch * steps + step) as f64 / (plan.epochs * steps) as f64;
            let rate = plan.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * done).cos());
            network = optimizer.step(rate, network, gradients);
            progress(Progress::Step {
                epoch: epoch + 1,
                step: step + 1,
                steps,
            });
        }
        let accuracy = accuracy(&network.valid(), held_out)?;
        progress(Progress::Epoch {
            epoch: epoch + 1,
            loss: total_loss / steps as f64,
            accuracy,
        });
    }
    Ok(Trained {
        weights: network.valid().weights()?,
    })
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
