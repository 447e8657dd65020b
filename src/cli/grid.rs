//! Tables of text with aligned columns: for leaderboards, plans and the first
//! rows of artifacts. Knows nothing of what the cells mean.

/// How a column is aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// Rows of cells under a head.
#[derive(Debug, Clone)]
pub(super) struct Grid {
    head: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Grid {
    /// A grid with named, aligned columns.
    pub(super) fn new<S: Into<String>>(head: impl IntoIterator<Item = (S, Align)>) -> Self {
        Self { head: head.into_iter().map(|(name, align)| (name.into(), align)).collect(), rows: Vec::new() }
    }

    /// A grid of left-aligned columns without a head.
    pub(super) fn headless(columns: usize) -> Self {
        Self { head: vec![(String::new(), Align::Left); columns], rows: Vec::new() }
    }

    /// Adds a row; missing cells are empty.
    pub(super) fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let mut row: Vec<String> = cells.into_iter().map(|cell| one_line(&cell.into())).collect();
        row.resize(self.head.len(), String::new());
        self.rows.push(row);
    }

    /// The text, each line indented by that many spaces, without spaces at the
    /// ends of lines and without a last newline. A column wider than
    /// `max_cell` characters is cut.
    pub(super) fn text(&self, indent: usize, max_cell: usize) -> String {
        let widths: Vec<usize> = (0..self.head.len())
            .map(|i| {
                let cells = self.rows.iter().map(|row| width(&row[i]));
                cells.chain([width(&self.head[i].0)]).max().unwrap_or(0).min(max_cell)
            })
            .collect();
        let mut lines = Vec::with_capacity(self.rows.len() + 2);
        if self.head.iter().any(|(name, _)| !name.is_empty()) {
            lines.push(self.line(self.head.iter().map(|(name, _)| name.as_str()), &widths));
            let rules: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
            lines.push(self.line(rules.iter().map(String::as_str), &widths));
        }
        for row in &self.rows {
            lines.push(self.line(row.iter().map(String::as_str), &widths));
        }
        let margin = " ".repeat(indent);
        lines.iter().map(|line| format!("{margin}{line}").trim_end().to_owned()).collect::<Vec<_>>().join("\n")
    }

    fn line<'a>(&self, cells: impl Iterator<Item = &'a str>, widths: &[usize]) -> String {
        let padded = cells.zip(widths).zip(&self.head).map(|((cell, &limit), (_, align))| {
            let cell = cut(cell, limit);
            let gap = " ".repeat(limit - width(&cell));
            match align {
                Align::Left => format!("{cell}{gap}"),
                Align::Right => format!("{gap}{cell}"),
            }
        });
        padded.collect::<Vec<_>>().join("  ")
    }
}

/// How many columns of a terminal a text takes.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

/// Two for East Asian wide characters and emoji, none for combining marks,
/// else one: near enough for a table.
fn char_width(c: char) -> usize {
    match c as u32 {
        0x300..=0x36f | 0x200b..=0x200f | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1faff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// The text, or its beginning and `…` where it is wider than `limit`.
pub(super) fn cut(text: &str, limit: usize) -> String {
    if width(text) <= limit {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += char_width(c);
        if used > limit {
            break;
        }
        kept.push(c);
    }
    kept.push('…');
    kept
}

/// Line breaks and other control characters as spaces: nothing in an artifact
/// may move the cursor.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_ends_are_bare() {
        let mut grid = Grid::new([("variant", Align::Left), ("hr@10", Align::Right), ("", Align::Left)]);
        grid.row(["CF", "0.1", ""]);
        grid.row(["V2.1", "0.0512"]);
        let text = "  variant   hr@10\n  ───────  ──────\n  CF          0.1\n  V2.1     0.0512";
        assert_eq!(grid.text(2, 40), text);
    }

    #[test]
    fn wide_characters_take_two_columns_and_long_cells_are_cut() {
        assert_eq!(width("東京"), 4);
        assert_eq!(cut("東京都", 5), "東京…");
        assert_eq!(cut("abcdef", 4), "abc…");
        let mut grid = Grid::headless(2);
        grid.row(["東京", "x"]);
        grid.row(["a\nb", "y"]);
        assert_eq!(grid.text(0, 10), "東京  x\na b   y");
    }
}
