//! What went over the network and what it took: requests, tokens and money.
//! Answers of the memo are free and are not counted.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::call::{Price, Usage};

/// What was spent so far. Counts attempts: a request that was repeated counts each time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spent {
    /// Requests sent.
    pub requests: u64,
    /// Tokens of prompts, as the servers counted them.
    pub prompt_tokens: u64,
    /// Tokens of answers, as the servers counted them.
    pub completion_tokens: u64,
    /// US dollars, at the prices that the stages give; 0 where they give none.
    pub usd: f64,
}

impl Spent {
    /// One request, before its answer is there.
    pub(super) const REQUEST: Self = Self { requests: 1, prompt_tokens: 0, completion_tokens: 0, usd: 0.0 };

    /// What an answer took.
    pub(super) fn of_usage(usage: Usage, price: Option<Price>) -> Self {
        let usd = price.map_or(0.0, |price| price.of(usage));
        Self { requests: 0, prompt_tokens: usage.prompt, completion_tokens: usage.completion, usd }
    }

    /// Tokens of prompts and answers together.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.prompt_tokens + self.completion_tokens
    }
}

impl std::ops::AddAssign for Spent {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.prompt_tokens += other.prompt_tokens;
        self.completion_tokens += other.completion_tokens;
        self.usd += other.usd;
    }
}

impl std::iter::Sum for Spent {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut sum, one| {
            sum += one;
            sum
        })
    }
}

/// A count that several calls add to.
#[derive(Debug, Default)]
pub(super) struct Spending(Mutex<Spent>);

impl Spending {
    pub(super) fn add(&self, spent: Spent) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += spent;
    }

    pub(super) fn so_far(&self) -> Spent {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_answers_add_up() {
        let spending = Spending::default();
        let price = Some(Price { prompt: 2.0, completion: 10.0 });
        for _ in 0..2 {
            spending.add(Spent::REQUEST);
            spending.add(Spent::of_usage(Usage { prompt: 500_000, completion: 100_000 }, price));
        }
        let spent = spending.so_far();
        assert_eq!((spent.requests, spent.tokens(), spent.usd), (2, 1_200_000, 4.0));
        let unpriced = Spent { prompt_tokens: 1, completion_tokens: 1, ..Spent::default() };
        assert_eq!(Spent::of_usage(Usage { prompt: 1, completion: 1 }, None), unpriced);
    }
}
