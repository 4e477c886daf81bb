//! The places that plugins have in a pipeline. Plain data: it is said of names, of what serves, and of what is called.

/// A pipeline's plugins, or something for each of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugins<T> {
    /// Turn the message into the one that the preprocessor sees, in this order.
    pub before: Vec<T>,
    /// Makes the tensor.
    pub preprocess: T,
    /// Makes the results.
    pub route: T,
    /// Turn each result into another, in this order.
    pub after: Vec<T>,
}

impl<T> Plugins<T> {
    /// All of them, in the order in which they are called.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.preparing().chain(self.concluding())
    }

    /// Those that are called before the model.
    pub fn preparing(&self) -> impl Iterator<Item = &T> {
        self.before.iter().chain([&self.preprocess])
    }

    /// Those that are called after the model.
    pub fn concluding(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.route).chain(&self.after)
    }

    /// All of them, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        let before = self.before.iter_mut().chain([&mut self.preprocess]);
        before.chain([&mut self.route]).chain(&mut self.after)
    }

    /// Something else in each place.
    pub fn map<'a, U>(&'a self, mut change: impl FnMut(&'a T) -> U) -> Plugins<U> {
        Plugins {
            before: self.before.iter().map(&mut change).collect(),
            preprocess: change(&self.preprocess),
            route: change(&self.route),
            after: self.after.iter().map(&mut change).collect(),
        }
    }

    /// Something else in each place, where there is something for each.
    pub fn try_map<U>(&self, mut change: impl FnMut(&T) -> Option<U>) -> Option<Plugins<U>> {
        Some(Plugins {
            before: self.before.iter().map(&mut change).collect::<Option<_>>()?,
            preprocess: change(&self.preprocess)?,
            route: change(&self.route)?,
            after: self.after.iter().map(&mut change).collect::<Option<_>>()?,
        })
    }

    /// Whether there are as many in each place, and each is the same as its counterpart.
    pub fn same(&self, other: &Self, mut is_same: impl FnMut(&T, &T) -> bool) -> bool {
        self.before.len() == other.before.len()
            && self.after.len() == other.after.len()
            && self.iter().zip(other.iter()).all(|(one, other)| is_same(one, other))
    }
}
