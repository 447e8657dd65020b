//! From tables to what a tower reads: categories by column, and text vectors.

use std::collections::BTreeSet;

use arrow::array::{Array, StringArray};

use super::interactions::Ids;
use super::two_tower::{Category, Features, TextVectors};
use crate::table::{Table, TableError, complete};

/// Why text vectors cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FeatureError {
    /// A column is missing or of another type.
    #[error(transparent)]
    Table(#[from] TableError),
    /// Two vectors are not of the same length, or one holds no number.
    #[error("the vector of item `{item}` has {found} numbers, not {expected}")]
    Width {
        /// The item's id.
        item: String,
        /// Its vector's length, nulls left out.
        found: usize,
        /// The length of the first vector.
        expected: usize,
    },
}

impl Features {
    /// The entities' own ids as the only category.
    #[must_use]
    pub fn of_ids(ids: &Ids) -> Self {
        let id = Category { name: "id".to_owned(), codes: (0..ids.len() as u32).collect(), size: ids.len() };
        Self { columns: vec![id], text: None }
    }

    /// The values of a column among the entities' first rows: distinct, ascending.
    /// Value `n` is category `n + 1`.
    ///
    /// # Errors
    /// [`TableError`] if a column is missing or has no text form.
    pub fn words(ids: &Ids, table: &Table, key: &str, column: &str) -> Result<Vec<String>, TableError> {
        let rows = rows_of(ids, &complete(key, table.strings(key)?)?);
        let values = table.strings(column)?;
        let valid = rows.iter().flatten().filter(|row| values.is_valid(**row));
        let distinct: BTreeSet<&str> = valid.map(|row| values.value(*row)).collect();
        Ok(distinct.into_iter().map(str::to_owned).collect())
    }

    /// Adds the named columns of a table of entities as categories; the entity's
    /// first row counts. Category 0 is "unknown": an entity without a row or
    /// with a null. Returns how many entities have no row.
    ///
    /// # Errors
    /// [`TableError`] if a column is missing or has no text form.
    pub fn add_columns(
        &mut self,
        ids: &Ids,
        table: &Table,
        key: &str,
        columns: &[String],
    ) -> Result<usize, TableError> {
        let rows = rows_of(ids, &complete(key, table.strings(key)?)?);
        for name in columns {
            let values = table.strings(name)?;
            let value = |row: Option<usize>| row.filter(|row| values.is_valid(*row)).map(|row| values.value(row));
            let distinct = Self::words(ids, table, key, name)?;
            let code_of = |value: &str| distinct.binary_search_by(|word| word.as_str().cmp(value)).ok();
            let code = |row: &Option<usize>| value(*row).and_then(code_of).map_or(0, |at| at as u32 + 1);
            let codes = rows.iter().map(code).collect();
            self.columns.push(Category { name: name.clone(), codes, size: distinct.len() + 1 });
        }
        Ok(rows.iter().filter(|row| row.is_none()).count())
    }

    /// Adds text vectors; an entity without one gets zeros. Returns how many
    /// entities have none.
    ///
    /// # Columns
    /// `item_id: str`, `vector: list<f32>`.
    ///
    /// # Errors
    /// [`FeatureError`] if the vectors are not of one length.
    pub fn add_vectors(&mut self, ids: &Ids, table: &Table) -> Result<usize, FeatureError> {
        let keys = complete("item_id", table.strings("item_id")?)?;
        let rows = rows_of(ids, &keys);
        let (lists, numbers) = table.vectors("vector")?;
        let slice = |row: usize| {
            let (start, end) = (lists.value_offsets()[row] as usize, lists.value_offsets()[row + 1] as usize);
            if lists.is_valid(row) { (start, end) } else { (start, start) }
        };
        let filled = |row: &Option<usize>| row.map(slice).filter(|(start, end)| end > start);
        let Some(width) = rows.iter().find_map(filled).map(|(start, end)| end - start) else {
            return Ok(ids.len());
        };
        let mut values = vec![0.0; ids.len() * width];
        let mut missing = 0;
        for ((row, target), id) in rows.iter().zip(values.chunks_exact_mut(width)).zip(ids.iter()) {
            let Some((start, end)) = filled(row) else {
                missing += 1;
                continue;
            };
            let nulls = (start..end).filter(|at| numbers.is_null(*at)).count();
            if end - start - nulls != width {
                return Err(FeatureError::Width { item: id.to_owned(), found: end - start - nulls, expected: width });
            }
            target.copy_from_slice(&numbers.values()[start..end]);
        }
        self.text = Some(TextVectors { width, values });
        Ok(missing)
    }
}

/// The first row of each id.
fn rows_of(ids: &Ids, keys: &StringArray) -> Vec<Option<usize>> {
    let mut rows = vec![None; ids.len()];
    for (row, key) in keys.iter().enumerate() {
        if let Some(at) = key.and_then(|key| ids.index_of(key)) {
            rows[at as usize].get_or_insert(row);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Float32Builder, ListBuilder};
    use std::sync::Arc;

    fn text(values: &[Option<&str>]) -> ArrayRef {
        Arc::new(StringArray::from(values.to_vec()))
    }

    #[test]
    fn categories_are_numbered_by_value_and_what_is_unknown_is_zero() {
        let ids = Ids::of(["1", "2", "3", "4"]);
        let key = text(&[Some("2"), Some("1"), Some("9"), Some("3"), Some("2")]);
        let tag = text(&[Some("rock"), Some("jazz"), Some("folk"), None, Some("jazz")]);
        let table = Table::of_columns([("item_id", key), ("tag", tag)]).unwrap();
        let mut features = Features::of_ids(&ids);
        assert_eq!(features.add_columns(&ids, &table, "item_id", &["tag".to_owned()]).unwrap(), 1);
        assert_eq!((features.columns[1].codes.as_slice(), features.columns[1].size), (&[1, 2, 0, 0][..], 3));
    }

    #[test]
    fn entities_without_a_vector_get_zeros_and_are_counted() {
        let ids = Ids::of(["a", "b", "c"]);
        let mut lists = ListBuilder::new(Float32Builder::new());
        lists.append_value([Some(1.0), Some(2.0)]);
        lists.append_null();
        let vectors: ArrayRef = Arc::new(lists.finish());
        let table = Table::of_columns([("item_id", text(&[Some("c"), Some("a")])), ("vector", vectors)]).unwrap();
        let mut features = Features::of_ids(&ids);
        assert_eq!(features.add_vectors(&ids, &table).unwrap(), 2);
        assert_eq!(features.text.unwrap().values, [0.0, 0.0, 0.0, 0.0, 1.0, 2.0]);
    }
}
