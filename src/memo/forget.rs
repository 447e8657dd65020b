//! Forgetting what was answered long ago: only when a user asks for it, since
//! what is forgotten is asked and paid for again when it is needed.

use std::path::Path;

use serde::Serialize;

use super::verify::{ends_with, files_below, rewrite, scanned};
use crate::ground::files::FileError;

/// How much is, or would be, forgotten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Forgotten {
    /// Records: answers, or vectors.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// How much in the memos below a folder (`memo-v1`) is of before that moment,
/// in milliseconds since 1970-01-01 UTC. Changes nothing.
///
/// # Errors
/// [`FileError`] if a folder cannot be listed or a segment not be read.
pub fn older_than(folder: &Path, before_millis: u64) -> Result<Forgotten, FileError> {
    each_old(folder, before_millis, |_| Ok(()))
}

/// Forgets what is of before that moment. Nobody may be using the memo: readers
/// hold places in its files.
///
/// # Errors
/// [`FileError`] if a folder cannot be listed, or a segment not be read or
/// written. Nothing younger is lost then.
pub fn forget(folder: &Path, before_millis: u64) -> Result<Forgotten, FileError> {
    each_old(folder, before_millis, |path| rewrite(path, |found| found.stamp.at >= before_millis))
}

fn each_old(
    folder: &Path,
    before_millis: u64,
    act: impl Fn(&Path) -> Result<(), FileError>,
) -> Result<Forgotten, FileError> {
    let mut forgotten = Forgotten::default();
    for path in files_below(folder)?.into_iter().filter(|path| ends_with(path, ".segment")) {
        let Some((_, scan, _)) = scanned(&path).map_err(FileError::with("read", &path))? else { continue };
        let old = scan.records.iter().filter(|found| found.stamp.at < before_millis);
        let (records, bytes) = old.fold((0, 0), |(records, bytes), found| (records + 1, bytes + found.length as u64));
        if records > 0 {
            act(&path)?;
        }
        forgotten.records += records;
        forgotten.bytes += bytes;
    }
    Ok(forgotten)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ground::{ContentHash, ManualClock};
    use crate::memo::VectorMemo;

    #[test]
    fn what_is_older_is_forgotten_and_the_rest_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(1_000));
        let key = |text: &str| ContentHash::of(text.as_bytes());
        let memo = || VectorMemo::new(folder.path().join("vectors"), Arc::clone(&clock) as _);
        memo().append(&[(key("old"), &[1.0, 2.0])]).unwrap();
        clock.advance(std::time::Duration::from_secs(10));
        memo().append(&[(key("new"), &[3.0])]).unwrap();
        assert_eq!(older_than(folder.path(), 1_000).unwrap(), Forgotten::default());
        let told = older_than(folder.path(), 1_001).unwrap();
        assert_eq!(told.records, 1);
        assert_eq!(forget(folder.path(), 1_001).unwrap(), told);
        assert_eq!(older_than(folder.path(), u64::MAX).unwrap().records, 1);
        assert_eq!(crate::memo::verify(folder.path()).unwrap(), []);
        assert_eq!((memo().find(key("old")), memo().find(key("new"))), (None, Some(vec![3.0])));
    }
}
