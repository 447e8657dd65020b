//! The top of the page: whether its numbers are real, what came out, what is
//! missing; and its foot: how to make it again.

use maud::{Markup, html};

use super::page::Page;
use super::words::{count, duration, moment, shell};

/// Above everything, if the numbers are made up.
pub(super) fn banner(page: &Page<'_>) -> Markup {
    html! {
        @if let Some(world) = &page.report.synthetic {
            div.banner role="note" {
                b { "Synthetic." }
                " Every number on this page comes from a made-up world (" code { (world) } "). They show that the pipeline "
                "works and say nothing about real listeners."
            }
        }
    }
}

/// The title, the summary and the gaps.
pub(super) fn head(page: &Page<'_>) -> Markup {
    let report = page.report;
    html! {
        header id="top" {
            h1 { (report.title) (page.mark()) }
            p.byline {
                "Pipeline " b { (report.pipeline) } " from " code { (report.file) }
                @if let Some(run) = &report.run {
                    ", last run " @if !moment(run.at_millis).is_empty() { (moment(run.at_millis)) " " } "(" (run.state) ")"
                }
            }
            @if !report.summary.is_empty() {
                p.summary { @for sentence in &report.summary { (sentence) " " } }
            }
            @if !report.cautions.is_empty() {
                div.gaps role="note" {
                    b { "Cautions" }
                    ul { @for caution in &report.cautions { li { (caution) } } }
                }
            }
            @if !report.gaps.is_empty() {
                div.gaps role="note" {
                    b { "What is missing" }
                    ul { @for gap in &report.gaps { li { (gap) } } }
                }
            }
        }
    }
}

/// What the last run did, in a sentence.
pub(super) fn run_sentence(page: &Page<'_>) -> Option<String> {
    let run = page.report.run.as_ref()?;
    let stages = count(run.stages as u64, "stage instance");
    let failed = if run.failed > 0 { format!(", {} failed", run.failed) } else { String::new() };
    let took = run.seconds.map_or_else(String::new, |seconds| format!(" It took {}.", duration(seconds)));
    Some(format!(
        "The last run, {}, was about {stages}: {} did their work, {} had their result already{failed}.{took}",
        run.run, run.ran, run.cached
    ))
}

/// Who made the page, and how it is made again.
pub(super) fn foot(page: &Page<'_>) -> Markup {
    let report = page.report;
    html! {
        footer {
            p {
                "Written by refrain " (report.version) " from the artifacts of " code { (report.file) } ", without running "
                "anything. To make this page again: " code { "refrain report " (shell(&report.file)) }
            }
            p {
                "This page loads nothing from the network. Click a number of a leaderboard to see how it came about, and "
                "a stage to see what it read, did and made."
            }
        }
    }
}
