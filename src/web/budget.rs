//! Budgets: ceilings on requests, tokens and money at one limiter. Counts what
//! went over the network; answers of the memo are free.

use std::sync::{Mutex, PoisonError};

use super::call::{Price, Usage};
use super::error::WebError;
use super::limits::BudgetSettings;

/// What one limiter may still spend in this run.
#[derive(Debug)]
pub(super) struct Budget {
    limiter: String,
    settings: BudgetSettings,
    spent: Mutex<Spent>,
}

#[derive(Debug, Default)]
struct Spent {
    requests: u64,
    tokens: u64,
    usd: f64,
}

impl Budget {
    /// A budget of which nothing is spent yet.
    pub(super) fn new(limiter: &str, settings: BudgetSettings) -> Self {
        Self { limiter: limiter.to_owned(), settings, spent: Mutex::default() }
    }

    /// Counts one request before it is sent.
    ///
    /// # Errors
    /// [`WebError::Budget`] if a ceiling is reached, or if it is in dollars and
    /// the call has no price.
    pub(super) fn request(&self, price: Option<Price>) -> Result<(), WebError> {
        let refused = |what: String| Err(WebError::Budget { limiter: self.limiter.clone(), what });
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        if self.settings.requests.is_some_and(|most| spent.requests >= most) {
            return refused(format!("{} requests were sent", spent.requests));
        }
        if self.settings.tokens.is_some_and(|most| spent.tokens >= most) {
            return refused(format!("{} tokens were used", spent.tokens));
        }
        match (self.settings.usd, price) {
            (Some(_), None) => return refused("it is in dollars, and the stage gives no price per token".to_owned()),
            (Some(most), Some(_)) if spent.usd >= most => {
                return refused(format!("{:.2} dollars were spent", spent.usd));
            }
            _ => {}
        }
        spent.requests += 1;
        Ok(())
    }

    /// Counts what an answer took.
    pub(super) fn used(&self, usage: Usage, price: Option<Price>) {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        spent.tokens += usage.prompt + usage.completion;
        if let Some(price) = price {
            spent.usd += price.of(usage);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ceiling_ends_the_spending() {
        let price = Some(Price { prompt: 1.0, completion: 2.0 });
        let usage = Usage { prompt: 500_000, completion: 250_000 };
        let cases = [
            (BudgetSettings { requests: Some(2), ..BudgetSettings::default() }, 2),
            (BudgetSettings { tokens: Some(1_000_000), ..BudgetSettings::default() }, 2),
            (BudgetSettings { usd: Some(3.0), ..BudgetSettings::default() }, 3),
        ];
        for (settings, expected) in cases {
            let budget = Budget::new("groq", settings);
            let mut sent = 0;
            while sent < 10 && budget.request(price).is_ok() {
                budget.used(usage, price);
                sent += 1;
            }
            assert_eq!(sent, expected);
        }
    }

    #[test]
    fn a_ceiling_in_dollars_needs_a_price() {
        let budget = Budget::new("groq", BudgetSettings { usd: Some(1.0), ..BudgetSettings::default() });
        let error = budget.request(None).expect_err("no price");
        assert!(error.to_string().contains("no price"), "{error}");
    }
}
