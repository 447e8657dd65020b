//! What is in the columns of an artifact, for people and for programs.

use serde_json::{Value, json};

use super::arguments::Selection;
use super::grid::{Align, Grid};
use super::sql::unanswered;
use super::terminal::thousands;
use crate::engine::Resolved;
use crate::table::{ColumnSummary, Summary, decimal, describe_parquet, json_value, summarise_parquet, value_text};

/// Blocks of an eighth of a line's height to a whole one.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Frequent texts that are shown, and how many characters of each.
const SHOWN: usize = 3;
const SHOWN_CHARACTERS: usize = 20;

/// What was found, and in how many rows.
pub(super) struct Stats {
    pub(super) rows: u64,
    pub(super) columns: Vec<ColumnSummary>,
}

impl Stats {
    /// Looks at the rows of an artifact for which the condition is true.
    ///
    /// # Errors
    /// If a column is missing, the condition is wrong, or the file cannot be read.
    pub(super) fn of(name: &str, resolved: &Resolved, selection: &Selection) -> anyhow::Result<Self> {
        let columns = selection.named(resolved)?;
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        if selection.condition.is_none() {
            let columns = summarise_parquet(&resolved.path, &columns)?;
            return Ok(Self { rows: resolved.artifact.rows, columns });
        }
        let mut rows = 0;
        let mut summary = Summary::new(&columns, &describe_parquet(&resolved.path)?.1)?;
        while !summary.is_done() {
            rows = 0;
            let mut pass = summary.pass();
            let wanted: Vec<String> = summary.columns_to_read().into_iter().map(str::to_owned).collect();
            let query = selection.query(name, resolved)?.selecting(&wanted).map_err(super::sql::refused)?;
            let answered = query.answer(|table| -> anyhow::Result<bool> {
                rows += table.rows() as u64;
                pass.add_table(table)?;
                Ok(true)
            });
            answered.map_err(unanswered)?;
            summary.end_pass(vec![pass]);
        }
        Ok(Self { rows, columns: summary.finish() })
    }

    /// For people.
    pub(super) fn grid(&self) -> Grid {
        let numbers = ["nulls", "distinct", "min", "mean", "max"].map(|name| (name, Align::Right));
        let mut head = vec![("column", Align::Left), ("type", Align::Left)];
        head.extend(numbers);
        head.push(("values", Align::Left));
        let mut grid = Grid::new(head);
        for column in &self.columns {
            let distinct = column.distinct.map(|distinct| {
                let about = if distinct.exact { "" } else { "≈" };
                format!("{about}{}", thousands(distinct.count))
            });
            let [least, most] = ends(column).map(|value| value.map(|value| value_text(&value)));
            grid.row([
                column.name.clone(),
                column.data_type.clone(),
                thousands(column.nulls),
                distinct.unwrap_or_default(),
                least.unwrap_or_default(),
                column.mean.map(decimal).unwrap_or_default(),
                most.unwrap_or_default(),
                self.values(column),
            ]);
        }
        grid
    }

    /// How numbers are spread, or which texts are frequent.
    fn values(&self, column: &ColumnSummary) -> String {
        let mut parts = Vec::new();
        if let Some(histogram) = &column.histogram {
            parts.push(bars(&histogram.counts));
        }
        if column.nans > 0 {
            parts.push(format!("NaN {}", thousands(column.nans)));
        }
        if let Some(frequent) = &column.frequent {
            let shown = frequent.iter().take(SHOWN).filter(|(_, count)| *count > 1 || frequent.len() <= SHOWN);
            let told = shown.map(|(text, count)| {
                let text = if text.is_empty() { "\"\"".to_owned() } else { super::grid::cut(text, SHOWN_CHARACTERS) };
                format!("{text} {}", self.share(*count))
            });
            parts.push(told.collect::<Vec<_>>().join(", "));
        }
        if column.data_type.starts_with("list<") && column.range.is_some() {
            parts.push("(lengths)".to_owned());
        }
        parts.join("  ")
    }

    fn share(&self, count: u64) -> String {
        let percent = count as f64 / self.rows.max(1) as f64 * 100.0;
        if percent >= 1.0 { format!("{percent:.0}%") } else { thousands(count) }
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let column = |column: &ColumnSummary| {
            let [least, most] = ends(column);
            let frequent = column.frequent.as_ref().map(|frequent| {
                frequent.iter().map(|(value, count)| json!({"value": value, "count": count})).collect::<Vec<_>>()
            });
            let histogram =
                column.histogram.as_ref().map(|bars| json!({"from": bars.from, "to": bars.to, "counts": bars.counts}));
            json!({
                "name": column.name,
                "type": column.data_type,
                "nulls": column.nulls,
                "nans": column.nans,
                "distinct": column.distinct.map(|distinct| distinct.count),
                "distinct_is_exact": column.distinct.map(|distinct| distinct.exact),
                "min": least,
                "max": most,
                "mean": column.mean,
                "histogram": histogram,
                "frequent": frequent,
            })
        };
        Value::Array(self.columns.iter().map(column).collect())
    }
}

fn ends(column: &ColumnSummary) -> [Option<Value>; 2] {
    match &column.range {
        Some(ends) => ends.each_ref().map(|end| Some(json_value(end, 0))),
        None => [None, None],
    }
}

/// A line of blocks, each as high as its count; none where nothing is.
fn bars(counts: &[u64]) -> String {
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    let block = |count: &u64| match count {
        0 => ' ',
        count => BLOCKS[((count * 8).div_ceil(most) as usize).clamp(1, 8) - 1],
    };
    counts.iter().map(block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_high_as_their_counts() {
        assert_eq!(bars(&[0, 1, 50, 100, 800, 400]), " ▁▁▁█▄");
        assert_eq!(bars(&[0, 0]), "  ");
    }
}
