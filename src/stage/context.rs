//! All that a running stage is given: its opened inputs, a sink for its
//! outputs, and the services.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::StageError;
use crate::ground::{Environment, Seed};
use crate::memo::VectorMemo;
use crate::model::Models;
use crate::people::People;
use crate::table::{Table, TableError};
use crate::web::Session;

/// Rows of a file that are read and written at once.
const ROWS_AT_ONCE: usize = 65_536;

/// One opened input.
#[derive(Debug, Clone)]
pub struct Input {
    /// The variant, or the stage's name: what tells it from others of its port.
    pub label: String,
    source: InputSource,
}

#[derive(Debug, Clone)]
enum InputSource {
    Memory(Table),
    File { path: PathBuf, columns: Option<Vec<String>>, rows: u64 },
}

impl Input {
    /// An input held in memory.
    pub fn of_table(label: impl Into<String>, table: Table) -> Self {
        Self { label: label.into(), source: InputSource::Memory(table) }
    }

    /// An input in a Parquet file, of which `columns` (or all) may be read.
    pub fn of_file(label: impl Into<String>, path: &Path, columns: Option<Vec<String>>, rows: u64) -> Self {
        Self { label: label.into(), source: InputSource::File { path: path.to_owned(), columns, rows } }
    }

    /// The columns of the port that the table has.
    ///
    /// # Errors
    /// [`TableError`] if the file cannot be read.
    pub fn table(&self) -> Result<Table, TableError> {
        match &self.source {
            InputSource::Memory(table) => Ok(table.clone()),
            InputSource::File { path, columns, .. } => crate::table::read_parquet(path, columns.as_deref()),
        }
    }

    /// Only these columns of the port, which must be among those it reads.
    ///
    /// # Errors
    /// [`TableError`] if the file cannot be read or a column is missing.
    pub fn columns(&self, names: &[&str]) -> Result<Table, TableError> {
        match &self.source {
            InputSource::Memory(table) => table.select(names),
            InputSource::File { path, .. } => {
                crate::table::read_parquet(path, Some(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()))
            }
        }
    }

    /// The Parquet file, where the table is in one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match &self.source {
            InputSource::Memory(_) => None,
            InputSource::File { path, .. } => Some(path),
        }
    }

    /// The columns of the file that may be read; none if all may be.
    #[must_use]
    pub fn readable(&self) -> Option<&[String]> {
        match &self.source {
            InputSource::Memory(_) => None,
            InputSource::File { columns, .. } => columns.as_deref(),
        }
    }

    /// How many rows there are, without reading them.
    #[must_use]
    pub fn rows(&self) -> u64 {
        match &self.source {
            InputSource::Memory(table) => table.rows() as u64,
            InputSource::File { rows, .. } => *rows,
        }
    }
}

/// Where a stage's tables go.
pub trait OutputSink: Send {
    /// Adds rows to an output. Every output must be given at least one table,
    /// if an empty one, and always the same schema.
    ///
    /// # Errors
    /// [`TableError`] if they cannot be written.
    fn append(&mut self, port: &str, table: &Table) -> Result<(), TableError>;

    /// A new empty folder for what other programs write; it is gone when the
    /// stage has ended.
    ///
    /// # Errors
    /// [`TableError`] if there is no place for one.
    fn folder(&mut self) -> Result<PathBuf, TableError> {
        Err(TableError::Refused("there is no place for files here: this is a bug in the engine".to_owned()))
    }
}

/// Outputs collected in memory: for tests.
#[derive(Debug, Default)]
pub struct MemorySink(pub BTreeMap<String, Vec<Table>>);

impl OutputSink for MemorySink {
    fn append(&mut self, port: &str, table: &Table) -> Result<(), TableError> {
        self.0.entry(port.to_owned()).or_default().push(table.clone());
        Ok(())
    }
}

/// How a row ended, or several that ask for the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowEnd<'a> {
    /// Its status: `ok`, `not_found`, `failed: …`.
    pub status: &'a str,
    /// How many rows are done with it; 0 for a request that is no row of its own.
    pub rows: u64,
    /// Whether an answer had to be waited for: the memo did not have it.
    pub asked: bool,
}

/// What a stage tells while it runs.
pub trait Progress: Send + Sync {
    /// How many rows there will be, once known.
    fn total(&self, rows: u64);
    /// That many more rows are done, of which no more is to be said.
    fn advance(&self, rows: u64);
    /// Rows are done, and this is how they ended.
    fn ended(&self, end: RowEnd<'_>);
    /// What it is doing, in a few words: `epoch 3 of 20, loss 0.41`.
    fn note(&self, text: &str);
    /// A line that a program of the stage printed: a note that stays in the run's log.
    fn line(&self, text: &str) {
        self.note(text);
    }
    /// Something the user should know; kept with the artifact and shown again
    /// whenever it is used.
    fn warn(&self, text: &str);
}

/// No progress at all: for tests.
#[derive(Debug, Default, Clone, Copy)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn total(&self, _rows: u64) {}
    fn advance(&self, _rows: u64) {}
    fn ended(&self, _end: RowEnd<'_>) {}
    fn note(&self, _text: &str) {}
    fn warn(&self, _text: &str) {}
}

/// All that a running stage may touch.
pub struct StageContext {
    /// The inputs by port; a port that takes many has one entry per label, in
    /// the order of the labels.
    pub inputs: BTreeMap<String, Vec<Input>>,
    /// Where the outputs go.
    pub outputs: std::sync::Mutex<Box<dyn OutputSink>>,
    /// This stage's seed.
    pub seed: Seed,
    /// Told to stop: check it every few rows, or select on it.
    pub cancel: CancellationToken,
    /// What to tell the user.
    pub progress: Arc<dyn Progress>,
    /// The network, through limiters and memo.
    pub web: Session,
    /// The vectors that texts have had, if they are remembered.
    pub vectors: Option<Arc<VectorMemo>>,
    /// Whom pseudonyms stand for, if there is a store that keeps it.
    pub people: Option<Arc<People>>,
    /// Weights on this machine and the device to compute on.
    pub models: Arc<Models>,
    /// Values of `${env.…}`.
    pub environment: Environment,
}

impl StageContext {
    /// A context over tables in memory, with no network: for tests.
    #[must_use]
    pub fn for_test(inputs: Vec<(&str, Vec<Input>)>, sink: Box<dyn OutputSink>) -> Self {
        Self {
            inputs: inputs.into_iter().map(|(port, list)| (port.to_owned(), list)).collect(),
            outputs: std::sync::Mutex::new(sink),
            seed: Seed::of_stage(0, "test"),
            cancel: CancellationToken::new(),
            progress: Arc::new(NoProgress),
            web: Session::closed(),
            vectors: None,
            people: None,
            models: Arc::new(Models::default()),
            environment: Environment::default(),
        }
    }

    /// A context for [`Stage::known`](super::Stage::known): what is written to it goes nowhere.
    #[must_use]
    pub fn of_memo(
        inputs: BTreeMap<String, Vec<Input>>,
        web: &Session,
        vectors: Option<Arc<VectorMemo>>,
        models: Arc<Models>,
        environment: Environment,
    ) -> Self {
        let sink = Box::new(MemorySink::default());
        Self { inputs, web: web.memo_only(), vectors, models, environment, ..Self::for_test(Vec::new(), sink) }
    }

    /// The one table of a required port.
    ///
    /// # Errors
    /// [`StageError`] if it cannot be read.
    ///
    /// # Panics
    /// If the port was not declared: this is a bug in the kind.
    pub fn table(&self, port: &str) -> Result<Table, StageError> {
        let input = self.input(port).unwrap_or_else(|| panic!("port `{port}` has no input: this is a bug in the kind"));
        Ok(input.table()?)
    }

    /// The one input of a port, if it has one.
    #[must_use]
    pub fn input(&self, port: &str) -> Option<&Input> {
        self.inputs.get(port).and_then(|list| list.first())
    }

    /// Adds rows to an output.
    ///
    /// # Errors
    /// [`StageError`] if they cannot be written.
    pub fn write(&self, port: &str, table: &Table) -> Result<(), StageError> {
        let mut sink = self.outputs.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(sink.append(port, table)?)
    }

    /// Adds the rows of a Parquet file to an output: they are read and written
    /// anew, so that the artifact is the same whoever wrote the file.
    ///
    /// # Errors
    /// [`StageError`] if it cannot be read or they cannot be written.
    pub fn publish_file(&self, port: &str, path: &Path) -> Result<(), StageError> {
        let parts = crate::table::read_parts(path, ROWS_AT_ONCE)?;
        self.write(port, &parts.empty())?;
        for part in parts {
            self.check_cancelled()?;
            self.write(port, &part?)?;
        }
        Ok(())
    }

    /// A new empty folder for what other programs write; it is gone when the
    /// stage has ended.
    ///
    /// # Errors
    /// [`StageError`] if it cannot be made.
    pub fn folder(&self) -> Result<PathBuf, StageError> {
        let mut sink = self.outputs.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(sink.folder()?)
    }

    /// Stops the stage if it was told to.
    ///
    /// # Errors
    /// [`StageError::Cancelled`].
    pub fn check_cancelled(&self) -> Result<(), StageError> {
        if self.cancel.is_cancelled() { Err(StageError::Cancelled) } else { Ok(()) }
    }
}
