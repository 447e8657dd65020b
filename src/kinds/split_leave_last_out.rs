//! `split_leave_last_out`: each user's last interaction is for the test, the one
//! before for validation, the rest for training.
//!
//! Not for splits by date or at random.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::stage::{
    Input, InputPort, OutputPort, SettingProblem, Stage, StageContext, StageError, StageKind, decode_settings,
    schema_of, settings_value,
};
use crate::table::{Interaction, Interactions, Table};

/// The kind.
#[derive(Debug)]
pub(super) struct SplitLeaveLastOut;

/// Fewest interactions of a user of whom some are held out.
const FEWEST: usize = 3;

/// Settings as written in YAML.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The column of whole numbers that says what was later; default `at`.
    #[serde(default = "default_order")]
    order_by: String,
}

fn default_order() -> String {
    "at".to_owned()
}

impl StageKind for SplitLeaveLastOut {
    fn name(&self) -> &'static str {
        "split_leave_last_out"
    }

    fn version(&self) -> u32 {
        1
    }

    fn summary(&self) -> &'static str {
        "Hold out each user's last interaction for the test and the one before for validation"
    }

    fn documentation(&self) -> &'static str {
        "Reads `interactions` (user_id, item_id, and the column that `order_by` names, `at` by default).\n\
         Writes `split` (user_id: str, item_id: str, at: i64, part: str), one row per pair with its latest time, \
         sorted by user, then time, then item; `at` is the column named by `order_by`.\n\n\
         `part` is `test` for a user's last row, `validation` for the one before, `train` for the rest (paper, \
         \"Data\"). A user with fewer than 3 rows has them all in `train` and is not evaluated.\n\n\
         Times that are equal are ordered by item: ids that are all whole numbers by number, else by the bytes \
         of their text. Where times are coarse this rule decides who is tested on what and moves every metric, \
         so the number of users whose cut falls between equal times is told. Unknown times count as earliest. \
         No seed, no network."
    }

    fn example(&self) -> &'static str {
        "kind: split_leave_last_out\ninputs: { interactions: core }\nwith: { order_by: at }\n"
    }

    fn settings_schema(&self) -> Value {
        schema_of::<Settings>()
    }

    fn parse(&self, with: &Value) -> Result<Arc<dyn Stage>, Vec<SettingProblem>> {
        let settings: Settings = decode_settings(with)?;
        if ["user_id", "item_id", ""].contains(&settings.order_by.as_str()) {
            let problem = SettingProblem::new("order_by", format!("`{}` is not a column of times", settings.order_by));
            return Err(vec![problem.hint("name a column of whole numbers, such as `at`")]);
        }
        Ok(Arc::new(Checked { settings }))
    }
}

struct Checked {
    settings: Settings,
}

#[async_trait]
impl Stage for Checked {
    fn settings(&self) -> Value {
        settings_value(&self.settings)
    }

    fn inputs(&self) -> Vec<InputPort> {
        vec![InputPort::new("interactions", ["user_id", "item_id", self.settings.order_by.as_str()])]
    }

    fn outputs(&self) -> Vec<OutputPort> {
        vec![
            OutputPort::new("split", &[("user_id", "str"), ("item_id", "str"), ("at", "i64"), ("part", "str")])
                .keyed_by(&["user_id", "item_id"]),
        ]
    }

    async fn run(&self, context: &StageContext) -> Result<(), StageError> {
        let at = &self.settings.order_by;
        let all = match context.input("interactions").and_then(Input::path) {
            Some(path) => Interactions::of_parquet(path, at)?,
            None => Interactions::of_table(&context.table("interactions")?, at)?,
        };
        let split = split(&all);
        if split.too_few > 0 {
            context.progress.warn(&format!(
                "{} of {} users have fewer than {FEWEST} interactions: all of theirs are for training",
                split.too_few,
                all.users.len()
            ));
        }
        if split.tied > 0 {
            context.progress.warn(&format!(
                "for {} of {} users a cut falls between equal times: the order of the items' ids decides there",
                split.tied,
                all.users.len() - split.too_few
            ));
        }
        if all.without_time() > 0 {
            let unknown = all.without_time();
            context
                .progress
                .warn(&format!("{unknown} of {} interactions have no time: they count as earliest", all.rows.len()));
        }
        let table = all.to_table(&split.rows)?;
        let parts: ArrayRef = Arc::new(StringArray::from(split.parts));
        let mut columns: Vec<(String, ArrayRef)> = Vec::new();
        for name in table.column_names() {
            let column = table.column(&name)?;
            columns.push((name, column));
        }
        columns.push(("part".to_owned(), parts));
        context.write("split", &Table::of_columns(columns)?)
    }
}

struct Split {
    rows: Vec<Interaction>,
    parts: Vec<&'static str>,
    /// Users with fewer rows than a split needs.
    too_few: usize,
    /// Users with equal times on both sides of a cut.
    tied: usize,
}

fn split(all: &Interactions) -> Split {
    let mut split = Split { rows: Vec::new(), parts: Vec::new(), too_few: 0, tied: 0 };
    for of_user in all.rows.chunk_by(|one, other| one.user == other.user) {
        let mut rows = of_user.to_vec();
        rows.sort_unstable_by_key(|row| (row.at, row.item));
        let held_out = if rows.len() < FEWEST { 0 } else { 2 };
        let train = rows.len() - held_out;
        split.parts.extend(std::iter::repeat_n("train", train));
        if let [.., before, validation, test] = rows.as_slice() {
            split.parts.extend(["validation", "test"]);
            split.tied += usize::from(before.at == validation.at || validation.at == test.at);
        } else {
            split.too_few += 1;
        }
        split.rows.append(&mut rows);
    }
    split
}

#[cfg(test)]
mod tests {
    use super::super::testing::{interactions, refused, run};
    use super::*;
    use serde_json::json;

    #[test]
    fn the_last_is_for_the_test_and_the_one_before_for_validation() {
        let table = interactions("b x 3\nb y 1\nb z 2\nb w 9\na x 1\na y 2");
        let ran = run(&SplitLeaveLastOut, &Value::Null, vec![("interactions", table)]).unwrap();
        let expected = ["a|x|1|train", "a|y|2|train", "b|y|1|train", "b|z|2|train", "b|x|3|validation", "b|w|9|test"];
        assert_eq!(ran.rows("split"), expected);
        assert_eq!(ran.warnings, ["1 of 2 users have fewer than 3 interactions: all of theirs are for training"]);
        insta::assert_snapshot!(ran.golden(), @r"
        split.at 18f26c6bd94e
        split.item_id c4975701ed73
        split.part 773ad57a8b98
        split.user_id b49d5e42c207
        ");
    }

    #[test]
    fn equal_times_are_ordered_by_item_and_told() {
        let ran =
            run(&SplitLeaveLastOut, &Value::Null, vec![("interactions", interactions("1 10 5\n1 9 5\n1 8 1\n1 7 -"))]);
        let ran = ran.unwrap();
        assert_eq!(ran.rows("split"), ["1|7|-|train", "1|8|1|train", "1|9|5|validation", "1|10|5|test"]);
        assert!(ran.warnings[0].starts_with("for 1 of 1 users a cut falls between equal times"), "{:?}", ran.warnings);
        assert!(ran.warnings[1].starts_with("1 of 4 interactions have no time"));
    }

    #[test]
    fn another_column_may_say_what_was_later() {
        let table = interactions("u x 1\nu y 2\nu z 3");
        let renamed = ["user_id", "item_id", "at"]
            .map(|name| (if name == "at" { "when" } else { name }, table.column(name).unwrap()));
        let renamed = Table::of_columns(renamed).unwrap();
        let ran = run(&SplitLeaveLastOut, &json!({"order_by": "when"}), vec![("interactions", renamed)]).unwrap();
        assert_eq!(ran.rows("split"), ["u|x|1|train", "u|y|2|validation", "u|z|3|test"]);
        assert_eq!(refused(&SplitLeaveLastOut, &json!({"order_by": "item_id"}))[0].path, "order_by");
    }

    #[test]
    fn no_rows_give_no_rows() {
        let ran = run(&SplitLeaveLastOut, &Value::Null, vec![("interactions", interactions(""))]).unwrap();
        assert!(ran.rows("split").is_empty() && ran.warnings.is_empty());
    }
}
