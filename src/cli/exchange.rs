//! `refrain show STAGE --exchange ROW`: what was sent for rows of a stage and
//! what came back, as the memo has it. Nothing is asked.

use std::sync::Arc;

use arrow::array::Array;
use serde_json::{Map, Value, json};

use super::arguments::{Global, ShowArguments};
use super::errors::{Exit, Mistake};
use super::project::{self, Project};
use super::terminal::{Style, data, say, thousands};
use crate::engine::{self, TraceOptions, TracedRow, TracedRows};
use crate::ground::{Environment, SystemClock};
use crate::table::read_parquet;
use crate::web::{Kept, KeptAnswers, Traced, Tracing};

/// Shows exchanges.
///
/// # Errors
/// If the stage asks nobody, what it reads has not been made, or a row is named
/// that it does not have.
pub(super) fn show(global: &Global, project: &Project, stage: &str, arguments: &ShowArguments) -> anyhow::Result<Exit> {
    let (rows, more) = match () {
        () if arguments.failed => failed(project, stage, arguments)?,
        () if arguments.exchange.is_empty() => (TracedRows::First(arguments.rows), 0),
        () => (TracedRows::Named(arguments.exchange.clone()), 0),
    };
    if rows == TracedRows::Named(Vec::new()) {
        data(if arguments.json { "[]" } else { "no row failed" })?;
        return Ok(Exit::Done);
    }
    let options = TraceOptions {
        plan: project.plan_options(&arguments.reading, &[], &[]),
        environment: Environment::of_process(),
        calls: Tracing::Whole,
        rows,
        as_made: true,
    };
    let trace = engine::trace(&project.pipeline, &project.store, stage, &options).map_err(project::refused)?;
    let answers = KeptAnswers::read_only(project.store.memo_folder().join("http"), Arc::new(SystemClock));
    let missing: Vec<&str> =
        trace.rows.iter().filter(|row| row.calls.is_none()).filter_map(|row| row.row.as_deref()).collect();
    if !missing.is_empty() {
        let mistake = Mistake::new(format!("`{}` has no row `{}`", trace.id, missing.join("`, `")));
        return Err(mistake.hint("`--exchanges` shows the first rows, with their names").into());
    }
    if arguments.json {
        let rows: Vec<Value> = trace.rows.iter().map(|row| json_of(row, &answers)).collect();
        data(&serde_json::to_string_pretty(&rows)?)?;
    } else {
        let style = Style::of_stdout(global.color);
        let texts: Vec<String> = trace.rows.iter().map(|row| text_of(row, &answers, style)).collect();
        data(&texts.join("\n\n"))?;
    }
    let aside = Style::of_stderr(global.color);
    if more > 0 {
        say(&format!("… {} more", thousands(more)));
    }
    if trace.sandbox.is_some() {
        say(&aside.yellow(super::run::SYNTHETIC));
    }
    Ok(Exit::Done)
}

/// The first rows of an artifact whose status says that they failed, and how
/// many more there are.
fn failed(project: &Project, stage: &str, arguments: &ShowArguments) -> anyhow::Result<(TracedRows, u64)> {
    let column = engine::row_column(&project.pipeline, stage).map_err(project::refused)?;
    let resolved = project.resolve(stage).map_err(project::refused)?;
    let has = |name: &str| resolved.artifact.columns.iter().any(|column| column.name == name);
    let named = column.filter(|column| has(column) && has("status"));
    let Some(column) = named else {
        let mistake = Mistake::new(format!("`{stage}` does not say which of its rows failed"));
        return Err(mistake.hint("it has no column `status`, or none that names its rows; try another output").into());
    };
    let table = read_parquet(&resolved.path, Some(&[column.clone(), "status".to_owned()]))?;
    let (names, statuses) = (table.strings(&column)?, table.strings("status")?);
    let is_failed = |row: &usize| statuses.is_valid(*row) && statuses.value(*row).starts_with("failed: ");
    let all: Vec<String> = (0..table.rows())
        .filter(is_failed)
        .filter(|row| names.is_valid(*row))
        .map(|row| names.value(row).to_owned())
        .collect();
    let more = all.len().saturating_sub(arguments.rows) as u64;
    Ok((TracedRows::Named(all.into_iter().take(arguments.rows).collect()), more))
}

fn text_of(row: &TracedRow, answers: &KeptAnswers, style: Style) -> String {
    let calls = row.calls.as_deref().unwrap_or_default();
    let mut lines: Vec<String> = row.row.iter().map(|name| style.bold(name)).collect();
    if calls.is_empty() {
        lines.push("  nothing was asked".to_owned());
    }
    for call in calls {
        lines.extend(sent(call, style));
        lines.extend(received(answers.exchanged(call.key).as_ref(), style));
    }
    lines.join("\n")
}

/// The request as it is sent.
fn sent(traced: &Traced, style: Style) -> Vec<String> {
    let Some((call, address)) = &traced.call else { return vec![format!("  {}", traced.request)] };
    let mut lines = vec![format!("  {} {} {address}", style.cyan("sent"), call.method())];
    let Some(body) = &call.body else { return lines };
    // Prompts as they read, and the parameters below each other.
    let messages = body.get("messages").and_then(Value::as_array);
    let mut parameters: Map<String, Value> = body.as_object().cloned().unwrap_or_default();
    if let Some(messages) = messages {
        parameters.remove("messages");
        for (name, value) in &parameters {
            lines.push(format!("    {name}: {value}"));
        }
        for message in messages {
            let part = |name: &str| message.get(name).and_then(Value::as_str);
            lines.push(format!("    {}:", part("role").unwrap_or("?")));
            match part("content") {
                Some(text) => lines.extend(indented(text, 6)),
                None => lines.extend(indented(&message.to_string(), 6)),
            }
        }
    } else {
        lines.extend(indented(&serde_json::to_string_pretty(body).unwrap_or_default(), 4));
    }
    lines
}

/// The answer as it was received.
fn received(kept: Option<&Kept>, style: Style) -> Vec<String> {
    let Some(kept) = kept else {
        return vec![format!("  {} nothing: the memo has no answer", style.yellow("received"))];
    };
    let mut facts = vec![kept.status.to_string(), moment(kept.at)];
    facts.extend(kept.headers.iter().map(|(name, value)| format!("{name}: {value}")));
    if kept.rejected {
        facts.push("rejected: it does not count as an answer".to_owned());
    }
    let word = if kept.rejected { style.red("received") } else { style.cyan("received") };
    let mut lines = vec![format!("  {word} {}", facts.join(", "))];
    let text = String::from_utf8_lossy(&kept.body);
    let pretty =
        serde_json::from_slice::<Value>(&kept.body).ok().and_then(|body| serde_json::to_string_pretty(&body).ok());
    lines.extend(indented(pretty.as_deref().unwrap_or(&text), 4));
    lines
}

fn indented(text: &str, by: usize) -> Vec<String> {
    // What a server sends must not move the cursor or colour the screen.
    let plain = |line: &str| line.chars().filter(|c| !c.is_control() || *c == '\t').collect::<String>();
    text.lines().map(|line| format!("{}{}", " ".repeat(by), plain(line)).trim_end().to_owned()).collect()
}

fn moment(millis: u64) -> String {
    let moment = i64::try_from(millis).ok().and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok());
    moment.map_or_else(|| "?".to_owned(), |moment| moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

fn json_of(row: &TracedRow, answers: &KeptAnswers) -> Value {
    let exchange = |traced: &Traced| {
        let call = traced.call.as_ref();
        json!({
            "key": traced.key,
            "sent": {
                "provider": call.map(|(call, _)| call.provider.to_owned()),
                "method": call.map(|(call, _)| call.method()),
                "url": call.map(|(_, address)| address),
                "body": call.and_then(|(call, _)| call.body.clone()),
            },
            "received": answers.exchanged(traced.key).map(|kept| json!({
                "status": kept.status,
                "at": kept.at,
                "headers": kept.headers,
                "from": kept.world,
                "rejected": kept.rejected,
                "body": String::from_utf8_lossy(&kept.body),
            })),
        })
    };
    let calls = row.calls.as_deref().unwrap_or_default();
    json!({ "row": row.row, "exchanges": calls.iter().map(exchange).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_sends_cannot_paint_the_screen() {
        assert_eq!(indented("a\u{1b}[31mb\r\n\tc", 2), ["  a[31mb", "  \tc"]);
    }
}
