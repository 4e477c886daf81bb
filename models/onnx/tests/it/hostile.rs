//! Files that mean harm or are broken: each is refused in no time, with a message that fits a line, and in little memory.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::written::{
    Graph, Message, attribute_graph, attribute_int, attribute_ints, attribute_tensor, file, floats, ints, node, value,
};
use millrace_onnx::{Model, Options, Source};

/// What may take so long at most, on a busy machine and without optimisation.
const LONGEST: Duration = Duration::from_secs(60);

/// Everything that is said about a file; nothing where it is lowered.
fn said(bytes: Vec<u8>, folder: Option<PathBuf>) -> Option<String> {
    let begin = Instant::now();
    let source = Source::from_bytes(bytes, folder);
    let said = match Model::read(&source) {
        Err(error) => Some(error.to_string()),
        Ok(model) => match model.lower(&Options::default()) {
            Err(problems) => Some(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
            Ok(_) => None,
        },
    };
    assert!(begin.elapsed() < LONGEST, "{:?}", begin.elapsed());
    said
}

#[track_caller]
fn refused(bytes: Vec<u8>, part: &str) {
    let said = said(bytes, None).unwrap_or_default();
    assert!(said.contains(part), "no {part:?} in {said:?}");
    assert!(said.len() < 4000, "{} bytes are said", said.len());
    assert!(!said.contains(['\n', '\u{1b}', '\0']), "{said:?}");
}

/// Most memory that this process had so far, where the system says so.
fn most_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace()
        .nth(1)?
        .parse::<u64>()
        .ok()
        .map(|kib| kib * 1024)
}

fn relu() -> Graph {
    Graph::of(&[node("relu", "Relu", &["x"], &["y"], &[])], &[])
}

#[test]
fn lengths_that_lie_are_refused() {
    let rows: [(&[u8], &str); 5] = [
        // Backwards: a length of 2^64 - 12.
        (b"\x08\x08\xc2\x0c\xf4\xff\xff\xff\xff\xff\xff\xff\xff\x01", "cut short"),
        // 2^45 bytes, in a graph, in an initialiser, in its numbers.
        (
            b"\x08\x08\x3a\xa8\x80\x80\x80\x80\x80\x08\x2a\x94\x80\x80\x80\x80\x80\x08\x4a\x80\x80\x80\x80\x80\x80\x08xx",
            "cut short",
        ),
        (
            b"\x08\x08\x3a\xa8\x80\x80\x80\x80\x80\x80\x80\x40\x2a\x94\x80\x80\x80\x80\x80\x80\x80\x40\x4a\x80\x80\x80\x80\x80\x80\x80\x80\x40xx",
            "cut short",
        ),
        // A number of eleven bytes, and one of more than 64 bits.
        (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "does not end"),
        (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", "does not end"),
    ];
    for (bytes, part) in rows {
        refused(bytes.to_vec(), part);
    }
}

#[test]
fn fields_that_are_none_are_refused() {
    let good = file(&relu().message());
    let rows = [
        (good.clone().key(7, 3), "of kind 3"),
        (good.clone().key(7, 4), "of kind 4"),
        (good.clone().key(7, 7), "of kind 7"),
        (good.clone().key(0, 0), "number 0"),
        (Message::new().int(7, 1), "of another kind"),
        (good.clone().int(14, 1), "of another kind"),
        (good.clone().bytes(2, b"\xff\xfe"), "not UTF-8"),
        (good.clone().announced(99, 1), "cut short"),
        (good.clone().key(99, 1), "cut short"),
        (good.clone().key(99, 5), "cut short"),
        (good.clone().message(7, &relu().message()), "two of its graph"),
        (Message::new(), "no graph"),
    ];
    for (message, part) in rows {
        refused(message.0, part);
    }
    // What is unknown is skipped.
    assert_eq!(said(good.int(77, 1).float(78, 1.0).text(79, "\n").0, None), None);
}

#[test]
fn counts_beyond_all_bounds_are_refused_in_little_memory() {
    let many = |field: u64, count: usize| {
        let mut message = Message::new();
        for _ in 0..count {
            message = message.bytes(field, b"");
        }
        message
    };
    let in_graph = |message: &Message| file(message).0;
    refused(in_graph(&many(1, 3_000_000)), "too many nodes");
    refused(in_graph(&many(5, 3_000_000)), "too many initialisers");
    refused(in_graph(&many(11, 3_000_000)), "too many initialisers");
    refused(in_graph(&many(12, 3_000_000)), "too many inputs, outputs");
    refused(
        in_graph(&Message::new().message(1, &many(1, 3_000_000))),
        "too many names",
    );
    refused(
        in_graph(&Message::new().message(1, &many(5, 3_000_000))),
        "too many attributes",
    );
    refused(many(14, 3_000_000).0, "too many inputs, outputs");
    refused(many(25, 3_000_000).0, "too many inputs, outputs");
    refused(
        in_graph(&Message::new().message(5, &Message::new().packed(1, &vec![1; 3_000_000]))),
        "13 axes",
    );
    let shape = Message::new().int(1, 1).message(2, &many(1, 3_000_000));
    let value = Message::new().message(2, &Message::new().message(1, &shape));
    refused(in_graph(&Message::new().message(11, &value)), "13 axes");
    if let Some(bytes) = most_memory() {
        assert!(bytes < 1 << 30, "{bytes}");
    }
}

#[test]
fn names_are_bounded_cut_and_escaped() {
    let long = "n".repeat(1 << 20);
    refused(
        Graph::of(&[node(&long, "Relu", &["x"], &["y"], &[])], &[]).file(),
        "1048576 bytes",
    );
    refused(
        Graph::of(&[node("relu", &long, &["x"], &["y"], &[])], &[]).file(),
        "1048576 bytes",
    );
    refused(
        Graph::of(&[node("relu", "Relu", &["x"], &[&long], &[])], &[]).file(),
        "1048576 bytes",
    );
    let medium = "n".repeat(10_000);
    refused(
        Graph::of(&[node(&medium, "Nothing", &["x"], &["y"], &[])], &[]).file(),
        "nnn…`",
    );
    refused(
        Graph::of(&[node("a\nb\u{1b}[31m", "No\nthing", &["x"], &["y"], &[])], &[]).file(),
        r"`a\nb\u{1b}[31m`",
    );
}

#[test]
fn graphs_within_graphs_have_a_bound() {
    let mut graph = relu().message();
    for depth in 0..40_000 {
        let inner = node(
            &format!("{depth}"),
            "If",
            &["yes"],
            &["y"],
            &[attribute_graph("then_branch", &graph)],
        );
        graph = Graph {
            outputs: vec![Message::new().text(1, "y")],
            ..Graph::of(&[inner], &[])
        }
        .message();
        if graph.0.len() > 700_000 {
            break;
        }
    }
    let graph = graph.message(5, &ints("yes", &[], &[1]));
    refused(file(&graph).0, "nested more than 16 deep");
}

/// `count` functions, each of which calls the next twice.
fn doubling(count: usize) -> Message {
    let mut message = file(&Graph::of(&[in_domain(node("f", "f0", &["x"], &["y"], &[]))], &[]).message());
    for index in 0..count {
        let next = format!("f{}", (index + 1) % count);
        let function = Message::new()
            .text(1, &format!("f{index}"))
            .text(4, "a")
            .text(5, "c")
            .message(7, &in_domain(node("one", &next, &["a"], &["b"], &[])))
            .message(7, &in_domain(node("two", &next, &["b"], &["c"], &[])))
            .text(10, "own");
        message = message.message(25, &function);
    }
    message
}

fn in_domain(node: Message) -> Message {
    node.text(7, "own")
}

#[test]
fn functions_that_call_each_other_have_a_bound() {
    refused(doubling(1).0, "nested more than 16 deep");
    refused(doubling(40).0, "nested more than 16 deep");
    // Not deep, and wide: each calls the next a hundred times.
    let mut message = file(&Graph::of(&[in_domain(node("f", "f0", &["x"], &["y"], &[]))], &[]).message());
    for index in 0..10 {
        let mut function = Message::new()
            .text(1, &format!("f{index}"))
            .text(4, "v0")
            .text(5, "v100")
            .text(10, "own");
        for call in 0..100 {
            let (from, to) = (format!("v{call}"), format!("v{}", call + 1));
            let inner = match index {
                9 => node("last", "Identity", &[&from], &[&to], &[]),
                _ => in_domain(node("call", &format!("f{}", index + 1), &[&from], &[&to], &[])),
            };
            function = function.message(7, &inner);
        }
        message = message.message(25, &function);
    }
    refused(message.0, "once its functions are written out");
}

#[test]
fn nodes_in_circles_and_from_nowhere_are_refused() {
    let rows: [(Vec<Message>, &str); 6] = [
        (
            vec![node("loop", "Relu", &["y"], &["y"], &[])],
            "`loop` needs its own output",
        ),
        (
            vec![
                node("one", "Relu", &["b"], &["y"], &[]),
                node("two", "Relu", &["y"], &["b"], &[]),
            ],
            "needs its own output",
        ),
        (
            vec![
                node("one", "Relu", &["x"], &["y"], &[]),
                node("two", "Relu", &["x"], &["y"], &[]),
            ],
            "`y` is the name of two values",
        ),
        (
            vec![node("one", "Relu", &["nowhere"], &["y"], &[])],
            "`nowhere` is made by no node",
        ),
        (vec![node("one", "Relu", &[], &["y"], &[])], "input 0 is missing"),
        (vec![node("one", "Relu", &["x"], &["z"], &[])], "`y`"),
    ];
    for (nodes, part) in rows {
        refused(Graph::of(&nodes, &[]).file(), part);
    }
    // Not in order, but no circle.
    let nodes = [
        node("two", "Neg", &["a"], &["y"], &[]),
        node("one", "Relu", &["x"], &["a"], &[]),
    ];
    assert_eq!(said(Graph::of(&nodes, &[]).file(), None), None);
    // A chain that would overflow a stack.
    let mut nodes = vec![node("first", "Relu", &["x"], &["v0"], &[])];
    for index in 0..50_000 {
        nodes.push(node(
            "n",
            "Identity",
            &[&format!("v{index}")],
            &[&format!("v{}", index + 1)],
            &[],
        ));
    }
    nodes.reverse();
    nodes.push(node("last", "Relu", &["v50000"], &["y"], &[]));
    assert_eq!(said(Graph::of(&nodes, &[]).file(), None), None);
}

#[test]
fn weights_that_are_not_as_declared_are_refused() {
    let add = || [node("add", "Add", &["x", "w"], &["y"], &[])];
    let tensor = |dims: &[i64], kind: i64| Message::new().packed(1, dims).int(2, kind).text(8, "w");
    let rows = [
        (floats("w", &[2], &[1.0]), "says 8 bytes, 4 are there"),
        (floats("w", &[1], &[1.0, 2.0]), "says 4 bytes, 8 are there"),
        (floats("w", &[-1], &[1.0]), "[-1] is impossible"),
        (floats("w", &[i64::MAX, i64::MAX], &[1.0]), "is impossible"),
        (floats("w", &[1 << 40, 0], &[]), "declares 1099511627776 numbers"),
        (floats("w", &[10_000_000_000], &[]), "declares 10000000000 numbers"),
        (floats("w", &[1 << 29], &[]), "0 are there"),
        (floats("w", &[1; 13], &[1.0]), "13 axes"),
        (tensor(&[1], 8).text(6, "text"), "string"),
        (tensor(&[1], 14), "complex64"),
        (tensor(&[1], 17), "float8"),
        (tensor(&[1], 99), "number 99"),
        (tensor(&[2], 1).float(4, 1.0), "says 2 numbers, 1 are there"),
        (
            tensor(&[1], 1).float(4, 1.0).float(4, 1.0),
            "says 1 numbers, 2 are there",
        ),
        (tensor(&[1], 1).bytes(4, b"abc"), "cut short"),
        (tensor(&[1], 7).bytes(7, b"\x80"), "cut short"),
        (tensor(&[2], 1).int(14, 1), "without a folder"),
    ];
    for (weight, part) in rows {
        refused(Graph::of(&add(), &[weight]).file(), part);
    }
    // Packed and not, typed and as bytes: all the same.
    let one = 1.0_f32;
    let good = [
        floats("w", &[1], &[one]),
        tensor(&[1], 1).float(4, one),
        tensor(&[1], 1).bytes(4, &one.to_le_bytes()),
        Message::new()
            .int(1, 1)
            .int(2, 1)
            .text(8, "w")
            .bytes(9, &one.to_le_bytes()),
        tensor(&[1], 10).int(5, 0x3c00),
        tensor(&[1], 10).bytes(9, &0x3c00_u16.to_le_bytes()),
        tensor(&[1], 16).bytes(9, &0x3f80_u16.to_le_bytes()),
        tensor(&[1], 11).bytes(10, &1.0_f64.to_le_bytes()),
        tensor(&[1], 7).int(7, 1),
        tensor(&[1], 7).packed(7, &[1]),
        tensor(&[1], 6).packed(5, &[1]),
        tensor(&[], 1).float(4, one),
    ];
    for weight in good {
        assert_eq!(said(Graph::of(&add(), &[weight]).file(), None), None);
    }
}

/// A weight whose numbers are in another file.
fn elsewhere(dims: &[i64], place: &[(&str, &str)]) -> Vec<u8> {
    let mut weight = Message::new().packed(1, dims).int(2, 1).text(8, "w").int(14, 1);
    for (key, value) in place {
        weight = weight.message(13, &Message::new().text(1, key).text(2, value));
    }
    Graph::of(&[node("add", "Add", &["x", "w"], &["y"], &[])], &[weight]).file()
}

#[test]
fn files_beside_the_model_stay_within_its_folder() {
    let folder = std::env::temp_dir().join(format!("millrace-onnx-{}", std::process::id()));
    let inner = folder.join("model");
    std::fs::create_dir_all(inner.join("part")).expect("a folder can be made");
    std::fs::write(inner.join("w.data"), [0_u8; 32]).expect("a file can be written");
    std::fs::write(inner.join("part/w.data"), [0_u8; 32]).expect("a file can be written");
    std::fs::write(folder.join("secret"), [0_u8; 32]).expect("a file can be written");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("../secret", inner.join("out")).expect("a link can be made");
        std::os::unix::fs::symlink("w.data", inner.join("in")).expect("a link can be made");
    }
    let absolute = folder.join("secret").display().to_string();
    let rows: [(&[(&str, &str)], &str); 13] = [
        (&[("location", "../secret")], "not within"),
        (&[("location", "part/../../secret")], "not within"),
        (&[("location", &absolute)], "not within"),
        (&[("location", "out")], "not within"),
        (&[("location", "part")], "not within"),
        (&[("location", "")], "not within"),
        (&[], "not within"),
        (&[("location", "none")], "cannot read"),
        (&[("location", "w.data\0")], "cannot read"),
        (&[("location", "w.data"), ("offset", "20")], "is impossible"),
        (
            &[("location", "w.data"), ("offset", "18446744073709551615")],
            "is impossible",
        ),
        (&[("location", "w.data"), ("length", "4")], "says 16 bytes, 4 are there"),
        (&[("location", "w.data"), ("offset", "-1")], "no number of bytes"),
    ];
    for (place, part) in rows {
        let said = said(elsewhere(&[4, 1], place), Some(inner.clone())).unwrap_or_default();
        assert!(said.contains(part), "{place:?}: {said}");
    }
    let good: [&[(&str, &str)]; 4] = [
        &[("location", "w.data")],
        &[("location", "./w.data"), ("offset", "8"), ("length", "16")],
        &[("location", "part/w.data"), ("checksum", "none")],
        &[("location", "in")],
    ];
    for place in good {
        assert_eq!(said(elsewhere(&[4, 1], place), Some(inner.clone())), None, "{place:?}");
    }
    let alone = said(elsewhere(&[4, 1], &[("location", "w.data")]), None).unwrap_or_default();
    assert!(alone.contains("read without a folder"), "{alone}");
    let large = said(elsewhere(&[1 << 29], &[("location", "w.data")]), Some(inner)).unwrap_or_default();
    assert!(large.contains("is impossible"), "{large}");
    std::fs::remove_dir_all(folder).expect("the folder can be removed");
}

#[test]
fn small_files_compute_little_at_load() {
    let shape = |dims: &[i64]| ints("s", &[dims.len() as i64], dims);
    let add = |name: &str| node("add", "Add", &["x", name], &["y"], &[]);
    let fill = node("fill", "ConstantOfShape", &["s"], &["c"], &[]);
    let rows: [(Vec<Message>, Vec<Message>, &str); 6] = [
        (
            vec![fill.clone(), add("c")],
            vec![shape(&[1 << 30])],
            "more numbers would be computed",
        ),
        (
            vec![fill.clone(), add("c")],
            vec![shape(&[1 << 40, 1 << 40])],
            "more numbers would be computed",
        ),
        (
            vec![fill.clone(), add("c")],
            vec![shape(&[1 << 50, 0])],
            "more numbers would be computed",
        ),
        (
            vec![node("range", "Range", &["a", "b", "d"], &["c"], &[]), add("c")],
            vec![ints("a", &[], &[0]), ints("b", &[], &[i64::MAX]), ints("d", &[], &[1])],
            "more numbers would be computed",
        ),
        (
            vec![node("tile", "Tile", &["t", "s"], &["c"], &[]), add("c")],
            vec![floats("t", &[2], &[1.0, 2.0]), shape(&[1 << 40])],
            "more numbers would be computed",
        ),
        (
            vec![node("pad", "Pad", &["t", "s"], &["c"], &[]), add("c")],
            vec![floats("t", &[2], &[1.0, 2.0]), shape(&[1 << 40, 1])],
            "more numbers would be computed",
        ),
    ];
    for (nodes, weights, part) in rows {
        refused(Graph::of(&nodes, &weights).file(), part);
    }
    // Each doubles the one before.
    let mut nodes = vec![node(
        "first",
        "Concat",
        &["t", "t"],
        &["v0"],
        &[attribute_int("axis", 0)],
    )];
    for index in 0..60 {
        let (from, to) = (format!("v{index}"), format!("v{}", index + 1));
        nodes.push(node(
            "double",
            "Concat",
            &[&from, &from],
            &[&to],
            &[attribute_int("axis", 0)],
        ));
    }
    nodes.push(add("v60"));
    refused(
        Graph::of(&nodes, &[floats("t", &[2], &[1.0, 2.0])]).file(),
        "more numbers would be computed",
    );
    if let Some(bytes) = most_memory() {
        assert!(bytes < 1 << 30, "{bytes}");
    }
}

/// The small files that are cut and mutated.
fn good_files() -> Vec<Vec<u8>> {
    let constant = attribute_tensor("value", &ints("", &[2], &[0, -1]));
    let branch = Graph {
        outputs: vec![Message::new().text(1, "z")],
        ..Graph::of(&[node("relu", "Relu", &["a"], &["z"], &[])], &[])
    };
    let own = Graph::of(
        &[
            node(
                "conv",
                "Conv",
                &["x", "w", "b"],
                &["c"],
                &[attribute_ints("pads", &[1, 1, 1, 1])],
            ),
            node(
                "pool",
                "MaxPool",
                &["c"],
                &["p"],
                &[attribute_ints("kernel_shape", &[2, 2])],
            ),
            node("constant", "Constant", &[], &["s"], &[constant]),
            node("reshape", "Reshape", &["p", "s"], &["a"], &[]),
            node(
                "if",
                "If",
                &["yes"],
                &["y"],
                &[attribute_graph("then_branch", &branch.message())],
            ),
        ],
        &[
            floats("w", &[2, 3, 3, 3], &[0.5; 54]),
            floats("b", &[2], &[0.0; 2]),
            ints("yes", &[], &[1]),
        ],
    );
    let mut files = vec![own.file()];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/models/operators");
    let names = [
        "attention_as_exported",
        "channel_shuffle",
        "conv_transpose_output_shape",
        "einsum_relative_positions",
        "function_of_the_model",
        "group_norm_as_exported",
        "resize_cubic_antialias",
        "conditional_on_constant",
        "average_pool_ceil",
        "layer_norm_several_axes",
        "depth_to_space_crd",
        "gather_several",
    ];
    for name in names {
        files.push(std::fs::read(folder.join(name).with_extension("onnx")).expect("the case is in the repository"));
    }
    files
}

#[test]
fn files_that_are_cut_at_any_byte_break_nothing() {
    for bytes in good_files() {
        for length in 0..bytes.len() {
            said(bytes[..length].to_vec(), None);
        }
    }
}

#[test]
fn mutated_files_break_nothing() {
    let files = good_files();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below.max(1) as u64) as usize
    };
    let mut lowered = 0;
    for round in 0..20_000 {
        let mut bytes = files[round % files.len()].clone();
        for _ in 0..=random(3) {
            let at = random(bytes.len());
            match random(5) {
                0 => bytes[at] = random(256) as u8,
                1 => bytes[at] ^= 1 << random(8),
                2 => drop(bytes.remove(at)),
                3 => bytes.insert(at, random(256) as u8),
                _ => {
                    let part = bytes[at..(at + random(24)).min(bytes.len())].to_vec();
                    let to = random(bytes.len());
                    bytes.splice(to..to, part);
                }
            }
        }
        lowered += usize::from(said(bytes, None).is_none());
    }
    // Names and numbers of weights may change, and the file is still good.
    assert!((100..19_000).contains(&lowered), "{lowered}");
    if let Some(bytes) = most_memory() {
        assert!(bytes < 2 << 30, "{bytes}");
    }
}

#[test]
fn inputs_that_no_image_is_are_refused() {
    let with = |inputs: &[Message]| {
        Graph {
            inputs: inputs.to_vec(),
            ..relu()
        }
        .file()
    };
    let second = Graph {
        inputs: vec![value("x", &[0, 3, 4, 4]), value("second", &[0, 3])],
        ..Graph::of(&[node("add", "Add", &["x", "second"], &["y"], &[])], &[])
    };
    refused(second.file(), "`x`, `second`");
    refused(
        with(&[value("x", &[0, 3, 0, 0])]),
        "axis 1 of an item of its input `x` is free",
    );
    refused(
        with(&[value("x", &[0, 3, 4, 4]), value("x", &[0, 3, 4, 4])]),
        "`x` is the name of two values",
    );
    refused(with(&[Message::new().text(1, "x")]), "undefined");
    refused(with(&[]), "none of its outputs");
    // One that nothing reads is no harm.
    assert_eq!(
        said(with(&[value("x", &[0, 3, 4, 4]), value("unused", &[0, 3])]), None),
        None
    );
}
