//! What models do in a build without GPU support, where the graph's interpreter is the reference.

use millrace_models::{Device, DeviceChoice, Model, devices, is_cpu};

use super::folders::{data, made, shapes_lenet};
use super::running::cpu_runner;

#[test]
fn a_gpu_is_refused_with_what_to_do() {
    for choice in [
        DeviceChoice::Gpu,
        DeviceChoice::GpuAt(1),
        DeviceChoice::Adapter("llvmpipe".to_owned()),
    ] {
        let error = Device::open(&choice).unwrap_err().to_string();
        assert!(
            error.contains("no GPU support") && error.contains("cargo build --release"),
            "{error}"
        );
    }
    assert!(is_cpu(&DeviceChoice::Auto));
    let listed: Vec<String> = devices().into_iter().map(|device| device.name).collect();
    assert_eq!(listed, ["cpu"]);
}

#[test]
fn the_cpu_is_compared_with_the_interpreter() {
    for folder in [shapes_lenet(), data("article"), data("residual")] {
        let parity = cpu_runner(&Model::load(&folder).unwrap(), 16)
            .warm_up(&mut |_| {})
            .unwrap()
            .unwrap();
        println!("{}: {parity:?}", folder.display());
        assert_eq!(parity.reference, "cpu (interpreter)");
        assert!(parity.same_top && parity.difference < 1e-4, "{parity:?}");
    }
}

#[test]
fn a_network_that_is_too_large_for_the_interpreter_is_not_compared() {
    let manifest = r#"
[input]
shape = [64, 480, 480]
element = "float"

[weights]
file = "weights.safetensors"

[[layer]]
type = "conv2d"
name = "conv"
out = 64
kernel = 3
padding = 1
bias = false

[[layer]]
type = "global-avg-pool"
"#;
    let folder = made(manifest, &[("conv.weight", &[64, 64, 3, 3], vec![0.01; 64 * 64 * 9])]);
    let model = Model::load(folder.path()).unwrap();
    assert!(model.figures().multiply_adds > 8_000_000_000);
    assert_eq!(cpu_runner(&model, 1).warm_up(&mut |_| {}).unwrap(), None);
}
