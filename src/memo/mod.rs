//! The memo: what was answered or computed once is never asked for again.
//!
//! A folder of append-only segments (see `segment.rs`), one folder for each
//! purpose: answers of APIs are `web`'s, text vectors stand in `vectors.rs`.
//! Every process writes a segment of its own, which it holds locked while it
//! lives; it reads those of all others. A record is written as soon as it is
//! known, so killing the process loses only what was in flight; it is synced to
//! the disk within a quarter of a second. A segment that is closed has an index
//! beside it, so that a memo of millions is open at once. Not a cache of stages'
//! results: that is the store's part.

mod census;
mod file;
mod forget;
mod index;
mod listing;
mod parallel;
mod segment;
mod vectors;
mod verify;
mod writer;

use std::collections::BTreeMap;
use std::fs::File;
use std::marker::PhantomData;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rayon::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::ground::files::FileError;
use crate::ground::{Clock, ContentHash};

pub use census::{Census, Share, census};
pub use forget::{Forgotten, forget, older_than};
pub use vectors::{VectorMemo, vector_key};
pub use verify::{Damage, Finding, repair, verify};

use file::Loaded;
use index::{Entry, Sorted};
use writer::Writer;

/// A segment that has grown beyond this is closed and another begun.
const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
/// How often a miss looks for what other processes have added, in milliseconds.
const REFRESH_MILLIS: u64 = 1000;
/// How many segments are held open for reading.
const OPEN_FILES: usize = 64;

/// What a record is found by, and how old it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// What was asked, hashed.
    pub key: ContentHash,
    /// When it was answered: milliseconds since 1970-01-01 UTC.
    pub at: u64,
}

/// What stands before a record's body, as JSON. Its fields `key` and `at` are
/// those of its stamp.
pub trait Head: Serialize + DeserializeOwned {
    /// What segments of this purpose begin with.
    const MAGIC: [u8; 12];

    /// The record's key and time.
    fn stamp(&self) -> Stamp;
}

/// How much of what rows need is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// How many rows there are.
    pub rows: u64,
    /// How many of them need nothing that is not known.
    pub known: u64,
    /// How many different things are not known.
    pub left: u64,
}

/// Counts the rows whose keys are known; a row without a key needs nothing.
/// Also gives the keys that are not known, in ascending order.
pub fn tally(
    keys: &[Option<ContentHash>],
    known: impl FnOnce(&[ContentHash]) -> Vec<bool>,
) -> (Tally, Vec<ContentHash>) {
    let mut needed: Vec<ContentHash> = keys.iter().flatten().copied().collect();
    // Each is found near the one before it: a million found in no order waits for memory a million times.
    needed.par_sort_unstable();
    let answers = known(&needed);
    let mut missing: Vec<ContentHash> =
        needed.iter().zip(answers).filter(|(_, known)| !known).map(|(key, _)| *key).collect();
    let known = (keys.len() - missing.len()) as u64;
    missing.dedup();
    (Tally { rows: keys.len() as u64, known, left: missing.len() as u64 }, missing)
}

/// All the records of one purpose, in one folder.
#[derive(Debug)]
pub struct Memo<H> {
    folder: PathBuf,
    clock: Arc<dyn Clock>,
    read_only: bool,
    state: Mutex<State>,
    head: PhantomData<fn() -> H>,
}

#[derive(Debug, Default)]
struct State {
    looked_at: Option<u64>,
    /// By their numbers.
    segments: Vec<Segment>,
    numbers: BTreeMap<PathBuf, u32>,
    /// What was there when its segment was first seen, or when it was closed.
    settled: Sorted,
    /// What has been added since, by this process and others.
    recent: BTreeMap<ContentHash, Entry>,
    files: BTreeMap<u32, Arc<File>>,
    writer: Option<Writer>,
    warnings: Vec<String>,
}

#[derive(Debug)]
struct Segment {
    path: Arc<Path>,
    /// Up to where it has been read.
    end: u64,
    /// Whether nothing will be added that is not known: closed, foreign, or this process's own.
    complete: bool,
}

impl<H: Head> Memo<H> {
    /// The memo in a folder, which need not exist yet. Reads nothing.
    pub fn new(folder: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self { folder, clock, read_only: false, state: Mutex::default(), head: PhantomData }
    }

    /// The same, never to be written: nothing is healed, indexed or appended.
    pub fn read_only(folder: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self { read_only: true, ..Self::new(folder, clock) }
    }

    /// The newest record of that key, if it is not older than `max_age`.
    pub fn find(&self, key: ContentHash, max_age: Option<Duration>) -> Option<(H, Vec<u8>)> {
        let youngest = self.youngest(max_age);
        // What turns out to be damaged is looked for once more: an older record may be there.
        for _ in 0..3 {
            let (entry, opened) = {
                let mut state = self.locked();
                let entry = match state.newest(&key, youngest) {
                    None if self.refresh_if_due(&mut state) => state.newest(&key, youngest)?,
                    found => found?,
                };
                (entry, state.open(entry.segment))
            };
            let found = opened.and_then(|file| {
                let mut bytes = vec![0; entry.length as usize];
                file.read_exact_at(&mut bytes, entry.offset).ok()?;
                let (head, body) = segment::decode::<H>(&bytes)?;
                (head.stamp().key == key).then(|| (head, body.to_vec()))
            });
            if found.is_some() {
                return found;
            }
            self.read_again(&entry);
        }
        None
    }

    /// For each key whether there is a record not older than `max_age`. Reads
    /// no record: one that is damaged counts.
    pub fn known(&self, keys: &[ContentHash], max_age: Option<Duration>) -> Vec<bool> {
        let youngest = self.youngest(max_age);
        let mut state = self.locked();
        self.refresh_if_due(&mut state);
        let state = &*state;
        parallel::each(keys, 16_384, |key| state.newest(key, youngest).is_some())
    }

    /// Writes records at once, all or none. One that is too large to be kept is
    /// left out.
    ///
    /// # Errors
    /// [`FileError`] if they could not be written.
    pub fn append<'a>(&self, records: impl IntoIterator<Item = (&'a H, &'a [u8])>) -> Result<(), FileError>
    where
        H: 'a,
    {
        if self.read_only {
            let source = std::io::Error::from(std::io::ErrorKind::ReadOnlyFilesystem);
            return Err(FileError { action: "write", path: self.folder.clone(), source });
        }
        let (mut bytes, mut entries) = (Vec::new(), Vec::new());
        for (head, body) in records {
            let offset = bytes.len();
            if segment::encode(head, body, &mut bytes) {
                let length = (bytes.len() - offset) as u32;
                entries.push(Entry { stamp: head.stamp(), offset: offset as u64, length, segment: 0 });
            }
        }
        if entries.is_empty() {
            return Ok(());
        }
        let mut state = self.locked();
        let mut writer = match state.writer.take() {
            Some(writer) if writer.length() < SEGMENT_BYTES => writer,
            full => {
                if let Some(full) = full {
                    state.close(full);
                }
                self.begin(&mut state)?
            }
        };
        match writer.append(&bytes, entries) {
            Ok(entries) => {
                for entry in entries {
                    state.add_recent(entry);
                }
                state.writer = Some(writer);
                Ok(())
            }
            Err(error) => {
                state.close(writer);
                Err(error)
            }
        }
    }

    /// Syncs what was written.
    ///
    /// # Errors
    /// [`FileError`] if it could not be synced, now or by the thread that does so meanwhile.
    pub fn flush(&self) -> Result<(), FileError> {
        let sync = self.locked().writer.as_ref().map(Writer::sync);
        sync.map_or(Ok(()), |sync| sync.run())
    }

    /// The damage found since the last call.
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.locked().warnings)
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time before which a record is too old.
    fn youngest(&self, max_age: Option<Duration>) -> u64 {
        let millis = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        max_age.map_or(0, |age| self.clock.now_millis().saturating_sub(millis(age)))
    }

    /// Begins a segment of this process.
    fn begin(&self, state: &mut State) -> Result<Writer, FileError> {
        let number = state.segments.len() as u32;
        let writer = Writer::create(&self.folder, &H::MAGIC, number, self.clock.now_millis())?;
        state.add_segment(writer.path.to_path_buf(), 0, true);
        Ok(writer)
    }

    /// Takes in what has been added to the folder, if the last look is long
    /// enough ago. Whether it has looked.
    fn refresh_if_due(&self, state: &mut State) -> bool {
        let now = self.clock.now_millis();
        // A clock that was set back must not keep it from looking.
        if state.looked_at.is_some_and(|at| now >= at && now - at < REFRESH_MILLIS) {
            return false;
        }
        state.looked_at = Some(now);
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return true };
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "segment"));
        paths.sort();
        let (known, new): (Vec<_>, Vec<_>) = paths.into_iter().partition(|path| state.numbers.contains_key(path));
        for path in &known {
            state.take_growth(path);
        }
        let loaded = parallel::each(&new, 1, |path| file::load(path, &H::MAGIC, self.read_only));
        let taken: Vec<Vec<Entry>> =
            new.into_iter().zip(loaded).filter_map(|(path, loaded)| state.take_in(path, loaded)).collect();
        state.settled.add(taken);
        true
    }

    /// A record is not where it should be: its segment is read through, so that
    /// all that is damaged in it is known and told.
    fn read_again(&self, entry: &Entry) {
        let mut state = self.locked();
        state.files.remove(&entry.segment);
        let Some(path) = state.segments.get(entry.segment as usize).map(|segment| Arc::clone(&segment.path)) else {
            return;
        };
        if state.recent.get(&entry.stamp.key).is_some_and(|known| known == entry) {
            state.recent.remove(&entry.stamp.key);
            state.warnings.push(damaged(&path, entry.offset));
            return;
        }
        let loaded = file::read_through(&path, self.read_only);
        let mut entries = loaded.as_ref().map(|loaded| loaded.entries.clone()).unwrap_or_default();
        for found in &mut entries {
            found.segment = entry.segment;
        }
        state.settled.retain(|known| known.segment != entry.segment);
        state.settled.add(vec![entries]);
        state.warn_of(&path, &loaded);
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            drop(writer.close());
        }
    }
}

impl State {
    /// The newest entry of a key that is not older than `youngest`.
    fn newest(&self, key: &ContentHash, youngest: u64) -> Option<Entry> {
        let (settled, recent) = (self.settled.newest(key), self.recent.get(key));
        let newest = settled.into_iter().chain(recent).max_by_key(|entry| entry.stamp.at);
        newest.filter(|entry| entry.stamp.at >= youngest).copied()
    }

    /// A segment's file, for reading.
    fn open(&mut self, number: u32) -> Option<Arc<File>> {
        if let Some(file) = self.files.get(&number) {
            return Some(Arc::clone(file));
        }
        if self.files.len() >= OPEN_FILES {
            self.files.clear();
        }
        let file = Arc::new(File::open(&self.segments.get(number as usize)?.path).ok()?);
        self.files.insert(number, Arc::clone(&file));
        Some(file)
    }

    fn add_segment(&mut self, path: PathBuf, end: u64, complete: bool) -> u32 {
        let number = self.segments.len() as u32;
        self.segments.push(Segment { path: Arc::from(path.as_path()), end, complete });
        self.numbers.insert(path, number);
        number
    }

    fn add_recent(&mut self, entry: Entry) {
        match self.recent.get(&entry.stamp.key) {
            Some(known) if known.stamp.at > entry.stamp.at => {}
            _ => drop(self.recent.insert(entry.stamp.key, entry)),
        }
    }

    /// Closes this process's segment; its records are settled then.
    fn close(&mut self, writer: Writer) {
        let number = writer.number;
        let entries = writer.close();
        self.recent.retain(|_, entry| entry.segment != number);
        self.settled.add(vec![entries]);
    }

    /// Takes in a segment that was not known before, and gives its entries.
    fn take_in(&mut self, path: PathBuf, loaded: std::io::Result<Loaded>) -> Option<Vec<Entry>> {
        self.warn_of(&path, &loaded);
        let loaded = loaded.ok().filter(|loaded| loaded.end > 0)?;
        let number = self.add_segment(path, loaded.end, loaded.closed);
        let mut entries = loaded.entries;
        for entry in &mut entries {
            entry.segment = number;
        }
        Some(entries)
    }

    /// Takes in what another process has added to its segment.
    fn take_growth(&mut self, path: &Path) {
        let Some(&number) = self.numbers.get(path) else { return };
        let Some(segment) = self.segments.get_mut(number as usize).filter(|segment| !segment.complete) else { return };
        let Ok(bytes) = File::open(path).and_then(|file| file::read_from(&file, segment.end)) else { return };
        let scan = segment::scan(&bytes);
        let base = segment.end;
        segment.end += scan.end as u64;
        self.warnings.extend(scan.damaged.iter().map(|offset| damaged(path, base + *offset as u64)));
        for entry in file::entries_of(&scan, base) {
            self.add_recent(Entry { segment: number, ..entry });
        }
    }

    fn warn_of(&mut self, path: &Path, loaded: &std::io::Result<Loaded>) {
        let shown = path.display();
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(error) => return self.warnings.push(format!("could not read the memo's `{shown}`: {error}")),
        };
        if loaded.foreign {
            self.warnings.push(format!("`{shown}` is no memo segment of this version and is left alone"));
        }
        self.warnings.extend(loaded.damaged.iter().map(|offset| damaged(path, *offset)));
        if loaded.torn {
            self.warnings.push(format!("the last answer in the memo's `{shown}` was cut off and will be asked again"));
        }
    }
}

/// The warning about a damaged record.
fn damaged(path: &Path, offset: u64) -> String {
    format!("an answer in the memo's `{}` at byte {offset} is damaged and will be asked again", path.display())
}

#[cfg(test)]
mod tests;
