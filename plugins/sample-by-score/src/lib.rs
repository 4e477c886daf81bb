//! Sends each result, and a copy of the message where the model was unsure of it: pictures worth labelling.

mod sample;
mod share;

use millrace_plugin::json::Classification;
use millrace_plugin::{Destination, Message, Outbound, Prediction, Refusal, Router};

use sample::Why;
use share::is_within;

/// The plugin.
#[derive(Debug)]
pub struct SampleByScore {
    settings: Settings,
}

millrace_plugin::settings! {
    /// The `settings` table in `plugins.toml`.
    pub struct Settings {
        /// The destination of each result.
        pub destination: Destination = Destination("results".to_owned()),
        /// The destination of the copies.
        pub samples: Destination = Destination("samples".to_owned()),
        /// A message whose best score is at least the first and below the second of these two is unsure.
        pub between: Option<[f32; 2]>,
        /// A message whose best score is less than this above the second best is unsure.
        pub margin_below: Option<f32>,
        /// The share of the unsure messages that is copied, 0 to 1.
        pub rate: f64 = 1.0,
        /// The share of all other messages that is copied, 0 to 1.
        pub rate_others: f64 = 0.0,
        /// How many of the best classes the result lists, at least 1.
        pub top_k: u32 = 3,
    }
}

/// What the host takes of the bodies of one message's results together.
const BODIES_MAX_BYTES: usize = 8 << 20;

impl Router for SampleByScore {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, String> {
        for (name, rate) in [("rate", settings.rate), ("rate_others", settings.rate_others)] {
            if !(0.0..=1.0).contains(&rate) {
                return Err(format!("`{name}` is {rate}: a share is from 0 to 1"));
            }
        }
        if let Some([least, below]) = settings.between
            && least >= below
        {
            return Err(format!("`between` is [{least}, {below}]: nothing is between them"));
        }
        if settings.margin_below.is_some_and(|margin| margin <= 0.0) {
            return Err("`margin_below` is not above 0: the best score is never below the second".to_owned());
        }
        if settings.between.is_none() && settings.margin_below.is_none() && settings.rate_others == 0.0 {
            return Err("nothing is sampled: set `between`, `margin_below` or `rate_others`".to_owned());
        }
        if settings.top_k == 0 {
            return Err("`top_k` is 0: the result lists at least the best class".to_owned());
        }
        if settings.destination.is_empty() || settings.samples.is_empty() {
            return Err("a destination is empty".to_owned());
        }
        Ok(Self { settings })
    }

    fn route(&mut self, message: &Message, prediction: &Prediction) -> Result<Vec<Outbound>, Refusal> {
        // The second best is needed for the margin, whatever the result lists.
        let mut seen = Classification::new(message, prediction, self.settings.top_k.max(2))?;
        let why = self.why(&seen);
        seen.unsure = Some(why != Why::Chance);
        seen.top
            .truncate(usize::try_from(self.settings.top_k).unwrap_or(usize::MAX));
        let result = Outbound::json(&*self.settings.destination, &seen)
            .map_err(|error| Refusal::reject(format!("the result cannot be written as JSON: {error}")))?;
        let rate = if why == Why::Chance {
            self.settings.rate_others
        } else {
            self.settings.rate
        };
        if !is_within(&seen.id, rate) {
            return Ok(vec![result]);
        }
        let sample = sample::sample(message, &seen, why, &self.settings.samples);
        if result.body.len().saturating_add(sample.body.len()) > BODIES_MAX_BYTES {
            let bytes = sample.body.len();
            millrace_plugin::warn!(
                "a message of {bytes} bytes is not copied: the host takes {BODIES_MAX_BYTES} of results together"
            );
            return Ok(vec![result]);
        }
        Ok(vec![result, sample])
    }
}

impl SampleByScore {
    /// Why a message would be sampled.
    fn why(&self, seen: &Classification) -> Why {
        let best = seen.best.score;
        let is_between = |[least, below]: [f32; 2]| best >= least && best < below;
        if self.settings.between.is_some_and(is_between) {
            return Why::Between;
        }
        // A model with one class has no second best, and is never torn between two.
        let margin = seen.top.get(1).map(|second| best - second.score);
        match (margin, self.settings.margin_below) {
            (Some(margin), Some(limit)) if margin < limit => Why::Margin,
            _ => Why::Chance,
        }
    }
}

millrace_plugin::export_router!(SampleByScore);

#[cfg(test)]
mod tests;
