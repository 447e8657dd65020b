//! What differs between two tables, row by row along key columns: rows that
//! came, went or changed, and in which columns.
//!
//! Both sides are sorted by their keys and merged, and other columns are read
//! one at a time and compared in pieces, so that tables of millions of rows
//! take time in proportion and little more memory than their keys.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::compute::take;
use arrow::row::{RowConverter, Rows, SortField};

use super::{TableError, type_name};

/// Rows compared at a time.
const PIECE: usize = 65_536;

/// A table whose columns can be read one by one.
pub struct Columns<'a> {
    /// The columns' names, in order.
    pub names: Vec<String>,
    /// Reads one whole column.
    pub read: &'a dyn Fn(&str) -> Result<ArrayRef, TableError>,
}

/// What differs between two tables. Rows are numbered from 0, each in its own
/// table; lists of rows are in the order of their keys.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Difference {
    /// The columns along which rows were compared.
    pub keys: Vec<String>,
    /// Rows that are only in the second table.
    pub added: Vec<u32>,
    /// Rows that are only in the first.
    pub removed: Vec<u32>,
    /// Rows of both that have another value somewhere.
    pub changed: Vec<(u32, u32)>,
    /// In how many rows each column has another value; only of those with some.
    pub columns: BTreeMap<String, u64>,
    /// Columns that are only in the second table.
    pub new_columns: Vec<String>,
    /// Columns that are only in the first.
    pub gone_columns: Vec<String>,
    /// Rows of each table whose key another row has already: they are compared
    /// in the order in which they stand.
    pub duplicates: (u64, u64),
    /// Whether the rows that both have stand in another order.
    pub reordered: bool,
}

impl Difference {
    /// Whether the tables have the same rows, in whatever order.
    #[must_use]
    pub fn is_none(&self) -> bool {
        let rows = self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty();
        rows && self.new_columns.is_empty() && self.gone_columns.is_empty()
    }
}

/// Compares two tables along `keys`; without keys, whole rows. Columns for
/// which `is_equal` are known to hold the same values in the same order.
///
/// # Errors
/// [`TableError`] if a column cannot be read, or a key column has two types.
pub fn difference(
    before: &Columns<'_>,
    now: &Columns<'_>,
    keys: &[String],
    is_equal: &dyn Fn(&str) -> bool,
) -> Result<Difference, TableError> {
    let common: Vec<&String> = before.names.iter().filter(|name| now.names.contains(name)).collect();
    let keys = if keys.is_empty() { common.iter().map(|name| (*name).clone()).collect() } else { keys.to_vec() };
    let only = |these: &Columns<'_>, those: &Columns<'_>| {
        these.names.iter().filter(|name| !those.names.contains(name)).cloned().collect::<Vec<_>>()
    };
    let (gone_columns, new_columns) = (only(before, now), only(now, before));
    let mut found = Difference { keys, new_columns, gone_columns, ..Difference::default() };
    let pairs = align(before, now, &mut found)?;
    let is_aligned =
        pairs.iter().all(|(one, other)| one == other) && found.added.is_empty() && found.removed.is_empty();
    let mut is_changed = vec![false; pairs.len()];
    for name in common.into_iter().filter(|name| !found.keys.contains(name)) {
        if is_aligned && is_equal(name) {
            continue;
        }
        let count = compare(&(before.read)(name)?, &(now.read)(name)?, &pairs, &mut is_changed)?;
        if count > 0 {
            found.columns.insert(name.clone(), count);
        }
    }
    found.changed = pairs.into_iter().zip(is_changed).filter(|(_, changed)| *changed).map(|(pair, _)| pair).collect();
    Ok(found)
}

/// Finds the rows of both tables that have the same key, in the order of keys.
fn align(before: &Columns<'_>, now: &Columns<'_>, found: &mut Difference) -> Result<Vec<(u32, u32)>, TableError> {
    let read = |side: &Columns<'_>| found.keys.iter().map(|key| (side.read)(key)).collect::<Result<Vec<_>, _>>();
    let (old, new) = (read(before)?, read(now)?);
    if old.is_empty() {
        return Ok(Vec::new());
    }
    for ((key, one), other) in found.keys.iter().zip(&old).zip(&new) {
        if one.data_type() != other.data_type() {
            let (one, other) = (type_name(one.data_type()), type_name(other.data_type()));
            return Err(TableError::Refused(format!(
                "the column `{key}` was {one} and is {other}: rows cannot be matched by it"
            )));
        }
    }
    let fields = old.iter().map(|array| SortField::new(array.data_type().clone())).collect();
    let converter = RowConverter::new(fields).map_err(refused)?;
    let old = converter.convert_columns(&old).map_err(refused)?;
    let new = converter.convert_columns(&new).map_err(refused)?;
    let (old_order, new_order) = (sorted(&old), sorted(&new));
    found.duplicates = (duplicates(&old, &old_order), duplicates(&new, &new_order));
    let mut pairs = Vec::with_capacity(old_order.len().min(new_order.len()));
    let (mut i, mut j) = (0, 0);
    while let (Some(&one), Some(&other)) = (old_order.get(i), new_order.get(j)) {
        match old.row(one as usize).cmp(&new.row(other as usize)) {
            Ordering::Less => {
                found.removed.push(one);
                i += 1;
            }
            Ordering::Greater => {
                found.added.push(other);
                j += 1;
            }
            Ordering::Equal => {
                pairs.push((one, other));
                (i, j) = (i + 1, j + 1);
            }
        }
    }
    found.removed.extend(&old_order[i..]);
    found.added.extend(&new_order[j..]);
    let mut by_place = pairs.clone();
    by_place.sort_unstable();
    found.reordered = !by_place.is_sorted_by_key(|(_, other)| *other);
    Ok(pairs)
}

/// The rows' numbers in the order of the rows; of equal rows, as they stand.
fn sorted(rows: &Rows) -> Vec<u32> {
    let mut order: Vec<u32> = (0..u32::try_from(rows.num_rows()).unwrap_or(u32::MAX)).collect();
    order.sort_by(|one, other| rows.row(*one as usize).cmp(&rows.row(*other as usize)));
    order
}

/// How many rows are equal to the one before them.
fn duplicates(rows: &Rows, order: &[u32]) -> u64 {
    order.windows(2).filter(|two| rows.row(two[0] as usize) == rows.row(two[1] as usize)).count() as u64
}

/// In how many pairs a column has two values; marks those pairs.
fn compare(old: &ArrayRef, new: &ArrayRef, pairs: &[(u32, u32)], is_changed: &mut [bool]) -> Result<u64, TableError> {
    if old.data_type() != new.data_type() {
        is_changed.fill(true);
        return Ok(pairs.len() as u64);
    }
    let converter = RowConverter::new(vec![SortField::new(old.data_type().clone())]).map_err(refused)?;
    let rows = |column: &ArrayRef, places: UInt32Array| {
        converter.convert_columns(&[take(column.as_ref(), &places, None).map_err(refused)?]).map_err(refused)
    };
    let mut count = 0;
    for (pairs, marks) in pairs.chunks(PIECE).zip(is_changed.chunks_mut(PIECE)) {
        let one = rows(old, pairs.iter().map(|pair| pair.0).collect())?;
        let other = rows(new, pairs.iter().map(|pair| pair.1).collect())?;
        for (at, mark) in marks.iter_mut().enumerate() {
            if one.row(at) != other.row(at) {
                *mark = true;
                count += 1;
            }
        }
    }
    Ok(count)
}

fn refused(source: arrow::error::ArrowError) -> TableError {
    TableError::Arrow { action: "compare", source }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, Int64Array, StringArray};
    use proptest::prelude::*;

    use super::*;
    use crate::table::Table;

    fn columns_of<'a>(table: &Table, read: &'a dyn Fn(&str) -> Result<ArrayRef, TableError>) -> Columns<'a> {
        Columns { names: table.column_names(), read }
    }

    fn compared(before: &Table, now: &Table, keys: &[&str]) -> Result<Difference, TableError> {
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        let (old, new) = (|name: &str| before.column(name), |name: &str| now.column(name));
        difference(&columns_of(before, &old), &columns_of(now, &new), &keys, &|_| false)
    }

    type Row = (i64, Option<String>, f64);

    fn table(rows: &[Row]) -> Table {
        let ids: Int64Array = rows.iter().map(|row| Some(row.0)).collect();
        let names: StringArray = rows.iter().map(|row| row.1.clone()).collect();
        let values: Float64Array = rows.iter().map(|row| Some(row.2)).collect();
        let columns: Vec<(&str, ArrayRef)> =
            vec![("id", Arc::new(ids)), ("name", Arc::new(names)), ("value", Arc::new(values))];
        Table::of_columns(columns).unwrap()
    }

    fn row(id: i64, name: &str, value: f64) -> Row {
        (id, Some(name.to_owned()), value)
    }

    #[test]
    fn rows_are_matched_by_their_key_wherever_they_stand() {
        let before = table(&[row(1, "a", 0.1), row(2, "b", 0.2), row(3, "c", f64::NAN)]);
        let now = table(&[row(3, "c", f64::NAN), row(4, "d", 0.4), row(1, "A", 0.5)]);
        let found = compared(&before, &now, &["id"]).unwrap();
        assert_eq!((found.added, found.removed, found.changed), (vec![1], vec![1], vec![(0, 2)]));
        assert_eq!(found.columns, BTreeMap::from([("name".to_owned(), 1), ("value".to_owned(), 1)]));
        assert!(found.reordered);
    }

    #[test]
    fn without_a_key_whole_rows_are_compared() {
        let before = table(&[row(1, "a", 0.1), row(1, "a", 0.1), row(2, "b", 0.2)]);
        let now = table(&[row(1, "a", 0.1), row(2, "b", 0.3)]);
        let found = compared(&before, &now, &[]).unwrap();
        assert_eq!((found.added, found.removed, found.changed), (vec![1], vec![1, 2], Vec::new()));
        assert_eq!(found.duplicates, (1, 0));
    }

    #[test]
    fn columns_that_came_and_went_and_keys_of_two_types_are_told() {
        let before = table(&[row(1, "a", 0.1)]);
        let now = before.select(&["id", "name"]).unwrap();
        let found = compared(&before, &now, &["id"]).unwrap();
        assert_eq!((found.gone_columns.as_slice(), found.changed.len()), (["value".to_owned()].as_slice(), 0));
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["1"]));
        let error = compared(&before, &Table::of_columns([("id", texts)]).unwrap(), &["id"]).unwrap_err();
        assert_eq!(error.to_string(), "the column `id` was i64 and is str: rows cannot be matched by it");
    }

    proptest! {
        /// A table and an edited, shuffled copy of it differ in exactly the edits.
        #[test]
        fn an_edited_copy_differs_in_the_edits(
            base in prop::collection::btree_map(0_i64..200, (prop::option::of("[a-c]{0,2}"), 0_i32..9), 0..60),
            edits in prop::collection::btree_map(0_i64..200, 0_u8..3, 0..40),
            turn in 0_usize..60,
        ) {
            let before: Vec<Row> = base.iter().map(|(id, (name, value))| (*id, name.clone(), f64::from(*value))).collect();
            let mut after: BTreeMap<i64, Row> = before.iter().map(|row| (row.0, row.clone())).collect();
            let (mut added, mut removed, mut changed) = (Vec::new(), Vec::new(), Vec::new());
            for (id, edit) in &edits {
                match (after.get_mut(id), edit) {
                    (None, _) => {
                        after.insert(*id, row(*id, "new", 1.0));
                        added.push(*id);
                    }
                    (Some(_), 0) => {
                        after.remove(id);
                        removed.push(*id);
                    }
                    (Some(row), 1) => {
                        row.1 = if row.1.is_none() { Some(String::new()) } else { None };
                        changed.push(*id);
                    }
                    (Some(row), _) => {
                        row.2 += 0.5;
                        changed.push(*id);
                    }
                }
            }
            let mut now: Vec<Row> = after.into_values().collect();
            if !now.is_empty() {
                let middle = turn % now.len();
                now.rotate_left(middle);
            }
            let found = compared(&table(&before), &table(&now), &["id"]).unwrap();
            let ids = |rows: &[u32], of: &[Row]| rows.iter().map(|at| of[*at as usize].0).collect::<Vec<_>>();
            prop_assert_eq!(ids(&found.added, &now), added);
            prop_assert_eq!(ids(&found.removed, &before), removed);
            prop_assert_eq!(found.changed.iter().map(|pair| before[pair.0 as usize].0).collect::<Vec<_>>(), changed.clone());
            prop_assert_eq!(found.columns.values().sum::<u64>(), changed.len() as u64);
            prop_assert_eq!(found.duplicates, (0, 0));
        }
    }
}
