//! Batches that run and batches that cannot, and what running takes.

use millrace_models::{Device, DeviceChoice, Model, Placement, RunError, Runner, Tensor, TensorData, memory_bytes};

use super::folders::{SMALL, data, made, small_weights};
use super::running::{cpu_runner, inputs};

#[test]
fn the_small_model_runs() {
    let folder = made(SMALL, &small_weights());
    let model = Model::load(folder.path()).unwrap();
    cpu_runner(&model, 1).warm_up(&mut |_| {}).unwrap();
}

#[test]
fn a_batch_that_cannot_be_run_says_why_and_the_runner_goes_on() {
    let model = Model::load(&data("article")).unwrap();
    let mut runner = cpu_runner(&model, 2);
    let floats = Tensor::new(vec![3, 32, 32], TensorData::Floats(vec![0.0; 3072])).unwrap();
    let items = inputs(&model, 3);
    let mut check = |batch: &[Tensor], expected: &str| match runner.run(batch) {
        Err(RunError::Failed(text)) => assert!(text.contains(expected), "{text}"),
        other => panic!("{other:?}"),
    };
    check(&[], "0 items");
    check(&items, "3 items in a batch, not within 1 to 2");
    check(
        &[items[0].clone(), floats],
        "item 1 is float [3, 32, 32], expected byte [3, 32, 32]",
    );
    assert_eq!(runner.run(&items[..2]).unwrap().len(), 2);
}

#[test]
fn memory_is_counted_by_what_the_device_runs_at_a_time() {
    use millrace_models::DeviceChoice::{Cpu, Gpu};
    let model = Model::load(&data("article")).unwrap();
    let bytes = |device: &DeviceChoice, max_batch| memory_bytes(&model, &Placement::on(device.clone()), max_batch);
    assert_eq!(bytes(&Cpu, None), bytes(&Cpu, Some(16)));
    // Of a large batch the CPU has some items at a time, and the input of all.
    let more = 4 * model.input().elements() * (1024 - 16);
    assert_eq!(bytes(&Cpu, Some(1024)), bytes(&Cpu, Some(16)) + more);
    assert!(bytes(&Cpu, Some(1)) < bytes(&Cpu, None));
    assert_eq!(bytes(&Gpu, None), bytes(&Gpu, Some(64)));
    assert!(bytes(&Cpu, Some(1)) > 2 * model.weight_bytes());
    // Each instance has weights and values of its own; threads have values of their own.
    let placed = |instances, threads| {
        let placement = Placement {
            instances,
            threads: Some(threads),
            ..Placement::on(Cpu)
        };
        memory_bytes(&model, &placement, Some(1))
    };
    assert_eq!(
        placed(3, 1) - model.weight_bytes(),
        3 * (placed(1, 1) - model.weight_bytes())
    );
    assert!(placed(1, 4) > placed(1, 1));
    // What a residual layer keeps is counted: its input, while a body of the same size runs.
    let layers = |residual: bool| {
        let body = "{ type = \"silu\" }, { type = \"sigmoid\" }";
        let list = if residual {
            format!("{{ type = \"residual\", body = [{body}] }}")
        } else {
            body.to_owned()
        };
        let manifest = format!(
            "input = {{ shape = [1048576], element = \"float\" }}\nweights = {{ file = \"weights.safetensors\" }}\nlayer = [{list}]"
        );
        let folder = made(&manifest, &[]);
        let model = Model::load(folder.path()).unwrap();
        memory_bytes(&model, &Placement::on(Gpu), Some(1))
    };
    assert_eq!((layers(false), layers(true)), (2 * 2 * (4 << 20), 2 * 3 * (4 << 20)));
}

#[test]
fn a_batch_beyond_all_memory_is_refused_before_it_is_made() {
    let model = Model::load(&data("article")).unwrap();
    let device = Device::open(&DeviceChoice::Cpu).unwrap();
    assert!(matches!(Runner::new(&model, &device, 0), Err(RunError::Failed(_))));
    match Runner::new(&model, &device, 1 << 30) {
        Err(RunError::Failed(text)) => assert!(text.contains("bytes between two layers"), "{text}"),
        other => panic!("{other:?}"),
    }
}
