//! What becomes of the batch axis: free in the file, fixed in it, or not there at all; and what a model says of itself.

use millrace_graph::interpret;
use millrace_onnx::{Element, InputAxis, Items, Lowered, Model, Options, Source};

use super::written::{Graph, Message, attribute_int, attribute_ints, file, floats, ints, node, value};

fn lowered(graph: &Graph, item: Option<&[usize]>) -> Result<Lowered, String> {
    let source = Source::from_bytes(graph.file(), None);
    let model = Model::read(&source).map_err(|error| error.to_string())?;
    let options = Options {
        item: item.map(<[usize]>::to_vec),
    };
    model
        .lower(&options)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

/// From an input of this shape, whose lengths of 0 are free, to `y` of that shape, if the file says it.
fn network(input: &[i64], output: &[i64], nodes: &[Message], weights: &[Message]) -> Graph {
    Graph {
        inputs: vec![value("x", input)],
        outputs: vec![value("y", output)],
        ..Graph::of(nodes, weights)
    }
}

#[track_caller]
fn check(graph: &Graph, items: Items, input: &str, output: &str) -> Lowered {
    let lowered = lowered(graph, None).unwrap();
    let graph = &lowered.graph;
    assert_eq!(lowered.items, items);
    assert_eq!(graph.shape(graph.input()).to_string(), input);
    assert_eq!(graph.shape(graph.outputs()[0].value).to_string(), output);
    lowered
}

fn reshape(from: &str, to: &str, target: &str) -> Message {
    node("reshape", "Reshape", &[from, target], &[to], &[])
}

#[test]
fn a_fixed_batch_is_made_free_where_shapes_tell_how() {
    // What the file says for its number of items, and what that is for any.
    type Row<'r> = (&'r [i64], &'r [i64], &'r [i64], &'r str);
    let rows: [Row<'_>; 9] = [
        (&[1, 2, 3, 4], &[1, 24], &[1, 24], "[N, 24]"),
        (&[1, 2, 3, 4], &[-1, 24], &[1, 24], "[N, 24]"),
        (&[1, 2, 3, 4], &[1, -1], &[1, 24], "[N, 24]"),
        (&[1, 2, 3, 4], &[0, -1], &[1, 24], "[N, 24]"),
        (&[1, 2, 3, 4], &[1, 1, 24], &[1, 1, 24], "[N, 1, 24]"),
        (&[1, 2, 3, 4], &[2, 12], &[2, 12], "[2N, 12]"),
        (&[4, 2, 3, 4], &[4, 24], &[4, 24], "[N, 24]"),
        (&[4, 2, 3, 4], &[-1, 12], &[8, 12], "[2N, 12]"),
        (&[4, 2, 3, 4], &[4, 2, -1], &[4, 2, 12], "[N, 2, 12]"),
    ];
    for (input, target, output, shape) in rows {
        let target = ints("target", &[target.len() as i64], target);
        let graph = network(input, output, &[reshape("x", "y", "target")], &[target]);
        check(&graph, Items::FreeFrom(input[0] as usize), "[N, 2, 3, 4]", shape);
    }
}

#[test]
fn tokens_first_and_items_second_is_told_apart() {
    // `[N, 6, 4]` to `[6, N, 4]`, `[6 N, 4]`, a product, and back: as multi-head attention is exported.
    let nodes = [
        node(
            "first",
            "Transpose",
            &["x"],
            &["a"],
            &[attribute_ints("perm", &[1, 0, 2])],
        ),
        reshape("a", "b", "flat"),
        node("product", "MatMul", &["b", "w"], &["c"], &[]),
        reshape("c", "d", "apart"),
        reshape("d", "e", "heads"),
        node(
            "back",
            "Transpose",
            &["e"],
            &["y"],
            &[attribute_ints("perm", &[1, 0, 2])],
        ),
    ];
    let weights = [
        floats("w", &[4, 4], &[0.5; 16]),
        ints("flat", &[2], &[6, 4]),
        ints("apart", &[3], &[6, 1, 4]),
        ints("heads", &[3], &[6, 2, 2]),
    ];
    let graph = network(&[1, 6, 4], &[2, 6, 2], &nodes, &weights);
    check(&graph, Items::FreeFrom(1), "[N, 6, 4]", "[2N, 6, 2]");
}

#[test]
fn numbers_for_a_fixed_batch_are_used_for_each_item() {
    for items in [1, 2] {
        let token: Vec<f32> = (0..items).flat_map(|_| [7.0, 8.0]).collect();
        let nodes = [
            node("token", "Concat", &["token", "x"], &["a"], &[attribute_int("axis", 1)]),
            node("add", "Add", &["a", "offset"], &["y"], &[]),
        ];
        let weights = [
            floats("token", &[items, 1, 2], &token),
            floats("offset", &[items, 3, 2], &vec![1.0; items as usize * 6]),
        ];
        let graph = network(&[items, 2, 2], &[items, 3, 2], &nodes, &weights);
        let lowered = check(&graph, Items::FreeFrom(items as usize), "[N, 2, 2]", "[N, 3, 2]");
        let found = interpret(&lowered.graph, 2, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]).unwrap();
        assert_eq!(found[0], [8.0, 9.0, 2.0, 3.0, 4.0, 5.0, 8.0, 9.0, 6.0, 7.0, 8.0, 9.0]);
    }
    let graph = network(
        &[3, 2],
        &[3, 2],
        &[node("add", "Add", &["x", "offset"], &["y"], &[])],
        &[floats("offset", &[3, 2], &[1.0, 2.0, 1.0, 2.0, 1.0, 2.0])],
    );
    let lowered = check(&graph, Items::FreeFrom(3), "[N, 2]", "[N, 2]");
    assert_eq!(interpret(&lowered.graph, 1, &[1.0, 1.0]).unwrap()[0], [2.0, 3.0]);
    let graph = network(
        &[3, 2],
        &[3, 2],
        &[node("add", "Add", &["x", "offset"], &["y"], &[])],
        &[floats("offset", &[3, 2], &[1.0, 2.0, 1.0, 2.0, 9.0, 9.0])],
    );
    let said = self::lowered(&graph, None).unwrap_err();
    assert!(
        said.contains("3 items at a time") && said.contains("dynamic_axes"),
        "{said}"
    );
}

#[test]
fn what_does_not_generalise_runs_one_item_at_a_time() {
    let first = node("first", "Gather", &["x", "zero"], &["y"], &[]);
    let graph = network(&[1, 2, 3, 4], &[2, 3, 4], &[first], &[ints("zero", &[], &[0])]);
    check(&graph, Items::One, "[1, 2, 3, 4]", "[2, 3, 4]");
    let squeeze = node("squeeze", "Squeeze", &["x", "zero"], &["y"], &[]);
    let graph = network(&[1, 2, 3, 4], &[2, 3, 4], &[squeeze], &[ints("zero", &[1], &[0])]);
    check(&graph, Items::One, "[1, 2, 3, 4]", "[2, 3, 4]");
    // An image without a batch.
    let graph = network(
        &[3, 5, 4],
        &[3, 5, 4],
        &[node("relu", "Relu", &["x"], &["y"], &[])],
        &[],
    );
    check(&graph, Items::One, "[3, 5, 4]", "[3, 5, 4]");
}

#[test]
fn a_window_larger_than_the_map_is_the_map_where_sizes_are_rounded_up() {
    // As Hugging Face exports the last pooling of EfficientNet.
    let attributes = [
        attribute_ints("kernel_shape", &[2560, 2560]),
        attribute_ints("strides", &[2560, 2560]),
        attribute_int("ceil_mode", 1),
        attribute_int("count_include_pad", 1),
    ];
    let pool = node("pool", "AveragePool", &["x"], &["y"], &attributes);
    let graph = network(&[0, 1, 2, 2], &[0, 1, 1, 1], &[pool], &[]);
    let lowered = check(&graph, Items::Free, "[N, 1, 2, 2]", "[N, 1, 1, 1]");
    assert_eq!(interpret(&lowered.graph, 1, &[1.0, 2.0, 3.0, 6.0]).unwrap()[0], [3.0]);
}

#[test]
fn a_free_batch_stays_free_through_shape_arithmetic() {
    let nodes = [
        node("shape", "Shape", &["x"], &["s"], &[]),
        node("items", "Gather", &["s", "zero"], &["n"], &[]),
        node("list", "Unsqueeze", &["n", "axes"], &["l"], &[]),
        node("target", "Concat", &["l", "rest"], &["t"], &[attribute_int("axis", 0)]),
        node("reshape", "Reshape", &["x", "t"], &["a"], &[]),
        node("wide", "Mul", &["n", "four"], &["m"], &[]),
        node("narrow", "Div", &["m", "four"], &["k"], &[]),
        node("again", "Unsqueeze", &["k", "axes"], &["j"], &[]),
        node("whole", "Concat", &["j", "rest"], &["u"], &[attribute_int("axis", 0)]),
        node("last", "Reshape", &["a", "u"], &["y"], &[]),
    ];
    let weights = [
        ints("zero", &[], &[0]),
        ints("axes", &[1], &[0]),
        ints("rest", &[1], &[-1]),
        ints("four", &[], &[4]),
    ];
    let graph = network(&[0, 3, 4, 4], &[0, 48], &nodes, &weights);
    let lowered = check(&graph, Items::Free, "[N, 3, 4, 4]", "[N, 48]");
    assert_eq!(lowered.graph.nodes().len(), 1);
}

#[test]
fn free_heights_and_widths_are_bound_by_whoever_knows_them() {
    let graph = network(&[0, 3, 0, 0], &[], &[node("relu", "Relu", &["x"], &["y"], &[])], &[]);
    let said = lowered(&graph, None).unwrap_err();
    assert!(
        said.contains("axis 1 of an item") && said.contains("[3, 224, 224]"),
        "{said}"
    );
    let bound = lowered(&graph, Some(&[3, 8, 6])).unwrap().graph;
    assert_eq!(bound.shape(bound.input()).to_string(), "[N, 3, 8, 6]");
    let rows: [(&[usize], &str); 3] = [
        (&[1, 8, 6], "axis 0 of an item is 3"),
        (&[3, 8], "3 axes"),
        (&[3, 0, 6], "axes"),
    ];
    for (item, part) in rows {
        let said = lowered(&graph, Some(item)).unwrap_err();
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn a_model_says_what_it_is() {
    let graph = network(&[0, 3, 4, -1], &[0], &[node("relu", "Relu", &["x"], &["y"], &[])], &[]);
    let entry = |key: &str, value: &str| Message::new().text(1, key).text(2, value);
    let message = file(&graph.message())
        .text(2, "pytorch")
        .text(3, "2.9\n")
        .message(14, &entry("names", "{0: 'cat'}"))
        .message(14, &entry("huge", &"x".repeat(2 << 20)));
    let source = Source::from_bytes(message.0, None);
    let model = Model::read(&source).unwrap();
    let input = model.input().unwrap();
    assert_eq!(model.producer(), ("pytorch".to_owned(), "2.9\\n".to_owned()));
    assert_eq!(model.opset(), 17);
    assert_eq!(model.metadata(), [("names", "{0: 'cat'}")]);
    assert_eq!(model.outputs(), ["y"]);
    assert_eq!(input.element, Element::Float);
    let free = |name: &str| InputAxis::Free(name.to_owned());
    assert_eq!(
        input.axes,
        [free("batch"), InputAxis::Fixed(3), InputAxis::Fixed(4), free("")]
    );
}
