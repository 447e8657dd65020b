//! The tables of a report as text, for formats that have tables of text.

use super::summary::measure;
use super::{Board, BoardRow, DataFacts, Measure, Report, StageFacts};
use crate::ground::thousands;

/// A table of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TextTable {
    /// What stands above it.
    pub(super) caption: String,
    /// The heads of its columns, and whether they hold numbers.
    pub(super) head: Vec<(String, bool)>,
    /// Its rows.
    pub(super) rows: Vec<Vec<String>>,
    /// What stands below it.
    pub(super) note: Option<&'static str>,
}

impl TextTable {
    fn new(caption: String, text: &[&str], numbers: &[&str]) -> Self {
        let head = text.iter().map(|name| ((*name).to_owned(), false));
        Self {
            caption,
            head: head.chain(numbers.iter().map(|name| ((*name).to_owned(), true))).collect(),
            rows: Vec::new(),
            note: None,
        }
    }
}

/// The tables of the data and the leaderboards.
pub(super) fn results(report: &Report) -> Vec<TextTable> {
    let mark = if report.synthetic.is_some() { " (synthetic data)" } else { "" };
    let mut tables = vec![data(&report.data, mark)];
    for board in &report.boards {
        tables.extend([2, 3].into_iter().filter_map(|number| paper(board, number, mark)));
        tables.push(leaderboard(board, mark));
        tables.push(beyond(board, mark));
    }
    tables.retain(|table| !table.rows.is_empty());
    tables
}

fn data(data: &[DataFacts], mark: &str) -> TextTable {
    let mut table =
        TextTable::new(format!("Data after filtering{mark}"), &["split"], &["users", "items", "feedback", "sparsity"]);
    let cells = |name: &str, users, items, feedback, sparsity: f64| {
        let counts = [users, items, feedback].map(thousands);
        std::iter::once(name.to_owned()).chain(counts).chain([format!("{:.3} %", 100.0 * sparsity)]).collect()
    };
    for row in data {
        table.rows.push(cells(&row.stage, row.users, row.items, row.feedback, row.sparsity));
        if let Some(paper) = row.published {
            table.rows.push(cells("the paper", paper.users, paper.items, paper.feedback, paper.sparsity));
        }
    }
    table
}

/// The rows of a leaderboard that are in a table of the paper, in the paper's order.
pub(super) fn of_paper(board: &Board, number: u8) -> Vec<&BoardRow> {
    let mut rows: Vec<&BoardRow> = board
        .rows
        .iter()
        .filter(|row| row.published.is_some_and(|published| is_in(row, published.table, number)))
        .collect();
    rows.sort_by(|a, b| a.variant.cmp(&b.variant));
    rows
}

/// Table 3 holds V2.1 once more.
fn is_in(row: &BoardRow, table: u8, number: u8) -> bool {
    table == number || (number == 3 && row.variant.starts_with("V2"))
}

fn paper(board: &Board, number: u8, mark: &str) -> Option<TextTable> {
    let k = board.k;
    let caption = format!("Table {number} of the paper, with the numbers of this run{mark}");
    let (hr, ndcg) = (format!("HR@{k}"), format!("NDCG@{k}"));
    let numbers = [hr.as_str(), ndcg.as_str(), &format!("{hr}, paper"), &format!("{ndcg}, paper")];
    let mut table = TextTable::new(caption, &["variant"], &numbers);
    for row in of_paper(board, number) {
        let published = row.published?;
        let paper = [published.hr, published.ndcg].map(|value| measure(Some(value)));
        table.rows.push([row.name(), interval(row.hr), interval(row.ndcg)].into_iter().chain(paper).collect());
    }
    table.note = board.mark_means();
    (number == 2 || table.rows.iter().any(|row| row[0].starts_with("V3") || row[0] == "V2.2")).then_some(table)
}

fn leaderboard(board: &Board, mark: &str) -> TextTable {
    let k = board.k;
    let heads = [format!("HR@{k}"), format!("NDCG@{k}"), format!("warm HR@{k}"), format!("cold HR@{k}")];
    let numbers: Vec<&str> = heads.iter().map(String::as_str).chain(["seeds", "users", "p"]).collect();
    let caption = format!("{}, on {}{mark}", board.stage, board.part);
    let mut table = TextTable::new(caption, &["variant"], &numbers);
    table
        .head
        .push((board.baseline.as_ref().map_or_else(|| "verdict".to_owned(), |name| format!("against {name}")), false));
    for row in &board.rows {
        let values = [interval(row.hr), interval(row.ndcg), measure(row.warm_hr), measure(row.cold_hr)];
        let others =
            [row.seeds.to_string(), thousands(row.users), row.p.map_or_else(String::new, |p| format!("{p:.4}"))];
        let ends = row.verdict.clone().unwrap_or_default();
        table.rows.push(std::iter::once(row.name()).chain(values).chain(others).chain([ends]).collect());
    }
    table.note = board.mark_means();
    table
}

/// What else was measured of each variant.
fn beyond(board: &Board, mark: &str) -> TextTable {
    let heads = ["Recall", "Coverage", "Popularity"].map(|name| format!("{name}@{}", board.k));
    let numbers: Vec<&str> = std::iter::once("MRR").chain(heads.iter().map(String::as_str)).collect();
    let mut table =
        TextTable::new(format!("Beyond accuracy: {}, on {}{mark}", board.stage, board.part), &["variant"], &numbers);
    for row in board.rows.iter().filter(|row| row.beyond.is_there()) {
        let of = &row.beyond;
        let popularity = of.popularity.map_or_else(|| measure(None), |mean| format!("{mean:.1}"));
        table.rows.push(vec![row.name(), measure(of.mrr), measure(of.recall), measure(of.coverage), popularity]);
    }
    table.note = board.mark_means();
    table
}

/// `0.1845 [0.1502, 0.2210]`.
fn interval(of: Measure) -> String {
    match (of.low, of.high) {
        (Some(low), Some(high)) => format!("{} [{low:.4}, {high:.4}]", measure(of.value)),
        _ => measure(of.value),
    }
}

/// What each stage made and took.
pub(super) fn stages(stages: &[StageFacts]) -> TextTable {
    let mut table =
        TextTable::new("Stages".to_owned(), &["stage", "kind"], &["rows", "seconds", "requests", "tokens", "dollars"]);
    for stage in stages {
        table.rows.push(vec![
            stage.id.clone(),
            stage.kind.to_owned(),
            thousands(stage.rows),
            stage.seconds.map_or_else(String::new, |seconds| format!("{seconds:.2}")),
            thousands(stage.requests),
            thousands(stage.tokens),
            stage.usd.map_or_else(String::new, |usd| format!("{usd:.4}")),
        ]);
    }
    table
}
