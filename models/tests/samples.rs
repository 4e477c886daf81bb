//! Recorded samples on the CPU backend, as `millrace check` runs them: a list that is another network is told as that.

use millrace_models::{Another, Model, RunError, reproduce_samples};
use tempfile::TempDir;

use super::folders::{data, edited, made, safetensors, shapes_lenet};
use super::running::cpu_runner;

/// Two features, and a rectifier that may be left out.
const SMALL: &str = r#"
input = { shape = [2], element = "float" }
output = { labels = ["no", "yes"] }
weights = { file = "weights.safetensors" }
samples = { file = "samples.safetensors" }

[[layer]]
type = "linear"
name = "fc"
out = 2

[[layer]]
type = "relu"
"#;

/// A folder of the small network with weights and one sample.
fn small(manifest: &str, weight: [f32; 4], output: [f32; 2]) -> (TempDir, Model) {
    let weights: [(&str, &[usize], Vec<f32>); 2] =
        [("fc.weight", &[2, 2], weight.to_vec()), ("fc.bias", &[2], vec![0.0; 2])];
    let folder = made(manifest, &weights);
    let samples = safetensors(&[("input", &[1, 2], vec![1.0, 2.0]), ("output", &[1, 2], output.to_vec())]);
    std::fs::write(folder.path().join("samples.safetensors"), samples).unwrap();
    let model = Model::load(folder.path()).unwrap();
    (folder, model)
}

/// How the samples fail: by themselves, and where a device is warmed up.
fn failure(model: &Model) -> RunError {
    let warmed = cpu_runner(model, 1).warm_up(&mut |_| {}).unwrap_err();
    let found = reproduce_samples(model, &mut |_, _| {}).unwrap_err();
    // Numbers may differ in their last digits: they are of different executors.
    assert_eq!(
        std::mem::discriminant(&warmed),
        std::mem::discriminant(&found),
        "{warmed}, {found}"
    );
    found
}

#[test]
fn what_was_recorded_is_reproduced_once() {
    for folder in [shapes_lenet(), data("article"), data("residual")] {
        let model = Model::load(&folder).unwrap();
        let mut told = Vec::new();
        let n_run = reproduce_samples(&model, &mut |n_run, of| told.push((n_run, of))).unwrap();
        assert_eq!(told.last().map(|last| last.0), Some(n_run), "{}", folder.display());
        assert!(n_run > 0 && told.iter().all(|(n_run, of)| n_run <= of));
        assert_eq!(reproduce_samples(&model, &mut |_, _| panic!("run again")).unwrap(), 0);
    }
}

#[test]
fn a_layer_list_that_is_another_network_is_no_fault_of_the_device() {
    // Weights 1 2 / 3 -4 on (1, 2): 5 and -5.
    let (_folder, right) = small(SMALL, [1.0, 2.0, 3.0, -4.0], [5.0, 0.0]);
    reproduce_samples(&right, &mut |_, _| {}).unwrap();
    let without = SMALL.replace("[[layer]]\ntype = \"relu\"", "");
    let (_folder, wrong) = small(&without, [1.0, 2.0, 3.0, -4.0], [5.0, 0.0]);
    let error = failure(&wrong);
    assert!(
        matches!(
            error,
            RunError::AnotherNetwork {
                hint: Another::Network,
                ..
            }
        ),
        "{error:?}"
    );
    let text = error.to_string();
    for part in [
        "not the network of the recorded samples",
        "sample 0 of samples.safetensors",
        "to be `no` 5, `yes` 0, and are `no` 5, `yes` -5",
        "the largest difference is 5 at `yes`, allowed is 0.001",
    ] {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
    assert!(error.hint().is_some_and(|hint| hint.contains("forward")));
    // A real network with one activation left out.
    let folder = edited(&shapes_lenet(), "[[layer]]\ntype = \"relu\"\n", "");
    let error = failure(&Model::load(folder.path()).unwrap());
    assert!(matches!(error, RunError::AnotherNetwork { .. }), "{error}");
}

#[test]
fn what_the_difference_may_come_from_is_told() {
    let scores = [0.731_058_6, 0.268_941_4];
    let manifest = SMALL.replace("[[layer]]\ntype = \"relu\"", "");
    let (_folder, model) = small(&manifest, [1.0, 0.0, 0.0, 0.0], scores);
    let error = failure(&model);
    assert!(
        matches!(
            error,
            RunError::AnotherNetwork {
                hint: Another::AfterActivation,
                ..
            }
        ),
        "{error:?}"
    );
    let (_folder, model) = small(&manifest, [1.0, 2.0, 3.0, 4.0], [5.02, 11.0]);
    let error = failure(&model);
    assert!(
        matches!(
            error,
            RunError::AnotherNetwork {
                hint: Another::Nearly,
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn outputs_that_are_no_numbers_are_told_by_themselves() {
    let huge = [3e38, 3e38, 1.0, 1.0];
    let (_folder, model) = small(SMALL, huge, [1.0, 3.0]);
    let error = reproduce_samples(&model, &mut |_, _| {}).unwrap_err();
    assert!(matches!(error, RunError::NotFinite(_)), "{error}");
    assert!(
        error
            .to_string()
            .contains("not finite: sample 0 of samples.safetensors: output 0"),
        "{error}"
    );
    let without = SMALL.replace("samples = { file = \"samples.safetensors\" }", "");
    let twice = format!("{without}\n[[layer]]\ntype = \"linear\"\nname = \"fc2\"\nout = 2\nbias = false\n");
    let weights: [(&str, &[usize], Vec<f32>); 3] = [
        ("fc.weight", &[2, 2], vec![3e38; 4]),
        ("fc.bias", &[2], vec![3e38; 2]),
        ("fc2.weight", &[2, 2], vec![3e38; 4]),
    ];
    let model = Model::load(made(&twice, &weights).path()).unwrap();
    let error = failure(&model);
    assert!(matches!(error, RunError::NotFinite(_)), "{error}");
}
