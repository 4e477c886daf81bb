//! The transports: one line each. Everything else finds them here.

use crate::config::{ConnectionConfig, DestinationConfig, Registry, SourceConfig, Transport};

use super::opening::{BindDestination, Connect, OpenError, OpenSource, Registered};
#[cfg(feature = "zmq")]
use super::zmq;
use super::{amqp, folder, http, sqlite};

/// All of them, in the order in which they are offered.
static ALL: &[Registered] = &[
    amqp::REGISTERED,
    folder::REGISTERED,
    http::REGISTERED,
    sqlite::REGISTERED,
    #[cfg(feature = "zmq")]
    zmq::REGISTERED,
];

#[expect(
    clippy::indexing_slicing,
    reason = "the compiler evaluates it, and refuses a wrong index"
)]
static TRANSPORTS: [&Transport; ALL.len()] = {
    let mut transports = [ALL[0].transport; ALL.len()];
    let mut index = 0;
    while index < ALL.len() {
        transports[index] = ALL[index].transport;
        index += 1;
    }
    transports
};

/// All kinds and keys that a file may name.
pub static REGISTRY: Registry = Registry::new(&TRANSPORTS);

/// A checked source, ready to be opened.
///
/// # Errors
/// When no transport declares it.
pub fn source(config: &dyn SourceConfig) -> Result<&dyn OpenSource, OpenError> {
    ALL.iter()
        .find_map(|registered| (registered.source)(config))
        .ok_or_else(unknown)
}

/// A checked destination, ready to be bound.
///
/// # Errors
/// When no transport declares it.
pub fn destination(config: &dyn DestinationConfig) -> Result<&dyn BindDestination, OpenError> {
    ALL.iter()
        .find_map(|registered| (registered.destination)(config))
        .ok_or_else(unknown)
}

/// A checked connection, ready to connect.
///
/// # Errors
/// When no transport declares it.
pub fn connection(config: &dyn ConnectionConfig) -> Result<&dyn Connect, OpenError> {
    ALL.iter()
        .find_map(|registered| (registered.connection)(config))
        .ok_or_else(unknown)
}

/// A kind that a file may name, and that its transport does not open.
#[derive(Debug, thiserror::Error)]
#[error("no registered transport opens this")]
struct Unopened;

fn unknown() -> OpenError {
    OpenError::fatal(Unopened)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use millrace_schema::Declared;

    use super::*;

    #[track_caller]
    fn check(kinds: Vec<(&'static str, &'static [Declared])>) {
        let own: BTreeSet<&str> = kinds.iter().map(|(key, _)| *key).collect();
        assert_eq!(own.len(), kinds.len(), "two kinds are recognised by one key: {own:?}");
        for (key, keys) in kinds {
            for declared in keys {
                let is_own = declared.name == key;
                assert!(
                    is_own || declared.with == [key],
                    "`{}` does not say that it goes with `{key}`",
                    declared.name
                );
                assert!(
                    !own.contains(declared.name) || is_own,
                    "`{}` is the key of another kind",
                    declared.name
                );
            }
            assert!(
                keys.iter().any(|declared| declared.name == key),
                "`{key}` is not declared"
            );
        }
    }

    #[test]
    fn every_metric_is_in_the_guide_once() {
        const GUIDE: &str = include_str!("../../../docs/operating.md");
        let mut names = BTreeSet::new();
        for metric in ALL.iter().flat_map(|registered| registered.metrics) {
            let name = metric.name;
            assert!(names.insert(name), "{name} is declared twice");
            assert!(GUIDE.contains(&format!("`{name}`")), "{name} is not in the guide");
        }
        assert!(names.contains("millrace_broker_connected"), "{names:?}");
    }

    #[test]
    fn every_kind_is_recognised_by_a_key_of_its_own() {
        check(REGISTRY.sources().map(|kind| (kind.key, kind.keys)).collect());
        check(REGISTRY.destinations().map(|kind| (kind.key, kind.keys)).collect());
        check(REGISTRY.connections().map(|kind| (kind.key, kind.keys)).collect());
        let names: BTreeSet<&str> = ALL.iter().map(|registered| registered.transport.name).collect();
        assert_eq!(names.len(), ALL.len());
    }
}
