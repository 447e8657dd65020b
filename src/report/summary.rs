//! The sentences of a report: what came out, and what is missing.

use super::{Board, BoardRow, DataFacts, Report};
use crate::ground::thousands;

/// What came out.
pub(super) fn sentences(report: &Report) -> Vec<String> {
    let mut sentences = Vec::new();
    if report.synthetic.is_some() {
        sentences.push(
            "The data is synthetic: these numbers show that the pipeline works and say nothing about real listeners."
                .to_owned(),
        );
    }
    sentences.extend(report.data.first().map(data));
    sentences.extend(report.boards.iter().flat_map(board));
    sentences.extend(work(report));
    sentences
}

fn data(data: &DataFacts) -> String {
    format!(
        "{} users, {} items and {} interactions are left after filtering, {:.3} % of all pairs being empty.",
        thousands(data.users),
        thousands(data.items),
        thousands(data.feedback),
        100.0 * data.sparsity
    )
}

fn board(board: &Board) -> Vec<String> {
    let Some(best) = board.rows.first() else { return Vec::new() };
    let k = board.k;
    let mut sentences = vec![format!(
        "{} ranks highest, with HR@{k} {} and NDCG@{k} {} over {} users and {}.",
        best.name(),
        measure(best.hr.value),
        measure(best.ndcg.value),
        thousands(best.users),
        if best.seeds == 1 { "one seed".to_owned() } else { format!("{} seeds", best.seeds) },
    )];
    if let Some(baseline) = &board.baseline {
        let with = |word: &str| {
            let fits =
                |row: &&BoardRow| row.verdict.as_deref().is_some_and(|verdict| verdict.split(',').next() == Some(word));
            board.rows.iter().filter(fits).map(BoardRow::name).collect::<Vec<_>>()
        };
        let (better, worse, alike) = (with("better"), with("worse"), with("not distinguishable"));
        let part = |names: &[String], what: &str| {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            (!names.is_empty()).then(|| format!("{what} {}", listed(&names)))
        };
        let held =
            board.rows.iter().find(|row| row.variant == *baseline).map_or_else(|| baseline.clone(), BoardRow::name);
        let parts = [part(&better, "better:"), part(&alike, "not distinguishable:"), part(&worse, "worse:")];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if !parts.is_empty() {
            sentences.push(format!("Against {held}, by a paired test over users: {}.", parts.join("; ")));
        }
    }
    sentences.extend(board.ablations.iter().map(|words| sentence(words)));
    sentences.extend(board.mark_means().map(str::to_owned));
    sentences
}

fn work(report: &Report) -> Option<String> {
    let run = report.run.as_ref()?;
    let requests: u64 = report.stages.iter().map(|stage| stage.requests).sum();
    let asked = if requests > 0 {
        format!(" {} requests were sent for all of it.", thousands(requests))
    } else {
        String::new()
    };
    Some(format!(
        "In the last run {} of {} stages did their work and {} had their result already.{asked}",
        run.ran, run.stages, run.cached
    ))
}

/// What is missing or no longer up to date.
pub(super) fn gaps(report: &Report) -> Vec<String> {
    let with = |state: &dyn Fn(&super::StageFacts) -> bool| -> Vec<&str> {
        report.stages.iter().filter(|stage| state(stage)).map(|stage| stage.id.as_str()).collect()
    };
    let unmade = with(&|stage| stage.key.is_none());
    let stale = with(&|stage| stage.key.is_some() && stage.state != "fresh");
    let mut gaps = Vec::new();
    if !unmade.is_empty() {
        gaps.push(format!("Not made yet: {}. `refrain run {}` makes them.", some(&unmade), report.file));
    }
    if !stale.is_empty() {
        gaps.push(format!(
            "No longer what the file says: {}. What is shown of them is their last result; `refrain run {}` brings them up to date.",
            some(&stale),
            report.file
        ));
    }
    gaps
}

/// The first names of many.
fn some(names: &[&str]) -> String {
    const FEW: usize = 8;
    if names.len() <= FEW {
        return listed(names);
    }
    format!("{} and {} more", names[..FEW].join(", "), names.len() - FEW)
}

fn listed(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// A line of words as a sentence.
fn sentence(words: &str) -> String {
    let mut letters = words.trim_end_matches('.').chars();
    letters.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), letters.as_str()))
}

/// A metric with four decimals, or a dash.
pub(super) fn measure(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.4}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_picked_on_test_is_marked_in_every_sentence() {
        let mut board = super::super::fixture::whole().boards.remove(0);
        for row in board.rows.iter_mut().filter(|row| ["V4", "CF"].contains(&row.variant.as_str())) {
            row.on_test = true;
        }
        board.rows[0].verdict = Some("better, picked on test".to_owned());
        let said = super::board(&board);
        assert!(said[0].starts_with("V4 † ranks highest"), "{said:?}");
        assert!(said[1].starts_with("Against CF †, by a paired test over users: better: V4 † and V3.2;"), "{said:?}");
        assert!(said.last().unwrap().starts_with("† its epoch was picked on the test part"), "{said:?}");
    }

    #[test]
    fn names_are_listed_with_an_and() {
        assert_eq!(listed(&["a", "b", "c"]), "a, b and c");
        assert_eq!(some(&["x"; 10]), "x, x, x, x, x, x, x, x and 2 more");
        assert_eq!(sentence("of V1's gain, 3 % remain"), "Of V1's gain, 3 % remain.");
    }
}
