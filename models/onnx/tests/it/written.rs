//! Writes ONNX files field by field: good ones, and such as no exporter writes.

/// A message under construction.
#[derive(Clone, Default)]
pub(crate) struct Message(pub(crate) Vec<u8>);

impl Message {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    pub(crate) fn int(mut self, field: u64, number: i64) -> Self {
        self.varint(field << 3);
        self.varint(number.cast_unsigned());
        self
    }

    pub(crate) fn float(mut self, field: u64, number: f32) -> Self {
        self.varint(field << 3 | 5);
        self.0.extend(number.to_le_bytes());
        self
    }

    pub(crate) fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn text(self, field: u64, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    pub(crate) fn message(self, field: u64, message: &Message) -> Self {
        self.bytes(field, &message.0)
    }

    pub(crate) fn packed(self, field: u64, numbers: &[i64]) -> Self {
        let mut inner = Message::new();
        for number in numbers {
            inner.varint(number.cast_unsigned());
        }
        self.bytes(field, &inner.0)
    }

    /// A field that announces more than there is.
    pub(crate) fn announced(mut self, field: u64, length: u64) -> Self {
        self.varint(field << 3 | 2);
        self.varint(length);
        self
    }

    /// A key of any kind.
    pub(crate) fn key(mut self, field: u64, kind: u64) -> Self {
        self.varint(field << 3 | kind);
        self
    }
}

/// Numbers of float32 as bytes.
pub(crate) fn floats(name: &str, dims: &[i64], numbers: &[f32]) -> Message {
    let raw: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    Message::new().packed(1, dims).int(2, 1).text(8, name).bytes(9, &raw)
}

/// Whole numbers of int64 as bytes.
pub(crate) fn ints(name: &str, dims: &[i64], numbers: &[i64]) -> Message {
    let raw: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    Message::new().packed(1, dims).int(2, 7).text(8, name).bytes(9, &raw)
}

pub(crate) fn node(name: &str, operator: &str, inputs: &[&str], outputs: &[&str], attributes: &[Message]) -> Message {
    let mut node = Message::new();
    for input in inputs {
        node = node.text(1, input);
    }
    for output in outputs {
        node = node.text(2, output);
    }
    node = node.text(3, name).text(4, operator);
    for attribute in attributes {
        node = node.message(5, attribute);
    }
    node
}

pub(crate) fn attribute_int(name: &str, number: i64) -> Message {
    Message::new().text(1, name).int(3, number).int(20, 2)
}

pub(crate) fn attribute_ints(name: &str, numbers: &[i64]) -> Message {
    Message::new().text(1, name).packed(8, numbers).int(20, 7)
}

pub(crate) fn attribute_graph(name: &str, graph: &Message) -> Message {
    Message::new().text(1, name).message(6, graph).int(20, 5)
}

pub(crate) fn attribute_tensor(name: &str, tensor: &Message) -> Message {
    Message::new().text(1, name).message(5, tensor).int(20, 4)
}

/// A value of float32; lengths of 0 are free.
pub(crate) fn value(name: &str, dims: &[i64]) -> Message {
    let mut shape = Message::new();
    for dim in dims {
        let length = match dim {
            0 => Message::new().text(2, "batch"),
            length => Message::new().int(1, *length),
        };
        shape = shape.message(1, &length);
    }
    let tensor = Message::new().int(1, 1).message(2, &shape);
    Message::new()
        .text(1, name)
        .message(2, &Message::new().message(1, &tensor))
}

/// What a graph has.
#[derive(Clone, Default)]
pub(crate) struct Graph {
    pub(crate) nodes: Vec<Message>,
    pub(crate) weights: Vec<Message>,
    pub(crate) inputs: Vec<Message>,
    pub(crate) outputs: Vec<Message>,
}

impl Graph {
    /// From `x [N, 3, 4, 4]` to `y`.
    pub(crate) fn of(nodes: &[Message], weights: &[Message]) -> Self {
        Self {
            nodes: nodes.to_vec(),
            weights: weights.to_vec(),
            inputs: vec![value("x", &[0, 3, 4, 4])],
            outputs: vec![Message::new().text(1, "y")],
        }
    }

    pub(crate) fn message(&self) -> Message {
        let mut graph = Message::new().text(2, "graph");
        for node in &self.nodes {
            graph = graph.message(1, node);
        }
        for weight in &self.weights {
            graph = graph.message(5, weight);
        }
        for input in &self.inputs {
            graph = graph.message(11, input);
        }
        for output in &self.outputs {
            graph = graph.message(12, output);
        }
        graph
    }

    pub(crate) fn file(&self) -> Vec<u8> {
        file(&self.message()).0
    }
}

/// A file of opset 17.
pub(crate) fn file(graph: &Message) -> Message {
    let opset = Message::new().text(1, "").int(2, 17);
    Message::new().int(1, 8).message(8, &opset).message(7, graph)
}
