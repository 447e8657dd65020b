//! The tables of a report for a paper in LaTeX, with `booktabs`.

use std::fmt::Write;

use super::Report;
use super::tables::{TextTable, results};

/// The tables of data and leaderboards, each a `table` environment to be put into a document that uses `booktabs`.
#[must_use]
pub fn latex(report: &Report) -> String {
    let mut text =
        format!("% {}, made by refrain {}. Needs \\usepackage{{booktabs}}.\n", one_line(&report.title), report.version);
    if report.synthetic.is_some() {
        text.push_str("% Synthetic data: these numbers say nothing about real listeners.\n");
    }
    if !report.cautions.is_empty() {
        // Writing to a String cannot fail.
        let items: Vec<String> = report.cautions.iter().map(|line| format!("  \\item {}", escaped(line))).collect();
        let items = items.join("\n");
        write!(text, "\n\\paragraph{{Cautions}}\n\\begin{{itemize}}\n{items}\n\\end{{itemize}}\n").unwrap_or_default();
    }
    for one in results(report) {
        // Writing to a String cannot fail.
        write!(text, "\n{}", table(&one)).unwrap_or_default();
    }
    text
}

fn table(table: &TextTable) -> String {
    let columns: String = table.head.iter().map(|(_, number)| if *number { 'r' } else { 'l' }).collect();
    let line = |cells: Vec<String>| format!("  {} \\\\\n", cells.join(" & "));
    let head = line(table.head.iter().map(|(name, _)| escaped(name)).collect());
    let rows: String = table.rows.iter().map(|row| line(row.iter().map(|cell| escaped(cell)).collect())).collect();
    let note =
        table.note.map_or_else(String::new, |note| format!("\n  \\smallskip {{\\footnotesize {}}}\n", escaped(note)));
    format!(
        "\\begin{{table}}\n  \\centering\n  \\caption{{{}}}\n  \\begin{{tabular}}{{{columns}}}\n  \\toprule\n{head}  \\midrule\n{rows}  \
         \\bottomrule\n  \\end{{tabular}}\n{note}\\end{{table}}\n",
        escaped(&table.caption)
    )
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Text as text: nothing in it is a command.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => {
                safe.push('\\');
                safe.push(letter);
            }
            '\\' => safe.push_str("\\textbackslash{}"),
            '~' => safe.push_str("\\textasciitilde{}"),
            '^' => safe.push_str("\\textasciicircum{}"),
            '<' => safe.push_str("\\textless{}"),
            '>' => safe.push_str("\\textgreater{}"),
            '–' => safe.push_str("--"),
            '†' => safe.push_str("\\textdagger{}"),
            letter if letter.is_whitespace() || letter.is_control() => safe.push(' '),
            letter => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_one_whatever_it_holds() {
        let rows = vec![vec!["\\input{x} & 50 %".to_owned(), "1–5".to_owned()]];
        let head = vec![("item_id".to_owned(), false), ("n".to_owned(), true)];
        insta::assert_snapshot!(table(&TextTable { caption: "x".into(), head, rows, note: None }), @r"
        \begin{table}
          \centering
          \caption{x}
          \begin{tabular}{lr}
          \toprule
          item\_id & n \\
          \midrule
          \textbackslash{}input\{x\} \& 50 \% & 1--5 \\
          \bottomrule
          \end{tabular}
        \end{table}
        ");
    }
}
