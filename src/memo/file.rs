//! One segment on disk: taking in what it holds, by its index where that fits
//! and else by reading it through, and healing what a killed process left.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::index::{Entry, Index};
use super::segment::{self, FRAME, HEADER, Magic, Scan};
use crate::ground::files::{self, FileError};

/// Where the index of a segment is.
pub(super) fn index_path(segment: &Path) -> PathBuf {
    with_ending(segment, ".index")
}

/// Where an index is written before it takes its name. Only who holds the
/// segment's lock writes it, so what a killed process leaves is overwritten.
pub(super) fn unfinished_index_path(segment: &Path) -> PathBuf {
    with_ending(segment, ".index.tmp")
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// What was found in a segment.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// Its records in the order of [`Entry::order`].
    pub(super) entries: Vec<Entry>,
    /// Up to where it has been read; more may be added while a process writes it.
    pub(super) end: u64,
    /// Whether nobody writes it any more.
    pub(super) closed: bool,
    /// Whether it is no segment of this purpose and version.
    pub(super) foreign: bool,
    /// Where damaged records begin that no index knew of.
    pub(super) damaged: Vec<u64>,
    /// In how many places damaged records begin, with those that an index knew of.
    pub(super) lost: u64,
    /// Whether a torn tail was cut off.
    pub(super) torn: bool,
}

/// Takes in a segment. Unless `read_only`, one that nobody writes any more
/// loses its torn tail and gets its index.
///
/// # Errors
/// The system's, if it cannot be read.
pub(super) fn load(path: &Path, magic: &Magic, read_only: bool) -> std::io::Result<Loaded> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    if length < HEADER as u64 {
        return Ok(Loaded::default());
    }
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, 0)?;
    if header != segment::header(magic) {
        return Ok(Loaded { foreign: true, closed: true, end: length, ..Loaded::default() });
    }
    match fitting_index(path, &file, length) {
        Some(index) => {
            let lost = index.damaged.len() as u64;
            Ok(Loaded { entries: index.entries, end: length, closed: true, lost, ..Loaded::default() })
        }
        None => read_through(path, read_only),
    }
}

/// Takes in a segment without its index, of which only the damage that it
/// knows is believed.
///
/// # Errors
/// The system's, if it cannot be read.
pub(super) fn read_through(path: &Path, read_only: bool) -> std::io::Result<Loaded> {
    let file = File::open(path)?;
    if file.metadata()?.len() < HEADER as u64 {
        return Ok(Loaded::default());
    }
    // A segment's writer holds its lock while it lives.
    let closed = !read_only && file.try_lock().is_ok();
    let bytes = read_from(&file, HEADER as u64)?;
    let scan = segment::scan(&bytes);
    let reported = fitting_index(path, &file, (HEADER + bytes.len()) as u64).unwrap_or_default().damaged;
    let damaged = scan.damaged.iter().map(|offset| (HEADER + offset) as u64);
    let mut loaded = Loaded {
        entries: entries_of(&scan, HEADER as u64),
        end: (HEADER + scan.end) as u64,
        closed,
        lost: scan.damaged.len() as u64,
        damaged: damaged.filter(|offset| !reported.contains(offset)).collect(),
        ..Loaded::default()
    };
    if closed {
        loaded.torn = scan.end < bytes.len();
        heal(path, &file, loaded.torn.then_some(loaded.end))?;
        // Without an index the next process reads the segment through once more.
        write_index(path, &index_of(&scan, &bytes, loaded.entries.clone())).ok();
    }
    Ok(loaded)
}

/// Cuts a torn tail off, and makes sure that all before it is on the disk
/// before an index refers to it.
fn heal(path: &Path, file: &File, end: Option<u64>) -> std::io::Result<()> {
    if let Some(end) = end {
        OpenOptions::new().write(true).open(path)?.set_len(end)?;
    }
    file.sync_all()
}

/// The index, if it is whole and of this segment as it now is.
pub(super) fn fitting_index(path: &Path, file: &File, length: u64) -> Option<Index> {
    let index = Index::decode(&files::read_bytes(&index_path(path)).ok()?)?;
    let mut proof = [0; FRAME];
    let proven = index.entries.is_empty()
        || (file.read_exact_at(&mut proof, index.last).is_ok() && proof.as_slice() == index.proof);
    (index.covered == length && proven).then_some(index)
}

/// The index of a scanned segment; `bytes` are those after its header.
pub(super) fn index_of(scan: &Scan, bytes: &[u8], entries: Vec<Entry>) -> Index {
    let last = scan.records.last().map_or(0, |found| found.offset);
    Index {
        covered: (HEADER + scan.end) as u64,
        last: (HEADER + last) as u64,
        proof: bytes.get(last..last + FRAME).unwrap_or_default().to_vec(),
        entries,
        damaged: scan.damaged.iter().map(|offset| (HEADER + offset) as u64).collect(),
    }
}

/// Writes an index beside its segment, whole or not at all. Only for who holds
/// the segment's lock, after the segment was synced.
///
/// # Errors
/// [`FileError`] if it cannot be written.
pub(super) fn write_index(path: &Path, index: &Index) -> Result<(), FileError> {
    let unfinished = unfinished_index_path(path);
    let written = File::create(&unfinished).and_then(|mut file| {
        // Held while it is written: what is not held was left by a dead process.
        file.lock().ok();
        file.write_all(&index.encode())?;
        file.sync_all()?;
        Ok(file)
    });
    let written = written.map_err(FileError::with("write", &unfinished));
    let published = written.and_then(|_held| files::publish(&unfinished, &index_path(path)));
    if published.is_err() {
        // On a full disk every block counts. What cannot be removed is overwritten by the next index.
        drop(fs::remove_file(&unfinished));
    }
    published
}

/// The records of a scan that began at `base`, in the order of [`Entry::order`].
pub(super) fn entries_of(scan: &Scan, base: u64) -> Vec<Entry> {
    let entry = |found: &segment::Found| Entry {
        stamp: found.stamp,
        offset: base + found.offset as u64,
        length: found.length as u32,
        segment: 0,
    };
    let mut entries: Vec<Entry> = scan.records.iter().map(entry).collect();
    entries.sort_by_key(Entry::order);
    entries
}

/// What stands in a file from an offset on.
pub(super) fn read_from(file: &File, offset: u64) -> std::io::Result<Vec<u8>> {
    let length = file.metadata()?.len().saturating_sub(offset);
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}
