//! For `evaluate`: who and what is measured apart, and the table of metrics.
//! No kind by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Array, Int64Array, StringArray};

use crate::metrics::{Rank, hit, mean, ndcg, reciprocal_rank};
use crate::model::interactions::{Ids, Part};
use crate::stage::StageError;
use crate::table::{Table, TableError, complete};

/// The parts that are ranked.
pub(super) const PARTS: [Part; 2] = [Part::Test, Part::Validation];

/// One ranked target.
pub(super) struct Outcome {
    pub(super) part: Part,
    pub(super) user: u32,
    pub(super) item: u32,
    pub(super) rank: Rank,
    pub(super) warm: bool,
}

/// Users, or items, by a column of theirs: `country` of users, `tag` of items.
pub(super) struct Grouping {
    column: String,
    of_users: bool,
    /// The value of each, where it is known.
    values: Vec<Option<String>>,
}

impl Grouping {
    /// The values of a column by the ids in `key`; the first row of an id counts.
    pub(super) fn read(table: &Table, key: &str, column: &str, ids: &Ids) -> Result<Self, TableError> {
        let keys = complete(key, table.strings(key)?)?;
        let texts = table.strings(column)?;
        let mut values: Vec<Option<String>> = vec![None; ids.len()];
        let mut seen = BTreeSet::new();
        for row in 0..table.rows() {
            let Some(at) = ids.index_of(keys.value(row)) else { continue };
            if seen.insert(at) && texts.is_valid(row) {
                values[at as usize] = Some(texts.value(row).to_owned());
            }
        }
        Ok(Self { column: column.to_owned(), of_users: key == "user_id", values })
    }

    fn value(&self, outcome: &Outcome) -> Option<&str> {
        let at = if self.of_users { outcome.user } else { outcome.item };
        self.values[at as usize].as_deref()
    }

    /// The outcomes of a part by value: `country=DE`; what has fewer than
    /// `min_group` users, or no value, is together in `country=(other)`.
    fn slices<'a>(&self, outcomes: &'a [Outcome], part: Part, min_group: u32) -> Vec<(String, Vec<&'a Outcome>)> {
        let mut groups: BTreeMap<Option<&str>, Vec<&Outcome>> = BTreeMap::new();
        for outcome in outcomes.iter().filter(|outcome| outcome.part == part) {
            groups.entry(self.value(outcome)).or_default().push(outcome);
        }
        let (mut slices, mut other) = (Vec::new(), Vec::new());
        for (value, outcomes) in groups {
            match value.filter(|_| users_of(&outcomes) >= min_group as usize) {
                Some(value) => slices.push((format!("{}={value}", self.column), outcomes)),
                None => other.extend(outcomes),
            }
        }
        if !other.is_empty() {
            slices.push((format!("{}=(other)", self.column), other));
        }
        slices
    }
}

fn users_of(outcomes: &[&Outcome]) -> usize {
    outcomes.iter().map(|outcome| outcome.user).collect::<BTreeSet<u32>>().len()
}

/// The best items of each user with a test target, best first.
pub(super) struct Recommended {
    pub(super) lists: Vec<Vec<(u32, f32)>>,
    /// In how many train pairs each item is.
    pub(super) degrees: Vec<u32>,
}

impl Recommended {
    /// The share of all items that is in somebody's first `k`.
    fn coverage(&self, k: u32) -> Option<f64> {
        let all: BTreeSet<u32> = self.first(k).collect();
        (!self.degrees.is_empty()).then(|| all.len() as f64 / self.degrees.len() as f64)
    }

    /// How many train interactions a recommended item has, on average.
    fn popularity(&self, k: u32) -> Option<f64> {
        mean(&self.first(k).map(|item| f64::from(self.degrees[item as usize])).collect::<Vec<_>>())
    }

    fn first(&self, k: u32) -> impl Iterator<Item = u32> {
        self.lists.iter().flat_map(move |list| list.iter().take(k as usize).map(|(item, _)| *item))
    }
}

/// What is measured, and on which slices.
pub(super) struct Measures<'a> {
    pub(super) ks: &'a [u32],
    pub(super) groupings: &'a [Grouping],
    pub(super) min_group: u32,
    pub(super) recommended: &'a Recommended,
    /// Whether the model's epoch was picked on the test set.
    pub(super) selected_on_test: bool,
}

/// The rows of the table of metrics.
#[derive(Default)]
struct Lines {
    names: Vec<[String; 3]>,
    ks: Vec<Option<i64>>,
    values: Vec<Option<f64>>,
    users: Vec<i64>,
}

impl Lines {
    fn push(&mut self, name: [&str; 3], k: Option<u32>, value: Option<f64>, users: usize) {
        self.names.push(name.map(str::to_owned));
        self.ks.push(k.map(i64::from));
        self.values.push(value);
        self.users.push(users as i64);
    }

    fn slice(&mut self, part: Part, slice: &str, outcomes: &[&Outcome], ks: &[u32]) {
        let users = users_of(outcomes);
        let average = |value: &dyn Fn(u32) -> f64| {
            mean(&outcomes.iter().map(|outcome| value(outcome.rank.rank)).collect::<Vec<_>>())
        };
        for k in ks {
            self.push([part.name(), slice, "hr"], Some(*k), average(&|rank| hit(rank, *k)), users);
            self.push([part.name(), slice, "ndcg"], Some(*k), average(&|rank| ndcg(rank, *k)), users);
            self.push([part.name(), slice, "recall"], Some(*k), recall(outcomes, *k), users);
        }
        self.push([part.name(), slice, "mrr"], None, average(&reciprocal_rank), users);
    }
}

/// The share of its targets that each user finds in the first `k`, over users.
fn recall(outcomes: &[&Outcome], k: u32) -> Option<f64> {
    let mut found: BTreeMap<u32, [f64; 2]> = BTreeMap::new();
    for outcome in outcomes {
        let [hits, targets] = found.entry(outcome.user).or_default();
        (*hits, *targets) = (*hits + hit(outcome.rank.rank, k), *targets + 1.0);
    }
    mean(&found.values().map(|[hits, targets]| hits / targets).collect::<Vec<_>>())
}

/// The metrics of all slices of both parts.
pub(super) fn metrics_table(outcomes: &[Outcome], measures: &Measures<'_>) -> Result<Table, StageError> {
    let mut lines = Lines::default();
    for part in PARTS {
        let of_part = |fits: &dyn Fn(&Outcome) -> bool| -> Vec<&Outcome> {
            outcomes.iter().filter(|outcome| outcome.part == part && fits(outcome)).collect()
        };
        let all = of_part(&|_| true);
        lines.slice(part, "all", &all, measures.ks);
        if part == Part::Test {
            let users = users_of(&all);
            for k in measures.ks {
                let name = |metric| [part.name(), "all", metric];
                lines.push(name("coverage"), Some(*k), measures.recommended.coverage(*k), users);
                lines.push(name("popularity"), Some(*k), measures.recommended.popularity(*k), users);
            }
            if measures.selected_on_test {
                lines.push([part.name(), "all", "selected_on_test"], None, Some(1.0), users);
            }
        }
        lines.slice(part, "warm", &of_part(&|outcome| outcome.warm), measures.ks);
        lines.slice(part, "cold", &of_part(&|outcome| !outcome.warm), measures.ks);
        for grouping in measures.groupings {
            for (slice, outcomes) in grouping.slices(outcomes, part, measures.min_group) {
                lines.slice(part, &slice, &outcomes, measures.ks);
            }
        }
    }
    let text = |at: usize| -> ArrayRef {
        Arc::new(lines.names.iter().map(|row| Some(row[at].as_str())).collect::<StringArray>())
    };
    let columns: [(&str, ArrayRef); 6] = [
        ("part", text(0)),
        ("slice", text(1)),
        ("metric", text(2)),
        ("k", Arc::new(Int64Array::from(lines.ks.clone()))),
        ("value", Arc::new(Float64Array::from(lines.values.clone()))),
        ("users", Arc::new(Int64Array::from(lines.users.clone()))),
    ];
    Ok(Table::of_columns(columns)?)
}
