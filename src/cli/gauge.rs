//! How far a stage is, in words: for the live view, for plain lines and for
//! what is told at its end. Only text; sizes and times come in as values.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::terminal::{Style, count, thousands};
use crate::engine::{Gauge, Waiting};
pub(super) use crate::ground::rate;
pub(super) use crate::ground::time_about as about;
use crate::stage::failure;
use crate::web::Spent;

/// So many reasons are named in one line.
const NAMED_REASONS: usize = 3;
/// From this width on, a line of the live view has a long bar.
const WIDE: usize = 110;
/// Below this width it has none.
const NARROW: usize = 70;
/// Longer names of stages are cut there.
const LONGEST_NAME: usize = 24;

/// What was spent, each thing that is not nothing: `12,345 requests`, `3.1 M tokens`, `$0.19`.
pub(super) fn spending(spent: &Spent) -> Vec<String> {
    let requests = (spent.requests > 0).then(|| count(spent.requests, "request"));
    let tokens = (spent.tokens() > 0).then(|| tokens(spent.tokens()));
    let money = (spent.usd > 0.0).then(|| money(spent.usd));
    requests.into_iter().chain(tokens).chain(money).collect()
}

/// `950 tokens`, `12,345 tokens`, `812 k tokens`, `3.1 M tokens`.
fn tokens(number: u64) -> String {
    match number {
        0..100_000 => count(number, "token"),
        100_000..999_500 => format!("{} k tokens", (number + 500) / 1000),
        _ => format!("{:.1} M tokens", number as f64 / 1e6),
    }
}

/// `$12.30`, `$0.19`, `$0.0042`; less than that is `< $0.0001`.
pub(super) fn money(usd: f64) -> String {
    match usd {
        _ if usd >= 0.095 => format!("${usd:.2}"),
        _ if usd >= 0.0001 => format!("${usd:.4}"),
        _ => "< $0.0001".to_owned(),
    }
}

/// The failures among statuses, commonest first, those that share no reason last.
fn failures(statuses: &BTreeMap<String, u64>) -> Vec<(&str, u64)> {
    let mut failures: Vec<(&str, u64)> =
        statuses.iter().filter_map(|(status, count)| Some((failure(status)?, *count))).collect();
    failures.sort_by_key(|(reason, count)| (*reason == "other", std::cmp::Reverse(*count)));
    failures
}

fn failed(statuses: &BTreeMap<String, u64>) -> u64 {
    failures(statuses).iter().map(|(_, count)| count).sum()
}

/// ` (10 timed out, 2 HTTP 503)`.
fn reasons(statuses: &BTreeMap<String, u64>) -> String {
    let failures = failures(statuses);
    let mut told: Vec<String> =
        failures.iter().take(NAMED_REASONS).map(|(reason, count)| format!("{} {reason}", thousands(*count))).collect();
    let rest: u64 = failures.iter().skip(NAMED_REASONS).map(|(_, count)| count).sum();
    if rest > 0 {
        told.push(format!("{} for other reasons", thousands(rest)));
    }
    format!(" ({})", told.join(", "))
}

/// The rows by status, if some failed: `67,012 ok, 76 not_found, 12 failed (12 timed out)`.
pub(super) fn outcome(statuses: &BTreeMap<String, u64>) -> Option<String> {
    let failed = failed(statuses);
    if failed == 0 {
        return None;
    }
    let mut others: Vec<(&str, u64)> =
        statuses.iter().filter(|(s, _)| failure(s).is_none()).map(|(s, count)| (s.as_str(), *count)).collect();
    others.sort_by_key(|(status, count)| (*status != "ok", std::cmp::Reverse(*count)));
    let others = others.iter().map(|(status, count)| format!("{} {status}", thousands(*count)));
    Some(others.chain([format!("{} failed{}", thousands(failed), reasons(statuses))]).collect::<Vec<_>>().join(", "))
}

/// `1,234 of 68,000 rows`, `1,234 rows`.
pub(super) fn rows(gauge: &Gauge) -> String {
    match gauge.total {
        Some(total) => format!("{} of {}", thousands(gauge.rows), count(total, "row")),
        None => count(gauge.rows, "row"),
    }
}

fn left(gauge: &Gauge) -> Option<String> {
    gauge.seconds_left.filter(|seconds| *seconds >= 0.5).map(|seconds| format!("{} left", about(seconds)))
}

/// `waiting 42 s`.
fn short_wait(waiting: &Waiting) -> String {
    format!("waiting {}", about(waiting.seconds))
}

/// A stage that runs for long, in one line:
/// `tags  12,345 of 68,000 rows  4.9/s  failed 12 (10 timed out, 2 HTTP 503)  3 h 9 min left`.
pub(super) fn plain_line(stage: &str, gauge: &Gauge) -> String {
    let mut parts = vec![stage.to_owned(), rows(gauge)];
    parts.extend(gauge.per_second.and_then(rate));
    let failed = failed(&gauge.statuses);
    parts.extend((failed > 0).then(|| format!("failed {}{}", thousands(failed), reasons(&gauge.statuses))));
    parts.extend(spending(&Spent { requests: 0, ..gauge.spent }));
    parts.extend(left(gauge));
    parts.extend(gauge.waiting.as_ref().map(|waiting| format!("{}: {}", short_wait(waiting), waiting.why)));
    parts.join("  ")
}

/// One thing that a line of the live view may say.
struct Part {
    short: String,
    long: String,
    /// The smallest is given room first.
    rank: u8,
    paint: fn(Style, &str) -> String,
}

fn plain(_: Style, text: &str) -> String {
    text.to_owned()
}

impl Part {
    fn new(rank: u8, short: impl Into<String>) -> Self {
        let short = short.into();
        Self { long: short.clone(), short, rank, paint: plain }
    }

    fn or(self, long: impl Into<String>) -> Self {
        Self { long: long.into(), ..self }
    }

    fn painted(self, paint: fn(Style, &str) -> String) -> Self {
        Self { paint, ..self }
    }
}

/// How a line of the live view is laid out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// Columns that the line may take.
    pub(super) width: usize,
    /// Columns that the longest name takes which stands above or below.
    pub(super) names: usize,
    /// Its colours.
    pub(super) style: Style,
}

/// A running stage in one line: its name, a bar, and as much of the rest as
/// there is room for, the most important first.
pub(super) fn live_line(stage: &str, gauge: &Gauge, note: &str, layout: Layout) -> String {
    let Layout { width, names, style } = layout;
    let name = names.min(width / 3).clamp(1, LONGEST_NAME);
    let bar = match width {
        WIDE.. => 20,
        NARROW..WIDE => 10,
        _ => 0,
    };
    let mut line = format!("{} ", fitted(stage, name));
    let mut room = width.saturating_sub(name + 1);
    if let Some(total) = gauge.total.filter(|total| *total > 0 && bar > 0) {
        let done = (gauge.rows.min(total) as f64 / total as f64 * bar as f64) as usize;
        write!(line, "{}{} ", style.cyan(&"█".repeat(done)), style.dim(&"░".repeat(bar - done))).ok();
        room = room.saturating_sub(bar + 1);
    }
    line + &fill(&parts(gauge, note), room, style)
}

/// What there is to say, in the order in which it stands.
fn parts(gauge: &Gauge, note: &str) -> Vec<Part> {
    let short = match gauge.total {
        Some(total) => format!("{}/{}", thousands(gauge.rows), thousands(total)),
        None => count(gauge.rows, "row"),
    };
    let mut parts = vec![Part::new(0, short).or(rows(gauge))];
    parts.extend(gauge.per_second.and_then(rate).map(|rate| Part::new(5, rate)));
    parts.extend(left(gauge).map(|left| Part::new(1, left)));
    let failed = failed(&gauge.statuses);
    if failed > 0 {
        let (short, why) = (format!("{} failed", thousands(failed)), reasons(&gauge.statuses));
        parts.push(Part::new(3, &*short).or(format!("{short}{why}")).painted(Style::yellow));
    }
    if gauge.spent.tokens() > 0 {
        parts.push(Part::new(6, tokens(gauge.spent.tokens())).painted(Style::dim));
    }
    if gauge.spent.usd > 0.0 {
        parts.push(Part::new(4, money(gauge.spent.usd)).painted(Style::dim));
    }
    match &gauge.waiting {
        Some(waiting) => {
            let short = short_wait(waiting);
            parts.push(Part::new(2, &*short).or(format!("{short}: {}", waiting.why)).painted(Style::yellow));
        }
        None if !note.is_empty() => parts.push(Part::new(7, note).painted(Style::dim)),
        None => {}
    }
    parts
}

/// As many parts as there is room for by their ranks, and in full where there
/// is room left for that.
fn fill(parts: &[Part], room: usize, style: Style) -> String {
    let size = |text: &str| text.chars().count() + 2;
    let mut by_rank: Vec<usize> = (0..parts.len()).collect();
    by_rank.sort_by_key(|place| parts[*place].rank);
    let mut left = room + 2;
    let mut texts: Vec<Option<&str>> = vec![None; parts.len()];
    for &place in &by_rank {
        if size(&parts[place].short) <= left {
            left -= size(&parts[place].short);
            texts[place] = Some(&parts[place].short);
        }
    }
    for &place in &by_rank {
        let part = &parts[place];
        let more = size(&part.long).saturating_sub(size(&part.short));
        if texts[place].is_some() && more <= left {
            left -= more;
            texts[place] = Some(&part.long);
        }
    }
    let painted = parts.iter().zip(texts).filter_map(|(part, text)| Some((part.paint)(style, text?)));
    painted.collect::<Vec<_>>().join("  ")
}

/// The text in exactly so many columns.
pub(super) fn fitted(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return format!("{text:width$}");
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

#[cfg(test)]
#[path = "gauge_tests.rs"]
mod tests;
