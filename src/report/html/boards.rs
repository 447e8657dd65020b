//! Leaderboards: the paper's tables with this run's numbers in them, then every
//! variant. Each number leads to its explanation.

use maud::{Markup, html};

use super::super::{Board, BoardRow, tables};
use super::explain::anchor;
use super::page::Page;
use super::words::{measure, metric, p_value};
use crate::ground::thousands;

/// A row of a leaderboard and where it stands: what its explanations are named by.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    pub(super) board: &'a Board,
    pub(super) board_at: usize,
    pub(super) row: &'a BoardRow,
    pub(super) row_at: usize,
}

/// The rows of a board, with their places.
pub(super) fn rows(board: &Board, board_at: usize) -> impl Iterator<Item = Line<'_>> {
    board.rows.iter().enumerate().map(move |(row_at, row)| Line { board, board_at, row, row_at })
}

/// All leaderboards.
pub(super) fn section(page: &Page<'_>) -> Option<Markup> {
    let boards = &page.report.boards;
    (!boards.is_empty()).then(|| {
        html! {
            @for (at, board) in boards.iter().enumerate() {
                @if boards.len() > 1 { h3 { (board.stage) } }
                @for number in [2, 3] { (paper(page, board, at, number)) }
                (whole(page, board, at))
                (beyond(page, board, at))
            }
        }
    })
}

/// A table of the paper, if rows of it were measured.
fn paper(page: &Page<'_>, board: &Board, board_at: usize, number: u8) -> Markup {
    let shown: Vec<&BoardRow> = tables::of_paper(board, number);
    if !shown.iter().any(|row| row.published.is_some_and(|published| published.table == number)) {
        return html! {};
    }
    let of = |wanted: &BoardRow| rows(board, board_at).find(|row| std::ptr::eq(row.row, wanted));
    let k = board.k;
    let caption = html! {
        b { "Table " (number) " of the paper." } " "
        @if number == 2 { "Song names, summaries and lyrics as the text of a song" } @else { "Summaries of names and of lyrics" }
        ", measured here beside what was published." (mark_means(board))
    };
    page.table(
        &caption,
        &html! {
            table.numbers {
                thead {
                    tr { th rowspan="2" { "Variant" } th.group colspan="2" { "HR@" (k) } th.group colspan="2" { "NDCG@" (k) } }
                    tr { @for _ in 0..2 { th { "this run" } th { "published" } } }
                }
                tbody {
                    @for row in shown.iter().filter_map(|row| of(row)) {
                        tr {
                            th scope="row" { (variant(page, row)) }
                            @for (name, of, published) in metrics(row) {
                                td { (number_link(row, name, &html! { (measure(of)) })) }
                                td.published { (number_link(row, name, &html! { (metric(published)) })) }
                            }
                        }
                    }
                }
            }
        },
    )
}

/// HR and NDCG of a row: the name of the explanation, the measure, and what was published.
fn metrics(row: Line<'_>) -> [(&'static str, &super::super::Measure, Option<f64>); 2] {
    let published = row.row.published;
    [("hr", &row.row.hr, published.map(|of| of.hr)), ("ndcg", &row.row.ndcg, published.map(|of| of.ndcg))]
}

/// A number that leads to its explanation.
fn number_link(row: Line<'_>, name: &str, number: &Markup) -> Markup {
    html! { a.number href={ "#" (anchor(row, name)) } { (number) } }
}

fn variant(page: &Page<'_>, row: Line<'_>) -> Markup {
    html! {
        a class={ "variant " (page.series_class(&row.row.variant)) } href={ "#" (anchor(row, "")) } { (row.row.name()) }
    }
}

/// Every variant, best first.
fn whole(page: &Page<'_>, board: &Board, board_at: usize) -> Markup {
    let k = board.k;
    let published = board.rows.iter().any(|row| row.published.is_some());
    let caption = html! {
        b { "Leaderboard." } " All variants and baselines on the " (board.part) " part, best first, with 95 % intervals"
        @if let Some(baseline) = &board.baseline { "; verdicts are against " (baseline) }
        ". From " (page.stage_link(&board.stage)) "." (mark_means(board))
    };
    page.table(
        &caption,
        &html! {
            table.numbers {
                thead {
                    tr {
                        th { "Variant" } th { "HR@" (k) } @if published { th { "published" } }
                        th { "NDCG@" (k) } @if published { th { "published" } }
                        th { "warm HR" } th { "cold HR" } th.left { "verdict" } th { "p" } th { "users" } th { "seeds" }
                    }
                }
                tbody { @for row in rows(board, board_at) { (line(page, row, published)) } }
            }
        },
    )
}

fn line(page: &Page<'_>, row: Line<'_>, published: bool) -> Markup {
    let facts = row.row;
    let is_baseline = row.board.baseline.as_deref() == Some(facts.variant.as_str());
    html! {
        tr id=(anchor(row, "row")) class=[is_baseline.then_some("held")] {
            th scope="row" { (variant(page, row)) }
            @for (name, of, paper) in metrics(row) {
                td { (number_link(row, name, &measure(of))) }
                @if published {
                    td.published { @if paper.is_some() { (number_link(row, name, &html! { (metric(paper)) })) } }
                }
            }
            td { (number_link(row, "warm", &html! { (metric(facts.warm_hr)) })) }
            td { (number_link(row, "warm", &html! { (metric(facts.cold_hr)) })) }
            td.left { @if let Some(verdict) = &facts.verdict { (number_link(row, "verdict", &html! { (verdict) })) } }
            td { @if let Some(p) = facts.p { (number_link(row, "verdict", &html! { (p_value(p)) })) } }
            td { (number_link(row, "seeds", &html! { (thousands(facts.users)) })) }
            td { (number_link(row, "seeds", &html! { (facts.seeds) })) }
        }
    }
}

/// What the mark of a name means, where one has it.
pub(super) fn mark_means(board: &Board) -> Markup {
    html! { @if let Some(means) = board.mark_means() { " " span.note { (means) } } }
}

/// What else was measured of each variant.
fn beyond(page: &Page<'_>, board: &Board, board_at: usize) -> Markup {
    if !board.rows.iter().any(|row| row.beyond.is_there()) {
        return html! {};
    }
    let k = board.k;
    let caption = html! {
        b { "Beyond accuracy." } " What else was measured on the " (board.part) " part. Coverage is the share of all items that "
        "is in somebody's first " (k) ", popularity the mean number of train interactions of the items there: the charts, shown "
        "to everybody, have little of the first and much of the second." (mark_means(board))
    };
    page.table(
        &caption,
        &html! {
            table.numbers {
                thead { tr {
                    th { "Variant" } th { "MRR" } @for name in ["Recall", "Coverage", "Popularity"] { th { (name) "@" (k) } }
                } }
                tbody {
                    @for row in rows(board, board_at) {
                        @let of = &row.row.beyond;
                        tr {
                            th scope="row" { (variant(page, row)) }
                            @for value in [of.mrr, of.recall, of.coverage] { td { (metric(value)) } }
                            td { @if let Some(mean) = of.popularity { (format!("{mean:.1}")) } @else { "–" } }
                        }
                    }
                }
            }
        },
    )
}

/// What of gains is left without a part.
pub(super) fn ablations(page: &Page<'_>) -> Option<Markup> {
    let boards = || page.report.boards.iter().filter(|board| !board.ablations.is_empty());
    boards().next()?;
    Some(html! {
        @for board in boards() {
            ul.sentences { @for sentence in &board.ablations { li { (sentence) } } }
            p.note { "From " (page.stage_link(&board.stage)) "." (mark_means(board)) (page.mark()) }
        }
    })
}
