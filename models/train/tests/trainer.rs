//! The trainer as it is called: a data set in, a model folder out.

// Said here, so that the lints know helpers for tests too.
#![cfg(test)]

use std::path::Path;
use std::process::{Command, Output};

use millrace_models::{Model, Tensor, TensorData};
use millrace_train::shapes;

#[path = "../../tests/running.rs"]
#[allow(dead_code, reason = "a part of it is used here")]
mod running;

use running::{cpu_runner, inputs};

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
    let drawn = shapes::draw(5, stream, count);
    let records = drawn
        .iter()
        .map(|(picture, label)| [&[label as u8], picture.as_slice()].concat());
    records.collect::<Vec<_>>().concat()
}

/// A data set of drawn pictures.
fn data_set() -> tempfile::TempDir {
    let data = tempfile::tempdir().unwrap();
    let classes = "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n";
    std::fs::write(data.path().join("batches.meta.txt"), classes).unwrap();
    std::fs::write(data.path().join("data_batch_1.bin"), records(1, 300)).unwrap();
    std::fs::write(data.path().join("data_batch_2.bin"), records(2, 100)).unwrap();
    std::fs::write(data.path().join("test_batch.bin"), records(3, 50)).unwrap();
    data
}

/// What it printed; it must have ended well.
#[track_caller]
fn told(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    text
}

#[test]
fn a_folder_of_cifar_records_becomes_a_model_folder() {
    let data = data_set();
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().join("cifar10-lenet");
    let text = told(&train(&["cifar10", "--epochs", "2"], data.path(), &folder));
    assert!(
        text.contains("epoch 2: loss ") && text.contains("of 50 held-out pictures right"),
        "{text}"
    );
    // A row for each class, with its five pictures.
    let row = text.lines().find(|line| line.starts_with(" 9 ship")).unwrap();
    let counts = row.split_whitespace().skip(2).take(10);
    assert_eq!(
        counts.filter_map(|count| count.parse::<u32>().ok()).sum::<u32>(),
        5,
        "{text}"
    );
    assert!(text.contains(" were taken for "), "{text}");
    assert!(!out.path().join("cifar10-lenet.checkpoint").exists());

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

#[test]
fn a_run_that_is_cut_off_goes_on_when_it_is_asked_to() {
    let data = data_set();
    let out = tempfile::tempdir().unwrap();
    let (whole, resumed) = (out.path().join("whole"), out.path().join("resumed"));
    let kept = out.path().join("resumed.checkpoint");
    let arguments = ["cifar10", "--seed", "11", "--epochs", "3"];
    told(&train(&arguments, data.path(), &whole));

    // Cut off when it writes the folder, which cannot be: a file is there.
    std::fs::write(&resumed, "a file").unwrap();
    let output = train(&arguments, data.path(), &resumed);
    assert_eq!(output.status.code(), Some(1));
    assert!(kept.exists(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::remove_file(&resumed).unwrap();

    let errors = |arguments: &[&str]| {
        let output = train(arguments, data.path(), &resumed);
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let error = errors(&arguments);
    assert!(
        error.contains("resumed.checkpoint: is of a run that was cut off"),
        "{error}"
    );
    let error = errors(&["cifar10", "--resume", "--epochs", "3"]);
    assert!(error.contains("the seed 11, and 7 is asked for"), "{error}");
    let error = errors(&["cifar10", "--resume", "--seed", "11", "--augment", "none"]);
    assert!(error.contains("other data"), "{error}");

    let resume = [&arguments[..], &["--resume"]].concat();
    let text = told(&train(&resume, data.path(), &resumed));
    assert!(
        text.contains("going on behind epoch 3") && !text.contains("epoch 1: "),
        "{text}"
    );
    let weights = |folder: &Path| std::fs::read(folder.join("weights.safetensors")).unwrap();
    assert!(weights(&whole) == weights(&resumed), "other weights");
    assert!(!kept.exists());

    let error = errors(&resume);
    assert!(error.contains("is not there: no run was cut off here"), "{error}");
}

#[test]
fn a_held_out_stream_is_classified_as_well_as_the_folder_says() {
    // Pictures that the trainer never saw: another stream of the same generator.
    let model = Model::load(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shapes-lenet"))).unwrap();
    let mut runner = cpu_runner(&model, 16);
    let drawn = shapes::draw(99, 1 << 20, 1000);
    let items: Vec<(Tensor, usize)> = drawn
        .iter()
        .map(|(picture, label)| {
            (
                Tensor::new(vec![3, 32, 32], TensorData::Bytes(picture.to_vec())).unwrap(),
                label,
            )
        })
        .collect();
    let mut right = 0;
    for batch in items.chunks(16) {
        let tensors: Vec<Tensor> = batch.iter().map(|(tensor, _)| tensor.clone()).collect();
        for (item, (_, label)) in runner.run(&tensors).unwrap().iter().zip(batch) {
            right += usize::from(item.scores.iter().all(|score| *score <= item.scores[*label]));
        }
    }
    println!("{right} of 1000 fresh pictures right");
    assert!(right >= 930, "{right} of 1000");
}
