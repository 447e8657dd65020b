//! What each instance of a pipeline used last. It serves to say why something
//! is stale and what was restored.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::log::Log;
use crate::ground::ContentHash;
use crate::ground::files::FileError;

/// What an instance of a pipeline used last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRun {
    /// The key that was used; its manifest holds the fingerprint behind it.
    pub key: ContentHash,
    /// When: milliseconds since 1970-01-01 UTC.
    #[serde(rename = "at")]
    pub at_millis: u64,
}

/// The last runs of all pipelines of a store: a log per pipeline, by instance.
#[derive(Debug)]
pub(super) struct Lasts {
    folder: PathBuf,
    temporary: PathBuf,
    logs: Mutex<BTreeMap<String, Log<LastRun>>>,
}

impl Lasts {
    /// The records in a folder, and the store's folder of temporary files.
    /// Reads nothing.
    pub(super) fn new(folder: PathBuf, temporary: PathBuf) -> Self {
        Self { folder, temporary, logs: Mutex::default() }
    }

    /// What an instance used last, if that is known.
    pub(super) fn find(&self, pipeline: &str, instance: &str) -> Option<LastRun> {
        self.with(pipeline, |log| log.find(instance))
    }

    /// Notes what an instance used, here and for the processes that start after.
    ///
    /// # Errors
    /// [`FileError`] if it cannot be written.
    pub(super) fn note(&self, pipeline: &str, instance: &str, last: LastRun) -> Result<(), FileError> {
        self.with(pipeline, |log| log.note(instance, last))
    }

    fn with<T>(&self, pipeline: &str, act: impl FnOnce(&Log<LastRun>) -> T) -> T {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        if !logs.contains_key(pipeline) {
            let path = self.folder.join(format!("{pipeline}.jsonl"));
            logs.insert(pipeline.to_owned(), Log::new(path, self.temporary.clone()));
        }
        act(&logs[pipeline])
    }
}
