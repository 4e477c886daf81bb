//! Follows a plugin that a host was given: the host's lines about it, the progress of its trial, and how that ends. Asks
//! and reports; prints nothing and changes nothing.

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Host;
use super::change::told;
use crate::admin::ClientError;
use crate::control::{ChangeOutcome, ChangeRecord, PipelineStatus, PluginStatus, Status, TrialStatus};
use crate::journal::Line;

/// How often a host is asked.
const ASKED_EVERY: Duration = Duration::from_millis(250);

/// A host that does not answer for so long is gone.
const PATIENCE: Duration = Duration::from_secs(15);

/// Lines before the swap, which are not shown: the number of the last of them.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::cli) struct Before(u64);

/// A plugin that was given to a host, until it is known whether it stays.
pub(in crate::cli) struct Followed {
    host: Host,
    plugin: String,
    change: ChangeRecord,
    last_line: u64,
    // The state of each trial that was reported last, by pipeline.
    trials: Vec<(String, TrialStatus)>,
    seen: u64,
}

/// Something to report.
#[derive(Debug, PartialEq)]
pub(in crate::cli) enum News {
    /// A line of the host's log, untrusted.
    Line(Line),
    /// Lines that came too fast to be shown.
    Missed(u64),
    /// How far a trial is, where it found something worse.
    Trial(String),
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::cli) enum End {
    /// It serves, and was proven by so many messages; by none where nothing was there to compare it with.
    Serves {
        generation: u64,
        /// Messages that its trial saw.
        seen: u64,
    },
    /// It was worse than what it replaced, which serves again.
    Undone {
        /// The change, harmless, in several lines.
        told: String,
        /// The digest of what serves now, where it still is in the file.
        serves: Option<String>,
    },
    /// Another change took its place; harmless.
    Replaced(String),
    /// The host ended before it was known.
    HostLeft,
}

impl Before {
    /// The lines of the host about a plugin until now.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub(in crate::cli) async fn now(file: &Path, plugin: &str) -> anyhow::Result<Self> {
        let host = Host::of_file(file)?;
        match host.client.log(plugin, 0).await {
            Ok(lines) => Ok(Self(lines.last)),
            // A host of another version has no such lines, and takes plugins all the same.
            Err(ClientError::Refused { .. }) => Ok(Self::default()),
            Err(error) => Err(host.explain(error)),
        }
    }
}

impl Followed {
    /// Follows a plugin from a change on.
    ///
    /// # Errors
    /// When the host has no place to be asked.
    pub(in crate::cli) fn new(file: &Path, plugin: &str, change: ChangeRecord, before: Before) -> anyhow::Result<Self> {
        Ok(Self {
            host: Host::of_file(file)?,
            plugin: plugin.to_owned(),
            change,
            last_line: before.0,
            trials: Vec::new(),
            seen: 0,
        })
    }

    /// Tells what there is until its end is known.
    ///
    /// # Errors
    /// When the host refuses to answer, or `tell` fails.
    pub(in crate::cli) async fn until_it_ends(
        &mut self,
        mut tell: impl FnMut(News) -> anyhow::Result<()>,
    ) -> anyhow::Result<End> {
        let mut answered = Instant::now();
        loop {
            match self.look(&mut tell).await {
                Ok(Some(end)) => return Ok(end),
                Ok(None) => answered = Instant::now(),
                Err(Failed::Asking(ClientError::Refused { .. } | ClientError::Token)) => return Ok(End::HostLeft),
                Err(Failed::Asking(_)) if answered.elapsed() < PATIENCE => {}
                Err(Failed::Asking(_)) => return Ok(End::HostLeft),
                Err(Failed::Telling(error)) => return Err(error),
            }
            sleep(ASKED_EVERY).await;
        }
    }

    /// How far it is where nothing has ended it.
    pub(in crate::cli) fn far(&self) -> Option<String> {
        let (pipeline, trial) = self.trials.first()?;
        Some(format!("{} in pipeline {pipeline}", super::status::trial(trial)))
    }

    async fn look(&mut self, tell: &mut impl FnMut(News) -> anyhow::Result<()>) -> Result<Option<End>, Failed> {
        // In this order: what a version said before its end comes before the end.
        let (status, history) = (self.host.client.status().await?, self.host.client.history().await?);
        let lines = match self.host.client.log(&self.plugin, self.last_line).await {
            Ok(lines) => lines,
            Err(ClientError::Refused { .. }) => crate::journal::Lines::default(),
            Err(error) => return Err(error.into()),
        };
        if lines.missed > 0 {
            tell(News::Missed(lines.missed)).map_err(Failed::Telling)?;
        }
        self.last_line = self.last_line.max(lines.last);
        for line in lines.lines {
            tell(News::Line(line)).map_err(Failed::Telling)?;
        }
        for news in self.trial_news(&status) {
            tell(news).map_err(Failed::Telling)?;
        }
        Ok(self.end(&status, &history))
    }

    fn trial_news(&mut self, status: &Status) -> Vec<News> {
        let on_trial = |pipeline: &PipelineStatus| Some((pipeline.name.clone(), pipeline.trial.clone()?));
        let trials: Vec<(String, TrialStatus)> = status.pipelines.iter().filter_map(on_trial).collect();
        let mut news = Vec::new();
        for (pipeline, trial) in &trials {
            self.seen = self.seen.max(trial.of);
            let before = self.trials.iter().find(|(name, _)| name == pipeline);
            if trial.worse > before.map_or(0, |(_, before)| before.worse) {
                let far = super::status::trial(trial);
                news.push(News::Trial(format!("the trial in pipeline {pipeline}: {far}")));
            }
        }
        self.trials = trials;
        news
    }

    fn end(&self, status: &Status, history: &[ChangeRecord]) -> Option<End> {
        let ours = format!("plugin {}:", self.plugin);
        let later = history.iter().filter(|change| change.number > self.change.number);
        let mut about = later.filter(|change| change.changes.iter().any(|text| text.starts_with(&ours)));
        if let Some(change) = about.find(|change| matches!(change.outcome, ChangeOutcome::Undone | ChangeOutcome::Done))
        {
            return Some(match change.outcome {
                ChangeOutcome::Undone => End::Undone {
                    told: told(change),
                    serves: self.status_of(status).map(|plugin| plugin.digest.clone()),
                },
                _ => End::Replaced(told(change)),
            });
        }
        self.trials.is_empty().then_some(End::Serves {
            generation: status.generation,
            seen: self.seen,
        })
    }

    fn status_of<'a>(&self, status: &'a Status) -> Option<&'a PluginStatus> {
        status.plugins.iter().find(|plugin| plugin.name == self.plugin)
    }
}

/// Why a look came to nothing.
enum Failed {
    Asking(ClientError),
    Telling(anyhow::Error),
}

impl From<ClientError> for Failed {
    fn from(error: ClientError) -> Self {
        Self::Asking(error)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn followed() -> Followed {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("plugins.toml");
        std::fs::write(&file, "[host]\ncontrol = \"c.sock\"").unwrap();
        Followed::new(&file, "crop", change(3, "done", "plugin crop: a -> b"), Before(7)).unwrap()
    }

    fn change(number: u64, outcome: &str, what: &str) -> ChangeRecord {
        serde_json::from_value(json!({
            "number": number, "at": "2026-01-01T23:57:00.000Z", "by": "trial", "changes": [what], "outcome": outcome,
            "generation": 8, "step": null, "reason": "3 of 3 failed", "took_ms": 1,
        }))
        .unwrap()
    }

    fn status(trial: serde_json::Value) -> Status {
        serde_json::from_value(json!({
            "version": "0.1.0", "host_id": "h", "config": "/p.toml", "phase": "running", "uptime_s": 1, "generation": 8,
            "models": [], "last_change": null,
            "plugins": [{ "name": "crop", "role": "router", "digest": "abc", "since_generation": 2, "previous_digest": null }],
            "pipelines": [{ "name": "images", "state": "running", "why": null, "received": 0, "in_flight": 0, "acked": 0,
                "skipped": 0, "rejected": 0, "trial": trial }],
        }))
        .unwrap()
    }

    #[test]
    fn a_trial_is_followed_to_its_end() {
        let mut followed = followed();
        let given = [change(3, "done", "plugin crop: a -> b")];
        let running = status(json!({ "seen": 2, "of": 100, "worse": 0 }));
        assert_eq!(followed.trial_news(&running), []);
        assert_eq!(followed.end(&running, &given), None);
        let worse = status(json!({ "seen": 3, "of": 100, "worse": 1 }));
        let expected = "the trial in pipeline images: 3 of 100, 1 worse";
        assert_eq!(followed.trial_news(&worse), [News::Trial(expected.to_owned())]);
        assert_eq!(followed.trial_news(&worse), [], "told once");
        assert_eq!(followed.far().as_deref(), Some("3 of 100, 1 worse in pipeline images"));
        let over = status(json!(null));
        assert_eq!(followed.trial_news(&over), []);
        let serves = End::Serves {
            generation: 8,
            seen: 100,
        };
        assert_eq!(followed.end(&over, &given), Some(serves));
    }

    #[test]
    fn what_ends_it_is_told_and_what_is_about_others_is_not() {
        let mut followed = followed();
        let running = status(json!({ "seen": 2, "of": 100, "worse": 0 }));
        followed.trial_news(&running);
        let end = |changes: &[ChangeRecord]| followed.end(&running, changes);
        assert_eq!(end(&[change(4, "undone", "plugin other: a -> b")]), None);
        assert_eq!(end(&[change(4, "refused", "plugin crop: b -> c")]), None);
        assert_eq!(end(&[change(2, "undone", "plugin crop: b -> a")]), None, "before");
        match end(&[change(4, "undone", "plugin crop: b -> a")]) {
            Some(End::Undone { told, serves }) => {
                assert!(told.contains("3 of 3 failed"), "{told}");
                assert_eq!(serves.as_deref(), Some("abc"));
            }
            other => panic!("{other:?}"),
        }
        let replaced = end(&[change(4, "done", "plugin crop: b -> c")]);
        assert!(matches!(replaced, Some(End::Replaced(_))), "{replaced:?}");
    }
}
