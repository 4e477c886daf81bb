//! A tensor of any rank. In Burn the rank is a part of the type: here it is one of six variants, and what has more axes is
//! kept flat. Knows no operators.

use burn::tensor::{FloatDType, Tensor};

/// The most axes that a tensor has here; those of the graph may be more, see [`stored`].
pub(super) const MAX_RANK: usize = 6;

/// A tensor of one to six axes. A clone is a handle, and copies no numbers.
#[derive(Debug, Clone)]
pub(super) enum Any {
    R1(Tensor<1>),
    R2(Tensor<2>),
    R3(Tensor<3>),
    R4(Tensor<4>),
    R5(Tensor<5>),
    R6(Tensor<6>),
}

/// Evaluates an expression with the tensor, whatever its rank.
macro_rules! each {
    ($any:expr, $tensor:ident => $body:expr) => {
        match $any {
            $crate::any::Any::R1($tensor) => $body,
            $crate::any::Any::R2($tensor) => $body,
            $crate::any::Any::R3($tensor) => $body,
            $crate::any::Any::R4($tensor) => $body,
            $crate::any::Any::R5($tensor) => $body,
            $crate::any::Any::R6($tensor) => $body,
        }
    };
}

/// As `each`, and the result is a tensor again.
macro_rules! map {
    ($any:expr, $tensor:ident => $body:expr) => {
        $crate::any::each!($any, $tensor => $crate::any::Any::from($body))
    };
}

pub(super) use {each, map};

macro_rules! from {
    ($($rank:literal $variant:ident)*) => {$(
        impl From<Tensor<$rank>> for Any {
            fn from(tensor: Tensor<$rank>) -> Self {
                Self::$variant(tensor)
            }
        }
    )*};
}

from!(1 R1 2 R2 3 R3 4 R4 5 R5 6 R6);

/// The axes under which a value of these lengths is kept: its own, or one for all.
pub(super) fn stored(axes: &[usize]) -> Vec<usize> {
    match axes.len() {
        1..=MAX_RANK => axes.to_vec(),
        _ => vec![axes.iter().product()],
    }
}

impl Any {
    pub(super) fn axes(&self) -> Vec<usize> {
        each!(self, tensor => tensor.dims().to_vec())
    }

    /// The same numbers under other axes, at most six.
    pub(super) fn reshape(self, axes: &[usize]) -> Self {
        // A view whose axes are in another order stays one.
        if self.axes() == axes {
            return self;
        }
        each!(self, tensor => reshaped(tensor, axes))
    }

    /// The same numbers under the axes that a value of these lengths is kept with.
    pub(super) fn keep(self, axes: &[usize]) -> Self {
        self.reshape(&stored(axes))
    }

    pub(super) fn into1(self) -> Tensor<1> {
        match self {
            Self::R1(tensor) => tensor,
            other => each!(other, tensor => {
                let elements = tensor.dims().iter().product::<usize>();
                tensor.reshape([elements])
            }),
        }
    }

    pub(super) fn into2(self, axes: [usize; 2]) -> Tensor<2> {
        match self {
            Self::R2(tensor) if tensor.dims() == axes => tensor,
            other => each!(other, tensor => tensor.reshape(axes)),
        }
    }

    pub(super) fn into3(self, axes: [usize; 3]) -> Tensor<3> {
        match self {
            Self::R3(tensor) if tensor.dims() == axes => tensor,
            other => each!(other, tensor => tensor.reshape(axes)),
        }
    }

    pub(super) fn into4(self, axes: [usize; 4]) -> Tensor<4> {
        match self {
            Self::R4(tensor) if tensor.dims() == axes => tensor,
            other => each!(other, tensor => tensor.reshape(axes)),
        }
    }

    pub(super) fn cast(self, number: FloatDType) -> Self {
        map!(self, tensor => tensor.cast(number))
    }

    pub(super) fn number(&self) -> FloatDType {
        each!(self, tensor => tensor.dtype().into())
    }
}

fn reshaped<const D: usize>(tensor: Tensor<D>, axes: &[usize]) -> Any {
    match *axes {
        [a] => tensor.reshape([a]).into(),
        [a, b] => tensor.reshape([a, b]).into(),
        [a, b, c] => tensor.reshape([a, b, c]).into(),
        [a, b, c, d] => tensor.reshape([a, b, c, d]).into(),
        [a, b, c, d, e] => tensor.reshape([a, b, c, d, e]).into(),
        [a, b, c, d, e, f] => tensor.reshape([a, b, c, d, e, f]).into(),
        _ => tensor.reshape([axes.iter().product::<usize>()]).into(),
    }
}

/// Axes of what is broadcast: leading ones are added, and where that are more than six, neighbours that behave alike in
/// every operand are made one. The first are the result's.
pub(super) fn aligned(out: &[usize], operands: &[&[usize]]) -> (Vec<usize>, Vec<Vec<usize>>) {
    let rank = out.len().max(1);
    let led = |axes: &[usize]| {
        let mut led = vec![1; rank - axes.len().min(rank)];
        led.extend_from_slice(axes);
        led
    };
    let (out, operands) = (led(out), operands.iter().map(|axes| led(axes)).collect::<Vec<_>>());
    if rank <= MAX_RANK {
        return (out, operands);
    }
    let mut merged: (Vec<usize>, Vec<Vec<usize>>) = (Vec::new(), vec![Vec::new(); operands.len()]);
    let mut alike: Option<Vec<bool>> = None;
    for (axis, length) in out.iter().enumerate() {
        if *length == 1 {
            continue; // it is 1 in all of them
        }
        let lengths = operands.iter().map(|axes| axes.get(axis).copied().unwrap_or(1));
        let here: Vec<bool> = lengths.clone().map(|length| length == 1).collect();
        let is_same = alike.as_ref() == Some(&here);
        append(&mut merged.0, *length, is_same);
        for (merged, length) in merged.1.iter_mut().zip(lengths) {
            append(merged, length, is_same);
        }
        alike = Some(here);
    }
    if merged.0.is_empty() {
        return (vec![1], vec![vec![1]; operands.len()]);
    }
    merged
}

/// A new axis, or a part of the last.
fn append(axes: &mut Vec<usize>, length: usize, is_same: bool) {
    match axes.last_mut().filter(|_| is_same) {
        Some(last) => *last *= length,
        None => axes.push(length),
    }
}

#[cfg(test)]
mod tests {
    use super::{aligned, stored};

    #[test]
    fn more_axes_than_six_are_kept_flat() {
        assert_eq!(stored(&[]), [1]);
        assert_eq!(stored(&[2, 3, 4, 1, 1, 5]), [2, 3, 4, 1, 1, 5]);
        assert_eq!(stored(&[2, 3, 4, 1, 1, 5, 2]), [240]);
    }

    #[test]
    fn axes_that_are_broadcast_alike_become_one() {
        let check = |out: &[usize], operands: &[&[usize]], expected: &[&[usize]]| {
            let (axes, others) = aligned(out, operands);
            let all: Vec<&[usize]> = std::iter::once(axes.as_slice())
                .chain(others.iter().map(Vec::as_slice))
                .collect();
            assert_eq!(all, expected);
        };
        check(&[], &[&[], &[]], &[&[1], &[1], &[1]]);
        check(&[2, 3], &[&[2, 3], &[3]], &[&[2, 3], &[2, 3], &[1, 3]]);
        check(
            &[2, 3, 4, 5, 6, 7, 8],
            &[&[2, 3, 4, 5, 6, 7, 8], &[5, 1, 1, 8]],
            &[&[24, 5, 42, 8], &[24, 5, 42, 8], &[1, 5, 1, 8]],
        );
        check(&[1; 8], &[&[1; 8]], &[&[1], &[1]]);
    }
}
