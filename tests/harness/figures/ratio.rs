//! Ratios of the rates of two subjects, from blocks that are neighbours in a round: what changes over time touches both.

use serde::{Deserialize, Serialize};

use super::{Block, Record, Spread, Swaps};

/// What is compared: rates of the first to those of the second.
const COMPARED: [(&str, &str); 18] = [
    ("lenet", "naive"),
    ("lenet", "safe"),
    ("lenet", "strong"),
    ("lenet-worker", "naive"),
    ("lenet-worker", "safe"),
    ("lenet-worker", "strong"),
    ("identity", "echo"),
    ("identity-worker", "echo"),
    ("identity-worker", "identity"),
    ("lenet", "echo"),
    ("lenet-worker", "echo"),
    ("lenet-worker", "lenet"),
    ("lenet-png", "lenet"),
    ("lenet-jpeg", "lenet"),
    ("python-plugin", "lenet"),
    ("lenet", "lenet-native"),
    ("lenet-worker", "lenet-native-worker"),
    ("resnet18", "resnet18-native"),
];

/// The ratio of two subjects' rates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ratio {
    /// The first.
    pub of: String,
    /// The second, which it is divided by.
    pub to: String,
    /// The ratio of each block of the first to the nearest block of the second in its round.
    pub pairs: Vec<f64>,
    /// All of them.
    pub spread: Spread,
}

impl Record {
    /// Every ratio that the blocks give.
    pub fn ratios_of_blocks(&self) -> Vec<Ratio> {
        let ratios = COMPARED.iter().filter_map(|(of, to)| self.ratio(of, to));
        ratios.collect()
    }

    /// The ratio of two subjects' rates; nothing where one was not measured.
    pub fn ratio(&self, of: &str, to: &str) -> Option<Ratio> {
        let pair = |block: &Block| {
            let same = self.rounds_of(to).filter(|other| other.round == block.round);
            let nearest = same.min_by_key(|other| other.position.abs_diff(block.position))?;
            Some(block.rate() / nearest.rate())
        };
        let pairs: Vec<f64> = self.rounds_of(of).filter_map(pair).collect();
        Some(Ratio {
            of: of.to_owned(),
            to: to.to_owned(),
            spread: Spread::of(pairs.clone())?,
            pairs,
        })
    }

    /// The ratio of the blocks in which something had one value to those of the same turn in which it had another.
    pub fn ratio_of_varied(&self, subject: &str, what: &str, of: u64, to: u64) -> Option<Spread> {
        let with = |value: u64| {
            let blocks = self.blocks.iter();
            blocks.filter(move |block| {
                let varied = block.varied.as_ref();
                block.subject == subject && varied.is_some_and(|varied| varied.what == what && varied.value == value)
            })
        };
        let pair = |block: &Block| {
            let other = with(to).find(|other| other.round == block.round)?;
            Some(block.rate() / other.rate())
        };
        Spread::of(with(of).filter_map(pair).collect())
    }

    /// The p99 beside one kind of swaps to that beside another, round by round.
    pub fn p99_beside_swaps(&self, of: &str, to: &str) -> Option<Spread> {
        let beside = |kind: &str| {
            let kind = kind.to_owned();
            self.swaps.iter().filter(move |one| one.beside == kind)
        };
        let pair = |one: &Swaps| {
            let other = beside(to).find(|other| other.round == one.round)?;
            Some(f64::from(one.p99_us) / f64::from(other.p99_us))
        };
        Spread::of(beside(of).filter_map(pair).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Block, Record};

    fn block(round: usize, position: usize, subject: &str, rate: usize) -> Block {
        Block {
            round,
            position,
            subject: subject.to_owned(),
            counted: rate,
            seconds: 1.0,
            ..Block::default()
        }
    }

    #[test]
    fn each_block_is_paired_with_the_nearest_of_its_round() {
        let record = Record {
            blocks: vec![
                block(0, 0, "echo", 100),
                block(0, 1, "lenet", 50),
                block(0, 4, "lenet", 20),
                block(0, 5, "echo", 200),
                // A round without its partner gives no pair.
                block(1, 0, "lenet", 70),
            ],
            ..Record::default()
        };
        let ratio = record.ratio("lenet", "echo").unwrap();
        assert_eq!(ratio.pairs, [0.5, 0.1]);
        assert!((ratio.spread.median - 0.3).abs() < 1e-9);
        assert_eq!(record.ratio("lenet", "strong"), None);
    }
}
