//! `millrace check --online`: what the broker has against a file that is right in itself. Changes nothing there.

use crate::config::{
    BrokerConfig, Config, ConfigErrors, DestinationConfig, Diagnostic, Name, PipelineConfig, QueueSource, QueueType,
    SourceConfig, Warning,
};
use crate::connect::amqp::{ConnectError, Inspector, Objection, Presence, TopologyError};

/// The findings, each at its place in the file.
pub(super) struct Findings<'c> {
    config: &'c Config,
    pub(super) errors: ConfigErrors,
    pub(super) warnings: Vec<Warning>,
}

/// The broker does not answer: nothing can be said of it.
pub(super) struct Away(pub(super) ConnectError);

/// Looks at everything that the file names.
pub(super) async fn look<'c>(config: &'c Config, broker: &BrokerConfig) -> Result<Findings<'c>, Away> {
    let mut findings = Findings {
        config,
        errors: config.errors(),
        warnings: Vec::new(),
    };
    for (name, pipeline) in &config.pipelines {
        findings.fits(name, pipeline, broker);
    }
    let inspector = match Inspector::connect(broker).await {
        Ok(inspector) => inspector,
        Err(error) if error.is_permanent() => {
            findings.diagnostic("broker.amqp", error.to_string());
            return Ok(findings);
        }
        Err(error) => return Err(Away(error)),
    };
    for (name, pipeline) in &config.pipelines {
        if let SourceConfig::Queue(source) = &pipeline.source {
            findings.source(&inspector, name, source).await?;
        }
        for (destination, to) in &pipeline.destinations {
            let key = format!("pipeline.{name}.destination.{destination}");
            findings.destination(&inspector, &key, to).await?;
        }
    }
    inspector.close().await;
    Ok(findings)
}

impl Findings<'_> {
    /// Whether prefetch, batches and limits fit each other.
    fn fits(&mut self, name: &Name, pipeline: &PipelineConfig, broker: &BrokerConfig) {
        let max_batch = self
            .config
            .models
            .get(&pipeline.model)
            .and_then(|model| model.max_batch);
        let prefetch = match &pipeline.source {
            SourceConfig::Queue(source) => source.prefetch,
            SourceConfig::Folder(source) => source.prefetch,
        };
        if let Some(max_batch) = max_batch.filter(|max_batch| *max_batch > usize::from(prefetch)) {
            let text = format!(
                "a batch of {max_batch} (model `{}`) is never full: only {prefetch} messages are in flight",
                pipeline.model
            );
            self.warning(&format!("pipeline.{name}.source.prefetch"), text);
        }
        if matches!(pipeline.source, SourceConfig::Queue(_)) && pipeline.max_message_bytes > broker.max_message_bytes {
            let text = "`max_message` is more than the broker takes by `max_message` of `[broker]`".to_owned();
            self.warning(&format!("pipeline.{name}.max_message"), text);
        }
    }

    async fn source(&mut self, inspector: &Inspector, name: &Name, source: &QueueSource) -> Result<(), Away> {
        let key = format!("pipeline.{name}.source.queue");
        let is_there = self.judge(&key, &source.queue, inspector.source(source).await)?;
        let dead_letters = inspector.dead_letters(&source.dead_letter).await;
        self.judge(
            &format!("pipeline.{name}.dead_letter"),
            &source.dead_letter,
            dead_letters,
        )?;
        if source.declare == QueueType::Passive && is_there {
            let is_quorum = match inspector.objections(&source.queue).await {
                Ok((objections, is_quorum)) => {
                    objections
                        .iter()
                        .for_each(|found| self.object(&key, &source.queue, found));
                    is_quorum
                }
                Err(error) => {
                    self.judge(&key, &source.queue, Err(error))?;
                    Some(false)
                }
            };
            let kind = match is_quorum {
                Some(false) => return Ok(()),
                Some(true) => format!("queue `{}` is a quorum queue", source.queue),
                None => format!(
                    "cannot determine the type of queue `{}` without the permission to declare it; it may be a quorum queue",
                    source.queue
                ),
            };
            let text = format!(
                "{kind}: see that a dead-letter exchange guards its delivery limit, because a message over the limit is lost \
                 without one"
            );
            self.warning(&key, text);
        }
        Ok(())
    }

    async fn destination(&mut self, inspector: &Inspector, key: &str, to: &DestinationConfig) -> Result<(), Away> {
        let DestinationConfig::Exchange {
            exchange,
            routing_key,
            declare,
            ..
        } = to
        else {
            return Ok(());
        };
        if exchange.is_empty() {
            let looked = inspector.destination(routing_key, *declare).await;
            self.judge(&format!("{key}.routing_key"), routing_key, looked)?;
        } else {
            let looked = inspector.exchange(exchange).await.map(|()| Presence::There);
            self.judge(&format!("{key}.exchange"), exchange, looked)?;
        }
        Ok(())
    }

    fn object(&mut self, key: &str, queue: &str, objection: &Objection) {
        match objection {
            Objection::Refused(what, hint) => self.diagnostic(key, format!("queue `{queue}` {what}; {hint}")),
            Objection::Loses(what) => self.warning(key, format!("queue `{queue}` {what}")),
        }
    }

    /// Tells what was found of a queue or an exchange; whether it is there and can be used.
    fn judge(&mut self, key: &str, name: &str, looked: Result<Presence, TopologyError>) -> Result<bool, Away> {
        match looked {
            Ok(Presence::There) => return Ok(true),
            Ok(Presence::ToBeDeclared) => {
                self.warning(
                    key,
                    format!("queue `{name}` is not there yet: `millrace run` declares it"),
                );
            }
            Err(TopologyError::Connect(error)) => return Err(Away(error)),
            // `millrace run` waits for it.
            Err(error @ TopologyError::Busy { .. }) => self.warning(key, error.to_string()),
            Err(error) => self.diagnostic(key, error.to_string()),
        }
        Ok(false)
    }

    fn diagnostic(&mut self, key: &str, text: String) {
        let diagnostic = self.at(key, text);
        self.errors.push(diagnostic);
    }

    fn warning(&mut self, key: &str, text: String) {
        let warning = Warning(self.at(key, text));
        self.warnings.push(warning);
    }

    /// The first line is what is wrong, the rest is what to do.
    fn at(&self, key: &str, text: String) -> Diagnostic {
        let span = self.config.locate(key);
        match text.split_once("; ") {
            Some((what, hint)) => Diagnostic::at(span, what).hint(hint),
            None => Diagnostic::at(span, text),
        }
    }
}
