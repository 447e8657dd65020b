//! Statuses of rows in a few classes, so that thousands of failures can be told
//! in a line. What stands in a `status` column is untouched by it.

use std::borrow::Cow;

/// What begins the status of a row that failed.
const FAILED: &str = "failed: ";
/// A reason that nobody knows is cut to so many characters.
const LONGEST_REASON: usize = 40;

/// What a reason holds, and the class it then has.
const CLASSES: &[(&str, &[&str])] = &[
    ("timed out", &["timed out", "timeout", "stalled", "no answer began", "not whole after", "no connection within"]),
    ("no connection", &["connect", "reset by peer", "broken pipe", "dns error", "sending request", "closed before"]),
    ("answer too long", &["is longer than"]),
    ("unreadable answer", &["an answer without", "not JSON", "not UTF-8", "without a name", "decoding", "unreadable"]),
];

/// The class of a status: a failure by its sort (`failed: HTTP 503`, without the
/// body), a skipped row as `skipped`, all else as it is.
#[must_use]
pub fn status_class(status: &str) -> Cow<'_, str> {
    match status.strip_prefix(FAILED) {
        Some(reason) => Cow::Owned(format!("{FAILED}{}", reason_class(reason))),
        None => Cow::Borrowed(status.split(':').next().unwrap_or_default().trim()),
    }
}

/// Why a row failed, if this is the status or the class of one that did.
#[must_use]
pub fn failure(status: &str) -> Option<&str> {
    status.strip_prefix(FAILED)
}

fn reason_class(reason: &str) -> Cow<'_, str> {
    if let Some(code) = http_code(reason) {
        return Cow::Owned(format!("HTTP {code}"));
    }
    let holds = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    if let Some((class, _)) = CLASSES.iter().find(|(_, words)| holds(words)) {
        return Cow::Borrowed(class);
    }
    let plain = reason.split([':', '`', '"', '{', '[', '(']).next().unwrap_or_default().trim();
    match plain.char_indices().nth(LONGEST_REASON) {
        _ if plain.is_empty() => Cow::Borrowed("other"),
        Some((end, _)) => {
            let cut = plain.get(..end).unwrap_or_default();
            Cow::Owned(format!("{}…", cut.rsplit_once(' ').map_or(cut, |(words, _)| words).trim_end()))
        }
        None => Cow::Borrowed(plain),
    }
}

/// The `503` of `HTTP 503`, wherever it stands.
fn http_code(reason: &str) -> Option<&str> {
    let (_, rest) = reason.split_once("HTTP ")?;
    rest.get(..3).filter(|code| code.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn failures_of_a_sort_are_one_class() {
        let classes = [
            ("ok", "ok"),
            ("not_found", "not_found"),
            ("skipped: no artist or title", "skipped"),
            ("failed: HTTP 503: <html>busy</html> (6 attempts)", "failed: HTTP 503"),
            ("failed: lrclib: HTTP 500: oops", "failed: HTTP 500"),
            ("failed: timed out (6 attempts)", "failed: timed out"),
            ("failed: the answer stalled for 30 s (6 attempts)", "failed: timed out"),
            ("failed: error sending request: connection closed before message completed", "failed: no connection"),
            ("failed: an answer without `toptags`: {\"surprise\":1}", "failed: unreadable answer"),
            ("failed: the answer is longer than 10 bytes", "failed: answer too long"),
            ("failed: Last.fm error 11: Service Offline", "failed: Last.fm error 11"),
            ("failed: {\"words\":1}", "failed: other"),
            (
                "failed: a reason that goes on and on and on until nobody reads it",
                "failed: a reason that goes on and on and on…",
            ),
        ];
        for (status, class) in classes {
            assert_eq!(status_class(status), class);
        }
        assert_eq!(failure("failed: HTTP 503"), Some("HTTP 503"));
        assert_eq!(failure("not_found"), None);
    }

    proptest! {
        #[test]
        fn a_class_is_short_and_its_own_class(reason in ".{0,200}") {
            let class = status_class(&format!("failed: {reason}")).into_owned();
            prop_assert!(class.chars().count() <= FAILED.len() + LONGEST_REASON + 1);
            prop_assert!(failure(&class).is_some_and(|reason| !reason.is_empty()));
            prop_assert_eq!(status_class(&class).into_owned(), class.clone());
        }
    }
}
