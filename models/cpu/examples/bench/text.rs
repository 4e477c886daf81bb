//! A network as lines of text beside a file of floats, as `bench.py` writes it.

use std::collections::HashMap;

use millrace_graph::{
    Activation, Adaptive, Binary, Builder, Convolution, Graph, Linear, Op, Operand, Pool, PoolKind, Reduction, Shape,
    Unary, Window,
};

use super::Outcome;

/// One line: an operator and its settings.
struct Line<'a>(HashMap<&'a str, &'a str>);

impl<'a> Line<'a> {
    fn text(&self, key: &str) -> Outcome<&'a str> {
        self.0
            .get(key)
            .copied()
            .ok_or_else(|| format!("`{key}` is missing").into())
    }

    fn numbers(&self, key: &str) -> Outcome<Vec<usize>> {
        let text = self.text(key)?;
        text.split(',')
            .filter(|number| !number.is_empty())
            .map(|number| Ok(number.parse()?))
            .collect()
    }

    fn pair(&self, key: &str) -> Outcome<[usize; 2]> {
        self.numbers(key)?
            .try_into()
            .map_err(|_| format!("`{key}` is no pair").into())
    }

    fn window(&self) -> Outcome<Window> {
        Ok(Window {
            kernel: self.pair("k")?,
            stride: self.pair("s")?,
            dilation: self.pair("d")?,
            before: self.pair("before")?,
            after: self.pair("after")?,
        })
    }

    fn activation(&self) -> Outcome<Option<Activation>> {
        self.0.get("act").map(|text| activation(text)).transpose()
    }
}

/// Reads a network.
pub(super) fn read(file: &str) -> Outcome<Graph> {
    let text = std::fs::read_to_string(file)?;
    let bytes = std::fs::read(format!("{file}.bin"))?;
    let floats: Vec<f32> = bytes
        .as_chunks()
        .0
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect();
    let mut builder: Option<Builder> = None;
    let mut names: HashMap<String, Operand> = HashMap::new();
    for (number, line) in text.lines().enumerate() {
        let mut words = line.split_whitespace();
        let kind = words.next().ok_or("an empty line")?;
        let line = Line(words.filter_map(|word| word.split_once('=')).collect());
        if kind == "input" {
            let made = Builder::new("x", Shape::batch_of(&line.numbers("shape")?));
            names.insert(line.text("name")?.to_owned(), Operand::Value(made.input()));
            builder = Some(made);
            continue;
        }
        let builder = builder.as_mut().ok_or("the input comes first")?;
        let step = lower(builder, &mut names, &floats, kind, &line);
        step.map_err(|error| format!("line {}: {error}", number + 1))?;
    }
    Ok(builder.ok_or("no input")?.finish()?)
}

fn lower(
    builder: &mut Builder,
    names: &mut HashMap<String, Operand>,
    floats: &[f32],
    kind: &str,
    line: &Line<'_>,
) -> Outcome<()> {
    if kind == "const" {
        let shape = line.numbers("shape")?;
        let at: usize = line.text("at")?.parse()?;
        let data = floats
            .get(at..at + shape.iter().product::<usize>())
            .ok_or("beyond the file")?;
        let id = builder.constant(line.text("name")?, &shape, data.to_vec())?;
        names.insert(line.text("name")?.to_owned(), Operand::Constant(id));
        return Ok(());
    }
    if kind == "output" {
        if let Some(Operand::Value(value)) = names.get(line.text("name")?) {
            builder.output("y", *value);
        }
        return Ok(());
    }
    let constant = |key: &str| match line.0.get(key).and_then(|name| names.get(*name)) {
        Some(Operand::Constant(id)) => Some(*id),
        _ => None,
    };
    let operands: Option<Vec<Operand>> = line
        .text("in")?
        .split(',')
        .map(|name| names.get(name).copied())
        .collect();
    let operands = operands.ok_or("an input is not there")?;
    let first = operands.first().copied().ok_or("no input")?;
    let op = match kind {
        "conv" => Op::Convolution(Convolution {
            weight: constant("w").ok_or("no weight")?,
            bias: constant("b"),
            window: line.window()?,
            groups: line.text("g")?.parse()?,
            residual: operands.len() > 1,
            activation: line.activation()?,
        }),
        "linear" => Op::Linear(Linear {
            weight: constant("w").ok_or("no weight")?,
            bias: constant("b"),
            residual: operands.len() > 1,
            activation: line.activation()?,
        }),
        "maxpool" => Op::Pool(Pool {
            kind: PoolKind::Max,
            window: line.window()?,
        }),
        "avgpool" => Op::Pool(Pool {
            kind: PoolKind::Average,
            window: line.window()?,
        }),
        "globalavg" => Op::AdaptiveAverage(Adaptive { out: [1, 1] }),
        "mean" => Op::Reduce {
            reduction: Reduction::Mean,
            axes: line.numbers("axes")?,
            keep: line.text("keep")? == "1",
        },
        "add" => Op::Binary(Binary::Add),
        "mul" => Op::Binary(Binary::Mul),
        "concat" => Op::Concat {
            axis: line.text("axis")?.parse()?,
        },
        "reshape" => Op::Reshape(Shape::batch_of(&line.numbers("shape")?)),
        "flatten" => {
            let elements = builder.shape(first).elements().ok_or("too large")?;
            Op::Reshape(Shape::batch_of(&[elements]))
        }
        "act" => Op::Unary(Unary::Activation(line.activation()?.ok_or("no activation")?)),
        other => return Err(format!("no operator `{other}`").into()),
    };
    let value = builder.node(line.text("out")?, op, &operands)?;
    names.insert(line.text("out")?.to_owned(), Operand::Value(value));
    Ok(())
}

fn activation(text: &str) -> Outcome<Activation> {
    let mut words = text.split(':');
    let name = words.next().unwrap_or_default();
    let numbers: Result<Vec<f32>, _> = words.map(str::parse).collect();
    Ok(match (name, numbers?.as_slice()) {
        ("relu", []) => Activation::Relu,
        ("clip", [low, high]) => Activation::Clip { low: *low, high: *high },
        ("leaky", [slope]) => Activation::LeakyRelu { slope: *slope },
        ("sigmoid", []) => Activation::Sigmoid,
        ("silu", []) => Activation::Silu,
        ("hardsigmoid", [alpha, beta]) => Activation::HardSigmoid {
            alpha: *alpha,
            beta: *beta,
        },
        ("hardswish", []) => Activation::HardSwish,
        ("gelu", []) => Activation::Gelu,
        ("tanh", []) => Activation::Tanh,
        ("elu", [alpha]) => Activation::Elu { alpha: *alpha },
        _ => return Err(format!("no activation `{text}`").into()),
    })
}
