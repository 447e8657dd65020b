//! Numbers, times and dates for people.

use maud::{Markup, html};

use super::super::Measure;
use crate::ground::thousands;

/// `1 row`, `1,200 rows`.
pub(super) fn count(number: u64, word: &str) -> String {
    format!("{} {word}{}", thousands(number), if number == 1 { "" } else { "s" })
}

/// A metric with four decimals, or a dash.
pub(super) fn metric(value: Option<f64>) -> String {
    value.filter(|value| value.is_finite()).map_or_else(|| "–".to_owned(), |value| format!("{value:.4}"))
}

/// A p with four decimals, and no smaller than can be told with them.
pub(super) fn p_value(p: f64) -> String {
    if p < 0.0001 { "< 0.0001".to_owned() } else { format!("{p:.4}") }
}

/// A share in percent.
pub(super) fn percent(share: f64, decimals: usize) -> String {
    if share.is_finite() { format!("{:.decimals$} %", share * 100.0) } else { "–".to_owned() }
}

/// `0.1512 to 0.2210`; none where there is no interval.
pub(super) fn interval(of: &Measure) -> Option<String> {
    Some(format!("{} to {}", metric(Some(of.low?)), metric(Some(of.high?))))
}

/// A metric, with its interval after it.
pub(super) fn measure(of: &Measure) -> Markup {
    html! {
        span.value { (metric(of.value)) }
        @if let (Some(low), Some(high)) = (of.low, of.high) {
            " " span.interval { "[" (metric(Some(low))) ", " (metric(Some(high))) "]" }
        }
    }
}

/// Seconds: `0.4 s`, `3 min 05 s`, `2 h 10 min`.
pub(super) fn duration(seconds: f64) -> String {
    let whole = seconds.round().max(0.0) as u64;
    match whole {
        0..60 => format!("{:.1} s", seconds.max(0.0)),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// Bytes: `512 B`, `1.4 MB`.
pub(super) fn bytes(number: u64) -> String {
    match number {
        0..1000 => format!("{number} B"),
        1000..1_000_000 => format!("{:.1} kB", number as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", number as f64 / 1e6),
        _ => format!("{:.1} GB", number as f64 / 1e9),
    }
}

/// A moment in UTC, to the minute; empty for one that no calendar has.
pub(super) fn moment(millis: u64) -> String {
    let time = i64::try_from(millis).ok().and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok());
    time.map_or_else(String::new, |time| time.strftime("%Y-%m-%d %H:%M UTC").to_string())
}

/// A word as the shell takes it.
pub(super) fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./_-".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_the_shell_are_quoted_where_they_must_be() {
        let quoted = ["train@V1", "train@V1#3", "a'b", ""].map(shell);
        assert_eq!(quoted, ["train@V1", "'train@V1#3'", r"'a'\''b'", "''"]);
    }

    #[test]
    fn moments_and_measures_are_readable() {
        assert_eq!(moment(1_800_000_000_000), "2027-01-15 08:00 UTC");
        assert_eq!(moment(u64::MAX), "");
        assert_eq!((p_value(0.0), p_value(0.04)), ("< 0.0001".into(), "0.0400".into()));
        assert_eq!((metric(None), metric(Some(f64::NAN)), bytes(1_234_567)), ("–".into(), "–".into(), "1.2 MB".into()));
    }
}
