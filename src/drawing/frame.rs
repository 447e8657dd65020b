//! What charts have in common: their width, their axes and their legend.

use super::labels::{shortened, width};
use super::scale::Scale;
use super::svg::Svg;

/// The width of every chart. So that letters are readable when a chart is
/// shrunk to a phone, charts are narrow and stand side by side where there is room.
pub(super) const WIDTH: f64 = 460.0;

/// The size of names and ticks.
pub(super) const SIZE: f64 = 11.5;

/// The classes of a series: its colour and, when colours are used up, its dashes
/// or a hollow mark.
#[must_use]
pub fn series_class(number: usize) -> String {
    format!("c{} d{}", number % 8, number / 8 % 3)
}

/// Whether a series is told from one of the same colour by hollow marks.
pub(super) fn is_hollow(number: usize) -> bool {
    number / 8 % 2 == 1
}

/// The class of a series' marks.
pub(super) fn mark_class(number: usize) -> &'static str {
    if is_hollow(number) { "hollow" } else { "mark" }
}

/// A number that can be drawn.
pub(super) fn finite(value: Option<f64>) -> Option<f64> {
    value.filter(|value| value.is_finite())
}

/// The room that names at the left need, and no more than a third of the chart.
pub(super) fn name_room<'a>(names: impl Iterator<Item = &'a str>) -> f64 {
    names.map(|name| width(name, SIZE)).fold(24.0, f64::max).min(WIDTH / 3.0) + 12.0
}

/// A name that ends at `right`.
pub(super) fn name_at(svg: &mut Svg, name: &str, right: f64, y: f64) {
    svg.text("name end", [right, y + 4.0], &shortened(name, SIZE, WIDTH / 3.0));
}

/// A horizontal axis below rows: grid lines, ticks and a title.
pub(super) fn bottom_axis(svg: &mut Svg, scale: &Scale, top: f64, bottom: f64, title: &str) {
    for (value, text) in &scale.ticks {
        let x = scale.place(*value);
        svg.line("grid", [x, top], [x, bottom]);
        svg.text("tick middle", [x, bottom + 14.0], text);
    }
    let ends = [scale.ticks.first(), scale.ticks.last()].map(|tick| tick.map_or(0.0, |tick| scale.place(tick.0)));
    svg.text("note middle", [f64::midpoint(ends[0], ends[1]), bottom + 30.0], title);
}

/// One entry of a legend: its classes, its mark and its name.
pub(super) struct Entry<'a> {
    pub(super) class: String,
    pub(super) mark: Mark,
    pub(super) name: &'a str,
}

/// How an entry of a legend is shown.
#[derive(Clone, Copy)]
pub(super) enum Mark {
    /// A disc.
    Disc,
    /// A circle.
    Circle,
    /// A disc with a line through it: a mean and its interval.
    Interval,
    /// A hollow diamond: a number from elsewhere.
    Diamond,
    /// A dashed line.
    Rule,
}

/// How many lines a legend takes, and where each entry stands: left and line.
fn legend_places(entries: &[Entry<'_>], left: f64) -> (Vec<(f64, usize)>, usize) {
    let (mut x, mut line) = (left, 0);
    let mut places = Vec::new();
    for entry in entries {
        let room = width(&shortened(entry.name, SIZE, WIDTH / 2.0), SIZE) + 30.0;
        if x > left && x + room > WIDTH {
            (x, line) = (left, line + 1);
        }
        places.push((x, line));
        x += room;
    }
    (places, if entries.is_empty() { 0 } else { line + 1 })
}

/// The height of a legend.
pub(super) fn legend_height(entries: &[Entry<'_>], left: f64) -> f64 {
    legend_places(entries, left).1 as f64 * 17.0
}

/// A legend whose first line is about `top`.
pub(super) fn legend(svg: &mut Svg, entries: &[Entry<'_>], left: f64, top: f64) {
    let (places, _) = legend_places(entries, left);
    for (entry, (x, line)) in entries.iter().zip(places) {
        let y = top + line as f64 * 17.0 + 8.0;
        svg.open(&entry.class, "");
        match entry.mark {
            Mark::Circle => svg.circle("hollow", [x + 8.0, y], 4.0, ""),
            Mark::Disc => svg.circle("mark", [x + 8.0, y], 4.0, ""),
            Mark::Interval => {
                svg.line("whisker", [x, y], [x + 16.0, y]);
                svg.circle("mark", [x + 8.0, y], 4.0, "");
            }
            Mark::Diamond => svg.diamond("published", [x + 8.0, y], 4.5, ""),
            Mark::Rule => svg.line("rule", [x, y], [x + 16.0, y]),
        }
        svg.text("note", [x + 21.0, y + 4.0], &shortened(entry.name, SIZE, WIDTH / 2.0));
        svg.close();
    }
}
