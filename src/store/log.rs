//! A small memory that only saves work: named values in one append-only file
//! of JSON lines, so that noting one costs one write and knowing all of them
//! costs one read. The newest line of a name holds.
//!
//! It is not synced: a line that is lost or torn costs no more than itself.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::ground::files::{self, FileError};

#[derive(Serialize, Deserialize)]
struct Line<N, V> {
    name: N,
    #[serde(flatten)]
    value: V,
}

/// The values noted in one file.
#[derive(Debug)]
pub(super) struct Log<V> {
    path: PathBuf,
    state: Mutex<Option<State<V>>>,
}

#[derive(Debug)]
struct State<V> {
    known: BTreeMap<String, V>,
    /// Open for adding once something was added.
    file: Option<File>,
}

impl<V: Clone + Serialize + DeserializeOwned> Log<V> {
    /// The log in the given file, which is read when it is first needed.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, state: Mutex::new(None) }
    }

    /// The newest value of that name.
    pub(super) fn find(&self, name: &str) -> Option<V> {
        self.state().as_ref()?.known.get(name).cloned()
    }

    /// The newest values of all names.
    pub(super) fn all(&self) -> BTreeMap<String, V> {
        self.state().as_ref().map(|state| state.known.clone()).unwrap_or_default()
    }

    /// Notes a value, here and for the processes that start after.
    ///
    /// # Errors
    /// [`FileError`] if it cannot be written.
    pub(super) fn note(&self, name: &str, value: V) -> Result<(), FileError> {
        let Ok(mut text) = serde_json::to_string(&Line { name, value: &value }) else { return Ok(()) };
        text.push('\n');
        let mut guard = self.state();
        let Some(state) = guard.as_mut() else { return Ok(()) };
        let mut file = match &state.file {
            Some(file) => file,
            None => state.file.insert(open(&self.path, &mut text)?),
        };
        file.write_all(text.as_bytes()).map_err(FileError::with("write", &self.path))?;
        state.known.insert(name.to_owned(), value);
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, Option<State<V>>> {
        let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        guard.get_or_insert_with(|| State { known: load(&self.path), file: None });
        guard
    }
}

/// Opens the file for adding. What a killed process left of its last line is
/// ended, so that it does not swallow the next one.
fn open(path: &Path, text: &mut String) -> Result<File, FileError> {
    let file = OpenOptions::new().create(true).read(true).append(true).open(path);
    let file = file.map_err(FileError::with("open", path))?;
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let mut end = [b'\n'];
    if length > 0 {
        file.read_exact_at(&mut end, length - 1).map_err(FileError::with("read", path))?;
    }
    if end != [b'\n'] {
        text.insert(0, '\n');
    }
    Ok(file)
}

/// What a file holds.
pub(super) struct Read<V> {
    pub(super) known: BTreeMap<String, V>,
    /// How many lines it has.
    pub(super) lines: usize,
    /// How many of them cannot be read.
    pub(super) torn: usize,
}

/// Reads the lines that decode.
pub(super) fn read<V: DeserializeOwned>(path: &Path) -> Read<V> {
    let bytes = files::read_bytes(path).unwrap_or_default();
    let mut read = Read { known: BTreeMap::new(), lines: 0, torn: 0 };
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        read.lines += 1;
        match serde_json::from_slice::<Line<String, V>>(line) {
            Ok(Line { name, value }) => drop(read.known.insert(name, value)),
            Err(_) => read.torn += 1,
        }
    }
    read
}

/// Reads what is known; rewrites the file when most of it is outdated.
fn load<V: Serialize + DeserializeOwned>(path: &Path) -> BTreeMap<String, V> {
    let Read { known, lines, .. } = read::<V>(path);
    if lines > 1_000 && lines > 4 * known.len() {
        let line = |(name, value): (&String, &V)| Some(serde_json::to_string(&Line { name, value }).ok()? + "\n");
        let kept: String = known.iter().filter_map(line).collect();
        // Failing to shorten it costs nothing but its length.
        drop(files::write_atomically(path, kept.as_bytes()));
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Age {
        at: u64,
    }

    fn at(at: u64) -> Option<Age> {
        Some(Age { at })
    }

    #[test]
    fn the_newest_value_is_known_to_the_next_process_and_a_torn_line_costs_itself() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("demo.jsonl");
        let log = || Log::<Age>::new(path.clone());
        assert_eq!(log().find("train@V1#2"), None);
        log().note("train@V1#2", Age { at: 1 }).unwrap();
        log().note("train@V1#2", Age { at: 2 }).unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"name\":\"tor").unwrap();
        let next = log();
        next.note("core", Age { at: 3 }).unwrap();
        next.note("split", Age { at: 4 }).unwrap();
        let again = log();
        assert_eq!((again.find("train@V1#2"), again.find("core"), again.find("split")), (at(2), at(3), at(4)));
        assert_eq!(again.all().len(), 3);
    }

    #[test]
    fn lines_that_are_outdated_are_dropped_in_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("demo.jsonl");
        let log = Log::new(path.clone());
        (0..1_500).for_each(|at| log.note("core", Age { at }).unwrap());
        assert_eq!(Log::new(path.clone()).find("core"), at(1_499));
        assert_eq!(files::read_text(&path).unwrap().lines().count(), 1);
    }
}
