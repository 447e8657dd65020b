//! What answers tell of limits: `Retry-After`, `retry-after-ms`, `x-ratelimit-*`
//! and its kin, in the spellings that servers really use. Decides nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use super::limits::{DAY, HOUR, MINUTE, SECOND};

/// What the headers of one answer say.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Pace {
    /// Ask nothing before this has passed.
    pub(super) retry_after: Option<Duration>,
    /// What is told of each limit.
    pub(super) told: Vec<Told>,
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    Requests,
    Tokens,
}

/// What is told of one limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Told {
    /// What it counts.
    pub(super) what: What,
    /// Whether it counts all of them, and not only the tokens of prompts or answers.
    pub(super) is_whole: bool,
    /// The time that the limit is for, where the header says so.
    pub(super) period: Option<Duration>,
    /// The limit.
    pub(super) limit: Option<f64>,
    /// How many are left.
    pub(super) left: Option<f64>,
    /// Until the limit is whole again.
    pub(super) reset: Option<Duration>,
}

/// Which of a limit's numbers a header tells.
enum Number {
    Limit,
    Left,
    Reset,
}

/// What tells one limit from the others: what it counts, the period, and which
/// part of the tokens.
type Key = (What, Option<Duration>, &'static str);

impl Pace {
    /// Reads the headers, by their lower-case names. `now_secs` (since 1970)
    /// is what dates count from.
    pub(super) fn of(headers: &BTreeMap<String, String>, now_secs: i64) -> Self {
        let header = |name: &str| headers.get(name).map(|value| value.trim());
        let millis = header("retry-after-ms").and_then(|value| value.parse::<f64>().ok());
        // Some servers round down to 0 ms what they call a second.
        let millis = millis.filter(|millis| *millis > 0.0).and_then(|millis| seconds(millis / 1000.0));
        let after = || header("retry-after").and_then(|value| parse_moment(value, now_secs));
        let mut told: BTreeMap<Key, Told> = BTreeMap::new();
        for (name, value) in headers.iter().filter(|(name, _)| tells_of_limits(name)) {
            if name == "ratelimit" || name == "ratelimit-policy" {
                read_structured(value, told.entry((What::Requests, None, "")).or_insert_with_key(empty));
            } else if let Some((key, number)) = read_name(name) {
                let of_limit = told.entry(key).or_insert_with_key(empty);
                match number {
                    Number::Limit => of_limit.limit = leading_number(value),
                    Number::Left => of_limit.left = leading_number(value),
                    Number::Reset => of_limit.reset = parse_moment(value, now_secs),
                }
            }
        }
        let says = |told: &Told| told.limit.is_some() || told.left.is_some();
        Self { retry_after: millis.or_else(after), told: told.into_values().filter(says).collect() }
    }
}

/// Whether a header, by its lower-case name, may tell of limits.
pub(super) fn tells_of_limits(name: &str) -> bool {
    name.starts_with("retry-after") || ["ratelimit", "rate-limit", "tokenlimit"].iter().any(|word| name.contains(word))
}

fn empty(key: &Key) -> Told {
    Told { what: key.0, is_whole: key.2.is_empty(), period: key.1, limit: None, left: None, reset: None }
}

/// A header's name, whatever the order of its words: `x-ratelimit-remaining-tokens-minute`,
/// `anthropic-ratelimit-requests-reset`, `ratelimit-limit`. None if a word is
/// not known: it may mean anything.
fn read_name(name: &str) -> Option<(Key, Number)> {
    let (mut what, mut period, mut part, mut number) = (What::Requests, None, "", None);
    for word in name.replace("rate-limit", "ratelimit").split(['-', '_']) {
        match word {
            "x" | "anthropic" | "ratelimit" | "requests" | "request" => {}
            "tokens" | "token" | "tokenlimit" | "ratelimitbysize" => what = What::Tokens,
            "input" | "prompt" => part = "input",
            "output" | "completion" | "generated" => part = "output",
            "second" => period = Some(SECOND),
            "minute" => period = Some(MINUTE),
            "hour" => period = Some(HOUR),
            "day" => period = Some(DAY),
            "limit" => number = Some(Number::Limit),
            "remaining" => number = Some(Number::Left),
            "reset" => number = Some(Number::Reset),
            _ => return None,
        }
    }
    Some(((what, period, part), number?))
}

/// The drafts of the IETF: `limit=100, remaining=50, reset=5`, `"default";r=50;t=30`
/// and, as a policy, `"default";q=100;w=60` or `100;w=60`. Of several policies nothing is taken.
fn read_structured(value: &str, told: &mut Told) {
    let is_list = value.split(',').filter(|part| part.contains(';')).count() > 1;
    if is_list || value.contains("qu=") {
        return;
    }
    for part in value.split([',', ';']) {
        let (name, value) = part.split_once('=').unwrap_or(("q", part));
        let Some(number) = leading_number(value) else { continue };
        match name.trim() {
            "limit" | "q" => told.limit = Some(number),
            "remaining" | "r" => told.left = Some(number),
            "reset" | "t" => told.reset = seconds(number),
            "w" => told.period = seconds(number),
            _ => {}
        }
    }
}

/// `100`, also where more follows: `100, 100;w=60`. Less than nothing is nothing.
fn leading_number(text: &str) -> Option<f64> {
    let text = text.trim();
    let end = text.find([',', ';', ' ']).unwrap_or(text.len());
    let number = text.get(..end)?.parse::<f64>().ok()?;
    number.is_finite().then_some(number.max(0.0))
}

/// How long until a moment, as servers write it: seconds, a wait with units,
/// seconds or milliseconds since 1970, or a date.
fn parse_moment(text: &str, now_secs: i64) -> Option<Duration> {
    /// As seconds from now this would be 30 years: it is a time since 1970.
    const SINCE_1970: f64 = 1e9;
    const MILLIS_SINCE_1970: f64 = 1e12;
    let text = text.trim();
    let until = |at: f64| seconds((at - now_secs as f64).max(0.0));
    match text.parse::<f64>() {
        Ok(millis) if millis >= MILLIS_SINCE_1970 => return until(millis / 1000.0),
        Ok(secs) if secs >= SINCE_1970 => return until(secs),
        _ => {}
    }
    if let Some(wait) = parse_wait(text) {
        return Some(wait);
    }
    let date = jiff::fmt::rfc2822::parse(text).map(|date| date.timestamp());
    let date = date.or_else(|_| text.parse::<jiff::Timestamp>()).ok()?;
    until(date.as_second() as f64)
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

    fn read<const N: usize>(headers: [(&str, &str); N]) -> Pace {
        Pace::of(&headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into(), 1_445_412_470)
    }

    /// `requests minute 30 left 12 in 5s`.
    fn told(pace: &Pace) -> Vec<String> {
        let show = |told: &Told| {
            let what = format!("{:?}{}", told.what, if told.is_whole { "" } else { " (part)" });
            let period = told.period.map(|period| format!(" in {period:?}")).unwrap_or_default();
            let [limit, left] = [told.limit, told.left].map(|n| n.map_or("?".to_owned(), |n| n.to_string()));
            let reset = told.reset.map(|reset| format!(", reset in {reset:?}")).unwrap_or_default();
            format!("{what}{period}: {left} of {limit}{reset}")
        };
        pace.told.iter().map(show).collect()
    }

    #[test]
    fn headers_of_openai_groq_and_azure_are_read() {
        let pace = read([
            ("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT"),
            ("x-ratelimit-limit-requests", "14400"),
            ("x-ratelimit-limit-tokens", "30000"),
            ("x-ratelimit-remaining-requests", "14397"),
            ("x-ratelimit-remaining-tokens", "29987"),
            ("x-ratelimit-reset-requests", "17.399999999s"),
            ("x-ratelimit-reset-tokens", "26ms"),
        ]);
        assert_eq!(pace.retry_after, Some(Duration::from_secs(10)));
        assert_eq!(
            told(&pace),
            ["Requests: 14397 of 14400, reset in 17.399999999s", "Tokens: 29987 of 30000, reset in 26ms"]
        );
        let both = |millis, secs| read([("retry-after-ms", millis), ("retry-after", secs)]).retry_after;
        assert_eq!(both("250", "1"), Some(Duration::from_millis(250)));
        assert_eq!(both("0", "1"), Some(Duration::from_secs(1)), "as Azure was seen to answer");
        assert_eq!(read([("content-type", "application/json")]), Pace::default());
    }

    #[test]
    fn other_spellings_are_read_as_well() {
        let by_minute = read([
            ("x-ratelimit-limit-requests-day", "1000"),
            ("x-ratelimit-remaining-requests-day", "990"),
            ("x-ratelimit-reset-requests-day", "3600.5"),
            ("x-ratelimit-limit-tokens-minute", "60000"),
            ("x-ratelimit-remaining-tokens-minute", "0"),
        ]);
        assert_eq!(
            told(&by_minute),
            ["Requests in 86400s: 990 of 1000, reset in 3600.5s", "Tokens in 60s: 0 of 60000"]
        );
        let dated = read([
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-requests-remaining", "0"),
            ("anthropic-ratelimit-requests-reset", "2015-10-21T07:28:00Z"),
            ("anthropic-ratelimit-input-tokens-remaining", "7"),
        ]);
        assert_eq!(told(&dated), ["Requests: 0 of 50, reset in 10s", "Tokens (part): 7 of ?"]);
        let plain = read([
            ("x-ratelimit-limit", "60"),
            ("x-ratelimit-remaining", "-1"),
            ("x-ratelimit-reset", "1445412490"),
            ("x-ratelimit-bucket-remaining", "7"),
        ]);
        assert_eq!(told(&plain), ["Requests: 0 of 60, reset in 20s"], "a time since 1970; a bucket may be anything");
        let millis = read([("x-rate-limit-remaining", "3"), ("x-rate-limit-reset", "1445412490000")]);
        assert_eq!(told(&millis), ["Requests: 3 of ?, reset in 20s"]);
        let size = read([("x-ratelimitbysize-limit-minute", "500000"), ("x-tokenlimit-remaining", "9")]);
        assert_eq!(told(&size), ["Tokens: 9 of ?", "Tokens in 60s: ? of 500000"]);
    }

    #[test]
    fn the_drafts_of_the_ietf_are_read() {
        let old =
            read([("ratelimit-limit", "100, 100;w=60"), ("ratelimit-remaining", "50"), ("ratelimit-reset", "30")]);
        assert_eq!(told(&old), ["Requests: 50 of 100, reset in 30s"]);
        let listed = read([("ratelimit", "limit=100, remaining=0, reset=5")]);
        assert_eq!(told(&listed), ["Requests: 0 of 100, reset in 5s"]);
        let new = read([("ratelimit", "\"default\";r=50;t=30"), ("ratelimit-policy", "\"default\";q=100;w=60")]);
        assert_eq!(told(&new), ["Requests in 60s: 50 of 100, reset in 30s"]);
        let several = read([("ratelimit-policy", "\"a\";q=10;w=1, \"b\";q=100;w=60")]);
        assert!(several.told.is_empty(), "which of them a number is of cannot be said");
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,20}", name in "(x-)?rate-?limit-[a-z-]{0,20}") {
            parse_wait(&text);
            wait_in_message(&text);
            let text = text.as_str();
            read([(name.as_str(), text), ("ratelimit", text), ("retry-after", text), ("retry-after-ms", text)]);
        }
    }
}
