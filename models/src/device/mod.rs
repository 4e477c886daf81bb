//! The devices of this machine: found once, opened explicitly and fallibly. A software rasteriser only by name.

mod cores;

use millrace_cpu::InstructionSet;
use millrace_model_types::{DeviceChoice, DeviceKind, Placement, Precision};

use crate::burn::{self, Adapter, adapters};
use crate::runner::{CPU_CHUNK, FLEX_CHUNK};

/// What the CPU is called in lists and logs.
const CPU_NAME: &str = "cpu";
/// Burn's CPU backend, which others are compared with.
const FLEX_NAME: &str = "cpu (burn-flex)";
/// What computes a graph by the book.
const INTERPRETER_NAME: &str = "cpu (interpreter)";
/// Most items of a batch on the CPU: its throughput stops growing at 8 to 16 items, while the wait grows with every item.
pub(crate) const CPU_MAX_BATCH: usize = 16;
/// Most items of a batch on a GPU: enough to fill one with a small network.
pub(crate) const GPU_MAX_BATCH: usize = 64;

/// A device that answered when it was opened. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Device {
    place: Place,
    name: String,
    kind: DeviceKind,
    precision: Precision,
}

/// The executor there.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// Burn, on one of its devices.
    Burn(burn::Device),
    /// The CPU's own executor.
    Cpu {
        /// Threads that compute.
        threads: usize,
    },
    /// The graph's interpreter: slow, and a reference alone.
    Interpreter,
}

/// One line of `millrace devices`.
#[derive(Debug, Clone)]
pub struct DeviceInfo {
    /// Matched against `device = { adapter = ".." }`.
    pub name: String,
    /// `cpu`, `discrete gpu`, `integrated gpu`, `virtual gpu`, `software` or `other`.
    pub kind: String,
    /// `vulkan`, `metal`, or the CPU's instructions: `avx512`.
    pub backend: String,
    /// Driver name and version, where there is one.
    pub driver: String,
    /// Whether `auto` would take it.
    pub auto: bool,
}

/// Why a device cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// A GPU, or an adapter by its name, was asked for.
    #[error("this build has no GPU support: `cargo build --release --package millrace` builds a host that has it")]
    NotBuiltIn,
    /// `gpu` was asked for and there is none.
    #[error("no GPU found; there is {there}")]
    NoGpu {
        /// The existing ones.
        there: String,
    },
    /// There are fewer GPUs.
    #[error("there is no GPU {place}, counted from 0; there is {there}")]
    NoSuchGpu {
        /// Which was asked for.
        place: usize,
        /// The existing ones.
        there: String,
    },
    /// The device has no arithmetic in half precision.
    #[error("{name} cannot compute with `precision = \"f16\"`")]
    NoHalf {
        /// The adapter's name.
        name: String,
    },
    /// No adapter has the text in its name.
    #[error("no adapter with `{wanted}` in its name; there is {there}")]
    NoSuchAdapter {
        /// The text.
        wanted: String,
        /// The existing ones.
        there: String,
    },
    /// The adapter is there and refuses.
    #[error("cannot open the adapter {name}: {message}")]
    Refused {
        /// The adapter's name.
        name: String,
        /// The error of the graphics library.
        message: String,
    },
}

/// Lists the devices of this machine, the CPU last.
pub fn devices() -> Vec<DeviceInfo> {
    let adapters = adapters();
    let chosen = best_gpu(adapters);
    let mut infos: Vec<DeviceInfo> = adapters
        .iter()
        .map(|adapter| DeviceInfo {
            name: adapter.name.clone(),
            kind: adapter.kind.to_string(),
            backend: adapter.backend.clone(),
            driver: adapter.driver.clone(),
            auto: chosen.is_some_and(|chosen| std::ptr::eq(chosen, adapter)),
        })
        .collect();
    infos.push(DeviceInfo {
        name: CPU_NAME.to_owned(),
        kind: DeviceKind::Cpu.to_string(),
        backend: instructions(),
        driver: String::new(),
        auto: chosen.is_none(),
    });
    infos
}

/// Whether a choice comes to the CPU on this machine.
pub fn is_cpu(choice: &DeviceChoice) -> bool {
    match choice {
        DeviceChoice::Cpu => true,
        DeviceChoice::Auto => best_gpu(adapters()).is_none(),
        DeviceChoice::Gpu | DeviceChoice::GpuAt(_) | DeviceChoice::Adapter(_) => false,
    }
}

/// Whether this build can open such a device, whatever this machine has.
///
/// # Errors
/// When it is a GPU, and the build has no support for any.
pub fn supported(choice: &DeviceChoice) -> Result<(), DeviceError> {
    match burn::HAS_GPUS || is_cpu(choice) {
        true => Ok(()),
        false => Err(DeviceError::NotBuiltIn),
    }
}

/// A sensible `max_batch` of a choice where the file says none.
pub(crate) fn default_max_batch(choice: &DeviceChoice) -> usize {
    match is_cpu(choice) {
        true => CPU_MAX_BATCH,
        false => GPU_MAX_BATCH,
    }
}

/// Threads of each instance on the CPU: as a placement says, or the physical cores shared among them.
pub(crate) fn threads_each(placement: &Placement) -> usize {
    let on_cpu = placement.devices.iter().filter(|device| is_cpu(device)).count();
    let instances = on_cpu.max(1) * placement.instances.max(1);
    placement
        .threads
        .unwrap_or_else(|| cores::physical() / instances)
        .max(1)
}

impl Device {
    /// Opens a device. Opening one again returns the open one.
    ///
    /// # Errors
    /// When there is none of the kind asked for: says what there is instead.
    pub fn open(choice: &DeviceChoice) -> Result<Self, DeviceError> {
        supported(choice)?;
        let device = match choice {
            DeviceChoice::Cpu => Ok(Self::cpu()),
            DeviceChoice::Auto => match best_gpu(adapters()) {
                Some(adapter) => open_adapter(adapter),
                None => Ok(Self::cpu()),
            },
            DeviceChoice::Gpu => match best_gpu(adapters()) {
                Some(adapter) => open_adapter(adapter),
                None => Err(DeviceError::NoGpu {
                    there: list(adapters()),
                }),
            },
            DeviceChoice::GpuAt(place) => match gpus(adapters()).nth(*place) {
                Some(adapter) => open_adapter(adapter),
                None => Err(DeviceError::NoSuchGpu {
                    place: *place,
                    there: list(adapters()),
                }),
            },
            DeviceChoice::Adapter(wanted) => {
                let lower = wanted.to_lowercase();
                match adapters()
                    .iter()
                    .find(|adapter| adapter.name.to_lowercase().contains(&lower))
                {
                    Some(adapter) => open_adapter(adapter),
                    None => {
                        let there = list(adapters());
                        Err(DeviceError::NoSuchAdapter {
                            wanted: wanted.clone(),
                            there,
                        })
                    }
                }
            }
        }?;
        tracing::info!(device = device.name(), "device opened");
        Ok(device)
    }

    /// Opens the devices of a placement: each as often as there are instances.
    ///
    /// # Errors
    /// When one is not there, or cannot compute so.
    pub fn open_all(placement: &Placement) -> Result<Vec<Self>, DeviceError> {
        let mut devices = Vec::new();
        for choice in &placement.devices {
            let device = Self::open(choice)?.with_precision(placement.precision)?;
            let device = device.with_threads(threads_each(placement));
            devices.extend(std::iter::repeat_n(device, placement.instances.max(1)));
        }
        Ok(devices)
    }

    /// The CPU, which is always there, with a thread for each core.
    pub fn cpu() -> Self {
        Self::cpu_with(cores::physical())
    }

    fn cpu_with(threads: usize) -> Self {
        let plural = if threads == 1 { "" } else { "s" };
        Self {
            name: format!("{CPU_NAME} ({}, {threads} thread{plural})", instructions()),
            place: Place::Cpu { threads },
            kind: DeviceKind::Cpu,
            precision: Precision::F32,
        }
    }

    /// Another executor for the same processor: Burn's CPU backend, or the graph's interpreter where Burn is not built in.
    fn other_on_cpu() -> Self {
        let (name, place) = match burn::cpu_backend() {
            Some(device) => (FLEX_NAME, Place::Burn(device)),
            None => (INTERPRETER_NAME, Place::Interpreter),
        };
        Self {
            name: name.to_owned(),
            place,
            kind: DeviceKind::Cpu,
            precision: Precision::F32,
        }
    }

    /// The reference for its numbers: never itself.
    pub(crate) fn reference(&self) -> Self {
        match self.place {
            Place::Cpu { .. } => Self::other_on_cpu(),
            Place::Burn(_) | Place::Interpreter => Self::cpu(),
        }
    }

    /// The most items that it should be given at a time, where that is not the batch.
    pub(crate) fn chunk(&self) -> Option<usize> {
        match self.place {
            Place::Cpu { .. } => Some(CPU_CHUNK),
            Place::Burn(_) => (self.kind == DeviceKind::Cpu).then_some(FLEX_CHUNK),
            Place::Interpreter => Some(1),
        }
    }

    /// The same device with numbers of another precision; a CPU computes in full precision.
    fn with_precision(mut self, precision: Precision) -> Result<Self, DeviceError> {
        let Place::Burn(device) = &self.place else {
            return Ok(self);
        };
        if precision == self.precision {
            return Ok(self);
        }
        if !device.supports_half() {
            return Err(DeviceError::NoHalf { name: self.name });
        }
        self.name.push_str(", f16");
        self.precision = precision;
        Ok(self)
    }

    /// The same device with so many threads, where it is the CPU.
    fn with_threads(self, threads: usize) -> Self {
        match self.place {
            Place::Cpu { .. } => Self::cpu_with(threads),
            Place::Burn(_) | Place::Interpreter => self,
        }
    }

    /// Whether it is the graph's interpreter.
    pub(crate) fn is_interpreter(&self) -> bool {
        matches!(self.place, Place::Interpreter)
    }

    /// Whether it is a GPU that a CPU plays.
    pub(crate) fn is_software(&self) -> bool {
        self.kind == DeviceKind::Software
    }

    pub(crate) fn precision(&self) -> Precision {
        self.precision
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Such as `cpu (avx512, 2 threads)` or `NVIDIA H100 (vulkan, NVIDIA 570.86)`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether batches are padded to a few warmed sizes on this device (wgpu), or run as they are.
    pub fn pads_batches(&self) -> bool {
        self.kind != DeviceKind::Cpu
    }

    /// A sensible `max_batch` where the file says none.
    pub fn default_max_batch(&self) -> usize {
        if self.pads_batches() {
            GPU_MAX_BATCH
        } else {
            CPU_MAX_BATCH
        }
    }
}

/// The widest instructions of this processor: `avx512`.
fn instructions() -> String {
    let widest = InstructionSet::available().first().copied();
    widest.map_or_else(String::new, |set| format!("{set:?}").to_lowercase())
}

/// The GPU that `auto` takes: adapters are sorted best first.
fn best_gpu(adapters: &[Adapter]) -> Option<&Adapter> {
    gpus(adapters).next()
}

/// The real GPUs, best first; one that speaks several APIs counts once for each.
fn gpus(adapters: &[Adapter]) -> impl Iterator<Item = &Adapter> {
    adapters.iter().filter(|adapter| {
        matches!(
            adapter.kind,
            DeviceKind::Discrete | DeviceKind::Integrated | DeviceKind::Virtual
        )
    })
}

fn list(adapters: &[Adapter]) -> String {
    let mut there: Vec<String> = adapters
        .iter()
        .map(|adapter| format!("{} ({}, {})", adapter.name, adapter.kind, adapter.backend))
        .collect();
    there.push(format!("{CPU_NAME} ({})", instructions()));
    there.join(", ")
}

fn open_adapter(adapter: &Adapter) -> Result<Device, DeviceError> {
    let device = adapter.open().map_err(|message| DeviceError::Refused {
        name: adapter.name.clone(),
        message,
    })?;
    Ok(Device {
        place: Place::Burn(device),
        name: format!("{} ({}, {})", adapter.name, adapter.backend, adapter.driver),
        kind: adapter.kind,
        precision: Precision::F32,
    })
}
