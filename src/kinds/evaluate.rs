//! `evaluate`: how high a model ranks what users turned to next.
//!
//! Full ranking, no sampled candidates: each target stands among all items that
//! its user has no train interaction with.

use std::collections::BTreeSet;
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
        1
    }

    fn summary(&self) -> &'static str {
        "Rank all items for each user and measure HR@k, NDCG@k and MRR, overall, warm and cold"
    }

    fn documentation(&self) -> &'static str {
        "Reads `split` (`user_id`, `item_id`, `part`) and `model` (`name`, `shape`, `values`; from `train_two_tower` or \
         `popularity`).\n\nEach test and validation item is ranked among all items that its user has no *train* \
         interaction with. Higher scores come first, ties go to the item that stands first in ascending order of id \
         (numeric if every id is an integer), scores that are not finite come last and are warned of.\n\nWrites \
         `metrics` (`part`, `slice`, `metric`, `k`, `value`, `users`): `hr`, `ndcg` for each k and `mrr` (k null), as \
         means over users; `slice` is `all`, `warm` or `cold`, and `value` is null where there is nobody. Warm items are \
         those left after removing four fifths of the items, rounded down, in ascending order of (train \
         interactions, id).\nWrites `ranks` (`user_id`, `item_id`, `part`, `rank`, `candidates`, `warm`), one row for \
         each target, by part (test first), user and item.\n\nDeterministic."
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
        drop(tensors);
        let outcomes = rank(context, &split, &model)?;
        context.write("metrics", &metrics_table(&outcomes, &self.settings.k)?)?;
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

fn metrics_table(outcomes: &[Outcome], ks: &[u32]) -> Result<Table, StageError> {
    let mut names: Vec<[&'static str; 3]> = Vec::new();
    let (mut ks_column, mut values_column, mut users_column) = (Vec::new(), Vec::new(), Vec::new());
    for part in PARTS {
        for slice in SLICES {
            let belongs =
                |outcome: &&Outcome| outcome.part == part && (slice == "all" || outcome.warm == (slice == "warm"));
            let users: BTreeSet<u32> = outcomes.iter().filter(belongs).map(|outcome| outcome.user).collect();
            let ranks: Vec<u32> = outcomes.iter().filter(belongs).map(|outcome| outcome.rank.rank).collect();
            let mut push = |metric, k: Option<u32>, value: &dyn Fn(u32) -> f64| {
                let values: Vec<f64> = ranks.iter().map(|rank| value(*rank)).collect();
                names.push([part.name(), slice, metric]);
                ks_column.push(k.map(i64::from));
                values_column.push(mean(&values));
                users_column.push(users.len() as i64);
            };
            for k in ks {
                push("hr", Some(*k), &|rank| hit(rank, *k));
                push("ndcg", Some(*k), &|rank| ndcg(rank, *k));
            }
            push("mrr", None, &reciprocal_rank);
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
