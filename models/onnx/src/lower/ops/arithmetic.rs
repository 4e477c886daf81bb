//! Operators that compute number by number and broadcast: arithmetic, comparisons, logic.

use millrace_graph::{Binary, Op, Operand, Unary};

use crate::known::{self, BinaryKind, Comparison, Kind, Tensor, UnaryKind};
use crate::lower::call::Call;
use crate::lower::emit::Emitter;
use crate::lower::ops::{Answer, one};
use crate::lower::value::Value;
use crate::problem::{Refusal, refuse};

/// An operator of one input: what it is in a graph, at load, and what it yields if that is not what it takes.
struct One {
    graph: Option<Unary>,
    load: Option<UnaryKind>,
    yields: Option<Kind>,
}

fn one_of(operator: &str) -> Option<One> {
    let both = |graph, load| One {
        graph: Some(graph),
        load: Some(load),
        yields: None,
    };
    let graph = |graph| One {
        graph: Some(graph),
        load: None,
        yields: None,
    };
    Some(match operator {
        "Abs" => both(Unary::Abs, UnaryKind::Abs),
        "Neg" => both(Unary::Neg, UnaryKind::Neg),
        "Exp" => both(Unary::Exp, UnaryKind::Exp),
        "Log" => both(Unary::Log, UnaryKind::Log),
        "Sqrt" => both(Unary::Sqrt, UnaryKind::Sqrt),
        "Reciprocal" => both(Unary::Reciprocal, UnaryKind::Reciprocal),
        "Erf" => graph(Unary::Erf),
        "Floor" => both(Unary::Floor, UnaryKind::Floor),
        "Ceil" => both(Unary::Ceil, UnaryKind::Ceil),
        "Round" => both(Unary::Round, UnaryKind::Round),
        "Sign" => both(Unary::Sign, UnaryKind::Sign),
        "Sin" => both(Unary::Sin, UnaryKind::Sin),
        "Cos" => both(Unary::Cos, UnaryKind::Cos),
        "Not" => One {
            yields: Some(Kind::Bool),
            ..both(Unary::Not, UnaryKind::Not)
        },
        "IsNaN" => One {
            graph: None,
            load: Some(UnaryKind::IsNan),
            yields: Some(Kind::Bool),
        },
        _ => return None,
    })
}

/// Whether the operator is one of [`unary`]'s.
pub(crate) fn is_unary(operator: &str) -> bool {
    one_of(operator).is_some()
}

pub(crate) fn unary(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let x = call.input(0)?;
    let of = one_of(call.operator).ok_or_else(|| refuse("it is not known"))?;
    if let (Value::Known(tensor), Some(kind)) = (x, of.load)
        && let Ok(tensor) = known::unary(kind, tensor, &mut em.budget)
    {
        return one(Value::Known(tensor));
    }
    let operand = em.operand(x)?;
    let kind = of.yields.unwrap_or(x.kind());
    let result = match of.graph {
        Some(unary) => em.unary(unary, operand)?,
        None => {
            // Only what is no number differs from itself.
            let same = em.binary(Binary::Equal, operand, operand)?;
            em.unary(Unary::Not, same)?
        }
    };
    one(em.given(result, kind)?)
}

/// `Tan`, `Sinh` and `Cosh`, of simpler ones.
pub(crate) fn composed(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let x = em.operand(call.input(0)?)?;
    let result = match call.operator {
        "Tan" => {
            let (sine, cosine) = (em.unary(Unary::Sin, x)?, em.unary(Unary::Cos, x)?);
            em.binary(Binary::Div, sine, cosine)?
        }
        operator => {
            let (minus, half) = (em.unary(Unary::Neg, x)?, em.number(0.5)?);
            let (grows, shrinks) = (em.unary(Unary::Exp, x)?, em.unary(Unary::Exp, minus)?);
            let both = if operator == "Sinh" { Binary::Sub } else { Binary::Add };
            let sum = em.binary(both, grows, shrinks)?;
            em.binary(Binary::Mul, sum, half)?
        }
    };
    one(em.given(result, Kind::Float)?)
}

/// Whether a number is infinite: upwards, downwards or either.
pub(crate) fn is_infinite(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let x = em.operand(call.input(0)?)?;
    let upwards = call.flag("detect_positive", true)?;
    let (found, bound) = match (upwards, call.flag("detect_negative", true)?) {
        (true, true) => (em.unary(Unary::Abs, x)?, f32::INFINITY),
        (true, false) => (x, f32::INFINITY),
        (false, true) => (x, f32::NEG_INFINITY),
        (false, false) => return Err(refuse("it detects neither infinity")),
    };
    let bound = em.number(bound)?;
    let result = em.binary(Binary::Equal, found, bound)?;
    one(em.given(result, Kind::Bool)?)
}

/// An operator of two inputs: what it is in a graph and at load, and whether it yields truth values.
fn two_of(call: &Call<'_, '_>) -> Result<Option<(Binary, BinaryKind, bool)>, Refusal> {
    let is_fmod = call.operator == "Mod" && call.flag("fmod", false)?;
    Ok(Some(match call.operator {
        "Add" => (Binary::Add, BinaryKind::Add, false),
        "Sub" => (Binary::Sub, BinaryKind::Sub, false),
        "Mul" => (Binary::Mul, BinaryKind::Mul, false),
        "Div" => (Binary::Div, BinaryKind::Div, false),
        "Pow" => (Binary::Pow, BinaryKind::Pow, false),
        "Mod" if is_fmod => (Binary::Fmod, BinaryKind::Fmod, false),
        "Mod" => (Binary::Mod, BinaryKind::Mod, false),
        "Equal" => (Binary::Equal, BinaryKind::Compare(Comparison::Equal), true),
        "Less" => (Binary::Less, BinaryKind::Compare(Comparison::Less), true),
        "LessOrEqual" => (Binary::LessOrEqual, BinaryKind::Compare(Comparison::LessOrEqual), true),
        "Greater" => (Binary::Greater, BinaryKind::Compare(Comparison::Greater), true),
        "GreaterOrEqual" => (
            Binary::GreaterOrEqual,
            BinaryKind::Compare(Comparison::GreaterOrEqual),
            true,
        ),
        "And" => (Binary::And, BinaryKind::And, true),
        "Or" => (Binary::Or, BinaryKind::Or, true),
        "Xor" => (Binary::Xor, BinaryKind::Xor, true),
        _ => return Ok(None),
    }))
}

pub(crate) fn binary(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let (a, b) = (call.input(0)?, call.input(1)?);
    let (graph, load, is_truth) = two_of(call)?.ok_or_else(|| refuse("it is not known"))?;
    if let (Value::Known(a), Value::Known(b)) = (a, b) {
        match known::binary(load, a, b, &mut em.budget) {
            Ok(tensor) => return one(Value::Known(tensor)),
            // The graph computes what is not computed here.
            Err(known::Unknown::Types) => {}
            Err(unknown) => return Err(unknown.into()),
        }
    }
    let kind = match is_truth {
        true => Kind::Bool,
        false => a.kind(),
    };
    if graph == Binary::Pow
        && let Some(result) = power(em, a, b)?
    {
        return one(result);
    }
    let (left, right) = (em.operand(a)?, em.operand(b)?);
    let mut result = em.binary(graph, left, right)?;
    if graph == Binary::Div && kind == Kind::Int && b.kind() == Kind::Int {
        result = em.unary(Unary::Truncate, result)?;
    }
    one(em.given(result, kind)?)
}

/// Powers that are simpler than the function: it is inexact on GPUs, and undefined below 0.
fn power(em: &mut Emitter, x: &Value, exponent: &Value) -> Result<Option<Value>, Refusal> {
    let Some(exponent) = exponent
        .known()
        .filter(|tensor| tensor.dims.iter().all(|dim| *dim == 1))
    else {
        return Ok(None);
    };
    if exponent.dims.len() > em.shape(x)?.rank() {
        return Ok(None);
    }
    let operand = em.operand(x)?;
    let result = match exponent.single() {
        Some(1.0) => return Ok(Some(x.clone())),
        Some(2.0) => em.binary(Binary::Mul, operand, operand)?,
        Some(3.0) => {
            let square = em.binary(Binary::Mul, operand, operand)?;
            em.binary(Binary::Mul, square, operand)?
        }
        Some(0.5) => em.unary(Unary::Sqrt, operand)?,
        Some(-1.0) => em.unary(Unary::Reciprocal, operand)?,
        _ => return Ok(None),
    };
    em.given(result, x.kind()).map(Some)
}

/// `Sum`, `Mean`, `Max`, `Min` of any number of inputs.
pub(crate) fn variadic(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let (graph, load) = match call.operator {
        "Max" => (Binary::Max, BinaryKind::Max),
        "Min" => (Binary::Min, BinaryKind::Min),
        _ => (Binary::Add, BinaryKind::Add),
    };
    let inputs = call.all()?;
    let count = inputs.len();
    let mut inputs = inputs.into_iter();
    let mut sum = inputs.next().ok_or_else(|| refuse("it has no inputs"))?;
    for next in inputs {
        sum = pair(em, (graph, load), &sum, &next)?;
    }
    if call.operator == "Mean" {
        let count = Value::Known(Tensor::floats(Vec::new(), vec![count as f32]));
        sum = pair(em, (Binary::Div, BinaryKind::Div), &sum, &count)?;
    }
    one(sum)
}

fn pair(em: &mut Emitter, (graph, load): (Binary, BinaryKind), a: &Value, b: &Value) -> Result<Value, Refusal> {
    if let (Value::Known(a), Value::Known(b)) = (a, b) {
        return Ok(Value::Known(known::binary(load, a, b, &mut em.budget)?));
    }
    let (left, right) = (em.operand(a)?, em.operand(b)?);
    let result = em.binary(graph, left, right)?;
    em.given(result, a.kind())
}

pub(crate) fn select(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let (which, yes, no) = (call.input(0)?, call.input(1)?, call.input(2)?);
    if let (Value::Known(which), Value::Known(yes), Value::Known(no)) = (which, yes, no) {
        return one(Value::Known(known::select(which, yes, no, &mut em.budget)?));
    }
    let operands = [em.operand(which)?, em.operand(yes)?, em.operand(no)?];
    one(em.value(Op::Select, &operands, yes.kind())?)
}

/// To another type. At run time every number is of one type: only what changes the number is computed.
pub(crate) fn cast(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let x = call.input(0)?;
    let to = match call.operator {
        "CastLike" => call.input(1)?.kind(),
        _ => {
            let code = call.int("to")?.ok_or_else(|| refuse("it does not say to which type"))?;
            let element = crate::element::Element::of(code);
            element
                .map_err(|name| refuse(format!("type {name} is not supported")))?
                .kind()
        }
    };
    if let Value::Known(tensor) = x {
        return one(Value::Known(known::cast(tensor, to, &mut em.budget)?));
    }
    let operand = em.operand(x)?;
    let result: Operand = match (x.kind(), to) {
        (Kind::Float, Kind::Int) => em.unary(Unary::Truncate, operand)?,
        (Kind::Float | Kind::Int, Kind::Bool) => {
            let is_zero = em.unary(Unary::Not, operand)?;
            em.unary(Unary::Not, is_zero)?
        }
        _ => operand,
    };
    one(em.given(result, to)?)
}

/// Keeps the upper or the lower triangle of the last two axes.
pub(crate) fn triangle(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let x = call.input(0)?;
    let upper = call.flag("upper", true)?;
    let k = call
        .known_ints(1, "diagonal")?
        .and_then(|k| k.first().copied())
        .unwrap_or(0);
    if let Value::Known(tensor) = x {
        return one(Value::Known(known::keep_triangle(tensor, upper, k, &mut em.budget)?));
    }
    let shape = em.shape(x)?;
    let [.., rows, columns] = shape.0[..] else {
        return Err(refuse("its input has fewer than two axes"));
    };
    em.budget.spend(&[rows.size, columns.size])?;
    let mask = Tensor::floats(
        vec![rows.size, columns.size],
        known::triangle(rows.size, columns.size, upper, k),
    );
    let mask = Operand::Constant(em.constant(&mask)?);
    let (x_operand, zero) = (em.operand(x)?, em.number(0.0)?);
    one(em.value(Op::Select, &[mask, x_operand, zero], x.kind())?)
}
