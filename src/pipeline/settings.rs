//! Puts mistakes in settings, which know their path, at their lines and columns.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::node::{Content, Entry, Node};
use super::report::{Place, Report};
use crate::ground::closest;
use crate::stage::{SettingProblem, decode_settings};

/// Decodes a block of settings such as one limiter; reports its mistakes.
/// `owner` starts each message: "the limiter `lastfm`".
pub(super) fn decode<S: DeserializeOwned + JsonSchema>(owner: &str, entry: &Entry, report: &mut Report) -> Option<S> {
    match every_mistake(&entry.node.to_value(), decode_settings) {
        Ok(settings) => Some(settings),
        Err(problems) => {
            report_all(owner, problems, Some(entry), entry.place, report);
            None
        }
    }
}

/// Checks settings until every mistake is known: a decoder stops at the first
/// value that does not fit, so what has a mistake is left out and the rest is
/// checked again.
///
/// # Errors
/// The mistakes, without those that only follow from others.
pub(super) fn every_mistake<T>(
    with: &Value,
    check: impl Fn(&Value) -> Result<T, Vec<SettingProblem>>,
) -> Result<T, Vec<SettingProblem>> {
    let mut found = match check(with) {
        Ok(checked) => return Ok(checked),
        Err(problems) => problems,
    };
    let mut rest = with.clone();
    while let Value::Object(map) = &mut rest {
        let wrong: Vec<String> =
            map.keys().filter(|key| found.iter().any(|problem| begins_with(&problem.path, key))).cloned().collect();
        if wrong.is_empty() {
            break;
        }
        map.retain(|key, _| !wrong.contains(key));
        for problem in check(&rest).err().unwrap_or_default() {
            let follows = quoted(&problem.what).iter().any(|word| with.get(word).is_some() && rest.get(word).is_none());
            if !follows && !found.contains(&problem) {
                found.push(problem);
            }
        }
    }
    let meant: Vec<String> = found.iter().filter_map(|problem| problem.hint.clone()).collect();
    found.retain(|problem| {
        let missing = problem.what.strip_prefix("the setting `").and_then(|rest| rest.strip_suffix("` is missing"));
        missing.is_none_or(|name| !meant.contains(&format!("did you mean `{name}`?")))
    });
    Err(found)
}

/// Whether a path starts with that key.
fn begins_with(path: &str, key: &str) -> bool {
    path.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Reports mistakes in the settings below `entry`; without one, at `place`.
pub(super) fn report_all(
    owner: &str,
    problems: Vec<SettingProblem>,
    entry: Option<&Entry>,
    place: Place,
    report: &mut Report,
) {
    for problem in problems {
        let at = entry.map_or(place, |entry| place_of(&problem, entry));
        let hint = problem.hint.or_else(|| hint_in(&problem.what));
        let what = in_plain_words(&problem.what);
        report.put(Some(at), format!("{owner}: {what}"), hint);
    }
}

/// Where in the file a mistake is: the key if it is one that is not known, the
/// value if that is wrong, and the block's own key if something is missing.
fn place_of(problem: &SettingProblem, entry: &Entry) -> Place {
    let unknown = problem.what.starts_with("unknown setting") || problem.what.starts_with("unknown field");
    let mut at = entry.place;
    let mut node = &entry.node;
    let mut rest = problem.path.as_str();
    while !rest.is_empty() {
        let Some((step_place, next, tail)) = step(node, rest) else { break };
        at = if unknown { step_place } else { next.place };
        node = next;
        rest = tail;
    }
    let missing = problem.what.starts_with("missing field") || problem.what.contains("is missing");
    if unknown && let Some(named) = quoted(&problem.what).first().and_then(|name| node.entry(name)) {
        return named.place;
    }
    if problem.path.is_empty() && !missing && !unknown && !node.is_null() { node.place } else { at }
}

/// One step down a path: where the key or item is, its value, and the rest.
/// Keys may themselves hold dots, so the longest that fits is taken.
pub(super) fn step<'a, 'p>(node: &'a Node, path: &'p str) -> Option<(Place, &'a Node, &'p str)> {
    match &node.content {
        Content::Scalar(_) => None,
        Content::Map(entries) => {
            let fits = entries.iter().filter(|entry| begins_with(path, &entry.key));
            let entry = fits.max_by_key(|entry| entry.key.len())?;
            let rest = path.strip_prefix(entry.key.as_str())?;
            Some((entry.place, &entry.node, rest.strip_prefix('.').unwrap_or(rest)))
        }
        Content::List(items) => {
            let path = path.strip_prefix('[').unwrap_or(path);
            let end = path.find(|c: char| !c.is_ascii_digit()).unwrap_or(path.len());
            let (index, rest) = path.split_at(end);
            let item = items.get(index.parse::<usize>().ok()?)?;
            let rest = rest.strip_prefix(']').unwrap_or(rest);
            Some((item.place, item, rest.strip_prefix('.').unwrap_or(rest)))
        }
    }
}

/// The words in backticks, in order.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// "did you mean" for messages such as "unknown variant `a`, expected one of `b`, `c`".
fn hint_in(what: &str) -> Option<String> {
    if !what.starts_with("unknown") {
        return None;
    }
    let (word, known) = quoted(what).split_first().map(|(word, known)| (*word, known.to_vec()))?;
    closest(word, known).map(|near| format!("did you mean `{near}`?"))
}

/// Says what a decoder expected as people would.
fn in_plain_words(what: &str) -> String {
    // Its "variant" is another word than ours.
    let what =
        what.strip_prefix("unknown variant ").map_or_else(|| what.to_owned(), |rest| format!("unknown value {rest}"));
    let Some((before, expected)) = what.rsplit_once(", expected ") else { return what };
    let expected = match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, at least 0",
        "a nonzero u8" | "a nonzero u16" | "a nonzero u32" | "a nonzero u64" | "a nonzero usize" => {
            "a whole number, at least 1"
        }
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a sequence" => "a list",
        "a map" => "a mapping",
        "a string" => "text",
        "a boolean" => "true or false",
        other => other,
    };
    format!("{before}, expected {expected}")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::yaml;
    use super::*;

    /// The line and column at which a problem with that path would be shown.
    fn at(path: &str, what: &str) -> (usize, usize) {
        let text = "with:\n  bands: [1, 2]\n  columns:\n    a.b: x\n    a: { b: y }\n  list:\n    - { deep: 1 }\n";
        let mut report = Report::new(Path::new("p.yaml"), text);
        let root = yaml::parse(text, &mut report).unwrap();
        let place = place_of(&SettingProblem::new(path, what), root.entry("with").unwrap());
        (place.line, place.column)
    }

    #[test]
    fn paths_lead_to_keys_and_values() {
        assert_eq!(at("bands[1]", "too large"), (2, 14));
        assert_eq!(at("bands.1", "too large"), (2, 14));
        assert_eq!(at("columns.a.b", "wrong"), (4, 10));
        assert_eq!(at("list[0].deep", "unknown field `deep`"), (7, 9));
        assert_eq!(at("list[0]", "unknown field `deep`, expected `x`"), (7, 9));
        assert_eq!(at("bands", "unknown setting `bands`"), (2, 3));
        assert_eq!(at("bands", "not a list"), (2, 10));
        assert_eq!(at("", "the setting `x` is missing"), (1, 1));
        assert_eq!(at("not.there", "wrong"), (1, 1));
    }
}
