//! Requests in flight, counted over all processes: each is a locked file, and a
//! lock dies with the process that holds it.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::share::{lock, open};

/// The slots of one limiter.
#[derive(Debug)]
pub(super) struct Slots {
    folder: PathBuf,
    stem: String,
    count: usize,
    /// Where the last free one was found.
    last: AtomicUsize,
}

impl Slots {
    /// So many slots, in files of a folder.
    pub(super) fn new(folder: PathBuf, stem: String, count: usize) -> Self {
        Self { folder, stem, count, last: AtomicUsize::new(0) }
    }

    /// A free slot, which is taken until it is dropped; none if all are taken.
    ///
    /// # Errors
    /// The system's, if the files cannot be used.
    pub(super) fn take(&self) -> std::io::Result<Option<File>> {
        let first = self.last.load(Ordering::Relaxed);
        for number in (0..self.count).map(|number| (first + number) % self.count) {
            let file = open(&self.folder.join(format!("{}.slot{number}", self.stem)))?;
            if let Some(slot) = lock(file, 1)? {
                self.last.store((number + 1) % self.count, Ordering::Relaxed);
                return Ok(Some(slot));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_processes_have_no_more_in_flight_than_one_may() {
        let folder = tempfile::tempdir().expect("a folder");
        let [one, other] = [(); 2].map(|()| Slots::new(folder.path().join("new"), "a@b".to_owned(), 3));
        let mut held: Vec<File> = Vec::new();
        for slots in [&one, &other, &one] {
            held.push(slots.take().expect("a folder").expect("a free slot"));
        }
        assert!(one.take().expect("a folder").is_none() && other.take().expect("a folder").is_none());
        held.remove(1);
        assert!(one.take().expect("a folder").is_some(), "what another gave back");
    }
}
