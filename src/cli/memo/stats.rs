//! `refrain memo stats`: what the memo holds, counted.

use serde_json::{Value, json};

use super::super::arguments::Global;
use super::super::errors::Exit;
use super::super::grid::{Align, Grid};
use super::super::project;
use super::super::terminal::{Style, bytes, count, data, say, thousands};
use super::arguments::MemoStatsArguments;
use crate::memo::{Census, Share, Stamp, census};
use crate::web::{AnswerGroup, count_answers};

/// Counts the memo.
///
/// # Errors
/// If there is no store, or the memo cannot be read.
pub(super) fn stats(global: &Global, arguments: &MemoStatsArguments) -> anyhow::Result<Exit> {
    let store = project::existing_store(global)?;
    let folder = store.memo_folder();
    let answers = count_answers(&folder.join("http"))?;
    // By how many numbers they have: which model made a vector is only in its key's hash.
    let vectors = census(&folder.join("vectors"), |_: &Stamp, bytes| bytes / 4)?;
    if arguments.json {
        let value = json!({ "answers": json_of(&answers, group_json), "vectors": json_of(&vectors, |numbers| json!({ "numbers": numbers })) });
        data(&serde_json::to_string_pretty(&value)?)?;
        return Ok(Exit::Done);
    }
    let style = Style::of_stdout(global.color);
    let mut text = style.bold(&heading("answer", &answers));
    if !answers.groups.is_empty() {
        text = format!("{text}\n\n{}", answer_grid(&answers).text(2, 40));
    }
    text = format!("{text}\n\n{}", style.bold(&heading("vector", &vectors)));
    if !vectors.groups.is_empty() {
        text = format!("{text}\n\n{}", vector_grid(&vectors).text(2, 40));
    }
    data(&text)?;
    let damaged = answers.damaged + vectors.damaged;
    if damaged > 0 {
        let what = format!(
            "! {} cannot be read; `refrain verify` says where, and heals it with --repair",
            count(damaged, "place")
        );
        say(&Style::of_stderr(global.color).yellow(&what));
    }
    Ok(Exit::Done)
}

fn heading<K>(what: &str, census: &Census<K>) -> String {
    let mut parts = vec![count(census.records, what)];
    if census.superseded > 0 {
        parts.push(format!("{} of them replaced by newer ones", thousands(census.superseded)));
    }
    parts.push(format!("{} on the disk in {}", bytes(census.disk_bytes), count(census.segments, "segment")));
    if census.without_index > 0 {
        parts.push(format!("{} without an index", thousands(census.without_index)));
    }
    parts.join(", ")
}

fn answer_grid(census: &Census<AnswerGroup>) -> Grid {
    let mut grid = Grid::new([
        ("provider", Align::Left),
        ("asked for", Align::Left),
        ("status", Align::Left),
        ("from", Align::Left),
        ("answers", Align::Right),
        ("size", Align::Right),
        ("oldest", Align::Left),
        ("newest", Align::Left),
    ]);
    for (group, share) in &census.groups {
        let status = if group.rejected { format!("{}, rejected", group.status) } else { group.status.to_string() };
        let from = group.world.as_deref().unwrap_or("–");
        let about = [group.provider.clone(), group.route.clone(), status, from.to_owned()];
        grid.row(about.into_iter().chain(numbers(share)));
    }
    grid
}

fn vector_grid(census: &Census<u64>) -> Grid {
    let mut grid = Grid::new([
        ("numbers", Align::Right),
        ("vectors", Align::Right),
        ("size", Align::Right),
        ("oldest", Align::Left),
        ("newest", Align::Left),
    ]);
    for (width, share) in &census.groups {
        grid.row([width.to_string()].into_iter().chain(numbers(share)));
    }
    grid
}

fn numbers(share: &Share) -> [String; 4] {
    [thousands(share.records), bytes(share.bytes), day(share.oldest), day(share.newest)]
}

/// A moment as its day.
fn day(millis: u64) -> String {
    let moment = i64::try_from(millis).ok().and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok());
    moment.map_or_else(|| "?".to_owned(), |moment| moment.strftime("%Y-%m-%d").to_string())
}

fn group_json(group: &AnswerGroup) -> Value {
    json!({
        "provider": group.provider,
        "route": group.route,
        "status": group.status,
        "world": group.world,
        "rejected": group.rejected,
    })
}

fn json_of<K>(census: &Census<K>, about: impl Fn(&K) -> Value) -> Value {
    let group = |(group, share): (&K, &Share)| {
        let mut value = about(group);
        for (name, number) in
            [("records", share.records), ("bytes", share.bytes), ("oldest", share.oldest), ("newest", share.newest)]
        {
            value[name] = number.into();
        }
        value
    };
    json!({
        "records": census.records,
        "superseded": census.superseded,
        "segments": census.segments,
        "without_index": census.without_index,
        "disk_bytes": census.disk_bytes,
        "damaged": census.damaged,
        "groups": census.groups.iter().map(group).collect::<Vec<_>>(),
    })
}
