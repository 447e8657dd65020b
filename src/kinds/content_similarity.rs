//! `content_similarity`: the baseline that knows only what items are about.

use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::baseline::{model_port, read_split, split_port, write_model};
use crate::model::features::FeatureError;
use crate::model::interactions::{Interactions, Part};
use crate::model::two_tower::{Features, Tensor, TextVectors};
use crate::stage::{
    DeviceUse, InputPort, OutputPort, Resource, SettingProblem, Stage, StageContext, StageError, StageKind,
    decode_settings, schema_of, settings_value,
};

/// The kind.
pub(crate) struct ContentSimilarity;

/// There is nothing to set.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {}

impl StageKind for ContentSimilarity {
    fn name(&self) -> &'static str {
        "content_similarity"
    }

    fn version(&self) -> u32 {
        1
    }

    fn summary(&self) -> &'static str {
        "Score items by how like their vectors are to those of what the user has: a baseline"
    }

    fn documentation(&self) -> &'static str {
        "Reads `split` (`user_id`, `item_id`, `part`; only `train` is read) and `vectors` (`item_id`, \
         `vector`), and writes `model`, a table of tensors (`name`, `shape`, `values`) for `evaluate`: \
         `user_vectors` and `item_vectors` of length 1, whose inner products are the scores, and `id_check`, \
         which stands for the ids; users and items in ascending order of id (numeric if every id is an \
         integer).\n\nA user is the mean of the vectors of its train items; an item's score is the cosine of \
         its vector with the user's. An item without a vector, or with zeros, has the score 0 for everybody; \
         those without one are counted in a warning. Nothing is learnt from other users. Deterministic."
    }

    fn example(&self) -> &'static str {
        "kind: content_similarity\ninputs: { split: split, vectors: vectors }"
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
        vec![split_port(), InputPort::new("vectors", ["item_id", "vector"])]
    }

    fn outputs(&self) -> Vec<OutputPort> {
        vec![model_port()]
    }

    fn resource(&self) -> Resource {
        Resource::Cpu(0)
    }

    fn device_use(&self) -> DeviceUse {
        DeviceUse::WritesVectors
    }

    async fn run(&self, context: &StageContext) -> Result<(), StageError> {
        let split = read_split(context)?;
        let mut features = Features::of_ids(&split.items);
        let explain = |error: FeatureError| StageError::failed(error.to_string());
        let missing = features.add_vectors(&split.items, &context.table("vectors")?).map_err(explain)?;
        if missing > 0 {
            let all = split.items.len();
            context.progress.warn(&format!("{missing} of {all} items have no vector: their scores are 0"));
        }
        let text = features.text.unwrap_or_else(|| TextVectors { width: 1, values: vec![0.0; split.items.len()] });
        write_model(context, &split, vectors(&split, &text))
    }
}

/// `user_vectors` and `item_vectors`, each of length 1 or zeros.
fn vectors(split: &Interactions, text: &TextVectors) -> [Tensor; 2] {
    let width = text.width;
    let has = split.sets(&[Part::Train]);
    let mut users = Vec::with_capacity(split.users.len() * width);
    for user in 0..split.users.len() as u32 {
        // The sum points where the mean does.
        let mut sum = vec![0.0; width];
        for item in has.of_user(user) {
            let vector = &text.values[*item as usize * width..][..width];
            sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += f64::from(*value));
        }
        users.extend(unit(&sum));
    }
    let items = text.values.chunks_exact(width).flat_map(|vector| {
        let wide: Vec<f64> = vector.iter().copied().map(f64::from).collect();
        unit(&wide)
    });
    let items: Vec<f32> = items.collect();
    let tensor = |name: &str, rows, values| Tensor { name: name.to_owned(), shape: vec![rows, width], values };
    [tensor("user_vectors", split.users.len(), users), tensor("item_vectors", split.items.len(), items)]
}

/// The vector of length 1 in the same direction; zeros stay.
fn unit(vector: &[f64]) -> Vec<f32> {
    let length = vector.iter().map(|value| value * value).sum::<f64>().sqrt();
    let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
    vector.iter().map(|value| (value * scale) as f32).collect()
}
