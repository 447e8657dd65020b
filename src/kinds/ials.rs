//! `ials`: the baseline that factorises who has what, by alternating least squares.

use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::baseline::{goes_on, model_port, read_split, split_port, write_model};
use crate::model::ials::{IalsOptions, ials};
use crate::stage::{
    DeviceUse, InputPort, OutputPort, Resource, SettingProblem, Stage, StageContext, StageError, StageKind,
    decode_settings, schema_of, settings_value,
};

/// The kind.
pub(crate) struct Ials;

/// What `ials` can be told.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Length of the vectors, from 1 to 1024; 64 by default.
    #[serde(default = "default_factors")]
    factors: usize,
    /// The lambda of the objective, above 0; 0.01 by default.
    #[serde(default = "default_regularization")]
    regularization: f64,
    /// The weight of every pair, beside which a train pair weighs 1; above 0, 0.1 by default.
    #[serde(default = "default_alpha")]
    alpha: f64,
    /// How often users and then items are solved for, at least 1; 15 by default.
    #[serde(default = "default_iterations")]
    iterations: u32,
}

fn default_factors() -> usize {
    64
}

fn default_regularization() -> f64 {
    0.01
}

fn default_alpha() -> f64 {
    0.1
}

fn default_iterations() -> u32 {
    15
}

impl StageKind for Ials {
    fn name(&self) -> &'static str {
        "ials"
    }

    fn version(&self) -> u32 {
        2
    }

    fn summary(&self) -> &'static str {
        "Score items by factors learnt with alternating least squares: iALS, a baseline"
    }

    fn documentation(&self) -> &'static str {
        "Reads `split` (`user_id`, `item_id`, `part`; only `train` is learnt from) and writes `model`, a table \
         of tensors (`name`, `shape`, `values`) for `evaluate`: `user_vectors` and `item_vectors`, whose inner \
         products are the scores, and `id_check`, which stands for the ids; users and items in ascending order \
         of id (numeric if every id is an integer).\n\nMinimises, over vectors u and i of `factors` numbers, \
         the sum over train pairs of (1 - u.i)^2, plus `alpha` times the sum over all pairs of (u.i)^2, plus \
         `regularization` times the sum over users of (train items + `alpha` * all items) |u|^2 and the same \
         over items. Vectors begin normal, of length 0.1 on average; each iteration solves exactly for all \
         users and then for all items. (Hu, Koren and Volinsky, ICDM 2008; the objective and its regularisation \
         by frequency are those of Rendle et al., RecSys 2022.)\n\nSeeded; 64-bit floats, the same bytes \
         whatever the number of threads."
    }

    fn example(&self) -> &'static str {
        "kind: ials\ninputs: { split: split }\nwith: { factors: 64, regularization: 0.01, alpha: 0.1, iterations: 15 }"
    }

    fn settings_schema(&self) -> Value {
        schema_of::<Settings>()
    }

    fn parse(&self, with: &Value) -> Result<Arc<dyn Stage>, Vec<SettingProblem>> {
        let settings: Settings = decode_settings(with)?;
        let mut problems = Vec::new();
        let mut require = |holds: bool, path: &str, what: &str| {
            if !holds {
                problems.push(SettingProblem::new(path, format!("`{path}` must be {what}")));
            }
        };
        require((1..=1024).contains(&settings.factors), "factors", "from 1 to 1024");
        require(settings.iterations > 0, "iterations", "at least 1");
        for (path, value) in [("regularization", settings.regularization), ("alpha", settings.alpha)] {
            require(value > 0.0 && value.is_finite(), path, "above 0");
        }
        if problems.is_empty() { Ok(Arc::new(Checked { settings })) } else { Err(problems) }
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

    fn device_use(&self) -> DeviceUse {
        DeviceUse::WritesVectors
    }

    fn is_seeded(&self) -> bool {
        true
    }

    async fn run(&self, context: &StageContext) -> Result<(), StageError> {
        let split = read_split(context)?;
        let Settings { factors, regularization, alpha, iterations } = self.settings;
        context.progress.total(u64::from(iterations) * (split.users.len() + split.items.len()) as u64);
        let options = IalsOptions { factors, regularization, alpha, iterations };
        let tensors = ials(&split, options, context.seed, &goes_on(context)).ok_or(StageError::Cancelled)?;
        write_model(context, &split, tensors)
    }
}
