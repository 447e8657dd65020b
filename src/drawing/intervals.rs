//! A number and its interval for each of several things, one below another.

use super::frame::{
    Entry, Mark, WIDTH, bottom_axis, finite, legend, legend_height, mark_class, name_at, name_room, series_class,
};
use super::scale::{Extent, Scale};
use super::svg::Svg;

/// The height of a row.
const ROW: f64 = 22.0;

/// A plot of means and their intervals.
#[derive(Debug, Clone, Default)]
pub struct IntervalPlot {
    /// What a screen reader says.
    pub label: String,
    /// What is measured: the title of the axis.
    pub axis: String,
    /// From top to bottom.
    pub rows: Vec<IntervalRow>,
    /// What all are held against: a name and its value, as a dashed line.
    pub against: Option<(String, f64)>,
    /// What the hollow marks are.
    pub reference: String,
}

/// One row of an [`IntervalPlot`].
#[derive(Debug, Clone, Default)]
pub struct IntervalRow {
    /// Its name.
    pub name: String,
    /// The number of its colour.
    pub series: usize,
    /// The mean.
    pub value: Option<f64>,
    /// The interval's low end.
    pub low: Option<f64>,
    /// The interval's high end.
    pub high: Option<f64>,
    /// The same number from elsewhere, as a hollow mark.
    pub reference: Option<f64>,
    /// The mean as text, at the right.
    pub text: String,
    /// The tooltip.
    pub note: String,
    /// Where its name leads.
    pub href: Option<String>,
}

impl IntervalPlot {
    /// The drawing.
    #[must_use]
    pub fn svg(&self) -> String {
        let left = name_room(self.rows.iter().map(|row| row.name.as_str()));
        let right = WIDTH - 54.0;
        let values = self.rows.iter().flat_map(|row| [row.value, row.low, row.high, row.reference]).flatten();
        let all = values.chain(self.against.iter().map(|(_, value)| *value)).chain([0.0]);
        let scale = Scale::linear(Extent::of(all), [left, right], 5, false);
        let entries = self.entries();
        let (top, bottom) = (4.0, 4.0 + self.rows.len() as f64 * ROW);
        let mut svg = Svg::new(WIDTH, bottom + 40.0 + legend_height(&entries, left), &self.label);
        bottom_axis(&mut svg, &scale, top, bottom, &self.axis);
        if let Some((_, value)) = self.against.as_ref().filter(|(_, value)| value.is_finite()) {
            svg.line("rule", [scale.place(*value), top], [scale.place(*value), bottom]);
        }
        for (at, row) in self.rows.iter().enumerate() {
            row.draw(&mut svg, &scale, left, top + (at as f64 + 0.5) * ROW);
        }
        legend(&mut svg, &entries, left, bottom + 38.0);
        svg.finish()
    }

    fn entries(&self) -> Vec<Entry<'_>> {
        let mut entries = Vec::new();
        if self.rows.iter().any(|row| row.low.is_some()) {
            entries.push(Entry { class: series_class(6), mark: Mark::Interval, name: "95 % interval" });
        }
        if self.rows.iter().any(|row| row.reference.is_some()) {
            entries.push(Entry { class: String::new(), mark: Mark::Diamond, name: &self.reference });
        }
        if let Some((name, _)) = &self.against {
            entries.push(Entry { class: String::new(), mark: Mark::Rule, name });
        }
        entries
    }
}

impl IntervalRow {
    fn draw(&self, svg: &mut Svg, scale: &Scale, left: f64, y: f64) {
        svg.open(&format!("row {}", series_class(self.series)), &self.note);
        svg.link(self.href.as_deref());
        svg.rectangle("hit", [0.0, y - ROW / 2.0], [WIDTH, ROW], "");
        name_at(svg, &self.name, left - 8.0, y);
        svg.text("name end", [WIDTH - 4.0, y + 4.0], &self.text);
        svg.end_link(self.href.as_deref());
        if let (Some(low), Some(high)) = (finite(self.low), finite(self.high)) {
            svg.line("whisker", [scale.place(low), y], [scale.place(high), y]);
        }
        if let Some(value) = finite(self.reference) {
            svg.diamond("published", [scale.place(value), y], 4.5, "");
        }
        if let Some(value) = finite(self.value) {
            svg.circle(mark_class(self.series), [scale.place(value), y], 4.2, "");
        }
        svg.close();
    }
}
