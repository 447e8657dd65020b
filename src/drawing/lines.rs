//! Lines: one number along another, for several series.

use super::frame::{SIZE, WIDTH, finite, series_class};
use super::labels::{apart, shortened, width};
use super::scale::{Extent, Scale};
use super::svg::{Place, Svg};

/// Lines of more points are not marked point by point, nor are those of a chart
/// with more points in all.
const MARKED: (usize, usize) = (30, 400);

/// The least distance of two labels.
const GAP: f64 = 13.0;

/// A chart of lines.
#[derive(Debug, Clone, Default)]
pub struct LineChart {
    /// What a screen reader says.
    pub label: String,
    /// What lies along the bottom.
    pub x: Axis,
    /// The title of that.
    pub x_title: String,
    /// The title of the other axis, which begins at 0 unless a value is less.
    pub y_title: String,
    /// The lines.
    pub series: Vec<Series>,
    /// A level to hold them against: its name and value.
    pub against: Option<(String, f64)>,
}

/// What lies along the bottom of a [`LineChart`].
#[derive(Debug, Clone, Default)]
pub enum Axis {
    /// Any numbers.
    #[default]
    Linear,
    /// Whole numbers.
    Whole,
    /// Numbers above 0, each decade as wide as the next.
    Logarithmic,
    /// Names; the x of a point is the index of one.
    Names(Vec<String>),
}

/// One line.
#[derive(Debug, Clone, Default)]
pub struct Series {
    /// Its name at its end; none is written where it is empty.
    pub name: String,
    /// The number of its colour.
    pub number: usize,
    /// Its points, in the order of the line.
    pub points: Vec<LinePoint>,
}

/// One point of a line.
#[derive(Debug, Clone, Default)]
pub struct LinePoint {
    /// Where along the bottom.
    pub x: f64,
    /// How high; a gap if there is none.
    pub y: Option<f64>,
    /// The low end of its interval.
    pub low: Option<f64>,
    /// The high end.
    pub high: Option<f64>,
    /// The tooltip.
    pub note: String,
    /// Whether it is marked more than others.
    pub marked: bool,
}

/// Where things lie.
struct Plan {
    x: Scale,
    y: Scale,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

impl LineChart {
    /// The drawing.
    #[must_use]
    pub fn svg(&self) -> String {
        let plan = self.plan();
        let mut svg = Svg::new(WIDTH, plan.bottom + 38.0, &self.label);
        self.axes(&mut svg, &plan);
        let ends: Vec<Option<Place>> = self.series.iter().map(|series| series.end(&plan)).collect();
        let wanted =
            |(series, end): (&Series, &Option<Place>)| end.filter(|_| !series.name.is_empty()).map(|end| end[1]);
        let labels: Vec<f64> = self.series.iter().zip(&ends).filter_map(wanted).collect();
        let points: usize = self.series.iter().map(|series| series.points.len()).sum();
        let mut labels = apart(&labels, GAP, plan.top, plan.bottom).into_iter();
        for (series, end) in self.series.iter().zip(ends) {
            svg.open(&format!("series {}", series_class(series.number)), &series.name);
            series.draw(&mut svg, &plan, points <= MARKED.1 && series.points.len() <= MARKED.0);
            if let Some(end) = end.filter(|_| !series.name.is_empty()) {
                series.label(&mut svg, &plan, end, labels.next().unwrap_or(end[1]));
            }
            svg.close();
        }
        svg.finish()
    }

    fn plan(&self) -> Plan {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let heights = points().flat_map(|point| [point.y, point.low, point.high]).flatten();
        let heights = heights.chain(self.against.iter().map(|(_, value)| *value)).chain([0.0]);
        let named = self.series.iter().filter(|series| !series.name.is_empty());
        let labels = named.clone().map(|series| width(&series.name, SIZE)).fold(0.0, f64::max).min(100.0);
        let height = (named.count() as f64 * GAP).max(190.0);
        let (top, bottom) = (24.0, 24.0 + height);
        let y = Scale::linear(Extent::of(heights), [bottom, top], 5, false);
        let left = 10.0 + y.ticks.iter().map(|(_, text)| width(text, 11.0)).fold(16.0, f64::max);
        let right = WIDTH - 22.0 - labels;
        let across = Extent::of(points().map(|point| point.x));
        let x = match &self.x {
            Axis::Linear => Scale::linear(across, [left + 6.0, right], 6, false),
            Axis::Whole => Scale::linear(across, [left + 6.0, right], 6, true),
            Axis::Logarithmic => Scale::logarithmic(across, [left + 6.0, right]),
            Axis::Names(names) => Scale::names(names, [left, right]),
        };
        Plan { x, y, left, right, top, bottom }
    }

    fn axes(&self, svg: &mut Svg, plan: &Plan) {
        for (value, text) in &plan.y.ticks {
            let y = plan.y.place(*value);
            svg.line("grid", [plan.left, y], [plan.right, y]);
            svg.text("tick end", [plan.left - 5.0, y + 4.0], text);
        }
        svg.line("axis", [plan.left, plan.bottom], [plan.right, plan.bottom]);
        let room = (plan.right - plan.left) / plan.x.ticks.len().max(1) as f64 - 4.0;
        for (value, text) in &plan.x.ticks {
            let x = plan.x.place(*value);
            svg.line("axis", [x, plan.bottom], [x, plan.bottom + 3.0]);
            let text = if matches!(self.x, Axis::Names(_)) { shortened(text, 11.0, room) } else { text.clone() };
            svg.text("tick middle", [x, plan.bottom + 15.0], &text);
        }
        svg.text("note", [2.0, 11.0], &shortened(&self.y_title, SIZE, WIDTH));
        let title = shortened(&self.x_title, SIZE, plan.right - plan.left);
        svg.text("note middle", [f64::midpoint(plan.left, plan.right), plan.bottom + 32.0], &title);
        if let Some((name, value)) = self.against.as_ref().filter(|(_, value)| value.is_finite()) {
            let y = plan.y.place(*value);
            svg.line("rule", [plan.left, y], [plan.right, y]);
            svg.text("note end", [plan.right, y - 4.0], &shortened(name, SIZE, plan.right - plan.left));
        }
    }
}

impl Series {
    fn places(&self, plan: &Plan) -> Vec<Option<Place>> {
        let place = |point: &LinePoint| {
            let y = point.y.filter(|y| y.is_finite() && point.x.is_finite())?;
            Some([plan.x.place(point.x), plan.y.place(y)])
        };
        self.points.iter().map(place).collect()
    }

    fn end(&self, plan: &Plan) -> Option<Place> {
        self.places(plan).into_iter().flatten().last()
    }

    /// The line and its points; without `each`, only those that are marked.
    fn draw(&self, svg: &mut Svg, plan: &Plan, each: bool) {
        let places = self.places(plan);
        svg.path("line", &places);
        for (point, place) in self.points.iter().zip(places) {
            let Some(place) = place else { continue };
            if let (Some(low), Some(high)) = (finite(point.low), finite(point.high)) {
                svg.line("whisker", [place[0], plan.y.place(low)], [place[0], plan.y.place(high)]);
            }
            if point.marked {
                svg.circle("mark", place, 4.0, &point.note);
            } else if each {
                svg.circle("mark", place, 2.4, &point.note);
            }
        }
    }

    fn label(&self, svg: &mut Svg, plan: &Plan, end: Place, y: f64) {
        let x = plan.right + 14.0;
        svg.line("leader", [end[0] + 3.0, end[1]], [x - 2.0, y]);
        svg.text("name", [x, y + 4.0], &shortened(&self.name, SIZE, 100.0));
    }
}
