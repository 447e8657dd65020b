//! One run: what each stage did and why, what it took, and the log.

use maud::{Markup, html};

use super::answer::Answer;
use super::cells;
use super::frame::{self, Frame, Tab, facts, text};
use super::project::Project;
use super::query;
use super::story::{Line, StageStory, Story, Told};
use super::words;
use crate::engine::{self, EngineError, Failure, RunRecord, RunState, Tail};
use crate::ground::{age, count, duration, thousands};

/// So many instances are listed.
const LISTED: usize = 1_000;
/// So many runs are offered where one is not there.
const OFFERED: usize = 5;

/// The page.
///
/// # Errors
/// If the runs cannot be listed.
pub(super) fn page(project: &Project, name: &str) -> Result<Answer, EngineError> {
    let Some(record) = engine::run_record(&project.store, name) else { return missing(project, name) };
    let mut story = Story::default();
    let mut tail = Tail::of(&project.store, name);
    loop {
        let events = tail.next_events();
        if events.is_empty() {
            break;
        }
        for event in events {
            story.apply(event);
        }
    }
    let is_synthetic = story.sandbox.is_some();
    let before = previous(project, name)?;
    let content = html! {
        div.title {
            h1 { "Run " span.mono { (name) } }
            (words::of_run(record.state))
            @if is_synthetic { (words::synthetic_mark()) }
        }
        (summary(project, &record, &story))
        p.links {
            @if record.state == RunState::Running {
                a href=(format!("/live?run={}", query::path([name]).trim_start_matches('/'))) { "Watch it live" } " "
            }
            @if let Some(before) = &before {
                a href=(compare(before, name)) { "Compare with the run before it" }
            }
        }
        (cells::warnings(&story.warnings))
        @for stage in &story.stages { @if let Told::Failed(why) = &stage.state { (failure(&stage.name, why)) } }
        section { h2 { "Stages" } (stages(project, &story)) }
        section { h2 { "Log" } (log(&story)) }
    };
    let title = format!("Run {name}");
    let pipeline = Some(project.pipeline.name.as_str());
    Ok(Frame { tab: Tab::Runs, pipeline, title: &title, refresh: None }.answer(&content))
}

/// A run that is not there by this name: by the beginning of its name or as
/// `last` it may be.
fn missing(project: &Project, name: &str) -> Result<Answer, EngineError> {
    let names = engine::run_names(&project.store)?;
    if let Ok(found) = engine::find_run(&project.store, name) {
        return Ok(Answer::Redirect(query::run(&found)));
    }
    let mut offered = words::near(name, names.iter().map(String::as_str));
    for newest in names.iter().map(String::as_str) {
        if offered.len() < OFFERED && !offered.contains(&newest) {
            offered.push(newest);
        }
    }
    let links: Vec<(String, String)> = offered.iter().map(|name| (query::run(name), (*name).to_owned())).collect();
    let what = format!("There is no run “{name}” in this store.");
    Ok(frame::not_found(Some(&project.pipeline.name), &what, &links))
}

/// The run of the same pipeline before this one.
fn previous(project: &Project, name: &str) -> Result<Option<String>, EngineError> {
    let record = |run: &String| engine::run_record(&project.store, run).and_then(|record| record.pipeline);
    let names = engine::run_names(&project.store)?;
    let own = record(&name.to_owned());
    let older = names.iter().skip_while(|other| *other != name).skip(1).take(20);
    Ok(older.into_iter().find(|other| record(other) == own).cloned())
}

/// The address of two runs side by side.
pub(super) fn compare(before: &str, now: &str) -> String {
    let encoded = |run: &str| query::path([run]).trim_start_matches('/').to_owned();
    format!("/diff?a={}&b={}", encoded(before), encoded(now))
}

fn summary(project: &Project, record: &RunRecord, story: &Story) -> Markup {
    let mut told = vec![
        ("pipeline", text(record.pipeline.as_deref().unwrap_or("?"))),
        ("began", text(format!("{} ago", age(record.at_millis, project.now)))),
    ];
    if let Some(seconds) = record.seconds {
        told.push(("took", text(duration(seconds))));
    }
    let counts =
        [(record.ran, "ran"), (record.cached, "cached"), (record.failed, "failed"), (record.skipped, "skipped")];
    let counts = counts.iter().filter(|(number, _)| *number > 0).map(|(number, word)| format!("{number} {word}"));
    let counts = counts.collect::<Vec<_>>().join(", ");
    told.push(("stages", text(if counts.is_empty() { record.stages.to_string() } else { counts })));
    let spending = words::spending(&record.spent).join(", ");
    told.push(("spent", text(if spending.is_empty() { "nothing".to_owned() } else { spending })));
    if let Some(world) = &story.sandbox {
        told.push(("sandbox", html! { span.mono title=(world) { (world.chars().take(20).collect::<String>()) } }));
    }
    facts(&told)
}

/// Why a stage failed.
pub(super) fn failure(stage: &str, failure: &Failure) -> Markup {
    html! {
        section.mistake {
            p { (words::badge("failed", "failed")) " " strong { (stage) } ": " (failure.error) }
            @for cause in &failure.causes { p.dim { "caused by: " (cause) } }
            @if let Some(hint) = &failure.hint { p { "hint: " (hint) } }
        }
    }
}

fn stages(project: &Project, story: &Story) -> Markup {
    let is_paid = story.stages.iter().any(|stage| stage.spent.usd > 0.0);
    let is_known = |name: &str| project.pipeline.instances.iter().any(|instance| instance.id.to_string() == name);
    let link = |stage: &StageStory| {
        let name = &stage.name;
        html! { @if is_known(name) { a href=(query::stage(name)) { (name) } } @else { (name) } }
    };
    html! {
        @if story.stages.is_empty() { p.dim { "Its log tells of no stage." } }
        @else {
            div.scroll tabindex="0" role="region" aria-label="Stages of the run" {
                table {
                    thead {
                        tr {
                            th scope="col" { "stage" }
                            th scope="col" { "state" }
                            th scope="col" { "why it ran" }
                            th.num scope="col" { "rows" }
                            th.num scope="col" { "took" }
                            th.num scope="col" { "requests" }
                            th.num scope="col" { "tokens" }
                            @if is_paid { th.num scope="col" { "cost" } }
                            th.num scope="col" { "warnings" }
                        }
                    }
                    tbody {
                        @for stage in story.stages.iter().take(LISTED) {
                            tr {
                                td { (link(stage)) }
                                td { (words::badge(stage.state.class(), stage.state.word())) }
                                td.wrap { (why(stage)) }
                                td.num { (stage.rows.map_or_else(String::new, thousands)) }
                                td.num { (stage.seconds.filter(|_| ran(stage)).map_or_else(String::new, duration)) }
                                td.num { (words::some(stage.spent.requests)) }
                                td.num { (words::some(stage.spent.tokens())) }
                                @if is_paid { td.num { (words::some_money(stage.spent.usd)) } }
                                td.num title=(stage.warnings.join("\n")) { (words::some(stage.warnings.len() as u64)) }
                            }
                        }
                    }
                }
            }
            @if story.stages.len() > LISTED { p.dim { "… and " (count((story.stages.len() - LISTED) as u64, "more instance")) } }
        }
    }
}

fn ran(stage: &StageStory) -> bool {
    !matches!(&stage.state, Told::Done(outcome) if !outcome.has_run())
}

fn why(stage: &StageStory) -> String {
    match &stage.state {
        Told::Skipped(because) => because.clone(),
        _ => stage.reasons.join("; "),
    }
}

/// The log, oldest line first.
pub(super) fn log(story: &Story) -> Markup {
    html! {
        @if story.lines.is_empty() { p.dim { "Nothing is in its log." } }
        @else {
            @if story.left_out > 0 { p.dim { (count(story.left_out as u64, "earlier line")) " left out" } }
            ol.log tabindex="0" role="region" aria-label="Log" { @for line in &story.lines { (log_line(line)) } }
        }
    }
}

fn log_line(line: &Line) -> Markup {
    let mark = match line.class {
        "running" => "▸",
        "done" => "✓",
        "failed" => "✗",
        "warn" => "!",
        _ => "=",
    };
    html! {
        li class=(line.class) {
            span.sign aria-hidden="true" { (mark) }
            @if !line.stage.is_empty() { b { (line.stage) } " " }
            (line.text)
        }
    }
}
