//! The transports: one line each. Everything else finds them here.

use super::kind::{ConnectionKind, DestinationKind, SourceKind, Transport};
use super::{amqp, folder};

/// All of them, in the order in which they are offered.
pub(crate) static ALL: [&Transport; 2] = [&amqp::TRANSPORT, &folder::TRANSPORT];

/// The kinds of sources.
pub(crate) fn sources() -> impl Iterator<Item = &'static SourceKind> {
    ALL.iter().flat_map(|transport| transport.sources)
}

/// The kinds of destinations.
pub(crate) fn destinations() -> impl Iterator<Item = &'static DestinationKind> {
    ALL.iter().flat_map(|transport| transport.destinations)
}

/// The kinds of connections.
pub(crate) fn connections() -> impl Iterator<Item = &'static ConnectionKind> {
    ALL.iter().flat_map(|transport| transport.connections)
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
    fn every_kind_is_recognised_by_a_key_of_its_own() {
        check(sources().map(|kind| (kind.key, kind.keys)).collect());
        check(destinations().map(|kind| (kind.key, kind.keys)).collect());
        check(connections().map(|kind| (kind.key, kind.keys)).collect());
        let names: BTreeSet<&str> = ALL.iter().map(|transport| transport.name).collect();
        assert_eq!(names.len(), ALL.len());
    }
}
