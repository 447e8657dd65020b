//! `item_knn`: the baseline that recommends what is most like what a user has.

use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::baseline::{goes_on, model_port, read_split, split_port, write_model};
use crate::model::item_knn::item_knn;
use crate::stage::{
    InputPort, OutputPort, Resource, SettingProblem, Stage, StageContext, StageError, StageKind, decode_settings,
    schema_of, settings_value,
};

/// The kind.
pub(crate) struct ItemKnn;

/// What `item_knn` can be told.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// How many most similar others each item keeps, from 1 to 10000; 100 by default.
    #[serde(default = "default_neighbours")]
    neighbours: usize,
}

fn default_neighbours() -> usize {
    100
}

impl StageKind for ItemKnn {
    fn name(&self) -> &'static str {
        "item_knn"
    }

    fn version(&self) -> u32 {
        1
    }

    fn summary(&self) -> &'static str {
        "Score items by their cosine with what the user has: item-kNN, a baseline"
    }

    fn documentation(&self) -> &'static str {
        "Reads `split` (`user_id`, `item_id`, `part`; only `train` is learnt from) and writes `model`, a table \
         of tensors (`name`, `shape`, `values`) for `evaluate`: `neighbours` and `similarities` `[items, k]`, \
         and `id_check`, which stands for the ids; users and items in ascending order of id (numeric if every \
         id is an integer).\n\nTwo items are as similar as the cosine of their columns of the binary train \
         matrix: the users of both over the root of the product of the users of each. Each item keeps its \
         `neighbours` most similar others, ties to the one that stands first. An item's score for a user is the \
         sum of its similarities with those of its own neighbours that the user has in train. (Sarwar et al., \
         WWW 2001; Deshpande and Karypis, TOIS 2004.)\n\nDeterministic, on all cores."
    }

    fn example(&self) -> &'static str {
        "kind: item_knn\ninputs: { split: split }\nwith: { neighbours: 100 }"
    }

    fn settings_schema(&self) -> Value {
        schema_of::<Settings>()
    }

    fn parse(&self, with: &Value) -> Result<Arc<dyn Stage>, Vec<SettingProblem>> {
        let settings: Settings = decode_settings(with)?;
        if !(1..=10_000).contains(&settings.neighbours) {
            let problem = SettingProblem::new("neighbours", "`neighbours` must be from 1 to 10000");
            return Err(vec![problem.hint("50 to 200 is usual")]);
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
        vec![split_port()]
    }

    fn outputs(&self) -> Vec<OutputPort> {
        vec![model_port()]
    }

    fn resource(&self) -> Resource {
        Resource::Cpu(0)
    }

    async fn run(&self, context: &StageContext) -> Result<(), StageError> {
        let split = read_split(context)?;
        context.progress.total(split.items.len() as u64);
        let tensors = item_knn(&split, self.settings.neighbours, &goes_on(context)).ok_or(StageError::Cancelled)?;
        write_model(context, &split, tensors)
    }
}
