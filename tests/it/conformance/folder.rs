//! Folders, for the suite. An outage is a folder that cannot be listed or written to: something else has its name.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::messages::Sent;
use super::{Bench, Dead, Fault, Found, Harness, Keys, Promises, Weather, suite};

/// What a message's file is called behind its id.
const SUFFIX: &str = ".msg";
const REASON: &str = ".reason.json";
const ENVELOPE: &str = ".envelope.json";

struct Folder;

suite!(Folder);

struct Folders {
    root: TempDir,
    /// Every folder of a source or a destination.
    known: Mutex<Vec<PathBuf>>,
}

impl Harness for Folder {
    fn name(&self) -> &'static str {
        "folder"
    }

    fn keys(&self) -> Keys {
        Keys {
            source: &["folder"],
            destination: &["folder"],
            connection: &[],
            beside: &[],
        }
    }

    fn promises(&self) -> Promises {
        Promises {
            keeps: true,
            gives_back: true,
            tells_redelivery: true,
            order_binds_commits: false,
            has_quarantine_queue: false,
            ends: true,
            has_headers: false,
            is_shared: true,
            waits_at_start: false,
            replaces_results: true,
            keeps_dead_letters: true,
            outages: &[Fault::Gone],
            steps: &[],
            marked_at_leave: 0,
            stated: &[
                (
                    "has_headers",
                    "plugins-toml.md",
                    "one whose deadline cannot be read is `malformed`. A file has no headers.",
                ),
                (
                    "waits_at_start",
                    "folders.md",
                    "The folder, which must be there; files directly in it are messages.",
                ),
            ],
        }
    }

    fn bench(&self, _weather: Weather) -> Result<Box<dyn Bench>> {
        Ok(Box::new(Folders {
            root: tempfile::Builder::new().prefix("millrace-folders-").tempdir()?,
            known: Mutex::default(),
        }))
    }
}

impl Folders {
    fn inbox(&self, pipeline: &str) -> PathBuf {
        self.root.path().join(format!("in-{pipeline}"))
    }

    fn out(&self, pipeline: &str, name: &str) -> PathBuf {
        self.root.path().join(format!("out-{pipeline}-{name}"))
    }

    /// A folder that is there from now on.
    fn make(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.iter().any(|known| known == folder) {
            known.push(folder.to_owned());
        }
        Ok(())
    }

    fn known(&self) -> Vec<PathBuf> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Bench for Folders {
    fn connection(&self) -> String {
        String::new()
    }

    fn source(&self, pipeline: &str, prefetch: u16) -> Result<String> {
        let inbox = self.inbox(pipeline);
        self.make(&inbox)?;
        Ok(format!(
            "folder = {:?}, prefetch = {prefetch}, settle = \"20ms\"",
            inbox.display().to_string()
        ))
    }

    fn put(&self, pipeline: &str, messages: &[Sent]) -> Result<()> {
        messages
            .iter()
            .try_for_each(|sent| put_as(&self.inbox(pipeline), &format!("{}{SUFFIX}", sent.id), &sent.body))
    }

    fn put_crooked(&self, pipeline: &str) -> Result<Vec<String>> {
        let names = [
            "a name with spaces, \"quotes\" and 'more'".to_owned(),
            "line\nbreak\tand \u{1b}[31mcolour".to_owned(),
            "\u{202e}gnp.gninrut".to_owned(),
            "-rf".to_owned(),
            "100%{id}$(id)`id`".to_owned(),
            "con".to_owned(),
            "n".repeat(240),
        ];
        for name in &names {
            let sent = Sent::picture(name)?;
            put_as(&self.inbox(pipeline), &format!("{name}{SUFFIX}"), &sent.body)?;
        }
        Ok(names.to_vec())
    }

    fn id(&self, sent: &Sent) -> String {
        Sha256::digest(&sent.body)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    fn dead(&self, pipeline: &str) -> Result<Vec<Dead>> {
        let folder = self.inbox(pipeline).join("dead");
        let mut found = Vec::new();
        for name in names(&folder) {
            let Some(file) = name.strip_suffix(REASON) else {
                continue;
            };
            // A reason whose file has not come yet is no dead letter.
            let Ok(body) = std::fs::read(folder.join(file)) else {
                continue;
            };
            let reason: Value = serde_json::from_slice(&std::fs::read(folder.join(&name))?)?;
            let text = |name: &str| reason[name].as_str().unwrap_or_default().to_owned();
            found.push(Dead {
                of: text("file").trim_end_matches(SUFFIX).to_owned(),
                id: reason["envelope"]["message_id"].as_str().unwrap_or_default().to_owned(),
                stage: text("stage"),
                class: text("class"),
                text: text("text"),
                plugin: reason["envelope"]["headers"]["x-millrace-plugin"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
                attempt: u32::try_from(reason["attempt"].as_u64().context("no attempt")?)?,
                body,
            });
        }
        Ok(found)
    }

    fn n_waiting(&self, pipeline: &str) -> Result<usize> {
        let inbox = self.inbox(pipeline);
        let mut n = names(&inbox).len();
        for home in entries(&inbox.join(".millrace")) {
            n += entries(&home).iter().map(|slot| names(slot).len()).sum::<usize>();
        }
        Ok(n)
    }

    fn destination(&self, pipeline: &str, name: &str) -> Result<String> {
        let out = self.out(pipeline, name);
        self.make(&out)?;
        Ok(format!("folder = {:?}", out.display().to_string()))
    }

    fn results(&self, pipeline: &str, name: &str) -> Result<Vec<Found>> {
        let folder = self.out(pipeline, name);
        let mut found = Vec::new();
        for name in names(&folder) {
            let Some(file) = name.strip_suffix(ENVELOPE) else {
                continue;
            };
            // The envelope is there before the result is.
            let Ok(body) = std::fs::read(folder.join(file)) else {
                continue;
            };
            let envelope: Value = serde_json::from_slice(&std::fs::read(folder.join(&name))?)?;
            let headers = &envelope["headers"];
            let of = headers["x-millrace-file"].as_str();
            let of = match (of, envelope["correlation_id"].as_str()) {
                (Some(name), _) => name.trim_end_matches(SUFFIX).to_owned(),
                // Its message was no file.
                (None, Some(id)) if !file.contains(SUFFIX) => id.to_owned(),
                (None, _) => before(file),
            };
            found.push(Found {
                of,
                id: envelope["message_id"].as_str().context("no id")?.to_owned(),
                body,
            });
        }
        Ok(found)
    }

    fn break_destination(&self, pipeline: &str, name: &str) -> Result<()> {
        take_away(&self.out(pipeline, name))
    }

    fn mend_destination(&self, pipeline: &str, name: &str) -> Result<()> {
        bring_back(&self.out(pipeline, name))
    }

    fn fault(&self, _fault: Fault) -> Result<()> {
        self.known().iter().try_for_each(|folder| take_away(folder))
    }

    fn heal(&self, _fault: Fault) -> Result<()> {
        self.known().iter().try_for_each(|folder| bring_back(folder))
    }
}

/// Writes a file under a hidden name first, as a careful writer does.
fn put_as(folder: &Path, name: &str, body: &[u8]) -> Result<()> {
    let hidden = folder.join(".being-written");
    std::fs::write(&hidden, body)?;
    Ok(std::fs::rename(hidden, folder.join(name))?)
}

/// Something else has the folder's name: nothing can be listed, read or written there.
fn take_away(folder: &Path) -> Result<()> {
    std::fs::rename(folder, away(folder))?;
    Ok(std::fs::write(folder, "not a folder")?)
}

fn bring_back(folder: &Path) -> Result<()> {
    std::fs::remove_file(folder)?;
    Ok(std::fs::rename(away(folder), folder)?)
}

fn away(folder: &Path) -> PathBuf {
    folder.with_extension("away")
}

/// The message that a result's file is named after.
fn before(file: &str) -> String {
    file.split_once(SUFFIX).map_or(file, |(id, _)| id).to_owned()
}

/// The names of the files in a folder that are not hidden, `lock` left out; none where there is no such folder.
fn names(folder: &Path) -> Vec<String> {
    let files = entries(folder).into_iter().filter(|path| path.is_file());
    let names = files.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    let mut names: Vec<String> = names.filter(|name| !name.starts_with('.') && name != "lock").collect();
    names.sort();
    names
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}
