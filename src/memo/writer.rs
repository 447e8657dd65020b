//! The segment that this process writes: locked while it is open, appended to
//! in whole batches, synced by a thread of its own, and indexed when it is closed.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::file::write_index;
use super::index::{Entry, Index};
use super::segment::{self, FRAME, Magic};
use crate::ground::files::{FileError, create_folder};

/// How long an answer may be unsynced, and how many may be.
const SYNC_AFTER: Duration = Duration::from_millis(250);
const SYNC_COUNT: usize = 64;

/// A segment under way.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) path: Arc<Path>,
    /// The segment's number in the memo.
    pub(super) number: u32,
    file: Arc<File>,
    length: u64,
    entries: Vec<Entry>,
    last: u64,
    proof: Vec<u8>,
    syncer: Syncer,
}

impl Writer {
    /// Begins a segment, which it holds locked.
    ///
    /// # Errors
    /// [`FileError`] if it cannot be made.
    pub(super) fn create(folder: &Path, magic: &Magic, number: u32, now: u64) -> Result<Self, FileError> {
        create_folder(folder)?;
        let mut count = 0_u32;
        let (path, file): (PathBuf, File) = loop {
            let path = folder.join(format!("{now:013}-{}-{count}.segment", std::process::id()));
            match OpenOptions::new().create_new(true).append(true).open(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => count += 1,
                opened => break (path.clone(), opened.map_err(FileError::with("create", &path))?),
            }
        };
        // Before its first byte, so that nobody takes it for a dead process's.
        file.lock().map_err(FileError::with("lock", &path))?;
        let header = segment::header(magic);
        if let Err(error) = (&file).write_all(&header) {
            std::fs::remove_file(&path).ok();
            return Err(FileError::with("write", &path)(error));
        }
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(FileError::with("sync", folder))?;
        let file = Arc::new(file);
        let syncer = Syncer::start(Arc::clone(&file));
        let length = header.len() as u64;
        let (entries, proof) = (Vec::new(), Vec::new());
        Ok(Self { path: path.into(), number, file, length, entries, last: length, proof, syncer })
    }

    /// How long the segment is.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Appends whole records in one piece; the offsets of `entries` are within
    /// `bytes`. Gives the entries as they stand in the segment.
    ///
    /// # Errors
    /// [`FileError`] if they could not be written; then none is in the segment.
    pub(super) fn append(&mut self, bytes: &[u8], mut entries: Vec<Entry>) -> Result<Vec<Entry>, FileError> {
        if let Err(error) = (&*self.file).write_all(bytes) {
            // Where this fails too, the next process cuts the half-written record off.
            self.file.set_len(self.length).ok();
            return Err(FileError::with("write", &self.path)(error));
        }
        self.syncer.wrote();
        if let Some(last) = entries.last() {
            self.last = self.length + last.offset;
            self.proof = bytes.get(last.offset as usize..).unwrap_or_default().iter().take(FRAME).copied().collect();
        }
        for entry in &mut entries {
            entry.offset += self.length;
            entry.segment = self.number;
        }
        self.length += bytes.len() as u64;
        self.entries.extend(&entries);
        Ok(entries)
    }

    /// What is to be synced, and where an earlier failure to do so is told.
    pub(super) fn sync(&self) -> Sync {
        Sync { file: Arc::clone(&self.file), path: Arc::clone(&self.path), failed: Arc::clone(&self.syncer.failed) }
    }

    /// Syncs the segment, writes its index and gives the lock up. Gives the
    /// entries in the order of [`Entry::order`].
    ///
    /// A segment that cannot be synced gets no index: the next process reads it.
    pub(super) fn close(mut self) -> Vec<Entry> {
        self.entries.sort_by_key(Entry::order);
        let whole = self.file.metadata().is_ok_and(|data| data.len() == self.length);
        if whole && self.sync().run().is_ok() {
            let index = Index {
                covered: self.length,
                last: self.last,
                proof: std::mem::take(&mut self.proof),
                entries: self.entries,
                damaged: Vec::new(),
            };
            write_index(&self.path, &index).ok();
            return index.entries;
        }
        self.entries
    }
}

/// A sync that needs no lock of the memo.
#[derive(Debug)]
pub(super) struct Sync {
    file: Arc<File>,
    path: Arc<Path>,
    failed: Arc<Mutex<Option<std::io::Error>>>,
}

impl Sync {
    /// Syncs what was written.
    ///
    /// # Errors
    /// [`FileError`] if it cannot be, or could not be before: the system tells
    /// of lost writes only once.
    pub(super) fn run(&self) -> Result<(), FileError> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        failed.map_or_else(|| self.file.sync_data(), Err).map_err(FileError::with("sync", &self.path))
    }
}

/// Syncs a segment from a thread of its own, many answers at once.
#[derive(Debug)]
struct Syncer {
    wrote: Option<mpsc::Sender<()>>,
    failed: Arc<Mutex<Option<std::io::Error>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Syncer {
    fn start(file: Arc<File>) -> Self {
        let (sender, receiver) = mpsc::channel::<()>();
        let failed = Arc::new(Mutex::new(None));
        let tell = Arc::clone(&failed);
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
                if let Err(error) = file.sync_data() {
                    *tell.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                }
            }
        });
        Self { wrote: Some(sender), failed, thread: thread.ok() }
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
