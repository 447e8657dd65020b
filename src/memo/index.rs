//! The index beside a closed segment, `<segment>.index`: where each of its
//! records stands, so that opening a memo reads no records. It can always be
//! made again from its segment, and one that does not fit is not believed.
//!
//! ```text
//! index    = "refrain-indx" version:u32 covered:u64 last:u64 proof:[u8; 28]
//!            records:u64 damaged:u64 record* offset:u64* checksum:[u8; 32]
//! record   = key:[u8; 32] at:u64 offset:u64 length:u32      ascending by key, the newest first
//! covered  = how long the segment is
//! last, proof = where its last record begins, and the first bytes of that, which hold a checksum
//! checksum = BLAKE3 of all before it
//! ```

use std::cmp::Reverse;

use super::Stamp;
use super::segment::FRAME;
use crate::ground::ContentHash;

const MAGIC: &[u8; 12] = b"refrain-indx";
const VERSION: u32 = 1;
const RECORD: usize = 32 + 8 + 8 + 4;
const CHECKSUM: usize = 32;

/// Where a record stands in one of a memo's segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) stamp: Stamp,
    pub(super) offset: u64,
    pub(super) length: u32,
    /// The segment's number in the memo that opened it; not kept in the file.
    pub(super) segment: u32,
}

impl Entry {
    /// Ascending by key, and the newest first.
    pub(super) fn order(&self) -> (ContentHash, Reverse<u64>) {
        (self.stamp.key, Reverse(self.stamp.at))
    }
}

/// All that is known of one closed segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Index {
    /// How long the segment is.
    pub(super) covered: u64,
    /// Where its last record begins.
    pub(super) last: u64,
    /// The first bytes of that record: another segment has others.
    pub(super) proof: Vec<u8>,
    /// Its records, in the order of [`Entry::order`].
    pub(super) entries: Vec<Entry>,
    /// Where damaged records begin, which have been reported.
    pub(super) damaged: Vec<u64>,
}

impl Index {
    /// The bytes of the file.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(128 + self.entries.len() * RECORD);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.covered.to_le_bytes());
        bytes.extend_from_slice(&self.last.to_le_bytes());
        let mut proof = self.proof.clone();
        proof.resize(FRAME, 0);
        bytes.extend_from_slice(&proof);
        for count in [self.entries.len(), self.damaged.len()] {
            bytes.extend_from_slice(&(count as u64).to_le_bytes());
        }
        for entry in &self.entries {
            bytes.extend_from_slice(entry.stamp.key.as_bytes());
            bytes.extend_from_slice(&entry.stamp.at.to_le_bytes());
            bytes.extend_from_slice(&entry.offset.to_le_bytes());
            bytes.extend_from_slice(&entry.length.to_le_bytes());
        }
        for offset in &self.damaged {
            bytes.extend_from_slice(&offset.to_le_bytes());
        }
        bytes.extend_from_slice(blake3::hash(&bytes).as_bytes());
        bytes
    }

    /// Reads the bytes of a file, if they are whole and of this version.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, checksum) = bytes.split_last_chunk::<CHECKSUM>()?;
        if blake3::hash(body).as_bytes() != checksum {
            return None;
        }
        let rest = body.strip_prefix(MAGIC)?.strip_prefix(&VERSION.to_le_bytes())?;
        let (covered, rest) = number(rest)?;
        let (last, rest) = number(rest)?;
        let (proof, rest) = rest.split_at_checked(FRAME)?;
        let (records, rest) = number(rest)?;
        let (damaged, rest) = number(rest)?;
        let (records, rest) = rest.split_at_checked(usize::try_from(records).ok()?.checked_mul(RECORD)?)?;
        let (offsets, none_left) = rest.as_chunks::<8>();
        if !none_left.is_empty() || offsets.len() as u64 != damaged {
            return None;
        }
        let entries = records.chunks_exact(RECORD).map(entry).collect::<Option<_>>()?;
        let damaged = offsets.iter().map(|offset| u64::from_le_bytes(*offset)).collect();
        Some(Self { covered, last, proof: proof.to_vec(), entries, damaged })
    }
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*number), rest))
}

fn entry(record: &[u8]) -> Option<Entry> {
    let (key, rest) = record.split_first_chunk::<32>()?;
    let (at, rest) = number(rest)?;
    let (offset, rest) = number(rest)?;
    let (length, _) = rest.split_first_chunk::<4>()?;
    let stamp = Stamp { key: ContentHash::from(*key), at };
    Some(Entry { stamp, offset, length: u32::from_le_bytes(*length), segment: 0 })
}

/// Many entries, to be found by their keys: a sorted list, and where the keys
/// that begin with the same bits stand in it.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    entries: Vec<Entry>,
    /// How many of a key's first bits: so many that few keys share them.
    bits: u32,
    /// By these bits, where they begin; and the end.
    starts: Vec<u32>,
}

impl Sorted {
    /// Adds entries, each list in the order of [`Entry::order`].
    pub(super) fn add(&mut self, lists: Vec<Vec<Entry>>) {
        let before = self.entries.len();
        if lists.len() > 1 || before > 0 {
            self.entries.reserve_exact(lists.iter().map(Vec::len).sum());
        }
        for list in lists {
            if self.entries.capacity() == 0 {
                self.entries = list;
            } else {
                self.entries.extend(list);
            }
        }
        if self.entries.len() > before {
            // Sorted lists one after the other: this sort only merges them.
            self.entries.sort_by_key(Entry::order);
            self.count();
        }
    }

    /// All of them, in the order of [`Entry::order`].
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Forgets the entries that `keep` does not keep.
    pub(super) fn retain(&mut self, keep: impl FnMut(&Entry) -> bool) {
        self.entries.retain(keep);
        self.count();
    }

    fn count(&mut self) {
        self.bits = self.entries.len().max(2).ilog2().min(24);
        self.starts = vec![0; (1 << self.bits) + 1];
        for entry in &self.entries {
            let bucket = self.bucket(&entry.stamp.key);
            self.starts[bucket + 1] += 1;
        }
        let mut sum = 0;
        for start in &mut self.starts {
            sum += *start;
            *start = sum;
        }
    }

    /// A key's first bits.
    fn bucket(&self, key: &ContentHash) -> usize {
        (key.start() >> (u64::BITS - self.bits)) as usize
    }

    /// The newest entry of a key.
    pub(super) fn newest(&self, key: &ContentHash) -> Option<&Entry> {
        if self.entries.is_empty() {
            return None;
        }
        let bucket = self.bucket(key);
        let range = *self.starts.get(bucket)? as usize..*self.starts.get(bucket + 1)? as usize;
        let bucket = self.entries.get(range)?;
        let place = bucket.partition_point(|entry| entry.stamp.key < *key);
        bucket.get(place).filter(|entry| entry.stamp.key == *key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn index(keys: &[u16]) -> Index {
        let entry = |(place, key): (usize, &u16)| {
            let stamp = Stamp { key: ContentHash::of(&key.to_le_bytes()), at: place as u64 };
            Entry { stamp, offset: 16 + place as u64, length: 40, segment: 0 }
        };
        let mut entries: Vec<Entry> = keys.iter().enumerate().map(entry).collect();
        entries.sort_by_key(Entry::order);
        Index { covered: 900, last: 800, proof: vec![7; FRAME], entries, damaged: vec![3, 5] }
    }

    proptest! {
        #[test]
        fn an_index_is_read_back_and_no_damaged_one_is(keys in prop::collection::vec(any::<u16>(), 0..30), at in 0.0..1.0_f64, with in 1..=255_u8, cut in 0.0..1.0_f64) {
            let index = index(&keys);
            let mut bytes = index.encode();
            prop_assert_eq!(Index::decode(&bytes), Some(index));
            let place = |share: f64| (share * bytes.len() as f64) as usize;
            let (at, cut) = (place(at), place(cut));
            prop_assert_eq!(Index::decode(&bytes[..cut]), None);
            bytes[at] ^= with;
            prop_assert_eq!(Index::decode(&bytes), None);
        }

        #[test]
        fn the_newest_of_each_key_is_found_in_however_many_lists_they_came(lists in prop::collection::vec(prop::collection::vec(0..40_u16, 0..20), 0..5)) {
            let mut all = Sorted::default();
            let mut expected = std::collections::BTreeMap::new();
            for keys in &lists {
                let entries = index(keys).entries;
                for entry in &entries {
                    let newest = expected.entry(entry.stamp.key).or_insert(entry.stamp.at);
                    *newest = (*newest).max(entry.stamp.at);
                }
                all.add(vec![entries]);
            }
            for key in 0..40_u16 {
                let key = ContentHash::of(&key.to_le_bytes());
                prop_assert_eq!(all.newest(&key).map(|entry| entry.stamp.at), expected.get(&key).copied());
            }
        }
    }
}
