//! Several series for each of several things, one below another: a dot for each.

use super::frame::{
    Entry, Mark, WIDTH, bottom_axis, is_hollow, legend, legend_height, mark_class, name_at, name_room, series_class,
};
use super::scale::{Extent, Scale};
use super::svg::Svg;

/// The height of a row.
const ROW: f64 = 22.0;

/// A plot with a row for each thing and a dot for each series.
#[derive(Debug, Clone, Default)]
pub struct DotPlot {
    /// What a screen reader says.
    pub label: String,
    /// The title of the axis.
    pub axis: String,
    /// The series: number of the colour and name.
    pub series: Vec<(usize, String)>,
    /// From top to bottom.
    pub rows: Vec<DotRow>,
}

/// One row of a [`DotPlot`].
#[derive(Debug, Clone, Default)]
pub struct DotRow {
    /// Its name.
    pub name: String,
    /// Its dots.
    pub dots: Vec<Dot>,
}

/// One dot.
#[derive(Debug, Clone, Default)]
pub struct Dot {
    /// The number of its colour.
    pub series: usize,
    /// Where it lies.
    pub value: f64,
    /// The tooltip.
    pub note: String,
}

impl DotPlot {
    /// The drawing.
    #[must_use]
    pub fn svg(&self) -> String {
        let left = name_room(self.rows.iter().map(|row| row.name.as_str()));
        let values = self.rows.iter().flat_map(|row| row.dots.iter().map(|dot| dot.value));
        let scale = Scale::linear(Extent::of(values.chain([0.0])), [left, WIDTH - 14.0], 5, false);
        let entries = self.entries();
        let top = 6.0 + legend_height(&entries, 4.0);
        let bottom = top + self.rows.len() as f64 * ROW;
        let mut svg = Svg::new(WIDTH, bottom + 38.0, &self.label);
        legend(&mut svg, &entries, 4.0, 0.0);
        bottom_axis(&mut svg, &scale, top, bottom, &self.axis);
        for (at, row) in self.rows.iter().enumerate() {
            row.draw(&mut svg, &scale, left, top + (at as f64 + 0.5) * ROW);
        }
        svg.finish()
    }

    fn entries(&self) -> Vec<Entry<'_>> {
        let mark = |number| if is_hollow(number) { Mark::Circle } else { Mark::Disc };
        let entries =
            self.series.iter().map(|(number, name)| Entry { class: series_class(*number), mark: mark(*number), name });
        entries.collect()
    }
}

impl DotRow {
    fn draw(&self, svg: &mut Svg, scale: &Scale, left: f64, y: f64) {
        name_at(svg, &self.name, left - 8.0, y);
        let dots = || self.dots.iter().filter(|dot| dot.value.is_finite());
        if let Some(Extent { low, high }) = Extent::of(dots().map(|dot| dot.value)) {
            svg.line("axis", [scale.place(low), y], [scale.place(high), y]);
        }
        for dot in dots() {
            svg.open(&series_class(dot.series), "");
            svg.circle(mark_class(dot.series), [scale.place(dot.value), y], 4.0, &dot.note);
            svg.close();
        }
    }
}
