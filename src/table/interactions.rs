//! Who liked what and when: the one table that filters, splits and trainers
//! share, with users and items as dense numbers in the order of their ids.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};

use super::{Table, TableError, complete};

/// One user's liking of one item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interaction {
    /// Index into [`Interactions::users`].
    pub user: u32,
    /// Index into [`Interactions::items`].
    pub item: u32,
    /// When, in the table's own unit; `None` if unknown, which counts as before all else.
    pub at: Option<i64>,
}

/// Distinct (user, item) pairs, each with its latest time.
///
/// - `users` and `items` are in the order of [`distinct_ids`].
/// - `rows` are sorted by (user, item), with no pair twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interactions {
    /// The users' ids.
    pub users: Vec<String>,
    /// The items' ids.
    pub items: Vec<String>,
    /// The pairs.
    pub rows: Vec<Interaction>,
}

impl Interactions {
    /// Reads the columns `user_id`, `item_id` and the column of times named
    /// `at`; of a pair that is there several times the latest is kept.
    ///
    /// # Errors
    /// [`TableError`] if a column is missing or of the wrong type, or if an id
    /// is null.
    pub fn of_table(table: &Table, at: &str) -> Result<Self, TableError> {
        let user_ids = complete("user_id", table.strings("user_id")?)?;
        let item_ids = complete("item_id", table.strings("item_id")?)?;
        let times = table.integers(at)?;
        let users = distinct_ids(user_ids.iter().flatten());
        let items = distinct_ids(item_ids.iter().flatten());
        let (user_index, item_index) = (index(&users), index(&items));
        let mut rows: Vec<Interaction> = user_ids
            .iter()
            .flatten()
            .zip(item_ids.iter().flatten())
            .zip(times.iter())
            .filter_map(|((user, item), at)| {
                Some(Interaction { user: *user_index.get(user)?, item: *item_index.get(item)?, at })
            })
            .collect();
        // Times ascend within a pair, so the last of each run is the latest.
        rows.sort_unstable();
        rows.reverse();
        rows.dedup_by_key(|row| (row.user, row.item));
        rows.reverse();
        Ok(Self { users, items, rows })
    }

    /// The rows given, in their order, as `user_id: str, item_id: str, at: i64`.
    ///
    /// # Errors
    /// [`TableError::Arrow`] never, as long as the rows are of these users and items.
    pub fn to_table(&self, rows: &[Interaction]) -> Result<Table, TableError> {
        let text = |ids: &[String], index: u32| ids.get(index as usize).cloned();
        let users: StringArray = rows.iter().map(|row| text(&self.users, row.user)).collect();
        let items: StringArray = rows.iter().map(|row| text(&self.items, row.item)).collect();
        let times: Int64Array = rows.iter().map(|row| row.at).collect();
        let columns: [(&str, ArrayRef); 3] =
            [("user_id", Arc::new(users)), ("item_id", Arc::new(items)), ("at", Arc::new(times))];
        Table::of_columns(columns)
    }

    /// How many of the times are unknown.
    #[must_use]
    pub fn without_time(&self) -> usize {
        self.rows.iter().filter(|row| row.at.is_none()).count()
    }
}

/// The distinct ids, ascending: by number if every one is a whole number (`9`
/// before `10`), else by the bytes of their text.
#[must_use]
pub fn distinct_ids<'a>(ids: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut distinct: Vec<&str> = ids.into_iter().collect();
    distinct.sort_unstable();
    distinct.dedup();
    let numbers: Option<Vec<i64>> = distinct.iter().map(|id| id.parse().ok()).collect();
    if let Some(numbers) = numbers {
        let mut numbered: Vec<(i64, &str)> = numbers.into_iter().zip(distinct).collect();
        numbered.sort_unstable();
        distinct = numbered.into_iter().map(|(_, id)| id).collect();
    }
    distinct.into_iter().map(str::to_owned).collect()
}

fn index(ids: &[String]) -> BTreeMap<&str, u32> {
    ids.iter().enumerate().map(|(at, id)| (id.as_str(), at as u32)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_in_the_order_of_numbers_only_if_all_are_numbers() {
        assert_eq!(distinct_ids(["10", "9", "10", "-1"]), ["-1", "9", "10"]);
        assert_eq!(distinct_ids(["10", "9", "a"]), ["10", "9", "a"]);
        assert_eq!(distinct_ids(["1", "01"]), ["01", "1"]);
    }

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
}
