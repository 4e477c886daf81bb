//! Sends one result, as JSON, for each of the best classes.

use millrace_plugin::json::Classification;
use millrace_plugin::serde::Serialize;
use millrace_plugin::{Destination, LabelPattern, Message, Outbound, Prediction, Refusal, Router, Score};

/// The plugin.
#[derive(Debug)]
pub struct TopKFanout {
    settings: Settings,
}

millrace_plugin::settings! {
    /// The `settings` table in `plugins.toml`.
    pub struct Settings {
        /// How many of the best classes have a result each, 1 to 8.
        pub k: u32 = 3,
        /// The least score that a class needs to have a result.
        pub min_score: Option<f32>,
        /// The destination of each result; `{label}` in it is the class's label written as a name, `{index}` its index.
        pub destination: Destination<LabelPattern> = Destination(LabelPattern::verbatim("results")),
        /// The routing key of each result, made as `destination` is; the destination's own where it is left out.
        pub key: Option<LabelPattern>,
        /// The destination of the best class where no class has `min_score`; no result where it is left out.
        pub otherwise: Option<Destination<LabelPattern>>,
    }
}

/// The host takes no more results of one message.
const K_MAX: u32 = 8;

/// The body of a result.
#[derive(Debug, Serialize)]
#[serde(crate = "millrace_plugin::serde")]
struct Body<'a> {
    id: &'a str,
    model: &'a str,
    #[serde(flatten)]
    class: &'a Score,
    /// 1 for the best class.
    rank: usize,
    /// How many classes have a result; 0 where this is the one for `otherwise`.
    of: usize,
}

impl Router for TopKFanout {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, String> {
        match settings.k {
            0 => return Err("`k` is 0: at least the best class has a result".to_owned()),
            1..=K_MAX => {}
            k => {
                return Err(format!(
                    "`k` is {k}: the host takes at most {K_MAX} results of one message"
                ));
            }
        }
        if settings.otherwise.is_some() && settings.min_score.is_none() {
            return Err("`otherwise` needs `min_score`: the score that no class has then".to_owned());
        }
        Ok(Self { settings })
    }

    fn route(&mut self, message: &Message, prediction: &Prediction) -> Result<Vec<Outbound>, Refusal> {
        let seen = Classification::new(message, prediction, self.settings.k)?;
        let least = self.settings.min_score.unwrap_or(f32::NEG_INFINITY);
        let classes: Vec<&Score> = seen.top.iter().take_while(|class| class.score >= least).collect();
        let of = classes.len();
        match &self.settings.otherwise {
            Some(otherwise) if of == 0 => Ok(vec![self.result(otherwise, Body::new(&seen, &seen.best, 1, 0))?]),
            _ => (1..)
                .zip(classes)
                .map(|(rank, class)| self.result(&self.settings.destination, Body::new(&seen, class, rank, of)))
                .collect(),
        }
    }
}

impl TopKFanout {
    fn result(&self, destination: &LabelPattern, body: Body) -> Result<Outbound, Refusal> {
        let outbound = Outbound::json(destination.fill(body.class), &body)
            .map_err(|error| Refusal::reject(format!("the result cannot be written as JSON: {error}")))?;
        Ok(match &self.settings.key {
            Some(key) => outbound.with_key(key.fill_key(body.class)),
            None => outbound,
        })
    }
}

impl<'a> Body<'a> {
    fn new(seen: &'a Classification, class: &'a Score, rank: usize, of: usize) -> Self {
        Self {
            id: &seen.id,
            model: &seen.model,
            class,
            rank,
            of,
        }
    }
}

millrace_plugin::export_router!(TopKFanout);

#[cfg(test)]
mod tests;
