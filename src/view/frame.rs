//! What surrounds every page: head, navigation, and the pages that say that
//! there is nothing to show.

use axum::http::StatusCode;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::answer::Answer;
use crate::drawing::DAG_CSS;
use crate::ground::{ContentHash, Problem, Problems, count};

/// How pages look, and what they do.
pub(super) const STYLE: &str = include_str!("style.css");
pub(super) const SCRIPT: &str = include_str!("script.js");

/// The pages that the navigation leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tab {
    Pipeline,
    Runs,
    Live,
    Artifacts,
    Diff,
    None,
}

const TABS: [(Tab, &str, &str); 5] = [
    (Tab::Pipeline, "/", "Pipeline"),
    (Tab::Runs, "/runs", "Runs"),
    (Tab::Live, "/live", "Live"),
    (Tab::Artifacts, "/artifacts", "Artifacts"),
    (Tab::Diff, "/diff", "Diff"),
];

/// A page under construction.
pub(super) struct Frame<'a> {
    pub(super) tab: Tab,
    /// The pipeline's name, if it is known.
    pub(super) pipeline: Option<&'a str>,
    pub(super) title: &'a str,
    /// Seconds after which the page is loaded again.
    pub(super) refresh: Option<u32>,
}

/// The style as it is sent: the pages' and the drawing's.
pub(super) fn style() -> String {
    format!("{STYLE}\n{DAG_CSS}")
}

/// Tells one version of the assets from another, so that they may be kept.
pub(super) fn version() -> String {
    ContentHash::of(format!("{}{SCRIPT}", style()).as_bytes()).short()
}

impl Frame<'_> {
    /// The whole page.
    pub(super) fn page(&self, content: &Markup) -> Markup {
        let version = version();
        let name = self.pipeline.unwrap_or("refrain");
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    @if let Some(seconds) = self.refresh { meta http-equiv="refresh" content=(seconds); }
                    title { (self.title) " · " (name) }
                    link rel="icon" href=(format!("/icon.svg?v={version}")) type="image/svg+xml";
                    link rel="stylesheet" href=(format!("/style.css?v={version}"));
                    script src=(format!("/script.js?v={version}")) defer {}
                }
                body {
                    a.skip href="#content" { "Skip to the content" }
                    header.top {
                        a.name href="/" { (name) }
                        nav aria-label="Pages" {
                            @for (tab, href, word) in TABS {
                                a href=(href) aria-current=[(tab == self.tab).then_some("page")] { (word) }
                            }
                        }
                    }
                    main #content tabindex="-1" { (content) }
                }
            }
        }
    }

    /// The whole page as an answer.
    pub(super) fn answer(&self, content: &Markup) -> Answer {
        Answer::Page { status: StatusCode::OK, page: self.page(content) }
    }
}

/// A page that is not there, with what may have been meant: links and their names.
pub(super) fn not_found(pipeline: Option<&str>, what: &str, near: &[(String, String)]) -> Answer {
    let content = html! {
        h1 { "Not found" }
        p.lead { (what) }
        @if !near.is_empty() {
            p { "Did you mean" }
            ul.near { @for (href, name) in near { li { a href=(href) { (name) } } } }
        }
    };
    let frame = Frame { tab: Tab::None, pipeline, title: "Not found", refresh: None };
    Answer::Page { status: StatusCode::NOT_FOUND, page: frame.page(&content) }
}

/// The mistakes of the pipeline's file. The page looks again by itself.
pub(super) fn mistakes(problems: &Problems, file: &str) -> Answer {
    let content = html! {
        h1 { (count(problems.0.len() as u64, "mistake")) " in " code { (file) } }
        p.lead { "Nothing can be shown before they are mended. This page looks again every few seconds." }
        @for problem in &problems.0 { (mistake(problem)) }
    };
    let frame = Frame { tab: Tab::None, pipeline: None, title: "Mistakes", refresh: Some(3) };
    Answer::Page { status: StatusCode::OK, page: frame.page(&content) }
}

fn mistake(problem: &Problem) -> Markup {
    html! {
        section.mistake {
            p { strong { (problem.what) } }
            @if let Some(at) = &problem.at {
                p.dim { (at.file.display()) ":" (at.line) ":" (at.column) }
                pre tabindex="0" {
                    (at.line) " │ " (at.text) "\n"
                    (" ".repeat(at.line.to_string().len())) " │ " (" ".repeat(at.column.saturating_sub(1))) span.bad { "^" }
                }
            }
            @if let Some(hint) = &problem.hint { p { "hint: " (hint) } }
        }
    }
}

/// A list of names and values.
pub(super) fn facts(facts: &[(&str, Markup)]) -> Markup {
    html! {
        dl.facts { @for (name, value) in facts { div { dt { (name) } dd { (value) } } } }
    }
}

/// Text as markup.
pub(super) fn text(text: impl AsRef<str>) -> Markup {
    html! { (text.as_ref()) }
}

/// The sign in the browser's tab.
pub(super) fn icon() -> &'static str {
    r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><path d="M8 2v4M8 6 3.5 10M8 6l4.500 4" stroke="#0f6b63" stroke-width="1.500" fill="none"/><circle cx="8" cy="2.500" r="2" fill="#0f6b63"/><circle cx="3.500" cy="12" r="2" fill="#0f6b63"/><circle cx="12.500" cy="12" r="2" fill="#0f6b63"/></svg>"##
}

/// Markup that is there or not.
pub(super) fn nothing() -> Markup {
    PreEscaped(String::new())
}
