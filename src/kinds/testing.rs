//! For the tests of the kinds: runs a stage on tables in memory and shows what
//! it wrote and said.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::Value;

use crate::stage::{
    Input, MemorySink, OutputSink, Progress, RowEnd, SettingProblem, Stage, StageContext, StageError, StageKind,
};
use crate::table::{Table, TableError, column_hashes};

/// What a stage wrote and said.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) outputs: BTreeMap<String, Table>,
    pub(super) warnings: Vec<String>,
    pub(super) notes: Vec<String>,
}

impl Ran {
    /// The rows of an output, each as its values joined by `|`; null is `-`.
    pub(super) fn rows(&self, port: &str) -> Vec<String> {
        rows(&self.outputs[port])
    }

    /// The first twelve digits of every output column's hash: what a golden
    /// test holds. If it changes, the kind's version must rise.
    pub(super) fn golden(&self) -> String {
        self.outputs.iter().map(|(port, table)| column_golden(port, table)).collect::<Vec<_>>().join("\n")
    }
}

/// The same of one table.
pub(super) fn column_golden(port: &str, table: &Table) -> String {
    let hashes = column_hashes(table).unwrap().into_iter();
    hashes.map(|(name, hash)| format!("{port}.{name} {}", hash.short())).collect::<Vec<_>>().join("\n")
}

#[derive(Default)]
struct Recorder {
    warnings: Mutex<Vec<String>>,
    notes: Mutex<Vec<String>>,
}

impl Progress for Recorder {
    fn total(&self, _rows: u64) {}
    fn advance(&self, _rows: u64) {}
    fn ended(&self, _end: RowEnd<'_>) {}
    fn note(&self, text: &str) {
        self.notes.lock().unwrap().push(text.to_owned());
    }
    fn warn(&self, text: &str) {
        self.warnings.lock().unwrap().push(text.to_owned());
    }
}

struct SharedSink(Arc<Mutex<MemorySink>>, tempfile::TempDir);

impl OutputSink for SharedSink {
    fn append(&mut self, port: &str, table: &Table) -> Result<(), TableError> {
        self.0.lock().unwrap().append(port, table)
    }

    fn folder(&mut self) -> Result<std::path::PathBuf, TableError> {
        Ok(self.1.path().to_owned())
    }
}

/// The checked stage.
///
/// # Panics
/// If the settings are refused.
pub(super) fn stage(kind: &dyn StageKind, with: &Value) -> Arc<dyn Stage> {
    kind.parse(with).unwrap_or_else(|problems| panic!("the settings were refused: {problems:?}"))
}

/// What is wrong with the settings.
///
/// # Panics
/// If nothing is.
pub(super) fn refused(kind: &dyn StageKind, with: &Value) -> Vec<SettingProblem> {
    kind.parse(with).err().unwrap_or_else(|| panic!("{with} was accepted"))
}

/// Runs a stage on tables in memory, one per port.
pub(super) fn run(kind: &dyn StageKind, with: &Value, inputs: Vec<(&str, Table)>) -> Result<Ran, StageError> {
    let of_memory = |(port, table)| (port, vec![Input::of_table(port, table)]);
    run_inputs(kind, with, inputs.into_iter().map(of_memory).collect())
}

/// Runs a stage on inputs of any sort.
pub(super) fn run_inputs(
    kind: &dyn StageKind,
    with: &Value,
    inputs: Vec<(&str, Vec<Input>)>,
) -> Result<Ran, StageError> {
    let sink = Arc::new(Mutex::new(MemorySink::default()));
    let recorder = Arc::new(Recorder::default());
    let mut context =
        StageContext::for_test(inputs, Box::new(SharedSink(Arc::clone(&sink), tempfile::tempdir().unwrap())));
    context.progress = Arc::<Recorder>::clone(&recorder);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(stage(kind, with).run(&context))?;
    let written = std::mem::take(&mut sink.lock().unwrap().0);
    let whole = |(port, parts): (String, Vec<Table>)| {
        let schema = Arc::clone(parts[0].schema());
        let batches = parts.iter().flat_map(|part| part.batches().to_vec()).collect();
        (port, Table::new(schema, batches))
    };
    let outputs: BTreeMap<String, Table> = written.into_iter().map(whole).collect();
    check_keys(stage(kind, with).as_ref(), &outputs);
    let warnings = std::mem::take(&mut *recorder.warnings.lock().unwrap());
    let notes = std::mem::take(&mut *recorder.notes.lock().unwrap());
    Ok(Ran { outputs, warnings, notes })
}

/// What every run of a kind's own tests must fulfil: the key that an output
/// declares tells its rows apart.
fn check_keys(stage: &dyn Stage, outputs: &BTreeMap<String, Table>) {
    for port in stage.outputs() {
        let Some(table) = outputs.get(&*port.name).filter(|_| !port.key.is_empty()) else { continue };
        let mut keys = rows(&table.select(&port.key).unwrap());
        let all = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), all, "the key {:?} of `{}` stands for several rows", port.key, port.name);
    }
}

/// The rows of a table, each as its values joined by `|`; null is `-`.
pub(super) fn rows(table: &Table) -> Vec<String> {
    let options = FormatOptions::default().with_null("-");
    let mut lines = Vec::new();
    for batch in table.batches() {
        let columns: Vec<_> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            lines.push(columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join("|"));
        }
    }
    lines
}

/// A column of texts; `-` is null.
pub(super) fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(values.iter().map(|value| (*value != "-").then_some(*value)).collect::<StringArray>())
}

/// A column of whole numbers.
pub(super) fn numbers(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

/// A table of interactions from `user item time` lines; the time `-` is null.
pub(super) fn interactions(lines: &str) -> Table {
    let fields: Vec<Vec<&str>> = lines.lines().map(|line| line.split_whitespace().collect()).collect();
    let text = |at: usize| -> ArrayRef { texts(&fields.iter().map(|row: &Vec<&str>| row[at]).collect::<Vec<_>>()) };
    let times: Int64Array = fields.iter().map(|row| row[2].parse::<i64>().ok()).collect();
    Table::of_columns([("user_id", text(0)), ("item_id", text(1)), ("at", Arc::new(times) as ArrayRef)]).unwrap()
}

/// A folder of the shared real data, or `None`, saying that the test is skipped.
pub(super) fn real_data(name: &str) -> Option<std::path::PathBuf> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/datasets").join(name);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: there is no {}", path.display());
    None
}
