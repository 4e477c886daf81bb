//! Two tensors walked together: in runs of numbers, and not number by number.

use crate::known::layout::{Walk, places, stretched};

/// How two shapes that broadcast to one are walked: in runs along the last axes, in which each is read number by number or
/// stands still.
pub(crate) struct Together {
    /// Numbers of a run.
    run: usize,
    left: Side,
    right: Side,
}

struct Side {
    /// Where its runs begin.
    starts: Walk,
    /// Whether one number stands for all of a run; nothing where a run is one number.
    stands: Option<bool>,
}

impl Side {
    fn of(own: &[usize], dims: &[usize]) -> Self {
        Self {
            starts: stretched(own, dims),
            stands: None,
        }
    }

    /// Whether its last axis goes on as a run of so many numbers does, and how.
    fn goes_on(&self, run: usize) -> Option<bool> {
        let stands = match *self.starts.steps.last()? {
            0 => true,
            step if step == run.cast_signed() => false,
            _ => return None,
        };
        (self.stands.unwrap_or(stands) == stands).then_some(stands)
    }

    fn drop_last(&mut self) {
        self.starts.dims.pop();
        self.starts.steps.pop();
    }

    /// The numbers of a run.
    fn run<'a, T: Copy>(&self, data: &'a [T], start: usize, run: usize) -> Option<Run<'a, T>> {
        match self.stands {
            Some(true) => Some(Run::Same(*data.get(start)?)),
            _ => Some(Run::Each(data.get(start..start.checked_add(run)?)?)),
        }
    }
}

enum Run<'a, T> {
    Same(T),
    Each(&'a [T]),
}

impl Together {
    pub(crate) fn of(left: &[usize], right: &[usize], dims: &[usize]) -> Self {
        let (mut left, mut right) = (Side::of(left, dims), Side::of(right, dims));
        let mut run = 1_usize;
        for dim in dims.iter().rev() {
            if *dim != 1 {
                let (Some(one), Some(other)) = (left.goes_on(run), right.goes_on(run)) else {
                    break;
                };
                (left.stands, right.stands) = (Some(one), Some(other));
                run = run.saturating_mul(*dim);
            }
            left.drop_last();
            right.drop_last();
        }
        Self { run, left, right }
    }

    /// What `of` makes of each pair; nothing where the numbers are not of the shapes.
    pub(crate) fn zip<T: Copy, R>(&self, left: &[T], right: &[T], of: impl Fn(T, T) -> R) -> Option<Vec<R>> {
        let mut out = Vec::new();
        let starts = places(&self.left.starts).zip(places(&self.right.starts));
        for (one, other) in starts.filter(|_| self.run > 0) {
            match (
                self.left.run(left, one, self.run)?,
                self.right.run(right, other, self.run)?,
            ) {
                (Run::Each(left), Run::Each(right)) => {
                    out.extend(left.iter().zip(right).map(|(left, right)| of(*left, *right)));
                }
                (Run::Each(left), Run::Same(right)) => out.extend(left.iter().map(|left| of(*left, right))),
                (Run::Same(left), Run::Each(right)) => out.extend(right.iter().map(|right| of(left, *right))),
                (Run::Same(left), Run::Same(right)) => out.extend((0..self.run).map(|_| of(left, right))),
            }
        }
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::Together;
    use crate::known::layout::{broadcast, places, stretched};

    /// Number by number.
    fn plainly(a: &[usize], b: &[usize], dims: &[usize]) -> Vec<(usize, usize)> {
        places(&stretched(a, dims)).zip(places(&stretched(b, dims))).collect()
    }

    #[test]
    fn runs_are_what_is_walked_number_by_number() {
        let shapes: [(&[usize], &[usize]); 12] = [
            (&[], &[]),
            (&[], &[3]),
            (&[2, 3], &[2, 3]),
            (&[2, 3], &[3]),
            (&[2, 3], &[2, 1]),
            (&[4, 1, 3], &[1, 2, 1]),
            (&[2, 3, 4], &[2, 1, 1]),
            (&[2, 3, 4], &[3, 1]),
            (&[5, 1, 1], &[5, 2, 3]),
            (&[1, 1], &[1, 1]),
            (&[2, 0, 3], &[1, 1, 3]),
            (&[0], &[1]),
        ];
        for (a, b) in shapes {
            let dims = broadcast(a, b).expect("these do");
            let numbers = |shape: &[usize]| (0..shape.iter().product()).collect::<Vec<usize>>();
            for (a, b) in [(a, b), (b, a)] {
                let found = Together::of(a, b, &dims).zip(&numbers(a), &numbers(b), |a, b| (a, b));
                assert_eq!(found, Some(plainly(a, b, &dims)), "{a:?} and {b:?}");
            }
        }
    }
}
