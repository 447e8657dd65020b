//! Looking a memo through for damage, record by record, and repairing it: what
//! is damaged is lost and will be asked for again, all else is kept.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::file::{self, entries_of, fitting_index, index_of, read_from, write_index};
use super::segment::{self, Found, HEADER, Scan};
use crate::ground::files::{self, FileError};

/// What is wrong with a file of a memo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// Records in it are not as they were written.
    Records,
    /// It ends in the middle of a record: its process was killed, or the file was cut.
    TornTail,
    /// It is an index that does not fit its segment, or has none. Nothing is lost.
    Index,
    /// It is no file of a memo of this version. It is left alone.
    Foreign,
    /// It cannot be read, for this reason. It is left alone.
    Unreadable(String),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Records => f.write_str("answers in it are damaged"),
            Self::TornTail => f.write_str("its last answer was cut off"),
            Self::Index => f.write_str("the index does not fit its segment"),
            Self::Foreign => f.write_str("it is no file of the memo of this version and is left alone"),
            Self::Unreadable(why) => write!(f, "it cannot be read: {why}"),
        }
    }
}

/// Something found in a memo's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub what: Damage,
    /// How many records are lost, at least: damaged neighbours cannot be told apart.
    pub lost: u64,
}

/// Reads every record of the memos below a folder (`memo-v1`) and names what is
/// damaged or not theirs. Changes nothing. A segment that a process is writing
/// is looked at as far as it is whole.
///
/// # Errors
/// [`FileError`] if a folder cannot be listed; one that is not there holds nothing.
pub fn verify(folder: &Path) -> Result<Vec<Finding>, FileError> {
    let mut findings = Vec::new();
    for path in files_below(folder)? {
        match look_at(&path) {
            Ok(found) => {
                findings.extend(found.into_iter().map(|(what, lost)| Finding { path: path.clone(), what, lost }));
            }
            // Another process has renamed or removed it meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => findings.push(Finding { path, what: Damage::Unreadable(error.to_string()), lost: 0 }),
        }
    }
    Ok(findings)
}

/// Heals what [`verify`] finds: damaged segments are written anew without their
/// damaged records, and indices that do not fit are made again. Gives what was
/// found; what is foreign, unreadable or being written is left as it is.
///
/// # Errors
/// [`FileError`] if a folder cannot be listed or a file not be written. Nothing
/// whole is lost then.
pub fn repair(folder: &Path) -> Result<Vec<Finding>, FileError> {
    let findings = verify(folder)?;
    for finding in &findings {
        match finding.what {
            Damage::Records | Damage::TornTail => rewrite(&finding.path, |_| true)?,
            Damage::Index => {
                let removed = std::fs::remove_file(&finding.path);
                removed.map_err(FileError::with("remove", &finding.path))?;
                let segment = finding.path.with_extension("");
                if segment.exists() {
                    file::read_through(&segment, false).map_err(FileError::with("read", &segment))?;
                }
            }
            Damage::Foreign | Damage::Unreadable(_) => {}
        }
    }
    Ok(findings)
}

pub(super) fn files_below(folder: &Path) -> Result<Vec<PathBuf>, FileError> {
    let list = |folder: &Path| match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries.and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(FileError::with("list", folder)),
    };
    let mut paths = Vec::new();
    for entry in list(folder)? {
        let path = entry.path();
        // A link to a folder is not followed: what it holds is not the memo's.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            paths.extend(list(&path)?.into_iter().map(|entry| entry.path()));
        } else {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

pub(super) fn ends_with(path: &Path, ending: &str) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(ending))
}

/// What is wrong with one file, and how many records are lost by it.
fn look_at(path: &Path) -> std::io::Result<Vec<(Damage, u64)>> {
    if ends_with(path, ".segment") {
        let Some((file, scan, length)) = scanned(path)? else { return Ok(vec![(Damage::Foreign, 0)]) };
        let mut found = Vec::new();
        if !scan.damaged.is_empty() {
            found.push((Damage::Records, scan.damaged.len() as u64));
        }
        // What a living process is writing is not torn.
        if scan.end < length && file.try_lock().is_ok() {
            found.push((Damage::TornTail, 1));
        }
        return Ok(found);
    }
    if ends_with(path, ".segment.index") {
        let segment = path.with_extension("");
        let fits = || {
            let file = File::open(&segment).ok()?;
            fitting_index(&segment, &file, file.metadata().ok()?.len())
        };
        // One that a process is writing at this moment fits when looked at again.
        return Ok(if fits().or_else(fits).is_some() { Vec::new() } else { vec![(Damage::Index, 0)] });
    }
    let known = ends_with(path, ".segment.index.tmp") || ends_with(path, ".segment.tmp");
    Ok(if known { Vec::new() } else { vec![(Damage::Foreign, 0)] })
}

/// A segment's file, what a scan of its records finds and their length in
/// bytes; nothing if it is no segment of this version. One that has been begun
/// and has no header yet is empty.
pub(super) fn scanned(path: &Path) -> std::io::Result<Option<(File, Scan, usize)>> {
    let mut file = File::open(path)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    if bytes.len() < HEADER {
        return Ok(b"refrain-".starts_with(&bytes[..bytes.len().min(8)]).then(|| (file, Scan::default(), 0)));
    }
    let records = bytes.get(HEADER..).unwrap_or_default();
    if !segment::is_segment(&bytes) {
        return Ok(None);
    }
    Ok(Some((file, segment::scan(records), records.len())))
}

/// Writes a segment anew with those of its whole records that are to be kept.
/// Does nothing if a process is writing it.
pub(super) fn rewrite(path: &Path, keep: impl Fn(&Found) -> bool) -> Result<(), FileError> {
    let old = File::open(path).map_err(FileError::with("read", path))?;
    if old.try_lock().is_err() {
        return Ok(());
    }
    let bytes = read_from(&old, 0).map_err(FileError::with("read", path))?;
    let (header, records) = bytes.split_at(HEADER.min(bytes.len()));
    let mut kept = header.to_vec();
    for found in segment::scan(records).records.into_iter().filter(keep) {
        kept.extend_from_slice(records.get(found.offset..found.offset + found.length).unwrap_or_default());
    }
    let temporary = path.with_extension("segment.tmp");
    // Locked before it takes its name, so that nobody else indexes it.
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(&temporary);
    let mut file = file.map_err(FileError::with("create", &temporary))?;
    let written = file.lock().and_then(|()| file.write_all(&kept)).and_then(|()| file.sync_all());
    written.map_err(FileError::with("write", &temporary))?;
    // The old index is of a longer segment and is believed no more.
    files::publish(&temporary, path)?;
    let records = kept.get(HEADER..).unwrap_or_default();
    let scan = segment::scan(records);
    let entries = entries_of(&scan, HEADER as u64);
    write_index(path, &index_of(&scan, records, entries))
}
