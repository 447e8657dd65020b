//! A split of interactions: which were kept for learning, and which for
//! picking and for reporting.

use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type};

use super::dense::{Dense, Source};
use super::{Indexed, Table, TableError, complete};

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
pub type Split = Indexed<Parts>;

/// The pairs of each part: distinct (user, item), ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
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
    /// Of lists of pairs that are each ascending and without repeats.
    fn of(users: usize, lists: &[&[(u32, u32)]]) -> Self {
        let merged;
        let pairs = if let [one] = lists {
            *one
        } else {
            let mut all = lists.concat();
            all.sort_unstable();
            all.dedup();
            merged = all;
            &merged
        };
        let mut starts = vec![0; users + 1];
        for (user, _) in pairs {
            starts[*user as usize + 1] += 1;
        }
        for user in 0..users {
            starts[user + 1] += starts[user];
        }
        Self { starts, items: pairs.iter().map(|(_, item)| *item).collect() }
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

impl Split {
    /// Reads a split.
    ///
    /// # Columns
    /// `user_id`, `item_id`, `part` (`train`, `validation` or `test`).
    ///
    /// # Errors
    /// [`SplitError`].
    pub fn of_table(table: &Table) -> Result<Self, SplitError> {
        Self::read(Source::Memory(table))
    }

    /// The same of a Parquet file, of which no more is held than becomes of it.
    ///
    /// # Errors
    /// [`SplitError`].
    pub fn of_parquet(path: &Path) -> Result<Self, SplitError> {
        Self::read(Source::File(path))
    }

    fn read(source: Source<'_>) -> Result<Self, SplitError> {
        let dense = Dense::read(source, "part", parts)?;
        let of = |wanted: Part| {
            let pick = move |part: &Part| (*part == wanted).then_some(());
            dense.sorted(move |parts: &Vec<Part>| parts.iter().map(pick), |pair, ()| pair).joined()
        };
        let rows = Parts { train: of(Part::Train), validation: of(Part::Validation), test: of(Part::Test) };
        Ok(Self { users: dense.users, items: dense.items, rows })
    }

    /// Of users and items that are called by their numbers; pairs in any order.
    #[cfg(test)]
    pub(crate) fn of_pairs(users: u32, items: u32, mut train: Vec<(u32, u32)>, mut test: Vec<(u32, u32)>) -> Self {
        use super::Ids;
        let ids = |count: u32| {
            let names: Vec<String> = (0..count).map(|number| number.to_string()).collect();
            Ids::of(names.iter().map(String::as_str))
        };
        for pairs in [&mut train, &mut test] {
            pairs.sort_unstable();
            pairs.dedup();
        }
        Self { users: ids(users), items: ids(items), rows: Parts { train, validation: Vec::new(), test } }
    }

    /// The pairs of a part: distinct, ascending.
    #[must_use]
    pub fn part(&self, part: Part) -> &[(u32, u32)] {
        match part {
            Part::Train => &self.rows.train,
            Part::Validation => &self.rows.validation,
            Part::Test => &self.rows.test,
        }
    }

    /// The items that each user has in any of these parts.
    #[must_use]
    pub fn sets(&self, parts: &[Part]) -> ItemSets {
        ItemSets::of(self.users.len(), &parts.iter().map(|part| self.part(*part)).collect::<Vec<_>>())
    }

    /// In how many train pairs each item is.
    #[must_use]
    pub fn degrees(&self) -> Vec<u32> {
        let mut degrees = vec![0; self.items.len()];
        for (_, item) in self.part(Part::Train) {
            degrees[*item as usize] += 1;
        }
        degrees
    }
}

/// The parts of some rows.
fn parts(column: &ArrayRef) -> Result<Vec<Part>, SplitError> {
    let wrong = || TableError::WrongType {
        column: "part".to_owned(),
        actual: column.data_type().to_string(),
        expected: "text",
    };
    let named = |name: &str| match name {
        "train" => Ok(Part::Train),
        "validation" => Ok(Part::Validation),
        "test" => Ok(Part::Test),
        other => Err(SplitError::Part { found: other.to_owned() }),
    };
    let column = complete("part", ArrayRef::clone(column))?;
    if let Some(dictionary) = column.as_dictionary_opt::<Int32Type>()
        && let Some(names) = dictionary.values().as_string_opt::<i32>()
    {
        let known: Vec<Option<Part>> = names.iter().map(|name| named(name?).ok()).collect();
        let part = |key: &i32| known[*key as usize].map_or_else(|| named(names.value(*key as usize)), Ok);
        return dictionary.keys().values().iter().map(part).collect();
    }
    let names = cast(&column, &DataType::Utf8).map_err(|_| wrong())?;
    names.as_string::<i32>().iter().map(|name| named(name.unwrap_or_default())).collect()
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
    fn a_split_becomes_indices_and_repeats_count_once() {
        let rows = [
            ("2", "a", "train"),
            ("2", "a", "train"),
            ("10", "b", "train"),
            ("2", "b", "validation"),
            ("10", "c", "test"),
        ];
        let read = Split::of_table(&table(&rows)).unwrap();
        assert_eq!(read.part(Part::Train), [(0, 0), (1, 1)]);
        assert_eq!((read.part(Part::Validation), read.part(Part::Test)), (&[(0, 1)][..], &[(1, 2)][..]));
        assert_eq!(read.degrees(), [1, 1, 0]);
        assert_eq!(read.sets(&[Part::Train, Part::Validation]).of_user(0), [0, 1]);
        let other = Split::of_table(&table(&rows[..4])).unwrap();
        assert_ne!(read.check(), other.check());
        assert_eq!(read.check().len(), 16);
    }

    #[test]
    fn an_unknown_part_is_named() {
        let error = Split::of_table(&table(&[("1", "a", "dev")])).unwrap_err();
        assert!(error.to_string().contains("`dev`"), "{error}");
    }

    #[test]
    fn a_file_gives_what_its_table_gives() {
        let names: Vec<(String, String)> = (0..9_000).map(|n| ((n % 97).to_string(), format!("i{}", n % 89))).collect();
        let part = |n: usize| ["train", "train", "validation", "train", "test"][n % 5];
        let rows: Vec<(&str, &str, &str)> =
            names.iter().enumerate().map(|(n, (user, item))| (&**user, &**item, part(n))).collect();
        let table = table(&rows);
        let read = Split::of_table(&table).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        drop(crate::table::write_parquet(&table, std::fs::File::create(&path).unwrap()).unwrap());
        let of_file = Split::of_parquet(&path).unwrap();
        assert_eq!((&of_file.users, &of_file.items, &of_file.rows), (&read.users, &read.items, &read.rows));
        let (train, test) = (read.part(Part::Train), read.part(Part::Test));
        assert!(train.is_sorted_by(|a, b| a < b) && test.is_sorted_by(|a, b| a < b));
        let both = read.sets(&[Part::Train, Part::Test]);
        for user in 0..97 {
            let of = |pairs: &[(u32, u32)]| pairs.iter().filter(|p| p.0 == user).map(|p| p.1).collect::<Vec<_>>();
            let mut expected = [of(train), of(test)].concat();
            expected.sort_unstable();
            expected.dedup();
            assert_eq!(both.of_user(user), expected);
        }
    }
}
