//! Where two models agree: counts, and the pictures on which they differ most. Knows no pictures and no devices.

use std::collections::BTreeMap;

/// The answer of one model for a picture.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Said {
    /// The best class.
    pub(super) class: usize,
    /// Its score where there are scores, else the output's number.
    pub(super) score: f32,
    /// The first output.
    pub(super) numbers: Vec<f32>,
}

/// A picture on which two models differ.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Disagreement {
    pub(super) picture: String,
    /// The largest difference of a number, as a share of the largest number; nothing where the outputs cannot be compared.
    pub(super) difference: Option<f32>,
    pub(super) one: (usize, f32),
    pub(super) other: (usize, f32),
}

impl Disagreement {
    fn is_of_two_classes(&self) -> bool {
        self.one.0 != self.other.0
    }

    /// The order of pictures: those of two classes come before the others.
    fn rank(&self) -> (bool, f32) {
        let doubt = self.one.1.min(self.other.1);
        (self.is_of_two_classes(), self.difference.unwrap_or(doubt))
    }
}

/// Where two models agree.
#[derive(Debug, Default)]
pub(super) struct Agreement {
    pub(super) n_pictures: usize,
    pub(super) n_same: usize,
    /// The largest difference of any picture.
    pub(super) largest: Option<f32>,
    differences: Vec<f32>,
    /// How often what the one takes for the first is taken for the second by the other.
    pairs: BTreeMap<(usize, usize), usize>,
    // Invariant: at most `n_kept`, the most different first.
    differing: Vec<Disagreement>,
    n_kept: usize,
}

impl Agreement {
    /// Empty; so many pictures will be kept.
    pub(super) fn new(n_kept: usize) -> Self {
        Self {
            n_kept,
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, picture: &str, one: &Said, other: &Said) {
        self.n_pictures += 1;
        self.n_same += usize::from(one.class == other.class);
        *self.pairs.entry((one.class, other.class)).or_default() += 1;
        let difference = difference(&one.numbers, &other.numbers);
        if let Some(difference) = difference {
            self.differences.push(difference);
            self.largest = Some(self.largest.map_or(difference, |largest| largest.max(difference)));
        }
        if one.class == other.class && difference == Some(0.0) {
            return;
        }
        self.differing.push(Disagreement {
            picture: picture.to_owned(),
            difference,
            one: (one.class, one.score),
            other: (other.class, other.score),
        });
        self.differing.sort_by(|one, other| {
            let ((one_apart, one), (other_apart, other)) = (one.rank(), other.rank());
            other_apart.cmp(&one_apart).then(other.total_cmp(&one))
        });
        self.differing.truncate(self.n_kept);
    }

    /// The difference that half of the pictures do not have more of.
    pub(super) fn median(&self) -> Option<f32> {
        let mut sorted = self.differences.clone();
        sorted.sort_by(f32::total_cmp);
        sorted.get(sorted.len() / 2).copied()
    }

    /// The pictures that differ most.
    pub(super) fn differing(&self) -> &[Disagreement] {
        &self.differing
    }

    /// The most frequent ways to disagree: what the one says, what the other says, how often.
    pub(super) fn confusions(&self, n: usize) -> Vec<(usize, usize, usize)> {
        let pairs = self.pairs.iter().filter(|((one, other), _)| one != other);
        let mut found: Vec<_> = pairs.map(|((one, other), count)| (*one, *other, *count)).collect();
        found.sort_by_key(|(_, _, count)| std::cmp::Reverse(*count));
        found.truncate(n);
        found
    }

    /// The classes that are named most by either, in their order, and how often each pair of them was named.
    pub(super) fn table(&self, n_classes: usize) -> (Vec<usize>, Vec<Vec<usize>>) {
        let mut named: BTreeMap<usize, usize> = BTreeMap::new();
        for ((one, other), count) in &self.pairs {
            *named.entry(*one).or_default() += count;
            *named.entry(*other).or_default() += count;
        }
        let mut classes: Vec<(usize, usize)> = named.into_iter().collect();
        classes.sort_by_key(|(class, count)| (std::cmp::Reverse(*count), *class));
        let mut classes: Vec<usize> = classes.into_iter().take(n_classes).map(|(class, _)| class).collect();
        classes.sort_unstable();
        let count = |one: &usize, other: &usize| self.pairs.get(&(*one, *other)).copied().unwrap_or(0);
        let rows = classes
            .iter()
            .map(|one| classes.iter().map(|other| count(one, other)).collect());
        let rows = rows.collect();
        (classes, rows)
    }
}

/// The largest difference, as a share of the largest number of the first.
fn difference(one: &[f32], other: &[f32]) -> Option<f32> {
    if one.len() != other.len() || one.is_empty() {
        return None;
    }
    let largest = one.iter().fold(0.0_f32, |largest, number| largest.max(number.abs()));
    let differing = one.iter().zip(other).map(|(one, other)| (one - other).abs());
    let difference = differing.fold(0.0_f32, |most, differing| {
        if differing > most || differing.is_nan() {
            differing
        } else {
            most
        }
    });
    Some(match difference == 0.0 {
        true => 0.0,
        false => difference / largest.max(f32::MIN_POSITIVE),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(numbers: &[f32]) -> Said {
        let (class, score) = numbers
            .iter()
            .enumerate()
            .max_by(|(_, one), (_, other)| one.total_cmp(other))
            .unwrap();
        Said {
            class,
            score: *score,
            numbers: numbers.to_vec(),
        }
    }

    #[test]
    fn agreement_is_counted() {
        let mut agreement = Agreement::new(2);
        agreement.add("same", &said(&[1.0, 4.0]), &said(&[1.0, 4.0]));
        assert!(agreement.differing().is_empty(), "the same is not apart");
        agreement.add("near", &said(&[1.0, 4.0]), &said(&[2.0, 4.0]));
        agreement.add("other", &said(&[4.0, 3.9]), &said(&[3.9, 4.0]));
        assert_eq!((agreement.n_pictures, agreement.n_same), (3, 2));
        assert_eq!(agreement.largest, Some(0.25));
        assert_eq!(agreement.confusions(5), [(0, 1, 1)]);
        // Another class comes before a larger difference.
        let differing: Vec<_> = agreement
            .differing()
            .iter()
            .map(|differing| differing.picture.as_str())
            .collect();
        assert_eq!(differing, ["other", "near"]);
        assert_eq!(agreement.table(9), (vec![0, 1], vec![vec![0, 1], vec![0, 2]]));
        assert_eq!(agreement.table(1), (vec![1], vec![vec![2]]));
    }

    #[test]
    fn numbers_are_compared_by_the_largest() {
        assert_eq!(difference(&[2.0, -8.0], &[3.0, -8.0]), Some(0.125));
        assert_eq!(difference(&[0.0], &[0.0]), Some(0.0));
        assert_eq!(difference(&[1.0], &[1.0, 2.0]), None);
        assert!(difference(&[1.0], &[f32::NAN]).unwrap().is_nan());
        let mut agreement = Agreement::new(1);
        agreement.add("a", &said(&[1.0]), &said(&[1.0, 2.0]));
        assert_eq!((agreement.largest, agreement.median()), (None, None));
    }
}
