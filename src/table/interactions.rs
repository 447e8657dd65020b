//! Who liked what: the one table that filters, splits, trainers and rankers
//! share, with users and items as dense numbers in the order of their ids.

use std::path::Path;

use rayon::prelude::*;

use super::dense::Source;
use super::packed::{PackedInteractions, UNKNOWN, batch_of, interactions_schema};
use super::parquet::ROW_GROUP;
use super::{Ids, Table, TableError};
use crate::ground::Hasher;

/// Rows of users and items, which are numbers: places among their ids.
///
/// There is one such type, whatever a row holds: [`Interactions`] have times,
/// and a [`Split`](super::Split) has parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Indexed<Rows> {
    /// The users' ids.
    pub users: Ids,
    /// The items' ids.
    pub items: Ids,
    /// What there is of them.
    pub rows: Rows,
}

/// Distinct (user, item) pairs, each with its latest time, ascending by user and item.
pub type Interactions = Indexed<Vec<Interaction>>;

/// One user's liking of one item.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interaction {
    /// Index into [`Indexed::users`].
    pub user: u32,
    /// Index into [`Indexed::items`].
    pub item: u32,
    /// When, in the table's own unit; `None` if unknown, which counts as before all else.
    pub at: Option<i64>,
}

impl<Rows> Indexed<Rows> {
    /// 16 numbers below 65,536 that stand for the ids in their order: a model
    /// keeps them, so that it is not read with another split's users or items.
    #[must_use]
    pub fn check(&self) -> Vec<f32> {
        let mut hasher = Hasher::new("refrain model ids v1");
        for ids in [&self.users, &self.items] {
            hasher.field(&(ids.len() as u64).to_le_bytes());
            for id in ids.iter() {
                hasher.field(id.as_bytes());
            }
        }
        let hash = hasher.finish();
        hash.as_bytes().as_chunks::<2>().0.iter().map(|pair| f32::from(u16::from_le_bytes(*pair))).collect()
    }
}

impl Interactions {
    /// Reads the columns `user_id`, `item_id` and the column of times named
    /// `at`; of a pair that is there several times the latest is kept.
    ///
    /// # Errors
    /// [`TableError`] if a column is missing or of the wrong type, or if an id
    /// is null.
    pub fn of_table(table: &Table, at: &str) -> Result<Self, TableError> {
        Self::read(Source::Memory(table), at)
    }

    /// The same of a Parquet file, of which no more is held than becomes of it.
    ///
    /// # Errors
    /// As [`Interactions::of_table`], and if the file cannot be read.
    pub fn of_parquet(path: &Path, at: &str) -> Result<Self, TableError> {
        Self::read(Source::File(path), at)
    }

    fn read(source: Source<'_>, at: &str) -> Result<Self, TableError> {
        let packed = PackedInteractions::read(source, at)?;
        let row = |((user, item), at)| Interaction { user, item, at: Some(at).filter(|at| *at != UNKNOWN) };
        let rows = packed.rows.into_rows().into_iter().map(row).collect();
        Ok(Self { users: packed.users, items: packed.items, rows })
    }

    /// The rows given, in their order, as `user_id: str, item_id: str, at: i64`.
    ///
    /// # Errors
    /// [`TableError::Arrow`] never, as long as the rows are of these users and items.
    pub fn to_table(&self, rows: &[Interaction]) -> Result<Table, TableError> {
        let texts = [self.users.to_array(), self.items.to_array()];
        let packed = |row: &Interaction| ((row.user, row.item), row.at.unwrap_or(UNKNOWN));
        let batches = rows.par_chunks(ROW_GROUP).map(|rows| batch_of(&texts, rows.iter().map(packed), rows.len()));
        Ok(Table::new(interactions_schema(), batches.collect::<Result<_, _>>()?))
    }

    /// How many of the times are unknown.
    #[must_use]
    pub fn without_time(&self) -> usize {
        self.rows.iter().filter(|row| row.at.is_none()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use std::sync::Arc;

    #[test]
    fn of_a_repeated_pair_the_latest_time_is_kept_and_unknown_is_earliest() {
        let users: ArrayRef = Arc::new(StringArray::from(vec!["b", "a", "b", "b", "b"]));
        let items: ArrayRef = Arc::new(StringArray::from(vec!["x", "x", "x", "y", "y"]));
        let times: ArrayRef = Arc::new(Int64Array::from(vec![Some(-5), None, Some(-2), None, Some(-9)]));
        let table = Table::of_columns([("user_id", users), ("item_id", items), ("at", times)]).unwrap();
        let interactions = Interactions::of_table(&table, "at").unwrap();
        let row = |user, item, at| Interaction { user, item, at };
        assert_eq!(interactions.rows, [row(0, 0, None), row(1, 0, Some(-2)), row(1, 1, Some(-9))]);
        assert_eq!(interactions.without_time(), 1);
        let back = interactions.to_table(&interactions.rows).unwrap();
        assert_eq!(Interactions::of_table(&back, "at").unwrap(), interactions);
    }

    #[test]
    fn ids_that_are_missing_are_refused() {
        let ids: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None]));
        let times: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let table = Table::of_columns([("user_id", Arc::clone(&ids)), ("item_id", ids), ("at", times)]).unwrap();
        assert!(matches!(Interactions::of_table(&table, "at"), Err(TableError::Nulls { nulls: 1, .. })));
    }

    /// The same, said plainly: a map of pairs to their latest times.
    fn naive(rows: &[(String, String, Option<i64>)]) -> Vec<(&str, &str, Option<i64>)> {
        let mut latest = std::collections::BTreeMap::new();
        for (user, item, at) in rows {
            let known = latest.entry((user.as_str(), item.as_str())).or_insert(*at);
            *known = (*known).max(*at);
        }
        latest.into_iter().map(|((user, item), at)| (user, item, at)).collect()
    }

    fn table_of(rows: &[(String, String, Option<i64>)]) -> Table {
        let users: StringArray = rows.iter().map(|row| Some(row.0.as_str())).collect();
        let items: StringArray = rows.iter().map(|row| Some(row.1.as_str())).collect();
        let times: Int64Array = rows.iter().map(|row| row.2).collect();
        let columns: [(&str, ArrayRef); 3] =
            [("user_id", Arc::new(users)), ("item_id", Arc::new(items)), ("at", Arc::new(times))];
        Table::of_columns(columns).unwrap()
    }

    fn named(read: &Interactions) -> Vec<(&str, &str, Option<i64>)> {
        read.rows.iter().map(|row| (read.users.get(row.user), read.items.get(row.item), row.at)).collect()
    }

    /// Rows without an order, with repeats, times that are missing and ids of any length.
    fn rows(count: u64, users: u64, items: u64, nulls: bool) -> Vec<(String, String, Option<i64>)> {
        let mut state = 7_u64;
        let mut drawn = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut row = || {
            let (user, item) = (drawn(users), drawn(items));
            let at = (drawn(9) as i64) - 4;
            (format!("u{user}"), format!("{}{item}", "i".repeat(item as usize % 14)), (!nulls || at != 2).then_some(at))
        };
        (0..count).map(|_| row()).collect()
    }

    #[test]
    fn tables_and_files_of_any_shape_give_the_latest_of_each_pair() {
        for (count, users, items, nulls) in
            [(0, 1, 1, false), (300, 9, 9, true), (5_000, 40, 70, true), (150_000, 3_000, 900, false)]
        {
            let rows = rows(count, users, items, nulls);
            let expected = naive(&rows);
            let table = table_of(&rows);
            let read = Interactions::of_table(&table, "at").unwrap();
            assert_eq!(named(&read), expected, "{count}");
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("t.parquet");
            drop(crate::table::write_parquet(&table, std::fs::File::create(&path).unwrap()).unwrap());
            let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
            assert_eq!(one.install(|| Interactions::of_parquet(&path, "at")).unwrap(), read);
            let many = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
            assert_eq!(many.install(|| Interactions::of_parquet(&path, "at")).unwrap(), read);
        }
    }

    #[test]
    fn of_a_dictionary_only_what_rows_have_is_an_id() {
        let whole: arrow::array::DictionaryArray<arrow::datatypes::Int32Type> =
            ["a", "b", "c", "b"].into_iter().collect();
        let ids: ArrayRef = Arc::new(whole.slice(1, 3));
        let times: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
        let table = Table::of_columns([("user_id", Arc::clone(&ids)), ("item_id", ids), ("at", times)]).unwrap();
        let read = Interactions::of_table(&table, "at").unwrap();
        assert_eq!(read.users.iter().collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(named(&read), [("b", "b", Some(3)), ("c", "c", Some(2))]);
    }

    #[test]
    fn what_is_missing_or_of_another_type_is_named() {
        let table = table_of(&rows(3, 2, 2, false));
        let message = |table: &Table, at: &str| Interactions::of_table(table, at).unwrap_err().to_string();
        assert_eq!(message(&table, "when"), "there is no column `when`; the columns are user_id, item_id, at");
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["x", "1", "2"]));
        let other = Table::of_columns([
            ("user_id", table.column("user_id").unwrap()),
            ("item_id", table.column("item_id").unwrap()),
            ("at", texts),
        ]);
        assert_eq!(message(&other.unwrap(), "at"), "column `at` is Utf8, not integers");
    }
}
