//! Models on the CPU, what they are fed, and what they yield.

use millrace_models::{Device, DeviceChoice, Element, Model, Runner, Tensor, TensorData};

pub(crate) fn cpu_runner(model: &Model, max_batch: usize) -> Runner {
    let device = Device::open(&DeviceChoice::Cpu).unwrap();
    Runner::new(model, &device, max_batch).unwrap()
}

/// Tensors of the model's input type, each different.
pub(crate) fn inputs(model: &Model, n_items: usize) -> Vec<Tensor> {
    let input = model.input();
    let byte = |item: usize, index: usize| ((index * 37 + item * 101 + index * index % 89) % 256) as u8;
    let tensor = |item| {
        let bytes = (0..input.elements() as usize).map(|index| byte(item, index));
        let data = match input.element {
            Element::Byte => TensorData::Bytes(bytes.collect()),
            Element::Float => TensorData::Floats(bytes.map(|byte| f32::from(byte) / 100.0 - 1.0).collect()),
        };
        Tensor::new(input.shape.clone(), data).unwrap()
    };
    (0..n_items).map(tensor).collect()
}

/// The raw outputs of each item.
pub(crate) fn outputs(runner: &mut Runner, batch: &[Tensor]) -> Vec<Vec<f32>> {
    runner
        .run(batch)
        .unwrap()
        .into_iter()
        .map(|item| item.outputs[0].1.clone())
        .collect()
}

pub(crate) fn largest_difference(left: &[Vec<f32>], right: &[Vec<f32>]) -> f32 {
    assert_eq!(left.len(), right.len());
    let pairs = left.iter().zip(right).flat_map(|(left, right)| {
        assert_eq!(left.len(), right.len());
        left.iter().zip(right)
    });
    pairs.fold(0.0, |largest: f32, (left, right)| {
        assert!(left.is_finite() && right.is_finite());
        largest.max((left - right).abs())
    })
}
