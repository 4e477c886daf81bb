//! `[model.NAME]`: a model's files, and where and how it runs. Loads none.

use std::path::PathBuf;
use std::time::Duration;

use millrace_model_types::{DeviceChoice, Placement, Precision};
use millrace_schema::Form;

use super::Name;
use super::check_values::Expect;
use super::device::{DEVICE_FORM, DEVICES_FORM, RawDevice};
use super::keys::PATH;
use super::limits::{Choice, Optional, Within};
use super::section::{Beside, By};
use super::table::Key;
use super::values::Text;
use crate::section;

section! {
    /// `[model.NAME]`
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct ModelConfig = MODEL ("model", "[model.NAME]", "A model.");

    /// Its name.
    pub name: Name = |table, checker| checker.name(table, "model");

    /// The model: a folder with a `model.toml` and the weights, or an `.onnx` file.
    pub path ("path"): PathBuf = By {
        form: Form::Text(PATH),
        read: |table, checker| {
            let path: Key<Text> = table.peek("path", checker.report);
            let is_network = path.given().is_some_and(|path| path.get_ref().value.ends_with(".onnx"));
            let expected = if is_network { Expect::File } else { Expect::Folder };
            let example = "`path = \"models/..\"`, a folder with a `model.toml`, or an `.onnx` file";
            checker.required_path(table, "path", expected, example)
        },
    }, "\"models/shapes-lenet\"", required();

    /// `"auto"`: a real GPU where there is one, else the CPU, never a software rasteriser. `"gpu"`: a real GPU or an
    /// error. `"gpu:1"`: the second of them. `"cpu"`: the CPU. `{ adapter = "TEXT" }`: the adapter whose name contains the
    /// text, software adapters too; `millrace devices` lists them.
    ("device") = Beside::<RawDevice>::new(DEVICE_FORM), "\"auto\"", at_home();

    /// Several devices, each with the whole model, which take batches side by side. Not beside `device`.
    // Invariant: not empty; the one of `device` where there is no such key.
    pub devices ("devices"): Vec<DeviceChoice> = By {
        form: DEVICES_FORM,
        read: |table, checker| Some(checker.devices(table)),
    }, "[\"gpu:0\", \"gpu:1\"]", or("the one of `device`"), at_home();

    /// How often the model is on each device: several take batches side by side, each with weights of its own.
    pub instances ("instances"): usize = Within::<usize> {
        min: 1,
        // Each has the weights once more; two or three keep a device busy while others read and write.
        max: 16,
        default: 1,
    }, "1", at_home();

    /// Threads that compute on the CPU, for each instance. The sandbox's workers need cores as well: fewer threads than
    /// cores are right where preprocessing takes as long as the model.
    pub threads ("threads"): Option<usize> = Optional::<usize> {
        min: 1,
        // More than any machine has.
        max: 1_024,
    }, "2", or("the number of physical cores"), at_home();

    /// How numbers are kept on a GPU: `"f32"`, or `"f16"`, which takes half the memory and less time where the device can;
    /// what it costs in accuracy is measured and logged when the model is loaded. A CPU computes in `f32`.
    pub precision ("precision"): Precision = Choice {
        words: &[("f32", Precision::F32), ("f16", Precision::F16)],
        default: Precision::F32,
    }, "\"f32\"", at_home();

    /// The largest batch.
    pub max_batch ("max_batch"): Option<usize> = Optional::<usize> {
        min: 1,
        // A batch is padded and warmed up at its largest size before the first message.
        max: 4_096,
    }, "64", or("by device"), at_home();

    /// How long the first tensor of a batch waits for others. A lone message never waits.
    pub max_wait ("max_wait"): Duration = Within {
        min: Duration::ZERO,
        max: Duration::from_secs(10),
        // Little beside a forward pass, and enough to fill a batch under load.
        default: Duration::from_millis(2),
    }, "\"2ms\"", at_home();
}

impl ModelConfig {
    /// Where it runs.
    pub fn placement(&self) -> Placement {
        Placement {
            devices: self.devices.clone(),
            instances: self.instances,
            threads: self.threads,
            precision: self.precision,
        }
    }

    /// Lets it run elsewhere.
    pub fn place(&mut self, placement: Placement) {
        let Placement {
            devices,
            instances,
            threads,
            precision,
        } = placement;
        self.devices = devices;
        self.instances = instances;
        self.threads = threads;
        self.precision = precision;
    }
}
