//! `check --online` at a broker: whether a valid file fits its queues, exchanges and permissions. Changes nothing there.

use super::config::{BrokerConfig, ExchangeConfig, QueueSourceConfig, QueueType};
use super::inspect::{Inspector, Presence};
use super::kinds::Objection;
use super::topology::TopologyError;
use crate::config::{Config, Name};
use crate::{Away, ConnectionName, Findings};

/// Looks at everything that a file names at this broker.
pub(super) async fn look(
    broker: &BrokerConfig,
    name: &ConnectionName,
    config: &Config,
    findings: &mut Findings<'_>,
) -> Result<(), Away> {
    let sources = || {
        let all = config.pipelines.iter();
        let all = all.filter_map(|(name, it)| Some((name, it, it.source.as_kind::<QueueSourceConfig>()?)));
        all.filter(|(_, _, source)| source.connection == *name)
    };
    for (pipeline, settings, _) in sources() {
        if settings.max_message_bytes > broker.max_message_bytes {
            let text = format!("`max_message` is more than the broker takes by `max_message` of `{name}`");
            findings.warning(&format!("pipeline.{pipeline}.max_message"), text);
        }
    }
    let inspector = match Inspector::connect(broker).await {
        Ok(inspector) => inspector,
        Err(error) if error.is_permanent() => {
            findings.diagnostic(&format!("{}.amqp", name.place()), error.to_string());
            return Ok(());
        }
        Err(error) => return Err(Away::new(error)),
    };
    let mut looking = Looking {
        inspector: &inspector,
        findings,
    };
    for (pipeline, settings) in &config.pipelines {
        let source = settings.source.as_kind::<QueueSourceConfig>();
        if let Some(source) = source.filter(|source| source.connection == *name) {
            looking.source(pipeline, source).await?;
        }
        for (destination, to) in &settings.destinations {
            let to = to.as_kind::<ExchangeConfig>();
            if let Some(to) = to.filter(|to| to.connection == *name) {
                let key = format!("pipeline.{pipeline}.destination.{destination}");
                looking.destination(&key, to).await?;
            }
        }
    }
    inspector.close().await;
    Ok(())
}

/// A look at one broker.
struct Looking<'l, 'c> {
    inspector: &'l Inspector,
    findings: &'l mut Findings<'c>,
}

impl Looking<'_, '_> {
    async fn source(&mut self, name: &Name, source: &QueueSourceConfig) -> Result<(), Away> {
        let key = format!("pipeline.{name}.source.queue");
        let is_there = self.judge(&key, &source.queue, self.inspector.source(source).await)?;
        let dead_letters = self.inspector.dead_letters(&source.dead_letter).await;
        self.judge(
            &format!("pipeline.{name}.dead_letter"),
            &source.dead_letter,
            dead_letters,
        )?;
        if source.declare == QueueType::Passive && is_there {
            let is_quorum = match self.inspector.objections(&source.queue).await {
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
                "{kind}: give it a dead-letter exchange for its delivery limit, because a message over the limit is lost \
                 without one"
            );
            self.findings.warning(&key, text);
        }
        Ok(())
    }

    async fn destination(&mut self, key: &str, to: &ExchangeConfig) -> Result<(), Away> {
        let ExchangeConfig {
            exchange,
            routing_key,
            declare,
            ..
        } = to;
        if exchange.is_empty() {
            let looked = self.inspector.destination(routing_key, *declare).await;
            self.judge(&format!("{key}.routing_key"), routing_key, looked)?;
        } else {
            let looked = self.inspector.exchange(exchange).await.map(|()| Presence::There);
            self.judge(&format!("{key}.exchange"), exchange, looked)?;
        }
        Ok(())
    }

    fn object(&mut self, key: &str, queue: &str, objection: &Objection) {
        match objection {
            Objection::Refused(what, hint) => self.findings.diagnostic(key, format!("queue `{queue}` {what}; {hint}")),
            Objection::Loses(what) => self.findings.warning(key, format!("queue `{queue}` {what}")),
        }
    }

    /// Reports the state of a queue or an exchange; returns whether it exists and can be used.
    fn judge(&mut self, key: &str, name: &str, looked: Result<Presence, TopologyError>) -> Result<bool, Away> {
        match looked {
            Ok(Presence::There) => return Ok(true),
            Ok(Presence::ToBeDeclared) => {
                self.findings.warning(
                    key,
                    format!("queue `{name}` is not there yet: `millrace run` declares it"),
                );
            }
            Err(TopologyError::Connect(error)) => return Err(Away::new(error)),
            // `millrace run` waits for it.
            Err(error @ TopologyError::Busy { .. }) => self.findings.warning(key, error.to_string()),
            Err(error) => self.findings.diagnostic(key, error.to_string()),
        }
        Ok(false)
    }
}
