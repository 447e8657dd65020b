//! The shape of `limiters:` in a pipeline.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a provider allows. Every limit that is given holds at the same time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimiterSettings {
    /// Requests per second, spread evenly.
    #[serde(default)]
    pub per_second: Option<f64>,
    /// Requests per minute.
    #[serde(default)]
    pub per_minute: Option<f64>,
    /// Requests per day.
    #[serde(default)]
    pub per_day: Option<f64>,
    /// Tokens (prompt and completion) per minute.
    #[serde(default)]
    pub tokens_per_minute: Option<f64>,
    /// Tokens (prompt and completion) per day.
    #[serde(default)]
    pub tokens_per_day: Option<f64>,
    /// Requests in flight at the same time; 4 if not given.
    #[serde(default)]
    pub concurrency: Option<usize>,
}

/// A ceiling on what a run may spend at one limiter.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BudgetSettings {
    /// Requests sent, answers from the memo not counted.
    #[serde(default)]
    pub requests: Option<u64>,
    /// Tokens, prompt and completion together.
    #[serde(default)]
    pub tokens: Option<u64>,
    /// US dollars, at the prices given in the stage.
    #[serde(default)]
    pub usd: Option<f64>,
}
