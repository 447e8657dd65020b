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
