//! A graph in words: one line a node, in the order in which they run, so that two texts can be compared line by line.

mod op;

use std::fmt;

use crate::graph::{Constant, Graph, Operand};

/// A name from a file, as it can be printed: without control characters, and not longer than a line bears.
pub(crate) fn name(name: &str) -> String {
    const MOST: usize = 80;
    let mut printed = String::new();
    for (index, character) in name.chars().enumerate() {
        if index == MOST {
            printed.push('…');
            break;
        }
        match character {
            '`' | '\\' => printed.extend(['\\', character]),
            ' '..='~' => printed.push(character),
            _ if character.is_alphanumeric() => printed.push(character),
            _ => printed.extend(character.escape_default()),
        }
    }
    printed
}

/// A name in a line of the text: in quotation marks where it could be taken for something else.
fn word(text: &str) -> String {
    let name = name(text);
    let plain = |character: char| character.is_ascii_alphanumeric() || "._-/:".contains(character);
    match !name.is_empty() && name.chars().all(plain) {
        true => name,
        false => format!("`{name}`"),
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let input = self.input();
        let name = self.values().get(input.index()).map_or("", |value| &value.name);
        writeln!(f, "%{} = input {} : {}", input.index(), word(name), self.shape(input))?;
        for node in self.nodes() {
            write!(f, "%{} = {}(", node.output.index(), node.op.name())?;
            // What is added behind the product stands behind the parenthesis.
            let (inputs, added) = match (node.op.has_residual(), node.inputs.as_slice()) {
                (true, [first, added @ ..]) => (std::slice::from_ref(first), added),
                (_, inputs) => (inputs, [].as_slice()),
            };
            let mut words: Vec<String> = inputs.iter().map(|input| self.operand(*input)).collect();
            words.extend(op::arguments(self, &node.op));
            write!(f, "{})", words.join(", "))?;
            for added in added {
                write!(f, " + {}", self.operand(*added))?;
            }
            if let Some(activation) = node.op.activation() {
                write!(f, " |> {}", op::activation(&activation))?;
            }
            writeln!(f, " : {}", self.shape(node.output))?;
        }
        for output in self.outputs() {
            writeln!(f, "output {} = %{}", word(&output.name), output.value.index())?;
        }
        Ok(())
    }
}

impl Graph {
    fn operand(&self, operand: Operand) -> String {
        match operand {
            Operand::Value(id) => format!("%{}", id.index()),
            Operand::Constant(id) => self.constant(id).map_or_else(String::new, constant),
        }
    }
}

/// A number, or the name and the shape of several.
fn constant(constant: &Constant) -> String {
    match constant.data.as_ref() {
        [number] => op::number(*number),
        _ => format!("{} {:?}", word(&constant.name), constant.shape),
    }
}

#[cfg(test)]
mod tests {
    use super::{name, word};
    use crate::graph::Operand;
    use crate::op::{Activation, Convolution, Op, PoolKind, Window};
    use crate::testing::{constant, conv, pool, relu, square, with};

    #[test]
    fn a_graph_in_words() {
        let (mut builder, operands) = with(&["N 3 8 8"]);
        let weight = builder.constant("stem.weight", &[4, 3, 3, 3], vec![1.0; 108]).unwrap();
        let bias = Some(constant(&mut builder, &[4]));
        let stem = Op::Convolution(Convolution {
            bias,
            ..conv(weight, square(3, 2, 1))
        });
        let stem = Operand::Value(builder.node("stem", stem, &operands).unwrap());
        let weight = constant(&mut builder, &[4, 1, 1, 3]);
        let clip = Activation::Clip { low: 0.0, high: 6.0 };
        let window = Window {
            kernel: [1, 3],
            before: [0, 1],
            after: [0, 1],
            ..square(1, 1, 0)
        };
        let body = Convolution {
            groups: 4,
            residual: true,
            activation: Some(clip),
            ..conv(weight, window)
        };
        let body = Operand::Value(builder.node("body", Op::Convolution(body), &[stem, stem]).unwrap());
        let half = builder.constant("half", &[1, 1], vec![0.5]).unwrap();
        let scaled = builder
            .node(
                "scaled",
                Op::Binary(crate::Binary::Mul),
                &[body, Operand::Constant(half)],
            )
            .unwrap();
        let pooled = pool(
            PoolKind::Max,
            Window {
                after: [1, 1],
                ..square(2, 2, 0)
            },
        );
        let pooled = builder.node("pooled", pooled, &[Operand::Value(scaled)]).unwrap();
        let last = builder.node("last", relu(), &[Operand::Value(pooled)]).unwrap();
        builder.output("a class\n", last);
        let expected = "\
%0 = input x : [N, 3, 8, 8]
%1 = conv(%0, w: stem.weight [4, 3, 3, 3], bias, stride 2, pad 1) : [N, 4, 4, 4]
%2 = conv(%1, w: c [4, 1, 1, 3], groups 4, pad 0x1) + %1 |> clip 0 6 : [N, 4, 4, 4]
%3 = mul(%2, 0.5) : [N, 4, 4, 4]
%4 = max-pool(%3, kernel 2, stride 2, pad 0..1) : [N, 4, 2, 2]
%5 = relu(%4) : [N, 4, 2, 2]
output `a class\\n` = %5
";
        assert_eq!(builder.finish().unwrap().to_string(), expected);
    }

    #[test]
    fn names_from_files() {
        assert_eq!(word("layer1.0.conv1.weight"), "layer1.0.conv1.weight");
        assert_eq!(word("onnx::Conv_12"), "onnx::Conv_12");
        assert_eq!(word(""), "``");
        assert_eq!(word("a, b"), "`a, b`");
        assert_eq!(name("`\u{1b}[31m\u{202e}é"), "\\`\\u{1b}[31m\\u{202e}é");
        assert_eq!(name(&"x".repeat(1 << 20)).chars().count(), 81);
    }
}
