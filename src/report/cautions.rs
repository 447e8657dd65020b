//! What is to be known before a number is used: the mark of a model that has
//! seen the test part, and the warnings of all stages.

use std::collections::{BTreeMap, BTreeSet};

use super::{Beyond, Board, BoardRow, Curve, Report, StageFacts};
use crate::pipeline::Pipeline;

/// Stands behind the name of what was picked on the test part.
const MARK: &str = "†";

/// What [`MARK`] means.
pub(super) const MARK_MEANS: &str =
    "† its epoch was picked on the test part, as the paper's code does: its numbers read too high.";

/// A caution names so many stages.
const FEW: usize = 4;

fn marked(name: &str, on_test: bool) -> String {
    if on_test { format!("{name} {MARK}") } else { name.to_owned() }
}

impl BoardRow {
    /// Its variant, with a mark where its epoch was picked on the test part.
    pub(super) fn name(&self) -> String {
        marked(&self.variant, self.on_test)
    }
}

impl Beyond {
    /// Whether anything of it was measured.
    pub(super) fn is_there(&self) -> bool {
        [self.mrr, self.recall, self.coverage, self.popularity].iter().any(Option::is_some)
    }
}

impl Curve {
    /// Its variant, with a mark where it was measured on the test part.
    pub(super) fn name(&self) -> String {
        marked(&self.variant, self.on_test)
    }
}

impl Board {
    /// What the mark of a row means, if a row has one.
    pub(super) fn mark_means(&self) -> Option<&'static str> {
        self.rows.iter().any(|row| row.on_test).then_some(MARK_MEANS)
    }
}

/// All cautions: those of the leaderboards, then those of the stages in their order.
pub(super) fn of(report: &Report, pipeline: &Pipeline) -> Vec<String> {
    let mut cautions: Vec<String> = report.boards.iter().filter_map(|board| one_seed(board, pipeline)).collect();
    cautions.extend(warnings(&report.stages));
    cautions
}

fn one_seed(board: &Board, pipeline: &Pipeline) -> Option<String> {
    let at = pipeline.instances.iter().position(|instance| instance.id.to_string() == board.stage)?;
    let verdicts = board.rows.iter().map(|row| (row.variant.as_str(), row.verdict.as_deref().unwrap_or_default()));
    Some(format!("{}: {}", board.stage, pipeline.one_seed(at, verdicts)?))
}

/// The warnings of the stages, each text once with the stages that gave it.
fn warnings(stages: &[StageFacts]) -> Vec<String> {
    let mut texts: Vec<(&str, Vec<&StageFacts>)> = Vec::new();
    for stage in stages {
        for text in &stage.warnings {
            match texts.iter_mut().find(|(known, _)| known == text) {
                Some((_, of)) => of.push(stage),
                None => texts.push((text, vec![stage])),
            }
        }
    }
    texts.into_iter().map(|(text, of)| format!("{}: {text}", names(&of, stages))).collect()
}

/// The instances by name; a stage whose instances are all there by its own.
fn names(of: &[&StageFacts], all: &[StageFacts]) -> String {
    let mut by_stage: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for stage in of {
        by_stage.entry(&stage.stage).or_default().insert(&stage.id);
    }
    let mut names = Vec::new();
    for (stage, ids) in by_stage {
        if all.iter().filter(|other| other.stage == stage).count() == ids.len() {
            names.push(stage);
        } else {
            names.extend(ids);
        }
    }
    if names.len() <= FEW {
        return names.join(", ");
    }
    format!("{} and {} more", names[..FEW - 1].join(", "), names.len() + 1 - FEW)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::whole;
    use super::*;

    #[test]
    fn a_warning_stands_once_with_the_stages_that_gave_it() {
        let mut report = whole();
        for stage in &mut report.stages {
            if stage.stage == "evaluate" || stage.id == "train@V1" || stage.id == "train@V4" {
                stage.warnings.push(format!("a word of {}", stage.stage));
            }
        }
        assert_eq!(
            warnings(&report.stages),
            [
                "split: for 12 users a cut falls between equal times",
                "train@V1, train@V4: a word of train",
                "evaluate: a word of evaluate"
            ]
        );
        for stage in report.stages.iter_mut().filter(|stage| stage.stage == "train").take(6) {
            stage.warnings = vec!["stalled".to_owned()];
        }
        let last = warnings(&report.stages).into_iter().find(|line| line.ends_with("stalled")).unwrap();
        assert_eq!(last.matches('@').count(), 3, "{last}");
        assert!(last.contains(" and 3 more: stalled"), "{last}");
    }
}
