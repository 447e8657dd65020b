//! A limiter on the dashboard: what this run has sent through it lately beside
//! what it allows, and what is spent of its budget. Counted from what the stages
//! tell; time comes in as a value.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::gauge::{money, rate};
use super::super::terminal::thousands;
use crate::web::{BudgetSettings, LimiterSettings, Spent};

const MINUTE: u64 = 60;
const DAY: u64 = 24 * 60 * MINUTE;
/// Over so many seconds a rate by the second is taken.
const LATELY: u64 = 10;

/// What goes through one limiter.
#[derive(Debug, Clone, Default)]
pub(super) struct LimiterView {
    pub(super) limits: LimiterSettings,
    pub(super) budget: Option<BudgetSettings>,
    /// What earlier runs spent of the budget.
    pub(super) before: Spent,
    /// What this run spent.
    pub(super) spent: Spent,
    /// Requests and tokens by second of the run, of the last minute.
    seconds: BTreeMap<u64, (u64, u64)>,
    /// The same by minute, of the last day.
    minutes: BTreeMap<u64, (u64, u64)>,
}

/// How much of something is used.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Use {
    /// From 0 to 1; none where nothing limits it.
    pub(super) share: Option<f64>,
    /// `27 of 30 requests in a minute`.
    pub(super) words: String,
}

impl LimiterView {
    /// One through which nothing was sent yet.
    pub(super) fn new(limits: LimiterSettings, budget: Option<BudgetSettings>) -> Self {
        Self { limits, budget, ..Self::default() }
    }

    /// This much more was spent, at this time of the run.
    pub(super) fn add(&mut self, more: Spent, now: Duration) {
        self.spent += more;
        if more.requests == 0 && more.tokens() == 0 {
            return;
        }
        let second = now.as_secs();
        for (counts, at, kept) in
            [(&mut self.seconds, second, MINUTE), (&mut self.minutes, second / MINUTE, DAY / MINUTE)]
        {
            let (requests, tokens) = counts.entry(at).or_default();
            *requests += more.requests;
            *tokens += more.tokens();
            *counts = counts.split_off(&at.saturating_sub(kept));
        }
    }

    /// Requests and tokens of the last so many seconds.
    fn lately(&self, now: Duration, seconds: u64) -> (u64, u64) {
        let second = now.as_secs();
        let sum = |counts: &BTreeMap<u64, (u64, u64)>, from: u64| {
            counts.range(from..).fold((0, 0), |sum, (_, more)| (sum.0 + more.0, sum.1 + more.1))
        };
        if seconds <= MINUTE {
            sum(&self.seconds, (second + 1).saturating_sub(seconds))
        } else {
            sum(&self.minutes, (second / MINUTE + 1).saturating_sub(seconds / MINUTE))
        }
    }

    /// Requests a second of the last ten seconds.
    fn per_second(&self, now: Duration) -> f64 {
        let over = now.as_secs_f64().clamp(1.0, LATELY as f64);
        self.lately(now, LATELY).0 as f64 / over
    }

    /// What is used of each limit. In a sandbox no limit of the pipeline holds.
    pub(super) fn limits(&self, now: Duration, sandbox: bool) -> Vec<Use> {
        let limits = &self.limits;
        let mut uses = Vec::new();
        let mut push = |used: f64, told: String, most: f64, what: &str| {
            let share = Some((used / most).clamp(0.0, 1.0));
            uses.push(Use { share, words: format!("{told} of {} {what}", number(most)) });
        };
        if !sandbox {
            if let Some(most) = limits.per_second {
                let used = self.per_second(now);
                push(used, format!("{used:.1}"), most, "requests a second");
            }
            let of_requests = [
                (limits.per_minute, MINUTE, "requests a minute"),
                (limits.per_hour, 60 * MINUTE, "requests an hour"),
                (limits.per_day, DAY, "requests a day"),
            ];
            let of_tokens =
                [(limits.tokens_per_minute, MINUTE, "tokens a minute"), (limits.tokens_per_day, DAY, "tokens a day")];
            for (place, (most, seconds, what)) in of_requests.into_iter().chain(of_tokens).enumerate() {
                if let Some(most) = most {
                    let (requests, tokens) = self.lately(now, seconds);
                    let used = if place < of_requests.len() { requests } else { tokens };
                    push(used as f64, thousands(used), most, what);
                }
            }
        }
        if uses.is_empty() {
            let told = rate(self.per_second(now)).unwrap_or_else(|| "nothing lately".to_owned());
            uses.push(Use { share: None, words: format!("{told}, not limited") });
        }
        uses
    }

    /// What is spent of each part of the budget.
    pub(super) fn budget(&self) -> Vec<Use> {
        let Some(budget) = &self.budget else { return Vec::new() };
        let spent: Spent = [self.before, self.spent].into_iter().sum();
        let mut uses = Vec::new();
        let mut push = |used: f64, most: f64, words: String| {
            let share = if most > 0.0 { (used / most).clamp(0.0, 1.0) } else { 1.0 };
            uses.push(Use { share: Some(share), words: format!("{words} {}", budget.per.words()) });
        };
        if let Some(most) = budget.requests {
            let words = format!("{} of {} requests", thousands(spent.requests), thousands(most));
            push(spent.requests as f64, most as f64, words);
        }
        if let Some(most) = budget.tokens {
            let words = format!("{} of {} tokens", thousands(spent.tokens()), thousands(most));
            push(spent.tokens() as f64, most as f64, words);
        }
        if let Some(most) = budget.usd {
            let used = if spent.usd > 0.0 { money(spent.usd) } else { "$0.00".to_owned() };
            push(spent.usd, most, format!("{used} of {}", money(most)));
        }
        uses
    }
}

/// `14,400`, or `0.5`.
fn number(number: f64) -> String {
    if number.fract() == 0.0 { thousands(number as u64) } else { number.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(requests: u64, tokens: u64) -> Spent {
        Spent { requests, prompt_tokens: tokens, completion_tokens: 0, usd: 0.0 }
    }

    fn words(uses: Vec<Use>) -> Vec<String> {
        uses.into_iter().map(|used| used.words).collect()
    }

    #[test]
    fn what_was_sent_lately_stands_beside_each_limit() {
        let limits = LimiterSettings {
            per_second: Some(5.0),
            per_minute: Some(30.0),
            per_day: Some(14_400.0),
            tokens_per_minute: Some(6000.0),
            ..LimiterSettings::default()
        };
        let mut limiter = LimiterView { limits, ..LimiterView::default() };
        limiter.add(sent(10, 1000), Duration::from_secs(0));
        limiter.add(sent(20, 2000), Duration::from_secs(95));
        assert_eq!(
            words(limiter.limits(Duration::from_secs(100), false)),
            [
                "2.0 of 5 requests a second",
                "20 of 30 requests a minute",
                "30 of 14,400 requests a day",
                "2,000 of 6,000 tokens a minute"
            ]
        );
        assert_eq!(words(limiter.limits(Duration::from_secs(100), true)), ["2.0/s, not limited"]);
        assert_eq!(words(limiter.limits(Duration::from_mins(5), true)), ["nothing lately, not limited"]);
    }

    #[test]
    fn only_a_minute_of_seconds_and_a_day_of_minutes_is_kept() {
        let mut limiter = LimiterView::default();
        for second in 0..200_000 {
            limiter.add(sent(1, 0), Duration::from_secs(second));
        }
        assert!(limiter.seconds.len() <= 61 && limiter.minutes.len() <= 1441);
        assert_eq!(limiter.spent.requests, 200_000);
    }

    #[test]
    fn a_budget_counts_what_earlier_runs_spent() {
        let budget = BudgetSettings { requests: Some(100), usd: Some(2.0), ..BudgetSettings::default() };
        let before = Spent { requests: 10, usd: 0.5, ..Spent::default() };
        let mut limiter = LimiterView { budget: Some(budget), before, ..LimiterView::default() };
        limiter.add(sent(5, 0), Duration::ZERO);
        assert_eq!(words(limiter.budget()), ["15 of 100 requests in this run", "$0.50 of $2.00 in this run"]);
        assert_eq!(limiter.budget()[0].share, Some(0.15));
    }
}
