//! The graphics adapters of this machine, asked for once: the Vulkan loader suffers from instances that come and go.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, OnceLock, PoisonError};

use burn::tensor::wgpu::WgpuBackend;
use burn::tensor::{DeviceKind as Selector, try_read_sync};
use millrace_model_types::{DeviceKind, panic_text};
use wgpu::{AdapterInfo, Backend, Backends, DeviceType, Instance, InstanceDescriptor};

use crate::device::Device;

/// One adapter on one graphics API, and how Burn's runtime calls it.
#[derive(Debug)]
pub struct Adapter {
    /// What it calls itself.
    pub name: String,
    /// What it is.
    pub kind: DeviceKind,
    /// The graphics API.
    pub backend: String,
    /// Its driver's name and version, where it says them.
    pub driver: String,
    api: WgpuBackend,
    // `None` for a kind that Burn cannot select.
    selector: Option<Selector>,
}

/// Vulkan and its peers. OpenGL is left out: a GPU that can run a network speaks one of these, and the OpenGL loader
/// complains on standard error where there is no desktop.
const APIS: [(Backend, WgpuBackend, &str); 3] = [
    (Backend::Vulkan, WgpuBackend::Vulkan, "vulkan"),
    (Backend::Metal, WgpuBackend::Metal, "metal"),
    (Backend::Dx12, WgpuBackend::Dx12, "dx12"),
];

/// All adapters, best first.
pub fn adapters() -> &'static [Adapter] {
    static ADAPTERS: OnceLock<Vec<Adapter>> = OnceLock::new();
    ADAPTERS.get_or_init(|| {
        let mut found: Vec<Adapter> = APIS
            .iter()
            .flat_map(|(api, burn, name)| on_api(*api, *burn, name))
            .collect();
        // Stable: within a kind the order of the APIs stays.
        found.sort_by_key(|adapter| adapter.kind);
        tracing::debug!(n_adapters = found.len(), "graphics adapters listed");
        found
    })
}

fn on_api(api: Backend, burn: WgpuBackend, name: &str) -> Vec<Adapter> {
    if !Instance::enabled_backend_features().contains(Backends::from(api)) {
        return Vec::new();
    }
    // A broken driver must not take down a host that can serve on its CPU.
    let infos = catch_unwind(AssertUnwindSafe(|| probe(api))).unwrap_or_else(|panic| {
        tracing::warn!(
            api = name,
            error = panic_text(panic.as_ref()),
            "listing graphics adapters failed"
        );
        Vec::new()
    });
    let mut adapters: Vec<Adapter> = Vec::new();
    for info in infos {
        let kind = match info.device_type {
            DeviceType::DiscreteGpu => DeviceKind::Discrete,
            DeviceType::IntegratedGpu => DeviceKind::Integrated,
            DeviceType::VirtualGpu => DeviceKind::Virtual,
            DeviceType::Other => DeviceKind::Other,
            DeviceType::Cpu => DeviceKind::Software,
        };
        // Burn counts each kind by itself, in the order in which the API lists them.
        let index = adapters.iter().filter(|adapter| adapter.kind == kind).count();
        let selector = match kind {
            DeviceKind::Discrete => Some(Selector::DiscreteGpu(index)),
            DeviceKind::Integrated => Some(Selector::IntegratedGpu(index)),
            DeviceKind::Virtual => Some(Selector::VirtualGpu(index)),
            DeviceKind::Software => Some(Selector::Cpu),
            DeviceKind::Other | DeviceKind::Cpu => None,
        };
        let driver = format!("{} {}", info.driver, info.driver_info).trim().to_owned();
        adapters.push(Adapter {
            name: info.name,
            kind,
            backend: name.to_owned(),
            driver,
            api: burn,
            selector,
        });
    }
    adapters
}

fn probe(api: Backend) -> Vec<AdapterInfo> {
    let backends = Backends::from(api);
    let instance = Instance::new(InstanceDescriptor {
        backends,
        ..InstanceDescriptor::new_without_display_handle()
    });
    // Outside of browsers the answer is there at the first poll.
    let adapters = try_read_sync(instance.enumerate_adapters(backends)).unwrap_or_default();
    adapters.iter().map(wgpu::Adapter::get_info).collect()
}

/// What was opened: the runtime behind a selector is registered for the life of the process.
static OPENED: Mutex<BTreeMap<String, Device>> = Mutex::new(BTreeMap::new());

impl Adapter {
    /// Opens it; again, what is open.
    ///
    /// # Errors
    /// What the graphics library says when it refuses.
    pub fn open(&self) -> Result<Device, String> {
        // Held while opening: a selector can be initialised once only. Nothing is half done after a panic.
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(selector) = self.selector.clone() else {
            return Err("it does not say what kind of device it is".to_owned());
        };
        let key = format!("{selector:?} {}", self.backend);
        if let Some(device) = opened.get(&key) {
            return Ok(device.clone());
        }
        // The graphics stack may panic where it could report; a machine's driver is no bug of ours.
        let setup = catch_unwind(AssertUnwindSafe(|| {
            let options = burn::tensor::Device::wgpu_options()
                .graphics_api(self.api)
                .device_kind(selector);
            options.init_with_setup().map_err(|error| error.to_string())
        }));
        let (burn, setup) = setup.unwrap_or_else(|panic| Err(panic_text(panic.as_ref())))?;
        let found = setup.adapter.get_info().name;
        if found != self.name {
            return Err(format!("{found} answered in its place"));
        }
        let device = Device::of(burn);
        opened.insert(key, device.clone());
        Ok(device)
    }
}
