//! Horizontal bars: how much of something each of several things took.

use super::frame::{WIDTH, name_at, name_room, series_class};
use super::labels::width;
use super::svg::Svg;

/// The height of a row.
const ROW: f64 = 20.0;

/// A chart of bars that begin at 0.
#[derive(Debug, Clone, Default)]
pub struct BarChart {
    /// What a screen reader says.
    pub label: String,
    /// From top to bottom.
    pub bars: Vec<Bar>,
}

/// One bar.
#[derive(Debug, Clone, Default)]
pub struct Bar {
    /// Its name.
    pub name: String,
    /// Its length.
    pub value: f64,
    /// The value as text, behind the bar.
    pub text: String,
    /// The tooltip.
    pub note: String,
    /// Where its name leads.
    pub href: Option<String>,
}

impl BarChart {
    /// The drawing. It has no axis: each bar says its value.
    #[must_use]
    pub fn svg(&self) -> String {
        let left = name_room(self.bars.iter().map(|bar| bar.name.as_str()));
        let texts = self.bars.iter().map(|bar| width(&bar.text, 11.0)).fold(20.0, f64::max).min(130.0);
        let room = WIDTH - texts - 12.0 - left;
        let finite = self.bars.iter().map(|bar| bar.value).filter(|value| value.is_finite());
        let most = finite.fold(0.0, f64::max);
        let mut svg = Svg::new(WIDTH, 8.0 + self.bars.len() as f64 * ROW, &self.label);
        for (at, bar) in self.bars.iter().enumerate() {
            let y = 4.0 + (at as f64 + 0.5) * ROW;
            let share = if most > 0.0 && bar.value > 0.0 { bar.value / most } else { 0.0 };
            let length = share.min(1.0) * room;
            svg.open(&format!("row {}", series_class(0)), &bar.note);
            svg.link(bar.href.as_deref());
            name_at(&mut svg, &bar.name, left - 8.0, y);
            svg.end_link(bar.href.as_deref());
            svg.rectangle("bar", [left, y - 6.0], [length.max(0.8), 12.0], "");
            svg.text("tick", [left + length + 5.0, y + 4.0], &bar.text);
            svg.close();
        }
        svg.line("axis", [left, 2.0], [left, 6.0 + self.bars.len() as f64 * ROW]);
        svg.finish()
    }
}
