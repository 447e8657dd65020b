//! `refrain plan`: what a run would do, and why. Runs nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::arguments::{Global, PlanArguments};
use super::bless;
use super::errors::Exit;
use super::forecast;
use super::grid::{Grid, cut, width};
use super::narrator::join_labels;
use super::project::{self, Project};
use super::terminal::{Style, count, data};
use crate::engine::{self, Cause, Plan, PlanOptions, Planned, State};
use crate::ground::InstanceId;
use crate::pipeline::Origin;

/// Reasons shown of one stage.
const SHOWN_REASONS: usize = 2;

/// A line is at most so wide, if what it is about leaves room for that.
const WIDTH: usize = 100;

/// The names of a stage's instances are at most so wide.
const LABELS: usize = 40;

/// Prints the plan.
///
/// # Errors
/// If the plan cannot be made.
pub(super) fn plan(global: &Global, arguments: &PlanArguments) -> anyhow::Result<Exit> {
    let project = match project::open(global, arguments.file.clone(), &arguments.reading)? {
        Ok(project) => project,
        Err(exit) => return Ok(exit),
    };
    let options = project.plan_options(&arguments.reading, &arguments.target, &arguments.force);
    let plan = made(global, &project, &options)?;
    if arguments.json {
        data(&serde_json::to_string_pretty(&plan)?)?;
    } else {
        data(&describe(&plan, arguments.all, Style::of_stdout(global.color)))?;
    }
    let blocked = plan.stages.iter().any(|planned| matches!(planned.state, State::Blocked { .. }));
    Ok(if blocked { Exit::Wrong } else { Exit::Done })
}

/// Prints the plan of a project once more for `watch`.
///
/// # Errors
/// If the plan cannot be made or printed.
pub(super) fn plan_again(global: &Global, project: &Project, options: &PlanOptions) -> anyhow::Result<()> {
    let plan = made(global, project, options)?;
    data(&describe(&plan, false, Style::of_stdout(global.color)))?;
    Ok(())
}

/// The plan; what was noticed on the way is said.
fn made(global: &Global, project: &Project, options: &PlanOptions) -> anyhow::Result<Plan> {
    let plan = engine::plan(&project.pipeline, &project.store, options).map_err(project::refused)?;
    project::say_warnings(&plan.warnings, &project.store, Style::of_stderr(global.color));
    Ok(plan)
}

/// What is said of a stage: a reason, and where it comes from.
#[derive(PartialEq)]
struct Said {
    why: String,
    places: Vec<Origin>,
}

/// A line of the plan: instances of a stage of which the same is to be said.
struct Line {
    stage: String,
    labels: Vec<String>,
    state: &'static str,
    said: Vec<Said>,
}

impl Line {
    fn says(&self, state: &str, said: &[Said]) -> bool {
        let words = |said: &[Said]| said.iter().map(|one| one.why.clone()).collect::<Vec<_>>();
        self.state == state && words(&self.said) == words(said)
    }
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
    let body = grid(&lines(&plan.stages, all)).text(2, WIDTH);
    if body.is_empty() {
        return head;
    }
    let mut text = format!("{}\n\n{}", style.bold(&head), painted(&body, style));
    for (at, line) in forecast::by_limiter(&plan.limiters).iter().enumerate() {
        let line = if line.starts_with('!') { style.yellow(line) } else { line.clone() };
        text.push_str(if at == 0 { "\n\n  " } else { "\n  " });
        text.push_str(&line);
    }
    let stages: BTreeSet<&str> =
        plan.stages.iter().filter(|stage| stage.on_cluster).map(|stage| stage.id.stage.as_str()).collect();
    if !stages.is_empty() {
        let stages = stages.into_iter().collect::<Vec<_>>().join(", ");
        write!(text, "\n\n  on the cluster: {}", cut(&stages, WIDTH)).ok();
    }
    text
}

/// One row per thing said: what it is about stands in the first. What is said
/// is cut so that a row, with its place, fits the width.
fn grid(lines: &[Line]) -> Grid {
    let label = |line: &Line| cut(&format!("{}{}", line.stage, join_labels(&line.labels)), LABELS);
    let labels = lines.iter().map(|line| width(&label(line))).max().unwrap_or(0);
    let places = lines.iter().flat_map(|line| &line.said).map(|said| width(&join_places(&said.places))).max();
    let used = 2 + labels + 2 + "undecided".len() + 2 + 2 + places.unwrap_or(0);
    let why = WIDTH.saturating_sub(used).max(40);
    let mut grid = Grid::headless(4);
    for line in lines {
        let mut about = [label(line), line.state.to_owned()];
        for said in &line.said {
            let [name, state] = std::mem::take(&mut about);
            let place = join_places(&said.places);
            // Without a place there is more room.
            let room = if place.is_empty() { why + places.unwrap_or(0) } else { why };
            grid.row([name, state, fitted(&said.why, room), place]);
        }
    }
    grid
}

/// A reason within a width. Of a setting, half a value says nothing: it is
/// only named, and `refrain why` shows both values.
fn fitted(why: &str, room: usize) -> String {
    match why.strip_prefix("setting ").and_then(|rest| rest.split_once(": ")) {
        Some((name, _)) if width(why) > room => cut(&format!("setting {name} changed"), room),
        _ => cut(why, room),
    }
}

/// `p.yaml:3` and `p.yaml:7` as `p.yaml:3, 7`.
fn join_places(places: &[Origin]) -> String {
    const SHOWN: usize = 3;
    let mut joined = String::new();
    for (at, place) in places.iter().take(SHOWN).enumerate() {
        match place {
            Origin::InFile { line, through: None, .. } if at > 0 => write!(joined, ", {line}").ok(),
            Origin::InFile { line, through: Some(through), .. } if at > 0 => {
                write!(joined, ", {line} ({through})").ok()
            }
            place if at > 0 => write!(joined, ", {place}").ok(),
            place => write!(joined, "{place}").ok(),
        };
    }
    if places.len() > SHOWN {
        joined.push_str(", …");
    }
    cut(&joined, 44)
}

fn lines(stages: &[Planned], all: bool) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    // By stage, where its lines are: a plan may have thousands.
    let mut of_stage: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for planned in stages {
        let (state, mut said) = words(&planned.state);
        if let Some(rows) = &planned.rows {
            let takes = forecast::of_stage(planned).map(|takes| Said { why: format!("  {takes}"), places: Vec::new() });
            let rows = Said { why: rows.to_string(), places: Vec::new() };
            said.splice(0..0, [rows].into_iter().chain(takes));
        }
        let (stage, label) = parts(&planned.id);
        let known = of_stage.entry(stage.clone()).or_default();
        match known.iter().copied().find(|&at| !all && lines[at].says(state, &said)) {
            None => {
                known.push(lines.len());
                lines.push(Line { stage, labels: vec![label], state, said });
            }
            Some(at) => {
                lines[at].labels.push(label);
                for (known, new) in lines[at].said.iter_mut().zip(said) {
                    let further: Vec<Origin> =
                        new.places.into_iter().filter(|place| !known.places.contains(place)).collect();
                    known.places.extend(further);
                }
            }
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

fn words(state: &State) -> (&'static str, Vec<Said>) {
    let say = |why: String| vec![Said { why, places: Vec::new() }];
    match state {
        State::Fresh { manifest, .. } if !manifest.blessed.is_empty() => {
            ("fresh", say(bless::words(&manifest.blessed)))
        }
        State::Fresh { restored: true, .. } => ("fresh", say("restored: the same was done before".to_owned())),
        State::Fresh { pulled: true, .. } => ("fresh", say("in the shared store".to_owned())),
        State::Fresh { .. } => ("fresh", say(String::new())),
        State::Stale { reasons, .. } => ("stale", some_reasons(reasons)),
        State::Undecided { waiting_for, reasons } if reasons.is_empty() => {
            ("undecided", say(format!("waits for {}", stages_of(waiting_for))))
        }
        State::Undecided { reasons, .. } => ("undecided", some_reasons(reasons)),
        State::Blocked { failure } => ("blocked", say(failure.error.clone())),
    }
}

fn some_reasons(causes: &[Cause]) -> Vec<Said> {
    let mut shown = Vec::new();
    for cause in causes.iter().take(SHOWN_REASONS) {
        shown.push(Said { why: cause.to_string(), places: cause.at.iter().cloned().collect() });
        // Columns of one input have changed for one reason.
        let since = cause.since.as_ref().map(|since| format!("  since {since}"));
        if let Some(why) = since.filter(|why| !shown.iter().any(|said: &Said| said.why == *why)) {
            shown.push(Said { why, places: Vec::new() });
        }
    }
    let more = causes.len().saturating_sub(SHOWN_REASONS);
    if more > 0 {
        shown.push(Said { why: format!("and {more} more (`refrain why`)"), places: Vec::new() });
    }
    shown
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
    use crate::engine::Reason;
    use crate::ground::ContentHash;

    fn planned(stage: &str, variant: Option<&str>, state: State) -> Planned {
        let id = InstanceId { stage: stage.into(), variant: variant.map(str::to_owned), seed: None };
        Planned {
            index: 0,
            id,
            kind: "sql",
            state,
            rows: None,
            expected_seconds: None,
            synthetic: false,
            last_seconds: None,
            on_cluster: false,
        }
    }

    fn stale() -> State {
        State::Stale { key: ContentHash::of(b""), reasons: vec![Reason::NeverRan.into()] }
    }

    #[test]
    fn a_setting_whose_values_have_no_room_is_named() {
        let why = "setting query: \"SELECT a\" -> \"SELECT b\"";
        assert_eq!(fitted(why, 60), why);
        assert_eq!(fitted(why, 30), "setting query changed");
    }

    #[test]
    fn known_rows_are_told_before_the_reasons() {
        use crate::memo::Tally;
        use crate::stage::Known;
        let known = Known::to_embed(Tally { rows: 10_000, known: 9_999, left: 1 });
        let stages = vec![Planned { rows: Some(known), ..planned("tags", None, stale()) }];
        assert_eq!(lines(&stages, false)[0].said[0].why, "10,000 rows, 9,999 known, 1 to embed");
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
        let plan = Plan { pipeline: "demo".into(), sandbox: None, stages, limiters: Vec::new(), warnings: Vec::new() };
        let text = "\
demo: 5 stages: 0 up to date, 1 to run, 4 undecided

  core               stale      it never ran
  train@V1, V2.1     undecided  waits for core
  evaluate@V1, V2.1  undecided  waits for train";
        assert_eq!(describe(&plan, false, Style::new(false)), text);
        assert_eq!(describe(&plan, true, Style::new(false)).lines().count(), 7);
    }

    #[test]
    fn many_reasons_are_counted_and_places_joined() {
        let reasons = [Reason::Forced, Reason::NeverRan, Reason::RecordLost, Reason::NeverRan];
        let said = some_reasons(&reasons.map(Cause::from));
        assert_eq!(
            said.iter().map(|said| said.why.as_str()).collect::<Vec<_>>(),
            ["asked for with --force", "it never ran", "and 2 more (`refrain why`)"]
        );
    }

    #[test]
    fn variants_that_differ_in_the_place_alone_share_a_line() {
        let changed = |line: usize| {
            let reason = Reason::Setting { path: "width".into(), before: Some(4.into()), now: Some(5.into()) };
            let through = Some("variant".to_owned());
            let at = Some(Origin::InFile { file: "p.yaml".into(), line, column: 1, through });
            State::Stale {
                key: ContentHash::of(b""),
                reasons: vec![Cause { reason, at, since: None }, Reason::Forced.into()],
            }
        };
        let stages = vec![planned("train", Some("V1"), changed(7)), planned("train", Some("V2"), changed(9))];
        let text = "  train@V1, V2  stale  setting width: 4 -> 5   p.yaml:7 (variant), 9 (variant)\n                       asked for with --force";
        assert_eq!(grid(&lines(&stages, false)).text(2, WIDTH), text);
    }
}
