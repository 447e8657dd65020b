//! A report as one page of HTML: nothing is fetched, and all that it needs is in
//! it. It works without a script; the script only makes it more convenient.
//!
//! Every number of a leaderboard leads to its explanation, which leads to the
//! stages that it comes from. What comes from data is escaped by the templates.

mod boards;
mod costs;
mod data;
mod explain;
mod graph;
mod groups;
mod head;
mod page;
mod plots;
mod songs;
mod stages;
mod words;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html as markup};
use sha2::{Digest, Sha256};

use super::Report;
use crate::drawing;
use page::Page;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The report as a page that stands by itself.
#[must_use]
pub fn html(report: &Report) -> String {
    let page = Page::new(report);
    let sections = sections(&page);
    let whole = markup! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="generator" content={ "refrain " (report.version) };
                title { (report.title) @if report.synthetic.is_some() { " (synthetic)" } }
                style { (PreEscaped(drawing::CHART_CSS)) (PreEscaped(drawing::DAG_CSS)) (PreEscaped(STYLE)) }
            }
            body {
                (head::banner(&page))
                (contents(&sections))
                main {
                    (head::head(&page))
                    @for section in &sections {
                        section id=(section.id) { h2 { (section.title) } (section.content) }
                    }
                    (head::foot(&page))
                }
                (explain::all(&page))
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    whole.into_string()
}

/// A part of the page that the table of contents names.
struct Section {
    id: &'static str,
    title: &'static str,
    content: Markup,
}

/// The parts that have something to say, in the order of the page.
fn sections(page: &Page<'_>) -> Vec<Section> {
    let all = [
        ("results", "Results", boards::section(page)),
        ("data", "Data", data::section(page)),
        ("ablations", "Ablations", boards::ablations(page)),
        ("plots", "Plots", plots::section(page)),
        ("pipeline", "Pipeline", graph::section(page)),
        ("songs", "Songs and their texts", songs::section(page)),
        ("costs", "Time and cost", costs::section(page)),
        ("stages", "Stages", stages::section(page)),
    ];
    let section = |(id, title, content): (_, _, Option<Markup>)| Some(Section { id, title, content: content? });
    all.into_iter().filter_map(section).collect()
}

fn contents(sections: &[Section]) -> Markup {
    markup! {
        nav aria-label="Contents" {
            a href="#top" { "Summary" }
            @for section in sections { a href={ "#" (section.id) } { (section.title) } }
        }
    }
}

/// Nothing may be loaded from anywhere, and no script but this page's own may run.
fn policy() -> String {
    let script = STANDARD.encode(Sha256::digest(SCRIPT));
    format!(
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{script}'; img-src data:; base-uri 'none'; \
         form-action 'none'"
    )
}

#[cfg(test)]
mod tests;
