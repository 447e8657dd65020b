//! What was used within the last minute or day, so that never more than the
//! limit is used in any minute or day. Kept by slices of time: how much is
//! kept does not grow with what is used.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::web::limits::{DAY, MINUTE};

/// A span of time that slides on, and the slices that it is cut into.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    whole: Duration,
    slice: Duration,
    /// How much longer than the span a use counts: the way to the server may
    /// shake requests together.
    jitter: Duration,
}

/// A minute, in quarters of a second.
pub(super) const LAST_MINUTE: Span =
    Span { whole: MINUTE, slice: Duration::from_millis(250), jitter: Duration::from_millis(600) };
/// A day, in pieces of 5 minutes.
pub(super) const LAST_DAY: Span = Span { whole: DAY, slice: Duration::from_mins(5), jitter: Duration::from_secs(1) };

impl Span {
    fn slice_at(self, at: Duration) -> u64 {
        (at.as_nanos() / self.slice.as_nanos()) as u64
    }

    /// When what was used in a slice counts no more.
    fn free_at(self, slice: u64) -> Duration {
        let end = self.slice.as_nanos() * (u128::from(slice) + 1);
        Duration::from_nanos(u64::try_from(end).unwrap_or(u64::MAX)).saturating_add(self.whole + self.jitter)
    }
}

/// What was used, by slice.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Window(BTreeMap<u64, f64>);

impl Window {
    /// How much was used that still counts.
    pub(super) fn used(&mut self, span: Span, now: Duration) -> f64 {
        self.0.retain(|slice, _| span.free_at(*slice) > now);
        self.0.values().sum()
    }

    /// How long until `amount` more fits into `size`; nothing if it fits now.
    /// What is larger than `size` fits when nothing else counts: the provider decides.
    pub(super) fn held_up(&mut self, span: Span, now: Duration, amount: f64, size: f64) -> Option<Duration> {
        let mut used = self.used(span, now);
        let fits = |used: f64| used <= 1e-6 || used + amount <= size + 1e-6;
        if fits(used) {
            return None;
        }
        let mut free_at = now;
        for (slice, part) in &self.0 {
            free_at = span.free_at(*slice);
            used -= part;
            if fits(used) {
                break;
            }
        }
        Some(free_at.saturating_sub(now).max(Duration::from_millis(1)))
    }

    /// Counts `amount` at a time.
    pub(super) fn add(&mut self, span: Span, at: Duration, amount: f64) {
        *self.0.entry(span.slice_at(at)).or_default() += amount;
    }

    /// Corrects what was counted at a time, if anything was.
    pub(super) fn correct(&mut self, span: Span, at: Duration, difference: f64) {
        if let Some(part) = self.0.get_mut(&span.slice_at(at)) {
            *part = (*part + difference).max(0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_never_fits_goes_alone() {
        let mut window = Window::default();
        let now = Duration::from_secs(1);
        assert_eq!(window.held_up(LAST_MINUTE, now, 900.0, 100.0), None);
        window.add(LAST_MINUTE, now, 900.0);
        let wait = window.held_up(LAST_MINUTE, now, 1.0, 100.0).expect("held up");
        assert_eq!(wait, Duration::from_millis(60_850), "until the end of its slice has left the minute");
        assert_eq!(window.held_up(LAST_MINUTE, now + wait, 900.0, 100.0), None);
    }

    #[test]
    fn what_was_counted_too_high_is_taken_back_where_it_was_counted() {
        let (mut window, at) = (Window::default(), Duration::from_secs(1));
        window.add(LAST_DAY, at, 100.0);
        window.correct(LAST_DAY, at, -70.0);
        assert!((window.used(LAST_DAY, at) - 30.0).abs() < 1e-9);
        window.correct(LAST_DAY, at, -70.0);
        assert!(window.used(LAST_DAY, at) < 1e-9, "never less than nothing");
        let mut empty = Window::default();
        empty.correct(LAST_DAY, at, 5.0);
        assert_eq!(empty, Window::default(), "where nothing is counted nothing is corrected");
    }

    proptest! {
        /// No minute has more than the limit, and nothing waits that would have fitted.
        #[test]
        fn any_minute_has_the_limit_and_no_more(
            size in 10.0_f64..2000.0,
            asked in proptest::collection::vec((0_u64..20_000, 0.01_f64..1.0), 1..200),
        ) {
            let (mut window, mut now) = (Window::default(), Duration::ZERO);
            let mut taken: Vec<(Duration, f64)> = Vec::new();
            for (pause, share) in asked {
                now += Duration::from_millis(pause);
                let amount = size * share;
                if let Some(wait) = window.held_up(LAST_MINUTE, now, amount, size) {
                    let longer = MINUTE + LAST_MINUTE.slice + LAST_MINUTE.jitter;
                    let counted = |at: Duration| taken.iter().filter(|(t, _)| *t + longer > at).map(|(_, n)| n).sum::<f64>();
                    let before = now + wait.saturating_sub(Duration::from_millis(2));
                    prop_assert!(counted(before) + amount > size, "it waits though it fits");
                    now += wait;
                    prop_assert!(window.held_up(LAST_MINUTE, now, amount, size).is_none());
                }
                window.add(LAST_MINUTE, now, amount);
                taken.push((now, amount));
                let within = taken.iter().filter(|(at, _)| *at + MINUTE > now).map(|(_, n)| n).sum::<f64>();
                prop_assert!(within <= size + 1e-3, "{} of {}", within, size);
                prop_assert!(window.0.len() <= 245, "what is kept does not grow");
            }
        }
    }
}
