//! Functions of numbers that lie one behind another: activations, sums, products.

use millrace_graph::Activation;

use super::math;
use super::memory::{Cells, Source};
use super::vector::Vector;

/// How an operand goes along with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// A float for each float of the row.
    Each,
    /// A block of lanes that is repeated.
    Lanes,
    /// One float for all.
    One,
}

/// An operand of a row: where it begins, and how it goes on.
#[derive(Clone, Copy)]
pub(crate) struct Operand<'a> {
    pub(crate) floats: Source<'a>,
    pub(crate) step: Step,
}

impl Operand<'_> {
    fn check(&self, length: usize, lanes: usize) {
        let needed = match self.step {
            Step::Each => length,
            Step::Lanes => lanes,
            Step::One => 1,
        };
        assert!(self.floats.len() >= needed, "an operand as long as its row");
    }

    /// # Safety
    /// [`Vector`]'s contract; [`Operand::check`] has passed; `at + count` is within the row.
    #[inline(always)]
    unsafe fn load<V: Vector>(&self, at: usize, count: usize) -> V {
        let from = self.floats.pointer();
        // SAFETY: the caller's contract.
        unsafe {
            match self.step {
                Step::Each if count == V::LANES => V::load(from.add(at)),
                Step::Each => V::load_part(from.add(at), count),
                Step::Lanes => V::load(from),
                Step::One => V::splat(*from),
            }
        }
    }
}

/// A function of two numbers that has an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add,
    Sub,
    Mul,
    Div,
}

/// What is computed along a row.
#[derive(Clone, Copy)]
pub(crate) enum Function<'a> {
    /// Of the first operand alone.
    Activation(Activation),
    /// Of the first and this one.
    Binary(Arithmetic, Operand<'a>),
    /// The first times a factor plus a shift.
    MulAdd(Operand<'a>, Operand<'a>),
}

/// One call. The output may be the input itself.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    pub(crate) input: Operand<'a>,
    pub(crate) function: Function<'a>,
    pub(crate) output: Cells<'a>,
    pub(crate) length: usize,
}

impl Row<'_> {
    /// # Panics
    /// When the call would leave its buffers.
    pub(super) fn check(&self, lanes: usize) {
        assert!(self.output.len() >= self.length, "results in the output");
        self.input.check(self.length, lanes);
        match self.function {
            Function::Activation(_) => {}
            Function::Binary(_, other) => other.check(self.length, lanes),
            Function::MulAdd(factor, shift) => {
                factor.check(self.length, lanes);
                shift.check(self.length, lanes);
            }
        }
    }
}

/// Computes a call.
///
/// # Safety
/// [`Vector`]'s contract; [`Row::check`] has passed.
#[inline(always)]
pub(super) unsafe fn run<V: Vector>(call: &Row<'_>) {
    let mut at = 0;
    while at < call.length {
        let count = (call.length - at).min(V::LANES);
        // SAFETY: the caller's contract; the floats from `at` on are within the row.
        unsafe {
            let result = evaluate::<V>(call, at, count);
            let to = call.output.pointer().add(at);
            match count == V::LANES {
                true => result.store(to),
                false => result.store_part(to, count),
            }
        }
        at += count;
    }
}

/// # Safety
/// As [`run`]'s; `at + count` is within the row.
#[inline(always)]
unsafe fn evaluate<V: Vector>(call: &Row<'_>, at: usize, count: usize) -> V {
    // SAFETY: the caller's contract is the callees'.
    unsafe {
        let value: V = call.input.load(at, count);
        match call.function {
            Function::Activation(activation) => math::activate(activation, value),
            Function::Binary(arithmetic, other) => {
                let other: V = other.load(at, count);
                match arithmetic {
                    Arithmetic::Add => value.add(other),
                    Arithmetic::Sub => value.sub(other),
                    Arithmetic::Mul => value.mul(other),
                    Arithmetic::Div => value.div(other),
                }
            }
            Function::MulAdd(factor, shift) => value.mul_add(factor.load(at, count), shift.load(at, count)),
        }
    }
}
