//! Users, items and what happened between them, as indices: what a split's
//! table becomes before anything is trained, scored or ranked.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use arrow::array::Array;

use crate::ground::Hasher;
use crate::table::{Table, TableError, complete};

/// Distinct ids in ascending order: numeric if every one is an integer (ties,
/// as of `1` and `01`, by their bytes), else by bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ids {
    ids: Vec<String>,
    numeric: bool,
}

impl Ids {
    /// The distinct ids among those given.
    pub fn of<'a>(ids: impl IntoIterator<Item = &'a str>) -> Self {
        let distinct: BTreeSet<&str> = ids.into_iter().collect();
        let numeric = distinct.iter().all(|id| id.parse::<i64>().is_ok());
        let mut ids: Vec<String> = distinct.into_iter().map(str::to_owned).collect();
        ids.sort_by(|a, b| compare(numeric, a, b));
        Self { ids, numeric }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The index of an id.
    #[must_use]
    pub fn index_of(&self, id: &str) -> Option<u32> {
        self.ids.binary_search_by(|other| compare(self.numeric, other, id)).ok().map(|at| at as u32)
    }

    /// The ids, ascending.
    #[must_use]
    pub fn as_slice(&self) -> &[String] {
        &self.ids
    }
}

fn compare(numeric: bool, a: &str, b: &str) -> Ordering {
    let numbers = || match (a.parse::<i64>(), b.parse::<i64>()) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        (Ok(_), Err(_)) => Ordering::Less,
        (Err(_), Ok(_)) => Ordering::Greater,
        (Err(_), Err(_)) => Ordering::Equal,
    };
    if numeric { numbers().then_with(|| a.cmp(b)) } else { a.cmp(b) }
}

/// A part of a split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// What models learn from.
    Train,
    /// What the best epoch is picked on.
    Validation,
    /// What is reported.
    Test,
}

impl Part {
    /// As it stands in the column `part`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

/// A split as indices. Users and items are all those of the split's table,
/// whatever their part.
#[derive(Debug, Clone)]
pub struct Interactions {
    /// The users.
    pub users: Ids,
    /// The items.
    pub items: Ids,
    /// Distinct (user, item), ascending.
    train: Vec<(u32, u32)>,
    validation: Vec<(u32, u32)>,
    test: Vec<(u32, u32)>,
}

/// Ascending lists of items, one for each user.
#[derive(Debug, Clone)]
pub struct ItemSets {
    starts: Vec<usize>,
    items: Vec<u32>,
}

impl ItemSets {
    fn of(users: usize, pairs: impl Iterator<Item = (u32, u32)>) -> Self {
        let distinct: BTreeSet<(u32, u32)> = pairs.collect();
        let mut starts = vec![0; users + 1];
        for (user, _) in &distinct {
            starts[*user as usize + 1] += 1;
        }
        for user in 0..users {
            starts[user + 1] += starts[user];
        }
        Self { starts, items: distinct.into_iter().map(|(_, item)| item).collect() }
    }

    /// The items of a user, ascending.
    #[must_use]
    pub fn of_user(&self, user: u32) -> &[u32] {
        &self.items[self.starts[user as usize]..self.starts[user as usize + 1]]
    }
}

/// Why a split's table cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SplitError {
    /// A column is missing, of another type, or has nulls.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The column `part` holds another word.
    #[error("column `part` holds `{found}`; a split's parts are `train`, `validation` and `test`")]
    Part {
        /// The word.
        found: String,
    },
}

impl Interactions {
    /// Reads a split.
    ///
    /// # Columns
    /// `user_id`, `item_id`, `part` (`train`, `validation` or `test`).
    ///
    /// # Errors
    /// [`SplitError`].
    pub fn of_table(table: &Table) -> Result<Self, SplitError> {
        let column = |name: &str| Ok::<_, SplitError>(complete(name, table.strings(name)?)?);
        let (user_ids, item_ids, parts) = (column("user_id")?, column("item_id")?, column("part")?);
        let users = Ids::of(user_ids.iter().flatten());
        let items = Ids::of(item_ids.iter().flatten());
        let mut sets = [const { BTreeSet::new() }; 3];
        for row in 0..parts.len() {
            let part = match parts.value(row) {
                "train" => 0,
                "validation" => 1,
                "test" => 2,
                other => return Err(SplitError::Part { found: other.to_owned() }),
            };
            let pair = (users.index_of(user_ids.value(row)), items.index_of(item_ids.value(row)));
            if let (Some(user), Some(item)) = pair {
                sets[part].insert((user, item));
            }
        }
        let [train, validation, test] = sets.map(|set| set.into_iter().collect());
        Ok(Self { users, items, train, validation, test })
    }

    /// The pairs of a part: distinct, ascending.
    #[must_use]
    pub fn part(&self, part: Part) -> &[(u32, u32)] {
        match part {
            Part::Train => &self.train,
            Part::Validation => &self.validation,
            Part::Test => &self.test,
        }
    }

    /// The items that each user has in any of these parts.
    #[must_use]
    pub fn sets(&self, parts: &[Part]) -> ItemSets {
        ItemSets::of(self.users.len(), parts.iter().flat_map(|part| self.part(*part).iter().copied()))
    }

    /// In how many train pairs each item is.
    #[must_use]
    pub fn degrees(&self) -> Vec<u32> {
        let mut degrees = vec![0; self.items.len()];
        for (_, item) in &self.train {
            degrees[*item as usize] += 1;
        }
        degrees
    }

    /// 16 numbers below 65,536 that stand for the ids in their order: a model
    /// keeps them, so that it is not read with another split's users or items.
    #[must_use]
    pub fn check(&self) -> Vec<f32> {
        let mut hasher = Hasher::new("refrain model ids v1");
        for ids in [&self.users, &self.items] {
            hasher.field(&(ids.len() as u64).to_le_bytes());
            for id in ids.as_slice() {
                hasher.field(id.as_bytes());
            }
        }
        let hash = hasher.finish();
        hash.as_bytes().as_chunks::<2>().0.iter().map(|pair| f32::from(u16::from_le_bytes(*pair))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, StringArray};
    use std::sync::Arc;

    fn table(rows: &[(&str, &str, &str)]) -> Table {
        let column = |pick: fn(&(&str, &str, &str)) -> String| -> ArrayRef {
            Arc::new(rows.iter().map(|row| Some(pick(row))).collect::<StringArray>())
        };
        Table::of_columns([
            ("user_id", column(|r| r.0.to_owned())),
            ("item_id", column(|r| r.1.to_owned())),
            ("part", column(|r| r.2.to_owned())),
        ])
        .unwrap()
    }

    #[test]
    fn ids_are_in_numeric_order_only_if_all_are_integers() {
        assert_eq!(Ids::of(["10", "9", "-1", "9", "09"]).as_slice(), ["-1", "09", "9", "10"]);
        assert_eq!(Ids::of(["10", "9", "a"]).as_slice(), ["10", "9", "a"]);
        let ids = Ids::of(["30", "4", "100"]);
        assert_eq!((ids.index_of("100"), ids.index_of("5"), ids.index_of("x")), (Some(2), None, None));
    }

    #[test]
    fn a_split_becomes_indices_and_repeats_count_once() {
        let rows = [
            ("2", "a", "train"),
            ("2", "a", "train"),
            ("10", "b", "train"),
            ("2", "b", "validation"),
            ("10", "c", "test"),
        ];
        let read = Interactions::of_table(&table(&rows)).unwrap();
        assert_eq!(read.part(Part::Train), [(0, 0), (1, 1)]);
        assert_eq!((read.part(Part::Validation), read.part(Part::Test)), (&[(0, 1)][..], &[(1, 2)][..]));
        assert_eq!(read.degrees(), [1, 1, 0]);
        assert_eq!(read.sets(&[Part::Train, Part::Validation]).of_user(0), [0, 1]);
        let other = Interactions::of_table(&table(&rows[..4])).unwrap();
        assert_ne!(read.check(), other.check());
        assert_eq!(read.check().len(), 16);
    }

    #[test]
    fn an_unknown_part_is_named() {
        let error = Interactions::of_table(&table(&[("1", "a", "dev")])).unwrap_err();
        assert!(error.to_string().contains("`dev`"), "{error}");
    }
}
