//! What each instance of a pipeline used last: one append-only file of JSON
//! lines per pipeline, so that noting it costs one write and reading all of a
//! pipeline costs one read.
//!
//! It serves to say why something is stale and what was restored. A line that
//! is lost or torn costs no more than that.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::ground::ContentHash;
use crate::ground::files::{self, FileError};

/// What an instance of a pipeline used last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastRun {
    /// The key that was used; its manifest holds the fingerprint behind it.
    pub key: ContentHash,
    /// When: milliseconds since 1970-01-01 UTC.
    pub at_millis: u64,
}

#[derive(Serialize, Deserialize)]
struct Line {
    instance: String,
    key: ContentHash,
    at: u64,
}

type Known = BTreeMap<String, LastRun>;

/// The last runs of all pipelines of a store.
#[derive(Debug)]
pub(super) struct Lasts {
    folder: PathBuf,
    /// By pipeline, read when first needed.
    known: Mutex<BTreeMap<String, Pipeline>>,
}

#[derive(Debug, Default)]
struct Pipeline {
    known: Known,
    /// Open for adding once something was added.
    file: Option<File>,
}

impl Lasts {
    /// The records in a folder, which need not exist yet. Reads nothing.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, known: Mutex::default() }
    }

    /// What an instance used last, if that is known.
    pub(super) fn find(&self, pipeline: &str, instance: &str) -> Option<LastRun> {
        self.with(pipeline, |_, of| of.known.get(instance).copied())
    }

    /// All that is known of a pipeline, by instance.
    pub(super) fn all(&self, pipeline: &str) -> BTreeMap<String, LastRun> {
        self.with(pipeline, |_, of| of.known.clone())
    }

    /// Notes what an instance used, here and for the processes that start after.
    ///
    /// # Errors
    /// [`FileError`] if it cannot be written.
    pub(super) fn note(&self, pipeline: &str, instance: &str, last: LastRun) -> Result<(), FileError> {
        let line = Line { instance: instance.to_owned(), key: last.key, at: last.at_millis };
        let Ok(mut text) = serde_json::to_string(&line) else { return Ok(()) };
        text.push('\n');
        self.with(pipeline, |path, of| {
            let file = match &of.file {
                Some(file) => file,
                None => of.file.insert(open(path, &mut text)?),
            };
            let mut writer = file;
            writer.write_all(text.as_bytes()).map_err(FileError::with("write", path))?;
            of.known.insert(instance.to_owned(), last);
            Ok(())
        })
    }

    fn with<T>(&self, pipeline: &str, act: impl FnOnce(&Path, &mut Pipeline) -> T) -> T {
        let path = self.folder.join(format!("{pipeline}.jsonl"));
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let of = all.entry(pipeline.to_owned()).or_insert_with(|| Pipeline { known: load(&path), file: None });
        act(&path, of)
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

/// Reads the lines that decode; rewrites the file when most are outdated.
fn load(path: &Path) -> Known {
    let bytes = files::read_bytes(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let mut known = Known::new();
    let mut lines = 0_usize;
    for line in text.lines() {
        lines += 1;
        if let Ok(Line { instance, key, at }) = serde_json::from_str(line) {
            known.insert(instance, LastRun { key, at_millis: at });
        }
    }
    if lines > 1_000 && lines > 4 * known.len() {
        let line = |(instance, last): (&String, &LastRun)| {
            let line = Line { instance: instance.clone(), key: last.key, at: last.at_millis };
            Some(serde_json::to_string(&line).ok()? + "\n")
        };
        let kept: String = known.iter().filter_map(line).collect();
        // Failing to shorten it costs nothing but its length.
        drop(files::write_atomically(path, kept.as_bytes()));
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(at_millis: u64) -> LastRun {
        LastRun { key: ContentHash::of(b"k"), at_millis }
    }

    #[test]
    fn the_newest_note_is_known_to_the_next_process_and_a_torn_one_costs_itself() {
        let folder = tempfile::tempdir().unwrap();
        let lasts = || Lasts::new(folder.path().to_owned());
        assert_eq!(lasts().find("demo", "train@V1#2"), None);
        lasts().note("demo", "train@V1#2", last(1)).unwrap();
        lasts().note("demo", "train@V1#2", last(2)).unwrap();
        let path = folder.path().join("demo.jsonl");
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"instance\":\"tor").unwrap();
        let next = lasts();
        next.note("demo", "core", last(3)).unwrap();
        next.note("demo", "split", last(4)).unwrap();
        let known = lasts().all("demo");
        assert_eq!(known.get("train@V1#2"), Some(&last(2)));
        assert_eq!((known.get("core"), known.get("split")), (Some(&last(3)), Some(&last(4))));
        assert_eq!(lasts().find("apple", "core"), None);
    }

    #[test]
    fn notes_that_are_outdated_are_dropped_in_time() {
        let folder = tempfile::tempdir().unwrap();
        let lasts = Lasts::new(folder.path().to_owned());
        (0..1_500).for_each(|at| lasts.note("demo", "core", last(at)).unwrap());
        assert_eq!(Lasts::new(folder.path().to_owned()).find("demo", "core"), Some(last(1_499)));
        assert_eq!(files::read_text(&folder.path().join("demo.jsonl")).unwrap().lines().count(), 1);
    }
}
