//! Counting what a memo holds: every index and the beginning of every record is
//! read, no body, and nothing is checked or changed. What only a checksum can
//! tell is found by `verify`.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::index::Entry;
use super::verify::{ends_with, files_below};
use super::{Head, Stamp, file, parallel, segment};
use crate::ground::files::{self, FileError};

/// So many of a record's first bytes are read: almost every head fits.
const FIRST_BYTES: usize = 1024;

/// What a memo holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Census<K> {
    /// Files of records.
    pub segments: u64,
    /// How many of them have no index that fits: they are being written, or
    /// will be read through by the next run.
    pub without_index: u64,
    /// Bytes on the disk, indices and what is no longer found included.
    pub disk_bytes: u64,
    /// Records that can be read.
    pub records: u64,
    /// How many of them a newer record of the same key stands in front of.
    pub superseded: u64,
    /// Places where records cannot be read, as far as that shows without
    /// reading all, and files that are no segments of this version.
    pub damaged: u64,
    /// The records by what they are.
    pub groups: BTreeMap<K, Share>,
}

/// Some of a memo's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// How many.
    pub records: u64,
    /// Their bodies' bytes.
    pub bytes: u64,
    /// When the oldest is of: milliseconds since 1970-01-01 UTC.
    pub oldest: u64,
    /// When the newest is of.
    pub newest: u64,
}

impl Share {
    fn of(at: u64, bytes: u64) -> Self {
        Self { records: 1, bytes, oldest: at, newest: at }
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            records: self.records + other.records,
            bytes: self.bytes + other.bytes,
            oldest: self.oldest.min(other.oldest),
            newest: self.newest.max(other.newest),
        }
    }
}

/// Counts the records of one purpose in a folder, by what `group` says of a
/// head and the length of its body. A folder that is not there holds nothing.
///
/// # Errors
/// [`FileError`] if the folder cannot be listed, or a file not be read.
pub fn census<H: Head, K: Ord + Send>(
    folder: &Path,
    group: impl Fn(&H, u64) -> K + Sync,
) -> Result<Census<K>, FileError> {
    let paths = files_below(folder)?;
    let segments: Vec<PathBuf> = paths.iter().filter(|path| ends_with(path, ".segment")).cloned().collect();
    let mut all = Part::default();
    for (path, part) in segments.iter().zip(parallel::each(&segments, 1, |path| of_segment(path, &group))) {
        match part {
            Ok(part) => all.add(part),
            // Another process has renamed or removed it meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(FileError::with("read", path)(error)),
        }
    }
    let records = all.stamps.len() as u64;
    let mut keys: Vec<_> = all.stamps.iter().map(|stamp| stamp.key).collect();
    keys.sort_unstable();
    keys.dedup();
    Ok(Census {
        segments: segments.len() as u64,
        without_index: all.without_index,
        disk_bytes: paths.iter().filter_map(|path| files::size(path).ok()).sum(),
        records,
        superseded: records - keys.len() as u64,
        damaged: all.damaged,
        groups: all.groups,
    })
}

/// What one segment holds, or several.
struct Part<K> {
    stamps: Vec<Stamp>,
    groups: BTreeMap<K, Share>,
    without_index: u64,
    damaged: u64,
}

impl<K> Default for Part<K> {
    fn default() -> Self {
        Self { stamps: Vec::new(), groups: BTreeMap::new(), without_index: 0, damaged: 0 }
    }
}

impl<K: Ord> Part<K> {
    fn count(&mut self, group: K, share: Share) {
        let known = self.groups.get(&group).map_or(share, |known| known.and(share));
        self.groups.insert(group, known);
    }

    fn add(&mut self, other: Self) {
        self.stamps.extend(other.stamps);
        self.without_index += other.without_index;
        self.damaged += other.damaged;
        for (group, share) in other.groups {
            self.count(group, share);
        }
    }
}

fn of_segment<H: Head, K: Ord>(path: &Path, group: &impl Fn(&H, u64) -> K) -> std::io::Result<Part<K>> {
    let loaded = file::load(path, &H::MAGIC, true)?;
    let mut part = Part { damaged: loaded.lost + u64::from(loaded.foreign), ..Part::default() };
    part.without_index = u64::from(!loaded.closed);
    let file = File::open(path)?;
    let mut entries = loaded.entries;
    // In the order in which they stand on the disk.
    entries.sort_by_key(|entry| entry.offset);
    let mut bytes = Vec::new();
    for entry in &entries {
        match head::<H>(&file, entry, &mut bytes) {
            Some((head, body)) if head.stamp() == entry.stamp => {
                part.stamps.push(entry.stamp);
                part.count(group(&head, body), Share::of(entry.stamp.at, body));
            }
            _ => part.damaged += 1,
        }
    }
    Ok(part)
}

/// A record's head and how long its body is.
fn head<H: Head>(file: &File, entry: &Entry, bytes: &mut Vec<u8>) -> Option<(H, u64)> {
    let mut wanted = FIRST_BYTES;
    for _ in 0..2 {
        bytes.resize(wanted.min(entry.length as usize), 0);
        file.read_exact_at(bytes, entry.offset).ok()?;
        let end = segment::head_end(bytes).filter(|end| *end <= entry.length as usize)?;
        if end <= bytes.len() {
            return Some((segment::head(bytes)?, u64::from(entry.length) - end as u64));
        }
        wanted = end;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ground::{ContentHash, ManualClock};
    use crate::memo::Memo;

    type Texts = Memo<Stamp>;

    fn put(folder: &Path, texts: &[(&str, u64)]) -> Texts {
        let memo = Texts::new(folder.join("texts"), Arc::new(ManualClock::at(9)));
        for (text, at) in texts {
            let head = Stamp { key: ContentHash::of(&text.as_bytes()[..1]), at: *at };
            memo.append([(&head, text.as_bytes())]).unwrap();
        }
        memo
    }

    fn count(folder: &Path) -> Census<u64> {
        census(&folder.join("texts"), |_: &Stamp, length| length).unwrap()
    }

    #[expect(clippy::disallowed_methods, reason = "the damage is the point")]
    fn change(path: &Path, edit: impl Fn(&mut Vec<u8>)) {
        let mut bytes = std::fs::read(path).unwrap();
        edit(&mut bytes);
        std::fs::write(path, bytes).unwrap();
    }

    #[test]
    fn records_are_counted_by_what_they_are() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(count(folder.path()).records, 0, "a folder that is not there holds nothing");
        drop(put(folder.path(), &[("a", 1), ("bb", 2), ("ccc", 3)]));
        let open = put(folder.path(), &[("aaa", 7), ("a", 5)]);
        let census = count(folder.path());
        assert_eq!((census.segments, census.without_index, census.records), (2, 1, 5), "one is being written");
        assert_eq!((census.superseded, census.damaged), (2, 0));
        let [one, two, three] = [1, 2, 3].map(|length| census.groups[&length]);
        assert_eq!((one.records, one.oldest, one.newest), (2, 1, 5));
        assert_eq!((two.bytes, three.bytes, three.newest), (2, 6, 7));
        let stamps: Vec<u64> = open.stamps().iter().map(|stamp| stamp.at).collect();
        assert_eq!(stamps.len(), 3, "the newest of each key");
        assert!(stamps.contains(&7) && !stamps.contains(&1) && !stamps.contains(&5));
        let keys = ["a", "b", "x"].map(|text| ContentHash::of(text.as_bytes()));
        assert_eq!(open.newest(&keys), [Some(7), Some(2), None]);
    }

    #[test]
    fn a_damaged_memo_is_counted_as_far_as_it_goes() {
        let folder = tempfile::tempdir().unwrap();
        drop(put(folder.path(), &[("a", 1), ("bb", 2), ("ccc", 3)]));
        let segment = files_below(folder.path()).unwrap().into_iter().find(|path| ends_with(path, ".segment")).unwrap();
        // A head that is no JSON any more, under an index that fits: nothing else is read.
        change(&segment, |bytes| {
            let at = bytes.windows(6).position(|window| window == b"\"at\":2").unwrap();
            bytes[at] = b'}';
        });
        let census = count(folder.path());
        assert_eq!((census.records, census.damaged, census.without_index), (2, 1, 0));
        // A torn tail: the index fits no more, and the checksums tell.
        change(&segment, |bytes| bytes.truncate(bytes.len() - 1));
        let census = count(folder.path());
        assert_eq!((census.records, census.without_index), (1, 1));
        let before = std::fs::read(&segment).unwrap();
        assert_eq!(count(folder.path()).records, 1);
        assert_eq!(std::fs::read(&segment).unwrap(), before, "counting heals nothing");
        change(&segment, |bytes| bytes[0] = b'X');
        assert_eq!((count(folder.path()).records, count(folder.path()).damaged), (0, 1));
    }
}
