//! Finds files and claims them: the blocking half of the source. Knows no disposition.

use std::collections::{BinaryHeap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{Access, AtFlags, CWD};
use rustix::io::Errno;
use tracing::{debug, info, warn};

use super::claim_dir::{Claim, ClaimDir};
use super::content::Look;
use super::opened::OpenedFolder;
use super::shared::Shared;
use super::skipped::{self, Skipped};
use super::{FolderError, Found, take};
use crate::Until;
use crate::config::Globs;

/// Names kept of one listing, the first by name; the rest is listed again when these are done. Bounds memory.
const LISTED_MAX: usize = 65_536;

/// Claims that may wait for a retry, per message in flight; at the limit no new file is claimed. Bounds memory.
const WAITING_PER_IN_FLIGHT: usize = 16;

/// Files whose errors were logged; no more are, so that a hostile folder does not fill the log.
const REPORTED_MAX: usize = 1024;

/// A listing may take one part in so many of the time, in folders so large that it matters.
const LISTING_SHARE: u32 = 20;

/// The state of the search.
#[derive(Debug)]
pub(super) struct Scanner {
    pub(super) shared: Arc<Shared>,
    pub(super) opened: OpenedFolder,
    /// Since when another folder has the name of the one that was opened.
    pub(super) replaced: Option<Instant>,
    pub(super) private: PathBuf,
    pub(super) pattern: Globs,
    pub(super) prefetch: usize,
    pub(super) until: Until,
    pub(super) search: Search,
}

/// The findings so far.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// Listed and not looked at, the last name first.
    names: Vec<OsString>,
    /// When that was begun.
    listed: Option<Instant>,
    /// Files that were seen and not counted into `names` for its bound.
    n_more: usize,
    /// Files that may still be written, as they looked when they were seen first.
    looks: HashMap<OsString, (Look, Instant)>,
    /// When the next of those is to be looked at again.
    look_again: Option<Instant>,
    /// When the folder is to be listed again, whatever the watcher says.
    list_again: Option<Instant>,
    told: HashSet<OsString>,
    skipped: skipped::ReportedSkips,
    /// Whether the next step offers files that were never tried before those that are to be tried again.
    is_new_first: bool,
}

/// The result of a step of the search.
#[derive(Debug)]
pub(super) enum Step {
    /// A message.
    Delivered(Box<Found>),
    /// Nothing now; look again at this time at the latest.
    Wait(Instant),
    /// Nothing waits and nothing is in flight.
    Ended,
}

impl Scanner {
    /// Takes one message if there is one. Blocks.
    pub(super) fn step(&mut self) -> Result<Step, FolderError> {
        self.look_at_folder()?;
        // Read before the folder is listed: a file that goes back in between must not be missed.
        let may_end = self.until == Until::Empty && self.shared.state().is_idle();
        // By turns: retries must neither block all new files nor wait for all of them.
        self.search.is_new_first = !self.search.is_new_first;
        if self.search.is_new_first
            && !self.is_full()
            && let Some(delivery) = self.next_listed()?
        {
            return Ok(Step::delivered(delivery));
        }
        if let Some(claim) = self.due_claim()? {
            return Ok(take::read(&self.shared, claim)?.map_or_else(|| self.wait(), Step::delivered));
        }
        if self.is_full() {
            return Ok(self.wait());
        }
        if let Some(delivery) = self.next_listed()? {
            return Ok(Step::delivered(delivery));
        }
        if self.is_time_to_list() || may_end {
            self.adopt(may_end)?;
            self.list()?;
            if let Some(delivery) = self.next_listed()? {
                return Ok(Step::delivered(delivery));
            }
        }
        if may_end && self.search.look_again.is_none() && self.shared.state().is_idle() {
            let unreadable = self.shared.state().unreadable.in_words();
            return unreadable.map_or(Ok(Step::Ended), |files| Err(FolderError::Unreadable { files }));
        }
        Ok(self.wait())
    }

    /// Takes nothing, and looks whether the folder is there. Blocks.
    pub(super) fn rest(&mut self) -> Result<Step, FolderError> {
        self.look_at_folder()?;
        Ok(Step::Wait(Instant::now() + self.shared.timing.rescan))
    }

    /// Makes sure that the folder is there and is the one that was opened; opens another that took its place.
    fn look_at_folder(&mut self) -> Result<(), FolderError> {
        let is_same = self.opened.is_same(&self.shared);
        if !matches!(is_same, Ok(false)) {
            self.replaced = None;
            return is_same.map(|_| ());
        }
        // Whoever deletes a folder, or mounts another over it, may not have done it all: what is made in it now could be in
        // the way.
        let since = *self.replaced.get_or_insert_with(Instant::now);
        match since.elapsed() < self.shared.timing.rescan {
            true => Err(FolderError::Replaced {
                path: self.shared.folder.clone(),
            }),
            false => self.open_again(),
        }
    }

    fn open_again(&mut self) -> Result<(), FolderError> {
        self.opened = OpenedFolder::open(&self.shared)?;
        self.replaced = None;
        self.search.forget_files();
        let n_files_lost = self.shared.forget_replaced();
        let n_in_flight = self.shared.state().in_flight;
        warn!(
            folder = %self.shared.folder.display(), n_files_lost, n_in_flight,
            "the folder was deleted or replaced: took the one that has its name now; files in flight went with the other"
        );
        self.adopt(true)
    }

    /// Takes over the claims of hosts that are gone.
    pub(super) fn adopt(&self, now: bool) -> Result<(), FolderError> {
        if !now && self.search.list_again.is_some_and(|at| at > Instant::now()) {
            return Ok(());
        }
        let claims = ClaimDir::adopt_all(&self.private).map_err(FolderError::at("read", &self.private))?;
        if !claims.is_empty() {
            info!(source = %self.shared.source, n_files = claims.len(), "taking over files of a host that is gone: those that it had in flight run alone once");
        }
        for claim in claims {
            self.shared.wait(claim, Duration::ZERO);
        }
        Ok(())
    }

    /// The earliest claim whose delay is over, now in flight.
    fn due_claim(&self) -> Result<Option<Claim>, FolderError> {
        let claim = self.shared.state().pop_due();
        claim.map_or(Ok(None), |claim| take::take_up(&self.shared, claim))
    }

    /// Claims and reads the next file of the listing that is available.
    fn next_listed(&mut self) -> Result<Option<Found>, FolderError> {
        if let Some(listed) = self.search.listed.filter(|_| !self.search.names.is_empty())
            && let Err(again) = self.shared.writers.look_since(listed)
        {
            self.look_again_at(again);
            return Ok(None);
        }
        while let Some(name) = self.search.names.pop() {
            self.shared.state().n_listed = self.search.names.len() + self.search.n_more;
            if let Some(claim) = self.claim(name)
                && let Some(delivery) = take::read(&self.shared, claim)?
            {
                return Ok(Some(delivery));
            }
        }
        Ok(None)
    }

    fn claim(&mut self, name: OsString) -> Option<Claim> {
        let path = self.shared.folder.join(&name);
        // Gone, most likely: another host was quicker. Any other error shows when it is listed again.
        let metadata = path.symlink_metadata().ok().filter(Metadata::is_file)?;
        let cools_until = self.shared.state().returned.get(&name).copied();
        if let Some(until) = cools_until.filter(|until| *until > Instant::now()) {
            // A run that ends when the folder is empty does not wait for files that cannot be read.
            if self.until == Until::Stopped || !self.shared.state().unreadable.has(&name) {
                self.look_again_at(until);
            }
            return None;
        }
        if !self.is_quiet(&name, &metadata) || self.is_written(&name, &metadata) {
            return None;
        }
        // Checked before it is claimed: a file that cannot be read stays where it is.
        if let Err(error) = rustix::fs::accessat(CWD, &path, Access::READ_OK, AtFlags::EACCESS) {
            if error != Errno::NOENT {
                self.shared.state().unreadable(&name, &error.into());
            }
            return None;
        }
        let Some(claim) = ClaimDir::claim(&self.opened.claim_dir, name) else {
            // The earlier file of this name is not settled yet.
            self.look_again_at(Instant::now() + self.shared.timing.quiet);
            return None;
        };
        match claim.take_from(&self.shared.folder) {
            Ok(()) => {
                self.shared.state().in_flight += 1;
                Some(claim)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                // Not an error of the source: one file that cannot be moved must not stop the others.
                if self.search.told.len() < REPORTED_MAX && self.search.told.insert(claim.name().to_owned()) {
                    warn!(file = %path.display(), %error, "cannot claim the file: it stays where it is, and is tried again");
                }
                None
            }
        }
    }

    /// Whether a file is unlikely to be still written: it was modified long enough ago by its own clock (which may
    /// be another machine's), or it has looked the same for as long by ours.
    fn is_quiet(&mut self, name: &OsStr, metadata: &Metadata) -> bool {
        let quiet = self.shared.timing.quiet;
        let look = Look::of(metadata);
        let age = look.modified.and_then(|at| SystemTime::now().duration_since(at).ok());
        let seen = match self.search.looks.get(name) {
            Some((earlier, seen)) if *earlier == look => Some(*seen),
            _ => None,
        };
        if age.is_some_and(|age| age >= quiet) || seen.is_some_and(|seen| seen.elapsed() >= quiet) {
            self.search.looks.remove(name);
            return true;
        }
        if seen.is_none() {
            // Forgetting costs these files one more look.
            if self.search.looks.len() >= LISTED_MAX {
                self.search.looks.clear();
            }
            self.search.looks.insert(name.to_owned(), (look, Instant::now()));
        }
        self.look_again_at(seen.unwrap_or_else(Instant::now) + quiet);
        false
    }

    /// Whether a process is known to have it open for writing.
    fn is_written(&mut self, name: &OsStr, metadata: &Metadata) -> bool {
        let is_written = self.shared.writers.writes(name, metadata);
        if is_written {
            debug!(file = %name.display(), "file is open for writing");
            // The watcher reports its closing; checked again in case that is missed, or it is open under a name elsewhere.
            self.look_again_at(Instant::now() + self.shared.timing.rescan);
        }
        is_written
    }

    /// Lists the folder anew.
    fn list(&mut self) -> Result<(), FolderError> {
        let began = Instant::now();
        self.search.look_again = None;
        {
            let mut state = self.shared.state();
            state.is_stale = false;
            state.returned.retain(|_, until| *until > began);
        }
        let failed = FolderError::at("list", &self.shared.folder);
        let mut names = BinaryHeap::new();
        let (mut n_files, mut skipped) = (0_usize, skipped::SkipCounts::default());
        for entry in std::fs::read_dir(&self.shared.folder).map_err(&failed)? {
            let entry = entry.map_err(&failed)?;
            let name = entry.file_name();
            let by_kind = || entry.file_type().ok().and_then(Skipped::by_kind);
            if let Some(why) = Skipped::by_name(&name).or_else(by_kind) {
                skipped.add(why, &name);
            } else if self.pattern.is_match(Path::new(&name)) {
                n_files += 1;
                names.push(name);
            }
            if names.len() > LISTED_MAX {
                names.pop();
            }
        }
        self.search.skipped.log(&self.shared.source, skipped);
        self.shared.state().forget_gone(&self.shared.folder);
        self.search.listed = Some(began);
        self.search.n_more = n_files - names.len();
        self.search.names = names.into_sorted_vec();
        self.search.names.reverse();
        self.shared.state().n_listed = n_files;
        let took = began.elapsed();
        self.search.list_again = Some(Instant::now() + self.shared.timing.rescan.max(took * LISTING_SHARE));
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.shared.state().n_waiting() >= self.prefetch * WAITING_PER_IN_FLIGHT
    }

    fn is_time_to_list(&self) -> bool {
        let now = Instant::now();
        self.shared.state().is_stale
            || self.search.list_again.is_none_or(|at| at <= now)
            || self.search.look_again.is_some_and(|at| at <= now)
    }

    fn look_again_at(&mut self, at: Instant) {
        self.search.look_again = Some(self.search.look_again.map_or(at, |earlier| earlier.min(at)));
    }

    /// The time until which there is nothing to do, unless something changes.
    fn wait(&self) -> Step {
        let due = self.shared.state().due();
        let looks = [self.search.look_again, self.search.list_again].into_iter().flatten();
        // No new file is claimed while too many claims wait: then only these can be due.
        let looks = looks.min().filter(|_| !self.is_full());
        let rescan = Instant::now() + self.shared.timing.rescan;
        Step::Wait([due, looks].into_iter().flatten().min().unwrap_or(rescan))
    }
}

impl Search {
    /// Forgets what was seen of the files, but not what was reported.
    fn forget_files(&mut self) {
        *self = Self {
            told: std::mem::take(&mut self.told),
            skipped: std::mem::take(&mut self.skipped),
            ..Self::default()
        };
    }
}

impl Step {
    fn delivered(delivery: Found) -> Self {
        Self::Delivered(Box::new(delivery))
    }
}
