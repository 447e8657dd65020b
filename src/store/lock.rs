//! Locks on keys: each piece of work is done once, by whoever holds its key.
//! They are the operating system's locks on files, so they die with their
//! process, however it dies.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use super::temporary::is_still_at;
use crate::ground::files::FileError;

/// The sole right to work on one key; given back when dropped or when the
/// process ends.
#[derive(Debug)]
pub struct KeyLock {
    path: PathBuf,
    file: File,
}

impl KeyLock {
    /// Waits for the lock.
    pub(super) fn wait(path: &Path) -> Result<Self, FileError> {
        loop {
            let file = open(path)?;
            file.lock().map_err(FileError::with("lock", path))?;
            // The holder before us removed the file when it was done: a lock on
            // a removed file keeps nobody out, so take the one that is there.
            if is_still_at(&file, path) {
                return Ok(Self { path: path.to_owned(), file });
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
                return Ok(Some(Self { path: path.to_owned(), file }));
            }
        }
    }
}

impl Drop for KeyLock {
    fn drop(&mut self) {
        // Removed while still held, so nobody can be working under it. A file
        // that stays does no harm, and closing the file gives the lock back.
        drop(fs::remove_file(&self.path));
        drop(self.file.unlock());
    }
}

fn open(path: &Path) -> Result<File, FileError> {
    OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(FileError::with("open", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn one_holder_at_a_time_and_no_file_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.lock");
        let first = KeyLock::attempt(&path).unwrap().unwrap();
        assert!(KeyLock::attempt(&path).unwrap().is_none());
        drop(first);
        drop(KeyLock::wait(&path).unwrap());
        assert!(!path.exists());
    }

    #[test]
    fn threads_that_wait_never_hold_it_together() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.lock");
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let lock = KeyLock::wait(&path).unwrap();
                        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
        assert_eq!(most.load(Ordering::SeqCst), 1);
    }
}
