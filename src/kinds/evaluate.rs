//! `evaluate`: how high a model ranks what users turned to next.
//!
//! Full ranking, no sampled candidates: each target stands among all items that
//! its user has no train interaction with.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, StringArray};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::baseline::read_split;
use super::evaluation::{Grouping, Measures, Outcome, PARTS, Recommended, metrics_table};
use super::on_device::{device_failed, device_of};
use crate::metrics::warm_items;
use crate::model::Device;
use crate::model::interactions::{Interactions, Part};
use crate::model::model_table::tensors_of_table;
use crate::model::ranking::Lists;
use crate::model::scoring::{ModelError, ScoringModel};
use crate::stage::{
    DeviceUse, InputPort, OutputPort, Resource, SettingProblem, Stage, StageContext, StageError, StageKind,
    decode_settings, schema_of, settings_value,
};
use crate::table::Table;

/// The kind.
pub(crate) struct Evaluate;

/// What `evaluate` can be told.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The k of HR@k and NDCG@k, each at least 1; 10 by default.
    #[serde(default = "default_k")]
    k: Vec<u32>,
    /// Columns of `users` by whose values users are measured apart, such as `country`; none by default.
    #[serde(default)]
    by_user: Vec<String>,
    /// Columns of `items` by whose values targets are measured apart, such as `tag`; none by default.
    #[serde(default)]
    by_item: Vec<String>,
    /// Values with fewer users than that are measured together, as `(other)`; at least 1, 20 by default.
    #[serde(default = "default_min_group")]
    min_group: u32,
}

fn default_k() -> Vec<u32> {
    vec![10]
}

fn default_min_group() -> u32 {
    20
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
        "Reads `split` (`user_id`, `item_id`, `part`), `model` (`name`, `shape`, `values`; from `train_two_tower` or a \
         baseline such as `popularity` or `ease`) and, for `by_user` and `by_item`, `users` (`user_id` and those columns) \
         and `items` (`item_id` and those).\n\nEach test and validation item is ranked among all items that its user has \
         no *train* interaction with. Higher scores come first, ties go to the item that stands first in ascending order \
         of id (numeric if every id is an integer), scores that are not finite come last and are warned of.\n\nWrites \
         `metrics` (`part`, `slice`, `metric`, `k`, `value`, `users`): `hr` and `ndcg` for each k and `mrr` (k null) as \
         means over targets; `recall` for each k, the share of its targets that a user finds, over users (with one \
         target a user it is `hr`); `value` is null where there is nobody. `slice` is `all`, `warm`, `cold`, or a value \
         of a column, `country=DE`. Warm items are those left after removing four fifths of the items, rounded down, in \
         ascending order of (train interactions, id). For test, of all: `coverage`, the share of all items that is in \
         somebody's first k, and `popularity`, how many train interactions a recommended item has on average. A model \
         whose epoch was picked on the test set gets the row `selected_on_test` and a warning.\nWrites `ranks` \
         (`user_id`, `item_id`, `part`, `rank`, `candidates`, `warm`), one row for each target, by part (test first), user \
         and item.\n\nDeterministic."
    }

    fn example(&self) -> &'static str {
        "kind: evaluate\ninputs: { split: split, model: train, users: users, items: songs }\nwith: { k: [10, 20], by_user: \
         [country], by_item: [tag] }"
    }

    fn settings_schema(&self) -> Value {
        schema_of::<Settings>()
    }

    fn parse(&self, with: &Value) -> Result<Arc<dyn Stage>, Vec<SettingProblem>> {
        let mut settings: Settings = decode_settings(with)?;
        if settings.min_group == 0 {
            return Err(vec![SettingProblem::new("min_group", "`min_group` must be at least 1")]);
        }
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

#[async_trait]
impl Stage for Checked {
    fn settings(&self) -> Value {
        settings_value(&self.settings)
    }

    fn inputs(&self) -> Vec<InputPort> {
        let columns = |key: &str, by: &[String]| {
            let used = !by.is_empty();
            std::iter::once(key.to_owned()).filter(move |_| used).chain(by.to_vec()).collect::<Vec<_>>()
        };
        vec![
            InputPort::new("split", ["user_id", "item_id", "part"]),
            InputPort::new("model", ["name", "shape", "values"]),
            InputPort::new("users", columns("user_id", &self.settings.by_user)).optional(),
            InputPort::new("items", columns("item_id", &self.settings.by_item)).optional(),
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

    fn device_use(&self) -> DeviceUse {
        DeviceUse::As("model")
    }

    async fn run(&self, context: &StageContext) -> Result<(), StageError> {
        let split = read_split(context)?;
        let tensors = tensors_of_table(&context.table("model")?)?;
        let model = ScoringModel::of_tensors(&tensors, &split).map_err(|error| explain(&error))?;
        let selected_on_test = tensors.iter().any(|tensor| tensor.name == "selected_on_test");
        drop(tensors);
        if selected_on_test {
            context.progress.warn("the model's epoch was picked on the test set: its test metrics read too high");
        }
        let groupings = self.groupings(context, &split)?;
        let most = self.settings.k.last().copied().unwrap_or_default();
        let (outcomes, recommended) = rank(context, &split, &model, most)?;
        let Settings { k, min_group, .. } = &self.settings;
        let measures = Measures {
            ks: k,
            groupings: &groupings,
            min_group: *min_group,
            recommended: &recommended,
            selected_on_test,
        };
        context.write("metrics", &metrics_table(&outcomes, &measures)?)?;
        context.write("ranks", &ranks_table(&split, &outcomes)?)
    }
}

impl Checked {
    fn groupings(&self, context: &StageContext, split: &Interactions) -> Result<Vec<Grouping>, StageError> {
        let sides = [
            ("users", "user_id", &split.users, &self.settings.by_user),
            ("items", "item_id", &split.items, &self.settings.by_item),
        ];
        let mut groupings = Vec::new();
        for (port, key, ids, columns) in sides.into_iter().filter(|(_, _, _, columns)| !columns.is_empty()) {
            let Some(input) = context.input(port) else {
                let what = format!("to measure by {} needs the input `{port}`", columns.join(", "));
                return Err(StageError::with_hint(what, format!("give `{port}` under `inputs`")));
            };
            let table = input.table()?;
            for column in columns {
                groupings.push(Grouping::read(&table, key, column, ids)?);
            }
        }
        Ok(groupings)
    }
}

fn explain(error: &ModelError) -> StageError {
    let what = format!("cannot evaluate this model on this split: {error}");
    match error {
        ModelError::OtherIds => {
            StageError::with_hint(what, "give `evaluate` the same `split` that the model was trained on")
        }
        ModelError::Tensor { .. } => {
            StageError::with_hint(what, "give a model written by `train_two_tower` or a baseline such as `popularity`")
        }
    }
}

/// The ranks of the targets, and what the users with a test target would be recommended.
fn rank(
    context: &StageContext,
    split: &Interactions,
    model: &ScoringModel,
    most: u32,
) -> Result<(Vec<Outcome>, Recommended), StageError> {
    let mut users: Vec<u32> = split.part(Part::Test).iter().map(|(user, _)| *user).collect();
    users.dedup();
    let wanted = Lists { users: &users, k: most as usize };
    let targets: Vec<(u32, u32)> = PARTS.iter().flat_map(|part| split.part(*part)).copied().collect();
    context.progress.total(targets.len() as u64);
    let goes_on = |more: u64| {
        context.progress.advance(more);
        !context.cancel.is_cancelled()
    };
    let device = if model.is_of_vectors() { device_of(context)?.device } else { Device::Cpu };
    let ranked = model.rank_on(device, split.items.len(), &targets, wanted, &split.sets(&[Part::Train]), &goes_on);
    let ranked = ranked.map_err(|error| device_failed(error.to_string()))?.ok_or(StageError::Cancelled)?;
    if ranked.not_finite > 0 {
        context.progress.warn(&format!("{} scores are not finite: they were ranked last", ranked.not_finite));
    }
    let degrees = split.degrees();
    let warm = warm_items(&degrees);
    let parts = PARTS.iter().flat_map(|part| std::iter::repeat_n(*part, split.part(*part).len()));
    let all = parts.zip(targets).zip(ranked.ranks);
    let outcome = |((part, (user, item)), rank)| Outcome { part, user, item, rank, warm: warm[item as usize] };
    Ok((all.map(outcome).collect(), Recommended { lists: ranked.lists, degrees }))
}

fn ranks_table<'a>(split: &'a Interactions, outcomes: &[Outcome]) -> Result<Table, StageError> {
    let text = |pick: &dyn Fn(&Outcome) -> &'a str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(outcomes.iter().map(pick)))
    };
    let number = |pick: fn(&Outcome) -> u32| -> ArrayRef {
        Arc::new(outcomes.iter().map(|outcome| Some(i64::from(pick(outcome)))).collect::<Int64Array>())
    };
    let columns: [(&str, ArrayRef); 6] = [
        ("user_id", text(&|outcome| split.users.get(outcome.user))),
        ("item_id", text(&|outcome| split.items.get(outcome.item))),
        ("part", text(&|outcome| outcome.part.name())),
        ("rank", number(|outcome| outcome.rank.rank)),
        ("candidates", number(|outcome| outcome.rank.candidates)),
        ("warm", Arc::new(outcomes.iter().map(|outcome| Some(outcome.warm)).collect::<BooleanArray>())),
    ];
    Ok(Table::of_columns(columns)?)
}
