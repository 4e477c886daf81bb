//! Software Vulkan against the CPU, and devices that are not there.

use millrace_models::{Device, DeviceChoice, Model, Runner, devices};

use super::folders::data;
use super::running::{cpu_runner, inputs, largest_difference, outputs};

/// Set in the process that runs the test on software Vulkan.
const CHILD: &str = "MILLRACE_TEST_SOFTWARE_VULKAN";

#[test]
fn software_vulkan_computes_what_the_cpu_backend_does() {
    if std::env::var_os(CHILD).is_some() {
        return software_vulkan();
    }
    // A process of its own: the graphics stack reads its settings from the environment, and a driver
    // that crashes shall fail this test alone.
    let runtime = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "gpus::software_vulkan_computes_what_the_cpu_backend_does",
            "--nocapture",
        ])
        .env(CHILD, "1")
        // Tuning every kernel takes minutes on a rasteriser.
        .env("CUBECL_AUTOTUNE_LEVEL", "minimal")
        // The Vulkan loader complains without it.
        .env("XDG_RUNTIME_DIR", runtime.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    assert!(
        output.status.success(),
        "{}: {text}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.contains("1 passed"), "{text}");
}

fn software_vulkan() {
    let listed = devices();
    let last = listed.last().unwrap();
    assert!(last.name == "cpu" && !last.backend.is_empty(), "{last:?}");
    let software = listed
        .iter()
        .find(|device| device.name.to_lowercase().contains("llvmpipe"));
    let software = software.expect("lavapipe: install the package mesa-vulkan-drivers");
    assert!(!software.auto, "`auto` must not take a software rasteriser");
    let device = Device::open(&DeviceChoice::Adapter("LLVMpipe".to_owned())).unwrap();
    assert!(device.pads_batches());
    let model = Model::load(&data("article")).unwrap();
    let mut runner = Runner::new(&model, &device, 4).unwrap();
    let mut sizes = Vec::new();
    let start = std::time::Instant::now();
    let parity = runner.warm_up(&mut |size| sizes.push(size)).unwrap().unwrap();
    assert!(parity.same_top && parity.difference < 1e-4, "{parity:?}");
    println!("warm-up on {} took {:?}", device.name(), start.elapsed());
    assert_eq!(sizes, [1, 4]);
    // Three items are padded to four.
    let items = inputs(&model, 3);
    let found = outputs(&mut runner, &items);
    let expected = outputs(&mut cpu_runner(&model, 4), &items);
    let difference = largest_difference(&found, &expected);
    println!(
        "largest difference of {} from the CPU backend {difference:e}",
        device.name()
    );
    assert!(difference < 1e-4, "{difference}");
    // The same adapter is opened once.
    let again = Device::open(&DeviceChoice::Adapter("llvmpipe".to_owned())).unwrap();
    let mut runner = Runner::new(&model, &again, 1).unwrap();
    assert!(largest_difference(&outputs(&mut runner, &items[..1]), &expected[..1]) < 1e-4);
}

#[test]
fn a_missing_device_is_told_with_what_there_is() {
    let error = Device::open(&DeviceChoice::Adapter("no such thing".to_owned()))
        .unwrap_err()
        .to_string();
    assert!(error.contains("`no such thing`") && error.contains("cpu ("), "{error}");
    match Device::open(&DeviceChoice::Gpu) {
        Ok(device) => assert!(device.pads_batches()),
        Err(error) => assert!(error.to_string().contains("no GPU found; there is"), "{error}"),
    }
    let auto = Device::open(&DeviceChoice::Auto).unwrap();
    assert!(!auto.name().contains("llvmpipe"), "{}", auto.name());
}
