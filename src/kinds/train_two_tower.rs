//! `train_two_tower`: the paper's recommender, trained on a split.
//!
//! Features and reporting are here, the settings in `two_tower_settings`; the
//! model and its training are `model::two_tower`'s.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};
use async_trait::async_trait;
use serde_json::Value;

use super::baseline::read_split;
use super::on_device::{device_failed, device_of};
use super::two_tower_settings::{Resolved, Settings, TowerKind};
use crate::model::interactions::{Interactions, Part};
use crate::model::model_table::{MODEL_COLUMNS, table_of_tensors, tensors_of_table};
use crate::model::two_tower::{Computer, Epoch, Features, Observer, Trained, TrainingError, train};
use crate::stage::{
    DeviceUse, InputPort, OutputPort, Resource, SettingProblem, Stage, StageContext, StageError, StageKind,
    decode_settings, schema_of, settings_value,
};
use crate::table::Table;

/// The kind.
pub(crate) struct TrainTwoTower;

/// The columns of `vocabulary`.
const VOCABULARY: [(&str, &str); 4] = [("tower", "str"), ("feature", "str"), ("code", "i64"), ("value", "str")];

impl StageKind for TrainTwoTower {
    fn name(&self) -> &'static str {
        "train_two_tower"
    }

    fn version(&self) -> u32 {
        2
    }

    fn summary(&self) -> &'static str {
        "Train the two-tower recommender on a split, from ids, categories and text vectors"
    }

    fn documentation(&self) -> &'static str {
        "Reads `split` (`user_id`, `item_id`, `part`) and, where given, `vectors` (`item_id`, `vector`), `users` \
         (`user_id` and the columns of `user_features`) and `items` (`item_id` and those of `item_features`). An item \
         without a vector gets zeros, an entity without a row or with a null the category \"unknown\"; both are \
         counted in a warning. With `tower: ids` only the split is read.\n\nEach tower embeds its categories (96 each; \
         text through a layer of 96), concatenates them and runs an MLP to 192 numbers; the scorer makes a score of two \
         such vectors; the loss of each positive against its negatives is minimised by Adam. Negatives: half \
         uniform over the items that the user does not have, half the items of other positives of the batch that the \
         user does not have; where the batch has too few, uniform draws take their places.\n\n`sampled_softmax` is `-ln(e^p / (e^p + sum of e^(n - c)))` with the \
         scores `p` and `n` over the temperature. With `logq`, `c = ln(out / (items - excluded) + in * q / (1 - Q))`: how \
         often the negative is expected among the user's `out + in`, where `q` is the item's share of the train pairs and \
         `Q` that of the user's excluded items (importance weights: Bengio & Senécal 2003; Yi et al. 2019). The positive is \
         there for certain and has no correction.\n\nWith `initial` (a `model`), its weights are where the training \
         begins; names and shapes must fit. With `epochs: 0` as well it is only ranked with, so weights trained in PyTorch \
         can be measured (`refrain weights import`).\n\nWrites `model`, a table of \
         tensors (`name`, `shape`, `values`): `user_vectors`, `item_vectors`, `scorer.*`, `user_tower.*`, \
         `item_tower.*` under PyTorch-style names, and `id_check`; users and items in ascending order of id (numeric if \
         every id is an integer).\nWrites `curve` (`epoch`, `loss`, `lowest_score`, `highest_score`, `hr@10`, \
         `ndcg@10`, `selected`): the metrics are those of validation, or of test with `select: test_best`, which also leaves the tensor \
         `selected_on_test`.\nWrites `vocabulary` (`tower`, `feature`, `code`, `value`): which id or word each row of each \
         embedding stands for; code 0 of a feature is what is unknown (null).\n\nSeeded; \
         the same bytes whatever the number of threads. A stalled training is warned of."
    }

    fn example(&self) -> &'static str {
        "kind: train_two_tower\ninputs: { split: split, vectors: vectors, users: users, items: items }\nwith:\n  tower: text\n  user_features: \
         [country]\n  item_features: [artist, tag]\n  learning_rate: 0.003\n  epochs: 20"
    }

    fn settings_schema(&self) -> Value {
        schema_of::<Settings>()
    }

    fn parse(&self, with: &Value) -> Result<Arc<dyn Stage>, Vec<SettingProblem>> {
        let settings = decode_settings::<Settings>(with)?.resolve();
        let problems = settings.problems();
        if problems.is_empty() { Ok(Arc::new(Checked { settings })) } else { Err(problems) }
    }
}

struct Checked {
    settings: Resolved,
}

#[async_trait]
impl Stage for Checked {
    fn settings(&self) -> Value {
        settings_value(&self.settings)
    }

    fn inputs(&self) -> Vec<InputPort> {
        let columns = |key: &str, features: &[String]| {
            let used = !features.is_empty();
            std::iter::once(key.to_owned()).filter(move |_| used).chain(features.to_vec()).collect::<Vec<_>>()
        };
        let vectors: &[&str] = if self.settings.tower == TowerKind::Text { &["item_id", "vector"] } else { &[] };
        vec![
            InputPort::new("split", ["user_id", "item_id", "part"]),
            InputPort::new("vectors", vectors.iter().copied()).optional(),
            InputPort::new("users", columns("user_id", &self.settings.user_features)).optional(),
            InputPort::new("items", columns("item_id", &self.settings.item_features)).optional(),
            InputPort::new("initial", ["name", "shape", "values"]).optional(),
        ]
    }

    fn outputs(&self) -> Vec<OutputPort> {
        let curve = [
            ("epoch", "i64"),
            ("loss", "f64"),
            ("lowest_score", "f64"),
            ("highest_score", "f64"),
            ("hr@10", "f64"),
            ("ndcg@10", "f64"),
            ("selected", "bool"),
        ];
        vec![
            OutputPort::new("model", MODEL_COLUMNS).keyed_by(&["name"]),
            OutputPort::new("curve", &curve).keyed_by(&["epoch"]),
            OutputPort::new("vocabulary", &VOCABULARY).keyed_by(&["tower", "feature", "code"]),
        ]
    }

    fn resource(&self) -> Resource {
        Resource::Gpu
    }

    fn device_use(&self) -> DeviceUse {
        DeviceUse::Computes
    }

    fn is_seeded(&self) -> bool {
        true
    }

    async fn run(&self, context: &StageContext) -> Result<(), StageError> {
        let split = read_split(context)?;
        let [users, items] = self.features(context, &split)?;
        let mut options = self.settings.options();
        let selection = device_of(context)?;
        options.computer = selection.device.into();
        if options.computer != Computer::Kernels {
            context.progress.note(&selection.note);
        }
        if let Some(initial) = context.input("initial") {
            options.initial = Some(tensors_of_table(&initial.table()?)?);
        } else if options.epochs == 0 {
            return Err(StageError::with_hint(
                "`epochs: 0` trains nothing, and there is no `initial` to rank with",
                "give `initial`, a model's table, under `inputs`, or more epochs",
            ));
        }
        let positives = split.part(Part::Train).len() as u64;
        context.progress.total(positives * u64::from(options.epochs));
        let observer = Reporter { context, epochs: options.epochs };
        let trained =
            train(&split, &users, &items, &options, context.seed, &observer).map_err(|error| explain(&error))?;
        for warning in &trained.warnings {
            context.progress.warn(warning);
        }
        context.write("model", &table_of_tensors(&trained.tensors)?)?;
        context.write("curve", &curve_table(&trained)?)?;
        context.write("vocabulary", &self.vocabulary(context, &split)?)
    }
}

impl Checked {
    fn features(&self, context: &StageContext, split: &Interactions) -> Result<[Features; 2], StageError> {
        let mut sides = [Features::of_ids(&split.users), Features::of_ids(&split.items)];
        let ports = [
            ("users", "user_id", &split.users, &self.settings.user_features),
            ("items", "item_id", &split.items, &self.settings.item_features),
        ];
        for (side, (port, key, ids, columns)) in sides.iter_mut().zip(ports) {
            if columns.is_empty() {
                continue;
            }
            let Some(input) = context.input(port) else {
                let what =
                    format!("the features {} need the input `{port}`, which this stage has not", columns.join(", "));
                return Err(StageError::with_hint(
                    what,
                    format!("give `{port}` under `inputs`, or take the features out"),
                ));
            };
            let missing = side.add_columns(ids, &input.table()?, key, columns)?;
            if missing > 0 {
                let warning = format!(
                    "{missing} of {} {port} have no row in `{port}`: their {} are unknown",
                    ids.len(),
                    columns.join(", ")
                );
                context.progress.warn(&warning);
            }
        }
        if let Some(input) = context.input("vectors").filter(|_| self.settings.tower == TowerKind::Text) {
            let added = sides[1].add_vectors(&split.items, &input.table()?);
            let missing = added.map_err(|e| StageError::failed(format!("cannot use the text vectors: {e}")))?;
            if missing > 0 {
                let warning = format!("{missing} of {} items have no text vector: theirs is zero", split.items.len());
                context.progress.warn(&warning);
            }
        }
        Ok(sides)
    }
}

impl Checked {
    /// Which id or word each row of each embedding stands for.
    fn vocabulary(&self, context: &StageContext, split: &Interactions) -> Result<Table, StageError> {
        let mut columns: [Vec<&str>; 2] = Default::default();
        let (mut codes, mut words): (Vec<i64>, Vec<Option<String>>) = Default::default();
        let mut add = |tower: &'static str, feature, values: Vec<Option<String>>| {
            columns[0].extend(std::iter::repeat_n(tower, values.len()));
            columns[1].extend(std::iter::repeat_n(feature, values.len()));
            codes.extend(0..values.len() as i64);
            words.extend(values);
        };
        for (tower, port, key, ids, features) in [
            ("user_tower", "users", "user_id", &split.users, &self.settings.user_features),
            ("item_tower", "items", "item_id", &split.items, &self.settings.item_features),
        ] {
            add(tower, "id", ids.iter().map(|id| Some(id.to_owned())).collect());
            let Some(input) = context.input(port).filter(|_| !features.is_empty()) else { continue };
            let table = input.table()?;
            for feature in features {
                let known = Features::words(ids, &table, key, feature)?;
                // Category 0 is what is unknown.
                add(tower, feature, std::iter::once(None).chain(known.into_iter().map(Some)).collect());
            }
        }
        let columns = columns.map(|column| Arc::new(StringArray::from(column)) as ArrayRef);
        let [tower, feature] = columns;
        let (code, value): (ArrayRef, ArrayRef) =
            (Arc::new(Int64Array::from(codes)), Arc::new(StringArray::from(words)));
        Ok(Table::of_columns([("tower", tower), ("feature", feature), ("code", code), ("value", value)])?)
    }
}

/// Tells the user how the training goes, and the training when to stop.
struct Reporter<'a> {
    context: &'a StageContext,
    epochs: u32,
}

impl Observer for Reporter<'_> {
    fn advance(&self, positives: u64) -> bool {
        if positives > 0 {
            self.context.progress.advance(positives);
        }
        !self.context.cancel.is_cancelled()
    }

    fn epoch(&self, epoch: &Epoch) {
        let metrics = epoch.metrics.map(|[hr, ndcg]| format!(", HR@10 {hr:.4}, NDCG@10 {ndcg:.4}")).unwrap_or_default();
        let note = format!("epoch {} of {}, loss {:.4}{metrics}", epoch.epoch, self.epochs, epoch.loss);
        self.context.progress.note(&note);
    }
}

fn explain(error: &TrainingError) -> StageError {
    let what = format!("cannot train the two towers: {error}");
    match error {
        TrainingError::Stopped => StageError::Cancelled,
        TrainingError::NothingToLearn => {
            StageError::with_hint(what, "check the split: its `part` column says what is train")
        }
        TrainingError::NotFinite { .. } => StageError::with_hint(what, "set a lower `learning_rate`"),
        TrainingError::Initial { .. } => StageError::with_hint(
            what,
            "use the widths, scorer and features that it was trained with, and the same split",
        ),
        TrainingError::Device(_) => device_failed(what),
    }
}

fn curve_table(trained: &Trained) -> Result<Table, StageError> {
    let number = |pick: &dyn Fn(&Epoch) -> Option<f64>| -> ArrayRef {
        Arc::new(trained.curve.iter().map(pick).collect::<Float64Array>())
    };
    let trained_at = |epoch: &Epoch, value| (epoch.epoch > 0).then_some(value);
    let epochs = trained.curve.iter().map(|epoch| Some(i64::from(epoch.epoch))).collect::<Int64Array>();
    let selected = trained.curve.iter().map(|epoch| Some(epoch.epoch == trained.selected)).collect::<BooleanArray>();
    let columns: [(&str, ArrayRef); 7] = [
        ("epoch", Arc::new(epochs)),
        ("loss", number(&|epoch| trained_at(epoch, epoch.loss))),
        ("lowest_score", number(&|epoch| trained_at(epoch, f64::from(epoch.range[0])))),
        ("highest_score", number(&|epoch| trained_at(epoch, f64::from(epoch.range[1])))),
        ("hr@10", number(&|epoch| epoch.metrics.map(|metrics| metrics[0]))),
        ("ndcg@10", number(&|epoch| epoch.metrics.map(|metrics| metrics[1]))),
        ("selected", Arc::new(selected)),
    ];
    Ok(Table::of_columns(columns)?)
}
