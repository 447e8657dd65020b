//! The contract between the engine and the kinds.
//!
//! A kind says what it is and checks its settings ([`StageKind`]); a checked
//! stage says what it reads, writes and needs, and runs ([`Stage`]). A stage
//! never sees the store: it is given its opened inputs, a sink for its outputs
//! and the services ([`StageContext`]); the engine publishes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::ground::{Environment, MissingVariable, Seed, closest, thousands};
use crate::memo::{Tally, VectorMemo};
use crate::model::Models;
use crate::table::{Table, TableError};
use crate::web::{Session, WebError};

/// What a stage can do: one file in `kinds/`, one line in the registry.
pub trait StageKind: Sync + Send {
    /// The name in YAML: lower case, starts with a verb.
    fn name(&self) -> &'static str;
    /// Raised when the same inputs and settings would give another output.
    fn version(&self) -> u32;
    /// One line, without full stop.
    fn summary(&self) -> &'static str;
    /// What it reads, writes and promises, in Markdown.
    fn documentation(&self) -> &'static str;
    /// A stage of this kind as it stands in YAML: `kind:`, `inputs:` and `with:`.
    fn example(&self) -> &'static str;
    /// The JSON Schema of `with:`.
    fn settings_schema(&self) -> Value;
    /// Checks the settings. Pure: no files, no network, no clock.
    ///
    /// # Errors
    /// Every mistake found, each with its path below `with`.
    fn parse(&self, with: &Value) -> Result<Arc<dyn Stage>, Vec<SettingProblem>>;
}

/// A mistake in the settings of one stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingProblem {
    /// Keys and indices below `with`, joined by `.`; empty for `with` itself.
    pub path: String,
    /// What is wrong: a sentence without full stop.
    pub what: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl SettingProblem {
    /// A problem at a path, with no hint yet.
    pub fn new(path: impl Into<String>, what: impl Into<String>) -> Self {
        Self { path: path.into(), what: what.into(), hint: None }
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// A table that a stage reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputPort {
    /// The name under `inputs:`. `*` stands for any name the user likes.
    pub name: String,
    /// The columns that are read: nothing else of the table decides the result.
    pub columns: Columns,
    /// Whether the stage can run without it. A stage whose required input is
    /// `none` does not exist for that variant.
    pub required: bool,
    /// Whether a list of stages, or `stage@*`, may be given.
    pub many: bool,
}

/// Which columns of an input are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Columns {
    /// All, whatever they are called.
    All,
    /// These must be there.
    Named(Vec<String>),
    /// The first must be there; the second are read where they are there.
    NamedAndOptional(Vec<String>, Vec<String>),
}

impl InputPort {
    /// A required port for one table, reading the named columns.
    pub fn new<S: Into<String>>(name: &str, columns: impl IntoIterator<Item = S>) -> Self {
        let columns = Columns::Named(columns.into_iter().map(Into::into).collect());
        Self { name: name.to_owned(), columns, required: true, many: false }
    }

    /// A required port for one table, reading every column.
    #[must_use]
    pub fn whole(name: &str) -> Self {
        Self { name: name.to_owned(), columns: Columns::All, required: true, many: false }
    }

    /// Also reads these columns where the table has them.
    #[must_use]
    pub fn and_optional<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>) -> Self {
        let optional = columns.into_iter().map(Into::into).collect();
        if let Columns::Named(named) = self.columns {
            self.columns = Columns::NamedAndOptional(named, optional);
        }
        self
    }

    /// The stage can run without this input.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.required = false;
        self
    }

    /// Takes a list of stages, or `stage@*`.
    #[must_use]
    pub fn many(mut self) -> Self {
        self.many = true;
        self
    }
}

/// A table that a stage writes. The first port of a stage is what its bare
/// name refers to; the others are written `stage.port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputPort {
    /// The name after the dot.
    pub name: &'static str,
    /// The columns, for people: `user_id: str`, …; empty where the settings decide.
    pub columns: Vec<(String, String)>,
    /// The columns that tell a row from every other, where there are such:
    /// two results are compared row by row along them.
    pub key: &'static [&'static str],
}

impl OutputPort {
    /// A port with columns of `(name, type)`.
    #[must_use]
    pub fn new(name: &'static str, columns: &[(&str, &str)]) -> Self {
        Self { name, columns: columns.iter().map(|(n, t)| ((*n).to_owned(), (*t).to_owned())).collect(), key: &[] }
    }

    /// Says which columns tell a row from every other.
    #[must_use]
    pub fn keyed_by(mut self, key: &'static [&'static str]) -> Self {
        self.key = key;
        self
    }
}

/// What a stage occupies while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// That many processor cores; 0 means all there are.
    Cpu(usize),
    /// The GPU if there is one, else all cores.
    Gpu,
    /// The named limiter; next to no processor time.
    Api(String),
}

/// An environment variable that a stage needs unless a sandbox stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequiredVariable {
    /// The variable's name.
    pub name: String,
    /// Where a user gets a value.
    pub obtain: String,
}

/// A stage whose settings have been checked.
#[async_trait]
pub trait Stage: Send + Sync {
    /// The settings that decide the result, defaults filled in. Part of the
    /// fingerprint: no path, no limiter, no key. `${env.…}` is blanked by the engine.
    fn settings(&self) -> Value;
    /// The tables it reads.
    fn inputs(&self) -> Vec<InputPort>;
    /// The tables it writes; at least one.
    fn outputs(&self) -> Vec<OutputPort>;
    /// What it occupies.
    fn resource(&self) -> Resource {
        Resource::Cpu(1)
    }
    /// Of the inputs that are read whole ([`Columns::All`]): which of their
    /// columns decide the result, given the name and type of each by port. A
    /// port that is left out is read whole; at run time the others have no more
    /// than the columns named here. Pure; the engine remembers the answer.
    fn columns_read(&self, available: &BTreeMap<String, Vec<(String, String)>>) -> BTreeMap<String, Vec<String>> {
        let _ = available;
        BTreeMap::new()
    }
    /// Whether [`Stage::columns_read`] can ever answer.
    fn narrows(&self) -> bool {
        false
    }
    /// Files outside the store whose content decides the result, as written in YAML.
    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }
    /// Other facts that decide the result and that only the machine knows, such
    /// as the hash of a model's weights. Must be quick.
    fn facts(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }
    /// Whether it draws random numbers; such a stage is repeated per `seeds:`.
    fn is_seeded(&self) -> bool {
        false
    }
    /// Variables it needs when it speaks to the real services.
    fn variables(&self) -> Vec<RequiredVariable> {
        Vec::new()
    }
    /// How many rows need nothing that is not in the memo, told before it runs.
    /// For kinds that work row by row; they give nothing where they cannot count.
    ///
    /// The context has the inputs, a session that only the memo answers, and
    /// the memo of vectors; it is never to write, warn or ask. Called on a
    /// thread of its own.
    fn known(&self, _context: &StageContext) -> Option<Known> {
        None
    }
    /// Does the work. Called on a thread of its own: heavy computing is fine.
    ///
    /// # Errors
    /// [`StageError`] if the stage as a whole failed; failed rows are data.
    async fn run(&self, context: &StageContext) -> Result<(), StageError>;
}

/// How many rows of a stage are known before it runs. Displays as
/// `10,000 rows, 9,999 known, 1 to ask`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// How many rows there are.
    pub rows: u64,
    /// How many of them need nothing that is not in the memo.
    pub known: u64,
    /// How many different requests or texts are left, at least.
    pub left: u64,
    /// What is to be done for those.
    pub work: RowWork,
}

/// What a stage does for a row that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowWork {
    /// Asks an API.
    Ask,
    /// Computes a vector.
    Embed,
}

impl Known {
    /// What was counted, and what is to be done for the rest.
    #[must_use]
    pub fn new(tally: Tally, work: RowWork) -> Self {
        Self { rows: tally.rows, known: tally.known, left: tally.left, work }
    }
}

impl std::fmt::Display for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [rows, known, left] = [self.rows, self.known, self.left].map(thousands);
        let word = if self.rows == 1 { "row" } else { "rows" };
        let work = match self.work {
            RowWork::Ask => "ask",
            RowWork::Embed => "embed",
        };
        write!(f, "{rows} {word}, {known} known, {left} to {work}")
    }
}

/// One opened input.
#[derive(Clone)]
pub struct Input {
    /// The variant, or the stage's name: what tells it from others of its port.
    pub label: String,
    source: InputSource,
}

#[derive(Clone)]
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

/// What a stage tells while it runs.
pub trait Progress: Send + Sync {
    /// How many rows there will be, once known.
    fn total(&self, rows: u64);
    /// That many more rows are done.
    fn advance(&self, rows: u64);
    /// What it is doing, in a few words: `epoch 3 of 20, loss 0.41`.
    fn note(&self, text: &str);
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
            models: Arc::new(Models::default()),
            environment: Environment::default(),
        }
    }

    /// A context for [`Stage::known`]: what is written to it goes nowhere.
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

    /// Stops the stage if it was told to.
    ///
    /// # Errors
    /// [`StageError::Cancelled`].
    pub fn check_cancelled(&self) -> Result<(), StageError> {
        if self.cancel.is_cancelled() { Err(StageError::Cancelled) } else { Ok(()) }
    }
}

/// Why a stage as a whole failed.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// It was told to stop.
    #[error("stopped")]
    Cancelled,
    /// It cannot go on, for a reason that it knows.
    #[error("{what}")]
    Failed {
        /// What was attempted, on what, and why it failed.
        what: String,
        /// What to do.
        hint: Option<String>,
    },
    /// A table could not be read or written, or is not as it must be.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A service cannot be used at all.
    #[error(transparent)]
    Web(#[from] WebError),
    /// An environment variable is missing.
    #[error(transparent)]
    Variable(#[from] MissingVariable),
}

impl StageError {
    /// A failure with no hint.
    pub fn failed(what: impl Into<String>) -> Self {
        Self::Failed { what: what.into(), hint: None }
    }

    /// A failure and what to do about it.
    pub fn with_hint(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Failed { what: what.into(), hint: Some(hint.into()) }
    }
}

/// The JSON Schema of a settings type, for [`StageKind::settings_schema`].
#[must_use]
pub fn schema_of<S: JsonSchema>() -> Value {
    schemars::schema_for!(S).to_value()
}

/// Decodes settings and reports every mistake that can be told apart: all
/// unknown and missing keys, and the types that do not fit.
///
/// # Errors
/// The mistakes, with their paths and hints.
pub fn decode_settings<S: DeserializeOwned + JsonSchema>(with: &Value) -> Result<S, Vec<SettingProblem>> {
    let nothing = Value::Object(serde_json::Map::new());
    let with = if with.is_null() { &nothing } else { with };
    // Settings refuse unknown keys, so what decodes has no mistake. The schema
    // and the paths cost much more than the decoding, and only serve messages.
    if with.is_object()
        && let Ok(settings) = S::deserialize(with)
    {
        return Ok(settings);
    }
    let schema = schema_of::<S>();
    let known = schema.get("properties").and_then(Value::as_object);
    let names: Vec<&str> = known.map(|map| map.keys().map(String::as_str).collect()).unwrap_or_default();
    let Value::Object(given) = with else {
        return Err(vec![SettingProblem::new("", "`with` must be a mapping of settings")]);
    };
    let mut problems = Vec::new();
    let mut rest = given.clone();
    for key in given.keys().filter(|key| !names.contains(&key.as_str())) {
        rest.remove(key);
        let hint = closest(key, names.iter().copied())
            .map_or_else(|| format!("the settings are {}", names.join(", ")), |near| format!("did you mean `{near}`?"));
        problems.push(SettingProblem::new(key.clone(), format!("unknown setting `{key}`")).hint(hint));
    }
    for name in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        if !rest.contains_key(name) {
            let about = known.and_then(|k| k[name].get("description")).and_then(Value::as_str).unwrap_or_default();
            problems.push(
                SettingProblem::new("", format!("the setting `{name}` is missing")).hint(format!("{name}: {about}")),
            );
        }
    }
    let missing = problems.iter().any(|p| p.path.is_empty());
    match serde_path_to_error::deserialize::<_, S>(Value::Object(rest)) {
        Ok(settings) if problems.is_empty() => Ok(settings),
        Ok(_) => Err(problems),
        Err(error) => {
            let path = error.path().to_string();
            let path = if path == "." { String::new() } else { path };
            if !(missing && path.is_empty()) {
                let name = path.split(['.', '[']).next().unwrap_or_default();
                let about = known.and_then(|k| k.get(name)?.get("description")?.as_str());
                let about = about.map(|about| format!("{name}: {}", about.replace('\n', " ")));
                let mut problem = SettingProblem::new(path, error.into_inner().to_string());
                problem.hint = about.filter(|_| problem.what.starts_with("invalid "));
                problems.push(problem);
            }
            Err(problems)
        }
    }
}

/// The fingerprint's view of a settings type: what serialises. Operational
/// fields carry `#[serde(skip_serializing)]`.
///
/// # Panics
/// If the type does not serialise to JSON: this is a bug in the kind.
#[must_use]
pub fn settings_value<S: Serialize>(settings: &S) -> Value {
    serde_json::to_value(settings).unwrap_or_else(|error| panic!("settings do not serialise, this is a bug: {error}"))
}
