//! Passes what happens on: to the observer, and to the run's folder
//! (`plan.json`, `events.jsonl`, `summary.json`). Also what a running stage
//! reports its progress to.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::event::{Event, Observer};
use crate::ground::files::FileError;
use crate::stage::{Known, Progress};

/// The least time between two progress events of one stage.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

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

    /// Tells the observer, and the log unless it is mere progress. A log that
    /// cannot be written stops no run.
    pub(super) fn tell(&self, event: &Event) {
        self.observer.event(event);
        if matches!(event, Event::StageProgress { .. } | Event::StageNote { .. }) {
            return;
        }
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

/// What one running stage reports to.
pub(super) struct StageReporter {
    stage: String,
    reporter: Arc<Reporter>,
    rows: AtomicU64,
    total: AtomicU64,
    told: Mutex<Option<Instant>>,
    warnings: Mutex<Vec<String>>,
}

const UNKNOWN: u64 = u64::MAX;

impl StageReporter {
    /// For one instance.
    pub(super) fn new(stage: String, reporter: Arc<Reporter>) -> Self {
        Self {
            stage,
            reporter,
            rows: AtomicU64::new(0),
            total: AtomicU64::new(UNKNOWN),
            told: Mutex::new(None),
            warnings: Mutex::new(Vec::new()),
        }
    }

    /// The warnings given, in order.
    pub(super) fn warnings(&self) -> Vec<String> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells how far it is, whether or not that was told just now.
    pub(super) fn finish(&self) {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_some() {
            self.tell();
        }
    }

    fn tell(&self) {
        let total = self.total.load(Ordering::Relaxed);
        self.reporter.tell(&Event::StageProgress {
            stage: self.stage.clone(),
            rows: self.rows.load(Ordering::Relaxed),
            total: (total != UNKNOWN).then_some(total),
        });
    }

    fn tell_if_due(&self) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|last| last.elapsed() >= PROGRESS_INTERVAL) {
            *told = Some(Instant::now());
            self.tell();
        }
    }
}

impl StageReporter {
    /// Tells what the user should know now, and not again whenever the result is used.
    pub(super) fn warn_now(&self, text: String) {
        self.reporter.tell(&Event::StageWarning { stage: self.stage.clone(), text, remembered: false });
    }

    /// Tells how many rows are known before the work begins.
    pub(super) fn known(&self, known: Known) {
        self.reporter.tell(&Event::RowsKnown { stage: self.stage.clone(), known });
    }
}

impl Progress for StageReporter {
    fn total(&self, rows: u64) {
        self.total.store(rows, Ordering::Relaxed);
        self.tell_if_due();
    }

    fn advance(&self, rows: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.tell_if_due();
    }

    fn note(&self, text: &str) {
        self.reporter.tell(&Event::StageNote { stage: self.stage.clone(), text: text.to_owned() });
    }

    fn warn(&self, text: &str) {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).push(text.to_owned());
        let text = text.to_owned();
        self.reporter.tell(&Event::StageWarning { stage: self.stage.clone(), text, remembered: false });
    }
}
