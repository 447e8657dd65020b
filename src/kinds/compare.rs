//! `compare`: the leaderboard over variants, baselines and seeds.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Array, Int64Array, StringArray};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::metrics::{deviation, mean};
use crate::stage::{
    Input, InputPort, OutputPort, SettingProblem, Stage, StageContext, StageError, StageKind, decode_settings,
    schema_of, settings_value,
};
use crate::table::{Table, complete};

/// The kind.
pub(crate) struct Compare;

/// What `compare` can be told.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The k of the columns, one that `evaluate` measured; 10 by default.
    #[serde(default = "default_k")]
    k: u32,
    /// The part that is compared: `test` (default) or `validation`.
    #[serde(default)]
    part: ComparedPart,
}

fn default_k() -> u32 {
    10
}

/// The part whose metrics are compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ComparedPart {
    /// Each user's last item.
    #[default]
    Test,
    /// Each user's last item but one.
    Validation,
}

impl StageKind for Compare {
    fn name(&self) -> &'static str {
        "compare"
    }

    fn version(&self) -> u32 {
        1
    }

    fn summary(&self) -> &'static str {
        "Put the metrics of all variants side by side, best first"
    }

    fn documentation(&self) -> &'static str {
        "Reads `metrics`, a list of tables written by `evaluate` (`[\"evaluate@*\", evaluate_popularity]`).\n\nWrites \
         `leaderboard`: `variant` (the label before `#`; the stage's name where it has no variant), `seeds` (how many), \
         `hr@K`, `ndcg@K`, `warm_hr@K`, `cold_hr@K` (means over the seeds), `hr@K_sd`, `ndcg@K_sd` (sample standard \
         deviations, null for one seed) and `users` (of the first seed). Sorted by `ndcg@K` and then `hr@K`, best \
         first, then by name. Deterministic."
    }

    fn example(&self) -> &'static str {
        "kind: compare\ninputs: { metrics: [\"evaluate@*\", evaluate_popularity] }\nwith: { k: 10 }"
    }

    fn settings_schema(&self) -> Value {
        schema_of::<Settings>()
    }

    fn parse(&self, with: &Value) -> Result<Arc<dyn Stage>, Vec<SettingProblem>> {
        Ok(Arc::new(Checked { settings: decode_settings(with)? }))
    }
}

struct Checked {
    settings: Settings,
}

/// The metrics of one variant, one value for each seed.
#[derive(Debug, Default)]
struct Entry {
    seeds: usize,
    users: i64,
    values: BTreeMap<&'static str, Vec<f64>>,
}

/// The leaderboard's metrics: name, metric and slice in `evaluate`'s table.
const METRICS: [(&str, &str, &str); 4] =
    [("hr", "hr", "all"), ("ndcg", "ndcg", "all"), ("warm_hr", "hr", "warm"), ("cold_hr", "hr", "cold")];

#[async_trait]
impl Stage for Checked {
    fn settings(&self) -> Value {
        settings_value(&self.settings)
    }

    fn inputs(&self) -> Vec<InputPort> {
        vec![InputPort::new("metrics", ["part", "slice", "metric", "k", "value", "users"]).many()]
    }

    fn outputs(&self) -> Vec<OutputPort> {
        let mut columns = vec![("variant".to_owned(), "str".to_owned()), ("seeds".to_owned(), "i64".to_owned())];
        columns.extend(self.number_columns().into_iter().map(|name| (name, "f64".to_owned())));
        columns.push(("users".to_owned(), "i64".to_owned()));
        vec![OutputPort { name: "leaderboard", columns, key: &["variant"] }]
    }

    async fn run(&self, context: &StageContext) -> Result<(), StageError> {
        let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
        for input in context.inputs.get("metrics").into_iter().flatten() {
            let variant = input.label.split_once('#').map_or(input.label.as_str(), |(variant, _)| variant);
            self.read(input, entries.entry(variant.to_owned()).or_default())?;
        }
        context.write("leaderboard", &self.leaderboard(entries)?)
    }
}

impl Checked {
    fn number_columns(&self) -> Vec<String> {
        let k = self.settings.k;
        let means = METRICS.iter().map(|(name, _, _)| format!("{name}@{k}"));
        means.chain(METRICS[..2].iter().map(|(name, _, _)| format!("{name}@{k}_sd"))).collect()
    }

    fn read(&self, input: &Input, entry: &mut Entry) -> Result<(), StageError> {
        let table = input.table()?;
        let text = |name: &str| complete(name, table.strings(name)?);
        let (parts, slices, metrics) = (text("part")?, text("slice")?, text("metric")?);
        let (ks, values, users) = (table.integers("k")?, table.floats("value")?, table.integers("users")?);
        let part = if self.settings.part == ComparedPart::Test { "test" } else { "validation" };
        let k = i64::from(self.settings.k);
        let rows =
            (0..table.rows()).filter(|row| parts.value(*row) == part && ks.is_valid(*row) && ks.value(*row) == k);
        let mut found = false;
        for row in rows {
            let named =
                METRICS.iter().find(|(_, metric, slice)| *metric == metrics.value(row) && *slice == slices.value(row));
            let Some((name, _, slice)) = named else { continue };
            found = true;
            if values.is_valid(row) {
                entry.values.entry(name).or_default().push(values.value(row));
            }
            if *slice == "all" && entry.seeds == 0 {
                entry.users = users.value(row);
            }
        }
        entry.seeds += 1;
        if found {
            return Ok(());
        }
        let what = format!("the metrics of `{}` have no rows for k = {k} of {part}", input.label);
        Err(StageError::with_hint(what, format!("let `evaluate` measure it: `k: [{k}]`")))
    }

    fn leaderboard(&self, entries: BTreeMap<String, Entry>) -> Result<Table, StageError> {
        let average = |entry: &Entry, name: &str| entry.values.get(name).and_then(|values| mean(values));
        let spread = |entry: &Entry, name: &str| entry.values.get(name).and_then(|values| deviation(values));
        let mut entries: Vec<(String, Entry)> = entries.into_iter().collect();
        let grade = |entry: &Entry, name: &str| average(entry, name).unwrap_or(f64::NEG_INFINITY);
        entries.sort_by(|(_, a), (_, b)| {
            let by = |name| grade(b, name).total_cmp(&grade(a, name));
            by("ndcg").then_with(|| by("hr"))
        });
        let mut columns: Vec<(String, ArrayRef)> = vec![
            ("variant".to_owned(), Arc::new(entries.iter().map(|(name, _)| Some(name)).collect::<StringArray>())),
            ("seeds".to_owned(), Arc::new(entries.iter().map(|(_, e)| Some(e.seeds as i64)).collect::<Int64Array>())),
        ];
        let means = METRICS.iter().map(|(name, _, _)| entries.iter().map(|(_, e)| average(e, name)).collect());
        let spreads = METRICS[..2].iter().map(|(name, _, _)| entries.iter().map(|(_, e)| spread(e, name)).collect());
        let numbers: Vec<Float64Array> = means.chain(spreads).collect();
        let numbers = numbers.into_iter().map(|array| Arc::new(array) as ArrayRef);
        columns.extend(self.number_columns().into_iter().zip(numbers));
        let users = entries.iter().map(|(_, entry)| Some(entry.users)).collect::<Int64Array>();
        columns.push(("users".to_owned(), Arc::new(users)));
        Ok(Table::of_columns(columns)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::OutputSink;
    use crate::table::TableError;
    use std::sync::Mutex;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<Table>>>);

    impl OutputSink for Kept {
        fn append(&mut self, _port: &str, table: &Table) -> Result<(), TableError> {
            self.0.lock().unwrap().push(table.clone());
            Ok(())
        }
    }

    fn metrics(hr: f64, cold: Option<f64>) -> Table {
        let rows =
            [("all", "hr", Some(hr)), ("all", "ndcg", Some(hr / 2.0)), ("warm", "hr", Some(hr)), ("cold", "hr", cold)];
        let text = |pick: &dyn Fn(usize) -> &'static str| -> ArrayRef {
            Arc::new((0..4).map(|row| Some(pick(row))).collect::<StringArray>())
        };
        let columns: [(&str, ArrayRef); 6] = [
            ("part", text(&|_| "test")),
            ("slice", text(&|row| rows[row].0)),
            ("metric", text(&|row| rows[row].1)),
            ("k", Arc::new(Int64Array::from(vec![10; 4]))),
            ("value", Arc::new(rows.iter().map(|row| row.2).collect::<Float64Array>())),
            ("users", Arc::new(Int64Array::from(vec![7; 4]))),
        ];
        Table::of_columns(columns).unwrap()
    }

    fn compare(with: &Value) -> Result<Table, StageError> {
        let inputs = [("CF", 0.1, None), ("V1#0", 0.2, Some(0.1)), ("V1#1", 0.4, None), ("top", 0.05, None)];
        let inputs = inputs.map(|(label, hr, cold)| Input::of_table(label, metrics(hr, cold)));
        let kept = Kept::default();
        let context = StageContext::for_test(vec![("metrics", inputs.to_vec())], Box::new(kept.clone()));
        let stage = Compare.parse(with).unwrap();
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(stage.run(&context))?;
        let table = kept.0.lock().unwrap()[0].clone();
        Ok(table)
    }

    #[test]
    fn variants_are_averaged_over_seeds_and_sorted_best_first() {
        let board = compare(&serde_json::json!({})).unwrap();
        let names = board.strings("variant").unwrap();
        assert_eq!(names.iter().flatten().collect::<Vec<_>>(), ["V1", "CF", "top"]);
        assert_eq!(board.integers("seeds").unwrap().values()[..], [2, 1, 1]);
        assert!((board.floats("hr@10").unwrap().value(0) - 0.3).abs() < 1e-12);
        assert!((board.floats("hr@10_sd").unwrap().value(0) - 0.02f64.sqrt()).abs() < 1e-12);
        assert!(board.floats("hr@10_sd").unwrap().is_null(1));
        let cold = board.floats("cold_hr@10").unwrap();
        assert_eq!((cold.value(0), cold.is_null(1)), (0.1, true));
        let declared: Vec<_> =
            Compare.parse(&Value::Null).unwrap().outputs()[0].columns.iter().map(|c| c.0.clone()).collect();
        assert_eq!(board.column_names(), declared);
    }

    #[test]
    fn a_k_that_was_not_measured_is_named() {
        let error = compare(&serde_json::json!({"k": 5})).unwrap_err();
        assert!(error.to_string().contains("`CF` have no rows for k = 5"), "{error}");
    }
}
