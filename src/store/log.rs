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

use super::temporary;
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
    /// Where the file is written when it is shortened.
    temporary: PathBuf,
    state: Mutex<Option<State<V>>>,
}

#[derive(Debug)]
struct State<V> {
    known: BTreeMap<String, V>,
    /// Open for adding once something was added.
    file: Option<File>,
}

impl<V: Clone + Serialize + DeserializeOwned> Log<V> {
    /// The log in the given file, which is read when it is first needed, and
    /// the store's folder of temporary files.
    pub(super) fn new(path: PathBuf, temporary: PathBuf) -> Self {
        Self { path, temporary, state: Mutex::new(None) }
    }

    /// The newest value of that name.
    pub(super) fn find(&self, name: &str) -> Option<V> {
        self.state().as_ref()?.known.get(name).cloned()
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
        guard.get_or_insert_with(|| State { known: load(&self.path, &self.temporary), file: None });
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
#[derive(Debug)]
pub(super) struct Notes<V> {
    /// The newest values, by name.
    pub(super) known: BTreeMap<String, V>,
    /// How many lines it has.
    pub(super) lines: usize,
    /// How many of them cannot be read.
    pub(super) torn: usize,
}

/// Reads the lines that decode; a file that is not there has none.
pub(super) fn read<V: DeserializeOwned>(path: &Path) -> Notes<V> {
    let bytes = files::read_bytes(path).unwrap_or_default();
    let mut notes = Notes { known: BTreeMap::new(), lines: 0, torn: 0 };
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        notes.lines += 1;
        match serde_json::from_slice::<Line<String, V>>(line) {
            Ok(Line { name, value }) => drop(notes.known.insert(name, value)),
            Err(_) => notes.torn += 1,
        }
    }
    notes
}

/// Reads what is known; rewrites the file when most of it is outdated.
fn load<V: Serialize + DeserializeOwned>(path: &Path, folder: &Path) -> BTreeMap<String, V> {
    let Notes { known, lines, .. } = read(path);
    if lines > 1_000 && lines > 4 * known.len() {
        let line = |(name, value): (&String, &V)| Some(serde_json::to_string(&Line { name, value }).ok()? + "\n");
        let kept: String = known.iter().filter_map(line).collect();
        // Failing to shorten it costs nothing but its length.
        drop(temporary::write(folder, path, kept.as_bytes()));
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

    #[test]
    fn the_newest_value_is_known_to_the_next_process_and_a_torn_line_costs_itself() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("demo.jsonl");
        let log = || Log::<Age>::new(path.clone(), folder.path().to_owned());
        assert_eq!(log().find("train@V1#2"), None);
        log().note("train@V1#2", Age { at: 1 }).unwrap();
        log().note("train@V1#2", Age { at: 2 }).unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"name\":\"tor").unwrap();
        let next = log();
        next.note("core", Age { at: 3 }).unwrap();
        next.note("split", Age { at: 4 }).unwrap();
        let again = log();
        assert_eq!(
            (again.find("train@V1#2"), again.find("core"), again.find("split")),
            (Some(Age { at: 2 }), Some(Age { at: 3 }), Some(Age { at: 4 }))
        );
    }

    #[test]
    fn lines_that_are_outdated_are_dropped_in_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("demo.jsonl");
        let new = || Log::new(path.clone(), folder.path().to_owned());
        let log = new();
        (0..1_500).for_each(|at| log.note("core", Age { at }).unwrap());
        assert_eq!(new().find("core"), Some(Age { at: 1_499 }));
        assert_eq!(files::read_text(&path).unwrap().lines().count(), 1);
    }
}
