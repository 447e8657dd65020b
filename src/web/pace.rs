//! What answers tell of limits: `Retry-After`, `retry-after-ms` and the
//! `x-ratelimit-*` headers, in the forms that servers really write.

use std::collections::BTreeMap;
use std::time::Duration;

/// What the headers of one answer say.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Pace {
    /// Ask nothing before this has passed.
    pub(super) retry_after: Option<Duration>,
    /// Requests left, and when they are all there again.
    pub(super) requests: Remaining,
    /// Tokens left, and when they are all there again.
    pub(super) tokens: Remaining,
}

/// What is left of one limit.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Remaining {
    /// How many are left.
    pub(super) left: Option<f64>,
    /// Until when the limit is whole again.
    pub(super) reset: Option<Duration>,
}

impl Pace {
    /// Reads the headers, by their lower-case names. `now_secs` (since 1970)
    /// is what a `Retry-After` that is a date counts from.
    pub(super) fn of(headers: &BTreeMap<String, String>, now_secs: i64) -> Self {
        let header = |name: &str| headers.get(name).map(|value| value.trim());
        let number = |name: &str| header(name).and_then(|value| value.parse::<f64>().ok());
        let remaining = |of: &str| Remaining {
            left: number(&format!("x-ratelimit-remaining-{of}")),
            reset: header(&format!("x-ratelimit-reset-{of}")).and_then(parse_wait),
        };
        let millis = number("retry-after-ms").and_then(|ms| seconds(ms / 1000.0));
        let after = || header("retry-after").and_then(|value| parse_retry_after(value, now_secs));
        Self { retry_after: millis.or_else(after), requests: remaining("requests"), tokens: remaining("tokens") }
    }
}

/// `Retry-After`: seconds, a wait with units, or an HTTP date.
fn parse_retry_after(text: &str, now_secs: i64) -> Option<Duration> {
    if let Some(wait) = parse_wait(text) {
        return Some(wait);
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    seconds((date.timestamp().as_second() - now_secs).max(0) as f64)
}

/// A wait as servers write it: `26ms`, `10.33s`, `1m0.36s`, `2h5m`, `1d`, or plain seconds.
pub(super) fn parse_wait(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(plain) = text.parse::<f64>() {
        return seconds(plain);
    }
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let scale = match unit {
            "us" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * scale;
        rest = tail;
    }
    if text.is_empty() { None } else { seconds(total) }
}

/// `Please try again in 50.597s` in a message.
pub(super) fn wait_in_message(message: &str) -> Option<Duration> {
    let (_, tail) = message.split_once("try again in ")?;
    let word = tail.split_whitespace().next()?;
    parse_wait(word.trim_end_matches(['.', ',', ';']))
}

fn seconds(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn millis(text: &str) -> Option<u128> {
        parse_wait(text).map(|wait| wait.as_millis())
    }

    #[test]
    fn waits_are_read_in_every_form_that_servers_write() {
        let read = ["10.33s", "26ms", "1m0.36s", "9m38.016s", "7", "2h5m", "0"].map(millis);
        assert_eq!(read, [10_330, 26, 60_360, 578_016, 7_000, 7_500_000, 0].map(Some));
        assert_eq!(["", "soon", "5 parsecs", "s", "1x", "-3", "NaN"].map(millis), [None; 7]);
        let message = "Rate limit reached. Please try again in 50.597s. Visit the console";
        assert_eq!(wait_in_message(message).map(|wait| wait.as_millis()), Some(50_597));
    }

    #[test]
    fn headers_tell_of_both_limits_and_of_dates() {
        let headers: BTreeMap<String, String> = [
            ("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT"),
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "2m"),
            ("x-ratelimit-remaining-tokens", "5400"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
        let pace = Pace::of(&headers, 1_445_412_470);
        assert_eq!(pace.retry_after, Some(Duration::from_secs(10)));
        assert_eq!(pace.requests, Remaining { left: Some(0.0), reset: Some(Duration::from_mins(2)) });
        assert_eq!(pace.tokens, Remaining { left: Some(5400.0), reset: None });
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,20}") {
            parse_wait(&text);
            wait_in_message(&text);
            parse_retry_after(&text, 0);
        }
    }
}
