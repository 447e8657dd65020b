//! Small things that many pages say: states, amounts, what is synthetic.

use maud::{Markup, html};

use crate::engine::{End, Outcome, RunState, State};
use crate::ground::{count, dollars, thousands};
use crate::web::Spent;

/// What stands wherever numbers are shown that come from a sandbox.
pub(super) const SYNTHETIC: &str = "synthetic data: numbers from a sandbox world say nothing about real listeners";

/// What was spent, each thing that is not nothing: `12,345 requests`, `812,000 tokens`, `$0.19`.
pub(super) fn spending(spent: &Spent) -> Vec<String> {
    let requests = (spent.requests > 0).then(|| count(spent.requests, "request"));
    let tokens = (spent.tokens() > 0).then(|| count(spent.tokens(), "token"));
    let money = (spent.usd > 0.0).then(|| dollars(spent.usd));
    requests.into_iter().chain(tokens).chain(money).collect()
}

/// A number as a cell; nothing for nothing.
pub(super) fn some(number: u64) -> String {
    if number == 0 { String::new() } else { thousands(number) }
}

/// Money as a cell; nothing for nothing.
pub(super) fn some_money(usd: f64) -> String {
    if usd > 0.0 { dollars(usd) } else { String::new() }
}

/// A word with the look of its class.
pub(super) fn badge(class: &str, word: &str) -> Markup {
    html! { span class=(format!("badge {class}")) { (word) } }
}

/// The mark of what comes from a sandbox.
pub(super) fn synthetic_mark() -> Markup {
    html! { span.badge.warn title=(SYNTHETIC) { "synthetic" } }
}

/// The sentence, where numbers stand.
pub(super) fn synthetic_note() -> Markup {
    html! { p.note.warn { (SYNTHETIC) } }
}

/// What the plan says of an instance: its class and its word.
pub(super) fn of_state(state: &State) -> (&'static str, &'static str) {
    match state {
        State::Fresh { .. } => ("done", "fresh"),
        State::Stale { .. } => ("stale", "stale"),
        State::Undecided { .. } => ("stale", "undecided"),
        State::Blocked { .. } => ("failed", "blocked"),
    }
}

/// How a run stands.
pub(super) fn of_run(state: RunState) -> Markup {
    let class = match state {
        RunState::Complete => "done",
        RunState::Failed | RunState::Crashed => "failed",
        RunState::Stopped => "stale",
        RunState::Running => "running",
    };
    badge(class, state.word())
}

/// How an instance came to its result.
pub(super) fn of_outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Ran => "ran",
        Outcome::Unchanged => "ran, unchanged",
        Outcome::Cached => "cached",
        Outcome::CutOff => "cached: what is above gave the same",
        Outcome::Restored => "restored",
        Outcome::Adopted => "adopted from another run",
        Outcome::Pulled => "from the shared store",
    }
}

/// How an instance ended in a run.
pub(super) fn of_end(end: &End) -> &'static str {
    match end {
        End::Done(_) => "was done",
        End::Failed(_) => "failed",
        End::Skipped(_) => "was skipped",
    }
}

/// The names most like the one that was asked for, best first.
pub(super) fn near<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    /// How like a name must be to be offered, and how many are.
    const LIKE: f64 = 0.7;
    const MOST: usize = 5;
    let mut scored: Vec<(f64, &str)> = names
        .into_iter()
        .map(|other| (strsim::jaro_winkler(&name.to_lowercase(), &other.to_lowercase()), other))
        .filter(|(score, _)| *score > LIKE)
        .collect();
    scored.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(other.1)));
    scored.into_iter().map(|(_, name)| name).take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_come_best_first() {
        let names = ["train@V1", "train@V4", "titles", "vectors@V1", "leaderboard"];
        assert_eq!(near("train@V9", names)[..2], ["train@V1", "train@V4"]);
        assert!(near("zzz", names).is_empty());
    }
}
