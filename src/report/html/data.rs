//! Table 1: how much data is left after filtering.

use maud::{Markup, html};

use super::page::Page;
use super::words::percent;
use crate::ground::thousands;

/// The table, if anything was split.
pub(super) fn section(page: &Page<'_>) -> Option<Markup> {
    let data = &page.report.data;
    if data.is_empty() {
        return None;
    }
    let cells = |users, items, feedback, sparsity| {
        html! {
            @for number in [users, items, feedback] { td { (thousands(number)) } }
            td { (percent(sparsity, 3)) }
        }
    };
    let caption = html! {
        b { "Table 1." } " Data after filtering. Sparsity is the share of all pairs of user and item without feedback"
        @if data.iter().any(|row| row.published.is_some()) {
            "; it is computed from the counts, also for the paper, which prints those of its two catalogs swapped"
        } "."
    };
    let table = html! {
        table.numbers {
            thead { tr { th { "Data" } th { "Users" } th { "Items" } th { "Feedback" } th { "Sparsity" } } }
            tbody {
                @for row in data {
                    tr { th scope="row" { (page.stage_link(&row.stage)) } (cells(row.users, row.items, row.feedback, row.sparsity)) }
                    @if let Some(paper) = row.published {
                        tr.published { th scope="row" { "published" } (cells(paper.users, paper.items, paper.feedback, paper.sparsity)) }
                    }
                }
            }
        }
    };
    Some(page.table(&caption, &table))
}
