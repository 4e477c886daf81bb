//! `millrace devices`: what models can run on here.

use std::process::ExitCode;

use comfy_table::{Table, presets};

use super::output::print;
use crate::streams;

pub(super) fn devices() -> anyhow::Result<ExitCode> {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_header(["DEVICE", "KIND", "BACKEND", "DRIVER", "TAKEN BY"]);
    let found = {
        // Loaders of GPUs print by themselves what they miss.
        let _captured = streams::capture();
        millrace_models::devices()
    };
    for device in found {
        let taken_by = match (device.auto, device.kind.as_str()) {
            (true, _) => "device = \"auto\"".to_owned(),
            (false, "cpu") => "device = \"cpu\"".to_owned(),
            (false, "software") => format!("device = {{ adapter = {:?} }}", device.name),
            (false, _) => "device = \"gpu\"".to_owned(),
        };
        table.add_row([device.name, device.kind, device.backend, device.driver, taken_by]);
    }
    print(table.trim_fmt())?;
    Ok(ExitCode::SUCCESS)
}
