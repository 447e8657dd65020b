//! What a plan's stages will ask for, summed by limiter, beside the budgets.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::ledger::spent_before;
use super::plan::{Plan, Planned, State};
use super::planner::is_api;
use crate::pipeline::Pipeline;
use crate::stage::Resource;
use crate::store::{Store, StoreError};
use crate::web::{Allowance, BudgetSettings, Forecast, LimiterSettings, default_limiter};

/// What one limiter will have to let through.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LimiterForecast {
    /// The limiter's name.
    pub limiter: String,
    /// What the stages will ask for of which that is known.
    #[serde(flatten)]
    pub expected: Forecast,
    /// How long that takes at the limiter's rates, in seconds; none where
    /// nothing limits it, as in a sandbox.
    pub seconds: Option<f64>,
    /// The rate that decides it: `30 a minute`.
    pub rate: Option<String>,
    /// The budget, if it has one.
    pub budget: Option<BudgetSettings>,
    /// What is left of the budget.
    pub left: Option<Allowance>,
    /// Whether that is enough.
    pub fits: bool,
    /// The stages that may ask as well, and of which nothing can be said yet.
    pub unknown: Vec<String>,
}

/// What the stages of a plan will ask for. Of two instances that do the same
/// work one counts.
///
/// # Errors
/// [`StoreError`] if the ledger cannot be read.
pub(super) fn by_limiter(
    pipeline: &Pipeline,
    store: &Store,
    plan: &Plan,
    now_millis: u64,
) -> Result<Vec<LimiterForecast>, StoreError> {
    let mut found: Vec<LimiterForecast> = Vec::new();
    let mut seen = BTreeSet::new();
    for planned in &plan.stages {
        let Some(limiter) = limiter_of(pipeline, planned) else { continue };
        match &planned.state {
            State::Fresh { .. } => continue,
            State::Stale { key, .. } if !seen.insert(*key) => continue,
            _ => {}
        }
        let place = found.iter().position(|known| known.limiter == limiter).unwrap_or_else(|| {
            found.push(LimiterForecast {
                limiter,
                expected: Forecast::default(),
                seconds: None,
                rate: None,
                budget: None,
                left: None,
                fits: true,
                unknown: Vec::new(),
            });
            found.len() - 1
        });
        match planned.rows.and_then(|rows| rows.expected) {
            Some(expected) => found[place].expected = found[place].expected.plus(expected),
            None => found[place].unknown.push(planned.id.to_string()),
        }
    }
    let has_budget = found.iter().any(|known| pipeline.budgets.contains_key(&known.limiter));
    let before = if has_budget {
        spent_before(store, &pipeline.budgets, plan.sandbox.as_deref(), now_millis)?
    } else {
        BTreeMap::new()
    };
    for known in &mut found {
        if plan.sandbox.is_none() {
            let time = time(&limits(pipeline, &known.limiter, &known.expected), &known.expected);
            (known.seconds, known.rate) = time.unzip();
        }
        known.budget = pipeline.budgets.get(&known.limiter).cloned();
        let spent = before.get(&known.limiter).copied().unwrap_or_default();
        known.left = known.budget.as_ref().map(|budget| Allowance::of(budget, &spent));
        known.fits = known.left.is_none_or(|left| left.covers(&known.expected));
    }
    Ok(found)
}

/// How long one stage takes at its limiter's rates, in seconds.
pub(super) fn seconds(pipeline: &Pipeline, planned: &Planned) -> Option<f64> {
    let (limiter, expected) = (limiter_of(pipeline, planned)?, planned.rows?.expected?);
    time(&limits(pipeline, &limiter, &expected), &expected).map(|(seconds, _)| seconds)
}

fn limiter_of(pipeline: &Pipeline, planned: &Planned) -> Option<String> {
    let instance = &pipeline.instances[planned.index];
    match instance.stage.resource() {
        Resource::Api(limiter) if is_api(instance) => Some(limiter),
        _ => None,
    }
}

/// The limits of a name; what takes tokens and has none is asked as a chat is.
fn limits(pipeline: &Pipeline, limiter: &str, expected: &Forecast) -> LimiterSettings {
    let chat = || default_limiter("chat").filter(|_| expected.tokens() > 0);
    pipeline.limiters.get(limiter).cloned().or_else(|| default_limiter(limiter)).or_else(chat).unwrap_or_default()
}

/// How long it takes, and the limit that decides it; none if nothing limits it.
fn time(limits: &LimiterSettings, expected: &Forecast) -> Option<(f64, String)> {
    let alone = LimiterSettings::default;
    let of_requests = [
        (limits.per_second, "a second", LimiterSettings { per_second: limits.per_second, ..alone() }),
        (limits.per_minute, "a minute", LimiterSettings { per_minute: limits.per_minute, ..alone() }),
        (limits.per_hour, "an hour", LimiterSettings { per_hour: limits.per_hour, ..alone() }),
        (limits.per_day, "a day", LimiterSettings { per_day: limits.per_day, ..alone() }),
    ];
    let of_tokens = [
        (
            limits.tokens_per_minute,
            "tokens a minute",
            LimiterSettings { tokens_per_minute: limits.tokens_per_minute, ..alone() },
        ),
        (limits.tokens_per_day, "tokens a day", LimiterSettings { tokens_per_day: limits.tokens_per_day, ..alone() }),
    ];
    let takes = |limits: &LimiterSettings| limits.time_for(expected.requests, expected.tokens());
    let given = of_requests.iter().chain(&of_tokens).filter(|(rate, ..)| rate.is_some());
    let (rate, unit, _) = given.max_by_key(|(.., alone)| takes(alone))?;
    let whole = takes(limits);
    (!whole.is_zero()).then(|| (whole.as_secs_f64(), format!("{} {unit}", rate.unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_limit_is_named() {
        let limits = LimiterSettings {
            per_second: Some(5.0),
            per_minute: Some(30.0),
            tokens_per_minute: Some(6000.0),
            ..LimiterSettings::default()
        };
        let requests = Forecast::of_requests(9812);
        assert_eq!(time(&limits, &requests), Some((19_624.0, "30 a minute".to_owned())));
        let long = Forecast { prompt_tokens: 6_000_000, ..requests };
        assert_eq!(time(&limits, &long), Some((60_000.0, "6000 tokens a minute".to_owned())));
        assert_eq!(time(&LimiterSettings::default(), &requests), None);
        assert_eq!(time(&limits, &Forecast::default()), None);
    }
}
