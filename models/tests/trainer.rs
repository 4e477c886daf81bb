//! The trainer as it is called: a data set in, a model folder out.

use std::path::Path;
use std::process::{Command, Output};

use millrace_models::{Model, train};

use super::folders::{cpu_runner, inputs};

fn train(arguments: &[&str], folder: &Path, out: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_millrace-train"))
        .args(arguments)
        .arg(folder)
        .arg("--out")
        .arg(out)
        .output()
        .unwrap()
}

/// Drawn pictures in the form of CIFAR-10's records.
fn records(stream: u64, count: usize) -> Vec<u8> {
    let drawn = train::shapes::draw(5, stream, count);
    let records = drawn
        .iter()
        .map(|(picture, label)| [&[label as u8], picture.as_slice()].concat());
    records.collect::<Vec<_>>().concat()
}

#[test]
fn a_folder_of_cifar_records_becomes_a_model_folder() {
    let data = tempfile::tempdir().unwrap();
    let classes = "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n";
    std::fs::write(data.path().join("batches.meta.txt"), classes).unwrap();
    std::fs::write(data.path().join("data_batch_1.bin"), records(1, 300)).unwrap();
    std::fs::write(data.path().join("data_batch_2.bin"), records(2, 100)).unwrap();
    std::fs::write(data.path().join("test_batch.bin"), records(3, 50)).unwrap();
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().join("cifar10-lenet");
    let output = train(&["cifar10", "--epochs", "2"], data.path(), &folder);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        text.contains("epoch 2: loss ") && text.contains("of 50 held-out pictures right"),
        "{text}"
    );

    let model = Model::load(&folder).unwrap();
    assert_eq!((model.name(), model.labels()[9].as_str()), ("cifar10-lenet", "truck"));
    assert!(model.held_out_accuracy().is_some() && model.licence().is_some() && model.provenance().is_some());
    let mut runner = cpu_runner(&model, 4);
    runner.warm_up(&mut |_| {}).unwrap();
    assert_eq!(runner.run(&inputs(&model, 4)).unwrap().len(), 4);
}

#[test]
fn a_folder_that_is_no_data_set_is_told_and_writes_nothing() {
    let data = tempfile::tempdir().unwrap();
    let out = data.path().join("model");
    let output = train(&["cifar10"], data.path(), &out);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.starts_with("error: cannot read") && text.contains("batches.meta.txt"),
        "{text}"
    );
    assert!(!out.exists());
}
