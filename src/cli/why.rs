//! `refrain why STAGE`: everything that differs between what a result was made
//! from and what it would be made from now.

use serde_json::Value;

use super::arguments::{Global, StageArguments};
use super::errors::{Exit, describe_failure};
use super::project;
use super::status::age;
use super::terminal::{Style, data};
use crate::engine::{self, Reason, State, Why};
use crate::ground::{Clock, SystemClock};

/// Values of up to so many bytes stand on one line.
const SHORT: usize = 50;

/// Prints why a stage would run.
///
/// # Errors
/// If the stage is not in the pipeline or the plan cannot be made.
pub(super) fn why(global: &Global, arguments: &StageArguments) -> anyhow::Result<Exit> {
    let (project, stage) = match project::open_words(global, &arguments.words, &arguments.reading)? {
        Ok(opened) => opened,
        Err(exit) => return Ok(exit),
    };
    let stage = project::required_stage(stage)?;
    let options = project::plan_options(&arguments.reading, &[], &[]);
    let why = engine::why(&project.pipeline, &project.store, &stage, &options).map_err(project::refused)?;
    project::say_warnings(&[], &project.store, Style::of_stderr(global.color));
    if arguments.json {
        data(&serde_json::to_string_pretty(&why)?)?;
    } else {
        data(&describe(&why, SystemClock.now_millis(), Style::of_stdout(global.color)))?;
    }
    Ok(Exit::Done)
}

fn describe(why: &Why, now_millis: u64, style: Style) -> String {
    let id = style.bold(&why.planned.id.to_string());
    let mut lines = Vec::new();
    match &why.planned.state {
        State::Fresh { restored: false, .. } => {
            lines.push(format!("{id} is up to date: nothing that decides it changed"));
        }
        State::Fresh { restored: true, .. } => {
            lines.push(format!("{id} is up to date: the same was done before, and its result is still there"));
        }
        State::Stale { .. } => lines.push(format!("{id} would run:")),
        State::Undecided { waiting_for, .. } => {
            lines.push(format!("{id} is undecided until these have run: {}", waiting_for.join(", ")));
        }
        State::Blocked { failure } => {
            lines.push(format!("{id} cannot run:"));
            lines.push(describe_failure(&failure.error, &failure.causes, failure.hint.as_deref(), style));
        }
    }
    let reasons = why.planned.state.reasons();
    let further = why.changes.iter().filter(|change| !reasons.contains(change));
    lines.extend(reasons.iter().chain(further).map(in_full));
    match why.made_at_millis {
        Some(at) => lines.push(format!("its last result was made {} ago", age(at, now_millis))),
        None => lines.push("it has no result in this store".to_owned()),
    }
    lines.join("\n")
}

/// A reason in a line; of a setting whose value is long, both values whole.
fn in_full(reason: &Reason) -> String {
    let Reason::Setting { path, before, now } = reason else { return format!("  {reason}") };
    let words = |value: &Option<Value>| value.as_ref().map_or_else(|| "(not there)".to_owned(), ToString::to_string);
    let (before, now) = (words(before), words(now));
    if before.len().max(now.len()) <= SHORT {
        return format!("  {reason}");
    }
    format!("  setting {path}:\n    before: {before}\n    now:    {now}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Planned;
    use crate::ground::{ContentHash, InstanceId};

    #[test]
    fn all_changes_are_told_once() {
        let setting = |path: &str| Reason::Setting { path: path.into(), before: Some(5.into()), now: Some(3.into()) };
        let state = State::Stale { key: ContentHash::of(b""), reasons: vec![setting("min_per_user")] };
        let id = InstanceId { stage: "core".into(), variant: None, seed: None };
        let planned = Planned { index: 0, id, kind: "sql", state, rows: None, synthetic: false, last_seconds: None };
        let changes = vec![setting("min_per_user"), setting("min_per_item")];
        let why = Why { planned, changes, made_at_millis: Some(0), before: None, now: None };
        let text = "\
core would run:
  setting min_per_user: 5 -> 3
  setting min_per_item: 5 -> 3
its last result was made 3 min ago";
        assert_eq!(describe(&why, 180_000, Style::new(false)), text);
    }

    #[test]
    fn long_values_are_shown_whole() {
        let long = |end: &str| Some(Value::String(format!("{}{end}", "x".repeat(60))));
        let told = in_full(&Reason::Setting { path: "query".into(), before: long("a"), now: long("b") });
        let x = "x".repeat(60);
        assert_eq!(told, format!("  setting query:\n    before: \"{x}a\"\n    now:    \"{x}b\""));
    }
}
