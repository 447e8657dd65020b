//! `popularity`: the baseline that recommends what most users have.
//!
//! Not personal: every user gets the same scores.

use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::baseline::{model_port, read_split, split_port, write_model};
use crate::model::two_tower::Tensor;
use crate::stage::{
    InputPort, OutputPort, SettingProblem, Stage, StageContext, StageError, StageKind, decode_settings, schema_of,
    settings_value,
};

/// The kind.
pub(crate) struct Popularity;

/// There is nothing to set.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {}

impl StageKind for Popularity {
    fn name(&self) -> &'static str {
        "popularity"
    }

    fn version(&self) -> u32 {
        1
    }

    fn summary(&self) -> &'static str {
        "Score items by how many users have them: the baseline of every leaderboard"
    }

    fn documentation(&self) -> &'static str {
        "Reads `split` (`user_id`, `item_id`, `part`) and writes `model`, a table of tensors (`name`, `shape`, \
         `values`) for `evaluate`: `item_scores`, the number of train interactions of each item, items in ascending \
         order of id (numeric if every id is an integer), and `id_check`, which stands for the ids. Deterministic."
    }

    fn example(&self) -> &'static str {
        "kind: popularity\ninputs: { split: split }"
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
        vec![split_port()]
    }

    fn outputs(&self) -> Vec<OutputPort> {
        vec![model_port()]
    }

    async fn run(&self, context: &StageContext) -> Result<(), StageError> {
        let split = read_split(context)?;
        let values: Vec<f32> = split.degrees().into_iter().map(|degree| degree as f32).collect();
        let scores = Tensor { name: "item_scores".to_owned(), shape: vec![values.len()], values };
        write_model(context, &split, [scores])
    }
}
