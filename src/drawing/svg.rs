//! Writing SVG: shapes with a class, text escaped, coordinates with one decimal.

use std::fmt::Write;

/// A drawing in the making.
///
/// - Classes are written as they are: they come from this layer, never from data.
/// - Texts, titles and addresses are escaped.
/// - Coordinates are finite, or they are 0.
pub(super) struct Svg {
    body: String,
}

/// A place, in units of the drawing: right, down.
pub(super) type Place = [f64; 2];

impl Svg {
    /// An empty drawing; `label` is what a screen reader says of it.
    pub(super) fn new(width: f64, height: f64, label: &str) -> Self {
        let [w, h] = [number(width), number(height)];
        let label = escape(label);
        Self {
            body: format!(
                r#"<svg class="chart" role="img" aria-label="{label}" viewBox="0 0 {w} {h}" width="{w}" height="{h}">"#
            ),
        }
    }

    /// A straight line.
    pub(super) fn line(&mut self, class: &str, from: Place, to: Place) {
        let [x1, y1, x2, y2] = [from[0], from[1], to[0], to[1]].map(number);
        self.put(format_args!(r#"<line class="{class}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>"#));
    }

    /// Text that starts at a place on its base line; `end` and `middle` are classes.
    pub(super) fn text(&mut self, class: &str, at: Place, text: &str) {
        let [x, y] = at.map(number);
        self.put(format_args!(r#"<text class="{class}" x="{x}" y="{y}">{}</text>"#, escape(text)));
    }

    /// A disc.
    pub(super) fn circle(&mut self, class: &str, at: Place, radius: f64, title: &str) {
        let [x, y] = at.map(number);
        let open = format!(r#"<circle class="{class}" cx="{x}" cy="{y}" r="{}""#, number(radius));
        self.closed_or_titled(&open, "circle", title);
    }

    /// A square on its corner.
    pub(super) fn diamond(&mut self, class: &str, at: Place, radius: f64, title: &str) {
        let [left, top] = [number(at[0]), number(at[1] - radius)];
        let r = number(radius);
        let open = format!(r#"<path class="{class}" d="M{left} {top}l{r} {r}l-{r} {r}l-{r}-{r}z""#);
        self.closed_or_titled(&open, "path", title);
    }

    /// A rectangle.
    pub(super) fn rectangle(&mut self, class: &str, at: Place, size: Place, title: &str) {
        let ([x, y], [w, h]) = (at.map(number), size.map(|length| number(length.max(0.0))));
        let open = format!(r#"<rect class="{class}" x="{x}" y="{y}" width="{w}" height="{h}""#);
        self.closed_or_titled(&open, "rect", title);
    }

    /// A line through places; a gap lifts the pen.
    pub(super) fn path(&mut self, class: &str, places: &[Option<Place>]) {
        let mut way = String::new();
        let mut drawing = false;
        for place in places {
            if let Some([x, y]) = place.map(|place| place.map(number)) {
                // Writing to a string does not fail.
                write!(way, "{}{x} {y}", if drawing { 'L' } else { 'M' }).unwrap_or_default();
            }
            drawing = place.is_some();
        }
        if !way.is_empty() {
            self.put(format_args!(r#"<path class="{class}" d="{way}"/>"#));
        }
    }

    /// Opens a group with a tooltip; [`Self::close`] ends it.
    pub(super) fn open(&mut self, class: &str, title: &str) {
        self.put(format_args!(r#"<g class="{class}">"#));
        self.title(title);
    }

    /// Ends a group.
    pub(super) fn close(&mut self) {
        self.body.push_str("</g>");
    }

    /// Opens a link, if there is an address; [`Self::end_link`] ends it.
    pub(super) fn link(&mut self, address: Option<&str>) {
        if let Some(address) = address {
            self.put(format_args!(r#"<a href="{}">"#, escape(address)));
        }
    }

    /// Ends a link, if there is an address.
    pub(super) fn end_link(&mut self, address: Option<&str>) {
        if address.is_some() {
            self.body.push_str("</a>");
        }
    }

    /// The drawing's text.
    pub(super) fn finish(mut self) -> String {
        self.body.push_str("</svg>");
        self.body
    }

    fn closed_or_titled(&mut self, open: &str, element: &str, title: &str) {
        if title.is_empty() {
            self.put(format_args!("{open}/>"));
        } else {
            self.put(format_args!("{open}>"));
            self.title(title);
            self.put(format_args!("</{element}>"));
        }
    }

    fn title(&mut self, title: &str) {
        if !title.is_empty() {
            self.put(format_args!("<title>{}</title>", escape(title)));
        }
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        self.body.write_fmt(text).unwrap_or_default();
    }
}

/// A coordinate with at most one decimal; 0 for what is not finite.
pub(super) fn number(value: f64) -> String {
    let tenths = if value.is_finite() { (value * 10.0).round() / 10.0 } else { 0.0 };
    // `-0` is `0`.
    let text = format!("{:.1}", tenths + 0.0);
    text.strip_suffix(".0").map_or_else(|| text.clone(), str::to_owned)
}

/// Text as it may stand between tags and within quotes. Characters that XML
/// does not have become `U+FFFD`.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\t' | '\n' | '\r' => escaped.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
