//! The runs of a store, read back from the records they left: which there are,
//! how each ended, and which one a user means.
//!
//! A list reads the first and the last line of each run's events, so that a
//! long history of large pipelines stays cheap to look through.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::error::EngineError;
use super::event::Event;
use super::options::Summary;
use crate::ground::files::{FileError, read_bytes};
use crate::store::{Store, StoreError};
use crate::web::Spent;

/// The last event of a run is shorter than this.
const TAIL: u64 = 4096;

/// How a run ended, or that it has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Every wanted stage has its result.
    Complete,
    /// A stage failed.
    Failed,
    /// The user stopped it.
    Stopped,
    /// Its process ended before it could say how the run ended.
    Crashed,
    /// Its process is at work.
    Running,
}

impl RunState {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Crashed => "crashed",
            Self::Running => "running",
        }
    }
}

/// One run, in short.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunRecord {
    /// Its name: that of its folder below `runs-v1`.
    pub run: String,
    /// The pipeline's name; none if not even that was written.
    pub pipeline: Option<String>,
    /// When it began: milliseconds since 1970-01-01 UTC.
    pub at_millis: u64,
    /// How it ended.
    pub state: RunState,
    /// How many instances it was about.
    pub stages: usize,
    /// How many did their work.
    pub ran: usize,
    /// How many had their result already.
    pub cached: usize,
    /// How many failed.
    pub failed: usize,
    /// How many were not tried.
    pub skipped: usize,
    /// What was spent.
    #[serde(flatten)]
    pub spent: Spent,
    /// Time, in seconds; none where the end is not known.
    pub seconds: Option<f64>,
}

/// The newest runs of a store, newest first, of one pipeline or of all: at
/// most `limit`, and how many more there are.
///
/// # Errors
/// [`EngineError::Store`] if the runs cannot be listed.
pub fn runs(store: &Store, pipeline: Option<&str>, limit: usize) -> Result<(Vec<RunRecord>, usize), EngineError> {
    let mut shown = Vec::new();
    let mut more = 0;
    for name in names(store)? {
        let wanted = || pipeline.is_none_or(|wanted| opening(store, &name).0.as_deref() == Some(wanted));
        if shown.len() < limit {
            shown.push(record(store, &name));
            if pipeline.is_some() && shown.last().is_some_and(|run| run.pipeline.as_deref() != pipeline) {
                shown.pop();
            }
        } else if wanted() {
            more += 1;
        }
    }
    Ok((shown, more))
}

/// The run that a user means by its name, the beginning of it or of the part
/// after the time, `last`, or `last~1` for the one before.
///
/// # Errors
/// [`EngineError`] if it names no run, or several.
pub fn find_run(store: &Store, text: &str) -> Result<String, EngineError> {
    let names = names(store)?;
    let refused = |hint: &str| EngineError::NoSuchRun { reference: text.to_owned(), hint: hint.to_owned() };
    if names.is_empty() {
        return Err(refused("nothing has run in this store yet; choose another with --artifacts"));
    }
    let back = match text.strip_prefix("last") {
        Some("") => Some(0),
        Some(rest) => rest.strip_prefix('~').and_then(|number| number.parse::<usize>().ok()),
        None => None,
    };
    if let Some(back) = back {
        let count = if names.len() == 1 { "one run".to_owned() } else { format!("{} runs", names.len()) };
        return names.get(back).cloned().ok_or_else(|| refused(&format!("the store has {count}: `refrain runs`")));
    }
    let fits = |name: &&String| {
        name.starts_with(text) || name.split_once('-').is_some_and(|(_, id)| !text.is_empty() && id.starts_with(text))
    };
    let found: Vec<String> = names.iter().filter(fits).cloned().collect();
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(refused("`refrain runs` lists them; `last` and `last~1` are the newest two")),
        _ => Err(EngineError::AmbiguousRun { reference: text.to_owned(), candidates: found }),
    }
}

/// The names of all runs of a store, newest first.
///
/// # Errors
/// [`EngineError::Store`] if the runs cannot be listed.
pub fn run_names(store: &Store) -> Result<Vec<String>, EngineError> {
    names(store)
}

/// One run in short, named as it is called in the store; none if it has no folder.
#[must_use]
pub fn run_record(store: &Store, run: &str) -> Option<RunRecord> {
    let is_name = !run.is_empty() && !run.contains(['/', '\\']) && run != "." && run != "..";
    (is_name && folder(store, run).is_dir()).then(|| record(store, run))
}

/// What a run came to, stage by stage. Of one that ended without a word, what
/// its events tell.
///
/// # Errors
/// [`EngineError::NoRecord`] if nothing of it can be read.
pub fn run_summary(store: &Store, run: &str) -> Result<Summary, EngineError> {
    let path = folder(store, run).join("summary.json");
    let unreadable = |source: Box<dyn std::error::Error + Send + Sync>| EngineError::NoRecord {
        run: run.to_owned(),
        state: record(store, run).state.word(),
        source,
    };
    let bytes = read_bytes(&path).map_err(|error| unreadable(Box::new(error)))?;
    serde_json::from_slice(&bytes).map_err(|error| unreadable(Box::new(error)))
}

/// Why each stage ran in the last run of a pipeline, in a user's words.
pub(super) fn last_reasons(store: &Store, pipeline: &str) -> BTreeMap<String, Vec<String>> {
    let names = names(store).unwrap_or_default();
    let last = names.into_iter().find(|name| opening(store, name).0.as_deref() == Some(pipeline));
    let reasons = |event| match event {
        Event::StageStarted { stage, reasons, .. } => Some((stage, reasons)),
        _ => None,
    };
    last.map(|name| events(store, &name).into_iter().filter_map(reasons).collect()).unwrap_or_default()
}

/// The folder of a run.
pub(super) fn folder(store: &Store, run: &str) -> PathBuf {
    store.root().join("runs-v1").join(run)
}

/// The names of all runs, newest first.
pub(super) fn names(store: &Store) -> Result<Vec<String>, EngineError> {
    let path = store.root().join("runs-v1");
    let listed = fs::read_dir(&path).map_err(|error| StoreError::File(FileError::with("list", &path)(error)))?;
    let mut by_second: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in listed.flatten().filter(|entry| entry.path().is_dir()) {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let time = name.split('-').next().unwrap_or_default().to_owned();
        by_second.entry(time).or_default().push(name);
    }
    let mut names = Vec::new();
    for mut of_one_second in by_second.into_values().rev() {
        if of_one_second.len() > 1 {
            of_one_second.sort_by_cached_key(|name| std::cmp::Reverse((opening(store, name).1, name.clone())));
        }
        names.append(&mut of_one_second);
    }
    Ok(names)
}

/// The pipeline's name and the time of the first event.
pub(super) fn opening(store: &Store, run: &str) -> (Option<String>, u64) {
    let mut line = String::new();
    let opened = File::open(folder(store, run).join("events.jsonl"));
    let read = opened.and_then(|file| BufReader::new(file).read_line(&mut line));
    match read.ok().and_then(|_| serde_json::from_str(&line).ok()) {
        Some(Event::RunStarted { pipeline, at_millis, .. }) => (Some(pipeline), at_millis),
        _ => (None, 0),
    }
}

fn record(store: &Store, run: &str) -> RunRecord {
    let (pipeline, at_millis) = opening(store, run);
    let at_millis = if at_millis == 0 { time_in(run) } else { at_millis };
    let path = folder(store, run).join("events.jsonl");
    let mut record = RunRecord {
        run: run.to_owned(),
        pipeline,
        at_millis,
        state: RunState::Crashed,
        stages: 0,
        ran: 0,
        cached: 0,
        failed: 0,
        skipped: 0,
        spent: Spent::default(),
        seconds: None,
    };
    let end = closing(&path).or_else(|| Some(closing_of(&run_summary_quietly(store, run)?)));
    if let Some(Event::Finished { stages, ran, cached, failed, skipped, spent, seconds }) = end {
        record.state = match (failed, skipped) {
            (0, 0) => RunState::Complete,
            (0, _) => RunState::Stopped,
            _ => RunState::Failed,
        };
        (record.stages, record.spent, record.seconds) = (stages, spent, Some(seconds));
        (record.ran, record.cached, record.failed, record.skipped) = (ran, cached, failed, skipped);
        return record;
    }
    count_so_far(&mut record, &events(store, run));
    if is_held(&path) {
        record.state = RunState::Running;
    }
    record
}

fn run_summary_quietly(store: &Store, run: &str) -> Option<Summary> {
    serde_json::from_slice(&read_bytes(&folder(store, run).join("summary.json")).ok()?).ok()
}

fn closing_of(summary: &Summary) -> Event {
    let Summary { stages, ran, cached, failed, skipped, spent, seconds, .. } = *summary;
    Event::Finished { stages, ran, cached, failed, skipped, spent, seconds }
}

/// What a run without an end has done. What its running stages have spent is
/// told by their last progress.
fn count_so_far(record: &mut RunRecord, events: &[Event]) {
    let mut spent: BTreeMap<&str, Spent> = BTreeMap::new();
    for event in events {
        match event {
            Event::RunStarted { stages, .. } => record.stages = *stages,
            Event::StageProgress { stage, gauge } => {
                spent.insert(stage, gauge.spent);
            }
            Event::StageFinished { stage, outcome, spent: of_stage, .. } => {
                if outcome.has_run() {
                    record.ran += 1;
                } else {
                    record.cached += 1;
                }
                spent.insert(stage, *of_stage);
            }
            Event::StageFailed { stage, spent: of_stage, .. } => {
                record.failed += 1;
                spent.insert(stage, *of_stage);
            }
            Event::StageSkipped { .. } => record.skipped += 1,
            _ => {}
        }
    }
    record.spent = spent.into_values().sum();
}

/// The last event, if it is the one that ends a run.
fn closing(path: &Path) -> Option<Event> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL))).ok()?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail).ok()?;
    let line = tail.trim_ascii_end().rsplit(|byte| *byte == b'\n').next()?;
    serde_json::from_slice(line).ok().filter(|event| matches!(event, Event::Finished { .. }))
}

/// The events of a run that can be read.
pub(super) fn events(store: &Store, run: &str) -> Vec<Event> {
    let bytes = read_bytes(&folder(store, run).join("events.jsonl")).unwrap_or_default();
    bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

/// Whether a run's process is at work.
pub(super) fn is_at_work(store: &Store, run: &str) -> bool {
    is_held(&folder(store, run).join("events.jsonl"))
}

/// Whether a process holds the run's log: it does so until it ends.
fn is_held(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// The time in a run's name, in milliseconds since 1970-01-01 UTC.
fn time_in(run: &str) -> u64 {
    let text = run.split('-').next().unwrap_or_default();
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok();
    let time = time.and_then(|time| time.to_zoned(jiff::tz::TimeZone::UTC).ok());
    time.map_or(0, |time| u64::try_from(time.timestamp().as_millisecond()).unwrap_or_default())
}
