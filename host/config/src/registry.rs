//! The transports that a file may name. Knows none of them: the host hands its list in.

use std::fmt;
use std::sync::OnceLock;

use millrace_schema::{File, Section};

use super::keys;
use super::kind::{ConnectionKind, DestinationKind, SourceKind, Transport};

/// Every transport of a host, and the declared keys of a file for them.
pub struct Registry {
    transports: &'static [&'static Transport],
    root: OnceLock<&'static Section>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.transports.iter().map(|transport| transport.name))
            .finish()
    }
}

impl Registry {
    /// A registry of these transports, in the order in which they are offered.
    pub const fn new(transports: &'static [&'static Transport]) -> Self {
        Self {
            transports,
            root: OnceLock::new(),
        }
    }

    /// All of them.
    pub fn transports(&self) -> &'static [&'static Transport] {
        self.transports
    }

    /// The kinds of sources.
    pub fn sources(&self) -> impl Iterator<Item = &'static SourceKind> + Clone + use<> {
        self.transports.iter().flat_map(|transport| transport.sources)
    }

    /// The kinds of destinations.
    pub fn destinations(&self) -> impl Iterator<Item = &'static DestinationKind> + Clone + use<> {
        self.transports.iter().flat_map(|transport| transport.destinations)
    }

    /// The kinds of connections.
    pub fn connections(&self) -> impl Iterator<Item = &'static ConnectionKind> + Clone + use<> {
        self.transports.iter().flat_map(|transport| transport.connections)
    }

    /// `plugins.toml`, with every declared key.
    pub fn file(&'static self) -> File {
        keys::file(self)
    }

    /// The declared keys of `plugins.toml`.
    pub(crate) fn root(&'static self) -> &'static Section {
        self.root.get_or_init(|| keys::root(self))
    }

    /// Says where a key belongs that is easily written in a table where it is unknown.
    pub fn home(&'static self) -> impl Fn(&str) -> Option<&'static str> {
        |key| {
            let home = |section: &&'static Section| section.find(key).is_some_and(|key| key.has_home);
            self.root().all().into_iter().find(home).map(|section| section.title)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_in_the_wrong_table_has_one_home() {
        static NONE: Registry = Registry::new(&[]);
        for section in NONE.root().all() {
            for key in section.keys.iter().filter(|key| key.has_home) {
                assert_eq!(NONE.home()(key.name), Some(section.title), "{}", key.name);
            }
        }
        assert_eq!(NONE.home()("colour"), None);
        assert_eq!(NONE.home()("path"), None, "models and plugins have one");
    }
}
