//! A report as Markdown: for a README, or for the appendix of a paper.

use std::fmt::Write;

use super::tables::{TextTable, results, stages};
use super::{Report, Song};

/// The report as Markdown. Names from data cannot end a cell or begin markup.
#[must_use]
pub fn markdown(report: &Report) -> String {
    let mut text = format!("# {}\n", escaped(&report.title));
    let mut paragraph = |content: &str| {
        // Writing to a String cannot fail.
        write!(text, "\n{content}\n").unwrap_or_default();
    };
    if report.synthetic.is_some() {
        paragraph("> **Synthetic data**: these numbers say nothing about real listeners.");
    }
    let summary: Vec<String> = report.summary.iter().map(|line| escaped(line)).collect();
    paragraph(&summary.join(" "));
    if !report.cautions.is_empty() {
        let lines: Vec<String> = report.cautions.iter().map(|line| format!("- {}", escaped(line))).collect();
        paragraph(&format!("**Cautions**\n\n{}", lines.join("\n")));
    }
    for gap in &report.gaps {
        paragraph(&format!("> {}", escaped(gap)));
    }
    for one in &results(report) {
        paragraph(&table(one));
    }
    for one in &report.songs {
        paragraph(&song(one, report.synthetic.is_some()));
    }
    paragraph(&table(&stages(&report.stages)));
    paragraph(&format!("Made by refrain {} from `{}`.", report.version, report.file));
    text
}

fn table(table: &TextTable) -> String {
    let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
    let heads: Vec<String> = table.head.iter().map(|(name, _)| escaped(name)).collect();
    let rules: Vec<String> =
        table.head.iter().map(|(_, number)| if *number { "---:" } else { "---" }.to_owned()).collect();
    let mut lines = vec![format!("**{}**\n", escaped(&table.caption)), line(&heads), line(&rules)];
    for row in &table.rows {
        lines.push(line(&row.iter().map(|cell| escaped(cell)).collect::<Vec<_>>()));
    }
    if let Some(note) = table.note {
        lines.push(format!("\n{}", escaped(note)));
    }
    lines.join("\n")
}

fn song(song: &Song, synthetic: bool) -> String {
    let name = match (&song.artist, &song.title) {
        (Some(artist), Some(title)) => format!("{artist} – {title}"),
        _ => song.item_id.clone(),
    };
    let mark = if synthetic { " (synthetic data)" } else { "" };
    let mut table = TextTable {
        caption: format!("{name}{mark}"),
        head: vec![("text".to_owned(), false), ("variants".to_owned(), false), (String::new(), false)],
        rows: Vec::new(),
        note: None,
    };
    for text in &song.texts {
        let words = text.text.clone().or_else(|| text.status.clone()).unwrap_or_else(|| "–".to_owned());
        table.rows.push(vec![text.stage.clone(), text.variants.join(", "), words]);
    }
    self::table(&table)
}

/// Text as text: on one line, and nothing in it is markup.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' | '#' | '~' | '$' => {
                safe.push('\\');
                safe.push(letter);
            }
            letter if letter.is_whitespace() => safe.push(' '),
            letter if letter.is_control() => {}
            letter => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_stays_a_cell_whatever_it_holds() {
        let rows = vec![vec!["<script>alert(1)</script>\n| a".to_owned(), "1".to_owned()]];
        let head = vec![("song".to_owned(), false), ("plays".to_owned(), true)];
        insta::assert_snapshot!(table(&TextTable { caption: "x".into(), head, rows, note: None }), @r"
        **x**

        | song | plays |
        | --- | ---: |
        | &lt;script&gt;alert(1)&lt;/script&gt; \| a | 1 |
        ");
    }
}
