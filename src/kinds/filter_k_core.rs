//! `filter_k_core`: keep only users and items with enough interactions.
//!
//! Not for other conditions on rows: those are written in `sql`.

use std::num::NonZeroU32;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::stage::{
    InputPort, OutputPort, SettingProblem, Stage, StageContext, StageError, StageKind, decode_settings, schema_of,
    settings_value,
};
use crate::table::{Interaction, Interactions};

/// The kind.
#[derive(Debug)]
pub(super) struct FilterKCore;

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
        let all = Interactions::of_table(&context.table("interactions")?, "at")?;
        let kept = core(&all, self.settings.min_per_user.get(), self.settings.min_per_item.get());
        let (users, items) = (count(&kept, |row| row.user), count(&kept, |row| row.item));
        let before = (all.users.len(), all.items.len(), all.rows.len());
        context.progress.note(&format!(
            "kept {users} of {} users, {items} of {} items, {} of {} interactions",
            before.0,
            before.1,
            kept.len(),
            before.2
        ));
        if kept.is_empty() && !all.rows.is_empty() {
            context.progress.warn(&format!(
                "nothing is left: no group of users with {} items and items with {} users each",
                self.settings.min_per_user, self.settings.min_per_item
            ));
        }
        context.write("interactions", &all.to_table(&kept)?)
    }
}

fn count(rows: &[Interaction], of: impl Fn(&Interaction) -> u32) -> usize {
    let mut ids: Vec<u32> = rows.iter().map(of).collect();
    ids.sort_unstable();
    ids.dedup();
    ids.len()
}

/// One side of the graph: the rows of each node, and how many are left.
struct Side {
    starts: Vec<usize>,
    rows: Vec<usize>,
    left: Vec<u32>,
    least: u32,
}

impl Side {
    fn new(nodes: usize, least: u32, of_row: &[u32]) -> Self {
        let mut left = vec![0_u32; nodes];
        for node in of_row {
            left[*node as usize] += 1;
        }
        let mut starts = Vec::with_capacity(nodes + 1);
        let mut total = 0;
        starts.push(0);
        for degree in &left {
            total += *degree as usize;
            starts.push(total);
        }
        let mut next = starts.clone();
        let mut rows = vec![0; of_row.len()];
        for (row, node) in of_row.iter().enumerate() {
            let at = &mut next[*node as usize];
            rows[*at] = row;
            *at += 1;
        }
        Self { starts, rows, left, least }
    }

    fn rows_of(&self, node: u32) -> &[usize] {
        &self.rows[self.starts[node as usize]..self.starts[node as usize + 1]]
    }

    /// Takes one row from a node; whether that made it fall short.
    fn falls_short(&mut self, node: u32) -> bool {
        let left = &mut self.left[node as usize];
        *left -= 1;
        *left + 1 == self.least
    }

    fn short_from_the_start(&self) -> impl Iterator<Item = u32> {
        (0..self.left.len()).filter(|node| self.left[*node] < self.least).map(|node| node as u32)
    }
}

/// The rows in which every user and every item has enough others.
///
/// Each node enters the queue once, when it first falls short, and each row is
/// removed once: linear in rows, users and items.
fn core(all: &Interactions, min_per_user: u32, min_per_item: u32) -> Vec<Interaction> {
    let of_user: Vec<u32> = all.rows.iter().map(|row| row.user).collect();
    let of_item: Vec<u32> = all.rows.iter().map(|row| row.item).collect();
    let mut users = Side::new(all.users.len(), min_per_user, &of_user);
    let mut items = Side::new(all.items.len(), min_per_item, &of_item);
    let mut gone = vec![false; all.rows.len()];
    let mut queue: Vec<(bool, u32)> = users.short_from_the_start().map(|user| (true, user)).collect();
    queue.extend(items.short_from_the_start().map(|item| (false, item)));
    while let Some((is_user, node)) = queue.pop() {
        let (side, other, of_other) =
            if is_user { (&users, &mut items, &of_item) } else { (&items, &mut users, &of_user) };
        for row in side.rows_of(node) {
            if !std::mem::replace(&mut gone[*row], true) && other.falls_short(of_other[*row]) {
                queue.push((!is_user, of_other[*row]));
            }
        }
    }
    all.rows.iter().zip(gone).filter(|(_, gone)| !gone).map(|(row, _)| *row).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{interactions, refused, run};
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// Counts and drops until nothing changes: slow and plainly right.
    fn naive(mut rows: Vec<Interaction>, min_per_user: u32, min_per_item: u32) -> Vec<Interaction> {
        loop {
            let enough = |row: &Interaction| {
                let of_user = rows.iter().filter(|other| other.user == row.user).count();
                let of_item = rows.iter().filter(|other| other.item == row.item).count();
                of_user >= min_per_user as usize && of_item >= min_per_item as usize
            };
            let kept: Vec<Interaction> = rows.iter().copied().filter(enough).collect();
            if kept.len() == rows.len() {
                return kept;
            }
            rows = kept;
        }
    }

    proptest! {
        #[test]
        fn peeling_leaves_what_dropping_until_nothing_changes_leaves(
            pairs in proptest::collection::btree_set((0..12_u32, 0..12_u32), 0..80),
            min_per_user in 1..5_u32,
            min_per_item in 1..5_u32,
        ) {
            let rows: Vec<Interaction> = pairs.iter().map(|(user, item)| Interaction { user: *user, item: *item, at: None }).collect();
            let names = |letter: &str| (0..12).map(|n| format!("{letter}{n}")).collect::<Vec<_>>();
            let all = Interactions { users: names("u"), items: names("i"), rows };
            prop_assert_eq!(core(&all, min_per_user, min_per_item), naive(all.rows.clone(), min_per_user, min_per_item));
        }
    }

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
