//! `refrain why STAGE`: everything that differs between what a result was made
//! from and what it would be made from now.

use super::arguments::{Global, StageArguments};
use super::errors::{Exit, describe_failure};
use super::terminal::{Style, data};
use super::{bless, fields, project};
use crate::engine::{self, Field, Reason, State, Why};
use crate::ground::{Clock, SystemClock, age};

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
    let options = project.plan_options(&arguments.reading, &[], &[]);
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
    let mut lines = vec![head(why, style)];
    if let State::Blocked { failure } = &why.planned.state {
        lines.push(describe_failure(&failure.error, &failure.causes, failure.hint.as_deref(), style));
    }
    let causes = why.planned.state.reasons();
    let further = why.changes.iter().filter(|change| !causes.iter().any(|cause| cause.reason == **change));
    let told = causes.iter().map(|cause| &cause.reason).chain(further).filter(|reason| !is_in_table(reason, why));
    lines.extend(told.map(|reason| format!("  {reason}")));
    let changed: Vec<&Field> = fields_to_show(why);
    let table = fields::table(&changed, "before", "now");
    if !table.is_empty() {
        lines.push(format!("\n{table}\n"));
    }
    let mut sinces: Vec<String> = changed
        .iter()
        .filter_map(|field| Some(format!("{} ran last since {}", field.from.as_ref()?, field.since.as_ref()?)))
        .collect();
    sinces.dedup();
    lines.extend(sinces);
    if why.before.is_some() {
        lines.extend(Some(fields::unchanged(&why.fields)).filter(|text| !text.is_empty()));
    }
    match why.made_at_millis {
        Some(at) => lines.push(format!("its last result was made {} ago", age(at, now_millis))),
        None => lines.push("it has no result in this store".to_owned()),
    }
    lines.extend(bless::history(&why.blessed, now_millis));
    lines.join("\n")
}

fn head(why: &Why, style: Style) -> String {
    let id = style.bold(&why.planned.id.to_string());
    match &why.planned.state {
        State::Fresh { manifest, .. } if !manifest.blessed.is_empty() => format!("{id} is up to date: it was blessed"),
        State::Fresh { pulled: true, .. } => format!("{id} is up to date: the shared store has its result"),
        State::Fresh { restored: false, .. } => format!("{id} is up to date: nothing that decides it changed"),
        State::Fresh { restored: true, .. } => {
            format!("{id} is up to date: the same was done before, and its result is still there")
        }
        State::Stale { .. } => format!("{id} would run:"),
        State::Undecided { waiting_for, .. } => {
            format!("{id} is undecided until these have run: {}", waiting_for.join(", "))
        }
        State::Blocked { .. } => format!("{id} cannot run:"),
    }
}

/// The fields that are another, and those that are not known yet.
fn fields_to_show(why: &Why) -> Vec<&Field> {
    if why.before.is_none() {
        return Vec::new();
    }
    why.fields.iter().filter(|field| field.is_changed() || field.undecided).collect()
}

/// Whether the table says what a reason says.
fn is_in_table(reason: &Reason, why: &Why) -> bool {
    let is_difference = !matches!(
        reason,
        Reason::NeverRan
            | Reason::Forced
            | Reason::ArtifactMissing { .. }
            | Reason::ArtifactDamaged { .. }
            | Reason::RecordLost
            | Reason::RefreshDue { .. }
            | Reason::InputAdded { .. }
            | Reason::InputRemoved { .. }
    );
    is_difference && !fields_to_show(why).is_empty()
}
