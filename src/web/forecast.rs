//! What calls that are not sent yet will take, guessed beforehand.

use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::call::Call;
use super::limits::BudgetSettings;
use super::spent::Spent;
use crate::ground::{ContentHash, dollars, thousands};

/// What is still to be asked will take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// Requests, if none has to be repeated.
    pub requests: u64,
    /// Tokens of prompts, estimated.
    pub prompt_tokens: u64,
    /// Tokens of answers, estimated.
    pub completion_tokens: u64,
    /// US dollars, estimated; none where no price is given.
    #[serde(default)]
    pub usd: Option<f64>,
    /// Whether more may have to be asked, depending on the answers.
    #[serde(default)]
    pub at_least: bool,
}

impl Forecast {
    /// So many requests that take no tokens.
    #[must_use]
    pub fn of_requests(requests: u64) -> Self {
        Self { requests, ..Self::default() }
    }

    /// What one call will take.
    #[must_use]
    pub fn of_call(call: &Call) -> Self {
        let Some(metering) = call.metering else { return Self::of_requests(1) };
        let usage = metering.expected();
        Self {
            requests: 1,
            prompt_tokens: usage.prompt,
            completion_tokens: usage.completion,
            usd: metering.price.map(|price| price.request + price.of(usage)),
            at_least: false,
        }
    }

    /// What the calls of the missing keys (in ascending order) will take, each
    /// asked once; `call` is that of a row.
    pub(super) fn of_missing(
        keys: &[Option<ContentHash>],
        missing: &[ContentHash],
        call: impl Fn(usize) -> Option<Call> + Sync,
    ) -> Self {
        if missing.is_empty() {
            return Self::default();
        }
        let asked: Vec<AtomicBool> = missing.iter().map(|_| AtomicBool::new(false)).collect();
        let of_row = |row: usize| {
            let place = missing.binary_search(&keys[row]?).ok()?;
            let is_first = !asked[place].swap(true, Ordering::Relaxed);
            is_first.then(|| call(row).map(|call| (place, Self::of_call(&call)))).flatten()
        };
        let mut found: Vec<_> = (0..keys.len()).into_par_iter().with_min_len(256).filter_map(of_row).collect();
        // The last bits of a sum of floats depend on its order.
        found.sort_unstable_by_key(|(place, _)| *place);
        found.into_iter().fold(Self::default(), |sum, (_, forecast)| sum.plus(forecast))
    }

    /// Tokens of prompts and answers together.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.prompt_tokens + self.completion_tokens
    }

    /// What of it an allowance does not cover, and how much of that is left, in
    /// words: `about $3.10` and `$1.20`.
    #[must_use]
    pub fn beside(&self, left: &Allowance) -> (String, String) {
        let lead = if self.at_least { "at least " } else { "" };
        match *left {
            Allowance { usd: Some(left), .. } if self.usd.unwrap_or_default() > left => {
                (format!("about {}", dollars(self.usd.unwrap_or_default())), dollars(left))
            }
            Allowance { tokens: Some(left), .. } if self.tokens() > left => {
                (format!("about {} tokens", thousands(self.tokens())), thousands(left))
            }
            _ => {
                let left = thousands(left.requests.unwrap_or_default());
                (format!("{lead}{} requests", thousands(self.requests)), left)
            }
        }
    }

    /// Both together. What has no price adds nothing to the dollars.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let usd = match (self.usd, other.usd) {
            (None, None) => None,
            (one, two) => Some(one.unwrap_or_default() + two.unwrap_or_default()),
        };
        Self {
            requests: self.requests + other.requests,
            prompt_tokens: self.prompt_tokens + other.prompt_tokens,
            completion_tokens: self.completion_tokens + other.completion_tokens,
            usd,
            at_least: self.at_least || other.at_least,
        }
    }
}

/// What a budget still allows; none for what it does not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Allowance {
    /// Requests.
    pub requests: Option<u64>,
    /// Tokens.
    pub tokens: Option<u64>,
    /// US dollars.
    pub usd: Option<f64>,
}

impl Allowance {
    /// What is left of a budget of which so much is spent.
    #[must_use]
    pub fn of(budget: &BudgetSettings, spent: &Spent) -> Self {
        Self {
            requests: budget.requests.map(|most| most.saturating_sub(spent.requests)),
            tokens: budget.tokens.map(|most| most.saturating_sub(spent.tokens())),
            usd: budget.usd.map(|most| (most - spent.usd).max(0.0)),
        }
    }

    /// Whether it is enough.
    #[must_use]
    pub fn covers(&self, forecast: &Forecast) -> bool {
        self.requests.is_none_or(|left| forecast.requests <= left)
            && self.tokens.is_none_or(|left| forecast.tokens() <= left)
            && self.usd.is_none_or(|left| forecast.usd.unwrap_or_default() <= left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_enough_or_not() {
        let budget = BudgetSettings { requests: Some(10), usd: Some(2.0), ..BudgetSettings::default() };
        let spent = Spent { requests: 4, usd: 1.5, ..Spent::default() };
        let left = Allowance::of(&budget, &spent);
        assert_eq!(left, Allowance { requests: Some(6), tokens: None, usd: Some(0.5) });
        assert!(left.covers(&Forecast { usd: Some(0.5), ..Forecast::of_requests(6) }));
        assert!(!left.covers(&Forecast { usd: Some(0.6), ..Forecast::of_requests(6) }));
        assert!(!left.covers(&Forecast::of_requests(7)));
        let over = Spent { requests: 40, usd: 9.0, ..Spent::default() };
        assert_eq!(Allowance::of(&budget, &over), Allowance { requests: Some(0), tokens: None, usd: Some(0.0) });
    }
}
