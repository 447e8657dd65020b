//! Reading JSON whose shapes vary: numbers as texts, one object where a list
//! belongs, and the several forms of nothing. Also what any provider's failures
//! have in common.

use serde_json::Value;

use super::call::{Answer, Verdict};

/// A text, or a number or truth value as text; nothing for the rest, and for
/// texts of white space.
pub(super) fn text(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        _ => return None,
    };
    if text.is_empty() { None } else { Some(text) }
}

/// A whole number, be it a number or a text.
pub(super) fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| whole(number.as_f64()?)),
        Value::String(text) => {
            let text = text.trim();
            text.parse().ok().or_else(|| whole(text.parse::<f64>().ok()?))
        }
        _ => None,
    }
}

fn whole(number: f64) -> Option<i64> {
    (number.is_finite() && number.abs() < 9e15).then_some(number as i64)
}

/// The items of a list; a single object is a list of one; everything else is empty.
pub(super) fn list(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(_) => vec![value],
        _ => Vec::new(),
    }
}

/// What an answer means that is not a provider's own kind of answer: pages of
/// proxies, overload, and statuses without a body that explains them.
pub(super) fn verdict_by_status(answer: &Answer) -> Verdict {
    let reason = match answer.excerpt() {
        body if body.is_empty() => format!("HTTP {}", answer.status),
        body => format!("HTTP {}: {body}", answer.status),
    };
    match answer.status {
        429 => Verdict::Retry { after: None, everyone: true, reason },
        408 | 425 | 498 | 500.. => Verdict::Retry { after: None, everyone: false, reason },
        // A page where data belongs: a proxy, a captive portal, maintenance.
        200..300 => Verdict::Retry { after: None, everyone: false, reason: format!("not JSON: {}", answer.excerpt()) },
        _ => Verdict::Row { reason },
    }
}

#[cfg(test)]
pub(super) fn answer(status: u16, body: &str) -> Answer {
    let body = std::sync::Arc::from(body.as_bytes());
    Answer { status, headers: std::collections::BTreeMap::new(), body, at: 0, from_memo: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_are_read_in_both_spellings() {
        let read = [json!(7), json!("7"), json!(" 7 "), json!(7.0), json!("7.9")].map(|value| integer(&value));
        assert_eq!(read, [Some(7); 5]);
        assert_eq!([json!(""), json!(null), json!([]), json!("x")].map(|value| integer(&value)), [None; 4]);
    }

    #[test]
    fn lists_come_as_lists_single_objects_and_nothing() {
        let lengths =
            [json!([1, 2]), json!({"a": 1}), json!(""), json!("\n"), json!(null)].map(|value| list(&value).len());
        assert_eq!(lengths, [2, 1, 0, 0, 0]);
    }

    #[test]
    fn what_may_pass_is_told_from_what_cannot() {
        let kind = |status, body| match verdict_by_status(&answer(status, body)) {
            Verdict::Retry { everyone: true, .. } => "wait",
            Verdict::Retry { .. } => "again",
            Verdict::Row { .. } => "never",
            _ => "other",
        };
        let kinds = [200, 429, 500, 503, 599, 403, 404].map(|status| kind(status, "<html>"));
        assert_eq!(kinds, ["again", "wait", "again", "again", "again", "never", "never"]);
    }
}
