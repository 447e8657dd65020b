//! Interactions by the ten million: 16 bytes a row, sorted in runs of users, for
//! what looks at rows where they lie and writes some of them again.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, UInt32Type};
use rayon::prelude::*;

use super::dense::{Dense, Runs, Source};
use super::keyed::distinct_field;
use super::parquet::ROW_GROUP;
use super::{Indexed, Table, TableError};

/// Rows of which it is known how many of those before them are kept: few enough
/// that a table may begin within them.
const PIECE: usize = 4096;

/// The time of a row that has none: it comes before all others.
pub(super) const UNKNOWN: i64 = i64::MIN;

/// A user, an item and when, or [`UNKNOWN`].
pub(super) type PackedRow = ((u32, u32), i64);

/// Distinct (user, item) pairs, each with its latest time, ascending by user and item.
pub type PackedInteractions = Indexed<Packed>;

/// The rows of [`PackedInteractions`].
#[derive(Debug, Clone, Default)]
pub struct Packed {
    runs: Runs<PackedRow>,
}

impl Packed {
    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.runs.runs.iter().map(ExactSizeIterator::len).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows of some users on end in each slice, ascending. The first is of the
    /// first [`Packed::width`] users, and so on.
    #[must_use]
    pub fn runs(&self) -> Vec<&[PackedRow]> {
        self.runs.runs.iter().map(|run| &self.runs.rows[run.clone()]).collect()
    }

    /// How many users a run is of.
    #[must_use]
    pub fn width(&self) -> usize {
        self.runs.width
    }

    pub(super) fn into_rows(self) -> Vec<PackedRow> {
        self.runs.joined()
    }
}

impl PackedInteractions {
    /// Reads what [`Interactions::of_table`](super::Interactions::of_table) reads.
    ///
    /// # Errors
    /// As there.
    pub fn of_table(table: &Table, at: &str) -> Result<Self, TableError> {
        Self::read(Source::Memory(table), at)
    }

    /// The same of a Parquet file, of which no more is held than becomes of it.
    ///
    /// # Errors
    /// As [`PackedInteractions::of_table`], and if the file cannot be read.
    pub fn of_parquet(path: &Path, at: &str) -> Result<Self, TableError> {
        Self::read(Source::File(path), at)
    }

    pub(super) fn read(source: Source<'_>, at: &str) -> Result<Self, TableError> {
        let dense = Dense::read(source, at, |column| times(at, column))?;
        let row = |pair, at| (pair, at);
        let runs = if dense.pieces.iter().all(|piece| piece.values.null_count() == 0) {
            dense.sorted(|times| times.values().iter().map(|at| Some(*at)), row)
        } else {
            dense.sorted(|times| times.iter().map(|at| Some(at.unwrap_or(UNKNOWN))), row)
        };
        Ok(Self { users: dense.users, items: dense.items, rows: Packed { runs } })
    }

    /// The rows that `stays` keeps, in their order, at most `most` of them in a table.
    pub fn tables<Stays: Fn(u32, u32) -> bool + Sync>(&self, most: usize, stays: Stays) -> PackedTables<'_, Stays> {
        let pieces: Vec<_> = self.rows.runs().into_iter().flat_map(|run| run.chunks(PIECE)).collect();
        let kept = |row: &&PackedRow| stays(row.0.0, row.0.1);
        let mut starts: Vec<usize> = pieces.par_iter().map(|piece| piece.iter().filter(kept).count()).collect();
        let mut rows = 0;
        for start in &mut starts {
            (*start, rows) = (rows, rows + *start);
        }
        let texts = [self.users.to_array(), self.items.to_array()];
        PackedTables { texts, pieces, starts, rows, stays, most: most.max(1), next: Some(0) }
    }
}

/// Rows as tables of `user_id: str, item_id: str, at: i64`, one after the other; there is at least one.
pub struct PackedTables<'a, Stays> {
    texts: [ArrayRef; 2],
    pieces: Vec<&'a [PackedRow]>,
    /// Where each piece begins among the rows that are kept.
    starts: Vec<usize>,
    rows: usize,
    stays: Stays,
    most: usize,
    /// The first row of the next table.
    next: Option<usize>,
}

impl<Stays: Fn(u32, u32) -> bool + Sync> PackedTables<'_, Stays> {
    /// How many rows all tables have.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Some of the rows that are kept.
    fn batch(&self, rows: Range<usize>) -> Result<RecordBatch, TableError> {
        let piece = self.starts.partition_point(|start| *start <= rows.start).saturating_sub(1);
        let kept = self.pieces[piece..].iter().copied().flatten().filter(|row| (self.stays)(row.0.0, row.0.1));
        batch_of(&self.texts, kept.skip(rows.start - self.starts[piece]).take(rows.len()).copied(), rows.len())
    }
}

impl<Stays: Fn(u32, u32) -> bool + Sync> Iterator for PackedTables<'_, Stays> {
    type Item = Result<Table, TableError>;

    fn next(&mut self) -> Option<Self::Item> {
        let first = self.next?;
        let end = self.rows.min(first + self.most);
        self.next = Some(end).filter(|end| *end < self.rows);
        let groups = (first..end).into_par_iter().step_by(ROW_GROUP);
        let batches = groups.map(|start| self.batch(start..end.min(start + ROW_GROUP))).collect::<Result<_, _>>();
        Some(batches.map(|batches| Table::new(interactions_schema(), batches)))
    }
}

/// Some `count` rows with the ids of these users and items, which are the texts of [`interactions_schema`].
pub(super) fn batch_of(
    [users, items]: &[ArrayRef; 2],
    rows: impl Iterator<Item = PackedRow>,
    count: usize,
) -> Result<RecordBatch, TableError> {
    let refused = |source| TableError::Arrow { action: "assemble", source };
    let (mut of_users, mut of_items) = (Vec::with_capacity(count), Vec::with_capacity(count));
    let (mut times, mut unknown) = (Vec::with_capacity(count), false);
    rows.for_each(|((user, item), at)| {
        of_users.push(user);
        of_items.push(item);
        times.push(at);
        unknown |= at == UNKNOWN;
    });
    let times: Int64Array =
        if unknown { times.into_iter().map(|at| Some(at).filter(|at| *at != UNKNOWN)).collect() } else { times.into() };
    let by_key = |keys: Vec<u32>, texts| DictionaryArray::<UInt32Type>::try_new(keys.into(), texts);
    let users = by_key(of_users, Arc::clone(users)).map_err(refused)?;
    let items = by_key(of_items, Arc::clone(items)).map_err(refused)?;
    let columns: Vec<ArrayRef> = vec![Arc::new(users), Arc::new(items), Arc::new(times)];
    RecordBatch::try_new(interactions_schema(), columns).map_err(refused)
}

/// `user_id: str, item_id: str, at: i64`, the texts [by their keys](super::keyed).
pub(super) fn interactions_schema() -> SchemaRef {
    let at = Field::new("at", DataType::Int64, true);
    let fields = [distinct_field("user_id"), distinct_field("item_id"), at];
    Arc::new(Schema::new(fields.to_vec()))
}

/// A column of whole numbers, as 64 bits.
fn times(name: &str, column: &ArrayRef) -> Result<Int64Array, TableError> {
    let wrong = |actual: String, expected| TableError::WrongType { column: name.to_owned(), actual, expected };
    let not_whole = || wrong(column.data_type().to_string(), "integers");
    let times = cast(column, &DataType::Int64).map_err(|_| not_whole())?;
    if times.null_count() != column.null_count() {
        return Err(not_whole());
    }
    let times = times.as_primitive::<Int64Type>().clone();
    if times.iter().any(|at| at == Some(UNKNOWN)) {
        return Err(wrong(format!("i64 with {UNKNOWN}"), "times"));
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::StringArray;

    #[test]
    fn tables_have_the_rows_that_stay_in_their_order() {
        let count = 200_000;
        let ids = |ids: &dyn Fn(i64) -> i64| -> ArrayRef {
            Arc::new((0..count).map(|n| Some(ids(n).to_string())).collect::<StringArray>())
        };
        let times: ArrayRef = Arc::new((0..count).map(|n| (n % 17 != 3).then_some(n)).collect::<Int64Array>());
        let columns = [("user_id", ids(&|n| n / 3)), ("item_id", ids(&|n| n % 3)), ("at", times)];
        let table = Table::of_columns(columns).unwrap();
        let all = PackedInteractions::of_table(&table, "at").unwrap();
        assert_eq!((all.rows.len(), all.rows.runs().concat().len()), (200_000, 200_000));
        let stays = |user: u32, item: u32| user % 5 != 2 && item != 1;
        let tables = all.tables(70_000, stays);
        let kept: Vec<i64> = (0..count).filter(|n| stays((n / 3) as u32, (n % 3) as u32)).collect();
        assert_eq!(tables.rows(), kept.len());
        let written: Vec<Table> = tables.collect::<Result<_, _>>().unwrap();
        assert_eq!(written.iter().map(Table::rows).collect::<Vec<_>>(), [70_000, kept.len() - 70_000]);
        let all_at =
            |name: &str| -> Vec<ArrayRef> { written.iter().map(|table| table.column(name).unwrap()).collect() };
        let at: Vec<Option<i64>> =
            all_at("at").iter().flat_map(|at| at.as_primitive::<Int64Type>().iter().collect::<Vec<_>>()).collect();
        assert_eq!(at, kept.iter().map(|n| (n % 17 != 3).then_some(*n)).collect::<Vec<_>>());
        let users: Vec<String> = written
            .iter()
            .flat_map(|table| table.strings("user_id").unwrap().iter().flatten().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        assert_eq!(users, kept.iter().map(|n| (n / 3).to_string()).collect::<Vec<_>>());
        assert_eq!(all.tables(10, |_, _| false).map(|table| table.unwrap().rows()).collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn the_number_that_stands_for_no_time_is_no_time() {
        let ids: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
        let times: ArrayRef = Arc::new(Int64Array::from(vec![i64::MIN]));
        let table = Table::of_columns([("user_id", Arc::clone(&ids)), ("item_id", ids), ("at", times)]).unwrap();
        let error = PackedInteractions::of_table(&table, "at").unwrap_err().to_string();
        assert_eq!(error, "column `at` is i64 with -9223372036854775808, not times");
    }
}
