//! `ease`: the linear baseline in closed form that is hard to beat.

use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::baseline::{model_port, read_split, split_port, write_model};
use crate::model::ease::{BYTES_PER_PAIR, MOST_ITEMS, ease};
use crate::stage::{
    InputPort, OutputPort, Resource, SettingProblem, Stage, StageContext, StageError, StageKind, decode_settings,
    schema_of, settings_value,
};

/// The kind.
pub(crate) struct Ease;

/// What `ease` can be told.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The regularisation added to the diagonal, above 0; 500 by default.
    #[serde(default = "default_lambda")]
    lambda: f64,
    /// Refuse rather than take more memory than this, in GiB; 8 by default, enough for 18,900 items.
    #[serde(default = "default_gib", skip_serializing)]
    max_memory_gib: f64,
}

fn default_lambda() -> f64 {
    500.0
}

fn default_gib() -> f64 {
    8.0
}

impl StageKind for Ease {
    fn name(&self) -> &'static str {
        "ease"
    }

    fn version(&self) -> u32 {
        1
    }

    fn summary(&self) -> &'static str {
        "Score items by a linear model from item to item in closed form: EASE, a baseline"
    }

    fn documentation(&self) -> &'static str {
        "Reads `split` (`user_id`, `item_id`, `part`; only `train` is learnt from) and writes `model`, a table \
         of tensors (`name`, `shape`, `values`) for `evaluate`: `item_item` `[items, items]`, from the row's \
         item to the column's, and `id_check`, which stands for the ids; users and items in ascending order of \
         id (numeric if every id is an integer).\n\nB = I - P diag(1 / diag P) with P = (X^T X + `lambda` \
         I)^-1, X the binary train matrix, and zeros on the diagonal; an item's score for a user is the sum of \
         B over the user's train items. (Steck, WWW 2019.)\n\nTakes 24 bytes of memory for each pair of items \
         and an artifact of 4: at 3,646 items 320 MB and 53 MB. `max_memory_gib` is a bound, and no part of the \
         result. Deterministic, 64-bit floats on one core."
    }

    fn example(&self) -> &'static str {
        "kind: ease\ninputs: { split: split }\nwith: { lambda: 500 }"
    }

    fn settings_schema(&self) -> Value {
        schema_of::<Settings>()
    }

    fn parse(&self, with: &Value) -> Result<Arc<dyn Stage>, Vec<SettingProblem>> {
        let settings: Settings = decode_settings(with)?;
        let mut problems = Vec::new();
        for (path, value, hint) in [
            ("lambda", settings.lambda, "100 to 1000 is usual"),
            ("max_memory_gib", settings.max_memory_gib, "8 is the default"),
        ] {
            if !(value > 0.0 && value.is_finite()) {
                problems.push(SettingProblem::new(path, format!("`{path}` must be above 0")).hint(hint));
            }
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

    async fn run(&self, context: &StageContext) -> Result<(), StageError> {
        let split = read_split(context)?;
        check_memory(split.items.len(), self.settings.max_memory_gib)?;
        let weights = ease(&split, self.settings.lambda).ok_or_else(|| {
            StageError::with_hint("the matrix of the items could not be inverted", "set a higher `lambda`")
        })?;
        write_model(context, &split, [weights])
    }
}

/// Refuses what would not fit.
fn check_memory(items: usize, most_gib: f64) -> Result<(), StageError> {
    let gib = (items as u64).saturating_pow(2).saturating_mul(BYTES_PER_PAIR) as f64 / f64::from(1 << 30);
    if items > MOST_ITEMS {
        let what = format!("`ease` holds a weight for every pair of items: {items} items are more than {MOST_ITEMS}");
        return Err(StageError::with_hint(what, "filter items with few interactions, or use `item_knn` or `ials`"));
    }
    if gib > most_gib {
        let what = format!("`ease` would take {gib:.1} GiB of memory for {items} items, and may take {most_gib}");
        let hint = format!("set `max_memory_gib` to {} if there is so much, or use `item_knn` or `ials`", gib.ceil());
        return Err(StageError::with_hint(what, hint));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_not_fit_is_refused_with_how_much_it_takes() {
        assert!(check_memory(18_900, 8.0).is_ok());
        let error = check_memory(20_000, 8.0).unwrap_err().to_string();
        assert!(error.contains("8.9 GiB"), "{error}");
        assert!(check_memory(50_000, 1e6).unwrap_err().to_string().contains("46340"));
    }
}
