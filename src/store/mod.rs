//! Artifacts on disk: content-addressed Parquet files, the manifests that say
//! what each key produced, locks on keys, and the memory of what was verified.
//!
//! Everything appears whole or not at all: written in `tmp/`, synced, renamed,
//! the folder synced. A process that dies at any point leaves the old state or
//! the new one. The store knows nothing of stages, kinds or plans.
//!
//! ```text
//! objects-v1/ab/abcd….parquet          named by the BLAKE3 of their bytes
//! manifests-v1/<key>.json              what a key produced
//! last-v2/<pipeline>.jsonl             what each instance used last
//! runs-v1/<time>-<id>/                 the records of each run, and `pins`: the keys it uses
//! pulled-v1/<key>-<remote>.json        what a key produced, where the artifacts are in another store
//! columns-v1.jsonl                     which columns of their inputs stages read
//! shared-v1.jsonl                      what other stores have as well
//! seen-v1.jsonl                        verified files by size, times and inode
//! people-v1/                           whom pseudonyms stand for, kept by others
//! tmp/  locks/  set-aside/
//! ```

mod error;
mod gc;
mod guard;
mod incoming;
mod inventory;
mod last;
mod ledger;
mod lock;
mod log;
mod record;
mod seen;
#[cfg(test)]
mod speed_tests;
mod temporary;
#[cfg(test)]
mod tests;
mod verify;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::ground::files::{self, FileError};
use crate::ground::{Clock, ContentHash, SystemClock, hash_file};

pub use crate::table::ColumnFacts;
pub use error::StoreError;
pub use gc::{Collected, Collection, Going, Group, Kept, Retention};
pub use guard::{Guard, Pins};
pub use incoming::Incoming;
pub use last::LastRun;
pub use ledger::{LedgerEntry, LedgerLog};
pub use lock::KeyLock;
pub use record::{Artifact, Blessing, FORMAT, Manifest};
pub use temporary::TemporaryFolder;
pub use verify::{Finding, Trouble, Verification};
pub use writer::ArtifactWriter;

use last::Lasts;
use log::Log;
use seen::{Seen, Stamp};
use temporary::TemporaryFile;

const FOLDERS: [&str; 9] =
    ["objects-v1", "manifests-v1", incoming::PULLED, "last-v2", "runs-v1", ledger::LEDGER, "tmp", "locks", "set-aside"];

/// The folder of the memo, and those in it in which its files are finished.
const MEMO: &str = "memo-v1";
const MEMO_FOLDERS: [&str; 2] = ["http", "vectors"];

const CACHEDIR_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
    # This folder holds artifacts of refrain; they can be made again.\n";

/// What became of an artifact's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectState {
    /// It is there, and its bytes have the hash that is its name.
    Good,
    /// It is not there.
    Missing,
    /// Its bytes are not what they were; the file now lies under this path.
    Damaged {
        /// Where it was moved to, for inspection.
        set_aside: PathBuf,
    },
}

/// The columns that are read of each input: by port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnsRead {
    /// By port; a port that is not named is read whole.
    pub columns: BTreeMap<String, Vec<String>>,
}

/// A folder of artifacts, shared by any number of pipelines and processes.
/// Clones are handles on the same store.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    clock: Arc<dyn Clock>,
    seen: Seen,
    lasts: Lasts,
    columns: Log<ColumnsRead>,
    shared: Log<incoming::Shared>,
    /// The lock files that were made, which stay until the store is closed:
    /// making and removing one for each key is slow on some file systems.
    locks: Mutex<BTreeSet<PathBuf>>,
    warnings: Mutex<Vec<String>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let locks = std::mem::take(&mut *self.locks.lock().unwrap_or_else(PoisonError::into_inner));
        for path in locks {
            lock::remove(&path);
        }
    }
}

impl Store {
    /// Opens the store in a folder and makes what is missing. Temporary files and
    /// locks that dead processes left are removed.
    ///
    /// # Errors
    /// [`StoreError::File`] if a folder cannot be made or listed.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        Self::open_at(root, Arc::new(SystemClock))
    }

    /// Opens the store with a clock of the caller's: for tests.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_at(root: &Path, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        for folder in FOLDERS {
            files::create_folder(&root.join(folder))?;
        }
        for (name, text) in [("CACHEDIR.TAG", CACHEDIR_TAG), (".gitignore", "*\n")] {
            let path = root.join(name);
            if !path.exists() {
                temporary::write(&root.join("tmp"), &path, text.as_bytes())?;
            }
        }
        temporary::sweep_folders(&root.join("tmp"))?;
        temporary::sweep(&root.join("tmp"), "")?;
        for memo in MEMO_FOLDERS {
            temporary::sweep(&root.join(MEMO).join(memo), ".tmp")?;
        }
        lock::sweep(&root.join("locks"))?;
        let inner = Inner {
            root: root.to_owned(),
            clock,
            seen: Seen::new(root.join("seen-v1.jsonl")),
            lasts: Lasts::new(root.join("last-v2"), root.join("tmp")),
            columns: Log::new(root.join("columns-v1.jsonl"), root.join("tmp")),
            shared: Log::new(root.join("shared-v1.jsonl"), root.join("tmp")),
            locks: Mutex::default(),
            warnings: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The store's folder, as it was given.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// The folder of the memo, which others keep: answers in `http`, vectors of
    /// texts in `vectors`.
    #[must_use]
    pub fn memo_folder(&self) -> PathBuf {
        self.root().join(MEMO)
    }

    /// The folder in which it is kept whom pseudonyms stand for: no artifact is
    /// in it, and only its owner may read it.
    #[must_use]
    pub fn people_folder(&self) -> PathBuf {
        self.root().join("people-v1")
    }

    /// Starts an artifact.
    ///
    /// # Errors
    /// [`StoreError::File`] if no temporary file can be made.
    pub fn writer(&self) -> Result<ArtifactWriter, StoreError> {
        ArtifactWriter::new(self.clone(), TemporaryFile::create(&self.root().join("tmp"))?)
    }

    /// Makes an empty folder for what other programs write; it is removed when
    /// the value is dropped.
    ///
    /// # Errors
    /// [`StoreError::File`] if it cannot be made.
    pub fn temporary_folder(&self) -> Result<TemporaryFolder, StoreError> {
        Ok(TemporaryFolder::create(&self.root().join("tmp"))?)
    }

    /// Where the artifact of that hash is, or would be.
    #[must_use]
    pub fn object_path(&self, hash: &ContentHash) -> PathBuf {
        let name = hash.to_string();
        let folder = name.get(..2).unwrap_or_default();
        let mut path = self.root().join("objects-v1");
        path.push(folder);
        path.push(format!("{name}.parquet"));
        path
    }

    /// Whether an artifact's file is there and whole. Its bytes are read once
    /// per size, times and inode; a damaged file is moved to
    /// `set-aside/` and reported in the warnings.
    #[must_use]
    pub fn check(&self, artifact: &Artifact) -> ObjectState {
        let path = self.object_path(&artifact.hash);
        let stamp = match fs::metadata(&path) {
            Ok(metadata) => Stamp::of(&metadata),
            Err(error) => {
                if error.kind() != std::io::ErrorKind::NotFound {
                    self.warn(format!("could not look at the artifact `{}`: {error}", path.display()));
                }
                return ObjectState::Missing;
            }
        };
        let name = object_name(&artifact.hash);
        if self.inner.seen.recall(&name, &stamp) == Some(artifact.hash) {
            return ObjectState::Good;
        }
        let why = match hash_file(&path) {
            Ok(found) if found == artifact.hash => {
                self.remember(&name, stamp, found);
                return ObjectState::Good;
            }
            Ok(_) if stamp.size == artifact.bytes => "its bytes changed".to_owned(),
            Ok(_) => format!("it has {} bytes instead of {}", stamp.size, artifact.bytes),
            Err(error) if error.is_not_found() => return ObjectState::Missing,
            Err(error) => format!("it cannot be read ({})", error.source),
        };
        match self.set_aside(&path) {
            Ok(set_aside) => {
                self.warn(format!(
                    "the artifact `{}` is damaged: {why}; it was moved to `{}`",
                    path.display(),
                    set_aside.display()
                ));
                ObjectState::Damaged { set_aside }
            }
            Err(error) => {
                self.warn(format!("the artifact `{}` is damaged: {why}; {error}: {}", path.display(), error.source));
                ObjectState::Missing
            }
        }
    }

    /// What a key produced, if it is known. A record that cannot be believed is
    /// set aside with a warning and counts as unknown.
    ///
    /// # Errors
    /// [`StoreError::File`] if the record is there but cannot be read.
    pub fn manifest(&self, key: &ContentHash) -> Result<Option<Manifest>, StoreError> {
        let path = self.root().join("manifests-v1").join(format!("{key}.json"));
        self.record(&path, "manifest", |manifest: &Manifest| manifest.format == FORMAT && manifest.key == *key)
    }

    /// Publishes what a key produced, after its artifacts were finished. The
    /// record before it, if any, is replaced.
    ///
    /// # Errors
    /// [`StoreError::File`] or [`StoreError::Encode`]; the old record is then
    /// still there.
    pub fn publish(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let path = self.root().join("manifests-v1").join(format!("{}.json", manifest.key));
        self.write_record(&path, &record::seal("a manifest", manifest)?)
    }

    /// What an instance of a pipeline used last, if that is known.
    #[must_use]
    pub fn last(&self, pipeline: &str, instance: &str) -> Option<LastRun> {
        self.inner.lasts.find(pipeline, instance)
    }

    /// Remembers what an instance of a pipeline used.
    ///
    /// # Errors
    /// [`StoreError::File`] if it cannot be written.
    pub fn set_last(&self, pipeline: &str, instance: &str, last: LastRun) -> Result<(), StoreError> {
        Ok(self.inner.lasts.note(pipeline, instance, last)?)
    }

    /// Which columns a stage reads, as it was found before for the same
    /// question: finding it may take much longer than remembering it.
    #[must_use]
    pub fn columns_read(&self, question: &ContentHash) -> Option<ColumnsRead> {
        self.inner.columns.find(&question.to_string())
    }

    /// Remembers which columns a stage reads.
    pub fn set_columns_read(&self, question: &ContentHash, columns: ColumnsRead) {
        if let Err(error) = self.inner.columns.note(&question.to_string(), columns) {
            self.warn(format!("{error}: {}; it will be found out again next time", error.source));
        }
    }

    /// Takes the lock of a key, waiting until it is free.
    ///
    /// # Errors
    /// [`StoreError::File`] if the file system refuses to lock.
    pub fn lock(&self, key: &ContentHash) -> Result<KeyLock, StoreError> {
        let lock = KeyLock::wait(&self.lock_path(key))?;
        self.note_lock(key);
        Ok(lock)
    }

    /// Takes the lock of a key if it is free; `None` if another process, or
    /// another handle of this one, holds it.
    ///
    /// # Errors
    /// [`StoreError::File`] if the file system refuses to lock.
    pub fn try_lock(&self, key: &ContentHash) -> Result<Option<KeyLock>, StoreError> {
        let lock = KeyLock::attempt(&self.lock_path(key))?;
        self.note_lock(key);
        Ok(lock)
    }

    fn note_lock(&self, key: &ContentHash) {
        self.inner.locks.lock().unwrap_or_else(PoisonError::into_inner).insert(self.lock_path(key));
    }

    /// The BLAKE3 of a file outside the store, read again only when its size,
    /// times or inode differ.
    ///
    /// # Errors
    /// [`FileError`] if it cannot be read.
    pub fn file_hash(&self, path: &Path) -> Result<ContentHash, FileError> {
        let metadata = fs::metadata(path).map_err(FileError::with("read", path))?;
        let stamp = Stamp::of(&metadata);
        let name = std::path::absolute(path).ok().and_then(|path| Some(format!("file:{}", path.to_str()?)));
        let Some(name) = name else { return hash_file(path) };
        if let Some(hash) = self.inner.seen.recall(&name, &stamp) {
            return Ok(hash);
        }
        let hash = hash_file(path)?;
        if !stamp.is_fresh(self.now_millis()) {
            self.remember(&name, stamp, hash);
        }
        Ok(hash)
    }

    /// Makes the folder of one run, `runs-v1/<time>-<id>/`.
    ///
    /// # Errors
    /// [`StoreError::File`] if it cannot be made.
    pub fn run_folder(&self, id: &str) -> Result<PathBuf, StoreError> {
        let millis = i64::try_from(self.now_millis()).unwrap_or(i64::MAX);
        let time = jiff::Timestamp::from_millisecond(millis).unwrap_or_default().strftime("%Y%m%dT%H%M%SZ").to_string();
        let path = self.root().join("runs-v1").join(format!("{time}-{id}"));
        // For people who look back: it need not outlive a power cut.
        fs::create_dir_all(&path).map_err(FileError::with("create", &path))?;
        Ok(path)
    }

    /// What happened in the store since the last call that the user should
    /// know: damage that was found, records that could not be believed.
    #[must_use]
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut *self.inner.warnings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn now_millis(&self) -> u64 {
        self.inner.clock.now_millis()
    }

    fn warn(&self, text: String) {
        self.inner.warnings.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }

    fn lock_path(&self, key: &ContentHash) -> PathBuf {
        self.root().join("locks").join(format!("{key}.lock"))
    }

    /// Reads a sealed record; one that cannot be believed is set aside.
    fn record<T: serde::de::DeserializeOwned>(
        &self,
        path: &Path,
        what: &str,
        fits: impl FnOnce(&T) -> bool,
    ) -> Result<Option<T>, StoreError> {
        let bytes = match files::read_bytes(path) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let why = match record::unseal::<T>(bytes) {
            Ok(record) if fits(&record) => return Ok(Some(record)),
            Ok(_) => "it is of another key or format".to_owned(),
            Err(why) => why,
        };
        let moved = match self.set_aside(path) {
            Ok(to) => format!("it was moved to `{}`", to.display()),
            Err(error) => format!("{error}: {}", error.source),
        };
        self.warn(format!("the {what} `{}` is damaged: {why}; {moved}", path.display()));
        Ok(None)
    }

    fn write_record(&self, path: &Path, text: &str) -> Result<(), StoreError> {
        Ok(temporary::write(&self.root().join("tmp"), path, text.as_bytes())?)
    }

    /// Moves a damaged file out of the way, keeping it for inspection.
    fn set_aside(&self, path: &Path) -> Result<PathBuf, FileError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let folder = self.root().join("set-aside");
        let millis = self.now_millis();
        let mut to = folder.join(format!("{millis}-{name}"));
        let mut turn = 1;
        while to.exists() {
            turn += 1;
            to = folder.join(format!("{millis}-{turn}-{name}"));
        }
        fs::rename(path, &to).map_err(FileError::with("set aside", path))?;
        Ok(to)
    }

    /// Remembers a file that was just written and hashed on the way.
    fn remember_object(&self, artifact: &Artifact) {
        if let Ok(metadata) = fs::metadata(self.object_path(&artifact.hash)) {
            self.remember(&object_name(&artifact.hash), Stamp::of(&metadata), artifact.hash);
        }
    }

    fn remember(&self, name: &str, stamp: Stamp, hash: ContentHash) {
        if let Err(error) = self.inner.seen.remember(name, stamp, hash) {
            self.warn(format!("{error}: {}; the file will be read again next time", error.source));
        }
    }
}

fn object_name(hash: &ContentHash) -> String {
    format!("object:{hash}")
}
