//! What `train_two_tower` can be told: every part of the paper's model, with
//! the paper's value or the honest default where nothing is said.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::interactions::Part;
use crate::model::two_tower::{Activation as LayersAs, Decay, Loss, Selection, TrainingOptions, Widths};
use crate::stage::SettingProblem;

/// What `train_two_tower` can be told.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// What is taken where a setting below is not given: `paper` (default), the paper's values, or `inner_product`:
    /// inner product, nothing on the score, learning rate 0.003, at most 24 epochs, 6 of them patience.
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
    /// `dot_compress` (default, paper): an MLP on the compressed stack of both vectors. `dot`: the inner product.
    scorer: Option<ScorerKind>,
    /// On the score itself: `gelu` (default, paper), which can trap the training, or `none`.
    score_activation: Option<Activation>,
    /// Width of every embedding and of the text after its layer; 96.
    embedding_width: Option<usize>,
    /// Widths of both towers' two hidden layers; [128, 64].
    hidden: Option<[usize; 2]>,
    /// Width of the towers' vectors; 192.
    tower_width: Option<usize>,
    /// Columns of dot compress's `W`; 96.
    compress_width: Option<usize>,
    /// Widths of the two hidden layers of dot compress's MLP; [128, 64].
    scorer_hidden: Option<[usize; 2]>,
    /// Between the layers: `gelu` (default, paper) or `relu`.
    activation: Option<LayerActivation>,
    /// `margin` (default, paper): `max(0, margin - positive + negative)`. `sampled_softmax`: cross-entropy of the
    /// positive among its negatives.
    loss: Option<LossKind>,
    /// What `sampled_softmax` divides scores by, above 0; 1.
    temperature: Option<f32>,
    /// Whether `sampled_softmax` takes from each negative's score the logarithm of how often it is expected
    /// among the drawn; true.
    logq: Option<bool>,
    /// Adam's learning rate, above 0; 0.00002, as in the paper.
    learning_rate: Option<f64>,
    /// How it falls over all planned steps: `none` (default, paper), `linear` or `cosine` to 0, or
    /// `{ exponential: F }`: times F, above 0 and at most 1, after every epoch.
    learning_rate_decay: Option<DecayKind>,
    /// Passes over the train interactions; at most 5, as in the paper. 0: only rank with `initial`.
    epochs: Option<u32>,
    /// Stop after that many epochs without a better one; 0 (default, paper): never.
    patience: Option<u32>,
    /// Positives in a step, at least 1; 1024.
    batch_size: Option<usize>,
    /// The `margin` loss's margin, above 0; 1.
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Preset {
    /// The paper's own values.
    #[default]
    Paper,
    /// The scorer that the paper's text names as the simpler choice, trained until validation stops to rise.
    InnerProduct,
}

/// What the towers read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum TowerKind {
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

/// What stands between the layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum LayerActivation {
    /// GELU.
    Gelu,
    /// `max(x, 0)`.
    Relu,
}

/// What the training makes small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum LossKind {
    /// Hinges.
    Margin,
    /// Cross-entropy.
    SampledSoftmax,
}

/// How the learning rate falls.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum DecayKind {
    /// It does not.
    None,
    /// In a straight line.
    Linear,
    /// Along half a cosine.
    Cosine,
    /// By this factor after every epoch.
    Exponential(f64),
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
pub(super) struct Resolved {
    pub(super) tower: TowerKind,
    pub(super) user_features: Vec<String>,
    pub(super) item_features: Vec<String>,
    scorer: ScorerKind,
    score_activation: Activation,
    embedding_width: usize,
    hidden: [usize; 2],
    tower_width: usize,
    compress_width: usize,
    scorer_hidden: [usize; 2],
    activation: LayerActivation,
    loss: LossKind,
    temperature: Option<f32>,
    logq: Option<bool>,
    learning_rate: f64,
    learning_rate_decay: DecayKind,
    epochs: u32,
    patience: u32,
    batch_size: usize,
    margin: Option<f32>,
    negatives_out_of_batch: usize,
    negatives_in_batch: usize,
    negatives_exclude: Exclude,
    select: Select,
}

impl Settings {
    /// Fills in every default.
    pub(super) fn resolve(self) -> Resolved {
        let paper = self.preset.unwrap_or_default() == Preset::Paper;
        let ids = self.tower == TowerKind::Ids;
        let widths = Widths::default();
        let loss = self.loss.unwrap_or(LossKind::Margin);
        let softmax = loss == LossKind::SampledSoftmax;
        let columns = |columns: Vec<String>| if ids { Vec::new() } else { columns };
        Resolved {
            tower: self.tower,
            user_features: columns(self.user_features),
            item_features: columns(self.item_features),
            scorer: self.scorer.unwrap_or(if paper { ScorerKind::DotCompress } else { ScorerKind::Dot }),
            score_activation: self.score_activation.unwrap_or(if paper { Activation::Gelu } else { Activation::None }),
            embedding_width: self.embedding_width.unwrap_or(widths.embedding),
            hidden: self.hidden.unwrap_or(widths.hidden),
            tower_width: self.tower_width.unwrap_or(widths.tower),
            compress_width: self.compress_width.unwrap_or(widths.compress),
            scorer_hidden: self.scorer_hidden.unwrap_or(widths.scorer_hidden),
            activation: self.activation.unwrap_or(LayerActivation::Gelu),
            loss,
            temperature: self.temperature.or(softmax.then_some(1.0)),
            logq: self.logq.or(softmax.then_some(true)),
            learning_rate: self.learning_rate.unwrap_or(if paper { 2e-5 } else { 3e-3 }),
            learning_rate_decay: self.learning_rate_decay.unwrap_or(DecayKind::None),
            epochs: self.epochs.unwrap_or(if paper { 5 } else { 24 }),
            patience: self.patience.unwrap_or(if paper { 0 } else { 6 }),
            batch_size: self.batch_size.unwrap_or(1024),
            margin: self.margin.or((!softmax).then_some(1.0)),
            negatives_out_of_batch: self.negatives_out_of_batch.unwrap_or(20),
            negatives_in_batch: self.negatives_in_batch.unwrap_or(20),
            negatives_exclude: self.negatives_exclude.unwrap_or(Exclude::Train),
            select: self.select.unwrap_or(Select::Validation),
        }
    }
}

impl Resolved {
    /// What is out of range or does not go together.
    pub(super) fn problems(&self) -> Vec<SettingProblem> {
        let mut problems = Vec::new();
        let mut require = |holds: bool, path: &str, what: &str| {
            if !holds {
                problems.push(SettingProblem::new(path, format!("`{path}` must be {what}")));
            }
        };
        require(self.learning_rate > 0.0 && self.learning_rate.is_finite(), "learning_rate", "above 0");
        let softmax = self.loss == LossKind::SampledSoftmax;
        for (path, given) in [("temperature", self.temperature.is_some()), ("logq", self.logq.is_some())] {
            require(softmax || !given, path, "left out, or `loss` be `sampled_softmax`");
        }
        require(!softmax || self.margin.is_none(), "margin", "left out where `loss` is `sampled_softmax`");
        for (path, value) in [("margin", self.margin), ("temperature", self.temperature)] {
            require(value.is_none_or(|value| value > 0.0 && value.is_finite()), path, "above 0");
        }
        if let DecayKind::Exponential(factor) = self.learning_rate_decay {
            require(factor > 0.0 && factor <= 1.0, "learning_rate_decay", "above 0 and at most 1");
        }
        for (path, widths) in [
            ("embedding_width", &[self.embedding_width][..]),
            ("hidden", &self.hidden),
            ("tower_width", &[self.tower_width]),
            ("compress_width", &[self.compress_width]),
            ("scorer_hidden", &self.scorer_hidden),
        ] {
            require(widths.iter().all(|width| (1..=4096).contains(width)), path, "from 1 to 4096");
        }
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

    /// As the training takes them; without a model to begin from.
    pub(super) fn options(&self) -> TrainingOptions {
        TrainingOptions {
            widths: Widths {
                embedding: self.embedding_width,
                hidden: self.hidden,
                tower: self.tower_width,
                compress: self.compress_width,
                scorer_hidden: self.scorer_hidden,
            },
            activation: match self.activation {
                LayerActivation::Gelu => LayersAs::Gelu,
                LayerActivation::Relu => LayersAs::Relu,
            },
            compress: self.scorer == ScorerKind::DotCompress,
            activated: self.score_activation == Activation::Gelu,
            loss: match (self.loss, self.temperature, self.logq) {
                (LossKind::SampledSoftmax, Some(temperature), Some(logq)) => Loss::SampledSoftmax { temperature, logq },
                _ => Loss::Margin(self.margin.unwrap_or(1.0)),
            },
            learning_rate: self.learning_rate,
            decay: match self.learning_rate_decay {
                DecayKind::None => Decay::None,
                DecayKind::Linear => Decay::Linear,
                DecayKind::Cosine => Decay::Cosine,
                DecayKind::Exponential(factor) => Decay::Exponential(factor),
            },
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
            initial: None,
            ..TrainingOptions::default()
        }
    }
}
