//! The memo of answers: what was answered once is never asked for again.
//!
//! A folder of append-only segments (see `segment.rs`). Every process writes a
//! segment of its own, which it holds locked while it lives; it reads those of
//! all others. A record is written as its answer arrives, so killing the process
//! loses only what was in flight; it is synced to the disk within a quarter of a
//! second. Not a cache of stages' results: that is the store's part.

mod segment;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::call::Answer;
use crate::ground::files::{FileError, create_folder};
use crate::ground::{Clock, ContentHash};

/// A segment that has grown beyond this is closed and another begun.
const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
/// How long an answer may be unsynced, and how many may be.
const SYNC_AFTER: Duration = Duration::from_millis(250);
const SYNC_COUNT: usize = 64;
/// How often a miss looks for what other processes have added, in milliseconds.
const REFRESH_MILLIS: u64 = 1000;

/// All the answers in one folder.
#[derive(Debug)]
pub(super) struct Memo {
    folder: PathBuf,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    looked_at: Option<u64>,
    segments: BTreeMap<PathBuf, u64>,
    index: BTreeMap<ContentHash, Place>,
    writer: Option<Writer>,
    warnings: Vec<String>,
}

#[derive(Debug, Clone)]
struct Place {
    segment: Arc<Path>,
    offset: u64,
    length: usize,
    at: u64,
}

#[derive(Debug)]
struct Writer {
    path: Arc<Path>,
    file: Arc<File>,
    length: u64,
    syncer: Syncer,
}

impl Memo {
    /// The memo in a folder, which need not exist yet. Reads nothing.
    pub(super) fn new(folder: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self { folder, clock, state: Mutex::default() }
    }

    /// The newest answer of that key, if it is not older than `max_age`.
    pub(super) fn find(&self, key: ContentHash, max_age: Option<Duration>) -> Option<Answer> {
        let now = self.clock.now_millis();
        let young = |at: u64| max_age.is_none_or(|most| u128::from(now.saturating_sub(at)) <= most.as_millis());
        let place = {
            let mut state = self.locked();
            let known = |state: &State| state.index.get(&key).filter(|place| young(place.at)).cloned();
            let due = state.looked_at.is_none_or(|at| now.saturating_sub(at) >= REFRESH_MILLIS);
            match known(&state) {
                None if due => {
                    state.looked_at = Some(now);
                    self.refresh(&mut state);
                    known(&state)?
                }
                found => found?,
            }
        };
        let answer = read(&place).and_then(|bytes| segment::decode(key, &bytes));
        if answer.is_none() {
            let mut state = self.locked();
            state.index.remove(&key);
            state.warnings.push(damaged(&place.segment, place.offset));
        }
        answer
    }

    /// Writes an answer at once.
    ///
    /// # Errors
    /// [`FileError`] if it could not be written.
    pub(super) fn append(&self, key: ContentHash, request: &str, answer: &Answer) -> Result<(), FileError> {
        let Some(record) = segment::encode(key, request, answer) else { return Ok(()) };
        let mut state = self.locked();
        let mut writer = match state.writer.take().filter(|writer| writer.length < SEGMENT_BYTES) {
            Some(writer) => writer,
            None => self.open(&mut state)?,
        };
        // On failure the writer is dropped, so nothing is added after half a record.
        (&*writer.file).write_all(&record).map_err(FileError::with("write", &writer.path))?;
        writer.syncer.wrote();
        let place =
            Place { segment: Arc::clone(&writer.path), offset: writer.length, length: record.len(), at: answer.at };
        writer.length += record.len() as u64;
        state.index.insert(key, place);
        state.writer = Some(writer);
        Ok(())
    }

    /// Syncs what was written.
    ///
    /// # Errors
    /// [`FileError`] if it could not be synced.
    pub(super) fn flush(&self) -> Result<(), FileError> {
        let file = self.locked().writer.as_ref().map(|writer| (Arc::clone(&writer.file), Arc::clone(&writer.path)));
        file.map_or(Ok(()), |(file, path)| file.sync_data().map_err(FileError::with("sync", &path)))
    }

    /// The damage found since the last call.
    pub(super) fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.locked().warnings)
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a segment of this process, locked for as long as it is open.
    fn open(&self, state: &mut State) -> Result<Writer, FileError> {
        create_folder(&self.folder)?;
        let mut count = 0_u32;
        let (path, file) = loop {
            let name = format!("{:013}-{}-{count}.segment", self.clock.now_millis(), std::process::id());
            let path = self.folder.join(name);
            match OpenOptions::new().create_new(true).append(true).open(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => count += 1,
                opened => break (path.clone(), opened.map_err(FileError::with("create", &path))?),
            }
        };
        file.lock().map_err(FileError::with("lock", &path))?;
        let header = segment::header();
        (&file).write_all(&header).map_err(FileError::with("write", &path))?;
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(FileError::with("sync", &self.folder))?;
        state.segments.insert(path.clone(), u64::MAX);
        let file = Arc::new(file);
        let syncer = Syncer::start(Arc::clone(&file));
        Ok(Writer { path: path.into(), file, length: header.len() as u64, syncer })
    }

    /// Reads what has been added to the folder since the last look.
    fn refresh(&self, state: &mut State) {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return };
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "segment"));
        paths.sort();
        for path in paths {
            let seen = state.segments.get(&path).copied().unwrap_or_default();
            match read_from(&path, seen) {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => state.take_in(path, seen, &bytes),
                Err(error) => state.warnings.push(format!("could not read the memo's `{}`: {error}", path.display())),
            }
        }
    }
}

impl State {
    /// Indexes the records in `bytes`, which stand at `seen` in the segment.
    fn take_in(&mut self, path: PathBuf, seen: u64, bytes: &[u8]) {
        let start = if seen == 0 { segment::HEADER } else { 0 };
        if seen == 0 && bytes.len() >= start && !segment::has_header(bytes) {
            let path_shown = path.display();
            self.warnings.push(format!("`{path_shown}` is no memo segment of this version and is left alone"));
            self.segments.insert(path, u64::MAX);
            return;
        }
        let Some(records) = bytes.get(start..) else { return };
        let scan = segment::scan(records);
        let base = seen + start as u64;
        let shared: Arc<Path> = Arc::from(path.as_path());
        for offset in &scan.damaged {
            self.warnings.push(damaged(&path, base + *offset as u64));
        }
        for found in scan.records {
            let place = Place {
                segment: Arc::clone(&shared),
                offset: base + found.offset as u64,
                length: found.length,
                at: found.at,
            };
            match self.index.get(&found.key) {
                Some(known) if known.at > place.at => {}
                _ => drop(self.index.insert(found.key, place)),
            }
        }
        let end = base + scan.end as u64;
        if scan.end < records.len() && cut_torn_tail(&path, end, base + records.len() as u64) {
            self.warnings.push(format!(
                "the last answer in the memo's `{}` was cut off and will be asked again",
                path.display()
            ));
        }
        self.segments.insert(path, end);
    }
}

/// Removes what a killed process left after the last whole record. Does nothing
/// if the segment's process lives, or if it has grown meanwhile.
fn cut_torn_tail(path: &Path, end: u64, seen_length: u64) -> bool {
    let Ok(file) = OpenOptions::new().write(true).open(path) else { return false };
    let dead = file.try_lock().is_ok() && file.metadata().is_ok_and(|data| data.len() == seen_length);
    dead && file.set_len(end).and_then(|()| file.sync_all()).is_ok()
}

fn damaged(path: &Path, offset: u64) -> String {
    format!("an answer in the memo's `{}` at byte {offset} is damaged and will be asked again", path.display())
}

fn read(place: &Place) -> Option<Vec<u8>> {
    let mut bytes = vec![0; place.length];
    File::open(&place.segment).ok()?.read_exact_at(&mut bytes, place.offset).ok()?;
    Some(bytes)
}

fn read_from(path: &Path, offset: u64) -> std::io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len().saturating_sub(offset);
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// Syncs a segment from a thread of its own, many answers at once.
#[derive(Debug)]
struct Syncer {
    wrote: Option<mpsc::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Syncer {
    fn start(file: Arc<File>) -> Self {
        let (sender, receiver) = mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name("memo sync".into()).spawn(move || {
            while receiver.recv().is_ok() {
                let began = Instant::now();
                let mut count = 1;
                while count < SYNC_COUNT {
                    match receiver.recv_timeout(SYNC_AFTER.saturating_sub(began.elapsed())) {
                        Ok(()) => count += 1,
                        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
                    }
                }
                // A failure shows again at the final flush, which reports it.
                file.sync_data().ok();
            }
        });
        Self { wrote: Some(sender), thread: thread.ok() }
    }

    fn wrote(&self) {
        if let Some(sender) = &self.wrote {
            sender.send(()).ok();
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        drop(self.wrote.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

#[cfg(test)]
mod tests;
