//! The numbers: PyTorch's outputs on the CPU, and rows of a batch against single items.

use std::collections::HashSet;
use std::path::Path;

use millrace_models::{Element, Model, RunError, Tensor, TensorData};

use super::folders::{copy, data, edited, made, shapes_lenet};
use super::running::{cpu_runner, inputs, largest_difference, outputs};

/// The largest difference from PyTorch.
const PARITY: f32 = 1e-4;

/// PyTorch's inputs and outputs, which `make.py` recorded.
fn recorded(model: &Model, folder: &Path) -> (Vec<Tensor>, Vec<Vec<f32>>) {
    let file = std::fs::read(folder.join("samples.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
    let (input, output) = (tensors.tensor("input").unwrap(), tensors.tensor("output").unwrap());
    let floats = |bytes: &[u8]| {
        bytes
            .as_chunks()
            .0
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect::<Vec<_>>()
    };
    let n_items = input.shape()[0];
    let items = input.data().chunks(input.data().len() / n_items).map(|bytes| {
        let data = match model.input().element {
            Element::Byte => TensorData::Bytes(bytes.to_vec()),
            Element::Float => TensorData::Floats(floats(bytes)),
        };
        Tensor::new(model.input().shape.clone(), data).unwrap()
    });
    let outputs = floats(output.data());
    (
        items.collect(),
        outputs.chunks(outputs.len() / n_items).map(<[f32]>::to_vec).collect(),
    )
}

fn check_parity(name: &str) {
    check_parity_of(name, &data(name));
}

fn check_parity_of(name: &str, folder: &Path) {
    let model = Model::load(folder).unwrap();
    let (items, expected) = recorded(&model, folder);
    let mut runner = cpu_runner(&model, items.len());
    let found = outputs(&mut runner, &items);
    let difference = largest_difference(&found, &expected);
    println!("{name}: largest difference from PyTorch {difference:e}");
    assert!(difference < PARITY, "{difference}");
    // The outputs are not all alike, so that an exchanged row would be seen.
    assert!(largest_difference(&found[1..], &expected[..expected.len() - 1]) > 100.0 * PARITY);
    runner.warm_up(&mut |_| {}).unwrap();
}

#[test]
fn the_article_network_computes_what_pytorch_does() {
    check_parity("article");
}

#[test]
fn a_residual_network_under_a_key_computes_what_pytorch_does() {
    check_parity("residual");
}

#[test]
fn the_example_of_the_guide_loads_as_it_is_written() {
    let guide = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/model-folder.md")).unwrap();
    let (_, rest) = guide
        .split_once("write `models/cats/model.toml`:\n\n```toml file=models/cats/model.toml\n")
        .unwrap();
    let (manifest, _) = rest.split_once("```").unwrap();
    let folder = copy(&data("cats"));
    std::fs::write(folder.path().join("model.toml"), manifest).unwrap();
    check_parity_of("cats", folder.path());
}

#[test]
fn rows_of_a_batch_equal_single_items() {
    for name in ["article", "residual"] {
        let model = Model::load(&data(name)).unwrap();
        let items = inputs(&model, 37);
        let mut runner = cpu_runner(&model, 64);
        let batch = outputs(&mut runner, &items);
        let singles: Vec<Vec<f32>> = items
            .iter()
            .flat_map(|item| outputs(&mut runner, std::slice::from_ref(item)))
            .collect();
        let difference = largest_difference(&batch, &singles);
        println!("{name}: largest difference of a batch from single items {difference:e}");
        assert!(difference < 1e-5, "{difference}");
    }
}

#[test]
fn scores_are_probabilities_in_the_order_of_the_labels() {
    let model = Model::load(&data("article")).unwrap();
    let items = inputs(&model, 3);
    for item in cpu_runner(&model, 3).run(&items).unwrap() {
        assert_eq!(item.scores.len(), model.labels().len());
        assert!((item.scores.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        let raw = &item.outputs[0].1;
        let order = |numbers: &[f32]| {
            let mut order: Vec<usize> = (0..numbers.len()).collect();
            order.sort_by(|one, other| numbers[*one].total_cmp(&numbers[*other]));
            order
        };
        assert_eq!(order(raw), order(&item.scores));
    }
    let model = Model::load(&data("residual")).unwrap();
    assert!(
        cpu_runner(&model, 1).run(&inputs(&model, 1)).unwrap()[0]
            .scores
            .is_empty()
    );
}

#[test]
fn bytes_are_normalised_by_channel() {
    let manifest = r#"
        input = { shape = [2, 1, 2], element = "byte", mean = [0.5, 0.0], std = [0.5, 2.0] }
        weights = { file = "weights.safetensors" }
        layer = [{ type = "max-pool", kernel = 1 }, { type = "flatten" }]
    "#;
    let folder = made(manifest, &[]);
    let model = Model::load(folder.path()).unwrap();
    let item = Tensor::new(vec![2, 1, 2], TensorData::Bytes(vec![0, 255, 0, 255])).unwrap();
    let found = outputs(&mut cpu_runner(&model, 1), &[item]);
    assert!(
        largest_difference(&found, &[vec![-1.0, 1.0, 0.0, 0.5]]) < 1e-6,
        "{found:?}"
    );
}

#[test]
fn a_burn_file_loads_and_computes_what_the_others_do() {
    // Burn's layout: linear weights are [in, out], batch-norms have gamma and beta.
    let names = [
        "norm.gamma",
        "norm.beta",
        "norm.running_mean",
        "norm.running_var",
        "fc.weight",
        "fc.bias",
    ];
    let shapes: [&[usize]; 6] = [&[3], &[3], &[3], &[3], &[3, 2], &[2]];
    let numbers: [&[f32]; 6] = [
        &[1.0, 2.0, 1.0],
        &[0.0, 1.0, 0.0],
        &[0.0, 1.0, 0.0],
        &[1.0, 4.0, 1.0],
        &[1., 2., 3., 4., 5., 6.],
        &[0.5, 0.0],
    ];
    let tensors = names.iter().zip(shapes).zip(numbers).map(|((name, shape), numbers)| {
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let bytes = burn_pack::Bytes::from_bytes_vec(bytes);
        burn_pack::Tensor::new((*name).to_owned(), burn_pack::DType::F32, shape.to_vec(), None, bytes)
    });
    let folder = tempfile::tempdir().unwrap();
    burn_pack::Writer::new(tensors.collect())
        .write_to_file(folder.path().join("model.bpk"))
        .unwrap();
    let manifest = r#"
        input = { shape = [3], element = "float" }
        weights = { file = "model.bpk" }
        layer = [{ type = "batch-norm", name = "norm", eps = 1e-9 }, { type = "linear", name = "fc", out = 2 }]
    "#;
    std::fs::write(folder.path().join("model.toml"), manifest).unwrap();
    let model = Model::load(folder.path()).unwrap();
    let item = Tensor::new(vec![3], TensorData::Floats(vec![1.0, 3.0, -1.0])).unwrap();
    let found = outputs(&mut cpu_runner(&model, 1), &[item]);
    // Normalised: 1, (3 - 1) / 2 * 2 + 1 = 3, -1. Then 1*1 + 3*3 - 5 + 0.5 and 1*2 + 3*4 - 6.
    assert!(largest_difference(&found, &[vec![5.5, 8.0]]) < 1e-5, "{found:?}");
}

#[test]
fn the_shipped_model_tells_shapes_apart() {
    let model = Model::load(&shapes_lenet()).unwrap();
    assert!(
        model.held_out_accuracy().unwrap() >= 0.95,
        "{:?}",
        model.held_out_accuracy()
    );
    let mut runner = cpu_runner(&model, 16);
    runner.warm_up(&mut |_| {}).unwrap();
    let mut labels = HashSet::new();
    let mut n_pictures = 0;
    for entry in std::fs::read_dir(shapes_lenet().join("samples")).unwrap() {
        let path = entry.unwrap().path();
        let rgb = image::open(&path).unwrap().into_rgb8();
        let planes = (0..3).flat_map(|channel| rgb.pixels().map(move |pixel| pixel.0[channel]));
        let item = Tensor::new(vec![3, 32, 32], TensorData::Bytes(planes.collect())).unwrap();
        let scores = runner.run(&[item]).unwrap().remove(0).scores;
        let best = (0..scores.len())
            .max_by(|one, other| scores[*one].total_cmp(&scores[*other]))
            .unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        assert_eq!(model.labels()[best], name.rsplit_once('-').unwrap().0, "{name}");
        labels.insert(best);
        n_pictures += 1;
    }
    assert_eq!((n_pictures, labels.len()), (12, 10));
}

#[test]
fn a_recorded_sample_that_is_not_reproduced_stops_the_warm_up() {
    let folder = copy(&data("article"));
    let path = folder.path().join("samples.safetensors");
    let mut file = std::fs::read(&path).unwrap();
    let last = file.len() - 1;
    // The exponent of the last recorded output.
    file[last] ^= 0x02;
    std::fs::write(&path, file).unwrap();
    let model = Model::load(folder.path()).unwrap();
    let error = cpu_runner(&model, 4).warm_up(&mut |_| {}).unwrap_err();
    assert!(
        matches!(&error, RunError::AnotherNetwork { what, .. } if what.contains("sample 7")),
        "{error}"
    );
}

#[test]
fn the_digest_changes_with_either_file_and_with_nothing_else() {
    let original = Model::load(&data("article")).unwrap();
    let same = copy(&data("article"));
    assert_eq!(Model::load(same.path()).unwrap().digest(), original.digest());
    let other = edited(&data("article"), "The network of", "A network of");
    assert_ne!(Model::load(other.path()).unwrap().digest(), original.digest());
    assert_eq!(original.digest().len(), 64);
}
