//! How each number of a leaderboard came about, in words, with links to the
//! stages that it comes from. A panel is shown where a link leads to it.

use maud::{Markup, html};

use super::super::{BoardRow, Measure};
use super::boards::{Line, rows};
use super::page::Page;
use super::words::{count, interval, metric, p_value};
use crate::ground::thousands;

/// The name of an explanation's place in the page; of the whole panel if `name` is empty.
pub(super) fn anchor(row: Line<'_>, name: &str) -> String {
    let panel = format!("b{}r{}", row.board_at, row.row_at);
    if name.is_empty() { panel } else { format!("{panel}-{name}") }
}

/// A panel for every row of every leaderboard.
pub(super) fn all(page: &Page<'_>) -> Markup {
    html! {
        @for (at, board) in page.report.boards.iter().enumerate() {
            @for row in rows(board, at) { (panel(page, row)) }
        }
    }
}

fn panel(page: &Page<'_>, row: Line<'_>) -> Markup {
    let facts = row.row;
    let part = |name: &str, title: Markup, words: Markup| {
        html! { div id=(anchor(row, name)) { dt { (title) } dd { (words) } } }
    };
    let k = row.board.k;
    html! {
        aside.explain id=(anchor(row, "")) aria-label={ "How the numbers of " (facts.variant) " came about" } {
            a.close href={ "#" (anchor(row, "row")) } title="Back to the table" { "× close" }
            h3 { (facts.name()) (page.mark()) }
            dl {
                (part("hr", html! { "HR@" (k) " = " (metric(facts.hr.value)) }, hit_rate(page, row)))
                (part("ndcg", html! { "NDCG@" (k) " = " (metric(facts.ndcg.value)) }, gain(page, row)))
                @if let Some(verdict) = &facts.verdict {
                    (part("verdict", html! { (verdict) @if let Some(p) = facts.p { ", p = " (p_value(p)) } }, judged(row)))
                }
                (part("warm", html! { "warm " (metric(facts.warm_hr)) ", cold " (metric(facts.cold_hr)) }, warm(k)))
                (part("seeds", html! { (count(facts.users, "user")) ", " (count(facts.seeds, "seed")) }, sizes(row)))
            }
            (sources(page, row))
        }
    }
}

fn hit_rate(page: &Page<'_>, row: Line<'_>) -> Markup {
    let (facts, k) = (row.row, row.board.k);
    html! {
        @if facts.of > 0 {
            (cases(facts)) " the item held out for the " (row.board.part) " part is among the first " (k)
            " of all items that the user has no train interaction with. "
        } @else {
            "The share of cases in which the item held out for the " (row.board.part) " part is among the first " (k)
            " of all items that the user has no train interaction with. "
        }
        (seeds(facts)) " " (range(&facts.hr, facts)) " "
        @if let Some(published) = facts.published { (beside(page, published.hr, &facts.hr)) }
    }
}

/// `For 86 of 466 users`, or with several seeds `In 430 of 2,330 cases`.
fn cases(facts: &BoardRow) -> String {
    let (hits, of) = (thousands(facts.hits), thousands(facts.of));
    if facts.of == facts.users {
        return format!("For {hits} of {of} users");
    }
    let each = [(facts.users, "user"), (facts.seeds, "seed")].map(|(number, word)| count(number, word));
    format!("In {hits} of {of} cases ({} and {})", each[0], each[1])
}

fn seeds(facts: &BoardRow) -> String {
    if facts.seeds > 1 { format!("It is the mean of {} seeds.", facts.seeds) } else { "It is of one seed.".to_owned() }
}

fn range(of: &Measure, facts: &BoardRow) -> String {
    let Some(range) = interval(of) else {
        return "There is no interval: the comparison did not read the ranks of single users.".to_owned();
    };
    let (drawn, known) = if facts.seeds > 1 {
        ("users and seeds are", "")
    } else {
        ("users are", " It knows nothing of how seeds differ.")
    };
    format!("Its 95 % interval is {range}, from measuring again and again while {drawn} drawn with replacement.{known}")
}

fn gain(page: &Page<'_>, row: Line<'_>) -> Markup {
    let (facts, k) = (row.row, row.board.k);
    html! {
        "A held-out item at rank r counts 1/log₂(r + 1) if r is at most " (k) ", else 0: 1 at the first rank, "
        (metric(Some(1.0 / (f64::from(k) + 1.0).log2()))) " at rank " (k) ". This is the mean over "
        @if facts.of > 0 { (count(facts.of, "held-out item")) } @else { "the held-out items" } ". "
        (seeds(facts)) " " (range(&facts.ndcg, facts)) " "
        @if let Some(published) = facts.published { (beside(page, published.ndcg, &facts.ndcg)) }
    }
}

/// The paper's number beside the measured one.
fn beside(page: &Page<'_>, published: f64, of: &Measure) -> String {
    let Some(value) = of.value else { return format!("The paper gives {published}.") };
    let apart = match (of.low, of.high) {
        (Some(low), _) if published < low => "which lies below the interval",
        (_, Some(high)) if published > high => "which lies above the interval",
        (Some(_), Some(_)) => "which the interval holds",
        _ => "to be held against it",
    };
    let caution = if page.report.synthetic.is_some() {
        " Since this data is synthetic, the two are not of one world."
    } else {
        ""
    };
    format!("The paper gives {published}, {apart}; the difference is {:+.4}.{caution}", value - published)
}

fn judged(row: Line<'_>) -> Markup {
    html! {
        (held_against(row))
        @if row.row.on_test {
            " Its epoch was picked on the test part: its numbers are the best of many looks at the answer."
        }
    }
}

fn held_against(row: Line<'_>) -> Markup {
    let Some(baseline) = &row.board.baseline else {
        return html! { "It was held against no other: the comparison names no baseline." };
    };
    if *baseline == row.row.variant {
        return html! { "The others are held against this one." };
    }
    let compared = row.board.rows.iter().filter(|row| row.p.is_some()).count() as u64;
    html! {
        "A paired sign-flip test: for each user, NDCG@" (row.board.k) " of " (row.row.variant) " minus that of " (baseline)
        ". If the two were alike, each difference could as well have the other sign; p is how often random signs give a sum "
        "at least as far from zero, two-sided, corrected after Holm for " (count(compared, "comparison"))
        ". " i { "better" } " and " i { "worse" } " need a p of 0.05 or less; " i { "not distinguishable" }
        " is not the same as equal."
    }
}

fn warm(k: u32) -> Markup {
    html! {
        "HR@" (k) " over the held-out items that are warm, the fifth of all items with the most train interactions, and "
        "over those that are cold, the others."
    }
}

fn sizes(row: Line<'_>) -> Markup {
    let facts = row.row;
    html! {
        (count(facts.users, "user")) " with an item in the " (row.board.part) " part"
        @if facts.seeds > 1 { ", each measured with " (facts.seeds) " models that differ in their seed alone" }
        @else { ", measured with one model" } "."
        @for (name, value) in &facts.numbers { " " (name) " = " (value) "." }
    }
}

/// The stages that the row comes from, from the comparison up to the first.
fn sources(page: &Page<'_>, row: Line<'_>) -> Markup {
    let facts = row.row;
    let names = |ids: &[String]| page.stage_links(ids.iter().map(String::as_str));
    let path = facts.evaluated_by.first().map(|id| page.path_to(id)).unwrap_or_default();
    html! {
        p.sources {
            b { "Where it comes from: " } "compared by " (page.stage_link(&row.board.stage))
            @if !facts.evaluated_by.is_empty() { "; measured by " (names(&facts.evaluated_by)) }
            @if !facts.trained_by.is_empty() { "; model of " (names(&facts.trained_by)) }
            @if let Some(text) = &facts.text { "; texts of " (page.stage_link(text)) }
            "."
        }
        @if path.len() > 1 {
            p.sources {
                b { "All that it stands on: " }
                @for (at, id) in path.iter().enumerate() { @if at > 0 { " → " } (page.stage_link(id)) }
            }
        }
    }
}
