//! Locks on keys: each piece of work is done once, by whoever holds its key.
//! They are the operating system's locks on files, so they die with their
//! process, however it dies.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::Path;

use super::temporary::is_still_at;
use crate::ground::ContentHash;
use crate::ground::files::FileError;

/// The sole right to work on one key; given back when dropped or when the
/// process ends. Its file stays until the store is closed.
#[derive(Debug)]
pub struct KeyLock {
    file: File,
}

impl KeyLock {
    /// Waits for the lock.
    pub(super) fn wait(path: &Path) -> Result<Self, FileError> {
        loop {
            let file = open(path)?;
            file.lock().map_err(FileError::with("lock", path))?;
            // Another process may have removed the file meanwhile: a lock on a
            // removed file keeps nobody out, so take the one that is there.
            if is_still_at(&file, path) {
                return Ok(Self { file });
            }
        }
    }

    /// Takes the lock if it is free.
    pub(super) fn attempt(path: &Path) -> Result<Option<Self>, FileError> {
        loop {
            let file = open(path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(FileError::with("lock", path)(error)),
            }
            if is_still_at(&file, path) {
                return Ok(Some(Self { file }));
            }
        }
    }
}

impl Drop for KeyLock {
    fn drop(&mut self) {
        // Closing the file gives the lock back as well.
        drop(self.file.unlock());
    }
}

/// Removes a lock's file if nobody holds it.
pub(super) fn remove(path: &Path) {
    let Ok(file) = OpenOptions::new().write(true).open(path) else { return };
    // Removed while held, so that nobody can be working under it. A file that
    // stays does no harm.
    if file.try_lock().is_ok() {
        drop(fs::remove_file(path));
    }
}

/// Removes the lock files of keys that dead processes left.
///
/// # Errors
/// [`FileError`] if the folder cannot be listed.
pub(super) fn sweep(folder: &Path) -> Result<(), FileError> {
    let entries = fs::read_dir(folder).map_err(FileError::with("list", folder))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let key = name.to_str().and_then(|name| name.strip_suffix(".lock"));
        if key.is_some_and(|key| key.parse::<ContentHash>().is_ok()) {
            remove(&entry.path());
        }
    }
    Ok(())
}

fn open(path: &Path) -> Result<File, FileError> {
    OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(FileError::with("open", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn one_holder_at_a_time_and_what_is_held_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.lock");
        let first = KeyLock::attempt(&path).unwrap().unwrap();
        assert!(KeyLock::attempt(&path).unwrap().is_none());
        remove(&path);
        assert!(path.exists());
        drop(first);
        drop(KeyLock::wait(&path).unwrap());
        remove(&path);
        assert!(!path.exists());
    }

    #[test]
    fn threads_that_wait_never_hold_it_together() {
        let folder = tempfile::tempdir().unwrap();
        let path = &folder.path().join("key.lock");
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let lock = KeyLock::wait(path).unwrap();
                        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(lock);
                        remove(path);
                    }
                });
            }
        });
        assert_eq!(most.load(Ordering::SeqCst), 1);
    }
}
