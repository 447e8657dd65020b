//! What is in the columns of a table: nulls, different values, range, mean, how
//! numbers are spread and which texts are frequent. Rows are looked at in one
//! or two passes, a batch at a time; the answers do not depend on the threads.

mod column;
mod sketch;
#[cfg(test)]
mod tests;

use std::path::Path;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::DataType;

use self::column::{First, Second, Values};
use self::sketch::surely_found;
use super::normal::{normal_type, type_name};
use super::read_parquet::describe_parquet;
use super::visit::visit_parquet;
use super::{Table, TableError};

pub use self::column::Histogram;
pub(super) use self::column::hashes;
pub use self::sketch::Distinct;
pub(super) use self::sketch::DistinctSketch;

/// How many of the frequent values are told.
const TOLD: usize = 5;

/// What is in a column.
#[derive(Debug, Clone)]
pub struct ColumnSummary {
    /// Its name.
    pub name: String,
    /// Its type, as [`type_name`] says it.
    pub data_type: String,
    /// Rows without a value.
    pub nulls: u64,
    /// Rows whose number is none (NaN); they count in nothing below.
    pub nans: u64,
    /// How many different values there are; none for lists and other nested types.
    pub distinct: Option<Distinct>,
    /// The smallest and the largest value, one row each in the column's type; of
    /// lists, those of their lengths.
    pub range: Option<[ArrayRef; 2]>,
    /// The mean of numbers; of lists, that of their lengths.
    pub mean: Option<f64>,
    /// How numbers and moments are spread.
    pub histogram: Option<Histogram>,
    /// The most frequent texts and how often each stands there, the most frequent
    /// first. Where there are too many different texts to be counted, those that
    /// make up less than 1 in 4,096 rows are left out.
    pub frequent: Option<Vec<(String, u64)>>,
}

/// Summarises columns of a Parquet file, on all threads.
///
/// # Errors
/// [`TableError`] if it cannot be read or a column is missing.
pub fn summarise_parquet(path: &Path, columns: &[&str]) -> Result<Vec<ColumnSummary>, TableError> {
    let mut summary = Summary::new(columns, &describe_parquet(path)?.1)?;
    while !summary.is_done() {
        let wanted = summary.columns_to_read();
        let passes = visit_parquet(path, &wanted, &wanted, || summary.pass(), Pass::add)?;
        summary.end_pass(passes);
    }
    Ok(summary.finish())
}

/// Columns being summarised: until it is done, all rows are to be shown to a
/// [`Pass`], or to several that share them in their order.
pub struct Summary {
    columns: Vec<Column>,
    passes: u8,
}

struct Column {
    name: String,
    data_type: DataType,
    first: First,
    second: Second,
}

impl Column {
    fn is_needed(&self, passes: u8) -> bool {
        passes == 0 || !matches!(self.second, Second::Nothing)
    }
}

impl Summary {
    /// Starts with these columns of a table that has these types.
    ///
    /// # Errors
    /// [`TableError::NoColumn`].
    pub fn new(columns: &[&str], types: &[(String, DataType)]) -> Result<Self, TableError> {
        let column = |name: &&str| -> Result<Column, TableError> {
            let names = || types.iter().map(|(name, _)| name.clone()).collect();
            let found = types.iter().find(|(own, _)| own == name);
            let (_, data_type) =
                found.ok_or_else(|| TableError::NoColumn { column: (*name).to_owned(), columns: names() })?;
            let data_type = normal_type(data_type);
            Ok(Column { name: (*name).to_owned(), first: First::new(&data_type), second: Second::Nothing, data_type })
        };
        Ok(Self { columns: columns.iter().map(column).collect::<Result<_, _>>()?, passes: 0 })
    }

    /// Whether all has been seen.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.passes == 2 || self.columns_to_read().is_empty()
    }

    /// The columns that the next pass must be shown.
    #[must_use]
    pub fn columns_to_read(&self) -> Vec<&str> {
        let needed = self.columns.iter().filter(|column| column.is_needed(self.passes));
        needed.map(|column| column.name.as_str()).collect()
    }

    /// What some of the rows are shown to.
    #[must_use]
    pub fn pass(&self) -> Pass {
        let state = |(place, column): (usize, &Column)| {
            let state = match self.passes {
                0 => State::First(First::new(&column.data_type)),
                _ => State::Second(column.second.clone()),
            };
            PassColumn { place, name: column.name.clone(), data_type: column.data_type.clone(), state }
        };
        let needed = self.columns.iter().enumerate().filter(|(_, column)| column.is_needed(self.passes));
        Pass { columns: needed.map(state).collect() }
    }

    /// Puts together what was seen of all rows.
    pub fn end_pass(&mut self, passes: Vec<Pass>) {
        for seen in passes.into_iter().flat_map(|pass| pass.columns) {
            let Some(column) = self.columns.get_mut(seen.place) else { continue };
            match seen.state {
                State::First(first) => column.first.merge(first),
                State::Second(second) => column.second.merge(second),
            }
        }
        self.passes += 1;
        if self.passes == 1 {
            self.columns.iter_mut().for_each(|column| column.second = Second::after(&column.first, &column.data_type));
        }
    }

    /// What was found.
    #[must_use]
    pub fn finish(self) -> Vec<ColumnSummary> {
        self.columns.into_iter().map(summary_of).collect()
    }
}

fn summary_of(column: Column) -> ColumnSummary {
    let Column { name, data_type, first, second } = column;
    let frequent = frequent(&first, &second);
    let histogram = if let Second::Bars(histogram) = second { Some(histogram) } else { None };
    ColumnSummary {
        name,
        data_type: type_name(&data_type),
        nulls: first.nulls,
        nans: first.nans,
        range: first.range(&data_type),
        mean: first.mean(&data_type),
        distinct: first.distinct.map(DistinctSketch::finish),
        histogram,
        frequent,
    }
}

fn frequent(first: &First, second: &Second) -> Option<Vec<(String, u64)>> {
    let counted = first.frequent.as_ref()?;
    let mut told: Vec<(String, u64)> = match (counted.exact(), second) {
        (Some(exact), _) => exact.into_iter().map(|(value, count)| (value.to_owned(), count)).collect(),
        (None, Second::Texts(again)) => {
            let surely = surely_found(first.values);
            again.iter().filter(|(_, count)| **count > surely).map(|(value, count)| (value.clone(), *count)).collect()
        }
        (None, _) => Vec::new(),
    };
    told.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    told.truncate(TOLD);
    Some(told)
}

/// What has been seen of some of the rows.
pub struct Pass {
    columns: Vec<PassColumn>,
}

struct PassColumn {
    place: usize,
    name: String,
    data_type: DataType,
    state: State,
}

#[expect(clippy::large_enum_variant, reason = "there is one for each column")]
enum State {
    First(First),
    Second(Second),
}

impl Pass {
    /// Looks at some rows; columns that are not asked for are passed over.
    ///
    /// # Errors
    /// [`TableError::Arrow`] if a column is not of its type.
    pub fn add(&mut self, batch: &RecordBatch) -> Result<(), TableError> {
        for column in &mut self.columns {
            let Some(array) = batch.column_by_name(&column.name) else { continue };
            let values = Values::of(array, &column.data_type);
            let values = values.map_err(|source| TableError::Arrow { action: "summarise", source })?;
            match &mut column.state {
                State::First(first) => first.add(array, &values),
                State::Second(second) => second.add(&values),
            }
        }
        Ok(())
    }

    /// Looks at the rows of a table.
    ///
    /// # Errors
    /// As [`Pass::add`].
    pub fn add_table(&mut self, table: &Table) -> Result<(), TableError> {
        table.batches().iter().try_for_each(|batch| self.add(batch))
    }
}
