//! `train_two_tower`: the paper's recommender, trained on a split.
//!
//! Settings, features and reporting are here; the model and its training are
//! `model::two_tower`'s.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::interactions::{Interactions, Part};
use crate::model::model_table::{MODEL_COLUMNS, table_of_tensors};
use crate::model::two_tower::{
    Epoch, Features, Loss, Observer, Selection, Trained, TrainingError, TrainingOptions, train,
};
use crate::stage::{
    InputPort, OutputPort, Resource, SettingProblem, Stage, StageContext, StageError, StageKind, decode_settings,
    schema_of, settings_value,
};
use crate::table::Table;

/// The kind.
pub(crate) struct TrainTwoTower;

/// What `train_two_tower` can be told.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// `paper`: where a setting below is not given, the paper's value instead of the default.
    preset: Option<Preset>,
    /// `text` (default): all features. `ids`: user and item ids only, as collaborative filtering.
    #[serde(default)]
    tower: TowerKind,
    /// Columns of `users` beside the id, such as `country`; none by default.
    #[serde(default)]
    user_features: Vec<String>,
    /// Columns of `items` beside the id, such as `artist` and `tag`; none by default.
    #[serde(default)]
    item_features: Vec<String>,
    /// `dot` (default): the inner product. `dot_compress` (paper): an MLP on the compressed stack of both vectors.
    scorer: Option<ScorerKind>,
    /// `none` (default), or `gelu` (paper): on the score itself; it can trap the training.
    score_activation: Option<Activation>,
    /// Adam's learning rate, above 0; 0.003 by default, 0.00002 in the paper.
    learning_rate: Option<f64>,
    /// Passes over the train interactions, at least 1; at most 24 by default, 5 in the paper.
    epochs: Option<u32>,
    /// Stop after that many epochs without a better one; 6 by default, none in the paper. 0: never.
    patience: Option<u32>,
    /// Positives in a step, at least 1; 1024.
    batch_size: Option<usize>,
    /// The ranking loss's margin, above 0; 1.
    margin: Option<f32>,
    /// Negatives for each positive drawn from all items; 20.
    negatives_out_of_batch: Option<usize>,
    /// Negatives for each positive drawn from the other positives of the batch; 20.
    negatives_in_batch: Option<usize>,
    /// Items never drawn as negatives of a user: its `train` items (default), or `train_and_validation` (paper).
    negatives_exclude: Option<Exclude>,
    /// The epoch that is kept: best NDCG@10 on `validation` (default), the `last`, or `test_best` (reads too high).
    select: Option<Select>,
}

/// A set of defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Preset {
    /// The paper's own values.
    Paper,
}

/// What the towers read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum TowerKind {
    /// All features that the inputs and settings give.
    #[default]
    Text,
    /// Ids only.
    Ids,
}

/// From two vectors to a score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ScorerKind {
    /// Inner product.
    Dot,
    /// The paper's MLP.
    DotCompress,
}

/// What the score goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Activation {
    /// GELU.
    Gelu,
    /// Nothing.
    None,
}

/// Whose items are never negatives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Exclude {
    /// The user's train items.
    Train,
    /// Those and the user's validation item.
    TrainAndValidation,
}

/// Which epoch is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Select {
    /// The best on validation.
    Validation,
    /// The last.
    Last,
    /// The best on test, as the paper's code does.
    TestBest,
}

/// The settings with every default filled in: the fingerprint's part.
#[derive(Debug, Clone, Serialize)]
struct Resolved {
    tower: TowerKind,
    user_features: Vec<String>,
    item_features: Vec<String>,
    scorer: ScorerKind,
    score_activation: Activation,
    learning_rate: f64,
    epochs: u32,
    patience: u32,
    batch_size: usize,
    margin: f32,
    negatives_out_of_batch: usize,
    negatives_in_batch: usize,
    negatives_exclude: Exclude,
    select: Select,
}

impl Settings {
    fn resolve(self) -> Resolved {
        let paper = self.preset == Some(Preset::Paper);
        let ids = self.tower == TowerKind::Ids;
        let columns = |columns: Vec<String>| if ids { Vec::new() } else { columns };
        Resolved {
            tower: self.tower,
            user_features: columns(self.user_features),
            item_features: columns(self.item_features),
            scorer: self.scorer.unwrap_or(if paper { ScorerKind::DotCompress } else { ScorerKind::Dot }),
            score_activation: self.score_activation.unwrap_or(if paper { Activation::Gelu } else { Activation::None }),
            learning_rate: self.learning_rate.unwrap_or(if paper { 2e-5 } else { 3e-3 }),
            epochs: self.epochs.unwrap_or(if paper { 5 } else { 24 }),
            patience: self.patience.unwrap_or(if paper { 0 } else { 6 }),
            batch_size: self.batch_size.unwrap_or(1024),
            margin: self.margin.unwrap_or(1.0),
            negatives_out_of_batch: self.negatives_out_of_batch.unwrap_or(20),
            negatives_in_batch: self.negatives_in_batch.unwrap_or(20),
            negatives_exclude: self.negatives_exclude.unwrap_or(if paper {
                Exclude::TrainAndValidation
            } else {
                Exclude::Train
            }),
            select: self.select.unwrap_or(Select::Validation),
        }
    }
}

impl Resolved {
    fn problems(&self) -> Vec<SettingProblem> {
        let mut problems = Vec::new();
        let mut require = |holds: bool, path: &str, what: &str| {
            if !holds {
                problems.push(SettingProblem::new(path, format!("`{path}` must be {what}")));
            }
        };
        require(self.learning_rate > 0.0 && self.learning_rate.is_finite(), "learning_rate", "above 0");
        require(self.margin > 0.0 && self.margin.is_finite(), "margin", "above 0");
        require(self.epochs > 0, "epochs", "at least 1");
        require((1..=1 << 20).contains(&self.batch_size), "batch_size", "from 1 to 1048576");
        let negatives = self.negatives_out_of_batch.saturating_add(self.negatives_in_batch);
        require(negatives > 0, "negatives_out_of_batch", "at least 1 where `negatives_in_batch` is 0");
        require(negatives <= 10_000, "negatives_out_of_batch", "at most 10000 together with `negatives_in_batch`");
        for (path, columns, key) in
            [("user_features", &self.user_features, "user_id"), ("item_features", &self.item_features, "item_id")]
        {
            let distinct: std::collections::BTreeSet<&String> = columns.iter().collect();
            require(distinct.len() == columns.len(), path, "a list without repeats");
            require(
                !columns.iter().any(|c| c == key || c == "id"),
                path,
                "columns beside the id, which is always used",
            );
        }
        problems
    }

    fn options(&self) -> TrainingOptions {
        TrainingOptions {
            compress: self.scorer == ScorerKind::DotCompress,
            activated: self.score_activation == Activation::Gelu,
            learning_rate: self.learning_rate,
            loss: Loss::Margin(self.margin),
            batch: self.batch_size,
            epochs: self.epochs,
            patience: (self.patience > 0).then_some(self.patience),
            out_of_batch: self.negatives_out_of_batch,
            in_batch: self.negatives_in_batch,
            excluded: match self.negatives_exclude {
                Exclude::Train => vec![Part::Train],
                Exclude::TrainAndValidation => vec![Part::Train, Part::Validation],
            },
            selection: match self.select {
                Select::Validation => Selection::Best(Part::Validation),
                Select::TestBest => Selection::Best(Part::Test),
                Select::Last => Selection::Last,
            },
            ..TrainingOptions::default()
        }
    }
}

impl StageKind for TrainTwoTower {
    fn name(&self) -> &'static str {
        "train_two_tower"
    }

    fn version(&self) -> u32 {
        1
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
         such vectors; a margin ranking loss over 40 negatives for each positive is minimised by Adam. Negatives: half \
         uniform over the items that the user does not have, half the items of other positives of the batch that the \
         user does not have; where the batch has too few, uniform draws take their places.\n\nWrites `model`, a table of \
         tensors (`name`, `shape`, `values`): `user_vectors`, `item_vectors`, `scorer.*`, `user_tower.*`, \
         `item_tower.*` under PyTorch-style names, and `id_check`; users and items in ascending order of id (numeric if \
         every id is an integer).\nWrites `curve` (`epoch`, `loss`, `lowest_score`, `highest_score`, `hr@10`, \
         `ndcg@10`, `selected`): the metrics are those of validation, or of test with `select: test_best`.\n\nSeeded; \
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
        ]
    }

    fn resource(&self) -> Resource {
        Resource::Cpu(0)
    }

    fn is_seeded(&self) -> bool {
        true
    }

    async fn run(&self, context: &StageContext) -> Result<(), StageError> {
        let split = Interactions::of_table(&context.table("split")?).map_err(|e| StageError::failed(e.to_string()))?;
        let [users, items] = self.features(context, &split)?;
        let options = self.settings.options();
        let positives = split.part(Part::Train).len() as u64;
        context.progress.total(positives * u64::from(options.epochs));
        let observer = Reporter { context, epochs: options.epochs };
        let trained =
            train(&split, &users, &items, &options, context.seed, &observer).map_err(|error| explain(&error))?;
        for warning in &trained.warnings {
            context.progress.warn(warning);
        }
        context.write("model", &table_of_tensors(&trained.tensors)?)?;
        context.write("curve", &curve_table(&trained)?)
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
        TrainingError::Device(_) => StageError::failed(what),
    }
}

fn curve_table(trained: &Trained) -> Result<Table, StageError> {
    let number = |pick: &dyn Fn(&Epoch) -> Option<f64>| -> ArrayRef {
        Arc::new(trained.curve.iter().map(pick).collect::<Float64Array>())
    };
    let epochs = trained.curve.iter().map(|epoch| Some(i64::from(epoch.epoch))).collect::<Int64Array>();
    let selected = trained.curve.iter().map(|epoch| Some(epoch.epoch == trained.selected)).collect::<BooleanArray>();
    let columns: [(&str, ArrayRef); 7] = [
        ("epoch", Arc::new(epochs)),
        ("loss", number(&|epoch| Some(epoch.loss))),
        ("lowest_score", number(&|epoch| Some(f64::from(epoch.range[0])))),
        ("highest_score", number(&|epoch| Some(f64::from(epoch.range[1])))),
        ("hr@10", number(&|epoch| epoch.metrics.map(|metrics| metrics[0]))),
        ("ndcg@10", number(&|epoch| epoch.metrics.map(|metrics| metrics[1]))),
        ("selected", Arc::new(selected)),
    ];
    Ok(Table::of_columns(columns)?)
}
