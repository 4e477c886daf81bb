//! AdamW over the network's weights, each by its name, with a state that can be written down and taken up. Knows no data.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, Param};
use burn::optim::{AdamWConfig, AdamWState, AdaptiveMomentumState, GradientsParams, Optimizer as _};
use burn::tensor::{Device, Tensor, TensorData};

use super::TrainError;
use super::network::{Network, numbers};

/// What each step takes from every weight, of the learning rate.
const WEIGHT_DECAY: f32 = 1e-3;

/// The optimiser and what it remembers of the steps so far.
pub(super) struct AdamW {
    step: burn::optim::AdamW,
    // By the path of a weight in the network; every number of a weight is worked on alone, so their shapes do not matter.
    moments: BTreeMap<String, AdamWState<1>>,
}

/// What is remembered for one weight.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Moments {
    pub(super) steps: usize,
    pub(super) first: Vec<f32>,
    pub(super) second: Vec<f32>,
}

impl AdamW {
    pub(super) fn new() -> Self {
        Self {
            step: AdamWConfig::new().with_weight_decay(WEIGHT_DECAY).build(),
            moments: BTreeMap::new(),
        }
    }

    /// As it was when it was written down.
    pub(super) fn resumed(moments: BTreeMap<String, Moments>, device: &Device) -> Self {
        let tensor = |numbers: Vec<f32>| {
            let n_numbers = numbers.len();
            Tensor::from_data(TensorData::new(numbers, [n_numbers]), device)
        };
        let state = |moments: Moments| {
            AdamWState::new(AdaptiveMomentumState {
                time: moments.steps,
                moment_1: tensor(moments.first),
                moment_2: tensor(moments.second),
                max_moment_2: None,
            })
        };
        Self {
            moments: moments
                .into_iter()
                .map(|(name, moments)| (name, state(moments)))
                .collect(),
            ..Self::new()
        }
    }

    /// What it remembers, to be written down.
    pub(super) fn moments(&self) -> Result<BTreeMap<String, Moments>, TrainError> {
        let mut moments = BTreeMap::new();
        for (name, state) in &self.moments {
            let state = state.momentum.clone();
            let found = Moments {
                steps: state.time,
                first: numbers(name, state.moment_1)?,
                second: numbers(name, state.moment_2)?,
            };
            moments.insert(name.clone(), found);
        }
        Ok(moments)
    }

    /// One step against the gradients.
    pub(super) fn step(&mut self, rate: f64, network: Network, gradients: GradientsParams) -> Network {
        network.map(&mut Step {
            optimizer: self,
            rate,
            gradients,
            path: Vec::new(),
        })
    }
}

/// A step on its way through the network.
struct Step<'a> {
    optimizer: &'a mut AdamW,
    rate: f64,
    gradients: GradientsParams,
    path: Vec<String>,
}

impl ModuleMapper for Step<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(gradient) = self.gradients.remove::<D>(param.id) else {
            return param;
        };
        let name = self.path.join(".");
        let state = self.optimizer.moments.remove(&name);
        let (optimizer, rate, moments) = (&self.optimizer.step, self.rate, &mut self.optimizer.moments);
        param.map(|tensor| {
            let shape = tensor.dims();
            let n_numbers = shape.iter().product::<usize>();
            let (flat, gradient) = (tensor.inner().reshape([n_numbers]), gradient.reshape([n_numbers]));
            let (updated, state) = optimizer.step(rate, flat, gradient, state);
            if let Some(state) = state {
                moments.insert(name, state);
            }
            Tensor::from_inner(updated.reshape(shape)).require_grad()
        })
    }
}
