//! For `compare`: the rows of its leaderboard, out of what `evaluate` measured.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};

use super::per_user::Verdict;
use crate::metrics::{Interval, deviation, mean};
use crate::stage::{Input, StageError};
use crate::table::{Table, complete};

/// What is compared.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured {
    /// `test` or `validation`.
    pub(super) part: &'static str,
    pub(super) k: u32,
}

/// The columns of numbers; K stands for the k.
const NUMBERS: [&str; 15] = [
    "hr@K",
    "hr@K_low",
    "hr@K_high",
    "ndcg@K",
    "ndcg@K_low",
    "ndcg@K_high",
    "warm_hr@K",
    "cold_hr@K",
    "hr@K_sd",
    "ndcg@K_sd",
    "p",
    "mrr",
    "recall@K",
    "coverage@K",
    "popularity@K",
];

/// A metric: its name here, its name and its slice in `evaluate`'s table, and whether it is at a k.
type Metric = (&'static str, &'static str, &'static str, bool);

const METRICS: [Metric; 8] = [
    ("hr", "hr", "all", true),
    ("ndcg", "ndcg", "all", true),
    ("warm_hr", "hr", "warm", true),
    ("cold_hr", "hr", "cold", true),
    ("mrr", "mrr", "all", false),
    ("recall", "recall", "all", true),
    ("coverage", "coverage", "all", true),
    ("popularity", "popularity", "all", true),
];

impl Measured {
    fn numbers(&self) -> impl Iterator<Item = String> {
        let k = self.k.to_string();
        NUMBERS.into_iter().map(move |name| name.replace('K', &k))
    }

    /// The columns of the leaderboard: name and type.
    pub(super) fn columns(&self) -> Vec<(String, String)> {
        let texts = |names: &[(&str, &str)]| -> Vec<(String, String)> {
            names.iter().map(|(name, of)| ((*name).to_owned(), (*of).to_owned())).collect()
        };
        let mut columns = texts(&[("variant", "str"), ("seeds", "i64")]);
        columns.extend(self.numbers().map(|name| (name, "f64".to_owned())));
        columns.extend(texts(&[("verdict", "str"), ("on_test", "bool"), ("users", "i64")]));
        columns
    }
}

/// The metrics of one variant, one value for each seed.
#[derive(Debug, Default)]
pub(super) struct Entry {
    seeds: usize,
    users: i64,
    values: BTreeMap<&'static str, Vec<f64>>,
    pub(super) hr: Option<Interval>,
    pub(super) ndcg: Option<Interval>,
    pub(super) verdict: Option<Verdict>,
    /// Whether its epoch was picked on the test set.
    on_test: bool,
}

impl Entry {
    /// The verdict, and a word of warning where the test set was looked at.
    fn words(&self) -> Option<String> {
        let word = self.verdict.map(|verdict| verdict.word.to_owned());
        if !self.on_test {
            return word;
        }
        Some(word.map_or_else(|| "picked on test".to_owned(), |word| format!("{word}, picked on test")))
    }

    /// The numbers in the order of [`NUMBERS`].
    fn numbers(&self) -> [Option<f64>; NUMBERS.len()] {
        let average = |name: &str| self.values.get(name).and_then(|values| mean(values));
        let spread = |name: &str| self.values.get(name).and_then(|values| deviation(values));
        let ends = |interval: Option<Interval>| (interval.map(|i| i.low), interval.map(|i| i.high));
        let ((hr_low, hr_high), (ndcg_low, ndcg_high)) = (ends(self.hr), ends(self.ndcg));
        let (hr, ndcg) = (average("hr"), average("ndcg"));
        let others = [average("warm_hr"), average("cold_hr"), spread("hr"), spread("ndcg")];
        let [warm, cold, hr_sd, ndcg_sd] = others;
        let p = self.verdict.and_then(|verdict| verdict.p);
        let beyond = ["mrr", "recall", "coverage", "popularity"].map(average);
        let [mrr, recall, coverage, popularity] = beyond;
        [
            hr, hr_low, hr_high, ndcg, ndcg_low, ndcg_high, warm, cold, hr_sd, ndcg_sd, p, mrr, recall, coverage,
            popularity,
        ]
    }

    /// Adds a seed: one of `evaluate`'s tables of metrics.
    ///
    /// # Errors
    /// If the part was not measured at that k.
    pub(super) fn read(&mut self, input: &Input, of: &Measured) -> Result<(), StageError> {
        let table = input.table()?;
        let text = |name: &str| complete(name, table.strings(name)?);
        let (parts, slices, metrics) = (text("part")?, text("slice")?, text("metric")?);
        let (ks, values, users) = (table.integers("k")?, table.floats("value")?, table.integers("users")?);
        self.on_test |= metrics.iter().flatten().any(|metric| metric == "selected_on_test");
        let mut found = false;
        for row in (0..table.rows()).filter(|row| parts.value(*row) == of.part) {
            let k = ks.is_valid(row).then(|| ks.value(row));
            let fits = |(_, metric, slice, at_k): &&Metric| {
                *metric == metrics.value(row) && *slice == slices.value(row) && k == at_k.then_some(i64::from(of.k))
            };
            let Some((name, _, slice, at_k)) = METRICS.iter().find(fits) else { continue };
            found |= at_k;
            if values.is_valid(row) {
                self.values.entry(name).or_default().push(values.value(row));
            }
            if *slice == "all" && self.seeds == 0 {
                self.users = users.value(row);
            }
        }
        self.seeds += 1;
        if found {
            return Ok(());
        }
        let what = format!("the metrics of `{}` have no rows for k = {} of {}", input.label, of.k, of.part);
        Err(StageError::with_hint(what, format!("let `evaluate` measure it: `k: [{}]`", of.k)))
    }
}

/// The leaderboard: best NDCG first, then HR, then by name.
///
/// # Errors
/// If the columns do not make a table: this is a bug.
pub(super) fn leaderboard(entries: BTreeMap<String, Entry>, of: &Measured) -> Result<Table, StageError> {
    let mut entries: Vec<(String, Entry)> = entries.into_iter().collect();
    let grade = |entry: &Entry, place: usize| entry.numbers()[place].unwrap_or(f64::NEG_INFINITY);
    entries.sort_by(|(_, a), (_, b)| {
        let by = |place| grade(b, place).total_cmp(&grade(a, place));
        by(3).then_with(|| by(0))
    });
    let mut columns: Vec<(String, ArrayRef)> = vec![
        ("variant".to_owned(), Arc::new(entries.iter().map(|(name, _)| Some(name)).collect::<StringArray>())),
        ("seeds".to_owned(), Arc::new(entries.iter().map(|(_, e)| Some(e.seeds as i64)).collect::<Int64Array>())),
    ];
    for (place, name) in of.numbers().enumerate() {
        let values: Float64Array = entries.iter().map(|(_, entry)| entry.numbers()[place]).collect();
        columns.push((name, Arc::new(values)));
    }
    let verdicts: StringArray = entries.iter().map(|(_, entry)| entry.words()).collect();
    columns.push(("verdict".to_owned(), Arc::new(verdicts)));
    let on_test: BooleanArray = entries.iter().map(|(_, entry)| Some(entry.on_test)).collect();
    columns.push(("on_test".to_owned(), Arc::new(on_test)));
    let users = entries.iter().map(|(_, entry)| Some(entry.users)).collect::<Int64Array>();
    columns.push(("users".to_owned(), Arc::new(users)));
    Ok(Table::of_columns(columns)?)
}
