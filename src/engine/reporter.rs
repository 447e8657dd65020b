//! Passes what happens on: to the observer, and to the run's folder
//! (`plan.json`, `events.jsonl`, `summary.json`).

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use super::event::{Event, Observer};
use crate::ground::files::FileError;

/// Where events go.
pub(super) struct Reporter {
    observer: Arc<dyn Observer>,
    folder: PathBuf,
    log: Mutex<BufWriter<File>>,
}

impl Reporter {
    /// A reporter that keeps its records in a run's folder.
    ///
    /// # Errors
    /// [`FileError`] if the log cannot be made.
    pub(super) fn new(observer: Arc<dyn Observer>, folder: PathBuf) -> Result<Self, FileError> {
        let path = folder.join("events.jsonl");
        let log = File::create(&path).map_err(FileError::with("create", &path))?;
        // Held for as long as the process lives: whoever lists the runs tells
        // by it that this one is at work. Without locks it is told as crashed
        // until it has ended, which harms nobody.
        log.lock().ok();
        Ok(Self { observer, folder, log: Mutex::new(BufWriter::new(log)) })
    }

    /// The run's name: its folder's.
    pub(super) fn run(&self) -> String {
        self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The run's folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Tells the observer, and the log unless it is mere progress: of that the
    /// stage's reporter logs a little. A log that cannot be written stops no run.
    pub(super) fn tell(&self, event: &Event) {
        self.observer.event(event);
        if !matches!(event, Event::StageProgress { .. } | Event::StageNote { .. }) {
            self.log(event);
        }
    }

    /// Puts an event into the log.
    pub(super) fn log(&self, event: &Event) {
        if let Ok(mut line) = serde_json::to_vec(event) {
            line.push(b'\n');
            let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            log.write_all(&line).ok();
            // What was done stands in the log at once. That nothing was to be done may be told of thousands of stages.
            if !matches!(event, Event::StageFinished { outcome, .. } if !outcome.has_run()) {
                log.flush().ok();
            }
        }
    }

    /// Writes a record of the run. It is for people who look back, so it is
    /// not synced, and one that cannot be written is a warning: the run's
    /// result does not depend on it.
    pub(super) fn record<T: Serialize>(&self, name: &str, value: &T) {
        let path = self.folder.join(name);
        if let Err(error) = write_record(&path, value) {
            let text = format!("could not write the run's record `{}`: {error}", path.display());
            self.tell(&Event::Warning { text });
        }
    }
}

fn write_record<T: Serialize>(path: &Path, value: &T) -> std::io::Result<()> {
    let mut text = serde_json::to_vec(value)?;
    text.push(b'\n');
    File::create(path)?.write_all(&text)
}
