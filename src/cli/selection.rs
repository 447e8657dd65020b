//! The rows of an artifact that `refrain show` is asked for: they are chosen by
//! the columns that the choice is about, and then read by their numbers. No more
//! rows are held than are shown.

use std::sync::Arc;

use arrow::array::UInt64Array;
use arrow::compute::{SortColumn, SortOptions, lexsort_to_indices, take_record_batch};
use rand::RngExt as _;

use super::arguments::Selection;
use super::cells;
use super::errors::Mistake;
use super::sql::{refused, unanswered};
use crate::engine::Resolved;
use crate::ground::{Seed, closest};
use crate::table::{Query, QueryPart, QueryTable, Table, read_chosen_rows};

pub(super) const SHOW_HELP: &str = "\
Rows stand in the order of the artifact if --sort does not say another; nulls come last. A sample is the same each time.
In --stats more than 65,536 different values are estimated (≈, with a standard error of 0.4 %), and of more than 8,192
different texts only those are told that make up at least 1 in 4,096 rows.";

/// The name of the column that counts rows: no artifact has one of that name.
const ROW: &str = "__refrain_row";

/// Rows of an artifact.
pub(super) struct Selected {
    pub(super) table: Table,
    /// How many rows there are to choose from: all, or those for which the condition is true.
    pub(super) matching: u64,
}

impl Selection {
    /// Whether all rows may have to be looked at.
    pub(super) fn is_large(&self) -> bool {
        self.condition.is_some() || !self.sort.is_empty() || self.sample.is_some() || self.stats
    }

    /// The condition, for people.
    pub(super) fn condition(&self) -> &str {
        self.condition.as_deref().unwrap_or_default().trim()
    }

    /// The rows that are wanted of an artifact that the user calls `name`.
    ///
    /// # Errors
    /// If a column is missing, the condition is wrong, or the file cannot be read.
    pub(super) fn rows(&self, name: &str, resolved: &Resolved, rows: usize) -> anyhow::Result<Selected> {
        let columns = self.named(resolved)?;
        let sort = self.sorting(resolved)?;
        let (table, matching) = match self.sample {
            None if sort.is_empty() && self.condition.is_none() => {
                (cells::first_rows(&resolved.path, rows)?, resolved.artifact.rows)
            }
            None if sort.is_empty() => {
                let (found, matching) = self.matching(name, resolved, |found, row, _| {
                    if found.len() < rows {
                        found.push(row);
                    }
                })?;
                (read_chosen_rows(&resolved.path, &found)?, matching)
            }
            None => {
                let matching = self.count(name, resolved)?;
                (in_order(resolved, &self.first(name, resolved, &sort, rows)?)?, matching)
            }
            Some(size) => {
                let (drawn, matching) = self.drawn(name, resolved, size)?;
                let table = read_chosen_rows(&resolved.path, &drawn)?;
                (if sort.is_empty() { table } else { smallest(&table, &sort, None)? }, matching)
            }
        };
        Ok(Selected { table: table.select(&columns)?, matching })
    }

    /// All rows for which the condition is true.
    ///
    /// # Errors
    /// If the condition is wrong.
    pub(super) fn query(&self, name: &str, resolved: &Resolved) -> Result<Query, Mistake> {
        self.asking("*", name, resolved, None)
    }

    fn asking(
        &self,
        what: &str,
        name: &str,
        resolved: &Resolved,
        row_number: Option<&'static str>,
    ) -> Result<Query, Mistake> {
        // On a line of its own, so that a comment at its end hides nothing.
        let condition = self.condition.as_deref().map(|text| format!(" WHERE (\n{text}\n)")).unwrap_or_default();
        let table = QueryTable {
            name: name.to_owned(),
            parts: vec![QueryPart { path: resolved.path.clone(), labels: Vec::new() }],
            columns: resolved.artifact.columns.iter().map(|column| column.name.clone()).collect(),
            rows: resolved.artifact.rows,
            row_number,
        };
        Query::new(&format!("SELECT {what} FROM {}{condition}", quoted(name)), &[table]).map_err(refused)
    }

    /// How many rows there are to choose from.
    fn count(&self, name: &str, resolved: &Resolved) -> anyhow::Result<u64> {
        if self.condition.is_none() {
            return Ok(resolved.artifact.rows);
        }
        let counted = collected(self.asking("COUNT(*) AS n", name, resolved, None)?)?;
        Ok(counted.integers("n")?.values().first().map_or(0, |count| *count as u64))
    }

    /// Shows `keep` the numbers of all rows for which the condition is true, with
    /// how many came before; gives what it kept and how many there are.
    fn matching(
        &self,
        name: &str,
        resolved: &Resolved,
        mut keep: impl FnMut(&mut Vec<u64>, u64, u64),
    ) -> anyhow::Result<(Vec<u64>, u64)> {
        let (mut kept, mut matching) = (Vec::new(), 0);
        let answered = self.asking(ROW, name, resolved, Some(ROW))?.answer(|table| -> anyhow::Result<bool> {
            for row in table.integers(ROW)?.values() {
                keep(&mut kept, *row as u64, matching);
                matching += 1;
            }
            Ok(true)
        });
        answered.map_err(unanswered)?;
        Ok((kept, matching))
    }

    /// The numbers of rows drawn at random, ascending: which are drawn depends on
    /// the seed and on the rows that there are to choose from.
    fn drawn(&self, name: &str, resolved: &Resolved, size: usize) -> anyhow::Result<(Vec<u64>, u64)> {
        let mut rng = Seed::of_stage(self.seed, "show").purpose("sample").rng();
        let (mut drawn, matching) = if self.condition.is_none() {
            let length = usize::try_from(resolved.artifact.rows).unwrap_or(usize::MAX);
            let drawn = rand::seq::index::sample(&mut rng, length, size.min(length));
            (drawn.into_iter().map(|row| row as u64).collect(), resolved.artifact.rows)
        } else {
            // A reservoir: each row takes the place of another as often as makes all equally likely.
            self.matching(name, resolved, |drawn, row, before| {
                if drawn.len() < size {
                    drawn.push(row);
                } else if let Some(other) = drawn.get_mut(rng.random_range(0..=before) as usize) {
                    *other = row;
                }
            })?
        };
        drawn.sort_unstable();
        Ok((drawn, matching))
    }

    /// The numbers of the first rows in the order that is asked for; equal rows
    /// come in the order of the artifact. Polars would hold all rows for this.
    fn first(&self, name: &str, resolved: &Resolved, sort: &[(String, bool)], rows: usize) -> anyhow::Result<Vec<u64>> {
        let by: Vec<String> = sort.iter().map(|(column, _)| quoted(column)).collect();
        let query = self.asking(&format!("{}, {ROW}", by.join(", ")), name, resolved, Some(ROW))?;
        let sort: Vec<(String, bool)> = sort.iter().cloned().chain([(ROW.to_owned(), false)]).collect();
        let mut first = Table::new(Arc::clone(query.head().schema()), Vec::new());
        let answered = query.answer(|table| -> anyhow::Result<bool> {
            table.batches().iter().for_each(|batch| first.push(batch.clone()));
            first = smallest(&first, &sort, Some(rows))?;
            Ok(true)
        });
        answered.map_err(unanswered)?;
        Ok(first.integers(ROW)?.values().iter().map(|row| *row as u64).collect())
    }

    /// The columns that are shown, in their order.
    ///
    /// # Errors
    /// If one is missing.
    pub(super) fn named(&self, resolved: &Resolved) -> Result<Vec<String>, Mistake> {
        if self.columns.is_empty() {
            return Ok(resolved.artifact.columns.iter().map(|column| column.name.clone()).collect());
        }
        self.columns.iter().map(|name| there(name, resolved)).collect()
    }

    /// The columns to sort by, each once, and whether the largest comes first.
    fn sorting(&self, resolved: &Resolved) -> Result<Vec<(String, bool)>, Mistake> {
        let mut sort: Vec<(String, bool)> = Vec::new();
        for text in &self.sort {
            let (name, descending) = match text.rsplit_once(':') {
                Some((name, "desc")) => (name, true),
                Some((name, "asc")) => (name, false),
                _ => (text.as_str(), false),
            };
            let name = there(name, resolved)?;
            if !sort.iter().any(|(before, _)| *before == name) {
                sort.push((name, descending));
            }
        }
        Ok(sort)
    }
}

/// A name as SQL has it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A column's name, if there is one.
fn there(name: &str, resolved: &Resolved) -> Result<String, Mistake> {
    let names = || resolved.artifact.columns.iter().map(|column| column.name.as_str());
    if names().any(|own| own == name) {
        return Ok(name.to_owned());
    }
    let hint = closest(name, names()).map_or_else(
        || format!("the columns are {}", names().collect::<Vec<_>>().join(", ")),
        |near| format!("did you mean `{near}`?"),
    );
    Err(Mistake::new(format!("`{}` has no column `{name}`", resolved.id)).hint(hint))
}

/// Rows of an artifact in the order of these numbers.
fn in_order(resolved: &Resolved, rows: &[u64]) -> anyhow::Result<Table> {
    let mut ascending = rows.to_vec();
    ascending.sort_unstable();
    let table = read_chosen_rows(&resolved.path, &ascending)?;
    let places = rows.iter().map(|row| ascending.partition_point(|other| other < row) as u64);
    let batch = take_record_batch(&table.single_batch()?, &places.collect::<UInt64Array>())?;
    Ok(Table::new(batch.schema(), vec![batch]))
}

/// The first rows of a table in an order; all if it is not said how many.
fn smallest(table: &Table, sort: &[(String, bool)], rows: Option<usize>) -> anyhow::Result<Table> {
    let batch = table.single_batch()?;
    let key = |(name, descending): &(String, bool)| {
        let options = SortOptions { descending: *descending, nulls_first: false };
        Ok(SortColumn { values: table.column(name)?, options: Some(options) })
    };
    let keys = sort.iter().map(key).collect::<anyhow::Result<Vec<_>>>()?;
    let places = lexsort_to_indices(&keys, rows).map_err(|error| {
        let names: Vec<&str> = sort.iter().map(|(name, _)| name.as_str()).filter(|name| *name != ROW).collect();
        Mistake::new(format!("rows cannot be sorted by `{}`", names.join("`, `"))).because(error)
    })?;
    let batch = take_record_batch(&batch, &places)?;
    Ok(Table::new(batch.schema(), vec![batch]))
}

/// All rows of an answer.
fn collected(query: Query) -> anyhow::Result<Table> {
    let mut all = Table::new(Arc::clone(query.head().schema()), Vec::new());
    let answered = query.answer(|table| -> anyhow::Result<bool> {
        table.batches().iter().for_each(|batch| all.push(batch.clone()));
        Ok(true)
    });
    answered.map_err(unanswered)?;
    Ok(all)
}
