//! The tables that a program of the user's writes, as they are declared in
//! YAML, and the check that a file is one. No kind by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, UInt64Array};
use arrow::compute::{SortColumn, SortOptions, lexsort_to_indices, take_record_batch};
use arrow::row::{RowConverter, SortField};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ground::{check_name, closest};
use crate::stage::{Input, OutputPort, SettingProblem, StageError};
use crate::table::{Table, TableError, describe_parquet, read_parquet, type_name};

/// The types that a column may be declared to have; lists hold any of them.
const TYPES: [&str; 15] =
    ["str", "i64", "f64", "f32", "bool", "i8", "i16", "i32", "u8", "u16", "u32", "u64", "f16", "bytes", "date"];
/// How the other types begin, whose names say more.
const LONGER: [&str; 4] = ["timestamp[", "time[", "duration[", "struct<"];

/// One output as it is declared.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Declared {
    /// Each column's type: `str`, `i64`, `f64`, `f32`, `bool`, `date`, `list<f32>`, `timestamp[us]`, …
    pub(super) columns: BTreeMap<String, String>,
    /// The columns that tell a row from every other; checked, and by which `refrain diff` compares.
    #[serde(default)]
    pub(super) key: Vec<String>,
    /// The columns by which rows are sorted, nulls first; without any they stay as they were written.
    #[serde(default)]
    pub(super) order_by: Vec<String>,
}

impl Declared {
    /// What is wrong with the declaration.
    pub(super) fn problems(&self, name: &str) -> Vec<SettingProblem> {
        let mut problems = Vec::new();
        let at = format!("outputs.{name}");
        if let Err(error) = check_name(name, false) {
            problems.push(SettingProblem::new(&at, error.to_string()));
        }
        if self.columns.is_empty() {
            let problem = SettingProblem::new(format!("{at}.columns"), format!("the output `{name}` has no columns"));
            problems.push(problem.hint("write `columns: { item_id: str, score: f64 }`"));
        }
        for (column, of) in self.columns.iter().filter(|(_, of)| !is_type(of)) {
            let near = closest(of, TYPES).map(|near| format!("did you mean `{near}`? "));
            let hint =
                format!("{}the types are {}, list<…>, timestamp[us], …", near.unwrap_or_default(), TYPES.join(", "));
            let problem = SettingProblem::new(format!("{at}.columns.{column}"), format!("there is no type `{of}`"));
            problems.push(problem.hint(hint));
        }
        for (setting, names) in [("key", &self.key), ("order_by", &self.order_by)] {
            for column in names.iter().filter(|column| !self.columns.contains_key(*column)) {
                let what = format!("`{setting}` names `{column}`, which is no column of the output `{name}`");
                let hint = format!("its columns are {}", self.columns.keys().cloned().collect::<Vec<_>>().join(", "));
                problems.push(SettingProblem::new(format!("{at}.{setting}"), what).hint(hint));
            }
        }
        problems
    }

    /// The port for it.
    pub(super) fn port(&self, name: &str) -> OutputPort {
        let columns: Vec<(&str, &str)> = self.columns.iter().map(|(name, of)| (name.as_str(), of.as_str())).collect();
        OutputPort::new(name.to_owned(), &columns).keyed_by(&self.key)
    }

    /// Checks that a file holds the columns declared, and no row twice.
    ///
    /// # Errors
    /// Everything that differs, with what there is.
    pub(super) fn check(&self, name: &str, path: &Path) -> Result<(), StageError> {
        let (_, found) = describe_parquet(path).map_err(|error| {
            let why = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source()).last();
            let what =
                format!("the output `{name}` cannot be read: {}", why.map(ToString::to_string).unwrap_or_default());
            StageError::with_hint(what, "the program must write a Parquet file")
        })?;
        let found: Vec<(String, String)> = found.into_iter().map(|(name, of)| (name, type_name(&of))).collect();
        let differs = self.differences(&found);
        if !differs.is_empty() {
            let found: Vec<String> = found.iter().map(|(name, of)| format!("{name}: {of}")).collect();
            return Err(StageError::with_hint(
                format!("the output `{name}` is not as declared: {}", differs.join("; ")),
                format!("it has {}: correct the program, or `outputs.{name}.columns`", found.join(", ")),
            ));
        }
        if self.key.is_empty() { Ok(()) } else { self.check_key(name, path) }
    }

    fn differences(&self, found: &[(String, String)]) -> Vec<String> {
        let mut differs = Vec::new();
        let mut seen = BTreeSet::new();
        for (column, of) in found {
            if !seen.insert(column) {
                differs.push(format!("the column `{column}` is there twice"));
            }
            match self.columns.get(column) {
                None => differs.push(format!("the column `{column}` is not declared")),
                Some(declared) if spelt(declared) != *of => {
                    differs.push(format!("the column `{column}` is {of}, and declared as {declared}"));
                }
                Some(_) => {}
            }
        }
        let missing = self.columns.keys().filter(|name| !seen.contains(name));
        differs.extend(missing.map(|name| format!("the column `{name}` is missing")));
        differs
    }

    fn check_key(&self, name: &str, path: &Path) -> Result<(), StageError> {
        let batch = read_parquet(path, Some(&self.key))?.single_batch()?;
        let fields = batch.schema().fields().iter().map(|field| SortField::new(field.data_type().clone())).collect();
        let refused = |source| TableError::Arrow { action: "compare the rows of", source };
        let rows = RowConverter::new(fields).and_then(|rows| rows.convert_columns(batch.columns())).map_err(refused)?;
        let mut order: Vec<usize> = (0..rows.num_rows()).collect();
        order.sort_unstable_by(|a, b| rows.row(*a).cmp(&rows.row(*b)));
        let twice = order.windows(2).filter(|pair| rows.row(pair[0]) == rows.row(pair[1])).count();
        if twice == 0 {
            return Ok(());
        }
        let what = format!("the output `{name}` has {twice} rows whose key ({}) another row has", self.key.join(", "));
        Err(StageError::with_hint(what, format!("correct the program, or `outputs.{name}.key`")))
    }

    /// The rows in the order declared; none if they are to stay as they are.
    ///
    /// # Errors
    /// [`StageError`] if the file cannot be read or a column cannot be sorted by.
    pub(super) fn sorted(&self, path: &Path) -> Result<Option<Table>, StageError> {
        if self.order_by.is_empty() {
            return Ok(None);
        }
        let batch = read_parquet(path, None)?.single_batch()?;
        let refused = |source| TableError::Arrow { action: "sort", source };
        let column = |name: &String| SortColumn {
            values: batch.column_by_name(name).map_or_else(|| Arc::clone(batch.column(0)), Arc::clone),
            options: Some(SortOptions { descending: false, nulls_first: true }),
        };
        let columns: Vec<SortColumn> = self.order_by.iter().map(column).collect();
        // Rows that are equal by these columns stay as they were written.
        let turn: ArrayRef = Arc::new((0..batch.num_rows() as u64).collect::<UInt64Array>());
        let columns = [columns, vec![SortColumn { values: turn, options: None }]].concat();
        let order = lexsort_to_indices(&columns, None).map_err(refused)?;
        let sorted = take_record_batch(&batch, &order).map_err(refused)?;
        Ok(Some(Table::new(batch.schema(), vec![sorted])))
    }
}

/// The rows of a file in the order of the rows that they were made from: those
/// of the input by `key`, which both have.
///
/// # Errors
/// [`StageError`] if a row was made from none of the input, or the file cannot be read.
pub(super) fn in_order_of(input: &Input, key: &str, name: &str, path: &Path) -> Result<Table, StageError> {
    let keys = input.columns(&[key])?.strings(key)?;
    let place: BTreeMap<&str, usize> = keys.iter().enumerate().filter_map(|(at, key)| Some((key?, at))).collect();
    let table = read_parquet(path, None)?;
    let made = table.strings(key)?;
    let places = made.iter().map(|key| place.get(key.unwrap_or_default()).copied().ok_or(key));
    let places = places.collect::<Result<Vec<_>, _>>().map_err(|key| {
        let what = format!("the output `{name}` has a row `{}` that no row of the input has", key.unwrap_or_default());
        StageError::with_hint(what, "correct the program, or remove `rows`")
    })?;
    if places.is_sorted() {
        return Ok(table);
    }
    let mut order: Vec<u64> = (0..places.len() as u64).collect();
    order.sort_by_key(|row| places[*row as usize]);
    let batch = table.single_batch()?;
    let refused = |source| TableError::Arrow { action: "sort", source };
    let sorted = take_record_batch(&batch, &UInt64Array::from(order)).map_err(refused)?;
    Ok(Table::new(batch.schema(), vec![sorted]))
}

/// Whether a text names a type.
fn is_type(text: &str) -> bool {
    match text.strip_prefix("list<").and_then(|rest| rest.strip_suffix('>')) {
        Some(inner) => is_type(inner.trim()),
        None => TYPES.contains(&text) || LONGER.iter().any(|start| text.starts_with(start)),
    }
}

/// A type without the spaces that people may put between its brackets.
fn spelt(text: &str) -> String {
    match text.strip_prefix("list<").and_then(|rest| rest.strip_suffix('>')) {
        Some(inner) => format!("list<{}>", spelt(inner.trim())),
        None => text.to_owned(),
    }
}
