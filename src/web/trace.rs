//! What a session was asked for, written down: which answers an offline run
//! lacks, and which exchanges a stage's rows are made of.

use std::sync::{Mutex, PoisonError};

use super::call::Call;
use crate::ground::ContentHash;

/// How many requests an offline run remembers of those it lacks.
const FIRST: usize = 5;

/// What is written down of the calls of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tracing {
    /// The calls that the memo has no answer to.
    Lacks,
    /// All calls.
    All,
    /// All calls, and how each is sent.
    Whole,
}

/// A call that was asked for.
#[derive(Debug, Clone)]
pub struct Traced {
    /// What its answer is filed under.
    pub key: ContentHash,
    /// The request for people.
    pub request: String,
    /// Whether the memo has an answer that is young enough.
    pub answered: bool,
    /// The call itself, where that is wanted, and its address without secrets.
    pub call: Option<(Call, String)>,
}

/// Requests that have no answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lacking {
    /// How many.
    pub count: u64,
    /// The first of them.
    pub first: Vec<String>,
}

/// What is written down.
#[derive(Debug)]
pub(super) struct Trace {
    what: Option<Tracing>,
    state: Mutex<(u64, Vec<Traced>)>,
}

impl Trace {
    /// Of all that is lacking how much, and the first few.
    pub(super) fn of_lacks() -> Self {
        Self { what: None, state: Mutex::default() }
    }

    pub(super) fn new(what: Tracing) -> Self {
        Self { what: Some(what), state: Mutex::default() }
    }

    /// Writes a call down; `address` is where it goes.
    pub(super) fn note(&self, call: &Call, key: ContentHash, answered: bool, address: impl FnOnce() -> String) {
        if answered && !matches!(self.what, Some(Tracing::All | Tracing::Whole)) {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, traced) = &mut *state;
        *count += u64::from(!answered);
        if self.what.is_some() || traced.len() < FIRST {
            let whole = (self.what == Some(Tracing::Whole)).then(|| (call.clone(), address()));
            traced.push(Traced { key, request: call.told(), answered, call: whole });
        }
    }

    pub(super) fn lacking(&self) -> Lacking {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Lacking { count: state.0, first: state.1.iter().take(FIRST).map(|traced| traced.request.clone()).collect() }
    }

    /// What was written down since the last call.
    pub(super) fn take(&self) -> Vec<Traced> {
        std::mem::take(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).1)
    }
}
