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
    /// Tokens of prompts, as the servers counted them; as estimated where one does not.
    pub prompt_tokens: u64,
    /// Tokens of answers, as the servers counted them; as estimated where one does not.
    pub completion_tokens: u64,
    /// US dollars, at the prices that the stages give; 0 where they give none.
    pub usd: f64,
}

impl Spent {
    /// One request, before its answer is there.
    pub(super) fn of_request(price: Option<Price>) -> Self {
        let usd = price.map_or(0.0, |price| price.request);
        Self { requests: 1, prompt_tokens: 0, completion_tokens: 0, usd }
    }

    /// What an answer took.
    pub(super) fn of_usage(usage: Usage, price: Option<Price>) -> Self {
        let usd = price.map_or(0.0, |price| price.of(usage));
        Self { requests: 0, prompt_tokens: usage.prompt, completion_tokens: usage.completion, usd }
    }

    /// Tokens of prompts and answers together.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.prompt_tokens.saturating_add(self.completion_tokens)
    }
}

impl std::ops::AddAssign for Spent {
    fn add_assign(&mut self, other: Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.prompt_tokens = self.prompt_tokens.saturating_add(other.prompt_tokens);
        self.completion_tokens = self.completion_tokens.saturating_add(other.completion_tokens);
        self.usd += other.usd;
    }
}

impl std::ops::Add for Spent {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl std::ops::Sub for Spent {
    type Output = Self;

    /// The rest, never less than nothing.
    fn sub(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(other.requests),
            prompt_tokens: self.prompt_tokens.saturating_sub(other.prompt_tokens),
            completion_tokens: self.completion_tokens.saturating_sub(other.completion_tokens),
            usd: (self.usd - other.usd).max(0.0),
        }
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

/// What is to be written down: a request before it is sent, what its answer
/// took, or that it has to be repeated.
#[derive(Debug, Clone, Copy)]
pub struct Posting<'a> {
    /// The provider's name.
    pub provider: &'a str,
    /// The limiter's name.
    pub limiter: &'a str,
    /// The stage that asks.
    pub stage: &'a str,
    /// The model that is asked, if the request names one.
    pub model: Option<&'a str>,
    /// What is spent.
    pub spent: Spent,
    /// Requests that gave nothing of use and have to be repeated.
    pub repeated: u64,
}

/// Writes down what is spent, as it is spent.
pub trait Bookkeeper: Send + Sync + std::fmt::Debug {
    /// Writes it down before it returns: a request is on its way only then, so
    /// that what was sent is known whatever happens. Called from several threads.
    fn book(&self, posting: &Posting<'_>);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_answers_add_up() {
        let spending = Spending::default();
        let price = Some(Price { prompt: 2.0, completion: 10.0, request: 0.5 });
        for _ in 0..2 {
            spending.add(Spent::of_request(price));
            spending.add(Spent::of_usage(Usage { prompt: 500_000, completion: 100_000 }, price));
        }
        let spent = spending.so_far();
        assert_eq!((spent.requests, spent.tokens(), spent.usd), (2, 1_200_000, 5.0));
        let free = Spent { prompt_tokens: 1, completion_tokens: 1, ..Spent::default() };
        assert_eq!(Spent::of_usage(Usage { prompt: 1, completion: 1 }, None), free);
        assert_eq!(spent - (spent + spent), Spent::default());
    }
}
