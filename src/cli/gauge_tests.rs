//! Tests of how a stage's progress is put into words.

use super::*;
use proptest::prelude::*;

fn gauge() -> Gauge {
    let statuses = [("ok", 12_000), ("not_found", 333), ("failed: timed out", 10), ("failed: HTTP 503", 2)];
    Gauge {
        rows: 12_345,
        total: Some(68_000),
        statuses: statuses.map(|(status, count)| (status.to_owned(), count)).into(),
        spent: Spent { requests: 12_400, prompt_tokens: 1_100_000, completion_tokens: 100_000, usd: 0.0712 },
        per_second: Some(4.9),
        seconds_left: Some(11_340.0),
        waiting: None,
    }
}

fn pause() -> Waiting {
    Waiting { seconds: 42.0, why: "the provider asked for a pause".to_owned() }
}

fn live(gauge: &Gauge, note: &str, width: usize) -> String {
    live_line("tags@V2.1", gauge, note, layout(width))
}

fn layout(width: usize) -> Layout {
    Layout { width, names: 12, style: Style::new(false) }
}

#[test]
fn a_plain_line_says_all_there_is() {
    assert_eq!(
        plain_line("tags", &gauge()),
        "tags  12,345 of 68,000 rows  4.9/s  failed 12 (10 timed out, 2 HTTP 503)  1.2 M tokens  $0.0712  3 h 9 min left"
    );
    let young = Gauge { rows: 1, ..Gauge::default() };
    assert_eq!(plain_line("core", &young), "core  1 row");
    let waiting = Gauge { waiting: Some(pause()), ..young };
    assert_eq!(plain_line("core", &waiting), "core  1 row  waiting 42 s: the provider asked for a pause");
}

#[test]
fn the_live_line_fits_and_says_the_most_important_first() {
    let lines = [140, 120, 80, 50, 40].map(|width| live(&gauge(), "", width));
    assert_eq!(
        lines,
        [
            "tags@V2.1    ███░░░░░░░░░░░░░░░░░ 12,345 of 68,000 rows  4.9/s  3 h 9 min left  12 failed (10 timed out, 2 HTTP 503)  1.2 M tokens  $0.0712",
            "tags@V2.1    ███░░░░░░░░░░░░░░░░░ 12,345 of 68,000 rows  4.9/s  3 h 9 min left  12 failed  1.2 M tokens  $0.0712",
            "tags@V2.1    █░░░░░░░░░ 12,345/68,000  4.9/s  3 h 9 min left  12 failed  $0.0712",
            "tags@V2.1    12,345/68,000  4.9/s  3 h 9 min left",
            "tags@V2.1    12,345/68,000  12 failed",
        ]
    );
}

#[test]
fn a_wait_says_why_where_there_is_room() {
    let gauge = Gauge {
        waiting: Some(pause()),
        statuses: BTreeMap::new(),
        spent: Spent::default(),
        per_second: Some(0.0),
        ..gauge()
    };
    assert_eq!(
        live(&gauge, "a note", 120),
        "tags@V2.1    ███░░░░░░░░░░░░░░░░░ 12,345 of 68,000 rows  3 h 9 min left  waiting 42 s: the provider asked for a pause"
    );
    assert_eq!(
        live(&gauge, "a note", 80),
        "tags@V2.1    █░░░░░░░░░ 12,345 of 68,000 rows  3 h 9 min left  waiting 42 s"
    );
}

#[test]
fn times_rates_and_sums_are_told_in_the_units_people_use() {
    let times = [0.4, 59.0, 200.0, 1800.0, 11_340.0, 7200.0, 90_000.0, 183_600.0].map(about);
    assert_eq!(times, ["0 s", "59 s", "3 min 20 s", "30 min", "3 h 9 min", "2 h", "1 day 1 h", "2 days 3 h"]);
    let rates = [0.0, 0.05, 0.2, 4.94, 9.97, 1234.4].map(|value| rate(value).unwrap_or_default());
    assert_eq!(rates, ["", "3.0/min", "12/min", "4.9/s", "10/s", "1,234/s"]);
    let sums = [1, 99_999, 812_345, 999_600, 3_123_000].map(tokens);
    assert_eq!(sums, ["1 token", "99,999 tokens", "812 k tokens", "1.0 M tokens", "3.1 M tokens"]);
    assert_eq!([12.3, 0.19, 0.0042, 0.00001].map(money), ["$12.30", "$0.19", "$0.0042", "< $0.0001"]);
    let spent = Spent { requests: 12_345, prompt_tokens: 3_000_000, completion_tokens: 100_000, usd: 0.19 };
    assert_eq!(spending(&spent).join(", "), "12,345 requests, 3.1 M tokens, $0.19");
    assert!(spending(&Spent::default()).is_empty());
}

#[test]
fn rows_are_counted_by_status_where_some_failed() {
    let told = outcome(&gauge().statuses);
    assert_eq!(told.as_deref(), Some("12,000 ok, 333 not_found, 12 failed (10 timed out, 2 HTTP 503)"));
    let fine = BTreeMap::from([("ok".to_owned(), 3), ("not_found".to_owned(), 2)]);
    assert_eq!(outcome(&fine), None);
    let many = ["a", "b", "c", "d", "other"].map(|reason| (format!("failed: {reason}"), 2));
    assert_eq!(outcome(&many.into()).as_deref(), Some("10 failed (2 a, 2 b, 2 c, 4 for other reasons)"));
}

proptest! {
    #[test]
    fn a_live_line_is_never_wider_than_the_terminal(
        width in 14..200_usize,
        stage in "[a-z_]{1,40}",
        rows in any::<u64>(),
        total in proptest::option::of(any::<u64>()),
        left in proptest::option::of(0.0..1e9),
        note in "[a-z ]{0,80}",
    ) {
        let gauge = Gauge { rows, total, seconds_left: left, ..gauge() };
        prop_assert!(live_line(&stage, &gauge, &note, layout(width)).chars().count() <= width);
    }
}
