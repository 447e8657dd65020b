//! Files on their way into the store. Each is held by a lock of its process
//! while it is written, so that what a dead process left can be told from what
//! a living one is still writing.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::seen::Stamp;
use crate::ground::files::{self, FileError};

/// A locked file in `tmp/`; removed when dropped, unless it was published.
#[derive(Debug)]
pub(super) struct TemporaryFile {
    file: File,
    path: PathBuf,
    published: bool,
}

static COUNTER: AtomicU64 = AtomicU64::new(0);

impl TemporaryFile {
    /// Makes a new, empty file in `folder` and takes its lock.
    pub(super) fn create(folder: &Path) -> Result<Self, FileError> {
        loop {
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let path = folder.join(format!("{}-{number}.tmp", std::process::id()));
            let file = match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(FileError::with("create", &path)(error)),
            };
            match file.lock() {
                Ok(()) => {}
                // A file system without locks cannot be swept either.
                Err(error) if error.kind() == ErrorKind::Unsupported => {}
                Err(error) => return Err(FileError::with("lock", &path)(error)),
            }
            // A sweeper may have removed it between its creation and its lock.
            if is_still_at(&file, &path) {
                return Ok(Self { file, path, published: false });
            }
        }
    }

    /// Where it is until it is published.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Another handle on the same open file, for a writer.
    pub(super) fn handle(&self) -> Result<File, FileError> {
        self.file.try_clone().map_err(FileError::with("open", &self.path))
    }

    /// Writes the whole content at once.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.file.write_all(bytes).map_err(FileError::with("write", &self.path))
    }

    /// Gives the file its final name without syncing: for what may be lost.
    pub(super) fn place(mut self, to: &Path) -> Result<(), FileError> {
        fs::rename(&self.path, to).map_err(FileError::with("publish", to))?;
        self.published = true;
        Ok(())
    }

    /// Syncs the file, gives it its final name and syncs the folder.
    pub(super) fn publish(mut self, to: &Path) -> Result<(), FileError> {
        self.file.sync_all().map_err(FileError::with("sync", &self.path))?;
        files::publish(&self.path, to)?;
        self.published = true;
        Ok(())
    }
}

/// Writes a whole file so that it appears at once, by way of `folder`.
pub(super) fn write(folder: &Path, to: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut temporary = TemporaryFile::create(folder)?;
    temporary.write(bytes)?;
    temporary.publish(to)
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if !self.published {
            // What cannot be removed now is swept by the next run.
            drop(fs::remove_file(&self.path));
        }
    }
}

/// What an empty folder in `tmp/` is called after its number.
const FOLDER: &str = ".d";

/// An empty folder in `tmp/` for what other programs write. Held by the lock of
/// a file beside it; removed with all in it when dropped.
#[derive(Debug)]
pub struct TemporaryFolder {
    path: PathBuf,
    /// Given back after the folder is gone.
    _lock: TemporaryFile,
}

impl TemporaryFolder {
    /// Makes one in `folder`.
    pub(super) fn create(folder: &Path) -> Result<Self, FileError> {
        let lock = TemporaryFile::create(folder)?;
        let path = folder_beside(lock.path());
        fs::create_dir(&path).map_err(FileError::with("create", &path))?;
        Ok(Self { path, _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // What cannot be removed now is swept by the next run.
        drop(fs::remove_dir_all(&self.path));
    }
}

fn folder_beside(lock: &Path) -> PathBuf {
    lock.with_extension(FOLDER.trim_start_matches('.'))
}

/// Whether a name in `tmp/` is one of a folder's.
pub(super) fn is_folder_name(name: &str) -> bool {
    let numbers = name.strip_suffix(FOLDER).and_then(|name| name.split_once('-'));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    numbers.is_some_and(|(process, turn)| is_number(process) && is_number(turn))
}

/// Removes the folders in `folder` whose makers are dead.
pub(super) fn sweep_folders(folder: &Path) -> Result<(), FileError> {
    for entry in fs::read_dir(folder).map_err(FileError::with("list", folder))?.flatten() {
        let is_ours = entry.file_name().to_str().is_some_and(is_folder_name);
        if !is_ours || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let lock = OpenOptions::new().read(true).write(true).open(entry.path().with_extension("tmp"));
        if !lock.is_ok_and(|lock| lock.try_lock().is_err()) {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
    Ok(())
}

/// Whether the open file is still what the path leads to.
pub(super) fn is_still_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(found)) => Stamp::of(&open).is_same_file(&Stamp::of(&found)),
        _ => false,
    }
}

/// Removes the files in `folder` whose names end so and that no living process
/// holds. What cannot be opened or removed is left to the next sweep.
pub(super) fn sweep(folder: &Path, ending: &str) -> Result<(), FileError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(FileError::with("list", folder))?,
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if !path.to_string_lossy().ends_with(ending) || entry.file_type().is_ok_and(|kind| !kind.is_file()) {
            continue;
        }
        let Ok(file) = OpenOptions::new().read(true).write(true).open(&path) else { continue };
        match file.try_lock() {
            Ok(()) => drop(fs::remove_file(&path)),
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_are_swept_and_held_files_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let held = TemporaryFile::create(folder.path()).unwrap();
        let leftover = folder.path().join("1-1.tmp");
        drop(File::create(&leftover).unwrap());
        sweep(folder.path(), ".tmp").unwrap();
        assert!(!leftover.exists());
        assert!(held.path.exists());
    }

    #[test]
    fn folders_go_with_their_makers() {
        let folder = tempfile::tempdir().unwrap();
        let held = TemporaryFolder::create(folder.path()).unwrap();
        let left = folder.path().join("1-1.d");
        fs::create_dir_all(left.join("deep")).unwrap();
        let foreign = folder.path().join("notes.d");
        fs::create_dir(&foreign).unwrap();
        sweep(folder.path(), "").unwrap();
        sweep_folders(folder.path()).unwrap();
        assert!(!left.exists() && foreign.exists() && held.path().is_dir());
        let path = held.path().to_owned();
        drop(File::create(path.join("file")).unwrap());
        drop(held);
        assert!(!path.exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "its lock is gone too");
    }

    #[test]
    fn a_dropped_file_is_removed_and_a_published_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = TemporaryFile::create(folder.path()).unwrap();
        kept.write(b"song").unwrap();
        let dropped = TemporaryFile::create(folder.path()).unwrap().path.clone();
        assert!(!dropped.exists());
        let to = folder.path().join("final");
        kept.publish(&to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"song");
    }
}
