//! Networks in `.onnx` files: by themselves, in folders, beside a `model.toml`; right ones and wrong ones.

use std::path::Path;

use millrace_models::{Element, Model, Tensor, TensorData};
use tempfile::TempDir;

use super::running::{cpu_runner, inputs, largest_difference, outputs};
use super::written::{Graph, Message, file, floats, node, value};

/// From `x [N, 2]` to two numbers: `y = x · [[1, 2], [3, 4]]`.
fn product(nodes: &[Message], outputs: &[&str]) -> Graph {
    let weight = floats("w", &[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let all = [&[node("fc", "MatMul", &["x", "w"], &["y"], &[])], nodes].concat();
    Graph {
        nodes: all,
        weights: vec![weight],
        inputs: vec![value("x", &[0, 2])],
        outputs: outputs.iter().map(|name| Message::new().text(1, name)).collect(),
    }
}

fn with_metadata(graph: &Graph, entries: &[(&str, &str)]) -> Vec<u8> {
    let mut model = file(&graph.message());
    for (key, value) in entries {
        model = model.message(14, &Message::new().text(1, key).text(2, value));
    }
    model.0
}

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, contents) in files {
        std::fs::write(folder.path().join(name), contents).unwrap();
    }
    folder
}

fn error_of(path: &Path) -> String {
    match Model::load(path) {
        Ok(_) => panic!("{} loads", path.display()),
        Err(error) => error.to_string(),
    }
}

#[track_caller]
fn refused(files: &[(&str, &[u8])], expected: &[&str]) {
    let folder = folder(files);
    let error = error_of(folder.path());
    for part in expected {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
}

#[test]
fn a_file_by_itself_is_a_model_of_floats_without_labels() {
    let bare = product(&[], &["y"]).file();
    let folder = folder(&[("net.onnx", &bare)]);
    let file = Model::load(&folder.path().join("net.onnx")).unwrap();
    let whole = Model::load(folder.path()).unwrap();
    assert_eq!(file.name(), "net");
    assert_eq!(file.digest(), whole.digest());
    assert_eq!(
        (file.input().element, file.input().shape.as_slice()),
        (Element::Float, [2].as_slice())
    );
    assert!(file.labels().is_empty() && file.notes().iter().any(|note| note.contains("raw outputs")));
    let item = Tensor::new(vec![2], TensorData::Floats(vec![1.0, 2.0])).unwrap();
    let mut runner = cpu_runner(&file, 4);
    runner.warm_up(&mut |_| {}).unwrap();
    let found = runner.run(&[item]).unwrap().remove(0);
    assert_eq!(
        (found.outputs[0].1.as_slice(), found.scores.len()),
        ([7.0, 10.0].as_slice(), 0)
    );
}

#[test]
fn what_the_metadata_says_is_taken() {
    let softmax = node("softmax", "Softmax", &["y"], &["scores"], &[]);
    let entries = [
        ("author", "Ultralytics"),
        ("names", "{0: 'cat', 1: \"dog\"}"),
        ("description", "Two animals"),
    ];
    let bytes = with_metadata(&product(&[softmax], &["scores"]), &entries);
    let folder = folder(&[("animals.onnx", &bytes)]);
    let model = Model::load(&folder.path().join("animals.onnx")).unwrap();
    assert_eq!(
        (model.labels(), model.description()),
        (["cat", "dog"].map(str::to_owned).as_slice(), Some("Two animals"))
    );
    // Bytes become 0 to 1, and the scores are the network's own.
    assert_eq!(model.input().element, Element::Byte);
    let item = Tensor::new(vec![2], TensorData::Bytes(vec![255, 0])).unwrap();
    let found = cpu_runner(&model, 1).run(&[item]).unwrap().remove(0);
    let expected = 1.0 / (1.0 + 1.0_f32.exp());
    assert!((found.scores[0] - expected).abs() < 1e-6, "{found:?}");
    assert_eq!(found.scores, found.outputs[0].1);
    // Labels that are too many are not the outputs'.
    let bytes = with_metadata(&product(&[], &["y"]), &[("names", "['a', 'b', 'c']")]);
    std::fs::write(folder.path().join("animals.onnx"), bytes).unwrap();
    assert!(Model::load(folder.path()).unwrap().labels().is_empty());
}

#[test]
fn a_manifest_says_what_the_file_does_not() {
    let relu = node("relu", "Relu", &["y"], &["features"], &[]);
    let bytes = product(&[relu], &["features", "y"]).file();
    let manifest = br#"
input = { mean = [0.5], std = [0.5] }
output = { labels = ["no", "yes"], name = "y", activation = "sigmoid" }
weights = { file = "net.onnx" }
"#;
    let folder = folder(&[("net.onnx", &bytes), ("model.toml", manifest)]);
    let model = Model::load(folder.path()).unwrap();
    assert_eq!(model.input().element, Element::Byte);
    assert_eq!(model.output_names(), ["y", "features"]);
    let item = Tensor::new(vec![2], TensorData::Bytes(vec![255, 0])).unwrap();
    let mut runner = cpu_runner(&model, 2);
    runner.warm_up(&mut |_| {}).unwrap();
    // 255 is 1, 0 is -1: [1 - 3, 2 - 4].
    let found = runner.run(&[item.clone(), item]).unwrap().remove(1);
    assert!(largest_difference(&[found.outputs[0].1.clone()], &[vec![-2.0, -2.0]]) < 1e-5);
    assert_eq!(found.outputs[1].1, [0.0, 0.0]);
    let sigmoid = 1.0 / (1.0 + 2.0_f32.exp());
    assert!((found.scores[1] - sigmoid).abs() < 1e-6, "{found:?}");
}

#[test]
fn outputs_of_any_rank_are_those_of_each_item() {
    let graph = Graph {
        nodes: vec![
            node("t", "Neg", &["x"], &["t"], &[]),
            node(
                "mean",
                "ReduceMean",
                &["x"],
                &["m"],
                &[super::written::attribute_ints("axes", &[2, 3])],
            ),
        ],
        weights: Vec::new(),
        inputs: vec![value("x", &[0, 3, 4, 4])],
        outputs: ["t", "m"].map(|name| Message::new().text(1, name)).to_vec(),
    };
    let folder = folder(&[("net.onnx", &graph.file())]);
    let model = Model::load(folder.path()).unwrap();
    let shapes: Vec<Vec<u32>> = model.outputs().iter().map(|output| output.shape.clone()).collect();
    assert_eq!(shapes, [vec![3, 4, 4], vec![3, 1, 1]]);
    let mut runner = cpu_runner(&model, 3);
    runner.warm_up(&mut |_| {}).unwrap();
    let items = inputs(&model, 3);
    for (item, found) in items.iter().zip(outputs(&mut runner, &items)) {
        let TensorData::Floats(floats) = item.data() else {
            panic!("floats")
        };
        let expected: Vec<f32> = floats.iter().map(|number| -number).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn the_digest_covers_weights_beside_the_file() {
    let place = |key: &str, value: &str| Message::new().text(1, key).text(2, value);
    let outside = Message::new()
        .packed(1, &[2, 2])
        .int(2, 1)
        .text(8, "w")
        .message(13, &place("location", "net.onnx.data"))
        .message(13, &place("offset", "0"))
        .message(13, &place("length", "16"))
        .int(14, 1);
    let graph = Graph {
        weights: vec![outside],
        ..product(&[], &["y"])
    };
    let numbers = |first: f32| {
        [first, 2.0, 3.0, 4.0]
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect::<Vec<u8>>()
    };
    let folder = folder(&[("net.onnx", &graph.file()), ("net.onnx.data", &numbers(1.0))]);
    let first = Model::load(folder.path()).unwrap();
    std::fs::write(folder.path().join("net.onnx.data"), numbers(5.0)).unwrap();
    let second = Model::load(folder.path()).unwrap();
    assert_ne!(first.digest(), second.digest());
    std::fs::remove_file(folder.path().join("net.onnx.data")).unwrap();
    assert!(error_of(folder.path()).contains("net.onnx.data"));
}

#[test]
fn mistakes_name_the_file_and_the_node() {
    let good = product(&[], &["y"]).file();
    let beside = |manifest: &str, expected: &[&str]| {
        refused(&[("net.onnx", &good), ("model.toml", manifest.as_bytes())], expected);
    };
    let weights = "weights = { file = \"net.onnx\" }\n";
    beside(
        &format!("{weights}input = {{ shape = [3] }}"),
        &["net.onnx", "axis 0 of an item is 2 in the file and was given as 3"],
    );
    beside(
        &format!("{weights}output = {{ labels = [\"a\"] }}"),
        &["model.toml:2:21", "expected [1]", "found [2]"],
    );
    beside(
        &format!("{weights}output = {{ labels = [\"a\", \"b\"], name = \"z\" }}"),
        &["model.toml:2:", "one of `y`", "`z`"],
    );
    beside(
        &format!("{weights}input = {{ element = \"float\", mean = [0.5] }}"),
        &["as they are"],
    );
    beside(
        "weights = { file = \"net.onnx\", key = \"a\", layout = \"burn\", ignore = [\"b\"] }",
        &[
            "`key` is for weights",
            "`layout` is for weights",
            "`ignore` is for weights",
        ],
    );
    beside(
        &format!("{weights}[[layer]]\ntype = \"relu\""),
        &["model.toml:2:3", "has its layers in it"],
    );
    refused(&[("a.onnx", &good), ("b.onnx", &good)], &["2 networks", "name one"]);
    refused(&[("readme.txt", b"")], &["model.toml"]);
    refused(&[("net.onnx", b"no model")], &["net.onnx", "not an ONNX model"]);
    refused(&[("net.onnx", b"")], &["net.onnx"]);
    // All of it at once, each by its node.
    let unknown = [
        node("first", "Frobnicate", &["y"], &["a"], &[]),
        node("second", "Gnusto", &["a"], &["b"], &[]),
    ];
    let bytes = product(&unknown, &["b"]).file();
    refused(
        &[("net.onnx", &bytes)],
        &["net.onnx", "`first`", "Frobnicate", "`second`", "Gnusto"],
    );
}

#[test]
fn every_cut_and_every_changed_byte_is_a_model_or_an_error() {
    let bytes = product(&[], &["y"]).file();
    let folder = folder(&[("net.onnx", &bytes)]);
    let load = |contents: &[u8]| {
        std::fs::write(folder.path().join("net.onnx"), contents).unwrap();
        Model::load(folder.path())
    };
    for length in 0..bytes.len() {
        if let Err(error) = load(&bytes[..length]) {
            assert!(error.to_string().contains("net.onnx"), "{error}");
        }
    }
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0xff;
        if let Err(error) = load(&changed) {
            assert!(error.to_string().contains("net.onnx"), "{error}");
        }
    }
}
