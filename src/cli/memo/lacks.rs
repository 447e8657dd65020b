//! `refrain memo lacks`: which requests of a stage the memo has no answer to.

use serde_json::json;

use super::super::arguments::Global;
use super::super::errors::Exit;
use super::super::project;
use super::super::terminal::{count, data, say, thousands};
use super::arguments::MemoLacksArguments;
use super::export::trace_options;
use crate::engine::{self, TracedRows};
use crate::web::Tracing;

/// Lists what a stage lacks: the exit code is 1 if it lacks something.
///
/// # Errors
/// If the stage is not in the pipeline, asks nobody, or what it reads has not
/// been made.
pub(super) fn lacks(global: &Global, arguments: &MemoLacksArguments) -> anyhow::Result<Exit> {
    let (project, stage) = match project::open_words(global, &arguments.words, &arguments.reading)? {
        Ok(opened) => opened,
        Err(exit) => return Ok(exit),
    };
    let stage = project::required_stage(stage)?;
    let options = trace_options(&arguments.reading, Tracing::Lacks, TracedRows::All, false);
    let trace = engine::trace(&project.pipeline, &project.store, &stage, &options).map_err(project::refused)?;
    let calls: Vec<_> = trace.rows.into_iter().filter_map(|row| row.calls).flatten().collect();
    for call in &calls {
        if arguments.json {
            data(&json!({ "key": call.key, "request": call.request }).to_string())?;
        } else {
            data(&call.request)?;
        }
    }
    let requests = calls.len() as u64;
    let without = trace.known.map(|known| (known.rows - known.known, known.rows));
    say(&match without {
        _ if requests == 0 => format!("the memo has all answers of `{}`", trace.id),
        Some((without, rows)) if without > 0 => format!(
            "{} of {} have no answer in the memo: {} to ask, at least",
            thousands(without),
            count(rows, "row"),
            count(requests, "request")
        ),
        _ => format!("{} to ask, at least", count(requests, "request")),
    });
    Ok(if requests == 0 { Exit::Done } else { Exit::Failed })
}
