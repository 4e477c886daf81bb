//! Layers that stand beside or inside others, and the newer functions: what they compute, and what they refuse.

use millrace_models::{Model, Tensor, TensorData};

use super::folders::made;
use super::running::{cpu_runner, largest_difference, outputs};

type Weights = [(&'static str, &'static [usize], Vec<f32>)];

fn model(input: &str, layers: &str, weights: &Weights) -> Result<Model, String> {
    let manifest = format!(
        "input = {{ shape = {input}, element = \"float\" }}\nweights = {{ file = \"weights.safetensors\" }}\nlayer = [{layers}]"
    );
    Model::load(made(&manifest, weights).path()).map_err(|error| error.to_string())
}

#[track_caller]
fn check(input: &str, layers: &str, weights: &Weights, numbers: &[f32], expected: &[f32]) {
    let model = model(input, layers, weights).unwrap();
    let mut runner = cpu_runner(&model, 2);
    runner.warm_up(&mut |_| {}).unwrap();
    let item = Tensor::new(model.input().shape.clone(), TensorData::Floats(numbers.to_vec())).unwrap();
    let found = outputs(&mut runner, &[item]);
    assert!(
        largest_difference(&found, &[expected.to_vec()]) < 1e-5,
        "{layers}: {found:?}"
    );
}

#[track_caller]
fn refused(input: &str, layers: &str, expected: &[&str]) {
    let error = model(input, layers, &[]).unwrap_err();
    for part in expected {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
}

#[test]
fn functions_of_one_number_are_those_of_pytorch() {
    let x = [-4.0, -0.5, 1.0, 8.0];
    let apply = |layers: &str, expected: [f32; 4]| check("[4]", layers, &[], &x, &expected);
    apply("{ type = \"relu6\" }", [0.0, 0.0, 1.0, 6.0]);
    apply("{ type = \"clip\", low = -1.0, high = 2 }", [-1.0, -0.5, 1.0, 2.0]);
    apply("{ type = \"clip\", low = -1 }", [-1.0, -0.5, 1.0, 8.0]);
    apply("{ type = \"clip\", high = 0.25 }", [-4.0, -0.5, 0.25, 0.25]);
    apply("{ type = \"hard-sigmoid\" }", [0.0, 2.5 / 6.0, 4.0 / 6.0, 1.0]);
    apply("{ type = \"hard-swish\" }", [0.0, -0.5 * 2.5 / 6.0, 4.0 / 6.0, 8.0]);
}

#[test]
fn branches_stand_one_behind_the_other() {
    let layers = "{ type = \"concat\", branches = [[], [{ type = \"relu\" }], [{ type = \"max-pool\", kernel = 1 }]] }, { type = \"flatten\" }";
    check(
        "[1, 1, 2]",
        layers,
        &[],
        &[-1.0, 2.0],
        &[-1.0, 2.0, 0.0, 2.0, -1.0, 2.0],
    );
    let flat = "{ type = \"concat\", branches = [[{ type = \"relu\" }], []] }";
    check("[2]", flat, &[], &[-1.0, 2.0], &[0.0, 2.0, -1.0, 2.0]);
    refused(
        "[1, 4, 4]",
        "{ type = \"concat\", branches = [[], [{ type = \"max-pool\", kernel = 2 }]] }",
        &[
            "layer 1 (concat)",
            "branches that fit each other, after [1, 4, 4]",
            "found [1, 2, 2]",
        ],
    );
    refused(
        "[2]",
        "{ type = \"concat\", branches = [] }",
        &["`branches` has 0 lists"],
    );
    refused("[2]", "{ type = \"concat\" }", &["`branches` is missing"]);
    refused(
        "[2]",
        "{ type = \"concat\", branches = [{ type = \"relu\" }] }",
        &["a list of layers"],
    );
    refused(
        "[2]",
        "{ type = \"concat\", branches = [[], [{ type = \"liner\" }]] }",
        &["layer 1 branch 2 1: unknown type `liner`"],
    );
}

#[test]
fn a_body_weighs_what_it_is_made_of() {
    // Squeeze and excitation: one number for each channel.
    let layers =
        "{ type = \"multiply\", body = [{ type = \"global-avg-pool\" }, { type = \"relu\" }] }, { type = \"flatten\" }";
    check("[2, 1, 2]", layers, &[], &[1.0, 3.0, -1.0, -5.0], &[2.0, 6.0, 0.0, 0.0]);
    check(
        "[2]",
        "{ type = \"multiply\", body = [] }",
        &[],
        &[3.0, -2.0],
        &[9.0, 4.0],
    );
    refused(
        "[2, 4, 4]",
        "{ type = \"multiply\", body = [{ type = \"max-pool\", kernel = 2 }] }",
        &["a body that yields [2, 4, 4] or [2, 1, 1]", "found [2, 2, 2]"],
    );
}

#[test]
fn layer_norms_are_over_features_or_the_channels_of_a_pixel() {
    let weights: [(&str, &[usize], Vec<f32>); 2] =
        [("n.weight", &[2], vec![1.0, 2.0]), ("n.bias", &[2], vec![0.0, 1.0])];
    let norm = "{ type = \"layer-norm\", name = \"n\", eps = 1e-12 }";
    check("[2]", norm, &weights, &[1.0, 3.0], &[-1.0, 3.0]);
    let on_map = format!("{norm}, {{ type = \"flatten\" }}");
    // Channels lie apart: (1, 3) and (4, 2) are the pixels.
    check(
        "[2, 1, 2]",
        &on_map,
        &weights,
        &[1.0, 4.0, 3.0, 2.0],
        &[-1.0, 1.0, 3.0, -1.0],
    );
    let bare = "{ type = \"layer-norm\", name = \"n\", affine = false, eps = 1e-12 }";
    check("[2]", bare, &[], &[1.0, 3.0], &[-1.0, 1.0]);
    refused("[2]", norm, &["lacks the weights `n.weight`, `n.bias`"]);
}

#[test]
fn clips_are_checked() {
    refused(
        "[2]",
        "{ type = \"clip\" }",
        &["layer 1 (clip)", "`low` or `high` is missing"],
    );
    refused(
        "[2]",
        "{ type = \"clip\", low = 1, high = 0 }",
        &["`low` is 1, above `high`"],
    );
    refused(
        "[2]",
        "{ type = \"clip\", low = inf }",
        &["`low` is not a finite number"],
    );
    refused("[2]", "{ type = \"relu6\", high = 3 }", &["takes no `high`"]);
}
