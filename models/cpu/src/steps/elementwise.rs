//! Functions of one or two numbers, over maps and over row-major values.

use millrace_graph::Activation;

use crate::kernels::{Arithmetic, Buffer, Function, Kernels, Operand, Row, Source, Step as RowStep};
use crate::layout::Map;
use crate::step::{Place, Scope, Share, Step};

/// What is computed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Computation {
    /// Of the first operand alone.
    Activation(Activation),
    /// Of both.
    Binary(Arithmetic),
    /// The first times the second plus the third.
    MulAdd,
}

/// What goes into it.
pub(crate) enum Side {
    /// A value of the item.
    Value(Place),
    /// Numbers that are known.
    Numbers(Buffer),
}

impl Side {
    fn source<'a>(&'a self, scope: &Scope<'a>, item: usize) -> Source<'a> {
        match self {
            Self::Value(place) => scope.source(*place, item),
            Self::Numbers(buffer) => buffer.floats().into(),
        }
    }
}

/// How a map's operand lies.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Spread {
    /// A number for each number of the map.
    Map(Map),
    /// A number for each channel, filled up to whole blocks.
    Channels,
    /// One number.
    One,
}

/// Over a map in blocks.
pub(crate) struct MapStep {
    pub(crate) kernels: &'static Kernels,
    /// One to three, as the computation takes.
    pub(crate) operands: Vec<(Side, Spread)>,
    pub(crate) computation: Computation,
    pub(crate) output: Place,
    pub(crate) to: Map,
}

impl MapStep {
    /// Whether a block is one run of numbers in all maps.
    fn is_dense(&self) -> bool {
        let maps = self.operands.iter().filter_map(|(_, spread)| match spread {
            Spread::Map(map) => Some(map),
            Spread::Channels | Spread::One => None,
        });
        maps.chain([&self.to])
            .all(|map| map.row_stride() == map.width * map.lanes)
    }
}

impl Step for MapStep {
    fn run(&self, scope: &Scope<'_>, share: Share) {
        let (rows, length) = match self.is_dense() {
            true => (1, self.to.pixels() * self.to.lanes),
            false => (self.to.height, self.to.width * self.to.lanes),
        };
        for item in scope.items() {
            let output = scope.at(self.output, item);
            let sources = self
                .operands
                .iter()
                .map(|(side, spread)| (side.source(scope, item), *spread));
            let sources: Vec<(Source<'_>, Spread)> = sources.collect();
            for block in share.range(self.to.blocks()) {
                for row in 0..rows {
                    let mut operands = sources.iter().map(|(source, spread)| match spread {
                        Spread::Map(map) => Operand {
                            floats: source.after(map.origin() + block * map.block_stride() + row * map.row_stride()),
                            step: RowStep::Each,
                        },
                        Spread::Channels => Operand {
                            floats: source.after(block * self.to.lanes),
                            step: RowStep::Lanes,
                        },
                        Spread::One => Operand {
                            floats: *source,
                            step: RowStep::One,
                        },
                    });
                    let to = self.to.origin() + block * self.to.block_stride() + row * self.to.row_stride();
                    if let Some((input, function)) = call(self.computation, &mut operands) {
                        self.kernels.row(&Row {
                            input,
                            function,
                            output: output.after(to),
                            length,
                        });
                    }
                }
            }
        }
    }
}

/// Over row-major values, broadcast.
pub(crate) struct RowsStep {
    pub(crate) kernels: &'static Kernels,
    /// One to three, as the computation takes.
    pub(crate) operands: Vec<Side>,
    pub(crate) computation: Computation,
    pub(crate) output: Place,
    /// Axes, outermost first: the length, and the step in each operand. The output is row-major.
    axes: Vec<(usize, Vec<usize>)>,
}

impl RowsStep {
    /// Joins axes that can be walked as one.
    pub(crate) fn new(
        kernels: &'static Kernels,
        operands: Vec<Side>,
        computation: Computation,
        output: Place,
        axes: &[(usize, Vec<usize>)],
    ) -> Self {
        let mut joined: Vec<(usize, Vec<usize>)> = Vec::new();
        for (length, steps) in axes.iter().filter(|(length, _)| *length != 1) {
            match joined.last_mut() {
                Some((outer, outer_steps)) if outer_steps.iter().zip(steps).all(|(a, b)| *a == length * b) => {
                    *outer *= length;
                    outer_steps.clone_from(steps);
                }
                _ => joined.push((*length, steps.clone())),
            }
        }
        // The run along the last axis needs steps of 0 or 1.
        if joined
            .last()
            .is_none_or(|(_, steps)| steps.iter().any(|step| *step > 1))
        {
            joined.push((1, vec![0; operands.len()]));
        }
        Self {
            kernels,
            operands,
            computation,
            output,
            axes: joined,
        }
    }
}

impl Step for RowsStep {
    fn run(&self, scope: &Scope<'_>, share: Share) {
        let Some(((length, steps), outer)) = self.axes.split_last() else {
            return;
        };
        let runs: usize = outer.iter().map(|(length, _)| length).product();
        // A lone run is cut at cache lines.
        let (runs, part) = match runs {
            1 => {
                let lines = share.range(length.div_ceil(Buffer::ALIGNMENT));
                (
                    0..1,
                    lines.start * Buffer::ALIGNMENT..(lines.end * Buffer::ALIGNMENT).min(*length),
                )
            }
            _ => (share.range(runs), 0..*length),
        };
        for item in scope.items() {
            let output = scope.at(self.output, item);
            let sources: Vec<Source<'_>> = self.operands.iter().map(|side| side.source(scope, item)).collect();
            for run in runs.clone() {
                let mut operands = sources.iter().enumerate().map(|(index, source)| {
                    let step = steps.get(index).copied().unwrap_or(0);
                    let start = offset(outer, index, run) + part.start * step;
                    let step = if step == 0 { RowStep::One } else { RowStep::Each };
                    Operand {
                        floats: source.after(start),
                        step,
                    }
                });
                if let Some((input, function)) = call(self.computation, &mut operands) {
                    let output = output.after(run * length + part.start);
                    self.kernels.row(&Row {
                        input,
                        function,
                        output,
                        length: part.len(),
                    });
                }
            }
        }
    }
}

/// Where an operand's run begins.
fn offset(outer: &[(usize, Vec<usize>)], operand: usize, run: usize) -> usize {
    let mut rest = run;
    let mut offset = 0;
    for (length, steps) in outer.iter().rev() {
        offset += rest % length * steps.get(operand).copied().unwrap_or(0);
        rest /= length;
    }
    offset
}

/// The first operand and what is done with it; nothing where one is missing.
fn call<'a>(
    computation: Computation,
    operands: &mut impl Iterator<Item = Operand<'a>>,
) -> Option<(Operand<'a>, Function<'a>)> {
    let first = operands.next()?;
    let function = match computation {
        Computation::Activation(activation) => Function::Activation(activation),
        Computation::Binary(arithmetic) => Function::Binary(arithmetic, operands.next()?),
        Computation::MulAdd => Function::MulAdd(operands.next()?, operands.next()?),
    };
    Some((first, function))
}
