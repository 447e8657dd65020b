//! `refrain plan`: what a run would do, and why. Runs nothing.

use super::arguments::{Global, PlanArguments};
use super::errors::Exit;
use super::grid::Grid;
use super::narrator::join_labels;
use super::project;
use super::terminal::{Style, count, data};
use crate::engine::{self, Plan, Planned, Reason, State};
use crate::ground::InstanceId;

/// Reasons shown of one stage.
const SHOWN_REASONS: usize = 2;

/// Prints the plan.
///
/// # Errors
/// If the plan cannot be made.
pub(super) fn plan(global: &Global, arguments: &PlanArguments) -> anyhow::Result<Exit> {
    let project = match project::open(global, arguments.file.clone(), &arguments.reading)? {
        Ok(project) => project,
        Err(exit) => return Ok(exit),
    };
    let options = project::plan_options(&arguments.reading, &arguments.target, &arguments.force);
    let plan = engine::plan(&project.pipeline, &project.store, &options).map_err(project::refused)?;
    project::say_warnings(&plan.warnings, &project.store, Style::of_stderr(global.color));
    if arguments.json {
        data(&serde_json::to_string_pretty(&plan)?)?;
    } else {
        data(&describe(&plan, arguments.all, Style::of_stdout(global.color)))?;
    }
    let blocked = plan.stages.iter().any(|planned| matches!(planned.state, State::Blocked { .. }));
    Ok(if blocked { Exit::Wrong } else { Exit::Done })
}

/// A line of the plan: instances of a stage of which the same is to be said.
struct Line {
    stage: String,
    labels: Vec<String>,
    state: &'static str,
    why: String,
}

fn describe(plan: &Plan, all: bool, style: Style) -> String {
    let blocked = plan.stages.len() - plan.fresh() - plan.stale() - plan.undecided();
    let mut counts = vec![
        format!("{} up to date", plan.fresh()),
        format!("{} to run", plan.stale()),
        format!("{} undecided", plan.undecided()),
    ];
    if blocked > 0 {
        counts.push(format!("{blocked} blocked"));
    }
    let head = format!("{}: {}: {}", plan.pipeline, count(plan.stages.len() as u64, "stage"), counts.join(", "));
    let mut grid = Grid::headless(3);
    for line in lines(&plan.stages, all) {
        grid.row([format!("{}{}", line.stage, join_labels(&line.labels)), line.state.to_owned(), line.why]);
    }
    let body = grid.text(2, 100);
    if body.is_empty() { head } else { format!("{}\n\n{}", style.bold(&head), painted(&body, style)) }
}

fn lines(stages: &[Planned], all: bool) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for planned in stages {
        let (state, mut why) = words(&planned.state);
        if let Some(rows) = &planned.rows {
            // First: the reasons may be long, and are cut off.
            why = format!("{rows}; {why}");
        }
        let (stage, label) = parts(&planned.id);
        let same = lines.iter_mut().find(|line| !all && line.stage == stage && line.state == state && line.why == why);
        match same {
            Some(line) => line.labels.push(label),
            None => lines.push(Line { stage, labels: vec![label], state, why }),
        }
    }
    lines
}

/// A stage's name and what tells the instance from its siblings, with its mark.
fn parts(id: &InstanceId) -> (String, String) {
    let text = id.to_string();
    let (stage, label) = super::narrator::split(&text);
    (stage.to_owned(), label.to_owned())
}

fn words(state: &State) -> (&'static str, String) {
    match state {
        State::Fresh { restored: true, .. } => ("fresh", "restored: the same was done before".to_owned()),
        State::Fresh { .. } => ("fresh", String::new()),
        State::Stale { reasons, .. } => ("stale", some_reasons(reasons)),
        State::Undecided { waiting_for, reasons } if reasons.is_empty() => {
            ("undecided", format!("waits for {}", stages_of(waiting_for)))
        }
        State::Undecided { reasons, .. } => ("undecided", some_reasons(reasons)),
        State::Blocked { failure } => ("blocked", failure.error.clone()),
    }
}

fn some_reasons(reasons: &[Reason]) -> String {
    let shown: Vec<String> = reasons.iter().take(SHOWN_REASONS).map(ToString::to_string).collect();
    let more = reasons.len().saturating_sub(SHOWN_REASONS);
    let more = if more > 0 { format!("; and {more} more (`refrain why`)") } else { String::new() };
    format!("{}{more}", shown.join("; "))
}

/// The stages of these instances, each once: variants wait for their own, and
/// naming them would keep them from sharing a line.
fn stages_of(instances: &[String]) -> String {
    let mut stages: Vec<&str> = Vec::new();
    for instance in instances {
        let (stage, _) = super::narrator::split(instance);
        if !stages.contains(&stage) {
            stages.push(stage);
        }
    }
    stages.join(", ")
}

/// A colour of [`Style`].
type Paint = fn(Style, &str) -> String;

/// The states in colour, after the columns were aligned.
fn painted(body: &str, style: Style) -> String {
    let paint = |line: &str| {
        let paints: [(&str, Paint); 4] =
            [("fresh", Style::green), ("stale", Style::yellow), ("undecided", Style::cyan), ("blocked", Style::red)];
        for (word, paint) in paints {
            if let Some((before, after)) = line.split_once(&format!("  {word}")) {
                return format!("{before}  {}{after}", paint(style, word));
            }
        }
        line.to_owned()
    };
    body.lines().map(paint).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::ContentHash;

    fn planned(stage: &str, variant: Option<&str>, state: State) -> Planned {
        let id = InstanceId { stage: stage.into(), variant: variant.map(str::to_owned), seed: None };
        Planned { index: 0, id, kind: "sql", state, rows: None, synthetic: false, last_seconds: None }
    }

    fn stale() -> State {
        State::Stale { key: ContentHash::of(b""), reasons: vec![Reason::NeverRan] }
    }

    #[test]
    fn variants_of_which_the_same_is_said_share_a_line() {
        let waits = |on: &str| State::Undecided { waiting_for: vec![on.to_owned()], reasons: Vec::new() };
        let stages = vec![
            planned("core", None, stale()),
            planned("train", Some("V1"), waits("core")),
            planned("train", Some("V2.1"), waits("core")),
            planned("evaluate", Some("V1"), waits("train@V1")),
            planned("evaluate", Some("V2.1"), waits("train@V2.1")),
        ];
        let plan = Plan { pipeline: "demo".into(), sandbox: None, stages, warnings: Vec::new() };
        let text = "\
demo: 5 stages: 0 up to date, 1 to run, 4 undecided

  core               stale      it never ran
  train@V1, V2.1     undecided  waits for core
  evaluate@V1, V2.1  undecided  waits for train";
        assert_eq!(describe(&plan, false, Style::new(false)), text);
        assert_eq!(describe(&plan, true, Style::new(false)).lines().count(), 7);
    }

    #[test]
    fn known_rows_are_told_before_the_reasons() {
        use crate::stage::{Known, RowWork};
        let known = Known { rows: 10_000, known: 9_999, left: 1, work: RowWork::Ask };
        let stages = vec![Planned { rows: Some(known), ..planned("tags", None, stale()) }];
        assert_eq!(lines(&stages, false)[0].why, "10,000 rows, 9,999 known, 1 to ask; it never ran");
    }

    #[test]
    fn many_reasons_are_counted() {
        let reasons = [Reason::Forced, Reason::NeverRan, Reason::RecordLost, Reason::NeverRan];
        assert_eq!(some_reasons(&reasons), "asked for with --force; it never ran; and 2 more (`refrain why`)");
    }
}
