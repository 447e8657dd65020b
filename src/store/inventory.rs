//! What lies in a store's folder, sorted into what Refrain wrote there and what
//! it did not. Symlinks are never followed; nothing is opened.

use std::collections::BTreeMap;
use std::fs::{self, FileType, Metadata};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::guard::{GC_LOCK, PINS};
use super::incoming::{IDENTITY, PULLED};
use super::ledger::{LEDGER, SPENT};
use super::seen::Stamp;
use super::temporary::is_folder_name;
use super::{FOLDERS, Store};
use crate::ground::ContentHash;
use crate::ground::files::FileError;

/// Files that the store's own folder may hold.
const ROOT_FILES: [&str; 7] =
    ["CACHEDIR.TAG", ".gitignore", ".gitkeep", "columns-v1.jsonl", "seen-v1.jsonl", "shared-v1.jsonl", IDENTITY];
/// Files that a run's folder may hold.
pub(super) const RUN_FILES: [&str; 5] = ["plan.json", "events.jsonl", "summary.json", PINS, SPENT];
/// The folder in a run's folder that holds what jobs of a cluster printed.
pub(super) const RUN_LOGS: &str = "slurm";
/// How old a temporary file without a lock must be before it counts as left.
const LEFT_AFTER_MILLIS: u64 = 3_600_000;

/// A file of Refrain's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) stamp: Stamp,
}

/// The records of one run.
#[derive(Debug, Clone)]
pub(super) struct RunFolder {
    pub(super) path: PathBuf,
    /// When it started: milliseconds since 1970-01-01 UTC.
    pub(super) started: u64,
    /// Its files, by name.
    pub(super) files: BTreeMap<String, Found>,
}

/// What lies in a store's folder.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    pub(super) objects: BTreeMap<ContentHash, Found>,
    pub(super) manifests: BTreeMap<ContentHash, Found>,
    /// Records whose artifacts are in another store.
    pub(super) pulled: BTreeMap<ContentHash, Found>,
    /// By pipeline.
    pub(super) lasts: BTreeMap<String, Found>,
    pub(super) runs: Vec<RunFolder>,
    /// What runs that have ended spent.
    pub(super) ledger: Vec<Found>,
    /// With the time at which each was set aside.
    pub(super) set_aside: Vec<(u64, Found)>,
    /// Temporary files that dead processes left.
    pub(super) leftovers: Vec<Found>,
    /// What Refrain did not write, and what is odd about it.
    pub(super) foreign: Vec<(PathBuf, &'static str)>,
}

/// What is in `tmp/` under such a name is held by a living process: opening
/// the store has removed the others.
fn temporary(entry: Entry) -> Option<Entry> {
    let ours = entry.name.strip_suffix(".tmp").and_then(|name| name.split_once('-')).is_some_and(is_numbers);
    (!ours).then_some(entry)
}

fn lock(entry: Entry) -> Option<Entry> {
    let key = entry.name.strip_suffix(".lock").and_then(|name| name.parse::<ContentHash>().ok());
    (key.is_none() && entry.name != GC_LOCK).then_some(entry)
}

/// One thing in a folder.
struct Entry {
    path: PathBuf,
    /// Empty if it is not UTF-8, which no name of Refrain's is.
    name: String,
    kind: FileType,
    metadata: Metadata,
}

impl Entry {
    fn found(self) -> Found {
        Found { stamp: Stamp::of(&self.metadata), path: self.path }
    }
}

impl Inventory {
    /// Lists a store's folder.
    ///
    /// # Errors
    /// [`FileError`] if a folder cannot be listed.
    pub(super) fn of(store: &Store) -> Result<Self, FileError> {
        let mut inventory = Self::default();
        let now = store.now_millis();
        for entry in entries(store.root())? {
            if entry.kind.is_dir() {
                match entry.name.as_str() {
                    "objects-v1" => inventory.take_objects(&entry.path)?,
                    "manifests-v1" => inventory.take_files(&entry.path, now, Self::manifest)?,
                    PULLED => inventory.take_files(&entry.path, now, Self::pulled)?,
                    "last-v2" => inventory.take_files(&entry.path, now, Self::last)?,
                    "runs-v1" => inventory.take_runs(&entry.path)?,
                    LEDGER => inventory.take_files(&entry.path, now, Self::spent)?,
                    "set-aside" => inventory.take_files(&entry.path, now, Self::aside)?,
                    "tmp" => inventory.take_temporary(&entry.path, now)?,
                    "locks" => inventory.take_files(&entry.path, now, |_, entry| lock(entry))?,
                    // The memo and the names are looked after by whoever writes them.
                    name if name.starts_with("memo-v") || name.starts_with("people-v") => {}
                    _ => inventory.reject(entry),
                }
            } else if !entry.kind.is_file() || !ROOT_FILES.contains(&entry.name.as_str()) {
                inventory.stray(entry, now);
            }
        }
        Ok(inventory)
    }

    fn take_objects(&mut self, folder: &Path) -> Result<(), FileError> {
        for shelf in entries(folder)? {
            if !shelf.kind.is_dir() || shelf.name.len() != 2 {
                self.reject(shelf);
                continue;
            }
            for entry in entries(&shelf.path)? {
                let hash = entry.name.strip_suffix(".parquet").and_then(|name| name.parse::<ContentHash>().ok());
                match hash.filter(|_| entry.kind.is_file() && entry.name.starts_with(&shelf.name)) {
                    Some(hash) => drop(self.objects.insert(hash, entry.found())),
                    None => self.reject(entry),
                }
            }
        }
        Ok(())
    }

    fn take_runs(&mut self, folder: &Path) -> Result<(), FileError> {
        for entry in entries(folder)? {
            let Some(started) = started(&entry.name).filter(|_| entry.kind.is_dir()) else {
                self.reject(entry);
                continue;
            };
            let mut run = RunFolder { path: entry.path.clone(), started, files: BTreeMap::new() };
            for file in entries(&entry.path)? {
                if file.kind.is_dir() && file.name == RUN_LOGS {
                    continue;
                }
                if file.kind.is_file() && RUN_FILES.contains(&file.name.as_str()) {
                    run.files.insert(file.name.clone(), file.found());
                } else {
                    self.reject(file);
                }
            }
            self.runs.push(run);
        }
        Ok(())
    }

    /// Sorts the files of one folder; `take` gives back what it does not know.
    fn take_files(
        &mut self,
        folder: &Path,
        now: u64,
        take: impl Fn(&mut Self, Entry) -> Option<Entry>,
    ) -> Result<(), FileError> {
        for entry in entries(folder)? {
            let stranger = if entry.kind.is_file() { take(self, entry) } else { Some(entry) };
            if let Some(entry) = stranger {
                self.stray(entry, now);
            }
        }
        Ok(())
    }

    fn take_temporary(&mut self, folder: &Path, now: u64) -> Result<(), FileError> {
        for entry in entries(folder)? {
            let stranger = match entry.kind {
                kind if kind.is_file() => temporary(entry),
                kind if kind.is_dir() && is_folder_name(&entry.name) => None,
                _ => Some(entry),
            };
            if let Some(entry) = stranger {
                self.stray(entry, now);
            }
        }
        Ok(())
    }

    fn manifest(&mut self, entry: Entry) -> Option<Entry> {
        let Some(key) = entry.name.strip_suffix(".json").and_then(|name| name.parse().ok()) else { return Some(entry) };
        self.manifests.insert(key, entry.found());
        None
    }

    fn pulled(&mut self, entry: Entry) -> Option<Entry> {
        let key = entry.name.strip_suffix(".json").and_then(|name| name.split_once('-')?.0.parse().ok());
        let Some(key) = key else { return Some(entry) };
        self.pulled.insert(key, entry.found());
        None
    }

    fn last(&mut self, entry: Entry) -> Option<Entry> {
        let Some(pipeline) = entry.name.strip_suffix(".jsonl").map(str::to_owned) else { return Some(entry) };
        self.lasts.insert(pipeline, entry.found());
        None
    }

    fn spent(&mut self, entry: Entry) -> Option<Entry> {
        if entry.name.strip_suffix(".parquet").and_then(started).is_none() {
            return Some(entry);
        }
        self.ledger.push(entry.found());
        None
    }

    fn aside(&mut self, entry: Entry) -> Option<Entry> {
        let Some(at) = entry.name.split_once('-').and_then(|(millis, _)| millis.parse().ok()) else {
            return Some(entry);
        };
        self.set_aside.push((at, entry.found()));
        None
    }

    /// A file under none of the names of its folder: one that a killed process
    /// was writing beside its target, else a foreign one.
    fn stray(&mut self, entry: Entry, now: u64) {
        let hidden = entry.name.strip_prefix('.').and_then(|name| name.strip_suffix(".tmp"));
        let numbers = hidden.and_then(|name| name.rsplit_once('.')?.1.split_once('-'));
        if !entry.kind.is_file() || !numbers.is_some_and(is_numbers) {
            self.reject(entry);
        } else if Stamp::of(&entry.metadata).changed_millis().saturating_add(LEFT_AFTER_MILLIS) < now {
            self.leftovers.push(entry.found());
        }
    }

    fn reject(&mut self, entry: Entry) {
        let why = if entry.kind.is_symlink() {
            "it is a symlink, which is never followed"
        } else if is_of_another_version(&entry.name) {
            "another version of refrain may have written it; this one does not read it"
        } else {
            "refrain did not write it"
        };
        self.foreign.push((entry.path, why));
    }
}

/// Whether a name is one of the store's own, but for its version.
fn is_of_another_version(name: &str) -> bool {
    let Some((stem, version)) = name.split_once("-v") else { return false };
    version.starts_with(|c: char| c.is_ascii_digit())
        && FOLDERS.iter().chain(&["seen-v1"]).any(|own| own.split_once("-v").is_some_and(|(own, _)| own == stem))
}

fn is_numbers((one, other): (&str, &str)) -> bool {
    [one, other].iter().all(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// When the run with that folder's name started.
fn started(name: &str) -> Option<u64> {
    let (time, id) = name.split_once('-')?;
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", time).ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    (!id.is_empty()).then(|| u64::try_from(time.timestamp().as_millisecond()).unwrap_or(0))
}

/// What is in a folder, in the order of names. What vanishes meanwhile is left out.
fn entries(folder: &Path) -> Result<Vec<Entry>, FileError> {
    let listed = match fs::read_dir(folder) {
        Ok(listed) => listed,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(FileError::with("list", folder)(error)),
    };
    let mut found = Vec::new();
    for entry in listed {
        let entry = entry.map_err(FileError::with("list", folder))?;
        let name = entry.file_name().into_string().unwrap_or_default();
        // This is of a symlink itself, not of what it leads to.
        let Ok(metadata) = entry.metadata() else { continue };
        found.push(Entry { path: entry.path(), name, kind: metadata.file_type(), metadata });
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_run_tells_when_it_started() {
        assert_eq!(started("20010909T014640Z-ab12"), Some(1_000_000_000_000));
        assert_eq!((started("20010909T014640Z-"), started("notes"), started("x-y")), (None, None, None));
    }
}
