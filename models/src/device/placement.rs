//! Where a model runs: on which devices, how often, and how it computes there.

use super::{Device, DeviceChoice, DeviceError};

/// How numbers are kept on a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits; norms and sums are computed with 32.
    F16,
}

/// Where a model runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    // Invariant: not empty.
    /// The devices, each with the whole model.
    pub devices: Vec<DeviceChoice>,
    /// How often it is on each.
    pub instances: usize,
    /// Threads of each instance on the CPU; by the number of cores where there is none.
    pub threads: Option<usize>,
    /// How numbers are kept on GPUs.
    pub precision: Precision,
}

impl Default for Placement {
    fn default() -> Self {
        Self::on(DeviceChoice::default())
    }
}

impl Placement {
    /// Once on one device.
    pub fn on(device: DeviceChoice) -> Self {
        Self {
            devices: vec![device],
            instances: 1,
            threads: None,
            precision: Precision::default(),
        }
    }

    /// Opens the devices: each as often as there are instances.
    ///
    /// # Errors
    /// When one is not there, or cannot compute so.
    pub fn open(&self) -> Result<Vec<Device>, DeviceError> {
        let mut devices = Vec::new();
        for choice in &self.devices {
            let device = Device::open(choice)?.with_precision(self.precision)?;
            let device = device.with_threads(self.threads_each());
            devices.extend(std::iter::repeat_n(device, self.instances.max(1)));
        }
        Ok(devices)
    }

    /// Threads of each instance on the CPU: as said, or the physical cores shared among them.
    pub(crate) fn threads_each(&self) -> usize {
        let on_cpu = self.devices.iter().filter(|device| device.is_cpu()).count();
        let instances = on_cpu.max(1) * self.instances.max(1);
        self.threads
            .unwrap_or_else(|| super::cores::physical() / instances)
            .max(1)
    }
}
