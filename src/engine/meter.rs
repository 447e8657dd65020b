//! What a running stage has told of its rows, and what follows from it: rates,
//! time left, counts by status. Pure: time and money come in as values.

use std::collections::BTreeMap;
use std::time::Duration;

use super::estimate::{Recent, altogether, seconds_left};
use super::event::Gauge;
use crate::stage::{Known, RowEnd, RowWork, failure, status_class};
use crate::web::Spent;

/// So many classes of statuses are counted; failures of others are counted together.
const MOST_CLASSES: usize = 24;
/// So many sorts of failures are told while a stage runs.
const TOLD_FAILURES: usize = 5;
/// A rate tells no time before so much is done.
const ENOUGH: u64 = 10;
/// Failures that are counted together.
const OTHER_FAILURES: &str = "failed: other";

/// The rows of one running stage.
#[derive(Debug, Default)]
pub(super) struct Meter {
    rows: u64,
    total: Option<u64>,
    /// Rows that the memo answered.
    free: u64,
    /// Answers that were waited for.
    asked: u64,
    statuses: BTreeMap<String, u64>,
    known: Option<Known>,
    recent_rows: Recent,
    recent_asked: Recent,
    /// Requests and answers when the first answer was seen: from there on, what
    /// is in flight is about the same at both ends.
    first: Option<(u64, u64)>,
}

/// What is left of a stage's work, in requests to plan with or in rows.
struct Left {
    units: u64,
    per_second: Option<f64>,
    requests_each: f64,
    tokens_each: f64,
}

impl Meter {
    /// How many rows there will be.
    pub(super) fn total(&mut self, rows: u64) {
        self.total = Some(rows);
    }

    /// How many rows are known before the work begins.
    pub(super) fn known(&mut self, known: Known) {
        self.known = Some(known);
    }

    /// Rows are done, of which no more is to be said.
    pub(super) fn advance(&mut self, rows: u64) {
        self.rows += rows;
    }

    /// Rows are done, and this is how.
    pub(super) fn ended(&mut self, end: RowEnd<'_>) {
        self.rows += end.rows;
        if end.asked {
            self.asked += 1;
        } else {
            self.free += end.rows;
        }
        let class = status_class(end.status);
        let count = end.rows.max(1);
        if let Some(counted) = self.statuses.get_mut(class.as_ref()) {
            *counted += count;
            return;
        }
        let is_full = self.statuses.len() >= MOST_CLASSES && failure(&class).is_some();
        let class = if is_full { OTHER_FAILURES.to_owned() } else { class.into_owned() };
        *self.statuses.entry(class).or_default() += count;
    }

    /// How many rows ended how, by class of status.
    pub(super) fn statuses(&self) -> &BTreeMap<String, u64> {
        &self.statuses
    }

    /// How far the stage is now, having spent this. `time_for` tells how long
    /// so many requests with so many tokens take at the limits.
    pub(super) fn gauge(
        &mut self,
        now: Duration,
        spent: Spent,
        time_for: impl Fn(u64, u64) -> Option<Duration>,
    ) -> Gauge {
        let worked = self.worked();
        self.recent_rows.note(now, worked);
        self.recent_asked.note(now, self.asked);
        if self.asked > 0 {
            self.first.get_or_insert((spent.requests, self.asked));
        }
        let per_second = self.recent_rows.per_second(now, worked);
        let time = self.left(now, spent).and_then(|left| {
            let at_the_limits = (spent.requests > 0 && left.units > 0)
                .then(|| {
                    let requests = altogether(left.units, left.requests_each);
                    time_for(requests, altogether(left.units, left.tokens_each))
                })
                .flatten();
            seconds_left(left.units, left.per_second, at_the_limits)
        });
        Gauge {
            rows: self.rows,
            total: self.total,
            statuses: most_common(&self.statuses),
            spent,
            per_second: per_second.map(rounded),
            seconds_left: time.map(rounded),
            waiting: None,
        }
    }

    /// The rows that took work.
    fn worked(&self) -> u64 {
        match self.known {
            Some(Known { known, work: RowWork::Embed, .. }) => self.rows.saturating_sub(known),
            _ => self.rows.saturating_sub(self.free),
        }
    }

    fn left(&self, now: Duration, spent: Spent) -> Option<Left> {
        if let Some(Known { left, work: RowWork::Ask, .. }) = self.known {
            return Some(Left {
                units: left.saturating_sub(self.asked),
                per_second: self.recent_asked.per_second(now, self.asked).filter(|_| self.asked >= ENOUGH),
                requests_each: self.requests_each(spent),
                tokens_each: spent.tokens() as f64 / self.asked.max(1) as f64,
            });
        }
        let worked = self.worked();
        let each = |amount: u64| amount as f64 / worked.max(1) as f64;
        Some(Left {
            units: self.total?.saturating_sub(self.rows),
            per_second: self.recent_rows.per_second(now, worked).filter(|_| worked >= ENOUGH),
            requests_each: each(spent.requests),
            tokens_each: each(spent.tokens()),
        })
    }

    /// Requests that one answer takes: more than one where lists have pages or
    /// attempts fail.
    fn requests_each(&self, spent: Spent) -> f64 {
        match self.first {
            Some((requests, asked)) if self.asked > asked => {
                spent.requests.saturating_sub(requests) as f64 / (self.asked - asked) as f64
            }
            _ => 1.0,
        }
    }
}

/// The counts, with all but the commonest failures together.
fn most_common(statuses: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let mut failures: Vec<(&String, u64)> =
        statuses.iter().filter(|(class, _)| failure(class).is_some()).map(|(class, count)| (class, *count)).collect();
    if failures.len() <= TOLD_FAILURES {
        return statuses.clone();
    }
    failures.sort_by_key(|(class, count)| (class.as_str() == OTHER_FAILURES, std::cmp::Reverse(*count)));
    let mut told = statuses.clone();
    let rest: u64 = failures.iter().skip(TOLD_FAILURES - 1).filter_map(|(class, _)| told.remove(*class)).sum();
    told.insert(OTHER_FAILURES.to_owned(), rest);
    told
}

/// Two digits after the point are enough.
pub(super) fn rounded(value: f64) -> f64 {
    if value.abs() < 1e12 { (value * 100.0).round() / 100.0 } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn end(status: &str, asked: bool) -> RowEnd<'_> {
        RowEnd { status, rows: 1, asked }
    }

    fn requests(requests: u64) -> Spent {
        Spent { requests, ..Spent::default() }
    }

    fn unlimited(_: u64, _: u64) -> Option<Duration> {
        None
    }

    #[test]
    fn rows_of_the_memo_make_no_rate() {
        let mut meter = Meter::default();
        meter.total(1000);
        meter.known(Known { rows: 1000, known: 900, left: 100, work: RowWork::Ask, expected: None });
        meter.gauge(Duration::ZERO, Spent::default(), unlimited);
        (0..900).for_each(|_| meter.ended(end("ok", false)));
        (0..10).for_each(|_| meter.ended(end("ok", true)));
        let gauge = meter.gauge(SECOND * 5, requests(14), unlimited);
        assert_eq!((gauge.rows, gauge.per_second, gauge.seconds_left), (910, Some(2.0), Some(45.0)));
        let mut young = Meter::default();
        young.total(1000);
        young.gauge(Duration::ZERO, Spent::default(), unlimited);
        young.ended(end("ok", true));
        assert_eq!(young.gauge(SECOND * 5, requests(9), unlimited).seconds_left, None, "one row says little");
    }

    #[test]
    fn the_limits_tell_the_time_where_they_are_tighter() {
        let mut meter = Meter::default();
        meter.total(100);
        meter.known(Known { rows: 100, known: 0, left: 100, work: RowWork::Ask, expected: None });
        meter.gauge(Duration::ZERO, Spent::default(), unlimited);
        meter.ended(end("ok", true));
        meter.gauge(SECOND, requests(9), unlimited);
        (0..9).for_each(|_| meter.ended(end("ok", true)));
        // Nine answers more took 18 requests more: each has two pages.
        let spent = Spent { requests: 27, prompt_tokens: 80, completion_tokens: 20, usd: 0.0 };
        let gauge = meter.gauge(SECOND * 2, spent, |requests, tokens| {
            assert_eq!((requests, tokens), (180, 900));
            Some(Duration::from_mins(30))
        });
        assert_eq!(gauge.seconds_left, Some(1800.0));
    }

    #[test]
    fn where_nothing_is_known_ahead_rows_tell_the_time() {
        let mut meter = Meter::default();
        assert_eq!(meter.gauge(Duration::ZERO, Spent::default(), unlimited).seconds_left, None);
        meter.total(50);
        meter.advance(10);
        let gauge =
            meter.gauge(SECOND * 5, requests(40), |requests, _| Some(SECOND * u32::try_from(requests).unwrap()));
        assert_eq!((gauge.per_second, gauge.seconds_left), (Some(2.0), Some(160.0)), "4 requests for each row");
        meter.ended(RowEnd { status: "private", rows: 0, asked: true });
        assert_eq!(meter.statuses()["private"], 1, "a request that is no row of its own is counted");
        assert_eq!(meter.gauge(SECOND * 6, requests(41), unlimited).rows, 10);
    }

    #[test]
    fn texts_that_have_their_vectors_make_no_rate() {
        let mut meter = Meter::default();
        meter.total(1000);
        meter.known(Known { rows: 1000, known: 800, left: 200, work: RowWork::Embed, expected: None });
        meter.gauge(Duration::ZERO, Spent::default(), unlimited);
        meter.advance(800);
        meter.advance(50);
        let gauge = meter.gauge(SECOND * 10, Spent::default(), unlimited);
        assert_eq!((gauge.per_second, gauge.seconds_left), (Some(5.0), Some(30.0)));
    }

    #[test]
    fn failures_are_told_by_sort_and_no_more_than_a_few() {
        let mut meter = Meter::default();
        for code in 400..440 {
            for _ in 0..(code - 399) {
                meter.ended(end(&format!("failed: HTTP {code}: {{}}"), true));
            }
        }
        meter.ended(end("not_found", true));
        assert!(meter.statuses().len() <= MOST_CLASSES + 2);
        let told = meter.gauge(SECOND, requests(1), unlimited).statuses;
        let sorts: Vec<&str> = told.keys().map(String::as_str).collect();
        assert_eq!(
            sorts,
            [
                "failed: HTTP 420",
                "failed: HTTP 421",
                "failed: HTTP 422",
                "failed: HTTP 423",
                "failed: other",
                "not_found"
            ]
        );
        assert_eq!(told.values().sum::<u64>(), 40 * 41 / 2 + 1, "none is lost");
    }

    proptest! {
        #[test]
        fn what_is_told_is_always_a_number(
            steps in proptest::collection::vec((0..3000_u64, 0..20_u64, any::<bool>(), 0..60_u64), 1..60),
            known in proptest::option::of((0..500_u64, 0..500_u64)),
            total in proptest::option::of(0..500_u64),
        ) {
            let mut meter = Meter::default();
            if let Some(total) = total {
                meter.total(total);
            }
            if let Some((known, left)) = known {
                meter.known(Known { rows: 500, known, left, work: RowWork::Ask, expected: None });
            }
            let (mut now, mut spent) = (Duration::ZERO, Spent::default());
            for (millis, rows, asked, sent) in steps {
                now += Duration::from_millis(millis);
                spent.requests += sent;
                meter.ended(RowEnd { status: "ok", rows, asked });
                let gauge = meter.gauge(now, spent, |requests, _| Some(Duration::from_millis(requests)));
                for value in gauge.per_second.iter().chain(&gauge.seconds_left) {
                    prop_assert!(value.is_finite() && *value >= 0.0);
                }
            }
        }
    }
}
