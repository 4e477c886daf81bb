//! Checkpoints as PyTorch writes them, with whatever Python stands beside the weights: built here byte by byte, around
//! what Python itself pickled (`data/make_beside.py`).

use std::io::{Cursor, Write};

use millrace_model_folder::Model;
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// A linear layer of two features.
const MANIFEST: &str = r#"
[input]
shape = [2]
element = "float"

[output]
labels = ["no", "yes"]

[weights]
file = "weights.pth"

[[layer]]
type = "linear"
name = "fc"
out = 2
"#;

/// Its weights, in one storage: the bias lies behind the weight.
const NUMBERS: [f32; 6] = [1.0, 2.0, 3.0, 4.0, 0.5, -0.5];

/// The parts of a pickle.
fn text(text: &str) -> Vec<u8> {
    let mut bytes = vec![b'X'];
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes
}

fn global(module: &str, name: &str) -> Vec<u8> {
    format!("c{module}\n{name}\n").into_bytes()
}

pub(crate) fn dictionary(items: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let items = items
        .iter()
        .flat_map(|(key, value)| [text(key), value.clone()].concat());
    [b"}(".to_vec(), items.collect(), b"u".to_vec()].concat()
}

fn tuple(members: &[u8]) -> Vec<u8> {
    let members = members.iter().flat_map(|member| [b'K', *member]);
    [b"(".to_vec(), members.collect(), b"t".to_vec()].concat()
}

/// A view of the storage `0`, as `_rebuild_tensor_v2` makes it.
fn tensor(offset: u8, shape: &[u8], strides: &[u8]) -> Vec<u8> {
    let storage = [
        b"((".to_vec(),
        text("storage"),
        global("torch", "FloatStorage"),
        text("0"),
        text("cpu"),
        vec![b'K', NUMBERS.len() as u8],
        b"tQ".to_vec(),
    ];
    let rest = [vec![b'K', offset], tuple(shape), tuple(strides), b"\x89".to_vec()];
    let hooks = [global("collections", "OrderedDict"), b")R".to_vec()];
    let function = global("torch._utils", "_rebuild_tensor_v2");
    [
        function,
        storage.concat(),
        rest.concat(),
        hooks.concat(),
        b"tR".to_vec(),
    ]
    .concat()
}

fn weights() -> [(&'static str, Vec<u8>); 2] {
    [
        ("fc.weight", tensor(0, &[2, 2], &[2, 1])),
        ("fc.bias", tensor(4, &[2], &[1])),
    ]
}

pub(crate) fn state_dict() -> Vec<u8> {
    let items = weights()
        .into_iter()
        .flat_map(|(key, value)| [text(key), value].concat());
    let made = [global("collections", "OrderedDict"), b")R(".to_vec()].concat();
    [made, items.collect(), b"u".to_vec()].concat()
}

fn pickle(root: Vec<u8>) -> Vec<u8> {
    [b"\x80\x02".to_vec(), root, b".".to_vec()].concat()
}

fn storage() -> Vec<u8> {
    NUMBERS.iter().flat_map(|number| number.to_le_bytes()).collect()
}

pub(crate) fn archive(files: &[(&str, &[u8])], compression: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, contents) in files {
        let options = SimpleFileOptions::default().compression_method(compression);
        zip.start_file(*name, options).unwrap();
        zip.write_all(contents).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// As `torch.save` writes since 1.6.
pub(crate) fn zipped(root: Vec<u8>) -> Vec<u8> {
    let files: [(&str, &[u8]); 4] = [
        ("w/data.pkl", &pickle(root)),
        ("w/byteorder", b"little"),
        ("w/data/0", &storage()),
        ("w/version", b"3\n"),
    ];
    archive(&files, CompressionMethod::Stored)
}

/// As `torch.save` wrote before, and does with `_use_new_zipfile_serialization=False`.
pub(crate) fn legacy(root: Vec<u8>) -> Vec<u8> {
    let magic = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19".to_vec();
    let system = dictionary(&[
        ("protocol_version", b"M\xe9\x03".to_vec()),
        ("little_endian", b"\x88".to_vec()),
    ]);
    let keys = [b"]".to_vec(), text("0"), b"a".to_vec()].concat();
    let pickles = [magic, b"M\xe9\x03".to_vec(), system, root, keys].map(pickle);
    let length = (NUMBERS.len() as u64).to_le_bytes().to_vec();
    [pickles.concat(), length, storage()].concat()
}

fn load_with(manifest: &str, file: &[u8]) -> Result<(Model, TempDir), String> {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("model.toml"), manifest).unwrap();
    std::fs::write(folder.path().join("weights.pth"), file).unwrap();
    match Model::load(folder.path()) {
        Ok(model) => Ok((model, folder)),
        Err(error) => Err(error.to_string()),
    }
}

fn load(file: &[u8]) -> Result<Model, String> {
    load_with(MANIFEST, file).map(|(model, _)| model)
}

#[track_caller]
fn check(what: &str, file: &[u8]) {
    match load(file) {
        Ok(model) => assert_eq!(model.weight_bytes(), 24, "{what}"),
        Err(error) => panic!("{what}: {error}"),
    }
}

#[track_caller]
fn refused(what: &str, file: &[u8], expected: &[&str]) {
    let error = load(file).err().unwrap_or_else(|| panic!("{what} loads"));
    for part in expected {
        assert!(error.contains(part), "{what}: `{part}` is not in: {error}");
    }
}

/// Every object of `beside.txt`: its name with the protocol, and the instructions that make it.
pub(crate) fn beside() -> Vec<(String, Vec<u8>)> {
    let path = super::folders::data("beside.txt");
    let lines = std::fs::read_to_string(path).unwrap();
    let object = |line: &str| {
        let [name, protocol, hex] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let mut bytes: Vec<u8> = (0..hex.len()).step_by(2).map(digits).collect();
        assert_eq!(bytes.pop(), Some(b'.'), "{name}");
        (format!("{name} by protocol {protocol}"), bytes)
    };
    lines.lines().map(object).collect()
}

#[test]
fn whatever_python_stands_beside_the_weights_is_passed_over() {
    let objects = beside();
    assert!(objects.len() > 150, "{}", objects.len());
    for (name, object) in &objects {
        let root = dictionary(&[
            ("epoch", b"K\x0c".to_vec()),
            ("before", object.clone()),
            ("state_dict", state_dict()),
            ("after", object.clone()),
        ]);
        check(name, &zipped(root.clone()));
        check(name, &legacy(root));
    }
    // All of them at once, and the weights in the middle; newer protocols count what they remember from the beginning.
    let explicit = objects
        .iter()
        .filter(|(name, _)| name.ends_with('0') || name.ends_with('2'));
    let mut items: Vec<(&str, Vec<u8>)> = explicit.map(|(name, object)| (name.as_str(), object.clone())).collect();
    items.insert(items.len() / 2, ("state_dict", state_dict()));
    check("all objects", &zipped(dictionary(&items)));
}

#[test]
fn weights_are_found_in_whatever_holds_them() {
    let [(weight_name, weight), (bias_name, bias)] = weights();
    let pairs = || [text(weight_name), weight.clone(), text(bias_name), bias.clone()].concat();
    let with_items = |made: &[u8]| [made.to_vec(), b"(".to_vec(), pairs(), b"u".to_vec()].concat();
    let class = |module: &str, name: &str| [global(module, name), b")\x81".to_vec()].concat();
    let held = [
        ("a plain dictionary", dictionary(&weights())),
        ("a dictionary of its own class", with_items(&class("train", "Weights"))),
        (
            "a dictionary of its own class, with attributes",
            [
                with_items(&class("train", "Weights")),
                dictionary(&[("device", text("cpu"))]),
                b"b".to_vec(),
            ]
            .concat(),
        ),
        (
            "a defaultdict",
            with_items(
                &[
                    global("collections", "defaultdict"),
                    global("builtins", "list"),
                    b"\x85R".to_vec(),
                ]
                .concat(),
            ),
        ),
        (
            "an ordered dictionary of an old protocol",
            [
                global("collections", "OrderedDict"),
                b"((l".to_vec(),
                [
                    b"(l".to_vec(),
                    text(weight_name),
                    b"a".to_vec(),
                    weight.clone(),
                    b"aa".to_vec(),
                ]
                .concat(),
                [
                    b"(l".to_vec(),
                    text(bias_name),
                    b"a".to_vec(),
                    bias.clone(),
                    b"aa".to_vec(),
                ]
                .concat(),
                b"tR".to_vec(),
            ]
            .concat(),
        ),
        (
            "parameters",
            dictionary(&weights().map(|(key, value)| {
                let call = global("torch._utils", "_rebuild_parameter");
                let hooks = [global("collections", "OrderedDict"), b")R".to_vec()].concat();
                (
                    key,
                    [call, b"(".to_vec(), value, b"\x88".to_vec(), hooks, b"tR".to_vec()].concat(),
                )
            })),
        ),
        (
            "a tensor turned round",
            dictionary(&[(weight_name, tensor(0, &[2, 2], &[1, 2])), (bias_name, bias.clone())]),
        ),
        (
            "a whole module",
            module(
                &[],
                &[("fc", module(&[("weight", weight.clone()), ("bias", bias.clone())], &[]))],
            ),
        ),
    ];
    for (what, root) in &held {
        check(what, &zipped(root.clone()));
        check(what, &legacy(root.clone()));
        check(what, &zipped(dictionary(&[("model", root.clone())])));
        let listed = [b"(".to_vec(), b"K\x01".to_vec(), root.clone(), b"l".to_vec()].concat();
        check(what, &zipped(listed.clone()));
        // A tuple with names for its members.
        let named = [
            global("train", "Saved"),
            b"(K\x01".to_vec(),
            root.clone(),
            b"t\x81".to_vec(),
        ]
        .concat();
        check(what, &zipped(named));
    }
    let deflated = archive(
        &[("w/data.pkl", &pickle(state_dict())), ("w/data/0", &storage())],
        CompressionMethod::Deflated,
    );
    check("an archive that was packed anew", &deflated);
}

/// A module as `torch.save(model)` writes it.
fn module(parameters: &[(&str, Vec<u8>)], modules: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let state = dictionary(&[
        ("training", b"\x88".to_vec()),
        ("_parameters", dictionary(parameters)),
        ("_buffers", dictionary(&[("passing", tensor(0, &[1], &[1]))])),
        (
            "_non_persistent_buffers_set",
            [b"\x8f(".to_vec(), text("passing"), b"\x90".to_vec()].concat(),
        ),
        ("_modules", dictionary(modules)),
    ]);
    [global("net", "Net"), b")\x81".to_vec(), state, b"b".to_vec()].concat()
}

#[test]
fn a_refusal_says_what_was_found_and_what_to_do() {
    let save = "torch.save(model.state_dict(), \"weights.pth\")";
    let namespace = |of: Vec<u8>| {
        let made = [global("argparse", "Namespace"), b")\x81".to_vec()].concat();
        [made, of, b"b".to_vec()].concat()
    };
    let hidden = dictionary(&[("run", namespace(dictionary(&[("weights", state_dict())])))]);
    refused(
        "weights within an object",
        &zipped(hidden),
        &["`argparse.Namespace` at `run`", save],
    );
    let numbers = beside()
        .into_iter()
        .find(|(name, _)| name.starts_with("numpy array by protocol 2"))
        .unwrap()
        .1;
    let arrays = dictionary(&[("fc.weight", numbers.clone())]);
    refused(
        "NumPy's arrays",
        &pickle(arrays),
        &["NumPy's", "_reconstruct` at `fc.weight`", "torch.from_numpy"],
    );
    let by_pickle = [global("torch.storage", "_load_from_bytes"), b"C\x01a\x85R".to_vec()].concat();
    let wrapped = [
        global("torch._utils", "_rebuild_tensor_v2"),
        b"(".to_vec(),
        by_pickle.clone(),
        [b"K\x00".to_vec(), tuple(&[1]), tuple(&[1]), b"\x89N".to_vec()].concat(),
        b"tR".to_vec(),
    ];
    refused(
        "what `pickle` wrote",
        &pickle(dictionary(&[("fc.weight", wrapped.concat())])),
        &["pickle", save],
    );
    refused(
        "a pickle of numbers",
        &pickle(dictionary(&[("epoch", b"K\x01".to_vec())])),
        &["without a tensor", save],
    );
    refused("a tensor alone", &zipped(tensor(0, &[2], &[1])), &["one tensor", save]);
    refused(
        "a weight of whole numbers",
        &zipped(dictionary(&[
            ("fc.weight", tensor(0, &[2, 2], &[2, 1])),
            ("fc.bias", {
                let bias = tensor(4, &[2], &[1]);
                let name = b"FloatStorage";
                let at = bias.windows(name.len()).position(|part| part == name).unwrap();
                [&bias[..at], b"LongStorage", &bias[at + name.len()..]].concat()
            }),
        ])),
        &["`fc.bias`", "int64"],
    );
    let sparse = [global("torch._utils", "_rebuild_sparse_tensor"), b")R".to_vec()].concat();
    let with_sparse = |key: &'static str| {
        let mut items = weights().to_vec();
        items.retain(|(name, _)| *name != key);
        items.push((key, sparse.clone()));
        zipped(dictionary(&items))
    };
    refused(
        "a sparse weight",
        &with_sparse("fc.bias"),
        &["`fc.bias`", "_rebuild_sparse_tensor"],
    );
    refused(
        "a view beyond its storage",
        &zipped(dictionary(&[
            ("fc.weight", tensor(0, &[2, 2], &[2, 1])),
            ("fc.bias", tensor(5, &[2], &[1])),
        ])),
        &["`fc.bias`", "beyond its storage"],
    );
    refused(
        "a pickle that ends",
        &zipped(state_dict()[..40].to_vec()),
        &["weights.pth"],
    );
    let big = archive(
        &[
            ("w/data.pkl", &pickle(state_dict())),
            ("w/byteorder", b"big"),
            ("w/data/0", &storage()),
        ],
        CompressionMethod::Stored,
    );
    refused("another byte order", &big, &["big-endian"]);
}

#[test]
fn what_a_pickle_may_take_is_bounded() {
    let lists = |n: usize| [b"\x80\x02".to_vec(), vec![b']'; n], b".".to_vec()].concat();
    refused("too many objects", &lists((2 << 20) + 1), &["Python objects"]);
    let twice = |n: usize| [b"\x80\x02K\x01".to_vec(), vec![b'2'; n], b".".to_vec()].concat();
    refused("too many values", &twice((8 << 20) + 1), &["Python values"]);
    // Lists that hold the one before them twice: as many ways to its end as there are atoms in the world.
    let bomb = (0..200).fold(b"]".to_vec(), |inner, _| {
        [b"(".to_vec(), inner, b"2l".to_vec()].concat()
    });
    refused("lists that double", &pickle(bomb.clone()), &["hold each other"]);
    check(
        "lists that double, at a depth that is passed over",
        &zipped(dictionary(&[
            ("state_dict", state_dict()),
            (
                "deep",
                (0..100).fold(b"]".to_vec(), |inner, _| [b"(".to_vec(), inner, b"l".to_vec()].concat()),
            ),
        ])),
    );
    // A length that no file has.
    refused(
        "a long text",
        b"\x80\x02\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
        &["ends in the middle"],
    );
    refused(
        "a frame",
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\xff.",
        &["value that is not there"],
    );
}
