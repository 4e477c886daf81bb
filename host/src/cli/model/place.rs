//! Where a verb runs a model, as it is written on the command line. Knows no verb.

use std::convert::Infallible;
use std::str::FromStr;

use clap::Args;
use millrace_models::{Device, DeviceChoice, Placement, Precision};

/// The device, and how it computes.
#[derive(Debug, Clone, Args)]
pub(super) struct PlaceArguments {
    /// `auto` (a GPU where there is one), `cpu`, `gpu`, `gpu:1`, or a part of a name that `millrace devices` lists
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: Choice,
    /// Threads on the CPU [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    threads: Option<u16>,
    /// Half precision on a GPU
    #[arg(long)]
    f16: bool,
}

/// A device by its name on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice(pub(super) DeviceChoice);

impl FromStr for Choice {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let gpu_at = text.strip_prefix("gpu:").and_then(|place| place.parse().ok());
        Ok(Self(match (text, gpu_at) {
            ("auto", _) => DeviceChoice::Auto,
            ("cpu", _) => DeviceChoice::Cpu,
            ("gpu", _) => DeviceChoice::Gpu,
            (_, Some(place)) => DeviceChoice::GpuAt(place),
            (name, None) => DeviceChoice::Adapter(name.to_owned()),
        }))
    }
}

impl PlaceArguments {
    /// Opens the device.
    ///
    /// # Errors
    /// When there is none such, with what there is.
    pub(super) fn open(&self) -> anyhow::Result<Device> {
        let precision = match (self.f16, &self.device.0) {
            (true, DeviceChoice::Cpu) => anyhow::bail!("--f16 is for GPUs: the CPU computes with f32"),
            (true, _) => Precision::F16,
            (false, _) => Precision::F32,
        };
        open(self.device.0.clone(), self.threads, precision)
    }
}

/// Opens one device.
///
/// # Errors
/// When there is none such, with what there is.
pub(super) fn open(choice: DeviceChoice, threads: Option<u16>, precision: Precision) -> anyhow::Result<Device> {
    let placement = Placement {
        threads: threads.map(usize::from),
        precision,
        ..Placement::on(choice)
    };
    // Loaders of GPUs print by themselves what they miss.
    let _captured = crate::streams::capture();
    let mut devices = Device::open_all(&placement)?;
    devices.pop().ok_or_else(|| anyhow::anyhow!("no device was opened"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_names() {
        let check = |text: &str, expected: DeviceChoice| assert_eq!(text.parse(), Ok(Choice(expected)));
        check("auto", DeviceChoice::Auto);
        check("cpu", DeviceChoice::Cpu);
        check("gpu", DeviceChoice::Gpu);
        check("gpu:1", DeviceChoice::GpuAt(1));
        check("llvmpipe", DeviceChoice::Adapter("llvmpipe".to_owned()));
        check("gpu:x", DeviceChoice::Adapter("gpu:x".to_owned()));
    }
}
