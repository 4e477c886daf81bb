//! The graphics adapters of this machine, asked for once: the Vulkan loader suffers from instances that come and go.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use burn::tensor::wgpu::WgpuBackend;
use burn::tensor::{DeviceKind, try_read_sync};
use wgpu::{AdapterInfo, Backend, Backends, DeviceType, Instance, InstanceDescriptor};

/// The kind of an adapter. The order is the order of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Discrete,
    Integrated,
    Virtual,
    Other,
    Software,
    Cpu,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Discrete => "discrete gpu",
            Self::Integrated => "integrated gpu",
            Self::Virtual => "virtual gpu",
            Self::Other => "other",
            Self::Software => "software",
            Self::Cpu => "cpu",
        })
    }
}

/// One adapter on one graphics API, and how Burn's runtime calls it.
#[derive(Debug)]
pub(super) struct Adapter {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) backend: String,
    pub(super) driver: String,
    pub(super) api: WgpuBackend,
    // `None` for a kind that Burn cannot select.
    pub(super) selector: Option<DeviceKind>,
}

/// Vulkan and its peers. OpenGL is left out: a GPU that can run a network speaks one of these, and the OpenGL loader
/// complains on standard error where there is no desktop.
const APIS: [(Backend, WgpuBackend, &str); 3] = [
    (Backend::Vulkan, WgpuBackend::Vulkan, "vulkan"),
    (Backend::Metal, WgpuBackend::Metal, "metal"),
    (Backend::Dx12, WgpuBackend::Dx12, "dx12"),
];

/// All adapters, best first.
pub(super) fn adapters() -> &'static [Adapter] {
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
            error = crate::panic_text(panic.as_ref()),
            "listing graphics adapters failed"
        );
        Vec::new()
    });
    let mut adapters: Vec<Adapter> = Vec::new();
    for info in infos {
        let kind = match info.device_type {
            DeviceType::DiscreteGpu => Kind::Discrete,
            DeviceType::IntegratedGpu => Kind::Integrated,
            DeviceType::VirtualGpu => Kind::Virtual,
            DeviceType::Other => Kind::Other,
            DeviceType::Cpu => Kind::Software,
        };
        // Burn counts each kind by itself, in the order in which the API lists them.
        let index = adapters.iter().filter(|adapter| adapter.kind == kind).count();
        let selector = match kind {
            Kind::Discrete => Some(DeviceKind::DiscreteGpu(index)),
            Kind::Integrated => Some(DeviceKind::IntegratedGpu(index)),
            Kind::Virtual => Some(DeviceKind::VirtualGpu(index)),
            Kind::Software => Some(DeviceKind::Cpu),
            Kind::Other | Kind::Cpu => None,
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
