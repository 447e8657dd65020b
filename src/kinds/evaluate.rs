//! `evaluate`: how high a model ranks what users turned to next.
//!
//! Full ranking, no sampled candidates: each target stands among all items that
//! its user has no train interaction with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::metrics::{Rank, hit, mean, ndcg, reciprocal_rank, warm_items};
use crate::model::interactions::{Interactions, Part};
use crate::model::model_table::tensors_of_table;
use crate::model::scoring::{ModelError, ScoringModel};
use crate::model::two_tower::SELECTED_ON_TEST;
use crate::stage::{
    InputPort, OutputPort, Resource, SettingProblem, Stage, StageContext, StageError, StageKind, decode_settings,
    schema_of, settings_value,
};
use crate::table::Table;

/// The parts that are ranked, and the slices of each.
const PARTS: [Part; 2] = [Part::Test, Part::Validation];
const SLICES: [&str; 3] = ["all", "warm", "cold"];

/// The kind.
pub(crate) struct Evaluate;

/// What `evaluate` can be told.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The k of HR@k and NDCG@k, each at least 1; 10 by default.
    #[serde(default = "default_k")]
    k: Vec<u32>,
}

fn default_k() -> Vec<u32> {
    vec![10]
}

impl StageKind for Evaluate {
    fn name(&self) -> &'static str {
        "evaluate"
    }

    fn version(&self) -> u32 {
        2
    }

    fn summary(&self) -> &'static str {
        "Rank all items for each user and measure HR@k, NDCG@k and MRR, overall, warm and cold"
    }

    fn documentation(&self) -> &'static str {
        "Reads `split` (`user_id`, `item_id`, `part`) and `model` (`name`, `shape`, `values`; from `train_two_tower` or \
         `popularity`).\n\nEach test and validation item is ranked among all items that its user has no *train* \
         interaction with. Higher scores come first, ties go to the item that stands first in ascending order of id \
         (numeric if every id is an integer), scores that are not finite come last and are warned of.\n\nWrites \
         `metrics` (`part`, `slice`, `metric`, `k`, `value`, `users`): `hr`, `ndcg` and `recall` for each k and `mrr` \
         (k null); `slice` is `all`, `warm` or `cold`, and `value` is null where there is nobody. All are means over \
         targets but `recall`, the mean over users of the share of a user's targets among the first k: the same as \
         `hr` where a user has one target. For `all` there are `coverage`, the share of the items that are among the \
         first k of anybody, and `popularity`, the mean number of train interactions of the items among the first k. Warm items are \
         those left after removing four fifths of the items, rounded down, in ascending order of (train \
         interactions, id).\nWrites `ranks` (`user_id`, `item_id`, `part`, `rank`, `candidates`, `warm`), one row for \
         each target, by part (test first), user and item.\n\nWarns of a model that \
         was selected on test.\n\nDeterministic."
    }

    fn example(&self) -> &'static str {
        "kind: evaluate\ninputs: { split: split, model: train }\nwith: { k: [10, 20] }"
    }

    fn settings_schema(&self) -> Value {
        schema_of::<Settings>()
    }

    fn parse(&self, with: &Value) -> Result<Arc<dyn Stage>, Vec<SettingProblem>> {
        let mut settings: Settings = decode_settings(with)?;
        settings.k.sort_unstable();
        settings.k.dedup();
        if settings.k.first().is_none_or(|k| *k == 0) {
            let problem = SettingProblem::new("k", "`k` must list whole numbers of at least 1");
            return Err(vec![problem.hint("for example `k: [10]`")]);
        }
        Ok(Arc::new(Checked { settings }))
    }
}

struct Checked {
    settings: Settings,
}

/// One ranked target.
struct Outcome {
    part: Part,
    user: u32,
    item: u32,
    rank: Rank,
    warm: bool,
}

#[async_trait]
impl Stage for Checked {
    fn settings(&self) -> Value {
        settings_value(&self.settings)
    }

    fn inputs(&self) -> Vec<InputPort> {
        vec![
            InputPort::new("split", ["user_id", "item_id", "part"]),
            InputPort::new("model", ["name", "shape", "values"]),
        ]
    }

    fn outputs(&self) -> Vec<OutputPort> {
        let metrics =
            [("part", "str"), ("slice", "str"), ("metric", "str"), ("k", "i64"), ("value", "f64"), ("users", "i64")];
        let ranks = [
            ("user_id", "str"),
            ("item_id", "str"),
            ("part", "str"),
            ("rank", "i64"),
            ("candidates", "i64"),
            ("warm", "bool"),
        ];
        vec![
            OutputPort::new("metrics", &metrics).keyed_by(&["part", "slice", "metric", "k"]),
            OutputPort::new("ranks", &ranks).keyed_by(&["user_id", "item_id", "part"]),
        ]
    }

    fn resource(&self) -> Resource {
        Resource::Gpu
    }

    async fn run(&self, context: &StageContext) -> Result<(), StageError> {
        let split = Interactions::of_table(&context.table("split")?).map_err(|e| StageError::failed(e.to_string()))?;
        let tensors = tensors_of_table(&context.table("model")?)?;
        let model = ScoringModel::of_tensors(&tensors, &split).map_err(|error| explain(&error))?;
        if tensors.iter().any(|tensor| tensor.name == SELECTED_ON_TEST) {
            context.progress.warn("selected on test: the model was chosen by the part that it is measured on");
        }
        drop(tensors);
        let outcomes = rank(context, &split, &model)?;
        let shown = shown(context, &split, &model, self.settings.k.last().copied().unwrap_or(1))?;
        context.write("metrics", &metrics_table(&outcomes, &shown, &split.degrees(), &self.settings.k)?)?;
        context.write("ranks", &ranks_table(&split, &outcomes)?)
    }
}

fn explain(error: &ModelError) -> StageError {
    let what = format!("cannot evaluate this model on this split: {error}");
    match error {
        ModelError::OtherIds => {
            StageError::with_hint(what, "give `evaluate` the same `split` that the model was trained on")
        }
        ModelError::Tensor { .. } => {
            StageError::with_hint(what, "give a model written by `train_two_tower` or `popularity`")
        }
    }
}

fn rank(context: &StageContext, split: &Interactions, model: &ScoringModel) -> Result<Vec<Outcome>, StageError> {
    let targets: Vec<(u32, u32)> = PARTS.iter().flat_map(|part| split.part(*part)).copied().collect();
    context.progress.total(targets.len() as u64);
    let goes_on = |more: u64| {
        context.progress.advance(more);
        !context.cancel.is_cancelled()
    };
    let device = context.models.device().map_err(|error| StageError::failed(error.to_string()))?.device;
    let ranked = model.rank_on(device, split.items.len(), &targets, &split.sets(&[Part::Train]), &goes_on);
    let ranked = ranked.map_err(|error| StageError::failed(error.to_string()))?.ok_or(StageError::Cancelled)?;
    if ranked.not_finite > 0 {
        context.progress.warn(&format!("{} scores are not finite: they were ranked last", ranked.not_finite));
    }
    let warm = warm_items(&split.degrees());
    let parts = PARTS.iter().flat_map(|part| std::iter::repeat_n(*part, split.part(*part).len()));
    let all = parts.zip(targets).zip(ranked.ranks);
    Ok(all.map(|((part, (user, item)), rank)| Outcome { part, user, item, rank, warm: warm[item as usize] }).collect())
}

/// The first `k` items of each user with a target, best first.
fn shown(
    context: &StageContext,
    split: &Interactions,
    model: &ScoringModel,
    k: u32,
) -> Result<BTreeMap<u32, Vec<u32>>, StageError> {
    let users: BTreeSet<u32> = PARTS.iter().flat_map(|part| split.part(*part)).map(|(user, _)| *user).collect();
    let users: Vec<u32> = users.into_iter().collect();
    let goes_on = |_| !context.cancel.is_cancelled();
    let tops =
        model.top(&users, k as usize, &split.sets(&[Part::Train]), &goes_on).ok_or(StageError::Cancelled)?;
    let items = tops.into_iter().map(|top| top.into_iter().map(|(item, _)| item).collect());
    Ok(users.into_iter().zip(items).collect())
}

/// The mean over users of the share of their targets among the first `k`.
fn recall<'a>(outcomes: impl Iterator<Item = &'a Outcome>, k: u32) -> Option<f64> {
    let mut of_users: BTreeMap<u32, [f64; 2]> = BTreeMap::new();
    for outcome in outcomes {
        let [hits, targets] = of_users.entry(outcome.user).or_default();
        (*hits, *targets) = (*hits + hit(outcome.rank.rank, k), *targets + 1.0);
    }
    mean(&of_users.values().map(|[hits, targets]| hits / targets).collect::<Vec<_>>())
}

/// The share of the items that are among the first `k` of any of the users, and
/// the mean train degree of all that are.
fn spread(shown: &[&Vec<u32>], degrees: &[u32], k: u32) -> [Option<f64>; 2] {
    let first: Vec<u32> = shown.iter().flat_map(|items| items.iter().take(k as usize)).copied().collect();
    let distinct: BTreeSet<u32> = first.iter().copied().collect();
    let popularity: Vec<f64> = first.iter().map(|item| f64::from(degrees[*item as usize])).collect();
    let coverage = (!shown.is_empty()).then(|| distinct.len() as f64 / degrees.len() as f64);
    [coverage, mean(&popularity)]
}

fn metrics_table(
    outcomes: &[Outcome],
    shown: &BTreeMap<u32, Vec<u32>>,
    degrees: &[u32],
    ks: &[u32],
) -> Result<Table, StageError> {
    let mut names: Vec<[&'static str; 3]> = Vec::new();
    let (mut ks_column, mut values_column, mut users_column) = (Vec::new(), Vec::new(), Vec::new());
    for part in PARTS {
        for slice in SLICES {
            let belongs =
                |outcome: &&Outcome| outcome.part == part && (slice == "all" || outcome.warm == (slice == "warm"));
            let users: BTreeSet<u32> = outcomes.iter().filter(belongs).map(|outcome| outcome.user).collect();
            let ranks: Vec<u32> = outcomes.iter().filter(belongs).map(|outcome| outcome.rank.rank).collect();
            let of_ranks =
                |value: &dyn Fn(u32) -> f64| mean(&ranks.iter().map(|rank| value(*rank)).collect::<Vec<_>>());
            let mut push = |metric, k: Option<u32>, value: Option<f64>| {
                names.push([part.name(), slice, metric]);
                ks_column.push(k.map(i64::from));
                values_column.push(value);
                users_column.push(users.len() as i64);
            };
            for k in ks {
                push("hr", Some(*k), of_ranks(&|rank| hit(rank, *k)));
                push("ndcg", Some(*k), of_ranks(&|rank| ndcg(rank, *k)));
                push("recall", Some(*k), recall(outcomes.iter().filter(belongs), *k));
                if slice == "all" {
                    let lists: Vec<&Vec<u32>> = users.iter().filter_map(|user| shown.get(user)).collect();
                    let [coverage, popularity] = spread(&lists, degrees, *k);
                    push("coverage", Some(*k), coverage);
                    push("popularity", Some(*k), popularity);
                }
            }
            push("mrr", None, of_ranks(&reciprocal_rank));
        }
    }
    let text = |at: usize| -> ArrayRef { Arc::new(names.iter().map(|row| Some(row[at])).collect::<StringArray>()) };
    let columns: [(&str, ArrayRef); 6] = [
        ("part", text(0)),
        ("slice", text(1)),
        ("metric", text(2)),
        ("k", Arc::new(Int64Array::from(ks_column))),
        ("value", Arc::new(Float64Array::from(values_column))),
        ("users", Arc::new(Int64Array::from(users_column))),
    ];
    Ok(Table::of_columns(columns)?)
}

fn ranks_table(split: &Interactions, outcomes: &[Outcome]) -> Result<Table, StageError> {
    let text = |pick: &dyn Fn(&Outcome) -> String| -> ArrayRef {
        Arc::new(outcomes.iter().map(|outcome| Some(pick(outcome))).collect::<StringArray>())
    };
    let number = |pick: fn(&Outcome) -> u32| -> ArrayRef {
        Arc::new(outcomes.iter().map(|outcome| Some(i64::from(pick(outcome)))).collect::<Int64Array>())
    };
    let columns: [(&str, ArrayRef); 6] = [
        ("user_id", text(&|outcome| split.users.as_slice()[outcome.user as usize].clone())),
        ("item_id", text(&|outcome| split.items.as_slice()[outcome.item as usize].clone())),
        ("part", text(&|outcome| outcome.part.name().to_owned())),
        ("rank", number(|outcome| outcome.rank.rank)),
        ("candidates", number(|outcome| outcome.rank.candidates)),
        ("warm", Arc::new(outcomes.iter().map(|outcome| Some(outcome.warm)).collect::<BooleanArray>())),
    ];
    Ok(Table::of_columns(columns)?)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{numbers, run, texts};
    use super::*;
    use crate::model::model_table::table_of_tensors;
    use crate::model::two_tower::Tensor;
    use serde_json::json;

    fn outcome(user: u32, rank: u32) -> Outcome {
        Outcome { part: Part::Test, user, item: 0, rank: Rank { rank, candidates: 50 }, warm: true }
    }

    #[test]
    fn recall_is_a_share_of_each_users_targets() {
        let outcomes = [outcome(0, 1), outcome(0, 40), outcome(1, 3), outcome(2, 11)];
        assert_eq!(recall(outcomes.iter(), 10), Some((0.5 + 1.0 + 0.0) / 3.0));
        assert_eq!(recall([].iter(), 10), None);
    }

    #[test]
    fn spread_counts_each_item_once_and_each_place_by_its_degree() {
        let lists = [vec![0, 1, 3], vec![1, 2, 3]];
        let lists: Vec<&Vec<u32>> = lists.iter().collect();
        assert_eq!(spread(&lists, &[4, 2, 0, 9], 2), [Some(0.75), Some(2.0)]);
        assert_eq!(spread(&[], &[1], 2), [None, None]);
    }

    #[test]
    fn a_model_chosen_on_test_is_warned_of_and_its_lists_are_measured() {
        let columns = [
            ("user_id", texts(&["u", "u", "v", "v"])),
            ("item_id", texts(&["a", "b", "a", "c"])),
            ("at", numbers(&[1, 2, 1, 2])),
            ("part", texts(&["train", "test", "train", "test"])),
        ];
        let split = Table::of_columns(columns).unwrap();
        let tensor = |name: &str, values: &[f32]| Tensor {
            name: name.to_owned(),
            shape: vec![values.len()],
            values: values.to_vec(),
        };
        let tensors = [tensor("item_scores", &[3.0, 2.0, 1.0]), tensor(SELECTED_ON_TEST, &[1.0])];
        let model = table_of_tensors(&tensors).unwrap();
        let ran = run(&Evaluate, &json!({"k": [1]}), vec![("split", split), ("model", model)]).unwrap();
        assert!(ran.warnings[0].starts_with("selected on test"), "{:?}", ran.warnings);
        let rows = ran.rows("metrics");
        let all: Vec<&str> = rows.iter().filter_map(|row| row.strip_prefix("test|all|")).collect();
        let coverage = format!("coverage|1|{}|2", 1.0 / 3.0);
        let expected = ["hr|1|0.5|2", "ndcg|1|0.5|2", "recall|1|0.5|2", &coverage, "popularity|1|0.0|2", "mrr|-|0.75|2"];
        assert_eq!(all, expected);
    }
}
