//! One stage: of several instances a list, of one all there is to know of it,
//! with its rows page by page.

use maud::{Markup, html};

use super::answer::Answer;
use super::frame::{self, Frame, Tab, facts, text};
use super::home::instances;
use super::project::{Project, View};
use super::query::{self, Query};
use super::{cells, kind, run, settings, words};
use crate::drawing::stage_of;
use crate::engine::{self, EngineError, Fingerprint, Plan, PlanOptions, Planned, State};
use crate::ground::{age, bytes, duration, thousands};
use crate::pipeline::Instance;
use crate::store::{Artifact, Manifest, ObjectState};
use crate::table::read_rows;
use crate::web::Spent;

/// Rows of one page.
const PAGE: u64 = 50;
/// So many other instances of the stage are offered.
const SIBLINGS: usize = 40;

/// The page.
///
/// # Errors
/// If the plan cannot be made.
pub(super) fn page(view: &View, project: &Project, name: &str, query: &Query) -> Result<Answer, EngineError> {
    let all = &project.pipeline.instances;
    let of_stage: Vec<usize> = (0..all.len()).filter(|index| all[*index].id.stage == name).collect();
    let one = (0..all.len()).find(|index| all[*index].id.to_string() == name);
    match (one, of_stage.as_slice()) {
        (Some(index), _) | (None, &[index]) => one_instance(view, project, index, query),
        (None, []) => Ok(missing(project, name)),
        (None, several) => several_instances(view, project, name, several),
    }
}

fn missing(project: &Project, name: &str) -> Answer {
    let ids: Vec<String> = project.pipeline.instances.iter().map(|instance| instance.id.to_string()).collect();
    let stages = project.pipeline.instances.iter().map(|instance| instance.id.stage.as_str());
    let mut names: Vec<&str> = stages.chain(ids.iter().map(String::as_str)).collect();
    names.sort_unstable();
    names.dedup();
    let near = words::near(name, names).into_iter().map(|name| (query::stage(name), name.to_owned()));
    let what = format!("There is no stage “{name}” in this pipeline.");
    frame::not_found(Some(&project.pipeline.name), &what, &near.collect::<Vec<_>>())
}

fn several_instances(view: &View, project: &Project, name: &str, several: &[usize]) -> Result<Answer, EngineError> {
    let plan = project.plan(view)?;
    let kind = project.pipeline.instances[several[0]].kind;
    let content = html! {
        div.title { h1 { (name) } span.dim { (instances(several.len())) " of " code { (kind.name()) } } }
        p.lead { (kind.summary()) }
        div.scroll tabindex="0" role="region" aria-label="Instances" {
            table {
                thead {
                    tr {
                        th scope="col" { "instance" }
                        th scope="col" { "state" }
                        th.num scope="col" { "rows" }
                        th.num scope="col" { "size" }
                        th.num scope="col" { "made" }
                        th.num scope="col" { "took" }
                        th.num scope="col" { "warnings" }
                    }
                }
                tbody { @for index in several { (instance_row(project, &plan, *index)) } }
            }
        }
        section { h2 { "The kind " code { (kind.name()) } } (self::kind::documentation(kind)) }
    };
    let pipeline = Some(project.pipeline.name.as_str());
    Ok(Frame { tab: Tab::Pipeline, pipeline, title: name, refresh: None }.answer(&content))
}

fn instance_row(project: &Project, plan: &Plan, index: usize) -> Markup {
    let instance = &project.pipeline.instances[index];
    let name = instance.id.to_string();
    let manifest = project.manifest(Some(plan), index);
    let state =
        plan.stages.iter().find(|planned| planned.index == index).map(|planned| words::of_state(&planned.state));
    html! {
        tr {
            td { a href=(query::stage(&name)) { (name) } }
            td { @if let Some((class, word)) = state { (words::badge(class, word)) } }
            @if let Some(manifest) = &manifest {
                td.num { (main_of(instance, manifest).map_or_else(String::new, |(_, artifact)| thousands(artifact.rows))) }
                td.num { (bytes(manifest.outputs.values().map(|artifact| artifact.bytes).sum())) }
                td.num { (age(manifest.made_at_millis, project.now)) " ago" }
                td.num { (duration(manifest.seconds)) }
                td.num { (words::some(manifest.warnings.len() as u64)) }
            } @else { td colspan="5" { span.dim { "not made yet" } } }
        }
    }
}

/// The first output that the stage declares.
fn main_of<'a>(instance: &Instance, manifest: &'a Manifest) -> Option<(&'a str, &'a Artifact)> {
    let main = instance.stage.outputs().into_iter().next()?.name;
    manifest.outputs.get_key_value(&*main).map(|(name, artifact)| (name.as_str(), artifact))
}

fn one_instance(view: &View, project: &Project, index: usize, query: &Query) -> Result<Answer, EngineError> {
    let instance = &project.pipeline.instances[index];
    let name = instance.id.to_string();
    let options = PlanOptions { targets: vec![name.clone()], ..view.settings.plan.clone() };
    let plan = engine::plan(&project.pipeline, &project.store, &options)?;
    let planned = plan.stages.iter().find(|planned| planned.index == index);
    let manifest = project.manifest(Some(&plan), index);
    let print = manifest.as_ref().and_then(|manifest| serde_json::from_value(manifest.fingerprint.clone()).ok());
    let print: Option<Fingerprint> = print.or_else(|| {
        let now = engine::why(&project.pipeline, &project.store, &name, &view.settings.plan).ok()?.now?;
        serde_json::from_value(now).ok()
    });
    let content = html! {
        div.title {
            h1 { (name) }
            @if let Some(planned) = planned { (state(planned)) }
        }
        p.lead { code { (instance.kind.name()) } " · " (instance.kind.summary()) }
        (siblings(project, instance))
        @if let Some(planned) = planned { (reasons(&name, planned)) }
        (summary(project, &name, manifest.as_ref(), print.as_ref()))
        @if let Some(manifest) = &manifest {
            (cells::warnings(&manifest.warnings))
            (outputs(project, instance, manifest, query))
        } @else {
            p.note { "It has not been made yet: " code { "refrain run --target " (name) } }
        }
        section { h2 { "What it reads, and who reads it" } (neighbours(project, index, print.as_ref())) }
        section { h2 { "Settings" } @match &print { Some(print) => (settings::table(&print.settings)), None => p.dim { "They are known once what it reads is there." } } }
        section { h2 { "The kind " code { (instance.kind.name()) } } (kind::documentation(instance.kind)) }
    };
    let pipeline = Some(project.pipeline.name.as_str());
    Ok(Frame { tab: Tab::Pipeline, pipeline, title: &name, refresh: None }.answer(&content))
}

fn state(planned: &Planned) -> Markup {
    let (class, word) = words::of_state(&planned.state);
    html! { (words::badge(class, word)) @if planned.synthetic { " " (words::synthetic_mark()) } }
}

/// Links to the other instances of the stage.
fn siblings(project: &Project, instance: &Instance) -> Markup {
    let stage = instance.id.stage.as_str();
    let own = instance.id.to_string();
    let ids = project.pipeline.instances.iter().filter(|other| other.id.stage == stage);
    let ids: Vec<(String, String)> = ids.map(|other| (other.id.to_string(), other.id.label())).collect();
    html! {
        @if ids.len() > 1 {
            nav.siblings aria-label="Instances of the stage" {
                a href=(query::stage(stage)) { "all " (ids.len()) }
                @for (id, label) in ids.iter().take(SIBLINGS) {
                    a href=(query::stage(id)) aria-current=[(*id == own).then_some("page")] { (label) }
                }
            }
        }
    }
}

/// Why it must run, waits or cannot.
fn reasons(name: &str, planned: &Planned) -> Markup {
    html! {
        @match &planned.state {
            State::Blocked { failure } => (run::failure(name, failure)),
            State::Fresh { .. } => {},
            State::Stale { .. } | State::Undecided { .. } => {
                div.note.warn {
                    @if let State::Undecided { waiting_for, .. } = &planned.state {
                        p { "Whether it must run is known when " (waiting_for.join(", ")) " has run." }
                    }
                    @if !planned.state.reasons().is_empty() {
                        p { "It must run:" }
                        ul { @for reason in planned.state.reasons() { li { (reason) @if let Some(at) = &reason.at { span.dim { " (" (at) ")" } } } } }
                    }
                }
            }
        }
    }
}

fn summary(project: &Project, name: &str, manifest: Option<&Manifest>, print: Option<&Fingerprint>) -> Markup {
    let mut told = Vec::new();
    if let Some(manifest) = manifest {
        told.push(("made", text(format!("{} ago", age(manifest.made_at_millis, project.now)))));
        told.push(("took", text(duration(manifest.seconds))));
        if manifest.requests > 0 {
            told.push(("requests", text(thousands(manifest.requests))));
            let spent = spent(project, name);
            if spent.tokens() > 0 {
                told.push(("tokens, all runs", text(thousands(spent.tokens()))));
            }
            if spent.usd > 0.0 {
                told.push(("cost, all runs", text(words::some_money(spent.usd))));
            }
        }
        told.push(("key", html! { span.mono title=(manifest.key) { (manifest.key.short()) } }));
        if let Some(blessing) = manifest.blessed.last() {
            told.push(("blessed", text(&blessing.why)));
        }
    }
    if let Some(print) = print {
        if let Some(seed) = &print.seed {
            told.push(("seed", text(seed.value.to_string())));
        }
        told.push(("version of the kind", text(print.kind_version.to_string())));
    }
    facts(&told)
}

/// What the ledger says that it has spent.
fn spent(project: &Project, name: &str) -> Spent {
    let ledger = project.store.ledger().unwrap_or_default();
    let own = ledger.iter().filter(|entry| entry.pipeline == project.pipeline.name && entry.stage == name);
    own.map(|entry| Spent {
        requests: entry.requests,
        prompt_tokens: entry.prompt_tokens,
        completion_tokens: entry.completion_tokens,
        usd: entry.usd,
    })
    .sum()
}

/// The artifacts, and the rows of one of them.
fn outputs(project: &Project, instance: &Instance, manifest: &Manifest, query: &Query) -> Markup {
    let name = instance.id.to_string();
    let main = main_of(instance, manifest);
    let chosen = query.value("output").and_then(|wanted| manifest.outputs.get_key_value(wanted));
    let chosen = chosen.map(|(name, artifact)| (name.as_str(), artifact)).or(main);
    html! {
        section {
            h2 { "Outputs" }
            div.scroll tabindex="0" role="region" aria-label="Outputs" {
                table {
                    thead {
                        tr {
                            th scope="col" { "output" }
                            th.num scope="col" { "rows" }
                            th.num scope="col" { "columns" }
                            th.num scope="col" { "size" }
                            th scope="col" { "hash" }
                            th scope="col" { }
                        }
                    }
                    tbody {
                        @for (output, artifact) in &manifest.outputs {
                            tr {
                                td { a href=(rows_link(&name, output, 1)) { (output) } }
                                td.num { (thousands(artifact.rows)) }
                                td.num { (artifact.columns.len()) }
                                td.num { (bytes(artifact.bytes)) }
                                td.mono title=(artifact.hash) { (artifact.hash.short()) }
                                td { a href=(format!("/download/{}.parquet", artifact.hash)) { "Parquet" } }
                            }
                        }
                    }
                }
            }
        }
        @if let Some((output, artifact)) = chosen { (rows(project, &name, output, artifact, query)) }
    }
}

fn rows_link(name: &str, output: &str, page: u64) -> String {
    let output = query::path([output]);
    format!("{}?output={}&page={page}#rows", query::stage(name), output.trim_start_matches('/'))
}

fn rows(project: &Project, name: &str, output: &str, artifact: &Artifact, query: &Query) -> Markup {
    let pages = artifact.rows.div_ceil(PAGE).max(1);
    let page = query.value("page").and_then(|text| text.parse().ok()).unwrap_or(1).clamp(1, pages);
    let first = (page - 1) * PAGE;
    let path = project.store.object_path(&artifact.hash);
    let made = match project.store.check(artifact) {
        ObjectState::Good => read_rows(&path, first, PAGE as usize).and_then(|rows| cells::table(&rows, first)),
        ObjectState::Missing => Ok(
            html! { p.note.bad { "The artifact is not in this store: a run makes it, or `refrain pull` fetches it from a shared one." } },
        ),
        ObjectState::Damaged { .. } => {
            Ok(html! { p.note.bad { "The artifact was damaged and set aside; a run makes it again." } })
        }
    };
    html! {
        section #rows {
            h2 { "Rows of " code { (output) } }
            p.columns {
                @for column in &artifact.columns { span { (column.name) " " i { (column.data_type) } } " " }
            }
            @match made { Ok(rows) => (rows), Err(error) => p.note.bad { (error) } }
            (cells::pager(page, pages, |number| rows_link(name, output, number)))
        }
    }
}

/// What it reads, by port, and the stages that read it.
fn neighbours(project: &Project, index: usize, print: Option<&Fingerprint>) -> Markup {
    let all = &project.pipeline.instances;
    let instance = &all[index];
    let reads = |other: &&Instance| other.inputs.values().flatten().any(|source| source.instance == index);
    let readers: Vec<String> = all.iter().filter(reads).map(|other| other.id.to_string()).collect();
    let columns = |port: &str| -> Vec<String> {
        let read = print.and_then(|print| print.inputs.get(port)?.values().next());
        read.map(|read| read.columns.keys().cloned().collect()).unwrap_or_default()
    };
    html! {
        @if instance.inputs.is_empty() { p.dim { "It reads no other stage." } }
        @else {
            div.scroll tabindex="0" role="region" aria-label="Inputs" {
                table {
                    thead { tr { th scope="col" { "input" } th scope="col" { "from" } th scope="col" { "columns that decide" } } }
                    tbody {
                        @for (port, sources) in &instance.inputs {
                            tr {
                                td { (port) }
                                td.wrap { @for source in sources { (source_link(project, source)) " " } }
                                td.wrap.dim { (columns(port).join(", ")) }
                            }
                        }
                    }
                }
            }
        }
        p.readers {
            @if readers.is_empty() { span.dim { "Nothing reads it: it is a result." } }
            @else { "Read by " @for reader in &readers { a href=(query::stage(reader)) { (reader) } " " } }
        }
    }
}

fn source_link(project: &Project, source: &crate::pipeline::Source) -> Markup {
    let producer = &project.pipeline.instances[source.instance];
    let name = producer.id.to_string();
    let is_main = producer.stage.outputs().first().is_some_and(|port| port.name == source.output);
    if is_main {
        return html! { a href=(query::stage(&name)) { (name) } };
    }
    let rest = name.strip_prefix(stage_of(&name)).unwrap_or_default();
    html! { a href=(rows_link(&name, &source.output, 1)) { (producer.id.stage) "." (source.output) (rest) } }
}
