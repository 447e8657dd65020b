//! What files were found to hold, so that unchanged ones are not read again: a
//! file is known again by its size, its times and its inode. The time of its
//! last change of state (ctime) cannot be set back, as the time of its last write can.
//!
//! The memory is one append-only file of JSON lines in the store. It only saves
//! work: a line that is lost or torn means that a file is read once more.

use std::collections::BTreeMap;
use std::fs::{Metadata, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::temporary;
use crate::ground::ContentHash;
use crate::ground::files::{self, FileError};

/// What tells whether a file is still the one that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    /// Bytes.
    pub(super) size: u64,
    /// Time of the last write: nanoseconds since 1970-01-01 UTC.
    modified: i64,
    /// Time of the last change of state; 0 where there is none, and in lines
    /// of before it was recorded, which then match no file.
    #[serde(default)]
    changed: i64,
    /// The file's number on its device; 0 where there is none.
    inode: u64,
    /// The device's number; 0 where there is none.
    device: u64,
}

impl Stamp {
    #[cfg(unix)]
    pub(super) fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        let nanos = |seconds: i64, rest: i64| seconds.wrapping_mul(1_000_000_000).wrapping_add(rest);
        Self {
            size: metadata.len(),
            modified: nanos(metadata.mtime(), metadata.mtime_nsec()),
            changed: nanos(metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
            device: metadata.dev(),
        }
    }

    #[cfg(not(unix))]
    pub(super) fn of(metadata: &Metadata) -> Self {
        let since = metadata.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        let modified = since.map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX));
        Self { size: metadata.len(), modified, changed: 0, inode: 0, device: 0 }
    }

    /// When the file was changed last: milliseconds since 1970-01-01 UTC.
    pub(super) fn changed_millis(&self) -> u64 {
        u64::try_from(self.modified.max(self.changed) / 1_000_000).unwrap_or(0)
    }

    /// Whether two stamps are of one file, whatever was written to it between.
    pub(super) fn is_same_file(&self, other: &Self) -> bool {
        (self.inode, self.device) == (other.inode, other.device)
    }

    /// Whether the file was changed so shortly before `now_millis` that another
    /// change could carry the same time.
    pub(super) fn is_fresh(&self, now_millis: u64) -> bool {
        self.changed_millis().saturating_add(2_000) > now_millis
    }
}

#[derive(Serialize, Deserialize)]
struct Line {
    file: String,
    stamp: Stamp,
    hash: ContentHash,
}

type Known = BTreeMap<String, (Stamp, ContentHash)>;

/// The memory of hashed files.
#[derive(Debug)]
pub(super) struct Seen {
    path: PathBuf,
    known: Mutex<Option<Known>>,
}

impl Seen {
    /// The memory in the given file, which is read when it is first needed, and
    /// shortened by way of the folder `tmp/` beside it.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, known: Mutex::new(None) }
    }

    /// The hash of the file named `file`, if it still has this stamp.
    pub(super) fn recall(&self, file: &str, stamp: &Stamp) -> Option<ContentHash> {
        let known = self.known();
        let (seen, hash) = known.as_ref()?.get(file)?;
        (seen == stamp).then_some(*hash)
    }

    /// Remembers a hash, here and for the processes that start after.
    pub(super) fn remember(&self, file: &str, stamp: Stamp, hash: ContentHash) -> Result<(), FileError> {
        let mut known = self.known();
        if let Some(known) = known.as_mut() {
            known.insert(file.to_owned(), (stamp, hash));
        }
        let Ok(mut line) = serde_json::to_string(&Line { file: file.to_owned(), stamp, hash }) else { return Ok(()) };
        line.push('\n');
        let appended = OpenOptions::new().create(true).append(true).open(&self.path);
        appended.and_then(|mut open| open.write_all(line.as_bytes())).map_err(FileError::with("write", &self.path))
    }

    fn known(&self) -> MutexGuard<'_, Option<Known>> {
        let mut guard = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if guard.is_none() {
            *guard = Some(load(&self.path));
        }
        guard
    }
}

/// Reads the lines that decode; rewrites the file when most are outdated.
fn load(path: &Path) -> Known {
    let text = files::read_bytes(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut known = Known::new();
    let mut lines = 0_usize;
    for line in text.lines() {
        lines += 1;
        if let Ok(line) = serde_json::from_str::<Line>(line) {
            known.insert(line.file, (line.stamp, line.hash));
        }
    }
    if lines > 1_000 && lines > 4 * known.len() {
        let kept: String = known
            .iter()
            .filter_map(|(file, (stamp, hash))| {
                serde_json::to_string(&Line { file: file.clone(), stamp: *stamp, hash: *hash }).ok()
            })
            .map(|line| line + "\n")
            .collect();
        // Failing to shorten it costs nothing but its length.
        drop(temporary::write(&path.with_file_name("tmp"), path, kept.as_bytes()));
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(size: u64) -> Stamp {
        Stamp { size, modified: 5_000_000_000, changed: 4_000_000_000, inode: 3, device: 1 }
    }

    #[test]
    fn what_was_seen_is_known_to_the_next_process_and_torn_lines_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seen.jsonl");
        let hash = ContentHash::of(b"song");
        Seen::new(path.clone()).remember("a", stamp(1), hash).unwrap();
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"file\":\"b\",\"si").unwrap();
        Seen::new(path.clone()).remember("c", stamp(1), hash).unwrap();
        Seen::new(path.clone()).remember("d", stamp(1), hash).unwrap();
        let next = Seen::new(path);
        assert_eq!(next.recall("a", &stamp(1)), Some(hash));
        assert_eq!(next.recall("a", &stamp(2)), None);
        assert_eq!(next.recall("b", &stamp(1)), None);
        assert_eq!(next.recall("d", &stamp(1)), Some(hash));
    }

    #[test]
    fn a_line_of_before_ctime_was_recorded_is_read_and_matches_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seen.jsonl");
        let hash = ContentHash::of(b"song");
        let line = format!(
            r#"{{"file":"a","stamp":{{"size":1,"modified":5000000000,"inode":3,"device":1}},"hash":"{hash}"}}"#
        );
        files::write_atomically(&path, format!("{line}\n").as_bytes()).unwrap();
        let seen = Seen::new(path);
        assert_eq!(seen.recall("a", &Stamp { changed: 0, ..stamp(1) }), Some(hash));
        assert_eq!(seen.recall("a", &stamp(1)), None);
    }

    #[test]
    fn a_memory_of_outdated_lines_is_shortened() {
        let folder = tempfile::tempdir().unwrap();
        files::create_folder(&folder.path().join("tmp")).unwrap();
        let path = folder.path().join("seen.jsonl");
        let seen = Seen::new(path.clone());
        for size in 0..1_500 {
            seen.remember("a", stamp(size), ContentHash::of(b"x")).unwrap();
        }
        assert!(Seen::new(path.clone()).recall("a", &stamp(1_499)).is_some());
        assert_eq!(files::read_text(&path).unwrap().lines().count(), 1);
    }

    #[test]
    fn a_file_changed_just_now_may_change_again_unnoticed() {
        assert!(stamp(1).is_fresh(5_500));
        assert!(!stamp(1).is_fresh(7_001));
    }
}
