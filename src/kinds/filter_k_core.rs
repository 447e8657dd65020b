//! `filter_k_core`: keep only users and items with enough interactions.
//!
//! Not for other conditions on rows: those are written in `sql`.

use std::num::NonZeroU32;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::peel::{Core, peel};
use crate::stage::{
    Input, InputPort, OutputPort, SettingProblem, Stage, StageContext, StageError, StageKind, decode_settings,
    schema_of, settings_value,
};
use crate::table::PackedInteractions;

/// The kind.
#[derive(Debug)]
pub(super) struct FilterKCore;

/// Rows that become texts again at once.
const WRITTEN_AT_ONCE: usize = 1 << 19;

/// Settings as written in YAML.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Fewest distinct items that a user must keep, at least 1.
    min_per_user: NonZeroU32,
    /// Fewest distinct users that an item must keep, at least 1.
    min_per_item: NonZeroU32,
}

impl StageKind for FilterKCore {
    fn name(&self) -> &'static str {
        "filter_k_core"
    }

    fn version(&self) -> u32 {
        1
    }

    fn summary(&self) -> &'static str {
        "Drop users and items with too few interactions until all that are left have enough"
    }

    fn documentation(&self) -> &'static str {
        "Reads `interactions` (user_id, item_id, at).\n\
         Writes `interactions` (user_id: str, item_id: str, at: i64), one row per pair with its latest time, \
         sorted by user and then item; ids that are all whole numbers are in the order of the numbers.\n\n\
         The result is the largest set of rows in which every user has at least `min_per_user` items and every \
         item at least `min_per_item` users; it does not depend on the order of removal. A pair that is there \
         several times counts once. The time taken grows with the number of rows: what falls short is put on a \
         queue, and each row is looked at once more when it goes. No seed, no network."
    }

    fn example(&self) -> &'static str {
        "kind: filter_k_core\ninputs: { interactions: interactions }\nwith: { min_per_user: 5, min_per_item: 5 }\n"
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

#[async_trait]
impl Stage for Checked {
    fn settings(&self) -> Value {
        settings_value(&self.settings)
    }

    fn inputs(&self) -> Vec<InputPort> {
        vec![InputPort::new("interactions", ["user_id", "item_id", "at"])]
    }

    fn outputs(&self) -> Vec<OutputPort> {
        vec![
            OutputPort::new("interactions", &[("user_id", "str"), ("item_id", "str"), ("at", "i64")])
                .keyed_by(&["user_id", "item_id"]),
        ]
    }

    async fn run(&self, context: &StageContext) -> Result<(), StageError> {
        let all = match context.input("interactions").and_then(Input::path) {
            Some(path) => PackedInteractions::of_parquet(path, "at")?,
            None => PackedInteractions::of_table(&context.table("interactions")?, "at")?,
        };
        context.check_cancelled()?;
        let core = peel(&all, self.settings.min_per_user.get(), self.settings.min_per_item.get());
        let mut tables = all.tables(WRITTEN_AT_ONCE, |user, item| core.stays((user, item)));
        self.tell(context, &all, &core, tables.rows());
        let mut next = tables.next();
        while let Some(table) = next {
            context.check_cancelled()?;
            let table = table?;
            // While one is written, the next is made.
            let (written, made) = rayon::join(|| context.write("interactions", &table), || tables.next());
            written?;
            next = made;
        }
        Ok(())
    }
}

impl Checked {
    fn tell(&self, context: &StageContext, all: &PackedInteractions, core: &Core, kept: usize) {
        let count = |stay: &[bool]| stay.iter().filter(|stays| **stays).count();
        context.progress.note(&format!(
            "kept {} of {} users, {} of {} items, {kept} of {} interactions",
            count(&core.users),
            all.users.len(),
            count(&core.items),
            all.items.len(),
            all.rows.len()
        ));
        if kept == 0 && !all.rows.is_empty() {
            context.progress.warn(&format!(
                "nothing is left: there are no users with {} items and items with {} users each",
                self.settings.min_per_user, self.settings.min_per_item
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{interactions, refused, run};
    use super::*;
    use serde_json::json;

    fn chain() -> Table {
        interactions("u2 b 5\nu1 a 1\nu1 b 2\nu2 a 3\nu1 a 9\nu3 b 4\nu3 c 4")
    }

    use crate::table::Table;

    #[test]
    fn what_falls_short_goes_and_the_latest_time_of_a_pair_stays() {
        let ran =
            run(&FilterKCore, &json!({"min_per_user": 2, "min_per_item": 2}), vec![("interactions", chain())]).unwrap();
        // Item c has one user; without it user u3 has one item.
        assert_eq!(ran.rows("interactions"), ["u1|a|9", "u1|b|2", "u2|a|3", "u2|b|5"]);
        assert_eq!(ran.notes, ["kept 2 of 3 users, 2 of 3 items, 4 of 6 interactions"]);
        insta::assert_snapshot!(ran.golden(), @r"
        interactions.at afebdc9bda8a
        interactions.item_id fe1e9605ddc1
        interactions.user_id 24aee99a8753
        ");
    }

    #[test]
    fn nothing_left_is_an_empty_table_and_a_warning() {
        let ran =
            run(&FilterKCore, &json!({"min_per_user": 9, "min_per_item": 1}), vec![("interactions", chain())]).unwrap();
        assert!(ran.rows("interactions").is_empty());
        assert_eq!(ran.warnings.len(), 1);
        let empty =
            run(&FilterKCore, &json!({"min_per_user": 1, "min_per_item": 1}), vec![("interactions", interactions(""))]);
        assert!(empty.unwrap().warnings.is_empty());
    }

    #[test]
    fn zero_is_refused() {
        let problems = refused(&FilterKCore, &json!({"min_per_user": 0, "min_per_item": 1}));
        assert_eq!(problems[0].path, "min_per_user");
    }
}
