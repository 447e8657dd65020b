//! `audit_split`: what must be true of a split before anything is measured on
//! it, as assertions: the stage fails where one does not hold.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, StringArray};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::stage::{
    InputPort, OutputPort, SettingProblem, Stage, StageContext, StageError, StageKind, decode_settings, schema_of,
    settings_value,
};
use crate::table::{Table, complete};

/// The kind.
#[derive(Debug)]
pub(super) struct AuditSplit;

/// Settings as written in YAML.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Fewest rows of a user over the whole split, at least 1; 1 by default. What the k-core above it promised.
    #[serde(default = "one")]
    min_per_user: u32,
    /// Fewest rows of an item over the whole split, at least 1; 1 by default.
    #[serde(default = "one")]
    min_per_item: u32,
    /// Largest share of held-out rows whose item nobody has in `train`, from 0 to 1; 0.01 by default. It is not 0
    /// because leaving out the last two rows of each user can take the last train row of an item, whatever the
    /// k-core: 5 of HetRec's 2,180. How many there are is always told.
    #[serde(default = "hundredth")]
    max_untrained: f64,
}

fn one() -> u32 {
    1
}

fn hundredth() -> f64 {
    0.01
}

impl StageKind for AuditSplit {
    fn name(&self) -> &'static str {
        "audit_split"
    }

    fn version(&self) -> u32 {
        1
    }

    fn summary(&self) -> &'static str {
        "Fail where a split leaks: held-out pairs in train, later times in train, a k-core that does not hold"
    }

    fn documentation(&self) -> &'static str {
        "Reads `split` (user_id: str, item_id: str, at: i64, part: str) and writes `audit` (check: str, holds: bool, \
         violations: i64, of: i64, example: str), one row per check. The stage fails, and says which pairs, where one \
         does not hold:\n\n\
         - `held_out_in_train`: no test or validation pair is in `train` too.\n\
         - `pair_once`: no pair of user and item is there twice in one part, or in both held-out parts.\n\
         - `later_in_train`: no user's train row is later than its validation or test row, and no validation row \
         later than the test row. Equal times are no violation: `split_leave_last_out` tells how many there are. Rows \
         without a time are left out.\n\
         - `target_without_train`: every user with a held-out row has a train row.\n\
         - `item_untrained`: the item of a held-out row is in somebody's `train`: a model that knows items by their ids \
         alone can only guess at others. A few are usual after a leave-last-out split; how many, and their share, is \
         warned of, and the check fails above the share `max_untrained`.\n\
         - `user_core`, `item_core`: users have `min_per_user` rows or more over all parts, items `min_per_item`.\n\n\
         Deterministic: no seed, no network."
    }

    fn example(&self) -> &'static str {
        "kind: audit_split\ninputs: { split: split }\nwith: { min_per_user: 5, min_per_item: 5 }\n"
    }

    fn settings_schema(&self) -> Value {
        schema_of::<Settings>()
    }

    fn parse(&self, with: &Value) -> Result<Arc<dyn Stage>, Vec<SettingProblem>> {
        let settings: Settings = decode_settings(with)?;
        let mut problems = Vec::new();
        for (path, value) in [("min_per_user", settings.min_per_user), ("min_per_item", settings.min_per_item)] {
            if value == 0 {
                problems.push(SettingProblem::new(path, format!("`{path}` must be at least 1")));
            }
        }
        if !(0.0..=1.0).contains(&settings.max_untrained) {
            problems.push(SettingProblem::new("max_untrained", "`max_untrained` is a share, from 0 to 1"));
        }
        if problems.is_empty() { Ok(Arc::new(Checked { settings })) } else { Err(problems) }
    }
}

struct Checked {
    settings: Settings,
}

/// One assertion and how it went.
#[derive(Debug)]
struct Check {
    name: &'static str,
    violations: usize,
    /// How many rows, users or items were looked at.
    of: usize,
    /// How many violations are let pass.
    allowed: usize,
    example: Option<String>,
}

impl Check {
    fn new(name: &'static str) -> Self {
        Self { name, violations: 0, of: 0, allowed: 0, example: None }
    }

    /// Counts a case; `example` says what violates, if it does.
    fn count(&mut self, violated: bool, example: impl FnOnce() -> String) {
        self.of += 1;
        if violated {
            self.violations += 1;
            self.example.get_or_insert_with(example);
        }
    }

    fn holds(&self) -> bool {
        self.violations <= self.allowed
    }

    fn line(&self) -> String {
        let example = self.example.as_deref().unwrap_or_default();
        format!("`{}`: {} of {} ({example})", self.name, self.violations, self.of)
    }
}

/// A split's columns.
struct Rows {
    users: StringArray,
    items: StringArray,
    parts: StringArray,
    times: Int64Array,
}

impl Rows {
    fn of_table(table: &Table) -> Result<Self, StageError> {
        let text = |name: &str| complete(name, table.strings(name)?);
        let rows = Self {
            users: text("user_id")?,
            items: text("item_id")?,
            parts: text("part")?,
            times: table.integers("at")?.clone(),
        };
        match rows.parts.iter().flatten().find(|part| !["train", "validation", "test"].contains(part)) {
            None => Ok(rows),
            Some(part) => {
                let what = format!("column `part` of the split holds `{part}`");
                Err(StageError::with_hint(what, "a split's parts are `train`, `validation` and `test`"))
            }
        }
    }

    fn len(&self) -> usize {
        self.parts.len()
    }

    fn is_train(&self, row: usize) -> bool {
        self.parts.value(row) == "train"
    }

    fn pair(&self, row: usize) -> (&str, &str) {
        (self.users.value(row), self.items.value(row))
    }

    fn name(&self, row: usize) -> String {
        let (user, item) = self.pair(row);
        format!("user `{user}`, item `{item}`, {}", self.parts.value(row))
    }
}

#[async_trait]
impl Stage for Checked {
    fn settings(&self) -> Value {
        settings_value(&self.settings)
    }

    fn inputs(&self) -> Vec<InputPort> {
        vec![InputPort::new("split", ["user_id", "item_id", "at", "part"])]
    }

    fn outputs(&self) -> Vec<OutputPort> {
        let columns = [("check", "str"), ("holds", "bool"), ("violations", "i64"), ("of", "i64"), ("example", "str")];
        vec![OutputPort::new("audit", &columns).keyed_by(&["check"])]
    }

    async fn run(&self, context: &StageContext) -> Result<(), StageError> {
        let rows = Rows::of_table(&context.table("split")?)?;
        context.progress.total(rows.len() as u64);
        let checks = self.checks(&rows);
        context.progress.advance(rows.len() as u64);
        let failed: Vec<String> = checks.iter().filter(|check| !check.holds()).map(Check::line).collect();
        if !failed.is_empty() {
            let what = format!("the split does not hold what it must: {}", failed.join("; "));
            return Err(StageError::with_hint(
                what,
                "nothing that is measured on it can be trusted: look at the stage that makes the split and at its inputs",
            ));
        }
        for check in checks.iter().filter(|check| check.violations > 0) {
            context.progress.warn(&format!(
                "{} of {} held-out rows ({:.2} %) are of items that nobody has in train: whoever knows items by their ids \
                 alone can only guess there, such as at {}",
                check.violations,
                check.of,
                100.0 * check.violations as f64 / check.of as f64,
                check.example.as_deref().unwrap_or_default()
            ));
        }
        context.write("audit", &table(&checks)?)
    }
}

impl Checked {
    fn checks(&self, rows: &Rows) -> Vec<Check> {
        let mut checks = pairs(rows);
        checks.push(times(rows));
        let trained = |of: &StringArray| -> HashSet<String> {
            (0..rows.len()).filter(|row| rows.is_train(*row)).map(|row| of.value(row).to_owned()).collect()
        };
        let (users, items) = (trained(&rows.users), trained(&rows.items));
        let mut without = Check::new("target_without_train");
        let mut untrained = Check::new("item_untrained");
        for row in (0..rows.len()).filter(|row| !rows.is_train(*row)) {
            let (user, item) = rows.pair(row);
            without.count(!users.contains(user), || rows.name(row));
            untrained.count(!items.contains(item), || rows.name(row));
        }
        untrained.allowed = (untrained.of as f64 * self.settings.max_untrained).floor() as usize;
        checks.extend([without, untrained]);
        checks.push(core("user_core", &rows.users, self.settings.min_per_user));
        checks.push(core("item_core", &rows.items, self.settings.min_per_item));
        checks
    }
}

/// That held-out pairs are not in train, and that none is there twice.
fn pairs(rows: &Rows) -> Vec<Check> {
    let mut train: HashSet<(&str, &str)> = HashSet::new();
    let mut held_out: HashSet<(&str, &str)> = HashSet::new();
    let (mut leak, mut once) = (Check::new("held_out_in_train"), Check::new("pair_once"));
    for row in 0..rows.len() {
        let seen = if rows.is_train(row) { &mut train } else { &mut held_out };
        once.count(!seen.insert(rows.pair(row)), || rows.name(row));
    }
    for row in (0..rows.len()).filter(|row| !rows.is_train(*row)) {
        leak.count(train.contains(&rows.pair(row)), || rows.name(row));
    }
    vec![leak, once]
}

/// That what is held out is not earlier than what is learnt from.
fn times(rows: &Rows) -> Check {
    // The latest time of train and of train with validation, by user.
    let mut latest: HashMap<&str, [Option<i64>; 2]> = HashMap::new();
    for row in (0..rows.len()).filter(|row| rows.times.is_valid(*row)) {
        let at = Some(rows.times.value(row));
        let [train, before_test] = latest.entry(rows.users.value(row)).or_default();
        match rows.parts.value(row) {
            "train" => (*train, *before_test) = ((*train).max(at), (*before_test).max(at)),
            "validation" => *before_test = (*before_test).max(at),
            _ => {}
        }
    }
    let mut check = Check::new("later_in_train");
    for row in (0..rows.len()).filter(|row| !rows.is_train(*row) && rows.times.is_valid(*row)) {
        let before = latest.get(rows.users.value(row)).copied().unwrap_or_default();
        let before = before[usize::from(rows.parts.value(row) == "test")];
        check.count(before > Some(rows.times.value(row)), || rows.name(row));
    }
    check
}

/// That each value of a column is there `fewest` times.
fn core(name: &'static str, column: &StringArray, fewest: u32) -> Check {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for value in column.iter().flatten() {
        *counts.entry(value).or_default() += 1;
    }
    let mut check = Check::new(name);
    for (value, count) in counts {
        check.count(count < fewest, || format!("`{value}` has {count} rows, not {fewest}"));
    }
    check
}

fn table(checks: &[Check]) -> Result<Table, StageError> {
    let number = |pick: fn(&Check) -> usize| -> ArrayRef {
        Arc::new(checks.iter().map(|check| Some(pick(check) as i64)).collect::<Int64Array>())
    };
    let columns: [(&str, ArrayRef); 5] = [
        ("check", Arc::new(checks.iter().map(|check| Some(check.name)).collect::<StringArray>())),
        ("holds", Arc::new(checks.iter().map(|check| Some(check.holds())).collect::<BooleanArray>())),
        ("violations", number(|check| check.violations)),
        ("of", number(|check| check.of)),
        ("example", Arc::new(checks.iter().map(|check| check.example.as_deref()).collect::<StringArray>())),
    ];
    Ok(Table::of_columns(columns)?)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{numbers, refused, run, texts};
    use super::*;
    use serde_json::json;

    const FINE: &str =
        "u x 1 train|u y 2 train|u z 3 validation|u w 4 test|v z 1 train|v w 2 train|v x 5 validation|v y 5 test";

    /// Rows of user, item, time and part, with `|` between rows.
    fn split(rows: &str) -> Table {
        let fields: Vec<Vec<&str>> = rows.split('|').map(|row| row.split(' ').collect()).collect();
        let column = |at: usize| texts(&fields.iter().map(|row| row[at]).collect::<Vec<_>>());
        let times: Vec<i64> = fields.iter().map(|row| row[2].parse().unwrap()).collect();
        let columns = [("user_id", column(0)), ("item_id", column(1)), ("at", numbers(&times)), ("part", column(3))];
        Table::of_columns(columns).unwrap()
    }

    fn failure(with: &Value, rows: &str) -> String {
        run(&AuditSplit, with, vec![("split", split(rows))]).unwrap_err().to_string()
    }

    #[test]
    fn a_split_without_leaks_passes_every_check() {
        let with = json!({"min_per_user": 4, "min_per_item": 2});
        let ran = run(&AuditSplit, &with, vec![("split", split(FINE))]).unwrap();
        let expected = [
            "held_out_in_train|true|0|4|-",
            "pair_once|true|0|8|-",
            "later_in_train|true|0|4|-",
            "target_without_train|true|0|4|-",
            "item_untrained|true|0|4|-",
            "user_core|true|0|2|-",
            "item_core|true|0|4|-",
        ];
        assert_eq!(ran.rows("audit"), expected);
        assert!(ran.warnings.is_empty());
        insta::assert_snapshot!(ran.golden(), @r"
        audit.check 8a7e681d8e0c
        audit.example 06e0e735ff44
        audit.holds 98d2b85794ca
        audit.of 02629a1755ff
        audit.violations 4708cebcc835
        ");
    }

    #[test]
    fn each_leak_fails_with_the_pair_that_leaks() {
        let none = json!({});
        let with = |more: &str| format!("{FINE}|{more}");
        let leak = failure(&none, &with("u w 0 train"));
        assert!(leak.contains("`held_out_in_train`: 1 of 4 (user `u`, item `w`, test)"), "{leak}");
        assert!(failure(&none, &with("u x 1 train")).contains("`pair_once`: 1 of 9 (user `u`, item `x`, train)"));
        let later = failure(&none, &with("v q 9 train"));
        assert!(later.contains("`later_in_train`: 2 of 4 (user `v`, item `x`, validation)"), "{later}");
        assert!(failure(&none, &with("w x 1 test")).contains("`target_without_train`: 1 of 5"));
        assert!(failure(&json!({"min_per_item": 3}), FINE).contains("`item_core`: 4 of 4 (`w` has 2 rows, not 3)"));
        assert!(failure(&none, &with("u q 1 dev")).contains("holds `dev`"));
    }

    #[test]
    fn a_few_items_that_nobody_trained_on_are_warned_of_and_many_fail() {
        let rows = format!("{FINE}|w x 1 train|w q 3 test");
        assert!(failure(&json!({}), &rows).contains("`item_untrained`: 1 of 5 (user `w`, item `q`, test)"));
        let ran = run(&AuditSplit, &json!({"max_untrained": 0.2}), vec![("split", split(&rows))]).unwrap();
        assert_eq!(ran.rows("audit")[4], "item_untrained|true|1|5|user `w`, item `q`, test");
        assert!(ran.warnings[0].starts_with("1 of 5 held-out rows (20.00 %) are of items that nobody has in train"));
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let problems = refused(&AuditSplit, &json!({"min_per_user": 0, "max_untrained": 1.5}));
        assert_eq!(problems.iter().map(|p| p.path.as_str()).collect::<Vec<_>>(), ["min_per_user", "max_untrained"]);
    }
}
