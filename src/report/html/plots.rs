//! The plots of a leaderboard and of the training behind it.

use maud::{Markup, html};

use super::super::{Board, BoardRow, Curve, Epoch, Measure, Slice};
use super::boards::{Line, mark_means, rows};
use super::explain::anchor;
use super::groups;
use super::page::Page;
use super::words::{count, interval, metric, percent};
use crate::drawing::{Axis, IntervalPlot, IntervalRow, LineChart, LinePoint, Series};
use crate::ground::thousands;

/// A bin with fewer targets a seed says nothing.
const FEWEST: u64 = 10;

/// All plots.
pub(super) fn section(page: &Page<'_>) -> Option<Markup> {
    let report = page.report;
    if report.boards.is_empty() && report.curves.is_empty() {
        return None;
    }
    Some(html! {
        @for (at, board) in report.boards.iter().enumerate() {
            @if report.boards.len() > 1 { h3 { (board.stage) } }
            @if board.mark_means().is_some() { p { (mark_means(board)) } }
            div.plots {
                (by_variant(page, board, at, "HR", |row| row.hr, |row| row.published.map(|of| of.hr)))
                (by_variant(page, board, at, "NDCG", |row| row.ndcg, |row| row.published.map(|of| of.ndcg)))
                (ranks(page, board))
                (along(page, board))
                (bins(page, board, &Bins::popularity(board)))
                (bins(page, board, &Bins::words(board)))
                (groups::plots(page, board))
            }
        }
        @if !report.curves.is_empty() {
            @if report.boards.len() > 1 { h3 { "Training" } }
            div.plots {
                (curves(page, "Loss", "mean loss", |epoch| epoch.loss))
                (curves(page, &measured_on(&report.curves), "HR@10", |epoch| epoch.hr))
            }
        }
    })
}

fn by_variant(
    page: &Page<'_>,
    board: &Board,
    at: usize,
    name: &str,
    measure: impl Fn(&BoardRow) -> Measure,
    published: impl Fn(&BoardRow) -> Option<f64>,
) -> Markup {
    let metric_name = format!("{name}@{}", board.k);
    let row = |row: Line<'_>| {
        let of = measure(row.row);
        let range = interval(&of).map_or_else(String::new, |range| format!(", 95 % interval {range}"));
        let paper = published(row.row).map_or_else(String::new, |paper| format!("; published {paper}"));
        IntervalRow {
            name: row.row.name(),
            series: page.series(&row.row.variant),
            value: of.value,
            low: of.low,
            high: of.high,
            reference: published(row.row),
            text: metric(of.value),
            note: format!("{}: {metric_name} {}{range}{paper}", row.row.name(), metric(of.value)),
            href: Some(format!("#{}", anchor(row, &name.to_lowercase()))),
        }
    };
    let baseline = board.rows.iter().find(|row| Some(&row.variant) == board.baseline.as_ref());
    let plot = IntervalPlot {
        label: format!("{metric_name} of {} with 95 % intervals", count(board.rows.len() as u64, "variant")),
        axis: metric_name.clone(),
        rows: rows(board, at).map(row).collect(),
        against: baseline.and_then(|row| Some((row.name(), measure(row).value?))),
        reference: "published".to_owned(),
    };
    let note = format!("Mean and 95 % interval on the {} part.", board.part);
    page.figure(&format!("{metric_name} by variant."), &note, plot.svg())
}

fn ranks(page: &Page<'_>, board: &Board) -> Markup {
    let point = |(k, found): (&u64, &f64)| LinePoint {
        x: *k as f64,
        y: Some(*found),
        note: format!("{} among the first {}", percent(*found, 1), thousands(*k)),
        marked: *k == u64::from(board.k),
        ..LinePoint::default()
    };
    let series = |row: &BoardRow| Series {
        name: row.name(),
        number: page.series(&row.variant),
        points: board.ranks.iter().zip(&row.found).map(point).collect(),
    };
    let series: Vec<Series> = board.rows.iter().filter(|row| !row.found.is_empty()).map(series).collect();
    if series.is_empty() || board.ranks.len() < 2 {
        return html! {};
    }
    let chart = LineChart {
        label: "Share of held-out items that are ranked among the first k, by k".to_owned(),
        x: Axis::Logarithmic,
        x_title: "k (logarithmic)".to_owned(),
        y_title: "HR@k".to_owned(),
        series,
        against: None,
    };
    let note =
        format!("The share of held-out items among the first k, for every k; the larger mark is k = {}.", board.k);
    page.figure("Where held-out items are ranked.", &note, chart.svg())
}

/// HR against the one number in which variants differ.
fn along(page: &Page<'_>, board: &Board) -> Markup {
    let Some(name) = &board.along else { return html! {} };
    let mut points: Vec<(f64, &BoardRow)> =
        board.rows.iter().filter_map(|row| Some((*row.numbers.get(name)?, row))).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.variant.cmp(&b.1.variant)));
    if points.is_empty() {
        return html! {};
    }
    let hr = format!("HR@{}", board.k);
    let point = |(x, row): &(f64, &BoardRow)| LinePoint {
        x: *x,
        y: row.hr.value,
        low: row.hr.low,
        high: row.hr.high,
        note: format!("{} ({name} = {x}): {hr} {}", row.name(), metric(row.hr.value)),
        marked: true,
    };
    let baseline = board.rows.iter().find(|row| Some(&row.variant) == board.baseline.as_ref());
    let chart = LineChart {
        label: format!("{hr} by {name}"),
        x: Axis::Linear,
        x_title: name.clone(),
        y_title: hr.clone(),
        series: vec![Series { name: String::new(), number: 0, points: points.iter().map(point).collect() }],
        against: baseline.and_then(|row| Some((row.name(), row.hr.value?))),
    };
    let names: Vec<String> = points.iter().map(|(_, row)| row.name()).collect();
    page.figure(&format!("{hr} along {name}."), &format!("From left to right: {}.", names.join(", ")), chart.svg())
}

/// HR by bin of something about the target.
struct Bins<'a> {
    title: &'static str,
    axis: &'static str,
    note: &'static str,
    names: &'a [String],
    of: fn(&BoardRow) -> &[Option<Slice>],
}

impl<'a> Bins<'a> {
    fn popularity(board: &'a Board) -> Self {
        Self {
            title: "by popularity of the item.",
            axis: "train interactions of the held-out item",
            note: "Bins hold about as many held-out items each.",
            names: &board.popularity_bins,
            of: |row| &row.by_popularity,
        }
    }

    fn words(board: &'a Board) -> Self {
        Self {
            title: "by length of the text.",
            axis: "words of the held-out item's text",
            note: "Each variant by its own text; those without texts are left out.",
            names: &board.words_bins,
            of: |row| &row.by_words,
        }
    }
}

/// The slices of a row that hold enough targets to say something.
fn enough(row: &BoardRow, slices: &[Option<Slice>]) -> Vec<Option<Slice>> {
    let least = FEWEST * row.seeds.max(1);
    slices.iter().map(|slice| slice.filter(|slice| slice.of >= least)).collect()
}

fn bins(page: &Page<'_>, board: &Board, bins: &Bins<'_>) -> Markup {
    let point = |(at, slice): (usize, Option<Slice>)| LinePoint {
        x: at as f64,
        y: slice.map(|slice| slice.hr),
        note: slice.map_or_else(String::new, |slice| {
            let name = bins.names.get(at).map_or("", String::as_str);
            format!("{name}: {} of {}", metric(Some(slice.hr)), count(slice.of, "target"))
        }),
        ..LinePoint::default()
    };
    let series = |row: &BoardRow| Series {
        name: row.name(),
        number: page.series(&row.variant),
        points: enough(row, (bins.of)(row)).into_iter().enumerate().map(point).collect(),
    };
    let with_any = |row: &&BoardRow| enough(row, (bins.of)(row)).iter().any(Option::is_some);
    let series: Vec<Series> = board.rows.iter().filter(with_any).map(series).collect();
    if series.is_empty() || bins.names.is_empty() {
        return html! {};
    }
    let hr = format!("HR@{}", board.k);
    let chart = LineChart {
        label: format!("{hr} {}", bins.title),
        x: Axis::Names(bins.names.iter().map(|name| name.replace("more than ", "> ")).collect()),
        x_title: bins.axis.to_owned(),
        y_title: hr.clone(),
        series,
        against: None,
    };
    let note = format!("{} Bins with fewer than {FEWEST} held-out items are left out.", bins.note);
    page.figure(&format!("{hr} {}", bins.title), &note, chart.svg())
}

/// What HR while training is measured on.
fn measured_on(curves: &[Curve]) -> String {
    let on_test = curves.iter().filter(|curve| curve.on_test).count();
    let part = match on_test {
        0 => "on validation",
        all if all == curves.len() => "on test",
        _ => "on validation, of names with † on test",
    };
    format!("HR@10 while training, {part}")
}

/// How a number went over the epochs; of a variant with several seeds each is a line.
fn curves(page: &Page<'_>, title: &str, axis: &str, number: impl Fn(&Epoch) -> Option<f64>) -> Markup {
    let all = &page.report.curves;
    let series = |(at, curve): (usize, &Curve)| {
        let is_first = !all[..at].iter().any(|other| other.variant == curve.variant);
        let point = |epoch: &Epoch| LinePoint {
            x: epoch.epoch as f64,
            y: number(epoch),
            note: format!(
                "{}, epoch {}: {}{}",
                curve.stage,
                epoch.epoch,
                metric(number(epoch)),
                if epoch.selected { ", selected" } else { "" }
            ),
            marked: epoch.selected,
            ..LinePoint::default()
        };
        Series {
            name: if is_first { curve.name() } else { String::new() },
            number: page.series(&curve.variant),
            points: curve.epochs.iter().map(point).collect(),
        }
    };
    let series: Vec<Series> = all.iter().enumerate().map(series).collect();
    if !series.iter().any(|series| series.points.iter().any(|point| point.y.is_some_and(f64::is_finite))) {
        return html! {};
    }
    let chart = LineChart {
        label: format!("{title} by epoch"),
        x: Axis::Whole,
        x_title: "epoch".to_owned(),
        y_title: axis.to_owned(),
        series,
        against: None,
    };
    page.figure(
        &format!("{title}."),
        "After each epoch; the larger mark is the epoch whose model was taken.",
        chart.svg(),
    )
}
