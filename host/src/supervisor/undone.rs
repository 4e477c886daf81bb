//! Versions that were undone, remembered beside the file so that a restart does not bring them back: which version,
//! when and why, and the bytes of the plugin that served in its place. Knows no generation, and nothing of how versions
//! are loaded.

use std::collections::VecDeque;
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tracing::{info, warn};

use crate::config::{ModelConfig, PluginConfig};

/// The folder beside the file, and what is in it.
const FOLDER: &str = ".millrace";
const LIST: &str = "undone.json";

/// Versions that are remembered; the oldest makes room.
const UNDONE_MAX: usize = 64;

/// The longest reason that is remembered, and the largest list that is read.
const WHY_MAX_CHARS: usize = 1000;
const LIST_MAX_BYTES: u64 = 1 << 20;

/// A plugin or a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    Plugin,
    Model,
}

impl Kind {
    /// Its name in logs and answers.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Plugin => "plugin",
            Self::Model => "model",
        }
    }
}

/// A version: its bytes and its settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Version {
    /// A plugin or a model.
    pub(super) kind: Kind,
    /// Its name in the file.
    pub(super) name: String,
    /// SHA-256 of what was loaded.
    pub(super) digest: String,
    /// SHA-256 of its table in the file: settings may hold secrets.
    pub(super) settings: String,
}

/// A version that was undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Undone {
    #[serde(flatten)]
    pub(super) version: Version,
    /// When: RFC 3339.
    pub(super) at: String,
    pub(super) why: String,
    /// The version that served in its place, where that is a plugin with the same settings: a copy of it lies beside
    /// the list.
    pub(super) instead: Option<String>,
    /// It was not found to be bad: it is on trial, or was when its host ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_on_trial: bool,
}

/// A plugin's file that is to be kept.
#[derive(Debug, Clone)]
pub(super) struct Copy {
    /// SHA-256 of it.
    pub(super) digest: String,
    pub(super) bytes: Arc<[u8]>,
}

/// The memory of one file. Writing waits for a disk: on a thread for that, in the order in which it was asked for.
#[derive(Clone, Default)]
pub(super) struct UndoneVersions {
    // Nothing before the first change says where the file is.
    folder: Option<PathBuf>,
    // Writes that wait; one for each undo, rollback and reload.
    waiting: Arc<Mutex<VecDeque<Write>>>,
    writing: Arc<Mutex<()>>,
}

type Write = Box<dyn FnOnce() + Send>;

impl Version {
    /// A version of a plugin, by its table in the file.
    pub(super) fn of_plugin(config: &PluginConfig, digest: &str) -> Self {
        // Its own form for people leaves its settings out.
        let table = (config, &config.settings);
        Self::new(Kind::Plugin, config.name.as_str(), digest, &table)
    }

    /// A version of a model.
    pub(super) fn of_model(config: &ModelConfig, digest: &str) -> Self {
        Self::new(Kind::Model, config.name.as_str(), digest, config)
    }

    fn new(kind: Kind, name: &str, digest: &str, table: &impl std::fmt::Debug) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            digest: digest.to_owned(),
            settings: format!("{:x}", Sha256::digest(format!("{table:?}"))),
        }
    }
}

impl Undone {
    /// A version that was undone now.
    pub(super) fn now(version: Version, why: &str, instead: Option<&Version>) -> Self {
        let instead = instead.filter(|instead| instead.kind == Kind::Plugin && instead.settings == version.settings);
        Self {
            at: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            why: why.chars().take(WHY_MAX_CHARS).collect(),
            instead: instead.map(|instead| instead.digest.clone()),
            is_on_trial: false,
            version,
        }
    }

    /// A version that is on trial beside one that is proven.
    pub(super) fn on_trial(version: Version, proven: &Version) -> Self {
        Self {
            is_on_trial: true,
            ..Self::now(version, "it is on trial", Some(proven))
        }
    }
}

impl UndoneVersions {
    /// For this file.
    pub(super) fn of(file: &Path) -> Self {
        let folder = file.parent().zip(file.file_name());
        Self {
            folder: folder.map(|(folder, name)| folder.join(FOLDER).join(name)),
            waiting: Arc::default(),
            writing: Arc::default(),
        }
    }

    /// Everything that is remembered. Blocking.
    pub(super) fn all(&self) -> Vec<Undone> {
        let Some(path) = self.folder.as_ref().map(|folder| folder.join(LIST)) else {
            return Vec::new();
        };
        let read = || {
            if fs::metadata(&path)?.len() > LIST_MAX_BYTES {
                return Err(io::Error::new(ErrorKind::InvalidData, "it is too large"));
            }
            Ok(serde_json::from_slice(&fs::read(&path)?)?)
        };
        read().unwrap_or_else(|error: io::Error| {
            if error.kind() != ErrorKind::NotFound {
                warn!(path = %path.display(), %error, "cannot read the list of undone versions: the host may load them again");
            }
            Vec::new()
        })
    }

    /// Where the copy of a plugin is, if there is one.
    pub(super) fn copy(&self, digest: &str) -> Option<PathBuf> {
        let path = self.folder.as_ref()?.join(copy_name(digest));
        path.is_file().then_some(path)
    }

    /// Remembers what was undone, and what served in its place.
    pub(super) fn add(&self, undone: Vec<Undone>, copies: Vec<Copy>) {
        self.change(move |all| {
            for new in undone {
                all.retain(|old| old.version != new.version);
                all.push(new);
            }
            let surplus = all.len().saturating_sub(UNDONE_MAX);
            all.drain(..surplus);
            copies
        });
    }

    /// Remembers what is on trial and what it goes back to, in the place of what was on trial before.
    pub(super) fn tries(&self, on_trial: Vec<Undone>, copies: Vec<Copy>) {
        self.change(move |all| {
            for new in on_trial {
                all.retain(|old| !(old.is_on_trial && old.version.name == new.version.name));
                all.push(new);
            }
            let surplus = all.len().saturating_sub(UNDONE_MAX);
            all.drain(..surplus);
            copies
        });
    }

    /// Forgets what is on trial of a plugin that these are versions of: it passed, or nothing is to go back to.
    pub(super) fn forget_trials(&self, passed: Vec<Version>) {
        self.change(move |all| {
            all.retain(|old| !(old.is_on_trial && passed.contains(&old.version)));
            Vec::new()
        });
    }

    /// Forgets versions that a reload asked for.
    pub(super) fn forget(&self, is_meant: impl Fn(&Version) -> bool + Send + 'static) {
        self.change(move |all| {
            all.retain(|undone| !is_meant(&undone.version));
            Vec::new()
        });
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Undone>) -> Vec<Copy> + Send + 'static) {
        let Some(folder) = self.folder.clone() else { return };
        let memory = self.clone();
        let write = move || {
            let before = memory.all();
            let mut all = before.clone();
            let copies = change(&mut all);
            if all == before && copies.is_empty() {
                return;
            }
            if let Err(error) = write(&folder, &all, &copies) {
                warn!(
                    folder = %folder.display(), %error,
                    "cannot write the list of undone versions: a restart loads them from the disk again"
                );
            }
        };
        self.lock().push_back(Box::new(write));
        let own = self.clone();
        let write_all = move || {
            let _one_at_a_time = own.writing.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                // A statement of its own: others may ask while one is written.
                let next = own.lock().pop_front();
                match next {
                    Some(write) => write(),
                    None => return,
                }
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(write_all)),
            Err(_) => write_all(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Write>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for UndoneVersions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

/// Writes the list and the copies that it names, and removes those that it does not.
fn write(folder: &Path, all: &[Undone], copies: &[Copy]) -> io::Result<()> {
    // The last version of each plugin that served in the place of another.
    let named: Vec<String> = all
        .iter()
        .enumerate()
        .filter(|(at, undone)| {
            let later = all.get(at + 1..).unwrap_or_default();
            !later
                .iter()
                .any(|later| later.version.name == undone.version.name && later.instead.is_some())
        })
        .filter_map(|(_, undone)| undone.instead.as_deref().map(copy_name))
        .collect();
    if all.is_empty() && !folder.exists() {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    for copy in copies {
        let name = copy_name(&copy.digest);
        if named.contains(&name) && !folder.join(&name).is_file() {
            put(folder, &name, &copy.bytes)?;
        }
    }
    put(folder, LIST, &serde_json::to_vec_pretty(all)?)?;
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".wasm") && !named.contains(&name) {
            fs::remove_file(folder.join(name))?;
        }
    }
    if all.is_empty() {
        fs::remove_file(folder.join(LIST))?;
        info!(folder = %folder.display(), "removed the list of undone versions: it is empty");
    }
    Ok(())
}

/// Puts a file in place whole or not at all, for its owner alone.
fn put(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let own = folder.join(format!("{name}.{}", std::process::id()));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&own)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(own, folder.join(name))
}

fn copy_name(digest: &str) -> String {
    format!("{digest}.wasm")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(name: &str, digest: &str, table: &str) -> Version {
        Version::new(Kind::Plugin, name, digest, &table)
    }

    fn undone(name: &str, digest: &str, instead: &str) -> (Vec<Undone>, Vec<Copy>) {
        let before = version(name, instead, "top_k = 1");
        let copy = Copy {
            digest: instead.to_owned(),
            bytes: Arc::from(instead.as_bytes()),
        };
        let undone = Undone::now(version(name, digest, "top_k = 1"), "it trapped", Some(&before));
        (vec![undone], vec![copy])
    }

    fn add(memory: &UndoneVersions, (undone, copies): (Vec<Undone>, Vec<Copy>)) {
        memory.add(undone, copies);
    }

    #[test]
    fn what_was_undone_is_there_for_the_next_process_with_what_served_in_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("plugins.toml");
        add(&UndoneVersions::of(&file), undone("crop", "b", "a"));
        let memory = UndoneVersions::of(&file);
        let all = memory.all();
        assert_eq!(
            (all.len(), all[0].why.as_str(), all[0].instead.as_deref()),
            (1, "it trapped", Some("a"))
        );
        assert_eq!(fs::read(memory.copy("a").unwrap()).unwrap(), b"a");
        // The last version that served is enough.
        add(&memory, undone("crop", "d", "c"));
        assert!(memory.copy("a").is_none() && memory.copy("c").is_some());
        let digests: Vec<String> = memory.all().into_iter().map(|undone| undone.version.digest).collect();
        assert_eq!(digests, ["b", "d"]);
        memory.forget(|version| version.digest == "d");
        assert_eq!(memory.all().len(), 1);
        memory.forget(|_| true);
        assert!(memory.all().is_empty() && memory.copy("c").is_none());
    }

    #[test]
    fn only_a_plugin_with_the_same_settings_can_serve_in_the_place_of_another() {
        let bad = || version("crop", "b", "top_k = 2");
        let instead = |of: Version| Undone::now(bad(), "", Some(&of)).instead;
        assert_eq!(instead(version("crop", "a", "top_k = 2")).as_deref(), Some("a"));
        assert_eq!(instead(version("crop", "a", "top_k = 1")), None);
        let model = Version::new(Kind::Model, "crop", "a", &"top_k = 2");
        assert_eq!(instead(model), None);
    }

    #[test]
    fn as_many_as_there_may_be_are_remembered_and_a_broken_list_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let memory = UndoneVersions::of(&folder.path().join("plugins.toml"));
        for n in 0..UNDONE_MAX + 3 {
            add(&memory, undone("crop", &n.to_string(), "a"));
        }
        let all = memory.all();
        assert_eq!((all.len(), all[0].version.digest.as_str()), (UNDONE_MAX, "3"));
        fs::write(memory.folder.as_ref().unwrap().join(LIST), "half a li").unwrap();
        assert!(memory.all().is_empty());
        add(&memory, undone("crop", "b", "a"));
        assert_eq!(memory.all().len(), 1);
    }

    #[test]
    fn a_folder_that_cannot_be_written_costs_the_memory_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let no_folder = folder.path().join("no-folder");
        fs::write(&no_folder, "").unwrap();
        let memory = UndoneVersions::of(&no_folder.join("plugins.toml"));
        add(&memory, undone("crop", "b", "a"));
        assert!(memory.all().is_empty());
    }
}
