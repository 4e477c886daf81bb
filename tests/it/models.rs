//! `millrace model`, as somebody with a network uses it: outside the repository, with a file out of training and a folder of
//! pictures.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use millrace_tests::host::{Ended, Mill};
use millrace_tests::samples::{model, root};
use serde_json::Value;

/// A small network with random weights: what it takes are pictures of 32x32, what it yields are ten classes.
fn network(name: &str) -> PathBuf {
    root().join("tests/models/networks").join(name)
}

fn text(path: &Path) -> Result<String> {
    Ok(path.to_str().context("a path that is no text")?.to_owned())
}

fn run(mill: &Mill, arguments: &[&str]) -> Result<Ended> {
    mill.run(&[&["model"], arguments].concat())
}

/// What it printed; it must have ended well.
fn must(mill: &Mill, arguments: &[&str]) -> Result<String> {
    let ended = run(mill, arguments)?;
    ensure!(ended.code == Some(0), "{arguments:?}: {ended:?}");
    Ok(ended.stdout)
}

/// What it said; it must have ended with this code.
fn refused(mill: &Mill, code: i32, arguments: &[&str]) -> Result<String> {
    let ended = run(mill, arguments)?;
    ensure!(ended.code == Some(code), "{arguments:?}: {ended:?}");
    Ok(ended.stderr)
}

/// What is in a folder, sorted; nothing where there is no such folder.
fn entries(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[track_caller]
fn says(told: &str, parts: &[&str]) {
    for part in parts {
        assert!(told.contains(part), "no {part:?} in:\n{told}");
    }
}

#[test]
fn inspect_says_what_a_model_is() -> Result<()> {
    let mill = Mill::new("")?;
    let shapes = text(&model())?;
    let told = must(&mill, &["inspect", &shapes])?;
    says(
        &told,
        &[
            "shapes-lenet",
            "byte [3, 32, 32], normalised: mean 0.5",
            "10: circle, ring",
            "softmax",
            "62,006 (242.3 KiB)",
            "651,720 an item",
            "conv 2",
        ],
    );
    let object: Value = serde_json::from_str(&must(&mill, &["inspect", &shapes, "--json"])?)?;
    assert_eq!(object["parameters"], 62_006);
    assert_eq!(object["multiply_adds"], 651_720);
    assert_eq!(object["outputs"][0]["shape"], serde_json::json!([10]));
    assert_eq!(object["problems"], serde_json::json!([]));
    let graph = must(&mill, &["inspect", &shapes, "--graph"])?;
    says(
        &graph,
        &["input", "conv(", "|> relu : [N, 6, 28, 28]", "linear(", "output"],
    );

    // A file by itself.
    let told = must(&mill, &["inspect", &text(&network("resnet.dynamo18.onnx"))?])?;
    says(
        &told,
        &[
            "float [3, 32, 32], as they are",
            "none: it yields no scores",
            "normalis",
        ],
    );
    Ok(())
}

#[test]
fn everything_that_is_unsupported_is_told_with_exit_code_2() -> Result<()> {
    let mill = Mill::new("")?;
    let refused_file = text(&root().join("tests/models/refused/concat_axis.onnx"))?;
    let told = refused(&mill, 2, &["inspect", &refused_file])?;
    says(&told, &["error: ", "concat_axis.onnx", "Concat"]);
    let ended = run(&mill, &["inspect", &refused_file, "--json"])?;
    assert_eq!(ended.code, Some(2));
    let object: Value = serde_json::from_str(&ended.stdout)?;
    ensure!(
        object["problems"]
            .as_array()
            .is_some_and(|problems| !problems.is_empty()),
        "{object}"
    );

    std::fs::write(
        mill.path("cut.onnx"),
        &std::fs::read(network("resnet.legacy17.onnx"))?[..900],
    )?;
    says(&refused(&mill, 2, &["inspect", "cut.onnx"])?, &["cut.onnx"]);
    says(
        &refused(&mill, 2, &["inspect", "none.onnx"])?,
        &["none.onnx", "No such file"],
    );
    // Nothing is imported of it either.
    let told = refused(&mill, 2, &["import", &refused_file, "--out", "models/net"])?;
    says(&told, &["Concat"]);
    assert!(entries(&mill.path("models")).is_empty());
    Ok(())
}

#[test]
fn a_network_becomes_a_folder_that_serves() -> Result<()> {
    let mill = Mill::new("")?;
    let file = text(&network("resnet.dynamo20-external.onnx"))?;
    let told = must(
        &mill,
        &[
            "import",
            &file,
            "--out",
            "models/resnet",
            "--normalisation",
            "imagenet",
            "--labels",
            "cifar10",
        ],
    )?;
    says(
        &told,
        &[
            "models/resnet: model.toml and resnet.dynamo20-external.onnx",
            "try it: millrace model run",
        ],
    );
    assert!(!told.contains("to fill in"), "{told}");
    let manifest = std::fs::read_to_string(mill.path("models/resnet/model.toml"))?;
    says(
        &manifest,
        &[
            "shape = [3, 32, 32]",
            "mean = [0.485, 0.456, 0.406]",
            "\"airplane\"",
            "sha256 = ",
        ],
    );
    let told = must(&mill, &["inspect", "models/resnet"])?;
    says(
        &told,
        &["byte [3, 32, 32], normalised: mean 0.485, 0.456, 0.406", "10: airplane"],
    );

    let folder = text(&model().join("samples"))?;
    let lines = must(
        &mill,
        &[
            "run",
            "models/resnet",
            &folder,
            "--device",
            "cpu",
            "--json",
            "--top",
            "3",
        ],
    )?;
    let objects: Vec<Value> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    assert_eq!(objects.len(), 12);
    for object in &objects {
        let score = |at: usize| object["top"][at]["score"].as_f64().unwrap_or_default();
        ensure!(
            score(0) >= score(1) && score(1) >= score(2) && score(2) > 0.0,
            "{object}"
        );
        assert_eq!(object["outputs"][0]["shape"], serde_json::json!([10]));
    }

    // What is there stays, unless it is a model folder and that is asked for.
    let again = ["import", file.as_str(), "--out", "models/resnet"];
    says(
        &refused(&mill, 1, &again)?,
        &["`models/resnet` exists: replace the model folder with --force"],
    );
    let told = must(&mill, &[&again[..], &["--force"]].concat())?;
    says(
        &told,
        &["to fill in: how pictures were normalised", "to fill in: the classes"],
    );
    assert_eq!(entries(&mill.path("models")), ["resnet"]);
    says(&must(&mill, &["inspect", "models/resnet"])?, &["float [3, 32, 32]"]);
    let told = refused(&mill, 1, &["import", &file, "--out", ".", "--force"])?;
    says(
        &told,
        &["`.` holds no model.toml, and --force replaces only model folders"],
    );
    Ok(())
}

#[test]
fn labels_and_normalisations_must_fit() -> Result<()> {
    let mill = Mill::new("")?;
    let file = text(&network("vit.legacy17.onnx"))?;
    let base = ["import", file.as_str(), "--out", "net"];
    let import = |more: &[&'static str]| [&base[..], more].concat();
    says(
        &refused(&mill, 1, &import(&["--labels", "imagenet1k"]))?,
        &["--labels: 1000 labels, but", "yields 10 numbers"],
    );
    says(
        &refused(&mill, 1, &import(&["--labels", "cifar"]))?,
        &["neither one of `imagenet1k`, `cifar10`"],
    );
    says(
        &refused(&mill, 1, &import(&["--normalisation", "imgnet"]))?,
        &["no `imgnet`; there is `imagenet`"],
    );
    says(
        &refused(&mill, 2, &import(&["--shape", "3,64,64"]))?,
        &["vit.legacy17.onnx: axis 1 of an item is 32 in the file and was given as 64"],
    );
    assert!(!mill.path("net").exists());
    let left = entries(&mill.path("."));
    assert!(left.iter().all(|name| !name.ends_with(".partial")), "{left:?}");
    Ok(())
}

#[test]
fn weights_become_a_folder_that_a_person_completes() -> Result<()> {
    let mill = Mill::new("")?;
    let file = text(&root().join("models/tests/data/cats/cats.pth"))?;
    let told = must(
        &mill,
        &[
            "import",
            &file,
            "--out",
            "cats",
            "--shape",
            "3,64,64",
            "--normalisation",
            "imagenet",
        ],
    )?;
    says(
        &told,
        &[
            "to fill in: the layers",
            "to fill in: the classes",
            "then: millrace model inspect cats",
        ],
    );
    let manifest = std::fs::read_to_string(mill.path("cats/model.toml"))?;
    says(
        &manifest,
        &[
            "shape = [3, 64, 64]\nelement = \"byte\"",
            "# type = \"conv2d\"\n# name = \"conv1\"\n# out = 16\n# kernel = 3\n# bias = false\n",
            "# type = \"batch-norm\"\n# name = \"bn1\"\n",
            "# type = \"linear\"\n# name = \"fc\"\n# out = 2\n",
            "conv2.weight [32, 16, 3, 3]",
        ],
    );
    // It says itself what is missing.
    says(&refused(&mill, 2, &["inspect", "cats"])?, &["cats/model.toml", "layer"]);
    Ok(())
}

#[test]
fn run_says_what_a_classifier_takes_pictures_for() -> Result<()> {
    let mill = Mill::new("")?;
    let (folder, star) = (text(&model())?, text(&model().join("samples/star-1.png"))?);
    let told = must(&mill, &["run", &folder, &star, "--device", "cpu", "--top", "2"])?;
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 3, "{told}");
    says(lines[1], &["  star"]);
    std::fs::write(mill.path("note.png"), "no picture")?;
    let ended = run(&mill, &["run", &folder, "note.png", &star, "--device", "cpu"])?;
    assert_eq!(ended.code, Some(1));
    says(&ended.stderr, &["`note.png`", "begins with 6e 6f"]);
    says(&ended.stdout, &["star-1.png"]);
    // A folder without a picture costs the others nothing.
    std::fs::create_dir(mill.path("none"))?;
    let ended = run(&mill, &["run", &folder, "none", &star, "--device", "cpu"])?;
    assert_eq!(ended.code, Some(1));
    says(&ended.stderr, &["`none` holds no picture"]);
    says(&ended.stdout, &["star-1.png"]);
    says(
        &refused(&mill, 1, &["run", &folder, &star, "--device", "cpu", "--f16"])?,
        &["--f16 is for GPUs"],
    );
    says(
        &refused(&mill, 2, &["inspect", "note.png"])?,
        &["note.png: a model is a folder with a model.toml, or a file whose name ends with .onnx"],
    );
    // What takes floats must be told how they are made.
    let bare = text(&network("mobilenet_v2.legacy17.onnx"))?;
    says(
        &refused(&mill, 1, &["run", &bare, &star])?,
        &["name it with --normalisation"],
    );
    let told = must(
        &mill,
        &["run", &bare, &star, "--normalisation", "imagenet", "--device", "cpu"],
    )?;
    says(&told, &["108 [10]: ", "(at ["]);
    // A head that segments yields a map.
    let map = text(&network("segmenter.dynamo18.onnx"))?;
    let told = must(
        &mill,
        &[
            "run",
            &map,
            &star,
            "--normalisation",
            "none",
            "--device",
            "cpu",
            "--json",
        ],
    )?;
    let object: Value = serde_json::from_str(&told)?;
    assert_eq!(object["outputs"][0]["shape"], serde_json::json!([4, 32, 32]));
    Ok(())
}

#[test]
fn bench_measures_every_way_that_is_asked_for() -> Result<()> {
    let mill = Mill::new("")?;
    let folder = text(&model())?;
    let ways = [
        "--device",
        "cpu",
        "--threads",
        "1,2",
        "--batch",
        "1,4",
        "--seconds",
        "0.05",
    ];
    let told = must(&mill, &[&["bench", folder.as_str()], &ways[..]].concat())?;
    says(&told, &["shapes-lenet", "MEDIAN", "IMAGES/S", "█"]);
    assert_eq!(told.lines().count(), 6, "{told}");
    let told = must(&mill, &[&["bench", folder.as_str(), "--json"], &ways[..]].concat())?;
    let rows: Vec<Value> = told.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let found: Vec<_> = rows
        .iter()
        .map(|row| (row["threads"].as_u64(), row["batch"].as_u64()))
        .collect();
    assert_eq!(
        found,
        [(1, 1), (1, 4), (2, 1), (2, 4)].map(|(threads, batch)| (Some(threads), Some(batch)))
    );
    for row in &rows {
        let number = |key: &str| row[key].as_f64().unwrap_or_default();
        ensure!(
            number("median_ms") > 0.0 && number("p90_ms") >= number("median_ms"),
            "{row}"
        );
        ensure!(
            number("images_per_second") > 0.0 && number("memory_bytes") > 1e6,
            "{row}"
        );
    }
    Ok(())
}

#[test]
fn compare_says_where_two_models_agree() -> Result<()> {
    let mill = Mill::new("")?;
    let (shapes, pictures) = (text(&model())?, text(&model().join("samples"))?);
    let told = must(&mill, &["compare", &shapes, &shapes, &pictures, "--device", "cpu"])?;
    says(
        &told,
        &[
            "12 pictures: the same class for 12 (100.0 %)",
            "largest difference 0.0e0",
        ],
    );

    assert!(!told.contains("most different"), "{told}");

    // The same network by both exporters.
    let (legacy, dynamo) = (
        text(&network("resnet.legacy17.onnx"))?,
        text(&network("resnet.dynamo18.onnx"))?,
    );
    let both = [
        "compare",
        &legacy,
        &dynamo,
        &pictures,
        "--normalisation",
        "imagenet",
        "--device",
        "cpu",
        "--json",
    ];
    let object: Value = serde_json::from_str(&must(&mill, &both)?)?;
    assert_eq!(
        (&object["pictures"], &object["same"]),
        (&Value::from(12), &Value::from(12))
    );
    ensure!(
        object["largest_difference"].as_f64().is_some_and(|apart| apart < 1e-4),
        "{object}"
    );

    // Another network takes shapes for other things.
    let told = must(
        &mill,
        &[
            "compare",
            &shapes,
            &dynamo,
            &pictures,
            "--normalisation",
            "none",
            "--device",
            "cpu",
        ],
    )?;
    says(&told, &["A \\ B", "1 picture: A says bar, B says ", "DIFFERENCE"]);
    Ok(())
}
