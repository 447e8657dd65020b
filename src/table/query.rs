//! SQL over Parquet files, answered a batch of rows at a time: what is asked of
//! a file of any size takes little memory, unless the answer itself needs it.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;

use polars::prelude::{
    DataFrame, Engine, Expr, LazyFrame, NULL, PlanCallback, PolarsError, UnionArgs, col, concat, lit, when,
};
use polars::sql::{SQLContext, extract_table_identifiers};

use super::passes::in_passes;
use super::polars::scan_in_pieces;
use super::query_text::names_of_ctes;
use super::{Table, TableError, from_polars, keep_order, polars_error};
use crate::ground::closest;

/// Rows that are handed over at a time.
const BATCH: NonZeroUsize = NonZeroUsize::new(16_384).expect("more than none");

/// Over tables of no more rows than this the order of the answer is always the same.
const ORDERED: u64 = 1_000_000;

/// A query that cannot be answered, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct QueryMistake {
    /// What is wrong.
    pub what: String,
    /// What to do, if that can be told.
    pub hint: Option<String>,
}

impl QueryMistake {
    fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), hint: Some(hint.into()) }
    }
}

/// A value that is put before the columns of a file, the same in all its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Label {
    /// A text, or null.
    Text(Option<String>),
    /// A whole number, or null.
    Whole(Option<i64>),
}

impl Label {
    fn literal(&self) -> Expr {
        use polars::prelude::DataType::{Int64, String};
        match self {
            Self::Text(Some(text)) => lit(text.clone()),
            Self::Text(None) => lit(NULL).cast(String),
            Self::Whole(Some(number)) => lit(*number),
            Self::Whole(None) => lit(NULL).cast(Int64),
        }
    }
}

/// One file of a table.
#[derive(Debug, Clone)]
pub struct QueryPart {
    /// The Parquet file.
    pub path: PathBuf,
    /// Columns put before its own.
    pub labels: Vec<(&'static str, Label)>,
}

/// A table that a query may name: files with the same columns, one after the other.
#[derive(Debug, Clone)]
pub struct QueryTable {
    /// Its name in the query.
    pub name: String,
    /// Its files, at least one.
    pub parts: Vec<QueryPart>,
    /// The names of its columns, those put before them included: for hints.
    pub columns: Vec<String>,
    /// How many rows there are in all files.
    pub rows: u64,
    /// The name of a column that counts the rows of each file from 0, if there is to be one.
    pub row_number: Option<&'static str>,
}

impl QueryTable {
    fn frame(&self) -> Result<LazyFrame, TableError> {
        let part = |part: &QueryPart| -> Result<LazyFrame, TableError> {
            let frame = scan_in_pieces(&part.path, self.row_number)?;
            if part.labels.is_empty() {
                return Ok(frame);
            }
            // A literal alone has no rows: where a query reads nothing else, such as `count(*)`, a column
            // of the file must say how many there are.
            let beside = self.columns.get(part.labels.len());
            let label = |label: &Label| match beside {
                Some(beside) => when(col(beside.as_str()).is_null()).then(label.literal()).otherwise(label.literal()),
                None => label.literal(),
            };
            let labels = part.labels.iter().map(|(name, value)| label(value).alias(*name));
            let labelled = frame.with_columns(labels.collect::<Vec<_>>());
            Ok(labelled.select(self.columns.iter().map(|name| col(name.as_str())).collect::<Vec<_>>()))
        };
        let mut parts = self.parts.iter().map(part).collect::<Result<Vec<_>, _>>()?;
        match parts.len() {
            1 => Ok(parts.remove(0)),
            _ => concat(parts, UnionArgs::default()).map_err(|error| polars_error(&error)),
        }
    }
}

/// The tables that a query names, each once, in the order in which they are
/// first named; those that it makes itself (`WITH name AS …`) are left out.
///
/// # Errors
/// [`QueryMistake`] if it is no query, changes something, or names a table in a
/// way that would be misunderstood.
pub fn tables_of_query(query: &str) -> Result<Vec<String>, QueryMistake> {
    const CHANGES: [&str; 8] = ["CREATE", "DROP", "DELETE", "TRUNCATE", "INSERT", "UPDATE", "ALTER", "SHOW"];
    let first = query.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    if first.is_empty() || CHANGES.contains(&first.as_str()) {
        let what = if first.is_empty() { "the query is empty".to_owned() } else { format!("`{first}` is no query") };
        return Err(QueryMistake::new(what, "write a SELECT: nothing can be changed"));
    }
    let refused = |error: PolarsError| {
        let what = format!("could not read the query: {}", polars_error(&error));
        QueryMistake::new(
            what,
            "names with `.`, `-`, `+`, `@` or `#` in them stand in double quotes: \"stage.output@V1\"",
        )
    };
    let names = |with_schema| extract_table_identifiers(query, with_schema, false).map_err(refused);
    let (whole, last) = (names(true)?, names(false)?);
    if let Some((name, _)) = whole.iter().zip(&last).find(|(whole, last)| whole != last) {
        let what = format!("the query names the table {name} without quotes, which would mean another");
        return Err(QueryMistake::new(what, format!("write \"{name}\"")));
    }
    let own = names_of_ctes(query);
    let mut seen = BTreeSet::new();
    let is_foreign = |name: &String| !own.contains(name) && !is_file_function(name) && seen.insert(name.clone());
    Ok(whole.into_iter().filter(is_foreign).collect())
}

/// Whether a table's name is a function of Polars' that reads a file.
pub fn is_file_function(table: &str) -> bool {
    let name = table.to_ascii_lowercase();
    ["read_csv", "read_parquet", "read_ipc", "read_json", "read_ndjson"].contains(&name.as_str())
}

/// A query that fits its tables, ready to be answered.
pub struct Query {
    frame: LazyFrame,
    head: Table,
    /// The rows of the tables that are asked.
    rows: u64,
}

impl Query {
    /// Prepares a query over these tables. If they have no more than a million rows
    /// together, those of the answer stand in an order that depends on them alone;
    /// else only what `ORDER BY` says is certain, for all else would take memory.
    ///
    /// # Errors
    /// [`QueryMistake`] with the tables, columns and near names.
    pub fn new(query: &str, tables: &[QueryTable]) -> Result<Self, QueryMistake> {
        let mut sql = SQLContext::new();
        for table in tables {
            let frame = table.frame().map_err(|error| QueryMistake { what: chain(&error), hint: None })?;
            sql.register(&table.name, frame);
        }
        let explained = |error: PolarsError| explain(&error, tables);
        let planned = sql.execute(query).map_err(explained)?;
        let rows = tables.iter().map(|table| table.rows).sum();
        let mut frame = if rows <= ORDERED { keep_order(planned) } else { planned };
        let schema = frame.collect_schema().map_err(explained)?;
        let head = from_polars(&DataFrame::empty_with_schema(&schema))
            .map_err(|error| QueryMistake { what: chain(&error), hint: None })?;
        Ok(Self { frame, head, rows })
    }

    /// A table without rows that has the columns of the answer.
    #[must_use]
    pub fn head(&self) -> &Table {
        &self.head
    }

    /// Some of the columns, in this order.
    ///
    /// # Errors
    /// [`QueryMistake`] if one is missing.
    pub fn selecting(self, columns: &[String]) -> Result<Self, QueryMistake> {
        let head = self.head.select(columns).map_err(|error| QueryMistake { what: chain(&error), hint: None })?;
        let frame = self.frame.select(columns.iter().map(|name| col(name.as_str())).collect::<Vec<_>>());
        Ok(Self { frame, head, rows: self.rows })
    }

    /// The same query for no more than so many rows.
    #[must_use]
    pub fn limited(self, rows: u64) -> Self {
        let rows = u32::try_from(rows).unwrap_or(u32::MAX);
        Self { frame: self.frame.limit(rows), ..self }
    }

    /// Answers the query: hands over some rows at a time, in their order, until
    /// `take` answers that it wants no more.
    ///
    /// # Errors
    /// What `take` says, or a [`TableError`] if the query fails on the way.
    pub fn answer<E: From<TableError>>(self, take: impl FnMut(&Table) -> Result<bool, E>) -> Result<(), E> {
        let Self { frame, rows, .. } = self;
        // A thread of its own, as below.
        let planned = on_a_thread(move || in_passes(frame.logical_plan, rows));
        let planned = planned.and_then(|planned| planned.map_err(|error| polars_error(&error)))?;
        batches(LazyFrame::from(planned), take)
    }
}

/// The rows of a frame, as in [`Query::answer`].
pub(super) fn batches<E: From<TableError>>(
    frame: LazyFrame,
    mut take: impl FnMut(&Table) -> Result<bool, E>,
) -> Result<(), E> {
    frames(frame, Some(BATCH), |frame| take(&from_polars(&frame)?))
}

/// The same as frames of so many rows, or as they come: what waits for others keeps
/// all in memory that was read with it.
pub(super) fn frames<E: From<TableError>>(
    frame: LazyFrame,
    rows: Option<NonZeroUsize>,
    mut take: impl FnMut(DataFrame) -> Result<bool, E>,
) -> Result<(), E> {
    let (send, receive) = sync_channel::<DataFrame>(1);
    // Whoever takes no more lets go of the other end: then Polars is told to stop.
    let hand_over = PlanCallback::new(move |frame: DataFrame| Ok(send.send(frame).is_err()));
    // Pieces of files are to be read one after the other, even where no order is asked for.
    let frame = frame.with_check_order(false);
    let sink = frame.sink_batches(hand_over, true, rows).map_err(|error| polars_error(&error))?;
    let mut taken = Ok(true);
    let ended = std::thread::scope(|scope| {
        // A thread of its own: Polars may block on a runtime, which a thread that drives one must not do.
        let worker = scope.spawn(move || sink.collect_with_engine(Engine::Streaming).map(drop));
        for frame in receive {
            taken = take(frame);
            if !matches!(taken, Ok(true)) {
                break;
            }
        }
        worker.join()
    });
    taken?;
    Ok(ended.map_err(|_| stopped())?.map_err(|error| polars_error(&error))?)
}

fn on_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, TableError> {
    std::thread::scope(|scope| scope.spawn(work).join()).map_err(|_| stopped())
}

/// A panic of Polars' has said on stderr what it is.
fn stopped() -> TableError {
    TableError::Polars("Polars stopped in the middle of the query".to_owned())
}

/// Polars' reason, with the tables and columns there are.
fn explain(error: &PolarsError, tables: &[QueryTable]) -> QueryMistake {
    let text = polars_error(error).to_string();
    // The hint names the columns.
    let text = text.split("; valid columns: ").next().unwrap_or_default();
    let columns: Vec<(&str, &[String])> =
        tables.iter().map(|table| (table.name.as_str(), table.columns.as_slice())).collect();
    QueryMistake { hint: near_names(text, &columns), what: format!("could not answer the query: {text}") }
}

/// What to do about a query that Polars refuses: the name that was probably
/// meant, and the tables with their columns.
#[must_use]
pub fn near_names(message: &str, tables: &[(&str, &[String])]) -> Option<String> {
    if tables.is_empty() {
        return None;
    }
    let mut names: Vec<&str> = tables.iter().map(|(name, _)| *name).collect();
    names.extend(tables.iter().flat_map(|(_, columns)| columns.iter().map(String::as_str)));
    let near =
        quoted(message).filter(|word| !names.contains(word)).and_then(|word| closest(word, names.iter().copied()));
    let meant = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
    let tables = tables.iter().map(|(name, columns)| format!("{name}({})", columns.join(", ")));
    Some(format!("{meant}the tables are {}", tables.collect::<Vec<_>>().join(", ")))
}

/// The first word in quotes.
fn quoted(text: &str) -> Option<&str> {
    let start = text.find(['\'', '"', '`'])?;
    let rest = text.get(start + 1..)?;
    rest.get(..rest.find(['\'', '"', '`'])?)
}

/// An error with all its causes in one line.
fn chain(error: &TableError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
