//! The ledger: what went over the network, when, for whom and at what price.
//!
//! While a run goes on its part stands in `spent.jsonl` of its folder: a line
//! for each minute and account, written before a request is sent and rewritten
//! in its place as the counts grow. So a kill loses nothing of it. When the run
//! has ended, or when somebody finds that it was killed, the lines become
//! `ledger-v1/<run>.parquet`. Nothing of a result depends on the ledger, but
//! budgets that span runs do.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, Float64Array, Int64Array, StringArray};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::guard::{PINS, is_living};
use super::{Store, temporary};
use crate::ground::files::{self, FileError};
use crate::table::{Table, TableError, read_parquet, write_parquet};

/// The folder of what runs that have ended spent.
pub(super) const LEDGER: &str = "ledger-v1";
/// The file in a run's folder that holds what it has spent so far.
pub(super) const SPENT: &str = "spent.jsonl";

const MINUTE_MILLIS: u64 = 60_000;
/// Room in a line for counts that grow.
const ROOM: usize = 96;

/// What one run spent in one minute on one account.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// The beginning of the minute: seconds since 1970-01-01 UTC.
    pub at: u64,
    /// The run's name. In the run's own folder it is left out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub run: String,
    /// The pipeline's name.
    pub pipeline: String,
    /// The instance that asked.
    pub stage: String,
    /// The provider that was asked.
    pub provider: String,
    /// The limiter.
    pub limiter: String,
    /// The model, where one was named.
    #[serde(default)]
    pub model: Option<String>,
    /// The identity of the sandbox world that answered; none for the real services.
    #[serde(default)]
    pub sandbox: Option<String>,
    /// Requests sent.
    pub requests: u64,
    /// How many of them gave nothing of use and were repeated.
    pub repeated: u64,
    /// Tokens of prompts.
    pub prompt_tokens: u64,
    /// Tokens of answers.
    pub completion_tokens: u64,
    /// US dollars.
    pub usd: f64,
}

impl LedgerEntry {
    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.repeated += other.repeated;
        self.prompt_tokens += other.prompt_tokens;
        self.completion_tokens += other.completion_tokens;
        self.usd += other.usd;
    }

    /// What tells a line of the ledger from others.
    fn account(&self) -> [&str; 6] {
        let [model, sandbox] = [&self.model, &self.sandbox].map(|text| text.as_deref().unwrap_or_default());
        [&self.pipeline, &self.stage, &self.provider, &self.limiter, model, sandbox]
    }
}

/// Where a run writes down what it spends. Makes its file with the first line.
#[derive(Debug)]
pub struct LedgerLog {
    path: PathBuf,
    state: Mutex<Option<Lines>>,
}

#[derive(Debug)]
struct Lines {
    file: File,
    end: u64,
    minute: u64,
    /// Those of this minute.
    current: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    offset: u64,
    width: usize,
    entry: LedgerEntry,
}

impl LedgerLog {
    /// Adds what was spent at that time (milliseconds since 1970-01-01 UTC).
    /// It is in the file when this returns.
    ///
    /// # Errors
    /// [`FileError`] if it cannot be written.
    pub fn add(&self, at_millis: u64, spent: &LedgerEntry) -> Result<(), FileError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = match &mut *state {
            Some(lines) => lines,
            none => none.insert(Lines::create(&self.path)?),
        };
        lines.add(at_millis / MINUTE_MILLIS, spent).map_err(FileError::with("write", &self.path))
    }
}

impl Lines {
    fn create(path: &Path) -> Result<Self, FileError> {
        let opened = OpenOptions::new().create(true).truncate(false).write(true).open(path);
        let file = opened.map_err(FileError::with("create", path))?;
        let end = file.metadata().map_err(FileError::with("create", path))?.len();
        Ok(Self { file, end, minute: 0, current: Vec::new() })
    }

    fn add(&mut self, minute: u64, spent: &LedgerEntry) -> std::io::Result<()> {
        if minute != self.minute {
            (self.minute, self.current) = (minute, Vec::new());
        }
        let at = minute * MINUTE_MILLIS / 1000;
        if let Some(line) = self.current.iter_mut().find(|line| line.entry.account() == spent.account()) {
            let mut entry = line.entry.clone();
            entry.add(spent);
            let text = serde_json::to_string(&entry)?;
            if text.len() <= line.width {
                self.file.write_all_at(padded(&text, line.width).as_bytes(), line.offset)?;
                line.entry = entry;
                return Ok(());
            }
        }
        let entry = LedgerEntry { at, ..spent.clone() };
        let text = serde_json::to_string(&entry)?;
        let width = text.len() + ROOM;
        let offset = self.end;
        self.file.write_all_at(padded(&text, width).as_bytes(), offset)?;
        self.end += width as u64 + 1;
        // A line that is full stays as it is.
        self.current.retain(|line| line.entry.account() != entry.account());
        self.current.push(Line { offset, width, entry });
        Ok(())
    }
}

fn padded(text: &str, width: usize) -> String {
    format!("{text:width$}\n")
}

impl Store {
    /// Where the run with this folder writes down what it spends.
    #[must_use]
    pub fn ledger_log(&self, run_folder: &Path) -> LedgerLog {
        LedgerLog { path: run_folder.join(SPENT), state: Mutex::default() }
    }

    /// The folder of the ledger's Parquet files.
    #[must_use]
    pub fn ledger_folder(&self) -> PathBuf {
        self.root().join(LEDGER)
    }

    /// Makes a Parquet file of what the run with this folder has spent. To be
    /// called when nothing more is added.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read or written; then the lines stay.
    pub fn close_ledger(&self, run_folder: &Path) -> Result<(), StoreError> {
        let lines = run_folder.join(SPENT);
        let entries = match files::read_bytes(&lines) {
            Ok(bytes) => entries_in(&bytes, &name_of(run_folder)),
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if !entries.is_empty() {
            let bytes = table(&entries).and_then(|table| write_parquet(&table, Vec::new()));
            let to = self.ledger_folder().join(format!("{}.parquet", name_of(run_folder)));
            temporary::write(&self.root().join("tmp"), &to, &bytes.map_err(StoreError::Table)?)?;
        }
        match fs::remove_file(&lines) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(FileError::with("remove", &lines)(error).into())
            }
            _ => Ok(()),
        }
    }

    /// Does that for every run that was killed.
    ///
    /// # Errors
    /// As [`Store::close_ledger`].
    pub fn close_ledgers(&self) -> Result<(), StoreError> {
        let ended = |folder: &&PathBuf| !is_living(&folder.join(PINS));
        self.unfinished()?.iter().filter(ended).try_for_each(|folder| self.close_ledger(folder))
    }

    /// All that was ever spent, by all runs, those that go on included; in the
    /// order of time. What cannot be read is left out with a warning.
    ///
    /// # Errors
    /// [`StoreError::File`] if a folder cannot be listed.
    pub fn ledger(&self) -> Result<Vec<LedgerEntry>, StoreError> {
        // Lines first: a run that ends meanwhile is then read twice, not never.
        let mut by_run: BTreeMap<String, Vec<LedgerEntry>> = BTreeMap::new();
        for folder in self.unfinished()? {
            let bytes = files::read_bytes(&folder.join(SPENT)).unwrap_or_default();
            by_run.insert(name_of(&folder), entries_in(&bytes, &name_of(&folder)));
        }
        let files = listed(&self.ledger_folder())?;
        let files = files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "parquet"));
        let read: Vec<(&PathBuf, Result<Vec<LedgerEntry>, TableError>)> =
            files.collect::<Vec<_>>().into_par_iter().map(|path| (path, read_entries(path))).collect();
        for (path, entries) in read {
            match entries {
                Ok(entries) => drop(by_run.insert(stem_of(path), entries)),
                Err(error) => {
                    let why = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
                    self.warn(format!("{error}{why}; what that run spent is not counted"));
                }
            }
        }
        let mut entries: Vec<LedgerEntry> = by_run.into_values().flatten().collect();
        entries.sort_by_key(|entry| entry.at);
        Ok(entries)
    }

    /// The folders of the runs whose lines are no Parquet file yet.
    fn unfinished(&self) -> Result<Vec<PathBuf>, FileError> {
        let runs = listed(&self.root().join("runs-v1"))?;
        Ok(runs.into_iter().filter(|folder| folder.join(SPENT).is_file()).collect())
    }
}

/// What is in a folder, in the order of names; nothing if it is not there.
fn listed(folder: &Path) -> Result<Vec<PathBuf>, FileError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(FileError::with("list", folder))?,
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

fn name_of(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn stem_of(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// The lines that decode, of each minute and account one; a torn one costs itself.
fn entries_in(bytes: &[u8], run: &str) -> Vec<LedgerEntry> {
    let mut entries: Vec<LedgerEntry> = Vec::new();
    let lines = bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<LedgerEntry>(line).ok());
    for entry in lines.map(|entry| LedgerEntry { run: run.to_owned(), ..entry }) {
        // What is the same stands close by.
        let same = |known: &&mut LedgerEntry| known.at == entry.at && known.account() == entry.account();
        match entries.iter_mut().rev().take_while(|known| known.at == entry.at).find(same) {
            Some(known) => known.add(&entry),
            None => entries.push(entry),
        }
    }
    entries
}

fn table(entries: &[LedgerEntry]) -> Result<Table, TableError> {
    let texts = |of: fn(&LedgerEntry) -> Option<&str>| -> ArrayRef {
        Arc::new(entries.iter().map(of).collect::<StringArray>())
    };
    let counts = |of: fn(&LedgerEntry) -> u64| -> ArrayRef {
        Arc::new(entries.iter().map(|entry| i64::try_from(of(entry)).unwrap_or(i64::MAX)).collect::<Int64Array>())
    };
    let usd: ArrayRef = Arc::new(entries.iter().map(|entry| entry.usd).collect::<Float64Array>());
    Table::of_columns([
        ("at", counts(|entry| entry.at)),
        ("run", texts(|entry| Some(&entry.run))),
        ("pipeline", texts(|entry| Some(&entry.pipeline))),
        ("stage", texts(|entry| Some(&entry.stage))),
        ("provider", texts(|entry| Some(&entry.provider))),
        ("limiter", texts(|entry| Some(&entry.limiter))),
        ("model", texts(|entry| entry.model.as_deref())),
        ("sandbox", texts(|entry| entry.sandbox.as_deref())),
        ("requests", counts(|entry| entry.requests)),
        ("repeated", counts(|entry| entry.repeated)),
        ("prompt_tokens", counts(|entry| entry.prompt_tokens)),
        ("completion_tokens", counts(|entry| entry.completion_tokens)),
        ("usd", usd),
    ])
}

/// The entries of one Parquet file.
pub(super) fn read_entries(path: &Path) -> Result<Vec<LedgerEntry>, TableError> {
    let table = read_parquet(path, None)?;
    let [run, pipeline, stage, provider, limiter, model, sandbox] =
        ["run", "pipeline", "stage", "provider", "limiter", "model", "sandbox"].map(|name| table.strings(name));
    let [run, pipeline, stage, provider, limiter] = [run?, pipeline?, stage?, provider?, limiter?];
    let (model, sandbox) = (model?, sandbox?);
    let [at, requests, repeated, prompt_tokens, completion_tokens] =
        ["at", "requests", "repeated", "prompt_tokens", "completion_tokens"].map(|name| table.integers(name));
    let [at, requests, repeated] = [at?, requests?, repeated?];
    let (prompt_tokens, completion_tokens, usd) = (prompt_tokens?, completion_tokens?, table.floats("usd")?);
    let text = |array: &StringArray, row: usize| array.value(row).to_owned();
    let optional = |array: &StringArray, row: usize| array.is_valid(row).then(|| text(array, row));
    let count = |array: &Int64Array, row: usize| u64::try_from(array.value(row)).unwrap_or_default();
    let entry = |row: usize| LedgerEntry {
        at: count(&at, row),
        run: text(&run, row),
        pipeline: text(&pipeline, row),
        stage: text(&stage, row),
        provider: text(&provider, row),
        limiter: text(&limiter, row),
        model: optional(&model, row),
        sandbox: optional(&sandbox, row),
        requests: count(&requests, row),
        repeated: count(&repeated, row),
        prompt_tokens: count(&prompt_tokens, row),
        completion_tokens: count(&completion_tokens, row),
        usd: usd.value(row),
    };
    Ok((0..table.rows()).map(entry).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(stage: &str, requests: u64) -> LedgerEntry {
        LedgerEntry {
            pipeline: "p".into(),
            stage: stage.into(),
            provider: "chat".into(),
            limiter: "groq".into(),
            model: Some("m".into()),
            requests,
            usd: 0.5,
            ..LedgerEntry::default()
        }
    }

    #[test]
    fn what_was_added_is_known_at_once_and_stays_when_the_run_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let run = store.run_folder("a").unwrap();
        let log = store.ledger_log(&run);
        assert_eq!(store.ledger().unwrap(), [], "nothing is made before it is needed");
        for _ in 0..1000 {
            log.add(61_000, &spent("one", 1)).unwrap();
            log.add(62_000, &spent("two", 1)).unwrap();
        }
        log.add(125_000, &spent("one", 7)).unwrap();
        let line = |at, stage, requests, usd| LedgerEntry { at, run: name_of(&run), usd, ..spent(stage, requests) };
        let expected = [line(60, "one", 1000, 500.0), line(60, "two", 1000, 500.0), line(120, "one", 7, 0.5)];
        assert_eq!(store.ledger().unwrap(), expected, "while it goes on");
        assert_eq!(files::read_text(&run.join(SPENT)).unwrap().lines().count(), 3, "lines grow in their place");
        store.close_ledger(&run).unwrap();
        assert!(!run.join(SPENT).exists());
        assert_eq!(store.ledger().unwrap(), expected, "when it has ended");
        store.close_ledger(&run).unwrap();
        assert_eq!(store.ledger().unwrap(), expected);
    }

    #[test]
    fn a_run_that_lives_is_left_alone_and_a_killed_one_is_not_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let run = store.run_folder("a").unwrap();
        let pins = store.pins(&run).unwrap();
        store.ledger_log(&run).add(0, &spent("one", 1)).unwrap();
        let torn = OpenOptions::new().write(true).open(run.join(SPENT)).unwrap();
        torn.write_all_at(b"{\"at\":0,\"pipe", torn.metadata().unwrap().len()).unwrap();
        store.close_ledgers().unwrap();
        assert!(run.join(SPENT).exists());
        drop(pins);
        store.close_ledgers().unwrap();
        assert!(!run.join(SPENT).exists());
        let requests: Vec<u64> = store.ledger().unwrap().iter().map(|entry| entry.requests).collect();
        assert_eq!(requests, [1]);
    }

    #[test]
    fn a_damaged_file_is_named_and_costs_itself() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        for name in ["a", "b"] {
            let run = store.run_folder(name).unwrap();
            store.ledger_log(&run).add(0, &spent(name, 1)).unwrap();
            store.close_ledger(&run).unwrap();
        }
        let path = listed(&store.ledger_folder()).unwrap().remove(0);
        files::write_atomically(&path, b"PAR1").unwrap();
        assert_eq!(store.ledger().unwrap().len(), 1);
        assert!(store.take_warnings()[0].contains("is not counted"));
    }
}
