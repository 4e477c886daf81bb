//! Where a model runs: on which devices, how often, and how it computes there. Opens none.

/// Which device a model asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// A real GPU where there is one, else the CPU; never a software rasteriser.
    #[default]
    Auto,
    /// A real GPU, or an error.
    Gpu,
    /// The real GPU at this place, from 0, best first.
    GpuAt(usize),
    /// The CPU.
    Cpu,
    /// The wgpu adapter whose name contains this text (case-insensitive), software adapters too.
    Adapter(String),
}

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
}
