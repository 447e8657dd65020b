//! Leaderboards: what `compare` found, and for each of its numbers where it
//! comes from.

use std::collections::BTreeMap;

use arrow::array::{Array, BooleanArray};
use serde_json::Value;

use super::gather::{Gatherer, ReportError};
use super::targets::{self, Targets};
use super::{Beyond, Board, BoardRow, Curve, Epoch, Measure, Slice, published, texts};
use crate::table::{Table, TableError, rows_as_json};

/// The kind whose output is a leaderboard.
const COMPARE: &str = "compare";

/// The leaderboards of a pipeline.
pub(super) fn read(gatherer: &Gatherer<'_>) -> Result<Vec<Board>, ReportError> {
    let mut boards = Vec::new();
    for (index, instance) in gatherer.pipeline.instances.iter().enumerate() {
        if instance.kind.name() != COMPARE {
            continue;
        }
        let Some(table) = gatherer.table(index, "leaderboard", &[])? else { continue };
        let mut board = head(gatherer, index);
        board.stage = instance.id.to_string();
        board.rows = rows(gatherer, index, &board, &table)?;
        board.ablations = ablations(gatherer, index, &board)?;
        add_targets(gatherer, index, &mut board)?;
        add_groups(gatherer, index, &mut board)?;
        board.along = along(gatherer, &board.rows);
        boards.push(board);
    }
    Ok(boards)
}

/// What the comparison was told.
fn head(gatherer: &Gatherer<'_>, index: usize) -> Board {
    let made = gatherer.manifests[index].as_ref();
    let settings = made.and_then(|made| made.fingerprint.get("settings")).cloned().unwrap_or_default();
    Board {
        stage: String::new(),
        k: settings["k"].as_u64().unwrap_or(10) as u32,
        part: settings["part"].as_str().unwrap_or("test").to_owned(),
        baseline: settings["baseline"].as_str().map(str::to_owned),
        rows: Vec::new(),
        ablations: Vec::new(),
        along: None,
        popularity_bins: Vec::new(),
        words_bins: Vec::new(),
        ranks: Vec::new(),
        groupings: BTreeMap::new(),
    }
}

/// The instances that measured a variant, one per seed.
fn evaluations(gatherer: &Gatherer<'_>, index: usize, variant: &str) -> Vec<usize> {
    let of_variant = |label: &str| label.split_once('#').map_or(label, |(name, _)| name) == variant;
    let all = gatherer.sources(index, "metrics").into_iter();
    all.filter(|(label, _)| of_variant(label)).map(|(_, instance)| instance).collect()
}

fn rows(gatherer: &Gatherer<'_>, index: usize, board: &Board, table: &Table) -> Result<Vec<BoardRow>, ReportError> {
    let values = rows_as_json(table).map_err(|error| unreadable(gatherer, index, "leaderboard", error))?;
    let name_of = |index: usize| gatherer.pipeline.instances[index].id.to_string();
    let row = |value: &Value| {
        let variant = value["variant"].as_str().unwrap_or_default().to_owned();
        let evaluations = evaluations(gatherer, index, &variant);
        let models: Vec<usize> = evaluations.iter().filter_map(|at| gatherer.source(*at, "model")).collect();
        let number = |name: &str| value[name.replace('K', &board.k.to_string())].as_f64();
        let measure = |name: &str| Measure {
            value: number(name),
            low: number(&format!("{name}_low")),
            high: number(&format!("{name}_high")),
        };
        let catalog = gatherer.pipeline.publication.published.filter(|_| board.k == 10);
        BoardRow {
            seeds: value["seeds"].as_u64().unwrap_or_default(),
            users: value["users"].as_u64().unwrap_or_default(),
            hr: measure("hr@K"),
            ndcg: measure("ndcg@K"),
            warm_hr: number("warm_hr@K"),
            cold_hr: number("cold_hr@K"),
            beyond: Beyond {
                mrr: number("mrr"),
                recall: number("recall@K"),
                coverage: number("coverage@K"),
                popularity: number("popularity@K"),
            },
            // Leaderboards of before there was the column have it in the verdict alone.
            on_test: value["on_test"]
                .as_bool()
                .unwrap_or_else(|| value["verdict"].as_str().is_some_and(|verdict| verdict.contains("picked on test"))),
            verdict: value["verdict"].as_str().map(str::to_owned),
            p: number("p"),
            published: catalog.and_then(|catalog| published::of_variant(catalog, &variant)),
            evaluated_by: evaluations.iter().copied().map(name_of).collect(),
            trained_by: models.iter().copied().map(name_of).collect(),
            text: models.first().and_then(|model| texts::source(gatherer, *model)).map(name_of),
            numbers: numbers(gatherer, &variant),
            variant,
            ..BoardRow::default()
        }
    };
    Ok(values.iter().map(row).collect())
}

/// The numbers that the file gives for a variant.
fn numbers(gatherer: &Gatherer<'_>, variant: &str) -> BTreeMap<String, f64> {
    let values = gatherer.pipeline.variant_values.get(variant).into_iter().flatten();
    values.filter_map(|(name, value)| Some((name.clone(), value.as_f64()?))).collect()
}

/// The number in which the variants of a leaderboard differ.
fn along(gatherer: &Gatherer<'_>, rows: &[BoardRow]) -> Option<String> {
    let variants = &gatherer.pipeline.variants;
    let names: Vec<&str> =
        rows.iter().map(|row| row.variant.as_str()).filter(|name| variants.iter().any(|v| v == name)).collect();
    gatherer.pipeline.numeric_axis(&names).map(|axis| axis.name)
}

/// What the comparison says of ablations, with the names of those whose epoch was picked on the test part.
fn ablations(gatherer: &Gatherer<'_>, index: usize, board: &Board) -> Result<Vec<String>, ReportError> {
    let Some(table) = gatherer.table(index, "ablation", &["variant", "without", "base", "words"])? else {
        return Ok(Vec::new());
    };
    let values = rows_as_json(&table).map_err(|error| unreadable(gatherer, index, "ablation", error))?;
    let sentence = |value: &Value| {
        let names: Vec<&str> = ["variant", "without", "base"].iter().filter_map(|name| value[*name].as_str()).collect();
        let seen = |row: &&BoardRow| row.on_test && names.contains(&row.variant.as_str());
        let seen: Vec<String> = board.rows.iter().filter(seen).map(BoardRow::name).collect();
        let words = value["words"].as_str().unwrap_or_default();
        if seen.is_empty() { words.to_owned() } else { format!("{words} (picked on test: {})", seen.join(", ")) }
    };
    Ok(values.iter().map(sentence).collect())
}

/// What is known of single targets: where they were ranked, how popular they
/// are, how long their text is.
fn add_targets(gatherer: &Gatherer<'_>, index: usize, board: &mut Board) -> Result<(), ReportError> {
    let mut all: Vec<Targets> = Vec::with_capacity(board.rows.len());
    let mut splits = targets::Splits::default();
    for row in &board.rows {
        let mut of_row = Targets::default();
        for evaluation in evaluations(gatherer, index, &row.variant) {
            of_row.add(gatherer, evaluation, &board.part, &mut splits)?;
        }
        all.push(of_row);
    }
    let popularity = targets::popularity_bins(&all);
    let words = targets::words_bins(&all);
    board.ranks = targets::ranks(&all);
    let k = u64::from(board.k);
    for (row, targets) in board.rows.iter_mut().zip(&all) {
        row.of = targets.len() as u64;
        row.hits = targets.hits(k);
        row.found = targets.found(&board.ranks);
        row.by_popularity = targets.by(&popularity, k, |target| Some(u64::from(target.popularity)));
        row.by_words = targets.by(&words, k, |target| target.words);
        if row.by_words.iter().all(Option::is_none) {
            row.by_words.clear();
        }
    }
    board.popularity_bins = targets::names(&popularity);
    board.words_bins = targets::names(&words);
    Ok(())
}

/// What `evaluate` measured by column and value; the mean over seeds.
fn add_groups(gatherer: &Gatherer<'_>, index: usize, board: &mut Board) -> Result<(), ReportError> {
    let mut sizes: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for at in 0..board.rows.len() {
        let evaluations = evaluations(gatherer, index, &board.rows[at].variant);
        let mut sums: BTreeMap<(String, String), (f64, u64, u64)> = BTreeMap::new();
        for evaluation in evaluations {
            let Some(table) = gatherer.table(evaluation, "metrics", &[])? else { continue };
            let values = rows_as_json(&table).map_err(|error| unreadable(gatherer, evaluation, "metrics", error))?;
            for value in &values {
                let is_hr = value["metric"] == "hr" && value["part"] == board.part.as_str();
                let slice = value["slice"].as_str().and_then(|slice| slice.split_once('='));
                let (Some((column, name)), Some(hr), true) =
                    (slice, value["value"].as_f64(), is_hr && value["k"] == board.k)
                else {
                    continue;
                };
                let sum = sums.entry((column.to_owned(), name.to_owned())).or_default();
                *sum = (sum.0 + hr, sum.1 + 1, value["users"].as_u64().unwrap_or_default());
            }
        }
        for ((column, name), (sum, count, users)) in sums {
            let largest = sizes.entry(column.clone()).or_default().entry(name.clone()).or_default();
            *largest = users.max(*largest);
            let slice = Slice { hr: sum / count as f64, of: users };
            board.rows[at].by_group.entry(column).or_default().insert(name, slice);
        }
    }
    for (column, values) in sizes {
        let mut names: Vec<(String, u64)> = values.into_iter().collect();
        names.sort_by(|(a, many), (b, few)| few.cmp(many).then_with(|| a.cmp(b)));
        board.groupings.insert(column, names.into_iter().map(|(name, _)| name).collect());
    }
    Ok(())
}

/// The learning curves of all that was trained.
pub(super) fn curves(gatherer: &Gatherer<'_>) -> Result<Vec<Curve>, ReportError> {
    let mut curves = Vec::new();
    for (index, instance) in gatherer.pipeline.instances.iter().enumerate() {
        let Some(table) = gatherer.table(index, "curve", &["epoch", "loss", "hr@10", "ndcg@10", "selected"])? else {
            continue;
        };
        let epochs = epochs(&table).map_err(|error| unreadable(gatherer, index, "curve", error))?;
        let variant = instance.id.variant.clone().unwrap_or_else(|| instance.id.stage.clone());
        let settings = gatherer.manifests[index].as_ref().and_then(|made| made.fingerprint.get("settings"));
        let on_test = settings.is_some_and(|settings| settings["select"] == "test_best");
        curves.push(Curve { stage: instance.id.to_string(), variant, on_test, epochs });
    }
    Ok(curves)
}

fn epochs(table: &Table) -> Result<Vec<Epoch>, TableError> {
    let (number, loss) = (table.integers("epoch")?, table.floats("loss")?);
    let (hr, ndcg) = (table.floats("hr@10")?, table.floats("ndcg@10")?);
    let selected = table.column("selected")?;
    let selected = selected.as_any().downcast_ref::<BooleanArray>();
    let at = |column: &arrow::array::Float64Array, row: usize| {
        Some(column.value(row)).filter(|value| column.is_valid(row) && value.is_finite())
    };
    let epoch = |row: usize| Epoch {
        epoch: number.value(row).unsigned_abs(),
        loss: at(&loss, row),
        hr: at(&hr, row),
        ndcg: at(&ndcg, row),
        selected: selected.is_some_and(|selected| selected.is_valid(row) && selected.value(row)),
    };
    Ok((0..table.rows()).map(epoch).collect())
}

fn unreadable(gatherer: &Gatherer<'_>, index: usize, output: &str, error: TableError) -> ReportError {
    let path = gatherer.output(index, output).map(|artifact| gatherer.store.object_path(&artifact.hash));
    gatherer.unreadable(index, path.unwrap_or_default(), error)
}
