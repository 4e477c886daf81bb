//! The table: medians over the rounds, and the medians of the ratios within each round.

use std::collections::BTreeMap;
use std::fmt;

use crate::measure::Block;
use crate::subject::Subject;

/// All blocks of a run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    blocks: BTreeMap<Subject, BTreeMap<usize, Block>>,
}

impl Report {
    /// Adds a block.
    pub(crate) fn add(&mut self, round: usize, subject: Subject, block: Block) {
        self.blocks.entry(subject).or_default().insert(round, block);
    }

    /// The ratios of a subject's rates to those of its baseline in the same rounds.
    fn ratios(&self, subject: Subject) -> Vec<f64> {
        let (own, other) = (self.blocks.get(&subject), self.blocks.get(&subject.baseline()));
        let (Some(own), Some(other)) = (own, other) else {
            return Vec::new();
        };
        own.iter()
            .filter_map(|(round, block)| Some(block.rate / other.get(round)?.rate))
            .collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<36}{:>10}{:>10}{:>16}{:>14}{:>14}",
            "", "msg/s", "of echo", "lowest, highest", "CPU s/1000", "broker's"
        )?;
        for subject in Subject::ALL {
            let Some(blocks) = self.blocks.get(&subject) else {
                continue;
            };
            let of = |value: fn(&Block) -> f64| median(blocks.values().map(value).collect());
            let ratios = self.ratios(subject);
            let lowest = ratios.iter().copied().fold(f64::INFINITY, f64::min);
            let highest = ratios.iter().copied().fold(0.0, f64::max);
            writeln!(
                f,
                "{subject:<36}{:>10.0}{:>10.3}{:>16}{:>14.3}{:>14.3}",
                of(|block| block.rate),
                median(ratios),
                format!("{lowest:.3}, {highest:.3}"),
                of(|block| block.subject_cpu),
                of(|block| block.broker_cpu),
            )?;
        }
        Ok(())
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle.wrapping_sub(1)), values.get(middle)) {
        (Some(low), Some(high)) if values.len().is_multiple_of(2) => f64::midpoint(*low, *high),
        (_, Some(middle)) => *middle,
        _ => f64::NAN,
    }
}
