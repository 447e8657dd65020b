//! What every section needs: where a stage's panel is, which colour a variant
//! has, and how a table or figure is framed.

use std::collections::BTreeMap;

use maud::{Markup, PreEscaped, html};

use super::super::{Report, StageFacts};
use crate::drawing::series_class;

/// A report, with what its sections look up.
pub(super) struct Page<'a> {
    pub(super) report: &'a Report,
    stages: BTreeMap<&'a str, usize>,
    series: BTreeMap<&'a str, usize>,
    readers: Vec<Vec<usize>>,
}

impl<'a> Page<'a> {
    pub(super) fn new(report: &'a Report) -> Self {
        let stages = report.stages.iter().enumerate().map(|(at, stage)| (stage.id.as_str(), at)).collect();
        let rows = report.boards.iter().flat_map(|board| board.rows.iter().map(|row| row.variant.as_str()));
        let mut series = BTreeMap::new();
        for variant in rows.chain(report.curves.iter().map(|curve| curve.variant.as_str())) {
            let next = series.len();
            series.entry(variant).or_insert(next);
        }
        let mut readers = vec![Vec::new(); report.stages.len()];
        for (at, stage) in report.stages.iter().enumerate() {
            for input in &stage.inputs {
                if let Some(of) = readers.get_mut(input.from).filter(|of| of.last() != Some(&at)) {
                    of.push(at);
                }
            }
        }
        Self { report, stages, series, readers }
    }

    /// The stages that read a stage.
    pub(super) fn readers(&self, at: usize) -> impl Iterator<Item = &'a StageFacts> + '_ {
        self.readers.get(at).into_iter().flatten().filter_map(|at| self.report.stages.get(*at))
    }

    /// The number of a variant's colour: the same in every plot.
    pub(super) fn series(&self, variant: &str) -> usize {
        self.series.get(variant).copied().unwrap_or_default()
    }

    /// The classes of that colour, as in the plots.
    pub(super) fn series_class(&self, variant: &str) -> String {
        series_class(self.series(variant))
    }

    /// Where a stage's panel is.
    pub(super) fn stage_address(&self, id: &str) -> Option<String> {
        self.stages.get(id).map(|at| format!("#{}", stage_anchor(*at)))
    }

    /// A stage's name, as a link to its panel if it has one.
    pub(super) fn stage_link(&self, id: &str) -> Markup {
        html! { a.stage-name href=[self.stage_address(id)] { (id) } }
    }

    /// Names of stages as links, as a list in words.
    pub(super) fn stage_links<'b>(&self, ids: impl IntoIterator<Item = &'b str>) -> Markup {
        html! { @for (at, id) in ids.into_iter().enumerate() { @if at > 0 { ", " } (self.stage_link(id)) } }
    }

    /// All that a stage stands on, in the order of the pipeline, the stage last.
    pub(super) fn path_to(&self, id: &str) -> Vec<&'a str> {
        let Some(end) = self.stages.get(id) else { return Vec::new() };
        let mut needed = vec![false; self.report.stages.len()];
        let mut open = vec![*end];
        while let Some(at) = open.pop() {
            let Some(seen) = needed.get_mut(at).filter(|seen| !**seen) else { continue };
            *seen = true;
            open.extend(self.report.stages[at].inputs.iter().map(|input| input.from));
        }
        let stages = self.report.stages.iter().zip(needed);
        stages.filter(|(_, needed)| *needed).map(|(stage, _)| stage.id.as_str()).collect()
    }

    /// The mark of results that are made up; nothing if they are not.
    pub(super) fn mark(&self) -> Markup {
        html! { @if self.report.synthetic.is_some() { " " span.synthetic { "synthetic" } } }
    }

    /// A table with its caption, in a box of its own that scrolls where the page is too narrow.
    pub(super) fn table(&self, caption: &Markup, table: &Markup) -> Markup {
        html! {
            figure.table {
                figcaption { (caption) (self.mark()) }
                div.scroll tabindex="0" { (table) }
            }
        }
    }

    /// A drawing with its caption.
    pub(super) fn figure(&self, title: &str, note: &str, drawing: String) -> Markup {
        html! {
            figure.plot {
                (PreEscaped(drawing))
                figcaption { b { (title) } (self.mark()) @if !note.is_empty() { " " span.note { (note) } } }
            }
        }
    }
}

/// The name of a stage's place in the page.
pub(super) fn stage_anchor(at: usize) -> String {
    format!("s{at}")
}
