//! The network that is trained: two convolutions and three linear layers, as Burn modules.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::module::max_pool2d;
use burn::tensor::ops::MaxPoolOptions;
use burn::tensor::{Device, Tensor, TensorData};

use super::{CHANNELS, TrainError};

/// What it tells apart.
pub(super) const CLASSES: usize = 10;

/// A layer's name, its kind's line in `model.toml` and whether it has weights.
pub(super) const LAYERS: &str = r#"
[[layer]]
type = "conv2d"
name = "conv1"
out = 6
kernel = 5

[[layer]]
type = "relu"

[[layer]]
type = "max-pool"
kernel = 2

[[layer]]
type = "conv2d"
name = "conv2"
out = 16
kernel = 5

[[layer]]
type = "relu"

[[layer]]
type = "max-pool"
kernel = 2

[[layer]]
type = "flatten"

[[layer]]
type = "linear"
name = "fc1"
out = 120

[[layer]]
type = "relu"

[[layer]]
type = "linear"
name = "fc2"
out = 84

[[layer]]
type = "relu"

[[layer]]
type = "linear"
name = "fc3"
out = 10
"#;

#[derive(Module, Debug)]
pub(super) struct Network {
    conv1: Conv2d,
    conv2: Conv2d,
    fc1: Linear,
    fc2: Linear,
    fc3: Linear,
}

/// A trained weight as it goes into a file: PyTorch's name and layout.
#[derive(Debug, Clone)]
pub(super) struct Weight {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) numbers: Vec<f32>,
}

impl Network {
    pub(super) fn new(device: &Device) -> Self {
        Self {
            conv1: Conv2dConfig::new([CHANNELS, 6], [5, 5]).init(device),
            conv2: Conv2dConfig::new([6, 16], [5, 5]).init(device),
            fc1: LinearConfig::new(16 * 5 * 5, 120).init(device),
            fc2: LinearConfig::new(120, 84).init(device),
            fc3: LinearConfig::new(84, CLASSES).init(device),
        }
    }

    pub(super) fn forward(&self, pictures: Tensor<4>) -> Tensor<2> {
        let x = max_pool2d(relu(self.conv1.forward(pictures)), MaxPoolOptions::new([2, 2]));
        let x = max_pool2d(relu(self.conv2.forward(x)), MaxPoolOptions::new([2, 2]));
        let x = relu(self.fc1.forward(x.flatten(1, 3)));
        self.fc3.forward(relu(self.fc2.forward(x)))
    }

    /// Every parameter as it lies here, by its path, for a checkpoint.
    pub(super) fn parameters(&self) -> Result<BTreeMap<String, Vec<f32>>, TrainError> {
        let mut reading = Reading {
            path: Vec::new(),
            found: Ok(BTreeMap::new()),
        };
        self.visit(&mut reading);
        reading.found
    }

    /// With the parameters of a checkpoint.
    pub(super) fn with_parameters(
        self,
        parameters: BTreeMap<String, Vec<f32>>,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let mut replacing = Replacing {
            path: Vec::new(),
            parameters,
            missing: None,
            device: device.clone(),
        };
        let network = self.map(&mut replacing);
        match replacing.missing {
            Some(name) => Err(TrainError::Failed(format!(
                "the checkpoint has no `{name}` of this network"
            ))),
            None => Ok(network),
        }
    }

    pub(super) fn weights(&self) -> Result<Vec<Weight>, TrainError> {
        let mut weights = Vec::new();
        for (name, conv) in [("conv1", &self.conv1), ("conv2", &self.conv2)] {
            weights.push(weight(format!("{name}.weight"), conv.weight.val())?);
            if let Some(bias) = &conv.bias {
                weights.push(weight(format!("{name}.bias"), bias.val())?);
            }
        }
        for (name, linear) in [("fc1", &self.fc1), ("fc2", &self.fc2), ("fc3", &self.fc3)] {
            // Burn has [in, out], the file PyTorch's [out, in].
            weights.push(weight(format!("{name}.weight"), linear.weight.val().transpose())?);
            if let Some(bias) = &linear.bias {
                weights.push(weight(format!("{name}.bias"), bias.val())?);
            }
        }
        Ok(weights)
    }
}

fn weight<const D: usize>(name: String, tensor: Tensor<D>) -> Result<Weight, TrainError> {
    let shape = tensor.dims().to_vec();
    let numbers = numbers(&name, tensor)?;
    Ok(Weight { name, shape, numbers })
}

/// The numbers of a tensor, whose name an error says.
pub(super) fn numbers<const D: usize>(name: &str, tensor: Tensor<D>) -> Result<Vec<f32>, TrainError> {
    let data = tensor
        .try_into_data()
        .map_err(|error| TrainError::Failed(error.to_string()))?;
    let numbers = data
        .as_slice::<f32>()
        .map_err(|error| TrainError::Failed(format!("{name}: {error:?}")))?;
    Ok(numbers.to_vec())
}

/// Reads every parameter, by its path.
struct Reading {
    path: Vec<String>,
    found: Result<BTreeMap<String, Vec<f32>>, TrainError>,
}

impl ModuleVisitor for Reading {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.path.join(".");
        if let Ok(found) = &mut self.found {
            match numbers(&name, param.val()) {
                Ok(numbers) => drop(found.insert(name, numbers)),
                Err(error) => self.found = Err(error),
            }
        }
    }
}

/// Replaces every parameter, by its path; says the first one that is not there, or not as long.
struct Replacing {
    path: Vec<String>,
    parameters: BTreeMap<String, Vec<f32>>,
    missing: Option<String>,
    device: Device,
}

impl ModuleMapper for Replacing {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.path.join(".");
        let shape = param.val().dims();
        match self.parameters.remove(&name) {
            Some(numbers) if numbers.len() == shape.iter().product::<usize>() => {
                let tensor = Tensor::from_data(TensorData::new(numbers, shape), &self.device);
                param.map(|_| tensor.require_grad())
            }
            _ => {
                self.missing.get_or_insert(name);
                param
            }
        }
    }
}
