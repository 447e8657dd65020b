//! What keeps garbage collection away from results in use.
//!
//! A run decides to use a result under a [`Guard`], and before it lets the
//! guard go it writes the result's key to its [`Pins`]. Collection deletes only
//! while nobody holds a guard, and reads the pins once more before it does. So
//! a result is either seen in use and kept, or gone before anybody relied on it.
//! Both are the operating system's locks on files and die with their process.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::Store;
use super::error::StoreError;
use super::inventory::{Inventory, RunFolder};
use super::temporary::is_still_at;
use crate::ground::ContentHash;
use crate::ground::files::FileError;

/// The file in a run's folder that holds its pins, one key a line.
pub(super) const PINS: &str = "pins";

/// The file in `locks/` that guards hold.
pub(super) const GC_LOCK: &str = "gc.lock";

/// While it is held, nothing is collected. Shared by any number of holders;
/// given back when dropped. To be held for moments: a collection waits for it.
#[derive(Debug)]
pub struct Guard {
    _file: File,
}

/// While it is held, nobody holds a [`Guard`].
#[derive(Debug)]
pub(super) struct Sole {
    _file: File,
}

/// The keys whose results a run uses. Nothing of them is collected while the
/// run lives, nor for as long as its record is kept.
#[derive(Debug)]
pub struct Pins {
    path: PathBuf,
    file: Mutex<File>,
}

impl Store {
    /// Keeps collection away until the guard is dropped: for whoever decides to
    /// use a result, or publishes one, until that is recorded.
    ///
    /// # Errors
    /// [`StoreError::File`] if the lock cannot be had.
    pub fn guard(&self) -> Result<Guard, StoreError> {
        // Where there are no locks, nothing can be collected either.
        let shared = |file: &File| match file.lock_shared() {
            Err(error) if error.kind() == ErrorKind::Unsupported => Ok(()),
            locked => locked,
        };
        Ok(Guard { _file: self.locked(shared)? })
    }

    /// Waits until nobody holds a guard, and keeps all guards waiting.
    pub(super) fn sole(&self) -> Result<Sole, StoreError> {
        Ok(Sole { _file: self.locked(File::lock)? })
    }

    fn locked(&self, lock: impl Fn(&File) -> std::io::Result<()>) -> Result<File, FileError> {
        let path = self.root().join("locks").join(GC_LOCK);
        loop {
            let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
            let file = opened.map_err(FileError::with("open", &path))?;
            lock(&file).map_err(FileError::with("lock", &path))?;
            // A lock on a file that was removed meanwhile keeps nobody out.
            if is_still_at(&file, &path) {
                return Ok(file);
            }
        }
    }

    /// Acts while no run is going on, and keeps runs from starting meanwhile;
    /// does nothing and gives none if one is.
    ///
    /// # Errors
    /// [`StoreError::File`] if the lock cannot be had or the runs not be listed.
    pub fn while_idle<T>(&self, act: impl FnOnce() -> T) -> Result<Option<T>, StoreError> {
        let _sole = self.sole()?;
        let runs = Inventory::of(self)?.runs;
        let is_going_on = |run: &RunFolder| run.files.get(PINS).is_some_and(|pins| is_living(&pins.path));
        Ok((!runs.iter().any(is_going_on)).then(act))
    }

    /// The pins of the run with this folder. The run lives, for all others, as
    /// long as this value does.
    ///
    /// # Errors
    /// [`StoreError::File`] if they cannot be written.
    pub fn pins(&self, run_folder: &Path) -> Result<Pins, StoreError> {
        let path = run_folder.join(PINS);
        let file =
            OpenOptions::new().create(true).append(true).open(&path).map_err(FileError::with("create", &path))?;
        match file.lock() {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Unsupported => {}
            Err(error) => return Err(FileError::with("lock", &path)(error).into()),
        }
        Ok(Pins { path, file: Mutex::new(file) })
    }
}

impl Pins {
    /// Records that the run uses the results of these keys. To be called under
    /// a [`Guard`] that was taken before they were looked up.
    ///
    /// # Errors
    /// [`StoreError::File`] if it cannot be written.
    pub fn add(&self, keys: impl IntoIterator<Item = ContentHash>) -> Result<(), StoreError> {
        let lines = keys.into_iter().fold(String::new(), |mut lines, key| {
            writeln!(lines, "{key}").ok();
            lines
        });
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(file.write_all(lines.as_bytes()).map_err(FileError::with("write", &self.path))?)
    }
}

/// The keys in a file of pins; what a killed process left half-written is no key.
pub(super) fn read_pins(path: &Path) -> Result<Vec<ContentHash>, FileError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.lines().filter_map(|line| line.parse().ok()).collect()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(FileError::with("read", path)(error)),
    }
}

/// Whether the process of the run that holds these pins lives. In doubt it does.
pub(super) fn is_living(path: &Path) -> bool {
    match File::open(path) {
        Ok(file) => matches!(file.try_lock(), Err(TryLockError::WouldBlock | TryLockError::Error(_))),
        Err(error) => error.kind() != ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn store(folder: &Path) -> Store {
        Store::open(folder).unwrap()
    }

    #[test]
    fn guards_are_shared_and_whoever_collects_waits_for_all() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (store(folder.path()), store(folder.path()));
        let guards = (one.guard().unwrap(), other.guard().unwrap(), one.guard().unwrap());
        let released = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let sole = store(folder.path()).sole().unwrap();
                assert!(released.load(Ordering::SeqCst), "it did not wait");
                sole
            });
            drop((guards.0, guards.1));
            std::thread::yield_now();
            released.store(true, Ordering::SeqCst);
            drop(guards.2);
            drop(waiting.join().unwrap());
        });
        drop(one.guard().unwrap());
    }

    #[test]
    fn pins_are_read_while_the_run_lives_and_torn_ones_are_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        let run = store.run_folder("a").unwrap();
        let path = run.join(PINS);
        let keys = [ContentHash::of(b"a"), ContentHash::of(b"b"), ContentHash::of(b"c")];
        let pins = store.pins(&run).unwrap();
        pins.add(keys[..2].iter().copied()).unwrap();
        pins.add([keys[2]]).unwrap();
        assert_eq!(read_pins(&path).unwrap(), keys);
        assert!(is_living(&path));
        drop(pins);
        assert!(!is_living(&path));
        let length = fs::metadata(&path).unwrap().len();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(length - 2).unwrap();
        assert_eq!(read_pins(&path).unwrap(), keys[..2]);
        assert!(read_pins(&run.join("none")).unwrap().is_empty() && !is_living(&run.join("none")));
    }
}
