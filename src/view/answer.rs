//! Which page an address means.

use std::path::PathBuf;

use axum::http::StatusCode;
use maud::{Markup, html};

use super::frame::{self, Frame, Tab};
use super::project::{Project, Trouble, View};
use super::query::Query;
use super::{artifacts, compared, download, home, live, run, runs, stage};
use crate::engine::EngineError;

/// What is sent back.
pub(super) enum Answer {
    /// A page.
    Page { status: StatusCode, page: Markup },
    /// A file of the program's own. Its address changes when it does.
    Asset { content_type: &'static str, text: String },
    /// Look there.
    Redirect(String),
    /// An artifact.
    File { path: PathBuf, name: String, bytes: u64 },
    /// What happens in a run, or in the next one, as it happens.
    Feed { run: Option<String> },
}

/// What is shown for an address. Reads files; holds no lock while it does.
pub(super) fn answer(view: &View, query: &Query) -> Answer {
    let path: Vec<&str> = query.path.iter().map(String::as_str).collect();
    let asset = |content_type, text: String| Answer::Asset { content_type, text };
    match path.as_slice() {
        ["style.css"] => return asset("text/css; charset=utf-8", frame::style()),
        ["script.js"] => return asset("text/javascript; charset=utf-8", frame::SCRIPT.to_owned()),
        ["icon.svg"] => return asset("image/svg+xml", frame::icon().to_owned()),
        ["live", "events"] => return Answer::Feed { run: query.value("run").map(str::to_owned) },
        _ => {}
    }
    let project = match view.project() {
        Ok(project) => project,
        Err(Trouble::Pipeline(problems)) => {
            let file = view.settings.file.file_name().unwrap_or(view.settings.file.as_os_str());
            return frame::mistakes(&problems, &file.to_string_lossy());
        }
        Err(Trouble::Store(error)) => return failed(&error.to_string(), std::error::Error::source(&error)),
    };
    let page = match path.as_slice() {
        [] => home::page(view, &project),
        ["runs"] => runs::page(&project, query),
        ["runs", name] => run::page(&project, name),
        ["live"] => live::page(&project, query),
        ["stages"] => Ok(Answer::Redirect("/".to_owned())),
        ["stages", name] => stage::page(view, &project, name, query),
        ["artifacts"] => artifacts::page(view, &project),
        ["diff"] => compared::page(view, &project, query),
        ["download", hash] => Ok(download(&project, hash)),
        _ => Ok(frame::not_found(Some(&project.pipeline.name), "There is no such page.", &[])),
    };
    page.unwrap_or_else(|error| refused(&project, &error))
}

fn download(project: &Project, hash: &str) -> Answer {
    match download::find(project, hash) {
        Some(found) => Answer::File { path: found.path, name: found.name, bytes: found.bytes },
        None => frame::not_found(
            Some(&project.pipeline.name),
            "No stage of this pipeline has such an artifact, or it is gone from the store.",
            &[("/artifacts".to_owned(), "the artifacts there are".to_owned())],
        ),
    }
}

/// What the engine cannot do, in its words.
pub(super) fn refused(project: &Project, error: &EngineError) -> Answer {
    let status = if error.is_users() { StatusCode::NOT_FOUND } else { StatusCode::INTERNAL_SERVER_ERROR };
    let hint = error.hint();
    page_of_error(Some(&project.pipeline.name), status, &error.to_string(), std::error::Error::source(error), hint)
}

/// A page that could not be made.
pub(super) fn failed(what: &str, source: Option<&(dyn std::error::Error + 'static)>) -> Answer {
    page_of_error(None, StatusCode::INTERNAL_SERVER_ERROR, what, source, None)
}

fn page_of_error(
    pipeline: Option<&str>,
    status: StatusCode,
    what: &str,
    source: Option<&(dyn std::error::Error + 'static)>,
    hint: Option<String>,
) -> Answer {
    let causes: Vec<String> = std::iter::successors(source, |error| error.source()).map(ToString::to_string).collect();
    let content = html! {
        h1 { "This cannot be shown" }
        p.lead { (what) }
        @for cause in &causes { p { "caused by: " (cause) } }
        @if let Some(hint) = hint { p { "hint: " (hint) } }
    };
    let frame = Frame { tab: Tab::None, pipeline, title: "Error", refresh: None };
    Answer::Page { status, page: frame.page(&content) }
}
