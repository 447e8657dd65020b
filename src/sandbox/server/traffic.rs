//! Counts of what was asked and answered, for `/__stats` and for faults.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

/// What one route has had.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    /// Requests that arrived.
    pub(super) received: u64,
    /// Answered with 200, faults not counted.
    pub(super) ok: u64,
    /// Answered in full with any status, faults and limits not counted.
    pub(super) answered: u64,
    /// Refused because of `per_second` or `limits`.
    pub(super) limited: u64,
    /// Failed by `faults`.
    pub(super) failed: u64,
    /// Requests that had been answered before: what a memo would have saved.
    pub(super) repeated: u64,
    /// When the first arrived, in milliseconds by the server's clock.
    pub(super) first_millis: Option<u64>,
    /// When the last arrived.
    pub(super) last_millis: Option<u64>,
}

/// What one request has had.
#[derive(Debug, Default, Clone, Copy)]
struct History {
    attempts: u32,
    answered: bool,
}

/// All that was asked since the start.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    routes: BTreeMap<String, Counts>,
    requests: BTreeMap<u64, History>,
}

impl Traffic {
    /// Counts a request that arrives at `now` and says how many attempts at it
    /// were made or answered before.
    pub(super) fn received(&mut self, route: &str, request: u64, now: u64) -> u32 {
        let history = self.requests.entry(request).or_default();
        let counts = self.routes.entry(route.to_owned()).or_default();
        counts.received += 1;
        counts.repeated += u64::from(history.answered);
        counts.first_millis = counts.first_millis.or(Some(now));
        counts.last_millis = Some(now);
        history.attempts
    }

    pub(super) fn limited(&mut self, route: &str) {
        self.count(route).limited += 1;
    }

    pub(super) fn failed(&mut self, route: &str, request: u64) {
        self.count(route).failed += 1;
        self.requests.entry(request).or_default().attempts += 1;
    }

    pub(super) fn answered(&mut self, route: &str, request: u64, ok: bool) {
        let counts = self.count(route);
        counts.answered += 1;
        counts.ok += u64::from(ok);
        let history = self.requests.entry(request).or_default();
        history.attempts += 1;
        history.answered = true;
    }

    /// `{"total": counts, "routes": {name: counts}}`.
    pub(super) fn stats(&self) -> Value {
        let mut total = Counts::default();
        for counts in self.routes.values() {
            total.received += counts.received;
            total.ok += counts.ok;
            total.answered += counts.answered;
            total.limited += counts.limited;
            total.failed += counts.failed;
            total.repeated += counts.repeated;
            total.first_millis = [total.first_millis, counts.first_millis].into_iter().flatten().min();
            total.last_millis = total.last_millis.max(counts.last_millis);
        }
        json!({"total": total, "routes": self.routes})
    }

    fn count(&mut self, route: &str) -> &mut Counts {
        self.routes.entry(route.to_owned()).or_default()
    }
}
