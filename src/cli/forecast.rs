//! What stages will ask for, in words: for `refrain plan`.

use std::fmt::Write as _;

use super::terminal::{count, duration_about};
use crate::engine::{LimiterForecast, Planned};
use crate::ground::{about, dollars, thousands};
use crate::web::{Allowance, BudgetSettings, Forecast};

/// What one stage will take beyond what its rows say; nothing if there is
/// nothing to add.
pub(super) fn of_stage(planned: &Planned) -> Option<String> {
    let expected = planned.rows?.expected.filter(|expected| expected.requests > 0)?;
    let mut parts = Vec::new();
    if expected.at_least {
        parts.push(requests(&expected));
    }
    parts.extend(tokens(&expected));
    parts.extend(expected.usd.map(|usd| format!("~{}", dollars(usd))));
    parts.extend(planned.expected_seconds.map(|seconds| format!("about {}", duration_about(seconds))));
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// What each limiter will have to let through, a line each; and a line more
/// where a budget is not enough.
pub(super) fn by_limiter(limiters: &[LimiterForecast]) -> Vec<String> {
    limiters.iter().flat_map(lines).collect()
}

fn lines(forecast: &LimiterForecast) -> Vec<String> {
    let LimiterForecast { limiter, expected, unknown, .. } = forecast;
    let mut parts = Vec::new();
    if expected.requests > 0 {
        parts.push(requests(expected));
        parts.extend(tokens(expected));
        parts.extend(expected.usd.map(|usd| format!("~{}", dollars(usd))));
    } else if unknown.is_empty() {
        parts.push("nothing to ask".to_owned());
    }
    if let (Some(budget), Some(left)) = (&forecast.budget, &forecast.left)
        && let Some(last) = parts.last_mut()
    {
        write!(last, " of {}", budgeted(budget, left)).ok();
    }
    if let (Some(seconds), Some(rate)) = (forecast.seconds, &forecast.rate) {
        parts.push(format!("about {} at {rate}", duration_about(seconds)));
    }
    if !unknown.is_empty() {
        let more = if parts.is_empty() { "" } else { "and " };
        parts.push(format!("{more}what {} will ask is not known yet", stages(unknown)));
    }
    let mut lines = vec![format!("{limiter}: {}", parts.join(", "))];
    if let (false, Some(left)) = (forecast.fits, &forecast.left) {
        let (needs, left) = expected.beside(left);
        lines.push(format!("! the budget of `{limiter}` has {left} left, and {needs} will be needed"));
    }
    lines
}

fn requests(expected: &Forecast) -> String {
    let lead = if expected.at_least { "at least " } else { "" };
    format!("{lead}{}", count(expected.requests, "request"))
}

fn tokens(expected: &Forecast) -> Option<String> {
    (expected.tokens() > 0).then(|| format!("{} tokens", about(expected.tokens())))
}

/// `$2.00`, or `$1.20 left of $2.00 today (UTC)`.
fn budgeted(budget: &BudgetSettings, left: &Allowance) -> String {
    let all = Allowance { requests: budget.requests, tokens: budget.tokens, usd: budget.usd };
    let whole = amounts(&all);
    let period = budget.per.words();
    if *left == all { format!("{whole} {period}") } else { format!("{} left of {whole} {period}", amounts(left)) }
}

fn amounts(allowance: &Allowance) -> String {
    let requests = allowance.requests.map(|most| format!("{} requests", thousands(most)));
    let tokens = allowance.tokens.map(|most| format!("{} tokens", thousands(most)));
    [allowance.usd.map(dollars), tokens, requests].into_iter().flatten().collect::<Vec<_>>().join(" and ")
}

/// The stages, each once, at most three.
fn stages(instances: &[String]) -> String {
    const SHOWN: usize = 3;
    let mut stages: Vec<&str> = Vec::new();
    for instance in instances {
        let (stage, _) = super::narrator::split(instance);
        if !stages.contains(&stage) {
            stages.push(stage);
        }
    }
    let more = stages.len().saturating_sub(SHOWN);
    let shown = stages.iter().take(SHOWN).map(|stage| format!("`{stage}`")).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::Period;

    fn chat() -> LimiterForecast {
        LimiterForecast {
            limiter: "chat".into(),
            expected: Forecast {
                prompt_tokens: 2_000_000,
                completion_tokens: 1_100_000,
                usd: Some(0.19),
                ..Forecast::of_requests(9812)
            },
            seconds: Some(19_624.0),
            rate: Some("30 a minute".into()),
            budget: Some(BudgetSettings { usd: Some(2.0), ..BudgetSettings::default() }),
            left: Some(Allowance { usd: Some(2.0), ..Allowance::default() }),
            fits: true,
            unknown: Vec::new(),
        }
    }

    #[test]
    fn a_limiter_is_told_with_its_budget_and_its_time() {
        let expected =
            "chat: 9,812 requests, ~3.1 M tokens, ~$0.19 of $2.00 in this run, about 5 h 27 min at 30 a minute";
        assert_eq!(by_limiter(&[chat()]), [expected]);
    }

    #[test]
    fn what_is_not_enough_and_what_is_not_known_are_told() {
        let forecast = LimiterForecast {
            budget: Some(BudgetSettings { usd: Some(2.0), per: Period::Day, ..BudgetSettings::default() }),
            left: Some(Allowance { usd: Some(0.1), ..Allowance::default() }),
            fits: false,
            unknown: vec!["lyric_summaries@V1".into(), "lyric_summaries@V2".into()],
            ..chat()
        };
        let expected = [
            "chat: 9,812 requests, ~3.1 M tokens, ~$0.19 of $0.10 left of $2.00 today (UTC), about 5 h 27 min at 30 a \
             minute, and what `lyric_summaries` will ask is not known yet",
            "! the budget of `chat` has $0.10 left, and about $0.19 will be needed",
        ];
        assert_eq!(by_limiter(&[forecast]), expected);
    }

    #[test]
    fn nothing_is_said_of_nothing() {
        let unknown = LimiterForecast {
            expected: Forecast::default(),
            seconds: None,
            budget: None,
            left: None,
            unknown: vec!["loved".into()],
            ..chat()
        };
        assert_eq!(by_limiter(&[unknown]), ["chat: what `loved` will ask is not known yet"]);
    }
}
