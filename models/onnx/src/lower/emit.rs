//! Adds nodes to the graph that is made, and constants, each only once. Knows nothing of files.

use std::collections::HashMap;
use std::sync::Arc;

use millrace_graph::{Axis, Binary, Builder, ConstantId, Graph, Op, Operand, Shape, Unary, ValueId};

use crate::known::{self, Budget, Data, Kind, Tensor};
use crate::limits;
use crate::lower::value::Value;
use crate::problem::{Refusal, advise, refuse};

/// What becomes of the batch axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Batch {
    /// It is free in the file.
    Free,
    /// The file has so many items throughout; shapes that contain them are read as if they were free.
    Reread(usize),
    /// Every axis stays as the file says.
    Fixed,
}

/// A shape, and where the items are in it.
pub(crate) struct Placed {
    pub(crate) shape: Shape,
    /// Numbers from one to the next of the outermost axes that are not the items'.
    pub(crate) outside: usize,
}

/// What to do where items of a batch would mix.
pub(crate) const MIXES: &str = "each item must be computed by itself; export with a batch of 1";

/// Makes the graph.
pub(crate) struct Emitter {
    builder: Builder,
    pub(crate) batch: Batch,
    pub(crate) budget: Budget,
    /// Steps that computing with constants may still take.
    work: u64,
    /// The node that is lowered, as messages name it.
    pub(crate) node: String,
    /// By where the numbers are, which stay there as long as the builder does.
    constants: HashMap<(usize, Vec<usize>), ConstantId>,
}

impl Emitter {
    pub(crate) fn new(builder: Builder, batch: Batch, budget: Budget) -> Self {
        Self {
            builder,
            batch,
            budget,
            node: String::new(),
            work: limits::FOLDED_WORK,
            constants: HashMap::new(),
        }
    }

    pub(crate) fn input(&self) -> ValueId {
        self.builder.input()
    }

    /// Adds a node, or a constant where all that it reads is known.
    pub(crate) fn emit(&mut self, op: Op, inputs: &[Operand]) -> Result<Operand, Refusal> {
        if let Some(id) = self.builder.fold(&self.node, &op, inputs, &mut self.work)? {
            return Ok(Operand::Constant(id));
        }
        Ok(Operand::Value(self.builder.node(&self.node, op, inputs)?))
    }

    /// Adds a node that makes numbers of a kind.
    pub(crate) fn value(&mut self, op: Op, inputs: &[Operand], kind: Kind) -> Result<Value, Refusal> {
        let result = self.emit(op, inputs)?;
        self.given(result, kind)
    }

    /// What a node reads where it reads a value.
    pub(crate) fn operand(&mut self, value: &Value) -> Result<Operand, Refusal> {
        match value {
            Value::Run(run) => Ok(Operand::Value(run.id)),
            Value::Known(tensor) => Ok(Operand::Constant(self.constant(tensor)?)),
            Value::Empty(shape) => Err(refuse(format!("an input of shape {shape} has no numbers"))),
            other => Err(no_tensor(other)),
        }
    }

    /// Known numbers as a constant of the graph.
    pub(crate) fn constant(&mut self, tensor: &Tensor) -> Result<ConstantId, Refusal> {
        let floats = tensor.data.floats().ok_or_else(|| {
            advise(
                "the number of items in a batch is used as a number",
                "export with a batch of 1",
            )
        })?;
        if tensor.data.kind() != Kind::Float {
            self.budget.spend(&tensor.dims)?;
        }
        let key = (floats.as_ptr().addr(), tensor.dims.clone());
        if let Some(id) = self.constants.get(&key) {
            return Ok(*id);
        }
        let id = self.builder.constant(&self.node, &tensor.dims, Arc::clone(&floats))?;
        self.constants.insert(key, id);
        Ok(id)
    }

    /// A vector as a constant of the graph.
    pub(crate) fn vector(&mut self, numbers: Vec<f32>) -> Result<ConstantId, Refusal> {
        self.constant(&Tensor::floats(vec![numbers.len()], numbers))
    }

    /// A number that is broadcast against anything.
    pub(crate) fn number(&mut self, number: f32) -> Result<Operand, Refusal> {
        Ok(Operand::Constant(
            self.constant(&Tensor::floats(Vec::new(), vec![number]))?,
        ))
    }

    pub(crate) fn shape(&self, value: &Value) -> Result<Shape, Refusal> {
        match value {
            Value::Run(run) => Ok(self.builder.shape(Operand::Value(run.id))),
            Value::Known(tensor) => Ok(Shape::fixed(&tensor.dims)),
            Value::Empty(shape) => Ok(shape.clone()),
            other => Err(no_tensor(other)),
        }
    }

    /// A value's shape, and how many numbers are outside of the items.
    pub(crate) fn placed(&self, value: &Value) -> Result<Placed, Refusal> {
        let shape = self.shape(value)?;
        let outer = match value {
            Value::Run(run) => self.builder.value(run.id).map_or(1, millrace_graph::Value::outer),
            _ => 1,
        };
        let position = shape.0.iter().position(|axis| axis.batched).unwrap_or(0);
        let before = shape.0.iter().take(position);
        let outside = before.fold(outer, |product, axis| product.saturating_mul(axis.size));
        Ok(Placed { shape, outside })
    }

    /// Whether an output has its items one behind the other.
    pub(crate) fn has_items_first(&self, id: ValueId) -> bool {
        let shape = self.builder.shape(Operand::Value(id));
        let is_major = self.builder.value(id).is_some_and(millrace_graph::Value::is_item_major);
        self.batch == Batch::Fixed || shape.is_batched() && is_major
    }

    pub(crate) fn shape_of(&self, operand: Operand) -> Shape {
        self.builder.shape(operand)
    }

    pub(crate) fn unary(&mut self, unary: Unary, operand: Operand) -> Result<Operand, Refusal> {
        self.emit(Op::Unary(unary), &[operand])
    }

    pub(crate) fn binary(&mut self, binary: Binary, a: Operand, b: Operand) -> Result<Operand, Refusal> {
        let (a, b) = self.unified(a, b)?;
        self.emit(Op::Binary(binary), &[a, b])
    }

    /// The same numbers under another shape; nothing is added where it is the same.
    pub(crate) fn reshape(&mut self, operand: Operand, shape: Shape) -> Result<Operand, Refusal> {
        if self.shape_of(operand) == shape {
            return Ok(operand);
        }
        self.emit(Op::Reshape(shape), &[operand])
    }

    /// The axes in another order; nothing is added where it is the same.
    pub(crate) fn transpose(&mut self, operand: Operand, order: &[usize]) -> Result<Operand, Refusal> {
        if order.iter().copied().eq(0..order.len()) && order.len() == self.shape_of(operand).rank() {
            return Ok(operand);
        }
        self.emit(Op::Transpose(order.to_vec()), &[operand])
    }

    /// An operand as the value of a file.
    pub(crate) fn given(&mut self, operand: Operand, kind: Kind) -> Result<Value, Refusal> {
        let id = match operand {
            Operand::Value(id) => return Ok(Value::of_kind(id, kind)),
            Operand::Constant(id) => id,
        };
        let constant = self
            .builder
            .get(id)
            .ok_or_else(|| refuse("a constant is of another graph"))?;
        let numbers = Tensor {
            dims: constant.shape.clone(),
            data: Data::F32(Arc::clone(&constant.data)),
        };
        self.constants
            .insert((constant.data.as_ptr().addr(), numbers.dims.clone()), id);
        Ok(Value::Known(known::cast(&numbers, kind, &mut self.budget)?))
    }

    /// An operand as a value that is computed at run time, even where it is known.
    pub(crate) fn at_run_time(&mut self, operand: Operand) -> Result<ValueId, Refusal> {
        match operand {
            Operand::Value(id) => Ok(id),
            Operand::Constant(_) => {
                let shape = self.shape_of(operand);
                Ok(self.builder.node(&self.node, Op::Reshape(shape), &[operand])?)
            }
        }
    }

    /// Operands that fit each other: where the file has a fixed number of items, numbers that were made for so many are
    /// used for each.
    fn unified(&mut self, a: Operand, b: Operand) -> Result<(Operand, Operand), Refusal> {
        let Batch::Reread(items) = self.batch else {
            return Ok((a, b));
        };
        if items == 1 {
            return Ok((a, b));
        }
        let (left, right) = (self.shape_of(a), self.shape_of(b));
        match (left.is_batched(), right.is_batched()) {
            (true, false) => Ok((a, self.for_each_item(b, &left, items)?)),
            (false, true) => Ok((self.for_each_item(a, &right, items)?, b)),
            _ => Ok((a, b)),
        }
    }

    /// The numbers for one item of those that a file has for `items`, if they are the same for all.
    pub(crate) fn for_each_item(&mut self, operand: Operand, like: &Shape, items: usize) -> Result<Operand, Refusal> {
        let own = self.shape_of(operand);
        let lead = like.rank().saturating_sub(own.rank());
        let batched = like
            .0
            .iter()
            .position(|axis| axis.batched)
            .and_then(|axis| axis.checked_sub(lead));
        let Some(axis) = batched else {
            return Ok(operand);
        };
        let per_item = like.0.get(axis.saturating_add(lead)).map_or(1, |axis| axis.size);
        match own.0.get(axis) {
            Some(own) if own.size > 1 && own.size == items.saturating_mul(per_item) => {}
            _ => return Ok(operand),
        }
        let Operand::Constant(id) = operand else {
            return Err(advise(
                "what it computes for the batch of the file is no function of one item",
                MIXES,
            ));
        };
        let dims: Vec<usize> = own.0.iter().map(|axis| axis.size).collect();
        // The numbers themselves stay with the builder, and are asked for there.
        let data = self.builder.get(id).map(|constant| Arc::clone(&constant.data));
        let Some(data) = data else {
            return Ok(operand);
        };
        let tensor = Tensor {
            dims,
            data: Data::F32(data),
        };
        let first = one_item(&tensor, axis, per_item, &mut self.budget)?;
        Ok(Operand::Constant(self.constant(&first)?))
    }

    pub(crate) fn output(&mut self, name: &str, id: ValueId) {
        self.builder.output(name, id);
    }

    pub(crate) fn finish(self) -> Result<Graph, Refusal> {
        Ok(self.builder.finish()?)
    }
}

fn no_tensor(value: &Value) -> Refusal {
    refuse(match value {
        Value::Rows(_) => "indices over the items of a batch are not used as indices",
        Value::Sequence(_) => "an input is a sequence of tensors",
        _ => "an input could not be computed",
    })
}

/// The first `length` along an axis, if all that follow are the same.
fn one_item(tensor: &Tensor, axis: usize, length: usize, budget: &mut Budget) -> Result<Tensor, Refusal> {
    let whole: Vec<(usize, isize, usize)> = tensor.dims.iter().map(|dim| (0, 1, *dim)).collect();
    let mut axes = whole.clone();
    if let Some(part) = axes.get_mut(axis) {
        part.2 = length;
    }
    let first = known::slice(tensor, &axes, budget)?;
    let times = tensor
        .dims
        .get(axis)
        .and_then(|dim| dim.checked_div(length))
        .unwrap_or(1);
    let all = known::concat(&vec![first.clone(); times], axis, budget)?;
    match (&all.data, &tensor.data) {
        (Data::F32(a), Data::F32(b)) if a == b => Ok(first),
        _ => Err(advise("numbers differ between the items of the file's batch", MIXES)),
    }
}

/// How many numbers axes have together, as one axis.
pub(crate) fn product(axes: &[Axis]) -> Result<Axis, Refusal> {
    let size = axes
        .iter()
        .try_fold(1_usize, |product, axis| product.checked_mul(axis.size));
    Ok(Axis {
        size: size.ok_or_else(|| refuse("a shape has more numbers than can be counted"))?,
        batched: axes.iter().any(|axis| axis.batched),
    })
}
