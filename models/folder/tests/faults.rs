//! Wrong, truncated and hostile folders: each is an error that says where, none takes the process down.

use std::path::Path;

use millrace_model_folder::{Model, ModelError};

use super::folders::{SMALL, copy, data, edited, made, safetensors, small_weights};

fn error_of(folder: &Path) -> ModelError {
    match Model::load(folder) {
        Ok(_) => panic!("{} loads", folder.display()),
        Err(error) => error,
    }
}

/// The error of the small model with one text of its `model.toml` replaced.
fn check(from: &str, to: &str, expected: &[&str]) {
    assert!(SMALL.contains(from), "{from}");
    let folder = made(&SMALL.replacen(from, to, 1), &small_weights());
    let error = error_of(folder.path());
    let text = error.to_string();
    for part in expected {
        assert!(text.contains(part), "`{to}`: `{part}` is not in: {text}");
    }
    if error.path().ends_with("model.toml") {
        assert!(error.place().is_some(), "{text}");
    }
}

#[test]
fn the_small_model_is_right() {
    let folder = made(SMALL, &small_weights());
    let model = Model::load(folder.path()).unwrap();
    assert_eq!((model.labels().len(), model.weight_bytes()), (2, 24));
}

#[test]
fn mistakes_in_the_manifest_have_a_place() {
    check(
        "shape = [2]",
        "shape = [2]\ncolour = 3",
        &["model.toml:4:1", "unknown field `colour`"],
    );
    check("shape = [2]", "shape = [2", &["model.toml:"]);
    check("shape = [2]", "shape = [-2]", &["model.toml:3:10", "-2"]);
    check("shape = [2]", "shape = [2, 2]", &["model.toml:3:9", "2 axes"]);
    check("shape = [2]", "shape = [1000000000]", &["model.toml:3:9", "1000000000"]);
    check("\"float\"", "\"floats\"", &["model.toml:4:11", "`floats`"]);
    check(
        "\"float\"",
        "\"float\"\nmean = [0.5]",
        &["model.toml:5:8", "as they are"],
    );
    check("\"float\"", "\"byte\"\nstd = [0.0]", &["model.toml:5:7", "no finite"]);
    check(
        "\"float\"",
        "\"byte\"\nmean = [0.1, 0.2]",
        &["model.toml:5:8", "2 numbers for 1 channels"],
    );
    check(
        "labels = [\"no\", \"yes\"]",
        "activation = \"softmax\"",
        &["model.toml:7:14", "needs `labels`"],
    );
    check(
        "\"yes\"]",
        "\"yes\"]\nactivation = \"relu\"",
        &["model.toml:8:14", "`relu`"],
    );
    check(
        "weights.safetensors",
        "../weights.safetensors",
        &["model.toml:10:8", "../weights.safetensors"],
    );
    check(
        "weights.safetensors",
        "/etc/passwd",
        &["not the name of a file in the model folder"],
    );
    check(
        "weights.safetensors",
        "..",
        &["not the name of a file in the model folder"],
    );
    check("weights.safetensors", "weights.h5", &["say which `format`", ".onnx"]);
    check(
        "weights.safetensors",
        "weights.onnx",
        &["model.toml:12:3", "an `.onnx` file has its layers in it"],
    );
    check(
        "weights.safetensors\"",
        "weights.safetensors\"\nsha256 = \"12\"",
        &["model.toml:11:10", "no SHA-256"],
    );
    check(
        "\"linear\"",
        "\"liner\"",
        &[
            "model.toml:13:8",
            "unknown type `liner`, did you mean `linear`?",
            "known are",
        ],
    );
    check(
        "shape =",
        "shap =",
        &[
            "model.toml:3:1",
            "unknown field `shap` in [input], did you mean `shape`?",
        ],
    );
    check(
        "shape = [2]",
        "",
        &["model.toml:2:1", "`shape` is missing from [input]"],
    );
    check(
        "weights.safetensors",
        "weights.bin",
        &["often PyTorch's", "format = \"pytorch\""],
    );
    check(
        "name = \"fc\"",
        "",
        &["model.toml:12:1", "layer 1 (linear)", "`name` is missing"],
    );
    check("out = 2", "", &["layer 1 (linear `fc`)", "`out` is missing"]);
    check("out = 2", "out = [2, 2]", &["model.toml:15:7", "one number"]);
    check("out = 2", "out = 0", &["model.toml:15:7", "`out` is 0"]);
    check(
        "out = 2",
        "out = 1000000000",
        &["model.toml:15:7", "`out` is 1000000000"],
    );
    check("out = 2", "out = 99999999999", &["model.toml:15:7", "99999999999"]);
    check(
        "out = 2",
        "out = 2\nkernel = 3",
        &["model.toml:16:10", "takes no `kernel`"],
    );
    check(
        "out = 2",
        "out = 2\n[[layer]]\ntype = \"softmax\"",
        &["model.toml:7:10", "softmax layer"],
    );
}

#[test]
fn all_mistakes_are_told_at_once() {
    let manifest = r#"
input = { shape = [2, 2], element = "bytes", colour = 1 }
weights = { file = "../w.pth", format = "onxx", sha256 = "12" }
samples = { file = "s.txt", tolerance = 0 }
accuracy = { held_out = 2.0 }
output = { labels = [], activation = 1 }
nmae = "shapes"

[[layer]]
type = "conv2d"
out = 0
kernel = "3"
stride = [1, 2, 3]
slope = 1.0

[[layer]]
type = "residual"
body = [{ type = "linear" }, { type = "relu", out = 1 }, 3]
shortcut = 1
"#;
    let errors = error_of(made(manifest, &[]).path()).each();
    let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let told = told.join("\n");
    for (place, what) in [
        ("2:19", "2 axes"),
        ("2:37", "unknown element `bytes`"),
        ("2:46", "unknown field `colour` in [input]"),
        ("3:20", "not the name of a file"),
        ("3:41", "unknown format `onxx`"),
        ("3:58", "no SHA-256"),
        ("4:20", "ends in none of"),
        ("4:41", "`tolerance`"),
        ("5:25", "`held_out`"),
        ("6:38", "`activation` is a text in quotes, found `1`"),
        ("7:1", "unknown field `nmae` in model.toml, did you mean `name`?"),
        ("9:1", "layer 1 (conv2d): `name` is missing"),
        ("11:7", "layer 1 (conv2d): `out` is 0"),
        ("12:10", "`kernel` is a whole number, or two of them"),
        ("13:10", "`stride` is a whole number, or two of them"),
        ("14:9", "layer 1 (conv2d): this type takes no `slope`"),
        ("18:9", "layer 2 body 1 (linear): `out` is missing"),
        ("18:53", "layer 2 body 2 (relu): this type takes no `out`"),
        ("18:58", "`body` is a layer"),
        ("19:12", "`shortcut` is a list of layers"),
    ] {
        let found = told
            .lines()
            .any(|line| line.contains(&format!("model.toml:{place}: ")) && line.contains(what));
        assert!(found, "{place} {what} is not in:\n{told}");
    }
    assert!(!told.contains("`kernel` is missing"), "{told}");
    let places: Vec<_> = errors.iter().map(|error| error.place().unwrap()).collect();
    assert!(places.is_sorted(), "{places:?}");
}

#[test]
fn all_weights_that_do_not_fit_are_told_at_once() {
    let manifest = r#"
input = { shape = [2], element = "float" }
weights = { file = "weights.safetensors" }

[[layer]]
type = "linear"
name = "fc1"
out = 3

[[layer]]
type = "batch-norm"
name = "bn"

[[layer]]
type = "linear"
name = "fc2"
out = 2
"#;
    let weights: [(&str, &[usize], Vec<f32>); 8] = [
        ("fc1.weight", &[3, 3], vec![0.0; 9]),
        ("fc1.bias", &[2], vec![0.0; 2]),
        ("bn.weight", &[3], vec![0.0; 3]),
        ("bn.bias", &[4], vec![0.0; 4]),
        ("bn.running_maen", &[3], vec![0.0; 3]),
        ("bn.running_var", &[3], vec![0.0; 3]),
        ("fc2.weight", &[3, 2], vec![0.0; 6]),
        ("fc2.bais", &[2], vec![0.0; 2]),
    ];
    let text = error_of(made(manifest, &weights).path()).to_string();
    for part in [
        "model.toml:5:1: layer 1 (linear `fc1`): expected `fc1.weight` of shape [3, 2], found [3, 3]",
        "`fc1.bias` of shape [3], found [2]",
        "model.toml:10:1: layer 2 (batch-norm `bn`): expected `bn.bias` of shape [3], found [4]",
        "layer 3 (linear `fc2`): expected `fc2.weight` of shape [2, 3], found [3, 2]: the other way round",
        "lacks the weights `bn.running_mean` (did you mean `bn.running_maen`?), `fc2.bias` (did you mean `fc2.bais`?)",
        "no layer uses its weights `bn.running_maen`, `fc2.bais`",
    ] {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
}

#[test]
fn mistakes_in_the_network_name_the_layer() {
    check(
        "labels = [\"no\", \"yes\"]",
        "labels = [\"no\"]",
        &["model.toml:7:10", "expected [1]", "found [2]"],
    );
    check(
        "out = 2",
        "out = 3",
        &["layer 1 (linear `fc`)", "`fc.weight` of shape [3, 2]", "found [2, 2]"],
    );
    check(
        "shape = [2]",
        "shape = [1, 2, 1]",
        &["layer 1 (linear `fc`)", "found [1, 2, 1]", "flatten"],
    );
    check(
        "\"fc\"",
        "\"head\"",
        &[
            "lacks the weights `head.weight` (did you mean `fc.weight`?), `head.bias`",
            "it has `fc.bias`, `fc.weight`",
            "no layer uses its weights `fc.bias`, `fc.weight`",
        ],
    );
    check(
        "out = 2",
        "out = 2\nbias = false",
        &["no layer uses its weights `fc.bias`", "`ignore`"],
    );
    let conv = |keys: &str| format!("type = \"conv2d\"\nname = \"fc\"\nout = 2\n{keys}");
    let linear = "type = \"linear\"\nname = \"fc\"\nout = 2";
    check(
        linear,
        &conv("kernel = 3"),
        &["layer 1 (conv2d `fc`)", "[channels, height, width]", "found [2]"],
    );
    check(linear, &conv("kernel = 0"), &["`kernel` is 0"]);
    check(linear, &conv("kernel = [1, 2, 3]"), &["two of them"]);
    check(linear, &conv("kernel = 3\nstride = 0"), &["`stride` is 0"]);
    check(linear, &conv("kernel = 3\ngroups = 0"), &["`groups` is 0"]);
    let pool = "type = \"max-pool\"\nkernel = 2\npadding = 2";
    check(linear, pool, &["more than half of `kernel`"]);
    let body = |body: &str| format!("type = \"residual\"\nbody = [{body}]");
    check(
        linear,
        &body("{ type = \"relu\", out = 3 }"),
        &["layer 1 body 1 (relu)", "takes no `out`"],
    );
    let wider = body("{ type = \"linear\", name = \"fc\", out = 2 }, { type = \"softmax\" }")
        + "\nshortcut = [{ type = \"dropout\", p = 0.5 }]";
    check(
        linear,
        &(wider + "\nname = \"b\"\nslope = 1.0"),
        &["layer 1 (residual `b`)", "takes no `slope`"],
    );
}

#[test]
fn windows_and_groups_that_do_not_fit_are_told() {
    let manifest = |keys: &str| {
        format!(
            "input = {{ shape = [3, 4, 4], element = \"float\" }}\nweights = {{ file = \"weights.safetensors\" }}\n\
             layer = [{{ type = \"conv2d\", name = \"c\", {keys} }}]"
        )
    };
    let check = |keys: &str, expected: &str| {
        let folder = made(
            &manifest(keys),
            &[
                ("c.weight", &[2, 3, 3, 3], vec![0.0; 54]),
                ("c.bias", &[2], vec![0.0; 2]),
            ],
        );
        let text = error_of(folder.path()).to_string();
        assert!(
            text.contains(expected) && text.contains("model.toml:3:10"),
            "{keys}: {text}"
        );
    };
    check("out = 2, kernel = 5", "at least the window [5, 5]");
    check("out = 2, kernel = 3, dilation = 2", "dilation [2, 2]");
    check("out = 2, kernel = 3, groups = 2", "3 into 2 in 2 groups");
    check(
        "out = 2, kernel = 1",
        "`c.weight` of shape [2, 3, 1, 1], found [2, 3, 3, 3]",
    );
    check(
        "out = 1048576, kernel = 1, padding = 500000",
        "at most 67108864 numbers",
    );
    check(
        "out = 2, kernel = 1000, padding = 999",
        "at most 131072 numbers under a window",
    );
    check(
        "out = 2, kernel = 200, padding = 2500",
        "at most 274877906944 multiplications",
    );
}

#[test]
fn wrong_weights_are_told() {
    let check = |weights: &[(&str, &[usize], Vec<f32>)], expected: &str| {
        let text = error_of(made(SMALL, weights).path()).to_string();
        assert!(
            text.contains("weights.safetensors") && text.contains(expected),
            "{text}"
        );
    };
    let bias: (&str, &[usize], Vec<f32>) = ("fc.bias", &[2], vec![0.0; 2]);
    check(
        &[("fc.weight", &[2, 2], vec![0.0, 0.0, f32::NAN, 0.0]), bias.clone()],
        "number 2 is not finite",
    );
    check(
        &[("fc.weight", &[2, 2], vec![0.0, f32::INFINITY, 0.0, 0.0]), bias],
        "number 1 is not finite",
    );
    check(&[], "lacks the weights `fc.weight`, `fc.bias`; it has none");
    let folder = edited(
        &data("article"),
        "cifar_net.pth\"",
        &format!("cifar_net.pth\"\nsha256 = \"{}\"", "0".repeat(64)),
    );
    assert!(matches!(error_of(folder.path()), ModelError::Digest { .. }));
    std::fs::remove_file(folder.path().join("cifar_net.pth")).unwrap();
    assert!(matches!(error_of(folder.path()), ModelError::Read { .. }));
}

#[test]
fn several_nested_networks_need_a_key() {
    let weights = |prefix: &'static str| {
        [
            (format!("{prefix}.fc.weight"), vec![2, 2], vec![1.0; 4]),
            (format!("{prefix}.fc.bias"), vec![2], vec![0.0; 2]),
        ]
    };
    let both: Vec<_> = weights("ema").into_iter().chain(weights("model")).collect();
    let both: Vec<(&str, &[usize], Vec<f32>)> = both
        .iter()
        .map(|(name, shape, numbers)| (name.as_str(), shape.as_slice(), numbers.clone()))
        .collect();
    let text = error_of(made(SMALL, &both).path()).to_string();
    assert!(
        text.contains("under each of `ema`, `model`: say which with `key`"),
        "{text}"
    );
    let with_key = SMALL.replace(
        "file = \"weights.safetensors\"",
        "file = \"weights.safetensors\"\nkey = \"ema\"",
    );
    Model::load(made(&with_key, &both).path()).unwrap();
}

#[test]
fn truncated_and_garbled_weights_are_errors_in_every_format() {
    let bpk = {
        let bytes = |n: usize| burn_pack::Bytes::from_bytes_vec(vec![0; n]);
        let tensor = |name: &str, shape: Vec<usize>, n| {
            burn_pack::Tensor::new(name.to_owned(), burn_pack::DType::F32, shape, None, bytes(n))
        };
        let tensors = vec![tensor("fc.weight", vec![2, 2], 16), tensor("fc.bias", vec![2], 8)];
        burn_pack::Writer::new(tensors).into_bytes().unwrap().to_vec()
    };
    let article = std::fs::read_to_string(data("article").join("model.toml")).unwrap();
    let pth = std::fs::read(data("article").join("cifar_net.pth")).unwrap();
    let small_with = |file: &str| SMALL.replace("weights.safetensors", file);
    let cases = [
        (SMALL.to_owned(), "weights.safetensors", safetensors(&small_weights())),
        (small_with("weights.bpk"), "weights.bpk", bpk),
        (article, "cifar_net.pth", pth),
    ];
    for (manifest, file, whole) in cases {
        let folder = copy(&data("article"));
        let load = |contents: &[u8]| {
            std::fs::write(folder.path().join("model.toml"), &manifest).unwrap();
            std::fs::write(folder.path().join(file), contents).unwrap();
            Model::load(folder.path())
        };
        load(&whole).unwrap_or_else(|error| panic!("{file} whole: {error}"));
        for share in [0, 1, 7, 8, 9, 100, whole.len() / 3, whole.len() / 2, whole.len() - 1] {
            let error = load(&whole[..share.min(whole.len() - 1)]).unwrap_err();
            assert!(error.to_string().contains(file), "{file} cut at {share}: {error}");
        }
        for filler in [0x00, 0x7f, 0xff] {
            load(&vec![filler; 4096]).unwrap_err();
        }
        // Any changed byte may or may not be noticed, but nothing may panic, hang or take memory.
        for at in (0..whole.len()).step_by((whole.len() / 400).max(1)) {
            let mut changed = whole.clone();
            changed[at] ^= 0xff;
            if let Err(error) = load(&changed) {
                assert!(!error.to_string().is_empty());
            }
        }
    }
}

#[test]
fn hostile_headers_and_pickles_are_errors() {
    let load = |contents: &[u8], file: &str| {
        let folder = made(&SMALL.replace("weights.safetensors", file), &[]);
        std::fs::write(folder.path().join(file), contents).unwrap();
        error_of(folder.path()).to_string()
    };
    // A header that claims to be longer than any file.
    let mut huge = u64::MAX.to_le_bytes().to_vec();
    huge.extend(b"{}");
    load(&huge, "weights.safetensors");
    // A tensor that claims to be larger than the file.
    let header = br#"{"fc.weight":{"dtype":"F32","shape":[1000000000,1000000000],"data_offsets":[0,16]}}"#;
    let mut claims = (header.len() as u64).to_le_bytes().to_vec();
    claims.extend(header);
    claims.extend([0; 16]);
    load(&claims, "weights.safetensors");
    // Lists within lists, which a recursive reader would overflow its stack with.
    let mut nested = vec![0x80, 2];
    nested.extend(std::iter::repeat_n(b']', 1_000_000));
    nested.extend(std::iter::repeat_n(b'a', 999_999));
    nested.push(b'.');
    load(&nested, "weights.pth");
    // A pickle that would call a function.
    load(b"cos\nsystem\n(S'exit 1'\ntR.", "weights.pth");
}

#[test]
fn layers_nested_or_repeated_without_end_are_refused() {
    let nested = |depth: usize| {
        let inner = (0..depth).fold("{ type = \"relu\" }".to_owned(), |inner, _| {
            format!("{{ type = \"residual\", body = [{inner}] }}")
        });
        SMALL.replace("[[layer]]\ntype = \"linear\"\nname = \"fc\"\nout = 2", "")
            + "\n[[layer]]\ntype = \"residual\"\nbody = ["
            + &inner
            + "]"
    };
    let text = error_of(made(&nested(12), &[]).path()).to_string();
    assert!(text.contains("nested more than 8 deep"), "{text}");
    error_of(made(&nested(5000), &[]).path());
    let many = SMALL.to_owned() + &"[[layer]]\ntype = \"relu\"\n".repeat(5000);
    let text = error_of(made(&many, &small_weights()).path()).to_string();
    assert!(text.contains("more than 4096 layers"), "{text}");
    let long = SMALL.to_owned() + &"#".repeat(5 << 20);
    assert!(matches!(
        error_of(made(&long, &small_weights()).path()),
        ModelError::TooLarge { .. }
    ));
}
