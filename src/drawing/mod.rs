//! Pictures for pages, as SVG: charts and DAGs, pure functions of names and
//! numbers to text, the same bytes for the same input. This layer reads no store.
//!
//! A picture has no style of its own: whoever shows it puts [`CHART_CSS`] or
//! [`DAG_CSS`] once into the page. Colours are CSS variables, so that light,
//! dark and print are one drawing. What is not a finite number is left out.

mod bars;
mod dag;
mod dots;
mod fold;
mod frame;
mod intervals;
mod labels;
mod layers;
mod lines;
mod place;
mod scale;
mod svg;

pub use bars::{Bar, BarChart};
pub use dag::{DAG_CSS, Dag, MOST_NODES, Node};
pub use dots::{Dot, DotPlot, DotRow};
pub use fold::{folded, stage_of};
pub use frame::series_class;
pub use intervals::{IntervalPlot, IntervalRow};
pub use lines::{Axis, LineChart, LinePoint, Series};

/// How charts look: the colours of eight series for light, dark and print, and
/// their marks. It uses `--ink`, `--muted`, `--rule` and `--page` of the page
/// where they are set.
pub const CHART_CSS: &str = include_str!("chart.css");

#[cfg(test)]
mod tests;
