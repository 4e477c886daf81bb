//! The devices of this machine: found once, opened explicitly and fallibly. A software rasteriser only by name.

mod adapters;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use adapters::{Adapter, Kind, adapters};

/// Which device a model asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// A real GPU where there is one, else the CPU backend; never a software rasteriser.
    #[default]
    Auto,
    /// A real GPU, or an error.
    Gpu,
    /// Burn's CPU backend.
    Cpu,
    /// The wgpu adapter whose name contains this text (case-insensitive), software adapters too.
    Adapter(String),
}

/// What the CPU backend is called in lists and logs.
const CPU_NAME: &str = "cpu";
/// The CPU backend behind it.
const CPU_BACKEND: &str = "burn-flex";
/// Most items of a batch on the CPU backend: its throughput stops growing at 8 to 16 items, while the wait
/// grows with every item.
pub(crate) const CPU_MAX_BATCH: usize = 16;
/// Most items of a batch on a GPU: enough to fill one with a small network.
pub(crate) const GPU_MAX_BATCH: usize = 64;

/// A device that answered when it was opened. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Device {
    pub(crate) burn: burn::tensor::Device,
    name: String,
    kind: Kind,
}

/// One line of `millrace devices`.
#[derive(Debug, Clone)]
pub struct DeviceInfo {
    /// What `device = { adapter = ".." }` is matched against.
    pub name: String,
    /// `cpu`, `discrete gpu`, `integrated gpu`, `virtual gpu`, `software` or `other`.
    pub kind: String,
    /// `burn-flex`, `vulkan`, `gl`, ...
    pub backend: String,
    /// Driver name and version, where there is one.
    pub driver: String,
    /// Whether `auto` would take it.
    pub auto: bool,
}

/// Why a device cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// `gpu` was asked for and there is none.
    #[error("no GPU found; there is {there}")]
    NoGpu {
        /// What there is instead.
        there: String,
    },
    /// No adapter has the text in its name.
    #[error("no adapter with `{wanted}` in its name; there is {there}")]
    NoSuchAdapter {
        /// The text.
        wanted: String,
        /// What there is instead.
        there: String,
    },
    /// The adapter is there and refuses.
    #[error("cannot open the adapter {name}: {message}")]
    Refused {
        /// The adapter's name.
        name: String,
        /// What the graphics library says.
        message: String,
    },
}

/// Lists the devices of this machine, the CPU backend last.
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
        kind: Kind::Cpu.to_string(),
        backend: CPU_BACKEND.to_owned(),
        driver: String::new(),
        auto: chosen.is_none(),
    });
    infos
}

impl DeviceChoice {
    /// Whether it comes to the CPU backend on this machine.
    pub(crate) fn is_cpu(&self) -> bool {
        match self {
            Self::Cpu => true,
            Self::Auto => best_gpu(adapters()).is_none(),
            Self::Gpu | Self::Adapter(_) => false,
        }
    }
}

impl Device {
    /// Opens a device. Opening one again yields the one that is open.
    ///
    /// # Errors
    /// When there is none of the kind asked for: says what there is instead.
    pub fn open(choice: &DeviceChoice) -> Result<Self, DeviceError> {
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

    /// Burn's CPU backend, which is always there.
    pub(crate) fn cpu() -> Self {
        let name = format!("{CPU_NAME} ({CPU_BACKEND})");
        Self {
            burn: burn::tensor::Device::flex(),
            name,
            kind: Kind::Cpu,
        }
    }

    /// Such as `cpu (burn-flex)` or `NVIDIA H100 (vulkan, NVIDIA 570.86)`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether batches are padded to a few warmed sizes on this device (wgpu), or run as they are.
    pub fn pads_batches(&self) -> bool {
        self.kind != Kind::Cpu
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

/// The GPU that `auto` takes: adapters are sorted best first.
fn best_gpu(adapters: &[Adapter]) -> Option<&Adapter> {
    adapters
        .iter()
        .find(|adapter| matches!(adapter.kind, Kind::Discrete | Kind::Integrated | Kind::Virtual))
}

fn list(adapters: &[Adapter]) -> String {
    let mut there: Vec<String> = adapters
        .iter()
        .map(|adapter| format!("{} ({}, {})", adapter.name, adapter.kind, adapter.backend))
        .collect();
    there.push(format!("{CPU_NAME} ({CPU_BACKEND})"));
    there.join(", ")
}

/// What was opened: the runtime behind a selector is registered for the life of the process.
static OPENED: Mutex<BTreeMap<String, Device>> = Mutex::new(BTreeMap::new());

fn open_adapter(adapter: &Adapter) -> Result<Device, DeviceError> {
    // Held while opening: a selector can be initialised once only. Nothing is half done after a panic.
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    let name = format!("{} ({}, {})", adapter.name, adapter.backend, adapter.driver);
    let refused = |message| DeviceError::Refused {
        name: adapter.name.clone(),
        message,
    };
    let Some(selector) = adapter.selector.clone() else {
        return Err(refused("it does not say what kind of device it is".to_owned()));
    };
    let key = format!("{selector:?} {}", adapter.backend);
    if let Some(device) = opened.get(&key) {
        return Ok(device.clone());
    }
    // The graphics stack may panic where it could report; a machine's driver is no bug of ours.
    let setup = catch_unwind(AssertUnwindSafe(|| {
        let options = burn::tensor::Device::wgpu_options()
            .graphics_api(adapter.api)
            .device_kind(selector);
        options.init_with_setup().map_err(|error| error.to_string())
    }));
    let (burn, setup) = match setup {
        Ok(opened) => opened.map_err(refused)?,
        Err(panic) => return Err(refused(crate::panic_text(panic.as_ref()))),
    };
    let found = setup.adapter.get_info().name;
    if found != adapter.name {
        return Err(refused(format!("{found} answered in its place")));
    }
    let device = Device {
        burn,
        name,
        kind: adapter.kind,
    };
    opened.insert(key, device.clone());
    Ok(device)
}
