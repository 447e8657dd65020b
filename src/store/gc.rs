//! Garbage collection: which results nothing refers to, and deleting them.
//!
//! A result is kept if the caller names its key, if it is what some stage used
//! last, or if a run that lives or is young enough used it. All of that is read
//! twice: at leisure, to tell what would go, and once more while no [`Guard`]
//! is held (see `guard.rs`), so that what has come into use meanwhile stays.
//!
//! [`Guard`]: super::Guard

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rayon::prelude::*;
use serde::Serialize;

use super::error::StoreError;
use super::guard::{PINS, is_living, read_pins};
use super::inventory::{Found, Inventory, RunFolder};
use super::record::Manifest;
use super::seen::Stamp;
use super::verify::read_manifest;
use super::{LastRun, Store, log};
use crate::ground::ContentHash;
use crate::ground::files::FileError;

/// What is to be kept besides the last result of every stage.
#[derive(Debug, Clone, Default)]
pub struct Retention {
    /// Everything that runs used which started no longer ago than this; also
    /// how long records of runs and files that were set aside are kept.
    pub keep: Duration,
    /// Keys whose results are kept, each with the reason.
    pub keys: BTreeMap<ContentHash, String>,
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// The record of a result.
    Manifest,
    /// An artifact.
    Object,
    /// The folder of a run's records.
    Run,
    /// A damaged file that was moved out of the way.
    SetAside,
}

/// A file, or a run's folder, that nothing refers to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Going {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub group: Group,
    /// Its size.
    pub bytes: u64,
    /// The stage that made it, with its pipeline, where that is known.
    pub stage: Option<String>,
    /// Why it may go.
    pub why: String,
}

/// What is kept for one reason. What is kept for several counts for the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// The reason.
    pub because: String,
    /// How many results.
    pub results: usize,
    /// The bytes of their artifacts.
    pub bytes: u64,
}

/// What would go, and what would stay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Collection {
    /// What nothing refers to, in the order in which it is deleted.
    pub going: Vec<Going>,
    /// What is kept, and why.
    pub kept: Vec<Kept>,
}

impl Collection {
    /// The bytes that would be free.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.going.iter().map(|going| going.bytes).sum()
    }
}

/// What was deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Collected {
    /// How many files and folders of runs.
    pub deleted: usize,
    /// Their bytes.
    pub bytes: u64,
    /// How many of those that were to go have come into use meanwhile.
    pub spared: usize,
}

impl Store {
    /// What nothing refers to. Deletes nothing.
    ///
    /// # Errors
    /// [`StoreError::File`] if the store cannot be read.
    pub fn collectable(&self, retention: &Retention) -> Result<Collection, StoreError> {
        let mut marks = Marks::new(self, retention);
        let inventory = marks.mark()?;
        Ok(marks.sort(inventory))
    }

    /// Deletes what a collection names, as far as it is still in no use. Waits
    /// for runs to finish what they publish, and keeps them waiting meanwhile.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read, what runs spent not be kept, or a file not deleted.
    /// What is left is whole: records of results go before their artifacts.
    pub fn collect(&self, retention: &Retention, collection: &Collection) -> Result<Collected, StoreError> {
        // What runs spent is kept for ever, if not their other records.
        self.close_ledgers()?;
        let mut marks = Marks::new(self, retention);
        marks.mark()?;
        let _sole = self.sole()?;
        let inventory = marks.mark()?;
        let now: BTreeSet<PathBuf> = marks.sort(inventory).going.into_iter().map(|going| going.path).collect();
        let mut collected = Collected::default();
        let mut manifests_are_gone = true;
        for going in &collection.going {
            if !now.contains(&going.path) {
                collected.spared += 1;
                continue;
            }
            if going.group == Group::Manifest {
                manifests_are_gone = false;
            } else if !manifests_are_gone {
                // Not even after a power failure may a record come back without its artifacts.
                let folder = self.root().join("manifests-v1");
                File::open(&folder).and_then(|open| open.sync_all()).map_err(FileError::with("sync", &folder))?;
                manifests_are_gone = true;
            }
            delete(going)?;
            collected.deleted += 1;
            collected.bytes += going.bytes;
        }
        Ok(collected)
    }
}

fn delete(going: &Going) -> Result<(), FileError> {
    if going.group == Group::Run {
        return delete_run(&going.path);
    }
    remove(&going.path)
}

/// Deletes the records of a run, and its folder unless something else is in it.
fn delete_run(folder: &Path) -> Result<(), FileError> {
    for name in super::inventory::RUN_FILES {
        let path = folder.join(name);
        if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_file()) {
            remove(&path)?;
        }
    }
    let logs = folder.join(super::inventory::RUN_LOGS);
    if fs::symlink_metadata(&logs).is_ok_and(|metadata| metadata.is_dir()) {
        fs::remove_dir_all(&logs).map_err(FileError::with("remove", &logs))?;
    }
    match fs::remove_dir(folder) {
        Err(error) if !matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::NotFound) => {
            Err(FileError::with("remove", folder)(error))
        }
        _ => Ok(()),
    }
}

fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(FileError::with("remove", path)(error)),
        _ => Ok(()),
    }
}

/// What is known to be in use. Marking again reads only what has changed.
struct Marks<'a> {
    store: &'a Store,
    /// The moment before which runs are old.
    since: u64,
    days: u64,
    /// The keys in use, each with the first reason found.
    reasons: BTreeMap<ContentHash, String>,
    manifests: BTreeMap<ContentHash, (Stamp, Option<Manifest>)>,
    /// The runs whose records stay, and all that were seen.
    kept_runs: BTreeSet<PathBuf>,
    runs: Option<BTreeSet<PathBuf>>,
    read: BTreeMap<PathBuf, Stamp>,
}

impl<'a> Marks<'a> {
    fn new(store: &'a Store, retention: &Retention) -> Self {
        let keep = u64::try_from(retention.keep.as_millis()).unwrap_or(u64::MAX);
        Self {
            store,
            since: store.now_millis().saturating_sub(keep),
            days: retention.keep.as_secs() / 86_400,
            reasons: retention.keys.clone(),
            manifests: BTreeMap::new(),
            kept_runs: BTreeSet::new(),
            runs: None,
            read: BTreeMap::new(),
        }
    }

    fn mark(&mut self) -> Result<Inventory, FileError> {
        let mut inventory = Inventory::of(self.store)?;
        // A result whose artifacts are elsewhere is kept as any other, with what of them is here.
        for (key, found) in std::mem::take(&mut inventory.pulled) {
            inventory.manifests.entry(key).or_insert(found);
        }
        self.mark_manifests(&inventory);
        for (pipeline, found) in &inventory.lasts {
            if self.is_news(found) {
                for last in log::read::<LastRun>(&found.path).known.values() {
                    self.keep(last.key, || format!("the last results of the stages of `{pipeline}`"));
                }
            }
        }
        for run in &inventory.runs {
            self.mark_run(run)?;
        }
        self.runs = Some(inventory.runs.iter().map(|run| run.path.clone()).collect());
        Ok(inventory)
    }

    fn mark_manifests(&mut self, inventory: &Inventory) {
        let known = &self.manifests;
        let is_news =
            |(key, found): &(&ContentHash, &Found)| known.get(key).is_none_or(|(stamp, _)| *stamp != found.stamp);
        let news: Vec<_> = inventory
            .manifests
            .par_iter()
            .filter(is_news)
            .map(|(key, found)| (*key, found.stamp, read_manifest(&found.path, key).ok()))
            .collect();
        for (key, stamp, manifest) in news {
            if self.runs.is_some() {
                self.keep(key, || "made meanwhile".to_owned());
            }
            self.manifests.insert(key, (stamp, manifest));
        }
    }

    fn mark_run(&mut self, run: &RunFolder) -> Result<(), FileError> {
        let pins = run.files.get(PINS);
        let is_new = self.runs.as_ref().is_some_and(|runs| !runs.contains(&run.path));
        let is_kept = run.started >= self.since || is_new || pins.is_some_and(|pins| is_living(&pins.path));
        if is_kept {
            self.kept_runs.insert(run.path.clone());
        }
        if let Some(pins) = pins.filter(|_| self.kept_runs.contains(&run.path))
            && self.is_news(pins)
        {
            let days = self.days;
            for key in read_pins(&pins.path)? {
                self.keep(key, || format!("runs of the last {days} days, or still running"));
            }
        }
        Ok(())
    }

    fn keep(&mut self, key: ContentHash, because: impl FnOnce() -> String) {
        self.reasons.entry(key).or_insert_with(because);
    }

    /// Whether a file was not read yet as it is now.
    fn is_news(&mut self, found: &Found) -> bool {
        self.read.insert(found.path.clone(), found.stamp) != Some(found.stamp)
    }

    /// What goes and what stays.
    fn sort(&self, inventory: Inventory) -> Collection {
        let mut collection = Collection::default();
        let mut in_use: BTreeSet<ContentHash> = BTreeSet::new();
        let mut kept: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
        let mut makers: BTreeMap<ContentHash, String> = BTreeMap::new();
        for (key, found) in inventory.manifests {
            // One that cannot be read is a matter of `verify`.
            let Some((_, Some(manifest))) = self.manifests.get(&key) else { continue };
            if let Some(because) = self.reasons.get(&key) {
                let (results, bytes) = kept.entry(because).or_default();
                *results += 1;
                let new = manifest.outputs.values().filter(|artifact| in_use.insert(artifact.hash));
                *bytes += new.map(|artifact| artifact.bytes).sum::<u64>();
                continue;
            }
            let stage = format!("{} of {}", manifest.instance, manifest.pipeline);
            manifest.outputs.values().for_each(|artifact| drop(makers.insert(artifact.hash, stage.clone())));
            let why = format!("no pipeline file, no stage and no run of the last {} days refers to it", self.days);
            collection.going.push(going(found, Group::Manifest, Some(stage), why));
        }
        for (hash, found) in inventory.objects.into_iter().filter(|(hash, _)| !in_use.contains(hash)) {
            let stage = makers.remove(&hash);
            let why = if stage.is_some() { "only results that go have it" } else { "no result has it" };
            collection.going.push(going(found, Group::Object, stage, why.to_owned()));
        }
        for run in inventory.runs.into_iter().filter(|run| !self.kept_runs.contains(&run.path)) {
            let bytes = run.files.values().map(|found| found.stamp.size).sum();
            let why = format!("it is older than {} days", self.days);
            collection.going.push(Going { path: run.path, group: Group::Run, bytes, stage: None, why });
        }
        for (_, found) in inventory.set_aside.into_iter().filter(|(at, _)| *at < self.since) {
            let why = format!("it was set aside more than {} days ago", self.days);
            collection.going.push(going(found, Group::SetAside, None, why));
        }
        let of =
            |(because, (results, bytes)): (&str, (usize, u64))| Kept { because: because.to_owned(), results, bytes };
        collection.kept = kept.into_iter().map(of).collect();
        collection
    }
}

fn going(found: Found, group: Group, stage: Option<String>, why: String) -> Going {
    Going { bytes: found.stamp.size, path: found.path, group, stage, why }
}
