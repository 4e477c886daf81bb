//! Einsum, by transposes, products and sums.

use std::collections::BTreeSet;

use millrace_graph::{Axis, Binary, Op, Reduction, Shape};

use crate::known::Kind;
use crate::lower::call::Call;
use crate::lower::emit::{Emitter, product};
use crate::lower::ops::{Answer, layout, linear, one};
use crate::lower::value::Value;
use crate::problem::{Refusal, refuse};

/// An axis of an operand; those of an ellipsis have letters that no equation has.
type Label = char;

/// A value whose axes have labels.
struct Labelled {
    value: Value,
    labels: Vec<Label>,
}

/// Axes that an ellipsis may stand for.
const ELLIPSIS: [Label; 6] = ['0', '1', '2', '3', '4', '5'];

/// Inputs that an equation may have; exporters write two.
const MAX_INPUTS: usize = 8;

pub(crate) fn einsum(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let equation: String = call
        .text_or("equation", "")?
        .chars()
        .filter(|c| !c.is_whitespace())
        .collect();
    let inputs = call.all()?;
    if inputs.len() > MAX_INPUTS {
        return Err(refuse(format!(
            "it has {} inputs; at most {MAX_INPUTS} are supported",
            inputs.len()
        )));
    }
    let (terms, output) = match equation.split_once("->") {
        Some((terms, output)) => (terms, Some(output)),
        None => (equation.as_str(), None),
    };
    let terms: Vec<&str> = terms.split(',').collect();
    if terms.len() != inputs.len() {
        return Err(refuse(format!(
            "its equation has {} terms for {} inputs",
            terms.len(),
            inputs.len()
        )));
    }
    let mut operands = Vec::new();
    let mut spread = 0;
    for (term, value) in terms.iter().zip(&inputs) {
        let rank = em.shape(value)?.rank();
        let (labels, dots) = labels(term, rank)?;
        spread = spread.max(dots);
        operands.push(Labelled {
            value: value.clone(),
            labels,
        });
    }
    let output = match output {
        Some(output) => {
            let letters = output.replace("...", "").chars().count();
            labels(output, letters.saturating_add(spread))?.0
        }
        None => implicit(&operands, spread),
    };
    one(contract(em, operands, &output)?)
}

/// The labels of a term, and how many axes its ellipsis stands for.
fn labels(term: &str, rank: usize) -> Result<(Vec<Label>, usize), Refusal> {
    let wrong = || {
        refuse(format!(
            "its term `{}` does not fit an input of {rank} axes",
            crate::shown(term)
        ))
    };
    let letters = |text: &str| -> Result<Vec<Label>, Refusal> {
        match text.chars().all(|c| c.is_ascii_alphabetic()) {
            true => Ok(text.chars().collect()),
            false => Err(wrong()),
        }
    };
    let (labels, dots) = match term.split_once("...") {
        Some((before, behind)) => {
            let (before, behind) = (letters(before)?, letters(behind)?);
            let dots = rank
                .checked_sub(before.len().saturating_add(behind.len()))
                .ok_or_else(wrong)?;
            // Broadcast from the last: the last axis of each ellipsis is the same.
            let dotted = ELLIPSIS
                .get(ELLIPSIS.len().saturating_sub(dots)..)
                .filter(|axes| axes.len() == dots);
            ([&before[..], dotted.ok_or_else(wrong)?, &behind[..]].concat(), dots)
        }
        None => (letters(term)?, 0),
    };
    let distinct: BTreeSet<&Label> = labels.iter().collect();
    if labels.len() != rank || distinct.len() != labels.len() {
        return Err(wrong());
    }
    Ok((labels, dots))
}

/// The output of an equation without one: the ellipsis, then each label that is there once, in order.
fn implicit(operands: &[Labelled], dots: usize) -> Vec<Label> {
    let all = || operands.iter().flat_map(|operand| operand.labels.iter().copied());
    let once = all().filter(|label| label.is_ascii_alphabetic() && all().filter(|other| other == label).count() == 1);
    let sorted: BTreeSet<Label> = once.collect();
    let dots = ELLIPSIS.iter().skip(ELLIPSIS.len().saturating_sub(dots)).copied();
    dots.chain(sorted).collect()
}

fn contract(em: &mut Emitter, operands: Vec<Labelled>, output: &[Label]) -> Result<Value, Refusal> {
    let mut rest = std::collections::VecDeque::from(operands);
    let mut result = rest.pop_front().ok_or_else(|| refuse("it has no inputs"))?;
    while let Some(next) = rest.pop_front() {
        let later = rest.iter().flat_map(|operand| operand.labels.iter().copied());
        let keep: BTreeSet<Label> = output.iter().copied().chain(later).collect();
        result = pair(em, result, next, &keep)?;
    }
    result = summed(em, result, |label| output.contains(&label))?;
    if result.labels.len() != output.len() {
        return Err(refuse("its output has an axis that no input has"));
    }
    result = ordered(em, result, output)?;
    Ok(result.value)
}

/// Sums over the axes that are not kept.
fn summed(em: &mut Emitter, operand: Labelled, keep: impl Fn(Label) -> bool) -> Result<Labelled, Refusal> {
    let axes: Vec<usize> = operand
        .labels
        .iter()
        .enumerate()
        .filter(|(_, label)| !keep(**label))
        .map(|(at, _)| at)
        .collect();
    if axes.is_empty() {
        return Ok(operand);
    }
    let x = em.operand(&operand.value)?;
    let op = Op::Reduce {
        reduction: Reduction::Sum,
        axes,
        keep: false,
    };
    Ok(Labelled {
        value: em.value(op, &[x], Kind::Float)?,
        labels: operand.labels.into_iter().filter(|label| keep(*label)).collect(),
    })
}

/// The axes in the order of labels, all of which it has.
fn ordered(em: &mut Emitter, operand: Labelled, order: &[Label]) -> Result<Labelled, Refusal> {
    let at = |label: &Label| operand.labels.iter().position(|own| own == label);
    let axes: Option<Vec<usize>> = order.iter().map(at).collect();
    let axes = axes.ok_or_else(|| refuse("its output has an axis that no input has"))?;
    let value = match &operand.value {
        Value::Known(tensor) => Value::Known(crate::known::transpose(tensor, &axes, &mut em.budget)?),
        value => {
            let x = em.operand(value)?;
            let result = em.transpose(x, &axes)?;
            em.given(result, Kind::Float)?
        }
    };
    Ok(Labelled {
        value,
        labels: order.to_vec(),
    })
}

/// The product of two, summed over what is not kept.
fn pair(em: &mut Emitter, a: Labelled, b: Labelled, keep: &BTreeSet<Label>) -> Result<Labelled, Refusal> {
    let a = summed(em, a, |label| keep.contains(&label) || b.labels.contains(&label))?;
    let b = summed(em, b, |label| keep.contains(&label) || a.labels.contains(&label))?;
    let is_shared = |label: &Label| a.labels.contains(label) && b.labels.contains(label);
    let of = |labels: &[Label], test: &dyn Fn(&Label) -> bool| {
        labels
            .iter()
            .copied()
            .filter(|label| test(label))
            .collect::<Vec<Label>>()
    };
    let batch = of(&a.labels, &|label| is_shared(label) && keep.contains(label));
    let inner = of(&a.labels, &|label| is_shared(label) && !keep.contains(label));
    let (left, right) = (
        of(&a.labels, &|label| !is_shared(label)),
        of(&b.labels, &|label| !is_shared(label)),
    );
    let labels = [&batch[..], &left, &right].concat();
    let a = ordered(em, a, &[&batch[..], &left, &inner].concat())?;
    let b = ordered(em, b, &[&batch[..], &inner, &right].concat())?;
    let (a_shape, b_shape) = (em.shape(&a.value)?, em.shape(&b.value)?);
    let n = batch.len();
    if inner.is_empty() {
        // Number by number: each gets axes of length 1 for those of the other.
        let mut first = a_shape.0.clone();
        first.extend(right.iter().map(|_| Axis::fixed(1)));
        let mut second = b_shape.0.clone();
        second.splice(n..n, left.iter().map(|_| Axis::fixed(1)));
        let a = layout::under(em, &a.value, Shape(first))?;
        let b = layout::under(em, &b.value, Shape(second))?;
        let (a, b) = (em.operand(&a)?, em.operand(&b)?);
        let result = em.binary(Binary::Mul, a, b)?;
        return Ok(Labelled {
            value: em.given(result, Kind::Float)?,
            labels,
        });
    }
    let part = |shape: &Shape, from: usize, count: usize| -> Vec<Axis> {
        shape.0.iter().skip(from).take(count).copied().collect()
    };
    let (rows, columns) = (
        part(&a_shape, n, left.len()),
        part(&b_shape, n.saturating_add(inner.len()), right.len()),
    );
    let depth = product(&part(&b_shape, n, inner.len()))?;
    let matrix = |lead: Vec<Axis>, last: [Axis; 2]| Shape(lead.into_iter().chain(last).collect());
    let a = layout::under(em, &a.value, matrix(part(&a_shape, 0, n), [product(&rows)?, depth]))?;
    let b = layout::under(em, &b.value, matrix(part(&b_shape, 0, n), [depth, product(&columns)?]))?;
    let result = linear::product(em, &a, &b)?;
    let lead = part(&em.shape(&result)?, 0, n);
    let shape = Shape([lead, rows, columns].concat());
    Ok(Labelled {
        value: layout::under(em, &result, shape)?,
        labels,
    })
}
