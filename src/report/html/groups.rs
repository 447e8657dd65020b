//! HR by a column of users or items, such as `country`.

use maud::{Markup, html};

use super::super::{Board, BoardRow};
use super::page::Page;
use super::words::{count, metric};
use crate::drawing::{Dot, DotPlot, DotRow};

/// Of a column, so many values are shown.
const SHOWN: usize = 12;

/// A plot for each column.
pub(super) fn plots(page: &Page<'_>, board: &Board) -> Markup {
    html! { @for (column, values) in &board.groupings { (plot(page, board, column, values)) } }
}

fn plot(page: &Page<'_>, board: &Board, column: &str, values: &[String]) -> Markup {
    let row = |value: &String| {
        let dot = |row: &BoardRow| {
            let slice = row.by_group.get(column)?.get(value)?;
            let note = format!("{}, {value}: {} over {}", row.name(), metric(Some(slice.hr)), count(slice.of, "user"));
            Some(Dot { series: page.series(&row.variant), value: slice.hr, note })
        };
        DotRow { name: value.clone(), dots: board.rows.iter().filter_map(dot).collect() }
    };
    let rows: Vec<DotRow> = values.iter().take(SHOWN).map(row).filter(|row| !row.dots.is_empty()).collect();
    if rows.is_empty() {
        return html! {};
    }
    let measured = board.rows.iter().filter(|row| row.by_group.contains_key(column));
    let hr = format!("HR@{}", board.k);
    let plot = DotPlot {
        label: format!("{hr} by {column}"),
        axis: hr.clone(),
        series: measured.map(|row| (page.series(&row.variant), row.name())).collect(),
        rows,
    };
    let more = values.len().saturating_sub(SHOWN);
    let rest =
        if more > 0 { format!(" {more} more are in the artifacts of the measuring stages.") } else { String::new() };
    page.figure(&format!("{hr} by {column}."), &format!("Those with the most users first.{rest}"), plot.svg())
}
