//! How the dashboard looks: colours where they are wanted, and the small things
//! that its parts are drawn with. Everything outside of an area is left alone.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::stage::Mark;

/// With colour or without.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) colour: bool,
}

impl Look {
    fn of(self, colour: Color) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new() }
    }

    pub(super) fn good(self) -> Style {
        self.of(Color::Green)
    }

    pub(super) fn bad(self) -> Style {
        self.of(Color::Red).add_modifier(Modifier::BOLD)
    }

    pub(super) fn warning(self) -> Style {
        self.of(Color::Yellow)
    }

    pub(super) fn lively(self) -> Style {
        self.of(Color::Cyan)
    }

    pub(super) fn bold() -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub(super) fn dim() -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// The style of a state's sign.
    pub(super) fn mark(self, mark: Mark) -> Style {
        match mark {
            Mark::Failed => self.bad(),
            Mark::Running => self.lively(),
            Mark::Waiting => Self::dim(),
            Mark::Skipped => self.warning(),
            Mark::Done | Mark::Cached => self.good(),
        }
    }

    /// A line of the log, by the sign that it begins with.
    pub(super) fn told(self, line: &str) -> Style {
        match line.trim_start().chars().next() {
            Some('✗') => self.bad(),
            Some('✓' | '=') => self.good(),
            Some('!' | '-') => self.warning(),
            Some('>') => self.lively(),
            _ => Style::new(),
        }
    }
}

/// Writes a text at a row of an area.
pub(super) fn put(buffer: &mut Buffer, area: Rect, row: u16, text: &str, style: Style) {
    put_line(buffer, area, row, &Line::from(Span::styled(text, style)));
}

/// Writes a line of several styles at a row of an area.
pub(super) fn put_line(buffer: &mut Buffer, area: Rect, row: u16, line: &Line<'_>) {
    let area = area.intersection(buffer.area);
    if row < area.height && area.width > 0 {
        buffer.set_line(area.x, area.y + row, line, area.width);
    }
}

/// A line with a title in it, from one side of an area to the other, and what
/// is left of the area below.
pub(super) fn titled(buffer: &mut Buffer, area: Rect, title: &str, style: Style) -> Rect {
    let area = area.intersection(buffer.area);
    if area.height == 0 {
        return area;
    }
    put(buffer, area, 0, &"─".repeat(usize::from(area.width)), Look::dim());
    let title = Span::styled(format!(" {title} "), style);
    let line = Line::from(vec![Span::styled("─", Look::dim()), title]);
    put_line(buffer, area, 0, &line);
    Rect { y: area.y + 1, height: area.height - 1, ..area }
}

/// A bar of that many columns, of which this share is full.
pub(super) fn bar(share: f64, columns: usize) -> String {
    let full = ((share * columns as f64).round() as usize).min(columns);
    format!("{}{}", "█".repeat(full), "░".repeat(columns - full))
}

/// A text in pieces of at most so many columns, cut at spaces where there are
/// any; later pieces are indented as the first and a little more.
pub(super) fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(8);
    let indent = text.len() - text.trim_start().len();
    let hang = " ".repeat((indent + 2).min(columns / 2));
    let mut lines = Vec::new();
    let mut rest: Vec<char> = text.chars().collect();
    while rest.len() > columns {
        let from = rest.iter().position(|c| *c != ' ').unwrap_or(0) + 1;
        let cut = rest[..=columns].iter().rposition(|c| *c == ' ').filter(|at| *at >= from).unwrap_or(columns);
        lines.push(rest[..cut].iter().collect());
        let after: String = rest[cut..].iter().collect();
        rest = format!("{hang}{}", after.trim_start()).chars().collect();
    }
    lines.push(rest.into_iter().collect());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_at_spaces_and_indented() {
        assert_eq!(wrapped("short", 20), ["short"]);
        assert_eq!(wrapped("  one two three four", 12), ["  one two", "    three", "    four"]);
        assert_eq!(wrapped("aaaaaaaaaaaaaaaaaaaa", 8), ["aaaaaaaa", "  aaaaaa", "  aaaaaa"]);
        assert_eq!(wrapped("", 1), [""]);
    }

    #[test]
    fn a_bar_is_as_full_as_its_share() {
        assert_eq!([bar(0.0, 4), bar(0.5, 4), bar(1.0, 4), bar(2.0, 4)], ["░░░░", "██░░", "████", "████"]);
    }
}
