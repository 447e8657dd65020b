//! Every chart, with plain and with hostile input.

use proptest::prelude::*;

use super::*;

const HOSTILE: &str = "</title><script>alert('\"1&\")</script>\u{0}";

fn row(name: &str, value: Option<f64>) -> IntervalRow {
    let end = |by: f64| value.map(|value| value + by);
    IntervalRow {
        name: name.to_owned(),
        value,
        low: end(-0.02),
        high: end(0.03),
        reference: end(0.01),
        text: "0.1".to_owned(),
        note: name.to_owned(),
        href: Some(format!("#{name}")),
        ..IntervalRow::default()
    }
}

fn line(name: &str, heights: &[f64]) -> Series {
    let point = |(x, y): (usize, &f64)| LinePoint {
        x: x as f64,
        y: Some(*y),
        low: Some(y - 0.1),
        high: Some(y + 0.1),
        note: name.to_owned(),
        marked: x == 1,
    };
    Series { name: name.to_owned(), number: 9, points: heights.iter().enumerate().map(point).collect() }
}

/// One of each chart.
fn all(name: &str, heights: &[f64]) -> Vec<String> {
    let text = || name.to_owned();
    let rows = heights.iter().map(|value| row(name, Some(*value))).collect();
    let intervals = IntervalPlot { label: text(), axis: text(), rows, against: Some((text(), 0.1)), reference: text() };
    let lines = |x| LineChart {
        label: text(),
        x,
        x_title: text(),
        y_title: text(),
        series: vec![line(name, heights), line("", heights)],
        against: Some((text(), heights.first().copied().unwrap_or(f64::NAN))),
    };
    let bar = |value: &f64| Bar { name: text(), value: *value, text: text(), note: text(), href: Some(text()) };
    let bars = BarChart { label: text(), bars: heights.iter().map(bar).collect() };
    let dots = heights.iter().map(|value| Dot { series: 3, value: *value, note: text() }).collect();
    let dots = DotPlot {
        label: text(),
        axis: text(),
        series: vec![(3, text()), (12, text())],
        rows: vec![DotRow { name: text(), dots }],
    };
    let axes = [Axis::Linear, Axis::Whole, Axis::Logarithmic, Axis::Names(vec![text(), text()])];
    axes.into_iter().map(|x| lines(x).svg()).chain([intervals.svg(), bars.svg(), dots.svg()]).collect()
}

/// Whether every element that is opened is closed, in order.
fn is_well_formed(svg: &str) -> bool {
    let mut open = Vec::new();
    for part in svg.split('<').skip(1) {
        let Some((tag, text)) = part.split_once('>') else { return false };
        if text.contains(['>', '"']) || tag.matches('"').count() % 2 == 1 {
            return false;
        }
        if let Some(name) = tag.strip_prefix('/') {
            if open.pop() != Some(name) {
                return false;
            }
        } else if !tag.ends_with('/') {
            open.push(tag.split(' ').next().unwrap_or_default());
        }
    }
    open.is_empty()
}

#[test]
fn a_chart_says_what_it_shows() {
    let plot = IntervalPlot {
        label: "HR@10 of 2 variants".to_owned(),
        rows: vec![row("V1", Some(0.1)), row("V2", None)],
        ..IntervalPlot::default()
    };
    let svg = plot.svg();
    assert!(
        svg.starts_with(r#"<svg class="chart" role="img" aria-label="HR@10 of 2 variants" viewBox="0 0 460 "#),
        "{svg}"
    );
    assert_eq!(svg.matches("<circle class=\"mark\"").count(), 2, "one for V1, one in the legend; none for V2");
    assert!(svg.contains("<title>V1</title>") && svg.contains("href=\"#V2\""), "{svg}");
}

#[test]
fn hostile_names_stay_text() {
    for svg in all(HOSTILE, &[0.1, 0.2]) {
        assert!(is_well_formed(&svg) && !svg.contains("<script") && !svg.contains('\0'), "{svg}");
        assert!(svg.contains("&lt;script&gt;alert(&#39;&quot;1&amp;&quot;)"), "{svg}");
    }
}

#[test]
fn nothing_at_all_is_a_drawing_too() {
    for svg in all("", &[]).into_iter().chain(all("x", &[f64::NAN, f64::INFINITY, f64::NEG_INFINITY])) {
        assert!(is_well_formed(&svg) && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}

#[test]
fn a_missing_point_lifts_the_pen() {
    let mut series = line("V1", &[1.0, 2.0, 3.0, 4.0]);
    series.points[2].y = None;
    let svg = LineChart { series: vec![series], ..LineChart::default() }.svg();
    let (_, way) = svg.split_once("<path class=\"line\" d=\"").unwrap();
    let way = way.split('"').next().unwrap();
    assert_eq!((way.matches('M').count(), way.matches('L').count()), (2, 1), "{way}");
}

proptest! {
    #[test]
    fn any_numbers_and_names_give_a_drawing(
        name in any::<String>(),
        heights in prop::collection::vec(any::<f64>(), 0..8),
    ) {
        for svg in all(&name, &heights) {
            prop_assert!(is_well_formed(&svg) && !svg.contains("NaN") && !svg.contains("inf\""), "{}", svg);
            prop_assert!(svg.len() < 200_000);
        }
        prop_assert_eq!(all(&name, &heights), all(&name, &heights));
    }
}
